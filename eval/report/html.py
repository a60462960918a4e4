"""An Evaluation as one HTML file that needs nothing else: a page for a manager, then the methods.

No script, no font, no picture from anywhere: pictures are SVG in the file. It prints on A4; a browser makes the PDF.
Every text is escaped. No reply or prompt is in it; the verdicts as CSV have those.
"""

from collections.abc import Sequence

from eval.judge.findings import LEFT_BY_LOT, JudgeTold, used_in_words
from eval.report.findings import Telling
from eval.report.methods import Section
from eval.report.pictures import bars_svg, dots_svg
from eval.report.tables import (
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
from texts.escape import escaped

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
