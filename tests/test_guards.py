"""What must hold in a training and in its folder, and what must be noticed where it does not."""

import math
from pathlib import Path
from types import SimpleNamespace

import pytest

from errors import TrainingFailed
from tests.test_training_worker import Deaf
from training.trainer import weights
from training.trainer.guards import Encoded, check_finite, check_first_step, check_rows, check_seen, check_space
from training.trainer.run_folder import BEST, CHECKPOINTS, METRICS, forget_steps_after, last_checkpoint
from training.trainer.train import train
from training.trainer.weights import SPARE_BYTES, bytes_to_write, revision_of

ALIKE = {"loss": math.log(2), "rewards/chosen": 0.0, "rewards/rejected": 0.0}


def test_a_first_step_at_ln_2_passes_whatever_the_supervised_part_adds() -> None:
    check_first_step(ALIKE, expected_loss=math.log(2), own_reference=True)
    check_first_step({**ALIKE, "loss": 2.9}, expected_loss=None, own_reference=True)


def test_another_reference_on_purpose_passes_and_one_that_nothing_could_have_earned_fails() -> None:
    far = {"loss": 0.4, "rewards/chosen": -1.0, "rewards/rejected": -1.9}
    check_first_step(far, expected_loss=math.log(2), own_reference=False)
    with pytest.raises(TrainingFailed, match="before anything was learned"):
        check_first_step({**far, "loss": 0.0001}, expected_loss=math.log(2), own_reference=False)


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ({**ALIKE, "loss": 0.7027}, math.log(2)),
        ({**ALIKE, "loss": math.nan}, math.log(2)),
        ({**ALIKE, "loss": math.log(2)}, 25.0),
        ({**ALIKE, "rewards/chosen": 0.01}, None),
        ({**ALIKE, "rewards/chosen": 0.01, "rewards/rejected": 0.01}, None),
        ({**ALIKE, "rewards/rejected": 9e9}, None),
    ],
)
def test_a_first_step_that_is_not_its_own_reference_fails(log: dict[str, float], expected: float | None) -> None:
    with pytest.raises(TrainingFailed, match="already differs from the base model"):
        check_first_step(log, expected_loss=expected, own_reference=True)


def test_a_loss_or_gradient_that_is_no_number_fails() -> None:
    check_finite({"loss": 1.0, "grad_norm": 0.1}, step=2)
    for log in ({"loss": math.nan}, {"loss": 1.0, "grad_norm": math.inf}, {"eval_loss": math.nan}):
        with pytest.raises(TrainingFailed, match="at step 2"):
            check_finite(log, step=2)


def test_each_reply_ends_exactly_once() -> None:
    tokenizer = SimpleNamespace(decode=lambda ids: " ".join("\n" if i == 5 else "word" for i in ids))

    def check(*chosen: int) -> None:
        row = Encoded(prompt_id=1, prompt=[7, 8], replies=(list(chosen), [9, 2, 5]))
        check_rows([row], tokenizer=tokenizer, stop_ids={2}, max_length=10)

    check(9, 2)
    check(9, 2, 5)
    for broken in ((9, 9), (9, 2, 9, 2), (9, 2, 9)):
        with pytest.raises(TrainingFailed, match="when to stop"):
            check(*broken)
    with pytest.raises(TrainingFailed, match="has 11"):
        check(*([9] * 8), 2)


def test_rows_that_the_trainer_dropped_or_shortened_are_noticed() -> None:
    rows = [Encoded(1, [7, 8], ([9, 2], [3, 2])), Encoded(2, [7], ([9, 2], [3, 2]))]
    seen = [([7, 8], [9, 2], [3, 2]), ([7], [9, 2], [3, 2])]
    check_seen(rows, seen)
    for wrong in (seen[:1], [seen[0], ([], [9, 2], [3, 2])]):
        with pytest.raises(TrainingFailed, match="not the 2 rows"):
            check_seen(rows, wrong)


def test_too_little_disk_is_noticed_before_the_first_step(tmp_path: Path) -> None:
    check_space(tmp_path, needed=1)
    with pytest.raises(TrainingFailed, match=r"about 1000000000\.0 GB"):
        check_space(tmp_path, needed=10**18)


class Sized:
    """A model of which only the size is asked."""

    def __init__(self, *, frozen: int, trained: int) -> None:
        self._parts = [SimpleNamespace(numel=lambda: trained, requires_grad=True)]
        self._parts += [SimpleNamespace(numel=lambda: frozen, requires_grad=False)] if frozen else []

    def parameters(self) -> list[SimpleNamespace]:
        return self._parts

    def num_parameters(self) -> int:
        return sum(part.numel() for part in self._parts)


def still_to_write(model: Sized, folder: Path, *, makes_model: bool = True) -> int:
    return bytes_to_write(model, folder, checkpoints=3, makes_model=makes_model) - SPARE_BYTES


@pytest.mark.parametrize("gpu", [True, False])
def test_the_disk_check_counts_checkpoints_the_best_model_and_the_one_to_serve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpu: bool
) -> None:
    monkeypatch.setattr(weights, "on_gpu", lambda: gpu)
    served = 1010 * (2 if gpu else 4)
    assert still_to_write(Sized(frozen=1000, trained=10), tmp_path) == served + 10 * 4 * (3 * 3 + 2)
    assert still_to_write(Sized(frozen=1000, trained=10), tmp_path, makes_model=False) == 10 * 4 * (3 * 3 + 2)
    assert still_to_write(Sized(frozen=0, trained=1000), tmp_path) == 1000 * 4 * (3 * 3 + 2 + 1)


def test_a_resumed_training_needs_no_room_for_what_is_there(tmp_path: Path) -> None:
    model, found = Sized(frozen=0, trained=1000), []
    for name in (BEST, f"{CHECKPOINTS}/checkpoint-10", f"{CHECKPOINTS}/checkpoint-20", f"{CHECKPOINTS}/checkpoint-30"):
        found.append(still_to_write(model, tmp_path))
        (tmp_path / name).mkdir(parents=True)
    found.append(still_to_write(model, tmp_path))
    assert found == [4000 * copies for copies in (12, 11, 8, 5, 5)], "the next checkpoint is always still to come"


def test_a_hub_models_commit_is_told_from_the_cache_and_changes_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert revision_of("team/tone") is None, "nothing was loaded yet, and nobody asks the hub"
    main = tmp_path / "models--team--tone" / "refs" / "main"
    main.parent.mkdir(parents=True)
    for commit in ("9" * 40, "a" * 40):
        main.write_text(commit)
        assert revision_of("team/tone") == commit
    assert revision_of(str(tmp_path)) is None


# ----------------------------------------------------------------------------------------------- run folder


def test_a_half_written_checkpoint_is_not_resumed_from(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path) is None
    for name, state in (
        ("checkpoint-2", "{}"),
        ("checkpoint-10", "{}"),
        ("checkpoint-12", '{"cut'),
        ("checkpoint-14", None),
    ):
        (tmp_path / CHECKPOINTS / name).mkdir(parents=True)
        if state is not None:
            (tmp_path / CHECKPOINTS / name / "trainer_state.json").write_text(state)
    assert last_checkpoint(tmp_path) == tmp_path / CHECKPOINTS / "checkpoint-10"
    assert {path.name for path in (tmp_path / CHECKPOINTS).iterdir()} == {"checkpoint-2", "checkpoint-10"}


def test_steps_after_the_checkpoint_are_forgotten(tmp_path: Path) -> None:
    (tmp_path / METRICS).write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"st')
    forget_steps_after(tmp_path, 2)
    assert (tmp_path / METRICS).read_text() == '{"step": 1}\n{"step": 2}\n'


def test_a_folder_without_its_input_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed, match="cannot be read as a training's input"):
        train(tmp_path, Deaf())
