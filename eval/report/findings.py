"""What one kind of reviewer found, as blocks: the sentence, what it rests on, what could be wrong, every figure. Pure.

The sentence claims no more than the interval and the corrected test allow; what cannot be estimated says why.
"""

from collections.abc import Iterable

import numpy as np

from eval.guesses import guess_accuracy
from eval.report.blocks import Dot, Grid, Medium, OutcomeBars, Picture, Report, Section, Sentence, Sentences, dot
from eval.report.results import Results, Verdicts
from eval.second_looks import consistency
from stats.contrasts import ENOUGH_REVIEWERS, HeadToHead
from stats.estimates import CannotEstimate, Estimated, Interval, in_words, many, p_in_words
from stats.position import position
from stats.reply_length import LengthControlled, Lengths, lengths
from stats.slices import sliced, slices
from stats.strengths import ELO, Strength
from stats.vote_agreement import ReviewerAgreement
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
WIN_RATE = "win rate of the candidate, ties as half"


def report(verdicts: Verdicts) -> Report:
    """All that one kind of reviewer's verdicts say."""
    head, found = verdicts.head, lengths(verdicts.pooled)
    length: Estimated[LengthControlled] = CannotEstimate("no vote has both lengths.")
    if isinstance(found, CannotEstimate):
        length = found
    else:
        length = next((one for one in found.contrasts if one.baseline == head.baseline), length)
    doubts = sorted(_doubts(verdicts, found, length), key=lambda doubt: not doubt.warns)
    bracket = "(no interval)" if isinstance(head.interval, CannotEstimate) else f"[{in_words(head.interval, '.0%')}]"
    rule = "By a written rule, not by people (simulated): " if verdicts.simulated else ""
    notes = tuple(map(Sentence, verdicts.figures.notes))
    return Report(
        simulated=verdicts.simulated,
        finding=Sentence(rule + head.finding),
        numbers=Sentence(
            f"{head.candidate} against {head.baseline}: win rate {head.rate:.0%} {bracket}, n = {head.n}."
        ),
        picture=_order(verdicts),
        rests_on=Sentences(tuple(map(Sentence, _rests_on(verdicts))), "What it rests on"),
        doubts=Sentences(tuple(doubts), "What could be wrong"),
        figures=(
            Section("against each baseline", _contrasts(verdicts)),
            Section("parts of the votes", _parts(verdicts)),
            Section("left and right", (_side_grid(verdicts),)),
            Section("at equal lengths", (_length_grid(head, length),)),
            Section("agreement", _reviewers(verdicts)),
            Section("agreement", _together(verdicts)),
            Section("on one scale", _scale(verdicts)),
            Section("what the next evaluation needs", _planned(verdicts)),
            *([Section("to know beforehand", (Sentences(notes),), on=Medium.FILE)] if notes else []),
        ),
    )


def win_rates(found: Results) -> Grid:
    """Every contrast of a closed Evaluation on a line, people's verdicts first."""
    return Grid(
        tuple(
            {
                "Against": contrast.baseline + " (simulated judge)" * verdicts.simulated,
                "Win rate": f"{contrast.rate:.1%}",
                "95 % interval": "none" if isinstance(contrast.interval, CannotEstimate) else contrast.interval.percent,
                "W": contrast.wins,
                "T": contrast.ties,
                "L": contrast.losses,
                "n": contrast.n,
            }
            for verdicts in found.verdicts
            for contrast in verdicts.contrasts
        ),
        title=f"{found.candidate}: {found.evaluation.name}",
    )


# ------------------------------------------------------------------------------------------------ the first page


def _order(verdicts: Verdicts) -> Picture:
    """Best first, the candidate where it stands: even with itself. Of one baseline the candidate's win rate."""
    rows = [
        dot(contrast.baseline, 1 - contrast.rate, _turned(contrast.interval), contrast.n)
        for contrast in verdicts.contrasts
        if contrast is verdicts.together or not (verdicts.together and verdicts.is_people(contrast))
    ]
    if len(rows) < 2:
        rates = (dot(one.baseline, one.rate, one.interval, one.n) for one in verdicts.contrasts)
        return Picture(tuple(rates), WIN_RATE)
    candidate = Dot(verdicts.head.candidate, 0.5, n=sum(one.n for one in verdicts.each), is_candidate=True)
    best_first = sorted([candidate, *rows], key=lambda row: -(row.value or 0.0))
    return Picture(tuple(best_first), "preferred to the candidate, ties as half")


def _turned(interval: Estimated[Interval]) -> Estimated[Interval]:
    return interval if isinstance(interval, CannotEstimate) else Interval(1 - interval.high, 1 - interval.low)


def _rests_on(verdicts: Verdicts) -> Iterable[str]:
    head = verdicts.head
    unasked = f", {head.unasked:,} the same text, which nobody was asked about" if head.unasked else ""
    who = "simulated reviewer" if verdicts.simulated else "reviewer"
    yield (
        f"{head.n:,} verdicts on {many(head.prompts, 'held-out prompt')} by {many(head.reviewers, who)}: "
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
    family = len(verdicts.each) if verdicts.together is None else len(verdicts.pooled.contests.pairs)
    corrected = ", for the one contrast that was named beforehand" if head.primary else ""
    if isinstance(head.p_value, float) and not head.primary and family > 1:
        corrected = f", {p_in_words(head.p_value_holm)} corrected for {family} contrasts (Holm)"
    yield f"Exact sign test over prompts: {p_in_words(head.p_value)}{corrected}."
    e = head.evidence
    yield (
        f"Evidence that holds however often somebody looked: E = {e.betting:.3g}; {e.enough:g} is wanted, so this is "
        f"{'enough' if e.stop else 'not enough'}."
    )


def _doubts(verdicts: Verdicts, found: Estimated[Lengths], length: Estimated[LengthControlled]) -> Iterable[Sentence]:
    head = verdicts.head
    flips, decided = head.flips_to_change_winner, head.wins + head.losses
    if flips is None:
        yield Sentence("Wins and losses are level: there is no winner to change.", warns=True)
    else:
        said = (
            f"{many(flips, 'verdict')} of {decided:,} decided ones would have to go to the other to change the winner."
        )
        yield Sentence(said, warns=flips < FRAGILE * decided or flips <= 2)
    if verdicts.simulated:
        yield Sentence("A written rule judged, no person: nothing here says what people prefer.", warns=True)
    elif head.reviewers < ENOUGH_REVIEWERS:
        who = "One person judged" if head.reviewers == 1 else f"{head.reviewers or 'No'} people judged"
        takes = f"It takes {ENOUGH_REVIEWERS} or more."
        yield Sentence(f"{who}: the result speaks for these reviewers only. {takes}", warns=True)
    yield _sides(verdicts)
    yield from _lengths(found, length)
    yield from _agreement(verdicts)
    if verdicts.guesses:
        guesses = guess_accuracy(verdicts.guesses)
        knew = isinstance(guesses.interval, Interval) and guesses.interval.low > 0.5
        yield Sentence(guesses.sentence, warns=knew)
    if verdicts.twice:
        looks = consistency(verdicts.twice)
        yield Sentence(looks.sentence, warns=looks.same < INCONSISTENT * looks.n)
    bad = head.both_bad / head.n if head.n else 0.0
    if bad >= MANY_BAD:
        said = f"In {bad:.0%} of the verdicts neither reply could be sent: to be preferred is not to be good."
        yield Sentence(said, warns=True)
    once = head.rate_each_prompt_once
    if abs(head.rate - once) > UNEVEN:
        said = f"Some prompts have more verdicts than others; with each prompt counted once the win rate is {once:.1%}."
        yield Sentence(said, warns=True)


def _sides(verdicts: Verdicts) -> Sentence:
    head, side = verdicts.head, position(verdicts.pooled)
    if isinstance(side.left_rate, CannotEstimate) or isinstance(side.p_value, CannotEstimate):
        return Sentence(f"Left or right: {side.left_rate}", warns=False)
    favoured = side.p_value < 0.05
    chance = ": no side is favoured that one could tell"
    if favoured and side.left_rate != 0.5:
        chance = f": {'more' if side.left_rate > 0.5 else 'less'} than chance would do"
    said = (
        f"The left reply won {side.left_rate:.1%} of {side.left + side.right:,} decided verdicts "
        f"({p_in_words(side.p_value)}){chance}"
    )
    if isinstance(side.effect, CannotEstimate):
        why = str(side.effect)
        return Sentence(f"{said}. Without such a favour: {why[0].lower()}{why[1:]}", warns=favoured)
    theta = side.effect.corrected_log_strengths
    rate = 1 / (1 + np.exp(theta[head.baseline] - theta[head.candidate]))
    return Sentence(f"{said}. Without any such favour the win rate is {rate:.1%}.", warns=favoured)


def _lengths(found: Estimated[Lengths], length: Estimated[LengthControlled]) -> Iterable[Sentence]:
    if isinstance(found, CannotEstimate) or isinstance(length, CannotEstimate):
        yield Sentence(f"Lengths: {length}", warns=False)
        return
    if isinstance(found.longer_wins, CannotEstimate):
        yield Sentence(f"Whether the longer reply wins: {found.longer_wins.reason}", warns=False)
    else:
        interval = found.longer_wins_interval
        yield Sentence(
            f"A rule that always picks the longer reply would have been right in {found.longer_wins:.1%} of the "
            f"decided verdicts ({in_words(interval)}).",
            warns=isinstance(interval, Interval) and interval.low > 0.5,
        )
    if isinstance(length.rate, CannotEstimate):
        said = f"The win rate at equal lengths is not shown: {length.rate.reason}"
    else:
        said = (
            f"At equal lengths the win rate would be {length.rate:.1%} ({in_words(length.interval)}); as judged it is "
            f"{length.raw_rate:.1%}."
        )
    mean = ", ".join(f"{name} {value:.0f}" for name, value in found.mean_length.items())
    turns = isinstance(length.rate, float) and (length.rate > 0.5) != (length.raw_rate > 0.5)
    yield Sentence(f"{said} Mean length in characters: {mean}.", warns=turns)


def _agreement(verdicts: Verdicts) -> Iterable[Sentence]:
    agreed = verdicts.figures.agreement
    if isinstance(agreed.alpha, CannotEstimate):
        yield Sentence(f"How far reviewers agree: {agreed.alpha.reason}", warns=True)
        return
    ends = f" ({in_words(agreed.alpha_interval, '.2f')})" if isinstance(agreed.alpha_interval, Interval) else ""
    yield Sentence(
        f"Reviewers say the same in {in_words(agreed.raw)} of {agreed.pairs_of_votes:,} pairs of verdicts; alpha is "
        f"{agreed.alpha:.2f}{ends}, where 1 is full agreement and 0 is chance.",
        warns=agreed.alpha < LOW_ALPHA,
    )
    ceiling = agreed.ceiling
    if isinstance(ceiling, CannotEstimate):
        yield Sentence(f"What this agreement leaves to any model: {ceiling.reason}", warns=False)
    else:
        most = f"wins more than about {ceiling:.0%} of the decided verdicts."
        yield Sentence(f"With this agreement no model, however good, {most}", warns=False)


# ------------------------------------------------------------------------------------------------ the figures


def _on_screen(text: str) -> Sentence:
    return Sentence(text, small=True, on=Medium.SCREEN)


def _contrasts(verdicts: Verdicts) -> tuple[OutcomeBars, Grid, Sentence]:
    return (
        OutcomeBars(tuple((contrast.baseline, contrast.outcomes) for contrast in verdicts.contrasts)),
        Grid(tuple(map(_contrast_row, verdicts.contrasts)), wide=True),
        _on_screen(
            "Win rate = (wins + ties / 2) / n; both bad counts as a tie. People together are one more way to count the "
            "same verdicts; p is corrected among the others without it."
        ),
    )


def _contrast_row(contrast: HeadToHead) -> dict[str, object]:
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


def _parts(verdicts: Verdicts) -> tuple[Picture | Sentence, ...]:
    """The candidate's win rate against the headline's baseline, in parts of the votes."""
    pooled, (file, files) = verdicts.pooled, coded([row.prompt_set for row in verdicts.rows])
    by_import = sliced(pooled, file, files, by="import") if len(files) > 1 else ()
    found = [part for part in (*slices(pooled), *by_import) if part.baseline == verdicts.head.baseline]
    blocks: list[Picture | Sentence] = []
    for by, title in PARTS.items():
        rows = tuple(dot(part.part, part.rate, part.interval, part.votes) for part in found if part.by == by)
        none = _on_screen(f"{title}: there is one part only, or nothing to part by.")
        blocks.append(Picture(rows, WIN_RATE, title) if rows else none)
    if not found:
        blocks.append(Sentence("There is one part only.", on=Medium.FILE))
    return (
        *blocks,
        Sentence("None of these intervals is corrected for the number of parts.", small=True, on=Medium.FILE),
        _on_screen("Parts are for looking: none of these intervals is corrected for their number."),
    )


def _side_grid(verdicts: Verdicts) -> Grid:
    """Left and right: counts, the exact test, and the favour between equals with its standard error."""
    side = verdicts.figures.position
    rows = {
        "Left reply won": f"{side.left:,}",
        "Right reply won": f"{side.right:,}",
        "Left rate": in_words(side.left_rate),
        "95 %, by prompt": in_words(side.interval),
        "Exact test": p_in_words(side.p_value),
    }
    if isinstance(side.effect, CannotEstimate):
        return _named(rows | {"Favour of the left between equals": str(side.effect)})
    error = f"standard error {side.effect.standard_error:.3f}, by {side.effect.clustered_by}"
    rows["Favour of the left between equals, log odds"] = f"{side.effect.log_odds:.3f} ({error})"
    return _named(rows | {"Test of that": p_in_words(side.effect.p_value)})


def _named(values: dict[str, str]) -> Grid:
    return Grid(tuple({"What": name, "Value": value} for name, value in values.items()))


def _length_grid(head: HeadToHead, length: Estimated[LengthControlled]) -> Grid:
    """The win rate at equal lengths beside the one as judged, on the same votes."""
    if isinstance(length, CannotEstimate):
        return Grid((), why=str(length))
    rates = {"as judged": (length.raw_rate, head.interval), "at equal lengths": (length.rate, length.interval)}
    return Grid(
        tuple(
            {"Win rate": name, "Value": in_words(rate), "95 %": in_words(interval)}
            for name, (rate, interval) in rates.items()
        )
    )


def _reviewers(verdicts: Verdicts) -> tuple[Picture, Grid]:
    """Each reviewer beside the others."""
    reviewers, seconds = verdicts.figures.agreement.reviewers, verdicts.median_seconds()
    dots = tuple(dot(one.reviewer, one.with_the_rest, one.interval, one.shared) for one in reviewers)
    rows = tuple(
        {
            "Reviewer": one.reviewer,
            "Verdicts": one.votes,
            "Shared": one.shared,
            "With the rest": in_words(one.with_the_rest),
            "Same again": _same_again(verdicts, one),
            "Left": in_words(one.left_rate),
            "Ties": f"{one.tie_rate:.0%}",
            "Median seconds": f"{seconds[one.reviewer]:.0f}" if one.reviewer in seconds else "not timed",
        }
        for one in reviewers
    )
    several = dots if any(row.value is not None for row in dots) else ()
    return Picture(several, "says what most of the others say", on=Medium.SCREEN), Grid(rows, why="Nobody was asked.")


def _same_again(verdicts: Verdicts, one: ReviewerAgreement) -> str:
    """By second looks where pairs came twice, else by votes on one pair that a file has several times."""
    looks = consistency([look for look in verdicts.twice if look.reviewer == one.reviewer])
    return f"{looks.same} of {looks.n}" if looks.n else in_words(one.same_again)


def _together(verdicts: Verdicts) -> tuple[Grid, Sentence]:
    agreed = verdicts.figures.agreement
    rows = {
        "Krippendorff's alpha, nominal": in_words(agreed.alpha, ".3f"),
        "95 %, by prompt": in_words(agreed.alpha_interval, ".3f"),
        "Say the same": in_words(agreed.raw),
        "Say the same, decided verdicts": in_words(agreed.without_ties),
        "Most that this leaves to any model": in_words(agreed.ceiling),
        "Pairs of replies judged by several": f"{agreed.units:,}",
    }
    said = "Low agreement says something about the task or its guideline; it is no reason to drop a verdict."
    return _named(rows), _on_screen(said)


def _scale(verdicts: Verdicts) -> tuple[Picture | Grid | Sentence, ...]:
    """All responders on one scale, strongest first."""
    found = verdicts.figures.strengths.best
    if isinstance(found, CannotEstimate):
        return (Grid((), why=str(found)),)
    dots = tuple(_elo(strength) for strength in found.responders if not strength.unbounded_because)
    rows = tuple(
        {
            "Responder": strength.responder,
            "Elo": f"{strength.elo:.0f}",
            "Log strength": f"{strength.log_strength:.3f}",
            "95 %": in_words(strength.interval, ".3f"),
            "Best": in_words(strength.probability_best),
            "Note": strength.unbounded_because,
        }
        for strength in found.responders
    )
    return (
        Picture(dots, "Elo points, 0 on average; 120 apart is 2 to 1", shares=False, on=Medium.SCREEN),
        Grid(rows),
        _on_screen(f"{found.model}; {found.resamples:,} resamples of the prompts."),
    )


def _elo(strength: Strength) -> Dot:
    best, interval = strength.probability_best, strength.interval
    known = None if isinstance(best, CannotEstimate) else best
    if isinstance(interval, CannotEstimate):
        return Dot(strength.responder, strength.elo, best=known)
    return Dot(strength.responder, strength.elo, interval.low * ELO, interval.high * ELO, best=known)


def _planned(verdicts: Verdicts) -> tuple[Grid, Sentence]:
    """Verdicts that the next evaluation needs, with the ties and the likeness of verdicts measured in this one."""
    rows, why = [], ""
    for plan in verdicts.figures.planned:
        if isinstance(plan.needed, CannotEstimate):
            why = str(plan.needed)
            continue
        rows.append(
            {
                "To find": f"{plan.odds:.3g} to 1",
                "With a chance of": f"{plan.power:.0%}",
                "Decided verdicts": f"{plan.needed.decided:,}",
                "Verdicts in all": f"{plan.needed.votes:,}",
                "Prompts": f"{plan.needed.prompts:,}",
            }
        )
    note = "One contrast, two-sided at 5 %; ties and how alike verdicts on a prompt are as measured here."
    return Grid(tuple(rows), why=why), _on_screen(note)
