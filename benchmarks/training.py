"""How long the project's training takes, against TRL's DPOTrainer as anybody would set it up, on the same rows.

    python -m benchmarks.training --pairs 64 --epochs 3 > training.json

Both learn the same pairs by the same recipe (method DPO with the sigmoid loss alone, LoRA, four pairs a step), each in
a process of its own, and look at the same validation pairs at the end: plain TRL, the project with nothing kept from
earlier runs, and the project again, now with the reference model's log-probabilities that it kept. The pairs are the
sample's emails, picked by the written rule, so simulated. Prints one JSON object; what it is doing, and each
contestant's figures as soon as they are there, go to the other stream. With the standard sizes a round takes about an
hour on two cores, so let it run on its own:

    nohup python -m benchmarks.training > training.json 2> training.log &

Everything that it starts it ends.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.generation import GRACE, LOG, ContestantFailed, machine, told
from benchmarks.training_work import Trained, pairs_of_sample
from db.models import Split
from jobs.child import QUIET
from jobs.processes import Group
from settings import ROOT, settings
from training.data.rows import FrozenRow, Rows, content_sha256, write_folder
from training.trainer.run_folder import RecipeValues, RunInput, steps_of

WANTED_SECONDS = 0.5
"""Most of plain TRL's seconds that the project's run may take."""
WANTED_LOSS = 0.02
"""Most by which the final validation losses may differ, as a share of plain TRL's."""
SAMPLE_TOKENS = 160
"""Longest sample reply that the project's run writes, as in the app."""
PATIENCE = 6 * 3600.0
"""Seconds that one contestant may take."""
OURS = "benchmarks.own_training"
CONTESTANTS = {"plain": "benchmarks.plain_training", "cold": OURS, "kept": OURS}
"""Their modules, in the order in which they run; the last finds what the one before it kept."""
RECIPE = RecipeValues(
    name="Benchmark",
    learning_rate=1e-4,
    beta=0.1,
    sft_weight=0.0,  # so that the losses are of one kind
    epochs=3.0,
    batch_size=4,
    warmup_steps=3,
    lora_rank=16,
    lora_alpha=32,
    max_length=1024,
    stop_early=False,
)


def main(
    pairs: Annotated[int, typer.Option(min=4, help="To learn from.")] = 64,
    validation: Annotated[int, typer.Option(min=1, help="Pairs to look at.")] = 12,
    epochs: Annotated[float, typer.Option(min=0.1)] = 3.0,
    tokens: Annotated[int, typer.Option(min=10, help="Of a prompt with one reply, about.")] = 250,
    rounds: Annotated[int, typer.Option(min=1, help="The contestants take turns.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the adapter's first values and of the order of pairs.")] = 0,
) -> None:
    """Measure and print."""
    # so that being told to end also ends the contestants, and that a closed terminal ends nothing
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    report: dict[str, Any] = {"finished": False, "machine": machine() | libraries()}
    found: dict[str, list[Trained]] = {name: [] for name in CONTESTANTS}
    try:
        model = _model()
        told("Making the pairs")
        rows, read = _rows(model, pairs=pairs, validation=validation, tokens=tokens)
        recipe = recipe_of(pairs=pairs, epochs=epochs, seed=seed)
        report["work"] = {
            "pairs": pairs,
            "validation": validation,
            "picks": "by the written rule (simulated)",
            "tokens_a_side": round(read / (2 * pairs), 1),
            "model": model,
            "recipe": asdict(recipe),
        }
        for turn in range(rounds):
            # kept reference log-probabilities are those of this round, so that the first one is cold again
            with tempfile.TemporaryDirectory(prefix="pickwell-benchmark-") as home:
                for name, module in CONTESTANTS.items():
                    told(f"{name}, round {turn + 1} of {rounds}")
                    folder = given(Path(home), name, rows, model=model, recipe=recipe, most=min(SAMPLE_TOKENS, tokens))
                    done = contestant(name, module, folder)
                    found[name].append(done)
                    print(json.dumps({name: asdict(done)}), file=sys.stderr, flush=True)
        report["finished"] = True
    finally:
        # also where something failed or somebody ended it: what was measured is not to be lost
        report["runs"] = found
        if all(found.values()):
            report |= compared(found, tokens=epochs * read)
        print(json.dumps(report, indent=2, default=asdict), flush=True)


def libraries() -> dict[str, str]:
    """Versions that decide what a training takes."""
    versions = {}
    for package in ("trl", "peft", "accelerate", "datasets"):
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return versions


def recipe_of(*, pairs: int, epochs: float, seed: int) -> RecipeValues:
    """The recipe; a very short training warms up less, since its one step would be of length 0 and change nothing."""
    steps = steps_of(pairs=pairs, epochs=epochs, batch_size=RECIPE.batch_size, max_steps=None)
    return replace(RECIPE, epochs=epochs, seed=seed, warmup_steps=min(RECIPE.warmup_steps, steps // 4))


def given(home: Path, name: str, rows: Rows, *, model: str, recipe: RecipeValues, most: int) -> Path:
    """A contestant's folder with what it is to do; ``most`` is the length of the project's sample replies in tokens."""
    sha256, snapshot, folder = content_sha256(rows), home / "snapshot", home / name
    write_folder(snapshot, rows, sha256=sha256, about={"picks": "simulated"})
    folder.mkdir()
    RunInput(
        **asdict(recipe),
        base_model=model,
        template_hash=None,
        snapshot=str(snapshot),
        snapshot_sha256=sha256,
        kept=str(home / "reference"),
        sample_tokens=most,
    ).write(folder)
    return folder


def contestant(name: str, module: str, folder: Path) -> Trained:
    """Let one contestant train in a process group of its own, gone afterwards.

    Raises `ContestantFailed` with the end of its log.
    """
    log = folder / "log.txt"
    quiet = {"TQDM_DISABLE": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", module, str(folder)],
            cwd=ROOT,
            env=os.environ | QUIET | quiet,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
        group = Group.of(process.pid)
        try:
            status = process.wait(PATIENCE)
        finally:
            group.end(grace=GRACE)
    done = Trained.read(folder)
    if status != 0 or done is None:
        said = log.read_text(errors="replace")[-LOG:]
        raise ContestantFailed(f"{name} gave no figures (exit status {status}). Its log's end:\n{said}")
    return done


def ratio(ours: Sequence[Trained], theirs: Sequence[Trained], what: str = "whole_s") -> float:
    """Ours over theirs, over all rounds."""
    return _sum(ours, what) / _sum(theirs, what)


def compared(found: Mapping[str, Sequence[Trained]], *, tokens: float) -> dict[str, Any]:
    """Whether the aims are met, and the figures that explain it.

    Args:
        tokens: read in all optimizer steps of one run, both sides, without padding.
    """
    plain = found["plain"]
    wanted: list[dict[str, Any]] = []
    for name, words in (("cold", "nothing kept"), ("kept", "reference log-probabilities kept")):
        ours = found[name]
        single = [ratio([mine], [other]) for mine, other in zip(ours, plain, strict=False)]
        off = [abs(mine.validation_loss / other.validation_loss - 1) for mine, other in zip(ours, plain, strict=False)]
        wanted += [
            {
                "what": f"seconds of the project's run over plain TRL's, to the last look, {words}",
                "at_most": WANTED_SECONDS,
                "found": round(ratio(ours, plain), 3),
                "in_each_round": [round(one, 3) for one in single],
                "met": _said(ratio(ours, plain) <= WANTED_SECONDS),
            },
            {
                "what": f"difference of the final validation loss from plain TRL's, {words}",
                "at_most": WANTED_LOSS,
                "found": round(max(off), 4),
                "in_each_round": [round(one, 4) for one in off],
                "met": _said(max(off) <= WANTED_LOSS),
            },
        ]
    return {
        "wanted": wanted,
        "seconds": {name: _mean(runs, "whole_s") for name, runs in found.items()},
        "cpu_seconds": {name: _mean(runs, "cpu_s") for name, runs in found.items()},
        "seconds_in_steps": {name: _mean(runs, "steps_s") for name, runs in found.items()},
        "seconds_merging": {name: _mean(runs, "merging_s") for name, runs in found.items()},
        "over_plain": {
            name: {
                "cpu_seconds": round(ratio(found[name], plain, "cpu_s"), 3),
                "seconds_in_steps": round(ratio(found[name], plain, "steps_s"), 3),
            }
            for name in ("cold", "kept")
        },
        "final_loss": {
            name: {
                "validation": [round(run.validation_loss, 5) for run in runs],
                "training": [round(run.train_loss, 5) for run in runs],
            }
            for name, runs in found.items()
        },
        "tokens_per_second_in_steps": {
            name: round(tokens * len(runs) / sum(run.steps_s for run in runs), 1) for name, runs in found.items()
        },
        "peak_memory_mb": {name: max(run.peak_memory_mb for run in runs) for name, runs in found.items()},
    }


def _said(met: bool) -> str:
    return "yes" if met else "no"


def _mean(runs: Sequence[Trained], what: str) -> float:
    return round(_sum(runs, what) / len(runs), 1)


def _sum(runs: Sequence[Trained], what: str) -> float:
    return float(sum(getattr(run, what) for run in runs))


def _rows(model: str, *, pairs: int, validation: int, tokens: int) -> tuple[Rows, int]:
    """The rows, and the tokens of both sides of all those to learn from."""
    from training.trainer.guards import encode
    from training.trainer.weights import load_tokenizer

    tokenizer = load_tokenizer(model, expected=None)
    known: dict[str, int] = {}

    def read(row: FrozenRow) -> int:
        key = json.dumps([row.prompt, row.chosen, row.rejected])
        if key not in known:
            encoded = encode(tokenizer, row.prompt_id, row.prompt, (row.chosen, row.rejected))
            known[key] = sum(len(encoded.prompt) + len(reply) for reply in encoded.replies)
        return known[key]

    rows = pairs_of_sample(pairs=pairs, validation=validation, tokens=tokens, length=lambda row: read(row) / 2)
    return rows, sum(map(read, rows[Split.TRAIN]))


def _model() -> str:
    """The base model of the settings, else the default one, made first if it is not there."""
    if settings().base_model:
        return str(settings().base_model)
    from llm.default_model import ensure

    return str(ensure())


if __name__ == "__main__":
    typer.run(main)
