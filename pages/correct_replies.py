"""Write what should have been sent: correct replies that nobody would send, write new ones, look over corrections."""

from collections.abc import Sequence

import streamlit as st

from db.people import RANKERS
from db.session import reading, session
from review.corrections import Corrected, next_rejected, rejected_count, standing_corrections
from review.drafts import DraftPlace, WritingTask, draft_of, save_draft
from review.reveals import reveal
from review.wanted import next_wanted, wanted_count
from review.writing import next_unanswered, unanswered_count, write_reply
from texts.diff import word_diff
from texts.escape import escaped
from ui.correcting import Subject, correction_box
from ui.editor import editor, now_in, restart
from ui.frame import page, show_guideline
from ui.pairs import show_diff, show_prompt
from ui.safe import errors_toasted, plain

me = page("Correct", *RANKERS)
LATER = f"correct_later_{me.project_id}_{me.reviewer_id}"
FURTHER = f"correct_further_{me.project_id}_{me.reviewer_id}"


def put_off(which: str, item_id: int) -> None:
    """Show this one after all the others."""
    st.session_state.setdefault(f"{LATER}_{which}", []).append(item_id)


def later_of(which: str) -> Sequence[int]:
    """What this person put off there."""
    put_off_ids: list[int] = st.session_state.get(f"{LATER}_{which}", [])
    return put_off_ids


def show_task(which: str, task: WritingTask, caption: str) -> None:
    """The prompt that waits, with a button that puts it off."""
    head, later = st.columns([5, 1], vertical_alignment="center")
    head.caption(caption)
    item_id = task.comparison_id or task.prompt.id
    later.button("Later", shortcut="L", width="stretch", on_click=put_off, args=(which, item_id))
    if task.routed is not None:
        st.warning(f"For people only, no model answers this: {plain(task.routed)}", icon=":material/person:")
    show_prompt(task.prompt.text, task.prompt.context, compact=True, synthetic=task.prompt.synthetic)


def start_from(task: WritingTask, *, or_empty: bool = False) -> None:
    """The editor on one of the replies, or on an empty box."""
    names = [f"Reply {number}" for number in range(1, len(task.replies) + 1)]
    choices = [*names, "An empty box"] if or_empty else names
    item = f"wanted_{task.prompt.id}" if or_empty else task.comparison_id
    chosen = st.segmented_control("Start from", choices, default=choices[0], key=f"start_{item}", required=True)
    if (chosen or choices[0]) in names:
        response_id, text = task.replies[names.index(chosen or choices[0])]
        correction_box(me, Subject(task.prompt.id, response_id, text))
    else:
        writing_box(task.prompt.id)


@st.fragment
def rejected() -> None:
    """Replies that somebody called both bad, one comparison after another."""
    with session() as s:
        task = next_rejected(s, by=me.reviewer_id, project_id=me.project_id, later=later_of("rejected"))
        if task is not None and task.comparison_id is not None:  # that it stands here tells what somebody said of it
            reveal(s, by=me.reviewer_id, comparison_id=task.comparison_id, roles=RANKERS)
        left = rejected_count(s, project_id=me.project_id)
    if task is None:
        done("No reply waits for a correction. Pairs that somebody calls both bad come here.")
        return
    show_task(
        "rejected",
        task,
        f"Pairs that people called both bad, still to correct: {left}. Start from the reply that is nearer. "
        "Seeing it here tells what somebody said of it, so you will not be asked to rank it any more.",
    )
    start_from(task)


@st.fragment
def after_losses() -> None:
    """Training prompts like the ones that a model lost on, one after another."""
    with reading() as s:
        task = next_wanted(s, by=me.reviewer_id, project_id=me.project_id, later=later_of("wanted"))
        left = wanted_count(s, project_id=me.project_id)
    if task is None:
        done("Nothing waits here. Managers send training prompts from the lost pairs of an evaluation.")
        return
    show_task(
        "wanted", task, f"Prompts like those that a model lost on: {left}. Write the reply that should have been sent."
    )
    start_from(task, or_empty=True)


@st.fragment
def unanswered() -> None:
    """Prompts that want another person's reply, from an empty box."""
    side = st.segmented_control(
        "For",
        ["Training", "Blind evaluation"],
        default="Training",
        required=True,
        key="write_for",
        help="Replies to training prompts are ranked; those to held-out prompts are judged blind against models.",
    )
    held_out = side == "Blind evaluation"
    with reading() as s:
        task = next_unanswered(
            s, by=me.reviewer_id, project_id=me.project_id, held_out=held_out, later=later_of("unanswered")
        )
        left = unanswered_count(s, project_id=me.project_id, reviewer_id=me.reviewer_id, held_out=held_out)
    if task is None:
        done("Every prompt here has two people's replies, or one of yours.")
        return
    show_task(
        "unanswered",
        task,
        f"Prompts that want a reply by you: {left}. Yours is saved under your name, and others rank it.",
    )
    if task.replies:
        with st.expander("What somebody else replied", icon=":material/reply:"):
            for _, text in task.replies:
                st.html(f'<div class="pw-card pw-text">{escaped(text)}</div>')
    writing_box(task.prompt.id)


def done(words: str) -> None:
    """Nothing waits."""
    st.success(words, icon=":material/done_all:")


def writing_box(prompt_id: int) -> None:
    """An empty box for a reply of one's own, kept as a draft while it is typed."""
    key, place = f"write_{prompt_id}", DraftPlace(reviewer_id=me.reviewer_id, prompt_id=prompt_id)
    with reading() as s:
        draft = draft_of(s, at=place)

    def typed(text: str) -> None:
        with errors_toasted(), session() as s:
            save_draft(s, at=place, text=text)

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
        correction, prompt = one.correction, one.correction.response.prompt
        with st.container(border=True):
            who = " → ".join(name for name, _ in one.chain)
            why = f" · {correction.reason}" if correction.reason and not one.sealed_by else ""
            st.caption(plain(f"{who} · {correction.created_at:%d %b %H:%M}{why}"))
            show_prompt(prompt.text, prompt.context, compact=True, synthetic=prompt.synthetic)
            if one.sealed_by:
                st.button(
                    "Show it; I will not rank this pair",
                    key=f"unseal_{correction.id}",
                    on_click=unseal,
                    args=(one.sealed_by,),
                    icon=":material/visibility:",
                    help="Nobody sees what others think of a pair before ranking it.",
                )
            elif st.session_state.get(FURTHER) == correction.id:
                correct_further(one)
            else:
                show_diff(word_diff(correction.response.text, correction.text))
                label = "Change my correction" if one.mine else "Correct this further"
                st.button(
                    label,
                    key=f"further_{correction.id}",
                    on_click=lambda i=correction.id: st.session_state.update({FURTHER: i}),
                    icon=":material/edit:",
                )


def unseal(comparison_ids: Sequence[int]) -> None:
    """Give up ranking these, to see a correction of one of their replies."""
    with errors_toasted(), session() as s:
        for comparison_id in comparison_ids:
            reveal(s, by=me.reviewer_id, comparison_id=comparison_id, roles=RANKERS)


def correct_further(one: Corrected) -> None:
    """The editor on a correction: one's own is replaced, somebody else's gets a child."""
    reply = one.correction.response
    subject = Subject(
        reply.prompt_id,
        reply.id,
        reply.text,
        start=None if one.mine else one.correction.text,
        parent_id=None if one.mine else one.correction.id,
    )
    correction_box(me, subject, on_saved=lambda: st.session_state.pop(FURTHER, None))


with reading() as s:
    waiting = rejected_count(s, project_id=me.project_id)
    to_write = unanswered_count(s, project_id=me.project_id, reviewer_id=me.reviewer_id)
    wanted = wanted_count(s, project_id=me.project_id)
show_guideline(me)
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
