"""Pictures of an Evaluation: rates with intervals, and outcomes as bars."""

from collections.abc import Sequence

import altair as alt
import pandas as pd
import streamlit as st

from eval.report.findings import Dot
from eval.report.pictures import GREEN, GREY, INK, OUTCOMES, outcomes
from stats.contrasts import HeadToHead
from stats.estimates import CannotEstimate
from stats.strengths import ELO, Strengths
from ui.charts import coloured, draw, legend
from ui.safe import plain

LABELS = alt.Axis(labelLimit=260)


def rates(dots: Sequence[Dot], *, title: str, candidate: str = "") -> None:
    """Rates with their intervals and the half-way line; rows without a rate are named below, with the reason."""
    shown = [dot for dot in dots if dot.rate is not None]
    if shown:
        colours = {candidate: GREEN, "the others": GREY} if candidate else {}
        if colours:
            st.html(legend(colours))
        draw(_rates(shown, title=title, coloured_candidate=bool(candidate)), height=80 + 40 * len(shown))
    for reason in dict.fromkeys(dot.missing for dot in dots if dot.missing and not dot.is_candidate):
        names = ", ".join(dot.name for dot in dots if dot.missing == reason and not dot.is_candidate)
        st.caption(plain(f"{names}: {reason}"))


def _rates(dots: Sequence[Dot], *, title: str, coloured_candidate: bool) -> alt.LayerChart:
    frame = pd.DataFrame(
        [
            {
                "name": dot.name,
                "rate": dot.rate,
                "low": dot.rate if dot.low is None else dot.low,
                "high": dot.rate if dot.high is None else dot.high,
                "n": dot.n,
                "who": "candidate" if dot.is_candidate else "other",
            }
            for dot in dots
        ]
    )
    x = alt.Scale(domain=[0, 1])
    y = alt.Y("name:N", sort=None, title=None, axis=LABELS)
    tips = [
        alt.Tooltip("name:N"),
        *(alt.Tooltip(f"{c}:Q", format=".1%") for c in ("rate", "low", "high")),
        alt.Tooltip("n:Q"),
    ]
    scale = alt.Scale(domain=["candidate", "other"], range=[GREEN, GREY])
    colour: alt.Color | alt.Value = alt.value(GREEN)
    if coloured_candidate:
        colour = alt.Color("who:N", scale=scale, legend=None)
    base = alt.Chart(frame).encode(y=y, tooltip=tips, color=colour)
    bars = base.mark_rule(strokeWidth=5, opacity=0.5).encode(
        x=alt.X("low:Q", scale=x, axis=alt.Axis(format="%"), title=title), x2="high:Q"
    )
    points = base.mark_point(filled=True, size=160, opacity=1).encode(x=alt.X("rate:Q", scale=x))
    words = (
        base.transform_calculate(label="format(datum.rate, '.0%')")
        .mark_text(dy=-13, fontSize=12)
        .encode(x=alt.X("rate:Q", scale=x), text="label:N", color=alt.value(INK))
    )
    half = alt.Chart(pd.DataFrame({"x": [0.5]})).mark_rule(strokeDash=[4, 4], color=GREY).encode(x="x:Q")
    both: alt.LayerChart = half + bars + points + words
    return both


def outcome_bars(contrasts: Sequence[HeadToHead]) -> None:
    """Wins, ties, both bad and losses as one bar for each baseline."""
    order = list(OUTCOMES)
    frame = pd.DataFrame(
        [
            {"against": one.baseline, "outcome": name, "judgments": count, "order": order.index(name)}
            for one in contrasts
            for name, count in outcomes(one).items()
        ]
    )
    chart = (
        alt.Chart(frame)
        .mark_bar()
        .encode(
            x=alt.X("judgments:Q", title="judgments", axis=alt.Axis(tickMinStep=1)),
            y=alt.Y("against:N", sort=None, title=None, axis=LABELS),
            color=coloured("outcome:N", OUTCOMES),
            order="order:Q",
            tooltip=["against", "outcome", "judgments"],
        )
    )
    st.html(legend(OUTCOMES))
    draw(chart, height=60 + 46 * len(contrasts))


def strength_dots(found: Strengths) -> None:
    """All responders on one scale, in Elo points round 0; whoever has no finite strength is left to the words."""
    rows = [
        {
            "name": one.responder,
            "elo": one.elo,
            "low": one.elo if isinstance(one.interval, CannotEstimate) else one.interval.low * ELO,
            "high": one.elo if isinstance(one.interval, CannotEstimate) else one.interval.high * ELO,
            "best": None if isinstance(one.probability_best, CannotEstimate) else one.probability_best,
        }
        for one in found.responders
        if not one.unbounded_because
    ]
    if not rows:
        return
    tips = [
        alt.Tooltip("name:N"),
        *(alt.Tooltip(f"{c}:Q", format=".0f") for c in ("elo", "low", "high")),
        alt.Tooltip("best:Q", format=".0%", title="best in so many resamples"),
    ]
    base = alt.Chart(pd.DataFrame(rows)).encode(y=alt.Y("name:N", sort=None, title=None, axis=LABELS), tooltip=tips)
    bars = base.mark_rule(strokeWidth=5, color=GREEN, opacity=0.5).encode(
        x=alt.X("low:Q", title="Elo points, 0 on average; 120 apart is 2 to 1"), x2="high:Q"
    )
    points = base.mark_point(filled=True, size=160, color=GREEN, opacity=1).encode(x="elo:Q")
    draw(bars + points, height=60 + 40 * len(rows))
