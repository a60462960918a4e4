"""Rows made with one call; every argument has a default and the caller names only what the test is about."""

from itertools import count

from sqlalchemy.orm import Session

from db.comparisons import ensure_comparison
from db.models import (
    Comparison,
    Membership,
    ModelVersion,
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
)
from generation.pairing import make_comparisons

_number = count(1)


def a_project(s: Session, **fields: object) -> Project:
    """A Project with instructions."""
    n = next(_number)
    project = Project(**{"name": f"Project {n}", "instructions": "Answer the email.", **fields})
    s.add(project)
    s.flush()
    return project


def a_reviewer(s: Session, project: Project, *roles: Role, **fields: object) -> Reviewer:
    """A Reviewer with the roles, MANAGER if none is named."""
    reviewer = Reviewer(**{"name": f"Person {next(_number)}", **fields})
    s.add(reviewer)
    s.flush()
    for role in roles or (Role.MANAGER,):
        s.add(Membership(project_id=project.id, reviewer_id=reviewer.id, role=role))
    s.flush()
    return reviewer


def a_prompt(s: Session, project: Project, text: str = "", held_out: bool = False, **fields: object) -> Prompt:
    """A Prompt in a PromptSet of its own."""
    n = next(_number)
    by = a_reviewer(s, project)
    prompts = PromptSet(project_id=project.id, file_name="f.csv", sha256=f"{n}", row_count=1, imported_by_id=by.id)
    s.add(prompts)
    s.flush()
    prompt = Prompt(
        **{
            "project_id": project.id,
            "prompt_set_id": prompts.id,
            "row_number": 1,
            "text": text or f"Where is parcel number {n}?",
            "content_hash": f"hash {n}",
            "held_out": held_out,
            "cluster": f"cluster {n}",
            **fields,
        }
    )
    s.add(prompt)
    s.flush()
    return prompt


def a_human(s: Session, project: Project, **fields: object) -> Responder:
    """A human Responder."""
    responder = Responder(
        **{"project_id": project.id, "name": f"Human {next(_number)}", "kind": ResponderKind.HUMAN, **fields}
    )
    s.add(responder)
    s.flush()
    return responder


def a_model(s: Session, project: Project, location: str = "echo", **fields: object) -> Responder:
    """A model Responder on a base ModelVersion."""
    n = next(_number)
    version = ModelVersion(name=f"model-{n}", location=location)
    s.add(version)
    s.flush()
    responder = Responder(
        **{
            "project_id": project.id,
            "name": f"Model {n}",
            "kind": ResponderKind.MODEL,
            "model_version_id": version.id,
            "instructions": "Answer the email.",
            **fields,
        }
    )
    s.add(responder)
    s.flush()
    return responder


def a_response(s: Session, prompt: Prompt, responder: Responder, text: str = "", **fields: object) -> Response:
    """A Response that stopped by itself."""
    response = Response(
        **{
            "prompt_id": prompt.id,
            "responder_id": responder.id,
            "text": text or f"Reply number {next(_number)}.",
            "finish_reason": "stop" if responder.kind is not ResponderKind.HUMAN else None,
            **fields,
        }
    )
    s.add(response)
    s.flush()
    return response


def a_comparison(s: Session, *responses: Response) -> Comparison:
    """A Comparison of the responses."""
    prompt = s.get_one(Prompt, responses[0].prompt_id)
    return ensure_comparison(
        s, project_id=prompt.project_id, prompt_id=prompt.id, response_ids=[response.id for response in responses]
    )


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
