"""Charts of a Snapshot's data, and its rows as a model reads them."""

from collections.abc import Sequence

import altair as alt
import pandas as pd
import streamlit as st

from eval.report.pictures import GREEN, GREY, PALE, RED
from texts.escape import escaped
from training.data.classes_and_values import Labels, Values
from training.data.inspected_rows import InspectedRow, Remark
from training.data.inspection import Bin, Disagreement, Opening, ResponderWins, bins
from training.data.token_fit import TokenPiece
from ui.charts import coloured, draw, legend
from ui.safe import plain

SIDE_COLOURS = {"chosen": GREEN, "rejected": GREY}

_STYLE = """<style>
.pw-reads {display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: .6rem; margin-top: .6rem;}
@media (max-width: 640px) {.pw-reads {grid-template-columns: minmax(0, 1fr);}}
.pw-read {white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.6; font-size: .92rem;}
.pw-read b {color: color-mix(in srgb, #d97706 75%, currentColor); font-weight: 600;}
.pw-cut i, .pw-cut b {font-style: normal; border-radius: .2rem;
  box-shadow: inset 0 0 0 1px color-mix(in srgb, currentColor 30%, transparent);}
.pw-cut i:nth-child(even) {background: color-mix(in srgb, #0f766e 16%, transparent);}
.pw-cut u {text-decoration: none; opacity: .45;}
.pw-cut sup {font-size: .65rem; opacity: .7;}
</style>"""


def show_finding(found: Remark) -> None:
    """One sentence over a chart; a warning where a model would learn what nobody meant."""
    if found.warns:
        st.warning(plain(found.sentence), icon=":material/warning:")
    else:
        st.markdown(f"**{plain(found.sentence)}**")


def side_histogram(found: Sequence[Bin], *, title: str, limit: float | None = None) -> None:
    """How many replies of each side fall into each bar; ``limit`` is drawn as a line."""
    frame = pd.DataFrame([{"from": b.low, "to": b.high, "reply": b.side, "rows": b.count} for b in found])
    sides = list(dict.fromkeys(frame["reply"]))
    colours = SIDE_COLOURS if set(sides) <= set(SIDE_COLOURS) else dict(zip(sides, (GREEN, GREY, RED), strict=False))
    bars = (
        alt.Chart(frame)
        .mark_bar(opacity=0.7, binSpacing=0)
        .encode(
            x=alt.X("from:Q", title=title, bin="binned"),
            x2="to:Q",
            y=alt.Y("rows:Q", title="rows", stack=None, axis=alt.Axis(tickMinStep=1)),
            color=coloured("reply:N", colours),
            tooltip=["reply", "from", "to", "rows"],
        )
    )
    chart: alt.Chart | alt.LayerChart = bars
    if limit is not None:
        line = alt.Chart(pd.DataFrame({"limit": [limit]})).encode(x="limit:Q", tooltip=["limit"])
        chart = bars + line.mark_rule(color=RED, strokeDash=[6, 4], strokeWidth=2)
    st.html(legend(colours))
    draw(chart, height=240)


def difference_bars(differences: Sequence[int]) -> None:
    """By how many words the chosen reply is longer, the rows where it is apart from those where it is shorter."""
    sides = {
        "the longer one won": [one for one in differences if one > 0],
        "the shorter one won": [one for one in differences if one < 0],
        "as long": [0 for one in differences if one == 0],
    }
    colours = dict(zip(sides, (GREEN, GREY, PALE), strict=True))
    frame = pd.DataFrame([{"from": b.low, "to": b.high, "row": b.side, "rows": b.count} for b in bins(sides)])
    chart = (
        alt.Chart(frame)
        .mark_bar(binSpacing=0)
        .encode(
            x=alt.X("from:Q", title="words by which the chosen reply is longer", bin="binned"),
            x2="to:Q",
            y=alt.Y("rows:Q", title="rows", axis=alt.Axis(tickMinStep=1)),
            color=coloured("row:N", colours),
            tooltip=["row", "from", "to", "rows"],
        )
    )
    st.html(legend(colours))
    draw(chart, height=240)


def responder_shares(found: Sequence[ResponderWins]) -> None:
    """How often each Responder's replies were chosen beside another's, with the interval and the half-way line."""
    frame = pd.DataFrame(
        [
            {"Responder": one.responder, "share": one.won.rate, "low": one.won.low, "high": one.won.high}
            | {"rows": one.won.n, "corrected": one.corrected}
            for one in found
            if one.won.n
        ]
    )
    if frame.empty:
        return
    scale = alt.Scale(domain=[0, 1])
    y = alt.Y("Responder:N", sort=None, title=None, axis=alt.Axis(labelLimit=260))
    tips = [alt.Tooltip(f"{name}:Q", format=".0%") for name in ("share", "low", "high")]
    counts = [alt.Tooltip(f"{name}:Q") for name in ("rows", "corrected")]
    base = alt.Chart(frame).encode(y=y, tooltip=[alt.Tooltip("Responder:N"), *tips, *counts])
    rule = base.mark_rule(strokeWidth=5, color=GREEN, opacity=0.5).encode(
        x=alt.X("low:Q", scale=scale, axis=alt.Axis(format="%"), title="chosen, of the rows beside another's reply"),
        x2="high:Q",
    )
    point = base.mark_point(filled=True, size=160, color=GREEN, opacity=1).encode(x=alt.X("share:Q", scale=scale))
    half = alt.Chart(pd.DataFrame({"x": [0.5]})).mark_rule(strokeDash=[4, 4], color=GREY).encode(x="x:Q")
    draw(half + rule + point, height=60 + 46 * len(frame))


def disagreement_bar(found: Disagreement) -> None:
    """The ranked pairs by what people said of each, as one bar."""
    colours = {
        "all say the same": GREEN,
        "somebody saw no difference": PALE,
        "somebody said the opposite": RED,
        "one person or none": GREY,
    }
    same = found.several - found.opposite.count - found.even
    counts = (same, found.even, found.opposite.count, found.pairs - found.several)
    frame = pd.DataFrame(
        [
            {"pair": name, "pairs": count, "order": place}
            for place, (name, count) in enumerate(zip(colours, counts, strict=True))
        ]
    )
    chart = (
        alt.Chart(frame)
        .mark_bar(size=28)
        .encode(
            x=alt.X("pairs:Q", title="ranked pairs behind the rows", axis=alt.Axis(tickMinStep=1)),
            color=coloured("pair:N", colours),
            order="order:Q",
            tooltip=["pair", "pairs"],
        )
    )
    st.html(legend(colours))
    draw(chart, height=110)


def paired_bars(rows: Sequence[tuple[str, int, int]], *, title: str) -> None:
    """Two bars for each name: how often it is chosen, and how often rejected."""
    frame = pd.DataFrame(
        [
            {"name": name, "reply": side, "rows": count}
            for name, *counts in rows
            for side, count in zip(("chosen", "rejected"), counts, strict=True)
        ]
    )
    chart = (
        alt.Chart(frame)
        .mark_bar()
        .encode(
            x=alt.X("rows:Q", title=title, axis=alt.Axis(tickMinStep=1)),
            y=alt.Y("name:N", sort=None, title=None, axis=alt.Axis(labelLimit=320)),
            yOffset=alt.YOffset("reply:N"),
            color=coloured("reply:N", SIDE_COLOURS),
            tooltip=["name", "reply", "rows"],
        )
    )
    st.html(legend(SIDE_COLOURS))
    draw(chart, height=50 + 34 * len(rows))


def label_bars(found: Labels) -> None:
    """How often each label is chosen and rejected, and how many replies are none."""
    rows = [(one.label, one.chosen, one.rejected) for one in found.counts]
    paired_bars([*rows, ("no label of these", *found.elsewhere)] if any(found.elsewhere) else rows, title="rows")


def opening_bars(found: Sequence[Opening]) -> None:
    """The commonest first words by side."""
    rows = [(f"{one.words} …", one.chosen, one.rejected) for one in found]
    paired_bars(rows, title="replies that begin so, after a greeting")


def round_bars(found: Values) -> None:
    """How many values are round, beside how many would be by chance."""
    frame = pd.DataFrame(
        [
            {
                "multiple of": "whole numbers" if one.base == 1 else f"multiples of {one.base:,}",
                "values": one.count / one.n,
                "chance": one.chance,
                "of": one.n,
            }
            for one in found.rounds
        ]
    )
    y = alt.Y("multiple of:N", sort=None, title=None)
    tips = [*(alt.Tooltip(f"{name}:Q", format=".1%") for name in ("values", "chance")), "of:Q"]
    bars = (
        alt.Chart(frame)
        .mark_bar(color=GREEN, opacity=0.6)
        .encode(
            x=alt.X("values:Q", title="share of the chosen values; the line is chance", axis=alt.Axis(format="%")),
            y=y,
            tooltip=tips,
        )
    )
    chance = alt.Chart(frame).mark_tick(color=RED, thickness=3, size=22).encode(x="chance:Q", y=y, tooltip=tips)
    draw(bars + chance, height=50 + 30 * len(frame))


def digit_bars(digits: Sequence[int]) -> None:
    """What the values end in; where nobody rounds, every digit is as frequent."""
    frame = pd.DataFrame([{"digit": str(digit), "values": count} for digit, count in enumerate(digits)])
    bars = (
        alt.Chart(frame)
        .mark_bar(color=GREEN, opacity=0.6)
        .encode(
            x=alt.X("digit:N", title="last digit; the line is chance", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("values:Q", title="values", axis=alt.Axis(tickMinStep=1)),
            tooltip=["digit", "values"],
        )
    )
    mean = alt.Chart(pd.DataFrame({"mean": [sum(digits) / 10]})).mark_rule(color=RED, strokeDash=[6, 4])
    draw(bars + mean.encode(y="mean:Q"), height=200)


def show_style() -> None:
    """What `show_row` needs, once on a page."""
    st.html(_STYLE)


def show_row(one: InspectedRow, sides: Sequence[Sequence[TokenPiece]], *, tokens: str, cut: bool) -> None:
    """One row: the prompt above, the chosen and the rejected reply side by side.

    Args:
        sides: the pieces of prompt, chosen and rejected reply.
        tokens: their lengths in words for people.
        cut: show each token by itself.
    """
    source = f"correction {one.row.correction_id}" if one.corrected else f"ranking {one.row.ranking_id}"
    head = f"Row {one.number} · {tokens} · {source}, said by {one.row.reviewer} · {one.split.value.lower()}"
    notes = '<span class="pw-simulated">simulated: no person said so</span>' if one.row.simulated else ""
    notes += '<span class="pw-simulated">synthetic prompt</span>' if one.row.synthetic else ""
    prompt, chosen, rejected = (pieces_html(side, cut=cut) for side in sides)
    kind = "pw-card pw-read pw-cut" if cut else "pw-card pw-read"
    cuts = [" · cut off at the token limit" if was else "" for was in (one.chosen_cut, one.rejected_cut)]
    st.html(
        f'<div class="pw-label">{escaped(head)}{notes}</div><div class="{kind}">{prompt}</div><div class="pw-reads">'
        f'<div><div class="pw-label">Chosen · {escaped(one.chosen_by + cuts[0])}</div>'
        f'<div class="{kind} pw-chosen">{chosen}</div></div>'
        f'<div><div class="pw-label">Rejected · {escaped(one.rejected_by + cuts[1])}</div>'
        f'<div class="{kind}">{rejected}</div></div></div>'
    )


def pieces_html(found: Sequence[TokenPiece], *, cut: bool) -> str:
    """The pieces as HTML that shows exactly their text; with ``cut``, line breaks show and each is by itself."""
    html = []
    for one in found:
        text = escaped(one.text)
        if cut:
            text = text.replace("\n", "<u>↵</u>\n")
            text += f"<sup>{one.tokens}</sup>" if one.tokens > 1 else ""
        html.append(f"<b>{text}</b>" if one.special else f"<i>{text}</i>" if cut else text)
    return "".join(html)
