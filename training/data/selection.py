"""Which feedback counts for a Snapshot and how orders become rows: chosen on purpose and stored with it. Pure."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import date
from typing import Any

from errors import Refused
from stats.verdicts import BETTER, MUCH_BETTER
from texts.worded import WordedEnum

PAIRS_PER_PROMPT = 3
"""At most so many pairs of one prompt from rankings unless said otherwise, so that no prompt outweighs the others."""
NEAR_NO_OP = 0.98
"""Share of words in common from which on a correction is nearly nothing: one word in fifty changed.

DPO on two texts that differ in a few words makes both of them less likely, the better one too (Pal et al. 2024, Smaug,
arXiv 2402.13228). The queue offers no two replies that have 0.95 in common (`db.comparisons.NEARLY`); a correction was
made on purpose, so less is enough for it to count. In a reply below fifty words one word is always more than that.
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
    """Whether simulated reviewers count."""
    since: date | None = None
    """First UTC day on which something was said or imported that counts."""
    until: date | None = None
    """The last such day."""
    corrections: bool = True
    """Whether corrections count."""
    synthetic: bool = True
    """Whether feedback on synthetic prompts counts."""
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
        said = asdict(self)
        for name in ("since", "until"):
            said[name] = said[name].isoformat() if said[name] else None
        for name in ("reviewers", "with_chips", "without_chips"):
            said[name] = sorted(said[name]) if said[name] is not None else None
        return said | {"pairs": self.pairs.value}

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> "Selection":
        """Read back from `as_json`; what a later version says beside is passed over."""
        known = {field.name: said[field.name] for field in fields(cls) if field.name in said}
        for name in ("since", "until"):
            known[name] = date.fromisoformat(known[name]) if known.get(name) else None
        for name in ("reviewers", "with_chips", "without_chips"):
            if known.get(name) is not None:
                known[name] = tuple(known[name])
        return cls(**known | {"pairs": PairsMode(known.get("pairs", PairsMode.BEST_AGAINST_REST))})


DEFAULTS = Selection()


def in_words(
    selection: Selection, *, reviewers: Mapping[int, str] | None = None, criteria: Mapping[int, str] | None = None
) -> dict[str, str]:
    """Every choice as a short name and what it is, for people.

    Args:
        reviewers: the label of each Reviewer by id, who is a number otherwise.
        criteria: the name of each Criterion by id.
    """
    people, named = reviewers or {}, criteria or {}
    yes = {True: "count", False: "left out"}
    whose = (
        "everybody's"
        if selection.reviewers is None
        else ", ".join(sorted(people.get(one, f"reviewer {one}") for one in selection.reviewers))
    )
    if selection.criterion is None:
        order = "which reply was better overall"
    else:
        order = f"which was better by “{named.get(selection.criterion, f'criterion {selection.criterion}')}”"
        order += ", overall where nothing was said by it" if selection.overall_where_unsaid else ""
    agreement = selection.least_agreement
    return {
        "Whose word": whose,
        "Simulated reviewers": yes[selection.simulated],
        "Days": _days(selection.since, selection.until),
        "Corrections": yes[selection.corrections],
        "Synthetic prompts": yes[selection.synthetic],
        "Agreement": (
            "no two opposite orders"
            if agreement is None
            else f"at least {agreement:.0%} of a pair's reviewers gave the order"
        ),
        "Strength": "only much better" if selection.least_strength == MUCH_BETTER else "better or much better",
        "With one of the chips": ", ".join(sorted(selection.with_chips)) or "not asked for",
        "Without the chips": ", ".join(sorted(selection.without_chips)) or "none is left out",
        "Order": order,
        "Pairs": selection.pairs.words,
        "Pairs of one prompt": "all" if selection.cap is None else f"at most {selection.cap}",
        "Corrections that change nearly nothing": (
            "count"
            if selection.near_no_op is None
            else f"left out from {selection.near_no_op:.1%} of words in common on"
        ),
        "Lengths": "balanced" if selection.balance_lengths else "as they are",
    }


def _days(since: date | None, until: date | None) -> str:
    if since and until:
        return f"{since.isoformat()} to {until.isoformat()}"
    if since:
        return f"from {since.isoformat()} on"
    return f"up to {until.isoformat()}" if until else "all"


def chosen_in_words(
    said: Mapping[str, Any] | None,
    *,
    reviewers: Mapping[int, str] | None = None,
    criteria: Mapping[int, str] | None = None,
) -> str:
    """One sentence of what differs from the usual choices, for a list of Snapshots.

    Args:
        said: what the Snapshot stores; none for one frozen before there was a choice.
    """
    if said is None:
        return "Frozen before there was a choice: all feedback counted."
    usual = in_words(DEFAULTS)
    now = in_words(Selection.of(said), reviewers=reviewers, criteria=criteria)
    other = [f"{name}: {words}" for name, words in now.items() if words != usual[name]]
    return f"{'; '.join(other)}." if other else "The usual choices."
