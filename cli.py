"""The same functions as on the pages, from a shell: ``python cli.py --help``."""

import ipaddress
import json
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress as Bar
from rich.table import Table as Grid
from sqlalchemy import select

from db.catalog import evaluations, project_named, responders, story
from db.models import (
    Adapter,
    Loss,
    Method,
    ModelVersion,
    Project,
    Responder,
    Reviewer,
    Role,
    Scope,
    Snapshot,
)
from db.people import ensure_reviewer, has_manager, join
from db.session import migrate, reading, session
from errors import BadFile, BadSetting, NotAllowed, NotFound, PickwellError
from eval.protocol import Undecided
from jobs.runs import AnyRun
from settings import ROOT, settings

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
console = Console()
WITHOUT_DATABASE = {"winrate"}
"""Commands that read and write files only."""

InProject = Annotated[str, typer.Option("--project", "-p", help="Project name; not needed if there is only one.")]
AsPerson = Annotated[str, typer.Option("--as", help="Your name; you need the role in the project.")]


@app.callback()
def _begin(context: typer.Context) -> None:
    """The same functions as on the pages, from a shell."""
    if "--help" not in sys.argv and context.invoked_subcommand not in WITHOUT_DATABASE:
        migrate()


def _check_host() -> None:
    host = settings().host
    try:
        inside = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        inside = False
    if not inside:
        raise BadSetting(
            f"PICKWELL_HOST is {host}, but without accounts the app answers on this machine only. Use 127.0.0.1."
        )


def _person(s: Any, name: str, project: Project) -> int:
    """Id of the person acting: by name, or the project's only manager."""
    if name:
        found = s.scalar(select(Reviewer.id).where(Reviewer.name == " ".join(name.split())))
        if found is None:
            raise NotFound(
                f"There is nobody called “{name}” here. Add them with cli.py join, or look at cli.py status."
            )
        return int(found)
    from db.people import members

    managers = [
        person.id
        for person, roles in members(s, project_id=project.id)
        if Role.MANAGER in roles and not person.simulated
    ]
    if len(managers) != 1:
        raise NotAllowed("Say who you are with --as NAME; the project has no manager yet, or several.")
    return managers[0]


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise BadFile(f"{file} is not UTF-8. Save it again with that encoding.") from None


def _watcher() -> tuple[Bar, Any]:
    bar = Bar(console=console)
    tasks: dict[str, Any] = {}

    def watch(run: AnyRun) -> None:
        key = f"{type(run).__name__} {run.id}"
        if key not in tasks:
            tasks[key] = bar.add_task(key, total=None)
        bar.update(tasks[key], description=f"{key}: {run.stage or run.status.value.lower()}"[:90])
        bar.update(tasks[key], total=run.total or None, completed=run.done)

    return bar, watch


def _wait(kind: str, run_id: int) -> None:
    """Wait for a run with a bar, and a worker if none is there."""
    from jobs.local import a_worker, wait_for

    bar, watch = _watcher()
    with bar, a_worker():
        wait_for(kind, run_id, watch=watch)


@app.command()
def setup(sample: Annotated[bool, typer.Option(help="Load the sample project.")] = True) -> None:
    """Database, sample project and default model; does nothing that is done already."""
    _check_host()
    if sample:
        from intake.sample import load_sample

        console.print("Sample project …")
        with session() as s:
            load_sample(s)
    model()


@app.command()
def model() -> None:
    """The default model, unpacked once; needs the full requirements, not only the app's."""
    if settings().base_model or settings().engine.value == "echo" or settings().engine_url:
        return
    if not find_spec("transformers"):
        console.print("No transformers here: people can rank and judge; generating and training need the full set.")
        return
    # a process of its own: this one stays free of torch
    if subprocess.run([sys.executable, "-m", "generation.default_model"], cwd=ROOT).returncode:
        raise typer.Exit(1)


@app.command()
def run() -> None:
    """Serve the app, with a worker beside it where the full set is installed; Ctrl+C ends both."""
    _check_host()
    from jobs.local import a_worker

    address = f"http://{settings().host}:{settings().port}"
    console.print(f"Pickwell answers on {address} and on this machine only. Ctrl+C ends it.")
    # without the full set a worker could only take up what it must fail at; the pages say that none is there
    with a_worker() if find_spec("transformers") else nullcontext():
        command = [sys.executable, "-m", "streamlit", "run", str(ROOT / "app.py")]
        command += ["--server.address", settings().host, "--server.port", str(settings().port)]
        try:
            raise typer.Exit(subprocess.run(command, cwd=ROOT).returncode)
        except KeyboardInterrupt:
            console.print("Ended.")


@app.command("join")
def join_project(
    name: str,
    project: InProject = "",
    role: Annotated[list[Role], typer.Option(help="Repeat for several.")] = [Role.MANAGER],  # noqa: B006
    by: AsPerson = "",
) -> None:
    """Add somebody to a project."""
    with session() as s:
        found = project_named(s, project)
        actor = _person(s, by, found) if has_manager(s, project_id=found.id) and by else None
        for one in role:
            join(s, project_id=found.id, name=name, role=one, by=actor)


@app.command("new-project")
def new_project(
    name: str,
    by: AsPerson,
    task: str = "",
    instructions: str = "",
    guideline: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="A text file.")] = None,
) -> None:
    """Make a project; you become its manager."""
    from db.people import create_project

    with session() as s:
        create_project(
            s,
            name=name,
            task=task,
            instructions=instructions,
            guideline=_text(guideline) if guideline else "",
            by=ensure_reviewer(s, name=by).id,
        )


@app.command("status")
def show_status(project: InProject = "") -> None:
    """How far a project is, and who answers in it."""
    with reading() as s:
        found = project_named(s, project)
        now = story(s, project_id=found.id)
        grid = Grid("Responder", "Kind", "Training", "Held out", title=escape(found.name))
        for entry in responders(s, project_id=found.id):
            grid.add_row(
                escape(entry.responder.label),
                entry.responder.kind.value.lower(),
                str(entry.training),
                str(entry.held_out),
            )
    console.print(grid)
    console.print(
        f"{now.prompts} prompts ({now.held_out} held out), {now.comparisons} pairs, {now.ranked_by_people} ranked by "
        f"people, {now.ranked_simulated} by simulated reviewers only, {now.corrections} corrections."
    )
    if now.synthetic or now.routed:
        console.print(f"Beside them {now.synthetic} synthetic prompts. Routed to people: {now.routed} prompts.")
    console.print(f"Next: {now.next_step}", markup=False)


@app.command("import")
def import_file(
    file: Path,
    project: InProject = "",
    by: AsPerson = "",
    prompt: Annotated[str, typer.Option(help="Column of the text to answer; guessed if left out.")] = "",
    held_out: Annotated[str, typer.Option(help="none, all, share or column.")] = "",
    share: Annotated[float, typer.Option(help="Held-out share, with --held-out share.")] = 0.2,
    column: Annotated[str, typer.Option(help="Column, with --held-out column.")] = "",
    reply: Annotated[list[str], typer.Option(help="COLUMN=NAME of who wrote it; repeat for several.")] = [],  # noqa: B006
    picks: Annotated[str, typer.Option(help="Column of the picks.")] = "",
    picked_by: str = "",
    simulated: Annotated[bool, typer.Option(help="Replies and picks were made up.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Save without asking.")] = False,
) -> None:
    """Import prompts from CSV or JSONL: shows what would happen, saves after a yes."""
    from intake.mapping import HeldOut, guess_mapping
    from intake.plan import plan_import
    from intake.prompts import save_import
    from intake.reading import read_table

    if not file.is_file():
        raise NotFound(f"There is no file {file}. Check the path.")
    content = file.read_bytes()
    table = read_table(content, file_name=file.name, max_cell=settings().max_cell_kb * 1024)
    mapping = replace(guess_mapping(table.columns), picked_by=picked_by)
    changes: dict[str, Any] = {"responses_simulated": simulated, "picks_simulated": simulated, "held_out_share": share}
    if prompt:
        changes["prompt"] = prompt
    if held_out:
        try:
            changes["held_out"] = HeldOut(held_out.upper())
        except ValueError:
            raise NotFound(f"--held-out cannot be “{held_out}”. Use none, all, share or column.") from None
    if column:
        changes["held_out_column"] = column
    if reply:
        changes["responses"] = {one.partition("=")[0]: one.partition("=")[2] or one for one in reply}
    if picks:
        changes["picked"] = picks
    mapping = replace(mapping, **changes)
    with reading() as s:
        found = project_named(s, project)
        plan = plan_import(s, project_id=found.id, table=table, mapping=mapping)
    console.print(f"Prompts from the column “{mapping.prompt}”.", markup=False)
    for problem in plan.problems:
        console.print(f"Row {problem.row} {problem.message}", markup=False)
    console.print(f"{plan.new} new prompts, {plan.held_out} of them held out; {plan.skipped} rows left out.")
    if not yes:
        typer.confirm("Save this?", abort=True)
    with session() as s:
        done, _ = save_import(
            s,
            by=_person(s, by, found),
            project_id=found.id,
            table=table,
            content=content,
            mapping=mapping,
        )
    console.print(f"Saved {done.prompts} prompts, {done.responses} replies, {done.rankings} picks.")


def _responder(s: Any, project: Project, name: str) -> Responder:
    for entry in responders(s, project_id=project.id):
        if name in (entry.responder.name, entry.responder.label):
            return entry.responder
    names = ", ".join(f"“{entry.responder.name}”" for entry in responders(s, project_id=project.id))
    raise NotFound(f"There is no responder “{name}” in “{project.name}”. There are: {names or 'none yet'}.")


@app.command()
def generate(
    responder: Annotated[str, typer.Argument(help="Its name; made with the base model if new.")],
    project: InProject = "",
    by: AsPerson = "",
    scope: Scope = Scope.ALL,
    samples: int = 2,
    limit: Annotated[int | None, typer.Option(help="At most so many training prompts.")] = None,
) -> None:
    """Generate a responder's missing responses and wait for them."""
    from generation.base_model import register_base_model
    from generation.plan import start_generation
    from generation.responders import Contestant, create_responder
    from template import PromptFormat

    with session() as s:
        found = project_named(s, project)
        person = _person(s, by, found)
        try:
            who = _responder(s, found, responder)
        except NotFound:
            contestant = Contestant(register_base_model(s).id, PromptFormat(found.instructions))
            who = create_responder(s, by=person, project_id=found.id, name=responder, contestant=contestant)
        started = start_generation(s, by=person, responder_id=who.id, scope=scope, samples=samples, prompt_limit=limit)
    _wait("generation", started.id)


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
    max_steps: int | None = None,
) -> None:
    """Freeze the preferences, train a model on them, wait for it."""
    from generation.base_model import register_base_model
    from training.advice import advised
    from training.estimate import has_gpu, lengths, parameters_of
    from training.recipe import PRESETS, start_training
    from training.snapshot import freeze

    with session() as s:
        found = project_named(s, project)
        person = _person(s, by, found)
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
    _wait("training", started.id)


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
    from training.benchmark_tasks import DEFAULT, checked_tasks
    from training.benchmarking import benchmarks, contrasts, model_named, named, request_benchmark, there_already

    with session() as s:
        found = project_named(s, project)
        person = _person(s, by, found)
        version = model_named(s, project_id=found.id, name=model_name)
        tasks = checked_tasks(task or DEFAULT)
        wanted = [(version, False)]
        wanted += [(version.parent, False)] if base and version.parent is not None else []
        wanted += [(version, True)] if four_bits else []
        waiting = []
        for of, four in wanted:
            runs = benchmarks(s, model_version_ids=[of.id])
            there = there_already(runs, model_version_id=of.id, tasks=tasks, examples=examples, quantised=four)
            if there is not None:
                console.print(f"{named(of, quantised=four)} has been asked this already.", markup=False)
            else:
                there = request_benchmark(
                    s,
                    by=person,
                    project_id=found.id,
                    model_version_id=of.id,
                    tasks=tasks,
                    examples=examples,
                    quantised=four,
                )
            if not there.status.ended:
                waiting.append(there.id)
    for run_id in waiting:
        _wait("benchmark", run_id)
    with reading() as s:
        for contrast in contrasts(s, version=s.get_one(ModelVersion, version.id)):
            console.print(f"{contrast.model} against {contrast.reference}:", markup=False)
            for difference in contrast.told:
                console.print(
                    f"  {difference.task}, {difference.metric}: {difference.sentence}", markup=False, highlight=False
                )
            for refused in contrast.untold:
                console.print(
                    f"  {refused.task}, {refused.metric}: not compared, {refused.reason}",
                    markup=False,
                    highlight=False,
                )


@app.command()
def evaluate(
    name: Annotated[str, typer.Argument(help="The evaluation's name.")],
    project: InProject = "",
    by: AsPerson = "",
    candidate: Annotated[str, typer.Option(help="Responder; needed to set one up.")] = "",
    against: Annotated[list[str], typer.Option(help="Baseline; repeat for several.")] = [],  # noqa: B006
    telling: Annotated[
        Undecided, typer.Option(help="Replies that tell who wrote them: refuse and say so, keep, or leave out.")
    ] = Undecided.ASK,
    close: Annotated[bool, typer.Option("--close", help="End the judging.")] = False,
    reason: Annotated[str, typer.Option(help="Why, where it ends before what was planned.")] = "",
) -> None:
    """Set up a blind evaluation, close it, or print a closed one's win rates."""
    import secrets

    from eval.estimates import CannotEstimate
    from eval.evaluations import close_evaluation, create_evaluation
    from eval.results import results

    with session() as s:
        found = project_named(s, project)
        if candidate:
            made = create_evaluation(
                s,
                by=_person(s, by, found),
                project_id=found.id,
                name=name,
                candidate_id=_responder(s, found, candidate).id,
                baseline_ids=[_responder(s, found, one).id for one in against],
                seed=secrets.randbelow(2**31),
                undecided=telling,
            )
            console.print(f"Open for judging: {len(made.pairings)} pairs, protocol {made.protocol_sha256[:12]}.")
            return
        known = {entry.evaluation.name: entry.evaluation for entry in evaluations(s, project_id=found.id)}
        if name not in known:
            raise NotFound(f"There is no evaluation “{name}”. There are: {', '.join(known) or 'none yet'}.")
        if close:
            close_evaluation(s, by=_person(s, by, found), evaluation_id=known[name].id, reason=reason)
        outcome = results(s, evaluation_id=known[name].id)
        grid = Grid(
            "Against", "Win rate", "95 % interval", "W", "T", "L", "n", title=escape(f"{outcome.candidate}: {name}")
        )
        for verdicts in outcome.verdicts:
            judged = " (simulated judge)" if verdicts.simulated else ""
            for one in verdicts.contrasts:
                grid.add_row(
                    escape(one.baseline) + judged,
                    f"{one.rate:.1%}",
                    "none" if isinstance(one.interval, CannotEstimate) else one.interval.percent,
                    *(str(count) for count in (one.wins, one.ties, one.losses, one.n)),
                )
    console.print(grid)


@app.command()
def winrate(
    file: Annotated[Path, typer.Argument(help="CSV with prompt, reviewer, left, right, verdict.")],
    to: Annotated[Path | None, typer.Option("--json", help="Write every figure to this file.")] = None,
    candidate: Annotated[str, typer.Option(help="Whose rate is given; else whoever comes first by name.")] = "",
    against: Annotated[
        str, typer.Option(help="Baseline of the one contrast that was named before the votes; with --candidate.")
    ] = "",
    rounds: Annotated[int, typer.Option(min=100, max=100_000, help="Resamples of the prompts.")] = 1000,
    seed: int = 0,
) -> None:
    """Win rates, strengths, agreement and more from a file of blind verdicts; reads nothing else."""
    from eval.votes_file import read_votes
    from eval.votes_report import as_json, report, summary
    from files import write_json

    if to is not None and not to.parent.is_dir():
        raise NotFound(f"There is no folder {to.parent} to write {to.name} to. Make it first.")
    if to is not None and to.exists() and to.resolve() == file.resolve():
        raise BadFile(f"{to.name} is the file of the votes itself. Write the figures to another one.")
    if against and not candidate:
        raise BadFile("The contrast named before the votes has two sides. Give --candidate too.")
    with console.status("Reading …") as shown:
        read = read_votes(file, candidate=candidate)
        if against and (against not in read.votes.responders or against == candidate):
            raise BadFile(f"There is no other responder “{against}” in {file.name}. Check --against.")
        primary = (candidate, against) if against else None
        found = report(
            read.votes, primary=primary, rounds=rounds, seed=seed, say=lambda what: shown.update(f"Reckoning {what} …")
        )
    for line in summary(found, read):
        console.print(line, markup=False, highlight=False)
    if to is not None:
        write_json(to, as_json(found, read, file, seed=seed))
        console.print(f"Every figure is in {to}.", markup=False, highlight=False)


@app.command()
def demo(
    to: Annotated[Path | None, typer.Option("--json", help="Write what happened to this file.")] = None,
    prompts: Annotated[int, typer.Option(help="Training emails to use.")] = 140,
    generated: Annotated[int, typer.Option(help="Those of them that the base model answers, not people.")] = 60,
    max_steps: Annotated[int | None, typer.Option(help="Stop training after so many steps.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings, each with a seed of its own.")] = 1,
) -> None:
    """The whole loop without a person; a written rule ranks and judges, and everything says simulated."""
    from demo import Size, run_demo

    if to is not None and not to.parent.is_dir():
        raise NotFound(f"There is no folder {to.parent} to write {to.name} to. Make it first.")
    model()
    bar, watch = _watcher()
    with bar:
        size = Size(prompts=prompts, generated=generated, max_steps=max_steps, seeds=seeds)
        report = run_demo(size=size, say=lambda t: console.print(t), watch=watch)
    console.print_json(json.dumps({key: report[key] for key in ("seconds", "snapshot", "win_rates")}))
    console.print("No person ranked or judged anything here: a written rule did (simulated).")
    if to:
        to.write_text(json.dumps(report, indent=2) + "\n")


def main() -> None:
    """Run a command; errors for people are one sentence."""
    try:
        app()
    except PickwellError as problem:
        console.print(str(problem), style="red", markup=False)
        sys.exit(1)


if __name__ == "__main__":
    main()
