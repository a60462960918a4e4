"""What over-fitting, collapse and over-optimisation look like, and what does not."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.models import Split
from training.trainer.health import Best, check_health, repetition_share
from training.trainer.run_folder import SampleReport, StepReport


def a_step(step: int, split: Split = Split.TRAIN, **said: Any) -> StepReport:
    values: dict[str, Any] = {"loss": 0.6, "reward_margin": 0.2, "reward_accuracy": 0.7, **said}
    return StepReport(
        split,
        step,
        40,
        values.pop("loss"),
        values.pop("reward_margin"),
        values.pop("reward_accuracy"),
        values.pop("logps_chosen", -100.0),
        -120.0,
        1e-4,
        float(step),
        **values,
    )


def replies(step: int, *texts: str, tokens: int = 40) -> list[SampleReport]:
    return [SampleReport(step, place, place, text, tokens, ended=True) for place, text in enumerate(texts, start=1)]


def kinds(
    steps: Sequence[StepReport] = (), samples: Sequence[SampleReport] = (), at: int = 20, **more: Any
) -> dict[str, bool]:
    settings: dict[str, Any] = {"with_reference": True, "beta": 0.1, **more}
    return {one.kind: one.stops for one in check_health(steps, samples, at=at, **settings)}


def evaluations(*losses: float, accuracy: float = 0.6) -> list[StepReport]:
    return [
        a_step(10 * n, Split.VALIDATION, loss=loss, reward_accuracy=accuracy) for n, loss in enumerate(losses, start=1)
    ]


def test_a_healthy_training_gives_no_warning() -> None:
    steps = [a_step(n, loss=0.7 - n / 100) for n in range(1, 21)] + evaluations(0.69, 0.66, 0.65)
    assert kinds(steps, [*replies(0, "Dear Ada", "Hello"), *replies(20, "Dear Ada,", "Hello there", tokens=30)]) == {}


def test_a_loss_that_doubles_ends_the_training() -> None:
    assert kinds([a_step(n, loss=0.7 if n < 8 else 2.0) for n in range(1, 15)]) == {"diverged": True}


def test_two_evaluations_worse_than_the_best_end_the_training() -> None:
    assert kinds(evaluations(0.60, 0.66, 0.70)) == {"overfitting": True}
    assert kinds(evaluations(0.60, 0.66)) == {}, "one may be noise"
    assert kinds(evaluations(0.66, 0.60, 0.70)) == {}
    assert kinds(evaluations(-0.500, -0.503, -0.504)) == {}, "the robust loss may go below 0, and falls here"
    assert kinds(evaluations(0.60, 0.603, 0.605)) == {}, "within noise"
    rising = [
        *evaluations(0.60),
        a_step(20, Split.VALIDATION, loss=0.66, reward_accuracy=0.8),
        a_step(30, Split.VALIDATION, loss=0.66, reward_accuracy=0.8),
    ]
    assert kinds(rising) == {}, "surer of itself, and right more often"


@pytest.mark.parametrize(("nats", "expected"), [(-120.0, {}), (-140.0, {"chosen collapsed": False})])
def test_better_replies_that_become_unlikely_are_told(nats: float, expected: dict[str, bool]) -> None:
    moved = (nats + 100) * 0.1
    assert kinds([a_step(10, Split.VALIDATION, logps_chosen=nats, rewards_chosen=moved)]) == expected
    assert kinds([a_step(10, Split.VALIDATION, logps_chosen=-200.0, rewards_chosen=-10.0)]) == {
        "chosen collapsed": True
    }


def test_every_pair_right_and_a_margin_past_two_are_told_and_end_nothing() -> None:
    steps = [a_step(n, reward_accuracy=1.0, reward_margin=6.0) for n in range(1, 13)]
    assert kinds(steps) == {"accuracy pinned": False, "margin": False}
    assert kinds(steps, with_reference=False) == {}


def test_replies_of_half_or_twice_the_length_are_told_and_end_it_the_second_time() -> None:
    base = replies(0, "a", "b", "c", tokens=60)
    short = replies(10, "a", "b", "c", tokens=3)
    assert kinds(samples=[*base, *short], at=10) == {"length": False}
    assert kinds(samples=[*base, *short, *replies(20, "a", "b", "c", tokens=4)], at=20) == {"length": True}
    assert kinds(samples=[*base, *replies(10, "a", tokens=130)], at=10) == {"length": False}
    assert kinds(samples=[*base, *replies(10, "a", tokens=31)], at=10) == {}


def test_replies_that_repeat_themselves_are_told_unless_the_base_did_so_too() -> None:
    parrot = "we are sorry for that " * 10
    base = replies(0, "Dear Ada, it left today.", "Thank you for asking.", "No.")
    assert kinds(samples=[*base, *replies(20, parrot, "Thank you.", "No.")]) == {"repeating": False}
    assert kinds(samples=[*base, *replies(20, parrot, parrot, "No.")]) == {"repeating": True}
    assert kinds(samples=[*replies(0, parrot, parrot, parrot), *replies(20, parrot, parrot, parrot)]) == {}


@given(st.text())
def test_the_share_that_repeats_is_a_share(text: str) -> None:
    assert 0 <= repetition_share(text) <= 1


def test_health_comes_before_loss_and_the_later_of_equals_is_kept() -> None:
    sick, well = Best(4, healthy=False, loss=0.1), Best(2, healthy=True, loss=0.6)
    assert well.beats(None)
    assert well.beats(sick)
    assert not sick.beats(well)
    assert Best(6, healthy=True, loss=0.6).beats(well)
    assert not Best(6, healthy=True, loss=0.7).beats(well)
