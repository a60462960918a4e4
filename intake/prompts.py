"""Saving an import: Prompts, human Responses, Comparisons and the Rankings that came along.

What is saved is true even if somebody else imports at the same time; importing the same file twice adds nothing.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.comparisons import OWN_RANKING, ResponseGroup, ensure_comparisons, nearly_same
from db.history import act_as
from db.models import Comparison, Placement, Prompt, PromptSet, Ranking, Responder, ResponderKind, Response, Role, now
from db.people import ensure_reviewer, ensure_role, link_authors, require_role, roles_of
from db.session import reading, session
from errors import DatabaseUnavailable, Refused
from intake.mapping import ColumnMapping
from intake.plan import ImportPlan, PlannedPrompt, plan_import
from intake.reading import Table
from intake.routing import route_prompts
from stats.verdicts import Verdict
from texts.rules import load_text_filter

AT_ONCE = 100
"""Prompts saved in one transaction: a fraction of a second."""


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
    """Save what `plan_import` shows in one transaction, which a large file holds for long. Only a manager may.

    Args:
        by: id of the reviewer who imports.
        content: the file's bytes, for the PromptSet's hash.

    Raises `NotAllowed`, `BadFile`, or `Refused` when there is no row to import.
    """
    plan = plan_import(s, project_id=project_id, table=table, mapping=mapping)
    writer = _start_import(s, plan, by=by, project_id=project_id, table=table, content=content, mapping=mapping)
    writer.save(s, plan.prompts)
    return writer.finish(s, plan), plan


def run_import(
    *,
    by: int,
    project_id: int,
    table: Table,
    content: bytes,
    mapping: ColumnMapping,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[ImportResult, ImportPlan]:
    """Save what `plan_import` shows, so many prompts at a time that nobody who ranks has to wait for it.

    The plan is made without a lock; where somebody else imported in the meantime, the rest is planned anew. Cut short,
    it leaves whole prompts behind, and importing the file again adds the others. Raises what `save_import` does.
    """
    with reading() as s:
        plan = first_plan = plan_import(s, project_id=project_id, table=table, mapping=mapping)
        newest = _newest_prompt(s, project_id)
    with session() as s:
        writer = _start_import(s, plan, by=by, project_id=project_id, table=table, content=content, mapping=mapping)
    place = 0
    while place < len(plan.prompts):
        try:
            with session() as s:
                if plan_holds := newest == _newest_prompt(s, project_id):
                    writer.save(s, plan.prompts[place : place + AT_ONCE])
                    newest = _newest_prompt(s, project_id)
        except DatabaseUnavailable as problem:
            raise DatabaseUnavailable(
                f"{place:,} of {len(plan.prompts):,} prompts were saved; import the file again, and only the others "
                f"are added. What came between: {problem}"
            ) from problem
        if plan_holds:
            place = min(place + AT_ONCE, len(plan.prompts))
            on_progress(place, len(plan.prompts))
            continue
        with reading() as s:
            plan, place = plan_import(s, project_id=project_id, table=table, mapping=mapping), 0
            newest = _newest_prompt(s, project_id)
    with session() as s:
        return writer.finish(s, plan), first_plan


def _newest_prompt(s: Session, project_id: int) -> int | None:
    return s.scalar(select(func.max(Prompt.id)).where(Prompt.project_id == project_id))


def _start_import(
    s: Session, plan: ImportPlan, *, by: int, project_id: int, table: Table, content: bytes, mapping: ColumnMapping
) -> "_ImportWriter":
    require_role(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
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
    responder_ids = {
        name: _ensure_human(s, project_id=project_id, name=name, simulated=mapping.responses_simulated).id
        for name in sorted({name for planned in plan.prompts for name in planned.replies})
    }
    link_authors(s, project_id=project_id)
    picker_id = None
    if any(planned.pick for planned in plan.prompts):
        picker_id = _ensure_picker(s, project_id=project_id, mapping=mapping)
    return _ImportWriter(by, project_id, prompt_set.id, responder_ids, picker_id)


@dataclass
class _ImportWriter:
    """An import that is being saved, and what it has saved so far."""

    by: int
    project_id: int
    prompt_set_id: int
    responder_ids: Mapping[str, int]
    picker_id: int | None
    prompts: int = 0
    held_out: int = 0
    responses: int = 0
    rankings: int = 0
    routed: int = 0

    def save(self, s: Session, planned_prompts: Sequence[PlannedPrompt]) -> None:
        """Save some planned prompts with their replies, pairs and picks."""
        act_as(s, self.by)
        prompts = self._save_prompts(s, [planned.prompt for planned in planned_prompts])
        replies = self._save_responses(s, planned_prompts, prompts)
        filter_text = load_text_filter(s, project_id=self.project_id)
        groups: list[ResponseGroup] = []
        picks: list[tuple[PlannedPrompt, str, dict[str, Response]]] = []
        for planned, responses in zip(planned_prompts, replies, strict=True):
            prompt = prompts[planned.prompt.content_hash]
            if prompt.held_out or len({response.text.strip() for response in responses.values()}) < 2:
                continue
            if planned.pick is None:
                groups += [
                    ResponseGroup(
                        prompt.id,
                        (first.id, second.id),
                        near_identical=nearly_same(filter_text(first.text), filter_text(second.text)),
                    )
                    for first, second in combinations(responses.values(), 2)
                    if first.text.strip() != second.text.strip()
                ]
            elif self.picker_id is not None:
                groups.append(ResponseGroup(prompt.id, [response.id for response in responses.values()]))
                picks.append((planned, groups[-1].key, responses))
        comparisons = ensure_comparisons(s, project_id=self.project_id, groups=groups)
        self._save_picks(s, [(planned, comparisons[key], responses) for planned, key, responses in picks])

    def _save_prompts(self, s: Session, planned: Sequence[Prompt]) -> dict[str, Prompt]:
        """The prompts by their hashes, those of before among them."""
        hashes = [prompt.content_hash for prompt in planned]
        stored = select(Prompt).where(Prompt.project_id == self.project_id, Prompt.content_hash.in_(hashes))
        prompts = {prompt.content_hash: prompt for prompt in s.scalars(stored)}
        new = [prompt for prompt in planned if prompt.content_hash not in prompts]
        for prompt in new:
            prompt.prompt_set_id = self.prompt_set_id
        s.add_all(new)
        s.flush()
        self.prompts += len(new)
        self.held_out += sum(prompt.held_out for prompt in new)
        self.routed += route_prompts(s, project_id=self.project_id, prompt_ids=[prompt.id for prompt in new])
        return prompts | {prompt.content_hash: prompt for prompt in new}

    def _save_responses(
        self, s: Session, planned_prompts: Sequence[PlannedPrompt], prompts: Mapping[str, Prompt]
    ) -> list[dict[str, Response]]:
        """Of each planned prompt its replies by the Responder's name."""
        earlier: dict[tuple[int, int], list[Response]] = defaultdict(list)
        of_prompts = Response.prompt_id.in_([prompt.id for prompt in prompts.values()])
        of_people = Response.responder_id.in_(self.responder_ids.values())
        for response in s.scalars(select(Response).where(of_prompts, of_people).order_by(Response.sample)):
            earlier[response.prompt_id, response.responder_id].append(response)
        replies, new = [], []
        for planned in planned_prompts:
            prompt_id, responses = prompts[planned.prompt.content_hash].id, {}
            for name, text in planned.replies.items():
                before = earlier[prompt_id, self.responder_ids[name]]
                same = next((response for response in before if response.text == text), None)
                if same is None:
                    same = Response(
                        prompt_id=prompt_id,
                        responder_id=self.responder_ids[name],
                        sample=len(before),
                        text=text,
                        prompt_set_id=self.prompt_set_id,
                    )
                    before.append(same)
                    new.append(same)
                responses[name] = same
            replies.append(responses)
        s.add_all(new)
        s.flush()
        self.responses += len(new)
        return replies

    def _save_picks(
        self, s: Session, picks: Sequence[tuple[PlannedPrompt, Comparison, Mapping[str, Response]]]
    ) -> None:
        """Save each pick as a ranking, unless the same stands already."""
        of_picker = Ranking.comparison_id.in_([comparison.id for _, comparison, _ in picks]), OWN_RANKING
        own = s.scalars(select(Ranking).where(Ranking.reviewer_id == self.picker_id, *of_picker))
        standing = {ranking.comparison_id: ranking for ranking in own}
        new = []
        for planned, comparison, responses in picks:
            places = {
                response.id: 1 if isinstance(planned.pick, Verdict) or planned.pick == name else 2
                for name, response in responses.items()
            }
            both_bad = planned.pick is Verdict.BOTH_BAD
            if (ranking := standing.get(comparison.id)) is not None:
                before = {placement.response_id: placement.place for placement in ranking.placements}
                if (before, ranking.both_bad) == (places, both_bad):
                    continue
                ranking.undone_at = now()  # they changed their mind; the old word stays as history
            new.append(
                Ranking(
                    comparison_id=comparison.id,
                    reviewer_id=self.picker_id,
                    both_bad=both_bad,
                    reason=planned.reason,
                    prompt_set_id=self.prompt_set_id,
                    placements=[
                        Placement(response_id=response_id, place=place, position=position)
                        for position, (response_id, place) in enumerate(places.items())
                    ],
                )
            )
        s.flush()
        s.add_all(new)
        s.flush()
        self.rankings += len(new)

    def finish(self, s: Session, plan: ImportPlan) -> ImportResult:
        """What was saved; of a file with nothing new no trace stays."""
        result = ImportResult(self.prompts, self.held_out, self.responses, self.rankings, plan.skipped, self.routed)
        if result.nothing_new:
            s.delete(s.get_one(PromptSet, self.prompt_set_id))
            s.flush()
        return result


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


def list_prompt_sets(s: Session, *, project_id: int) -> Sequence[PromptSet]:
    """The project's imports, newest first."""
    return s.scalars(select(PromptSet).where(PromptSet.project_id == project_id).order_by(PromptSet.id.desc())).all()
