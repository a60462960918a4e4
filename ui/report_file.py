"""An Evaluation as one HTML file that needs nothing else: a page for a manager, then the methods.

No script, no font, no picture from anywhere: pictures are SVG in the file. It prints on A4; a browser makes the PDF.
Every text is escaped. No reply or prompt is in it; the verdicts as CSV have those.
"""

import json
from collections.abc import Sequence

from eval.judge.findings import LEFT_BY_LOT, JudgeTold, used_in_words
from eval.telling import Dot, Telling
from sections import Section
from stats.contrasts import HeadToHead
from texts.escape import escaped
from ui.charts import GREEN, GREY
from ui.evaluation_charts import OUTCOMES, outcomes
from ui.evaluation_figures import (
    Table,
    Told,
    ToldResults,
    agreement_tables,
    contrast_row,
    length_table,
    planned_table,
    side_table,
    strength_table,
)

LABEL, RULER, ROW = 220, 420, 34
"""Widths of a picture's names and of its scale, and the height of a row, in its own units."""

CSS = """
:root {color-scheme: light dark;}
body {font: 15px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1.2rem;}
h1 {font-size: 1.1rem; font-weight: 500; opacity: .75; margin: 0;}
.finding {font-size: 1.7rem; line-height: 1.3; font-weight: 650; margin: .4rem 0 .6rem;}
h2 {font-size: 1.15rem; margin: 1.6rem 0 .4rem;} h3 {font-size: 1rem; margin: 1.2rem 0 .3rem;}
ul {padding-left: 1.2rem; margin: .3rem 0;} li {margin: .2rem 0;}
li.warns::marker {content: "\\26A0  "; color: #d97706;} li.fine::marker {content: "\\2713  "; color: #0d9488;}
.simulated {border: 1px solid #d97706; border-radius: 1rem; padding: 0 .6rem; font-size: .85rem; color: #b45309;}
svg {width: 100%; height: auto; max-width: 46rem;} svg text {font: 13px system-ui, sans-serif; fill: currentColor;}
table {border-collapse: collapse; width: 100%; font-size: .85rem;}
th, td {text-align: left; vertical-align: top; padding: .25rem .6rem .25rem 0; overflow-wrap: anywhere;
  border-bottom: 1px solid #8883;}
.legend span {margin-right: 1.2rem;}
.legend b {display: inline-block; width: .8rem; height: .8rem; margin-right: .4rem;}
.note {font-size: .85rem; opacity: .75;} .text {white-space: pre-wrap;}
@page {size: A4; margin: 16mm;}
@media print {
  :root {color-scheme: light;} body {margin: 0; max-width: none; font-size: 11pt;}
  .appendix {break-before: page;} h2, h3, .finding {break-after: avoid;} svg, tr, li {break-inside: avoid;}
  b, rect {print-color-adjust: exact; -webkit-print-color-adjust: exact;}
}
"""


def report_html(found: ToldResults, sections: Sequence[Section], judges: Sequence[JudgeTold] = ()) -> str:
    """The whole file. People's verdicts come first, simulated reviewers' after them, each with its own figures; how
    far model judges go with them, in a part of its own.
    """
    evaluation = found.results.evaluation
    front = "".join(_front(told) for told in found.told)
    figures = "".join(_figures(told) for told in found.told) + "".join(_judge(one) for one in judges)
    methods = "".join(_section(one) for one in sections)
    simulated = any(told.verdicts.simulated for told in found.told)
    mark = '<span class="simulated">has verdicts of simulated reviewers, who are no people</span>' if simulated else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escaped(evaluation.name)}</title><style>{CSS}</style></head><body>"
        f"<h1>Blind evaluation: {escaped(evaluation.name)} {mark}</h1>{front}"
        f'<div class="appendix"><h1>Methods and figures</h1>{figures}{methods}</div></body></html>\n'
    )


def _front(told: Told) -> str:
    said = told.telling
    order = len(said.order) > 2
    title = "preferred to the candidate, ties as half" if order else "win rate of the candidate, ties as half"
    picture = dots_svg(said.order if order else said.against, title=title)
    mark = '<p><span class="simulated">simulated reviewer, not people</span></p>' if said.simulated else ""
    return (
        f'<section><p class="finding">{escaped(said.finding)}</p>{mark}<p>{escaped(said.numbers)}</p>{picture}'
        f"<h2>What it rests on</h2>{_list(said.rests_on)}<h2>What could be wrong</h2>{_checks(said)}</section>"
    )


def _figures(told: Told) -> str:
    said, verdicts, whose = told.telling, told.verdicts, "Simulated reviewers" if told.verdicts.simulated else "People"
    parts = [
        f"<h2>{whose}: against each baseline</h2>",
        bars_svg(verdicts.contrasts),
        *(_pairs(f"Against {one.baseline}", tuple(contrast_row(one).items())) for one in verdicts.contrasts),
        f"<h2>{whose}: parts of the votes</h2>",
    ]
    for name, dots in said.parts.items():
        parts.append(f"<h3>{escaped(name)}</h3>{dots_svg(dots, title='win rate of the candidate, ties as half')}")
    if not said.parts:
        parts.append("<p>There is one part only.</p>")
    parts.append('<p class="note">None of these intervals is corrected for the number of parts.</p>')
    tables = [
        ("left and right", side_table(told)),
        ("at equal lengths", length_table(told)),
        *(("agreement", table) for table in agreement_tables(told)),
        ("on one scale", strength_table(told)),
        ("what the next evaluation needs", planned_table(told)),
    ]
    parts += [f"<h2>{whose}: {escaped(title)}</h2>{_table(table)}" for title, table in tables]
    notes = _list(told.figures.notes)
    return "".join(parts) + (f"<h2>{whose}: to know beforehand</h2>{notes}" if told.figures.notes else "")


def _judge(one: JudgeTold) -> str:
    parts = [f"<h2>{escaped(one.title)}</h2>", _pairs("Who it is", [*one.who, ("Used", used_in_words(one))])]
    for beside in one.beside:
        mark = '<p><span class="simulated">beside a simulated reviewer, not people</span></p>'
        parts += [f"<p>{escaped(beside.sentence)}</p>", mark if beside.simulated else ""]
        parts += [dots_svg(beside.dots, title="say the same"), _pairs("Figures", beside.rows)]
        for contrast in beside.help:
            grey = f'<p class="note">{escaped(contrast.grey)}</p>' if contrast.grey else ""
            parts.append(f"<h3>Against {escaped(contrast.against)}</h3>{grey}<p>{escaped(contrast.sentence)}</p>")
            if contrast.dots:
                parts.append(dots_svg(contrast.dots, title="win rate of the candidate, ties as half"))
        if any(contrast.dots for contrast in beside.help):
            parts.append(f'<p class="note">{escaped(LEFT_BY_LOT)}</p>')
    return "".join(parts) + (f"<h3>To know</h3>{_list(one.cautions)}" if one.cautions else "")


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


def _list(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escaped(line)}</li>" for line in lines) + "</ul>"


def _checks(said: Telling) -> str:
    lines = sorted(said.checks, key=lambda one: not one.warns)
    kinds = {True: "warns", False: "fine"}
    return "<ul>" + "".join(f'<li class="{kinds[c.warns]}">{escaped(c.sentence)}</li>' for c in lines) + "</ul>"


def _table(rows: Table) -> str:
    if isinstance(rows, str):
        return f"<p>{escaped(rows)}</p>"
    head = "".join(f"<th>{escaped(name)}</th>" for name in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{escaped(str(value))}</td>" for value in row.values()) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _pairs(title: str, rows: Sequence[tuple[str, object]]) -> str:
    body = "".join(
        f'<tr><th>{escaped(name)}</th><td class="text">{escaped(str(value))}</td></tr>' for name, value in rows
    )
    return f"<h3>{escaped(title)}</h3><table>{body}</table>"


def _section(one: Section) -> str:
    note = f'<p class="note">{escaped(one.note)}</p>' if one.note else ""
    return _pairs(one.title, one.rows) + note
