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
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.contestants import DONE, SAMPLE, TrainingFigures, read_dataclass
from benchmarks.measuring import base_model, machine, print_stage, printed_report, run_contestant
from db.models import Split
from errors import Refused
from examples import simulated
from llm.template import Message, PromptFormat
from stats.verdicts import Verdict
from training.data.rows import FrozenRow, Rows, content_sha256, write_folder
from training.recipe.recipe import RecipeValues
from training.trainer.run_folder import RunFolder, RunInput

WANTED_SECONDS = 0.5
"""Most of plain TRL's seconds that the project's run may take."""
WANTED_LOSS = 0.02
"""Most by which the final validation losses may differ, as a share of plain TRL's."""
SAMPLE_TOKENS = 160
"""Longest sample reply that the project's run writes, as in the app."""
PATIENCE = 6 * 3600.0
"""Seconds that one contestant may take."""
CONTESTANTS = {"plain": "plain_trl", "cold": "trainer", "kept": "trainer"}
"""Who trains, in the order in which they run; the last finds what the one before it kept."""
ENVIRONMENT = {"TQDM_DISABLE": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
CLOSE = 1.05
"""Rows may be so much longer on average than they were asked for before their texts are cut."""
RECIPE = RecipeValues(
    name="Benchmark",
    rpo_alpha=0.0,  # so that the losses are of one kind
    epochs=3.0,
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
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a closed terminal ends nothing
    runs: dict[str, list[TrainingFigures]] = {name: [] for name in CONTESTANTS}
    with printed_report(machine=machine("trl", "peft", "accelerate", "datasets")) as report:
        report["runs"] = runs
        model = base_model()
        print_stage("Making the pairs")
        rows, read_tokens = _rows(model, pairs=pairs, validation=validation, tokens=tokens)
        recipe = make_recipe(pairs=pairs, epochs=epochs, seed=seed)
        report["work"] = {
            "pairs": pairs,
            "validation": validation,
            "picks": "by the written rule (simulated)",
            "tokens_a_side": round(read_tokens / (2 * pairs), 1),
            "model": model,
            "recipe": asdict(recipe),
        }
        for turn in range(rounds):
            # kept reference log-probabilities are those of this round, so that the first one is cold again
            with tempfile.TemporaryDirectory(prefix="pickwell-benchmark-") as home:
                for name in CONTESTANTS:
                    print_stage(f"{name}, round {turn + 1} of {rounds}")
                    most = min(SAMPLE_TOKENS, tokens)
                    folder = make_task_folder(Path(home), name, rows, model=model, recipe=recipe, most=most)
                    figures = run_training(name, folder)
                    runs[name].append(figures)
                    print(json.dumps({name: asdict(figures)}), file=sys.stderr, flush=True)
                    if all(runs.values()):
                        report |= compare_runs(runs, tokens=epochs * read_tokens)


def make_recipe(*, pairs: int, epochs: float, seed: int) -> RecipeValues:
    """The recipe; a very short training warms up less, since its one step would be of length 0 and change nothing."""
    recipe = replace(RECIPE, epochs=epochs, seed=seed)
    return replace(recipe, warmup_steps=min(RECIPE.warmup_steps, recipe.steps(pairs) // 4))


def make_task_folder(home: Path, name: str, rows: Rows, *, model: str, recipe: RecipeValues, most: int) -> Path:
    """A contestant's folder with what it is to do; ``most`` is the length of the project's sample replies in tokens."""
    sha256, snapshot, folder = content_sha256(rows), home / "snapshot", home / name
    write_folder(snapshot, rows, sha256=sha256, about={"picks": "simulated"})
    folder.mkdir()
    work = RunInput(
        **asdict(recipe),
        base_model=model,
        template_hash=None,
        snapshot=str(snapshot),
        snapshot_sha256=sha256,
        kept=str(home / "reference"),
        sample_tokens=most,
    )
    RunFolder(folder).begin(work)
    return folder


def run_training(name: str, folder: Path) -> TrainingFigures:
    """Let one of `CONTESTANTS` train. Raises `ContestantFailed` with the end of its log."""
    run_contestant(CONTESTANTS[name], folder, patience=PATIENCE, environment=ENVIRONMENT)
    return read_dataclass(TrainingFigures, folder / DONE)


def ratio(ours: Sequence[TrainingFigures], theirs: Sequence[TrainingFigures], what: str = "whole_s") -> float:
    """Ours over theirs, over all rounds."""
    return _sum(ours, what) / _sum(theirs, what)


def compare_runs(runs: Mapping[str, Sequence[TrainingFigures]], *, tokens: float) -> dict[str, Any]:
    """Whether the aims are met, and the figures that explain it; ``tokens`` are those read in all steps of one run."""
    plain = runs["plain"]
    wanted: list[dict[str, Any]] = []

    def want(what: str, at_most: float, value: float, in_each_round: list[float], *, digits: int) -> None:
        rounded, met = [round(share, digits) for share in in_each_round], "yes" if value <= at_most else "no"
        row = {"what": what, "at_most": at_most, "found": round(value, digits), "in_each_round": rounded, "met": met}
        wanted.append(row)

    for name, words in (("cold", "nothing kept"), ("kept", "reference log-probabilities kept")):
        rounds = list(zip(runs[name], plain, strict=False))
        ratios = [ratio([mine], [other]) for mine, other in rounds]
        off = [abs(mine.validation_loss / other.validation_loss - 1) for mine, other in rounds]
        seconds = f"seconds of the project's run over plain TRL's, to the last look, {words}"
        want(seconds, WANTED_SECONDS, ratio(runs[name], plain), ratios, digits=3)
        loss = f"difference of the final validation loss from plain TRL's, {words}"
        want(loss, WANTED_LOSS, max(off), off, digits=4)

    def mean(what: str) -> dict[str, float]:
        return {name: round(_sum(figures, what) / len(figures), 1) for name, figures in runs.items()}

    return {
        "wanted": wanted,
        "seconds": mean("whole_s"),
        "cpu_seconds": mean("cpu_s"),
        "seconds_in_steps": mean("steps_s"),
        "seconds_merging": mean("merging_s"),
        "over_plain": {
            name: {
                "cpu_seconds": round(ratio(runs[name], plain, "cpu_s"), 3),
                "seconds_in_steps": round(ratio(runs[name], plain, "steps_s"), 3),
            }
            for name in ("cold", "kept")
        },
        "final_loss": {
            name: {
                "validation": [round(run.validation_loss, 5) for run in figures],
                "training": [round(run.train_loss, 5) for run in figures],
            }
            for name, figures in runs.items()
        },
        "tokens_per_second_in_steps": {
            name: round(tokens * len(figures) / _sum(figures, "steps_s"), 1) for name, figures in runs.items()
        },
        "peak_memory_mb": {name: max(run.peak_memory_mb for run in figures) for name, figures in runs.items()},
    }


def _sum(runs: Sequence[TrainingFigures], what: str) -> float:
    return float(sum(getattr(run, what) for run in runs))


def sample_pairs(*, pairs: int, validation: int, tokens: int, length: Callable[[FrozenRow], float]) -> Rows:
    """Rows of the sample's emails with two people's replies, the better one picked by the written rule: simulated.

    Of those that the rule decides, the ones whose length is nearest to ``tokens``; texts are cut to so many first
    words where they are all longer. Raises `Refused` where there are too few.

    Args:
        length: mean tokens of a row's two sides, each the prompt with one reply.
    """
    about = json.loads((SAMPLE / "project.json").read_text(encoding="utf-8"))
    lines = (SAMPLE / "train.jsonl").read_text(encoding="utf-8").splitlines()
    decided = [
        row
        for number, line in enumerate(lines, start=1)
        if (row := _row(json.loads(line), number, instructions=about["instructions"], people=list(about["people"])))
    ]
    if len(decided) < pairs + validation:
        shortage = f"The rule decides {len(decided)} of the sample's pairs, and {pairs + validation} were asked for."
        raise Refused(f"{shortage} Ask for fewer.")
    for share in (1 - n / 20 for n in range(20)):
        cut = [_cut(row, share) for row in decided]
        if sum(map(length, cut)) / len(cut) <= CLOSE * tokens:
            break
    nearest = sorted(cut, key=lambda row: (abs(length(row) - tokens), row.prompt_id))[: pairs + validation]
    rows = sorted(nearest, key=lambda row: row.prompt_id)
    aside = {row.prompt_id for row in rows[:: len(rows) // validation][:validation]} if validation else set()
    return {
        Split.TRAIN: [row for row in rows if row.prompt_id not in aside],
        Split.VALIDATION: [row for row in rows if row.prompt_id in aside],
    }


def _row(line: dict[str, str], number: int, *, instructions: str, people: Sequence[str]) -> FrozenRow | None:
    left, right = (line[person] for person in people)
    verdict = simulated.rule_verdict(line["email"], left, right, left_finish=None, right_finish=None)
    if not verdict.decided:
        return None
    better, worse = (left, right) if verdict is Verdict.LEFT else (right, left)
    return FrozenRow(
        prompt=PromptFormat(instructions).messages(line["email"]),
        chosen=[{"role": "assistant", "content": better}],
        rejected=[{"role": "assistant", "content": worse}],
        prompt_id=number,
        chosen_id=2 * number,
        rejected_id=2 * number + 1,
        ranking_id=number,
        correction_id=None,
        reviewer=f"{simulated.NAME} (simulated)",
        simulated=True,
    )


def _cut(row: FrozenRow, share: float) -> FrozenRow:
    """The row with this share of each text's words, the first ones."""
    if share == 1:
        return row

    def first(turns: Sequence[Message]) -> list[Message]:
        texts = [turn["content"].split() for turn in turns]
        kept = [" ".join(words[: max(1, round(share * len(words)))]) for words in texts]
        return [{"role": turn["role"], "content": text} for turn, text in zip(turns, kept, strict=True)]

    return replace(row, prompt=first(row.prompt), chosen=first(row.chosen), rejected=first(row.rejected))


def _rows(model: str, *, pairs: int, validation: int, tokens: int) -> tuple[Rows, int]:
    """The rows, and the tokens of both sides of all those to learn from."""
    from training.trainer.guards import encode_row
    from training.trainer.weights import load_tokenizer

    tokenizer = load_tokenizer(model, expected=None)
    known: dict[str, int] = {}

    def count(row: FrozenRow) -> int:
        key = json.dumps([row.prompt, row.chosen, row.rejected])
        if key not in known:
            encoded = encode_row(tokenizer, row.prompt_id, row.prompt, (row.chosen, row.rejected))
            known[key] = sum(len(encoded.prompt) + len(reply) for reply in encoded.replies)
        return known[key]

    rows = sample_pairs(pairs=pairs, validation=validation, tokens=tokens, length=lambda row: count(row) / 2)
    return rows, sum(map(count, rows[Split.TRAIN]))


if __name__ == "__main__":
    typer.run(main)
