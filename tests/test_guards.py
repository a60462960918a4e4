"""What must hold in a training and in its folder, and what must be noticed where it does not."""

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from db.models import Split
from errors import TrainingFailed
from tests.trainings import Deaf, a_report
from training.recipe.recipe import Loss
from training.trainer import train as train_module
from training.trainer import weights
from training.trainer.cpu import LongestFirstSampler, longest_first
from training.trainer.guards import (
    EncodedRow,
    check_finite,
    check_first_step,
    check_rows,
    check_space,
    check_trainer_rows,
)
from training.trainer.run_folder import BEST, CHECKPOINTS, METRICS, RunFolder, RunInput, StepReport, WarningReport
from training.trainer.train import train
from training.trainer.weights import SPARE_BYTES, bytes_to_write, hub_revision

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
        row = EncodedRow(prompt_id=1, prompt=[7, 8], replies=(list(chosen), [9, 2, 5]))
        check_rows([row], tokenizer=tokenizer, stop_ids={2}, max_length=10)

    check(9, 2)
    check(9, 2, 5)
    for broken in ((9, 9), (9, 2, 9, 2), (9, 2, 9)):
        with pytest.raises(TrainingFailed, match="when to stop"):
            check(*broken)
    with pytest.raises(TrainingFailed, match="has 11"):
        check(*([9] * 8), 2)


def test_rows_that_the_trainer_dropped_or_shortened_are_noticed() -> None:
    rows = [EncodedRow(1, [7, 8], ([9, 2], [3, 2])), EncodedRow(2, [7], ([9, 2], [3, 2]))]
    seen = [([7, 8], [9, 2], [3, 2]), ([7], [9, 2], [3, 2])]
    check_trainer_rows(rows, seen)
    for wrong in (seen[:1], [seen[0], ([], [9, 2], [3, 2])]):
        with pytest.raises(TrainingFailed, match="not the 2 rows"):
            check_trainer_rows(rows, wrong)


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
    return bytes_to_write(model, RunFolder(folder), checkpoints=3, makes_model=makes_model) - SPARE_BYTES


@pytest.mark.parametrize("gpu", [True, False])
def test_the_disk_check_counts_checkpoints_the_best_model_and_the_one_to_serve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpu: bool
) -> None:
    monkeypatch.setattr(weights, "has_cuda", lambda: gpu)
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
    assert hub_revision("team/tone") is None, "nothing was loaded yet, and nobody asks the hub"
    main = tmp_path / "models--team--tone" / "refs" / "main"
    main.parent.mkdir(parents=True)
    for commit in ("9" * 40, "a" * 40):
        main.write_text(commit)
        assert hub_revision("team/tone") == commit
    assert hub_revision(str(tmp_path)) is None


def test_a_half_written_checkpoint_is_not_resumed_from(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert run.last_checkpoint() is None
    assert run.last_step() == 0
    for name, state in (
        ("checkpoint-2", "{}"),
        ("checkpoint-10", "{}"),
        ("checkpoint-12", '{"cut'),
        ("checkpoint-14", None),
    ):
        (tmp_path / CHECKPOINTS / name).mkdir(parents=True)
        if state is not None:
            (tmp_path / CHECKPOINTS / name / "trainer_state.json").write_text(state)
    assert run.last_checkpoint() == tmp_path / CHECKPOINTS / "checkpoint-10"
    assert {path.name for path in (tmp_path / CHECKPOINTS).iterdir()} == {"checkpoint-2", "checkpoint-10"}


def test_steps_after_the_checkpoint_are_forgotten(tmp_path: Path) -> None:
    (tmp_path / METRICS).write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"st')
    RunFolder(tmp_path).forget_after(2)
    assert (tmp_path / METRICS).read_text() == '{"step": 1}\n{"step": 2}\n'


def given(folder: Path, **changes: Any) -> RunInput:
    values = {"base_model": "base", "template_hash": None, "snapshot": str(folder), "snapshot_sha256": "0" * 64}
    return RunInput(name="Tiny", **{**values, **changes})


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_the_input_comes_back_as_it_was_written_and_may_be_written_again(tmp_path: Path) -> None:
    run, told = RunFolder(tmp_path), given(tmp_path, adapter=None, loss=Loss.IPO, share=0.5)
    run.begin(told)
    assert run.input() == told
    moved = dataclasses.replace(told, snapshot="elsewhere", tracker="tensorboard")
    run.begin(moved)
    assert run.input() == moved


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "No such file"),
        ("", "Expecting value"),
        ("[1]", "cannot convert"),
        ('{"name": "Tiny", "sft_weight": 0.5, "launcher": "LOCAL"}', "this version has no launcher, sft_weight"),
        ('{"name": "Tiny"}', "missing 4 required"),
        ('{"name": "Tiny", "loss": "HINGE"}', "loss cannot be 'HINGE'"),
    ],
)
def test_an_input_of_another_version_or_none_is_a_sentence_and_nothing_is_touched(
    tmp_path: Path, text: str | None, why: str
) -> None:
    for name in ("checkpoints/checkpoint-2/trainer_state.json", METRICS, "merged/model.safetensors"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("half")
    if text is not None:
        (tmp_path / "run.json").write_text(text)
    before = contents(tmp_path)
    with pytest.raises(TrainingFailed, match=f"(?s)cannot be read as a training's input .*{why}.*Move its folder away"):
        train(tmp_path, Deaf())
    if text is not None:
        with pytest.raises(TrainingFailed, match="cannot be read as a training's input"):
            RunFolder(tmp_path).begin(given(tmp_path))
    assert contents(tmp_path) == before


@pytest.mark.parametrize("changes", [{"beta": 0.3}, {"snapshot_sha256": "1" * 64}, {"makes_model": False}])
def test_the_folder_of_another_training_is_refused_and_not_touched(tmp_path: Path, changes: dict[str, Any]) -> None:
    RunFolder(tmp_path).begin(given(tmp_path))
    before = contents(tmp_path)
    with pytest.raises(TrainingFailed, match="holds another training"):
        RunFolder(tmp_path).begin(given(tmp_path, **changes))
    assert contents(tmp_path) == before


def test_a_manifest_of_another_version_is_a_sentence(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.begin(given(tmp_path))
    assert run.finished() is None
    (tmp_path / "manifest.json").write_text('{"weights": "abc"}')
    with pytest.raises(TrainingFailed, match="is of another version"):
        train(tmp_path, Deaf())


def test_what_the_trainer_said_is_read_back_without_a_line_that_was_cut(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    said = [a_report(1), a_report(1, split=Split.VALIDATION), a_report(2)]
    for report in said:
        run.write_report(report)
    run.write_report(WarningReport(2, "margin", "The margin is 9."))
    (tmp_path / METRICS).open("a").write('{"split": "TRAIN", "st')
    assert run.read(StepReport) == said
    assert [warning.kind for warning in run.read(WarningReport)] == ["margin"]
    run.forget_after(1)
    assert run.read(StepReport) == said[:2]
    assert run.read(WarningReport) == []


@for_all(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.integers(1, 40), st.randoms())
def test_the_longest_row_that_is_seen_comes_first_and_no_other_moves_but_one(
    lengths: list[int], seen: int, random: Random
) -> None:
    order = random.sample(range(len(lengths)), len(lengths))
    moved = longest_first(order, lengths, seen=seen)
    assert lengths[moved[0]] == max(lengths[row] for row in order[:seen])
    assert sorted(moved[:seen]) == sorted(order[:seen]), "it sees other rows"
    assert sum(before != after for before, after in zip(order, moved, strict=True)) in (0, 2)


def test_the_first_epoch_alone_has_another_order_and_is_as_long() -> None:
    class Sampler:
        epoch = 0

        def set_epoch(self, epoch: int) -> None:
            self.epoch = epoch

        def __iter__(self) -> Iterator[int]:
            yield from (2, 0, 1)
            self.epoch += 1

    sampler = LongestFirstSampler(Sampler(), [5, 9, 7], seen=3)
    assert len(sampler) == 3
    assert [list(sampler) for _ in range(2)] == [[1, 0, 2], [2, 0, 1]]
    sampler.set_epoch(0)
    assert list(sampler) == [1, 0, 2]


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "The machine has too"),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory"), "The GPU has too little memory"),
        (OSError(28, "No space left on device"), "is full"),
    ],
)
def test_a_machine_that_gives_out_is_a_sentence(problem: Exception, words: str) -> None:
    assert words in str(train_module._explain_problem(problem, Path("/run")))
    assert train_module._explain_problem(ValueError("a bug"), Path("/run")) is None


def test_trackers_write_here_and_tell_their_makers_nothing(tmp_path: Path) -> None:
    environ = {"TRACKIO_SPACE_ID": "team/space", "MLFLOW_TRACKING_URI": "http://ml"}
    train_module._set_environment(environ, tmp_path, given(tmp_path))
    assert "TRACKIO_SPACE_ID" not in environ
    assert environ["MLFLOW_TRACKING_URI"] == "http://ml"
    assert environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert environ["TENSORBOARD_LOGGING_DIR"] == str(tmp_path / "tensorboard")
    assert environ["TRACKIO_DIR"].endswith("home/trackio")
