"""What a project holds, for screens and the command line to list and count."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session, selectinload

from db.comparisons import OWN_WORD
from db.models import (
    Comparison,
    Correction,
    Evaluation,
    GenerationRun,
    Judgment,
    ModelVersion,
    Pairing,
    ParityCheck,
    Project,
    Prompt,
    PromptSet,
    Ranking,
    Responder,
    Response,
    Reviewer,
    Snapshot,
    TrainingRun,
    TrainingStep,
)
from db.routing import has_reply_of_person
from errors import NotFound, Refused


@dataclass(frozen=True)
class Story:
    """How far a project has come, counted."""

    prompts: int
    """Written by customers."""
    synthetic: int
    """Prompts made up by a rule or a model."""
    held_out: int
    routed: int
    """Prompts of either kind that people answer and no model does."""
    routed_answered: int
    """Of those, how many a person has replied to."""
    responses: int
    comparisons: int
    ranked_by_people: int
    """Comparisons with at least one standing ranking by a person."""
    ranked_simulated: int
    """Comparisons whose only rankings are simulated reviewers'."""
    corrections: int
    """Standing corrections by people."""
    snapshots: int
    models: int
    """Models trained in this project."""
    evaluations: int
    judgments: int
    """Verdicts by people."""
    judgments_simulated: int
    closed_evaluations: int

    @property
    def next_step(self) -> str:
        """What to do next, as a sentence."""
        if not self.prompts:
            return "Import prompts: the texts to answer, with people's replies if you have them."
        if not self.held_out:
            return "Import some more prompts as held out: without them nothing can be judged blind."
        if not self.comparisons:
            return "Generate two responses to each prompt, so that there are pairs to rank."
        if not (self.ranked_by_people or self.ranked_simulated):
            return "Rank pairs on the Compare page: about 100 good ones are the least to train on."
        if not self.models:
            return "Freeze a snapshot of the rankings and train a model on it."
        if not self.evaluations:
            return "Generate the new model's replies to the held-out prompts, then set up a blind evaluation."
        if not self.closed_evaluations:
            return "Judge the open evaluation blind, then close it to read the win rate."
        return "Read the results on the Evaluate page, look at where the model loses, and rank more pairs like those."


def story(s: Session, *, project_id: int) -> Story:
    """Count everything in the project."""

    def count(query: Select[Any]) -> int:
        return s.scalar(select(func.count()).select_from(query.subquery())) or 0

    prompts = select(Prompt.id).where(Prompt.project_id == project_id)
    ranked = (
        select(Comparison.id)
        .join(Ranking, Ranking.comparison_id == Comparison.id)
        .join(Reviewer, Reviewer.id == Ranking.reviewer_id)
        .where(Comparison.project_id == project_id, OWN_WORD)
        .distinct()
    )
    by_people = ranked.where(Reviewer.simulated.is_(False))
    evaluations = select(Evaluation.id).where(Evaluation.project_id == project_id)
    people = count(by_people)
    judged = (
        select(Judgment.id)
        .join(Pairing, Pairing.id == Judgment.pairing_id)
        .join(Reviewer, Reviewer.id == Judgment.reviewer_id)
        .where(Pairing.evaluation_id.in_(evaluations), Judgment.verdict.is_not(None))
    )
    routed = prompts.where(Prompt.routing_rule_id.is_not(None))
    return Story(
        prompts=count(prompts.where(Prompt.synthetic.is_(False))),
        synthetic=count(prompts.where(Prompt.synthetic)),
        held_out=count(prompts.where(Prompt.held_out)),
        routed=count(routed),
        routed_answered=count(routed.where(has_reply_of_person())),
        responses=count(select(Response.id).where(Response.prompt_id.in_(prompts))),
        comparisons=count(select(Comparison.id).where(Comparison.project_id == project_id)),
        ranked_by_people=people,
        ranked_simulated=count(ranked) - people,
        corrections=count(
            select(Correction.id)
            .join(Response, Response.id == Correction.response_id)
            .join(Reviewer, Reviewer.id == Correction.reviewer_id)
            .where(Response.prompt_id.in_(prompts), Correction.undone_at.is_(None), Reviewer.simulated.is_(False))
        ),
        snapshots=count(select(Snapshot.id).where(Snapshot.project_id == project_id)),
        models=count(
            select(TrainingRun.id).where(
                TrainingRun.project_id == project_id, TrainingRun.model_version_id.is_not(None)
            )
        ),
        evaluations=count(evaluations),
        judgments=count(judged.where(Reviewer.simulated.is_(False))),
        judgments_simulated=count(judged.where(Reviewer.simulated)),
        closed_evaluations=count(evaluations.where(Evaluation.closed_at.is_not(None))),
    )


@dataclass(frozen=True)
class Answered:
    """A Responder and what it has answered."""

    responder: Responder
    training: int
    """Responses to training prompts."""
    held_out: int


def responders(s: Session, *, project_id: int) -> Sequence[Answered]:
    """The project's Responders, oldest first, without those that were only tried out."""
    rows = s.execute(
        select(
            Responder,
            func.count(Prompt.id).filter(Prompt.held_out.is_(False)),
            func.count(Prompt.id).filter(Prompt.held_out),
        )
        .outerjoin(Response, Response.responder_id == Responder.id)
        .outerjoin(Prompt, Prompt.id == Response.prompt_id)
        .where(Responder.project_id == project_id, Responder.kept)
        .group_by(Responder.id)
        .order_by(Responder.id)
        .options(selectinload(Responder.model_version))
    ).all()
    return [Answered(responder, training, held_out) for responder, training, held_out in rows]


def prompt_sets(s: Session, *, project_id: int) -> Sequence[PromptSet]:
    """The project's imports, newest first."""
    return s.scalars(select(PromptSet).where(PromptSet.project_id == project_id).order_by(PromptSet.id.desc())).all()


def models(s: Session, *, include_retired: bool = False) -> Sequence[ModelVersion]:
    """Every ModelVersion that is offered for new work, oldest first; with `include_retired`, every one there is."""
    offered = () if include_retired else (ModelVersion.retired_at.is_(None),)
    return s.scalars(select(ModelVersion).where(*offered).order_by(ModelVersion.id)).all()


def newest_checks(s: Session, *, model_version_ids: Sequence[int]) -> dict[int, ParityCheck]:
    """The newest ParityCheck of each model that has one."""
    newest = select(func.max(ParityCheck.id)).where(ParityCheck.model_version_id.in_(model_version_ids))
    found = s.scalars(select(ParityCheck).where(ParityCheck.id.in_(newest.group_by(ParityCheck.model_version_id))))
    return {check.model_version_id: check for check in found}


def generation_runs(s: Session, *, project_id: int) -> Sequence[GenerationRun]:
    """The project's GenerationRuns, newest first."""
    return s.scalars(
        select(GenerationRun)
        .where(GenerationRun.project_id == project_id)
        .order_by(GenerationRun.id.desc())
        .options(selectinload(GenerationRun.responder))
    ).all()


def training_runs(s: Session, *, project_id: int) -> Sequence[TrainingRun]:
    """The project's TrainingRuns, newest first, with snapshot, recipe and models at hand."""
    return s.scalars(
        select(TrainingRun)
        .where(TrainingRun.project_id == project_id)
        .order_by(TrainingRun.id.desc())
        .options(
            selectinload(TrainingRun.snapshot),
            selectinload(TrainingRun.recipe),
            selectinload(TrainingRun.base_model),
            selectinload(TrainingRun.model_version),
        )
    ).all()


def training_steps(s: Session, *, run_id: int) -> Sequence[TrainingStep]:
    """What the trainer reported, in order."""
    return s.scalars(
        select(TrainingStep).where(TrainingStep.training_run_id == run_id).order_by(TrainingStep.step)
    ).all()


def snapshots(s: Session, *, project_id: int) -> Sequence[Snapshot]:
    """The project's Snapshots, newest first."""
    return s.scalars(
        select(Snapshot)
        .where(Snapshot.project_id == project_id)
        .order_by(Snapshot.id.desc())
        .options(selectinload(Snapshot.left_out))
    ).all()


@dataclass(frozen=True)
class Judged:
    """An Evaluation and how far its judging is."""

    evaluation: Evaluation
    pairings: int
    judged: int
    """Pairings with at least one verdict by a person."""
    verdicts: int
    """By people."""
    simulated: int
    """Verdicts by simulated reviewers."""


def evaluations(s: Session, *, project_id: int) -> Sequence[Judged]:
    """The project's Evaluations, newest first."""
    given = Judgment.verdict.is_not(None)
    rows = s.execute(
        select(
            Evaluation,
            func.count(func.distinct(Pairing.id)).filter(Pairing.identical.is_(False)),
            func.count(func.distinct(Judgment.pairing_id)).filter(given, Reviewer.simulated.is_(False)),
            func.count(Judgment.id).filter(given, Reviewer.simulated.is_(False)),
            func.count(Judgment.id).filter(given, Reviewer.simulated),
        )
        .join(Pairing, Pairing.evaluation_id == Evaluation.id)
        .outerjoin(Judgment, Judgment.pairing_id == Pairing.id)
        .outerjoin(Reviewer, Reviewer.id == Judgment.reviewer_id)
        .where(Evaluation.project_id == project_id)
        .group_by(Evaluation.id)
        .order_by(Evaluation.id.desc())
        .options(selectinload(Evaluation.candidate))
    ).all()
    return [Judged(*row) for row in rows]


def project_named(s: Session, name: str) -> Project:
    """The project of that name, or the only one if the name is empty. Raises `NotFound` with the names there are."""
    known = s.scalars(select(Project).order_by(Project.id)).all()
    if not name and len(known) == 1:
        return known[0]
    for project in known:
        if project.name == name:
            return project
    if not known:
        raise NotFound("There is no project yet. Make one on the first page or with cli.py new-project.")
    names = ", ".join(f"“{project.name}”" for project in known)
    raise NotFound(f"There is no project “{name}”. There are: {names}." if name else f"Name one of: {names}.")


def refuse_retired(version: ModelVersion | None) -> None:
    """Raise `Refused` for a model that is not to do new work any more; None, for a Responder without one, is fine."""
    if version is not None and version.retired_at is not None:
        raise Refused(f"{version.name} is retired. Bring it back on the page Trained models, or choose another model.")


@dataclass(frozen=True)
class Trained:
    """A ModelVersion with the project's training that made it, if one did."""

    version: ModelVersion
    run: TrainingRun | None


def models_of(s: Session, *, project_id: int) -> Sequence[Trained]:
    """Every model there is, retired ones too, newest first, with the project's training where that made it."""
    made = {run.model_version_id: run for run in training_runs(s, project_id=project_id)}
    return [Trained(version, made.get(version.id)) for version in reversed(models(s, include_retired=True))]
