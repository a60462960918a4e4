"""An open Evaluation: how far the judging is, what was fixed, and how it stands for those who may know."""

import streamlit as st

from db.models import Role
from db.session import reading, session
from eval.evaluations import Judged, close_evaluation, counted, protocol_of
from eval.live import has_peeked, live, peek
from eval.protocol import Stopping, protocol_rows
from ui.frame import Me
from ui.safe import errors_shown, plain, show_table


def show_open_evaluation(entry: Judged, me: Me) -> None:
    """What everybody may know of it; for managers, what they may do with it."""
    evaluation = entry.evaluation
    manager = me.has(Role.MANAGER)
    st.subheader(plain(evaluation.name) if manager else f"Evaluation {evaluation.id}")
    with reading() as s:
        count = counted(s, evaluation_id=evaluation.id)
        protocol = protocol_of(evaluation)
        looked = has_peeked(s, evaluation_id=evaluation.id, reviewer_id=me.reviewer_id)
    planned = count.planned if count.planned is not None else entry.pairings
    given = count.given if count.planned is not None else entry.judged
    words = f"Open: {given} of {planned} verdicts by people"
    if count.planned is None:
        words = f"Open: people judged {entry.judged} of {entry.pairings} pairs, {entry.verdicts} verdicts"
    st.progress(
        min(1.0, given / planned) if planned else 1.0,
        text=words
        + (f", and {entry.simulated} simulated" if entry.simulated else "")
        + ". Names and results stay hidden until it is closed.",
    )
    if not manager:
        return
    anytime = protocol is not None and protocol.plan.stopping is Stopping.ANYTIME
    if anytime:
        _standing(evaluation.id, me, looked=looked)
    if protocol is not None:
        with st.expander("What was fixed", icon=":material/lock:"):
            rows = [{"What was fixed": label, "": words} for label, words in protocol_rows(evaluation)]
            show_table(rows, whole=True)
            st.button(
                "Set up another like this one",
                key=f"like_{evaluation.id}",
                icon=":material/content_copy:",
                on_click=_start_like,
                args=(evaluation.id,),
                help="Nothing of this one can be changed any more; other values make another evaluation.",
            )
    _closing(evaluation.id, me, complete=count.complete, anytime=anytime)


def _start_like(evaluation_id: int) -> None:
    st.session_state["evaluation_like"] = evaluation_id


def _closing(evaluation_id: int, me: Me, *, complete: bool, anytime: bool) -> None:
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


def _standing(evaluation_id: int, me: Me, *, looked: bool) -> None:
    if not looked:
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
            found = live(s, by=me.reviewer_id, evaluation_id=evaluation_id)
        for contrast in found.contrasts:
            st.progress(contrast.share, text=plain(f"{found.candidate} against {contrast.label}: {contrast.sentence}"))
            st.caption(plain(contrast.note))


def _look(evaluation_id: int, me: Me) -> None:
    with errors_shown(), session() as s:
        peek(s, by=me.reviewer_id, evaluation_id=evaluation_id)
