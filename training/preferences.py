"""From what people said to prompt/chosen/rejected rows. Pure: frozen dataclasses in, frozen dataclasses out.

The result does not depend on the order in which feedback came in, so the same feedback always gives the same rows.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

PAIRS_PER_PROMPT = 3
"""At most so many pairs of one prompt from rankings, so that no prompt outweighs the others."""
VALIDATION_SHARE = 10
"""One prompt cluster in so many goes to the validation split; none while there are fewer clusters."""
SPLIT_SEED = 0


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

    @property
    def sentence(self) -> str:
        """What it means, for people."""
        return _SENTENCES[self]


_SENTENCES: Mapping[LeftOut, str] = {
    LeftOut.ROUTED: "A rule sends the prompt to people (page Route), so no model learns to answer it.",
    LeftOut.TIE: "Ranked as a tie: it says nothing about which reply is better.",
    LeftOut.BOTH_BAD: "Ranked as both bad: neither reply is worth learning from. A correction would be.",
    LeftOut.CUT_OFF: "The better reply was cut at the token limit: choosing it teaches to stop in mid-sentence.",
    LeftOut.DISAGREEMENT: "The same two replies were put in opposite orders.",
    LeftOut.OVERRULED: "A manager decided between this ranking and others; the decision counts instead.",
    LeftOut.DUPLICATE: "The same pair is in already, from another ranking or correction.",
    LeftOut.SAME_TEXT: "Both replies have the same text.",
    LeftOut.UNCHANGED: "The correction changes nothing but white space.",
    LeftOut.REVISED: "Somebody corrected this correction further; the newest text counts instead.",
    LeftOut.EMPTY: "One of the two replies is empty.",
    LeftOut.OVER_CAP: f"The prompt has {PAIRS_PER_PROMPT} pairs from rankings already.",
}


class Split(StrEnum):
    """What a row is used for; the names are those of `db.models.Split`."""

    TRAIN = "TRAIN"
    VALIDATION = "VALIDATION"


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
class Preferences:
    """What a project's feedback gives."""

    rows: tuple[PreferenceRow, ...]
    """By prompt text, then chosen, then rejected."""
    left_out: Mapping[LeftOut, int]
    """A ranking or correction without any pair counts once, else each pair counts that is left out."""


def derive(
    rankings: Sequence[GivenRanking],
    corrections: Sequence[GivenCorrection],
) -> Preferences:
    """The rows that feedback gives, and how much was left out, why.

    Feedback on prompts that are routed to people gives none. A ranking sets its best reply against each strictly worse
    one; a correction stands over its original. Pairs whose two texts somebody put in the opposite order are left out; a
    simulated order never contradicts a person's, and where a manager decided between rankings only the decision counts.
    """
    left_out: Counter[LeftOut] = Counter()
    given = len(rankings) + len(corrections)
    rankings = [ranking for ranking in rankings if not ranking.prompt.routed]
    corrections = [correction for correction in corrections if not correction.prompt.routed]
    if routed := given - len(rankings) - len(corrections):
        left_out[LeftOut.ROUTED] = routed
    rankings = _without_overruled(rankings, left_out)
    orders = {order for ranking in rankings for order in _orders(ranking)}
    people = {order for ranking in rankings if not ranking.simulated for order in _orders(ranking)}
    found = [row for ranking in rankings for row in _from_ranking(ranking, left_out)]
    found += [row for correction in corrections for row in _from_correction(correction, left_out)]
    usable = []
    for row in found:
        reason = _unusable(row, orders if row.simulated else people)
        if reason:
            left_out[reason] += 1
        else:
            usable.append(row)
    kept = _capped(_distinct(usable, left_out), left_out)
    rows = sorted(kept, key=lambda row: (_key(row.prompt), row.chosen, row.rejected))
    return Preferences(rows=tuple(_split(rows)), left_out={reason: left_out[reason] for reason in sorted(left_out)})


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


def _orders(ranking: GivenRanking) -> Iterator[Order]:
    for place, better in ranking.placed:
        for other, worse in ranking.placed:
            if place < other and not ranking.both_bad:
                yield _key(ranking.prompt), plain(better.text), plain(worse.text)


def _from_ranking(ranking: GivenRanking, left_out: Counter[LeftOut]) -> list[PreferenceRow]:
    if ranking.both_bad:
        left_out[LeftOut.BOTH_BAD] += 1
        return []
    first = min(place for place, _ in ranking.placed)
    best = [response for place, response in ranking.placed if place == first]
    worse = [(place, response) for place, response in ranking.placed if place > first]
    if not worse:
        left_out[LeftOut.TIE] += 1
        return []
    whole = [response for response in best if response.finish_reason != "length"]
    if not whole:
        left_out[LeftOut.CUT_OFF] += 1
        return []
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
            contrast=place - first,
        )
        for chosen in whole
        for place, rejected in worse
    ]


def _from_correction(correction: GivenCorrection, left_out: Counter[LeftOut]) -> list[PreferenceRow]:
    if correction.revised:
        left_out[LeftOut.REVISED] += 1
        return []
    if plain(correction.text) == plain(correction.original.text):
        left_out[LeftOut.UNCHANGED] += 1
        return []
    return [
        PreferenceRow(
            prompt=correction.prompt,
            chosen=correction.text.strip(),
            rejected=correction.original.text.strip(),
            chosen_id=None,
            chosen_by=f"Correction by {correction.reviewer}",
            rejected_id=correction.original.id,
            rejected_by=correction.original.responder,
            ranking_id=None,
            correction_id=correction.id,
            reviewer=correction.reviewer,
            simulated=correction.simulated,
            contrast=1,
        )
    ]


def _unusable(row: PreferenceRow, orders: set[Order]) -> LeftOut | None:
    chosen, rejected = plain(row.chosen), plain(row.rejected)
    if not chosen or not rejected:
        return LeftOut.EMPTY
    if chosen == rejected:
        return LeftOut.SAME_TEXT
    return LeftOut.DISAGREEMENT if (_key(row.prompt), rejected, chosen) in orders else None


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


def _capped(rows: list[PreferenceRow], left_out: Counter[LeftOut]) -> list[PreferenceRow]:
    """At most `PAIRS_PER_PROMPT` rows of rankings for each prompt, widest apart first; corrections always stay."""
    kept = [row for row in rows if row.ranking_id is None]
    taken: Counter[tuple[str, str]] = Counter()
    for row in sorted(rows, key=lambda row: (-row.contrast, row.chosen, row.rejected)):
        if row.ranking_id is None:
            continue
        if taken[_key(row.prompt)] == PAIRS_PER_PROMPT:
            left_out[LeftOut.OVER_CAP] += 1
        else:
            taken[_key(row.prompt)] += 1
            kept.append(row)
    return kept


def _split(rows: list[PreferenceRow]) -> list[PreferenceRow]:
    """Whole clusters go to validation, those whose hash is lowest, so that no near-duplicate is on both sides."""
    clusters = {row.prompt.cluster for row in rows}
    drawn = sorted(clusters, key=lambda mark: hashlib.sha256(f"{SPLIT_SEED}:{mark}".encode()).hexdigest())
    validation = set(drawn[: len(clusters) // VALIDATION_SHARE])
    return [replace(row, split=Split.VALIDATION) if row.prompt.cluster in validation else row for row in rows]
