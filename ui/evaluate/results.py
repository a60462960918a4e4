"""A closed Evaluation on the screen: a sentence, a picture, what it rests on, what could be wrong, the details."""

import pandas as pd
import streamlit as st

from db.session import reading
from eval.report.findings import PARTS, Telling, telling
from eval.report.html import report_html
from eval.report.methods import methods
from eval.report.results import Results, as_columns, results
from eval.report.tables import (
    Table,
    Told,
    ToldResults,
    agreement_tables,
    contrast_row,
    length_table,
    planned_table,
    scale_of,
    side_table,
    strength_table,
    without_reasons,
)
from stats.estimates import CannotEstimate
from texts.escape import escaped
from ui.evaluate.charts import outcome_bars, rates, strength_dots
from ui.evaluate.model_judge import told_judges
from ui.safe import csv_bytes, plain, show_table

SIMULATED = '<span class="pw-simulated">simulated reviewer, not people</span>'
KEPT = 3
"""Evaluations whose figures a tab keeps."""


def told_results(evaluation_id: int) -> ToldResults:
    """Everything there is to tell; reckoned once in a tab, since nothing about a closed Evaluation changes."""
    kept: dict[int, ToldResults] = st.session_state.setdefault("told_results", {})
    if evaluation_id not in kept:
        with st.spinner("Reckoning intervals and strengths …"), reading() as s:
            found = results(s, evaluation_id=evaluation_id)
            kept[evaluation_id] = tell(found)
        while len(kept) > KEPT:
            kept.pop(next(iter(kept)))
    return kept[evaluation_id]


def tell(found: Results) -> ToldResults:
    """All figures and words."""
    told = []
    for verdicts in found.verdicts:
        figures = verdicts.figures(primary=found.stated.primary)
        told.append(Told(verdicts, figures, telling(verdicts, figures)))
    return ToldResults(found, tuple(told))


def show_results(found: ToldResults) -> None:
    """People's verdicts first, then simulated reviewers'; never together."""
    for one in found.told:
        _show_told(one)
    with st.expander("What was fixed before the first verdict", icon=":material/lock:"):
        show_table([{"What": name, "Value": value} for name, value in found.results.stated.rows], whole=True)


def _show_told(told: Told) -> None:
    said, verdicts = told.telling, told.verdicts
    mark = SIMULATED if said.simulated else ""
    finding = escaped(said.finding).replace(" %", "&nbsp;%")
    st.html(f'<div class="pw-sentence">{finding}{mark}</div><div>{escaped(said.numbers)}</div>')
    if len(said.order) > 2:
        rates(
            said.order,
            title="preferred to the candidate, ties as half",
            candidate=verdicts.head.candidate,
        )
    else:
        rates(said.against, title="win rate of the candidate, ties as half")
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("**What it rests on**")
        st.html("<ul>" + "".join(f"<li>{escaped(line)}</li>" for line in said.rests_on) + "</ul>")
    with right:
        st.markdown("**What could be wrong**")
        show_checks(said)
    with st.expander("Against each baseline", icon=":material/compare_arrows:"):
        outcome_bars(verdicts.contrasts)
        rows, reasons = without_reasons([contrast_row(one) for one in verdicts.contrasts])
        show_table(rows, whole=True)
        for reason in reasons:
            st.caption(plain(reason))
        st.caption(
            "Win rate = (wins + ties / 2) / n; both bad counts as a tie. People together are one more way to count the "
            "same verdicts; p is corrected among the others without it."
        )
    with st.expander("Parts of the votes: reviewers, topics, lengths", icon=":material/donut_small:"):
        show_parts(told)
    with st.expander("How far reviewers agree", icon=":material/handshake:"):
        show_agreement(told)
    with st.expander("Left and right", icon=":material/swap_horiz:"):
        show_rows(side_table(told))
    with st.expander("All on one scale", icon=":material/format_list_numbered:"):
        show_strengths(told)
    with st.expander("What the next evaluation needs", icon=":material/straighten:"):
        show_rows(planned_table(told))
        st.caption("One contrast, two-sided at 5 %; ties and how alike verdicts on a prompt are as measured here.")


def show_checks(said: Telling) -> None:
    """What was looked at, warnings first, each with a mark that tells which."""
    marks = {True: ("⚠", "#d97706"), False: ("✓", "#0d9488")}
    lines = []
    for check in sorted(said.checks, key=lambda one: not one.warns):
        mark, colour = marks[check.warns]
        lines.append(
            f'<div style="display: flex; gap: .6rem; margin-bottom: .35rem"><b style="color: {colour}">{mark}</b>'
            f"<span>{escaped(check.sentence)}</span></div>"
        )
    st.html("".join(lines))


def show_parts(told: Told) -> None:
    """Each kind of part as a picture; then the win rate at equal lengths beside the raw one."""
    said = told.telling
    for name in PARTS.values():
        if name not in said.parts:
            st.caption(f"{name}: there is one part only, or nothing to part by.")
            continue
        st.markdown(f"**{name}**")
        rates(said.parts[name], title="win rate of the candidate, ties as half")
    st.caption("Parts are for looking: none of these intervals is corrected for their number.")
    st.markdown("**Beside each other**")
    show_rows(length_table(told))


def show_agreement(told: Told) -> None:
    """Each reviewer beside the others, as a picture and in figures."""
    if any(dot.rate is not None for dot in told.telling.agreement):
        rates(told.telling.agreement, title="says what most of the others say")
    together, each = agreement_tables(told)
    show_rows(each)
    show_rows(together)
    st.caption("Low agreement says something about the task or its guideline; it is no reason to drop a verdict.")


def show_strengths(told: Told) -> None:
    """Strengths with ties as an outcome, and the chance of being the best."""
    found = scale_of(told)
    if not isinstance(found, CannotEstimate):
        strength_dots(found)
    show_rows(strength_table(told))
    if not isinstance(found, CannotEstimate):
        st.caption(plain(f"{found.model}; {found.resamples:,} resamples of the prompts."))


def show_rows(rows: Table) -> None:
    """A table, or why there is none."""
    if isinstance(rows, str):
        st.caption(plain(rows))
    else:
        show_table(rows, whole=True)


def download_report(found: ToldResults, *, by: int) -> None:
    """One file with a page for a manager and the methods; a browser prints it as PDF."""
    evaluation_id = found.results.evaluation.id
    with reading() as s:
        sections = methods(s, by=by, evaluation_id=evaluation_id)
    simulated = "-simulated" if any(one.verdicts.simulated for one in found.told) else ""
    st.download_button(
        "The report as one HTML file",
        report_html(found, sections, told_judges(found)).encode(),
        file_name=f"evaluation-{evaluation_id}{simulated}-report.html",
        mime="text/html",
        icon=":material/description:",
        help="One page for a manager, then the methods. Open it in a browser and print it to have a PDF.",
    )


def download_verdicts(found: ToldResults) -> None:
    """The raw verdicts, in the columns that `python cli.py winrate` reads; one file for each kind of reviewer."""
    for one in found.told:
        kind = "simulated" if one.verdicts.simulated else "people"
        st.download_button(
            "Every simulated verdict as CSV" if one.verdicts.simulated else "Every verdict as CSV",
            csv_bytes(pd.DataFrame(as_columns(one.verdicts.rows))),
            file_name=f"evaluation-{found.results.evaluation.id}-{kind}.csv",
            mime="text/csv",
            icon=":material/download:",
            key=f"verdicts_{found.results.evaluation.id}_{kind}",
        )
