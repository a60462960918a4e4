"""Whether a model is served as it was trained: each way in which it can go wrong, broken on purpose, is caught."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from db.models import ModelVersion, ParityCheck, Project, RunStatus, Scope
from db.session import reading, session
from errors import Refused
from generation import parity_check
from generation.parity import EngineView, TrainerView, compare_views, conversations, has_two_bos, trainer_problem
from generation.parity_check import request_check
from generation.plan import parity_problem, start_generation
from generation.responders import spec_of
from generation.trials import start_trial
from jobs.progress import unmanaged_progress
from tests.factories import a_model, a_project, a_prompt, a_reviewer, sure

BOS, END = 1, 2
ONE = TrainerView(prompt=[BOS, 5, 6], whole=[BOS, 5, 6, 7, 8, END, 9], log_probabilities=[-1.0, -0.5, -0.1, -0.2])
RIGHT = EngineView(ONE.prompt, ONE.log_probabilities)
STOPS = frozenset({END})


def test_the_same_tokens_and_probabilities_pass_and_say_how_near_they_are() -> None:
    near = replace(RIGHT, log_probabilities=[-1.0004, -0.5, -0.1, -0.2])
    assert trainer_problem([ONE], bos=BOS, stops=STOPS) is None
    found = compare_views([ONE], [near], bos=BOS, dtype="float32")
    assert (found.problem, found.tokens) == (None, 4)
    assert found.largest == pytest.approx(0.0004)
    assert found.mean == pytest.approx(0.0001)


@pytest.mark.parametrize(
    ("seen", "sentence"),
    [
        (replace(ONE, whole=[BOS, 5, 7, 7, 8, END]), "does not begin as it does alone"),
        (replace(ONE, prompt=[BOS, BOS, 5], whole=[BOS, BOS, 5, 7, END]), r"two begin-of-text tokens \(BOS\)"),
        (replace(ONE, whole=[BOS, 5, 6, 7, 8, 9]), "has 0 end-of-turn tokens .* not learn when to stop"),
        (replace(ONE, whole=[BOS, 5, 6, 7, END, END]), "has 2 end-of-turn tokens"),
    ],
)
def test_a_template_that_is_not_fit_for_training_is_caught(seen: TrainerView, sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        raise AssertionError(trainer_problem([ONE, seen], bos=BOS, stops=STOPS))


@pytest.mark.parametrize(
    ("prompt", "sentence"),
    [
        ([BOS, BOS, 5, 6], "The engine puts a second begin-of-text token"),
        ([BOS, 5, 9], r"differ from token 3 on \(3 tokens there, 3 in training\)"),
        ([BOS, 5], r"differ from token 3 on \(2 tokens there, 3 in training\)"),
        ([BOS, 5, 6, 7], r"differ from token 4 on"),
    ],
)
def test_an_engine_that_reads_other_tokens_is_caught(prompt: Sequence[int], sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        raise AssertionError(compare_views([ONE], [replace(RIGHT, prompt=prompt)], bos=BOS, dtype="float32").problem)


def test_an_engine_with_other_weights_is_caught_in_either_precision() -> None:
    off = replace(RIGHT, log_probabilities=[-1.0, -0.5, -0.1, -0.202])
    assert "other probabilities than the trainer" in (
        compare_views([ONE], [off], bos=BOS, dtype="float32").problem or ""
    )
    assert compare_views([ONE], [off], bos=BOS, dtype="bfloat16").problem is None, (
        "half precision rounds more than that"
    )
    biased = replace(RIGHT, log_probabilities=[x - 0.05 for x in RIGHT.log_probabilities])
    problem = sure(compare_views([ONE], [biased], bos=BOS, dtype="bfloat16").problem)
    assert "0.05 on average" in problem, "small and always the same way is no rounding"


def test_two_of_the_same_token_that_is_no_begin_of_text_are_nothing() -> None:
    assert not has_two_bos([5, 5], BOS)
    assert not has_two_bos([5, 5], None)


def test_the_conversations_cover_what_usually_goes_wrong() -> None:
    turns = conversations()
    assert any(one[0]["content"] == "" for one in turns), "no instructions: templates put in their own"
    assert any(len(one) > 2 for one in turns), "several turns"
    assert any(one[-1]["content"] != one[-1]["content"].strip() for one in turns), "white space at the ends"
    assert all(one[0]["role"] == "system" for one in turns)


def test_a_model_that_failed_its_check_may_not_answer_until_it_passes_one(s: Session, project: Project) -> None:
    by, model, prompt = a_reviewer(s, project), a_model(s, project), a_prompt(s, project)
    version = s.get_one(ModelVersion, model.model_version_id)
    check = request_check(s, by=by.id, project_id=project.id, model_version_id=version.id)
    with pytest.raises(Refused, match="is being checked already"):
        request_check(s, by=by.id, project_id=project.id, model_version_id=version.id)
    assert parity_problem(s, version) is None, "what is not known yet blocks nobody"
    check.status, check.passed, check.problem = RunStatus.SUCCEEDED, False, "It reads other tokens."
    s.flush()
    with pytest.raises(Refused, match="It reads other tokens"):
        start_generation(s, by=by.id, responder_id=model.id, scope=Scope.ALL)
    with pytest.raises(Refused, match="may not answer"):
        start_trial(s, by=by.id, project_id=project.id, spec=spec_of(model), prompt_ids=[prompt.id], base=model.id)
    again = request_check(s, by=by.id, project_id=project.id, model_version_id=version.id)
    again.status, again.passed = RunStatus.SUCCEEDED, True
    s.flush()
    start_generation(s, by=by.id, responder_id=model.id, scope=Scope.ALL)


def test_a_check_on_an_engine_without_a_model_says_what_it_did_not_compare(database: Path) -> None:
    with session() as s:
        project = a_project(s)
        by, model = a_reviewer(s, project), a_model(s, project)
        asked = request_check(s, by=by.id, project_id=project.id, model_version_id=model.model_version_id or 0)
    parity_check.run(unmanaged_progress("parity", asked.id))
    with reading() as s:
        done = s.get_one(ParityCheck, asked.id)
        assert (done.status, done.passed, done.tokens, done.largest_difference) == (RunStatus.SUCCEEDED, True, 0, None)
        assert done.engine == "echo"
