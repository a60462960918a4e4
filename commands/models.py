"""Replies, trainings, and what public benchmarks say of a model."""

from dataclasses import replace
from typing import Annotated

import typer
from sqlalchemy import select

from commands.shell import AsPerson, InProject, acting, console, responder_of, wait
from db.lookup import project_named
from db.models import Adapter, Method, ModelVersion, Scope, Snapshot
from db.session import reading, session
from errors import NotFound
from training.recipe.recipe import Loss

app = typer.Typer()


@app.command()
def generate(
    responder: Annotated[str, typer.Argument(help="Its name; made with the base model if new.")],
    project: InProject = "",
    by: AsPerson = "",
    scope: Annotated[Scope, typer.Option(help="Which prompts.")] = Scope.ALL,
    samples: Annotated[int, typer.Option(help="Responses to each prompt.")] = 2,
    limit: Annotated[int | None, typer.Option(help="At most so many training prompts.")] = None,
) -> None:
    """Generate a responder's missing responses and wait for them."""
    from generation.base_model import register_base_model
    from generation.plan import start_generation
    from generation.responders import Contestant, create_responder
    from llm.template import PromptFormat

    with session() as s:
        found = project_named(s, project)
        person = acting(s, by, found)
        try:
            who = responder_of(s, found, responder)
        except NotFound:
            contestant = Contestant(register_base_model(s).id, PromptFormat(found.instructions))
            who = create_responder(s, by=person, project_id=found.id, name=responder, contestant=contestant)
        started = start_generation(s, by=person, responder_id=who.id, scope=scope, samples=samples, prompt_limit=limit)
    wait(started.id)


@app.command()
def train(
    name: Annotated[str, typer.Argument(help="Name of the new model.")],
    project: InProject = "",
    by: AsPerson = "",
    snapshot: Annotated[int | None, typer.Option(help="Snapshot id; a fresh one is frozen if left out.")] = None,
    base: Annotated[str, typer.Option(help="Model to start from; the base model if left out.")] = "",
    recipe: Annotated[
        int, typer.Option(min=0, max=2, help="1: a small model, no GPU; 2: 7B on a GPU; 0: as the Train page advises.")
    ] = 1,
    method: Annotated[Method, typer.Option(case_sensitive=False, help="With recipe 0.")] = Method.DPO,
    loss: Annotated[Loss, typer.Option(case_sensitive=False, help="Of DPO, with recipe 0.")] = Loss.SIGMOID,
    adapter: Annotated[Adapter, typer.Option(case_sensitive=False, help="With recipe 0.")] = Adapter.LORA,
    max_steps: Annotated[int | None, typer.Option(help="Stop training after so many steps.")] = None,
) -> None:
    """Freeze the preferences, train a model on them, wait for it."""
    from generation.base_model import register_base_model
    from training.data.snapshot import freeze
    from training.recipe.advice import advised
    from training.recipe.estimate import has_gpu, lengths, parameters_of
    from training.recipe.recipe import PRESETS
    from training.recipe.start import start_training

    with session() as s:
        found = project_named(s, project)
        person = acting(s, by, found)
        frozen = s.get(Snapshot, snapshot) if snapshot is not None else freeze(s, by=person, project_id=found.id)
        if frozen is None:
            raise NotFound(f"There is no snapshot {snapshot}. Leave --snapshot out to freeze one.")
        start = s.scalar(select(ModelVersion).where(ModelVersion.name == base)) if base else register_base_model(s)
        if start is None:
            raise NotFound(f"There is no model “{base}”. Leave --base out for the base model.")
        console.print(f"Snapshot {frozen.id}: {frozen.row_count} preferences, {frozen.simulated_count} simulated.")
        if recipe:
            values = PRESETS[recipe - 1]
        else:
            size = lengths(frozen)
            values = advised(
                pairs=size.rows,
                parameters=parameters_of(location=start.location, name=start.name),
                gpu=has_gpu(),
                method=method,
                loss=loss,
                adapter=adapter,
                longest=size.longest,
                validation=size.validation,
            ).values
        started = start_training(
            s,
            by=person,
            project_id=found.id,
            snapshot_id=frozen.id,
            base_model_id=start.id,
            recipe=replace(values, max_steps=max_steps),
            model_name=name,
        )
    wait(started.id)


@app.command()
def benchmark(
    model_name: Annotated[str, typer.Argument(metavar="MODEL", help="A model's name, or that of who answers with it.")],
    project: InProject = "",
    by: AsPerson = "",
    task: Annotated[
        list[str] | None, typer.Option(help="lm-eval's name or a YAML file; repeat for several. Else the usual three.")
    ] = None,
    examples: Annotated[int, typer.Option(min=1, help="At most so many of each task; minutes with the default.")] = 100,
    base: Annotated[bool, typer.Option(help="Also of the model that it was made from, to compare them.")] = True,
    four_bits: Annotated[bool, typer.Option("--four-bits", help="Also of the model loaded in four bits.")] = False,
) -> None:
    """Ask a model and its base public benchmarks, wait, and print what was lost or gained."""
    from eval.benchmarks.findings import contrasts
    from eval.benchmarks.runs import BenchmarkTarget, asked_already, benchmarks, model_named, request_benchmark
    from eval.benchmarks.tasks import DEFAULT, checked_tasks

    with session() as s:
        found = project_named(s, project)
        person = acting(s, by, found)
        version = model_named(s, project_id=found.id, name=model_name)
        tasks = checked_tasks(task or DEFAULT)
        targets = [BenchmarkTarget(version)]
        targets += [BenchmarkTarget(version.parent)] if base and version.parent is not None else []
        targets += [BenchmarkTarget(version, quantised=True)] if four_bits else []
        runs = benchmarks(s, model_version_ids=[target.version.id for target in targets])
        already = asked_already(runs, targets, tasks=tasks, examples=examples)
        waiting = []
        for target in targets:
            if target in already:
                console.print(f"{target.name} has been asked this already.", markup=False)
            run = already.get(target) or request_benchmark(
                s,
                by=person,
                project_id=found.id,
                model_version_id=target.version.id,
                tasks=tasks,
                examples=examples,
                quantised=target.quantised,
            )
            if not run.status.ended:
                waiting.append(run.id)
    for run_id in waiting:
        wait(run_id)
    with reading() as s:
        for contrast in contrasts(s, version=s.get_one(ModelVersion, version.id)):
            console.print(f"{contrast.model} against {contrast.reference}:", markup=False)
            lines = [f"{pair.task}, {pair.metric}: {pair.sentence}" for pair in contrast.differences]
            lines += [f"{pair.task}, {pair.metric}: not compared, {pair.reason}" for pair in contrast.not_compared]
            for line in lines:
                console.print(f"  {line}", markup=False, highlight=False)
