"""What is fixed before the first judgment of an Evaluation, and its hash. Pure.

The Protocol is stored as canonical JSON (keys sorted, no blanks), pairings included, so that its hash covers all of it.
The database refuses to change it; other values mean another Evaluation.
"""

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, TypeAlias

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.models import Evaluation, Pairing, Responder, Response, Reviewer
from errors import BadSetting, Refused

Contrast: TypeAlias = tuple[int, ...]
"""Ids of the baselines that the candidate is compared with as one: one, or all people together."""

MOST_BASELINES = 5
MOST_JUDGMENTS = 20
ADVISED_OVERLAP = 0.15
"""Share of pairings that a second person judges: enough to measure agreement, the rest goes to more prompts."""


class Stopping(StrEnum):
    """When an Evaluation may end, and who may know before how it stands."""

    FIXED = "FIXED"
    """When every planned verdict is there; nobody knows before."""
    ANYTIME = "ANYTIME"
    """When the e-value says enough; managers who do not judge in it may look at any time."""


class Undecided(StrEnum):
    """What becomes of replies that tell who wrote them, where nobody decided on each."""

    ASK = "ask"
    """Nothing is set up before somebody did."""
    KEEP = "keep"
    """They take part on purpose."""
    LEAVE_OUT = "leave-out"
    """Nobody judges a pairing with one; they are counted."""


@dataclass(frozen=True)
class Plan:
    """What a manager decides beside who is compared."""

    judgments: int = 1
    """People's verdicts wanted on each pairing."""
    overlap: float = 0.0
    """Share of the pairings, in [0, 1], that get one verdict more, to measure agreement."""
    primary: tuple[Contrast, ...] = ()
    """Contrasts named before the votes: theirs is the finding. Empty for the first there is."""
    odds: float = 2.0
    """Smallest difference that matters, as wins for each loss: 2.0 is "2 to 1"."""
    power: float = 0.8
    """Chance wanted to find it."""
    tie_rate: float = 0.1
    """Share of verdicts expected to prefer neither."""
    correlation: float = 0.3
    """How alike two people's verdicts on one prompt are expected to be, in [0, 1]."""
    stopping: Stopping = Stopping.FIXED
    ask_machine: bool = False
    """Ask reviewers after their verdict which side was the machine."""
    again: float = 0.0
    """Share of a reviewer's pairs, in [0, 1], that come to them once more, unannounced and with the sides swapped."""
    one_person_a_prompt: bool = True
    """With several human baselines, one person's reply stands for all at each prompt, each person's equally often."""


@dataclass(frozen=True)
class Participant:
    """A Responder as it was when the protocol was fixed."""

    id: int
    label: str
    kind: str
    model: str | None = None
    weights_sha256: str | None = None


@dataclass(frozen=True)
class Fixed:
    """One Pairing of the protocol."""

    prompt_id: int
    candidate_response_id: int
    baseline_response_id: int
    identical: bool
    wanted: int
    """People's verdicts; 0 where both texts look the same."""


@dataclass(frozen=True)
class LeftOutPair:
    """A pairing that nobody judges, because one of its replies tells who wrote it."""

    prompt_id: int
    candidate_response_id: int
    baseline_response_id: int


@dataclass(frozen=True)
class Protocol:
    """Everything that was fixed before the first judgment."""

    project_id: int
    candidate: Participant
    baselines: tuple[Participant, ...]
    plan: Plan
    seed: int
    alpha: float
    """For each primary contrast, two-sided."""
    needed_decided: int
    """Decided verdicts that the smallest difference needs (the exact sign test)."""
    expected_decided: int
    """So many the planned ones are expected to be worth."""
    left_out: tuple[LeftOutPair, ...]
    kept_telltales: tuple[int, ...]
    """Ids of Responses that tell who wrote them and take part all the same."""
    texts_sha256: str
    """Of every prompt and reply, in the order of the pairings."""
    pairings: tuple[Fixed, ...]

    @property
    def planned(self) -> int:
        """People's verdicts wanted in all."""
        return sum(pairing.wanted for pairing in self.pairings)

    @property
    def identical(self) -> int:
        """Pairings whose texts look the same."""
        return sum(pairing.identical for pairing in self.pairings)

    def label_of(self, contrast: Contrast) -> str:
        """The contrast's baselines as screens name them."""
        if len(contrast) > 1:
            return "People, together"
        return next(one.label for one in self.baselines if one.id == contrast[0])


def canonical(protocol: Protocol) -> str:
    """The protocol as it is stored and hashed."""
    return json.dumps(asdict(protocol), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def hash_of(text: str) -> str:
    """SHA-256 of a stored protocol."""
    return hashlib.sha256(text.encode()).hexdigest()


def read_protocol(text: str) -> Protocol:
    """A stored protocol."""
    found: dict[str, Any] = json.loads(text)
    plan = found["plan"]
    return Protocol(
        **found
        | {
            "candidate": Participant(**found["candidate"]),
            "baselines": tuple(Participant(**one) for one in found["baselines"]),
            "plan": Plan(
                **plan
                | {
                    "primary": tuple(tuple(one) for one in plan["primary"]),
                    "stopping": Stopping(plan["stopping"]),
                }
            ),
            "left_out": tuple(LeftOutPair(**one) for one in found["left_out"]),
            "kept_telltales": tuple(found["kept_telltales"]),
            "pairings": tuple(Fixed(**one) for one in found["pairings"]),
        }
    )


def contrasts(baselines: Sequence[int], people: Sequence[int]) -> tuple[Contrast, ...]:
    """The contrasts there are, people together first.

    Args:
        people: those of the baselines whose replies stand for one another, one for each prompt.
    """
    together = tuple(sorted(people)) if len(people) > 1 else ()
    first: tuple[Contrast, ...] = (together,) if together else ()
    return first + tuple((one,) for one in baselines if one not in together)


def check_baselines(candidate: int, baselines: Sequence[int]) -> None:
    """Raise `Refused` where these cannot be compared."""
    if not baselines:
        raise Refused("Choose at least one baseline to compare the candidate with.")
    if candidate in baselines:
        raise Refused("The candidate cannot be its own baseline. Take it out of the baselines.")
    if len(baselines) > MOST_BASELINES:
        raise Refused(f"{len(baselines)} baselines are more than {MOST_BASELINES}. Keep those that decide something.")


def check_plan(plan: Plan, *, known: Sequence[Contrast]) -> None:
    """Raise `Refused` or `BadSetting` for what cannot be planned, with the remedy; odds are `forecast`'s to check."""
    if not 1 <= plan.judgments <= MOST_JUDGMENTS:
        raise BadSetting(f"{plan.judgments} judgments for each pairing cannot be planned. Give 1 to {MOST_JUDGMENTS}.")
    if not 0 <= plan.overlap <= 1:
        raise BadSetting(
            f"An overlap of {100 * plan.overlap:.0f} % is no share. Give 0 to 100 %; 10 to 20 % is enough."
        )
    if not 0 <= plan.again <= 0.5:
        raise BadSetting(
            f"{100 * plan.again:.0f} % of the pairs cannot be given twice. Give 0 to 50 %; 5 to 10 % is enough."
        )
    if any(one not in known for one in plan.primary) or len(set(plan.primary)) < len(plan.primary):
        raise Refused("The primary contrast is not one of this evaluation's. Choose one of its baselines.")


def draw_overlap(groups: Sequence[Sequence[int]], *, share: float, seed: int) -> frozenset[int]:
    """Which pairings a second person judges: of each contrast's the same share, at least one, drawn by the seed.

    Args:
        groups: for each contrast the places of its pairings.
    """
    chance = random.Random(f"overlap:{seed}")
    drawn: set[int] = set()
    for places in groups:
        if share > 0 and places:
            drawn |= set(chance.sample(list(places), max(1, round(share * len(places)))))
    return frozenset(drawn)


STOPPING_WORDS = {
    Stopping.FIXED: "When every planned verdict is there; nobody knows before how it stands",
    Stopping.ANYTIME: "When the evidence is enough (peeking-safe); managers who do not judge in it may look",
}


def protocol_rows(evaluation: Evaluation) -> list[tuple[str, str]]:
    """What was fixed, as label and words; empty for an evaluation from before protocols."""
    if evaluation.protocol is None:
        return []
    fixed = read_protocol(evaluation.protocol)
    plan = fixed.plan
    second = sum(one.wanted > plan.judgments for one in fixed.pairings)
    judged = sum(not one.identical for one in fixed.pairings)
    rows = [
        ("Candidate", fixed.candidate.label),
        ("Against", ", ".join(one.label for one in fixed.baselines)),
        ("Primary contrast", "; ".join(fixed.label_of(one) for one in plan.primary)),
        ("Pairs", f"{judged} to judge, {fixed.identical} with the same text on both sides (ties)"),
        ("Verdicts wanted", f"{fixed.planned}: {plan.judgments} a pair, one more on {second} of them"),
        ("Smallest difference that matters", f"{plan.odds:g} to 1, found in {plan.power:.0%} of such evaluations"),
        ("Decided verdicts", _sample(fixed)),
        ("Expected", f"{plan.tie_rate:.0%} ties, verdicts on one prompt alike by {plan.correlation:g}"),
        ("It ends", STOPPING_WORDS[plan.stopping]),
        ("Asked after each verdict", "which side was the machine" if plan.ask_machine else "nothing"),
        ("Pairs given twice", f"{plan.again:.0%} of each reviewer's, unannounced" if plan.again else "none"),
        ("Replies that tell who wrote them", _telling(fixed)),
        ("Hash", evaluation.protocol_sha256),
    ]
    return [*rows, ("Closed early", evaluation.closed_early)] if evaluation.closed_early else rows


def _sample(fixed: Protocol) -> str:
    enough = "enough" if fixed.expected_decided >= fixed.needed_decided else "too few to be sure of finding it"
    return f"{fixed.needed_decided} needed, about {fixed.expected_decided} expected: {enough}"


def _telling(fixed: Protocol) -> str:
    if not fixed.left_out and not fixed.kept_telltales:
        return "none was found"
    return f"pairs left out: {len(fixed.left_out)}; replies kept on purpose: {len(fixed.kept_telltales)}"


@dataclass(frozen=True)
class Stated:
    """A protocol for readers."""

    primary: tuple[str, str] | None
    """Labels of candidate and baseline of the contrast that was named beforehand; none where none was."""
    rows: tuple[tuple[str, str], ...]
    """Name and value of everything that was fixed, as plain text."""


def stated(s: Session, *, evaluation_id: int) -> Stated:
    """The protocol as it was stored, before anybody judged."""
    evaluation = s.get_one(Evaluation, evaluation_id)
    by = s.get_one(Reviewer, evaluation.created_by_id)
    sides = "Sides", "drawn on the server for each reviewer and pair, at most two apart for each baseline"
    seed = "Seed of the draw", str(evaluation.seed)
    set_up = "Set up", f"{evaluation.created_at:%d %B %Y, %H:%M} UTC by {by.label}"
    closed = "Closed", f"{evaluation.closed_at:%d %B %Y, %H:%M} UTC" if evaluation.closed_at else "not yet"
    if evaluation.protocol is not None:
        fixed = read_protocol(evaluation.protocol)
        named = [(fixed.candidate.label, fixed.label_of(contrast)) for contrast in fixed.plan.primary]
        primary = named[0] if len(named) == 1 else None  # of several, each is corrected for
        return Stated(primary, (*protocol_rows(evaluation), sides, seed, set_up, closed))
    pairings = Pairing.evaluation_id == evaluation_id
    drawn = s.execute(
        select(Responder, func.count(Pairing.id))
        .join(Response, Response.responder_id == Responder.id)
        .join(Pairing, Pairing.baseline_response_id == Response.id)
        .where(pairings)
        .group_by(Responder.id)
        .order_by(Responder.id)
    ).all()
    prompts = s.scalar(select(func.count(func.distinct(Pairing.prompt_id))).where(pairings)) or 0
    primary = (evaluation.candidate.label, drawn[0][0].label) if len(drawn) == 1 else None
    return Stated(
        primary,
        (
            ("Candidate", evaluation.candidate.label),
            ("Baselines", "; ".join(f"{responder.label} on {count:,} prompts" for responder, count in drawn)),
            ("Held-out prompts", f"{prompts:,}"),
            ("Contrast named beforehand", " against ".join(primary) if primary else "none: all are corrected for"),
            ("Stopping rule", "results were closed to everybody until a manager ended the judging"),
            sides,
            seed,
            ("Sha256 of candidate, baselines, pairs and seed", evaluation.protocol_sha256),
            set_up,
            closed,
        ),
    )
