"""A result in plain words and as rows of pictures: what the page and the report file both show. Pure.

The sentence claims no more than the interval and the corrected test allow; what cannot be estimated says why.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eval.guesses import guess_accuracy
from eval.report.results import Verdicts
from eval.report.votes import VotesReport
from eval.second_looks import consistency
from stats.contrasts import ENOUGH_REVIEWERS, HeadToHead
from stats.estimates import CannotEstimate, Estimated, Interval
from stats.position import position
from stats.reply_length import LengthControlled, lengths
from stats.slices import Slice, sliced, slices
from stats.votes import coded

LOW_ALPHA = 0.2
"""Below it reviewers agree little more than by chance."""
FRAGILE = 0.05
"""Share of the decided verdicts; where fewer would turn the winner, the result hangs by a thread."""
MANY_BAD = 0.1
"""Share of verdicts in which neither reply could be sent, from which on it is worth saying."""
UNEVEN = 0.02
"""Difference of the rates with and without equal weight of prompts."""
INCONSISTENT = 0.7
"""Share of second looks that say the same; below it a verdict is little more than that day's mood."""
PARTS = {"reviewer": "By reviewer", "tag": "By topic", "import": "By import", "length": "By which reply is longer"}


@dataclass(frozen=True)
class Dot:
    """One row of a picture: a rate with its interval, or a sentence why there is none."""

    name: str
    rate: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    missing: str = ""
    is_candidate: bool = False


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    warns: bool
    sentence: str


@dataclass(frozen=True)
class Telling:
    """What one kind of reviewer found, people or simulated ones."""

    simulated: bool
    finding: str
    """For a manager."""
    numbers: str
    """The headline figure with its interval and n."""
    rests_on: tuple[str, ...]
    checks: tuple[Check, ...]
    order: tuple[Dot, ...]
    """Every responder, best first: the share of its judgments against the candidate in which it was preferred."""
    against: tuple[Dot, ...]
    """The candidate's win rate against each baseline."""
    parts: dict[str, tuple[Dot, ...]]
    """The candidate's win rate against the headline's baseline, in parts of the votes; by `PARTS`."""
    agreement: tuple[Dot, ...]
    """Each reviewer's share of verdicts that say what most of the others say."""
    length: Estimated[LengthControlled]
    """The headline at equal lengths."""


def telling(verdicts: Verdicts, figures: VotesReport) -> Telling:
    """Words and rows for one kind of reviewer; `figures` are those of the same votes."""
    head = verdicts.head
    length = _length(verdicts, head)
    every = (*slices(verdicts.pooled), *_by_import(verdicts))
    found = [one for one in every if one.baseline == head.baseline]
    return Telling(
        simulated=verdicts.simulated,
        finding=finding(verdicts),
        numbers=f"{head.candidate} against {head.baseline}: win rate {head.rate:.0%} {_bracket(head)}, n = {head.n}.",
        rests_on=_rests_on(verdicts, head),
        checks=tuple(_checks(verdicts, figures, head, length)),
        order=_order(verdicts),
        against=tuple(_dot(one.baseline, one.rate, one.interval, one.n) for one in verdicts.contrasts),
        parts={
            name: tuple(_dot(one.part, one.rate, one.interval, one.votes) for one in found if one.by == by)
            for by, name in PARTS.items()
            if any(one.by == by for one in found)
        },
        agreement=tuple(
            _dot(one.reviewer, one.with_the_rest, one.interval, one.shared) for one in figures.agreement.reviewers
        ),
        length=length,
    )


def finding(verdicts: Verdicts) -> str:
    """The manager's sentence: whose word it is, and what it allows to say."""
    if verdicts.simulated:
        return f"By a written rule, not by people (simulated): {verdicts.head.finding}"
    return verdicts.head.finding


def percent(value: Estimated[float]) -> str:
    """A rate, or why there is none."""
    return str(value) if isinstance(value, CannotEstimate) else f"{value:.1%}"


def span(value: Estimated[Interval]) -> str:
    """An interval of rates, or why there is none."""
    return str(value) if isinstance(value, CannotEstimate) else value.percent


def p_in_words(value: Estimated[float]) -> str:
    """A p value, or why there is none."""
    if isinstance(value, CannotEstimate):
        return str(value)
    return "p < 0.0001" if value < 0.0001 else f"p = {value:.2g}"


def _bracket(one: HeadToHead) -> str:
    if isinstance(one.interval, CannotEstimate):
        return "(no interval)"
    return f"[{one.interval.low:.0%} to {one.interval.high:.0%}]"


def _by_import(verdicts: Verdicts) -> Sequence[Slice]:
    """The votes by the file that their prompts were imported from; nothing where there is one file."""
    part, names = coded([row.prompt_set for row in verdicts.rows])
    return sliced(verdicts.pooled, part, names, by="import") if len(names) > 1 else ()


def _dot(name: str, rate: Estimated[float], interval: Estimated[Interval], n: int) -> Dot:
    if isinstance(rate, CannotEstimate):
        return Dot(name, None, n=n, missing=rate.reason)
    if isinstance(interval, CannotEstimate):
        return Dot(name, rate, n=n, missing=interval.reason)
    return Dot(name, rate, interval.low, interval.high, n)


def _order(verdicts: Verdicts) -> tuple[Dot, ...]:
    """Best first, the candidate where it stands: even with itself."""
    candidate = verdicts.head.candidate
    rows = [Dot(candidate, 0.5, n=sum(one.n for one in verdicts.each), is_candidate=True)]
    for one in verdicts.contrasts:
        if verdicts.together and one is not verdicts.together and verdicts.is_people(one):
            continue
        if isinstance(one.interval, CannotEstimate):
            rows.append(Dot(one.baseline, 1 - one.rate, n=one.n, missing=one.interval.reason))
        else:
            rows.append(Dot(one.baseline, 1 - one.rate, 1 - one.interval.high, 1 - one.interval.low, one.n))
    return tuple(sorted(rows, key=lambda row: -(row.rate or 0.0)))


def _rests_on(verdicts: Verdicts, head: HeadToHead) -> tuple[str, ...]:
    unasked = f", {head.unasked:,} the same text, which nobody was asked about" if head.unasked else ""
    who = "simulated reviewer" if verdicts.simulated else "reviewer"
    said = [
        f"{head.n:,} verdicts on {_many(head.prompts, 'held-out prompt')} by {_many(head.reviewers, who)}: "
        f"{head.wins:,} won, {head.ties:,} tied ({head.both_bad:,} both bad{unasked}), {head.losses:,} lost. "
        "A tie counts as half a win."
    ]
    if isinstance(head.interval, CannotEstimate):
        said.append(f"Interval: {head.interval}")
    else:
        said.append(
            f"With these reviewers, on other prompts like these, the win rate is {head.interval.percent} "
            "(95 %; a prompt is one draw, however many verdicts it has)."
        )
    if isinstance(head.interval_any_reviewer, CannotEstimate):
        said.append(f"These reviewers only: {head.interval_any_reviewer.reason}")
    else:
        said.append(f"With other reviewers like these too, it is {head.interval_any_reviewer.percent} (95 %).")
    family = len(verdicts.each) if verdicts.together is None else len(verdicts.pooled.contests.pairs)
    corrected = ""
    if isinstance(head.p_value, float) and not head.primary and family > 1:
        corrected = f", {p_in_words(head.p_value_holm)} corrected for {family} contrasts (Holm)"
    elif head.primary:
        corrected = ", for the one contrast that was named beforehand"
    said.append(f"Exact sign test over prompts: {p_in_words(head.p_value)}{corrected}.")
    e = head.evidence
    enough = "enough" if e.stop else "not enough"
    said.append(
        f"Evidence that holds however often somebody looked: E = {e.betting:.3g}; {e.enough:g} is wanted, so this is "
        f"{enough}."
    )
    return tuple(said)


def _checks(
    verdicts: Verdicts, figures: VotesReport, head: HeadToHead, length: Estimated[LengthControlled]
) -> Sequence[Check]:
    found = [_fragile(head), *_reviewers(verdicts, head), _sides(verdicts, head)]
    found += _length_checks(verdicts, length)
    found += _agreement(figures)
    found += _blindness(verdicts)
    found += _consistency(verdicts)
    decided = head.both_bad / head.n if head.n else 0.0
    if decided >= MANY_BAD:
        found.append(
            Check(
                True,
                f"In {decided:.0%} of the verdicts neither reply could be sent: to be preferred is not to be good.",
            )
        )
    if abs(head.rate - head.rate_each_prompt_once) > UNEVEN:
        found.append(
            Check(
                True,
                f"Some prompts have more verdicts than others; with each prompt counted once the win rate is "
                f"{head.rate_each_prompt_once:.1%}.",
            )
        )
    return found


def _blindness(verdicts: Verdicts) -> list[Check]:
    """Whether those who were asked knew the machine; nothing where nobody was asked."""
    if not verdicts.guesses:
        return []
    found = guess_accuracy(verdicts.guesses)
    knew = isinstance(found.interval, Interval) and found.interval.low > 0.5
    return [Check(knew, found.sentence)]


def _consistency(verdicts: Verdicts) -> list[Check]:
    """Whether reviewers say the same of a pair that comes again; nothing where none did."""
    if not verdicts.twice:
        return []
    found = consistency(verdicts.twice)
    return [Check(found.same < INCONSISTENT * found.n, found.sentence)]


def _fragile(head: HeadToHead) -> Check:
    flips, decided = head.flips_to_change_winner, head.wins + head.losses
    if flips is None:
        return Check(True, "Wins and losses are level: there is no winner to change.")
    return Check(
        flips < FRAGILE * decided or flips <= 2,
        f"{_many(flips, 'verdict')} of {decided:,} decided ones would have to go to the other to change the winner.",
    )


def _reviewers(verdicts: Verdicts, head: HeadToHead) -> list[Check]:
    if verdicts.simulated:
        return [Check(True, "A written rule judged, no person: nothing here says what people prefer.")]
    if head.reviewers < ENOUGH_REVIEWERS:
        who = "One person judged" if head.reviewers == 1 else f"{head.reviewers or 'No'} people judged"
        return [Check(True, f"{who}: the result speaks for these reviewers only. It takes {ENOUGH_REVIEWERS} or more.")]
    return []


def _sides(verdicts: Verdicts, head: HeadToHead) -> Check:
    side = position(verdicts.pooled)
    if isinstance(side.left_rate, CannotEstimate) or isinstance(side.p_value, CannotEstimate):
        return Check(False, f"Left or right: {side.left_rate}")
    said = (
        f"The left reply won {side.left_rate:.1%} of {side.left + side.right:,} decided verdicts "
        f"({p_in_words(side.p_value)})"
    )
    favoured = side.p_value < 0.05
    said += ": more than chance would do" if favoured and side.left_rate > 0.5 else ""
    said += ": less than chance would do" if favoured and side.left_rate < 0.5 else ""
    said += "" if favoured else ": no side is favoured that one could tell"
    if isinstance(side.effect, CannotEstimate):
        return Check(favoured, f"{said}. Without such a favour: {str(side.effect)[0].lower()}{str(side.effect)[1:]}")
    theta = side.effect.corrected_log_strengths
    rate = 1 / (1 + np.exp(theta[head.baseline] - theta[head.candidate]))
    return Check(favoured, f"{said}. Without any such favour the win rate is {rate:.1%}.")


def _length(verdicts: Verdicts, head: HeadToHead) -> Estimated[LengthControlled]:
    found = lengths(verdicts.pooled)
    if isinstance(found, CannotEstimate):
        return found
    return next(
        (one for one in found.contrasts if one.baseline == head.baseline), CannotEstimate("no vote has both lengths.")
    )


def _length_checks(verdicts: Verdicts, length: Estimated[LengthControlled]) -> list[Check]:
    found = lengths(verdicts.pooled)
    if isinstance(found, CannotEstimate) or isinstance(length, CannotEstimate):
        return [Check(False, f"Lengths: {length}")]
    checks = []
    if isinstance(found.longer_wins, CannotEstimate):
        checks.append(Check(False, f"Whether the longer reply wins: {found.longer_wins.reason}"))
    else:
        warns = isinstance(found.longer_wins_interval, Interval) and found.longer_wins_interval.low > 0.5
        checks.append(
            Check(
                warns,
                f"A rule that always picks the longer reply would have been right in {found.longer_wins:.1%} of the "
                f"decided verdicts ({span(found.longer_wins_interval)}).",
            )
        )
    mean = ", ".join(f"{name} {value:.0f}" for name, value in found.mean_length.items())
    if isinstance(length.rate, CannotEstimate):
        said = f"The win rate at equal lengths is not shown: {length.rate.reason}"
    else:
        said = f"At equal lengths the win rate would be {length.rate:.1%} ({span(length.interval)}); as judged it is "
        said += f"{length.raw_rate:.1%}."
    differs = isinstance(length.rate, float) and (length.rate > 0.5) != (length.raw_rate > 0.5)
    checks.append(Check(differs, f"{said} Mean length in characters: {mean}."))
    return checks


def _agreement(figures: VotesReport) -> list[Check]:
    agreed = figures.agreement
    if isinstance(agreed.alpha, CannotEstimate):
        return [Check(True, f"How far reviewers agree: {agreed.alpha.reason}")]
    said = (
        f"Reviewers say the same in {percent(agreed.raw)} of {agreed.pairs_of_votes:,} pairs of verdicts; alpha is "
        f"{agreed.alpha:.2f}"
    )
    if isinstance(agreed.alpha_interval, Interval):
        said += f" ({agreed.alpha_interval.low:.2f} to {agreed.alpha_interval.high:.2f})"
    checks = [Check(agreed.alpha < LOW_ALPHA, f"{said}, where 1 is full agreement and 0 is chance.")]
    if isinstance(agreed.ceiling, CannotEstimate):
        checks.append(Check(False, f"What this agreement leaves to any model: {agreed.ceiling.reason}"))
    else:
        checks.append(
            Check(
                False,
                f"With this agreement no model, however good, wins more than about {agreed.ceiling:.0%} of the decided "
                "verdicts.",
            )
        )
    return checks


def _many(n: int, thing: str) -> str:
    return f"{n:,} {thing}{'s' * (n != 1)}"
