"""Pairs that come to the same reviewer twice: unannounced, sides swapped, counted for nothing but consistency."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from db.models import AuditRecord, Evaluation, Judgment, RepeatJudgment, Reviewer, now
from errors import BadSetting, NotFound, Refused
from eval.evaluations import close_evaluation, count_verdicts
from eval.judging import HELD_FOR, BlindView, find_explainable, judge, judge_repeat, judging_progress, undo_last
from eval.protocol import Plan
from eval.repeats import LEAST_APART, RepeatedVerdict, consistency
from eval.report.findings import build_report
from eval.report.results import load_results
from stats.verdicts import Verdict
from tests.contests import Contest
from tests.factories import sure

HALF = Plan(again=0.5)


def first_look(s: Session, contest: Contest, evaluation: Evaluation, me: Reviewer) -> BlindView:
    """Judge until the first pair comes again."""
    while (view := contest.draw(evaluation, me)) and not view.is_repeat:
        say(s, view, me, Verdict.LEFT)
    assert view is not None
    return view


def say(s: Session, view: BlindView, who: Reviewer, verdict: Verdict) -> None:
    (judge_repeat if view.is_repeat else judge)(s, by=who.id, judgment_id=view.judgment_id, verdict=verdict)


def for_candidate(s: Session, view: BlindView) -> Verdict:
    """The verdict that says the candidate is better, on whichever side it stands."""
    first = s.get_one(Judgment, view.judgment_id).candidate_left
    return Verdict.LEFT if first is not view.is_repeat else Verdict.RIGHT


def all_judged(s: Session, contest: Contest, evaluation: Evaluation, who: Reviewer) -> list[BlindView]:
    seen = []
    while view := contest.draw(evaluation, who):
        say(s, view, who, for_candidate(s, view))
        seen.append(view)
    return seen


@pytest.mark.both_databases
def test_a_pair_comes_again_after_ten_others_with_its_sides_swapped(s: Session) -> None:
    contest = Contest(s, prompts=30)
    evaluation = contest.open(HALF)
    me = contest.judges[0]
    seen, told = [], []
    while view := contest.draw(evaluation, me):
        seen.append(view)
        told.append(judging_progress(s, evaluation_id=evaluation.id, reviewer_id=me.id).done)
        say(s, view, me, for_candidate(s, view))
    assert told == list(range(len(told))), "a second look counts like any pair, so that nothing announces it"
    end = judging_progress(s, evaluation_id=evaluation.id, reviewer_id=me.id)
    assert end.done == end.total == len(told)
    again = [place for place, view in enumerate(seen) if view.is_repeat]
    assert 5 <= len(again) <= 20
    for place in again:
        look = seen[place]
        first = next(n for n, view in enumerate(seen) if view.judgment_id == look.judgment_id and not view.is_repeat)
        assert sum(not view.is_repeat for view in seen[first + 1 : place]) >= LEAST_APART
        assert (look.left, look.right) == (seen[first].right, seen[first].left)
    assert len({view.judgment_id for view in seen if view.is_repeat}) == len(again), "each comes a second time at most"


def test_second_verdicts_count_for_nothing_but_consistency(s: Session) -> None:
    contest = Contest(s, prompts=22)
    evaluation = contest.open(HALF)
    seen = all_judged(s, contest, evaluation, contest.judges[0])
    twice = sum(view.is_repeat for view in seen)
    assert count_verdicts(s, evaluation_id=evaluation.id).verdicts == 22
    with pytest.raises(Refused, match="when the evaluation is closed"):
        load_results(s, evaluation_id=evaluation.id)
    close_evaluation(s, by=contest.manager.id, evaluation_id=evaluation.id)
    (people,) = load_results(s, evaluation_id=evaluation.id).by_reviewers
    assert (people.headline.n, people.headline.wins, len(people.repeats)) == (22, 22, twice)
    said = [line.text for line in build_report(people).doubts.lines]
    assert any(f"said the same of {twice}" in sentence for sentence in said)


def test_whoever_follows_a_side_is_found_out(s: Session) -> None:
    contest = Contest(s, prompts=22)
    evaluation = contest.open(HALF)
    while view := contest.draw(evaluation, contest.judges[0]):
        say(s, view, contest.judges[0], Verdict.LEFT)
    close_evaluation(s, by=contest.manager.id, evaluation_id=evaluation.id)
    (people,) = load_results(s, evaluation_id=evaluation.id).by_reviewers
    found = consistency(people.repeats)
    assert (found.same.count, found.followed_side) == (0, found.same.n)
    doubts = build_report(people).doubts.lines
    assert any(line.warns and "same side again" in line.text for line in doubts)


def test_undo_takes_back_a_second_look_first_and_it_comes_again_as_it_was(s: Session) -> None:
    contest = Contest(s, prompts=22)
    evaluation = contest.open(HALF)
    me = contest.judges[0]
    view = first_look(s, contest, evaluation, me)
    judged = s.scalar(select(func.count(Judgment.id)).where(Judgment.verdict.is_not(None)))
    say(s, view, me, Verdict.RIGHT)
    assert find_explainable(s, reviewer_id=me.id, evaluation_id=evaluation.id) is None, "no reasons of another pair"
    with pytest.raises(Refused, match="already"):
        say(s, view, me, Verdict.LEFT)
    assert undo_last(s, by=me.id, evaluation_id=evaluation.id)
    assert contest.draw(evaluation, me) == view
    assert s.scalar(select(func.count(Judgment.id)).where(Judgment.verdict.is_not(None))) == judged
    assert s.scalar(select(func.count()).select_from(RepeatJudgment).where(RepeatJudgment.verdict.is_not(None))) == 0


def test_a_look_that_was_drawn_waits_for_ten_others_again_once_the_first_verdict_was_taken_back(s: Session) -> None:
    contest = Contest(s, prompts=22)
    evaluation = contest.open(HALF)
    me = contest.judges[0]
    view = first_look(s, contest, evaluation, me)
    while s.get_one(Judgment, view.judgment_id).verdict is not None:
        undo_last(s, by=me.id, evaluation_id=evaluation.id)
    judge(s, by=me.id, judgment_id=view.judgment_id, verdict=Verdict.RIGHT)
    others = 0
    while (found := contest.draw(evaluation, me)) and found.judgment_id != view.judgment_id:
        others += not found.is_repeat
        say(s, found, me, Verdict.LEFT)
        told = judging_progress(s, evaluation_id=evaluation.id, reviewer_id=me.id)
        assert told.done < told.total
    assert found == view
    assert others >= LEAST_APART


def test_a_look_that_was_drawn_stays_away_where_others_took_the_pairs_between(s: Session) -> None:
    contest = Contest(s, prompts=22)
    evaluation = contest.open(HALF)
    me, other = contest.judges
    view = first_look(s, contest, evaluation, me)
    while s.get_one(Judgment, view.judgment_id).verdict is not None:
        undo_last(s, by=me.id, evaluation_id=evaluation.id)
    long_ago = update(Judgment).where(Judgment.reviewer_id == me.id, Judgment.id != view.judgment_id)
    s.execute(long_ago.values(drawn_at=now() - 2 * HELD_FOR))
    all_judged(s, contest, evaluation, other)
    first = sure(contest.draw(evaluation, me))
    assert (first.judgment_id, first.is_repeat) == (view.judgment_id, False)
    say(s, first, me, Verdict.RIGHT)
    assert contest.draw(evaluation, me) is None
    end = judging_progress(s, evaluation_id=evaluation.id, reviewer_id=me.id)
    assert end.done == end.total


def test_nothing_comes_again_unless_the_protocol_says_so(s: Session) -> None:
    contest = Contest(s, prompts=22)
    seen = all_judged(s, contest, contest.open(), contest.judges[0])
    assert not any(view.is_repeat for view in seen)
    with pytest.raises(NotFound, match="second time"):
        judge_repeat(s, by=contest.judges[0].id, judgment_id=seen[0].judgment_id, verdict=Verdict.TIE)


def test_more_than_half_cannot_be_given_twice(s: Session) -> None:
    with pytest.raises(BadSetting, match="5 to 10 % is enough"):
        Contest(s).open(Plan(again=0.9))


def test_the_audit_trail_keeps_a_second_look_and_its_undoing(s: Session) -> None:
    contest = Contest(s, prompts=22)
    evaluation = contest.open(HALF)
    me = contest.judges[0]
    view = first_look(s, contest, evaluation, me)
    say(s, view, me, Verdict.RIGHT)
    undo_last(s, by=me.id, evaluation_id=evaluation.id)
    kept = s.scalars(select(AuditRecord).where(AuditRecord.table == "repeat_judgment").order_by(AuditRecord.id)).all()
    assert [(line.after or {}).get("verdict") for line in kept] == [None, "RIGHT", None]
    assert {line.project_id for line in kept} == {contest.project.id}


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.booleans()), max_size=30))
def test_consistency_counts_and_its_interval_holds_the_share(given_: list[tuple[int, bool, bool]]) -> None:
    looks = [RepeatedVerdict("Ann", prompt, same, side and not same) for prompt, same, side in given_]
    found = consistency(looks)
    same = found.same
    assert (same.n, same.count) == (len(looks), Counter(look.same for look in looks)[True])
    if not looks:
        assert "no pair came a second time" in found.sentence
        return
    rounding = 1e-12
    assert 0 <= same.low <= same.rate + rounding
    assert same.rate - rounding <= same.high <= 1
