"""How far a project has come, counted, and what to do next."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from db.comparisons import OWN_RANKING
from db.models import (
    Comparison,
    Correction,
    Evaluation,
    Judgment,
    Pairing,
    Prompt,
    Ranking,
    Response,
    Reviewer,
    Snapshot,
    TrainingRun,
)
from intake.routing import has_reply_of_person


@dataclass(frozen=True)
class ProjectProgress:
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


def project_progress(s: Session, *, project_id: int) -> ProjectProgress:
    """Count everything in the project."""

    def count(query: Select[Any]) -> int:
        return s.scalar(select(func.count()).select_from(query.subquery())) or 0

    prompts = select(Prompt.id).where(Prompt.project_id == project_id)
    routed = prompts.where(Prompt.routing_rule_id.is_not(None))
    responses = select(Response.id).where(Response.prompt_id.in_(prompts))
    comparisons = select(Comparison.id).where(Comparison.project_id == project_id)
    rankings = comparisons.join(Ranking, Ranking.comparison_id == Comparison.id).join(Ranking.reviewer)
    ranked = rankings.where(OWN_RANKING).distinct()
    ranked_by_people = count(ranked.where(Reviewer.simulated.is_(False)))
    corrections = select(Correction.id).join(Correction.reviewer).where(Correction.response_id.in_(responses))
    trainings = select(TrainingRun.id).where(TrainingRun.project_id == project_id)
    evaluations = select(Evaluation.id).where(Evaluation.project_id == project_id)
    judgments = select(Judgment.id).join(Judgment.pairing).join(Judgment.reviewer)
    judged = judgments.where(Pairing.evaluation_id.in_(evaluations), Judgment.verdict.is_not(None))
    return ProjectProgress(
        prompts=count(prompts.where(Prompt.synthetic.is_(False))),
        synthetic=count(prompts.where(Prompt.synthetic)),
        held_out=count(prompts.where(Prompt.held_out)),
        routed=count(routed),
        routed_answered=count(routed.where(has_reply_of_person())),
        responses=count(responses),
        comparisons=count(comparisons),
        ranked_by_people=ranked_by_people,
        ranked_simulated=count(ranked) - ranked_by_people,
        corrections=count(corrections.where(Correction.undone_at.is_(None), Reviewer.simulated.is_(False))),
        snapshots=count(select(Snapshot.id).where(Snapshot.project_id == project_id)),
        models=count(trainings.where(TrainingRun.model_version_id.is_not(None))),
        evaluations=count(evaluations),
        judgments=count(judged.where(Reviewer.simulated.is_(False))),
        judgments_simulated=count(judged.where(Reviewer.simulated)),
        closed_evaluations=count(evaluations.where(Evaluation.closed_at.is_not(None))),
    )
