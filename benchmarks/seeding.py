"""A database of the size asked for: prompts, two responses each, one comparison each, and rankings by the reviewers.

Rows are made by `_rows`, table by table, and inserted in bulk; who is there is made as the app makes it.
"""

import hashlib
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert

CHUNK = 5000
"""Prompts in one transaction."""
MOST = 6
"""A comparison has 0 to so many rankings, each number as often: three on average."""
SEED = 7
PARCEL = "parcel"
"""Before the number in every prompt, by which whoever looks at a screen or a message knows which pair it shows."""


@dataclass(frozen=True)
class Seeded:
    """What the clients need to know of the database."""

    project_id: int
    reviewer_ids: list[int]
    prompts: int
    responses: int
    rankings: int


def pair_number(text: str) -> int | None:
    """Which pair a text shows, if its prompt is in it."""
    found = re.search(rf"{PARCEL} (\d{{7}})", text)
    return int(found[1]) if found else None


def prompt_text(n: int) -> str:
    """The text of prompt `n`: an email of four sentences, about 300 characters."""
    return (
        f"Good morning, I am writing about {PARCEL} {n:07d}. It should have come on Monday, and it is Friday now. "
        "I telephoned twice and was told both times that somebody would call back, which nobody has done. Could you "
        "please find out where it is, and tell me what happens if it does not come before my daughter's birthday?"
    )


def response_text(n: int, k: int) -> str:
    """The text of response `k` (0 or 1) to prompt `n`: about 400 characters."""
    openings = (
        "Thank you for writing, and I am sorry for the wait.",
        "We are sorry to hear that nothing has come yet.",
    )
    return (
        f"{openings[k]} I have looked up number {n}: it left our warehouse on Thursday and is with the carrier, who "
        "expects to deliver it by Tuesday. I have asked them to telephone you before they come. Should it not be there "
        "by Wednesday, we send a second one by express at our cost, and you may keep the first when it turns up. "
        "Please answer this message if the birthday is sooner than that, and we shall find another way."
    )


def who_ranked(prompts: int, people: list[int]) -> Iterator[dict[int, list[int]]]:
    """Chunks of prompt numbers from 1, each with the people who have ranked its pair.

    Always the same for as many people, in places of the list: who is measured beside the app gets the same data.
    """
    draw = random.Random(SEED)
    # somebody always has a pair to rank, however few the reviewers
    most = min(MOST, len(people) - 1)
    for start in range(1, prompts + 1, CHUNK):
        ids = range(start, min(start + CHUNK, prompts + 1))
        yield {n: draw.sample(people, draw.randint(0, most)) for n in ids}


def seed(prompts: int, reviewers: int) -> Seeded:
    """Fill the migrated, empty database of this process's settings. 100,000 prompts take about half a minute."""
    from db.comparisons import recount
    from db.models import PromptSet, Responder, ResponderKind, Role
    from db.people import create_project, ensure_reviewer, ensure_role
    from db.session import session

    with session() as s:
        people = [ensure_reviewer(s, name=f"Person {n}").id for n in range(reviewers)]
        project = create_project(
            s, name="Large", task="", instructions="", guideline="What could be sent?", by=people[0]
        ).id
        for person in people:
            ensure_role(s, project_id=project, reviewer_id=person, role=Role.ANNOTATOR)
        ours = PromptSet(project_id=project, file_name="x", sha256="x", row_count=prompts, imported_by_id=people[0])
        writers = [Responder(project_id=project, name=f"Writer {n}", kind=ResponderKind.HUMAN) for n in range(2)]
        s.add_all([ours, *writers])
        s.flush()
        prompt_set_id, writer_ids = ours.id, [writer.id for writer in writers]
    rankings = 0
    for rankers in who_ranked(prompts, people):
        with session() as s:
            connection = s.connection()
            for table, rows in _rows(project, prompt_set_id, writer_ids, rankers, first_ranking=rankings + 1):
                if rows:
                    connection.execute(insert(table), rows)
            recount(connection, rankers.keys())
        rankings += sum(len(them) for them in rankers.values())
    return Seeded(project, people, prompts, 2 * prompts, rankings)


def _rows(
    project_id: int, prompt_set_id: int, writer_ids: list[int], rankers: dict[int, list[int]], *, first_ranking: int
) -> Iterator[tuple[Any, list[dict[str, Any]]]]:
    """Tables with their rows, parents first, for the prompts that are the keys of `rankers`: who ranked each pair.

    Prompt n has the comparison n and the responses 2n and 2n + 1.
    """
    from db.comparisons import comparison_key
    from db.models import Comparison, ComparisonResponse, Drawn, Placement, Prompt, Ranking, Response

    yield (
        Prompt.__table__,
        [
            {
                "id": n,
                "project_id": project_id,
                "prompt_set_id": prompt_set_id,
                "row_number": n,
                "text": prompt_text(n),
                "content_hash": hashlib.sha256(prompt_text(n).encode()).hexdigest(),
                "held_out": False,
                "cluster": str(n),
            }
            for n in rankers
        ],
    )
    yield (
        Response.__table__,
        [
            {"id": 2 * n + k, "prompt_id": n, "responder_id": writer_ids[k], "text": response_text(n, k)}
            for n in rankers
            for k in range(2)
        ],
    )
    yield (
        Comparison.__table__,
        [
            {"id": n, "project_id": project_id, "prompt_id": n, "key": comparison_key([2 * n, 2 * n + 1])}
            for n in rankers
        ],
    )
    yield (
        ComparisonResponse.__table__,
        [{"comparison_id": n, "response_id": 2 * n + k} for n in rankers for k in range(2)],
    )
    given = [(n, person) for n, people in rankers.items() for person in people]
    yield (
        Ranking.__table__,
        [
            {
                "id": i,
                "comparison_id": n,
                "reviewer_id": person,
                "drawn": Drawn.RANDOM,
                "strength": 1,
                "seconds": 5.0,
            }
            for i, (n, person) in enumerate(given, start=first_ranking)
        ],
    )
    yield (
        Placement.__table__,
        [
            {"ranking_id": i, "response_id": 2 * n + k, "place": 1 + (k + person) % 2, "position": k}
            for i, (n, person) in enumerate(given, start=first_ranking)
            for k in range(2)
        ],
    )
