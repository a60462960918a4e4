"""Whether a project is ready to train: what is done, what is not yet, what it does not need. Informs, never blocks."""

import math
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import ColumnExpressionArgument, and_, exists, func, or_, select
from sqlalchemy.orm import Session

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
from db.people import current_guideline
from errors import NotFound
from training.recipe.advice import FEW_PAIRS, FEW_REPEATS, LOW_AGREEMENT, LOW_ALPHA, DoubleJudgments


@dataclass(frozen=True)
class Odds:
    """A difference between two models, and how many decisive verdicts show it."""

    label: str
    description: str
    verdicts: int
    """One to a prompt; power 80 %, two-sided 0.05, sign test, exact: it holds for the next eleven numbers as well."""


DIFFERENCES: tuple[Odds, ...] = (
    Odds("2:1", "a clear difference: better twice as often as worse", 77),
    Odds("3:2", "a fair difference: better three times for two times worse", 210),
    Odds("11:9", "a small difference: better eleven times for nine times worse", 820),
)
FREEZE = ("pages/freeze_feedback.py", "Freeze")


class ReadinessState(StrEnum):
    """Where one thing stands."""

    DONE = "done"
    NOT_YET = "not yet"
    NOT_NEEDED = "not needed"


@dataclass(frozen=True)
class ReadinessItem:
    """One thing to have before a training."""

    title: str
    state: ReadinessState
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
    routed: int
    corrections_alone: bool = False
    """No pair of the Snapshot comes from a ranking, so that there is nothing to agree on."""


def load_facts(s: Session, *, project_id: int, snapshot_id: int | None) -> Facts:
    """Count what readiness depends on. Raises `NotFound` for a project that is not there."""
    project = s.get(Project, project_id)
    if project is None:
        raise NotFound(f"There is no project {project_id}. Choose one from the list.")
    guideline = current_guideline(s, project_id=project_id)
    snapshot = s.get(Snapshot, snapshot_id) if snapshot_id is not None else None
    closed = _prompted_evaluations(s, project_id)
    ranked = select(exists().where(Preference.snapshot_id == snapshot_id, Preference.ranking_id.is_not(None)))

    def count(*conditions: ColumnExpressionArgument[bool]) -> int:
        return s.scalar(select(func.count()).where(*conditions)) or 0

    prompts = Prompt.project_id == project_id
    return Facts(
        prompted_judged=sum(closed),
        prompted_open=len(closed) - sum(closed),
        instructions=bool(project.instructions.strip()),
        guideline=bool(guideline is not None and guideline.text.strip()),
        pairs=snapshot.row_count if snapshot is not None else None,
        simulated=snapshot.simulated_count if snapshot is not None else 0,
        held_out=count(prompts, Prompt.held_out, Prompt.routing_rule_id.is_(None)),
        rules=count(RoutingRule.project_id == project_id, RoutingRule.ended_at.is_(None)),
        routed=count(prompts, Prompt.routing_rule_id.is_not(None)),
        corrections_alone=snapshot is not None and snapshot.row_count > 0 and not s.scalar(ranked),
    )


def _prompted_evaluations(s: Session, project_id: int) -> list[bool]:
    """Whether each Evaluation in which a model that was only prompted took part is closed."""
    base_model = and_(Responder.kind == ResponderKind.MODEL, ModelVersion.parent_id.is_(None))
    only_prompted = (
        select(Responder.id)
        .outerjoin(ModelVersion, ModelVersion.id == Responder.model_version_id)
        .where(or_(Responder.kind == ResponderKind.REMOTE, base_model))
    )
    evaluations = s.execute(
        select(Evaluation.id, Evaluation.closed_at)
        .join(Pairing, Pairing.evaluation_id == Evaluation.id)
        .join(Response, Response.id == Pairing.baseline_response_id)
        .where(
            Evaluation.project_id == project_id,
            or_(Evaluation.candidate_id.in_(only_prompted), Response.responder_id.in_(only_prompted)),
        )
        .distinct()
    )
    return [closed_at is not None for _, closed_at in evaluations]


def needed_prompts(odds: Odds, *, tie_share: float = 0.0) -> int:
    """Held-out prompts that show the difference when each gets one verdict, of which so many are ties."""
    return math.ceil(odds.verdicts / (1 - min(tie_share, 0.9)))


def readiness_items(
    facts: Facts, *, judgments: DoubleJudgments, alpha: float | None, odds: Odds, tie_share: float = 0.0
) -> tuple[ReadinessItem, ...]:
    """Everything to have before a training, in the order in which it is done.

    Args:
        alpha: Krippendorff's, of people's double ``judgments``; none where it cannot be computed.
        odds: the difference that the manager cares about.
        tie_share: of people's verdicts or rankings so far.
    """
    items = {
        "Prompting tried first": _prompting(facts),
        "Task scoped": _scope(facts),
        "Prompts for people routed": _routing(facts),
        "Enough pairs": _pairs(facts),
        "People agree": _consistency(facts, judgments=judgments, alpha=alpha),
        "People's words only": _simulated(facts),
        "Enough held-out prompts": _held_out(facts, odds=odds, tie_share=tie_share),
    }
    return tuple(ReadinessItem(title, state, sentence, *page) for title, (state, sentence, page) in items.items())


_Standing = tuple[ReadinessState, str, tuple[str, str]]
"""How an item stands, the sentence on it, and the page with its title."""


def _prompting(facts: Facts) -> _Standing:
    page = ("pages/evaluate_models.py", "Evaluate")
    if facts.prompted_judged:
        many = "evaluation has" if facts.prompted_judged == 1 else "evaluations have"
        sentence = f"{facts.prompted_judged} closed {many} a model that is only prompted, to compare with."
        return ReadinessState.DONE, sentence, page
    if facts.prompted_open:
        sentence = "A model that is only prompted is being judged; wait for the verdict and close it."
        return ReadinessState.NOT_YET, sentence, page
    sentence = "No model that is only prompted has been judged blind. Often a better prompt does it, for nothing."
    return ReadinessState.NOT_YET, sentence, ("pages/try_prompts.py", "Try prompts")


def _scope(facts: Facts) -> _Standing:
    page = ("pages/manage_people.py", "People")
    missing = [name for name in ("instructions", "guideline") if not getattr(facts, name)]
    if not missing:
        return ReadinessState.DONE, "Instructions for the model and a guideline for people are written.", page
    sentence = f"No {' and no '.join(missing)} yet: write down what is answered and what makes a reply better."
    return ReadinessState.NOT_YET, sentence, page


def _routing(facts: Facts) -> _Standing:
    page = ("pages/route_prompts.py", "Route")
    if facts.rules:
        sentence = f"{facts.rules} rules leave {facts.routed} prompts to people; none of them is trained on."
        return ReadinessState.DONE, sentence, page
    hint = "If some prompts are for people only (complaints, the law), say which."
    return ReadinessState.NOT_NEEDED, f"No rule, so models answer everything. {hint}", page


def _pairs(facts: Facts) -> _Standing:
    page = ("pages/compare_responses.py", "Compare")
    if facts.pairs is None:
        return ReadinessState.NOT_YET, "No snapshot is frozen yet, so there is nothing to train on.", FREEZE
    if facts.pairs >= FEW_PAIRS:
        sentence = f"The snapshot has {facts.pairs}; {FEW_PAIRS} are the least to expect much of."
        return ReadinessState.DONE, sentence, page
    sentence = f"The snapshot has {facts.pairs} of {FEW_PAIRS}: expect small shifts of style. Rank more."
    return ReadinessState.NOT_YET, sentence, page


def _consistency(facts: Facts, *, judgments: DoubleJudgments, alpha: float | None) -> _Standing:
    page = ("pages/review_progress.py", "Progress")
    if facts.corrections_alone:
        sentence = "Every pair is a correction over what it corrects, so there is nothing to agree on."
        return ReadinessState.NOT_NEEDED, sentence, page
    if judgments.share is None or judgments.pairs < FEW_REPEATS:
        few = f"{judgments.pairs} of {FEW_REPEATS} double judgments"
        return ReadinessState.NOT_YET, f"{few}: let two people rank a share of the pairs to know.", page
    sentence = judgments.sentence
    if judgments.share >= LOW_AGREEMENT and (alpha is None or alpha >= LOW_ALPHA):
        return ReadinessState.DONE, f"{sentence}.", page
    sentence += f", and {LOW_AGREEMENT:.0%} is the least: sharpen the guideline and settle contested pairs first."
    return ReadinessState.NOT_YET, sentence, ("pages/decide_conflicts.py", "Decide")


def _simulated(facts: Facts) -> _Standing:
    if facts.pairs is None:
        return ReadinessState.NOT_YET, "No snapshot is frozen yet.", FREEZE
    if not facts.simulated:
        return ReadinessState.DONE, "Every row rests on a person's word.", FREEZE
    share = f"{facts.simulated} of {facts.pairs} rows are simulated"
    return ReadinessState.NOT_YET, f"{share}: a model trained on them follows a rule, not people.", FREEZE


def _held_out(facts: Facts, *, odds: Odds, tie_share: float) -> _Standing:
    page = ("pages/import_prompts.py", "Import")
    takes = needed_prompts(odds, tie_share=tie_share)
    needed = f"{odds.label} takes {takes}{f' with {tie_share:.0%} ties' if tie_share else ''}"
    if not facts.held_out:
        return ReadinessState.NOT_YET, f"None, so no model can be judged blind; {needed}.", page
    if facts.held_out >= takes:
        return ReadinessState.DONE, f"{facts.held_out} held out; to show {needed}.", page
    labels = [other.label for other in DIFFERENCES if facts.held_out >= needed_prompts(other, tie_share=tie_share)]
    shown = f"they show {labels[-1]}" if labels else "not even 2:1 would show reliably"
    sentence = (
        f"{facts.held_out} held out, and to show {needed}: {shown}. Import more, or let several people judge each."
    )
    return ReadinessState.NOT_YET, sentence, page
