"""What a Snapshot would teach, drawn: whose replies are better, and whether length alone tells."""

from collections.abc import Sequence

import altair as alt
import pandas as pd
import streamlit as st

from eval.report.pictures import GREEN, GREY, PALE, RED
from training.data.snapshot import Lengths, ResponderShare
from ui.charts import coloured, draw, legend


def share_bars(shares: Sequence[ResponderShare]) -> None:
    """In how many pairs each Responder's reply, or a reviewer's correction, is the better or the worse one."""
    colours = {"better": GREEN, "worse": RED}
    order = list(colours)
    frame = pd.DataFrame(
        [
            {"Whose": one.label, "is": name, "pairs": count, "order": order.index(name)}
            for one in shares
            for name, count in zip(order, (one.chosen, one.rejected), strict=True)
        ]
    )
    chart = (
        alt.Chart(frame)
        .mark_bar()
        .encode(
            x=alt.X("pairs:Q", title="pairs", axis=alt.Axis(tickMinStep=1)),
            y=alt.Y("Whose:N", sort=None, title=None, axis=alt.Axis(labelLimit=220)),
            color=coloured("is:N", colours),
            order="order:Q",
            tooltip=["Whose", "is", "pairs"],
        )
    )
    st.html(legend(colours))
    draw(chart, height=50 + 34 * len(shares))


def side_lengths(lengths: Lengths) -> None:
    """Words of the better and of the worse replies: middle half as a bar, median in it, the tenths as its ends."""
    frame = pd.DataFrame(
        [
            {
                "Reply": one.side.lower(),
                "a tenth below": one.tenth,
                "a quarter below": one.quarter,
                "median": one.median,
                "a quarter above": one.three_quarters,
                "a tenth above": one.nine_tenths,
            }
            for one in lengths.sides
        ]
    )
    tips = [alt.Tooltip("Reply:N"), *(alt.Tooltip(f"{name}:Q", format=".0f") for name in frame.columns[1:])]
    colour = coloured("Reply:N", {"better": GREEN, "worse": RED})
    base = alt.Chart(frame).encode(y=alt.Y("Reply:N", sort=None, title=None), tooltip=tips)
    ends = base.mark_rule(color=GREY).encode(
        x=alt.X("a tenth below:Q", title="words in a reply", scale=alt.Scale(zero=True)), x2="a tenth above:Q"
    )
    half = base.mark_bar(opacity=0.5, size=16).encode(x="a quarter below:Q", x2="a quarter above:Q", color=colour)
    middle = base.mark_tick(thickness=4, size=24).encode(x="median:Q", color=colour)
    draw(ends + half + middle, height=130)


def longer_bar(lengths: Lengths) -> None:
    """In how many pairs the better reply is the longer one, as long, or the shorter one."""
    colours = {"the longer one is better": GREEN, "both are as long": PALE, "the shorter one is better": GREY}
    frame = pd.DataFrame(
        [
            {"which": name, "pairs": count, "order": place, "row": ""}
            for place, (name, count) in enumerate(
                zip(colours, (lengths.longer, lengths.same, lengths.shorter), strict=True)
            )
        ]
    )
    chart = (
        alt.Chart(frame)
        .mark_bar()
        .encode(
            x=alt.X("pairs:Q", title="pairs", axis=alt.Axis(tickMinStep=1)),
            y=alt.Y("row:N", title=None, axis=None),
            color=coloured("which:N", colours),
            order="order:Q",
            tooltip=["which", "pairs"],
        )
    )
    st.html(legend(colours))
    draw(chart, height=90)
