"""Whether a project is ready to train: each thing done, not yet or not needed, with where to do it."""

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom
from sqlalchemy.orm import Session

from db.models import Evaluation, ModelVersion, Pairing, ResponderKind, now
from db.people import edit_project
from settings import ROOT
from tests.factories import a_human, a_model, a_project, a_prompt, a_response, a_reviewer, saved
from tests.trainings import a_snapshot
from training.recipe.advice import DoubleJudgments
from training.recipe.readiness import (
    DIFFERENCES,
    Facts,
    Odds,
    ReadinessItem,
    ReadinessState,
    load_facts,
    needed_prompts,
    readiness_items,
)

READY = Facts(
    prompted_judged=1,
    prompted_open=0,
    instructions=True,
    guideline=True,
    pairs=120,
    simulated=0,
    held_out=100,
    rules=1,
    routed=4,
)
AGREED = DoubleJudgments(50, 45)


def told(
    title: str, agreed: DoubleJudgments = AGREED, alpha: float | None = 0.7, ties: float = 0.0, **changes: object
) -> ReadinessItem:
    """The report's item of that title, for a ready project with some changes."""
    found = dataclasses.replace(READY, **changes)  # type: ignore[arg-type]
    items = readiness_items(found, judgments=agreed, alpha=alpha, odds=DIFFERENCES[0], tie_share=ties)
    return next(item for item in items if item.title == title)


def test_a_ready_project_has_everything_done() -> None:
    items = readiness_items(READY, judgments=AGREED, alpha=0.7, odds=DIFFERENCES[0])
    assert {item.state for item in items} == {ReadinessState.DONE}
    assert len(items) == 7


def test_every_item_is_a_sentence_and_leads_to_a_page() -> None:
    bare = Facts(0, 0, False, False, None, 0, 0, 0, 0)
    for found in (READY, bare):
        for item in readiness_items(found, judgments=DoubleJudgments(0, 0), alpha=None, odds=DIFFERENCES[2]):
            assert item.sentence.endswith(".")
            assert item.page_title
            # the page on which feedback is frozen is made beside this one
            assert (ROOT / item.page).is_file() or item.page == "pages/freeze_feedback.py"


@pytest.mark.parametrize(
    ("title", "changes", "words"),
    [
        ("Prompting tried first", {"prompted_judged": 0}, "Often a better prompt does it"),
        ("Prompting tried first", {"prompted_judged": 0, "prompted_open": 1}, "is being judged"),
        ("Task scoped", {"guideline": False}, "No guideline yet"),
        ("Task scoped", {"guideline": False, "instructions": False}, "No instructions and no guideline yet"),
        ("Enough pairs", {"pairs": 99}, "99 of 100"),
        ("Enough pairs", {"pairs": None}, "No snapshot is frozen"),
        ("People's words only", {"simulated": 3}, "3 of 120 rows are simulated"),
        ("Enough held-out prompts", {"held_out": 76}, "not even 2:1"),
        ("Enough held-out prompts", {"held_out": 0}, "no model can be judged blind"),
        ("People agree", {"agreed": DoubleJudgments(29, 29)}, "29 of 30"),
        ("People agree", {"agreed": DoubleJudgments(50, 29)}, "60% is the least"),
        ("People agree", {"alpha": 0.1}, "sharpen the guideline"),
    ],
)
def test_what_is_missing_says_so(title: str, changes: dict[str, object], words: str) -> None:
    found = told(title, **changes)  # type: ignore[arg-type]
    assert found.state is ReadinessState.NOT_YET
    assert words in found.sentence


def test_what_a_project_can_do_without_is_not_needed() -> None:
    assert told("Prompts for people routed", rules=0, routed=0).state is ReadinessState.NOT_NEEDED
    assert told("People agree", agreed=DoubleJudgments(0, 0), corrections_alone=True).state is ReadinessState.NOT_NEEDED


def test_held_out_prompts_suffice_for_some_differences_and_ties_take_more() -> None:
    assert told("Enough held-out prompts", held_out=77).state is ReadinessState.DONE
    assert told("Enough held-out prompts", held_out=77, ties=0.2).state is ReadinessState.NOT_YET
    assert needed_prompts(DIFFERENCES[0], tie_share=0.2) == math.ceil(77 / 0.8)
    small = readiness_items(dataclasses.replace(READY, held_out=300), judgments=AGREED, alpha=0.7, odds=DIFFERENCES[2])
    assert "they show 3:2" in small[-1].sentence


@pytest.mark.parametrize("odds", DIFFERENCES, ids=lambda one: one.label)
def test_so_many_verdicts_show_the_difference_four_times_in_five(odds: Odds) -> None:
    better, worse = map(int, odds.label.split(":"))
    p = better / (better + worse)

    def power(n: int) -> float:
        lost = int(binom.ppf(0.025, n, 0.5)) - 1  # a sign test with so few losses is significant
        return float(binom.cdf(lost, n, 1 - p) + binom.sf(n - lost - 1, n, 1 - p))

    assert min(power(n) for n in range(odds.verdicts, odds.verdicts + 12)) >= 0.8
    assert power(odds.verdicts - 1) < 0.8


@given(st.floats(0, 1))
def test_ties_never_take_fewer_prompts(share: float) -> None:
    assert all(needed_prompts(odds, tie_share=share) >= odds.verdicts for odds in DIFFERENCES)


def judged(s: Session, *, candidate: str, baseline: str, closed: bool = True) -> tuple[int, int]:
    """An Evaluation of two kinds of Responders in a new project; gives judged and open ones with a prompted model."""
    project = a_project(s)
    by = a_reviewer(s, project)
    prompt = a_prompt(s, project, held_out=True)
    made = []
    for kind in (candidate, baseline):
        if kind == "person":
            made.append(a_human(s, project))
        elif kind == "remote":
            made.append(
                a_human(
                    s,
                    project,
                    kind=ResponderKind.REMOTE,
                    instructions="Answer.",
                    endpoint_url="https://example.com/v1",
                    endpoint_model="m",
                )
            )
        else:
            made.append(a_model(s, project))
            if kind == "trained":
                base = saved(s, ModelVersion, name=f"base of {made[-1].name}", location="echo")
                assert made[-1].model_version is not None
                made[-1].model_version.parent_id = base.id
    one, other = (a_response(s, prompt, who) for who in made)
    contest = Evaluation(
        project_id=project.id,
        name="Contest",
        candidate_id=made[0].id,
        seed=0,
        protocol_sha256="x",
        created_by_id=by.id,
        closed_at=now() if closed else None,
    )
    contest.pairings = [Pairing(prompt_id=prompt.id, candidate_response_id=one.id, baseline_response_id=other.id)]
    s.add(contest)
    s.flush()
    found = load_facts(s, project_id=project.id, snapshot_id=None)
    return found.prompted_judged, found.prompted_open


@pytest.mark.both_databases
def test_a_closed_contest_of_a_prompted_model_counts_whichever_side_it_was_on(s: Session) -> None:
    assert judged(s, candidate="prompted", baseline="person") == (1, 0)
    assert judged(s, candidate="trained", baseline="remote") == (1, 0)
    assert judged(s, candidate="prompted", baseline="remote", closed=False) == (0, 1)
    assert judged(s, candidate="trained", baseline="person") == (0, 0)
    assert judged(s, candidate="trained", baseline="trained") == (0, 0)


def test_facts_are_counted_from_the_project_and_its_snapshot(s: Session) -> None:
    project, by, snapshot, _ = a_snapshot(s)
    before = load_facts(s, project_id=project.id, snapshot_id=None)
    assert (before.pairs, before.guideline, before.instructions) == (None, False, True)
    edit_project(s, by=by.id, project_id=project.id, task="", instructions="Answer.", guideline="Be kind.")
    a_prompt(s, project, held_out=True)
    found = load_facts(s, project_id=project.id, snapshot_id=snapshot.id)
    assert (found.pairs, found.simulated, found.held_out) == (snapshot.row_count, 0, 1)
    assert found.guideline
    assert not found.corrections_alone
