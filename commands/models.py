"""Replies, trainings, and what public benchmarks say of a model."""

from dataclasses import replace
from typing import Annotated

import typer
from sqlalchemy import select

from commands.shell import PersonOption, ProjectOption, acting_person, console, find_responder, wait_for_run
from db.lookup import find_project
from db.models import Adapter, Method, ModelVersion, Scope, Snapshot
from db.session import reading, session
from errors import NotFound
from training.recipe.recipe import Loss

app = typer.Typer()


@app.command()
def generate(
    responder: Annotated[str, typer.Argument(help="Its name; made with the base model if new.")],
    project: ProjectOption = "",
    by: PersonOption = "",
    scope: Annotated[Scope, typer.Option(help="Which prompts.")] = Scope.ALL,
    samples: Annotated[int, typer.Option(help="Responses to each prompt.")] = 2,
    limit: Annotated[int | None, typer.Option(help="At most so many training prompts.")] = None,
) -> None:
    """Generate a responder's missing responses and wait for them."""
    from generation.base_model import register_base_model
    from generation.plan import find_unfinished, start_generation
    from generation.responders import ResponderSpec, create_responder
    from llm.template import PromptFormat

    with session() as s:
        target = find_project(s, project)
        person = acting_person(s, by, target)
        try:
            who = find_responder(s, target, responder)
        except NotFound:
            spec = ResponderSpec(register_base_model(s).id, PromptFormat(target.instructions))
            who = create_responder(s, by=person, project_id=target.id, name=responder, spec=spec)
        run_id = find_unfinished(s, responder_id=who.id)
        if run_id is None:
            run_id = start_generation(
                s, by=person, responder_id=who.id, scope=scope, samples=samples, prompt_limit=limit
            ).id
        else:
            console.print(f"{who.label} is generating already: this goes on with run {run_id}.", markup=False)
    wait_for_run(run_id)


@app.command()
def train(
    name: Annotated[str, typer.Argument(help="Name of the new model.")],
    project: ProjectOption = "",
    by: PersonOption = "",
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
    from training.recipe.advice import advise_recipe
    from training.recipe.estimate import count_parameters, has_gpu, snapshot_lengths
    from training.recipe.recipe import PRESETS
    from training.recipe.start import start_training

    with session() as s:
        target = find_project(s, project)
        person = acting_person(s, by, target)
        frozen = s.get(Snapshot, snapshot) if snapshot is not None else freeze(s, by=person, project_id=target.id)
        if frozen is None:
            raise NotFound(f"There is no snapshot {snapshot}. Leave --snapshot out to freeze one.")
        parent = s.scalar(select(ModelVersion).where(ModelVersion.name == base)) if base else register_base_model(s)
        if parent is None:
            raise NotFound(f"There is no model “{base}”. Leave --base out for the base model.")
        console.print(f"Snapshot {frozen.id}: {frozen.row_count} preferences, {frozen.simulated_count} simulated.")
        if recipe:
            values = PRESETS[recipe - 1]
        else:
            lengths = snapshot_lengths(frozen)
            values = advise_recipe(
                pairs=lengths.rows,
                parameters=count_parameters(location=parent.location, name=parent.name),
                gpu=has_gpu(),
                method=method,
                loss=loss,
                adapter=adapter,
                longest=lengths.longest,
                validation=lengths.validation,
            ).values
        run = start_training(
            s,
            by=person,
            project_id=target.id,
            snapshot_id=frozen.id,
            base_model_id=parent.id,
            recipe=replace(values, max_steps=max_steps),
            model_name=name,
        )
    wait_for_run(run.id)


@app.command()
def benchmark(
    model_name: Annotated[str, typer.Argument(metavar="MODEL", help="A model's name, or that of who answers with it.")],
    project: ProjectOption = "",
    by: PersonOption = "",
    task: Annotated[
        list[str] | None, typer.Option(help="lm-eval's name or a YAML file; repeat for several. Else the usual three.")
    ] = None,
    examples: Annotated[int, typer.Option(min=1, help="At most so many of each task; minutes with the default.")] = 100,
    base: Annotated[bool, typer.Option(help="Also of the model that it was made from, to compare them.")] = True,
    four_bits: Annotated[bool, typer.Option("--four-bits", help="Also of the model loaded in four bits.")] = False,
) -> None:
    """Ask a model and its base public benchmarks, wait, and print what was lost or gained."""
    from eval.benchmarks.findings import compare_with_references
    from eval.benchmarks.runs import (
        BenchmarkTarget,
        find_earlier_runs,
        find_model,
        list_benchmark_runs,
        request_benchmark,
    )
    from eval.benchmarks.tasks import DEFAULT, clean_tasks

    with session() as s:
        project_row = find_project(s, project)
        person = acting_person(s, by, project_row)
        version = find_model(s, project_id=project_row.id, name=model_name)
        tasks = clean_tasks(task or DEFAULT)
        targets = [BenchmarkTarget(version)]
        targets += [BenchmarkTarget(version.parent)] if base and version.parent is not None else []
        targets += [BenchmarkTarget(version, quantised=True)] if four_bits else []
        runs = list_benchmark_runs(s, model_version_ids=[target.version.id for target in targets])
        earlier_runs = find_earlier_runs(runs, targets, tasks=tasks, examples=examples)
        unfinished = []
        for target in targets:
            if target in earlier_runs:
                console.print(f"{target.name} has been asked this already.", markup=False)
            run = earlier_runs.get(target) or request_benchmark(
                s,
                by=person,
                project_id=project_row.id,
                model_version_id=target.version.id,
                tasks=tasks,
                examples=examples,
                quantised=target.quantised,
            )
            if not run.status.ended:
                unfinished.append(run.id)
    for run_id in unfinished:
        wait_for_run(run_id)
    with reading() as s:
        for comparison in compare_with_references(s, version=s.get_one(ModelVersion, version.id)):
            console.print(f"{comparison.model} against {comparison.reference}:", markup=False)
            lines = [f"{pair.task}, {pair.metric}: {pair.sentence}" for pair in comparison.differences]
            lines += [f"{pair.task}, {pair.metric}: not compared, {pair.reason}" for pair in comparison.not_compared]
            for line in lines:
                console.print(f"  {line}", markup=False, highlight=False)
