"""Set up an Evaluation, close it, read what it found."""

import streamlit as st

from db.models import Evaluation, Role
from db.session import reading
from eval.evaluations import list_evaluations
from eval.report.pairs import may_read
from ui.evaluate.model_judge import judge_section, load_judge_reports, show_judges
from ui.evaluate.new_evaluation import new_evaluation
from ui.evaluate.open_evaluation import show_open_evaluation
from ui.evaluate.pairs import show_pairs
from ui.evaluate.results import download_report, download_verdicts, load_reports, show_reports
from ui.frame import page
from ui.safe import plain

me = page("Evaluate", Role.MANAGER, Role.REVIEWER)
is_manager = me.has_any_role(Role.MANAGER)


def show_closed(closed: list[Evaluation]) -> None:
    chosen = closed[0]
    if len(closed) > 1:
        names = {evaluation.id: f"{evaluation.name} ({evaluation.closed_at:%d %b %Y})" for evaluation in closed}
        which = st.selectbox("Closed evaluation", list(names), format_func=names.__getitem__, key="closed_evaluation")
        chosen = next(evaluation for evaluation in closed if evaluation.id == which)
    st.subheader(plain(chosen.name))
    results, reports = load_reports(chosen.id)
    show_reports(results, reports)
    judges = load_judge_reports(results)
    show_judges(results, judges, me)
    judge_section(chosen, me)
    if is_manager:
        download_report(results, reports, judges, by=me.reviewer_id)
    with reading() as s:
        readable = may_read(s, by=me.reviewer_id, project_id=me.project_id)
    if not readable:
        st.caption("The texts with their authors can be had once no evaluation is open: others may use the same ones.")
        return
    download_verdicts(results)
    show_pairs(results, by=me.reviewer_id)


with reading() as s:
    known = list_evaluations(s, project_id=me.project_id)
if is_manager:
    started = not known or st.session_state.get("evaluation_like") is not None
    with st.expander("A new blind evaluation", expanded=started, icon=":material/add:"):
        new_evaluation(me)
elif not known:
    st.info("There is no evaluation yet. A manager sets one up.")
for entry in known:
    if entry.evaluation.closed_at is None:
        with st.container(border=True):
            show_open_evaluation(entry, me)
            judge_section(entry.evaluation, me)
if closed := [entry.evaluation for entry in known if entry.evaluation.closed_at is not None]:
    show_closed(closed)
