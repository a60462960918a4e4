"""What one pair costs in the database alone: claiming it, counting progress, the last ranking, and saving."""

import time
from dataclasses import dataclass

from benchmarks.latency import Latency, latency


@dataclass(frozen=True)
class Claims:
    """Each step's time in one process with nobody else there."""

    claim: Latency
    progress: Latency
    last_ranking: Latency
    save: Latency


def claims(project_id: int, reviewer_ids: list[int], *, turns: int, people_wanted: int | None, share: float) -> Claims:
    """Rank pairs one after another, the reviewers taking turns.

    The project's own quota is put back afterwards.

    Args:
        project_id: whose pairs are ranked.
        reviewer_ids: the first one manages the project.
        turns: pairs to rank.
        people_wanted: how many people each comparison of the share wants; None lets everybody rank all.
        share: of comparisons that want so many, in (0, 1].
    """
    from db.models import Project
    from db.session import reading, session
    from review.assignment import progress
    from review.queue import claim, set_queue
    from review.rankings import last_ranking, rank
    from stats.verdicts import Verdict

    owner = reviewer_ids[0]
    with reading() as s:
        project = s.get_one(Project, project_id)
        before = project.people_wanted, project.overlap_share
    with session() as s:
        set_queue(s, by=owner, project_id=project_id, people=people_wanted, share=share)
    spent: dict[str, list[float]] = {"claim": [], "progress": [], "last_ranking": [], "save": []}
    for turn in range(turns):
        me = reviewer_ids[turn % len(reviewer_ids)]
        with session() as s:
            began = time.perf_counter()
            pair = claim(s, project_id=project_id, reviewer_id=me)
            claimed = time.perf_counter()
            progress(s, project_id=project_id, reviewer_id=me)
            counted = time.perf_counter()
            last_ranking(s, by=me, project_id=project_id)
            looked = time.perf_counter()
        spent["claim"].append(claimed - began)
        spent["progress"].append(counted - claimed)
        spent["last_ranking"].append(looked - counted)
        if pair is None:
            continue
        began = time.perf_counter()
        with session() as s:
            rank(s, by=me, comparison_id=pair.comparison_id, order=Verdict.LEFT.order)
        spent["save"].append(time.perf_counter() - began)
    with session() as s:
        set_queue(s, by=owner, project_id=project_id, people=before[0], share=before[1])
    return Claims(**{step: latency(seconds) for step, seconds in spent.items()})
