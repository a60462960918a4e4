"""A project's standing feedback, read from the database for the pure part to work on."""

from collections import defaultdict
from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.corrections import corrected_further
from db.models import Comparison, Correction, Drawn, Placement, Prompt, Ranking, Responder, Response, Reviewer
from errors import Refused
from training.preferences import AskedPrompt, GivenCorrection, GivenRanking, GivenResponse, PreferenceRow


def refuse_held_out(s: Session, *, project_id: int, rows: Iterable[PreferenceRow]) -> None:
    """Raise `Refused` if a row's prompt is held out, or is a near-duplicate of a held-out prompt.

    Asks the database anew, whatever was read before: an evaluation is worth nothing once its prompts are trained on.
    """
    held_out = s.execute(
        select(Prompt.id, Prompt.cluster).where(Prompt.project_id == project_id, Prompt.held_out.is_(True))
    ).all()
    ids, clusters = {row.id for row in held_out}, {row.cluster for row in held_out}
    guilty = {row.prompt.id for row in rows if row.prompt.id in ids or row.prompt.cluster in clusters}
    if guilty:
        raise Refused(
            f"{len(guilty)} prompts with feedback are held out for evaluation or nearly the same as one that is, so "
            f"nothing was frozen. Undo the feedback on prompt {', '.join(map(str, sorted(guilty)[:5]))}."
        )


def standing_rankings(s: Session, *, project_id: int) -> list[GivenRanking]:
    """Rankings of training prompts that nobody undid, of pairs that nobody discarded."""
    found = s.execute(
        select(Ranking, Prompt, Reviewer, Placement.place, Response, Responder)
        .join(Comparison, Comparison.id == Ranking.comparison_id)
        .join(Prompt, Prompt.id == Comparison.prompt_id)
        .join(Reviewer, Reviewer.id == Ranking.reviewer_id)
        .join(Placement, Placement.ranking_id == Ranking.id)
        .join(Response, Response.id == Placement.response_id)
        .join(Responder, Responder.id == Response.responder_id)
        .where(
            Comparison.project_id == project_id,
            Comparison.discarded_at.is_(None),
            Ranking.undone_at.is_(None),
            Ranking.drawn != Drawn.REPEAT,
            Prompt.held_out.is_(False),
        )
        .order_by(Ranking.id, Placement.place, Response.id)
    ).all()
    placed: dict[int, list[tuple[int, GivenResponse]]] = defaultdict(list)
    heads: dict[int, tuple[Ranking, Prompt, Reviewer]] = {}
    for ranking, prompt, reviewer, place, response, responder in found:
        heads[ranking.id] = (ranking, prompt, reviewer)
        placed[ranking.id].append((place, _response(response, responder)))
    return [
        GivenRanking(
            id=ranking.id,
            prompt=_prompt(prompt),
            reviewer=reviewer.label,
            simulated=reviewer.simulated,
            both_bad=ranking.both_bad,
            adjudicates=ranking.adjudicates,
            placed=tuple(placed[ranking.id]),
        )
        for ranking, prompt, reviewer in heads.values()
    ]


def standing_corrections(s: Session, *, project_id: int) -> list[GivenCorrection]:
    """Corrections of replies to training prompts that nobody undid."""
    found = s.execute(
        select(Correction, Prompt, Reviewer, Response, Responder)
        .join(Response, Response.id == Correction.response_id)
        .join(Prompt, Prompt.id == Response.prompt_id)
        .join(Reviewer, Reviewer.id == Correction.reviewer_id)
        .join(Responder, Responder.id == Response.responder_id)
        .where(Prompt.project_id == project_id, Correction.undone_at.is_(None), Prompt.held_out.is_(False))
        .order_by(Correction.id)
    ).all()
    every = s.execute(
        select(Correction.id, Correction.parent_id, Correction.undone_at.is_(None))
        .join(Response, Response.id == Correction.response_id)
        .join(Prompt, Prompt.id == Response.prompt_id)
        .where(Prompt.project_id == project_id)
    ).all()
    revised = corrected_further([(i, parent, stands) for i, parent, stands in every])
    return [
        GivenCorrection(
            id=correction.id,
            prompt=_prompt(prompt),
            reviewer=reviewer.label,
            simulated=reviewer.simulated,
            original=_response(response, responder),
            text=correction.text,
            revised=correction.id in revised,
        )
        for correction, prompt, reviewer, response, responder in found
    ]


def _prompt(prompt: Prompt) -> AskedPrompt:
    return AskedPrompt(
        id=prompt.id,
        text=prompt.text,
        context=prompt.context,
        cluster=prompt.cluster,
        routed=prompt.routing_rule_id is not None,
        synthetic=prompt.synthetic,
        extra=prompt.extra,
    )


def _response(response: Response, responder: Responder) -> GivenResponse:
    return GivenResponse(
        id=response.id, text=response.text, finish_reason=response.finish_reason, responder=responder.label
    )
