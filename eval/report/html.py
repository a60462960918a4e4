"""An Evaluation as one HTML file that needs nothing else: a page for a manager, then the methods.

No script, no font, no picture from anywhere: pictures are SVG in the file. It prints on A4; a browser makes the PDF.
Every text is escaped. No reply or prompt is in it; the verdicts as CSV have those.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from eval.judge.findings import JudgeReport
from eval.report.blocks import Block, Grid, Medium, OutcomeBars, Picture, Report, Sentence, Sentences, Sheet
from eval.report.pictures import bars_svg, picture_svg
from texts.escape import escape_html

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
.text, td, p {unicode-bidi: plaintext; text-align: start;}
@page {size: A4; margin: 16mm;}
@media print {
  :root {color-scheme: light;} body {margin: 0; max-width: none; font-size: 11pt;}
  .appendix {break-before: page;} h2, h3, .finding {break-after: avoid;} svg, tr, li {break-inside: avoid;}
  b, rect {print-color-adjust: exact; -webkit-print-color-adjust: exact;}
}
"""


def report_html(
    name: str, reports: Sequence[Report], judges: Sequence[JudgeReport] = (), methods: Sequence[Sheet] = ()
) -> str:
    """The whole file of the Evaluation of that name.

    People's verdicts come first, simulated reviewers' after them; how far model judges go with them has its own part.
    """
    simulated = any(report.simulated for report in reports)
    mark = '<span class="simulated">has verdicts of simulated reviewers, who are no people</span>' if simulated else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape_html(name)}</title><style>{CSS}</style></head><body>"
        f"<h1>Blind evaluation: {escape_html(name)} {mark}</h1>"
        f"{''.join(map(_front, reports))}"
        f'<div class="appendix"><h1>Methods and figures</h1>{"".join(map(_figures, reports))}'
        f"{''.join(map(_judge, judges))}{_blocks(methods)}</div></body></html>\n"
    )


def _front(report: Report) -> str:
    mark = '<p><span class="simulated">simulated reviewer, not people</span></p>' if report.simulated else ""
    blocks = _blocks((report.numbers, report.picture, report.rests_on, report.doubts))
    return f'<section><p class="finding">{escape_html(report.finding.text)}</p>{mark}{blocks}</section>'


def _figures(report: Report) -> str:
    whose = "Simulated reviewers" if report.simulated else "People"
    sections = [section for section in report.figures if section.on is not Medium.SCREEN]
    return "".join(f"<h2>{whose}: {escape_html(section.title)}</h2>{_blocks(section.blocks)}" for section in sections)


def _judge(judge: JudgeReport) -> str:
    who = replace(judge.who, rows=(*judge.who.rows, ("Used", judge.used)))
    parts = [f"<h2>{escape_html(judge.title)}</h2>", _sheet(who)]
    for comparison in judge.comparisons:
        mark = '<p><span class="simulated">beside a simulated reviewer, not people</span></p>'
        parts += [_block(comparison.sentence), mark if comparison.simulated else ""]
        parts.append(_blocks((comparison.same, comparison.figures)))
        parts += [f"<h3>{escape_html(section.title)}</h3>{_blocks(section.blocks)}" for section in comparison.help]
        parts.append(_blocks(comparison.note))
    if judge.cautions.lines:
        parts.append(f"<h3>To know</h3>{_block(judge.cautions)}")
    return "".join(parts)


def _blocks(blocks: Iterable[Block]) -> str:
    return "".join(map(_block, blocks))


def _block(block: Block) -> str:
    match block:
        case Picture(on=Medium.SCREEN) | Sentence(on=Medium.SCREEN):
            return ""
        case Sentence(text, small=True):
            return f'<p class="note">{escape_html(text)}</p>'
        case Sentence(text):
            return f"<p>{escape_html(text)}</p>"
        case Sentences(lines, title):
            kinds = {True: ' class="warns"', False: ' class="fine"', None: ""}
            items = "".join(f"<li{kinds[line.warns]}>{escape_html(line.text)}</li>" for line in lines)
            return (f"<h2>{escape_html(title)}</h2>" if title else "") + f"<ul>{items}</ul>"
        case Picture(title=title):
            return (f"<h3>{escape_html(title)}</h3>" if title else "") + picture_svg(block)
        case OutcomeBars():
            return bars_svg(block)
        case Grid(wide=True):
            return _blocks(block.sheets)
        case Grid(rows, why):
            return _grid(rows) if rows else f"<p>{escape_html(why)}</p>"
        case Sheet():
            return _sheet(block)


def _grid(rows: Sequence[Mapping[str, object]]) -> str:
    head = "".join(f"<th>{escape_html(name)}</th>" for name in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{escape_html(str(value))}</td>" for value in row.values()) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _sheet(sheet: Sheet) -> str:
    body = "".join(
        f'<tr><th>{escape_html(name)}</th><td class="text">{escape_html(value)}</td></tr>' for name, value in sheet.rows
    )
    note = f'<p class="note">{escape_html(sheet.note)}</p>' if sheet.note else ""
    return f"<h3>{escape_html(sheet.title)}</h3><table>{body}</table>{note}"
