"""What is fixed before an evaluation, how many judge what, and when it may end."""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from threading import Barrier

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete, func, insert, select, text, update
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session

from db.models import Correction, Evaluation, Guess, Judgment, Pairing, Peek, Response, Reveal, Role, now
from db.session import session
from errors import BadSetting, NotAllowed, Refused
from eval.blinding import BlindingGuess, blinding_check
from eval.contestants import draft_evaluation
from eval.evaluations import close_evaluation, count_verdicts, power_analyses, verify_protocol
from eval.judging import (
    HELD_FOR,
    find_pair_to_guess,
    judge,
    judging_progress,
    list_reason_labels,
    next_view,
    save_comment,
    save_guess,
    set_reason_labels,
    undo_last,
)
from eval.leaks import LeakKind, cut_at_marks, find_leaks
from eval.live import load_standing, record_peek
from eval.power import power_analysis
from eval.protocol import (
    LeakPolicy,
    Plan,
    Stopping,
    canonical_json,
    contrast_label,
    draw_overlap,
    protocol_of,
    read_protocol,
    text_sha256,
)
from eval.report.results import load_results
from stats.verdicts import Verdict
from tests.contests import Contest
from tests.factories import a_comparison, a_human, a_ranking, a_response, a_reviewer, saved, sure

# ---- the protocol


def test_a_protocol_says_everything_and_its_hash_covers_it(s: Session) -> None:
    contest = Contest(s, people=2)
    plan = Plan(overlap=0.2, odds=1.5, stopping=Stopping.ANYTIME, ask_machine=True)
    evaluation = contest.open(plan, baselines=[*contest.people, contest.other])
    assert evaluation.protocol is not None
    assert evaluation.protocol_sha256 == text_sha256(evaluation.protocol)
    assert json.dumps(json.loads(evaluation.protocol), sort_keys=True, separators=(",", ":")) == evaluation.protocol
    found = sure(protocol_of(evaluation))
    assert canonical_json(found) == evaluation.protocol
    people = tuple(one.id for one in contest.people)
    assert (found.plan.primary, contrast_label(people, found.baselines)) == ((people,), "People, together")
    assert (found.plan.odds, found.plan.stopping, found.alpha) == (1.5, Stopping.ANYTIME, 0.05)
    assert len(found.pairings) == 20
    assert found.planned == 24  # two of the ten with people, two of the ten with the other model, by two
    assert [p.wanted for p in evaluation.pairings] == [p.wanted for p in found.pairings]


@pytest.mark.both_databases
@pytest.mark.parametrize(
    "attempt",
    [
        update(Evaluation).values(protocol="{}"),
        update(Evaluation).values(protocol_sha256="x"),
        update(Evaluation).values(seed=9),
        delete(Evaluation),
        update(Pairing).values(wanted=7),
        update(Pairing).values(identical=True),
        delete(Pairing),
    ],
    ids=["protocol", "hash", "seed", "evaluation", "wanted", "identical", "pairing"],
)
def test_the_database_itself_refuses_to_change_what_was_fixed(s: Session, attempt: object) -> None:
    Contest(s, prompts=2).open()
    with pytest.raises(DatabaseError, match="fixed before the first judgment"), s.begin_nested():
        s.execute(attempt)  # type: ignore[call-overload]


@pytest.mark.both_databases
def test_no_pairing_comes_late_and_nothing_closed_is_opened_again(s: Session) -> None:
    contest = Contest(s, prompts=2)
    evaluation = contest.open()
    contest.draw(evaluation, contest.judges[0])
    reply = a_response(s, contest.prompts[0], a_human(s, contest.project))
    first = evaluation.pairings[0]
    late = insert(Pairing).values(
        evaluation_id=evaluation.id,
        prompt_id=first.prompt_id,
        candidate_response_id=first.candidate_response_id,
        baseline_response_id=reply.id,
        identical=False,
    )
    with pytest.raises(DatabaseError, match="fixed before the first judgment"), s.begin_nested():
        s.execute(late)
    s.expire_all()
    contest.judge_all(evaluation, contest.judges[0])
    close_evaluation(s, by=contest.manager.id, evaluation_id=evaluation.id)
    with pytest.raises(DatabaseError, match="stays closed"), s.begin_nested():
        s.execute(update(Evaluation).values(closed_at=None))


def test_a_text_changed_behind_our_back_is_found_before_a_result_is_opened(s: Session) -> None:
    contest = Contest(s)
    evaluation = contest.open()
    contest.judge_all(evaluation, contest.judges[0])
    verify_protocol(s, evaluation_id=evaluation.id)
    s.execute(
        update(Response).where(Response.id == evaluation.pairings[0].candidate_response_id).values(text="Better.")
    )
    s.expire_all()
    with pytest.raises(Refused, match="set up a new evaluation"):
        close_evaluation(s, by=contest.manager.id, evaluation_id=evaluation.id)


def test_an_evaluation_from_before_protocols_keeps_its_hash_and_closes_as_ever(s: Session) -> None:
    contest = Contest(s, prompts=2)
    made = contest.open()
    old = saved(
        s,
        Evaluation,
        project_id=contest.project.id,
        name="Old",
        candidate_id=contest.model.id,
        seed=1,
        protocol_sha256="03be",
        created_by_id=contest.manager.id,
        pairings=[
            Pairing(
                prompt_id=p.prompt_id,
                candidate_response_id=p.candidate_response_id,
                baseline_response_id=p.baseline_response_id,
            )
            for p in made.pairings
        ],
    )
    assert protocol_of(old) is None
    assert [contest.judge_all(old, who) for who in contest.judges] == [2, 2]
    close_evaluation(s, by=contest.manager.id, evaluation_id=old.id)
    assert (old.protocol_sha256, old.closed_early) == ("03be", None)


@pytest.mark.parametrize(
    ("plan", "kind", "words"),
    [
        (Plan(overlap=1.2), BadSetting, "overlap of 120 %.*0 to 100 %"),
        (Plan(judgments=0), BadSetting, "Give 1 to 20"),
        (Plan(odds=1.0), BadSetting, "more than 1"),
        (Plan(odds=1.001), BadSetting, "Plan for clearer odds"),
        (Plan(tie_rate=1.0), BadSetting, "shares between 0 and 1"),
        (Plan(primary=((999,),)), Refused, "not one of this evaluation's"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_plan_that_cannot_be_is_refused_with_the_remedy(
    s: Session, plan: Plan, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        Contest(s, prompts=3).open(plan)


def test_who_cannot_be_compared_is_refused_with_the_remedy(s: Session) -> None:
    contest = Contest(s, prompts=2)
    with pytest.raises(Refused, match="cannot be its own baseline"):
        contest.open(baselines=[contest.model, contest.other])
    with pytest.raises(Refused, match="at least one baseline"):
        contest.open(baselines=[])
    with pytest.raises(Refused, match="more than 5"):
        contest.open(baseline_ids=range(100, 106))
    with pytest.raises(Refused, match="no machine to guess"):
        contest.open(Plan(ask_machine=True), baselines=[contest.other])
    with pytest.raises(NotAllowed):
        contest.open(by=contest.judges[0].id)


def test_two_to_one_needs_77_decided_verdicts_and_what_falls_short_says_what_to_do() -> None:
    short = power_analysis(Plan(tie_rate=0.1, correlation=0.3), prompts=60, verdicts=69)
    assert (short.needed.decided, short.decided, short.enough) == (77, 59, False)
    assert "77 decided verdicts needed to find 2 to 1, this gives about 59" in short.sentence
    assert "find a larger difference or hold out more prompts" in short.sentence
    assert power_analysis(Plan(tie_rate=0), prompts=77, verdicts=77).enough
    assert "one prompt" in power_analysis(Plan(), prompts=1, verdicts=3).sentence
    assert "no pairing to judge" in power_analysis(Plan(), prompts=0, verdicts=0).sentence
    assert power_analysis(Plan(), prompts=9, verdicts=9, contrasts=3).needed.decided > 77


@given(st.integers(0, 40), st.integers(0, 40), st.floats(0, 1), st.integers(0, 99))
def test_the_overlap_is_the_same_share_of_each_contrast_and_drawn_by_the_seed(
    first: int, second: int, share: float, seed: int
) -> None:
    groups = [list(range(first)), list(range(first, first + second))]
    drawn = draw_overlap(groups, share=share, seed=seed)
    assert drawn == draw_overlap(groups, share=share, seed=seed)
    for group in groups:
        both = len(drawn.intersection(group))
        assert both == (max(1, round(share * len(group))) if group and share > 0 else 0)


@pytest.mark.parametrize(
    ("text", "tells"),
    [
        ("As an AI language model, I cannot say.", LeakKind.MACHINE),
        ("I'm just an automated assistant here to help.", LeakKind.MACHINE),
        ("I am a real person and will call you.", LeakKind.PERSON),
        ("Tiny Llama thanks you for writing.", LeakKind.NAME),
        ("It left today.\n\nKind regards,\nMerrowby Books", LeakKind.SIGNATURE),
        ("It left today.<|im_end|>", LeakKind.TEMPLATE),
    ],
)
def test_a_reply_that_names_or_betrays_its_author_is_found(text: str, tells: LeakKind) -> None:
    found = find_leaks(text, names=["Tiny Llama"])
    assert [one.kind for one in found] == [tells]
    assert "".join(part for part, _ in cut_at_marks(text, found)) == text


@pytest.mark.parametrize(
    "text",
    [
        "Thank you for writing. Your book left today.",
        "We regard the matter as closed.",
        "Your base model of the printer is in stock.",
        "The book on human beings is out of print.",
        "I am sorry, as an older title it takes a week.",
    ],
)
def test_an_ordinary_reply_is_left_alone(text: str) -> None:
    assert find_leaks(text, names=["Base model", "Human 1", "Al"]) == ()


def test_telling_replies_are_decided_on_before_judging_opens_and_counted(s: Session) -> None:
    contest = Contest(s)
    bad = s.scalars(select(Response).where(Response.responder_id == contest.model.id)).all()[:2]
    for response in bad:
        response.text = "As an AI language model, I am sorry."
    s.flush()
    with pytest.raises(Refused, match=r"2 replies tell who wrote them \(calls itself a machine\)"):
        contest.open()
    looked = draft_evaluation(
        s,
        by=contest.manager.id,
        project_id=contest.project.id,
        candidate_id=contest.model.id,
        baseline_ids=[contest.people[0].id],
        seed=3,
    )
    assert [one.response_id for one in looked.leaks] == [one.id for one in bad]
    evaluation = contest.open(leave_out=[bad[0].id], keep=[bad[1].id])
    found = sure(protocol_of(evaluation))
    assert [one.candidate_response_id for one in found.left_out] == [bad[0].id]
    assert found.kept_telltales == (bad[1].id,)
    assert bad[0].id not in {p.candidate_response_id for p in evaluation.pairings}
    assert len(contest.open(name="All", undecided=LeakPolicy.KEEP).pairings) == 10
    assert len(contest.open(name="None", undecided=LeakPolicy.LEAVE_OUT).pairings) == 8


def test_the_forecast_counts_neither_left_out_pairs_nor_those_with_the_same_text(s: Session) -> None:
    contest = Contest(s)
    for response in s.scalars(select(Response).where(Response.prompt_id == contest.prompts[0].id)):
        response.text = "It left today."
    s.flush()
    looked = draft_evaluation(
        s,
        by=contest.manager.id,
        project_id=contest.project.id,
        candidate_id=contest.model.id,
        baseline_ids=[contest.other.id],
        seed=3,
    )
    gone = next(pair.candidate_response_id for pair in looked.pairs if not pair.identical)
    (cast,) = power_analyses(looked.without(frozenset([gone])), Plan(overlap=0.2))
    assert (cast.prompts, cast.verdicts) == (8, 10)


@pytest.mark.both_databases
def test_a_pairing_with_enough_verdicts_is_offered_to_nobody_else(s: Session) -> None:
    contest = Contest(s, judges=3)
    evaluation = contest.open(Plan(overlap=0.2))
    assert contest.judge_all(evaluation, contest.judges[0]) == 10
    assert contest.judge_all(evaluation, contest.judges[1]) == 2
    assert contest.judge_all(evaluation, contest.judges[2]) == 0
    count = count_verdicts(s, evaluation_id=evaluation.id)
    assert (count.planned, count.given, count.missing, count.complete) == (12, 12, 0, True)


def test_simulated_reviewers_fill_no_quota_and_meet_none(s: Session) -> None:
    contest = Contest(s)
    evaluation = contest.open()
    rule = a_reviewer(s, contest.project, Role.REVIEWER, simulated=True)
    assert contest.judge_all(evaluation, rule) == 10
    assert count_verdicts(s, evaluation_id=evaluation.id).by_rule_alone
    assert contest.judge_all(evaluation, contest.judges[0]) == 10
    assert contest.judge_all(evaluation, a_reviewer(s, contest.project, Role.REVIEWER, simulated=True)) == 10
    assert count_verdicts(s, evaluation_id=evaluation.id).given == 10


def test_what_somebody_has_on_the_screen_is_kept_for_them_and_given_on_when_they_left(s: Session) -> None:
    contest = Contest(s, prompts=1)
    evaluation = contest.open()
    one, two = contest.judges
    mine = sure(contest.draw(evaluation, one))
    assert contest.draw(evaluation, two) is None
    assert judging_progress(s, evaluation_id=evaluation.id, reviewer_id=two.id).total == 1
    s.get_one(Judgment, mine.judgment_id).drawn_at = now() - HELD_FOR - timedelta(seconds=1)
    s.flush()
    theirs = sure(contest.draw(evaluation, two))
    judge(s, by=two.id, judgment_id=theirs.judgment_id, verdict=Verdict.TIE)
    with pytest.raises(Refused, match="Somebody else judged this pair meanwhile"):
        judge(s, by=one.id, judgment_id=mine.judgment_id, verdict=Verdict.LEFT)
    assert contest.draw(evaluation, one) is None
    undo_last(s, by=two.id, evaluation_id=evaluation.id)
    again = sure(contest.draw(evaluation, two))
    assert again.judgment_id == theirs.judgment_id


@pytest.mark.both_databases
def test_six_people_at_once_never_give_a_pairing_more_than_it_wants(database: Path) -> None:
    with session() as s:
        contest = Contest(s, prompts=4, judges=6)
        evaluation = contest.open(Plan(overlap=0.5)).id
        people = [one.id for one in contest.judges]
    start = Barrier(len(people), timeout=60)

    def work(me: int) -> None:
        start.wait()
        while True:
            with session() as s:
                view = next_view(s, by=me, evaluation_id=evaluation)
            if view is None:
                return
            with session() as s:
                judge(s, by=me, judgment_id=view.judgment_id, verdict=Verdict.LEFT)

    with ThreadPoolExecutor(len(people)) as pool:
        list(pool.map(work, people))
    with session() as s:
        verdicts = s.scalars(select(Judgment.pairing_id).where(Judgment.verdict.is_not(None))).all()
        wanted = {p.id: p.wanted for p in s.scalars(select(Pairing))}
    assert Counter(verdicts) == wanted
    assert len(verdicts) == 6


@pytest.mark.both_databases
@pytest.mark.parametrize("how", ["ranked", "corrected", "revealed"])
def test_nobody_judges_what_they_dealt_with(s: Session, how: str) -> None:
    contest = Contest(s, prompts=2)
    evaluation = contest.open()
    me = contest.judges[0]
    first = evaluation.pairings[0]
    begun = sure(contest.draw(evaluation, me))
    two = [s.get_one(Response, i) for i in (first.candidate_response_id, first.baseline_response_id)]
    if how == "corrected":
        s.add(Correction(response_id=two[0].id, reviewer_id=me.id, text="It left on Monday."))
    else:
        comparison = a_comparison(s, *two)
        if how == "ranked":
            a_ranking(s, comparison, me, *two, undone_at=now())
        else:
            s.add(Reveal(comparison_id=comparison.id, reviewer_id=me.id))
    s.flush()
    with pytest.raises(Refused, match="not yours"):
        judge(s, by=me.id, judgment_id=begun.judgment_id, verdict=Verdict.LEFT)
    assert contest.judge_all(evaluation, me) == 1
    assert contest.judge_all(evaluation, contest.judges[1]) == 0  # the other keeps it on the screen for a while


def test_the_order_of_pairs_tells_nothing_of_the_baseline(s: Session) -> None:
    contest = Contest(s, prompts=20)
    evaluation = contest.open(baselines=[contest.other, *contest.people])
    order = []
    while view := contest.draw(evaluation, contest.judges[0]):
        order.append(s.get_one(Judgment, view.judgment_id).pairing.baseline_response.responder_id)
        judge(s, by=contest.judges[0].id, judgment_id=view.judgment_id, verdict=Verdict.TIE)
    turns = sum(a != b for a, b in pairwise(order))
    assert 10 <= turns <= 29  # 19.5 expected of 39 by chance, 3 standard deviations of 3.1


@pytest.mark.both_databases
def test_which_side_was_the_machine_is_asked_after_the_verdict_and_once(s: Session) -> None:
    contest = Contest(s)
    evaluation = contest.open(Plan(ask_machine=True))
    me = contest.judges[0].id
    view = sure(contest.draw(evaluation, contest.judges[0]))
    assert find_pair_to_guess(s, by=me, evaluation_id=evaluation.id) is None
    with pytest.raises(Refused, match="verdict on this pair first"):
        save_guess(s, by=me, judgment_id=view.judgment_id, guess=Guess.LEFT)
    judge(s, by=me, judgment_id=view.judgment_id, verdict=Verdict.LEFT)
    assert find_pair_to_guess(s, by=me, evaluation_id=evaluation.id) == view
    save_guess(s, by=me, judgment_id=view.judgment_id, guess=Guess.CANNOT_TELL)
    assert find_pair_to_guess(s, by=me, evaluation_id=evaluation.id) is None
    with pytest.raises(Refused, match="answered that"):
        save_guess(s, by=me, judgment_id=view.judgment_id, guess=Guess.LEFT)
    undo_last(s, by=me, evaluation_id=evaluation.id)
    assert s.get_one(Judgment, view.judgment_id).guess is None


def test_a_comment_and_tags_are_kept_with_the_verdict(s: Session) -> None:
    contest = Contest(s)
    evaluation = contest.open()
    me = contest.judges[0].id
    view = sure(contest.draw(evaluation, contest.judges[0]))
    with pytest.raises(Refused, match="verdict on this pair first"):
        save_comment(s, by=me, judgment_id=view.judgment_id, reason="Warmer.")
    judge(s, by=me, judgment_id=view.judgment_id, verdict=Verdict.LEFT)
    save_comment(s, by=me, judgment_id=view.judgment_id, reason=" Warmer. ")
    set_reason_labels(s, by=me, judgment_id=view.judgment_id, praise=["Warm"], faults=["Too long"])
    with pytest.raises(Refused, match="no reason that can be chosen"):
        set_reason_labels(s, by=me, judgment_id=view.judgment_id, praise=["<b>"], faults=[])
    assert s.get_one(Judgment, view.judgment_id).comment == "Warmer."
    assert list_reason_labels(s, judgment_id=view.judgment_id) == ["Too long", "Warm"]
    undo_last(s, by=me, evaluation_id=evaluation.id)
    assert list_reason_labels(s, judgment_id=view.judgment_id) == []


def test_guesses_are_counted_where_exactly_one_side_was_a_machine_and_once_it_is_closed(s: Session) -> None:
    contest = Contest(s, prompts=4)
    evaluation = contest.open(Plan(ask_machine=True), baselines=[contest.other, *contest.people])
    me = contest.judges[0].id
    while view := contest.draw(evaluation, contest.judges[0]):
        judge(s, by=me, judgment_id=view.judgment_id, verdict=Verdict.TIE)
        left = s.get_one(Judgment, view.judgment_id).candidate_left
        save_guess(s, by=me, judgment_id=view.judgment_id, guess=Guess.LEFT if left else Guess.RIGHT)
    with pytest.raises(Refused, match="when the evaluation is closed"):
        load_results(s, evaluation_id=evaluation.id)
    close_evaluation(s, by=contest.manager.id, evaluation_id=evaluation.id)
    found = blinding_check(load_results(s, evaluation_id=evaluation.id).by_reviewers[0].guesses)
    assert (found.named.count, found.named.n, found.cannot_tell) == (4, 4, 0)


def test_the_guess_s_accuracy_has_an_interval_by_prompt_or_a_reason_why_not() -> None:
    found = blinding_check([BlindingGuess(n % 40, n % 2 == 0) for n in range(80)] + [BlindingGuess(1, None)] * 5)
    assert (found.named.rate, found.cannot_tell) == (0.5, 5)
    assert found.named.low < 0.5 < found.named.high
    assert "no better than a coin" in found.sentence
    assert "could often tell" in blinding_check([BlindingGuess(n, True) for n in range(30)]).sentence
    assert "took people" in blinding_check([BlindingGuess(n, False) for n in range(30)]).sentence
    assert "Cannot be estimated" in blinding_check([BlindingGuess(1, None)]).sentence


def test_a_fixed_evaluation_closes_early_only_with_a_reason_that_is_kept(s: Session) -> None:
    contest = Contest(s)
    evaluation = contest.open(Plan(overlap=0.2))
    contest.judge_all(evaluation, contest.judges[0])
    with pytest.raises(Refused, match="2 of 12 planned verdicts are missing"):
        close_evaluation(s, by=contest.manager.id, evaluation_id=evaluation.id, reason="  ")
    close_evaluation(s, by=contest.manager.id, evaluation_id=evaluation.id, reason="Nobody else is there.")
    assert evaluation.closed_early == "Nobody else is there."


def test_one_that_ran_to_its_end_was_not_closed_early_whatever_is_typed(s: Session) -> None:
    contest = Contest(s, prompts=2)
    evaluation = contest.open()
    contest.judge_all(evaluation, contest.judges[0])
    close_evaluation(s, by=contest.manager.id, evaluation_id=evaluation.id, reason="I was curious.")
    assert evaluation.closed_early is None


def test_a_fixed_evaluation_stays_shut_to_everybody(s: Session) -> None:
    contest = Contest(s)
    evaluation = contest.open()
    contest.judge_all(evaluation, contest.judges[0])
    with pytest.raises(Refused, match="stays shut"):
        record_peek(s, by=contest.manager.id, evaluation_id=evaluation.id)
    with pytest.raises(Refused, match="stays shut"):
        load_standing(s, by=contest.manager.id, evaluation_id=evaluation.id)


@pytest.mark.both_databases
def test_a_manager_who_looks_at_how_it_stands_judges_in_it_no_more(s: Session) -> None:
    contest = Contest(s)
    evaluation = contest.open(Plan(stopping=Stopping.ANYTIME))
    view = sure(contest.draw(evaluation, contest.manager))
    judge(s, by=contest.manager.id, judgment_id=view.judgment_id, verdict=Verdict.LEFT)
    begun = sure(contest.draw(evaluation, contest.manager))
    with pytest.raises(Refused, match="judges in it no more"):
        load_standing(s, by=contest.manager.id, evaluation_id=evaluation.id)
    record_peek(s, by=contest.manager.id, evaluation_id=evaluation.id)
    record_peek(s, by=contest.manager.id, evaluation_id=evaluation.id)
    assert s.scalar(select(func.count()).select_from(Peek)) == 1
    assert load_standing(s, by=contest.manager.id, evaluation_id=evaluation.id).contrasts[0].evidence.prompts == 1
    for attempt in (
        lambda: judge(s, by=contest.manager.id, judgment_id=begun.judgment_id, verdict=Verdict.LEFT),
        lambda: undo_last(s, by=contest.manager.id, evaluation_id=evaluation.id),
        lambda: contest.draw(evaluation, contest.manager),
    ):
        with pytest.raises(Refused, match="not yours to judge any more"):
            attempt()
    with pytest.raises(NotAllowed):
        record_peek(s, by=contest.judges[0].id, evaluation_id=evaluation.id)
    with pytest.raises(NotAllowed):
        load_standing(s, by=contest.judges[0].id, evaluation_id=evaluation.id)


def test_ten_wins_on_ten_prompts_are_not_enough_and_fifteen_are(s: Session) -> None:
    contest = Contest(s, prompts=16)
    evaluation = contest.open(Plan(stopping=Stopping.ANYTIME))
    rule = a_reviewer(s, contest.project, Role.REVIEWER, simulated=True)
    contest.judge_all(evaluation, rule)
    record_peek(s, by=contest.manager.id, evaluation_id=evaluation.id)

    def stands() -> tuple[int, bool, str]:
        (one,) = load_standing(s, by=contest.manager.id, evaluation_id=evaluation.id).contrasts
        return one.evidence.prompts, one.evidence.stop, one.sentence

    assert stands()[0] == 0, "a simulated reviewer's verdicts are no evidence"
    for done in range(15):
        view = sure(contest.draw(evaluation, contest.judges[0]))
        left = s.get_one(Judgment, view.judgment_id).candidate_left
        verdict = Verdict.LEFT if left else Verdict.RIGHT
        judge(s, by=contest.judges[0].id, judgment_id=view.judgment_id, verdict=verdict)
        if done == 9:
            assert stands()[:2] == (10, False)
            assert "8.9 to 1" in stands()[2]  # evaluation.md 6: betting E of 10-0 is 8.88753
            with pytest.raises(Refused, match="planned verdicts are missing"):
                close_evaluation(s, by=contest.manager.id, evaluation_id=evaluation.id)
    assert stands()[1]
    assert stands()[2].startswith("Enough")
    judging_manager = a_reviewer(s, contest.project)
    with pytest.raises(Refused, match="planned verdicts are missing"):  # a judge learns nothing by trying to close
        close_evaluation(s, by=judging_manager.id, evaluation_id=evaluation.id)
    close_evaluation(s, by=contest.manager.id, evaluation_id=evaluation.id)
    assert evaluation.closed_early is None


def test_a_prompt_counts_once_all_its_planned_verdicts_are_in_and_by_their_mean(s: Session) -> None:
    contest = Contest(s, prompts=4)
    evaluation = contest.open(Plan(judgments=2, stopping=Stopping.ANYTIME))
    contest.judge_all(evaluation, contest.judges[0])
    record_peek(s, by=contest.manager.id, evaluation_id=evaluation.id)
    (one,) = load_standing(s, by=contest.manager.id, evaluation_id=evaluation.id).contrasts
    assert (one.evidence.prompts, one.unfinished) == (0, 4)
    contest.judge_all(evaluation, contest.judges[1], candidate_wins=False)
    (one,) = load_standing(s, by=contest.manager.id, evaluation_id=evaluation.id).contrasts
    assert (one.evidence.prompts, one.evidence.betting, one.decided) == (4, 1.0, 0)
    assert "None of 4 prompts leans" in one.sentence


def test_for_two_primary_contrasts_each_needs_twice_as_much(s: Session) -> None:
    contest = Contest(s)
    primary = ((contest.people[0].id,), (contest.other.id,))
    evaluation = contest.open(
        Plan(primary=primary, stopping=Stopping.ANYTIME), baselines=[contest.other, *contest.people]
    )
    record_peek(s, by=contest.manager.id, evaluation_id=evaluation.id)
    found = load_standing(s, by=contest.manager.id, evaluation_id=evaluation.id)
    assert [one.evidence.enough for one in found.contrasts] == [40.0, 40.0]
    protocol = sure(protocol_of(evaluation))
    assert protocol.alpha == 0.025
    assert read_protocol(canonical_json(protocol)) == protocol


def test_every_look_and_tag_leaves_a_trace_and_the_long_protocol_is_not_copied_into_it(s: Session) -> None:
    contest = Contest(s, prompts=2)
    evaluation = contest.open(Plan(stopping=Stopping.ANYTIME))
    record_peek(s, by=contest.manager.id, evaluation_id=evaluation.id)
    rows = s.execute(text('SELECT "table", project_id, after FROM audit_record ORDER BY id')).all()
    assert (rows[-1][0], rows[-1][1]) == ("peek", contest.project.id)
    made = next(str(row[2]) for row in rows if row[0] == "evaluation")
    assert evaluation.protocol_sha256 in made
    assert "pairings" not in made
