"""The blind screen: a prompt, two texts, four buttons, and no result in sight."""

import streamlit as st

from db.models import Guess, Role
from db.session import reading, session
from errors import PickwellError
from eval.after_verdict import after_verdict
from eval.judging import (
    BlindView,
    JudgingProgress,
    explainable,
    judge,
    judge_again,
    next_view,
    open_evaluations,
    pending_guess,
    progress,
    say_which,
    undo_last,
)
from stats.verdicts import Verdict
from ui.checks import told_in_words
from ui.frame import page
from ui.pairs import (
    choice_bar,
    forget_choice,
    go_on_after_the_pause,
    just_chosen,
    seconds_shown,
    show_pair,
    show_prompt,
)
from ui.reasons import why_verdict
from ui.safe import errors_toasted, plain, show_error

me = page("Judge blind", Role.REVIEWER, Role.MANAGER)

WHICH = (
    (Guess.LEFT.value, "Left was the machine", "Left"),
    (Guess.CANNOT_TELL.value, "Cannot tell", "Down"),
    (Guess.RIGHT.value, "Right was the machine", "Right"),
)


VERDICT, GUESS, AGAIN = range(3)
"""What is asked of a judgment: each is an item of its own, so that one press never answers two."""


def item(judgment_id: int, asked: int) -> int:
    """One number for both, which never leaves the server."""
    return judgment_id * 3 + asked


def give_verdict(item_id: int, choice: str) -> bool:
    """Save a verdict; the next pair appears by itself."""
    judgment_id, asked = divmod(item_id, 3)
    save = judge_again if asked == AGAIN else judge
    with errors_toasted(), session() as s:
        save(s, by=me.reviewer_id, judgment_id=judgment_id, verdict=Verdict(choice), seconds=seconds_shown())
        return True
    return False


def give_guess(item_id: int, choice: str) -> bool:
    """Save which side was taken for the machine."""
    with errors_toasted(), session() as s:
        say_which(s, by=me.reviewer_id, judgment_id=item_id // 3, guess=Guess(choice))
        return True
    return False


def take_back(evaluation_id: int) -> None:
    """Undo the last verdict; the same pair comes again, sides unchanged."""
    forget_choice()
    with errors_toasted(), session() as s:
        if not undo_last(s, by=me.reviewer_id, evaluation_id=evaluation_id):
            st.toast("There is no verdict of yours to undo.")


@st.fragment
def judging(evaluation_id: int) -> None:
    """Everything that changes from pair to pair."""
    try:
        with session() as s:
            chosen = just_chosen(BlindView)
            asked = chosen.shown if chosen and chosen.item_id % 3 == GUESS else None
            view: BlindView | None = chosen.shown if chosen else None
            if chosen is None:
                asked = pending_guess(s, by=me.reviewer_id, evaluation_id=evaluation_id)
                view = asked or next_view(s, by=me.reviewer_id, evaluation_id=evaluation_id)
            done = progress(s, evaluation_id=evaluation_id, reviewer_id=me.reviewer_id)
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
    if view is None:
        nothing_left(done)
        undo_button(evaluation_id, done.done)
    else:
        show_prompt(view.prompt, view.context)
        show_pair(view.left, view.right, chosen=chosen.choice if chosen else None)
        if asked is not None:
            st.caption("Your verdict is saved. Which side, do you think, was written by the machine?")
            choice_bar(
                item(view.judgment_id, GUESS),
                view,
                give_guess,
                beside=lambda: undo_button(evaluation_id, done.done),
                keys=WHICH,
                name="which",
            )
        else:
            which = item(view.judgment_id, AGAIN if view.again else VERDICT)
            choice_bar(which, view, give_verdict, beside=lambda: undo_button(evaluation_id, done.done))
    if asked is None:
        tell_last(evaluation_id)
    go_on_after_the_pause(chosen)


def nothing_left(done: JudgingProgress) -> None:
    """Thanks, or to come back."""
    if done.done < done.total:
        st.info("Others have the last pairs on their screens. Look again in ten minutes: what they leave is yours.")
        return
    st.success(
        "You have judged every pair. Thank you! Results open when a manager closes the evaluation.",
        icon=":material/done_all:",
    )


def tell_last(evaluation_id: int) -> None:
    """One's last verdict, why, and only now what was checked about that pair."""
    with reading() as s:
        last = explainable(s, reviewer_id=me.reviewer_id, evaluation_id=evaluation_id)
        asking = pending_guess(s, by=me.reviewer_id, evaluation_id=evaluation_id) is not None
        if last is None or asking:  # what was checked could tell which one is the machine
            return
        told = after_verdict(s, by=me.reviewer_id, judgment_id=last.id)
    why_verdict(me, last)
    if told is not None and (found := told_in_words(told)):
        st.caption(plain(f"That pair was checked. {found}"))


def undo_button(evaluation_id: int, done: int) -> None:
    """Back by one verdict, as often as there are verdicts."""
    st.button(
        "Undo", shortcut="U", on_click=take_back, args=(evaluation_id,), icon=":material/undo:", disabled=not done
    )


with reading() as s:
    waiting = [evaluation.id for evaluation in open_evaluations(s, project_id=me.project_id)]
if not waiting:
    st.info("Nothing is waiting to be judged. A manager sets up an evaluation on the Evaluate page.")
    st.stop()
# an evaluation's name could tell who takes part, so here it is only a number
chosen = waiting[0]
if len(waiting) > 1:
    chosen = st.selectbox("Evaluation", waiting, format_func=lambda i: f"Evaluation {i}")
st.caption("Which reply would you rather have sent? Who wrote them stays hidden until the evaluation is closed.")
judging(chosen)
