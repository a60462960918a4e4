"""Trainings side by side: tables, curves over each other, sample replies beside each other."""

from collections.abc import Sequence

import altair as alt
import pandas as pd
import streamlit as st

from release.compare import ROWS, Compared, Difference, Point, Samples
from texts.escape import escaped
from ui.charts import POINT, coloured, draw, legend
from ui.safe import plain, show_table

COLOURS = ["#0d9488", "#d97706", "#3b82f6", "#c026d3"]
"""One for each run that can be compared; to be told apart on white and on black."""
DASHES = {"training": [1, 0], "validation": [5, 4]}
CURVES = {
    "Loss": "lower fits the rows better; compare only the same loss and beta",
    "Reward accuracy": "share of pairs in the right order; the first steps, where all are ties, are left out",
    "Reward margin": "how far apart; above 2 is mostly over-fitting",
}


def show_comparison(found: Compared) -> None:
    """What differs, the curves, what came of it, what the models said."""
    if found.simulated:
        st.html('<span class="pw-simulated">partly simulated feedback, not only people\'s</span>')
    st.subheader("What differs")
    different = [one for one in found.settings if one.differs]
    if different:
        show_table(_rows(found.labels, different), whole=True)
    else:
        st.caption("Nothing: base, snapshot and every knob are the same.")
    with st.expander("What is the same"):
        show_table(_rows(found.labels, [one for one in found.settings if not one.differs]), whole=True)
    st.subheader("How they went")
    if found.points:
        curves(found.points, found.labels)
    show_table(_rows(found.labels, found.outcomes), whole=True)
    st.caption("The trainer's numbers say nothing of how good replies are: read the replies, and judge them blind.")
    st.subheader("What the models said at the end")
    asked = {said.run for sample in found.samples for said in sample.replies}
    if silent := [one for one in found.labels if one not in asked]:
        st.caption(plain(f"No sample replies were written by: {', '.join(silent)}."))
    for sample in found.samples:
        show_samples(sample, [one for one in found.labels if one in asked])


def _rows(labels: Sequence[str], differences: Sequence[Difference]) -> list[dict[str, object]]:
    return [{"": one.label, **dict(zip(labels, one.values, strict=True))} for one in differences]


def curves(points: Sequence[Point], labels: Sequence[str]) -> None:
    """Loss, accuracy and margin by step, one colour a run; training rows as lines, validation rows dashed."""
    colours = dict(zip(labels, COLOURS, strict=False))
    st.html(legend(colours, solid="training rows", dashed="validation rows"))
    frame = pd.DataFrame(
        [
            {
                "Training": point.run,
                "rows": ROWS[point.split],
                "step": point.step,
                "Loss": point.loss,
                "Reward accuracy": point.accuracy,
                "Reward margin": point.margin,
            }
            for point in points
        ]
    )
    for column, (name, note) in zip(st.columns(len(CURVES)), CURVES.items(), strict=True):
        some = frame.dropna(subset=[name])
        if some.empty:
            continue
        axis = alt.Axis(format=".0%") if name == "Reward accuracy" else alt.Axis()
        chart = (
            alt.Chart(some)
            .mark_line(point=POINT)
            .encode(
                x=alt.X("step:Q", title="step", axis=alt.Axis(tickMinStep=1, format="d")),
                y=alt.Y(f"{name}:Q", title=None, axis=axis, scale=alt.Scale(zero=False)),
                color=coloured("Training:N", colours),
                strokeDash=alt.StrokeDash(
                    "rows:N", scale=alt.Scale(domain=list(DASHES), range=list(DASHES.values())), legend=None
                ),
                tooltip=["Training", "rows", "step", alt.Tooltip(f"{name}:Q", format=".4f")],
            )
        )
        column.markdown(f"**{name}**  \n:small[{note}]")
        with column:
            draw(chart, height=220)


def show_samples(sample: Samples, labels: Sequence[str]) -> None:
    """One prompt, and the replies to it in the columns of their runs."""
    with st.container(border=True):
        st.html(f'<div class="pw-card pw-text pw-prompt pw-open">{escaped(sample.prompt)}</div>')
        said = {one.run: one for one in sample.replies}
        for column, label in zip(st.columns(len(labels)), labels, strict=True):
            one = said.get(label)
            column.caption(plain(label + (f", step {one.step}" if one else "")))
            if one is None:
                column.caption("Was not asked this.")
                continue
            column.html(f'<div class="pw-card pw-text">{escaped(one.reply) or "(nothing)"}</div>')
            if not one.ended:
                column.caption("Cut at the longest sample reply.")
