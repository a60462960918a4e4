"""Evaluations whose every reply is there, opened and judged with one call."""

from typing import Any

from sqlalchemy.orm import Session

from db.models import Evaluation, Judgment, Project, Prompt, Responder, Reviewer, Role
from eval.evaluations import create_evaluation
from eval.judging import BlindView, judge, next_view
from eval.protocol import Plan
from stats.verdicts import Verdict
from tests.factories import a_human, a_model, a_project, a_prompt, a_response, a_reviewer


def an_evaluation(s: Session, by: Reviewer, candidate: Responder, /, *baselines: Responder, **more: Any) -> Evaluation:
    """An open Evaluation of the candidate against the baselines."""
    usual = {"by": by.id, "project_id": candidate.project_id, "name": "First", "seed": 3}
    against = {"candidate_id": candidate.id, "baseline_ids": [baseline.id for baseline in baselines]}
    return create_evaluation(s, **{**usual, **against, **more})


class Contest:
    """A project whose held-out prompts a model, another model and a person have answered."""

    def __init__(self, s: Session, prompts: int = 10, people: int = 1, judges: int = 2) -> None:
        self.s = s
        self.project: Project = a_project(s)
        self.manager: Reviewer = a_reviewer(s, self.project)
        self.judges = [a_reviewer(s, self.project, Role.REVIEWER) for _ in range(judges)]
        self.model: Responder = a_model(s, self.project, name="Candidate model")
        self.other: Responder = a_model(s, self.project, name="Base model")
        self.people = [a_human(s, self.project, name=f"Rosalind{n}") for n in range(people)]
        self.prompts: list[Prompt] = [a_prompt(s, self.project, held_out=True) for _ in range(prompts)]
        for prompt in self.prompts:
            for who in (self.model, self.other, *self.people):
                a_response(s, prompt, who)

    def open(self, plan: Plan | None = None, *, baselines: list[Responder] | None = None, **more: Any) -> Evaluation:
        chosen = self.people if baselines is None else baselines
        return an_evaluation(self.s, self.manager, self.model, *chosen, plan=plan, **more)

    def draw(self, evaluation: Evaluation, who: Reviewer) -> BlindView | None:
        return next_view(self.s, by=who.id, evaluation_id=evaluation.id)

    def judge_all(
        self, evaluation: Evaluation, who: Reviewer, *, candidate_wins: bool = True, verdict: Verdict | None = None
    ) -> int:
        """Judge what is offered, with one verdict throughout where it is given; how many it was."""
        done = 0
        while view := self.draw(evaluation, who):
            left = self.s.get_one(Judgment, view.judgment_id).candidate_left
            side = Verdict.LEFT if left is candidate_wins else Verdict.RIGHT
            judge(self.s, by=who.id, judgment_id=view.judgment_id, verdict=verdict or side)
            done += 1
        return done
