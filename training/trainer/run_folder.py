"""A training run's folder: `run.json` is all that goes in, the rest is all that comes out; manifests last.

Nothing heavy is imported here: the worker and the trainer share it.
"""

import json
import math
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, TypeVar

from db.models import Adapter, Launcher, Loss, Method, Reference
from errors import TrainingFailed
from files import MANIFEST, write_json
from training.data.terms import Split

RUN = "run.json"
METRICS = "metrics.jsonl"
"""One `StepReport` a line."""
SAMPLES = "samples.jsonl"
"""One `SampleReport` a line."""
WARNINGS = "warnings.jsonl"
"""One `WarningReport` a line."""
CHECKPOINTS = "checkpoints"
BEST = "best"
"""What is kept of the best evaluation: the adapter, or the whole model."""
ADAPTER = "adapter"
MERGED = "merged"
"""The model to serve: base and adapter in one."""

LIBRARIES = ("torch", "transformers", "trl", "peft", "datasets", "accelerate")


ENUMS: Mapping[str, type[StrEnum]] = {
    "method": Method,
    "loss": Loss,
    "reference": Reference,
    "adapter": Adapter,
    "launcher": Launcher,
}
"""Knobs whose values have names, for reading them back from JSON."""


@dataclass(frozen=True, kw_only=True)
class RecipeValues:
    """The knobs of one training, as `db.models.Recipe` stores them and says what they mean."""

    name: str
    learning_rate: float
    beta: float
    sft_weight: float
    epochs: float
    batch_size: int
    warmup_steps: int
    lora_rank: int
    lora_alpha: int
    max_length: int
    max_steps: int | None = None
    seed: int = 0
    method: Method = Method.DPO
    loss: Loss = Loss.SIGMOID
    label_smoothing: float = 0.0
    sft_epochs: float = 0.0
    reference: Reference = Reference.START
    adapter: Adapter | None = Adapter.LORA
    evaluations: int = 4
    stop_early: bool = True
    launcher: Launcher = Launcher.LOCAL
    processes: int = 1


@dataclass(frozen=True, kw_only=True)
class RunInput(RecipeValues):
    """Everything a training depends on."""

    base_model: str
    """Local folder with safetensors, or a hub id."""
    template_hash: str | None
    """Of the base model's chat template, as it was registered; checked when known."""
    snapshot: str
    """Folder of the frozen Snapshot."""
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
    trackers: list[str] = field(default_factory=list)
    """Further loggers, by the names that transformers' ``report_to`` takes."""

    def write(self, folder: Path) -> None:
        """Put `run.json` into the folder."""
        write_json(folder / RUN, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> "RunInput":
        """What `run.json` says. Raises `TrainingFailed` when it is missing or not one."""
        try:
            said = json.loads((folder / RUN).read_text(encoding="utf-8"))
            return cls(**{**said, **{name: kind(said[name]) for name, kind in ENUMS.items() if said.get(name)}})
        except (OSError, ValueError, TypeError) as problem:
            raise TrainingFailed(
                f"{folder / RUN} cannot be read as a training's input ({problem}). Start the training in the app, "
                "which writes it."
            ) from None


@dataclass(frozen=True)
class StepReport:
    """What the trainer said at one optimizer step."""

    split: Split
    step: int
    steps: int
    """Steps in all."""
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
        return cls(
            split=Split.VALIDATION if prefix else Split.TRAIN,
            step=step,
            steps=steps,
            loss=float(log[f"{prefix}loss"]),
            reward_margin=log.get(f"{prefix}rewards/margins"),
            reward_accuracy=log.get(f"{prefix}rewards/accuracies"),
            logps_chosen=log.get(f"{prefix}logps/chosen"),
            logps_rejected=log.get(f"{prefix}logps/rejected"),
            learning_rate=log.get("learning_rate"),
            seconds=seconds,
            rewards_chosen=log.get(f"{prefix}rewards/chosen"),
            rewards_rejected=log.get(f"{prefix}rewards/rejected"),
            grad_norm=log.get("grad_norm"),
            tokens_per_second=log.get("tokens_per_second"),
        )


@dataclass(frozen=True)
class SampleReport:
    """What the model in training said to one of the fixed validation prompts."""

    step: int
    """0 is before the first."""
    place: int
    """From 1."""
    prompt_id: int
    reply: str
    tokens: int
    ended: bool
    """It came to its end by itself."""


@dataclass(frozen=True)
class WarningReport:
    """What a guard found wrong."""

    step: int
    kind: str
    """Short name of the guard, as ``overfitting``."""
    sentence: str
    stops: bool = False
    """It ended the training."""


class Listener(Protocol):
    """Hears what a training says. Whatever it raises ends the training and comes through."""

    def stage(self, text: str) -> None:
        """What goes on, in words."""

    def step(self, said: StepReport) -> None:
        """One optimizer step, or one look at the validation rows; a repeated one replaces the old."""

    def sample(self, said: SampleReport) -> None:
        """One sample reply."""

    def warning(self, said: WarningReport) -> None:
        """One finding of a guard."""


@dataclass(frozen=True)
class RunManifest:
    """What a finished training says about itself."""

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
    """Hash of the adapter alone."""

    def write(self, folder: Path) -> None:
        """Put the manifest into the folder, whole or not at all."""
        write_json(folder / MANIFEST, asdict(self))


def finished(folder: Path) -> RunManifest | None:
    """The manifest of a complete folder whose model, if it makes one, is there; none while there is work left."""
    if not (folder / MANIFEST).is_file():
        return None
    manifest = RunManifest(**json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
    return manifest if not manifest.makes_model or (folder / MERGED / MANIFEST).is_file() else None


def versions() -> dict[str, str]:
    """Versions of the libraries that decide what a training gives."""
    return {name: version(name) for name in LIBRARIES}


Line = TypeVar("Line", StepReport, SampleReport, WarningReport)


def read_lines(file: Path, kind: type[Line]) -> list[Line]:
    """What was written down so far; a line that was cut as the process died is left out."""
    found = []
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else ():
        with suppress(ValueError, TypeError, KeyError):
            said = json.loads(line)
            found.append(kind(**said | ({"split": Split(said["split"])} if kind is StepReport else {})))
    return found


def forget_steps_after(folder: Path, step: int) -> None:
    """Drop what was written of steps after the checkpoint that a resumed attempt goes on from, which it repeats."""
    for name in (METRICS, SAMPLES, WARNINGS):
        file = folder / name
        if file.is_file():
            kept = [line for line in file.read_text(encoding="utf-8").splitlines() if _step(line) <= step]
            file.write_text("".join(line + "\n" for line in kept), encoding="utf-8")


def _step(line: str) -> float:
    """The step of a line; one that was cut as the process died comes after all others."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint; half-written ones, whose process died while saving, are removed.

    The trainer writes `trainer_state.json` last, so one that reads well means whole.
    """
    for checkpoint in sorted((folder / CHECKPOINTS).glob("checkpoint-*"), key=step_of, reverse=True):
        try:
            json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            shutil.rmtree(checkpoint)
        else:
            return checkpoint
    return None


def step_of(checkpoint: Path | None) -> int:
    """Steps done at a checkpoint; 0 without one."""
    return int(checkpoint.name.split("-")[1]) if checkpoint else 0


def steps_of(*, pairs: int, epochs: float, batch_size: int, max_steps: int | None) -> int:
    """Optimizer steps of a training, as the trainer counts them."""
    by_epochs = math.ceil(epochs * math.ceil(pairs / batch_size))
    return by_epochs if max_steps is None else min(by_epochs, max_steps)
