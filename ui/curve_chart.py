"""The chart of a LearningCurve."""

from collections.abc import Sequence

import altair as alt
import pandas as pd

from eval.report.pictures import GREEN, GREY, INK
from training.recipe.learning_curve import CHANCE, Point
from ui.charts import draw


def learning_curve(points: Sequence[Point]) -> None:
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
