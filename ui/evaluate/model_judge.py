"""A model as judge: having one judge an Evaluation, and how far it goes with people once that is closed."""

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
import streamlit as st

from db.lookup import list_models
from db.models import Evaluation, JudgeRun, Role, RunStatus
from db.session import reading, session
from eval.judge.findings import JudgeComparisonReport, JudgeReport, build_judge_reports
from eval.judge.pairs import load_judged_pairs
from eval.judge.results import answer_rows, count_unreadable_answers, judge_label, load_judge_findings
from eval.judge.run import JUDGE_SAMPLING, default_judge_instructions, list_judge_runs, request_judge
from eval.report.blocks import Picture, Sentence
from eval.report.results import Results
from llm.template import PromptFormat
from texts.escape import escape_html
from ui.evaluate.blocks import show_blocks
from ui.evaluate.results import cached_in_tab
from ui.frame import CurrentPerson
from ui.responder_form import InitialSpec, responder_form
from ui.run_status import show_run
from ui.safe import csv_bytes, errors_shown, plain, show_table, show_text


def judge_section(evaluation: Evaluation, me: CurrentPerson) -> None:
    """For managers: the runs over one Evaluation and how far they are, and the boxes that ask for another."""
    if not me.has_any_role(Role.MANAGER):
        return
    _show_runs(evaluation, me)
    with st.expander("A model as judge", icon=":material/gavel:"):
        _show_request_form(evaluation, me)


def _show_runs(evaluation: Evaluation, me: CurrentPerson) -> None:
    """Of a closed evaluation only the runs that have not come to their end: the rest is among the figures."""
    still_open = evaluation.closed_at is None

    def load_runs() -> Sequence[JudgeRun]:
        with reading() as s:
            runs = list_judge_runs(s, evaluation_id=evaluation.id)
        return [run for run in runs if still_open or run.status is not RunStatus.SUCCEEDED]

    first = load_runs()
    if not first:
        return
    busy = any(not run.status.ended for run in first)

    @st.fragment(run_every="2s" if busy else None)
    def watch() -> None:
        runs = load_runs()
        if busy and all(run.status.ended for run in runs):
            st.rerun()
        for run in runs:
            note = "What it said is told once the evaluation is closed." if still_open else ""
            show_run(run, f"Model judge: {judge_label(run.responder)}", by=me.reviewer_id, note=note)

    watch()


def _show_request_form(evaluation: Evaluation, me: CurrentPerson) -> None:
    st.caption(
        "A model reads every pair twice, in both orders, blind like people. Its verdicts are counted among nobody's: "
        "once the evaluation is closed they are compared with people's, and where they go with them well enough they "
        "narrow people's interval."
    )
    with reading() as s:
        models = list_models(s)
        instructions = default_judge_instructions(s, project_id=me.project_id)
    if not models:
        st.info("There is no model on this machine yet: add one on the Generate page, or name an endpoint here.")
    other = next((model.id for model in models if model.id != evaluation.candidate.model_version_id), None)
    start = InitialSpec(other, PromptFormat(instructions), JUDGE_SAMPLING)
    spec = responder_form(f"judge_{evaluation.id}", models, start, columns=(), templates=False)
    if st.button(
        "Have this model judge", key=f"ask_judge_{evaluation.id}", icon=":material/gavel:", disabled=spec is None
    ):
        with errors_shown():
            assert spec is not None
            with st.spinner("Reading the pairs …"), session() as s:
                request_judge(s, by=me.reviewer_id, evaluation_id=evaluation.id, contestant=spec)
            st.rerun()


def load_judge_reports(results: Results) -> tuple[JudgeReport, ...]:
    """Every judge of a closed Evaluation in words and figures; reckoned again when a run has changed."""
    evaluation_id = results.evaluation.id
    with reading() as s:
        runs = [run for run in list_judge_runs(s, evaluation_id=evaluation_id) if run.status.ended]

    def reckon() -> tuple[JudgeReport, ...]:
        with st.spinner("Comparing the model judge with people …"), reading() as s:
            left_out = load_judged_pairs(s, evaluation_id=evaluation_id).left_out if runs else ()
            return build_judge_reports(load_judge_findings(s, results=results), results, left_out=left_out)

    stamp = tuple((run.id, run.status.value, run.attempt, run.finished_at) for run in runs)
    return cached_in_tab("reported_judges", (evaluation_id, stamp), reckon)


def show_judges(results: Results, reports: Sequence[JudgeReport], me: CurrentPerson) -> None:
    """How far each model judge goes with people, and people's figure with its help where that is worth it."""
    if not reports:
        return
    with st.container(border=True):
        st.markdown("**Model judge**")
        chosen = reports[0]
        if len(reports) > 1:
            by_title = {report.run_id: report for report in reports}
            key = f"which_judge_{results.evaluation.id}"
            chosen = by_title[st.selectbox("Which one", by_title, format_func=lambda i: by_title[i].title, key=key)]
        else:
            st.caption(plain(chosen.title))
        _show_judge(chosen, results, me)


def _show_judge(judge: JudgeReport, results: Results, me: CurrentPerson) -> None:
    with reading() as s:
        words = count_unreadable_answers(s, run_id=judge.run_id)
        rows = answer_rows(s, results=results, run_id=judge.run_id) if me.has_any_role(Role.MANAGER) else None
    for comparison in judge.comparisons:
        _show_comparison(comparison)
    if judge.cautions.lines:
        show_blocks([judge.cautions])
    with st.expander("The model judge: what it is and what it was told", icon=":material/badge:"):
        show_blocks([judge.who])
        show_text(judge.instructions)
        if words:
            st.caption("Its words that name no verdict, the most frequent first:")
            show_table([{"It said": said or "(nothing)", "Times": count} for said, count in words])
    if rows is not None:
        st.download_button(
            "The model judge's answers as CSV",
            csv_bytes(pd.DataFrame(rows)),
            file_name=f"evaluation-{results.evaluation.id}-model-judge-{judge.run_id}.csv",
            mime="text/csv",
            icon=":material/download:",
            key=f"judge_answers_{judge.run_id}",
            help="A file of their own: no verdict of a person is in it, and none of these in theirs.",
        )


def _show_comparison(comparison: JudgeComparisonReport) -> None:
    mark = '<span class="pw-simulated">beside a simulated reviewer, not people</span>' if comparison.simulated else ""
    st.html(f"<div>{escape_html(comparison.sentence.text)} {mark}</div>")
    show_blocks([comparison.same])
    pictures = []
    for part in comparison.help:
        pictures += [block for block in part.blocks if isinstance(block, Picture)]
        sentences = [block for block in part.blocks if isinstance(block, Sentence)]
        faded = {True: ' class="pw-faded"', False: ""}
        words = [f"<div{faded[line.small]}>{escape_html(line.text)}</div>" for line in sentences]
        st.html(f"<div><b>{escape_html(part.title)}</b> {''.join(words)}</div>")
    if pictures:
        rows = tuple(row for picture in pictures for row in picture.rows)
        show_blocks([replace(pictures[0], rows=rows), *comparison.note])
    show_table([{"Model judge": name, "Value": value} for name, value in comparison.figures.rows], whole=True)
