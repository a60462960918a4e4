"""How feedback becomes rows, in terms: what people gave, the rows and thumbs of it, and why some gives none. Pure.

All of it is frozen and knows no database; `feedback` fills it in, `preferences` reckons with it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import Any

from db.models import Split


class LeftOut(StrEnum):
    """Why a ranking, a correction or one of its pairs gives no row; `sentence` is for people."""

    ROUTED = "ROUTED"
    TIE = "TIE"
    BOTH_BAD = "BOTH_BAD"
    CUT_OFF = "CUT_OFF"
    DISAGREEMENT = "DISAGREEMENT"
    OVERRULED = "OVERRULED"
    DUPLICATE = "DUPLICATE"
    SAME_TEXT = "SAME_TEXT"
    UNCHANGED = "UNCHANGED"
    REVISED = "REVISED"
    EMPTY = "EMPTY"
    OVER_CAP = "OVER_CAP"
    NOT_CHOSEN = "NOT_CHOSEN"
    SIMULATED = "SIMULATED"
    OTHER_DAYS = "OTHER_DAYS"
    SYNTHETIC = "SYNTHETIC"
    CORRECTION = "CORRECTION"
    CHIPS = "CHIPS"
    WEAK = "WEAK"
    UNSAID = "UNSAID"
    OUTVOTED = "OUTVOTED"
    UNSURE = "UNSURE"
    NEAR_NO_OP = "NEAR_NO_OP"
    LENGTHS = "LENGTHS"
    DISPUTED = "DISPUTED"

    @property
    def sentence(self) -> str:
        """What it means, for people."""
        return _SENTENCES[self]


_SENTENCES: Mapping[LeftOut, str] = {
    LeftOut.ROUTED: "A rule sends the prompt to people (page Route), so no model learns to answer it.",
    LeftOut.TIE: "Ranked as a tie: it says nothing about which reply is better.",
    LeftOut.BOTH_BAD: "Ranked as both bad: no pair, each reply is a thumb down. A correction of one makes pairs of it.",
    LeftOut.CUT_OFF: "The better reply was cut at the token limit: choosing it teaches to stop in mid-sentence.",
    LeftOut.DISAGREEMENT: "The same two replies were put in opposite orders.",
    LeftOut.OVERRULED: "A manager decided between this ranking and others; the decision counts instead.",
    LeftOut.DUPLICATE: "The same pair is in already, from another ranking or correction.",
    LeftOut.SAME_TEXT: "Both replies have the same text.",
    LeftOut.UNCHANGED: "The correction changes nothing but white space.",
    LeftOut.REVISED: "Somebody corrected this correction further; the newest text counts instead.",
    LeftOut.EMPTY: "A reply is empty.",
    LeftOut.OVER_CAP: "The prompt has as many pairs from rankings as are taken of one already.",
    LeftOut.NOT_CHOSEN: "Said by somebody whose word was not chosen to count.",
    LeftOut.SIMULATED: "Said by a simulated reviewer, and those do not count here.",
    LeftOut.OTHER_DAYS: "Said before the first or after the last day that counts.",
    LeftOut.SYNTHETIC: "The prompt was made up by a rule or a model, and those do not count here.",
    LeftOut.CORRECTION: "A correction, and those do not count here.",
    LeftOut.CHIPS: "The ranking has none of the chips that are asked for, or one that is not wanted.",
    LeftOut.WEAK: "Nobody said that the better reply was much better.",
    LeftOut.UNSAID: "Nothing was said by the chosen criterion.",
    LeftOut.OUTVOTED: "As many or more of the pair's reviewers gave the opposite order.",
    LeftOut.UNSURE: "Too small a share of the pair's reviewers gave this order.",
    LeftOut.NEAR_NO_OP: "The correction changes next to nothing, and no number.",
    LeftOut.LENGTHS: "Left out so that the longer reply is the better one as often as the shorter.",
    LeftOut.DISPUTED: "Called bad by one and better than another reply by somebody else, so it is no thumb.",
}


def reason_in_words(stored: str) -> str:
    """The sentence of a reason as a Snapshot stores it; a later version may know reasons that this one does not."""
    return LeftOut(stored).sentence if stored in set(LeftOut) else stored


@dataclass(frozen=True, slots=True)
class AskedPrompt:
    """A prompt as the model reads it."""

    id: int
    text: str
    context: str | None
    cluster: str
    """Prompts with the same mark stay in one split."""
    extra: Mapping[str, Any] | None = field(default=None, hash=False)
    """Further columns, which a template may name."""
    routed: bool = False
    """People answer it and no model does."""
    synthetic: bool = False
    """Made up by a rule or a model."""


@dataclass(frozen=True, slots=True)
class GivenResponse:
    """One reply to a prompt."""

    id: int
    text: str
    finish_reason: str | None
    responder: str
    """The Responder's label."""


@dataclass(frozen=True, slots=True)
class GivenRanking:
    """One reviewer's standing order of the replies to a prompt."""

    id: int
    prompt: AskedPrompt
    reviewer: str
    """The reviewer's label; says so if simulated."""
    simulated: bool
    both_bad: bool
    placed: tuple[tuple[int, GivenResponse], ...]
    """Place (1 is best, equal is a tie) and reply."""
    adjudicates: bool = False
    """A manager's decision between the rankings of the same replies."""
    reviewer_id: int = 0
    said_on: date | None = None
    """UTC day."""
    strength: int | None = None
    """2 for much better; none where it is not asked."""
    chips: frozenset[str] = frozenset()
    by_criterion: Mapping[int, int | None] = field(default_factory=dict, hash=False)
    """Criterion id to the id of the response that is better by it; none where both are equal."""

    @property
    def comparison(self) -> frozenset[int]:
        """What was compared."""
        return frozenset(response.id for _, response in self.placed)


@dataclass(frozen=True, slots=True)
class GivenCorrection:
    """One reviewer's standing rewrite of a reply."""

    id: int
    prompt: AskedPrompt
    reviewer: str
    simulated: bool
    original: GivenResponse
    text: str
    revised: bool = False
    """Somebody corrected it further, and that stands."""
    reviewer_id: int = 0
    said_on: date | None = None
    """UTC day."""


@dataclass(frozen=True, slots=True)
class PreferenceRow:
    """One prompt/chosen/rejected row and whose word it rests on. Replies are without white space at the ends."""

    prompt: AskedPrompt
    chosen: str
    rejected: str
    rejected_id: int
    rejected_by: str
    chosen_id: int | None
    """None where a correction is chosen."""
    chosen_by: str
    """Label of the responder, or who wrote the correction."""
    ranking_id: int | None
    correction_id: int | None
    reviewer: str
    simulated: bool
    contrast: int
    """By how many places the chosen reply is ahead."""
    split: Split = Split.TRAIN


@dataclass(frozen=True, slots=True)
class JudgedReply:
    """A reply that is judged by itself: a thumb. Its text is without white space at the ends."""

    prompt: AskedPrompt
    response_id: int
    text: str
    up: bool
    """Whether it could be sent."""
    ranking_id: int
    reviewer: str
    """Whose word it is; says so if simulated."""
    simulated: bool
    split: Split = Split.TRAIN


@dataclass(frozen=True, slots=True)
class Preferences:
    """What a project's feedback gives."""

    rows: tuple[PreferenceRow, ...]
    """By prompt text, then chosen, then rejected."""
    left_out: Mapping[LeftOut, int]
    """A ranking or correction without any pair counts once, else each pair and each thumb that is left out."""
    thumbs: tuple[JudgedReply, ...] = ()
    """By prompt text, then reply."""
