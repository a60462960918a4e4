"""Saving an import: Prompts, human Responses, Comparisons and the Rankings that came along.

`save_import` makes the plan anew inside its own transaction, so what is saved is true even if somebody else imported in
between; importing the same file twice adds nothing.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.comparisons import OWN_RANKING, ensure_comparison, nearly_same
from db.models import Placement, Prompt, PromptSet, Ranking, Responder, ResponderKind, Response, Role, now
from db.people import ensure_reviewer, ensure_role, link_authors, require_role, roles_of
from errors import Refused
from intake.mapping import ColumnMapping
from intake.plan import ImportPlan, PlannedPrompt, plan_import
from intake.reading import Table
from intake.routing import route_prompts
from stats.verdicts import Verdict
from texts.rules import load_text_filter
from texts.shown import TextFilter


@dataclass(frozen=True)
class ImportResult:
    """What an import did."""

    prompts: int
    held_out: int
    responses: int
    rankings: int
    skipped: int
    routed: int = 0
    """New prompts that a rule sends to people."""

    @property
    def nothing_new(self) -> bool:
        """Everything in the file was there already."""
        return not (self.prompts or self.responses or self.rankings)


def save_import(
    s: Session, *, by: int, project_id: int, table: Table, content: bytes, mapping: ColumnMapping
) -> tuple[ImportResult, ImportPlan]:
    """Save what `plan_import` shows. Only a manager may.

    Args:
        by: id of the reviewer who imports.
        content: the file's bytes, for the PromptSet's hash.

    Raises `NotAllowed`, `BadFile`, or `Refused` when there is no row to import.
    """
    require_role(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    plan = plan_import(s, project_id=project_id, table=table, mapping=mapping)
    if not plan.prompts:
        raise Refused("No row of this file can be imported. Mend the problems listed and choose the file again.")
    prompt_set = PromptSet(
        project_id=project_id,
        file_name=table.file_name,
        sha256=hashlib.sha256(content).hexdigest(),
        row_count=len(table.rows),
        imported_by_id=by,
    )
    s.add(prompt_set)
    s.flush()
    responders = {
        name: _ensure_human(s, project_id=project_id, name=name, simulated=mapping.responses_simulated)
        for name in sorted({name for planned in plan.prompts for name in planned.replies})
    }
    link_authors(s, project_id=project_id)
    shown = load_text_filter(s, project_id=project_id)
    picker_id = None
    if any(planned.pick for planned in plan.prompts):
        picker_id = _ensure_picker(s, project_id=project_id, mapping=mapping)
    new_prompts = []
    saved_responses = saved_rankings = 0
    stored = {
        prompt.content_hash: prompt for prompt in s.scalars(select(Prompt).where(Prompt.project_id == project_id))
    }
    for planned in plan.prompts:
        prompt = stored.get(planned.prompt.content_hash)
        if prompt is None:
            prompt = planned.prompt
            prompt.prompt_set_id = prompt_set.id
            s.add(prompt)
            s.flush()
            new_prompts.append(prompt)
        responses: dict[str, Response] = {}
        for name, text in planned.replies.items():
            responses[name], is_new = _ensure_response(s, prompt, responders[name], text, prompt_set.id)
            saved_responses += is_new
        texts = {response.text.strip() for response in responses.values()}
        if prompt.held_out or len(texts) < 2:
            continue
        if planned.pick is None:
            _offer_pairs(s, prompt, list(responses.values()), shown)
        elif picker_id is not None:
            saved_rankings += _save_pick(s, prompt, responses, planned, picker_id, prompt_set.id)
    result = ImportResult(
        prompts=len(new_prompts),
        held_out=sum(prompt.held_out for prompt in new_prompts),
        responses=saved_responses,
        rankings=saved_rankings,
        skipped=plan.skipped,
        routed=route_prompts(s, project_id=project_id, prompt_ids=[prompt.id for prompt in new_prompts]),
    )
    if result.nothing_new:
        s.delete(prompt_set)
        s.flush()
    return result, plan


def _ensure_picker(s: Session, *, project_id: int, mapping: ColumnMapping) -> int:
    rule = "Picks that came with an imported file." if mapping.picks_simulated else None
    picker = ensure_reviewer(s, name=mapping.picked_by, simulated=mapping.picks_simulated, rule=rule)
    if not roles_of(s, reviewer_id=picker.id, project_id=project_id):
        ensure_role(s, project_id=project_id, reviewer_id=picker.id, role=Role.ANNOTATOR)
    return picker.id


def _ensure_human(s: Session, *, project_id: int, name: str, simulated: bool) -> Responder:
    responder = s.scalar(select(Responder).where(Responder.project_id == project_id, Responder.name == name))
    if responder is None:
        responder = Responder(project_id=project_id, name=name, kind=ResponderKind.HUMAN, simulated=simulated)
        s.add(responder)
        s.flush()
    elif responder.kind is not ResponderKind.HUMAN:
        raise Refused(f"“{name}” is a model in this project. Give the person who wrote the replies another name.")
    elif responder.simulated != simulated:
        kind = "made up" if responder.simulated else "written by people"
        raise Refused(f"The replies of “{name}” were imported as {kind} before. Say the same now, or change the name.")
    return responder


def _ensure_response(
    s: Session, prompt: Prompt, responder: Responder, text: str, prompt_set_id: int
) -> tuple[Response, bool]:
    before = s.scalars(
        select(Response)
        .where(Response.prompt_id == prompt.id, Response.responder_id == responder.id)
        .order_by(Response.sample)
    ).all()
    for response in before:
        if response.text == text:
            return response, False
    response = Response(prompt_id=prompt.id, responder_id=responder.id, sample=len(before), text=text)
    response.prompt_set_id = prompt_set_id
    s.add(response)
    s.flush()
    return response, True


def _offer_pairs(s: Session, prompt: Prompt, responses: Sequence[Response], shown: TextFilter) -> None:
    for first, second in combinations(responses, 2):
        if first.text.strip() != second.text.strip():
            ensure_comparison(
                s,
                project_id=prompt.project_id,
                prompt_id=prompt.id,
                response_ids=[first.id, second.id],
                near_identical=nearly_same(shown(first.text), shown(second.text)),
            )


def _save_pick(
    s: Session,
    prompt: Prompt,
    responses: dict[str, Response],
    planned: PlannedPrompt,
    picker_id: int,
    prompt_set_id: int,
) -> bool:
    """Save the pick as a ranking, unless the same stands already; says whether it did."""
    response_ids = [response.id for response in responses.values()]
    comparison = ensure_comparison(s, project_id=prompt.project_id, prompt_id=prompt.id, response_ids=response_ids)
    places = {
        response.id: 1 if isinstance(planned.pick, Verdict) or planned.pick == name else 2
        for name, response in responses.items()
    }
    both_bad = planned.pick is Verdict.BOTH_BAD
    standing = s.scalar(
        select(Ranking).where(Ranking.comparison_id == comparison.id, Ranking.reviewer_id == picker_id, OWN_RANKING)
    )
    if standing is not None:
        before = {placement.response_id: placement.place for placement in standing.placements}
        if (before, standing.both_bad) == (places, both_bad):
            return False
        standing.undone_at = now()  # they changed their mind; the old word stays as history
        s.flush()
    s.add(
        Ranking(
            comparison_id=comparison.id,
            reviewer_id=picker_id,
            both_bad=both_bad,
            reason=planned.reason,
            prompt_set_id=prompt_set_id,
            placements=[
                Placement(response_id=response_id, place=place, position=position)
                for position, (response_id, place) in enumerate(places.items())
            ],
        )
    )
    s.flush()
    return True


def list_prompt_sets(s: Session, *, project_id: int) -> Sequence[PromptSet]:
    """The project's imports, newest first."""
    return s.scalars(select(PromptSet).where(PromptSet.project_id == project_id).order_by(PromptSet.id.desc())).all()
