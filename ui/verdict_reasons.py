"""Why the last blind verdict was given: a comment and tags, after it, as chips on Compare."""

import streamlit as st

from db.models import Judgment
from db.session import reading, session
from eval.judging import explain, set_tags, tags_of
from ui.frame import Me
from ui.pairs import CHOICE_WORDS
from ui.reason_boxes import reason_boxes


def why_verdict(me: Me, last: Judgment) -> None:
    """Reasons of the last verdict; all optional."""
    if last.verdict is None:
        return
    with reading() as s:
        tags = tags_of(s, judgment_id=last.id)

    def save_comment(text: str) -> None:
        with session() as s:
            explain(s, by=me.reviewer_id, judgment_id=last.id, text=text)

    def save_tags(praise: list[str], faults: list[str]) -> None:
        with session() as s:
            set_tags(s, by=me.reviewer_id, judgment_id=last.id, praise=praise, faults=faults)

    with st.container(border=True, key="why_verdict"):
        reason_boxes(
            CHOICE_WORDS[last.verdict.value],
            kind="verdict",
            item_id=last.id,
            comment=last.comment,
            chips=tags,
            save_comment=save_comment,
            save_chips=save_tags,
        )
