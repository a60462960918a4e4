"""A training run's folder: `run.json` is all that goes in, the rest is all that comes out; manifests last.

Nothing heavy is imported here: the worker and the trainer share it.
"""

import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, TypeVar

from db.models import Adapter, Method, Split
from errors import TrainingFailed
from files import MANIFEST, read_json, write_json
from training.recipe.recipe import RecipeValues

RUN = "run.json"
METRICS = "metrics.jsonl"
SAMPLES = "samples.jsonl"
WARNINGS = "warnings.jsonl"
CHECKPOINTS = "checkpoints"
BEST = "best"
"""What is kept of the best evaluation: the adapter, or the whole model."""
ADAPTER = "adapter"
MERGED = "merged"
"""The model to serve: base and adapter in one."""
LEARNED = "learned.json"
"""Which step is kept, and why it ended."""
SUPERVISED, PREFERRED = "supervised", "preferred"
"""Folders of the two stages of a training that has two, each a run's folder of its own."""

LIBRARIES = ("torch", "transformers", "trl", "peft", "datasets", "accelerate")


@dataclass(frozen=True, kw_only=True)
class RunInput(RecipeValues):
    """Everything a training depends on."""

    base_model: str
    """Local folder with safetensors, or a hub id."""
    template_hash: str | None
    """Of the base model's chat template, as it was registered; checked when known."""
    snapshot: str
    snapshot_sha256: str
    save_every: int = 10
    """Steps between checkpoints: the most that is lost when the process dies."""
    share: float = 1.0
    """Share of the Snapshot's training rows that it learns from, in (0, 1]."""
    reference_model: str | None = None
    """Folder or hub id of another reference than the base model; none where that is the reference."""
    kept: str | None = None
    """Folder in which reference log-probabilities are kept for later runs; none keeps none."""
    sample_tokens: int = 160
    """Longest sample reply."""
    makes_model: bool = True
    """False for a point of a LearningCurve: its steps are all that is wanted, so nothing is merged."""
    tracker: str = "none"
    """A further logger, by the name that transformers' ``report_to`` takes."""

    def learns_as(self, other: "RunInput") -> bool:
        """Whether both learn the same from the same rows, wherever the files stand."""
        same = [*(field.name for field in fields(RecipeValues)), "snapshot_sha256", "share", "makes_model"]
        return all(getattr(self, name) == getattr(other, name) for name in same)


@dataclass(frozen=True)
class StepReport:
    """The trainer's figures of one optimizer step."""

    split: Split
    step: int
    steps: int
    loss: float
    reward_margin: float | None
    reward_accuracy: float | None
    logps_chosen: float | None
    logps_rejected: float | None
    learning_rate: float | None
    """None for the validation split."""
    seconds: float
    """Since this process began to train."""
    rewards_chosen: float | None = None
    rewards_rejected: float | None = None
    grad_norm: float | None = None
    tokens_per_second: float | None = None
    """Tokens read in the step, both sides, over its seconds."""

    @classmethod
    def of(cls, log: Mapping[str, Any], *, step: int, steps: int, seconds: float) -> "StepReport":
        """From a log of TRL, whose names begin with ``eval_`` for the validation split."""
        prefix = "eval_" if "eval_loss" in log else ""
        of_split = {name: log.get(f"{prefix}{in_trl}") for name, in_trl in TRL_NAMES.items()}
        of_step = {name: log.get(name) for name in ("learning_rate", "grad_norm", "tokens_per_second")}
        split, loss = Split.VALIDATION if prefix else Split.TRAIN, float(log[f"{prefix}loss"])
        return cls(split=split, step=step, steps=steps, loss=loss, seconds=seconds, **of_split, **of_step)


TRL_NAMES = {
    "reward_margin": "rewards/margins",
    "reward_accuracy": "rewards/accuracies",
    "logps_chosen": "logps/chosen",
    "logps_rejected": "logps/rejected",
    "rewards_chosen": "rewards/chosen",
    "rewards_rejected": "rewards/rejected",
}
"""Names that a log of TRL has for a `StepReport`'s figures."""


@dataclass(frozen=True)
class SampleReport:
    """The reply of the model in training to one of the fixed validation prompts."""

    step: int
    """0 is before the first."""
    place: int
    prompt_id: int
    reply: str
    tokens: int
    ended: bool


@dataclass(frozen=True)
class WarningReport:
    """The finding of a check."""

    step: int
    kind: str
    """Short name of the check, as ``overfitting``."""
    sentence: str
    stops: bool = False


Report = StepReport | SampleReport | WarningReport
R = TypeVar("R", bound=Report)


class Listener(Protocol):
    """Takes a training's reports. Whatever it raises ends the training and comes through."""

    def stage(self, text: str) -> None:
        """Take the stage in words."""

    def report(self, report: Report) -> None:
        """Take a step, an evaluation, a sample reply or a finding; a repeated one replaces the old."""


@dataclass(frozen=True)
class RunManifest:
    """The record of a finished training."""

    base_model: str
    snapshot_sha256: str
    weights_sha256: str
    """Hash of the merged weights, see `llm.folder.hash_weights`; empty where none were wanted."""
    template_hash: str
    steps: int
    pairs: int
    seconds: float
    """From the first step of the last attempt to the last."""
    peak_memory_mb: int
    device: str
    versions: dict[str, str]
    best_step: int | None = None
    """The step whose model was kept, where the last one was not the best."""
    stopped: str | None = None
    """Why it ended before its last step, as a sentence."""
    method: str = Method.DPO.value
    adapter: str | None = Adapter.LORA.value
    makes_model: bool = True
    adapter_sha256: str | None = None


@dataclass(frozen=True)
class TrainingResult:
    """The step whose model is kept, and why the optimizer's work ended before its last step, if it did."""

    step: int
    stopped: str | None


def library_versions() -> dict[str, str]:
    """Versions of the libraries that decide what a training gives."""
    return {name: version(name) for name in LIBRARIES}


FILES: Mapping[type[Any], str] = {StepReport: METRICS, SampleReport: SAMPLES, WarningReport: WARNINGS}
"""Where each kind of report is written down, one JSON object a line."""


class RunFolder:
    """A training run's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints, self.best = path / CHECKPOINTS, path / BEST
        self.adapter, self.merged = path / ADAPTER, path / MERGED

    def begin(self, run_input: RunInput) -> None:
        """Put `run.json` into the folder. Raises `TrainingFailed`, and changes nothing, where another's is there."""
        if (self.path / RUN).exists() and not run_input.learns_as(self.input()):
            raise TrainingFailed(
                f"{self.path} holds another training, by another recipe or on other rows. Move that folder away, and "
                "start this training again."
            )
        write_json(self.path / RUN, asdict(run_input))

    def input(self) -> RunInput:
        """Read `run.json`. Raises `TrainingFailed` where it is missing, or not one of this version's."""
        try:
            return RunInput.from_json(json.loads((self.path / RUN).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as problem:
            raise TrainingFailed(
                f"{self.path / RUN} cannot be read as a training's input ({problem}). Move its folder away, and start "
                "the training in the app, which writes it."
            ) from None

    def write_report(self, report: Report) -> None:
        """Write a report down."""
        with (self.path / FILES[type(report)]).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(asdict(report), ensure_ascii=False) + "\n")

    def read(self, kind: type[R]) -> list[R]:
        """The reports written down so far; a line that was cut as the process died is left out."""
        file = self.path / FILES[kind]
        lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else ()
        return [report for line in lines if (report := parse_report(line, kind)) is not None]

    def tell(self, listener: Listener) -> None:
        """Give the listener every report that was written down so far."""
        for kind in FILES:
            for report in self.read(kind):
                listener.report(report)

    def forget_after(self, step: int) -> None:
        """Drop the reports of steps after the checkpoint that a resumed attempt goes on from, which it repeats."""
        for name in FILES.values():
            file = self.path / name
            if file.is_file():
                kept = [line for line in file.read_text(encoding="utf-8").splitlines() if _step(line) <= step]
                file.write_text("".join(line + "\n" for line in kept), encoding="utf-8")

    def last_checkpoint(self) -> Path | None:
        """The newest whole checkpoint; half-written ones, whose process died while saving, are removed.

        The trainer writes `trainer_state.json` last, so one that reads well means whole.
        """
        for checkpoint in sorted(self.checkpoints.glob("checkpoint-*"), key=checkpoint_step, reverse=True):
            try:
                json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
            except (OSError, ValueError):
                shutil.rmtree(checkpoint)
            else:
                return checkpoint
        return None

    def last_step(self) -> int:
        """Steps that a resumed attempt need not do again."""
        return checkpoint_step(self.last_checkpoint())

    def write_result(self, result: TrainingResult) -> None:
        """Write down that the last optimizer step is done."""
        write_json(self.path / LEARNED, asdict(result))

    def read_result(self) -> TrainingResult | None:
        """How the optimizer's work ended; none while there is still something to learn."""
        content = read_json(self.path / LEARNED)
        return TrainingResult(**content) if content else None

    def finish(self, manifest: RunManifest) -> None:
        """Write the manifest, whole or not at all, and remove what is no longer needed."""
        write_json(self.path / MANIFEST, asdict(manifest))
        self.remove_scratch()

    def finished(self) -> RunManifest | None:
        """The manifest, once the folder is complete and its model, if it makes one, is there; else none.

        Raises `TrainingFailed` for one of another version.
        """
        file = self.path / MANIFEST
        if not file.is_file():
            return None
        try:
            manifest = RunManifest(**json.loads(file.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as problem:
            sentence = f"{file} is of another version ({problem}). Move its folder away, and start the training again."
            raise TrainingFailed(sentence) from None
        return manifest if not manifest.makes_model or (self.merged / MANIFEST).is_file() else None

    def remove_scratch(self) -> None:
        """Remove what is not needed once the training is finished."""
        for name in (CHECKPOINTS, BEST, SUPERVISED, PREFERRED):
            shutil.rmtree(self.path / name, ignore_errors=True)


def parse_report(line: str | bytes, kind: type[R]) -> R | None:
    """The report in a line; none for one that was cut as a process died."""
    with suppress(ValueError, TypeError, KeyError):
        values = json.loads(line)
        return kind(**values | ({"split": Split(values["split"])} if kind is StepReport else {}))
    return None


def _step(line: str) -> float:
    """The step of a line; one that was cut as the process died comes after all others."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


def checkpoint_step(checkpoint: Path | None) -> int:
    """Steps done at a checkpoint; 0 without one."""
    return int(checkpoint.name.split("-")[1]) if checkpoint else 0
