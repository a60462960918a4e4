"""Everything that a file of votes can tell, as JSON with keys that explain themselves and as a short summary.

python cli.py winrate VOTES.csv --json OUT.json
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from eval.report.votes_file import VotesFile
from stats.clusters import correlation
from stats.contrasts import HeadToHead, contrasts
from stats.estimates import CannotEstimate, Estimated
from stats.judge_labels import WithJudge, with_judge
from stats.position import Position, position
from stats.reply_length import Lengths, lengths
from stats.resampling import ROUNDS
from stats.sample_size import SampleSize, sample_size
from stats.slices import Slice, slices
from stats.strengths import BothStrengths, Strength, strengths
from stats.vote_agreement import VoteAgreement, vote_agreement
from stats.votes import BOTH_BAD, TIE, VERDICTS, Votes

FORMAT = 1
"""Of the JSON; a key that changes its meaning makes it 2."""
PLANNED_ODDS = (2.0, 1.5, 11 / 9)
PLANNED_POWER = (0.8, 0.9)


@dataclass(frozen=True)
class Planned:
    """What another evaluation of this kind would need to find odds of so much to one."""

    odds: float
    power: float
    needed: Estimated[SampleSize]


@dataclass(frozen=True)
class VotesReport:
    """All figures of one set of votes."""

    votes: int
    """Those that count: a duplicate counts once, a model's verdict not at all where people voted."""
    prompts: int
    reviewers: int
    responders: tuple[str, ...]
    verdicts: dict[str, int]
    unasked: int
    """Those of the ties that nobody was asked about, since both texts are the same."""
    judged_by: str
    """people, or a model where the file has no other verdicts."""
    notes: tuple[str, ...]
    """What a reader has to know before the figures."""
    contrasts: tuple[HeadToHead, ...]
    strengths: BothStrengths
    position: Position
    lengths: Estimated[Lengths]
    agreement: VoteAgreement
    slices: tuple[Slice, ...]
    tie_rate: float
    """Share of the votes that are a tie, both bad included."""
    votes_per_prompt: float
    """Votes on a prompt with one pair of responders, on average."""
    same_prompt_correlation: float | None
    """How alike votes on one prompt and pair are, 0 to 1; None where no prompt has two."""
    planned: tuple[Planned, ...]
    """Sample sizes for one contrast, with the ties and the correlation measured here."""
    with_judge: tuple[Estimated[WithJudge], ...]
    """People's rates helped by the model's verdicts; empty without any."""


def report(
    votes: Votes,
    *,
    primary: tuple[str, str] | None = None,
    rounds: int = ROUNDS,
    seed: int = 0,
    say: Callable[[str], None] = lambda what: None,
) -> VotesReport:
    """Every figure that the columns allow; `say` is told what is being reckoned."""
    people, judge = votes.person_votes, votes.model_votes
    by_people = people.asked.n > 0 or not judge.n
    counted = people if by_people else votes
    asked = counted.asked
    notes = _notes(counted, judge if by_people else None)
    tie_rate = float((counted.verdict >= TIE).mean()) if counted.n else 0.0
    c = counted.contests
    cells = len(np.unique(c.pair * max(len(counted.prompts), 1) + counted.prompt))
    per_prompt = counted.n / cells if cells else 1.0
    alike = correlation(c.pair, counted.prompt, c.score)
    say("each pair")
    found = contrasts(counted, primary=primary)
    say("strengths")
    both = strengths(counted, rounds=rounds, seed=seed)
    say("sides and lengths")
    side, length = position(counted), lengths(counted)
    say("agreement")
    agreed = vote_agreement(counted, rounds=rounds, seed=seed)
    say("parts")
    return VotesReport(
        votes=counted.n,
        prompts=len(np.unique(counted.prompt)),
        reviewers=len(np.unique(asked.reviewer)),
        responders=counted.responders,
        verdicts={word: int((counted.verdict == code).sum()) for code, word in enumerate(VERDICTS)},
        unasked=counted.n - asked.n,
        judged_by="people" if by_people else "a model",
        notes=(*notes, *_undefeated(both)),
        contrasts=found,
        strengths=both,
        position=side,
        lengths=length,
        agreement=agreed,
        slices=slices(counted),
        tie_rate=tie_rate,
        votes_per_prompt=per_prompt,
        same_prompt_correlation=alike,
        planned=_planned(tie_rate, per_prompt, alike),
        with_judge=with_judge(people, judge) if by_people and judge.n else (),
    )


def as_json(found: VotesReport, file: VotesFile, source: Path, *, seed: int = 0) -> dict[str, Any]:
    """The report as a JSON object: where a figure is not to be had stands {"cannot_be_estimated": why}."""
    with source.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    return {
        "format": FORMAT,
        "file": {
            "name": source.name,
            "sha256": sha256,
            "rows": file.rows,
            "duplicate_rows_left_out": file.duplicates,
            "first_duplicate_lines": list(file.duplicate_lines),
            "length_unit": file.length_unit,
        },
        "made_with": {
            "seed": seed,
            **{name: version(name) for name in ("numpy", "scipy", "statsmodels")},
        },
        **_plain(found),
    }


def summary(found: VotesReport, file: VotesFile) -> list[str]:
    """A few lines for a person."""
    lines = [
        f"{_many(found.votes, 'vote')} by {found.judged_by} on {_many(found.prompts, 'prompt')}, "
        f"{_many(found.reviewers, 'reviewer')}, {len(found.responders)} responders."
    ]
    if file.duplicates:
        first = ", ".join(str(line) for line in file.duplicate_lines)
        lines.append(
            f"{file.duplicates:,} of {file.rows:,} lines repeat an earlier one to the letter (line {first}"
            f"{' …' if file.duplicates > len(file.duplicate_lines) else ''}); each such vote is counted once."
        )
    lines += found.notes
    for one in found.contrasts[:12]:
        interval = one.interval.percent if not isinstance(one.interval, CannotEstimate) else "no interval"
        lines.append(
            f"{one.candidate} against {one.baseline}: {one.rate:.1%} ({interval}), {one.wins} won, {one.ties} tied "
            f"({one.both_bad} both bad), {one.losses} lost. {one.finding}"
        )
        if len(found.contrasts) == 1:
            lines += _more(one)
    if len(found.contrasts) > 12:
        lines.append(f"… and {len(found.contrasts) - 12} more pairs, in the JSON file.")
    ranked = found.strengths.davidson
    if isinstance(ranked, CannotEstimate):
        ranked = found.strengths.bradley_terry
    if isinstance(ranked, CannotEstimate):
        lines.append(f"Strengths: {ranked}")
    elif len(ranked.responders) > 2:
        lines.append("Strongest first: " + ", ".join(one.responder for one in ranked.responders[:20]) + ".")
    if not isinstance(found.agreement.alpha, CannotEstimate):
        lines.append(f"Agreement: alpha {found.agreement.alpha:.2f} on {found.agreement.units:,} pairs judged twice.")
    else:
        lines.append(f"Agreement: {found.agreement.alpha}")
    if not isinstance(found.position.left_rate, CannotEstimate):
        decided = _many(found.position.left + found.position.right, "decided vote")
        lines.append(f"The left reply won {found.position.left_rate:.1%} of {decided}.")
    return lines


def _many(n: int, thing: str) -> str:
    return f"{n:,} {thing}{'s' * (n != 1)}"


def _more(one: HeadToHead) -> list[str]:
    lines = []
    if not isinstance(one.p_value, CannotEstimate):
        lines.append(f"Exact sign test over prompts: p = {one.p_value:.4g}.")
    if one.flips_to_change_winner:
        flips = _many(one.flips_to_change_winner, "vote")
        lines.append(f"{flips} would have to go to the other to change the winner.")
    if isinstance(one.interval_any_reviewer, CannotEstimate):
        lines.append(f"For other reviewers: {one.interval_any_reviewer}")
    else:
        lines.append(f"For reviewers like these: {one.interval_any_reviewer.percent}.")
    e = one.evidence
    said = "enough to stop at any time" if e.stop else f"judging that is looked at on the way goes on to {e.enough:g}"
    lines.append(f"E-value {e.betting:.4g}: {said}.")
    return lines


def _notes(votes: Votes, judge: Votes | None) -> tuple[str, ...]:
    """What the votes lack, in sentences."""
    notes: list[str] = []
    if judge is None:
        notes.append("All verdicts are a model's or a rule's: nobody here says what people prefer.")
    elif judge.n:
        notes.append(f"{judge.n:,} verdicts of a model are in no figure but the ones beside people's.")
    unasked = votes.n - votes.asked.n
    if unasked:
        notes.append(f"{_many(unasked, 'tie')} nobody was asked about: both texts are the same.")
    if (votes.verdict == BOTH_BAD).any():
        notes.append("Both bad counts as a tie in every rate.")
    if (votes.verdict >= TIE).all():
        notes.append("Every vote is a tie: nothing speaks for anybody.")
    if len(np.unique(votes.prompt)) == 1:
        notes.append("All votes are on one prompt: nothing shows how it would be on another.")
    number = np.bincount(votes.asked.reviewer, minlength=len(votes.reviewers))
    lone = [name for name, n in zip(votes.reviewers, number, strict=True) if n == 1]
    if lone:
        names = ", ".join(f"“{name}”" for name in lone[:5]) + (" …" if len(lone) > 5 else "")
        notes.append(
            f"{_many(len(lone), 'reviewer')} gave one vote only ({names}): it counts, but nothing can be "
            "said of whoever gave it."
        )
    return tuple(notes)


def _undefeated(both: BothStrengths) -> tuple[str, ...]:
    if isinstance(both.bradley_terry, CannotEstimate):
        return ()
    return tuple(
        f"“{one.responder}”: {one.unbounded_because}, so its strength has no finite estimate; the one given is held by "
        "a weak penalty and means no more than its direction."
        for one in both.bradley_terry.responders
        if one.unbounded_because
    )


def _planned(tie_rate: float, per_prompt: float, alike: float | None) -> tuple[Planned, ...]:
    found = []
    for odds in PLANNED_ODDS:
        for power in PLANNED_POWER:
            needed: Estimated[SampleSize] = CannotEstimate("every vote is a tie, so no number of them would decide.")
            if tie_rate < 1:
                needed = sample_size(
                    odds=odds, power=power, tie_rate=tie_rate, votes_per_prompt=per_prompt, correlation=alike or 0.0
                )
            found.append(Planned(odds, power, needed))
    return tuple(found)


def _plain(value: Any) -> Any:
    """Dataclasses as objects, with their field names as keys."""
    if isinstance(value, CannotEstimate):
        return {"cannot_be_estimated": value.reason}
    if is_dataclass(value) and not isinstance(value, type):
        found = {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
        if isinstance(value, HeadToHead):
            found |= {"votes": value.n, "finding": value.finding}
        if isinstance(value, Strength):
            found["elo"] = value.elo
        return found
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, np.generic):
        return value.item()
    return value
