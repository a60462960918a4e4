"""From a lost pair to the queue of corrections: the training prompts that are like it, to be chosen from."""

from collections.abc import Sequence

import streamlit as st

from db.models import Role
from db.people import roles_of
from db.session import reading, session
from review.wanted import Alike, alike, want_corrections
from ui.safe import errors_shown, errors_toasted, plain

CHOSEN = 3
"""So many of the nearest are chosen to begin with."""
SHOWN = 280
"""Characters of a prompt that are shown."""


def offer_like(pairing_id: int, project_id: int, by: int) -> None:
    """A switch, and behind it the prompts, for managers; the texts are compared only when somebody wants that."""
    with reading() as s:
        if Role.MANAGER not in roles_of(s, reviewer_id=by, project_id=project_id):
            return
    if st.toggle(
        "Collect better replies to training prompts like this one",
        key=f"like_{pairing_id}",
        help="This prompt is held out, so no model ever learns from it. Others of its kind may.",
    ):
        with errors_shown():
            _choose(pairing_id, by)


def _choose(pairing_id: int, by: int) -> None:
    with reading() as s:
        found = alike(s, by=by, pairing_id=pairing_id)
    if not found:
        st.info("No training prompt has a word in common with this one. Import more prompts of its kind first.")
        return
    free = [one for one in found if not one.waits]
    if len(free) < len(found):
        st.caption(f"{len(found) - len(free)} of the {len(found)} most like it wait under Correct already.")
    if not free:
        return
    for number, one in enumerate(free):
        st.checkbox(plain(_in_short(one)), value=number < CHOSEN, key=_key(pairing_id, one))
    st.button(
        "Send to Correct",
        type="primary",
        icon=":material/edit_note:",
        key=f"want_{pairing_id}",
        on_click=_send,
        args=(pairing_id, free, by),
    )


def _key(pairing_id: int, one: Alike) -> str:
    return f"like_{pairing_id}_{one.prompt_id}"


def _in_short(one: Alike) -> str:
    text = " ".join(one.text.split())
    text = text if len(text) <= SHOWN else f"{text[:SHOWN].rsplit(' ', 1)[0]} …"
    return f"{one.topic}: {text}" if one.topic else text


def _send(pairing_id: int, offered: Sequence[Alike], by: int) -> None:
    chosen = [one.prompt_id for one in offered if st.session_state.get(_key(pairing_id, one))]
    if not chosen:
        st.toast("Nothing is chosen. Tick the prompts that should get a better reply.", icon=":material/info:")
        return
    with errors_toasted():
        with session() as s:
            new = want_corrections(s, by=by, pairing_id=pairing_id, prompt_ids=chosen)
        st.toast(f"{new} prompts wait under Correct now.", icon=":material/check:")
