"""Original, editor, live word diff, reason and buttons: the part of a screen on which a reply is corrected."""

from collections.abc import Callable

import streamlit as st

from db.session import reading, session
from review.corrections import same_words, save_correction, standing_correction, withdraw_correction
from review.drafts import DraftPlace, forget_draft, load_draft, save_draft
from texts.diff import count_changed_words, word_diff
from texts.escape import escape_html
from ui.editor import current_text, editor, reset_editor
from ui.pairs import show_diff
from ui.safe import act, errors_toasted


def correction_box(
    by: int,
    prompt_id: int,
    response_id: int,
    original: str,
    *,
    start: str | None = None,
    parent_id: int | None = None,
    on_saved: Callable[[], None] = lambda: None,
) -> None:
    """Correct one reply. What is typed is kept as a draft; nothing is learned from before it is saved.

    Args:
        original: the reply, as it is shown read-only beside the editor.
        start: another person's correction to start from; the original where None.
        parent_id: that correction's id.
    """
    key = f"correct_{response_id}_{parent_id or 0}"
    place = DraftPlace(reviewer_id=by, prompt_id=prompt_id, response_id=response_id, parent_id=parent_id)
    with reading() as s:
        mine = standing_correction(s, by=by, response_id=response_id)
        draft = load_draft(s, place=place)
    base = start if start is not None else original
    saved = mine.text if mine is not None and parent_id is None else base
    shown = draft if draft is not None else saved

    def keep_draft(text: str) -> None:
        if same_words(text, saved):
            act(forget_draft, place=place)
        else:
            act(save_draft, place=place, text=text)

    def save_text() -> None:
        text, reason = current_text(key, shown), st.session_state.get(f"why_{key}", "")
        with errors_toasted():
            with session() as s:
                save_correction(s, by=by, response_id=response_id, text=text, reason=reason, parent_id=parent_id)
            reset_editor(key)
            st.toast("Correction saved: it will teach the model what should have been sent.", icon=":material/check:")
            on_saved()

    def reset_draft() -> None:
        reset_editor(key)
        act(forget_draft, place=place)

    def withdraw_text(correction_id: int) -> None:
        with errors_toasted():
            with session() as s:
                withdraw_correction(s, by=by, correction_id=correction_id)
            reset_editor(key)

    left, right = st.columns(2)
    left.html(
        '<div class="pw-editor"><span>The reply as it is</span>'
        f'<div class="pw-card pw-text">{escape_html(original)}</div></div>'
    )
    with right:
        text = editor(key, label="The reply as it should be", start=shown, on_typed=keep_draft)
    pieces = word_diff(base, text)
    changed = count_changed_words(pieces)
    st.caption(f"{changed} words changed" + (", kept as a draft" if not same_words(text, saved) else ""))
    if changed:
        show_diff(pieces)
    st.text_input("Why? (optional)", key=f"why_{key}", max_chars=500)
    save, reset, rest = st.columns([2, 2, 3])
    save.button(
        "Save correction",
        key=f"save_{key}",
        type="primary",
        shortcut="Ctrl+Enter",
        width="stretch",
        on_click=save_text,
    )
    unchanged = same_words(text, base)
    reset.button("Reset to original", key=f"reset_{key}", width="stretch", on_click=reset_draft, disabled=unchanged)
    if mine is not None:
        rest.button(
            "Withdraw my correction",
            key=f"withdraw_{key}",
            on_click=withdraw_text,
            args=(mine.id,),
            icon=":material/undo:",
        )
