"""The form for a new Evaluation: who is compared, what is planned, whether that is enough, what tells an author."""

import secrets
from collections.abc import Sequence

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from db.models import Evaluation, Responder, ResponderKind
from db.session import reading, session
from eval.contestants import EvaluationDraft, LeakingReply, count_routed_held_out, draft_evaluation, list_readiness
from eval.evaluations import create_evaluation, list_evaluations, power_analyses
from eval.leaks import cut_at_marks
from eval.protocol import (
    ADVISED_OVERLAP,
    MOST_BASELINES,
    MOST_JUDGMENTS,
    STOPPING_WORDS,
    BaselineGroup,
    Plan,
    Protocol,
    Stopping,
    contrast_label,
    protocol_of,
)
from texts.escape import escape_html
from ui.frame import CurrentPerson
from ui.safe import errors_shown, plain

MOST_SHOWN = 50


def new_evaluation(me: CurrentPerson) -> None:
    """Who, what is planned, whether it is enough, and the button that fixes all of it."""
    with reading() as s:
        ready = list_readiness(s, project_id=me.project_id)
        routed = count_routed_held_out(s, project_id=me.project_id)
        evaluations = [counts.evaluation for counts in list_evaluations(s, project_id=me.project_id)]
    if routed:
        st.caption(f"Held-out prompts that people answer and no model does: {routed}. No evaluation has them.")
    complete = [entry.responder for entry in ready if entry.complete]
    for entry in ready:
        if not entry.complete and entry.responder.kind is not ResponderKind.HUMAN:
            words = f"{entry.responder.label} has answered {entry.answered} of {entry.held_out} held-out prompts; "
            st.caption(plain(f"{words}generate the rest to let it take part."))
    if len(complete) < 2 or all(responder.kind is ResponderKind.HUMAN for responder in complete):
        st.info("Two responders with a response to every held-out prompt are needed, one of them a model.")
        return
    earlier = _choose_earlier(evaluations)
    # with other values to start from, every box begins anew
    turn = str(st.session_state.get("evaluation_like") or 0)
    candidate, baselines, shared = _choose_contestants(complete, earlier, turn)
    name = st.text_input("Name", placeholder="First model against our people", max_chars=120, key=f"ev_name_{turn}")
    if not baselines:
        st.info("Choose at least one baseline to compare the candidate with.")
        return
    counts = tuple((entry.responder.id, entry.answered, entry.held_out) for entry in ready)
    with errors_shown():
        draft = _load_draft(me, candidate, baselines, counts, shared=shared)
        plan = _plan_form(draft, earlier, turn, shared=shared)
        leave_out, keep = _sort_leaks(draft.leaks, turn)
        expected = power_analyses(draft.without(frozenset(leave_out)), plan)
        for contrast, power in zip(plan.primary or draft.contrasts[:1], expected, strict=True):
            against = contrast_label(contrast, draft.baselines)
            show = st.success if power.enough else st.warning
            show(plain(f"{candidate.label} against {against}: {power.sentence}"))
        if st.button("Fix it and open the judging", type="primary", key="ev_open"):
            with session() as s:
                create_evaluation(
                    s,
                    by=me.reviewer_id,
                    project_id=me.project_id,
                    name=name,
                    candidate_id=candidate.id,
                    baseline_ids=[baseline.id for baseline in baselines],
                    seed=_seed(),
                    plan=plan,
                    leave_out=leave_out,
                    keep=keep,
                )
            for key in ("evaluation_seed", "evaluation_draft", "evaluation_like"):
                st.session_state.pop(key, None)
            st.rerun()


def _choose_earlier(known: Sequence[Evaluation]) -> Protocol | None:
    """The protocol of the evaluation whose values the form starts with, if one is chosen."""
    earlier = {evaluation.id: (evaluation.name, protocol_of(evaluation)) for evaluation in known if evaluation.protocol}
    if st.session_state.get("evaluation_like") not in earlier:  # of another project
        st.session_state.pop("evaluation_like", None)
    if not earlier:
        return None
    chosen = st.selectbox(
        "Start with the values of",
        [None, *earlier],
        format_func=lambda i: "nothing" if i is None else earlier[i][0],
        key="evaluation_like",
        help="An evaluation never changes; this starts another one with its values.",
    )
    return None if chosen is None else earlier[chosen][1]


def _seed() -> int:
    return int(st.session_state.setdefault("evaluation_seed", secrets.randbelow(2**31)))


def _choose_contestants(
    complete: Sequence[Responder], earlier: Protocol | None, turn: str
) -> tuple[Responder, Sequence[Responder], bool]:
    """Candidate, baselines, and whether one person's reply stands for all people's."""
    machines = [responder for responder in complete if responder.kind is not ResponderKind.HUMAN]
    places = {responder.id: place for place, responder in enumerate(machines)}
    last = len(machines) - 1
    candidate = st.selectbox(
        "Candidate",
        machines,
        index=places.get(earlier.candidate.id, last) if earlier else last,
        format_func=lambda responder: responder.label,
        help="What you hope is better.",
        key=f"ev_candidate_{turn}",
    )
    others = [responder for responder in complete if responder.id != candidate.id]
    people = {responder.id for responder in others if responder.kind is ResponderKind.HUMAN}
    wanted = {baseline.id for baseline in earlier.baselines} if earlier else people
    baselines = st.multiselect(
        "Against",
        others,
        default=[responder for responder in others if responder.id in wanted][:MOST_BASELINES],
        format_func=lambda responder: responder.label,
        max_selections=MOST_BASELINES,
        key=f"ev_baselines_{turn}_{candidate.id}",
        help="One to five: people, the prompted model, a supervised one, a remote one.",
    )
    several = sum(baseline.kind is ResponderKind.HUMAN for baseline in baselines) > 1
    shared = not several or st.checkbox(
        "One person's reply for each prompt stands for all of them, each person's equally often",
        value=earlier.plan.one_person_a_prompt if earlier else True,
        key=f"ev_shared_{turn}",
    )
    return candidate, baselines, shared


def _load_draft(
    me: CurrentPerson, candidate: Responder, baselines: Sequence[Responder], counts: object, *, shared: bool
) -> EvaluationDraft:
    """Looked over once for each choice: with long texts it takes a second or two."""
    ids = tuple(baseline.id for baseline in baselines)
    chosen = (candidate.id, ids, shared, _seed(), counts, me.project_id)
    held: tuple[object, EvaluationDraft] | None = st.session_state.get("evaluation_draft")
    if held is None or held[0] != chosen:
        with st.spinner("Looking the replies over"), reading() as s:
            draft = draft_evaluation(
                s,
                by=me.reviewer_id,
                project_id=me.project_id,
                candidate_id=candidate.id,
                baseline_ids=ids,
                seed=_seed(),
                one_person_a_prompt=shared,
            )
        held = st.session_state["evaluation_draft"] = (chosen, draft)
    return held[1]


def _plan_form(draft: EvaluationDraft, earlier: Protocol | None, turn: str, *, shared: bool) -> Plan:
    old = earlier.plan if earlier else Plan(overlap=ADVISED_OVERLAP)
    primary: list[BaselineGroup] = list(draft.contrasts)
    if len(draft.contrasts) > 1:
        primary = st.multiselect(
            "Primary contrast",
            draft.contrasts,
            default=[contrast for contrast in old.primary if contrast in draft.contrasts] or draft.contrasts[:1],
            format_func=lambda contrast: contrast_label(contrast, draft.baselines),
            key=f"ev_primary_{turn}_{hash(draft.contrasts)}",
            help="Named before any verdict: its result is the finding, the others are asides. With several, each needs "
            "more evidence.",
        )
    left, middle, right = st.columns(3)

    def share(place: DeltaGenerator, label: str, name: str, value: float, most: int, words: str | None = None) -> float:
        return place.slider(label, 0, most, round(value * 100), 5, key=f"ev_{name}_{turn}", help=words) / 100

    judgments = left.number_input(
        "Judgments for each pair", 1, MOST_JUDGMENTS, old.judgments, key=f"ev_judgments_{turn}", help="By people."
    )
    enough = "10 to 20 % is enough to measure how far people agree."
    overlap = share(middle, "Judged by one person more, %", "overlap", old.overlap, 100, enough)
    odds = right.number_input(
        "Smallest difference that matters, to 1",
        value=float(old.odds),
        step=0.25,
        key=f"ev_odds_{turn}",
        help="2 means: preferred twice as often as not.",
    )
    ties = share(left, "Ties expected, %", "ties", old.tie_rate, 90)
    alike = middle.slider(
        "Verdicts on one prompt alike by",
        0.0,
        1.0,
        float(old.correlation),
        0.1,
        key=f"ev_alike_{turn}",
        help="Two people's verdicts on one prompt are worth less than two on different prompts. 0.3 is usual.",
    )
    stopping = right.radio(
        "It ends",
        list(Stopping),
        index=list(Stopping).index(old.stopping),
        format_func=lambda way: STOPPING_WORDS[way],
        key=f"ev_stopping_{turn}",
    )
    enough = "Unannounced, sides swapped, at least ten pairs later: how consistent each reviewer is. 5 to 10 % is "
    enough += "enough; these verdicts count for nothing else."
    again = share(left, "Given to the same reviewer twice, %", "again", old.again, 50, enough)
    ask = any(baseline.kind is ResponderKind.HUMAN for baseline in draft.baselines) and st.checkbox(
        "Ask reviewers after each verdict which side was the machine",
        value=old.ask_machine,
        key=f"ev_ask_{turn}",
        help="A test of how blind the judging was; one more key a pair.",
    )
    return Plan(
        judgments=int(judgments),
        overlap=overlap,
        primary=tuple(primary),
        odds=float(odds),
        tie_rate=ties,
        correlation=float(alike),
        stopping=stopping or old.stopping,
        ask_machine=ask,
        again=again,
        one_person_a_prompt=shared,
    )


def _sort_leaks(leaks: Sequence[LeakingReply], turn: str) -> tuple[list[int], list[int]]:
    """Ids of the replies to leave out and to keep; those that are undecided are in neither."""
    if not leaks:
        return [], []
    ids = [reply.response_id for reply in leaks]
    st.warning(
        f"{len(leaks)} of the replies {'tells' if len(leaks) == 1 else 'tell'} who wrote them, so a verdict on one "
        "is no blind one. A pair that is left out is counted and judged by nobody.",
        icon=":material/visibility:",
    )
    way = st.segmented_control(
        "What becomes of them", ["Leave all out", "Keep all on purpose", "One by one"], key=f"ev_telling_{turn}"
    )
    one_by_one = way == "One by one"
    kept: list[int] = []
    with st.container(height=420 if len(leaks) > 2 else "content"):
        for reply in leaks[:MOST_SHOWN]:
            parts = ((escape_html(text), mark) for text, mark in cut_at_marks(reply.text, reply.marks))
            marked = "".join(f"<mark>{text}</mark>" if mark else text for text, mark in parts)
            st.html(f'<div class="pw-card pw-text">{marked}</div>')
            st.caption("; ".join(dict.fromkeys(mark.kind.value for mark in reply.marks)))
            if one_by_one and st.checkbox("Keep it on purpose", key=f"ev_keep_{reply.response_id}"):
                kept.append(reply.response_id)
    if len(leaks) > MOST_SHOWN:
        st.caption(f"{len(leaks) - MOST_SHOWN} more are not shown; one by one, they are left out.")
    if way is None:
        return [], []
    if one_by_one:
        return [i for i in ids if i not in kept], kept
    return (ids, []) if way == "Leave all out" else ([], ids)
