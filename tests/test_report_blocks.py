"""The blocks of a report: what page, file and shell make of each, and that they tell the same."""

import html as html_module
import re
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy.orm import Session
from streamlit.testing.v1 import AppTest

from commands import evaluations as shell
from errors import first_line
from eval.protocol import ProtocolSummary
from eval.report.blocks import (
    Block,
    Grid,
    Medium,
    OutcomeBars,
    Picture,
    Report,
    Section,
    Sentence,
    Sentences,
    Sheet,
    dot,
)
from eval.report.findings import build_report, win_rate_table
from eval.report.html import report_html
from eval.report.results import load_results
from stats.estimates import CannotEstimate, Interval, count_of, in_words, p_in_words
from tests.app_pages import drawn_by, html, open_page, said
from tests.factories import Judged

NONE = CannotEstimate("nobody voted.")


def drawn(*blocks: Block) -> AppTest:
    """The blocks on a page."""

    def draw() -> None:
        import streamlit as st

        from ui.evaluate.blocks import show_blocks

        show_blocks(st.session_state["blocks"])

    return drawn_by(draw, blocks=blocks)


def filed(*blocks: Block) -> str:
    """The blocks in the file, behind its first page."""
    empty = Sentences(())
    first = Report(False, Sentence(""), Sentence(""), Picture((), ""), empty, empty, (Section("part", blocks),))
    return report_html("Contest", [first]).partition("People: part</h2>")[2].partition("</div>")[0]


@pytest.mark.parametrize(
    ("value", "form", "words"),
    [
        (0.6543, ".1%", "65.4%"),
        (Interval(0.1, 0.25), ".0%", "10% to 25%"),
        (Interval(-0.5, 1), ".2f", "-0.50 to 1.00"),
        (NONE, ".1%", "Cannot be estimated: nobody voted."),
    ],
)
def test_a_figure_in_words_is_itself_or_why_there_is_none(
    value: float | Interval | CannotEstimate, form: str, words: str
) -> None:
    assert in_words(value, form) == words


def test_p_values_counts_and_first_lines_in_words() -> None:
    assert [p_in_words(p) for p in (0.00005, 0.0421, NONE)] == ["p < 0.0001", "p = 0.042", str(NONE)]
    assert [count_of(n, "vote") for n in (0, 1, 1200)] == ["0 votes", "1 vote", "1,200 votes"]
    assert first_line(ValueError("\n It is not there.\nTraceback …")) == "It is not there."


def test_a_row_without_an_estimate_has_the_reason() -> None:
    assert dot("a", 0.5, Interval(0.4, 0.6), 9).low == 0.4
    assert (dot("a", NONE, NONE, 9).value, dot("a", NONE, NONE, 9).missing) == (None, "nobody voted.")
    assert (dot("a", 0.5, NONE, 9).value, dot("a", 0.5, NONE, 9).missing) == (0.5, "nobody voted.")


def test_a_block_stands_on_the_screen_or_in_the_file_or_in_both() -> None:
    blocks = [Sentence(f"For {medium.value}.", small=True, on=medium) for medium in Medium]
    assert re.findall(r"For \w+", said(drawn(*blocks))) == ["For all", "For screen"]
    assert re.findall(r"For \w+", filed(*blocks)) == ["For all", "For file"]


def test_a_wide_table_has_dashes_and_reasons_on_the_screen_and_a_table_for_each_row_in_the_file() -> None:
    rows = tuple({"Against": name, "Win rate": "50 %", "95 %": str(NONE)} for name in ("<b>", "c"))
    page = drawn(Grid(rows, wide=True))
    assert html(page).count("<td>–</td>") == 2
    assert said(page).count("95 % – Cannot be estimated: nobody voted.") == 1
    text = filed(Grid(rows, wide=True))
    assert text.count("<table>") == 2
    assert "<h3>Against &lt;b&gt;</h3>" in text


def test_a_table_without_rows_says_why() -> None:
    assert "Nobody was asked." in said(drawn(Grid((), why="Nobody was asked.")))
    assert filed(Grid((), why="Nobody was asked.")) == "<p>Nobody was asked.</p>"


def test_what_warns_is_marked_in_words_that_tell_it_apart() -> None:
    lines = Sentences((Sentence("Bad.", warns=True), Sentence("Good.", warns=False)))
    assert ["⚠" in line for line in html(drawn(lines)).split("Bad.")] == [True, False]
    assert filed(lines) == '<ul><li class="warns">Bad.</li><li class="fine">Good.</li></ul>'
    assert filed(Sentences((Sentence("So."),))) == html(drawn(Sentences((Sentence("So."),)))) == "<ul><li>So.</li></ul>"


def texts_of(block: Block) -> list[str]:
    """Every word of a block that a reader may look for on the screen and in the file alike."""
    match block:
        case Sentence(text, on=on):
            return [text] if on is Medium.ALL else []
        case Sentences(lines, title):
            return [title, *(line.text for line in lines)]
        case Picture(rows, scale, title, on=on):
            # without a value there is no chart on the screen, but the reasons
            return [title, scale] if on is Medium.ALL and any(row.value is not None for row in rows) else []
        case OutcomeBars(rows):
            return [name for name, _ in rows]
        case Grid(rows, why):
            cells = [str(cell) for row in rows for item in row.items() for cell in item]
            return [cell for cell in cells if not cell.startswith(CannotEstimate.BEGINNING)] if rows else [why]
        case Sheet(_, rows):
            return [cell for row in rows for cell in row]


@pytest.mark.parametrize("shape", [{"prompts": 24, "simulated": 1, "same": 2}, {"prompts": 4, "reviewers": 1}])
def test_the_page_and_the_file_tell_every_block_alike(s: Session, shape: dict[str, Any]) -> None:
    judged = Judged(s, **shape)
    found = load_results(s, evaluation_id=judged.evaluation.id)
    reports = [build_report(verdicts) for verdicts in found.by_reviewers]
    file = html_module.unescape(report_html(judged.evaluation.name, reports))
    s.commit()
    page = open_page("evaluate_models", project_id=judged.project.id, by=judged.manager.id)
    charts = "\n".join(node.proto.spec for node in page.get("vega_lite_chart"))
    screen = html_module.unescape(said(page) + charts).replace("\xa0", " ")
    for one in reports:
        first = (one.finding, one.numbers, one.picture, one.rests_on, one.doubts)
        parts = [Section("", first), *(part for part in one.figures if part.on is Medium.ALL)]
        for text in (text for part in parts for block in part.blocks for text in texts_of(block)):
            assert text in file
            assert text in screen


def test_a_part_that_the_page_has_no_place_for_comes_last_under_its_own_title() -> None:
    empty = Sentences(())
    parts = (Section("of tomorrow", (Sentence("New."),)), Section("left and right", (Sentence("Old."),)))
    one = Report(False, Sentence("Found."), Sentence("n = 1"), Picture((), ""), empty, empty, parts)

    def draw() -> None:
        import streamlit as st

        from ui.evaluate.results import show_reports

        show_reports(*st.session_state["reported"])

    page = drawn_by(draw, reported=(SimpleNamespace(protocol=ProtocolSummary(None, ())), (one,)))
    assert [fold.label for fold in page.expander][:2] == ["Left and right", "Of tomorrow"]


def test_the_shell_writes_sentences_and_tables(s: Session, capsys: pytest.CaptureFixture[str]) -> None:
    judged = Judged(s, prompts=12, simulated=1)
    judged.candidate.name = "[red]Zebra"
    s.flush()
    shell._print(
        Sentence("[bold]50 %[/bold] of them."), win_rate_table(load_results(s, evaluation_id=judged.evaluation.id))
    )
    told = capsys.readouterr().out
    assert "[bold]50 %[/bold] of them." in told
    assert "[red]Zebra" in told
    assert told.count("(simulated judge)") + told.count("(simulated") >= 3
    assert len(re.findall(r"\d+\.\d%", told)) >= 8
