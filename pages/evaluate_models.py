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
manager = me.has_any_role(Role.MANAGER)


def show_closed(ended: list[Evaluation]) -> None:
    chosen = ended[0]
    if len(ended) > 1:
        names = {one.id: f"{one.name} ({one.closed_at:%d %b %Y})" for one in ended}
        which = st.selectbox("Closed evaluation", list(names), format_func=names.__getitem__, key="closed_evaluation")
        chosen = next(one for one in ended if one.id == which)
    st.subheader(plain(chosen.name))
    found, reports = load_reports(chosen.id)
    show_reports(found, reports)
    judges = load_judge_reports(found)
    show_judges(found, judges, me)
    judge_section(chosen, me)
    if manager:
        download_report(found, reports, judges, by=me.reviewer_id)
    with reading() as s:
        readable = may_read(s, by=me.reviewer_id, project_id=me.project_id)
    if not readable:
        st.caption("The texts with their authors can be had once no evaluation is open: others may use the same ones.")
        return
    download_verdicts(found)
    show_pairs(found, by=me.reviewer_id)


with reading() as s:
    known = list_evaluations(s, project_id=me.project_id)
if manager:
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
if ended := [entry.evaluation for entry in known if entry.evaluation.closed_at is not None]:
    show_closed(ended)
