"""A team's queue: nobody is given a pair beyond its quota, and no ranking is lost, however many claim at once."""

import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from threading import Barrier

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.comparisons import people_wanted_for
from db.models import Comparison, Lease, Project, Ranking, Reviewer, Role, now
from db.session import reading, session
from errors import NotAllowed, Refused
from review.queue import claim, list_other_leases, release, set_queue
from review.rankings import rank
from settings import ROOT
from stats.verdicts import Verdict
from tests.factories import a_comparison, a_human, a_project, a_prompt, a_response, a_reviewer, many_pairs, sure

pytestmark = pytest.mark.both_databases

PEOPLE, TURNS, PAIRS = 8, 60, 240
"""240 pairs, of which one half wants three people and the other one, are as many as eight times 60 turns."""
WORK = """
import random, sys, time
from datetime import timedelta
import review.queue
from db.session import session
from errors import Refused
from review.queue import claim
from review.rankings import rank
from stats.verdicts import Verdict
me, project, turns, lease_ms = (int(word) for word in sys.argv[1:])
chance = random.Random(me)
if lease_ms:
    review.queue.LEASE = timedelta(milliseconds=lease_ms)
saved, late, refused, waited = [], 0, 0, 0
while len(saved) + refused < turns and waited < 20:
    with session() as s:
        pair = claim(s, project_id=project, reviewer_id=me)
    if pair is None:
        waited += 1
        time.sleep(0.02)
        continue
    waited = 0
    if slow := lease_ms and chance.random() < 0.5:
        time.sleep(2 * lease_ms / 1000)
    try:
        with session() as s:
            ranking = rank(s, by=me, comparison_id=pair.comparison_id, order=Verdict.LEFT.order).id
        saved.append(ranking)
        late += bool(slow)
    except Refused:
        refused += 1
print(late, refused, *saved)
"""


class Team:
    """A project with some pairs and two annotators."""

    def __init__(self, s: Session, pairs: int, people: int | None, share: float = 1.0) -> None:
        self.s = s
        self.project: Project = a_project(s)
        self.manager: Reviewer = a_reviewer(s, self.project)
        self.ann, self.bo, self.cy = (a_reviewer(s, self.project, Role.ANNOTATOR, name=n) for n in ("Ann", "Bo", "Cy"))
        one, two = a_human(s, self.project), a_human(s, self.project)
        self.pairs: list[Comparison] = []
        for _ in range(pairs):
            prompt = a_prompt(s, self.project)
            self.pairs.append(a_comparison(s, a_response(s, prompt, one), a_response(s, prompt, two)))
        set_queue(s, by=self.manager.id, project_id=self.project.id, people=people, share=share)

    def claim(self, who: Reviewer) -> int | None:
        pair = claim(self.s, project_id=self.project.id, reviewer_id=who.id)
        return pair.comparison_id if pair else None

    def rank(self, who: Reviewer, comparison_id: int) -> None:
        rank(self.s, by=who.id, comparison_id=comparison_id, order=Verdict.LEFT.order)


def test_a_pair_on_somebodys_screen_is_not_given_to_another(s: Session) -> None:
    team = Team(s, pairs=2, people=1)
    first, second = team.claim(team.ann), team.claim(team.bo)
    assert {first, second} == {pair.id for pair in team.pairs}
    assert team.claim(team.ann) == first, "a reload shows the same pair"
    assert team.claim(team.cy) is None
    held = list_other_leases(s, project_id=team.project.id, reviewer_id=team.cy.id)
    assert [(one.reviewer, one.pairs) for one in held] == [("Ann", 1), ("Bo", 1)]
    assert first is not None
    release(s, comparison_id=first, reviewer_id=team.ann.id)
    assert team.claim(team.cy) == first


def test_a_lease_that_ran_out_is_given_on_and_its_late_ranking_is_told_that_it_was_not_needed(s: Session) -> None:
    team = Team(s, pairs=1, people=1)
    pair = sure(team.claim(team.ann))
    for lease in s.scalars(select(Lease)):
        lease.until = now() - timedelta(seconds=1)
    s.flush()
    assert team.claim(team.bo) == pair
    team.rank(team.bo, pair)
    with pytest.raises(Refused, match="Enough people have ranked"):
        team.rank(team.ann, pair)


def test_a_lease_that_ran_out_does_no_harm_while_there_is_room(s: Session) -> None:
    team = Team(s, pairs=1, people=2)
    pair = sure(team.claim(team.ann))
    for lease in s.scalars(select(Lease)):
        lease.until = now() - timedelta(seconds=1)
    s.flush()
    team.rank(team.bo, pair)
    team.rank(team.ann, pair)
    with pytest.raises(Refused, match="Enough people have ranked"):
        team.rank(team.cy, pair)
    assert s.scalar(select(func.count()).select_from(Lease)) == 0


def test_only_the_share_wants_several_people(s: Session) -> None:
    team = Team(s, pairs=30, people=2, share=0.3)
    for who in (team.ann, team.bo, team.cy):
        while (pair := team.claim(who)) is not None:
            team.rank(who, pair)
    counts = s.execute(select(Ranking.comparison_id, func.count()).group_by(Ranking.comparison_id)).all()
    twice = sum(count == 2 for _, count in counts)
    assert len(counts) == 30
    assert {count for _, count in counts} == {1, 2}
    assert 2 <= twice <= 17


def test_without_a_number_everybody_ranks_everything_and_nothing_is_leased(s: Session) -> None:
    team = Team(s, pairs=3, people=None)
    for who in (team.ann, team.bo):
        while (pair := team.claim(who)) is not None:
            team.rank(who, pair)
    assert s.scalar(select(func.count()).select_from(Ranking)) == 6
    assert s.scalar(select(func.count()).select_from(Lease)) == 0


def test_a_simulated_reviewers_word_fills_no_quota(s: Session) -> None:
    team = Team(s, pairs=1, people=1)
    rule = a_reviewer(s, team.project, simulated=True)
    pair = sure(team.claim(rule))
    team.rank(rule, pair)
    assert team.claim(team.ann) == pair
    team.rank(team.ann, pair)


def test_the_queue_goes_on_after_hundreds_of_thousands_of_pairs(s: Session) -> None:
    team = Team(s, pairs=1, people=2, share=0.5)
    late = team.pairs[0]
    large = Comparison(id=2_000_000_000, project_id=late.project_id, prompt_id=late.prompt_id, key="large")
    large.responses = list(late.responses)
    s.add(large)
    s.flush()
    while (pair := team.claim(team.ann)) is not None:
        team.rank(team.ann, pair)
    assert set(s.scalars(select(Ranking.comparison_id))) == {late.id, large.id}


@pytest.mark.parametrize("wanted_people", [None, 2])
@pytest.mark.usefixtures("database")
def test_eight_tabs_of_one_person_claim_and_rank_without_a_crash_and_once_each(wanted_people: int | None) -> None:
    with session() as s:
        team = Team(s, pairs=12, people=wanted_people)
        project, me = team.project.id, team.ann.id
    start = Barrier(8, timeout=60)

    def work(_: int) -> int:
        saved = 0
        for _turn in range(4):
            start.wait()
            with session() as s:
                pair = claim(s, project_id=project, reviewer_id=me)
            if pair is not None:
                with suppress(Refused), session() as s:
                    rank(s, by=me, comparison_id=pair.comparison_id, order=Verdict.LEFT.order)
                    saved += 1
        return saved

    with ThreadPoolExecutor(8) as pool:
        acknowledged = sum(pool.map(work, range(8)))
    with reading() as s:
        ranked = s.scalars(select(Ranking.comparison_id)).all()
    assert len(set(ranked)) == len(ranked) == acknowledged >= 4


def test_only_a_manager_says_how_many(s: Session) -> None:
    team = Team(s, pairs=1, people=1)
    with pytest.raises(NotAllowed):
        set_queue(s, by=team.ann.id, project_id=team.project.id, people=2, share=1.0)
    for people, share in ((0, 1.0), (11, 1.0), (2, 0.0), (2, 1.5)):
        with pytest.raises(Refused):
            set_queue(s, by=team.manager.id, project_id=team.project.id, people=people, share=share)


@dataclass(frozen=True)
class Done:
    """What several processes said when they had ended."""

    saved: list[list[int]]
    """Ids of the rankings that each was told are saved."""
    late: int
    """Of those, how many were given after the lease had run out."""
    refused: int


def all_at_once(tmp_path: Path, project_id: int, people: Sequence[int], turns: int, lease_ms: int = 0) -> Done:
    """Let each person claim and rank in a process of their own, all at the same time."""
    script = tmp_path / "work.py"
    script.write_text(f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{WORK}")
    running = [
        subprocess.Popen(
            [sys.executable, str(script), *map(str, (person, project_id, turns, lease_ms))],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for person in people
    ]
    try:
        said = [[int(word) for word in one.communicate(timeout=900)[0].split()] for one in running]
    finally:
        for one in running:
            one.kill()
    assert [one.returncode for one in running] == [0] * len(people)
    return Done([one[2:] for one in said], sum(one[0] for one in said), sum(one[1] for one in said))


def drain(project_id: int, people: Sequence[int]) -> list[int]:
    """Let the people rank what is left, one after another."""
    saved = []
    for person in people:
        while True:
            with session() as s:
                pair = claim(s, project_id=project_id, reviewer_id=person)
                if pair is None:
                    break
                saved.append(rank(s, by=person, comparison_id=pair.comparison_id, order=Verdict.LEFT.order).id)
    return saved


def counts_and_wanted(project_id: int) -> tuple[dict[int, int], dict[int, int], list[int]]:
    """For each comparison how many ranked it and how many should, and the ids of all rankings."""
    with reading() as s:
        limit = sure(people_wanted_for(s.get_one(Project, project_id)))
        should = dict(s.execute(select(Comparison.id, limit)).all())
        ranked = select(Ranking.comparison_id, func.count()).group_by(Ranking.comparison_id)
        return dict(s.execute(ranked).all()), should, list(s.scalars(select(Ranking.id)))


@pytest.mark.slow
def test_eight_processes_at_once_keep_every_quota_and_lose_nothing(database: Path, tmp_path: Path) -> None:
    with session() as s:
        project = a_project(s)
        many_pairs(s, project, PAIRS)
        people = [a_reviewer(s, project, Role.ANNOTATOR).id for _ in range(PEOPLE)]
        manager = a_reviewer(s, project)
        set_queue(s, by=manager.id, project_id=project.id, people=3, share=0.5)

    done = all_at_once(tmp_path, project.id, people, TURNS)

    ranked, should, kept = counts_and_wanted(project.id)
    acknowledged = [one for some in done.saved for one in some]
    assert sorted(acknowledged) == sorted(kept)
    assert all(count <= should[comparison] for comparison, count in ranked.items())
    assert len(should) == PAIRS
    assert set(should.values()) == {1, 3}
    assert len(acknowledged) >= 0.9 * min(PEOPLE * TURNS, sum(should.values())), "somebody was sent away too early"
    acknowledged += drain(project.id, people)
    ranked, should, kept = counts_and_wanted(project.id)
    assert ranked == should
    assert sorted(acknowledged) == sorted(kept)


@pytest.mark.slow
@pytest.mark.usefixtures("database")
def test_leases_that_run_out_are_given_on_while_all_work_and_late_rankings_count_only_where_there_is_room(
    tmp_path: Path,
) -> None:
    with session() as s:
        project = a_project(s)
        many_pairs(s, project, 60)
        people = [a_reviewer(s, project, Role.ANNOTATOR).id for _ in range(PEOPLE)]
        manager = a_reviewer(s, project)
        set_queue(s, by=manager.id, project_id=project.id, people=2, share=0.5)

    done = all_at_once(tmp_path, project.id, people, TURNS, lease_ms=100)

    assert done.late > 0, "a late ranking is taken while there is room"
    assert done.refused > 0, "nobody was overtaken, so this proved nothing"
    acknowledged = [one for some in done.saved for one in some] + drain(project.id, people)
    ranked, should, kept = counts_and_wanted(project.id)
    assert ranked == should
    assert sorted(acknowledged) == sorted(kept)
