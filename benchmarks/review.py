"""How long a reviewer waits for the next pair, by the size of the project: claim and save, without a browser.

    python -m benchmarks.review --prompts 100000 --reviewers 20

Seeds a database of its own in a temporary folder and prints JSON. Two responses a prompt; half of the comparisons are
ranked by one person, a tenth by two.
"""

import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import insert

CHUNK = 5000


def seed(prompts: int, reviewers: int) -> tuple[int, list[int]]:
    """Fill the database; gives the project's id and the reviewers'."""
    from db.models import (
        Comparison,
        ComparisonResponse,
        Placement,
        Prompt,
        PromptSet,
        Ranking,
        Responder,
        ResponderKind,
        Response,
        Role,
    )
    from db.people import create_project, ensure_reviewer, ensure_role
    from db.session import session

    with session() as s:
        people = [ensure_reviewer(s, name=f"Person {n}").id for n in range(reviewers)]
        project = create_project(s, name="Large", task="", instructions="", guideline="", by=people[0]).id
        for person in people:
            ensure_role(s, project_id=project, reviewer_id=person, role=Role.ANNOTATOR)
        ours = PromptSet(project_id=project, file_name="x", sha256="x", row_count=prompts, imported_by_id=people[0])
        models = [Responder(project_id=project, name=f"Writer {n}", kind=ResponderKind.HUMAN) for n in range(2)]
        s.add_all([ours, *models])
        s.flush()
        set_id, writers = ours.id, [model.id for model in models]
    for start in range(0, prompts, CHUNK):
        ids = range(start + 1, min(start + CHUNK, prompts) + 1)
        rows: dict[Any, list[dict[str, Any]]] = {
            Prompt: [
                {
                    "id": n,
                    "project_id": project,
                    "prompt_set_id": set_id,
                    "row_number": n,
                    "text": f"Where is parcel {n}? It should have come on Monday, and it is Friday now.",
                    "content_hash": str(n),
                    "held_out": False,
                    "cluster": str(n),
                }
                for n in ids
            ],
            Response: [
                {
                    "id": 2 * n + k,
                    "prompt_id": n,
                    "responder_id": writers[k],
                    "text": f"It left today, number {n}. " * 5,
                }
                for n in ids
                for k in range(2)
            ],
            Comparison: [{"id": n, "project_id": project, "prompt_id": n, "key": f"{2 * n},{2 * n + 1}"} for n in ids],
            ComparisonResponse: [{"comparison_id": n, "response_id": 2 * n + k} for n in ids for k in range(2)],
        }
        given = [(n, turn) for n in ids for turn in range(2 if n % 10 == 0 else n % 2)]
        rows[Ranking] = [
            {"id": 2 * n + turn, "comparison_id": n, "reviewer_id": people[(n + turn) % reviewers], "both_bad": False}
            for n, turn in given
        ]
        rows[Placement] = [
            {"ranking_id": 2 * n + turn, "response_id": 2 * n + k, "place": k + 1, "position": k}
            for n, turn in given
            for k in range(2)
        ]
        with session() as s:
            for table, values in rows.items():
                s.execute(insert(table), values)
    return project, people


def measure(project: int, people: list[int], turns: int, wanted: int | None) -> dict[str, float]:
    """Milliseconds from asking for a pair to its being saved, one after another."""
    from db.session import session
    from review.assignment import progress
    from review.queue import claim, set_queue
    from review.rankings import Choice, last_ranking, rank_pair

    with session() as s:
        set_queue(s, by=people[0], project_id=project, people=wanted, share=0.1)
    parts: dict[str, list[float]] = {"claim": [], "progress": [], "last": [], "save": []}

    def timed(name: str, began: float) -> None:
        parts[name].append(1000 * (time.perf_counter() - began))

    for turn in range(turns):
        me = people[turn % len(people)]
        with session() as s:
            began = time.perf_counter()
            pair = claim(s, project_id=project, reviewer_id=me)
            timed("claim", began)
            began = time.perf_counter()
            progress(s, project_id=project, reviewer_id=me)
            timed("progress", began)
            began = time.perf_counter()
            last_ranking(s, by=me, project_id=project)
            timed("last", began)
        if pair is None:
            break
        began = time.perf_counter()
        with session() as s:
            rank_pair(s, by=me, comparison_id=pair.comparison_id, choice=Choice.LEFT)
        timed("save", began)
    return {f"{name}_p50_ms": round(statistics.median(values), 2) for name, values in parts.items()} | {
        f"{name}_p95_ms": round(statistics.quantiles(values, n=20)[18], 2) for name, values in parts.items()
    }


def main(
    prompts: Annotated[int, typer.Option(help="One comparison each.")] = 100_000,
    reviewers: int = 20,
    turns: Annotated[int, typer.Option(help="Pairs to rank in each measurement.")] = 40,
) -> None:
    """Seed, measure, print."""
    with tempfile.TemporaryDirectory() as home:
        os.environ["PICKWELL_HOME"] = home
        from db.session import migrate

        migrate()
        began = time.perf_counter()
        project, people = seed(prompts, reviewers)
        found = {
            "prompts": prompts,
            "reviewers": reviewers,
            "seeding_s": round(time.perf_counter() - began, 1),
            "megabytes": round((Path(home) / "pickwell.db").stat().st_size / 1e6),
            "everybody_ranks_all": measure(project, people, turns, None),
            "two_people_for_a_tenth": measure(project, people, turns, 2),
        }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    typer.run(main)
