"""Rows made with one call; every argument has a default and the caller names only what the test is about."""

from itertools import count
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from db.comparisons import ensure_comparison
from db.models import (
    Base,
    Comparison,
    Evaluation,
    Judgment,
    Membership,
    ModelVersion,
    Pairing,
    Placement,
    Project,
    Prompt,
    PromptSet,
    Ranking,
    Responder,
    ResponderKind,
    Response,
    Reviewer,
    Role,
    now,
)
from generation.pairing import make_comparisons
from stats.verdicts import Verdict

_number = count(1)
Row = TypeVar("Row", bound=Base)
Kind = TypeVar("Kind")


def saved(s: Session, table: type[Row], **fields: Any) -> Row:
    """A row of the table, with its id."""
    row = table(**fields)
    s.add(row)
    s.flush()
    return row


def sure(value: Kind | None) -> Kind:
    """The value, which must be there."""
    assert value is not None
    return value


def of_kind(kind: type[Kind], value: object) -> Kind:
    """The value, which must be of that kind."""
    assert isinstance(value, kind), value
    return value


def a_project(s: Session, **fields: object) -> Project:
    """A Project with instructions."""
    n = next(_number)
    return saved(s, Project, **{"name": f"Project {n}", "instructions": "Answer the email.", **fields})


def a_reviewer(s: Session, project: Project, *roles: Role, **fields: object) -> Reviewer:
    """A Reviewer with the roles, MANAGER if none is named."""
    reviewer = saved(s, Reviewer, **{"name": f"Person {next(_number)}", **fields})
    for role in roles or (Role.MANAGER,):
        s.add(Membership(project_id=project.id, reviewer_id=reviewer.id, role=role))
    s.flush()
    return reviewer


def a_prompt(s: Session, project: Project, text: str = "", held_out: bool = False, **fields: object) -> Prompt:
    """A Prompt in a PromptSet of its own."""
    n = next(_number)
    by = saved(s, Reviewer, name=f"Person {next(_number)}")
    prompts = PromptSet(project_id=project.id, file_name="f.csv", sha256=f"{n}", row_count=1, imported_by_id=by.id)
    s.add_all([Membership(project_id=project.id, reviewer_id=by.id, role=Role.MANAGER), prompts])
    return saved(
        s,
        Prompt,
        **{
            "project_id": project.id,
            "prompt_set": prompts,
            "row_number": 1,
            "text": text or f"Where is parcel number {n}?",
            "content_hash": f"hash {n}",
            "held_out": held_out,
            "cluster": f"cluster {n}",
            **fields,
        },
    )


def a_human(s: Session, project: Project, **fields: object) -> Responder:
    """A human Responder."""
    return saved(
        s,
        Responder,
        **{"project_id": project.id, "name": f"Human {next(_number)}", "kind": ResponderKind.HUMAN, **fields},
    )


def a_model(s: Session, project: Project, location: str = "echo", **fields: object) -> Responder:
    """A model Responder on a base ModelVersion."""
    n = next(_number)
    version = saved(s, ModelVersion, name=f"model-{n}", location=location)
    return saved(
        s,
        Responder,
        **{
            "project_id": project.id,
            "name": f"Model {n}",
            "kind": ResponderKind.MODEL,
            "model_version_id": version.id,
            "instructions": "Answer the email.",
            **fields,
        },
    )


def a_response(s: Session, prompt: Prompt, responder: Responder, text: str = "", **fields: object) -> Response:
    """A Response that stopped by itself."""
    return saved(
        s,
        Response,
        **{
            "prompt_id": prompt.id,
            "responder_id": responder.id,
            "text": text or f"Reply number {next(_number)}.",
            "finish_reason": "stop" if responder.kind is not ResponderKind.HUMAN else None,
            **fields,
        },
    )


def a_comparison(s: Session, *responses: Response) -> Comparison:
    """A Comparison of the responses."""
    prompt = s.get_one(Prompt, responses[0].prompt_id)
    return ensure_comparison(
        s, project_id=prompt.project_id, prompt_id=prompt.id, response_ids=[response.id for response in responses]
    )


def a_pair(s: Session, project: Project, **prompt_fields: Any) -> Comparison:
    """A Comparison of two people's replies to a Prompt of its own."""
    prompt = a_prompt(s, project, **prompt_fields)
    return a_comparison(s, *(a_response(s, prompt, a_human(s, project)) for _ in range(2)))


def a_ranking(s: Session, comparison: Comparison, by: Reviewer, *best_first: Response, **fields: object) -> Ranking:
    """A Ranking whose places follow the order of the responses."""
    ranking = Ranking(comparison_id=comparison.id, reviewer_id=by.id, **fields)
    ranking.placements = [
        Placement(response_id=r.id, place=place, position=place - 1) for place, r in enumerate(best_first, start=1)
    ]
    s.add(ranking)
    s.flush()
    return ranking


def many_pairs(s: Session, project: Project, count: int) -> None:
    """So many Comparisons of two people's replies, in a few statements."""
    one, two = a_human(s, project), a_human(s, project)
    first = a_prompt(s, project)
    prompts = [
        Prompt(
            project_id=project.id,
            prompt_set_id=first.prompt_set_id,
            row_number=n,
            text=f"Where is parcel {n}?",
            content_hash=f"many {first.id} {n}",
            held_out=False,
            cluster=f"many {first.id} {n}",
        )
        for n in range(2, count + 1)
    ]
    s.add_all(prompts)
    s.flush()
    s.add_all(
        Response(prompt_id=prompt.id, responder_id=who.id, text=f"{words}, number {prompt.row_number}.")
        for prompt in (first, *prompts)
        for who, words in ((one, "It left today"), (two, "We are sorry that it is late and will look for it"))
    )
    s.flush()
    make_comparisons(s, project_id=project.id)


class Judged:
    """A closed evaluation of a model against two people and another model, on prompts with topics."""

    def __init__(
        self,
        s: Session,
        *,
        prompts: int = 24,
        reviewers: int = 2,
        simulated: int = 0,
        wins: float = 0.75,
        same: int | range = 0,
        come: int | None = None,
        project: Project | None = None,
        closed: bool = True,
    ) -> None:
        self.project = project or a_project(s)
        self.manager: Reviewer = a_reviewer(s, self.project)
        self.judges = [
            a_reviewer(s, self.project, Role.REVIEWER, simulated=n >= reviewers) for n in range(reviewers + simulated)
        ]
        self.candidate: Responder = a_model(s, self.project)
        self.baselines = [a_human(s, self.project), a_human(s, self.project), a_model(s, self.project)]
        self.evaluation = Evaluation(
            project_id=self.project.id,
            name=f"Contest {self.project.id}",
            candidate_id=self.candidate.id,
            seed=5,
            protocol_sha256="7" * 64,
            created_by_id=self.manager.id,
            closed_at=now() if closed else None,
        )
        s.add(self.evaluation)
        s.flush()
        for n in range(prompts):
            prompt = a_prompt(s, self.project, held_out=True, topic=("orders", "returns")[n % 2])
            mine = a_response(s, prompt, self.candidate, text=f"Sent on day {n}." + " Sorry." * (n % 5))
            for k, baseline in enumerate((self.baselines[n % 2], self.baselines[2])):
                identical = n in (range(same) if isinstance(same, int) else same)
                text = mine.text if identical else f"It left, {n}." + " Kindly." * (n % 3 + k)
                other = a_response(s, prompt, baseline, text=text)
                pairing = Pairing(
                    evaluation_id=self.evaluation.id,
                    prompt_id=prompt.id,
                    candidate_response_id=mine.id,
                    baseline_response_id=other.id,
                    identical=identical,
                )
                s.add(pairing)
                s.flush()
                if not identical and (come is None or n < come):
                    for j, judge in enumerate(self.judges):
                        self.judge(s, pairing, judge, n=n * 7 + j * 3 + k, wins=wins)
        s.flush()

    def judge(self, s: Session, pairing: Pairing, judge: Reviewer, *, n: int, wins: float) -> None:
        left = n % 2 == 0
        won = (n * 37 % 100) / 100 < wins
        verdict = Verdict.LEFT if won == left else Verdict.RIGHT
        if n % 11 == 0:
            verdict = Verdict.TIE
        s.add(
            Judgment(
                pairing_id=pairing.id,
                reviewer_id=judge.id,
                candidate_left=left,
                verdict=verdict,
                judged_at=now(),
                seconds=4.0 + n % 3,
            )
        )
