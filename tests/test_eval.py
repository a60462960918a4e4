"""Blind evaluation: worked figures, properties of the win rate, and blindness."""

import dataclasses
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import Evaluation, ModelVersion, Preference, Recipe, Response, Role, Snapshot, Split, Thumb, TrainingRun
from db.session import session
from errors import NotAllowed, Refused
from eval.evaluations import close_evaluation, list_evaluations
from eval.judging import draw_side, judge, judging_progress, next_view, undo_last
from eval.report.results import Results, load_results
from stats import intervals
from stats.contrasts import Contrast, contrasts
from stats.estimates import Interval
from stats.position import position_bias
from stats.verdicts import Outcome, Verdict
from stats.votes import as_votes
from tests.contests import Contest
from tests.factories import a_comparison, a_human, a_project, a_prompt, a_ranking, a_response, a_reviewer, saved, sure
from ui.project_progress import project_progress

OPPOSITE = {Outcome.WIN: Outcome.LOSS, Outcome.LOSS: Outcome.WIN}
WORDS = {Outcome.WIN: "left", Outcome.LOSS: "right", Outcome.TIE: "tie", Outcome.BOTH_BAD: "both_bad"}
Observation: TypeAlias = tuple[int, Outcome]
OBSERVATIONS = st.lists(st.tuples(st.integers(0, 9), st.sampled_from(Outcome)), min_size=1, max_size=60)


def judged(wins: int, ties: int, losses: int) -> list[Observation]:
    outcomes = [Outcome.WIN] * wins + [Outcome.TIE] * ties + [Outcome.LOSS] * losses
    return list(enumerate(outcomes))


def win_rate(seen: list[Observation]) -> Contrast:
    """One reviewer's judgments, the candidate always left."""
    n = len(seen)
    words = [WORDS[one] for _, one in seen]
    votes = as_votes(
        prompts=[prompt for prompt, _ in seen],
        reviewers=[1] * n,
        lefts=["candidate"] * n,
        rights=["baseline"] * n,
        verdicts=words,
        candidate="candidate",
    )
    (found,) = contrasts(votes)
    return found


def ends(found: Contrast) -> tuple[float, float]:
    """The interval's ends; a test that gets a sentence instead fails."""
    assert isinstance(found.interval, Interval), found.interval
    return found.interval.low, found.interval.high


def test_60_wins_10_ties_30_losses_give_the_published_interval() -> None:
    found = win_rate(judged(60, 10, 30))
    assert found.rate == 0.65
    assert ends(found) == pytest.approx((0.552544, 0.736358), abs=1e-6)


def test_two_judgments_of_each_prompt_that_agree_do_not_narrow_the_interval() -> None:
    once = win_rate(judged(30, 0, 10))
    twice = win_rate(judged(30, 0, 10) * 2)
    assert twice.n == 80
    width = {found.n: ends(found)[1] - ends(found)[0] for found in (once, twice)}
    assert width[80] > 0.9 * width[40]


@pytest.mark.parametrize("rate", [0.5, 0.7, 0.9])
@pytest.mark.parametrize("prompts", [4, 10, 40])
def test_the_interval_of_prompts_that_two_people_judged_holds_the_truth_as_often_as_it_says(
    prompts: int, rate: float
) -> None:
    chance = random.Random(7)
    held = 0
    for _ in range(200):
        ease = [chance.betavariate(2 * rate, 2 - 2 * rate) for _ in range(prompts)]
        seen = [
            (prompt, Outcome.WIN if chance.random() < p else Outcome.LOSS)
            for prompt, p in enumerate(ease)
            for _ in range(2)
        ]
        low, high = ends(win_rate(seen))
        held += low <= rate <= high
    assert held >= 0.92 * 200  # 95 %, less two standard errors


def test_a_second_look_at_one_prompt_does_not_narrow_the_interval() -> None:
    once = win_rate(judged(38, 0, 1))
    again = win_rate([*judged(38, 0, 1), (0, Outcome.WIN)])
    assert ends(again)[0] == pytest.approx(ends(once)[0], abs=0.02)
    assert ends(win_rate([(n % 2, o) for n, o in enumerate([Outcome.WIN] * 3 + [Outcome.TIE])]))[0] < 0.5


@given(OBSERVATIONS)
def test_swapping_candidate_and_baseline_gives_one_minus_the_rate(observations: list[Observation]) -> None:
    found = win_rate(observations)
    turned = win_rate([(prompt, OPPOSITE.get(one, one)) for prompt, one in observations])
    assert turned.rate == pytest.approx(1 - found.rate)
    if isinstance(found.interval, Interval):
        assert ends(turned)[0] == pytest.approx(1 - ends(found)[1], abs=1e-9)


@given(OBSERVATIONS)
def test_the_interval_holds_the_rate_and_stays_between_0_and_1(observations: list[Observation]) -> None:
    found = win_rate(observations)
    assert found.n == len(observations)
    if len({prompt for prompt, _ in observations}) == 1 < found.n:
        assert "all votes are on one prompt" in str(found.interval)
        return
    low, high = ends(found)
    assert 0 <= low <= found.rate + 1e-12
    assert found.rate - 1e-12 <= high <= 1
    assert high > low


@given(st.sampled_from(Verdict))
def test_swapping_left_and_right_changes_nothing(verdict: Verdict) -> None:
    mirrored = {Verdict.LEFT: Verdict.RIGHT, Verdict.RIGHT: Verdict.LEFT}.get(verdict, verdict)
    assert verdict.outcome(candidate_left=True) is mirrored.outcome(candidate_left=False)


def test_sides_stay_balanced_and_cannot_be_guessed_from_the_seed_alone() -> None:
    lefts = rights = 0
    for turn in range(200):
        side = draw_side(lefts=lefts, rights=rights, seed=f"1:1:{turn}")
        lefts, rights = lefts + side, rights + (not side)
        assert abs(lefts - rights) <= 2
    assert 95 <= lefts <= 105


class Signed(Contest):
    """A contest in which two people sign their replies, and the model writes of one who knows."""

    def __init__(self, s: Session, prompts: int = 6) -> None:
        super().__init__(s, prompts=0, people=0, judges=1)
        self.reviewer = self.judges[0]
        self.people = [a_human(s, self.project, name=name) for name in ("Rosalind Achterberg", "Dev Malhotra")]
        self.prompts = [a_prompt(s, self.project, held_out=True) for _ in range(prompts)]
        for prompt in self.prompts:
            for who in (self.model, *self.people):
                signed = "one who knows" if who is self.model else who.name
                a_response(s, prompt, who, text=f"Answer {who.id % 7} of {signed} to {prompt.text}")

    def judged(self, verdict: Verdict | None = None) -> Evaluation:
        """Opened and judged by the reviewer: one verdict throughout, or the candidate wins wherever it stands."""
        evaluation = self.open()
        self.judge_all(evaluation, self.reviewer, verdict=verdict)
        return evaluation

    def results(self, verdict: Verdict | None = None) -> Results:
        """Those of a closed evaluation that the reviewer judged."""
        evaluation = self.judged(verdict)
        close_evaluation(self.s, by=self.manager.id, evaluation_id=evaluation.id)
        return load_results(self.s, evaluation_id=evaluation.id)


def test_a_blind_view_names_nobody(s: Session) -> None:
    contest = Signed(s)
    evaluation = contest.open()
    while view := next_view(s, by=contest.reviewer.id, evaluation_id=evaluation.id):
        shown = " ".join(str(value) for value in dataclasses.asdict(view).values())
        assert "Rosalind" not in shown
        assert "Achterberg" not in shown
        judge(s, by=contest.reviewer.id, judgment_id=view.judgment_id, verdict=Verdict.TIE)


def test_a_reload_shows_the_same_pair_on_the_same_sides(s: Session) -> None:
    contest = Signed(s)
    evaluation = contest.open()
    first = next_view(s, by=contest.reviewer.id, evaluation_id=evaluation.id)
    assert next_view(s, by=contest.reviewer.id, evaluation_id=evaluation.id) == first


def test_a_candidate_that_always_wins_has_rate_1_whatever_its_side(s: Session) -> None:
    contest = Signed(s, prompts=12)
    (found,) = contest.results().by_reviewers
    together = found.headline
    assert (together.baseline, together.n, together.rate) == ("People, together", 12, 1.0)
    assert {(c.baseline, c.n) for c in found.contrasts[1:]} == {("Rosalind Achterberg", 6), ("Dev Malhotra", 6)}


def test_always_left_is_no_win_since_sides_are_balanced(s: Session) -> None:
    contest = Signed(s, prompts=12)
    (found,) = contest.results(Verdict.LEFT).by_reviewers
    assert 0.3 <= found.headline.rate <= 0.7
    assert (position_bias(found.votes).left, position_bias(found.votes).right) == (12, 0)


@pytest.mark.parametrize("by_thumb", [False, True])
def test_a_model_that_learned_from_the_held_out_prompts_elsewhere_takes_no_part(s: Session, by_thumb: bool) -> None:
    contest = Signed(s)
    elsewhere = a_project(s)
    manager = a_reviewer(s, elsewhere)
    learned = a_prompt(s, elsewhere, content_hash=contest.prompts[2].content_hash)
    one, two = (a_response(s, learned, a_human(s, elsewhere)) for _ in range(2))
    ranking = a_ranking(s, a_comparison(s, one, two), manager, one, two)
    snapshot = Snapshot(project_id=elsewhere.id, instructions="", folder="x", sha256="x", row_count=1)
    snapshot.simulated_count, snapshot.created_by_id = 0, manager.id
    recipe = Recipe(name="x")
    s.add_all([snapshot, recipe])
    s.flush()
    row = {"snapshot_id": snapshot.id, "split": Split.TRAIN, "prompt_id": learned.id, "ranking_id": ranking.id}
    if by_thumb:
        s.add(Thumb(**row, response_id=one.id, label=True))
    else:
        s.add(Preference(**row, row=0, chosen_id=one.id, rejected_id=two.id))
    assert contest.model.model_version_id is not None
    grandchild = saved(s, ModelVersion, name="Child", location="x", parent_id=contest.model.model_version_id)
    saved(
        s,
        TrainingRun,
        project_id=elsewhere.id,
        snapshot_id=snapshot.id,
        recipe_id=recipe.id,
        base_model_id=contest.model.model_version_id,
        model_name="x",
        model_version_id=contest.model.model_version_id,
        requested_by_id=manager.id,
    )
    with pytest.raises(Refused, match="learned from 1 of these held-out prompts"):
        contest.open()
    contest.model.model_version_id = grandchild.id
    s.flush()
    s.expire(contest.model)
    with pytest.raises(Refused, match="learned from 1 of these held-out prompts"):
        contest.open()


def test_where_all_replies_are_the_same_nobody_has_to_judge(s: Session) -> None:
    contest = Signed(s, prompts=2)
    for response in s.scalars(select(Response)):
        response.text = "It left today."
    evaluation = contest.open()
    assert next_view(s, by=contest.reviewer.id, evaluation_id=evaluation.id) is None
    close_evaluation(s, by=contest.manager.id, evaluation_id=evaluation.id)
    (found,) = load_results(s, evaluation_id=evaluation.id).by_reviewers
    assert (found.headline.rate, found.headline.unasked, found.headline.reviewers) == (0.5, 2, 0)
    assert [(row.verdict, row.judged_by, row.reviewer) for row in found.rows] == [
        ("tie", "nobody", "(nobody: same text)")
    ] * 2


@pytest.mark.parametrize(
    ("simulated", "label"),
    [
        ((True, True), "People, together (simulated)"),
        ((True, False), "People, together (partly simulated)"),
        ((False, False), "People, together"),
    ],
)
def test_people_whose_replies_were_made_up_are_said_to_be(s: Session, simulated: tuple[bool, bool], label: str) -> None:
    contest = Signed(s)
    for person, made_up in zip(contest.people, simulated, strict=True):
        person.simulated = made_up
    assert contest.results().by_reviewers[0].headline.baseline == label


def test_people_s_and_simulated_verdicts_are_counted_apart(s: Session) -> None:
    contest = Signed(s)
    evaluation = contest.judged()
    contest.reviewer = a_reviewer(s, contest.project, Role.REVIEWER, simulated=True)
    contest.judge_all(evaluation, contest.reviewer)
    entry = list_evaluations(s, project_id=contest.project.id)[0]
    assert (entry.judged, entry.verdicts, entry.simulated) == (6, 6, 6)
    now = project_progress(s, project_id=contest.project.id)
    assert (now.judgments, now.judgments_simulated) == (6, 6)


def test_results_stay_shut_while_the_evaluation_is_open(s: Session) -> None:
    contest = Signed(s)
    evaluation = contest.judged()
    with pytest.raises(Refused, match="open when the evaluation is closed"):
        load_results(s, evaluation_id=evaluation.id)


def test_no_verdict_changes_after_the_close(s: Session) -> None:
    contest = Signed(s)
    evaluation = contest.judged()
    close_evaluation(s, by=contest.manager.id, evaluation_id=evaluation.id)
    with pytest.raises(Refused, match="closed"):
        undo_last(s, by=contest.reviewer.id, evaluation_id=evaluation.id)
    with pytest.raises(Refused, match="closed"):
        next_view(s, by=contest.reviewer.id, evaluation_id=evaluation.id)


def test_a_second_press_never_judges_twice_and_undo_brings_the_same_sides(s: Session) -> None:
    contest = Signed(s)
    evaluation = contest.open()
    view = sure(next_view(s, by=contest.reviewer.id, evaluation_id=evaluation.id))
    judge(s, by=contest.reviewer.id, judgment_id=view.judgment_id, verdict=Verdict.LEFT)
    with pytest.raises(Refused, match="judged this pair already"):
        judge(s, by=contest.reviewer.id, judgment_id=view.judgment_id, verdict=Verdict.RIGHT)
    assert undo_last(s, by=contest.reviewer.id, evaluation_id=evaluation.id)
    assert next_view(s, by=contest.reviewer.id, evaluation_id=evaluation.id) == view


@pytest.mark.both_databases
def test_eight_tabs_of_one_person_draw_a_pair_once_and_judge_it_once(database: Path) -> None:
    with session() as s:
        contest = Signed(s)
        evaluation, me = contest.open().id, contest.reviewer.id
    start = Barrier(8, timeout=60)

    def look(_: int) -> int:
        start.wait()
        with session() as s:
            view = next_view(s, by=me, evaluation_id=evaluation)
        assert view is not None
        return view.judgment_id

    def say(judgment_id: int) -> bool:
        start.wait()
        try:
            with session() as s:
                judge(s, by=me, judgment_id=judgment_id, verdict=Verdict.LEFT)
        except Refused:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        drawn = list(pool.map(look, range(8)))
        assert len(set(drawn)) == 1
        assert sum(pool.map(say, drawn)) == 1


def test_nobody_judges_a_reply_they_wrote(s: Session) -> None:
    contest = Signed(s)
    for person in contest.people:
        person.reviewer_id = contest.reviewer.id
    evaluation = contest.open()
    assert next_view(s, by=contest.reviewer.id, evaluation_id=evaluation.id) is None
    assert judging_progress(s, evaluation_id=evaluation.id, reviewer_id=contest.reviewer.id).total == 0


def test_identical_replies_are_never_shown_and_count_as_ties(s: Session) -> None:
    contest = Signed(s, prompts=4)
    for prompt in contest.prompts[:2]:
        for response in s.scalars(select(Response).where(Response.prompt_id == prompt.id)):
            response.text = "Tomorrow."
    together = contest.results().by_reviewers[0].headline
    assert (together.wins, together.ties, together.unasked) == (2, 2, 2)


def test_verdicts_of_a_rule_and_of_people_are_never_pooled(s: Session) -> None:
    contest = Signed(s)
    evaluation = contest.judged()
    contest.reviewer = a_reviewer(s, contest.project, Role.REVIEWER, simulated=True)
    contest.judge_all(evaluation, contest.reviewer, verdict=Verdict.TIE)
    close_evaluation(s, by=contest.manager.id, evaluation_id=evaluation.id)
    assert {one.simulated: one.headline.rate for one in load_results(s, evaluation_id=evaluation.id).by_reviewers} == {
        False: 1.0,
        True: 0.5,
    }


def test_a_responder_with_gaps_cannot_take_part(s: Session) -> None:
    contest = Signed(s)
    a_prompt(s, contest.project, held_out=True)
    with pytest.raises(Refused, match="has answered 6 of 7 held-out prompts"):
        contest.open()


def test_only_a_manager_opens_and_closes(s: Session) -> None:
    contest = Signed(s)
    evaluation = contest.judged()
    with pytest.raises(NotAllowed):
        close_evaluation(s, by=contest.reviewer.id, evaluation_id=evaluation.id)


def test_prompts_whose_shares_are_alike_count_once_each_however_their_mean_is_rounded() -> None:
    thirds = [[1.0, 0.0, 0.0]] * 5
    assert intervals.clustered_interval(thirds) == pytest.approx((0.054, 0.815), abs=5e-4)
