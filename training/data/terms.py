"""How feedback becomes rows, in terms: what people gave, the rows and thumbs of it, and why some gives none. Pure.

All of it is frozen; `feedback` fills it in from the database, `preferences` reckons with it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from db.models import Split
from texts.worded import WordedEnum


class LeftOutReason(WordedEnum):
    """Why a ranking, a correction or one of its pairs gives no row."""

    ROUTED = "ROUTED", "A rule sends the prompt to people (page Route), so no model learns to answer it."
    TIE = "TIE", "Ranked as a tie: it says nothing about which reply is better."
    BOTH_BAD = (
        "BOTH_BAD",
        "Ranked as both bad: no pair, each reply is a thumb down. A correction of one makes pairs of it.",
    )
    CUT_OFF = "CUT_OFF", "The better reply was cut at the token limit: choosing it teaches to stop in mid-sentence."
    DISAGREEMENT = "DISAGREEMENT", "The same two replies were put in opposite orders."
    OVERRULED = "OVERRULED", "A manager decided between this ranking and others; the decision counts instead."
    DUPLICATE = "DUPLICATE", "The same pair is in already, from another ranking or correction."
    SAME_TEXT = "SAME_TEXT", "Both replies have the same text."
    UNCHANGED = "UNCHANGED", "The correction changes nothing but white space."
    REVISED = "REVISED", "Somebody corrected this correction further; the newest text counts instead."
    EMPTY = "EMPTY", "A reply is empty."
    OVER_CAP = "OVER_CAP", "The prompt has as many pairs from rankings as are taken of one already."
    NOT_CHOSEN = "NOT_CHOSEN", "Said by somebody whose word was not chosen to count."
    SIMULATED = "SIMULATED", "Said by a simulated reviewer, and those do not count here."
    OTHER_DAYS = "OTHER_DAYS", "Said before the first or after the last day that counts."
    SYNTHETIC = "SYNTHETIC", "The prompt was made up by a rule or a model, and those do not count here."
    CORRECTION = "CORRECTION", "A correction, and those do not count here."
    CHIPS = "CHIPS", "The ranking has none of the chips that are asked for, or one that is not wanted."
    WEAK = "WEAK", "Nobody said that the better reply was much better."
    UNSAID = "UNSAID", "Nothing was said by the chosen criterion."
    OUTVOTED = "OUTVOTED", "As many or more of the pair's reviewers gave the opposite order."
    UNSURE = "UNSURE", "Too small a share of the pair's reviewers gave this order."
    NEAR_NO_OP = "NEAR_NO_OP", "The correction changes next to nothing, and no number."
    LENGTHS = "LENGTHS", "Left out so that the longer reply is the better one as often as the shorter."
    DISPUTED = "DISPUTED", "Called bad by one and better than another reply by somebody else, so it is no thumb."


def describe_reason(stored: str) -> str:
    """The sentence of a reason as a Snapshot stores it; a later version may know reasons that this one does not."""
    return LeftOutReason(stored).words if stored in set(LeftOutReason) else stored


@dataclass(frozen=True, slots=True)
class FeedbackPrompt:
    """A prompt, and what decides whether its feedback is used."""

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
class FeedbackReply:
    """A reply to a prompt; a correction's text is one, too."""

    id: int
    """Of the Response, or of the one that is corrected."""
    text: str
    """Without white space at the ends."""
    finish_reason: str | None
    author: str
    """The Responder's label, or whose correction it is."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", self.text.strip())


@dataclass(frozen=True, slots=True)
class Feedback:
    """One person's standing order of replies to a prompt. A correction is an order of two."""

    id: int
    """Of the Ranking, or of the Correction."""
    prompt: FeedbackPrompt
    reviewer: str
    """The label; says so if simulated."""
    simulated: bool
    placed: tuple[tuple[int, FeedbackReply], ...]
    """Place (1 is best, equal is a tie) and reply; a correction's text, then the reply that it corrects."""
    corrects: bool = False
    revised: bool = False
    """A later correction of it stands."""
    both_bad: bool = False
    adjudicates: bool = False
    """A manager's decision between the rankings of the same replies."""
    reviewer_id: int = 0
    given_on: date | None = None
    """UTC day."""
    strength: int | None = None
    """2 for much better; none where it is not asked."""
    chips: frozenset[str] = frozenset()
    by_criterion: Mapping[int, int | None] = field(default_factory=dict, hash=False)
    """Criterion id to the id of the response that is better by it; none where both are equal."""

    @classmethod
    def correction(cls, original: FeedbackReply, text: str, *, reviewer: str, **more: Any) -> "Feedback":
        """A reviewer's rewrite of a reply."""
        better = FeedbackReply(original.id, text, None, f"Correction by {reviewer}")
        return cls(reviewer=reviewer, placed=((1, better), (2, original)), corrects=True, **more)

    @property
    def comparison(self) -> frozenset[int]:
        """Ids of the compared replies."""
        return frozenset(reply.id for _, reply in self.placed)


@dataclass(frozen=True, slots=True)
class PreferenceRow:
    """One reply over another, and the feedback that says so."""

    source: Feedback
    chosen: FeedbackReply
    rejected: FeedbackReply
    place_gap: int
    """By how many places the chosen reply is ahead."""
    simulated: bool
    """No person stands for it, or not for all of it."""
    split: Split = Split.TRAIN

    @property
    def prompt(self) -> FeedbackPrompt:
        """What both reply to."""
        return self.source.prompt

    @property
    def chosen_id(self) -> int | None:
        """Of the Response; None where a correction is chosen."""
        return None if self.source.corrects else self.chosen.id

    @property
    def ranking_id(self) -> int | None:
        """Of the Ranking, if it rests on one."""
        return None if self.source.corrects else self.source.id

    @property
    def correction_id(self) -> int | None:
        """Of the Correction, if it rests on one."""
        return self.source.id if self.source.corrects else None

    @property
    def references(self) -> dict[str, Any]:
        """Ids of the rows that it rests on, by column."""
        replies = {"chosen_id": self.chosen_id, "rejected_id": self.rejected.id}
        feedback = {"ranking_id": self.ranking_id, "correction_id": self.correction_id}
        return {"prompt_id": self.prompt.id} | replies | feedback


@dataclass(frozen=True, slots=True)
class UndesirableReply:
    """A reply that a ranking called bad, judged by itself."""

    source: Feedback
    reply: FeedbackReply
    split: Split = Split.TRAIN

    @property
    def prompt(self) -> FeedbackPrompt:
        """What it replies to."""
        return self.source.prompt

    @property
    def simulated(self) -> bool:
        """No person said so."""
        return self.source.simulated

    @property
    def references(self) -> dict[str, Any]:
        """Ids of the rows that it rests on, by column."""
        return {"prompt_id": self.prompt.id, "response_id": self.reply.id, "ranking_id": self.source.id}


@dataclass(frozen=True, slots=True)
class Preferences:
    """What a project's feedback gives."""

    rows: tuple[PreferenceRow, ...]
    """By prompt text, then chosen, then rejected."""
    left_out: Mapping[LeftOutReason, int]
    """A ranking or correction without any pair counts once, else each pair and each thumb that is left out."""
    undesirable: tuple[UndesirableReply, ...] = ()
    """By prompt text, then reply."""

    @property
    def simulated_count(self) -> int:
        """Rows that rest on a simulated reviewer's word."""
        return sum(row.simulated for row in self.rows)

    @property
    def undesirable_simulated(self) -> int:
        """Thumbs that do."""
        return sum(thumb.simulated for thumb in self.undesirable)

    @property
    def synthetic_count(self) -> int:
        """Rows whose prompt was made up by a rule or a model."""
        return sum(row.prompt.synthetic for row in self.rows)

    @property
    def validation_count(self) -> int:
        """Rows set aside to watch the loss on; the others are trained on."""
        return sum(row.split is Split.VALIDATION for row in self.rows)
