"""What is fixed before the first judgment of an Evaluation, and its hash. Pure.

The Protocol is stored as canonical JSON (keys sorted, no blanks), pairings included, so that its hash covers all of it.
The database refuses to change it; other values mean another Evaluation.
"""

import hashlib
import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from itertools import chain
from typing import TypeAlias

from pydantic import TypeAdapter
from sqlalchemy.orm import Session

from db.models import Evaluation, Responder, Reviewer
from errors import BadSetting, Refused

BaselineGroup: TypeAlias = tuple[int, ...]
"""Ids of the baselines that the candidate is compared with as one: one, or all people together."""

TOGETHER = "People, together"
MOST_BASELINES = 5
MOST_JUDGMENTS = 20
ADVISED_OVERLAP = 0.15
"""Share of pairings that a second person judges: enough to measure agreement, the rest goes to more prompts."""


class Stopping(StrEnum):
    """When an Evaluation may end, and who may know before how it stands."""

    FIXED = "FIXED"
    """When every planned verdict is there; no one sees a result before."""
    ANYTIME = "ANYTIME"
    """When the e-value says enough; managers who do not judge in it may look at any time."""


class LeakPolicy(StrEnum):
    """What becomes of replies that tell who wrote them, where the manager did not decide on each."""

    ASK = "ask"
    """Nothing is set up before the manager decides."""
    KEEP = "keep"
    """They take part on purpose."""
    LEAVE_OUT = "leave-out"
    """Nobody judges a pairing with one; they are counted."""


@dataclass(frozen=True)
class Plan:
    """What a manager decides beside who is compared."""

    judgments: int = 1
    overlap: float = 0.0
    """Share of the pairings, in [0, 1], that get one verdict more, to measure agreement."""
    primary: tuple[BaselineGroup, ...] = ()
    """Contrasts named before the votes: theirs is the finding. Empty for the first there is."""
    odds: float = 2.0
    """Smallest difference that matters, as wins for each loss: 2.0 is "2 to 1"."""
    power: float = 0.8
    tie_rate: float = 0.1
    """Share of verdicts expected to prefer neither."""
    correlation: float = 0.3
    """How alike two people's verdicts on one prompt are expected to be, in [0, 1]."""
    stopping: Stopping = Stopping.FIXED
    ask_machine: bool = False
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
class FixedPairing:
    """One Pairing of the protocol."""

    prompt_id: int
    candidate_response_id: int
    baseline_response_id: int
    identical: bool
    wanted: int


@dataclass(frozen=True)
class LeftOutPair:
    """A pairing that is not judged, because one of its replies tells who wrote it."""

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
    texts_sha256: str
    """Of every prompt and reply, in the order of the pairings."""
    pairings: tuple[FixedPairing, ...]

    @property
    def planned(self) -> int:
        """People's verdicts wanted in all."""
        return sum(pairing.wanted for pairing in self.pairings)


def canonical_json(protocol: Protocol) -> str:
    """The protocol as it is stored and hashed."""
    return json.dumps(asdict(protocol), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def text_sha256(text: str) -> str:
    """SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


_ADAPTER = TypeAdapter(Protocol)


def read_protocol(text: str) -> Protocol:
    """A stored protocol."""
    return _ADAPTER.validate_json(text)


def protocol_of(evaluation: Evaluation) -> Protocol | None:
    """What was fixed; none where nothing was."""
    return None if evaluation.protocol is None else read_protocol(evaluation.protocol)


def plan_of(evaluation: Evaluation) -> Plan:
    """What was planned; the least there is where nothing was."""
    protocol = protocol_of(evaluation)
    return Plan() if protocol is None else protocol.plan


def list_contrasts(baselines: Sequence[int], people: Sequence[int]) -> tuple[BaselineGroup, ...]:
    """The contrasts there are: first all people whose replies stand for one another, then each other baseline."""
    together = tuple(sorted(people)) if len(people) > 1 else ()
    singly = [(baseline,) for baseline in baselines if baseline not in together]
    return (together, *singly) if together else tuple(singly)


def contrast_label(contrast: BaselineGroup, baselines: Iterable[Participant | Responder]) -> str:
    """The contrast's baselines as screens name them."""
    if len(contrast) > 1:
        return TOGETHER
    return next(baseline.label for baseline in baselines if baseline.id == contrast[0])


def check_baselines(candidate: int, baselines: Sequence[int]) -> None:
    """Raise `Refused` where these cannot be compared."""
    if not baselines:
        raise Refused("Choose at least one baseline to compare the candidate with.")
    if candidate in baselines:
        raise Refused("The candidate cannot be its own baseline. Take it out of the baselines.")
    if len(baselines) > MOST_BASELINES:
        raise Refused(f"{len(baselines)} baselines are more than {MOST_BASELINES}. Keep those that decide something.")


def check_plan(plan: Plan, *, known: Sequence[BaselineGroup]) -> None:
    """Raise `Refused` or `BadSetting` for what cannot be planned, with the remedy; `power_analysis` checks the odds."""
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
    if any(contrast not in known for contrast in plan.primary) or len(set(plan.primary)) < len(plan.primary):
        raise Refused("The primary contrast is not one of this evaluation's. Choose one of its baselines.")


def draw_overlap(groups: Sequence[Sequence[int]], *, share: float, seed: int) -> frozenset[int]:
    """Which pairings a second person judges: of each contrast's the same share, at least one, drawn by the seed.

    Pairings are known by their places, grouped by contrast.
    """
    chance = random.Random(f"overlap:{seed}")
    drawn = (chance.sample(places, max(1, round(share * len(places)))) for places in groups if share > 0 and places)
    return frozenset(chain.from_iterable(drawn))


STOPPING_WORDS = {
    Stopping.FIXED: "When every planned verdict is there; nobody knows before how it stands",
    Stopping.ANYTIME: "When the evidence is enough (peeking-safe); managers who do not judge in it may look",
}


def protocol_rows(evaluation: Evaluation) -> list[tuple[str, str]]:
    """What was fixed, as label and words; empty for an evaluation without a protocol."""
    protocol = protocol_of(evaluation)
    if protocol is None:
        return []
    plan, needed, expected = protocol.plan, protocol.needed_decided, protocol.expected_decided
    overlap = sum(pairing.wanted > plan.judgments for pairing in protocol.pairings)
    enough = "enough" if expected >= needed else "too few to be sure of finding it"
    left_out, kept = len(protocol.left_out), len(protocol.kept_telltales)
    leaks = f"pairs left out: {left_out}; replies kept on purpose: {kept}" if left_out or kept else "none was found"
    identical = sum(pairing.identical for pairing in protocol.pairings)
    judged = len(protocol.pairings) - identical
    rows = [
        ("Candidate", protocol.candidate.label),
        ("Against", ", ".join(baseline.label for baseline in protocol.baselines)),
        ("Primary contrast", "; ".join(contrast_label(contrast, protocol.baselines) for contrast in plan.primary)),
        ("Pairs", f"{judged} to judge, {identical} with the same text on both sides (ties)"),
        ("Verdicts wanted", f"{protocol.planned}: {plan.judgments} a pair, one more on {overlap} of them"),
        ("Smallest difference that matters", f"{plan.odds:g} to 1, found in {plan.power:.0%} of such evaluations"),
        ("Decided verdicts", f"{needed} needed, about {expected} expected: {enough}"),
        ("Expected", f"{plan.tie_rate:.0%} ties, verdicts on one prompt alike by {plan.correlation:g}"),
        ("It ends", STOPPING_WORDS[plan.stopping]),
        ("Asked after each verdict", "which side was the machine" if plan.ask_machine else "nothing"),
        ("Pairs given twice", f"{plan.again:.0%} of each reviewer's, unannounced" if plan.again else "none"),
        ("Replies that tell who wrote them", leaks),
        ("Hash", evaluation.protocol_sha256),
    ]
    return [*rows, ("Closed early", evaluation.closed_early)] if evaluation.closed_early else rows


@dataclass(frozen=True)
class ProtocolSummary:
    """A protocol for readers."""

    primary: tuple[str, str] | None
    """Labels of candidate and baseline of the contrast that was named beforehand; none where none was."""
    rows: tuple[tuple[str, str], ...]


def summarise_protocol(s: Session, *, evaluation_id: int) -> ProtocolSummary:
    """The protocol as it was stored before the first judgment."""
    evaluation = s.get_one(Evaluation, evaluation_id)
    by = s.get_one(Reviewer, evaluation.created_by_id)
    protocol, closed = protocol_of(evaluation), evaluation.closed_at
    contrasts = plan_of(evaluation).primary
    primary = None
    if protocol is not None and len(contrasts) == 1:  # of several, each is corrected for
        primary = protocol.candidate.label, contrast_label(contrasts[0], protocol.baselines)
    rows = (
        *(protocol_rows(evaluation) or [("Hash", evaluation.protocol_sha256)]),
        ("Sides", "drawn on the server for each reviewer and pair, at most two apart for each baseline"),
        ("Seed of the draw", str(evaluation.seed)),
        ("Set up", f"{evaluation.created_at:%d %B %Y, %H:%M} UTC by {by.label}"),
        ("Closed", f"{closed:%d %B %Y, %H:%M} UTC" if closed else "not yet"),
    )
    return ProtocolSummary(primary, rows)
