"""A text rule that makes replies look alike takes away their pairs that nobody ranked, and its end gives them back."""

import pytest
from sqlalchemy.orm import Session

from db.comparisons import ensure_comparison
from db.models import Comparison, ComparisonState, HiddenPart, Project, Reviewer
from review.rankings import rank
from stats.verdicts import Verdict
from tests.factories import a_comparison, a_model, a_project, a_prompt, a_ranking, a_response, a_reviewer
from texts.rules import add_rule, end_rule

pytestmark = pytest.mark.both_databases


def a_pair(s: Session, project: Project, one: str, other: str) -> Comparison:
    """Two replies of one model to a new prompt."""
    model, prompt = a_model(s, project), a_prompt(s, project)
    return a_comparison(s, *(a_response(s, prompt, model, text, sample=n) for n, text in enumerate((one, other))))


def standing(s: Session, *pairs: Comparison) -> list[tuple[bool, ComparisonState]]:
    s.expire_all()
    return [(pair.near_identical, pair.state) for pair in pairs]


AWAY, OPEN = (True, ComparisonState.NOT_OFFERED), (False, ComparisonState.OPEN)


def test_pairs_that_a_rule_makes_alike_are_offered_no_more_until_the_rule_ends(
    s: Session, project: Project, manager: Reviewer
) -> None:
    alike = a_pair(s, project, "Your ticket #4711 is closed.", "Your ticket #4712 is closed.")
    other = a_pair(s, project, "Your ticket #4711 is closed.", "It left us today.")
    plain = a_pair(s, project, "It left us.", "It left us yesterday.")
    assert standing(s, alike, other, plain) == [OPEN, OPEN, OPEN]
    rule = add_rule(s, by=manager.id, project_id=project.id, part=HiddenPart.TICKET_NUMBER)
    assert standing(s, alike, other, plain) == [AWAY, OPEN, OPEN]
    end_rule(s, by=manager.id, rule_id=rule.id)
    assert standing(s, alike, other, plain) == [OPEN, OPEN, OPEN]


def test_what_somebody_ranked_stays_and_so_does_what_no_rule_touches(
    s: Session, project: Project, manager: Reviewer
) -> None:
    ranked = a_pair(s, project, "Your ticket #4711 is closed.", "Your ticket #4712 is closed.")
    rank(s, by=manager.id, comparison_id=ranked.id, order=Verdict.LEFT.order)
    simulated = a_pair(s, project, "Your ticket #4711 is open.", "Your ticket #4712 is open.")
    a_ranking(s, simulated, a_reviewer(s, project, simulated=True), *simulated.responses)
    prompt, model = a_prompt(s, project), a_model(s, project)
    far = [a_response(s, prompt, model, text, sample=n).id for n, text in enumerate(("Yes.", "Never."))]
    marked = ensure_comparison(
        s, project_id=project.id, prompt_id=prompt.id, response_ids=far, near_identical=True
    )  # by whoever knew better
    elsewhere = a_pair(s, a_project(s), "Your ticket #4711 is closed.", "Your ticket #4712 is closed.")
    add_rule(s, by=manager.id, project_id=project.id, part=HiddenPart.TICKET_NUMBER)
    assert [near for near, _ in standing(s, ranked, simulated, elsewhere)] == [False, False, False]
    assert standing(s, marked) == [AWAY]
