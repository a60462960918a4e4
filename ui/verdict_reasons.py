"""Why the last blind verdict was given: a comment and tags, after it, as chips on Compare."""

import streamlit as st

from db.models import Judgment
from db.reasons import FAULTS, LONGEST_COMMENT, PRAISE
from db.session import reading, session
from eval.judging import explain, set_tags, tags_of
from ui.frame import Me
from ui.keys import alternating
from ui.pairs import CHOICE_WORDS
from ui.safe import errors_toasted


def why_verdict(me: Me, last: Judgment) -> None:
    """Reasons of the last verdict; all optional."""
    if last.verdict is None:
        return
    with reading() as s:
        tags = tags_of(s, judgment_id=last.id)
    with st.container(border=True, key="why_verdict"):
        st.text_input(
            f"Your last choice: {CHOICE_WORDS[last.verdict.value]}. Why? (optional, Enter saves)",
            value=last.comment or "",
            key=(key := alternating("verdict_reason", last.id)),
            max_chars=LONGEST_COMMENT,
            on_change=_save_comment,
            args=(me, last.id, key),
        )
        keys = alternating("verdict_praise", last.id), alternating("verdict_faults", last.id)
        for column, own, title, labels in zip(
            st.columns(2), keys, ("The better one is", "Wrong with the other"), (PRAISE, FAULTS), strict=True
        ):
            column.pills(
                title,
                labels,
                selection_mode="multi",
                default=[tag for tag in tags if tag in labels],
                key=own,
                on_change=_save_tags,
                args=(me, last.id, keys),
            )


def _save_comment(me: Me, judgment_id: int, key: str) -> None:
    with errors_toasted():
        with session() as s:
            explain(s, by=me.reviewer_id, judgment_id=judgment_id, text=st.session_state.get(key, ""))
        st.toast("Reason saved.")


def _save_tags(me: Me, judgment_id: int, keys: tuple[str, str]) -> None:
    praise, faults = (st.session_state.get(key, []) for key in keys)
    with errors_toasted(), session() as s:
        set_tags(s, by=me.reviewer_id, judgment_id=judgment_id, praise=praise, faults=faults)
