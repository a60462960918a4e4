"""Blind evaluations of a project, and figures for a file of votes from elsewhere."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from commands.shell import PersonOption, ProjectOption, acting_person, console, find_responder
from db.lookup import find_project
from db.session import session
from errors import BadFile, NotFound
from eval.evaluations import list_evaluations
from eval.protocol import LeakPolicy
from eval.report.blocks import Grid, Sentence

app = typer.Typer()


@app.command()
def evaluate(
    name: Annotated[str, typer.Argument(help="The evaluation's name.")],
    project: ProjectOption = "",
    by: PersonOption = "",
    candidate: Annotated[str, typer.Option(help="Responder; needed to set one up.")] = "",
    against: Annotated[list[str], typer.Option(help="Baseline; repeat for several.")] = [],  # noqa: B006
    telling: Annotated[
        LeakPolicy, typer.Option(help="Replies that tell who wrote them: refuse and say so, keep, or leave out.")
    ] = LeakPolicy.ASK,
    close: Annotated[bool, typer.Option("--close", help="End the judging.")] = False,
    reason: Annotated[str, typer.Option(help="Why, where it ends before what was planned.")] = "",
) -> None:
    """Set up a blind evaluation, close it, or print a closed one's win rates."""
    import secrets

    from eval.evaluations import close_evaluation, create_evaluation
    from eval.report.findings import win_rate_table
    from eval.report.results import load_results

    with session() as s:
        target = find_project(s, project)
        if candidate:
            evaluation = create_evaluation(
                s,
                by=acting_person(s, by, target),
                project_id=target.id,
                name=name,
                candidate_id=find_responder(s, target, candidate).id,
                baseline_ids=[find_responder(s, target, baseline).id for baseline in against],
                seed=secrets.randbelow(2**31),
                undecided=telling,
            )
            protocol = evaluation.protocol_sha256[:12]
            console.print(f"Open for judging: {len(evaluation.pairings)} pairs, protocol {protocol}.")
            return
        evaluations = {entry.evaluation.name: entry.evaluation for entry in list_evaluations(s, project_id=target.id)}
        if name not in evaluations:
            raise NotFound(f"There is no evaluation “{name}”. There are: {', '.join(evaluations) or 'none yet'}.")
        if close:
            close_evaluation(s, by=acting_person(s, by, target), evaluation_id=evaluations[name].id, reason=reason)
        grid = win_rate_table(load_results(s, evaluation_id=evaluations[name].id))
    _print(grid)


@app.command()
def winrate(
    file: Annotated[Path, typer.Argument(help="CSV with prompt, reviewer, left, right, verdict.")],
    to: Annotated[Path | None, typer.Option("--json", help="Write every figure to this file.")] = None,
    candidate: Annotated[str, typer.Option(help="Whose rate is given; else whoever comes first by name.")] = "",
    against: Annotated[
        str, typer.Option(help="Baseline of the one contrast that was named before the votes; with --candidate.")
    ] = "",
    rounds: Annotated[int, typer.Option(min=100, max=100_000, help="Resamples of the prompts.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of the resampling; the same one gives the same figures.")] = 0,
) -> None:
    """Win rates, strengths, agreement and more from a file of blind verdicts; reads nothing else."""
    from eval.report.votes import figures_json, summarise, vote_figures
    from eval.report.votes_file import read_votes
    from files import write_json

    if to is not None and not to.parent.is_dir():
        raise NotFound(f"There is no folder {to.parent} to write {to.name} to. Make it first.")
    if to is not None and to.exists() and to.resolve() == file.resolve():
        raise BadFile(f"{to.name} is the file of the votes itself. Write the figures to another one.")
    if against and not candidate:
        raise BadFile("The contrast named before the votes has two sides. Give --candidate too.")
    with console.status("Reading …") as status:
        table = read_votes(file, candidate=candidate)
        if against and (against not in table.votes.responders or against == candidate):
            raise BadFile(f"There is no other responder “{against}” in {file.name}. Check --against.")
        figures = vote_figures(
            table.votes,
            primary=(candidate, against) if against else None,
            rounds=rounds,
            seed=seed,
            say=lambda what: status.update(f"Reckoning {what} …"),
        )
    _print(*map(Sentence, summarise(figures, table)))
    if to is not None:
        write_json(to, figures_json(figures, table, file, seed=seed))
        _print(Sentence(f"Every figure is in {to}."))


def _print(*blocks: Sentence | Grid) -> None:
    """Blocks of a report, one below the other."""
    for block in blocks:
        if isinstance(block, Sentence):
            console.print(block.text, markup=False, highlight=False)
            continue
        table = Table(*map(escape, block.rows[0]), title=escape(block.title))
        for row in block.rows:
            table.add_row(*(escape(str(cell)) for cell in row.values()))
        console.print(table)
