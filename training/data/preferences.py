"""From what people said to rows and thumbs. Pure: frozen dataclasses in, frozen dataclasses out.

The result does not depend on the order in which feedback came in, so the same feedback and the same choices always give
the same rows.
"""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from itertools import combinations
from typing import TypeVar

from stats.verdicts import MUCH_BETTER
from training.data.selection import DEFAULTS, PairsMode, Selection
from training.data.terms import (
    AskedPrompt,
    GivenCorrection,
    GivenRanking,
    GivenResponse,
    JudgedReply,
    LeftOut,
    PreferenceRow,
    Preferences,
    Split,
)

LONGEST = 1000
"""Words beyond which only which words there are is compared, not their order: that takes a square of their number."""
VALIDATION_SHARE = 10
"""One prompt cluster in so many goes to the validation split; none while there are fewer clusters."""
SPLIT_SEED = 0
T = TypeVar("T")


def derive(
    rankings: Sequence[GivenRanking],
    corrections: Sequence[GivenCorrection],
    selection: Selection = DEFAULTS,
) -> Preferences:
    """The rows and thumbs that feedback gives, and how much was left out, why.

    Feedback on prompts that are routed to people gives none. A correction stands over its original, and over the other
    replies that were called bad together with it. Pairs whose two texts somebody put in the opposite order are left
    out, unless a majority is asked for; a simulated order never contradicts a person's, and where a manager decided
    between rankings only the decision counts. Each reply of a both-bad ranking is a thumb down, unless another ranking
    prefers it to something.
    """
    left_out: Counter[LeftOut] = Counter()
    open_to_models = _sifted(((one, _routed(one)) for one in rankings), left_out)
    kept = _without_overruled(open_to_models, left_out)
    heard = _sifted(((one, _unheard(one, selection)) for one in kept), left_out)
    said = [_ordered_by(one, selection.criterion) for one in heard]
    rewritten = _sifted(((one, _routed(one) or _unheard(one, selection)) for one in corrections), left_out)
    voices = _Voices(said)
    used = _sifted(((one, _unwanted(one, selection)) for one in said), left_out)
    bad = [one for one in used if one.both_bad]
    found = [row for one in used if not one.both_bad for row in _from_ranking(one, selection, left_out)]
    together, helped = _from_corrections(rewritten, bad, voices, selection, left_out)
    found += together
    if unhelped := sum(one.id not in helped for one in bad):
        left_out[LeftOut.BOTH_BAD] += unhelped
    usable = _sifted(((row, _unusable(row, voices, selection)) for row in found), left_out)
    rows = _capped(_distinct(usable, left_out), selection.cap, left_out)
    if selection.balance_lengths:
        rows = _balanced(rows, left_out)
    rows.sort(key=lambda row: (_key(row.prompt), row.chosen, row.rejected))
    thumbs = _thumbs(bad, voices, left_out)
    validation = _validation(row.prompt.cluster for row in rows)
    return Preferences(
        rows=tuple(replace(row, split=Split.VALIDATION) if row.prompt.cluster in validation else row for row in rows),
        left_out={reason: left_out[reason] for reason in sorted(left_out) if left_out[reason]},
        thumbs=tuple(
            replace(one, split=Split.VALIDATION) if one.prompt.cluster in validation else one for one in thumbs
        ),
    )


def _without_overruled(rankings: Sequence[GivenRanking], left_out: Counter[LeftOut]) -> list[GivenRanking]:
    """Where a manager decided, only the decision counts."""
    decided = {ranking.comparison for ranking in rankings if ranking.adjudicates}
    kept = [ranking for ranking in rankings if ranking.adjudicates or ranking.comparison not in decided]
    if len(kept) < len(rankings):
        left_out[LeftOut.OVERRULED] += len(rankings) - len(kept)
    return kept


def plain(text: str) -> str:
    """`text` with every run of white space as one space: what two texts are compared by."""
    return " ".join(text.split())


Order = tuple[tuple[str, str], str, str]
"""A prompt, the better text, the worse text."""


def _key(prompt: AskedPrompt) -> tuple[str, str]:
    return prompt.text, prompt.context or ""


class _Voices:
    """What those who have a say put in which order, and how many of them."""

    def __init__(self, rankings: Iterable[GivenRanking]) -> None:
        self._orders: set[Order] = set()
        self._by_people: set[Order] = set()
        self._better: set[tuple[tuple[str, str], str]] = set()
        self._better_by_people: set[tuple[tuple[str, str], str]] = set()
        self._votes: dict[Order, list[tuple[str, bool, int]]] = defaultdict(list)
        for ranking in rankings:
            key = _key(ranking.prompt)
            placed = [(place, plain(response.text)) for place, response in ranking.placed]
            for (place, text), (other_place, other) in combinations(placed, 2):
                if text == other:
                    continue
                ahead = 0 if ranking.both_bad else (other_place > place) - (other_place < place)
                pair, sign = ((key, text, other), 1) if text < other else ((key, other, text), -1)
                self._votes[pair].append((ranking.reviewer, ranking.simulated, ahead * sign))
                if ahead:
                    better, worse = (text, other) if ahead > 0 else (other, text)
                    self._orders.add((key, better, worse))
                    self._better.add((key, better))
                    if not ranking.simulated:
                        self._by_people.add((key, better, worse))
                        self._better_by_people.add((key, better))

    def gave(self, order: Order, *, simulated: bool) -> bool:
        """Whether somebody gave this order; people only, unless it is set against a simulated one."""
        return order in (self._orders if simulated else self._by_people)

    def prefer(self, prompt: AskedPrompt, text: str, *, simulated: bool) -> bool:
        """Whether somebody put this reply before another; people only, unless it is set against a simulated word."""
        return (_key(prompt), plain(text)) in (self._better if simulated else self._better_by_people)

    def of(self, order: Order) -> tuple[int, int, int]:
        """How many reviewers gave this order, how many the opposite one, and how many said anything of the pair.

        People, where any said something of it.
        """
        key, better, worse = order
        pair, sign = (order, 1) if better < worse else ((key, worse, better), -1)
        votes = self._votes[pair]
        heard = [vote for vote in votes if not vote[1]] or votes
        given = {reviewer for reviewer, _, ahead in heard if ahead == sign}
        opposite = {reviewer for reviewer, _, ahead in heard if ahead == -sign}
        return len(given), len(opposite), len({reviewer for reviewer, _, _ in heard})


def _sifted(judged: Iterable[tuple[T, LeftOut | None]], left_out: Counter[LeftOut]) -> list[T]:
    """Those without a reason to leave them out; the others are counted."""
    kept = []
    for one, reason in judged:
        if reason is None:
            kept.append(one)
        else:
            left_out[reason] += 1
    return kept


def _routed(one: GivenRanking | GivenCorrection) -> LeftOut | None:
    return LeftOut.ROUTED if one.prompt.routed else None


def _unheard(one: GivenRanking | GivenCorrection, selection: Selection) -> LeftOut | None:
    """Why this word has no say at all, if so."""
    if selection.reviewers is not None and one.reviewer_id not in selection.reviewers:
        return LeftOut.NOT_CHOSEN
    if one.simulated and not selection.simulated:
        return LeftOut.SIMULATED
    if selection.since and (one.said_on is None or one.said_on < selection.since):
        return LeftOut.OTHER_DAYS
    if selection.until and (one.said_on is None or one.said_on > selection.until):
        return LeftOut.OTHER_DAYS
    if one.prompt.synthetic and not selection.synthetic:
        return LeftOut.SYNTHETIC
    if isinstance(one, GivenCorrection):
        return None if selection.corrections else LeftOut.CORRECTION
    if selection.criterion is None or selection.overall_where_unsaid or one.both_bad:
        return None
    return None if selection.criterion in one.by_criterion else LeftOut.UNSAID


def _ordered_by(ranking: GivenRanking, criterion: int | None) -> GivenRanking:
    """The ranking with the criterion's order, where something was said by it; both bad stays both bad."""
    if criterion is None or ranking.both_bad or criterion not in ranking.by_criterion:
        return ranking
    better = ranking.by_criterion[criterion]
    return replace(
        ranking,
        placed=tuple((1 if better in (None, response.id) else 2, response) for _, response in ranking.placed),
    )


def _unwanted(ranking: GivenRanking, selection: Selection) -> LeftOut | None:
    """Why this ranking, which has a say, makes no row or thumb, if so."""
    if selection.with_chips and not ranking.chips & set(selection.with_chips):
        return LeftOut.CHIPS
    if ranking.chips & set(selection.without_chips):
        return LeftOut.CHIPS
    decided = not ranking.both_bad and len({place for place, _ in ranking.placed}) > 1
    if decided and selection.least_strength == MUCH_BETTER and ranking.strength != MUCH_BETTER:
        return LeftOut.WEAK
    return None


def _from_ranking(ranking: GivenRanking, selection: Selection, left_out: Counter[LeftOut]) -> list[PreferenceRow]:
    first = min(place for place, _ in ranking.placed)
    pairs = [
        (worse_place - place, better, worse)
        for place, better in ranking.placed
        for worse_place, worse in ranking.placed
        if place < worse_place and (place == first or selection.pairs is PairsMode.ALL_STRICT)
    ]
    whole = [pair for pair in pairs if pair[1].finish_reason != "length"]
    if not pairs:
        left_out[LeftOut.TIE] += 1
    elif not whole:
        left_out[LeftOut.CUT_OFF] += 1
    elif len(whole) < len(pairs):
        left_out[LeftOut.CUT_OFF] += len(pairs) - len(whole)
    return [
        PreferenceRow(
            prompt=ranking.prompt,
            chosen=chosen.text.strip(),
            rejected=rejected.text.strip(),
            chosen_id=chosen.id,
            chosen_by=chosen.responder,
            rejected_id=rejected.id,
            rejected_by=rejected.responder,
            ranking_id=ranking.id,
            correction_id=None,
            reviewer=ranking.reviewer,
            simulated=ranking.simulated,
            contrast=contrast,
        )
        for contrast, chosen, rejected in whole
    ]


def _from_corrections(
    corrections: Sequence[GivenCorrection],
    bad: Sequence[GivenRanking],
    voices: _Voices,
    selection: Selection,
    left_out: Counter[LeftOut],
) -> tuple[list[PreferenceRow], set[int]]:
    """Each correction over its original and over what was called bad with it; ids of the both-bad rankings so used.

    A pair over another reply rests on the both-bad ranking too, so it is simulated unless a person gave that.
    """
    bad_with: dict[int, list[GivenRanking]] = defaultdict(list)
    for ranking in bad:
        for _, response in ranking.placed:
            bad_with[response.id].append(ranking)
    rows: list[PreferenceRow] = []
    helped: set[int] = set()
    for correction in _sifted(((one, _idle(one, selection)) for one in corrections), left_out):
        rows.append(_over(correction, correction.original, simulated=correction.simulated))
        others: dict[int, tuple[GivenResponse, bool]] = {}
        for ranking in bad_with[correction.original.id]:
            helped.add(ranking.id)
            for _, other in ranking.placed:
                known = others.get(other.id, (other, True))[1]
                others[other.id] = (other, known and ranking.simulated)
        for other, only_simulated in others.values():
            simulated = correction.simulated or only_simulated
            if other.id != correction.original.id and not voices.prefer(
                correction.prompt, other.text, simulated=only_simulated
            ):
                rows.append(_over(correction, other, simulated=simulated))
    return rows, helped


def _over(correction: GivenCorrection, rejected: GivenResponse, *, simulated: bool) -> PreferenceRow:
    return PreferenceRow(
        prompt=correction.prompt,
        chosen=correction.text.strip(),
        rejected=rejected.text.strip(),
        chosen_id=None,
        chosen_by=f"Correction by {correction.reviewer}",
        rejected_id=rejected.id,
        rejected_by=rejected.responder,
        ranking_id=None,
        correction_id=correction.id,
        reviewer=correction.reviewer,
        simulated=simulated,
        contrast=1,
    )


def _idle(correction: GivenCorrection, selection: Selection) -> LeftOut | None:
    """Why this correction teaches nothing, if so."""
    before, after = correction.original.text, correction.text
    if correction.revised:
        return LeftOut.REVISED
    if plain(after) == plain(before):
        return LeftOut.UNCHANGED
    if selection.near_no_op is not None and nearly_nothing(before, after, least=selection.near_no_op):
        return LeftOut.NEAR_NO_OP
    return None


_NUMBER = re.compile(r"\d+")


def nearly_nothing(before: str, after: str, *, least: float) -> bool:
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


def _unusable(row: PreferenceRow, voices: _Voices, selection: Selection) -> LeftOut | None:
    chosen, rejected = plain(row.chosen), plain(row.rejected)
    if not chosen or not rejected:
        return LeftOut.EMPTY
    if chosen == rejected:
        return LeftOut.SAME_TEXT
    key = _key(row.prompt)
    if row.ranking_id is None or selection.least_agreement is None:
        against = voices.gave((key, rejected, chosen), simulated=row.simulated)
        return LeftOut.DISAGREEMENT if against else None
    given, opposite, heard = voices.of((key, chosen, rejected))
    if given <= opposite:
        return LeftOut.OUTVOTED
    # 2 of 3 has to reach a share of 2/3, whatever floats make of it
    return LeftOut.UNSURE if given / heard < selection.least_agreement - 1e-9 else None


def _distinct(rows: list[PreferenceRow], left_out: Counter[LeftOut]) -> list[PreferenceRow]:
    """One row for each prompt, chosen and rejected text; a person's word before a simulated one."""
    kept: dict[tuple[tuple[str, str], str, str], PreferenceRow] = {}
    for row in sorted(rows, key=_credit):
        same = (_key(row.prompt), plain(row.chosen), plain(row.rejected))
        if same in kept:
            left_out[LeftOut.DUPLICATE] += 1
        else:
            kept[same] = row
    return list(kept.values())


def _credit(row: PreferenceRow) -> tuple[bool, bool, str, int, str, str, int]:
    source = (row.ranking_id is None, row.reviewer, -row.contrast)
    return (row.simulated, *source, row.chosen, row.rejected, row.ranking_id or row.correction_id or 0)


def _capped(rows: list[PreferenceRow], cap: int | None, left_out: Counter[LeftOut]) -> list[PreferenceRow]:
    """At most `cap` rows of rankings for each prompt, widest apart first; corrections always stay."""
    kept = [row for row in rows if row.ranking_id is None]
    taken: Counter[tuple[str, str]] = Counter()
    for row in sorted(rows, key=lambda row: (-row.contrast, row.chosen, row.rejected)):
        if row.ranking_id is None:
            continue
        if taken[_key(row.prompt)] == cap:
            left_out[LeftOut.OVER_CAP] += 1
        else:
            taken[_key(row.prompt)] += 1
            kept.append(row)
    return kept


def words_ahead(row: PreferenceRow) -> int:
    """By how many words the better reply is longer; below 0 where it is shorter."""
    return len(row.chosen.split()) - len(row.rejected.split())


def _balanced(rows: list[PreferenceRow], left_out: Counter[LeftOut]) -> list[PreferenceRow]:
    """Without the pairs that favour the longer reply most, until it is the better one as often as the shorter.

    Where the shorter one is better more often, pairs that favour that go: a habit of either kind is learned first.
    """
    longer = [row for row in rows if words_ahead(row) > 0]
    shorter = [row for row in rows if words_ahead(row) < 0]
    more, fewer = (longer, shorter) if len(longer) > len(shorter) else (shorter, longer)
    more.sort(key=lambda row: (-abs(words_ahead(row)), _key(row.prompt), row.chosen, row.rejected))
    gone = {id(row) for row in more[: len(more) - len(fewer)]}
    left_out[LeftOut.LENGTHS] += len(gone)
    return [row for row in rows if id(row) not in gone]


def _thumbs(bad: Sequence[GivenRanking], voices: _Voices, left_out: Counter[LeftOut]) -> list[JudgedReply]:
    """Each reply that was called bad, once; a person's word before a simulated one."""
    found: dict[tuple[tuple[str, str], str], JudgedReply] = {}
    judged = [
        JudgedReply(
            prompt=ranking.prompt,
            response_id=response.id,
            text=response.text.strip(),
            up=False,
            ranking_id=ranking.id,
            reviewer=ranking.reviewer,
            simulated=ranking.simulated,
        )
        for ranking in bad
        for _, response in ranking.placed
    ]
    for one in sorted(judged, key=lambda one: (one.simulated, one.reviewer, one.text, one.ranking_id, one.response_id)):
        found.setdefault((_key(one.prompt), plain(one.text)), one)
    kept = _sifted(((one, _no_thumb(one, voices)) for one in found.values()), left_out)
    return sorted(kept, key=lambda one: (_key(one.prompt), one.text))


def _no_thumb(one: JudgedReply, voices: _Voices) -> LeftOut | None:
    if not one.text:
        return LeftOut.EMPTY
    return LeftOut.DISPUTED if voices.prefer(one.prompt, one.text, simulated=one.simulated) else None


def _validation(clusters: Iterable[str]) -> set[str]:
    """The clusters whose hash is lowest: as wholes, so that no near-duplicate is on both sides."""
    every = set(clusters)
    drawn = sorted(every, key=lambda mark: hashlib.sha256(f"{SPLIT_SEED}:{mark}".encode()).hexdigest())
    return set(drawn[: len(every) // VALIDATION_SHARE])
