"""Pictures of rates and outcomes as SVG, and the colours that every picture has."""

import json
from collections.abc import Sequence

from eval.report.findings import Dot
from stats.contrasts import HeadToHead
from texts.escape import escaped

LABEL, RULER, ROW = 220, 420, 34
"""Widths of a picture's names and of its scale, and the height of a row, in its own units."""


GREEN, GREY, RED = "#0d9488", "#94a3b8", "#dc2626"
PALE = "#cbd5e1"
INK = "#718096"
"""Of words in a chart, to be read on white and on black."""


OUTCOMES = {"win": GREEN, "tie": PALE, "both bad": GREY, "loss": RED}


def outcomes(one: HeadToHead) -> dict[str, int]:
    """Counts by the names of `OUTCOMES`."""
    return {"win": one.wins, "tie": one.ties - one.both_bad, "both bad": one.both_bad, "loss": one.losses}


def dots_svg(dots: Sequence[Dot], *, title: str) -> str:
    """Rates with intervals on a scale from 0 to 100 %, as SVG; rows without a rate have the reason in their place."""
    height = ROW * len(dots) + 48
    half = LABEL + RULER / 2
    parts = [_line(half, 4, half, height - 44, GREY, dash=True)]
    for at, dot in enumerate(dots):
        y = ROW * at + ROW / 2 + 6
        parts.append(_text(LABEL - 12, y + 4, _short(dot.name), anchor="end"))
        if dot.rate is None:
            parts.append(_text(LABEL + 4, y + 4, _short(dot.missing, 60)))
            continue
        colour = GREEN if dot.is_candidate or not any(one.is_candidate for one in dots) else "#64748b"
        if dot.low is not None and dot.high is not None:
            x1, x2 = (LABEL + RULER * value for value in (dot.low, dot.high))
            parts.append(
                f'<line x1="{x1:.1f}" x2="{x2:.1f}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="5" '
                'opacity=".45"/>'
            )
        parts.append(f'<circle cx="{LABEL + RULER * dot.rate:.1f}" cy="{y}" r="6" fill="{colour}"/>')
        parts.append(_text(LABEL + RULER + 10, y + 4, f"{dot.rate:.0%}"))
    for tick in (0, 0.25, 0.5, 0.75, 1):
        parts.append(_text(LABEL + RULER * tick, height - 26, f"{tick:.0%}", anchor="middle"))
    parts.append(_text(LABEL + RULER, height - 6, title, anchor="end"))
    return _svg(parts, height, f"{title}: " + "; ".join(_in_words(dot) for dot in dots))


def bars_svg(contrasts: Sequence[HeadToHead]) -> str:
    """Wins, ties, both bad and losses as one bar for each baseline, with the colours' names above."""
    names = "".join(
        f'<span><b style="background: {colour}"></b>{escaped(name)}</span>' for name, colour in OUTCOMES.items()
    )
    most = max((one.n for one in contrasts), default=1) or 1
    parts = []
    for at, one in enumerate(contrasts):
        y, x = ROW * at + 6, float(LABEL)
        parts.append(_text(LABEL - 12, y + 16, _short(one.baseline), anchor="end"))
        for name, count in outcomes(one).items():
            width = RULER * count / most
            parts.append(
                f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="22" fill="{OUTCOMES[name]}"><title>'
                f"{escaped(name)}: {count:,}</title></rect>"
            )
            x += width
        parts.append(_text(x + 8, y + 16, f"{one.n:,}"))
    said = "; ".join(f"{one.baseline}: {json.dumps(outcomes(one))[1:-1]}" for one in contrasts)
    return f'<p class="legend">{names}</p>' + _svg(parts, ROW * len(contrasts) + 10, f"verdicts: {said}")


def _in_words(dot: Dot) -> str:
    return f"{dot.name} {dot.missing}" if dot.rate is None else f"{dot.name} {dot.rate:.0%}"


def _svg(parts: Sequence[str], height: float, said: str) -> str:
    box = f"0 0 {LABEL + RULER + 60} {height:.0f}"
    return f'<svg viewBox="{box}" role="img" aria-label="{escaped(said)}">{"".join(parts)}</svg>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, *, dash: bool = False) -> str:
    dashes = ' stroke-dasharray="4 4"' if dash else ""
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{colour}"{dashes}/>'


def _text(x: float, y: float, text: str, *, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escaped(text)}</text>'


def _short(text: str, most: int = 30) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
