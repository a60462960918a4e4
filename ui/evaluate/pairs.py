"""The judged pairs of a closed Evaluation, one after another: the candidate's losses first, with all behind them, and
the way from a lost pair to the queue of corrections: training prompts that are like it, to be chosen from.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import streamlit as st

from db.models import Role
from db.people import roles_of
from db.session import reading, session
from eval.report.pairs import (
    AuthoredReply,
    CandidateOutcome,
    Case,
    EarlierEvaluation,
    LossChange,
    count_passed_checks,
    filter_cases,
    find_earlier,
    load_cases,
    loss_changes,
    may_read,
)
from eval.report.results import Results
from generation.asserting import PassRate, list_assertions
from review.wanted import find_similar_prompts, request_corrections
from stats.verdicts import Outcome
from texts.escape import escape_html
from ui.checks import show_pass_rates
from ui.pairs import show_prompt
from ui.safe import errors_shown, errors_toasted, plain, show_table

WORDS = {Outcome.WIN: "won", Outcome.LOSS: "lost", Outcome.TIE: "both good", Outcome.BOTH_BAD: "both bad"}
EVERYTHING = "everything, losses first"
KIND = {False: "people", True: "simulated reviewers"}
CHOSEN = 3
SHOWN = 280


@dataclass(frozen=True)
class _LoadedPairs:
    key: tuple[int, bool]
    cases: tuple[Case, ...]
    earlier: EarlierEvaluation | None
    changes: dict[int, tuple[LossChange, Case]]
    pass_rates: tuple[PassRate, ...]


def show_pairs(results: Results, *, by: int) -> None:
    """A switch, and behind it the pairs: texts are read from the database only once it is on."""
    st.divider()
    if st.toggle("Read the judged pairs one after another, losses first", key="read_pairs"):
        kinds = tuple(verdicts.simulated for verdicts in results.by_reviewers)
        _show_pairs(results.evaluation.id, results.evaluation.project_id, kinds, by)


@st.fragment
@errors_shown()
def _show_pairs(evaluation_id: int, project_id: int, kinds: tuple[bool, ...], by: int) -> None:
    simulated = kinds[0]
    if len(kinds) > 1:
        simulated = st.radio("Verdicts of", kinds, format_func=KIND.__getitem__, horizontal=True, on_change=_rewind)
    elif simulated:
        st.html('<span class="pw-simulated">verdicts of simulated reviewers, not people</span>')
    loaded = _load_pairs(evaluation_id, project_id, simulated, by)
    _show_changes(loaded)
    if loaded.pass_rates:
        with st.expander("Checks by responder, on the judged replies", icon=":material/rule:"), reading() as s:
            known = {pass_rate.assertion_id for pass_rate in loaded.pass_rates}
            checks = [check for check in list_assertions(s, project_id=project_id) if check.id in known]
            show_pass_rates(checks, loaded.pass_rates)
    shown = _choose_cases(loaded)
    if not shown:
        st.info("No pair is like that. Choose otherwise above.")
        return
    place = min(int(st.session_state.get("pair_at", 0)), len(shown) - 1)
    _bar(place, len(shown))
    _show_case(shown[place], loaded)
    if shown[place].outcome is CandidateOutcome.LOST:
        _offer_like(shown[place].pairing_id, project_id, by)


def _load_pairs(evaluation_id: int, project_id: int, simulated: bool, by: int) -> _LoadedPairs:
    held = st.session_state.get("pairs_read")
    key = (evaluation_id, simulated)
    with reading() as s:
        if isinstance(held, _LoadedPairs) and held.key == key and may_read(s, by=by, project_id=project_id):
            return held
        now = load_cases(s, by=by, evaluation_id=evaluation_id, simulated=simulated)
        before = find_earlier(s, evaluation_id=evaluation_id)
        then = load_cases(s, by=by, evaluation_id=before.evaluation.id, simulated=simulated) if before else ()
        loaded = _LoadedPairs(key, now, before, loss_changes(now, then), count_passed_checks(s, cases=now))
    st.session_state["pairs_read"] = loaded
    st.session_state["pair_at"] = 0
    return loaded


def _show_changes(loaded: _LoadedPairs) -> None:
    if loaded.earlier is None:
        st.caption("There is no earlier evaluation of an earlier model beside the same replies to compare with.")
        return
    count = Counter(kind for kind, _ in loaded.changes.values())
    before = loaded.earlier.evaluation
    words = (
        f"Since “{before.name}” with {before.candidate.label}, on {loaded.earlier.shared:,} pairs with the same "
        f"reply of the baseline: {count[LossChange.FIXED]:,} losses fixed, {count[LossChange.BROKE]:,} broke, "
        f"{count[LossChange.STILL_LOST]:,} still lost."
    )
    st.markdown(plain(words))


def _rewind() -> None:
    st.session_state["pair_at"] = 0


def _step(by: int) -> None:
    st.session_state["pair_at"] = max(0, int(st.session_state.get("pair_at", 0)) + by)


def _choose_cases(loaded: _LoadedPairs) -> tuple[Case, ...]:
    everywhere, everybody = "all topics", "all reviewers"
    verdicts = [verdict for case in loaded.cases for verdict in case.verdicts]
    topics = [everywhere, *sorted({case.topic for case in loaded.cases})]
    reviewers = [everybody, *sorted({verdict.reviewer for verdict in verdicts})]
    shown = [EVERYTHING, *(outcome.value for outcome in CandidateOutcome)]
    shown += [change.value for change in LossChange if loaded.earlier]
    left, middle, right = st.columns(3)
    which = left.selectbox("Show", shown, on_change=_rewind, key="pairs_shown")
    topic = middle.selectbox("Topic", topics, on_change=_rewind, key="pairs_topic")
    reviewer = right.selectbox("Reviewer", reviewers, on_change=_rewind, key="pairs_reviewer")
    has_comments = any(verdict.comment for verdict in verdicts)
    left_over = filter_cases(
        loaded.cases,
        topic="" if topic == everywhere else topic,
        reviewer="" if reviewer == everybody else reviewer,
        commented=has_comments and st.checkbox("Only with a comment", on_change=_rewind, key="pairs_commented"),
    )
    if which in set(CandidateOutcome):
        return tuple(case for case in left_over if case.outcome == which)
    if which in set(LossChange):
        return tuple(case for case in left_over if loaded.changes.get(case.pairing_id, ("",))[0] == which)
    return left_over


def _bar(place: int, total: int) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("Previous", shortcut="Left", on_click=_step, args=(-1,), disabled=place == 0, key="pairs_previous")
        st.button("Next", shortcut="Right", on_click=_step, args=(1,), disabled=place == total - 1, key="pairs_next")
        st.markdown(f"**{place + 1}** of {total:,}")


def _show_case(case: Case, loaded: _LoadedPairs) -> None:
    show_prompt(case.prompt, case.context, compact=True)
    sides = [("Candidate", case.candidate), ("Baseline", case.baseline)]
    changed = loaded.changes.get(case.pairing_id)
    if changed and loaded.earlier:
        sides.insert(1, (f"Candidate then, {changed[0].value}", changed[1].candidate))
    cards = "".join(_card(role, reply) for role, reply in sides)
    columns = f"grid-template-columns: repeat({len(sides)}, minmax(0, 1fr))"
    st.html(f'<div class="pw-pair" style="{columns}">{cards}</div>')
    st.markdown(f"**The candidate {case.outcome.value}**")
    rows = [
        {
            "Reviewer": verdict.reviewer,
            "Said": WORDS[verdict.outcome],
            "Seconds": "" if verdict.seconds is None else f"{verdict.seconds:.0f}",
            "Comment": verdict.comment,
        }
        for verdict in case.verdicts
    ]
    show_table(rows, whole=True)
    words = f"Topic: {case.topic}. Prompt {case.prompt_id}, pairing {case.pairing_id}, responses "
    st.caption(plain(f"{words}{case.candidate.response_id} and {case.baseline.response_id}."))


def _card(role: str, reply: AuthoredReply) -> str:
    made = f" · {reply.made_by}" if reply.made_by else ""
    note = ""
    if reply.failed:
        note = f'<div class="pw-label"><span class="pw-note">{escape_html("; ".join(reply.failed))}</span></div>'
    elif reply.checked:
        note = f'<div class="pw-label">{reply.checked} checks passed</div>'
    return (
        f'<div class="pw-card"><div class="pw-label">{escape_html(f"{role}: {reply.responder}{made}")}</div>{note}'
        f'<div class="pw-text">{escape_html(reply.text)}</div></div>'
    )


def _offer_like(pairing_id: int, project_id: int, by: int) -> None:
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
        prompts = find_similar_prompts(s, by=by, pairing_id=pairing_id)
    if not prompts:
        st.info("No training prompt has a word in common with this one. Import more prompts of its kind first.")
        return
    free = [prompt for prompt in prompts if not prompt.is_waiting]
    if len(free) < len(prompts):
        st.caption(f"{len(prompts) - len(free)} of the {len(prompts)} most like it wait under Correct already.")
    if not free:
        return
    keys = {f"like_{pairing_id}_{prompt.prompt_id}": prompt.prompt_id for prompt in free}
    for number, (key, prompt) in enumerate(zip(keys, free, strict=True)):
        text = " ".join(prompt.text.split())
        text = text if len(text) <= SHOWN else f"{text[:SHOWN].rsplit(' ', 1)[0]} …"
        words = f"{prompt.topic}: {text}" if prompt.topic else text
        st.checkbox(plain(words), value=number < CHOSEN, key=key)
    st.button(
        "Send to Correct",
        type="primary",
        icon=":material/edit_note:",
        key=f"want_{pairing_id}",
        on_click=_send,
        args=(pairing_id, keys, by),
    )


def _send(pairing_id: int, keys: Mapping[str, int], by: int) -> None:
    ticked = [prompt_id for key, prompt_id in keys.items() if st.session_state.get(key)]
    if not ticked:
        st.toast("Nothing is chosen. Tick the prompts that should get a better reply.", icon=":material/info:")
        return
    with errors_toasted():
        with session() as s:
            new = request_corrections(s, by=by, pairing_id=pairing_id, prompt_ids=ticked)
        st.toast(f"{new} prompts wait under Correct now.", icon=":material/check:")
