"""Write what should have been sent: correct replies that nobody would send, write new ones, look over corrections."""

from collections.abc import Sequence

import streamlit as st

from db.people import RANKERS
from db.session import reading, session
from review.corrections import CorrectionChain, count_rejected, list_corrections, next_rejected
from review.drafts import DraftPlace, WritingTask, load_draft, save_draft
from review.reveals import reveal_comparison
from review.wanted import count_wanted, next_wanted
from review.writing import count_unanswered, next_unanswered, write_reply
from texts.diff import word_diff
from ui.correcting import correction_box
from ui.editor import current_text, editor, reset_editor
from ui.frame import page, show_guideline
from ui.pairs import show_diff, show_prompt
from ui.safe import act, errors_toasted, plain, show_text

me = page("Correct", *RANKERS)
LATER = f"correct_later_{me.project_id}_{me.reviewer_id}"
FURTHER = f"correct_further_{me.project_id}_{me.reviewer_id}"


def put_off(which: str, item_id: int) -> None:
    st.session_state.setdefault(f"{LATER}_{which}", []).append(item_id)


def later_of(which: str) -> Sequence[int]:
    ids: list[int] = st.session_state.get(f"{LATER}_{which}", [])
    return ids


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
        correction_box(me.reviewer_id, task.prompt.id, response_id, text)
    else:
        writing_box(task.prompt.id)


@st.fragment
def show_rejected() -> None:
    """Replies that people called both bad, one comparison after another."""
    with session() as s:
        task = next_rejected(s, **me.ids, later=later_of("rejected"))
        if task is not None and task.comparison_id is not None:  # that it stands here tells what was said of it
            reveal_comparison(s, by=me.reviewer_id, comparison_id=task.comparison_id, roles=RANKERS)
        left = count_rejected(s, project_id=me.project_id)
    if task is None:
        show_done("No reply waits for a correction. Pairs that somebody calls both bad come here.")
        return
    show_task(
        "rejected",
        task,
        f"Pairs that people called both bad, still to correct: {left}. Start from the reply that is nearer. "
        "Seeing it here tells what somebody said of it, so you will not be asked to rank it any more.",
    )
    start_from(task)


@st.fragment
def show_wanted() -> None:
    """Training prompts like the ones that a model lost on, one after another."""
    with reading() as s:
        task = next_wanted(s, **me.ids, later=later_of("wanted"))
        left = count_wanted(s, project_id=me.project_id)
    if task is None:
        show_done("Nothing waits here. Managers send training prompts from the lost pairs of an evaluation.")
        return
    show_task(
        "wanted", task, f"Prompts like those that a model lost on: {left}. Write the reply that should have been sent."
    )
    start_from(task, or_empty=True)


@st.fragment
def show_unanswered() -> None:
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
        task = next_unanswered(s, **me.ids, held_out=held_out, later=later_of("unanswered"))
        left = count_unanswered(s, project_id=me.project_id, reviewer_id=me.reviewer_id, held_out=held_out)
    if task is None:
        show_done("Every prompt here has two people's replies, or one of yours.")
        return
    caption = f"Prompts that want a reply by you: {left}. Yours is saved under your name, and others rank it."
    show_task("unanswered", task, caption)
    if task.replies:
        with st.expander("What somebody else replied", icon=":material/reply:"):
            for _, text in task.replies:
                show_text(text)
    writing_box(task.prompt.id)


def show_done(words: str) -> None:
    st.success(words, icon=":material/done_all:")


def writing_box(prompt_id: int) -> None:
    """An empty box for a reply of one's own, kept as a draft while it is typed."""
    key, place = f"write_{prompt_id}", DraftPlace(reviewer_id=me.reviewer_id, prompt_id=prompt_id)
    with reading() as s:
        draft = load_draft(s, place=place) or ""

    def save_reply() -> None:
        with errors_toasted():
            with session() as s:
                write_reply(s, by=me.reviewer_id, prompt_id=prompt_id, text=current_text(key, draft))
            reset_editor(key)
            st.toast("Reply saved.", icon=":material/check:")

    text = editor(key, label="Your reply", start=draft, on_typed=lambda text: act(save_draft, place=place, text=text))
    st.caption(f"{len(text.split())} words" + (", kept as a draft" if text.strip() else ""))
    st.button("Save reply", type="primary", shortcut="Ctrl+Enter", key=f"save_{key}", on_click=save_reply)


@st.fragment
def show_corrections() -> None:
    """Every correction so far; anybody may correct a correction further."""
    with reading() as s:
        corrections = list_corrections(s, **me.ids)
    if not corrections:
        st.info("Nobody has corrected a reply yet.")
    for chain in corrections:
        correction, prompt = chain.correction, chain.correction.response.prompt
        with st.container(border=True):
            who = " → ".join(name for name, _ in chain.chain)
            why = f" · {correction.reason}" if correction.reason and not chain.sealed_by else ""
            st.caption(plain(f"{who} · {correction.created_at:%d %b %H:%M} UTC{why}"))
            show_prompt(prompt.text, prompt.context, compact=True, synthetic=prompt.synthetic)
            if chain.sealed_by:
                st.button(
                    "Show it; I will not rank this pair",
                    key=f"unseal_{correction.id}",
                    on_click=unseal,
                    args=(chain.sealed_by,),
                    icon=":material/visibility:",
                    help="Nobody sees what others think of a pair before ranking it.",
                )
            elif st.session_state.get(FURTHER) == correction.id:
                correct_further(chain)
            else:
                show_diff(word_diff(correction.response.text, correction.text))
                st.button(
                    "Change my correction" if chain.is_own else "Correct this further",
                    key=f"further_{correction.id}",
                    on_click=lambda i=correction.id: st.session_state.update({FURTHER: i}),
                    icon=":material/edit:",
                )


def unseal(comparison_ids: Sequence[int]) -> None:
    """Give up ranking these, to see a correction of one of their replies."""
    with errors_toasted(), session() as s:
        for comparison_id in comparison_ids:
            reveal_comparison(s, by=me.reviewer_id, comparison_id=comparison_id, roles=RANKERS)


def correct_further(chain: CorrectionChain) -> None:
    """The editor on a correction: one's own is replaced, another person's gets a child."""
    reply = chain.correction.response
    correction_box(
        me.reviewer_id,
        reply.prompt_id,
        reply.id,
        reply.text,
        start=None if chain.is_own else chain.correction.text,
        parent_id=None if chain.is_own else chain.correction.id,
        on_saved=lambda: st.session_state.pop(FURTHER, None),
    )


with reading() as s:
    waiting = count_rejected(s, project_id=me.project_id)
    to_write = count_unanswered(s, project_id=me.project_id, reviewer_id=me.reviewer_id)
    wanted = count_wanted(s, project_id=me.project_id)
show_guideline(me)
PARTS = {
    "rejected": (show_rejected, f"Nobody would send ({waiting})"),
    "wanted": (show_wanted, f"Like lost ones ({wanted})"),
    "unanswered": (show_unanswered, f"Write replies ({to_write})"),
    "corrected": (show_corrections, "Corrections so far"),
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
