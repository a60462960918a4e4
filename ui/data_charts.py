"""Charts of a Snapshot's data, and its rows as a model reads them."""

from collections.abc import Mapping, Sequence

import altair as alt
import pandas as pd
import streamlit as st

from eval.report.pictures import GREEN, GREY, PALE, RED
from texts.escape import escape_html
from training.data.classes_and_values import Labels, Values
from training.data.inspected_rows import InspectedRow, Remark
from training.data.inspection import Bin, Disagreement, Opening, ResponderWins, bins
from training.data.token_fit import TokenPiece
from ui.charts import colour_scale, draw_chart, interval_dots, legend_html, stacked_bars
from ui.safe import plain

SIDE_COLOURS = {"chosen": GREEN, "rejected": GREY}

_STYLE = """<style>
.pw-reads {display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: .6rem; margin-top: .6rem;}
@media (max-width: 640px) {.pw-reads {grid-template-columns: minmax(0, 1fr);}}
.pw-read {unicode-bidi: plaintext; text-align: start; white-space: pre-wrap;
  overflow-wrap: anywhere; line-height: 1.6; font-size: .92rem;}
.pw-read b {color: color-mix(in srgb, #d97706 75%, currentColor); font-weight: 600;}
.pw-cut i, .pw-cut b {font-style: normal; border-radius: .2rem;
  box-shadow: inset 0 0 0 1px color-mix(in srgb, currentColor 30%, transparent);}
.pw-cut i:nth-child(even) {background: color-mix(in srgb, #0f766e 16%, transparent);}
.pw-cut u {text-decoration: none; opacity: .45;}
.pw-cut sup {font-size: .65rem; opacity: .7;}
</style>"""


def show_finding(remark: Remark) -> None:
    """One sentence over a chart; a warning where a model would learn what nobody meant."""
    if remark.warns:
        st.warning(plain(remark.sentence), icon=":material/warning:")
    else:
        st.markdown(f"**{plain(remark.sentence)}**")


def _histogram(rows: Sequence[Bin], of: str, colours: Mapping[str, str], *, title: str, overlaid: bool) -> alt.Chart:
    """Bars of the bins, with their legend above; `of` is what a bin's side is called."""
    frame = pd.DataFrame([{"from": row.low, "to": row.high, of: row.side, "rows": row.count} for row in rows])
    st.html(legend_html(colours))
    bars = alt.Chart(frame).mark_bar(binSpacing=0, opacity=0.7 if overlaid else alt.Undefined)
    stack = None if overlaid else alt.Undefined
    chart: alt.Chart = bars.encode(
        x=alt.X("from:Q", title=title, bin="binned"),
        x2="to:Q",
        y=alt.Y("rows:Q", title="rows", stack=stack, axis=alt.Axis(tickMinStep=1)),
        color=colour_scale(f"{of}:N", colours),
        tooltip=[of, "from", "to", "rows"],
    )
    return chart


def side_histogram(rows: Sequence[Bin], *, title: str, limit: float | None = None) -> None:
    """How many replies of each side fall into each bar; ``limit`` is drawn as a line."""
    sides = list(dict.fromkeys(row.side for row in rows))
    colours = SIDE_COLOURS if set(sides) <= set(SIDE_COLOURS) else dict(zip(sides, (GREEN, GREY, RED), strict=False))
    chart: alt.Chart | alt.LayerChart = _histogram(rows, "reply", colours, title=title, overlaid=True)
    if limit is not None:
        line = alt.Chart(pd.DataFrame({"limit": [limit]})).encode(x="limit:Q", tooltip=["limit"])
        chart += line.mark_rule(color=RED, strokeDash=[6, 4], strokeWidth=2)
    draw_chart(chart, height=240)


def difference_bars(differences: Sequence[int]) -> None:
    """By how many words the chosen reply is longer, the rows where it is apart from those where it is shorter."""
    sides = {
        "the longer one won": [words for words in differences if words > 0],
        "the shorter one won": [words for words in differences if words < 0],
        "as long": [words for words in differences if words == 0],
    }
    colours = dict(zip(sides, (GREEN, GREY, PALE), strict=True))
    title = "words by which the chosen reply is longer"
    draw_chart(_histogram(bins(sides), "row", colours, title=title, overlaid=False), height=240)


def responder_win_chart(records: Sequence[ResponderWins]) -> None:
    """How often each Responder's replies were chosen beside another's, with the interval and the half-way line."""
    frame = pd.DataFrame(
        [
            {"Responder": record.responder, "share": won.rate, "low": won.low, "high": won.high}
            | {"rows": won.n, "corrected": record.corrected}
            for record in records
            if (won := record.won).n
        ]
    )
    if frame.empty:
        return
    y = alt.Y("Responder:N", sort=None, title=None, axis=alt.Axis(labelLimit=260))
    tips = [alt.Tooltip(f"{name}:Q", format=".0%") for name in ("share", "low", "high")]
    counts = [alt.Tooltip(f"{name}:Q") for name in ("rows", "corrected")]
    base = alt.Chart(frame).encode(y=y, tooltip=[alt.Tooltip("Responder:N"), *tips, *counts])
    title = "chosen, of the rows beside another's reply"
    bars, dots = interval_dots(base, "share", title=title, domain=(0, 1), axis=alt.Axis(format="%"))
    half = alt.Chart(pd.DataFrame({"x": [0.5]})).mark_rule(strokeDash=[4, 4], color=GREY).encode(x="x:Q")
    draw_chart(half + bars + dots, height=60 + 46 * len(frame))


def disagreement_bar(disagreement: Disagreement) -> None:
    """The ranked pairs by what people said of each, as one bar."""
    several, opposite, even = disagreement.ranked_by_several, disagreement.opposite.count, disagreement.ties
    counts = {
        ("all say the same", GREEN): several - opposite - even,
        ("somebody saw no difference", PALE): even,
        ("somebody said the opposite", RED): opposite,
        ("one person or none", GREY): disagreement.pairs - several,
    }
    title = "ranked pairs behind the rows"
    names = ("row", "pair", "pairs")
    stacked_bars(
        {"": list(counts.values())}, dict(counts.keys()), names=names, title=title, limit=0, height=110, size=28
    )


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
            color=colour_scale("reply:N", SIDE_COLOURS),
            tooltip=["name", "reply", "rows"],
        )
    )
    st.html(legend_html(SIDE_COLOURS))
    draw_chart(chart, height=50 + 34 * len(rows))


def label_bars(labels: Labels) -> None:
    """How often each label is chosen and rejected, and how many replies are none."""
    rows = [(count.label, count.chosen, count.rejected) for count in labels.counts]
    paired_bars([*rows, ("no label of these", *labels.unlabelled)] if any(labels.unlabelled) else rows, title="rows")


def opening_bars(openings: Sequence[Opening]) -> None:
    """The commonest first words by side."""
    rows = [(f"{opening.words} …", opening.chosen, opening.rejected) for opening in openings]
    paired_bars(rows, title="replies that begin so, after a greeting")


def round_bars(values: Values) -> None:
    """How many values are round, beside how many would be by chance."""
    frame = pd.DataFrame(
        [
            {
                "multiple of": "whole numbers" if rounding.base == 1 else f"multiples of {rounding.base:,}",
                "values": rounding.count / rounding.n,
                "chance": rounding.chance,
                "of": rounding.n,
            }
            for rounding in values.rounds
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
    draw_chart(bars + chance, height=50 + 30 * len(frame))


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
    draw_chart(bars + mean.encode(y="mean:Q"), height=200)


def show_style() -> None:
    """What `show_row` needs, once on a page."""
    st.html(_STYLE)


def show_row(inspected: InspectedRow, sides: Sequence[Sequence[TokenPiece]], *, tokens: str, cut: bool) -> None:
    """One row: the prompt above, the chosen and the rejected reply side by side.

    Args:
        sides: the pieces of prompt, chosen and rejected reply.
        tokens: their lengths in words for people.
        cut: show each token by itself.
    """
    row = inspected.frozen
    source = f"correction {row.correction_id}" if inspected.corrected else f"ranking {row.ranking_id}"
    head = f"Row {inspected.number} · {tokens} · {source}, said by {row.reviewer} · {inspected.split.value.lower()}"
    notes = '<span class="pw-simulated">simulated: no person said so</span>' if row.simulated else ""
    notes += '<span class="pw-simulated">synthetic prompt</span>' if row.synthetic else ""
    prompt, chosen, rejected = (pieces_html(side, cut=cut) for side in sides)
    kind = "pw-card pw-read pw-cut" if cut else "pw-card pw-read"
    cuts = [" · cut off at the token limit" * cut_off for cut_off in (inspected.chosen_cut, inspected.rejected_cut)]
    st.html(
        f'<div class="pw-label">{escape_html(head)}{notes}</div><div class="{kind}">{prompt}</div>'
        '<div class="pw-reads">'
        f'<div><div class="pw-label">Chosen · {escape_html(inspected.chosen_by + cuts[0])}</div>'
        f'<div class="{kind} pw-chosen">{chosen}</div></div>'
        f'<div><div class="pw-label">Rejected · {escape_html(inspected.rejected_by + cuts[1])}</div>'
        f'<div class="{kind}">{rejected}</div></div></div>'
    )


def pieces_html(pieces: Sequence[TokenPiece], *, cut: bool) -> str:
    """The pieces as HTML that shows exactly their text; with ``cut``, line breaks show and each is by itself."""
    html = []
    for piece in pieces:
        text = escape_html(piece.text)
        if cut:
            text = text.replace("\n", "<u>↵</u>\n")
            text += f"<sup>{piece.tokens}</sup>" if piece.tokens > 1 else ""
        html.append(f"<b>{text}</b>" if piece.special else f"<i>{text}</i>" if cut else text)
    return "".join(html)
