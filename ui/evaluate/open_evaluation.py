"""An open Evaluation: how far the judging is, what was fixed, and how it stands for those who may know."""

import streamlit as st

from db.models import Role
from db.session import reading, session
from eval.evaluations import EvaluationCounts, close_evaluation
from eval.live import has_peeked, load_standing, record_peek
from eval.protocol import Stopping, plan_of, protocol_rows
from ui.frame import CurrentPerson
from ui.safe import errors_shown, plain, show_table


def show_open_evaluation(counts: EvaluationCounts, me: CurrentPerson) -> None:
    """What every role may know of it; for managers, what they may do with it."""
    evaluation = counts.evaluation
    is_manager = me.has_any_role(Role.MANAGER)
    st.subheader(plain(evaluation.name) if is_manager else f"Evaluation {evaluation.id}")
    words = f"Open: {counts.given} of {counts.planned} verdicts by people"
    words += f", and {counts.simulated} simulated" if counts.simulated else ""
    share = counts.given / counts.planned if counts.planned else 1.0
    st.progress(share, text=f"{words}. Names and results stay hidden until it is closed.")
    if not is_manager:
        return
    anytime = plan_of(evaluation).stopping is Stopping.ANYTIME
    if anytime:
        _show_standing(evaluation.id, me)
    if rows := protocol_rows(evaluation):
        with st.expander("What was fixed", icon=":material/lock:"):
            show_table([{"What was fixed": label, "": value} for label, value in rows], whole=True)
            st.button(
                "Set up another like this one",
                key=f"like_{evaluation.id}",
                icon=":material/content_copy:",
                on_click=st.session_state.__setitem__,
                args=("evaluation_like", evaluation.id),
                help="Nothing of this one can be changed any more; other values make another evaluation.",
            )
    _show_closing(evaluation.id, me, complete=counts.complete, anytime=anytime)


def _show_closing(evaluation_id: int, me: CurrentPerson, *, complete: bool, anytime: bool) -> None:
    reason = None
    if not complete:
        reason = st.text_input(
            "Why it ends before what was planned" + (" (not needed once the evidence is enough)" if anytime else ""),
            key=f"early_{evaluation_id}",
            max_chars=500,
            help="Told with the result.",
        )
    if st.button("Close it and read the result", key=f"close_{evaluation_id}", icon=":material/lock:"):
        with errors_shown():
            with session() as s:
                close_evaluation(s, by=me.reviewer_id, evaluation_id=evaluation_id, reason=reason)
            st.rerun()


def _show_standing(evaluation_id: int, me: CurrentPerson) -> None:
    with reading() as s:
        peeked = has_peeked(s, evaluation_id=evaluation_id, reviewer_id=me.reviewer_id)
    if not peeked:
        st.button(
            "Look at how it stands and judge in it no more",
            key=f"peek_{evaluation_id}",
            icon=":material/visibility:",
            on_click=_look,
            args=(evaluation_id, me),
            help="Evidence that may be looked at as often as you like. Verdicts that you gave before stay.",
        )
        return
    with errors_shown():
        with reading() as s:
            standing = load_standing(s, by=me.reviewer_id, evaluation_id=evaluation_id)
        for contrast in standing.contrasts:
            words = f"{standing.candidate} against {contrast.label}: {contrast.sentence}"
            st.progress(contrast.progress, text=plain(words))
            st.caption(plain(contrast.note))


def _look(evaluation_id: int, me: CurrentPerson) -> None:
    with errors_shown(), session() as s:
        record_peek(s, by=me.reviewer_id, evaluation_id=evaluation_id)
