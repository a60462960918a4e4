"""The judged pairs of a closed Evaluation, one after another: the candidate's losses first, with all behind them, and
the way from a lost pair to the queue of corrections: training prompts that are like it, to be chosen from.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from db.models import Role
from db.people import roles_of
from db.session import reading, session
from eval.report.pairs import (
    AuthoredReply,
    Case,
    Earlier,
    Fate,
    LossChange,
    cases,
    changes,
    chosen,
    earlier,
    may_read,
    passed,
)
from eval.report.results import Results
from generation.asserting import Share, assertions
from review.wanted import Alike, alike, want_corrections
from stats.verdicts import Outcome
from texts.escape import escaped
from ui.checks import share_table
from ui.pairs import show_prompt
from ui.safe import errors_shown, errors_toasted, plain, show_table

WORDS = {Outcome.WIN: "won", Outcome.LOSS: "lost", Outcome.TIE: "both good", Outcome.BOTH_BAD: "both bad"}
EVERYTHING = "everything, losses first"
KIND = {False: "people", True: "simulated reviewers"}
CHOSEN = 3
"""So many of the nearest are chosen to begin with."""
SHOWN = 280
"""Characters of a prompt that are shown."""


@dataclass(frozen=True)
class _Read:
    """What one tab reads."""

    key: tuple[int, bool]
    cases: tuple[Case, ...]
    earlier: Earlier | None
    changes: dict[int, tuple[LossChange, Case]]
    shares: tuple[Share, ...]


def show_pairs(found: Results, *, by: int) -> None:
    """A switch, and behind it the pairs: texts are read from the database only when somebody wants them."""
    st.divider()
    if st.toggle("Read the judged pairs one after another, losses first", key="read_pairs"):
        kinds = tuple(verdicts.simulated for verdicts in found.verdicts)
        _pairs(found.evaluation.id, found.evaluation.project_id, kinds, by)


@st.fragment
@errors_shown()
def _pairs(evaluation_id: int, project_id: int, kinds: tuple[bool, ...], by: int) -> None:
    simulated = kinds[0]
    if len(kinds) > 1:
        simulated = st.radio("Verdicts of", kinds, format_func=KIND.__getitem__, horizontal=True, on_change=_first)
    elif simulated:
        st.html('<span class="pw-simulated">verdicts of simulated reviewers, not people</span>')
    read = _read(evaluation_id, project_id, simulated, by)
    _show_changes(read)
    if read.shares:
        with st.expander("Checks by responder, on the judged replies", icon=":material/rule:"), reading() as s:
            known = {share.assertion_id for share in read.shares}
            share_table([one for one in assertions(s, project_id=project_id) if one.id in known], read.shares)
    found = _filtered(read)
    if not found:
        st.info("No pair is like that. Choose otherwise above.")
        return
    at = min(int(st.session_state.get("pair_at", 0)), len(found) - 1)
    _bar(at, len(found))
    _show_case(found[at], read)
    if found[at].fate is Fate.LOST:
        _offer_like(found[at].pairing_id, project_id, by)


def _read(evaluation_id: int, project_id: int, simulated: bool, by: int) -> _Read:
    kept = st.session_state.get("pairs_read")
    with reading() as s:
        same = isinstance(kept, _Read) and kept.key == (evaluation_id, simulated)
        if isinstance(kept, _Read) and same and may_read(s, by=by, project_id=project_id):
            return kept
        now = cases(s, by=by, evaluation_id=evaluation_id, simulated=simulated)
        before = earlier(s, evaluation_id=evaluation_id)
        then = cases(s, by=by, evaluation_id=before.evaluation.id, simulated=simulated) if before else ()
        read = _Read((evaluation_id, simulated), now, before, changes(now, then), passed(s, found=now))
    st.session_state["pairs_read"] = read
    st.session_state["pair_at"] = 0
    return read


def _show_changes(read: _Read) -> None:
    if read.earlier is None:
        st.caption("There is no earlier evaluation of an earlier model beside the same replies to compare with.")
        return
    count = Counter(kind for kind, _ in read.changes.values())
    before = read.earlier.evaluation
    st.markdown(
        plain(
            f"Since “{before.name}” with {before.candidate.label}, on {read.earlier.shared:,} pairs with the same "
            f"reply of the baseline: {count[LossChange.FIXED]:,} losses fixed, {count[LossChange.BROKE]:,} broke, "
            f"{count[LossChange.STILL_LOST]:,} still lost."
        )
    )


def _first() -> None:
    st.session_state["pair_at"] = 0


def _step(by: int) -> None:
    st.session_state["pair_at"] = max(0, int(st.session_state.get("pair_at", 0)) + by)


def _filtered(read: _Read) -> tuple[Case, ...]:
    """The boxes, and what they leave."""
    everywhere, everybody = "all topics", "all reviewers"
    topics = [everywhere, *sorted({case.topic for case in read.cases})]
    reviewers = [everybody, *sorted({one.reviewer for case in read.cases for one in case.said})]
    shown = [EVERYTHING, *(fate.value for fate in Fate), *(change.value for change in LossChange if read.earlier)]
    left, middle, right = st.columns(3)
    which = left.selectbox("Show", shown, on_change=_first, key="pairs_shown")
    topic = middle.selectbox("Topic", topics, on_change=_first, key="pairs_topic")
    reviewer = right.selectbox("Reviewer", reviewers, on_change=_first, key="pairs_reviewer")
    found = chosen(
        read.cases,
        topic="" if topic == everywhere else topic,
        reviewer="" if reviewer == everybody else reviewer,
        commented=st.checkbox("Only with a comment", on_change=_first, key="pairs_commented")
        if any(one.comment for case in read.cases for one in case.said)
        else False,
    )
    if which in set(Fate):
        return tuple(case for case in found if case.fate == which)
    if which in set(LossChange):
        return tuple(case for case in found if read.changes.get(case.pairing_id, ("",))[0] == which)
    return found


def _bar(at: int, total: int) -> None:
    """Back and on, with the arrow keys."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("Previous", shortcut="Left", on_click=_step, args=(-1,), disabled=at == 0, key="pairs_previous")
        st.button("Next", shortcut="Right", on_click=_step, args=(1,), disabled=at == total - 1, key="pairs_next")
        st.markdown(f"**{at + 1}** of {total:,}")


def _show_case(case: Case, read: _Read) -> None:
    show_prompt(case.prompt, case.context, compact=True)
    sides = [("Candidate", case.candidate), ("Baseline", case.baseline)]
    changed = read.changes.get(case.pairing_id)
    if changed and read.earlier:
        sides.insert(1, (f"Candidate then, {changed[0].value}", changed[1].candidate))
    cards = "".join(_card(role, reply) for role, reply in sides)
    columns = f"grid-template-columns: repeat({len(sides)}, minmax(0, 1fr))"
    st.html(f'<div class="pw-pair" style="{columns}">{cards}</div>')
    st.markdown(f"**The candidate {case.fate.value}**")
    show_table(
        [
            {
                "Reviewer": one.reviewer,
                "Said": WORDS[one.outcome],
                "Seconds": "" if one.seconds is None else f"{one.seconds:.0f}",
                "Comment": one.comment,
            }
            for one in case.said
        ],
        whole=True,
    )
    st.caption(
        plain(
            f"Topic: {case.topic}. Prompt {case.prompt_id}, pairing {case.pairing_id}, responses "
            f"{case.candidate.response_id} and {case.baseline.response_id}."
        )
    )


def _card(role: str, reply: AuthoredReply) -> str:
    made = f" · {reply.made_by}" if reply.made_by else ""
    note = ""
    if reply.failed:
        note = f'<div class="pw-label"><span class="pw-note">{escaped("; ".join(reply.failed))}</span></div>'
    elif reply.checked:
        note = f'<div class="pw-label">{reply.checked} checks passed</div>'
    return (
        f'<div class="pw-card"><div class="pw-label">{escaped(f"{role}: {reply.responder}{made}")}</div>{note}'
        f'<div class="pw-text">{escaped(reply.text)}</div></div>'
    )


# ------------------------------------------------------------------------------------------------ better replies


def _offer_like(pairing_id: int, project_id: int, by: int) -> None:
    """A switch, and behind it the prompts, for managers; the texts are compared only when somebody wants that."""
    with reading() as s:
        if Role.MANAGER not in roles_of(s, reviewer_id=by, project_id=project_id):
            return
    if st.toggle(
        "Collect better replies to training prompts like this one",
        key=f"like_{pairing_id}",
        help="This prompt is held out, so no model ever learns from it. Others of its kind may.",
    ):
        with errors_shown():
            _choose(pairing_id, by)


def _choose(pairing_id: int, by: int) -> None:
    with reading() as s:
        found = alike(s, by=by, pairing_id=pairing_id)
    if not found:
        st.info("No training prompt has a word in common with this one. Import more prompts of its kind first.")
        return
    free = [one for one in found if not one.waits]
    if len(free) < len(found):
        st.caption(f"{len(found) - len(free)} of the {len(found)} most like it wait under Correct already.")
    if not free:
        return
    for number, one in enumerate(free):
        st.checkbox(plain(_in_short(one)), value=number < CHOSEN, key=_key(pairing_id, one))
    st.button(
        "Send to Correct",
        type="primary",
        icon=":material/edit_note:",
        key=f"want_{pairing_id}",
        on_click=_send,
        args=(pairing_id, free, by),
    )


def _key(pairing_id: int, one: Alike) -> str:
    return f"like_{pairing_id}_{one.prompt_id}"


def _in_short(one: Alike) -> str:
    text = " ".join(one.text.split())
    text = text if len(text) <= SHOWN else f"{text[:SHOWN].rsplit(' ', 1)[0]} …"
    return f"{one.topic}: {text}" if one.topic else text


def _send(pairing_id: int, offered: Sequence[Alike], by: int) -> None:
    ticked = [one.prompt_id for one in offered if st.session_state.get(_key(pairing_id, one))]
    if not ticked:
        st.toast("Nothing is chosen. Tick the prompts that should get a better reply.", icon=":material/info:")
        return
    with errors_toasted():
        with session() as s:
            new = want_corrections(s, by=by, pairing_id=pairing_id, prompt_ids=ticked)
        st.toast(f"{new} prompts wait under Correct now.", icon=":material/check:")
