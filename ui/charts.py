"""Charts: training curves, rankings, lengths. One look, both themes."""

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from db.models import TrainingStep
from eval.report.pictures import GREEN, GREY, INK, PALE, RED
from review.lengths import LengthSummary, LongerSide
from review.progress import ResponderRecord
from texts.escape import escape_html
from training.data.snapshot import ResponderCount
from training.recipe.learning_curve import CHANCE, CurvePoint
from training.trainer.history import StepValue, chart_points


def draw_chart(chart: alt.Chart | alt.LayerChart, *, height: int) -> None:
    """Put a chart on the page, as wide as its place; a long title below it begins further left instead of being cut."""
    st.altair_chart(chart.properties(height=height).configure_axisX(titleAnchor="end"), width="stretch")


def colour_scale(field: str, colours: Mapping[str, str]) -> alt.Color:
    """A colour for each name in the field; `legend_html` says which."""
    return alt.Color(field, scale=alt.Scale(domain=list(colours), range=list(colours.values())), legend=None)


def legend_html(colours: Mapping[str, str], *, solid: str = "", dashed: str = "") -> str:
    """What a chart's colours and its two kinds of lines mean, as HTML to stand above it.

    A chart's own legend is only as wide as the chart: it cuts long names, and on a phone leaves no room to draw in.
    """
    marks = [
        f'<span><b style="background: {colour}"></b>{escape_html(name)}</span>' for name, colour in colours.items()
    ]
    marks += [f"<span><i></i>{escape_html(solid)}</span>"] if solid else []
    marks += [f'<span><i class="pw-dashed"></i>{escape_html(dashed)}</span>'] if dashed else []
    return f'<div class="pw-legend">{"".join(marks)}</div>'


def interval_dots(
    base: alt.Chart, value: str, *, title: str, domain: Sequence[float], axis: Any = alt.Undefined, **more: Any
) -> tuple[alt.Chart, alt.Chart]:
    """Two layers: a bar from each row's ``low`` to its ``high``, which `more` is for, and a dot at its value."""
    scale = alt.Scale(domain=list(domain))
    low = alt.X("low:Q", scale=scale, axis=axis, title=title)
    bars = base.mark_rule(strokeWidth=5, color=GREEN, opacity=0.5).encode(x=low, x2="high:Q", **more)
    dots = base.mark_point(filled=True, size=160, color=GREEN, opacity=1)
    return bars, dots.encode(x=alt.X(f"{value}:Q", scale=scale))


def step_lines(
    frame: pd.DataFrame,
    name: str,
    *,
    colour: alt.Color,
    dashes: Mapping[str, Sequence[int]],
    dashed_by: str,
    **more: Any,
) -> alt.Chart:
    """A training's number in the column `name` by step, in lines that the column `dashed_by` gives their dashes."""
    scale = alt.Scale(domain=list(dashes), range=list(dashes.values()))
    chart: alt.Chart = (
        alt.Chart(frame)
        .mark_line(point=POINT)
        .encode(
            x=alt.X("step:Q", title="step", axis=alt.Axis(tickMinStep=1, format="d")),
            y=alt.Y(
                f"{name}:Q",
                title=None,
                axis=alt.Axis(format=".0%") if name == "Reward accuracy" else alt.Axis(),
                scale=alt.Scale(zero=False),
            ),
            color=colour,
            strokeDash=alt.StrokeDash(f"{dashed_by}:N", scale=scale, legend=None) if dashes else alt.value([1, 0]),
            **more,
        )
    )
    return chart


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
    tabs = {
        tab: [(name, values) for name in names if (values := chart_points(steps, name))]
        for tab, names in CURVE_TABS.items()
    }
    tabs = {tab: charts for tab, charts in tabs.items() if charts}
    if not tabs:
        return
    for place, charts in zip(st.tabs(list(tabs)), tabs.values(), strict=True):
        lines = {point.line for _, values in charts for point in values}
        sides = {"solid": "chosen reply", "dashed": "rejected reply"} if any("," in line for line in lines) else {}
        colours = {rows: colour for rows, colour in ROWS.items() if any(line.startswith(rows) for line in lines)}
        place.html(legend_html(colours, **sides))
        for column, (name, values) in zip(place.columns(len(charts)), charts, strict=True):
            column.markdown(f"**{name}**  \n:small[{CURVE_NOTES[name]}]")
            with column:
                draw_chart(_curve(name, values, best_step), height=220)


def _curve(name: str, values: Sequence[StepValue], best_step: int | None) -> alt.Chart | alt.LayerChart:
    frame = pd.DataFrame(values).rename(columns={"value": name})
    frame["rows"] = [point.line.partition(",")[0] for point in values]
    frame["reply"] = [point.line.partition(", ")[2] or "both" for point in values]
    both = frame["reply"].nunique() > 1
    lines = step_lines(
        frame,
        name,
        colour=colour_scale("rows:N", ROWS),
        dashes={"chosen": [1, 0], "rejected": [4, 4]} if both else {},
        dashed_by="reply",
        detail="line:N",
        tooltip=["line", "step", alt.Tooltip(f"{name}:Q", format=".4g")],
    )
    if best_step is None:
        return lines
    kept = pd.DataFrame([{"step": best_step, "what": f"step {best_step} was kept"}])
    rule = alt.Chart(kept).mark_rule(strokeDash=[4, 4], color=GREY).encode(x="step:Q", tooltip="what")
    layers: alt.LayerChart = lines + rule
    return layers


def stacked_bars(
    counts: Mapping[str, Sequence[int]],
    colours: Mapping[str, str],
    *,
    names: tuple[str, str, str],
    title: str,
    limit: int = 260,
    height: int,
    size: int | None = None,
) -> None:
    """A bar for each key, of its counts in the order of the colours.

    Args:
        names: of a bar, of what is counted and of the count, where a pointer rests on them.
        limit: pixels of a bar's label; 0 for a single bar, which has none.
        size: pixels of a bar's height, unless it fills its place.
    """
    bar, kind, count = names
    frame = pd.DataFrame(
        [
            {bar: key, kind: name, count: number, "order": place}
            for key, numbers in counts.items()
            for place, (name, number) in enumerate(zip(colours, numbers, strict=True))
        ]
    )
    chart = (
        alt.Chart(frame)
        .mark_bar(size=size or alt.Undefined)
        .encode(
            x=alt.X(f"{count}:Q", title=title, axis=alt.Axis(tickMinStep=1)),
            y=alt.Y(f"{bar}:N", sort=None, title=None, axis=alt.Axis(labelLimit=limit) if limit else None),
            color=colour_scale(f"{kind}:N", colours),
            order="order:Q",
            tooltip=list(names if limit else names[1:]),
        )
    )
    st.html(legend_html(colours))
    draw_chart(chart, height=height)


def responder_bars(records: Sequence[ResponderRecord]) -> None:
    """How often each Responder's replies were ranked better, even, both bad and worse beside another's."""
    stacked_bars(
        {record.responder: (record.better, record.both_good, record.both_bad, record.worse) for record in records},
        {"better": GREEN, "both good": PALE, "both bad": GREY, "worse": RED},
        names=("Responder", "was", "rankings"),
        title="rankings by people, beside another's replies",
        height=60 + 46 * len(records),
    )


def longer_by_responder(sides: Sequence[LongerSide]) -> None:
    """How often each Responder's reply is the longer one of a pair, as long, or the shorter one."""
    stacked_bars(
        {side.label: (side.longer, side.equal, side.shorter) for side in sides},
        {"longer": GREEN, "as long": PALE, "shorter": GREY},
        names=("Responder", "is", "pairs"),
        title="offered pairs, beside another's reply",
        height=60 + 46 * len(sides),
    )


def share_bars(counts: Sequence[ResponderCount]) -> None:
    """In how many pairs each Responder's reply, or a reviewer's correction, is the better or the worse one."""
    stacked_bars(
        {count.label: (count.chosen, count.rejected) for count in counts},
        {"better": GREEN, "worse": RED},
        names=("Whose", "is", "pairs"),
        title="pairs",
        limit=220,
        height=50 + 34 * len(counts),
    )


def length_spreads(spreads: Sequence[LengthSummary], *, sides: bool = False) -> None:
    """The middle half of each spread of lengths in words as a bar, the median in it, the tenths as its ends.

    Args:
        sides: of the better and the worse replies, each in its colour; else of Responders.
    """
    name, thinner = ("Reply", 2) if sides else ("Responder", 0)
    cuts = ("a tenth below", "a quarter below", "median", "a quarter above", "a tenth above")
    quantiles = attrgetter("tenth", "quarter", "median", "three_quarters", "nine_tenths")
    frame = pd.DataFrame(
        [
            {name: spread.label}
            | dict(zip(cuts, quantiles(spread), strict=True))
            | ({} if sides else {"replies": spread.texts})
            for spread in spreads
        ]
    )
    tips = [alt.Tooltip(f"{name}:N"), *(alt.Tooltip(f"{cut}:Q", format=".0f") for cut in cuts)]
    tips += [] if sides else [alt.Tooltip("replies:Q")]
    colour: Any = alt.Undefined if sides else GREEN
    by_side: Any = colour_scale("Reply:N", {"better": GREEN, "worse": RED}) if sides else alt.Undefined
    axis = alt.Undefined if sides else alt.Axis(labelLimit=260)
    base = alt.Chart(frame).encode(y=alt.Y(f"{name}:N", sort=None, title=None, axis=axis), tooltip=tips)
    ends = base.mark_rule(color=GREY).encode(
        x=alt.X("a tenth below:Q", title="words in a reply", scale=alt.Scale(zero=True)), x2="a tenth above:Q"
    )
    half = base.mark_bar(color=colour, opacity=0.5, size=18 - thinner).encode(
        x="a quarter below:Q", x2="a quarter above:Q", color=by_side
    )
    middle = base.mark_tick(color=colour, thickness=4, size=26 - thinner).encode(x="median:Q", color=by_side)
    draw_chart(ends + half + middle, height=130 if sides else 60 + 46 * len(frame))


def draw_learning_curve(points: Sequence[CurvePoint]) -> None:
    """Accuracy with its interval over the pairs that were learned from, and the line of guessing."""
    rows = [{"of the snapshot": f"{point.share * 100:.0f} %", "validation rows": point.rows} for point in points]
    names = ("pairs", "accuracy", "low", "high", "right")
    frame = pd.DataFrame(rows).assign(**{name: [getattr(point, name) for point in points] for name in names})
    counts = ("of the snapshot:N", "pairs:Q", "right:Q", "validation rows:Q")
    tips = [*map(alt.Tooltip, counts), *(alt.Tooltip(f"{name}:Q", format=".1%") for name in names[1:4])]
    base = alt.Chart(frame).encode(
        x=alt.X("pairs:Q", title="pairs that it learned from", scale=alt.Scale(zero=True, nice=True)), tooltip=tips
    )
    scale = alt.Scale(domain=[0, 1])
    y = alt.Y("accuracy:Q", title="validation pairs that it gets right", scale=scale, axis=alt.Axis(format="%"))
    line = base.mark_line(color=GREEN, opacity=0.4).encode(y=y)
    intervals = base.mark_rule(strokeWidth=5, color=GREEN, opacity=0.5).encode(
        y=alt.Y("low:Q", scale=scale), y2="high:Q"
    )
    marks = base.mark_point(filled=True, size=160, color=GREEN, opacity=1).encode(y=y)
    shares = base.mark_text(align="left", dx=10, dy=-10, color=INK).encode(y=y, text="of the snapshot:N")
    guessing = alt.Chart(pd.DataFrame({"y": [CHANCE], "words": ["guessing"]})).encode(y="y:Q")
    chance = guessing.mark_rule(strokeDash=[4, 4], color=GREY)
    label = guessing.mark_text(align="left", dx=4, dy=-8, color=INK).encode(x=alt.value(0), text="words:N")
    draw_chart(chance + label + line + intervals + marks + shares, height=320)


def longer_reply_bar(better: LongerSide) -> None:
    """In how many pairs the better reply is the longer one, as long, or the shorter one."""
    stacked_bars(
        {"": (better.longer, better.equal, better.shorter)},
        {"the longer one is better": GREEN, "both are as long": PALE, "the shorter one is better": GREY},
        names=("row", "which", "pairs"),
        title="pairs",
        limit=0,
        height=90,
    )
