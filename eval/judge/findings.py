"""A model judge in plain words and as rows of pictures, for the page and the report file alike. Pure.

Its own win rate is told nowhere: only how far it goes with people, and what people's figure is with its help.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eval.judge.agreement import Orders, gain_in_words
from eval.judge.results import Beside, Helped, JudgeFound
from eval.report.findings import Dot, p_in_words, percent, span
from stats.estimates import CannotEstimate, Estimated, Interval
from stats.vote_agreement import VoteAgreement

FAVOURED = 0.05
"""p below which a judge favours a place more than chance would."""
LEFT_BY_LOT = (
    "What the model judged alone was left over by lot: pairs are given out in a drawn order and these were not "
    "reached, or the prompt was drawn for another person's reply. Each prompt counts once here, in both intervals; the "
    "result by itself has its own."
)
"""To stand below figures with a judge's help."""


@dataclass(frozen=True)
class HelpTold:
    """One contrast with a judge's help."""

    against: str
    used: bool
    """The figure may stand beside people's."""
    sentence: str
    """The figure with what it is worth; or why there is none, or it may not be used."""
    grey: str
    """The figure that may not be used, in words; empty otherwise."""
    dots: tuple[Dot, ...]
    """People alone, and with the judge's help; empty where the latter may not be used."""


@dataclass(frozen=True)
class BesideTold:
    """A judge beside one kind of reviewer."""

    simulated: bool
    sentence: str
    dots: tuple[Dot, ...]
    """How often it says what they say, and how often they say the same among themselves."""
    rows: tuple[tuple[str, str], ...]
    help: tuple[HelpTold, ...]


@dataclass(frozen=True)
class JudgeTold:
    """One judge's run."""

    run_id: int
    title: str
    who: tuple[tuple[str, str], ...]
    """Name and value of everything that made its answers."""
    cautions: tuple[str, ...]
    """What to know before the figures."""
    beside: tuple[BesideTold, ...]
    instructions: str


def told(
    found: JudgeFound, own: Mapping[bool, VoteAgreement], *, left_out: Sequence[str] = (), number: int = 1, of: int = 1
) -> JudgeTold:
    """One judge in words.

    Args:
        own: how far reviewers agree among themselves, by whether they are simulated.
        left_out: sentences on pairs that it was not asked about.
        number: which of the judges of this Evaluation it is, from 1.
        of: how many there are.
    """
    judge = found.judge
    when = "after people's verdicts could be read" if judge.after_closing else "while the evaluation was open"
    who = (
        ("Model judge", f"{judge.model} ({judge.name}, run {judge.run_id})"),
        ("Sha256 of its weights", judge.weights_sha256 or "not known"),
        ("Sha256 of its instructions", judge.instructions_sha256),
        ("Asked for", f"{judge.requested_at:%d %B %Y, %H:%M} UTC by {judge.requested_by}, {when}"),
        ("Asked", "every pair twice, with the replies in both orders, at temperature 0; blind like people"),
        ("Its run", judge.status.value.lower()),
    )
    return JudgeTold(
        run_id=judge.run_id,
        title=f"Model judge {number} of {of}: {judge.model}" if of > 1 else f"Model judge: {judge.model}",
        who=who,
        cautions=(*_cautions(found, of=of), *left_out),
        beside=tuple(_beside(one, own[one.simulated], found.orders) for one in found.beside),
        instructions=judge.instructions,
    )


def used_in_words(told: JudgeTold) -> str:
    """Whether any figure with the judge's help stands beside people's."""
    used = [one.against for beside in told.beside for one in beside.help if one.used]
    if used:
        return f"beside people's, against {', '.join(dict.fromkeys(used))}; in no other figure"
    return "in no figure"


def _cautions(found: JudgeFound, *, of: int) -> list[str]:
    judge, orders = found.judge, found.orders
    said = []
    if not orders.read:
        said.append(
            "None of its answers can be read as a verdict on a pair. Look at its words below, write its instructions "
            "more plainly or take a larger model."
        )
    elif orders.unreadable:
        said.append(
            f"{orders.unreadable:,} of {2 * orders.pairs:,} answers name no verdict; they are kept and nothing is "
            "guessed from them."
        )
    favours = not isinstance(orders.p_value, CannotEstimate) and orders.p_value < FAVOURED
    if favours and isinstance(orders.p_value, float):
        place = "first" if orders.always_first > orders.always_second else "second"
        said.append(
            f"It favours the {place} reply ({p_in_words(orders.p_value)}); each pair was asked in both orders, and "
            "what turned counts as a tie."
        )
    if judge.kin:
        said.append("It is of the same family as a model that takes part, and models prefer texts like their own.")
    if found.anytime and any(help_.used for one in found.beside for help_ in one.contrasts):
        said.append(
            "This evaluation could end as soon as the evidence was enough. The intervals with the judge's help, like "
            "people's ordinary ones, take no account of that."
        )
    if of > 1:
        said.append(
            f"{of} model judges were asked about this evaluation; whoever picks among them by what they say, proves "
            "nothing."
        )
    return said


def _beside(one: Beside, own: VoteAgreement, orders: Orders) -> BesideTold:
    m = one.measures
    them = "the simulated reviewer" if one.simulated else "people"
    if isinstance(m.agreement, CannotEstimate):
        sentence = f"How far the model judge goes with {them} cannot be told: {m.agreement.reason}"
    else:
        says = "the simulated reviewer says" if one.simulated else "people say"
        sentence = f"The model judge says what {says} on {m.agreement:.0%} of {m.pairs:,} pairs ({span(m.interval)})"
        if isinstance(own.raw, CannotEstimate):
            sentence += f". How far reviewers agree among themselves is not known: {own.raw.reason}"
        else:
            sentence += (
                f"; with a single verdict it goes in {percent(m.with_one)} of the cases, where two reviewers go with "
                f"each other in {own.raw:.1%}."
            )
    turned = ("Verdicts that turn with the order", f"{percent(orders.turned_share)} of {orders.read:,} pairs")
    unread = ("Answers that name no verdict", f"{orders.unreadable:,} of {2 * orders.pairs:,}")
    help_ = tuple(_help(contrast, simulated=one.simulated) for contrast in one.contrasts)
    if isinstance(m.agreement, CannotEstimate):
        # each row would only say again why there is none
        return BesideTold(
            one.simulated, sentence, dots=(), rows=(turned, unread) if orders.read else (unread,), help=help_
        )
    yardstick = (
        _dot("two reviewers, ties too", own.raw, None, own.pairs_of_votes),
        _dot("two reviewers, decided pairs", own.without_ties, None, own.pairs_of_votes),
    )
    same = percent(own.raw)
    if not isinstance(own.raw, CannotEstimate):
        same += f"; decided verdicts {percent(own.without_ties)}"
    return BesideTold(
        simulated=one.simulated,
        sentence=sentence,
        dots=(
            _dot("model judge, ties too", m.agreement, m.interval, m.pairs),
            _dot("model judge, decided pairs", m.without_ties, m.without_ties_interval, m.decided),
            *(dot for dot in yardstick if dot.rate is not None),
        ),
        rows=(
            ("Prompts that both judged", f"{m.prompts:,}"),
            ("Says what most say, ties too", f"{percent(m.agreement)} of {m.pairs:,} pairs; 95 % {span(m.interval)}"),
            (
                "Prefers what most prefer, decided pairs",
                f"{percent(m.without_ties)} of {m.decided:,} pairs; 95 % {span(m.without_ties_interval)}",
            ),
            ("Goes with a single verdict", f"{percent(m.with_one)} of {m.verdicts:,}"),
            ("Two reviewers say the same", same),
            ("Krippendorff's alpha, judge and majority", _alpha(m.alpha, m.alpha_interval)),
            ("Krippendorff's alpha among reviewers", _alpha(own.alpha, own.alpha_interval)),
            ("r between the scores of a pair", _number(m.correlation)),
            turned,
            (
                "Always the first, always the second reply",
                f"{orders.always_first:,} and {orders.always_second:,}; {p_in_words(orders.p_value)}",
            ),
            unread,
        ),
        help=help_,
    )


def _help(one: Helped, *, simulated: bool) -> HelpTold:
    figure = one.figure
    if isinstance(figure, CannotEstimate):
        return HelpTold(one.baseline, False, f"No figure with the judge's help: {figure.reason}", "", ())
    numbers = f"{figure.rate:.0%} [{figure.interval.low:.0%} to {figure.interval.high:.0%}]"
    if one.why_not:
        return HelpTold(one.baseline, False, f"Not to be used: {one.why_not}", f"With its help: {numbers}", ())
    who = "the simulated verdicts alone" if simulated else "people alone"
    sentence = (
        f"With the model judge's help the win rate is {numbers}; by {who} {figure.people:.0%} "
        f"[{figure.people_interval.low:.0%} to {figure.people_interval.high:.0%}], on {figure.both:,} prompts that "
        f"both judged and {figure.judge_only:,} that the model judged alone. {gain_in_words(figure)}"
    )
    dots = (
        _dot(f"{one.baseline}: {who}", figure.people, figure.people_interval, figure.both),
        _dot(f"{one.baseline}: with its help", figure.rate, figure.interval, figure.both + figure.judge_only),
    )
    return HelpTold(one.baseline, True, sentence, "", dots)


def _dot(name: str, rate: Estimated[float], interval: Estimated[Interval] | None, n: int) -> Dot:
    if isinstance(rate, CannotEstimate):
        return Dot(name, None, n=n, missing=rate.reason)
    if isinstance(interval, Interval):
        return Dot(name, rate, interval.low, interval.high, n)
    return Dot(name, rate, n=n)


def _number(value: Estimated[float]) -> str:
    return str(value) if isinstance(value, CannotEstimate) else f"{value:.2f}"


def _alpha(value: Estimated[float], interval: Estimated[Interval]) -> str:
    if isinstance(value, CannotEstimate):
        return str(value)
    ends = str(interval) if isinstance(interval, CannotEstimate) else f"{interval.low:.2f} to {interval.high:.2f}"
    return f"{value:.2f}; 95 % {ends}"
