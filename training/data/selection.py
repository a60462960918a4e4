"""Which feedback counts for a Snapshot and how orders become rows: chosen on purpose and stored with it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from pydantic import TypeAdapter

from errors import Refused
from stats.verdicts import BETTER, MUCH_BETTER
from texts.worded import WordedEnum

PAIRS_PER_PROMPT = 3
"""At most so many pairs of one prompt from rankings unless said otherwise, so that no prompt outweighs the others."""
NEAR_NO_OP = 0.98
"""Share of words in common from which on a correction is nearly nothing: one word in fifty changed.

DPO on two texts that differ in a few words makes both of them less likely, the better one too (Pal et al. 2024, Smaug,
arXiv 2402.13228). The queue offers no two replies that have 0.95 in common (`db.comparisons.nearly_same`); a correction
was made on purpose, so less is enough for it to count. In a reply below fifty words one word is always more than that.
"""


class PairsMode(WordedEnum):
    """How an order of several replies becomes pairs, strictly worse ones only."""

    BEST_AGAINST_REST = "BEST_AGAINST_REST", "the best reply over each worse one"
    ALL_STRICT = "ALL_STRICT", "every reply over each worse one"


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which rankings and corrections count, and how they become rows. Raises `Refused` for choices that cannot work.

    Whose word it is, and when it was said, decides who has a say at all: others neither give a row nor contradict one.
    Chips, strength and agreement then decide which of these orders become rows.
    """

    reviewers: tuple[int, ...] | None = None
    """Ids of the Reviewers whose word counts; none for everybody's."""
    simulated: bool = True
    since: date | None = None
    """First UTC day on which something was said or imported that counts."""
    until: date | None = None
    """The last such day."""
    corrections: bool = True
    synthetic: bool = True
    least_agreement: float | None = None
    """Least share, above a half, of a pair's reviewers who gave the order, ties and both bad among those who did not;
    none leaves a pair out as soon as two gave opposite orders."""
    least_strength: int = 1
    """2 takes rankings only where the better reply was called much better."""
    with_chips: tuple[str, ...] = ()
    """Rankings with at least one of these chips; all rankings where there are none."""
    without_chips: tuple[str, ...] = ()
    """Rankings with none of these."""
    criterion: int | None = None
    """Id of the Criterion by whose choice a pair is ordered; none orders by which reply was better overall."""
    overall_where_unsaid: bool = False
    """Whether a ranking in which nothing was said by the criterion counts as it is; otherwise it is left out."""
    pairs: PairsMode = PairsMode.BEST_AGAINST_REST
    cap: int | None = PAIRS_PER_PROMPT
    """Most pairs of one prompt from rankings; none for all. Corrections always stay."""
    near_no_op: float | None = NEAR_NO_OP
    """Corrections with at least this share of words in common with the reply are left out; none takes all."""
    balance_lengths: bool = False
    """Whether pairs are left out until the longer reply is the better one as often as the shorter."""

    def __post_init__(self) -> None:
        if self.since and self.until and self.since > self.until:
            raise Refused("The first day is after the last one, so nothing would count. Change one of them.")
        if self.reviewers is not None and not self.reviewers:
            raise Refused("Nobody's word would count. Choose at least one person, or everybody.")
        if both := sorted(set(self.with_chips) & set(self.without_chips)):
            raise Refused(f"The chip “{both[0]}” is both asked for and left out. Take it out of one of the lists.")
        if self.least_agreement is not None and not 0.5 < self.least_agreement <= 1:
            raise Refused("The least agreement is a share above one half, up to 1: with less there is no majority.")
        if self.least_strength not in (BETTER, MUCH_BETTER):
            raise Refused("The least strength is 1 (better) or 2 (much better).")
        if self.cap is not None and self.cap < 1:
            raise Refused("At least one pair of each prompt has to be allowed.")
        if self.near_no_op is not None and not 0 < self.near_no_op <= 1:
            raise Refused("The share of words that a correction may have in common is above 0, up to 1.")

    def as_json(self) -> dict[str, Any]:
        """For the Snapshot's row and manifest; what was chosen in another order is the same."""
        values: dict[str, Any] = _JSON.dump_python(self, mode="json")
        return {name: sorted(value) if isinstance(value, list) else value for name, value in values.items()}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Selection":
        """Read back from `as_json`; what a later version has beside is passed over."""
        return _JSON.validate_python(dict(stored))


_JSON = TypeAdapter(Selection)
DEFAULTS = Selection()


def describe_selection(
    selection: Selection, *, reviewers: Mapping[int, str] | None = None, criteria: Mapping[int, str] | None = None
) -> dict[str, str]:
    """Every choice as a short name and what it is, with names of Reviewers and Criteria by id where they are given."""
    people, names, criterion = reviewers or {}, criteria or {}, selection.criterion
    yes = {True: "count", False: "left out"}
    whose, order, agreement = "everybody's", "which reply was better overall", "no two opposite orders"
    if selection.reviewers is not None:
        whose = ", ".join(sorted(people.get(person, f"reviewer {person}") for person in selection.reviewers))
    if criterion is not None:
        order = f"which was better by “{names.get(criterion, f'criterion {criterion}')}”"
        order += ", overall where nothing was said by it" if selection.overall_where_unsaid else ""
    if selection.least_agreement is not None:
        agreement = f"at least {selection.least_agreement:.0%} of a pair's reviewers gave the order"
    corrections = "count"
    if selection.near_no_op is not None:
        corrections = f"left out from {selection.near_no_op:.1%} of words in common on"
    return {
        "Whose word": whose,
        "Simulated reviewers": yes[selection.simulated],
        "Days": _days(selection.since, selection.until),
        "Corrections": yes[selection.corrections],
        "Synthetic prompts": yes[selection.synthetic],
        "Agreement": agreement,
        "Strength": "only much better" if selection.least_strength == MUCH_BETTER else "better or much better",
        "With one of the chips": ", ".join(sorted(selection.with_chips)) or "not asked for",
        "Without the chips": ", ".join(sorted(selection.without_chips)) or "none is left out",
        "Order": order,
        "Pairs": selection.pairs.words,
        "Pairs of one prompt": "all" if selection.cap is None else f"at most {selection.cap}",
        "Corrections that change nearly nothing": corrections,
        "Lengths": "balanced" if selection.balance_lengths else "as they are",
    }


def _days(since: date | None, until: date | None) -> str:
    if since and until:
        return f"{since} to {until}"
    return f"from {since} on" if since else f"up to {until}" if until else "all"


def describe_changes(stored: Mapping[str, Any] | None, **names: Mapping[int, str]) -> str:
    """A sentence of what differs from the usual choices, for a list of Snapshots; ``names`` as in `describe_selection`.

    A Snapshot that was frozen before there was a choice has nothing ``stored``.
    """
    if stored is None:
        return "Frozen before there was a choice: all feedback counted."
    usual = describe_selection(DEFAULTS)
    choices = describe_selection(Selection.from_json(stored), **names)
    changed = [f"{name}: {words}" for name, words in choices.items() if words != usual[name]]
    return f"{'; '.join(changed)}." if changed else "The usual choices."
