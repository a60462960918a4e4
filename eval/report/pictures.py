"""Pictures as SVG, and the colours that every picture has."""

import json
from collections.abc import Sequence

from eval.report.blocks import OutcomeBars, Picture
from texts.escape import escape_html

LABEL, RULER, ROW = 220, 420, 34
"""Widths of a picture's names and of its scale, and the height of a row, in its own units."""

GREEN, GREY, RED = "#0d9488", "#94a3b8", "#dc2626"
PALE = "#cbd5e1"
INK = "#718096"  # of words in a chart, to be read on white and on black
OUTCOMES = {"win": GREEN, "tie": PALE, "both bad": GREY, "loss": RED}


def picture_svg(picture: Picture) -> str:
    """Shares with intervals on a scale from 0 to 100 %; rows without one have the reason in their place."""
    height = ROW * len(picture.rows) + 48
    half = LABEL + RULER / 2
    parts = [f'<line x1="{half}" y1="4" x2="{half}" y2="{height - 44}" stroke="{GREY}" stroke-dasharray="4 4"/>']
    has_candidate = any(row.is_candidate for row in picture.rows)
    for place, row in enumerate(picture.rows):
        y = ROW * place + ROW / 2 + 6
        parts.append(_text(LABEL - 12, y + 4, _short(row.name), anchor="end"))
        if row.value is None:
            parts.append(_text(LABEL + 4, y + 4, _short(row.missing, 60)))
            continue
        colour = GREEN if row.is_candidate or not has_candidate else "#64748b"
        if row.low is not None and row.high is not None:
            x1, x2 = (LABEL + RULER * value for value in (row.low, row.high))
            ends = f'x1="{x1:.1f}" x2="{x2:.1f}" y1="{y}" y2="{y}"'
            parts.append(f'<line {ends} stroke="{colour}" stroke-width="5" opacity=".45"/>')
        parts.append(f'<circle cx="{LABEL + RULER * row.value:.1f}" cy="{y}" r="6" fill="{colour}"/>')
        parts.append(_text(LABEL + RULER + 10, y + 4, f"{row.value:.0%}"))
    for tick in (0, 0.25, 0.5, 0.75, 1):
        parts.append(_text(LABEL + RULER * tick, height - 26, f"{tick:.0%}", anchor="middle"))
    parts.append(_text(LABEL + RULER, height - 6, picture.scale, anchor="end"))
    words = (f"{row.name} {row.missing if row.value is None else f'{row.value:.0%}'}" for row in picture.rows)
    return _svg(parts, height, f"{picture.scale}: " + "; ".join(words))


def bars_svg(bars: OutcomeBars) -> str:
    """Wins, ties, both bad and losses as one bar for each baseline, with the colours' names above."""
    names = "".join(
        f'<span><b style="background: {colour}"></b>{escape_html(name)}</span>' for name, colour in OUTCOMES.items()
    )
    most = max((sum(counts.values()) for _, counts in bars.rows), default=1) or 1
    parts = []
    for place, (baseline, counts) in enumerate(bars.rows):
        y, x = ROW * place + 6, float(LABEL)
        parts.append(_text(LABEL - 12, y + 16, _short(baseline), anchor="end"))
        for name, count in counts.items():
            width = RULER * count / most
            box = f'x="{x:.1f}" y="{y}" width="{width:.1f}" height="22"'
            parts.append(f'<rect {box} fill="{OUTCOMES[name]}"><title>{escape_html(name)}: {count:,}</title></rect>')
            x += width
        parts.append(_text(x + 8, y + 16, f"{sum(counts.values()):,}"))
    words = "; ".join(f"{baseline}: {json.dumps(counts)[1:-1]}" for baseline, counts in bars.rows)
    return f'<p class="legend">{names}</p>' + _svg(parts, ROW * len(bars.rows) + 10, f"verdicts: {words}")


def _svg(parts: Sequence[str], height: float, label: str) -> str:
    box = f"0 0 {LABEL + RULER + 60} {height:.0f}"
    return f'<svg viewBox="{box}" role="img" aria-label="{escape_html(label)}">{"".join(parts)}</svg>'


def _text(x: float, y: float, text: str, *, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape_html(text)}</text>'


def _short(text: str, most: int = 30) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
