"""Whether a project is ready to train: what is done, what is not yet, what it does not need. Informs, never blocks."""

import math
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import and_, exists, func, or_, select
from sqlalchemy.orm import Session, aliased

from db.models import (
    Evaluation,
    ModelVersion,
    Pairing,
    Preference,
    Project,
    Prompt,
    Responder,
    ResponderKind,
    Response,
    RoutingRule,
    Snapshot,
)
from db.people import guideline_of
from errors import NotFound
from training.recipe.advice import FEW_PAIRS, FEW_REPEATS, LOW_AGREEMENT, LOW_ALPHA, Repeats


@dataclass(frozen=True)
class Odds:
    """A difference between two models, and how many decisive verdicts show it."""

    label: str
    says: str
    verdicts: int
    """One to a prompt; power 80 %, two-sided 0.05, sign test, exact: it holds for the next eleven numbers as well."""


DIFFERENCES: tuple[Odds, ...] = (
    Odds("2:1", "a clear difference: better twice as often as worse", 77),
    Odds("3:2", "a fair difference: better three times for two times worse", 210),
    Odds("11:9", "a small difference: better eleven times for nine times worse", 820),
)
"""What somebody may care to notice, the easiest first."""


class State(StrEnum):
    """Where one thing stands."""

    DONE = "done"
    NOT_YET = "not yet"
    NOT_NEEDED = "not needed"


@dataclass(frozen=True)
class Item:
    """One thing to have before a training."""

    title: str
    state: State
    sentence: str
    page: str
    """Where it is done, as a file of the app."""
    page_title: str


@dataclass(frozen=True)
class Facts:
    """What the database says; agreement is review's and comes beside it."""

    prompted_judged: int
    """Closed Evaluations in which a model that was only prompted took part."""
    prompted_open: int
    instructions: bool
    guideline: bool
    pairs: int | None
    """Of the Snapshot; none where none is chosen."""
    simulated: int
    held_out: int
    """Held-out prompts that models may answer."""
    rules: int
    """Standing RoutingRules."""
    routed: int
    """Prompts that people answer."""
    corrections_alone: bool = False
    """No pair of the Snapshot comes from a ranking, so that there is nothing to agree on."""


def facts(s: Session, *, project_id: int, snapshot_id: int | None) -> Facts:
    """Count what readiness depends on. Raises `NotFound` for a project that is not there."""
    project = s.get(Project, project_id)
    if project is None:
        raise NotFound(f"There is no project {project_id}. Choose one from the list.")
    guideline = guideline_of(s, project_id=project_id)
    snapshot = s.get(Snapshot, snapshot_id) if snapshot_id is not None else None
    held_out = select(func.count(Prompt.id)).where(
        Prompt.project_id == project_id, Prompt.held_out, Prompt.routing_rule_id.is_(None)
    )
    routed = select(func.count(Prompt.id)).where(Prompt.project_id == project_id, Prompt.routing_rule_id.is_not(None))
    rules = select(func.count(RoutingRule.id)).where(
        RoutingRule.project_id == project_id, RoutingRule.ended_at.is_(None)
    )
    judged = _prompted(s, project_id)
    ranked = select(exists().where(Preference.snapshot_id == snapshot_id, Preference.ranking_id.is_not(None)))
    corrections_alone = snapshot is not None and snapshot.row_count > 0 and not s.scalar(ranked)
    return Facts(
        prompted_judged=sum(judged.values()),
        prompted_open=len(judged) - sum(judged.values()),
        instructions=bool(project.instructions.strip()),
        guideline=bool(guideline is not None and guideline.text.strip()),
        pairs=snapshot.row_count if snapshot is not None else None,
        simulated=snapshot.simulated_count if snapshot is not None else 0,
        held_out=s.scalar(held_out) or 0,
        rules=s.scalar(rules) or 0,
        routed=s.scalar(routed) or 0,
        corrections_alone=corrections_alone,
    )


def _prompted(s: Session, project_id: int) -> dict[int, bool]:
    """Evaluations with a model that was only prompted, and whether each is closed."""
    candidate, baseline = aliased(Responder), aliased(Responder)
    of_candidate, of_baseline = aliased(ModelVersion), aliased(ModelVersion)
    found = s.execute(
        select(Evaluation.id, Evaluation.closed_at)
        .join(Pairing, Pairing.evaluation_id == Evaluation.id)
        .join(Response, Response.id == Pairing.baseline_response_id)
        .join(candidate, candidate.id == Evaluation.candidate_id)
        .join(baseline, baseline.id == Response.responder_id)
        .outerjoin(of_candidate, of_candidate.id == candidate.model_version_id)
        .outerjoin(of_baseline, of_baseline.id == baseline.model_version_id)
        .where(
            Evaluation.project_id == project_id,
            or_(
                *(
                    or_(
                        who.kind == ResponderKind.REMOTE,
                        and_(who.kind == ResponderKind.MODEL, version.parent_id.is_(None)),
                    )
                    for who, version in ((candidate, of_candidate), (baseline, of_baseline))
                )
            ),
        )
        .distinct()
    )
    return {evaluation_id: closed_at is not None for evaluation_id, closed_at in found}


def needed_prompts(odds: Odds, *, tie_share: float = 0.0) -> int:
    """Held-out prompts that show the difference when each gets one verdict, of which so many are ties."""
    return math.ceil(odds.verdicts / (1 - min(tie_share, 0.9)))


def report(
    found: Facts, *, agreed: Repeats, alpha: float | None, odds: Odds, tie_share: float = 0.0
) -> tuple[Item, ...]:
    """Everything to have before a training, in the order in which it is done.

    Args:
        agreed: double judgments of people in the project.
        alpha: Krippendorff's, of the same; none where it cannot be computed.
        odds: the difference that the manager cares about.
        tie_share: of people's verdicts or rankings so far.
    """
    return (
        _prompting(found),
        _scope(found),
        _routing(found),
        _pairs(found),
        _consistency(found, agreed=agreed, alpha=alpha),
        _simulated(found),
        _held_out(found, odds=odds, tie_share=tie_share),
    )


def _prompting(found: Facts) -> Item:
    title, trying = "Prompting tried first", ("pages/try_prompts.py", "Try prompts")
    judging = ("pages/evaluate_models.py", "Evaluate")
    if found.prompted_judged:
        many = "evaluation has" if found.prompted_judged == 1 else "evaluations have"
        return Item(
            title,
            State.DONE,
            f"{found.prompted_judged} closed {many} a model that is only prompted, to compare with.",
            *judging,
        )
    if found.prompted_open:
        return Item(
            title,
            State.NOT_YET,
            "A model that is only prompted is being judged; wait for the verdict and close it.",
            *judging,
        )
    return Item(
        title,
        State.NOT_YET,
        "No model that is only prompted has been judged blind. Often a better prompt does it, for nothing.",
        *trying,
    )


def _scope(found: Facts) -> Item:
    page = ("pages/manage_people.py", "People")
    missing = [
        name for name, there in (("instructions", found.instructions), ("guideline", found.guideline)) if not there
    ]
    if not missing:
        return Item(
            "Task scoped", State.DONE, "Instructions for the model and a guideline for people are written.", *page
        )
    return Item(
        "Task scoped",
        State.NOT_YET,
        f"No {' and no '.join(missing)} yet: write down what is answered and what makes a reply better.",
        *page,
    )


def _routing(found: Facts) -> Item:
    page = ("pages/route_prompts.py", "Route")
    if found.rules:
        return Item(
            "Prompts for people routed",
            State.DONE,
            f"{found.rules} rules leave {found.routed} prompts to people; none of them is trained on.",
            *page,
        )
    return Item(
        "Prompts for people routed",
        State.NOT_NEEDED,
        "No rule, so models answer everything. If some prompts are for people only (complaints, the law), say which.",
        *page,
    )


def _pairs(found: Facts) -> Item:
    if found.pairs is None:
        return Item(
            "Enough pairs",
            State.NOT_YET,
            "No snapshot is frozen yet, so there is nothing to train on.",
            "pages/freeze_feedback.py",
            "Freeze",
        )
    page = ("pages/compare_responses.py", "Compare")
    if found.pairs >= FEW_PAIRS:
        return Item(
            "Enough pairs",
            State.DONE,
            f"The snapshot has {found.pairs}; {FEW_PAIRS} are the least to expect much of.",
            *page,
        )
    return Item(
        "Enough pairs",
        State.NOT_YET,
        f"The snapshot has {found.pairs} of {FEW_PAIRS}: expect small shifts of style. Rank more.",
        *page,
    )


def _consistency(found: Facts, *, agreed: Repeats, alpha: float | None) -> Item:
    title, page = "People agree", ("pages/review_progress.py", "Progress")
    if found.corrections_alone:
        return Item(
            title,
            State.NOT_NEEDED,
            "Every pair is a correction over what it corrects, so there is nothing to agree on.",
            *page,
        )
    if agreed.share is None or agreed.pairs < FEW_REPEATS:
        return Item(
            title,
            State.NOT_YET,
            f"{agreed.pairs} of {FEW_REPEATS} double judgments: let two people rank a share of the pairs to know.",
            *page,
        )
    said = f"{agreed.share:.0%} of {agreed.pairs} double judgments agree"
    if agreed.share < LOW_AGREEMENT or (alpha is not None and alpha < LOW_ALPHA):
        return Item(
            title,
            State.NOT_YET,
            f"{said}, and {LOW_AGREEMENT:.0%} is the least: sharpen the guideline and settle contested pairs first.",
            "pages/decide_conflicts.py",
            "Decide",
        )
    return Item(title, State.DONE, f"{said}.", *page)


def _simulated(found: Facts) -> Item:
    title, page = "People's words only", ("pages/freeze_feedback.py", "Freeze")
    if found.pairs is None:
        return Item(title, State.NOT_YET, "No snapshot is frozen yet.", *page)
    if not found.simulated:
        return Item(title, State.DONE, "Every row rests on a person's word.", *page)
    return Item(
        title,
        State.NOT_YET,
        f"{found.simulated} of {found.pairs} rows are simulated: a model trained on them follows a rule, not people.",
        *page,
    )


def _held_out(found: Facts, *, odds: Odds, tie_share: float) -> Item:
    title, page = "Enough held-out prompts", ("pages/import_prompts.py", "Import")
    needed = needed_prompts(odds, tie_share=tie_share)
    ties = f" with {tie_share:.0%} ties" if tie_share else ""
    if not found.held_out:
        return Item(
            title, State.NOT_YET, f"None, so no model can be judged blind; {odds.label} takes {needed}{ties}.", *page
        )
    if found.held_out >= needed:
        return Item(title, State.DONE, f"{found.held_out} held out; to show {odds.label} takes {needed}{ties}.", *page)
    seen = [one.label for one in DIFFERENCES if found.held_out >= needed_prompts(one, tie_share=tie_share)]
    shown = f"they show {seen[-1]}" if seen else "not even 2:1 would show reliably"
    return Item(
        title,
        State.NOT_YET,
        f"{found.held_out} held out, and to show {odds.label} takes {needed}{ties}: {shown}. "
        "Import more, or let several people judge each.",
        *page,
    )
