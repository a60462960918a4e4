"""Trainings side by side: tables, curves over each other, sample replies beside each other."""

from collections.abc import Sequence

import altair as alt
import pandas as pd
import streamlit as st

from release.compare import ROWS, ComparedValue, MetricPoint, PromptReplies, RunComparison
from texts.escape import escape_html
from ui.charts import colour_scale, draw_chart, legend_html, step_lines
from ui.safe import plain, show_table

COLOURS = ["#0d9488", "#d97706", "#3b82f6", "#c026d3"]
"""One for each run that can be compared; to be told apart on white and on black."""
DASHES = {"training": [1, 0], "validation": [5, 4]}
CURVES = {
    "Loss": "lower fits the rows better; compare only the same loss and beta",
    "Reward accuracy": "share of pairs in the right order; the first steps, where all are ties, are left out",
    "Reward margin": "how far apart; above 2 is mostly over-fitting",
}


def show_comparison(comparison: RunComparison) -> None:
    """Draw what differs, the curves, what came of it, and what the models said."""
    labels = comparison.labels
    if comparison.simulated:
        st.html('<span class="pw-simulated">partly simulated feedback, not only people\'s</span>')
    st.subheader("What differs")
    if different := [setting for setting in comparison.settings if setting.differs]:
        _show_table(labels, different)
    else:
        st.caption("Nothing: base, snapshot and every knob are the same.")
    with st.expander("What is the same"):
        _show_table(labels, [setting for setting in comparison.settings if not setting.differs])
    st.subheader("How they went")
    if comparison.points:
        _show_curves(comparison.points, labels)
    _show_table(labels, comparison.outcomes)
    st.caption("The trainer's numbers say nothing of how good replies are: read the replies, and judge them blind.")
    st.subheader("What the models said at the end")
    answering = {reply.run for sample in comparison.samples for reply in sample.replies}
    if silent := [label for label in labels if label not in answering]:
        st.caption(plain(f"No sample replies were written by: {', '.join(silent)}."))
    for sample in comparison.samples:
        _show_samples(sample, [label for label in labels if label in answering])


def _show_table(labels: Sequence[str], values: Sequence[ComparedValue]) -> None:
    rows = [{"": value.label, **dict(zip(labels, value.values, strict=True))} for value in values]
    show_table(rows, whole=True)


def _show_curves(points: Sequence[MetricPoint], labels: Sequence[str]) -> None:
    """Loss, accuracy and margin by step, one colour a run; training rows as lines, validation rows dashed."""
    colours = dict(zip(labels, COLOURS, strict=False))
    st.html(legend_html(colours, solid="training rows", dashed="validation rows"))
    frame = pd.DataFrame(
        [(point.run, ROWS[point.split], point.step, point.loss, point.accuracy, point.margin) for point in points],
        columns=["Training", "rows", "step", *CURVES],
    )
    for column, (name, note) in zip(st.columns(len(CURVES)), CURVES.items(), strict=True):
        rows = frame.dropna(subset=[name])
        if rows.empty:
            continue
        tips = ["Training", "rows", "step", alt.Tooltip(f"{name}:Q", format=".4f")]
        colour = colour_scale("Training:N", colours)
        column.markdown(f"**{name}**  \n:small[{note}]")
        with column:
            draw_chart(step_lines(rows, name, colour=colour, dashes=DASHES, dashed_by="rows", tooltip=tips), height=220)


def _show_samples(sample: PromptReplies, labels: Sequence[str]) -> None:
    """One prompt, and the replies to it in the columns of their runs."""
    with st.container(border=True):
        st.html(f'<div class="pw-card pw-text pw-prompt pw-open">{escape_html(sample.prompt)}</div>')
        replies = {reply.run: reply for reply in sample.replies}
        for column, label in zip(st.columns(len(labels)), labels, strict=True):
            reply = replies.get(label)
            column.caption(plain(label + (f", step {reply.step}" if reply else "")))
            if reply is None:
                column.caption("Was not asked this.")
                continue
            column.html(f'<div class="pw-card pw-text">{escape_html(reply.reply) or "(nothing)"}</div>')
            if not reply.ended:
                column.caption("Cut at the longest sample reply.")
