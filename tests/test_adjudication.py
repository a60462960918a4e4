"""A manager's word decides where people contradict each other, and everybody's own ranking stays."""

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import Comparison, Ranking, Reviewer, Role
from errors import NotAllowed, NotFound, Refused
from review.adjudication import decide, list_conflicts, withdraw_decision
from review.assignment import left_first, next_offer, shown_order
from review.progress import list_opinions
from review.rankings import GivenRanking, last_ranking, rank
from stats.verdicts import Order, Verdict
from tests.factories import a_comparison, a_human, a_pair, a_project, a_prompt, a_response, a_reviewer
from training.data.feedback import load_rankings
from training.data.preferences import derive
from training.data.terms import LeftOutReason

pytestmark = pytest.mark.both_databases


class Team:
    """Two annotators and a manager with some pairs; "1" is the response of lower id."""

    def __init__(self, s: Session, pairs: int = 3) -> None:
        self.s = s
        self.project = a_project(s)
        self.manager = a_reviewer(s, self.project)
        self.ann, self.bo = (a_reviewer(s, self.project, Role.ANNOTATOR, name=name) for name in ("Ann", "Bo"))
        self.pairs = [a_pair(s, self.project) for _ in range(pairs)]

    def say(self, who: Reviewer, pair: Comparison, what: str) -> Ranking:
        return rank(self.s, by=who.id, comparison_id=pair.id, order=self.side(who, pair, what).order)

    def side(self, who: Reviewer, pair: Comparison, what: str) -> Verdict:
        if what not in "12":
            return Verdict(what)
        return Verdict.LEFT if left_first(pair.id, who.id) == (what == "1") else Verdict.RIGHT

    def waiting(self, decided: bool = False) -> list[int]:
        found = list_conflicts(self.s, by=self.manager.id, project_id=self.project.id, decided=decided)
        return [one.offer.comparison_id for one in found]


@pytest.mark.parametrize(
    ("one", "other", "contradict"),
    [("1", "2", True), ("1", "1", False), ("1", "TIE", False), ("TIE", "BOTH_BAD", True), ("2", "BOTH_BAD", True)],
)
def test_opposite_orders_and_both_bad_against_a_choice_contradict(
    s: Session, one: str, other: str, contradict: bool
) -> None:
    team = Team(s, pairs=1)
    team.say(team.ann, team.pairs[0], one)
    team.say(team.bo, team.pairs[0], other)
    assert bool(team.waiting()) is contradict


def test_the_decision_counts_for_training_and_the_rankings_stay(s: Session) -> None:
    team = Team(s)
    pair = team.pairs[0]
    for who, what in ((team.ann, "1"), (team.bo, "2")):
        team.say(who, pair, what)
    team.say(team.ann, team.pairs[1], "1")

    def derived() -> tuple[list[tuple[int | None, int]], dict[LeftOutReason, int]]:
        found = derive(load_rankings(s, project_id=team.project.id), [])
        return [(row.chosen_id, row.rejected.id) for row in found.rows], dict(found.left_out)

    first, second = sorted(response.id for response in pair.responses)
    rows, left_out = derived()
    assert (second, first) not in rows
    assert left_out == {LeftOutReason.DISAGREEMENT: 2}
    decision = decide(
        s, by=team.manager.id, comparison_id=pair.id, order=team.side(team.manager, pair, "2").order, reason="policy"
    )
    rows, left_out = derived()
    assert (second, first) in rows
    assert left_out == {LeftOutReason.OVERRULED: 2}
    assert (team.waiting(), team.waiting(decided=True)) == ([], [pair.id])
    assert (
        len(s.scalars(select(Ranking).where(Ranking.comparison_id == pair.id, Ranking.undone_at.is_(None))).all()) == 3
    )
    assert {o.reviewer for o in list_opinions(s, project_id=team.project.id)} == {"Ann", "Bo"}
    with pytest.raises(Refused, match="decided this already"):
        decide(s, by=a_reviewer(s, team.project).id, comparison_id=pair.id, order=Verdict.TIE.order)
    withdraw_decision(s, by=team.manager.id, ranking_id=decision.id)
    assert derived()[1] == {LeftOutReason.DISAGREEMENT: 2}
    assert team.waiting() == [pair.id]
    with pytest.raises(NotFound, match="does not stand"):
        withdraw_decision(s, by=team.manager.id, ranking_id=decision.id)


def test_deciding_is_no_ranking_of_ones_own_and_ends_the_chance_of_one(s: Session) -> None:
    team = Team(s, pairs=1)
    pair = team.pairs[0]
    team.say(team.ann, pair, "1")
    team.say(team.bo, pair, "2")
    decide(s, by=team.manager.id, comparison_id=pair.id, order=Verdict.TIE.order)
    assert last_ranking(s, by=team.manager.id, project_id=team.project.id) is None
    assert next_offer(s, project_id=team.project.id, reviewer_id=team.manager.id) is None
    with pytest.raises(Refused, match="seen what others said"):
        team.say(team.manager, pair, "1")


def test_the_words_are_shown_as_the_manager_sees_the_sides_and_only_to_managers(s: Session) -> None:
    team = Team(s, pairs=1)
    pair = team.pairs[0]
    rankings = [team.say(team.ann, pair, "1"), team.say(team.bo, pair, "2")]
    conflict = list_conflicts(s, by=team.manager.id, project_id=team.project.id, decided=False)[0]
    shown = [reply.response_id for reply in conflict.offer.replies]
    assert [word.order for word in conflict.rankings] == [GivenRanking.of(ranking, shown).order for ranking in rankings]
    assert {word.order.verdict for word in conflict.rankings} == {Verdict.LEFT, Verdict.RIGHT}
    for action in (
        lambda: list_conflicts(s, by=team.ann.id, project_id=team.project.id, decided=False),
        lambda: decide(s, by=team.ann.id, comparison_id=pair.id, order=Verdict.TIE.order),
    ):
        with pytest.raises(NotAllowed, match="manager"):
            action()


def test_more_than_two_are_decided_as_cards(s: Session) -> None:
    team = Team(s, pairs=0)
    prompt = a_prompt(s, team.project)
    three = a_comparison(s, *(a_response(s, prompt, a_human(s, team.project)) for _ in range(3)))
    for who, best_first in ((team.ann, True), (team.bo, False)):
        cards = shown_order(three, reviewer_id=who.id)
        order = sorted(cards, key=lambda response: response.id, reverse=not best_first)
        places = tuple(order.index(card) + 1 for card in cards)
        rank(s, by=who.id, comparison_id=three.id, order=Order(places))
    (conflict,) = list_conflicts(s, by=team.manager.id, project_id=team.project.id, decided=False)
    first, second = (dict(zip(conflict.offer.replies, word.order.places, strict=True)) for word in conflict.rankings)
    assert {card: 4 - place for card, place in first.items()} == second
    decide(s, by=team.manager.id, comparison_id=three.id, order=Order((1, 2, 2)))
    (decided,) = list_conflicts(s, by=team.manager.id, project_id=team.project.id, decided=True)
    assert decided.decision is not None
    assert decided.decision.order == Order((1, 2, 2))
    found = derive(load_rankings(s, project_id=team.project.id), [])
    assert len(found.rows) == 2
    assert found.left_out == {LeftOutReason.OVERRULED: 2}
