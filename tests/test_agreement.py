"""Agreement between reviewers: published figures, properties, and that simulated reviewers and sides stay out of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from db.models import Project, Role
from review.progress import list_opinions, opinions_by_criterion, ranking_coverage, reviewer_activity
from review.rankings import rank, undo_ranking
from review.reasons import judge_criterion, list_criteria, set_criteria
from stats.agreement import Opinion, agreement, agreement_by_reviewer
from stats.verdicts import Verdict
from tests.factories import a_comparison, a_human, a_prompt, a_response, a_reviewer

TABLE = (
    ("A", "* * * * * 3 4 1 2 1 1 3 3 * 3"),
    ("B", "1 * 2 1 3 3 4 3 * * * * * * *"),
    ("C", "* * 2 1 3 4 4 * 2 1 1 3 3 * 4"),
)
"""Three observers and 15 units: https://en.wikipedia.org/wiki/Krippendorff%27s_alpha, nominal 0.691."""
OPINIONS = st.lists(
    st.builds(Opinion, st.integers(0, 6), st.sampled_from("abc"), st.sampled_from(list(Verdict))),
    max_size=25,
    unique_by=lambda o: (o.comparison_id, o.reviewer),
)


def test_the_published_table_gives_the_published_alpha() -> None:
    said = [
        Opinion(unit, observer, value)
        for observer, row in TABLE
        for unit, value in enumerate(row.split())
        if value != "*"
    ]
    found = agreement(said)
    assert found.alpha == pytest.approx(0.691, abs=5e-4)
    assert found.alpha is not None
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.alpha < found.high


def test_two_of_three_double_judgments_that_agree_are_two_thirds() -> None:
    said = [
        Opinion(n, who, Verdict.LEFT if (n, who) != (2, "Bo") else Verdict.TIE)
        for n in range(3)
        for who in ("Ann", "Bo")
    ]
    found = agreement([*said, Opinion(9, "Ann", Verdict.RIGHT)])
    assert (found.comparisons, found.pairs) == (3, 3)
    assert found.raw == pytest.approx(2 / 3)
    assert {name: one.raw for name, one in agreement_by_reviewer(said).items()} == pytest.approx(
        {"Ann": 2 / 3, "Bo": 2 / 3}
    )


def test_without_overlap_nothing_is_claimed() -> None:
    found = agreement([Opinion(1, "Ann", Verdict.LEFT), Opinion(2, "Bo", Verdict.LEFT)])
    assert (found.raw, found.alpha, found.comparisons) == (None, None, 0)
    assert "nothing can be said" in found.sentence
    always = agreement([Opinion(n, who, Verdict.LEFT) for n in range(5) for who in ("Ann", "Bo")])
    assert (always.raw, always.alpha) == (1.0, None)
    assert "too uniform" in always.sentence


@given(OPINIONS)
def test_agreement_stays_in_its_bounds_and_ignores_the_order(said: list[Opinion]) -> None:
    found = agreement(said)
    assert found == agreement(said[::-1])
    assert found.raw is None or 0 <= found.raw <= 1
    assert found.alpha is None or found.alpha <= 1
    assert found.alpha is None or found.raw != 1 or found.alpha == pytest.approx(1)


def test_sides_do_not_matter_and_simulated_and_undone_words_do_not_count(s: Session, project: Project) -> None:
    manager = a_reviewer(s, project, name="Mara")
    people = [manager, *(a_reviewer(s, project, Role.ANNOTATOR, name=name) for name in ("Ann", "Bo"))]
    rule = a_reviewer(s, project, name="Rule", simulated=True)
    set_criteria(s, by=manager.id, project_id=project.id, names=["Tone"])
    tone = list_criteria(s, project_id=project.id)[0]
    for _ in range(6):
        prompt = a_prompt(s, project)
        one, two = (a_response(s, prompt, a_human(s, project)) for _ in range(2))
        pair = a_comparison(s, one, two)
        for person in (*people, rule):
            ranking = rank(s, by=person.id, comparison_id=pair.id, order=Verdict.LEFT.order, seconds=4.0)
            stood_left = next(p.response_id for p in ranking.placements if p.position == 0)
            side = Verdict.LEFT if stood_left == one.id else Verdict.RIGHT
            if side is Verdict.RIGHT:
                undo_ranking(s, by=person.id, ranking_id=ranking.id)
                ranking = rank(s, by=person.id, comparison_id=pair.id, order=side.order, seconds=6.0)
            judge_criterion(s, by=person.id, ranking_id=ranking.id, criterion_id=tone.id, verdict=side)
    said = list_opinions(s, project_id=project.id)
    assert {o.answer for o in said} == {Verdict.LEFT}
    assert {o.reviewer for o in said} == {"Mara", "Ann", "Bo"}
    assert len(said) == 18
    assert {o.answer for o in opinions_by_criterion(s, project_id=project.id)["Tone"]} == {Verdict.LEFT}
    done = ranking_coverage(s, project_id=project.id)
    assert (done.comparisons, done.once, done.twice) == (6, 6, 6)
    found = {one.reviewer: one for one in reviewer_activity(s, project_id=project.id)}
    assert set(found) == {"Mara", "Ann", "Bo", "Rule (simulated)"}
    assert found["Ann"].ranked == sum(found["Ann"].by_day.values()) == 6
    assert found["Ann"].tie_share == 0
    assert found["Ann"].median_seconds is not None
