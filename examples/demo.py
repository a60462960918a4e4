"""The whole loop without a person, in two rounds: rankings of people's replies, and a supervised model that writes like
the better ones; then rankings of that model's own replies, DPO on all of them, a blind evaluation on held-out emails.

As in the case that this product is for, emails come with two people's replies. Where both replies of the supervised
model are bad, a person's corrects one. A simulated reviewer with the written rule of `examples/simulated.py` ranks and
judges, through the same functions as people do, seeing what they would see; a second one, which no training knows of,
judges by nearness to people's replies. So nothing here is a human preference, and every name says "simulated".
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
from eval.protocol import LeakPolicy
from eval.report.results import load_results
from examples import simulated
from generation.base_model import register_base_model
from generation.pairing import offer_for_ranking
from generation.plan import start_generations
from generation.responders import ResponderSpec, Sampling, create_responder
from intake.sample import FOLDER, describe_sample, import_emails
from jobs.local import ensure_worker, wait_for
from llm.template import PromptFormat
from review.assignment import next_offer
from review.corrections import save_correction
from review.rankings import rank
from stats.estimates import CannotEstimate
from stats.verdicts import Verdict
from training.data.snapshot import freeze
from training.recipe.recipe import SMALL, RecipeValues
from training.recipe.start import start_training
from training.trainer.history import load_steps

Judge = Callable[[str, str, str], Verdict]
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

    def specs(self, model_id: int, prompt: PromptFormat) -> dict[str, ResponderSpec]:
        """A model's two ways to answer: drawn at random, and always the likeliest word."""
        temperatures = {"sampled": self.temperature, "greedy": 0.0}
        return {
            how: ResponderSpec(model_id, prompt, Sampling(temperature=degree, max_tokens=self.max_tokens))
            for how, degree in temperatures.items()
        }


def run_demo(*, size: Size, say: Callable[[str], None], watch: Callable[[Run], None]) -> dict[str, Any]:
    """Run the loop in a project of its own; returns what happened, ready for JSON."""
    seconds: dict[str, float] = {}

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        say(name)
        began = time.monotonic()
        yield
        seconds[name] = round(time.monotonic() - began, 1)

    with stage("Emails and people's replies"):
        demo = _Demo(*_create_project(size), size, watch)
    with stage("Rankings of people's replies by the simulated reviewer"):
        counts = demo.rank_all()
    trained: list[tuple[int, dict[str, int]]] = []
    with ensure_worker():
        with stage("Training on the better replies (supervised)"):
            with session() as s:
                base_id = register_base_model(s).id
            first_id, supervised_id = demo.train(demo.freeze(), base_id, SUPERVISED)
        with stage("Responses of the base model and the supervised model"):
            supervised = demo.add_responders(supervised_id)
            demo.generate(supervised, scope=Scope.ALL, limit=size.generated)
            base = demo.add_responders(base_id)
            demo.generate(base)
        with stage("Rankings and corrections by the simulated reviewer"):
            with session() as s:
                ids = list(supervised.values())
                offer_for_ranking(s, by=demo.by, project_id=demo.project_id, responder_ids=ids, together=False)
            counts.update(demo.rank_all())
        snapshot_id = demo.freeze()
        for seed in range(size.seeds):
            suffix = f", seed {seed}" if size.seeds > 1 else ""
            with stage(f"Training (DPO){suffix}"):
                run_id, tuned_id = demo.train(snapshot_id, supervised_id, replace(PREFERRED, seed=seed))
            with stage(f"Held-out responses of the tuned model{suffix}"):
                tuned = demo.add_responders(tuned_id)
                demo.generate(tuned, seed=seed)
                trained.append((run_id, tuned))
    with stage("Blind evaluations by simulated reviewers"):
        tuned_models = enumerate(tuned for _, tuned in trained)
        win_rates = [row for seed, tuned in tuned_models for row in demo.evaluate(seed, tuned, base, supervised)]
    return demo.report(base_id, first_id, [run_id for run_id, _ in trained]) | {
        "win_rates": win_rates,
        "simulated_rankings": dict(counts),
        "seconds": seconds,
        "seconds_in_all": round(sum(seconds.values()), 1),
    }


def _create_project(size: Size) -> tuple[int, int]:
    """A project with the sample's emails and people's replies, which are invented too, and its simulated manager."""
    sample = describe_sample()
    with session() as s:
        by = ensure_reviewer(s, name=simulated.NAME, simulated=True, rule=simulated.RULE).id
        project = create_project(
            s,
            name=f"Demo {now():%Y-%m-%d %H:%M:%S} (simulated)",
            task=f"{sample['task']} A rule stands in for every person here.",
            instructions=sample["instructions"],
            guideline=f"Simulated: {simulated.RULE}",
            by=by,
        )
        ensure_role(s, project_id=project.id, reviewer_id=by, role=Role.REVIEWER)
        import_emails(s, by=by, project_id=project.id, picks=False, most=(size.prompts, size.held_out))
        return project.id, by


@dataclass(frozen=True)
class _Demo:
    project_id: int
    by: int
    """The simulated reviewer, who manages the project too."""
    size: Size
    watch: Callable[[Run], None]

    def add_responders(self, model_id: int) -> dict[str, int]:
        """Who answers with a model, by how they answer."""
        with session() as s:
            version = s.get_one(ModelVersion, model_id)
            label = f"{version.name} as it comes" if version.parent_id is None else version.name
            prompt = PromptFormat(s.get_one(Project, self.project_id).instructions)
            create = partial(create_responder, s, by=self.by, project_id=self.project_id)
            return {
                how: create(name=f"{label}, {how}", spec=spec).id
                for how, spec in self.size.specs(model_id, prompt).items()
            }

    def generate(
        self, responders: Mapping[str, int], *, scope: Scope = Scope.HELD_OUT, limit: int | None = None, seed: int = 0
    ) -> None:
        """Let these Responders answer, and wait for it."""
        ids = list(responders.values())
        with session() as s:
            runs = start_generations(
                s, by=self.by, responder_ids=ids, scope=scope, samples=1, prompt_limit=limit, seed=seed
            )
        for run in runs:
            wait_for(run.id, watch=self.watch)

    def rank_all(self) -> Counter[str]:
        """Rank every pair by the rule, one at a time, as a person would be given them, on the texts as they were given.

        Where both replies are bad the nearer one is corrected, by the better of the sample's two to that email. Counts
        each verdict, and what was corrected.
        """
        rows = [json.loads(line) for line in (FOLDER / "train.jsonl").read_bytes().splitlines()]
        written = {" ".join(row["email"].split()): (row["reply_rosalind"], row["reply_dev"]) for row in rows}
        counts = Counter(dict.fromkeys([*(verdict.value for verdict in Verdict), "corrected"], 0))
        while True:
            with session() as s:
                pair = next_offer(s, project_id=self.project_id, reviewer_id=self.by)
                if pair is None:
                    return counts
                left, right = (s.get_one(Response, reply.response_id) for reply in pair.replies)
                verdict = simulated.rule_verdict(
                    pair.prompt,
                    left.text,  # no text betrays its writer to a rule
                    right.text,
                    left_finish=left.finish_reason,
                    right_finish=right.finish_reason,
                )
                reason = "Simulated: the written rule decided."
                rank(s, by=self.by, comparison_id=pair.comparison_id, order=verdict.order, reason=reason)
                counts[verdict.value] += 1
                if verdict is Verdict.BOTH_BAD and left.responder.kind is not ResponderKind.HUMAN:
                    score = partial(simulated.score_reply, pair.prompt, finish_reason=None)
                    save_correction(
                        s,
                        by=self.by,
                        response_id=max((left, right), key=lambda reply: score(reply.text)).id,
                        text=max(written[" ".join(pair.prompt.split())], key=score),
                        reason="Simulated: the sample's reply to this email that the written rule likes better.",
                    )
                    counts["corrected"] += 1

    def freeze(self) -> int:
        """Freeze the feedback so far; gives the Snapshot's id."""
        with session() as s:
            return freeze(s, by=self.by, project_id=self.project_id).id

    def train(self, snapshot_id: int, start_id: int, recipe: RecipeValues) -> tuple[int, int]:
        """Train a model on the Snapshot, and wait for it; gives the run's id and the model's."""
        with session() as s:
            run = start_training(
                s,
                by=self.by,
                project_id=self.project_id,
                snapshot_id=snapshot_id,
                base_model_id=start_id,
                recipe=replace(recipe, max_steps=self.size.max_steps),
                model_name=f"{recipe.name} on the rule's picks, {now():%Y-%m-%d %H:%M:%S}",
            )
        done = wait_for(run.id, watch=self.watch)
        assert isinstance(done, TrainingRun)
        if done.model_version_id is None:
            raise PickwellError(f"Training run {done.id} ended without a model. Look at its log.")
        return done.id, done.model_version_id

    def evaluate(
        self, seed: int, tuned: Mapping[str, int], base: Mapping[str, int], supervised: Mapping[str, int]
    ) -> Iterator[dict[str, Any]]:
        """Win rates of each way to answer: by both judges against the base model's same way, by the rule against the
        supervised model's too, and once against people.
        """
        with session() as s:
            nearest_id = ensure_reviewer(s, name=simulated.NEAREST_NAME, simulated=True, rule=simulated.NEAREST_RULE).id
            ensure_role(s, project_id=self.project_id, reviewer_id=nearest_id, role=Role.REVIEWER)
            human = Responder.project_id == self.project_id, Responder.kind == ResponderKind.HUMAN
            people = s.scalars(select(Responder.id).where(*human)).all()
        # a blind reviewer is not told whether a reply was cut; neither is the rule
        rule = partial(simulated.rule_verdict, left_finish=None, right_finish=None)
        judges: dict[str, tuple[int, Judge]] = {
            simulated.NAME: (self.by, rule),
            simulated.NEAREST_NAME: (nearest_id, _nearest_judge(self.project_id)),
        }
        for how, candidate in tuned.items():
            for name, (judge_id, says) in judges.items():
                others = [*(people if how == "sampled" else ()), supervised[how]] if says is rule else []
                with session() as s:
                    evaluation = create_evaluation(
                        s,
                        by=self.by,
                        project_id=self.project_id,
                        name=f"Tuned model with seed {seed}, {how}, judged by {name.lower()} (simulated)",
                        candidate_id=candidate,
                        baseline_ids=[*others, base[how]],
                        seed=seed,
                        undecided=LeakPolicy.KEEP,  # a rule does not know what names a model
                    )
                self._judge_all(evaluation.id, judge_id, says)
                judged = {"seed": seed, "how": how, "judge": f"{name} (simulated)"}
                yield from (judged | row for row in _win_rates(evaluation.id))

    def _judge_all(self, evaluation_id: int, judge_id: int, says: Judge) -> None:
        """Judge every pair, on what a blind reviewer sees and no more, then close."""
        while True:
            with session() as s:
                view = next_view(s, by=judge_id, evaluation_id=evaluation_id)
                if view is None:
                    close_evaluation(s, by=self.by, evaluation_id=evaluation_id)
                    return
                judge(s, by=judge_id, judgment_id=view.judgment_id, verdict=says(view.prompt, view.left, view.right))

    def report(self, base_id: int, supervised_run_id: int, run_ids: Sequence[int]) -> dict[str, Any]:
        """What was trained, for JSON."""
        with reading() as s:
            runs = [s.get_one(TrainingRun, run_id) for run_id in run_ids]
            snapshot = s.get_one(Snapshot, runs[0].snapshot_id)
            generations = s.scalars(select(GenerationRun).where(GenerationRun.project_id == self.project_id)).all()
            return {
                "simulated": True,
                "rule": simulated.RULE,
                "second_rule": simulated.NEAREST_RULE,
                "project": s.get_one(Project, self.project_id).name,
                "generated_tokens": sum(generation.tokens for generation in generations),
                "snapshot": {
                    "sha256": snapshot.sha256,
                    "rows": snapshot.row_count,
                    "left_out": {entry.reason: entry.count for entry in snapshot.left_out},
                },
                "base_model": _describe_model(s.get_one(ModelVersion, base_id)),
                "supervised": _describe_training(s, s.get_one(TrainingRun, supervised_run_id)),
                "trainings": [_describe_training(s, run) | {"seed": seed} for seed, run in enumerate(runs)],
            }


def _nearest_judge(project_id: int) -> Judge:
    """The second judge: which reply is nearer in meaning to one that a person wrote to the same email."""
    from generation.similarity import sentence_embeddings

    embed = sentence_embeddings()
    written: dict[str, list[str]] = defaultdict(list)
    with reading() as s:
        rows = s.execute(
            select(Prompt.text, Response.text)
            .join(Response, Response.prompt_id == Prompt.id)
            .join(Response.responder)
            .where(Prompt.project_id == project_id, Prompt.held_out, Responder.kind == ResponderKind.HUMAN)
        )
        for prompt, text in rows:
            written[prompt].append(text)

    def says(prompt: str, left: str, right: str) -> Verdict:
        similarities = (embed([left, right]) @ embed(written[prompt]).T).max(axis=1)
        return simulated.nearest_verdict(*similarities.tolist())

    return says


def _describe_model(version: ModelVersion) -> dict[str, Any]:
    return {"name": version.name, "sha256": version.sha256, "template_hash": version.template_hash}


def _describe_training(s: Session, run: TrainingRun) -> dict[str, Any]:
    steps = [step for step in load_steps(s, run_id=run.id) if step.split.value == "TRAIN"]
    return {
        "model": _describe_model(s.get_one(ModelVersion, run.model_version_id)),
        "losses": [round(step.loss, 5) for step in steps],
        "reward_margins": [round(step.reward_margin, 4) for step in steps if step.reward_margin is not None],
    }


def _win_rates(evaluation_id: int) -> list[dict[str, Any]]:
    with reading() as s:
        results = load_results(s, evaluation_id=evaluation_id)
    return [
        {
            "candidate": results.candidate,
            "against": contrast.baseline,
            "simulated_judge": reviewer_results.simulated,
            "win_rate": round(contrast.rate, 4),
            "low": None if isinstance(contrast.interval, CannotEstimate) else round(contrast.interval.low, 4),
            "high": None if isinstance(contrast.interval, CannotEstimate) else round(contrast.interval.high, 4),
            **{name: getattr(contrast, name) for name in ("wins", "ties", "both_bad", "losses", "n")},
            "protocol_sha256": results.evaluation.protocol_sha256,
        }
        for reviewer_results in results.by_reviewers
        for contrast in reviewer_results.contrasts
    ]
