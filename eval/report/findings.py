"""What one kind of reviewer found, as blocks: the sentence, what it rests on, what could be wrong, every figure. Pure.

The sentence claims no more than the interval and the corrected test allow; what cannot be estimated says why.
"""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from eval.blinding import blinding_check
from eval.repeats import consistency
from eval.report.blocks import Dot, Grid, Medium, OutcomeBars, Picture, Report, Section, Sentence, Sentences, dot
from eval.report.results import Results, ReviewerResults
from stats.contrasts import ENOUGH_REVIEWERS, Contrast
from stats.estimates import CannotEstimate, Estimated, Interval, count_of, in_words, p_in_words
from stats.position import position_bias
from stats.ratings import ELO
from stats.reply_length import LengthControlledRate, LengthEffect, length_effect
from stats.slices import slice_by, slices
from stats.vote_agreement import ReviewerAgreement
from stats.votes import encode_names

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
WIN_RATE = "win rate of the candidate, ties as half"


def build_report(results: ReviewerResults) -> Report:
    """All that one kind of reviewer's verdicts say."""
    head, effect = results.headline, length_effect(results.pooled)
    at_equal: Estimated[LengthControlledRate] = CannotEstimate("no vote has both lengths.")
    if isinstance(effect, CannotEstimate):
        at_equal = effect
    else:
        at_equal = next((rate for rate in effect.contrasts if rate.baseline == head.baseline), at_equal)
    doubts = sorted(_doubts(results, effect, at_equal), key=lambda doubt: not doubt.warns)
    bracket = "(no interval)" if isinstance(head.interval, CannotEstimate) else f"[{in_words(head.interval, '.0%')}]"
    rule = "By a written rule, not by people (simulated): " if results.simulated else ""
    numbers = f"{head.candidate} against {head.baseline}: win rate {head.rate:.0%} {bracket}, n = {head.n}."
    notes = tuple(map(Sentence, results.figures.notes))
    return Report(
        simulated=results.simulated,
        finding=Sentence(rule + head.finding),
        numbers=Sentence(numbers),
        picture=_order(results),
        rests_on=Sentences(tuple(map(Sentence, _rests_on(results))), "What it rests on"),
        doubts=Sentences(tuple(doubts), "What could be wrong"),
        figures=(
            Section("against each baseline", _contrasts(results)),
            Section("parts of the votes", _parts(results)),
            Section("left and right", (_side_grid(results),)),
            Section("at equal lengths", (_length_grid(head, at_equal),)),
            Section("agreement", _reviewers(results)),
            Section("agreement", _together(results)),
            Section("on one scale", _scale(results)),
            Section("what the next evaluation needs", _planned(results)),
            *([Section("to know beforehand", (Sentences(notes),), on=Medium.FILE)] if notes else []),
        ),
    )


def win_rate_table(results: Results) -> Grid:
    """Every contrast of a closed Evaluation on a line, people's verdicts first."""
    rows = tuple(
        {
            "Against": contrast.baseline + " (simulated judge)" * reviewers.simulated,
            "Win rate": f"{contrast.rate:.1%}",
            "95 % interval": "none" if isinstance(contrast.interval, CannotEstimate) else contrast.interval.percent,
            "W": contrast.wins,
            "T": contrast.ties,
            "L": contrast.losses,
            "n": contrast.n,
        }
        for reviewers in results.by_reviewers
        for contrast in reviewers.contrasts
    )
    return Grid(rows, title=f"{results.candidate}: {results.evaluation.name}")


def _order(results: ReviewerResults) -> Picture:
    """Best first, the candidate where it stands: even with itself. Of one baseline the candidate's win rate."""
    shown = [
        contrast
        for contrast in results.contrasts
        if contrast is results.people_together or not (results.people_together and results.is_people(contrast))
    ]
    if len(shown) < 2:
        rates = (dot(contrast.baseline, contrast.rate, contrast.interval, contrast.n) for contrast in results.contrasts)
        return Picture(tuple(rates), WIN_RATE)
    votes = sum(contrast.n for contrast in results.by_baseline)
    rows = [Dot(results.headline.candidate, 0.5, n=votes, is_candidate=True)]
    for contrast in shown:
        interval = contrast.interval
        if isinstance(interval, Interval):
            interval = Interval(1 - interval.high, 1 - interval.low)
        rows.append(dot(contrast.baseline, 1 - contrast.rate, interval, contrast.n))
    return Picture(tuple(sorted(rows, key=lambda row: -(row.value or 0.0))), "preferred to the candidate, ties as half")


def _rests_on(results: ReviewerResults) -> Iterable[str]:
    head = results.headline
    unasked = f", {head.unasked:,} the same text, which nobody was asked about" if head.unasked else ""
    who = "simulated reviewer" if results.simulated else "reviewer"
    yield (
        f"{head.n:,} verdicts on {count_of(head.prompts, 'held-out prompt')} by {count_of(head.reviewers, who)}: "
        f"{head.wins:,} won, {head.ties:,} tied ({head.both_bad:,} both bad{unasked}), {head.losses:,} lost. "
        "A tie counts as half a win."
    )
    if isinstance(head.interval, CannotEstimate):
        yield f"Interval: {head.interval}"
    else:
        yield (
            f"With these reviewers, on other prompts like these, the win rate is {head.interval.percent} "
            "(95 %; a prompt is one draw, however many verdicts it has)."
        )
    if isinstance(head.interval_any_reviewer, CannotEstimate):
        yield f"These reviewers only: {head.interval_any_reviewer.reason}"
    else:
        yield f"With other reviewers like these too, it is {head.interval_any_reviewer.percent} (95 %)."
    family = len(results.by_baseline) if results.people_together is None else len(results.pooled.contests.pairs)
    corrected = ", for the one contrast that was named beforehand" if head.primary else ""
    if isinstance(head.p_value, float) and not head.primary and family > 1:
        corrected = f", {p_in_words(head.p_value_holm)} corrected for {family} contrasts (Holm)"
    yield f"Exact sign test over prompts: {p_in_words(head.p_value)}{corrected}."
    e = head.evidence
    yield (
        f"Evidence that holds however often somebody looked: E = {e.betting:.3g}; {e.enough:g} is wanted, so this is "
        f"{'enough' if e.stop else 'not enough'}."
    )


def _doubts(
    results: ReviewerResults, effect: Estimated[LengthEffect], at_equal: Estimated[LengthControlledRate]
) -> Iterable[Sentence]:
    head = results.headline
    flips, decided = head.flips_to_change_winner, head.wins + head.losses
    if flips is None:
        yield Sentence("Wins and losses are level: there is no winner to change.", warns=True)
    else:
        yield Sentence(
            f"{count_of(flips, 'verdict')} of {decided:,} decided ones would have to go to the other to change the "
            "winner.",
            warns=flips < FRAGILE * decided or flips <= 2,
        )
    if results.simulated:
        yield Sentence("A written rule judged, no person: nothing here says what people prefer.", warns=True)
    elif head.reviewers < ENOUGH_REVIEWERS:
        who = "One person judged" if head.reviewers == 1 else f"{head.reviewers or 'No'} people judged"
        takes = f"It takes {ENOUGH_REVIEWERS} or more."
        yield Sentence(f"{who}: the result speaks for these reviewers only. {takes}", warns=True)
    yield _sides(results)
    yield from _lengths(effect, at_equal)
    yield from _agreement(results)
    if results.guesses:
        blinding = blinding_check(results.guesses)
        yield Sentence(blinding.sentence, warns=blinding.named.low > 0.5)
    if results.repeats:
        repeats = consistency(results.repeats)
        yield Sentence(repeats.sentence, warns=repeats.same.count < INCONSISTENT * repeats.same.n)
    bad = head.both_bad / head.n if head.n else 0.0
    if bad >= MANY_BAD:
        neither = f"In {bad:.0%} of the verdicts neither reply could be sent: to be preferred is not to be good."
        yield Sentence(neither, warns=True)
    if abs(head.rate - head.rate_each_prompt_once) > UNEVEN:
        yield Sentence(
            "Some prompts have more verdicts than others; with each prompt counted once the win rate is "
            f"{head.rate_each_prompt_once:.1%}.",
            warns=True,
        )


def _sides(results: ReviewerResults) -> Sentence:
    head, side = results.headline, position_bias(results.pooled)
    if isinstance(side.left_rate, CannotEstimate) or isinstance(side.p_value, CannotEstimate):
        return Sentence(f"Left or right: {side.left_rate}", warns=False)
    favoured = side.p_value < 0.05
    chance = ": no side is favoured that one could tell"
    if favoured and side.left_rate != 0.5:
        chance = f": {'more' if side.left_rate > 0.5 else 'less'} than chance would do"
    words = (
        f"The left reply won {side.left_rate:.1%} of {side.left + side.right:,} decided verdicts "
        f"({p_in_words(side.p_value)}){chance}"
    )
    if isinstance(side.effect, CannotEstimate):
        why = str(side.effect)
        return Sentence(f"{words}. Without such a favour: {why[0].lower()}{why[1:]}", warns=favoured)
    theta = side.effect.corrected_log_strengths
    rate = 1 / (1 + np.exp(theta[head.baseline] - theta[head.candidate]))
    return Sentence(f"{words}. Without any such favour the win rate is {rate:.1%}.", warns=favoured)


def _lengths(effect: Estimated[LengthEffect], at_equal: Estimated[LengthControlledRate]) -> Iterable[Sentence]:
    if isinstance(effect, CannotEstimate) or isinstance(at_equal, CannotEstimate):
        yield Sentence(f"Lengths: {at_equal}", warns=False)
        return
    if isinstance(effect.longer_wins, CannotEstimate):
        yield Sentence(f"Whether the longer reply wins: {effect.longer_wins.reason}", warns=False)
    else:
        interval = effect.longer_wins_interval
        yield Sentence(
            f"A rule that always picks the longer reply would have been right in {effect.longer_wins:.1%} of the "
            f"decided verdicts ({in_words(interval)}).",
            warns=isinstance(interval, Interval) and interval.low > 0.5,
        )
    mean = ", ".join(f"{name} {value:.0f}" for name, value in effect.mean_length.items())
    rate, raw = at_equal.rate, at_equal.raw_rate
    words = f"At equal lengths the win rate would be {in_words(rate)} ({in_words(at_equal.interval)})"
    words = f"{words}; as judged it is {raw:.1%}."
    if isinstance(rate, CannotEstimate):
        words = f"The win rate at equal lengths is not shown: {rate.reason}"
    turns = isinstance(rate, float) and (rate > 0.5) != (raw > 0.5)
    yield Sentence(f"{words} Mean length in characters: {mean}.", warns=turns)


def _agreement(results: ReviewerResults) -> Iterable[Sentence]:
    agreement = results.figures.agreement
    if isinstance(agreement.alpha, CannotEstimate):
        yield Sentence(f"How far reviewers agree: {agreement.alpha.reason}", warns=True)
        return
    ends = f" ({in_words(agreement.alpha_interval, '.2f')})" if isinstance(agreement.alpha_interval, Interval) else ""
    yield Sentence(
        f"Reviewers say the same in {in_words(agreement.raw)} of {agreement.pairs_of_votes:,} pairs of verdicts; "
        f"alpha is {agreement.alpha:.2f}{ends}, where 1 is full agreement and 0 is chance.",
        warns=agreement.alpha < LOW_ALPHA,
    )
    words = f"With this agreement no model, however good, wins more than about {in_words(agreement.ceiling, '.0%')}"
    words = f"{words} of the decided verdicts."
    if isinstance(agreement.ceiling, CannotEstimate):
        words = f"What this agreement leaves to any model: {agreement.ceiling.reason}"
    yield Sentence(words, warns=False)


def _on_screen(text: str) -> Sentence:
    return Sentence(text, small=True, on=Medium.SCREEN)


def _contrasts(results: ReviewerResults) -> tuple[OutcomeBars, Grid, Sentence]:
    return (
        OutcomeBars(tuple((contrast.baseline, contrast.outcomes) for contrast in results.contrasts)),
        Grid(tuple(map(_contrast_row, results.contrasts)), wide=True),
        _on_screen(
            "Win rate = (wins + ties / 2) / n; both bad counts as a tie. People together are one more way to count the "
            "same verdicts; p is corrected among the others without it."
        ),
    )


def _contrast_row(contrast: Contrast) -> dict[str, object]:
    e, flips = contrast.evidence, contrast.flips_to_change_winner
    return {
        "Against": contrast.baseline,
        "Win rate": f"{contrast.rate:.1%}",
        "These reviewers, 95 %": in_words(contrast.interval),
        "Reviewers like these, 95 %": in_words(contrast.interval_any_reviewer),
        "Won": contrast.wins,
        "Tied": contrast.ties,
        "of them both bad": contrast.both_bad,
        "of them same text": contrast.unasked,
        "Lost": contrast.losses,
        "Verdicts": contrast.n,
        "Prompts": contrast.prompts,
        "Reviewers": contrast.reviewers,
        "Each prompt once": f"{contrast.rate_each_prompt_once:.1%}",
        "p": p_in_words(contrast.p_value),
        "p corrected": p_in_words(contrast.p_value_holm),
        "E-value": f"{e.betting:.3g}, {e.enough:g} wanted",
        "At any look, 95 %": in_words(e.interval),
        "Verdicts to flip": "" if flips is None else flips,
    }


def _parts(results: ReviewerResults) -> tuple[Picture | Sentence, ...]:
    pooled, (file, files) = results.pooled, encode_names([row.prompt_set for row in results.rows])
    by_import = slice_by(pooled, file, files, by="import") if len(files) > 1 else ()
    parts = [part for part in (*slices(pooled), *by_import) if part.baseline == results.headline.baseline]
    blocks: list[Picture | Sentence] = []
    for by, title in PARTS.items():
        rows = tuple(dot(part.part, part.rate, part.interval, part.votes) for part in parts if part.by == by)
        none = _on_screen(f"{title}: there is one part only, or nothing to part by.")
        blocks.append(Picture(rows, WIN_RATE, title) if rows else none)
    if not parts:
        blocks.append(Sentence("There is one part only.", on=Medium.FILE))
    return (
        *blocks,
        Sentence("None of these intervals is corrected for the number of parts.", small=True, on=Medium.FILE),
        _on_screen("Parts are for looking: none of these intervals is corrected for their number."),
    )


def _side_grid(results: ReviewerResults) -> Grid:
    side, effect = results.figures.position, results.figures.position.effect
    rows = {
        "Left reply won": f"{side.left:,}",
        "Right reply won": f"{side.right:,}",
        "Left rate": in_words(side.left_rate),
        "95 %, by prompt": in_words(side.interval),
        "Exact test": p_in_words(side.p_value),
    }
    if isinstance(effect, CannotEstimate):
        return _value_grid(rows | {"Favour of the left between equals": str(effect)})
    favour = f"{effect.log_odds:.3f} (standard error {effect.standard_error:.3f}, by {effect.clustered_by})"
    test = {"Favour of the left between equals, log odds": favour, "Test of that": p_in_words(effect.p_value)}
    return _value_grid(rows | test)


def _value_grid(values: dict[str, str]) -> Grid:
    return Grid(tuple({"What": name, "Value": value} for name, value in values.items()))


def _length_grid(head: Contrast, at_equal: Estimated[LengthControlledRate]) -> Grid:
    if isinstance(at_equal, CannotEstimate):
        return Grid((), why=str(at_equal))
    rates = (("as judged", at_equal.raw_rate, head.interval), ("at equal lengths", at_equal.rate, at_equal.interval))
    rows = ({"Win rate": name, "Value": in_words(rate), "95 %": in_words(ends)} for name, rate, ends in rates)
    return Grid(tuple(rows))


def _reviewers(results: ReviewerResults) -> tuple[Picture, Grid]:
    timed = pd.Series([row.seconds for row in results.rows], [row.reviewer for row in results.rows], dtype=float)
    seconds = timed.groupby(level=0).median().dropna()
    agreements = results.figures.agreement.reviewers
    rows = tuple(
        {
            "Reviewer": agreement.reviewer,
            "Verdicts": agreement.votes,
            "Shared": agreement.shared,
            "With the rest": in_words(agreement.with_the_rest),
            "Same again": _same_again(results, agreement),
            "Left": in_words(agreement.left_rate),
            "Ties": f"{agreement.tie_rate:.0%}",
            "Median seconds": f"{seconds[agreement.reviewer]:.0f}" if agreement.reviewer in seconds else "not timed",
        }
        for agreement in agreements
    )
    dots = tuple(dot(row.reviewer, row.with_the_rest, row.interval, row.shared) for row in agreements)
    several = dots if any(row.value is not None for row in dots) else ()
    return Picture(several, "says what most of the others say", on=Medium.SCREEN), Grid(rows, why="Nobody was asked.")


def _same_again(results: ReviewerResults, agreement: ReviewerAgreement) -> str:
    """By second looks where pairs came twice, else by votes on one pair that a file has several times."""
    same = [repeat.same for repeat in results.repeats if repeat.reviewer == agreement.reviewer]
    return f"{sum(same)} of {len(same)}" if same else in_words(agreement.same_again)


def _together(results: ReviewerResults) -> tuple[Grid, Sentence]:
    agreement = results.figures.agreement
    rows = {
        "Krippendorff's alpha, nominal": in_words(agreement.alpha, ".3f"),
        "95 %, by prompt": in_words(agreement.alpha_interval, ".3f"),
        "Say the same": in_words(agreement.raw),
        "Say the same, decided verdicts": in_words(agreement.without_ties),
        "Most that this leaves to any model": in_words(agreement.ceiling),
        "Pairs of replies judged by several": f"{agreement.units:,}",
    }
    note = "Low agreement says something about the task or its guideline; it is no reason to drop a verdict."
    return _value_grid(rows), _on_screen(note)


def _scale(results: ReviewerResults) -> tuple[Picture | Grid | Sentence, ...]:
    ratings = results.figures.strengths.best
    if isinstance(ratings, CannotEstimate):
        return (Grid((), why=str(ratings)),)
    dots, rows = [], []
    for rating in ratings.responders:
        best, interval = rating.probability_best, rating.interval
        known = None if isinstance(best, CannotEstimate) else best
        low, high = (interval.low * ELO, interval.high * ELO) if isinstance(interval, Interval) else (None, None)
        if not rating.unbounded_because:
            dots.append(Dot(rating.responder, rating.elo, low, high, best=known))
        rows.append(
            {
                "Responder": rating.responder,
                "Elo": f"{rating.elo:.0f}",
                "Log strength": f"{rating.log_strength:.3f}",
                "95 %": in_words(interval, ".3f"),
                "Best": in_words(best),
                "Note": rating.unbounded_because,
            }
        )
    return (
        Picture(tuple(dots), "Elo points, 0 on average; 120 apart is 2 to 1", shares=False, on=Medium.SCREEN),
        Grid(tuple(rows)),
        _on_screen(f"{ratings.model}; {ratings.resamples:,} resamples of the prompts."),
    )


def _planned(results: ReviewerResults) -> tuple[Grid, Sentence]:
    plans = [(plan, plan.needed) for plan in results.figures.planned]
    rows = tuple(
        {
            "To find": f"{plan.odds:.3g} to 1",
            "With a chance of": f"{plan.power:.0%}",
            "Decided verdicts": f"{needed.decided:,}",
            "Verdicts in all": f"{needed.votes:,}",
            "Prompts": f"{needed.prompts:,}",
        }
        for plan, needed in plans
        if not isinstance(needed, CannotEstimate)
    )
    why = next((str(needed) for _, needed in reversed(plans) if isinstance(needed, CannotEstimate)), "")
    note = "One contrast, two-sided at 5 %; ties and how alike verdicts on a prompt are as measured here."
    return Grid(rows, why=why), _on_screen(note)
