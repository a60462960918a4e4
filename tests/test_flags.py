"""A flagged pair leaves its flagger's queue; a discarded one leaves everybody's, and its rankings stop counting."""

import pytest
from sqlalchemy.orm import Session

from db.models import Comparison, Project, Reviewer, Role
from errors import NotAllowed, NotFound, Refused
from review.assignment import next_offer, ranking_progress
from review.flags import flag_comparison, list_open_flags, settle_flag
from review.rankings import rank
from stats.verdicts import Verdict
from tests.factories import a_pair, a_reviewer
from texts.typed import LONGEST_COMMENT
from training.data.feedback import load_rankings

pytestmark = pytest.mark.both_databases


@pytest.fixture
def ann(s: Session, project: Project) -> Reviewer:
    return a_reviewer(s, project, Role.ANNOTATOR, name="Ann")


@pytest.fixture
def pair(s: Session, project: Project) -> Comparison:
    return a_pair(s, project)


def test_a_flagged_pair_waits_for_a_manager_and_for_the_others(
    s: Session, project: Project, manager: Reviewer, ann: Reviewer, pair: Comparison
) -> None:
    flag_comparison(s, by=ann.id, comparison_id=pair.id, note=" The email is cut off. ")
    assert next_offer(s, project_id=project.id, reviewer_id=ann.id) is None
    assert next_offer(s, project_id=project.id, reviewer_id=manager.id) is not None
    waiting = list_open_flags(s, by=manager.id, project_id=project.id)
    assert [(one.reviewer, one.note) for one in waiting] == [("Ann", "The email is cut off.")]
    settle_flag(s, by=manager.id, flag_id=waiting[0].flag_id, discard=False)
    assert next_offer(s, project_id=project.id, reviewer_id=ann.id) is not None
    assert list_open_flags(s, by=manager.id, project_id=project.id) == []
    with pytest.raises(NotFound, match="settled already"):
        settle_flag(s, by=manager.id, flag_id=waiting[0].flag_id, discard=True)


def test_a_discarded_pair_is_offered_to_nobody_and_its_rankings_count_for_nothing(
    s: Session, project: Project, manager: Reviewer, ann: Reviewer, pair: Comparison
) -> None:
    rank(s, by=manager.id, comparison_id=pair.id, order=Verdict.LEFT.order)
    assert len(load_rankings(s, project_id=project.id)) == 1
    made = flag_comparison(s, by=ann.id, comparison_id=pair.id, note="Nonsense.")
    settle_flag(s, by=manager.id, flag_id=made.id, discard=True)
    assert load_rankings(s, project_id=project.id) == []
    assert ranking_progress(s, project_id=project.id, reviewer_id=ann.id).total == 0
    with pytest.raises(Refused, match="discarded this pair"):
        rank(s, by=ann.id, comparison_id=pair.id, order=Verdict.LEFT.order)


def test_a_flag_needs_a_note_of_a_sane_length_and_comes_once(s: Session, ann: Reviewer, pair: Comparison) -> None:
    for note, sentence in (("  ", "needs a note"), ("x" * (LONGEST_COMMENT + 1), "at most 2,000")):
        with pytest.raises(Refused, match=sentence):
            flag_comparison(s, by=ann.id, comparison_id=pair.id, note=note)
    flag_comparison(s, by=ann.id, comparison_id=pair.id, note="Nonsense.")
    with pytest.raises(Refused, match="flagged this pair already"):
        flag_comparison(s, by=ann.id, comparison_id=pair.id, note="Nonsense!")
    with pytest.raises(NotFound):
        flag_comparison(s, by=ann.id, comparison_id=10**6, note="Gone?")


def test_only_a_manager_settles_and_only_who_ranks_flags(
    s: Session, project: Project, ann: Reviewer, pair: Comparison
) -> None:
    made = flag_comparison(s, by=ann.id, comparison_id=pair.id, note="Nonsense.")
    with pytest.raises(NotAllowed):
        settle_flag(s, by=ann.id, flag_id=made.id, discard=True)
    with pytest.raises(NotAllowed):
        list_open_flags(s, by=ann.id, project_id=project.id)
    with pytest.raises(NotAllowed):
        flag_comparison(s, by=a_reviewer(s, project, Role.REVIEWER).id, comparison_id=pair.id, note="Nonsense.")
