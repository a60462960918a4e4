"""Set up an Evaluation, close it, read what it found."""

import secrets

import streamlit as st

from db.catalog import Judged, evaluations
from db.models import Evaluation, ResponderKind, Role
from db.session import reading, session
from eval.evaluations import close_evaluation, create_evaluation, readiness, routed_held_out
from eval.losses import may_read
from ui.evaluation_pairs import show_pairs
from ui.evaluation_results import download_report, download_verdicts, show_results, told_results
from ui.frame import page
from ui.safe import errors_shown, plain

me = page("Evaluate", Role.MANAGER, Role.REVIEWER)
manager = me.has(Role.MANAGER)


def show_closed(ended: list[Evaluation]) -> None:
    """What one closed evaluation found."""
    chosen = ended[0]
    if len(ended) > 1:
        names = {one.id: f"{one.name} ({one.closed_at:%d %b %Y})" for one in ended}
        which = st.selectbox("Closed evaluation", list(names), format_func=names.__getitem__, key="closed_evaluation")
        chosen = next(one for one in ended if one.id == which)
    st.subheader(plain(chosen.name))
    found = told_results(chosen.id)
    show_results(found)
    if manager:
        download_report(found, by=me.reviewer_id)
    with reading() as s:
        readable = may_read(s, by=me.reviewer_id, project_id=me.project_id)
    if not readable:
        st.caption("The texts with their authors can be had once no evaluation is open: others may use the same ones.")
        return
    download_verdicts(found)
    show_pairs(found, by=me.reviewer_id)


def show_open(entry: Judged) -> None:
    """How far the judging of one is."""
    evaluation = entry.evaluation
    with st.container(border=True):
        st.subheader(plain(evaluation.name) if manager else f"Evaluation {evaluation.id}")
        st.progress(
            entry.judged / entry.pairings if entry.pairings else 1.0,
            text=f"Open: people judged {entry.judged} of {entry.pairings} pairs, {entry.verdicts} verdicts"
            + (f", and {entry.simulated} simulated" if entry.simulated else "")
            + ". Names and results stay hidden until it is closed.",
        )
        if manager and st.button("Close it and read the result", key=f"close_{evaluation.id}", icon=":material/lock:"):
            with errors_shown():
                with session() as s:
                    close_evaluation(s, by=me.reviewer_id, evaluation_id=evaluation.id)
                st.rerun()


def new_evaluation() -> None:
    """Candidate, baselines, name."""
    with reading() as s:
        ready = readiness(s, project_id=me.project_id)
        routed = routed_held_out(s, project_id=me.project_id)
    if routed:
        st.caption(f"Held-out prompts that people answer and no model does: {routed}. No evaluation has them.")
    complete = [entry.responder for entry in ready if entry.complete]
    for entry in ready:
        if not entry.complete and entry.responder.kind is not ResponderKind.HUMAN:
            st.caption(
                plain(
                    f"{entry.responder.label} has answered {entry.answered} of {entry.held_out} held-out prompts; "
                    "generate the rest to let it take part."
                )
            )
    machines = [responder for responder in complete if responder.kind is not ResponderKind.HUMAN]
    if not machines or len(complete) < 2:
        st.info("Two responders with a response to every held-out prompt are needed, one of them a model.")
        return
    with st.form("evaluation"):
        candidate = st.selectbox(
            "Candidate",
            machines,
            index=len(machines) - 1,
            format_func=lambda r: r.label,
            help="What you hope is better.",
        )
        baselines = st.multiselect(
            "Against",
            complete,
            default=[r for r in complete if r.kind is ResponderKind.HUMAN],
            format_func=lambda r: r.label,
        )
        shared = st.checkbox(
            "Where several people are chosen, one person's reply for each prompt, each person's equally often",
            value=True,
        )
        name = st.text_input("Name", placeholder="First model against our people", max_chars=120)
        if st.form_submit_button("Fix it and open the judging", type="primary") and candidate:
            with errors_shown():
                with session() as s:
                    create_evaluation(
                        s,
                        by=me.reviewer_id,
                        project_id=me.project_id,
                        name=name,
                        candidate_id=candidate.id,
                        baseline_ids=[r.id for r in baselines if r.id != candidate.id],
                        seed=secrets.randbelow(2**31),
                        one_person_a_prompt=shared,
                    )
                st.rerun()


with reading() as s:
    known = evaluations(s, project_id=me.project_id)
if manager:
    with st.expander("A new blind evaluation", expanded=not known, icon=":material/add:"):
        new_evaluation()
elif not known:
    st.info("There is no evaluation yet. A manager sets one up.")
for entry in known:
    if entry.evaluation.closed_at is None:
        show_open(entry)
if ended := [entry.evaluation for entry in known if entry.evaluation.closed_at is not None]:
    show_closed(ended)
