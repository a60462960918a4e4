"""Evaluations whose every reply is there, opened and judged with one call."""

from sqlalchemy.orm import Session

from db.models import Evaluation, Judgment, Project, Prompt, Responder, Reviewer, Role
from eval.evaluations import create_evaluation
from eval.judging import BlindView, judge, next_view
from eval.protocol import Plan
from stats.verdicts import Verdict
from tests.factories import a_human, a_model, a_project, a_prompt, a_response, a_reviewer


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

    def open(self, plan: Plan | None = None, *, baselines: list[Responder] | None = None, **more: object) -> Evaluation:
        chosen = self.people if baselines is None else baselines
        return create_evaluation(
            self.s,
            project_id=self.project.id,
            **{  # type: ignore[arg-type]
                "by": self.manager.id,
                "name": "First",
                "candidate_id": self.model.id,
                "baseline_ids": [one.id for one in chosen],
                "seed": 3,
                "plan": plan,
                **more,
            },
        )

    def draw(self, evaluation: Evaluation, who: Reviewer) -> BlindView | None:
        return next_view(self.s, by=who.id, evaluation_id=evaluation.id)

    def judge_all(self, evaluation: Evaluation, who: Reviewer, *, candidate_wins: bool = True) -> int:
        """Judge what is offered; how many it was."""
        done = 0
        while view := self.draw(evaluation, who):
            left = self.s.get_one(Judgment, view.judgment_id).candidate_left
            side = Verdict.LEFT if left is candidate_wins else Verdict.RIGHT
            judge(self.s, by=who.id, judgment_id=view.judgment_id, verdict=side)
            done += 1
        return done
