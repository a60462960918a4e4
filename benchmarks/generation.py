"""How many tokens a second the project's generation worker makes of the engine, against the engine itself.

    python -m benchmarks.generation --prompts 64 --samples 2

The same prompts are answered by the project's worker (from the database and back to it, in a home of its own), by
vLLM's own Python interface with the flags of the server that the worker started, and by transformers' batched
generate; one after the other, each in a process of its own. A second figure is what a response costs as the prompts
grow. Prints one JSON object; what it is doing goes to the other stream. With the standard sizes it takes about 25
minutes on two cores. Everything that it starts it ends.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.contestants import DONE, WORK, GenerationDone, GenerationFigures, GenerationWork, read_dataclass
from benchmarks.measuring import base_model, machine, print_stage, printed_report, run_contestant
from files import write_json
from llm.top_p import NAME as NUCLEUS
from settings import Engine

WANTED_OF_VLLM = 0.95
"""Least share of vLLM's own tokens a second that the project's worker should reach."""
WANTED_OF_TRANSFORMERS = 1.6
"""How many times transformers' tokens a second the project's worker should reach at least."""
PATIENCE = 3600.0
"""Seconds that one contestant may take."""
ASKED_FOR = ("prompts", "samples", "temperature", "top_p", "max_tokens", "model")
"""What the report says of the work."""


@dataclass(frozen=True)
class ResponseCost:
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
    with printed_report(machine=machine()) as report:
        model = base_model(is_loaded=engine is not Engine.echo)
        work = GenerationWork(prompts, samples, temperature, top_p, max_tokens, model)
        report["work"] = {name: value for name, value in asdict(work).items() if name in ASKED_FOR}
        runs: dict[str, list[GenerationFigures]] = {}
        report["runs"] = runs
        for turn in range(repetitions):
            progress = f"{turn + 1} of {repetitions}"
            print_stage(f"The project's worker, {prompts} prompts, {progress}")
            ours = run_generation("project", work, engine=engine)
            runs.setdefault("project", []).append(ours.figures)
            if not peers:
                continue
            report["engine"] = {"flags": ours.engine, "environment": ours.environment}
            peer_work = replace(work, asked=ours.asked, engine=ours.engine)
            works = {"vllm": peer_work}
            if NUCLEUS in ours.engine:
                works["vllm_with_our_top_p"] = replace(peer_work, our_top_p=True)
            works |= {f"transformers_{batch}": replace(peer_work, batch=batch) for batch in _parse_numbers(batches)}
            for name, peer_work in works.items():
                print_stage(f"{name}, {progress}")
                environment = ours.environment if name.startswith("vllm") else {}
                done = run_generation(name.partition("_")[0], peer_work, engine=engine, environment=environment)
                runs.setdefault(name, []).append(done.figures)
        report |= compare_runs(runs)
        report |= {"size_samples": size_samples, "cost": []}
        for size in _parse_numbers(sizes):
            figures = runs["project"][0]
            if (size, size_samples) != (prompts, samples):
                print_stage(f"The project's worker, {size} prompts, for the cost of a response")
                fewer = replace(work, prompts=size, samples=size_samples)
                figures = run_generation("project", fewer, engine=engine).figures
            report["cost"].append(cost(size, figures))


def per_second(runs: Sequence[GenerationFigures]) -> float:
    """Tokens a second over all runs."""
    return sum(run.tokens for run in runs) / sum(run.seconds for run in runs)


def ratio(ours: Sequence[GenerationFigures], theirs: Sequence[GenerationFigures]) -> float:
    """How many times their tokens a second ours are."""
    return per_second(ours) / per_second(theirs)


def fastest(runs: Mapping[str, Sequence[GenerationFigures]], beginning: str) -> str | None:
    """The name with this beginning that makes the most tokens a second; none where there is none."""
    names = [name for name in runs if name.startswith(beginning)]
    return max(names, key=lambda name: per_second(runs[name]), default=None)


def compare_runs(runs: Mapping[str, Sequence[GenerationFigures]]) -> dict[str, Any]:
    """Tokens a second, the ratios over all turns and in each, and whether they are as wanted."""
    ours = runs["project"]
    limits = {name: WANTED_OF_VLLM for name in runs if name.startswith("vllm")}
    if peer := fastest(runs, "transformers"):
        limits[peer] = WANTED_OF_TRANSFORMERS
    wanted = [
        {
            "what": f"tokens a second of the project's worker over those of {name}",
            "at_least": least,
            "found": round(ratio(ours, runs[name]), 3),
            "in_each_turn": [round(ratio([mine], [other]), 3) for mine, other in zip(ours, runs[name], strict=True)],
            "met": ratio(ours, runs[name]) >= least,
        }
        for name, least in limits.items()
    ]
    return {
        "tokens_per_second": {name: round(per_second(figures), 1) for name, figures in runs.items()},
        "same_prompts": len({run.prompt_tokens for figures in runs.values() for run in figures}) == 1,
        "wanted": wanted,
    }


def cost(prompts: int, figures: GenerationFigures) -> ResponseCost:
    """Seconds for each response."""
    whole = figures.start_s + figures.seconds + figures.stop_s
    tokens_per_second = round(figures.tokens / figures.seconds, 1)
    generation, whole = (round(seconds / figures.responses, 4) for seconds in (figures.seconds, whole))
    return ResponseCost(prompts, figures.responses, tokens_per_second, generation, whole)


def run_generation(
    name: str, work: GenerationWork, *, engine: Engine, environment: Mapping[str, str] = {}
) -> GenerationDone:
    """Let one contestant do the work in an empty home of its own. Raises `ContestantFailed` with its log's end."""
    with tempfile.TemporaryDirectory(prefix="pickwell-benchmark-") as place:
        folder = Path(place)
        write_json(folder / WORK, asdict(work))
        # empty ones are said too: they win over a .env file
        ours = {
            "PICKWELL_HOME": str(folder / "home"),
            "PICKWELL_DATABASE_URL": "",
            "PICKWELL_ENGINE": engine.value,
            "PICKWELL_ENGINE_URL": "",
            "PICKWELL_BASE_MODEL": work.model,
        }
        run_contestant(name, folder, patience=PATIENCE, environment=ours | dict(environment))
        return read_dataclass(GenerationDone, folder / DONE)


def _parse_numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",") if number.strip()]


if __name__ == "__main__":
    typer.run(main)
