"""The blocks of a report on the screen."""

from collections.abc import Iterable, Mapping, Sequence

import altair as alt
import pandas as pd
import streamlit as st

from eval.report.blocks import Block, Dot, Grid, Medium, OutcomeBars, Picture, Sentence, Sentences, Sheet
from eval.report.pictures import GREEN, GREY, INK, OUTCOMES
from texts.escape import escape_html
from ui.charts import draw_chart, legend_html, stacked_bars
from ui.safe import plain, show_table

MARKS = {True: ("⚠", "#d97706"), False: ("✓", "#0d9488")}


def show_blocks(blocks: Iterable[Block]) -> None:
    """One below the other; what stands in the file only is left out."""
    for block in blocks:
        match block:
            case Sentence(on=Medium.FILE) | Picture(on=Medium.FILE):
                pass
            case Sentence(text):
                st.caption(plain(text))
            case Sentences():
                _list(block)
            case Picture():
                _picture(block)
            case OutcomeBars(rows):
                names = ("against", "outcome", "judgments")
                counts = {name: [by_outcome[outcome] for outcome in OUTCOMES] for name, by_outcome in rows}
                stacked_bars(counts, OUTCOMES, names=names, title="judgments", height=60 + 46 * len(rows))
            case Grid(wide=True):
                shown, reasons = block.in_short
                show_table(shown, whole=True)
                for reason in reasons:
                    st.caption(plain(reason))
            case Grid(rows, why):
                show_table(rows, whole=True) if rows else st.caption(plain(why))
            case Sheet(_, rows, note):
                show_table([{"What": name, "Value": value} for name, value in rows], whole=True)
                if note:
                    st.caption(plain(note))


def _list(block: Sentences) -> None:
    if block.title:
        st.markdown(f"**{block.title}**")
    if all(line.warns is None for line in block.lines):
        st.html("<ul>" + "".join(f"<li>{escape_html(line.text)}</li>" for line in block.lines) + "</ul>")
        return
    lines = []
    for line in block.lines:
        mark, colour = MARKS[bool(line.warns)]
        lines.append(
            f'<div style="display: flex; gap: .6rem; margin-bottom: .35rem"><b style="color: {colour}">{mark}</b>'
            f"<span>{escape_html(line.text)}</span></div>"
        )
    st.html("".join(lines))


def _picture(picture: Picture) -> None:
    """Values with their intervals; rows without one are named below, with the reason."""
    if picture.title:
        st.markdown(f"**{picture.title}**")
    rows = [row for row in picture.rows if row.value is not None]
    candidate = next((row.name for row in rows if row.is_candidate), "")
    if candidate:
        st.html(legend_html({candidate: GREEN, "the others": GREY}))
    if rows and picture.shares:
        draw_chart(_shares(rows, picture.scale, two_colours=bool(candidate)), height=80 + 40 * len(rows))
    elif rows:
        draw_chart(_points(rows, picture.scale), height=60 + 40 * len(rows))
    missing: dict[str, list[str]] = {}
    for row in picture.rows:
        if row.missing and not row.is_candidate:
            missing.setdefault(row.missing, []).append(row.name)
    for reason, names in missing.items():
        st.caption(plain(f"{', '.join(names)}: {reason}"))


def _base(rows: Sequence[Dot], value: str, form: str, more: Mapping[str, object], tip: alt.Tooltip) -> alt.Chart:
    """What both kinds of picture are drawn from: the value by its name and format, and further columns."""
    columns = {
        "name": [row.name for row in rows],
        value: [row.value for row in rows],
        "low": [row.value if row.low is None else row.low for row in rows],
        "high": [row.value if row.high is None else row.high for row in rows],
    }
    tips = [alt.Tooltip("name:N"), *(alt.Tooltip(f"{c}:Q", format=form) for c in (value, "low", "high")), tip]
    y = alt.Y("name:N", sort=None, title=None, axis=alt.Axis(labelLimit=260))
    return alt.Chart(pd.DataFrame({**columns, **more})).encode(y=y, tooltip=tips)


def _shares(rows: Sequence[Dot], scale: str, *, two_colours: bool) -> alt.LayerChart:
    x = alt.Scale(domain=[0, 1])
    colours = alt.Scale(domain=["candidate", "other"], range=[GREEN, GREY])
    more = {"n": [row.n for row in rows], "who": ["candidate" if row.is_candidate else "other" for row in rows]}
    base = _base(rows, "rate", ".1%", more, alt.Tooltip("n:Q")).encode(
        color=alt.Color("who:N", scale=colours, legend=None) if two_colours else alt.value(GREEN)
    )
    bars = base.mark_rule(strokeWidth=5, opacity=0.5).encode(
        x=alt.X("low:Q", scale=x, axis=alt.Axis(format="%"), title=scale), x2="high:Q"
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


def _points(rows: Sequence[Dot], scale: str) -> alt.LayerChart:
    tip = alt.Tooltip("best:Q", format=".0%", title="best in so many resamples")
    base = _base(rows, "elo", ".0f", {"best": [row.best for row in rows]}, tip)
    bars = base.mark_rule(strokeWidth=5, color=GREEN, opacity=0.5).encode(x=alt.X("low:Q", title=scale), x2="high:Q")
    both: alt.LayerChart = bars + base.mark_point(filled=True, size=160, color=GREEN, opacity=1).encode(x="elo:Q")
    return both
