"""Ranking and correcting: one ranking each, sides drawn, undo, and who may."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import CriterionChoice, Guideline, Project, Ranking, Reviewer, Role
from db.people import edit_project
from errors import NotAllowed, NotFound, Refused
from review.assignment import left_first, load_offer, next_offer, ranking_progress
from review.corrections import save_correction, standing_correction, withdraw_correction
from review.queue import claim
from review.rankings import give_reason, last_ranking, rank, strengthen_ranking, undo_ranking
from review.reasons import criterion_verdicts, judge_criterion, list_criteria, list_reasons, set_criteria, set_reasons
from stats.verdicts import Order, Verdict
from tests.factories import a_comparison, a_human, a_pair, a_project, a_prompt, a_response, a_reviewer, sure
from texts.diff import Edit, count_changed_words, word_diff

pytestmark = pytest.mark.both_databases


@pytest.fixture
def me(s: Session, project: Project) -> Reviewer:
    return a_reviewer(s, project)


@pytest.mark.parametrize("verdict", list(Verdict))
def test_a_verdict_is_stored_as_placements_with_the_sides_as_shown(
    s: Session, project: Project, me: Reviewer, verdict: Verdict
) -> None:
    pair = a_pair(s, project)
    shown = load_offer(s, comparison_id=pair.id, reviewer_id=me.id)
    ranking = rank(s, by=me.id, comparison_id=pair.id, order=verdict.order)
    stored = {p.response_id: (p.position, p.place) for p in ranking.placements}
    left, right = {Verdict.LEFT: (1, 2), Verdict.RIGHT: (2, 1), Verdict.TIE: (1, 1), Verdict.BOTH_BAD: (1, 1)}[verdict]
    assert stored == {reply.response_id: at for reply, at in zip(shown.replies, ((0, left), (1, right)), strict=True)}
    assert ranking.both_bad is (verdict is Verdict.BOTH_BAD)
    last = sure(last_ranking(s, by=me.id, project_id=project.id))
    assert last.order.verdict is verdict


def test_a_second_press_never_ranks_the_same_pair_twice(s: Session, project: Project, me: Reviewer) -> None:
    pair = a_pair(s, project)
    rank(s, by=me.id, comparison_id=pair.id, order=Verdict.LEFT.order)
    with pytest.raises(Refused, match="ranked this pair already"):
        rank(s, by=me.id, comparison_id=pair.id, order=Verdict.RIGHT.order)
    assert len(s.scalars(select(Ranking)).all()) == 1


def test_places_for_no_pair_and_a_comparison_of_another_project_save_nothing(
    s: Session, project: Project, me: Reviewer
) -> None:
    pair, theirs = a_pair(s, project), a_pair(s, a_project(s))
    with pytest.raises(Refused, match="needs a place from 1 to 2"):
        rank(s, by=me.id, comparison_id=pair.id, order=Order((1, 2, 3)))
    with pytest.raises(NotAllowed, match="needs the role"):
        rank(s, by=me.id, comparison_id=theirs.id, order=Verdict.LEFT.order)
    assert s.scalars(select(Ranking)).all() == []


def test_undo_keeps_the_row_and_brings_the_pair_back(s: Session, project: Project, me: Reviewer) -> None:
    pair = a_pair(s, project)
    ranking = rank(s, by=me.id, comparison_id=pair.id, order=Verdict.LEFT.order)
    assert next_offer(s, project_id=project.id, reviewer_id=me.id) is None
    assert undo_ranking(s, by=me.id, ranking_id=ranking.id) == pair.id
    again = sure(next_offer(s, project_id=project.id, reviewer_id=me.id))
    assert again.comparison_id == pair.id
    assert s.get_one(Ranking, ranking.id).undone_at is not None
    rank(s, by=me.id, comparison_id=pair.id, order=Verdict.RIGHT.order)


def test_nobody_undoes_or_explains_anothers_ranking(s: Session, project: Project, me: Reviewer) -> None:
    ranking = rank(s, by=me.id, comparison_id=a_pair(s, project).id, order=Verdict.LEFT.order)
    other = a_reviewer(s, project)
    with pytest.raises(NotFound):
        undo_ranking(s, by=other.id, ranking_id=ranking.id)
    with pytest.raises(NotFound):
        give_reason(s, by=other.id, ranking_id=ranking.id, reason="no")


def test_held_out_pairs_are_never_offered_nor_ranked(s: Session, project: Project, me: Reviewer) -> None:
    pair = a_pair(s, project, held_out=True)
    assert next_offer(s, project_id=project.id, reviewer_id=me.id) is None
    with pytest.raises(Refused, match="held out"):
        rank(s, by=me.id, comparison_id=pair.id, order=Verdict.LEFT.order)


def test_nobody_ranks_what_they_wrote(s: Session, project: Project, me: Reviewer) -> None:
    prompt = a_prompt(s, project)
    mine = a_response(s, prompt, a_human(s, project, reviewer_id=me.id))
    pair = a_comparison(s, mine, a_response(s, prompt, a_human(s, project)))
    assert next_offer(s, project_id=project.id, reviewer_id=me.id) is None
    with pytest.raises(Refused, match="You wrote one"):
        rank(s, by=me.id, comparison_id=pair.id, order=Verdict.LEFT.order)


def test_a_reviewer_who_only_judges_cannot_rank(s: Session, project: Project) -> None:
    judge = a_reviewer(s, project, Role.REVIEWER)
    with pytest.raises(NotAllowed, match="manager or annotator"):
        rank(s, by=judge.id, comparison_id=a_pair(s, project).id, order=Verdict.LEFT.order)


def test_pairs_put_off_come_last_and_a_reload_shows_the_same_pair(s: Session, project: Project, me: Reviewer) -> None:
    for _ in range(5):
        a_pair(s, project)
    first = sure(claim(s, project_id=project.id, reviewer_id=me.id))
    assert claim(s, project_id=project.id, reviewer_id=me.id) == first
    put_off = [first.comparison_id]
    for _ in range(4):
        other = sure(claim(s, project_id=project.id, reviewer_id=me.id, later=put_off))
        assert other.comparison_id not in put_off
        put_off.append(other.comparison_id)
    again = claim(s, project_id=project.id, reviewer_id=me.id, later=put_off)
    assert again == first
    assert ranking_progress(s, project_id=project.id, reviewer_id=me.id).total == 5


def test_a_choice_for_a_side_can_be_strong_and_a_tie_cannot(s: Session, project: Project, me: Reviewer) -> None:
    pairs = [a_pair(s, project) for _ in range(2)]
    left = rank(s, by=me.id, comparison_id=pairs[0].id, order=Verdict.LEFT.order)
    tie = rank(s, by=me.id, comparison_id=pairs[1].id, order=Verdict.TIE.order)
    assert (left.strength, tie.strength) == (1, None)
    strengthen_ranking(s, by=me.id, ranking_id=left.id)
    assert left.strength == 2
    with pytest.raises(Refused, match="left or the right"):
        strengthen_ranking(s, by=me.id, ranking_id=tie.id)
    with pytest.raises(NotFound, match="not yours"):
        strengthen_ranking(s, by=a_reviewer(s, project).id, ranking_id=left.id)


def test_each_ranking_knows_the_guideline_that_it_was_made_under(s: Session, project: Project, me: Reviewer) -> None:
    def ranked() -> int | None:
        ranking = rank(s, by=me.id, comparison_id=a_pair(s, project).id, order=Verdict.LEFT.order)
        guideline = s.get(Guideline, ranking.guideline_id) if ranking.guideline_id else None
        return guideline.version if guideline else None

    def write(text: str) -> None:
        edit_project(s, by=me.id, project_id=project.id, task="", instructions="", guideline=text)

    assert ranked() is None
    write("Say sorry.")
    assert ranked() == 1
    write(" Say sorry.\n")
    assert ranked() == 1
    write("Say sorry, and when.")
    assert ranked() == 2
    write("Say sorry.")
    assert ranked() == 3
    assert [g.text for g in s.scalars(select(Guideline))] == ["Say sorry.", "Say sorry, and when.", "Say sorry."]


@pytest.fixture
def ranked(s: Session, project: Project, me: Reviewer) -> Ranking:
    """A ranking of mine in which the left was better."""
    return rank(s, by=me.id, comparison_id=a_pair(s, project).id, order=Verdict.LEFT.order)


def test_chips_are_what_was_last_chosen_and_only_known_ones(s: Session, me: Reviewer, ranked: Ranking) -> None:
    set_reasons(s, by=me.id, ranking_id=ranked.id, praise=["Warm"], faults=["Too long", "Tone"])
    set_reasons(s, by=me.id, ranking_id=ranked.id, praise=["Warm"], faults=["Tone"])
    assert list_reasons(s, ranking_id=ranked.id) == ["Tone", "Warm"]
    with pytest.raises(Refused, match="no reason that can be chosen"):
        set_reasons(s, by=me.id, ranking_id=ranked.id, praise=["Tone"], faults=[])
    undo_ranking(s, by=me.id, ranking_id=ranked.id)
    with pytest.raises(NotFound, match="undone already"):
        set_reasons(s, by=me.id, ranking_id=ranked.id, praise=[], faults=[])


def test_a_criterion_names_the_better_response_whichever_side_it_stood_on(
    s: Session, project: Project, me: Reviewer, ranked: Ranking
) -> None:
    set_criteria(s, by=me.id, project_id=project.id, names=["Correct", " Tone ", "Correct", ""])
    correct_one, tone = list_criteria(s, project_id=project.id)
    _, right = sorted(ranked.placements, key=lambda placement: placement.position)
    judge_criterion(s, by=me.id, ranking_id=ranked.id, criterion_id=correct_one.id, verdict=Verdict.RIGHT)
    judge_criterion(s, by=me.id, ranking_id=ranked.id, criterion_id=tone.id, verdict=Verdict.TIE)
    assert criterion_verdicts(s, ranking_id=ranked.id) == {correct_one.id: Verdict.RIGHT, tone.id: Verdict.TIE}
    stored = s.scalars(select(CriterionChoice).order_by(CriterionChoice.criterion_id)).all()
    assert [one.better_id for one in stored] == [right.response_id, None]
    judge_criterion(s, by=me.id, ranking_id=ranked.id, criterion_id=correct_one.id, verdict=Verdict.LEFT)
    judge_criterion(s, by=me.id, ranking_id=ranked.id, criterion_id=tone.id, verdict=None)
    assert criterion_verdicts(s, ranking_id=ranked.id) == {correct_one.id: Verdict.LEFT}
    with pytest.raises(Refused, match="equal"):
        judge_criterion(s, by=me.id, ranking_id=ranked.id, criterion_id=tone.id, verdict=Verdict.BOTH_BAD)


def test_a_retired_criterion_keeps_what_was_said_and_can_come_back(
    s: Session, project: Project, me: Reviewer, ranked: Ranking
) -> None:
    set_criteria(s, by=me.id, project_id=project.id, names=["Correct", "Tone"])
    tone = list_criteria(s, project_id=project.id)[1]
    judge_criterion(s, by=me.id, ranking_id=ranked.id, criterion_id=tone.id, verdict=Verdict.LEFT)
    set_criteria(s, by=me.id, project_id=project.id, names=["Correct"])
    with pytest.raises(NotFound, match="not used here any more"):
        judge_criterion(s, by=me.id, ranking_id=ranked.id, criterion_id=tone.id, verdict=Verdict.TIE)
    set_criteria(s, by=me.id, project_id=project.id, names=["Tone", "Correct"])
    assert [c.name for c in list_criteria(s, project_id=project.id)] == ["Tone", "Correct"]
    assert criterion_verdicts(s, ranking_id=ranked.id) == {tone.id: Verdict.LEFT}


def test_criteria_are_the_managers_and_few(s: Session, project: Project, me: Reviewer) -> None:
    with pytest.raises(NotAllowed):
        set_criteria(s, by=a_reviewer(s, project, Role.ANNOTATOR).id, project_id=project.id, names=["Correct"])
    with pytest.raises(Refused, match="More than six"):
        set_criteria(s, by=me.id, project_id=project.id, names=list("abcdefg"))


def test_the_sides_are_a_fair_coin() -> None:
    lefts = sum(left_first(comparison, reviewer) for comparison in range(500) for reviewer in range(4))
    assert 900 < lefts < 1100


def test_a_correction_is_kept_beside_the_original(s: Session, project: Project, me: Reviewer) -> None:
    response = a_response(s, a_prompt(s, project), a_human(s, project), text="Soon.")
    correction = save_correction(s, by=me.id, response_id=response.id, text="Tomorrow, by noon.", reason="no date")
    assert (response.text, correction.text, correction.reason) == ("Soon.", "Tomorrow, by noon.", "no date")


@pytest.mark.parametrize("text", ["Soon.", "  Soon.\n", ""])
def test_an_unchanged_or_empty_correction_saves_nothing(s: Session, project: Project, me: Reviewer, text: str) -> None:
    response = a_response(s, a_prompt(s, project), a_human(s, project), text="Soon.")
    with pytest.raises(Refused):
        save_correction(s, by=me.id, response_id=response.id, text=text)


def test_a_later_correction_takes_the_place_of_ones_earlier_one_and_can_be_withdrawn(
    s: Session, project: Project, me: Reviewer
) -> None:
    response = a_response(s, a_prompt(s, project), a_human(s, project), text="Soon.")
    other = a_reviewer(s, project, Role.ANNOTATOR)
    first = save_correction(s, by=me.id, response_id=response.id, text="Tomorow.")
    theirs = save_correction(s, by=other.id, response_id=response.id, text="On Friday.")
    second = save_correction(s, by=me.id, response_id=response.id, text="Tomorrow.")
    assert [one.undone_at is None for one in (first, theirs, second)] == [False, True, True]
    with pytest.raises(NotFound, match="not yours"):
        withdraw_correction(s, by=other.id, correction_id=second.id)
    withdraw_correction(s, by=me.id, correction_id=second.id)
    assert standing_correction(s, by=me.id, response_id=response.id) is None
    assert standing_correction(s, by=other.id, response_id=response.id) == theirs


def test_a_correction_with_a_models_mark_for_the_end_of_a_turn_is_refused(
    s: Session, project: Project, me: Reviewer
) -> None:
    response = a_response(s, a_prompt(s, project), a_human(s, project), text="Soon.")
    with pytest.raises(Refused, match="end of a turn"):
        save_correction(s, by=me.id, response_id=response.id, text="Soon.<|im_end|>")


@given(st.text(max_size=80), st.text(max_size=80))
def test_a_diff_holds_both_texts_whole(before: str, after: str) -> None:
    pieces = word_diff(before, after)
    assert "".join(p.text for p in pieces if p.change is not Edit.ADDED) == before
    assert "".join(p.text for p in pieces if p.change is not Edit.REMOVED) == after


def test_changed_words_are_counted() -> None:
    assert count_changed_words(word_diff("We send it soon.", "We send it by Friday.")) == 3
