"""Everything that a file of votes can tell, as JSON with keys that explain themselves and as a short summary.

python cli.py winrate VOTES.csv --json OUT.json
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, is_dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from eval.report.votes_file import VotesFile
from files import file_sha256
from stats.clusters import intraclass_correlation
from stats.contrasts import Contrast, contrasts
from stats.estimates import CannotEstimate, Estimated, count_of
from stats.judge_labels import JudgeAssistedRate, judge_assisted_rates
from stats.position import PositionBias, position_bias
from stats.ratings import Rating, RatingsByModel, ratings
from stats.reply_length import LengthEffect, length_effect
from stats.resampling import ROUNDS
from stats.sample_size import SampleSize, sample_size
from stats.slices import Slice, slices
from stats.vote_agreement import VoteAgreement, vote_agreement
from stats.votes import BOTH_BAD, TIE, VERDICTS, Votes

FORMAT = 1
"""Of the JSON; a key that changes its meaning makes it 2."""
PLANNED_ODDS = (2.0, 1.5, 11 / 9)
PLANNED_POWER = (0.8, 0.9)
LISTED_CONTRASTS = 12


@dataclass(frozen=True)
class PlannedSample:
    """What another evaluation of this kind would need to find odds of so much to one."""

    odds: float
    power: float
    needed: Estimated[SampleSize]


@dataclass(frozen=True)
class VoteFigures:
    """All figures of one set of votes."""

    votes: int
    """Those that count: a duplicate counts once, a model's verdict not at all where people voted."""
    prompts: int
    reviewers: int
    responders: tuple[str, ...]
    verdicts: dict[str, int]
    unasked: int
    judged_by: str
    notes: tuple[str, ...]
    contrasts: tuple[Contrast, ...]
    strengths: RatingsByModel
    position: PositionBias
    lengths: Estimated[LengthEffect]
    agreement: VoteAgreement
    slices: tuple[Slice, ...]
    tie_rate: float
    votes_per_prompt: float
    same_prompt_correlation: float | None
    """How alike votes on one prompt and pair are, 0 to 1; None where no prompt has two."""
    planned: tuple[PlannedSample, ...]
    with_judge: tuple[Estimated[JudgeAssistedRate], ...]
    """People's rates helped by the model's verdicts; empty without any."""


def vote_figures(
    votes: Votes,
    *,
    primary: tuple[str, str] | None = None,
    rounds: int = ROUNDS,
    seed: int = 0,
    say: Callable[[str], None] = lambda what: None,
) -> VoteFigures:
    """Every figure that the columns allow; `say` is told what is being reckoned."""
    people, judge = votes.person_votes, votes.model_votes
    by_people = people.asked.n > 0 or not judge.n
    counted = people if by_people else votes
    c = counted.contests
    cells = len(np.unique(c.pair * max(len(counted.prompts), 1) + counted.prompt))
    tie_rate = float((counted.verdict >= TIE).mean()) if counted.n else 0.0
    per_prompt = counted.n / cells if cells else 1.0
    alike = intraclass_correlation(c.pair, counted.prompt, c.score)
    say("each pair")
    by_pair = contrasts(counted, primary=primary)
    say("strengths")
    strengths = ratings(counted, rounds=rounds, seed=seed)
    say("sides and lengths")
    side, length = position_bias(counted), length_effect(counted)
    say("agreement")
    agreement = vote_agreement(counted, rounds=rounds, seed=seed)
    say("parts")
    return VoteFigures(
        votes=counted.n,
        prompts=len(np.unique(counted.prompt)),
        reviewers=len(np.unique(counted.asked.reviewer)),
        responders=counted.responders,
        verdicts={word: int((counted.verdict == code).sum()) for code, word in enumerate(VERDICTS)},
        unasked=counted.n - counted.asked.n,
        judged_by="people" if by_people else "a model",
        notes=(*_notes(counted, judge if by_people else None), *_undefeated(strengths)),
        contrasts=by_pair,
        strengths=strengths,
        position=side,
        lengths=length,
        agreement=agreement,
        slices=slices(counted),
        tie_rate=tie_rate,
        votes_per_prompt=per_prompt,
        same_prompt_correlation=alike,
        planned=_planned(tie_rate, per_prompt, alike),
        with_judge=judge_assisted_rates(people, judge) if by_people and judge.n else (),
    )


def figures_json(figures: VoteFigures, file: VotesFile, source: Path, *, seed: int = 0) -> dict[str, Any]:
    """The figures as a JSON object: where one is not to be had stands {"cannot_be_estimated": why}."""
    return {
        "format": FORMAT,
        "file": {
            "name": source.name,
            "sha256": file_sha256(source),
            "rows": file.rows,
            "duplicate_rows_left_out": file.duplicates,
            "first_duplicate_lines": list(file.duplicate_lines),
            "length_unit": file.length_unit,
        },
        "made_with": {"seed": seed, **{name: version(name) for name in ("numpy", "scipy", "statsmodels")}},
        **to_plain(figures),
    }


def summarise(figures: VoteFigures, file: VotesFile) -> Iterable[str]:
    """A few lines for a person."""
    yield (
        f"{count_of(figures.votes, 'vote')} by {figures.judged_by} on {count_of(figures.prompts, 'prompt')}, "
        f"{count_of(figures.reviewers, 'reviewer')}, {len(figures.responders)} responders."
    )
    if file.duplicates:
        first = ", ".join(str(line) for line in file.duplicate_lines)
        more = " …" if file.duplicates > len(file.duplicate_lines) else ""
        yield (
            f"{file.duplicates:,} of {file.rows:,} lines repeat an earlier one to the letter (line {first}{more}); "
            "each such vote is counted once."
        )
    yield from figures.notes
    for contrast in figures.contrasts[:LISTED_CONTRASTS]:
        interval = "no interval" if isinstance(contrast.interval, CannotEstimate) else contrast.interval.percent
        yield (
            f"{contrast.candidate} against {contrast.baseline}: {contrast.rate:.1%} ({interval}), {contrast.wins} won, "
            f"{contrast.ties} tied ({contrast.both_bad} both bad), {contrast.losses} lost. {contrast.finding}"
        )
    if len(figures.contrasts) == 1:
        yield from _more(figures.contrasts[0])
    if len(figures.contrasts) > LISTED_CONTRASTS:
        yield f"… and {len(figures.contrasts) - LISTED_CONTRASTS} more pairs, in the JSON file."
    ranked = figures.strengths.best
    if isinstance(ranked, CannotEstimate):
        yield f"Strengths: {ranked}"
    elif len(ranked.responders) > 2:
        yield "Strongest first: " + ", ".join(rating.responder for rating in ranked.responders[:20]) + "."
    alpha, side = figures.agreement.alpha, figures.position
    if isinstance(alpha, CannotEstimate):
        yield f"Agreement: {alpha}"
    else:
        yield f"Agreement: alpha {alpha:.2f} on {figures.agreement.units:,} pairs judged twice."
    if not isinstance(side.left_rate, CannotEstimate):
        yield f"The left reply won {side.left_rate:.1%} of {count_of(side.left + side.right, 'decided vote')}."


def _more(contrast: Contrast) -> Iterable[str]:
    if not isinstance(contrast.p_value, CannotEstimate):
        yield f"Exact sign test over prompts: p = {contrast.p_value:.4g}."
    if contrast.flips_to_change_winner:
        yield f"{count_of(contrast.flips_to_change_winner, 'vote')} would have to go to the other to change the winner."
    if isinstance(contrast.interval_any_reviewer, CannotEstimate):
        yield f"For other reviewers: {contrast.interval_any_reviewer}"
    else:
        yield f"For reviewers like these: {contrast.interval_any_reviewer.percent}."
    e = contrast.evidence
    advice = "enough to stop at any time" if e.stop else f"judging that is looked at on the way goes on to {e.enough:g}"
    yield f"E-value {e.betting:.4g}: {advice}."


def _notes(votes: Votes, judge: Votes | None) -> Iterable[str]:
    if judge is None:
        yield "All verdicts are a model's or a rule's: nobody here says what people prefer."
    elif judge.n:
        yield f"{judge.n:,} verdicts of a model are in no figure but the ones beside people's."
    if unasked := votes.n - votes.asked.n:
        yield f"{count_of(unasked, 'tie')} nobody was asked about: both texts are the same."
    if (votes.verdict == BOTH_BAD).any():
        yield "Both bad counts as a tie in every rate."
    if (votes.verdict >= TIE).all():
        yield "Every vote is a tie: nothing speaks for anybody."
    if len(np.unique(votes.prompt)) == 1:
        yield "All votes are on one prompt: nothing shows how it would be on another."
    number = np.bincount(votes.asked.reviewer, minlength=len(votes.reviewers))
    lone = [name for name, n in zip(votes.reviewers, number, strict=True) if n == 1]
    if lone:
        names = ", ".join(f"“{name}”" for name in lone[:5]) + (" …" if len(lone) > 5 else "")
        counts = "it counts, but nothing can be said of whoever gave it."
        yield f"{count_of(len(lone), 'reviewer')} gave one vote only ({names}): {counts}"


def _undefeated(strengths: RatingsByModel) -> tuple[str, ...]:
    if isinstance(strengths.bradley_terry, CannotEstimate):
        return ()
    return tuple(
        f"“{rating.responder}”: {rating.unbounded_because}, so its strength has no finite estimate; the one given "
        "is held by a weak penalty and means no more than its direction."
        for rating in strengths.bradley_terry.responders
        if rating.unbounded_because
    )


def _planned(tie_rate: float, per_prompt: float, alike: float | None) -> tuple[PlannedSample, ...]:
    def needed(odds: float, power: float) -> Estimated[SampleSize]:
        if tie_rate == 1:
            return CannotEstimate("every vote is a tie, so no number of them would decide.")
        measured = {"tie_rate": tie_rate, "votes_per_prompt": per_prompt, "correlation": alike or 0.0}
        return sample_size(odds=odds, power=power, **measured)

    return tuple(PlannedSample(odds, power, needed(odds, power)) for odds in PLANNED_ODDS for power in PLANNED_POWER)


def to_plain(value: Any) -> Any:
    """What JSON takes: dataclasses as objects with their fields' names as keys, a missing figure as its reason."""
    if isinstance(value, CannotEstimate):
        return {"cannot_be_estimated": value.reason}
    if is_dataclass(value):
        plain = {field.name: to_plain(getattr(value, field.name)) for field in fields(value)}
        if isinstance(value, Contrast):
            plain |= {"votes": value.n, "finding": value.finding}
        return plain | {"elo": value.elo} if isinstance(value, Rating) else plain
    if isinstance(value, dict):
        return {key: to_plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(inner) for inner in value]
    return value.item() if isinstance(value, np.generic) else value
