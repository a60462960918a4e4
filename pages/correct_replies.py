"""Write what should have been sent: correct replies that nobody would send, write new ones, look over corrections."""

from collections.abc import Sequence

import streamlit as st

from db.people import RANKERS, guideline_of
from db.session import reading, session
from review.corrections import (
    Corrected,
    give_up_ranking,
    next_rejected,
    rejected_count,
    standing_corrections,
)
from review.drafts import draft_of, save_draft
from review.wanted import next_wanted, wanted_count
from review.writing import next_unanswered, unanswered_count, write_reply
from texts.diff import word_diff
from texts.escape import escaped
from ui.correcting import Subject, correction_box
from ui.editor import editor, now_in, restart
from ui.frame import page
from ui.pairs import show_diff, show_prompt
from ui.safe import errors_toasted, plain

me = page("Correct", *RANKERS)
LATER = f"correct_later_{me.project_id}_{me.reviewer_id}"
FURTHER = f"correct_further_{me.project_id}_{me.reviewer_id}"


def put_off(which: str, item_id: int) -> None:
    """Show this one after all the others."""
    st.session_state.setdefault(f"{LATER}_{which}", []).append(item_id)


@st.fragment
def rejected() -> None:
    """Replies that somebody called both bad, one comparison after another."""
    with session() as s:
        found = next_rejected(
            s, by=me.reviewer_id, project_id=me.project_id, later=st.session_state.get(f"{LATER}_rejected", [])
        )
        if found is not None:  # that it stands here tells what somebody said of it
            give_up_ranking(s, by=me.reviewer_id, comparison_id=found.comparison_id)
        left = rejected_count(s, project_id=me.project_id)
    if found is None:
        st.success(
            "No reply waits for a correction. Pairs that somebody calls both bad come here.", icon=":material/done_all:"
        )
        return
    head, later = st.columns([5, 1], vertical_alignment="center")
    head.caption(
        f"Pairs that people called both bad, still to correct: {left}. Start from the reply that is nearer. "
        "Seeing it here tells what somebody said of it, so you will not be asked to rank it any more."
    )
    later.button("Later", shortcut="L", width="stretch", on_click=put_off, args=("rejected", found.comparison_id))
    show_prompt(found.prompt, found.context, compact=True, synthetic=found.synthetic)
    names = [f"Reply {number}" for number in range(1, len(found.replies) + 1)]
    chosen = st.segmented_control(
        "Start from", names, default=names[0], key=f"start_{found.comparison_id}", required=True
    )
    response_id, text = found.replies[names.index(chosen or names[0])]
    correction_box(me, Subject(found.prompt_id, response_id, text))


@st.fragment
def after_losses() -> None:
    """Training prompts like the ones that a model lost on, one after another."""
    with reading() as s:
        found = next_wanted(
            s, by=me.reviewer_id, project_id=me.project_id, later=st.session_state.get(f"{LATER}_wanted", [])
        )
        left = wanted_count(s, project_id=me.project_id)
    if found is None:
        st.success(
            "Nothing waits here. Managers send training prompts from the lost pairs of an evaluation.",
            icon=":material/done_all:",
        )
        return
    head, later = st.columns([5, 1], vertical_alignment="center")
    head.caption(f"Prompts like those that a model lost on: {left}. Write the reply that should have been sent.")
    later.button("Later", shortcut="L", width="stretch", on_click=put_off, args=("wanted", found.prompt_id))
    show_prompt(found.prompt, found.context, compact=True, synthetic=found.synthetic)
    names = [f"Reply {number}" for number in range(1, len(found.replies) + 1)]
    empty = "An empty box"
    chosen = st.segmented_control(
        "Start from", [*names, empty], default=[*names, empty][0], key=f"start_wanted_{found.prompt_id}", required=True
    )
    if chosen in names:
        response_id, text = found.replies[names.index(chosen)]
        correction_box(me, Subject(found.prompt_id, response_id, text))
    else:
        writing_box(found.prompt_id)


@st.fragment
def unanswered() -> None:
    """Prompts that want another person's reply, from an empty box."""
    held_out = (
        st.segmented_control(
            "For",
            ["Training", "Blind evaluation"],
            default="Training",
            required=True,
            key="write_for",
            help="Replies to training prompts are ranked; those to held-out prompts are judged blind against models.",
        )
        == "Blind evaluation"
    )
    with reading() as s:
        found = next_unanswered(
            s,
            by=me.reviewer_id,
            project_id=me.project_id,
            held_out=held_out,
            later=st.session_state.get(f"{LATER}_unanswered", []),
        )
        left = unanswered_count(s, project_id=me.project_id, reviewer_id=me.reviewer_id, held_out=held_out)
    if found is None:
        st.success("Every prompt here has two people's replies, or one of yours.", icon=":material/done_all:")
        return
    head, later = st.columns([5, 1], vertical_alignment="center")
    head.caption(f"Prompts that want a reply by you: {left}. Yours is saved under your name, and others rank it.")
    later.button("Later", shortcut="L", width="stretch", on_click=put_off, args=("unanswered", found.prompt_id))
    if found.routed is not None:
        st.warning(f"For people only, no model answers this: {plain(found.routed)}", icon=":material/person:")
    show_prompt(found.prompt, found.context, compact=True, synthetic=found.synthetic)
    if found.others:
        with st.expander("What somebody else replied", icon=":material/reply:"):
            for other in found.others:
                st.html(f'<div class="pw-card pw-text">{escaped(other)}</div>')
    writing_box(found.prompt_id)


def writing_box(prompt_id: int) -> None:
    """An empty box for a reply of one's own, kept as a draft while it is typed."""
    key = f"write_{prompt_id}"
    with reading() as s:
        draft = draft_of(s, reviewer_id=me.reviewer_id, prompt_id=prompt_id, response_id=None)

    def typed(text: str) -> None:
        with errors_toasted(), session() as s:
            save_draft(s, by=me.reviewer_id, prompt_id=prompt_id, response_id=None, text=text)

    text = editor(key, label="Your reply", start=draft or "", on_typed=typed)
    st.caption(f"{len(text.split())} words" + (", kept as a draft" if text.strip() else ""))
    st.button(
        "Save reply",
        type="primary",
        shortcut="Ctrl+Enter",
        key=f"save_{key}",
        on_click=save_reply,
        args=(prompt_id, draft or "", key),
    )


def save_reply(prompt_id: int, start: str, key: str) -> None:
    """Keep a person's own reply."""
    with errors_toasted():
        with session() as s:
            write_reply(s, by=me.reviewer_id, prompt_id=prompt_id, text=now_in(key, start))
        restart(key)
        st.toast("Reply saved.", icon=":material/check:")


@st.fragment
def corrected() -> None:
    """What was corrected so far; anybody may correct a correction further."""
    with reading() as s:
        found = standing_corrections(s, by=me.reviewer_id, project_id=me.project_id)
    if not found:
        st.info("Nobody has corrected a reply yet.")
    for one in found:
        with st.container(border=True):
            who = " → ".join(name for name, _ in one.chain)
            why = f" · {one.reason}" if one.reason and not one.sealed_by else ""
            st.caption(plain(f"{who} · {one.at:%d %b %H:%M}{why}"))
            show_prompt(one.prompt, one.context, compact=True, synthetic=one.synthetic)
            if one.sealed_by:
                st.button(
                    "Show it; I will not rank this pair",
                    key=f"unseal_{one.correction_id}",
                    on_click=unseal,
                    args=(one.sealed_by,),
                    icon=":material/visibility:",
                    help="Nobody sees what others think of a pair before ranking it.",
                )
            elif st.session_state.get(FURTHER) == one.correction_id:
                correct_further(one)
            else:
                show_diff(word_diff(one.original, one.text))
                label = "Change my correction" if one.mine else "Correct this further"
                st.button(
                    label,
                    key=f"further_{one.correction_id}",
                    on_click=lambda i=one.correction_id: st.session_state.update({FURTHER: i}),
                    icon=":material/edit:",
                )


def unseal(comparison_ids: Sequence[int]) -> None:
    """Give up ranking these, to see a correction of one of their replies."""
    with errors_toasted(), session() as s:
        for comparison_id in comparison_ids:
            give_up_ranking(s, by=me.reviewer_id, comparison_id=comparison_id)


def correct_further(one: Corrected) -> None:
    """The editor on a correction: one's own is replaced, somebody else's gets a child."""
    subject = Subject(
        one.prompt_id,
        one.response_id,
        one.original,
        start=None if one.mine else one.text,
        parent_id=None if one.mine else one.correction_id,
    )
    correction_box(me, subject, on_saved=lambda: st.session_state.pop(FURTHER, None))


with reading() as s:
    guideline = guideline_of(s, project_id=me.project_id)
    waiting = rejected_count(s, project_id=me.project_id)
    to_write = unanswered_count(s, project_id=me.project_id, reviewer_id=me.reviewer_id)
    wanted = wanted_count(s, project_id=me.project_id)
if guideline is not None and guideline.text:
    with st.expander(
        f"Guideline: what makes a reply better (version {guideline.version})", icon=":material/menu_book:"
    ):
        st.text(guideline.text)
PARTS = {
    "rejected": (rejected, f"Nobody would send ({waiting})"),
    "wanted": (after_losses, f"Like lost ones ({wanted})"),
    "unanswered": (unanswered, f"Write replies ({to_write})"),
    "corrected": (corrected, "Corrections so far"),
}
part = st.segmented_control(
    "Show",
    list(PARTS),
    default="rejected",
    format_func=lambda name: PARTS[name][1],
    label_visibility="collapsed",
    required=True,
    key="correct_part",
)
PARTS[part or "rejected"][0]()
