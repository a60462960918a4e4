"""From what people said to rows and thumbs. Pure: frozen dataclasses in, frozen dataclasses out.

The result does not depend on the order in which feedback came in, so the same feedback and the same choices always give
the same rows.
"""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from itertools import combinations
from typing import TypeVar

from db.models import Split
from stats.verdicts import MUCH_BETTER
from training.data.selection import DEFAULTS, PairsMode, Selection
from training.data.terms import (
    Feedback,
    FeedbackPrompt,
    FeedbackReply,
    LeftOutReason,
    PreferenceRow,
    Preferences,
    UndesirableReply,
)

LONGEST = 1000
"""Words beyond which only which words there are is compared, not their order: that takes a square of their number."""
VALIDATION_SHARE = 10
"""One prompt cluster in so many goes to the validation split; none while there are fewer clusters."""
SPLIT_SEED = 0
T = TypeVar("T")
Row = TypeVar("Row", PreferenceRow, UndesirableReply)


def derive(
    rankings: Sequence[Feedback], corrections: Sequence[Feedback], selection: Selection = DEFAULTS
) -> Preferences:
    """The rows and thumbs that feedback gives, and how much was left out, why.

    Feedback on prompts that are routed to people gives none. A correction stands over its original, and over the other
    replies that were called bad together with it. Pairs whose two texts somebody put in the opposite order are left
    out, unless a majority is asked for; a simulated order never contradicts a person's, and where a manager decided
    between rankings only the decision counts. Each reply of a both-bad ranking is a thumb down, unless another ranking
    prefers it to something.
    """
    left_out: Counter[LeftOutReason] = Counter()
    rankings = _without_overruled(_sift(rankings, _routed, left_out), left_out)
    rankings = _sift(rankings, lambda ranking: _unheard(ranking, selection), left_out)
    ordered = [_ordered_by(ranking, selection.criterion) for ranking in rankings]
    rewrites = _sift(corrections, lambda rewrite: _routed(rewrite) or _unheard(rewrite, selection), left_out)
    votes = _Votes(ordered)
    used = _sift(ordered, lambda ranking: _unwanted(ranking, selection), left_out)
    bad = [ranking for ranking in used if ranking.both_bad]
    pairs = [row for ranking in used if not ranking.both_bad for row in _from_ranking(ranking, selection, left_out)]
    corrected, helped = _from_corrections(rewrites, bad, votes, selection, left_out)
    left_out[LeftOutReason.BOTH_BAD] += sum(ranking.id not in helped for ranking in bad)
    usable = _sift([*pairs, *corrected], lambda row: _unusable(row, votes, selection), left_out)
    rows = _capped(_distinct(usable, left_out), selection.cap, left_out)
    if selection.balance_lengths:
        rows = _balanced(rows, left_out)
    rows.sort(key=lambda row: (_key(row.prompt), row.chosen.text, row.rejected.text))
    thumbs = _thumbs(bad, votes, left_out)
    validation = _validation(row.prompt.cluster for row in rows)
    return Preferences(
        rows=tuple(_split(rows, validation)),
        left_out={reason: left_out[reason] for reason in sorted(left_out) if left_out[reason]},
        undesirable=tuple(_split(thumbs, validation)),
    )


def _without_overruled(rankings: Sequence[Feedback], left_out: Counter[LeftOutReason]) -> list[Feedback]:
    decided = {ranking.comparison for ranking in rankings if ranking.adjudicates}
    kept = [ranking for ranking in rankings if ranking.adjudicates or ranking.comparison not in decided]
    left_out[LeftOutReason.OVERRULED] += len(rankings) - len(kept)
    return kept


def collapse_spaces(text: str) -> str:
    """`text` with every run of white space as one space: what two texts are compared by."""
    return " ".join(text.split())


TextOrder = tuple[tuple[str, str], str, str]
"""A prompt, the better text, the worse text."""


def _key(prompt: FeedbackPrompt) -> tuple[str, str]:
    return prompt.text, prompt.context or ""


class _Votes:
    """The orders that were given of two texts, and by how many reviewers."""

    def __init__(self, rankings: Iterable[Feedback]) -> None:
        self._orders: dict[bool, set[TextOrder]] = {False: set(), True: set()}
        """By whether simulated votes count too."""
        self._better: dict[bool, set[tuple[tuple[str, str], str]]] = {False: set(), True: set()}
        self._votes: dict[TextOrder, list[tuple[str, bool, int]]] = defaultdict(list)
        for ranking in rankings:
            key = _key(ranking.prompt)
            placed = [(place, collapse_spaces(reply.text)) for place, reply in ranking.placed]
            for (place, text), (other_place, other) in combinations(placed, 2):
                if text == other:
                    continue
                ahead = 0 if ranking.both_bad else (other_place > place) - (other_place < place)
                pair, sign = ((key, text, other), 1) if text < other else ((key, other, text), -1)
                self._votes[pair].append((ranking.reviewer, ranking.simulated, ahead * sign))
                if ahead:
                    better, worse = (text, other) if ahead > 0 else (other, text)
                    for simulated_too in {True, ranking.simulated}:  # a simulated vote is no person's
                        self._orders[simulated_too].add((key, better, worse))
                        self._better[simulated_too].add((key, better))

    def gave(self, order: TextOrder, *, simulated: bool) -> bool:
        """Whether this order was given; by a person, unless it is set against a simulated one."""
        return order in self._orders[simulated]

    def prefer(self, prompt: FeedbackPrompt, text: str, *, simulated: bool) -> bool:
        """Whether this reply was put before another; by a person, unless it is set against a simulated vote."""
        return (_key(prompt), collapse_spaces(text)) in self._better[simulated]

    def count(self, order: TextOrder) -> tuple[int, int, int]:
        """How many reviewers gave this order, how many the opposite one, and how many judged the pair.

        People, where any judged it.
        """
        key, better, worse = order
        pair, sign = (order, 1) if better < worse else ((key, worse, better), -1)
        votes = [vote for vote in self._votes[pair] if not vote[1]] or self._votes[pair]
        same = {reviewer for reviewer, _, ahead in votes if ahead == sign}
        opposite = {reviewer for reviewer, _, ahead in votes if ahead == -sign}
        return len(same), len(opposite), len({reviewer for reviewer, _, _ in votes})


def _sift(
    items: Iterable[T], reason_of: Callable[[T], LeftOutReason | None], left_out: Counter[LeftOutReason]
) -> list[T]:
    """Those without a reason to leave them out; the others are counted."""
    reasons = [(item, reason_of(item)) for item in items]
    left_out.update(reason for _, reason in reasons if reason is not None)
    return [item for item, reason in reasons if reason is None]


def _routed(feedback: Feedback) -> LeftOutReason | None:
    return LeftOutReason.ROUTED if feedback.prompt.routed else None


def _unheard(feedback: Feedback, selection: Selection) -> LeftOutReason | None:
    """Why this feedback has no say at all, if so."""
    day = feedback.given_on
    if selection.reviewers is not None and feedback.reviewer_id not in selection.reviewers:
        return LeftOutReason.NOT_CHOSEN
    if feedback.simulated and not selection.simulated:
        return LeftOutReason.SIMULATED
    if (selection.since and (day is None or day < selection.since)) or (
        selection.until and (day is None or day > selection.until)
    ):
        return LeftOutReason.OTHER_DAYS
    if feedback.prompt.synthetic and not selection.synthetic:
        return LeftOutReason.SYNTHETIC
    if feedback.corrects:
        return None if selection.corrections else LeftOutReason.CORRECTION
    if selection.criterion is None or selection.overall_where_unsaid or feedback.both_bad:
        return None
    return None if selection.criterion in feedback.by_criterion else LeftOutReason.UNSAID


def _ordered_by(ranking: Feedback, criterion: int | None) -> Feedback:
    """The ranking with the criterion's order, where something was said by it; both bad stays both bad."""
    if criterion is None or ranking.both_bad or criterion not in ranking.by_criterion:
        return ranking
    better = ranking.by_criterion[criterion]
    placed = tuple((1 if better in (None, reply.id) else 2, reply) for _, reply in ranking.placed)
    return replace(ranking, placed=placed)


def _unwanted(ranking: Feedback, selection: Selection) -> LeftOutReason | None:
    lacks = selection.with_chips and not ranking.chips & set(selection.with_chips)
    if lacks or ranking.chips & set(selection.without_chips):
        return LeftOutReason.CHIPS
    decided = not ranking.both_bad and len({place for place, _ in ranking.placed}) > 1
    if decided and selection.least_strength == MUCH_BETTER and ranking.strength != MUCH_BETTER:
        return LeftOutReason.WEAK
    return None


def _from_ranking(ranking: Feedback, selection: Selection, left_out: Counter[LeftOutReason]) -> list[PreferenceRow]:
    first = min(place for place, _ in ranking.placed)
    pairs = [
        (worse_place - place, better, worse)
        for place, better in ranking.placed
        for worse_place, worse in ranking.placed
        if place < worse_place and (place == first or selection.pairs is PairsMode.ALL_STRICT)
    ]
    whole = [pair for pair in pairs if pair[1].finish_reason != "length"]
    if not pairs:
        left_out[LeftOutReason.TIE] += 1
    else:
        left_out[LeftOutReason.CUT_OFF] += len(pairs) - len(whole) if whole else 1
    return [PreferenceRow(ranking, better, worse, ahead, ranking.simulated) for ahead, better, worse in whole]


def _from_corrections(
    corrections: Sequence[Feedback],
    bad: Sequence[Feedback],
    votes: _Votes,
    selection: Selection,
    left_out: Counter[LeftOutReason],
) -> tuple[list[PreferenceRow], set[int]]:
    """Each correction over its original and over what was called bad with it; ids of the both-bad rankings so used.

    A pair over another reply rests on the both-bad ranking too, so it is simulated unless a person gave that.
    """
    bad_with: dict[int, list[Feedback]] = defaultdict(list)
    for ranking in bad:
        for _, reply in ranking.placed:
            bad_with[reply.id].append(ranking)
    rows: list[PreferenceRow] = []
    helped: set[int] = set()
    for correction in _sift(corrections, lambda rewrite: _idle(rewrite, selection), left_out):
        (_, text), (_, original) = correction.placed
        rows.append(PreferenceRow(correction, text, original, 1, correction.simulated))
        others: dict[int, tuple[FeedbackReply, bool]] = {}
        for ranking in bad_with[original.id]:
            helped.add(ranking.id)
            for _, other in ranking.placed:
                only_simulated = others.get(other.id, (other, True))[1]
                others[other.id] = (other, only_simulated and ranking.simulated)
        for other, only_simulated in others.values():
            simulated = correction.simulated or only_simulated
            preferred = votes.prefer(correction.prompt, other.text, simulated=only_simulated)
            if other.id != original.id and not preferred:
                rows.append(PreferenceRow(correction, text, other, 1, simulated))
    return rows, helped


def _idle(correction: Feedback, selection: Selection) -> LeftOutReason | None:
    (_, after), (_, before) = correction.placed
    if correction.revised:
        return LeftOutReason.REVISED
    if collapse_spaces(after.text) == collapse_spaces(before.text):
        return LeftOutReason.UNCHANGED
    if selection.near_no_op is not None and is_near_no_op(before.text, after.text, least=selection.near_no_op):
        return LeftOutReason.NEAR_NO_OP
    return None


_NUMBER = re.compile(r"\d+")


def is_near_no_op(before: str, after: str, *, least: float) -> bool:
    """Whether a correction leaves at least the share `least` of the words in place, and every number as it was.

    The share is difflib's: twice the words in common over the words of both. A changed number is never nothing: an
    amount, a date or an order number is often all that was wrong.
    """
    if _NUMBER.findall(before) != _NUMBER.findall(after):
        return False
    old, new = before.split(), after.split()
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    if matcher.real_quick_ratio() < least or matcher.quick_ratio() < least:
        return False
    return max(len(old), len(new)) > LONGEST or matcher.ratio() >= least


def _unusable(row: PreferenceRow, votes: _Votes, selection: Selection) -> LeftOutReason | None:
    chosen, rejected = collapse_spaces(row.chosen.text), collapse_spaces(row.rejected.text)
    if not chosen or not rejected:
        return LeftOutReason.EMPTY
    if chosen == rejected:
        return LeftOutReason.SAME_TEXT
    key = _key(row.prompt)
    if row.source.corrects or selection.least_agreement is None:
        against = votes.gave((key, rejected, chosen), simulated=row.simulated)
        return LeftOutReason.DISAGREEMENT if against else None
    same, opposite, judged = votes.count((key, chosen, rejected))
    if same <= opposite:
        return LeftOutReason.OUTVOTED
    # 2 of 3 has to reach a share of 2/3, whatever floats make of it
    return LeftOutReason.UNSURE if same / judged < selection.least_agreement - 1e-9 else None


def _distinct(rows: list[PreferenceRow], left_out: Counter[LeftOutReason]) -> list[PreferenceRow]:
    """One row for each prompt, chosen and rejected text; a person's before a simulated one."""

    def credit(row: PreferenceRow) -> tuple[bool, bool, str, int, str, str, int]:
        source = (row.source.corrects, row.source.reviewer, -row.place_gap)
        return (row.simulated, *source, row.chosen.text, row.rejected.text, row.source.id)

    kept: dict[tuple[tuple[str, str], str, str], PreferenceRow] = {}
    for row in sorted(rows, key=credit):
        kept.setdefault((_key(row.prompt), collapse_spaces(row.chosen.text), collapse_spaces(row.rejected.text)), row)
    left_out[LeftOutReason.DUPLICATE] += len(rows) - len(kept)
    return list(kept.values())


def _capped(rows: list[PreferenceRow], cap: int | None, left_out: Counter[LeftOutReason]) -> list[PreferenceRow]:
    """At most `cap` rows of rankings for each prompt, widest apart first; corrections always stay."""
    kept = [row for row in rows if row.source.corrects]
    taken: Counter[tuple[str, str]] = Counter()
    of_rankings = [row for row in rows if not row.source.corrects]
    for row in sorted(of_rankings, key=lambda row: (-row.place_gap, row.chosen.text, row.rejected.text)):
        if taken[_key(row.prompt)] == cap:
            left_out[LeftOutReason.OVER_CAP] += 1
        else:
            taken[_key(row.prompt)] += 1
            kept.append(row)
    return kept


def extra_words(row: PreferenceRow) -> int:
    """By how many words the better reply is longer; below 0 where it is shorter."""
    return len(row.chosen.text.split()) - len(row.rejected.text.split())


def _balanced(rows: list[PreferenceRow], left_out: Counter[LeftOutReason]) -> list[PreferenceRow]:
    """Without the pairs that favour the longer reply most, until it is the better one as often as the shorter.

    Where the shorter one is better more often, pairs that favour that go: a habit of either kind is learned first.
    """
    longer = [row for row in rows if extra_words(row) > 0]
    shorter = [row for row in rows if extra_words(row) < 0]
    more, fewer = (longer, shorter) if len(longer) > len(shorter) else (shorter, longer)
    more.sort(key=lambda row: (-abs(extra_words(row)), _key(row.prompt), row.chosen.text, row.rejected.text))
    gone = {id(row) for row in more[: len(more) - len(fewer)]}
    left_out[LeftOutReason.LENGTHS] += len(gone)
    return [row for row in rows if id(row) not in gone]


def _thumbs(bad: Sequence[Feedback], votes: _Votes, left_out: Counter[LeftOutReason]) -> list[UndesirableReply]:
    """Each reply that was called bad, once; a person's thumb before a simulated one."""

    def credit(thumb: UndesirableReply) -> tuple[bool, str, str, int, int]:
        return thumb.simulated, thumb.source.reviewer, thumb.reply.text, thumb.source.id, thumb.reply.id

    def no_thumb(thumb: UndesirableReply) -> LeftOutReason | None:
        if not thumb.reply.text:
            return LeftOutReason.EMPTY
        disputed = votes.prefer(thumb.prompt, thumb.reply.text, simulated=thumb.simulated)
        return LeftOutReason.DISPUTED if disputed else None

    distinct: dict[tuple[tuple[str, str], str], UndesirableReply] = {}
    thumbs = (UndesirableReply(ranking, reply) for ranking in bad for _, reply in ranking.placed)
    for thumb in sorted(thumbs, key=credit):
        distinct.setdefault((_key(thumb.prompt), collapse_spaces(thumb.reply.text)), thumb)
    kept = _sift(distinct.values(), no_thumb, left_out)
    return sorted(kept, key=lambda thumb: (_key(thumb.prompt), thumb.reply.text))


def _validation(clusters: Iterable[str]) -> set[str]:
    """The clusters whose hash is lowest: as wholes, so that no near-duplicate is on both sides."""
    every = set(clusters)
    by_hash = sorted(every, key=lambda mark: hashlib.sha256(f"{SPLIT_SEED}:{mark}".encode()).hexdigest())
    return set(by_hash[: len(every) // VALIDATION_SHARE])


def _split(rows: Iterable[Row], validation: set[str]) -> Iterator[Row]:
    return (replace(row, split=Split.VALIDATION) if row.prompt.cluster in validation else row for row in rows)
