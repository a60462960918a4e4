"""The boxes in which somebody says why, after a choice or a blind verdict: a comment and chips."""

from collections.abc import Callable, Collection

import streamlit as st

from review.reasons import FAULTS, PRAISE
from texts.typed import LONGEST_COMMENT
from ui.keys import alternating
from ui.safe import errors_toasted

TITLES = ("The better one is", "Wrong with the other")


def reason_boxes(
    said: str,
    *,
    kind: str,
    item_id: int,
    comment: str | None,
    chips: Collection[str],
    titles: tuple[str, str] = TITLES,
    save_comment: Callable[[str], None],
    save_chips: Callable[[list[str], list[str]], None],
) -> None:
    """Both boxes; everything in them is optional and saved at once.

    Args:
        said: the choice, in words.
        kind: of what it is about, "ranking" or "verdict".
        item_id: its id, so that no box keeps the text of the one before.
        comment: as it stands.
        chips: as they stand.
    """
    key = alternating(f"{kind}_comment", item_id)
    st.text_input(
        f"Your last choice: {said}. Why? (optional, Enter saves)",
        value=comment or "",
        key=key,
        max_chars=LONGEST_COMMENT,
        on_change=_comment,
        args=(key, save_comment),
    )
    keys = alternating(f"{kind}_praise", item_id), alternating(f"{kind}_faults", item_id)
    for column, own, title, labels in zip(st.columns(2), keys, titles, (PRAISE, FAULTS), strict=True):
        column.pills(
            title,
            labels,
            selection_mode="multi",
            default=[chip for chip in chips if chip in labels],
            key=own,
            on_change=_chips,
            args=(keys, save_chips),
        )


def _comment(key: str, save: Callable[[str], None]) -> None:
    with errors_toasted():
        save(st.session_state.get(key, ""))
        st.toast("Reason saved.")


def _chips(keys: tuple[str, str], save: Callable[[list[str], list[str]], None]) -> None:
    praise, faults = (st.session_state.get(key, []) for key in keys)
    with errors_toasted():
        save(praise, faults)
