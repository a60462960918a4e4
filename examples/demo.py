"""The whole loop without a person, in two rounds: rankings of people's replies, and a supervised model that writes like
the better ones; then rankings of that model's own replies, DPO on all of them, a blind evaluation on held-out emails.

As in the case that this product is for, emails come with two people's replies. Where both replies of the supervised
model are bad, a person's corrects one. A simulated reviewer with the written rule of `examples/simulated.py` ranks and
judges, through the same functions as people do, seeing what they would see; a second one, which no training ever heard
of, judges by nearness to people's replies. So nothing here is a human preference, and every name says "simulated".
"""

import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import (
    GenerationRun,
    Method,
    ModelVersion,
    Project,
    Prompt,
    Responder,
    ResponderKind,
    Response,
    Role,
    Run,
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
from eval.protocol import Undecided
from eval.report.results import results
from examples import simulated
from generation.base_model import register_base_model
from generation.pairing import offer_for_ranking
from generation.plan import start_together
from generation.responders import Contestant, Sampling, create_responder
from intake.mapping import ColumnMapping, HeldOut
from intake.prompts import save_import
from intake.reading import read_table
from intake.sample import FOLDER
from jobs.local import a_worker, wait_for
from llm.template import PromptFormat
from review.assignment import next_offer
from review.corrections import correct
from review.rankings import rank
from settings import settings
from stats.estimates import CannotEstimate
from stats.verdicts import Verdict
from training.data.snapshot import freeze
from training.recipe.recipe import SMALL, RecipeValues
from training.recipe.start import start_training
from training.trainer.history import training_steps

Say = Callable[[str], None]
Says = Callable[[str, str, str], Verdict]
"""A judge: what it says of prompt, left and right reply."""


SUPERVISED = replace(
    SMALL, name="Supervised", method=Method.SFT, epochs=3.0, learning_rate=2e-4, evaluation_count=1, stop_early=False
)
"""First round: brings the picks' manner, and goes in circles where it always says the likeliest word."""
PREFERRED = replace(SMALL, name="DPO", evaluation_count=1, stop_early=False)
"""Second round: DPO on what that model itself writes, which takes those circles back. Found on training emails alone
(docs/experiments.md); on replies of the base model instead, DPO made its own a few words long."""


@dataclass(frozen=True)
class Size:
    """How much of the sample the demo uses."""

    prompts: int = 140
    """Training emails, each with two people's replies."""
    generated: int = 140
    """Those of them that the supervised model answers too, twice."""
    held_out: int = 40
    """Emails for the blind evaluations."""
    max_tokens: int = 160
    temperature: float = 0.7
    """Lower than for a larger model: at 0.9 most of a 135M model's samples are nonsense that never ends."""
    max_steps: int | None = None
    seeds: int = 1
    """DPO trainings on the same picks, each with a seed of its own."""

    def contestants(self, model_id: int, prompt: PromptFormat) -> dict[str, Contestant]:
        """A model's two ways to answer: drawn at random, and always the likeliest word."""
        temperatures = {"sampled": self.temperature, "greedy": 0.0}
        return {
            how: Contestant(model_id, prompt, Sampling(temperature=degree, max_tokens=self.max_tokens))
            for how, degree in temperatures.items()
        }


def run_demo(*, size: Size, say: Say, watch: Callable[[Run], None]) -> dict[str, Any]:
    """Run the loop in a project of its own; returns what happened, ready for JSON."""
    took: dict[str, float] = {}

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        say(name)
        began = time.monotonic()
        yield
        took[name] = round(time.monotonic() - began, 1)

    with stage("Emails and people's replies"):
        project_id, judge_id = _emails(size)
    with stage("Rankings of people's replies by the simulated reviewer"):
        choices = Counter(_rank(project_id, judge_id))
    trained: list[Trained] = []
    with a_worker():
        with stage("Training on the better replies (supervised)"):
            with session() as s:
                base_id = register_base_model(s).id
            first = _train(project_id, judge_id, _freeze(project_id, judge_id), base_id, SUPERVISED, size, watch)
            supervised = _model_of(first)
        with stage("Responses of the base model and the supervised model"):
            early = _responders(project_id, judge_id, supervised, size)
            _generate(judge_id, early, watch, scope=Scope.ALL, prompt_limit=size.generated)
            base = _responders(project_id, judge_id, base_id, size)
            _generate(judge_id, base, watch)
        with stage("Rankings and corrections by the simulated reviewer"):
            with session() as s:
                offer_for_ranking(
                    s, by=judge_id, project_id=project_id, responder_ids=list(early.values()), together=False
                )
            choices.update(_rank(project_id, judge_id))
        snapshot_id = _freeze(project_id, judge_id)
        for seed in range(size.seeds):
            of = f", seed {seed}" if size.seeds > 1 else ""
            with stage(f"Training (DPO){of}"):
                run = _train(project_id, judge_id, snapshot_id, supervised, replace(PREFERRED, seed=seed), size, watch)
            with stage(f"Held-out responses of the tuned model{of}"):
                tuned = _responders(project_id, judge_id, _model_of(run), size)
                _generate(judge_id, tuned, watch, seed=seed)
                trained.append(Trained(seed, run.id, tuned))
    with stage("Blind evaluations by simulated reviewers"):
        evaluations = [found for one in trained for found in _evaluate(project_id, judge_id, one, base, early)]
    return _report(project_id, base_id, first.id, trained, evaluations, choices, took)


@dataclass(frozen=True)
class Trained:
    """One training and who answers with its model."""

    seed: int
    run_id: int
    responders: dict[str, int]
    """By how they answer."""


@dataclass(frozen=True)
class Judged:
    """One closed evaluation."""

    evaluation_id: int
    seed: int
    how: str
    judge: str


def _emails(size: Size) -> tuple[int, int]:
    """A project with the sample's emails and people's replies, which are invented too."""
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
        train, held_out = (_lines_of(name) for name in ("train.jsonl", "heldout.jsonl"))
        for name, lines, side in (
            ("train.jsonl", train[: size.prompts], HeldOut.NONE),
            ("heldout.jsonl", held_out[: size.held_out], HeldOut.ALL),
        ):
            content = b"".join(lines)
            table = read_table(content, file_name=name, max_cell=settings().max_cell_kb * 1024)
            mapping = ColumnMapping(
                prompt="email", topic="topic", responses=about["people"], responses_simulated=True, held_out=side
            )
            save_import(s, by=by, project_id=project.id, table=table, content=content, mapping=mapping)
        return project.id, by


def _lines_of(name: str) -> list[bytes]:
    return (FOLDER / name).read_bytes().splitlines(keepends=True)


def _responders(project_id: int, by: int, model_id: int, size: Size) -> dict[str, int]:
    """Who answers with a model, by how they answer."""
    with session() as s:
        version = s.get_one(ModelVersion, model_id)
        what = f"{version.name} as it comes" if version.parent_id is None else version.name
        prompt = PromptFormat(s.get_one(Project, project_id).instructions)
        return {
            how: create_responder(s, by=by, project_id=project_id, name=f"{what}, {how}", contestant=contestant).id
            for how, contestant in size.contestants(model_id, prompt).items()
        }


def _generate(
    by: int,
    responders: Mapping[str, int],
    watch: Callable[[Run], None],
    *,
    scope: Scope = Scope.HELD_OUT,
    prompt_limit: int | None = None,
    seed: int = 0,
) -> None:
    with session() as s:
        runs = start_together(
            s,
            by=by,
            responder_ids=list(responders.values()),
            scope=scope,
            samples=1,
            prompt_limit=prompt_limit,
            seed=seed,
        )
    for run in runs:
        wait_for(run.id, watch=watch)


def _rank(project_id: int, by: int) -> dict[str, int]:
    """Rank every pair by the rule, one at a time, as a person would be given them, on the texts as they were given.

    Where both replies are bad the nearer one is corrected, by the better of the sample's two to that email. Gives how
    often each was said, and how many were corrected.
    """
    rows = [json.loads(line) for line in _lines_of("train.jsonl")]
    written = {_words(row["email"]): (row["reply_rosalind"], row["reply_dev"]) for row in rows}
    counts = dict.fromkeys([*(verdict.value for verdict in Verdict), "corrected"], 0)
    while True:
        with session() as s:
            pair = next_offer(s, project_id=project_id, reviewer_id=by)
            if pair is None:
                return counts
            left, right = (s.get_one(Response, reply.response_id) for reply in pair.replies)
            said = simulated.verdict(
                pair.prompt,
                left.text,  # nothing betrays anybody to a rule
                right.text,
                left_finish=left.finish_reason,
                right_finish=right.finish_reason,
            )
            reason = "Simulated: the written rule decided."
            rank(s, by=by, comparison_id=pair.comparison_id, order=said.order, reason=reason)
            counts[said.value] += 1
            if said is Verdict.BOTH_BAD and left.responder.kind is not ResponderKind.HUMAN:
                worth = partial(simulated.points, pair.prompt, finish_reason=None)
                correct(
                    s,
                    by=by,
                    response_id=max((left, right), key=lambda reply: worth(reply.text)).id,
                    text=max(written[_words(pair.prompt)], key=worth),
                    reason="Simulated: the sample's reply to this email that the written rule likes better.",
                )
                counts["corrected"] += 1


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _freeze(project_id: int, by: int) -> int:
    with session() as s:
        return freeze(s, by=by, project_id=project_id).id


def _train(
    project_id: int,
    by: int,
    snapshot_id: int,
    start_id: int,
    recipe: RecipeValues,
    size: Size,
    watch: Callable[[Run], None],
) -> TrainingRun:
    with session() as s:
        run = start_training(
            s,
            by=by,
            project_id=project_id,
            snapshot_id=snapshot_id,
            base_model_id=start_id,
            recipe=replace(recipe, max_steps=size.max_steps),
            model_name=f"{recipe.name} on the rule's picks, {now():%Y-%m-%d %H:%M:%S}",
        )
    done = wait_for(run.id, watch=watch)
    assert isinstance(done, TrainingRun)
    return done


def _model_of(run: TrainingRun) -> int:
    if run.model_version_id is None:
        raise PickwellError(f"Training run {run.id} ended without a model. Look at its log.")
    return run.model_version_id


def _evaluate(
    project_id: int, by: int, trained: Trained, base: Mapping[str, int], supervised: Mapping[str, int]
) -> Iterator[Judged]:
    """Each way to answer against the base model's same way by both judges; by the rule against the supervised model's
    too, and once against people.
    """
    with session() as s:
        nearest = ensure_reviewer(s, name=simulated.SECOND, simulated=True, rule=simulated.NEAREST).id
        ensure_role(s, project_id=project_id, reviewer_id=nearest, role=Role.REVIEWER)
        people = s.scalars(
            select(Responder.id).where(Responder.project_id == project_id, Responder.kind == ResponderKind.HUMAN)
        ).all()
    # a blind reviewer is not told whether a reply was cut; neither is the rule
    rule = partial(simulated.verdict, left_finish=None, right_finish=None)
    judges: dict[str, tuple[int, Says]] = {
        simulated.NAME: (by, rule),
        simulated.SECOND: (nearest, _nearest(project_id)),
    }
    for how, candidate in trained.responders.items():
        for name, (judge_id, says) in judges.items():
            by_rule = name == simulated.NAME
            others = [*(people if how == "sampled" else ()), supervised[how]] if by_rule else []
            with session() as s:
                evaluation = create_evaluation(
                    s,
                    by=by,
                    project_id=project_id,
                    name=f"Tuned model with seed {trained.seed}, {how}, judged by {name.lower()} (simulated)",
                    candidate_id=candidate,
                    baseline_ids=[*others, base[how]],
                    seed=trained.seed,
                    undecided=Undecided.KEEP,  # a rule does not know what names a model
                )
            _judge_all(evaluation.id, judge_id, says, by)
            yield Judged(evaluation.id, trained.seed, how, name)


def _judge_all(evaluation_id: int, judge_id: int, says: Says, by: int) -> None:
    """Judge every pair, on what a blind reviewer sees and no more, then close."""
    while True:
        with session() as s:
            view = next_view(s, by=judge_id, evaluation_id=evaluation_id)
            if view is None:
                close_evaluation(s, by=by, evaluation_id=evaluation_id)
                return
            judge(s, by=judge_id, judgment_id=view.judgment_id, verdict=says(view.prompt, view.left, view.right))


def _nearest(project_id: int) -> Says:
    """The second judge: which reply is nearer in meaning to one that a person wrote to the same email."""
    from generation.similarity import sentence_embeddings

    embed = sentence_embeddings()
    written: dict[str, list[str]] = defaultdict(list)
    with reading() as s:
        rows = s.execute(
            select(Prompt.text, Response.text)
            .join(Response, Response.prompt_id == Prompt.id)
            .join(Responder, Responder.id == Response.responder_id)
            .where(Prompt.project_id == project_id, Prompt.held_out, Responder.kind == ResponderKind.HUMAN)
        )
        for prompt, text in rows:
            written[prompt].append(text)

    def says(prompt: str, left: str, right: str) -> Verdict:
        replies = embed([left, right])
        similarities = (replies @ embed(written[prompt]).T).max(axis=1)
        return simulated.nearest(float(similarities[0]), float(similarities[1]))

    return says


def _report(
    project_id: int,
    base_id: int,
    supervised_id: int,
    trained: Sequence[Trained],
    evaluations: Sequence[Judged],
    choices: Mapping[str, int],
    took: dict[str, float],
) -> dict[str, Any]:
    with reading() as s:
        runs = [s.get_one(TrainingRun, one.run_id) for one in trained]
        snapshot = s.get_one(Snapshot, runs[0].snapshot_id)
        generations = s.scalars(select(GenerationRun).where(GenerationRun.project_id == project_id)).all()
        return {
            "simulated": True,
            "rule": simulated.RULE,
            "second_rule": simulated.NEAREST,
            "project": s.get_one(Project, project_id).name,
            "seconds": took,
            "seconds_in_all": round(sum(took.values()), 1),
            "generated_tokens": sum(generation.tokens for generation in generations),
            "simulated_rankings": dict(choices),
            "snapshot": {
                "sha256": snapshot.sha256,
                "rows": snapshot.row_count,
                "left_out": {entry.reason: entry.count for entry in snapshot.left_out},
            },
            "base_model": _model(s.get_one(ModelVersion, base_id)),
            "supervised": _training(s, s.get_one(TrainingRun, supervised_id)),
            "trainings": [_training(s, run) | {"seed": one.seed} for one, run in zip(trained, runs, strict=True)],
            "win_rates": [line for one in evaluations for line in _lines(s, one)],
        }


def _model(version: ModelVersion) -> dict[str, Any]:
    return {"name": version.name, "sha256": version.sha256, "template_hash": version.template_hash}


def _training(s: Session, run: TrainingRun) -> dict[str, Any]:
    steps = [step for step in training_steps(s, run_id=run.id) if step.split.value == "TRAIN"]
    return {
        "model": _model(s.get_one(ModelVersion, run.model_version_id)),
        "losses": [round(step.loss, 5) for step in steps],
        "reward_margins": [round(step.reward_margin, 4) for step in steps if step.reward_margin is not None],
    }


def _lines(s: Session, judged: Judged) -> list[dict[str, Any]]:
    found = results(s, evaluation_id=judged.evaluation_id)
    return [
        {
            "seed": judged.seed,
            "how": judged.how,
            "candidate": found.candidate,
            "against": one.baseline,
            "judge": f"{judged.judge} (simulated)",
            "simulated_judge": verdicts.simulated,
            "win_rate": round(one.rate, 4),
            "low": None if isinstance(one.interval, CannotEstimate) else round(one.interval.low, 4),
            "high": None if isinstance(one.interval, CannotEstimate) else round(one.interval.high, 4),
            "wins": one.wins,
            "ties": one.ties,
            "both_bad": one.both_bad,
            "losses": one.losses,
            "n": one.n,
            "protocol_sha256": found.evaluation.protocol_sha256,
        }
        for verdicts in found.verdicts
        for one in verdicts.contrasts
    ]
