"""How long a training will take and how much memory, from what was measured on this machine where anything was.

Nothing heavy is imported: the app asks on every screen.
"""

import math
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from itertools import chain, islice, pairwise
from pathlib import Path
from statistics import fmean, median

import psutil
from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import Adapter, Method, Recipe, RunStatus, Snapshot, Split, TrainingRun, TrainingStep
from files import MANIFEST, read_json
from jobs.runs import run_folder
from llm.folder import is_hub_id, read_shapes
from training.data.snapshot import read_snapshot
from training.recipe.recipe import RecipeValues, from_row

TOKENS_PER_WORD = 1.5
"""Of SmolLM2's tokenizer on English email with its template: measured 1.53."""
SECONDS_PER_TOKEN = 0.0046
"""Of a pair's longer side, forward and backward, 135M on two cores: 1.15 s at 250 tokens (docs/experiments.md)."""
REFERENCE_SECONDS_PER_TOKEN = 0.0022
"""The base model's own pass over each pair, once: 0.54 s at 250 tokens."""
FORWARD_SHARE = REFERENCE_SECONDS_PER_TOKEN / SECONDS_PER_TOKEN
"""Of a training step's time, what a look without learning takes."""
FIXED_SECONDS = 60.0
"""Loading libraries and model, merging, saving."""
ROWS_A_SAMPLING = 10.0
"""Rows trained in the time of three sample replies of 160 tokens, 12 s on the same machine."""

LIBRARIES_MB = 1200.0
"""torch, transformers and TRL loaded, without a model."""
MB_A_TOKEN = 1.2
"""Of a step's activations, at 135M parameters: 4.5 GB in all with 8 texts of about 300 tokens at once."""
BYTES_A_PARAMETER = 4.0
"""float32, as a CPU trains; a GPU with bfloat16 takes half."""
BYTES_A_PARAMETER_4BIT = 1.25
"""166 MB for a model of 135 million, whose embedding stays whole."""
BYTES_A_PARAMETER_FULL = 16.0
"""float32 weight, gradient and Adam's two moments."""
TRIED = 10
"""Trainings that are looked at for one that says how long its steps took, at most."""


@dataclass(frozen=True)
class SnapshotLengths:
    """How long a Snapshot's rows are, in tokens guessed from words: no tokenizer is loaded for it."""

    rows: int
    validation: int
    mean: float
    """Of prompt and one reply."""
    longest: int
    """Of prompt and the longer reply."""


def snapshot_lengths(snapshot: Snapshot) -> SnapshotLengths:
    """Read from the Snapshot's files. Raises `Refused` when they are not as they were frozen."""
    rows = read_snapshot(snapshot)
    words = [
        sum(len(turn["content"].split()) for turn in (*row.prompt, *reply))
        for row in chain(*rows.values())
        for reply in (row.chosen, row.rejected)
    ]
    return SnapshotLengths(
        rows=len(rows[Split.TRAIN]),
        validation=len(rows[Split.VALIDATION]),
        mean=TOKENS_PER_WORD * fmean(words) if words else 0.0,
        longest=math.ceil(TOKENS_PER_WORD * max(words, default=0)),
    )


@dataclass(frozen=True)
class Measurement:
    """What one row took on this machine."""

    source: str
    seconds_per_row: float
    tokens: float
    """Mean length of a row's side."""
    memory_mb: int | None
    """At rows of that length; none where it was not noted."""


def find_measurement(s: Session, *, project_id: int, base_model_id: int, recipe: RecipeValues) -> Measurement | None:
    """The newest training by such a recipe on this machine; none where there was none.

    Such a recipe: same base model, method, adapter and rows per step, on a GPU if there is one here now.
    """
    runs = s.scalars(
        select(TrainingRun)
        .join(TrainingRun.recipe)
        .where(
            TrainingRun.project_id == project_id,
            TrainingRun.base_model_id == base_model_id,
            TrainingRun.status == RunStatus.SUCCEEDED,
            Recipe.method == recipe.method,
        )
        .order_by(TrainingRun.id.desc())
    )
    wanted = (recipe.adapter, recipe.effective_batch_size)
    recipes = ((run, from_row(run.recipe)) for run in runs)
    alike = (run for run, other in recipes if (other.adapter, other.effective_batch_size) == wanted)
    return next(filter(None, (_measure_run(s, run, recipe) for run in islice(alike, TRIED))), None)


def _measure_run(s: Session, run: TrainingRun, recipe: RecipeValues) -> Measurement | None:
    """From the median time between two steps of a training here, which evaluations and pauses do not move."""
    device = read_json(run_folder("training", run.id) / MANIFEST).get("device")
    steps = s.scalars(
        select(TrainingStep)
        .where(TrainingStep.training_run_id == run.id, TrainingStep.split == Split.TRAIN)
        .order_by(TrainingStep.step)
    ).all()
    step_seconds = seconds_per_step([(step.step, step.seconds) for step in steps if step.seconds is not None])
    if step_seconds is None or (device is not None and str(device).startswith("CPU") == has_gpu()):
        return None
    size = snapshot_lengths(run.snapshot)
    return Measurement(
        source=f"from the training of “{run.model_name}” here",
        seconds_per_row=step_seconds / min(recipe.effective_batch_size, max(1, size.rows)),
        tokens=size.mean,
        memory_mb=run.peak_memory_mb,
    )


def seconds_per_step(times: Sequence[tuple[int, float]]) -> float | None:
    """The usual time between two steps, given (step, seconds since the process began); none with fewer than three.

    An attempt that went on from a checkpoint began to count anew, so a step back in time is left out.
    """
    passed = [(t2 - t1) / (n2 - n1) for (n1, t1), (n2, t2) in pairwise(times) if n2 > n1 and t2 > t1]
    return median(passed) if len(passed) >= 2 else None


def has_gpu() -> bool:
    """Whether trainings run on an NVIDIA GPU here, told without loading anything that could use it."""
    with suppress(PackageNotFoundError):
        if version("torch").endswith("+cpu"):
            return False
    return Path("/proc/driver/nvidia/version").exists()


def count_parameters(*, location: str, name: str) -> float | None:
    """Millions of parameters, from the headers of the weights, else from the name (as in “SmolLM2-135M”)."""
    local = not is_hub_id(location) and Path(location).is_dir()
    if local and (count := sum(math.prod(shape) for shape in read_shapes(Path(location)).values())):
        return count / 1e6
    size = re.search(r"(?<![\w.])(\d+(?:\.\d+)?)\s*([MB])(?![A-Za-z])", f"{name} {location}".replace("-", " "), re.I)
    return float(size[1]) * (1000 if size[2].upper() == "B" else 1) if size else None


@dataclass(frozen=True)
class Estimate:
    """What a training will take."""

    minutes: float
    memory_mb: float
    source: str

    @property
    def sentence(self) -> str:
        """Time and memory, claiming no more than is known."""
        time = f"{self.minutes:.0f} minutes" if self.minutes < 90 else f"{self.minutes / 60:.1f} hours"
        return f"About {time} and {self.memory_mb / 1024:.1f} GB of memory, {self.source}."


def estimate(
    recipe: RecipeValues,
    *,
    size: SnapshotLengths,
    thumbs: int,
    parameters: float | None,
    measurement: Measurement | None,
    gpu: bool,
) -> Estimate:
    """Time and memory of a training.

    Args:
        thumbs: replies judged by themselves, which KTO reads beside both replies of each pair.
        parameters: in millions; none where the model does not say, then it is taken for the default one's 135.
        measurement: of such a recipe on this machine; none gives a guess from measurements on another.
        gpu: whether it will run on one: then the reference scores within each step, and a guess says that it is of a
            CPU.
    """
    parameters = parameters or 135
    memory = guess_memory_mb(recipe, tokens=size.longest, parameters=parameters)
    if measurement is None:
        both_stages = replace(recipe, epochs=recipe.epochs + recipe.sft_epochs / 2)
        minutes = estimate_minutes(both_stages, pairs=size.rows, tokens=size.mean, millions_of_parameters=parameters)
        machine = "two CPU cores, which a GPU leaves far behind" if gpu else "two CPU cores"
        return Estimate(minutes, memory, f"a guess from another machine ({machine})")
    if measurement.memory_mb is not None:
        memory = measurement.memory_mb + activations_mb(recipe, tokens=size.longest, parameters=parameters)
        memory -= activations_mb(recipe, tokens=measurement.tokens, parameters=parameters)
    row_seconds = (size.mean / measurement.tokens if measurement.tokens else 1.0) * measurement.seconds_per_row
    seconds = FIXED_SECONDS + row_seconds * _count_rows(recipe, size=size, thumbs=thumbs, gpu=gpu)
    return Estimate(seconds / 60, memory, measurement.source)


def _count_rows(recipe: RecipeValues, *, size: SnapshotLengths, thumbs: int, gpu: bool) -> float:
    """Everything that takes time, in rows that are trained."""
    rows, validation = size.rows, size.validation
    if recipe.method is Method.KTO:  # both replies of a pair are rows of their own
        rows, validation = 2 * rows + thumbs, 2 * validation
    trained = recipe.steps(rows) * min(recipe.effective_batch_size, max(1, rows))
    supervised = recipe.sft_epochs * size.rows / (1 if recipe.method is Method.KTO else 2)
    # KTO's reference, and any on a GPU, scores within each step
    beforehand = FORWARD_SHARE * (rows + validation) if recipe.method is Method.DPO and not gpu else 0.0
    count = recipe.evaluation_count
    evaluated = count * FORWARD_SHARE * validation + (count + 1) * ROWS_A_SAMPLING if count else 0.0
    return beforehand + supervised + trained + evaluated


def estimate_minutes(
    recipe: RecipeValues, *, pairs: int, tokens: float = 145, millions_of_parameters: float = 135
) -> float:
    """About how long a training takes on two CPU cores, in minutes; measured on one model, so say “about”.

    ``pairs`` are the Snapshot's; ``tokens`` is the mean length of prompt plus reply (`snapshot_lengths`). Time is
    taken to grow in proportion to it and to the model's size. A busy machine takes up to twice as long, a GPU a small
    part of it.
    """
    rows = recipe.effective_batch_size * recipe.steps(pairs)
    size = millions_of_parameters / 135
    return (FIXED_SECONDS + size * tokens * (rows * SECONDS_PER_TOKEN + pairs * REFERENCE_SECONDS_PER_TOKEN)) / 60


def activations_mb(recipe: RecipeValues, *, tokens: float, parameters: float) -> float:
    """What a step holds of a row's texts, two of them where pairs are read; it grows with layers times width.

    One row goes through at a time on a CPU. Layers times width is taken to grow as parameters to the power of 2/3.
    """
    texts = 1 if recipe.method is Method.SFT else 2
    return MB_A_TOKEN * texts * min(tokens, recipe.max_length) * math.pow(parameters / 135, 2 / 3)


def full_memory_mb(parameters: float) -> float:
    """What training every weight takes at least, in MB, without activations; ``parameters`` in millions."""
    return LIBRARIES_MB + BYTES_A_PARAMETER_FULL * parameters * 1e6 / 2**20


def guess_memory_mb(recipe: RecipeValues, *, tokens: float, parameters: float) -> float:
    """Memory of a training where nothing was measured: weights, what is trained, activations."""
    each = {None: BYTES_A_PARAMETER_FULL, Adapter.QLORA: BYTES_A_PARAMETER_4BIT}.get(recipe.adapter, BYTES_A_PARAMETER)
    weights = LIBRARIES_MB + each * parameters * 1e6 / 2**20
    return weights + activations_mb(recipe, tokens=tokens, parameters=parameters)


def machine_memory() -> tuple[float, float]:
    """Memory of this machine and what of it is free now, in MB."""
    memory = psutil.virtual_memory()
    return memory.total / 2**20, memory.available / 2**20


def memory_warning(memory_mb: float, *, total_mb: float, free_mb: float) -> str | None:
    """A sentence where it will not fit, or only just; none where it fits."""
    takes = f"It takes about {memory_mb / 1024:.1f} GB of memory and"
    if memory_mb > total_mb:
        remedy = "Choose QLoRA, a smaller model, a shorter longest row or fewer rows per step."
        return f"{takes} this machine has {total_mb / 1024:.1f}: it will not fit. {remedy}"
    if memory_mb > free_mb:
        remedy = "close what else runs here first, or it may be ended half-way."
        return f"{takes} {free_mb / 1024:.1f} are free now: {remedy}"
    return None
