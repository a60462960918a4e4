"""More than two: offered in an order drawn for each reviewer, stored as one placement each, guarded like pairs."""

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import Comparison, Criterion, Project, Ranking, Reviewer, Role
from db.people import edit_project
from errors import NotAllowed, NotFound, Refused
from review.assignment import left_first, load_offer, next_offer, ranking_progress, shown_order
from review.flags import flag_comparison, list_open_flags, settle_flag
from review.progress import list_opinions, reviewer_activity
from review.queue import claim, set_queue
from review.rankings import last_ranking, rank, strengthen_ranking, undo_ranking
from review.reasons import judge_criterion, list_reasons, set_criteria, set_reasons
from stats.agreement import Opinion
from stats.verdicts import Order, Verdict
from tests.factories import a_comparison, a_human, a_prompt, a_response, a_reviewer, sure
from training.data.snapshot import preview_snapshot
from training.data.terms import LeftOutReason

NONE_OF_THREE = Order((1, 1, 1), none_good=True)


def several(s: Session, project: Project, count: int = 4, held_out: bool = False) -> Comparison:
    prompt = a_prompt(s, project, held_out=held_out)
    return a_comparison(s, *(a_response(s, prompt, a_human(s, project)) for _ in range(count)))


@pytest.fixture
def me(s: Session, project: Project) -> Reviewer:
    return a_reviewer(s, project)


def test_an_order_is_stored_as_one_placement_each_with_the_positions_as_shown(
    s: Session, project: Project, me: Reviewer
) -> None:
    edit_project(s, by=me.id, project_id=project.id, task="", instructions="", guideline="Say sorry.")
    four = several(s, project)
    shown = load_offer(s, comparison_id=four.id, reviewer_id=me.id)
    ranking = rank(s, by=me.id, comparison_id=four.id, order=Order((4, 1, 1, 3)), seconds=9.5)
    stored = {p.response_id: (p.position, p.place) for p in ranking.placements}
    assert stored == {
        card.response_id: (at, place) for at, (card, place) in enumerate(zip(shown.replies, (3, 1, 1, 2), strict=True))
    }
    assert (ranking.strength, ranking.both_bad, ranking.seconds) == (None, False, 9.5)
    assert ranking.guideline_id is not None


def test_none_can_be_sent_puts_all_on_the_first_place(s: Session, project: Project, me: Reviewer) -> None:
    ranking = rank(s, by=me.id, comparison_id=several(s, project, 3).id, order=NONE_OF_THREE)
    assert [p.place for p in ranking.placements] == [1, 1, 1]
    assert ranking.both_bad
    last = sure(last_ranking(s, by=me.id, project_id=project.id))
    assert (last.order, last.order.verdict) == (NONE_OF_THREE, None)


def test_the_drawn_order_is_the_same_after_a_reload_and_differs_between_people(s: Session, project: Project) -> None:
    four = several(s, project)
    orders = {tuple(one.id for one in shown_order(four, reviewer_id=who)) for who in range(200)}
    assert len(orders) == 24
    firsts = [shown_order(four, reviewer_id=who)[0].id for who in range(400)]
    assert all(70 < firsts.count(response.id) < 130 for response in four.responses)
    assert shown_order(four, reviewer_id=7) == shown_order(four, reviewer_id=7)


def test_a_pair_stands_as_it_does_on_the_pair_screen(s: Session, project: Project) -> None:
    pair = several(s, project, 2)
    for who in range(20):
        lower_is_left = shown_order(pair, reviewer_id=who)[0].id < shown_order(pair, reviewer_id=who)[1].id
        assert lower_is_left is left_first(pair.id, who)


def test_what_is_offered_says_nothing_of_who_wrote_it(s: Session, project: Project, me: Reviewer) -> None:
    prompt = a_prompt(s, project)
    writers = [a_human(s, project, name=name) for name in ("Rosalind", "Achterberg", "Malhotra")]
    three = a_comparison(s, *(a_response(s, prompt, writer, text="Soon.") for writer in writers))
    shown = repr(load_offer(s, comparison_id=three.id, reviewer_id=me.id))
    assert not any(writer.name in shown for writer in writers)


def test_the_queue_offers_two_to_six_and_a_pair_as_a_pair(s: Session, project: Project, me: Reviewer) -> None:
    made = {several(s, project, count).id: count for count in (2, 3, 6)}
    several(s, project, 7)
    assert ranking_progress(s, project_id=project.id, reviewer_id=me.id).total == 3
    found: dict[int, int] = {}
    while (now := claim(s, project_id=project.id, reviewer_id=me.id, later=list(found))) is not None:
        if now.comparison_id in found:
            break
        found[now.comparison_id] = len(now.replies)
    assert found == made
    only = sure(next_offer(s, project_id=project.id, reviewer_id=me.id))
    assert made[only.comparison_id] == 2


@pytest.mark.parametrize("places", [(1, 2), (1, 2, 3, 5), (0, 1, 2, 3), ()])
def test_places_that_fit_no_card_are_refused(
    s: Session, project: Project, me: Reviewer, places: tuple[int, ...]
) -> None:
    with pytest.raises(Refused, match="needs a place from 1 to 4"):
        rank(s, by=me.id, comparison_id=several(s, project).id, order=Order(places))


def test_an_order_is_guarded_as_a_pair_is(s: Session, project: Project, me: Reviewer) -> None:
    def order(comparison: Comparison, by: Reviewer = me) -> Ranking:
        places = tuple(range(1, len(comparison.responses) + 1))
        return rank(s, by=by.id, comparison_id=comparison.id, order=Order(places))

    four = several(s, project)
    order(four)
    with pytest.raises(Refused, match="ranked this comparison already"):
        order(four)
    with pytest.raises(Refused, match="held out"):
        order(several(s, project, held_out=True))
    with pytest.raises(NotAllowed, match="manager or annotator"):
        order(four, by=a_reviewer(s, project, Role.REVIEWER))
    with pytest.raises(Refused, match="7 responses"):
        order(several(s, project, 7))
    with pytest.raises(NotFound):
        rank(s, by=me.id, comparison_id=10**6, order=Order((1, 2, 3)))
    prompt = a_prompt(s, project)
    mine = a_response(s, prompt, a_human(s, project, reviewer_id=me.id))
    others = [a_response(s, prompt, a_human(s, project)) for _ in range(2)]
    with pytest.raises(Refused, match="You wrote one"):
        order(a_comparison(s, mine, *others))
    set_queue(s, by=me.id, project_id=project.id, people=1, share=1.0)
    with pytest.raises(Refused, match="Enough people"):
        order(four, by=a_reviewer(s, project))
    with pytest.raises(Refused, match="needs a place from 1 to 4"):
        rank(s, by=me.id, comparison_id=several(s, project).id, order=Verdict.LEFT.order)


def test_an_order_can_be_undone_and_given_again(s: Session, project: Project, me: Reviewer) -> None:
    four = several(s, project)
    rank(s, by=me.id, comparison_id=four.id, order=Order((2, 1, 3, 4)))
    last = sure(last_ranking(s, by=me.id, project_id=project.id))
    assert (last.order, last.comparison_id) == (Order((2, 1, 3, 4)), four.id)
    assert undo_ranking(s, by=me.id, ranking_id=last.ranking_id) == four.id
    rank(s, by=me.id, comparison_id=four.id, order=Order((1, 2, 3, 4)))
    assert len(s.scalars(select(Ranking)).all()) == 2


def test_chips_are_for_any_order_but_criteria_and_strength_for_pairs(
    s: Session, project: Project, me: Reviewer
) -> None:
    ranking = rank(s, by=me.id, comparison_id=several(s, project, 3).id, order=Order((1, 2, 3)))
    set_reasons(s, by=me.id, ranking_id=ranking.id, praise=["Warm"], faults=["Tone"])
    assert list_reasons(s, ranking_id=ranking.id) == ["Tone", "Warm"]
    set_criteria(s, by=me.id, project_id=project.id, names=["Correct"])
    criterion = s.scalars(select(Criterion)).one()
    with pytest.raises(Refused, match="of pairs only"):
        judge_criterion(s, by=me.id, ranking_id=ranking.id, criterion_id=criterion.id, verdict=Verdict.LEFT)
    with pytest.raises(Refused, match="left or the right"):
        strengthen_ranking(s, by=me.id, ranking_id=ranking.id)


def test_more_than_two_are_flagged_and_settled_as_pairs_are(s: Session, project: Project, me: Reviewer) -> None:
    three = several(s, project, 3)
    ann = a_reviewer(s, project, Role.ANNOTATOR)
    made = flag_comparison(s, by=ann.id, comparison_id=three.id, note="C is cut off.")
    (waiting,) = list_open_flags(s, by=me.id, project_id=project.id)
    assert waiting.offer == load_offer(s, comparison_id=three.id, reviewer_id=ann.id), "C is what was C to Ann"
    settle_flag(s, by=me.id, flag_id=made.id, discard=True)
    with pytest.raises(Refused, match="discarded"):
        rank(s, by=me.id, comparison_id=three.id, order=Order((1, 2, 3)))
    with pytest.raises(Refused, match="2 to 6"):
        flag_comparison(s, by=me.id, comparison_id=several(s, project, 7).id, note="Too many.")


def test_agreement_is_told_from_pairs_alone(s: Session, project: Project, me: Reviewer) -> None:
    rank(s, by=me.id, comparison_id=several(s, project).id, order=Order((1, 2, 3, 4)))
    pair = several(s, project, 2)
    other = a_reviewer(s, project)
    for who in (me, other):
        rank(s, by=who.id, comparison_id=pair.id, order=Verdict.TIE.order)
    assert list_opinions(s, project_id=project.id) == [Opinion(pair.id, who.name, Verdict.TIE) for who in (me, other)]


def test_an_order_reaches_a_snapshot_as_the_best_against_each_worse_one(
    s: Session, project: Project, me: Reviewer
) -> None:
    four = several(s, project)
    shown = load_offer(s, comparison_id=four.id, reviewer_id=me.id).replies
    rank(s, by=me.id, comparison_id=four.id, order=Order((3, 1, 3, 2)))
    rank(s, by=me.id, comparison_id=several(s, project, 3).id, order=NONE_OF_THREE)
    found = preview_snapshot(s, project_id=project.id)
    best = shown[1]
    assert {(row.chosen.text, row.rejected.text, row.place_gap) for row in found.rows} == {
        (best.text, shown[0].text, 2),
        (best.text, shown[2].text, 2),
        (best.text, shown[3].text, 1),
    }
    assert found.left_out[LeftOutReason.BOTH_BAD] == 1


def test_habits_of_left_and_ties_are_told_from_pairs_alone(s: Session, project: Project, me: Reviewer) -> None:
    rank(s, by=me.id, comparison_id=several(s, project).id, order=Order((2, 1, 3, 4)))
    rank(s, by=me.id, comparison_id=several(s, project, 2).id, order=Verdict.LEFT.order)
    rank(s, by=me.id, comparison_id=several(s, project, 2).id, order=Verdict.TIE.order)
    (found,) = reviewer_activity(s, project_id=project.id)
    assert (found.ranked, found.left_share, found.tie_share) == (3, 1.0, 0.5)
