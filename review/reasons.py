"""Why a choice was made, said after it: chips, and who was better by each criterion of the project."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import Criterion, CriterionChoice, JudgmentReason, Placement, RankingReason, Role, now
from db.people import require_role
from errors import NotFound, Refused
from review.rankings import get_own_ranking
from stats.verdicts import Verdict

PRAISE = ("Correct", "Complete", "Warm", "Clear", "Right length")
"""What the better reply did well."""
FAULTS = ("Misspelling", "Too long", "Repetition", "Inconsistent", "Hallucination", "Wrong policy", "Tone")
"""What was wrong with the other."""


def list_reasons(s: Session, *, ranking_id: int) -> list[str]:
    """The chips put on a ranking."""
    labels = select(RankingReason.label).where(RankingReason.ranking_id == ranking_id)
    return list(s.scalars(labels.order_by(RankingReason.label)))


def set_reasons(s: Session, *, by: int, ranking_id: int, praise: Collection[str], faults: Collection[str]) -> None:
    """Put exactly these chips on one's own ranking. Raises `Refused` for a word that is no chip."""
    ranking = get_own_ranking(s, by=by, ranking_id=ranking_id)
    reasons = s.scalars(select(RankingReason).where(RankingReason.ranking_id == ranking.id)).all()
    replace_reasons(s, reasons, partial(RankingReason, ranking_id=ranking.id), praise, faults)


def list_criteria(s: Session, *, project_id: int) -> Sequence[Criterion]:
    """The project's criteria in their order, without retired ones."""
    return s.scalars(
        select(Criterion)
        .where(Criterion.project_id == project_id, Criterion.retired_at.is_(None))
        .order_by(Criterion.position)
    ).all()


def set_criteria(s: Session, *, by: int, project_id: int, names: Sequence[str]) -> None:
    """Make these the project's criteria, in this order; managers only.

    One that is left out is retired and keeps what was said by it; named again, it comes back.
    """
    require_role(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    wanted = list(dict.fromkeys(clean for name in names if (clean := " ".join(name.split()))))
    if len(wanted) > 6:
        raise Refused("More than six criteria take longer than the choice itself. Keep those that you would act on.")
    criteria = s.scalars(select(Criterion).where(Criterion.project_id == project_id))
    known = {criterion.name: criterion for criterion in criteria}
    for criterion in known.values():
        if criterion.name not in wanted and criterion.retired_at is None:
            criterion.retired_at = now()
    for position, name in enumerate(wanted):
        criterion = known.get(name) or Criterion(project_id=project_id, name=name)
        criterion.position, criterion.retired_at = position, None
        s.add(criterion)
    s.flush()


def judge_criterion(s: Session, *, by: int, ranking_id: int, criterion_id: int, verdict: Verdict | None) -> None:
    """Say which side was better by one criterion, that both are equal (TIE), or nothing any more (None)."""
    ranking = get_own_ranking(s, by=by, ranking_id=ranking_id)
    criterion = s.get(Criterion, criterion_id)
    if criterion is None or criterion.project_id != ranking.comparison.project_id or criterion.retired_at is not None:
        raise NotFound("That criterion is not used here any more. Reload the page.")
    if verdict is Verdict.BOTH_BAD:
        raise Refused("By one criterion a side is better or both are equal.")
    if len(ranking.placements) != 2:
        raise Refused("Which one was better by a criterion is asked of pairs only.")
    if verdict is not None:
        sides = {placement.position: placement.response_id for placement in ranking.placements}
        better_id = {Verdict.LEFT: sides[0], Verdict.RIGHT: sides[1]}.get(verdict)
        s.merge(CriterionChoice(ranking_id=ranking_id, criterion_id=criterion_id, better_id=better_id))
    elif choice := s.get(CriterionChoice, (ranking_id, criterion_id)):
        s.delete(choice)
    s.flush()


def criterion_verdicts(s: Session, *, ranking_id: int) -> Mapping[int, Verdict]:
    """What was said by each criterion: criterion id to LEFT, RIGHT or TIE, as the sides stood."""
    rows = s.execute(
        select(CriterionChoice.criterion_id, Placement.position)
        .outerjoin(
            Placement,
            (Placement.ranking_id == CriterionChoice.ranking_id) & (Placement.response_id == CriterionChoice.better_id),
        )
        .where(CriterionChoice.ranking_id == ranking_id)
    )
    side = {0: Verdict.LEFT, 1: Verdict.RIGHT, None: Verdict.TIE}
    return {criterion_id: side[position] for criterion_id, position in rows}


def replace_reasons(
    s: Session,
    reasons: Iterable[RankingReason | JudgmentReason],
    make: Callable[..., RankingReason | JudgmentReason],
    praise: Collection[str],
    faults: Collection[str],
) -> None:
    """Put exactly these words in the place of the labels that stand. Raises `Refused` for a word that is none."""
    if unknown := [*(set(praise) - set(PRAISE)), *(set(faults) - set(FAULTS))]:
        raise Refused(f"“{unknown[0][:40]}” is no reason that can be chosen here. Write it as a comment.")
    wanted = dict.fromkeys(praise, True) | dict.fromkeys(faults, False)
    for reason in reasons:
        if wanted.pop(reason.label, None) is None:
            s.delete(reason)
    s.add_all(make(label=word, praise=praised) for word, praised in wanted.items())
    s.flush()
