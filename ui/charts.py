"""Charts: training curves, rankings, lengths. One look, both themes."""

from collections.abc import Mapping, Sequence

import altair as alt
import pandas as pd
import streamlit as st

from db.models import TrainingStep
from eval.report.pictures import GREEN, GREY, INK, PALE, RED
from review.lengths import LongerSide, Spread
from review.progress import Standing
from texts.escape import escaped
from training.data.snapshot import Lengths, ResponderShare
from training.recipe.learning_curve import CHANCE, CurvePoint
from training.trainer.run_history import Point, points


def draw(chart: alt.Chart | alt.LayerChart, *, height: int) -> None:
    """Put a chart on the page, as wide as its place; a long title below it begins further left instead of being cut."""
    st.altair_chart(chart.properties(height=height).configure_axisX(titleAnchor="end"), width="stretch")


def coloured(field: str, colours: Mapping[str, str]) -> alt.Color:
    """A colour for each name in the field; `legend` says which."""
    return alt.Color(field, scale=alt.Scale(domain=list(colours), range=list(colours.values())), legend=None)


def legend(colours: Mapping[str, str], *, solid: str = "", dashed: str = "") -> str:
    """What a chart's colours and its two kinds of lines mean, as HTML to stand above it.

    A chart's own legend is only as wide as the chart: it cuts long names, and on a phone leaves no room to draw in.
    """
    found = [f'<span><b style="background: {colour}"></b>{escaped(name)}</span>' for name, colour in colours.items()]
    found += [f"<span><i></i>{escaped(solid)}</span>"] if solid else []
    found += [f'<span><i class="pw-dashed"></i>{escaped(dashed)}</span>'] if dashed else []
    return f'<div class="pw-legend">{"".join(found)}</div>'


CURVE_TABS = {
    "Learning": ("Loss", "Reward margin", "Reward accuracy"),
    "The two replies": ("Log-probability", "Reward"),
    "Pace": ("Learning rate", "Gradient norm", "Tokens per second"),
}
ROWS = {"training": GREEN, "validation": RED}
POINT = {"size": 16}
"""Small enough to leave a dashed line its dashes."""
CURVE_NOTES = {
    "Loss": "falls slowly; on validation rows too",
    "Reward margin": "rises, and stays below 2",
    "Reward accuracy": "share of pairs in the right order; the first steps, where all are ties, are left out",
    "Log-probability": "of whole replies: the chosen one's should not fall far",
    "Reward": "how much likelier than before training, times beta",
    "Learning rate": "rises, then falls along a cosine",
    "Gradient norm": "without peaks",
    "Tokens per second": "both sides of a pair",
}


def training_curves(steps: Sequence[TrainingStep], *, best_step: int | None = None) -> None:
    """Every number of a training by step, in small charts; validation in red, the kept step as a dashed line."""
    shown = {
        tab: [(name, found) for name in names if (found := points(steps, name))] for tab, names in CURVE_TABS.items()
    }
    shown = {tab: charts for tab, charts in shown.items() if charts}
    if not shown:
        return
    for place, charts in zip(st.tabs(list(shown)), shown.values(), strict=True):
        lines = {point.line for _, found in charts for point in found}
        sides = {"solid": "chosen reply", "dashed": "rejected reply"} if any("," in line for line in lines) else {}
        colours = {rows: colour for rows, colour in ROWS.items() if any(line.startswith(rows) for line in lines)}
        place.html(legend(colours, **sides))
        for column, (name, found) in zip(place.columns(len(charts)), charts, strict=True):
            column.markdown(f"**{name}**  \n:small[{CURVE_NOTES[name]}]")
            with column:
                draw(_curve(name, found, best_step), height=220)


def _curve(name: str, found: Sequence[Point], best_step: int | None) -> alt.Chart | alt.LayerChart:
    frame = pd.DataFrame(
        [
            {
                "step": point.step,
                "line": point.line,
                "rows": point.line.partition(",")[0],
                "reply": point.line.partition(", ")[2] or "both",
                name: point.value,
            }
            for point in found
        ]
    )
    both = frame["reply"].nunique() > 1
    x = alt.X("step:Q", title="step", axis=alt.Axis(tickMinStep=1, format="d"))
    axis = alt.Axis(format=".0%") if name == "Reward accuracy" else alt.Axis()
    lines: alt.Chart = (
        alt.Chart(frame)
        .mark_line(point=POINT)
        .encode(
            x=x,
            y=alt.Y(f"{name}:Q", title=None, axis=axis, scale=alt.Scale(zero=False)),
            color=coloured("rows:N", ROWS),
            strokeDash=alt.StrokeDash(
                "reply:N", scale=alt.Scale(domain=["chosen", "rejected"], range=[[1, 0], [4, 4]]), legend=None
            )
            if both
            else alt.value([1, 0]),
            detail="line:N",
            tooltip=["line", "step", alt.Tooltip(f"{name}:Q", format=".4g")],
        )
    )
    if best_step is None:
        return lines
    kept = pd.DataFrame([{"step": best_step, "what": f"step {best_step} was kept"}])
    rule = alt.Chart(kept).mark_rule(strokeDash=[4, 4], color=GREY).encode(x="step:Q", tooltip="what")
    both_layers: alt.LayerChart = lines + rule
    return both_layers


def stacked_bars(
    rows: Sequence[tuple[str, Mapping[str, int]]],
    colours: Mapping[str, str],
    *,
    names: tuple[str, str, str],
    title: str,
    height: int,
    label_limit: int = 260,
) -> None:
    """One bar for each name, made of counts by kind in the order of the colours.

    Args:
        names: what is said on a bar of the row, the kind and the count.
        title: what is counted.
    """
    row, kind, count = names
    order = list(colours)
    frame = pd.DataFrame(
        [
            {row: name, kind: what, count: number, "order": order.index(what)}
            for name, counts in rows
            for what, number in counts.items()
        ]
    )
    chart = (
        alt.Chart(frame)
        .mark_bar()
        .encode(
            x=alt.X(f"{count}:Q", title=title, axis=alt.Axis(tickMinStep=1)),
            y=alt.Y(f"{row}:N", sort=None, title=None, axis=alt.Axis(labelLimit=label_limit)),
            color=coloured(f"{kind}:N", colours),
            order="order:Q",
            tooltip=list(names),
        )
    )
    st.html(legend(colours))
    draw(chart, height=height)


def responder_bars(standings: Sequence[Standing]) -> None:
    """How often each Responder's replies were ranked better, even, both bad and worse beside another's."""
    stacked_bars(
        [
            (one.responder, {"better": one.better, "both good": one.even, "both bad": one.both_bad, "worse": one.worse})
            for one in standings
        ],
        {"better": GREEN, "both good": PALE, "both bad": GREY, "worse": RED},
        names=("Responder", "was", "rankings"),
        title="rankings by people, beside another's replies",
        height=60 + 46 * len(standings),
    )


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
    draw(ends + half + middle, height=60 + 46 * len(frame))


def longer_bars(sides: Sequence[LongerSide]) -> None:
    """How often each Responder's reply is the longer one of a pair, as long, or the shorter one."""
    stacked_bars(
        [
            (one.responder, {"longer": one.longer, "as long": one.same, "shorter": one.pairs - one.longer - one.same})
            for one in sides
        ],
        {"longer": GREEN, "as long": PALE, "shorter": GREY},
        names=("Responder", "is", "pairs"),
        title="offered pairs, beside another's reply",
        height=60 + 46 * len(sides),
    )


def learning_curve(points: Sequence[CurvePoint]) -> None:
    """Accuracy with its interval over the pairs that were learned from, and the line of guessing."""
    frame = pd.DataFrame(
        [
            {
                "pairs": point.pairs,
                "of the snapshot": f"{point.share * 100:.0f} %",
                "accuracy": point.accuracy,
                "low": point.low,
                "high": point.high,
                "right": point.right,
                "validation rows": point.rows,
            }
            for point in points
        ]
    )
    counted = ("of the snapshot:N", "pairs:Q", "right:Q", "validation rows:Q")
    tips = [
        *(alt.Tooltip(name) for name in counted),
        *(alt.Tooltip(f"{name}:Q", format=".1%") for name in ("accuracy", "low", "high")),
    ]
    base = alt.Chart(frame).encode(
        x=alt.X("pairs:Q", title="pairs that it learned from", scale=alt.Scale(zero=True, nice=True)), tooltip=tips
    )
    y = alt.Y(
        "accuracy:Q",
        title="validation pairs that it gets right",
        scale=alt.Scale(domain=[0, 1]),
        axis=alt.Axis(format="%"),
    )
    line = base.mark_line(color=GREEN, opacity=0.4).encode(y=y)
    intervals = base.mark_rule(strokeWidth=5, color=GREEN, opacity=0.5).encode(
        y=alt.Y("low:Q", scale=alt.Scale(domain=[0, 1])), y2="high:Q"
    )
    marks = base.mark_point(filled=True, size=160, color=GREEN, opacity=1).encode(y=y)
    shares = base.mark_text(align="left", dx=10, dy=-10, color=INK).encode(y=y, text="of the snapshot:N")
    guessing = pd.DataFrame({"y": [CHANCE], "words": ["guessing"]})
    chance = alt.Chart(guessing).mark_rule(strokeDash=[4, 4], color=GREY).encode(y="y:Q")
    named = (
        alt.Chart(guessing)
        .mark_text(align="left", dx=4, dy=-8, color=INK)
        .encode(x=alt.value(0), y="y:Q", text="words:N")
    )
    draw(chance + named + line + intervals + marks + shares, height=320)


def share_bars(shares: Sequence[ResponderShare]) -> None:
    """In how many pairs each Responder's reply, or a reviewer's correction, is the better or the worse one."""
    stacked_bars(
        [(one.label, {"better": one.chosen, "worse": one.rejected}) for one in shares],
        {"better": GREEN, "worse": RED},
        names=("Whose", "is", "pairs"),
        title="pairs",
        height=50 + 34 * len(shares),
        label_limit=220,
    )


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
