"""Charts: training curves, win rates with intervals. One look, both themes."""

from collections.abc import Sequence

import altair as alt
import pandas as pd
import streamlit as st

from db.models import Split, TrainingStep
from eval.results import Contrast
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
