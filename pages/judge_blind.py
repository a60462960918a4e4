"""The blind screen: a prompt, two texts, four buttons, and no result in sight."""

from functools import partial

import streamlit as st

from db.models import Guess, Role
from db.session import reading, session
from errors import PickwellError
from eval.after_verdict import load_checks
from eval.judging import (
    BlindView,
    JudgingProgress,
    find_explainable,
    find_pair_to_guess,
    judge,
    judge_repeat,
    judging_progress,
    next_view,
    open_evaluations,
    save_guess,
    undo_last,
)
from stats.verdicts import Verdict
from ui.checks import describe_failed_checks
from ui.frame import page
from ui.pairs import choice_bar, forget_choice, recent_choice, seconds_shown, show_pair, show_prompt, wait_for_pause
from ui.reasons import ask_verdict_reasons
from ui.safe import attempt, errors_toasted, plain, show_error

me = page("Judge blind", Role.REVIEWER, Role.MANAGER)

WHICH = (
    (Guess.LEFT.value, "Left was the machine", "Left"),
    (Guess.CANNOT_TELL.value, "Cannot tell", "Down"),
    (Guess.RIGHT.value, "Right was the machine", "Right"),
)
VERDICT, GUESS, AGAIN = range(3)
"""What is asked of a judgment: judgment_id * 3 + one of these is an item of its own, so no press answers two."""


def give_verdict(item_id: int, choice: str) -> bool:
    judgment_id, question = divmod(item_id, 3)
    save, seconds = judge_repeat if question == AGAIN else judge, seconds_shown()
    return attempt(save, by=me.reviewer_id, judgment_id=judgment_id, verdict=Verdict(choice), seconds=seconds)


def give_guess(item_id: int, choice: str) -> bool:
    return attempt(save_guess, by=me.reviewer_id, judgment_id=item_id // 3, guess=Guess(choice))


def take_back(evaluation_id: int) -> None:
    """Undo the last verdict; the same pair comes again, sides unchanged."""
    forget_choice()
    with errors_toasted(), session() as s:
        if not undo_last(s, by=me.reviewer_id, evaluation_id=evaluation_id):
            st.toast("There is no verdict of yours to undo.")


@st.fragment
def show_next_pair(evaluation_id: int) -> None:
    try:
        with session() as s:
            chosen = recent_choice(BlindView)
            to_guess = chosen.shown if chosen and chosen.item_id % 3 == GUESS else None
            view: BlindView | None = chosen.shown if chosen else None
            if chosen is None:
                to_guess = find_pair_to_guess(s, by=me.reviewer_id, evaluation_id=evaluation_id)
                view = to_guess or next_view(s, by=me.reviewer_id, evaluation_id=evaluation_id)
            done = judging_progress(s, evaluation_id=evaluation_id, reviewer_id=me.reviewer_id)
    except PickwellError as problem:
        show_error(problem)
        return
    if not done.total:
        st.info(
            "No pair here is yours to judge: each holds a reply that you wrote, ranked or corrected, the same text "
            "twice, or has all the verdicts that it needs."
        )
        return
    st.progress(done.done / done.total, text=f"{done.done} of {done.total} pairs judged by you")
    undo_button = partial(show_undo, evaluation_id, disabled=not done.done)
    if view is None:
        show_end(done)
        undo_button()
    else:
        show_prompt(view.prompt, view.context)
        show_pair(view.left, view.right, chosen=chosen.choice if chosen else None)
        item_id = view.judgment_id * 3
        if to_guess is not None:
            st.caption("Your verdict is saved. Which side, do you think, was written by the machine?")
            choice_bar(item_id + GUESS, view, give_guess, beside=undo_button, keys=WHICH, name="which")
        else:
            choice_bar(item_id + (AGAIN if view.is_repeat else VERDICT), view, give_verdict, beside=undo_button)
    if to_guess is None:
        show_last(evaluation_id)
    wait_for_pause(chosen)


def show_end(done: JudgingProgress) -> None:
    if done.done < done.total:
        st.info("Others have the last pairs on their screens. Look again in ten minutes: what they leave is yours.")
        return
    st.success(
        "You have judged every pair. Thank you! Results open when a manager closes the evaluation.",
        icon=":material/done_all:",
    )


def show_last(evaluation_id: int) -> None:
    """One's last verdict, why, and only now what was checked about that pair."""
    with reading() as s:
        last = find_explainable(s, reviewer_id=me.reviewer_id, evaluation_id=evaluation_id)
        is_asked = find_pair_to_guess(s, by=me.reviewer_id, evaluation_id=evaluation_id) is not None
        if last is None or is_asked:  # what was checked could tell which one is the machine
            return
        checks = load_checks(s, by=me.reviewer_id, judgment_id=last.id)
    ask_verdict_reasons(me, last)
    if checks is not None and (findings := describe_failed_checks(checks)):
        st.caption(plain(f"That pair was checked. {findings}"))


def show_undo(evaluation_id: int, *, disabled: bool) -> None:
    st.button(
        "Undo", shortcut="U", on_click=take_back, args=(evaluation_id,), icon=":material/undo:", disabled=disabled
    )


with reading() as s:
    waiting = [evaluation.id for evaluation in open_evaluations(s, project_id=me.project_id)]
if not waiting:
    st.info("Nothing is waiting to be judged. A manager sets up an evaluation on the Evaluate page.")
    st.stop()
# an evaluation's name could tell who takes part, so here it is only a number
shown_id = waiting[0]
if len(waiting) > 1:
    shown_id = st.selectbox("Evaluation", waiting, format_func=lambda i: f"Evaluation {i}")
st.caption("Which reply would you rather have sent? Who wrote them stays hidden until the evaluation is closed.")
show_next_pair(shown_id)
