"""A closed Evaluation on the screen: a sentence, a picture, what it rests on, what could be wrong, the details."""

from collections.abc import Callable, Hashable
from itertools import groupby
from typing import TypeVar

import pandas as pd
import streamlit as st

from db.session import reading
from eval.judge.findings import JudgeReport
from eval.report.blocks import Medium, Report, Sheet
from eval.report.findings import build_report
from eval.report.html import report_html
from eval.report.methods import methods_appendix
from eval.report.results import Results, load_results
from texts.escape import escape_html
from ui.evaluate.blocks import show_blocks
from ui.safe import csv_bytes

T = TypeVar("T")
KEPT = 3
FOLDS: dict[str, tuple[str, str | None]] = {
    "against each baseline": ("Against each baseline", ":material/compare_arrows:"),
    "parts of the votes": ("Parts of the votes: reviewers, topics, lengths", ":material/donut_small:"),
    "at equal lengths": ("Parts of the votes: reviewers, topics, lengths", ":material/donut_small:"),
    "agreement": ("How far reviewers agree", ":material/handshake:"),
    "left and right": ("Left and right", ":material/swap_horiz:"),
    "on one scale": ("All on one scale", ":material/format_list_numbered:"),
    "what the next evaluation needs": ("What the next evaluation needs", ":material/straighten:"),
}
"""Where a report's parts are folded away on the screen, in this order; others come last, under their own titles."""
HEADINGS = {"at equal lengths": "**Beside each other**"}


def cached_in_tab(name: str, key: Hashable, reckon: Callable[[], T]) -> T:
    """What takes a while, reckoned once in a tab for each key; a few keys are kept."""
    cached: dict[Hashable, T] = st.session_state.setdefault(name, {})
    if key not in cached:
        cached[key] = reckon()
        while len(cached) > KEPT:
            cached.pop(next(iter(cached)))
    return cached[key]


def load_reports(evaluation_id: int) -> tuple[Results, tuple[Report, ...]]:
    """The verdicts and what they say; nothing about a closed Evaluation changes."""

    def reckon() -> tuple[Results, tuple[Report, ...]]:
        with st.spinner("Reckoning intervals and strengths …"), reading() as s:
            results = load_results(s, evaluation_id=evaluation_id)
            return results, tuple(map(build_report, results.by_reviewers))

    return cached_in_tab("reported", evaluation_id, reckon)


def show_reports(results: Results, reports: tuple[Report, ...]) -> None:
    """People's verdicts first, then simulated reviewers'; never together."""
    for report in reports:
        _show_report(report)
    with st.expander("What was fixed before the first verdict", icon=":material/lock:"):
        show_blocks([Sheet("", results.protocol.rows)])


def _show_report(report: Report) -> None:
    mark = '<span class="pw-simulated">simulated reviewer, not people</span>' if report.simulated else ""
    finding = escape_html(report.finding.text).replace(" %", "&nbsp;%")
    st.html(f'<div class="pw-sentence">{finding}{mark}</div><div>{escape_html(report.numbers.text)}</div>')
    show_blocks([report.picture])
    for column, block in zip(st.columns(2, gap="large"), (report.rests_on, report.doubts), strict=True):
        with column:
            show_blocks([block])
    parts = [part for part in report.figures if part.on is not Medium.FILE]
    folds = FOLDS | {part.title: (part.title.capitalize(), None) for part in parts if part.title not in FOLDS}
    parts.sort(key=lambda part: list(folds).index(part.title))
    for (title, icon), folded in groupby(parts, key=lambda part: folds[part.title]):
        with st.expander(title, icon=icon):
            for part in folded:
                if part.title in HEADINGS:
                    st.markdown(HEADINGS[part.title])
                show_blocks(part.blocks)


def download_report(results: Results, reports: tuple[Report, ...], judges: tuple[JudgeReport, ...], *, by: int) -> None:
    """One file with a page for a manager and the methods; a browser prints it as PDF."""
    evaluation = results.evaluation
    with reading() as s:
        sheets = methods_appendix(s, by=by, evaluation_id=evaluation.id)
    simulated = "-simulated" if any(report.simulated for report in reports) else ""
    st.download_button(
        "The report as one HTML file",
        report_html(evaluation.name, reports, judges, sheets).encode(),
        file_name=f"evaluation-{evaluation.id}{simulated}-report.html",
        mime="text/html",
        icon=":material/description:",
        help="One page for a manager, then the methods. Open it in a browser and print it to have a PDF.",
    )


def download_verdicts(results: Results) -> None:
    """The raw verdicts, in the columns that `python cli.py winrate` reads; one file for each kind of reviewer."""
    for verdicts in results.by_reviewers:
        kind = "simulated" if verdicts.simulated else "people"
        st.download_button(
            "Every simulated verdict as CSV" if verdicts.simulated else "Every verdict as CSV",
            csv_bytes(pd.DataFrame(verdicts.rows)),
            file_name=f"evaluation-{results.evaluation.id}-{kind}.csv",
            mime="text/csv",
            icon=":material/download:",
            key=f"verdicts_{results.evaluation.id}_{kind}",
        )
