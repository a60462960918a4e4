"""The whole story once on the echo engine in seconds, and once on a real engine and the real trainer."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from db.models import Role, Scope
from db.people import ensure_reviewer, ensure_role
from db.session import reading, session
from eval.evaluations import close_evaluation, create_evaluation
from eval.judging import judge, next_view
from eval.protocol import LeakPolicy
from eval.report.results import load_results
from examples import simulated
from generation.plan import start_generation
from generation.worker import run as generate
from intake.sample import load_sample
from jobs.progress import unmanaged_progress
from review.assignment import next_offer
from review.rankings import rank
from settings import ROOT
from stats.verdicts import Verdict
from tests.factories import a_model, sure
from training.data.snapshot import freeze, read_snapshot
from ui.project_progress import project_progress


def test_the_story_on_the_echo_engine(database: Path) -> None:
    with session() as s:
        project = load_sample(s)
        me = ensure_reviewer(s, name="Mara")
        ensure_role(s, project_id=project.id, reviewer_id=me.id, role=Role.MANAGER)
        model = a_model(s, project, name="Echo model")
        run = start_generation(s, by=me.id, responder_id=model.id, scope=Scope.ALL, samples=2, prompt_limit=15)
    generate(unmanaged_progress("generation", run.id))
    with session() as s:
        for _ in range(10):
            pair = sure(next_offer(s, project_id=project.id, reviewer_id=me.id))
            rank(s, by=me.id, comparison_id=pair.comparison_id, order=Verdict.LEFT.order)
        snapshot = freeze(s, by=me.id, project_id=project.id)
        assert snapshot.simulated_count > 0
        read_snapshot(snapshot)
        people = [r.id for r in s.query(type(model)).filter_by(project_id=project.id, kind="HUMAN")]
        contest = create_evaluation(
            s,
            by=me.id,
            project_id=project.id,
            name="x",
            candidate_id=model.id,
            baseline_ids=people,
            seed=1,
            undecided=LeakPolicy.KEEP,
        )
        while view := next_view(s, by=me.id, evaluation_id=contest.id):
            judge(s, by=me.id, judgment_id=view.judgment_id, verdict=Verdict.TIE)
        close_evaluation(s, by=me.id, evaluation_id=contest.id)
    with reading() as s:
        found = load_results(s, evaluation_id=contest.id)
        now = project_progress(s, project_id=project.id)
    assert (found.by_reviewers[0].headline.n, found.by_reviewers[0].headline.rate) == (40, 0.5)
    assert (now.prompts, now.held_out, now.judgments, now.closed_evaluations) == (240, 40, 40, 1)


@pytest.mark.slow
def test_the_story_on_a_real_engine_and_the_real_trainer(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PICKWELL_BASE_MODEL", str(tiny))
    monkeypatch.setenv("PICKWELL_ENGINE", "transformers")  # it starts in a quarter of vLLM's time
    report = tmp_path / "examples.demo.json"
    command = [sys.executable, "cli.py", "demo", "--prompts", "24", "--generated", "4", "--held-out", "6"]
    command += ["--max-steps", "2", "--json", str(report)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    happened = json.loads(report.read_text())
    assert happened["simulated"] is True
    assert happened["rule"] == simulated.RULE
    (training,) = happened["trainings"]
    assert len(training["losses"]) == 2
    made = (happened["base_model"], happened["supervised"]["model"], training["model"])
    assert len({model["template_hash"] for model in made}) == 1
    assert len({model["sha256"] for model in made}) == 3
    rule, second = f"{simulated.NAME} (simulated)", f"{simulated.NEAREST_NAME} (simulated)"
    assert Counter((entry["how"], entry["judge"], entry["n"]) for entry in happened["win_rates"]) == {
        ("sampled", rule, 3): 2,  # each of two people
        ("sampled", rule, 6): 3,  # people together, the supervised model and the base model
        ("sampled", second, 6): 1,
        ("greedy", rule, 6): 2,
        ("greedy", second, 6): 1,
    }
    judged = [
        entry for entry in happened["win_rates"] if entry["ties"] < entry["n"]
    ]  # the same reply twice is asked nobody
    assert judged
    assert all(entry["simulated_judge"] for entry in judged)


def test_the_rule_knows_what_a_manager_would_want() -> None:
    email = "My parcel with the atlas never came and I am upset. Where is it? Ben"
    good = (
        "Dear Ben, I am sorry that your parcel with the atlas never came. A UK parcel counts as lost after ten working "
        "days, so we will send another atlas today, free. You should have it by Friday. Merrowby Books"
    )
    for bad in ("Sorry about that.", "We like books.", good[:80], f"{good} {good} {good}"):
        finish = "length" if bad == good[:80] else "stop"
        assert simulated.rule_verdict(email, good, bad, left_finish="stop", right_finish=finish) is Verdict.LEFT
