"""What was acknowledged is there: after kill -9 of whoever writes, on both databases, and of the app in a browser."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

from db.models import Comparison, Placement, Project, Ranking, Role
from db.session import reading, session
from settings import ROOT
from tests.factories import a_project, a_reviewer, many_pairs

pytestmark = [pytest.mark.slow, pytest.mark.both_databases]

PAIRS = 1000
KILLS = 8
WORK = """
import sys
from db.session import session
from review.queue import claim
from review.rankings import rank
from stats.verdicts import Verdict
me, project = int(sys.argv[1]), int(sys.argv[2])
while True:
    with session() as s:
        pair = claim(s, project_id=project, reviewer_id=me)
        if pair is None:
            break
    with session() as s:
        ranking = rank(s, by=me, comparison_id=pair.comparison_id, order=Verdict.LEFT.order).id
    print(ranking, flush=True)
"""


@pytest.mark.usefixtures("database")
def test_kill_9_in_the_middle_of_1000_rankings_loses_none_that_was_acknowledged(tmp_path: Path, backend: str) -> None:
    with session() as s:
        project: Project = a_project(s)
        me = a_reviewer(s, project, Role.ANNOTATOR).id
        many_pairs(s, project, PAIRS)
    script = tmp_path / "work.py"
    script.write_text(f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{WORK}")
    command = [sys.executable, str(script), str(me), str(project.id)]
    chance = random.Random(9)
    acknowledged: list[int] = []
    for turns in [*(chance.randrange(20, 200) for _ in range(KILLS)), PAIRS]:
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as one:
            assert one.stdout is not None
            for _, line in zip(range(turns), one.stdout, strict=False):
                acknowledged.append(int(line))
            if turns < PAIRS:
                time.sleep(chance.uniform(0, 0.02))  # anywhere in a turn
                one.kill()
            acknowledged += [int(line) for line in one.stdout]
        assert one.returncode == (-signal.SIGKILL if turns < PAIRS else 0)
    with reading() as s:
        kept = s.scalars(select(Ranking.id).where(Ranking.reviewer_id == me, Ranking.undone_at.is_(None))).all()
        assert set(acknowledged) <= set(kept)
        assert len(kept) == s.scalar(select(func.count()).select_from(Comparison)) == PAIRS
        assert 0 <= PAIRS - len(acknowledged) <= KILLS, "at most one a kill was saved and not yet said so"
        assert s.scalar(select(func.count()).select_from(Placement)) == 2 * PAIRS, "a ranking is whole or not there"
        if backend == "sqlite":
            assert s.scalar(text("PRAGMA integrity_check")) == "ok"
            assert s.execute(text("PRAGMA foreign_key_check")).all() == []
