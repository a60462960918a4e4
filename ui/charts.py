"""Charts: training curves, win rates with intervals. One look, both themes."""

from collections.abc import Sequence

import altair as alt
import pandas as pd
import streamlit as st

from db.models import Split, TrainingStep
from eval.results import Contrast
from review.lengths import LongerSide, Spread
from review.progress import Standing

GREEN, GREY, RED = "#0f766e", "#94a3b8", "#b91c1c"


def training_curves(steps: Sequence[TrainingStep]) -> None:
    """Loss, reward margin and accuracy by step; validation as points."""
    frame = pd.DataFrame(
        [
            {
                "step": step.step,
                "rows": "validation" if step.split is Split.VALIDATION else "training",
                "Loss": step.loss,
                "Reward margin": step.reward_margin,
                "Reward accuracy": step.reward_accuracy,
            }
            for step in steps
        ]
    )
    notes = {
        "Loss": "falls slowly",
        "Reward margin": "rises, and stays below 2",
        "Reward accuracy": "rises; 0 at the first step, where all are ties",
    }
    for column, (name, note) in zip(st.columns(3), notes.items(), strict=True):
        base = alt.Chart(frame.dropna(subset=[name])).encode(
            x=alt.X("step:Q", title="step", axis=alt.Axis(tickMinStep=1)),
            y=alt.Y(f"{name}:Q", title=None, scale=alt.Scale(zero=False)),
            color=alt.Color(
                "rows:N", scale=alt.Scale(domain=["training", "validation"], range=[GREEN, RED]), title=None
            ),
            tooltip=["rows", "step", alt.Tooltip(f"{name}:Q", format=".4f")],
        )
        column.markdown(f"**{name}**  \n:small[{note}]")
        column.altair_chart(base.mark_line(point=True).properties(height=200), width="stretch")


def win_rates(contrasts: Sequence[Contrast]) -> None:
    """Win rate and interval against each baseline, with the half-way line."""
    frame = pd.DataFrame(
        [
            {"against": c.baseline, "rate": c.rate.rate, "low": c.rate.low, "high": c.rate.high, "n": c.rate.n}
            for c in contrasts
        ]
    )
    x = alt.Scale(domain=[0, 1])
    y = alt.Y("against:N", sort=None, title=None, axis=alt.Axis(labelLimit=260))
    percent = alt.Axis(format="%")
    tips = ["against", *(alt.Tooltip(f"{c}:Q", format=".1%") for c in ("rate", "low", "high")), "n"]
    bars = (
        alt.Chart(frame)
        .mark_rule(strokeWidth=5, color=GREEN, opacity=0.5)
        .encode(
            x=alt.X("low:Q", scale=x, axis=percent, title="win rate of the candidate, ties as half"),
            x2="high:Q",
            y=y,
            tooltip=tips,
        )
    )
    points = (
        alt.Chart(frame)
        .mark_point(filled=True, size=160, color=GREEN, opacity=1)
        .encode(x=alt.X("rate:Q", scale=x), y=y, tooltip=tips)
    )
    half = alt.Chart(pd.DataFrame({"x": [0.5]})).mark_rule(strokeDash=[4, 4], color=GREY).encode(x="x:Q")
    st.altair_chart((half + bars + points).properties(height=60 + 46 * len(frame)), width="stretch")


def responder_bars(standings: Sequence[Standing]) -> None:
    """How often each Responder's replies were ranked better, even, both bad and worse beside another's."""
    order = ["better", "both good", "both bad", "worse"]
    frame = pd.DataFrame(
        [
            {"Responder": one.responder, "was": name, "rankings": count, "order": order.index(name)}
            for one in standings
            for name, count in zip(order, (one.better, one.even, one.both_bad, one.worse), strict=True)
        ]
    )
    chart = (
        alt.Chart(frame)
        .mark_bar()
        .encode(
            x=alt.X("rankings:Q", title="rankings by people, beside another's replies", axis=alt.Axis(tickMinStep=1)),
            y=alt.Y("Responder:N", sort=None, title=None, axis=alt.Axis(labelLimit=260)),
            color=alt.Color("was:N", scale=alt.Scale(domain=order, range=[GREEN, "#cbd5e1", GREY, RED]), title=None),
            order="order:Q",
            tooltip=["Responder", "was", "rankings"],
        )
    )
    st.altair_chart(chart.properties(height=60 + 46 * len(standings)), width="stretch")


def outcome_bars(contrasts: Sequence[Contrast]) -> None:
    """Wins, ties, both bad and losses as one bar for each baseline."""
    order = ["win", "tie", "both bad", "loss"]
    frame = pd.DataFrame(
        [
            {"against": c.baseline, "outcome": name, "judgments": count, "order": order.index(name)}
            for c in contrasts
            for name, count in (
                ("win", c.rate.wins),
                ("tie", c.rate.ties - c.rate.both_bad),
                ("both bad", c.rate.both_bad),
                ("loss", c.rate.losses),
            )
        ]
    )
    chart = (
        alt.Chart(frame)
        .mark_bar()
        .encode(
            x=alt.X("judgments:Q", title="judgments"),
            y=alt.Y("against:N", sort=None, title=None, axis=alt.Axis(labelLimit=260)),
            color=alt.Color(
                "outcome:N", scale=alt.Scale(domain=order, range=[GREEN, "#cbd5e1", GREY, RED]), title=None
            ),
            order="order:Q",
            tooltip=["against", "outcome", "judgments"],
        )
    )
    st.altair_chart(chart.properties(height=60 + 46 * len(contrasts)), width="stretch")


def length_spreads(spreads: Sequence[Spread]) -> None:
    """For each Responder the middle half of its lengths in words as a bar, the median in it, the tenths as its ends."""
    frame = pd.DataFrame(
        [
            {
                "Responder": one.responder,
                "a tenth below": one.tenth,
                "a quarter below": one.quarter,
                "median": one.median,
                "a quarter above": one.three_quarters,
                "a tenth above": one.nine_tenths,
                "replies": one.texts,
            }
            for one in spreads
        ]
    )
    numbers = ["a tenth below", "a quarter below", "median", "a quarter above", "a tenth above"]
    tips = [alt.Tooltip("Responder:N"), *(alt.Tooltip(f"{name}:Q", format=".0f") for name in numbers)]
    y = alt.Y("Responder:N", sort=None, title=None, axis=alt.Axis(labelLimit=260))
    base = alt.Chart(frame).encode(y=y, tooltip=[*tips, alt.Tooltip("replies:Q")])
    ends = base.mark_rule(color=GREY).encode(
        x=alt.X("a tenth below:Q", title="words in a reply", scale=alt.Scale(zero=True)), x2="a tenth above:Q"
    )
    half = base.mark_bar(color=GREEN, opacity=0.5, size=18).encode(x="a quarter below:Q", x2="a quarter above:Q")
    middle = base.mark_tick(color=GREEN, thickness=4, size=26).encode(x="median:Q")
    st.altair_chart((ends + half + middle).properties(height=60 + 46 * len(frame)), width="stretch")


def longer_bars(sides: Sequence[LongerSide]) -> None:
    """How often each Responder's reply is the longer one of a pair, as long, or the shorter one."""
    order = ["longer", "as long", "shorter"]
    frame = pd.DataFrame(
        [
            {"Responder": one.responder, "is": name, "pairs": count, "order": order.index(name)}
            for one in sides
            for name, count in zip(order, (one.longer, one.same, one.pairs - one.longer - one.same), strict=True)
        ]
    )
    chart = (
        alt.Chart(frame)
        .mark_bar()
        .encode(
            x=alt.X("pairs:Q", title="offered pairs, beside another's reply", axis=alt.Axis(tickMinStep=1)),
            y=alt.Y("Responder:N", sort=None, title=None, axis=alt.Axis(labelLimit=260)),
            color=alt.Color("is:N", scale=alt.Scale(domain=order, range=[GREEN, "#cbd5e1", GREY]), title=None),
            order="order:Q",
            tooltip=["Responder", "is", "pairs"],
        )
    )
    st.altair_chart(chart.properties(height=60 + 46 * len(sides)), width="stretch")
