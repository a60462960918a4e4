"""How long the statistics of blind evaluations take, and whether their promises hold in simulation.

    python -m benchmarks.evaluation > evaluation.json
    python -m benchmarks.evaluation --coverage

Times `python cli.py winrate` as anybody would run it, a process of its own each, on files of 1,000 to 1,000,000 made-up
votes on 20 responders by 20 reviewers. With `--coverage` it also makes up evaluations whose truth is known, with votes
that share prompts and reviewers: how often 95 % intervals hold it, and how often the rule that may stop at any time
finds a winner where there is none. Prints one JSON object; what it is doing goes to the other stream.
"""

import json
import os
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from benchmarks.measuring import machine, print_stage
from settings import ROOT
from stats.contrasts import contrasts
from stats.estimates import Interval
from stats.sequential import ENOUGH, running_e_values
from stats.votes import VERDICTS, Votes

RESPONDERS, REVIEWERS, VOTES_PER_PROMPT = 20, 20, 3
WANTED_SECONDS, WANTED_MB = 20.0, 2000
WANTED_COVERAGE = (0.93, 0.97)
WANTED_FALSE_WINNERS = 0.05


@dataclass(frozen=True)
class Truth:
    """One simulated design; deviations are normal, on the logit."""

    name: str
    prompts: int
    reviewers: int
    votes_per_prompt: int
    prompt_deviation: float
    reviewer_deviation: float
    level: float
    """Log odds of the candidate for the middle prompt and reviewer."""
    tie_share: float
    new_reviewers: bool
    """Whether other reviewers are drawn each time: then the truth is that of all reviewers, else of these."""


@dataclass(frozen=True)
class IntervalCoverage:
    """How often 95 % intervals held the truth."""

    truth: Truth
    evaluations: int
    clustered: float
    """Of the interval for these reviewers."""
    any_reviewer: float | None
    """Of the two-way one; None where there are too few reviewers."""
    naive: float
    """Of the normal interval that takes votes for independent, to compare."""


DESIGNS = (
    Truth("100 prompts, 5 reviewers, 3 votes each", 100, 5, 3, 1.0, 0.5, 0.4, 0.15, new_reviewers=False),
    Truth("100 prompts, 5 reviewers, 1 vote each", 100, 5, 1, 1.0, 0.5, 0.4, 0.15, new_reviewers=False),
    Truth("300 prompts, 3 reviewers, 3 votes each", 300, 3, 3, 1.0, 0.5, 0.0, 0.3, new_reviewers=False),
    Truth("40 prompts, 2 reviewers, 2 votes each", 40, 2, 2, 1.0, 0.5, 0.7, 0.1, new_reviewers=False),
    Truth("200 prompts, 12 reviewers, 2 votes each, others each time", 200, 12, 2, 1.0, 0.5, 0.4, 0.15, True),
    Truth("100 prompts, 5 reviewers, 3 votes each, others each time", 100, 5, 3, 1.0, 0.5, 0.4, 0.15, True),
)


def write_votes(file: Path, n: int, *, seed: int = 7) -> None:
    """A file of n made-up votes on 20 responders, Davidson's model with ties, prompts with about three votes."""
    rng = np.random.default_rng(seed)
    strength = rng.normal(0, 0.6, RESPONDERS)
    left = rng.integers(0, RESPONDERS, n)
    right = (left + rng.integers(1, RESPONDERS, n)) % RESPONDERS
    prompt = rng.integers(0, max(1, n // VOTES_PER_PROMPT), n)
    gap = strength[left] - strength[right] + 0.1 + 0.3 * rng.normal(size=n)
    weights = np.stack([np.exp(gap / 2), np.exp(-gap / 2), np.full(n, 0.35), np.full(n, 0.1)])
    verdict = (rng.random(n) > np.cumsum(weights / weights.sum(0), axis=0)).sum(0).clip(0, 3)
    lengths = rng.integers(200, 600, (2, n))
    rows = zip(
        prompt, rng.integers(0, REVIEWERS, n), left, right, verdict, *lengths, rng.integers(0, 4, n), strict=True
    )
    with file.open("w", encoding="utf-8") as stream:
        stream.write("prompt,reviewer,left,right,verdict,left_length,right_length,tag\n")
        stream.writelines(
            f"prompt-{p:07d},reviewer-{w:02d},model-{x:02d},model-{y:02d},{VERDICTS[v]},{a},{b},topic-{t}\n"
            for p, w, x, y, v, a, b, t in rows
        )


def time_winrate(folder: Path, n: int) -> dict[str, Any]:
    """The figures of the command on a file of n votes; seconds are wall time of the whole process."""
    file, to = folder / f"votes-{n}.csv", folder / f"report-{n}.json"
    write_votes(file, n)
    command = [sys.executable, str(ROOT / "cli.py"), "winrate", str(file), "--json", str(to)]
    began = time.perf_counter()
    environment = {**os.environ, "PICKWELL_HOME": str(folder / "home")}
    silent = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    child = os.posix_spawn(sys.executable, command, environment, file_actions=silent)
    _, status, used = os.wait4(child, 0)
    seconds = time.perf_counter() - began
    if status:
        raise typer.Exit(1)
    return {
        "votes": n,
        "seconds": round(seconds, 2),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 2),
        "peak_memory_mb": round(used.ru_maxrss * 1024 / 1e6),  # kilobytes on Linux
        "file_mb": round(file.stat().st_size / 1e6, 1),
        "report_mb": round(to.stat().st_size / 1e6, 2),
    }


def coverage(truth: Truth, *, evaluations: int, seed: int = 0) -> IntervalCoverage:
    """Make up evaluations and count how often the intervals hold the rate that endless prompts would give."""
    rng = np.random.default_rng(seed)
    fixed = rng.normal(0, truth.reviewer_deviation, truth.reviewers)
    shifts = rng.normal(0, truth.prompt_deviation, 400_000)
    shifts += rng.normal(0, truth.reviewer_deviation, 400_000) if truth.new_reviewers else rng.choice(fixed, 400_000)
    aim = float((1 - truth.tie_share) * (1 / (1 + np.exp(-(truth.level + shifts)))).mean() + truth.tie_share / 2)
    held: dict[str, list[bool]] = {"clustered": [], "any": [], "naive": []}
    n = truth.prompts * truth.votes_per_prompt
    names = tuple(str(i) for i in range(max(truth.prompts, truth.reviewers)))
    for _ in range(evaluations):
        habits = rng.normal(0, truth.reviewer_deviation, truth.reviewers) if truth.new_reviewers else fixed
        prompt = np.repeat(np.arange(truth.prompts), truth.votes_per_prompt)
        reviewer = np.argsort(rng.random((truth.prompts, truth.reviewers)), axis=1)[:, : truth.votes_per_prompt].ravel()
        level = truth.level + rng.normal(0, truth.prompt_deviation, truth.prompts)[prompt] + habits[reviewer]
        won = rng.random(n) < 1 / (1 + np.exp(-level))
        verdict = np.where(rng.random(n) < truth.tie_share, 2, np.where(won, 0, 1))
        votes = Votes(prompt, reviewer, np.zeros(n, int), np.ones(n, int), verdict, names, names, ("new", "old"))
        (contrast,) = contrasts(votes)
        for name, interval in (("clustered", contrast.interval), ("any", contrast.interval_any_reviewer)):
            if isinstance(interval, Interval):
                held[name].append(interval.low <= aim <= interval.high)
        held["naive"].append(abs(contrast.rate - aim) <= 1.96 * contrast.naive_standard_error)
    share = {name: round(sum(holds) / evaluations, 4) for name, holds in held.items()}
    any_reviewer = round(sum(held["any"]) / len(held["any"]), 4) if held["any"] else None
    return IntervalCoverage(truth, evaluations, share["clustered"], any_reviewer, share["naive"])


def false_winners(*, evaluations: int, prompts: int = 300, votes_per_prompt: int = 2, seed: int = 0) -> dict[str, Any]:
    """Evaluations of two equals, looked at after every prompt: how many would have stopped with a winner.

    Prompts differ (deviation 1 on the logit), so votes of one prompt are alike; a fifth of the votes are ties.
    """
    rng = np.random.default_rng(seed)
    leaning = rng.normal(0, 1, (evaluations, prompts, 1))
    won = rng.random((evaluations, prompts, votes_per_prompt)) < 1 / (1 + np.exp(-leaning))
    tied = rng.random(won.shape) < 0.2
    means: NDArray[np.float64] = np.where(tied, 0.5, won).mean(axis=2)
    by_rule = (running_e_values(means) >= ENOUGH).any(axis=1).mean()
    at = np.arange(20, prompts + 1, 5)
    centred = np.cumsum(means - 0.5, axis=1)[:, at - 1]
    z = np.abs(centred) / np.sqrt(np.cumsum((means - 0.5) ** 2, axis=1)[:, at - 1])
    return {
        "evaluations": evaluations,
        "prompts_at_most": prompts,
        "votes_per_prompt": votes_per_prompt,
        "by_the_stopping_rule": round(float(by_rule), 4),
        "by_peeking_at_p_below_0.05_every_5_prompts_from_20": round(float((z > 1.96).any(axis=1).mean()), 4),
    }


def main(
    most: Annotated[int, typer.Option(help="Votes of the largest file: 1000 and times ten up to this.")] = 1_000_000,
    coverage_: Annotated[bool, typer.Option("--coverage", help="Also simulate evaluations.")] = False,
    evaluations: Annotated[int, typer.Option(help="Simulated evaluations of each design.")] = 2000,
) -> None:
    """Time the command, and check its promises."""
    report: dict[str, Any] = {"machine": machine(), "simulated": "All votes here are made up by a random generator."}
    runs: list[dict[str, Any]] = []
    n = 1000
    with tempfile.TemporaryDirectory() as name:
        while n <= most:
            print_stage(f"{n:,} votes")
            runs.append(time_winrate(Path(name), n))
            n *= 10
    report["runs"] = runs
    wanted: list[dict[str, Any]] = []
    if runs and runs[-1]["votes"] == 1_000_000:
        wanted.append(_row("seconds for a million votes, at most", WANTED_SECONDS, runs[-1]["seconds"]))
        wanted.append(_row("MB for a million votes, at most", WANTED_MB, runs[-1]["peak_memory_mb"]))
    if coverage_:
        covered = []
        low, high = WANTED_COVERAGE
        for design in DESIGNS:
            print_stage(design.name)
            covered.append(result := coverage(design, evaluations=evaluations))
            held = result.any_reviewer if design.new_reviewers else result.clustered
            met = held is not None and low <= held <= high
            wanted.append({"what": f"coverage: {design.name}", "wanted": [low, high], "found": held, "met": met})
        print_stage("peeking")
        wrong = false_winners(evaluations=evaluations)
        report |= {"coverage": [asdict(result) for result in covered], "false_winners": wrong}
        wanted.append(_row("share of false winners, at most", WANTED_FALSE_WINNERS, wrong["by_the_stopping_rule"]))
    report["wanted"] = wanted
    print(json.dumps(report, indent=2))


def _row(what: str, most: float, value: float) -> dict[str, Any]:
    return {"what": what, "wanted": most, "found": value, "met": value <= most}


if __name__ == "__main__":
    typer.run(main)
