"""Original, editor, live word diff, reason and buttons: the part of a screen on which a reply is corrected."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import streamlit as st

from db.session import reading, session
from review.corrections import correct, same_words, standing_correction, withdraw
from review.drafts import DraftPlace, draft_of, forget_draft, save_draft
from texts.diff import word_diff, words_changed
from texts.escape import escaped
from ui.editor import editor, now_in, restart
from ui.frame import Me
from ui.pairs import show_diff
from ui.safe import errors_toasted


@dataclass(frozen=True)
class Subject:
    """What is corrected."""

    prompt_id: int
    response_id: int
    original: str
    """The reply, as it is shown read-only beside the editor."""
    start: str | None = None
    """Another person's correction to start from; the original where None."""
    parent_id: int | None = None
    """That correction."""

    @property
    def key(self) -> str:
        """Of the editor."""
        return f"correct_{self.response_id}_{self.parent_id or 0}"

    def place(self, me: Me) -> DraftPlace:
        """Where its draft is kept."""
        return DraftPlace(
            reviewer_id=me.reviewer_id,
            prompt_id=self.prompt_id,
            response_id=self.response_id,
            parent_id=self.parent_id,
        )


def correction_box(me: Me, subject: Subject, *, on_saved: Callable[[], None] = lambda: None) -> None:
    """Correct one reply. What is typed is kept as a draft; nothing is learned from before it is saved."""
    with reading() as s:
        mine = standing_correction(s, by=me.reviewer_id, response_id=subject.response_id)
        draft = draft_of(s, at=subject.place(me))
    base = subject.start if subject.start is not None else subject.original
    saved = mine.text if mine is not None and subject.parent_id is None else base
    start = draft if draft is not None else saved
    left, right = st.columns(2)
    with left:
        st.html(
            '<div class="pw-editor"><span>The reply as it is</span>'
            f'<div class="pw-card pw-text">{escaped(subject.original)}</div></div>'
        )
    with right:
        keep_draft = partial(_keep_draft, me, subject, saved)
        text = editor(subject.key, label="The reply as it should be", start=start, on_typed=keep_draft)
    pieces = word_diff(base, text)
    changed = words_changed(pieces)
    st.caption(f"{changed} words changed" + (", kept as a draft" if not same_words(text, saved) else ""))
    if changed:
        show_diff(pieces)
    st.text_input("Why? (optional)", key=f"why_{subject.key}", max_chars=500)
    save, reset, rest = st.columns([2, 2, 3])
    save.button(
        "Save correction",
        key=f"save_{subject.key}",
        type="primary",
        shortcut="Ctrl+Enter",
        width="stretch",
        on_click=_save,
        args=(me, subject, start, on_saved),
    )
    reset.button(
        "Reset to original",
        key=f"reset_{subject.key}",
        width="stretch",
        on_click=_reset,
        args=(me, subject),
        disabled=same_words(text, base),
    )
    if mine is not None:
        rest.button(
            "Withdraw my correction",
            key=f"withdraw_{subject.key}",
            on_click=_withdraw,
            args=(me, subject, mine.id),
            icon=":material/undo:",
        )


def _keep_draft(me: Me, subject: Subject, saved: str, text: str) -> None:
    with errors_toasted(), session() as s:
        if same_words(text, saved):
            forget_draft(s, at=subject.place(me))
        else:
            save_draft(s, at=subject.place(me), text=text)


def _save(me: Me, subject: Subject, start: str, on_saved: Callable[[], None]) -> None:
    why = st.session_state.get(f"why_{subject.key}", "")
    with errors_toasted():
        text, parent_id = now_in(subject.key, start), subject.parent_id
        with session() as s:
            correct(s, by=me.reviewer_id, response_id=subject.response_id, text=text, reason=why, parent_id=parent_id)
        restart(subject.key)
        st.toast("Correction saved: it will teach the model what should have been sent.", icon=":material/check:")
        on_saved()


def _reset(me: Me, subject: Subject) -> None:
    restart(subject.key)
    with errors_toasted(), session() as s:
        forget_draft(s, at=subject.place(me))


def _withdraw(me: Me, subject: Subject, correction_id: int) -> None:
    with errors_toasted():
        with session() as s:
            withdraw(s, by=me.reviewer_id, correction_id=correction_id)
        restart(subject.key)
