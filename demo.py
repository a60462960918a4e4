"""The whole loop without a person: emails, responses, rankings, DPO, held-out responses, blind evaluation.

A simulated reviewer with the written rule of `simulated.py` ranks and judges, through the same functions as people do,
seeing what they would see. So nothing here is a human preference, and every name says "simulated".
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import select

import simulated
from db.catalog import training_steps
from db.models import (
    GenerationRun,
    ModelVersion,
    Project,
    Responder,
    Response,
    Role,
    Scope,
    Snapshot,
    TrainingRun,
    now,
)
from db.people import create_project, ensure_reviewer, ensure_role
from db.session import reading, session
from errors import PickwellError
from eval.evaluations import close_evaluation, create_evaluation
from eval.judging import judge, next_view
from eval.results import results
from generation.base_model import register_base_model
from generation.plan import start_generation
from generation.responders import Contestant, Sampling, create_responder
from intake.mapping import ColumnMapping, HeldOut
from intake.prompts import save_import
from intake.reading import read_table
from intake.sample import FOLDER
from jobs.local import a_worker, wait_for
from jobs.runs import AnyRun
from review.assignment import next_offer
from review.rankings import Choice, rank_pair
from settings import settings
from template import PromptFormat
from training.recipe import SMALL, start_training
from training.snapshot import freeze

Say = Callable[[str], None]


@dataclass(frozen=True)
class Size:
    """How much of the sample the demo uses."""

    prompts: int = 140
    """Training emails that get two responses each."""
    max_tokens: int = 160
    temperature: float = 0.7
    """Lower than for a larger model: at 0.9 most of a 135M model's samples are nonsense that never ends."""
    max_steps: int | None = None


def run_demo(*, size: Size, say: Say, watch: Callable[[AnyRun], None]) -> dict[str, Any]:
    """Run the loop in a project of its own; returns what happened, ready for JSON."""
    took: dict[str, float] = {}

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        say(name)
        began = time.monotonic()
        yield
        took[name] = round(time.monotonic() - began, 1)

    with stage("Emails"):
        project_id, judge_id = _emails()
    with a_worker():
        with stage("Responses of the base model"):
            base_id = _generate_base(project_id, judge_id, size, watch)
        with stage("Rankings by the simulated reviewer"):
            choices = _rank(project_id, judge_id)
        with stage("Training (DPO)"):
            run = _train(project_id, judge_id, size, watch)
        with stage("Held-out responses of the tuned model"):
            tuned_id = _generate_tuned(run, judge_id, watch)
    with stage("Blind evaluation by the simulated reviewer"):
        evaluation_id = _evaluate(project_id, judge_id, tuned_id, base_id)
    return _report(project_id, run.id, evaluation_id, choices, took)


def _emails() -> tuple[int, int]:
    """A project with the sample's emails: no replies to train on, people's replies on the held-out side."""
    about = json.loads((FOLDER / "project.json").read_text())
    with session() as s:
        by = ensure_reviewer(s, name=simulated.NAME, simulated=True, rule=simulated.RULE).id
        project = create_project(
            s,
            name=f"Demo {now():%Y-%m-%d %H:%M:%S} (simulated)",
            task=f"{about['task']} A rule stands in for every person here.",
            instructions=about["instructions"],
            guideline=f"Simulated: {simulated.RULE}",
            by=by,
        )
        ensure_role(s, project_id=project.id, reviewer_id=by, role=Role.REVIEWER)
        for name, held_out in (("train.jsonl", HeldOut.NONE), ("heldout.jsonl", HeldOut.ALL)):
            content = (FOLDER / name).read_bytes()
            table = read_table(content, file_name=name, max_cell=settings().max_cell_kb * 1024)
            mapping = ColumnMapping(
                prompt="email",
                topic="topic",
                responses=about["people"] if held_out is HeldOut.ALL else {},
                responses_simulated=True,
                held_out=held_out,
            )
            save_import(s, by=by, project_id=project.id, table=table, content=content, mapping=mapping)
        return project.id, by


def _generate_base(project_id: int, by: int, size: Size, watch: Callable[[AnyRun], None]) -> int:
    with session() as s:
        version = register_base_model(s)
        contestant = Contestant(
            version.id,
            PromptFormat(s.get_one(Project, project_id).instructions),
            Sampling(temperature=size.temperature, max_tokens=size.max_tokens),
        )
        name = f"{version.name} as it comes"
        responder = create_responder(s, by=by, project_id=project_id, name=name, contestant=contestant)
        run = start_generation(
            s, by=by, responder_id=responder.id, scope=Scope.ALL, samples=2, prompt_limit=size.prompts
        )
    wait_for("generation", run.id, watch=watch)
    return responder.id


def _rank(project_id: int, by: int) -> dict[str, int]:
    """Rank every pair by the rule, one at a time, as a person would be given them, on the texts as they were given."""
    counts = dict.fromkeys([choice.value for choice in Choice], 0)
    while True:
        with session() as s:
            pair = next_offer(s, project_id=project_id, reviewer_id=by)
            if pair is None:
                return counts
            left, right = (s.get_one(Response, i) for i in (pair.left_id, pair.right_id))
            said = simulated.verdict(
                pair.prompt,
                left.text,  # nothing betrays anybody to a rule
                right.text,
                left_finish=left.finish_reason,
                right_finish=right.finish_reason,
            )
            rank_pair(
                s,
                by=by,
                comparison_id=pair.comparison_id,
                choice=Choice(said.value),
                reason="Simulated: the written rule decided.",
            )
            counts[said.value] += 1


def _train(project_id: int, by: int, size: Size, watch: Callable[[AnyRun], None]) -> TrainingRun:
    with session() as s:
        snapshot = freeze(s, by=by, project_id=project_id)
        run = start_training(
            s,
            by=by,
            project_id=project_id,
            snapshot_id=snapshot.id,
            base_model_id=register_base_model(s).id,
            recipe=replace(SMALL, max_steps=size.max_steps),
            model_name=f"Tuned on the rule, {now():%Y-%m-%d %H:%M:%S}",
        )
    done = wait_for("training", run.id, watch=watch)
    assert isinstance(done, TrainingRun)
    return done


def _generate_tuned(run: TrainingRun, by: int, watch: Callable[[AnyRun], None]) -> int:
    with session() as s:
        responder_id = s.scalars(
            select(Responder.id).where(
                Responder.project_id == run.project_id, Responder.model_version_id == run.model_version_id
            )
        ).one()
        generation = start_generation(s, by=by, responder_id=responder_id, scope=Scope.HELD_OUT, samples=1)
    wait_for("generation", generation.id, watch=watch)
    return responder_id


def _evaluate(project_id: int, by: int, tuned_id: int, base_id: int) -> int:
    """Judge every pair by the rule, on what a blind reviewer sees and no more, then close."""
    with session() as s:
        people = s.scalars(
            select(Responder.id).where(Responder.project_id == project_id, Responder.kind == "HUMAN")
        ).all()
        evaluation = create_evaluation(
            s,
            by=by,
            project_id=project_id,
            name="Tuned model against people's and the base model's replies (simulated)",
            candidate_id=tuned_id,
            baseline_ids=[*people, base_id],
            seed=0,
        )
    while True:
        with session() as s:
            view = next_view(s, by=by, evaluation_id=evaluation.id)
            if view is None:
                close_evaluation(s, by=by, evaluation_id=evaluation.id)
                return evaluation.id
            # a blind reviewer is not told whether a reply was cut; neither is the rule
            said = simulated.verdict(view.prompt, view.left, view.right, left_finish=None, right_finish=None)
            judge(s, by=by, judgment_id=view.judgment_id, verdict=said)


def _report(
    project_id: int, run_id: int, evaluation_id: int, choices: dict[str, int], took: dict[str, float]
) -> dict[str, Any]:
    with reading() as s:
        run = s.get_one(TrainingRun, run_id)
        snapshot = s.get_one(Snapshot, run.snapshot_id)
        if run.model_version_id is None:
            raise PickwellError(f"Training run {run_id} ended without a model. Look at its log.")
        tuned, base = s.get_one(ModelVersion, run.model_version_id), s.get_one(ModelVersion, run.base_model_id)
        found = results(s, evaluation_id=evaluation_id)
        runs = s.scalars(select(GenerationRun).where(GenerationRun.project_id == project_id)).all()
        steps = training_steps(s, run_id=run_id)
        return {
            "simulated": True,
            "rule": simulated.RULE,
            "project": s.get_one(Project, project_id).name,
            "seconds": took,
            "seconds_in_all": round(sum(took.values()), 1),
            "generated_tokens": sum(generation.tokens for generation in runs),
            "simulated_rankings": choices,
            "snapshot": {
                "sha256": snapshot.sha256,
                "rows": snapshot.row_count,
                "left_out": {entry.reason: entry.count for entry in snapshot.left_out},
            },
            "base_model": {"name": base.name, "sha256": base.sha256, "template_hash": base.template_hash},
            "model": {"name": tuned.name, "sha256": tuned.sha256, "template_hash": tuned.template_hash},
            "losses": [round(step.loss, 5) for step in steps if step.split.value == "TRAIN"],
            "reward_margins": [
                round(step.reward_margin, 4)
                for step in steps
                if step.split.value == "TRAIN" and step.reward_margin is not None
            ],
            "evaluation": {
                "name": found.evaluation.name,
                "protocol_sha256": found.evaluation.protocol_sha256,
                "candidate": found.candidate,
            },
            "win_rates": [
                {
                    "against": contrast.baseline,
                    "simulated_judge": contrast.simulated_judges,
                    "win_rate": round(contrast.rate.rate, 4),
                    "low": round(contrast.rate.low, 4),
                    "high": round(contrast.rate.high, 4),
                    "wins": contrast.rate.wins,
                    "ties": contrast.rate.ties,
                    "both_bad": contrast.rate.both_bad,
                    "losses": contrast.rate.losses,
                    "n": contrast.rate.n,
                }
                for contrast in found.contrasts
            ],
        }
