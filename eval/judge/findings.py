"""A model judge as blocks, for the page and the report file alike. Pure.

Its own win rate is told nowhere: only how far it goes with people, and what people's figure is with its help.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from eval.judge.agreement import JudgeAgreement, OrderEffects, describe_gain
from eval.judge.results import AssistedRate, JudgeComparison, JudgeFindings, judge_label
from eval.report.blocks import Block, Dot, Picture, Section, Sentence, Sentences, Sheet, dot
from eval.report.findings import WIN_RATE
from eval.report.results import Results
from llm.template import text_hash
from stats.estimates import CannotEstimate, in_words, p_in_words
from stats.vote_agreement import VoteAgreement

FAVOURED = 0.05
"""p below which a judge favours a place more than chance would."""
LEFT_BY_LOT = (
    "What the model judged alone was left over by lot: pairs are given out in a drawn order and these were not "
    "reached, or the prompt was drawn for another person's reply. Each prompt counts once here, in both intervals; the "
    "result by itself has its own."
)


@dataclass(frozen=True)
class JudgeComparisonReport:
    """A judge beside one kind of reviewer."""

    simulated: bool
    sentence: Sentence
    same: Picture
    """How often it says what they say, and how often they say the same among themselves."""
    figures: Sheet
    help: tuple[Section, ...]
    """For each contrast the figure with its help and a picture; or why there is none, or it may not be used."""
    note: tuple[Sentence, ...]


@dataclass(frozen=True)
class JudgeReport:
    """One judge's run."""

    run_id: int
    title: str
    who: Sheet
    used: str
    """Where a figure with its help stands, in words."""
    cautions: Sentences
    comparisons: tuple[JudgeComparisonReport, ...]
    instructions: str


def build_judge_reports(
    judges: Sequence[JudgeFindings], people: Results, *, left_out: Sequence[str] = ()
) -> tuple[JudgeReport, ...]:
    """All judges of one Evaluation, numbered as they were asked for.

    Args:
        people: the Evaluation's results, whose reviewers the judges stand beside.
        left_out: sentences on pairs that no judge was asked about.
    """
    agreements = [reviewers.figures.agreement for reviewers in people.by_reviewers]
    reports = []
    for number, judge in enumerate(judges, start=1):
        run, responder = judge.run, judge.run.responder
        label, instructions, version = judge_label(responder), responder.instructions or "", responder.model_version
        when = "after people's verdicts could be read" if judge.after_closing else "while the evaluation was open"
        used = dict.fromkeys(part.baseline for comparison in judge.beside for part in comparison.contrasts if part.used)
        who = (
            ("Model judge", f"{label} ({responder.name}, run {run.id})"),
            ("Sha256 of its weights", (version.sha256 if version else None) or "not known"),
            ("Sha256 of its instructions", text_hash(instructions)),
            ("Asked for", f"{run.created_at:%d %B %Y, %H:%M} UTC by {judge.requested_by}, {when}"),
            ("Asked", "every pair twice, with the replies in both orders, at temperature 0; blind like people"),
            ("Its run", run.status.value.lower()),
        )
        cautions = (*_cautions(judge, used=bool(used), of=len(judges)), *left_out)
        comparisons = zip(judge.beside, agreements, strict=True)
        reports.append(
            JudgeReport(
                run_id=run.id,
                title=f"Model judge{f' {number} of {len(judges)}' if len(judges) > 1 else ''}: {label}",
                who=Sheet("Who it is", who),
                used=f"beside people's, against {', '.join(used)}; in no other figure" if used else "in no figure",
                cautions=Sentences(tuple(map(Sentence, cautions))),
                comparisons=tuple(_report_comparison(comparison, own, judge.orders) for comparison, own in comparisons),
                instructions=instructions,
            )
        )
    return tuple(reports)


def _cautions(judge: JudgeFindings, *, used: bool, of: int) -> Iterable[str]:
    orders = judge.orders
    if not orders.read:
        yield (
            "None of its answers can be read as a verdict on a pair. Look at its words below, write its instructions "
            "more plainly or take a larger model."
        )
    elif orders.unreadable:
        yield (
            f"{orders.unreadable:,} of {2 * orders.pairs:,} answers name no verdict; they are kept and nothing is "
            "guessed from them."
        )
    if not isinstance(orders.p_value, CannotEstimate) and orders.p_value < FAVOURED:
        place = "first" if orders.always_first > orders.always_second else "second"
        yield (
            f"It favours the {place} reply ({p_in_words(orders.p_value)}); each pair was asked in both orders, and "
            "what turned counts as a tie."
        )
    if judge.kin:
        yield "It is of the same family as a model that takes part, and models prefer texts like their own."
    if judge.anytime and used:
        yield (
            "This evaluation could end as soon as the evidence was enough. The intervals with the judge's help, like "
            "people's ordinary ones, take no account of that."
        )
    if of > 1:
        yield (
            f"{of} model judges were asked about this evaluation; whoever picks among them by what they say, proves "
            "nothing."
        )


def _report_comparison(comparison: JudgeComparison, own: VoteAgreement, orders: OrderEffects) -> JudgeComparisonReport:
    m, simulated = comparison.measures, comparison.simulated
    dots: tuple[Dot, ...] = ()
    turned = ("Verdicts that turn with the order", f"{in_words(orders.turned_share)} of {orders.read:,} pairs")
    unread = ("Answers that name no verdict", f"{orders.unreadable:,} of {2 * orders.pairs:,}")
    if isinstance(m.agreement, CannotEstimate):
        them = "the simulated reviewer" if simulated else "people"
        sentence = f"How far the model judge goes with {them} cannot be told: {m.agreement.reason}"
        # each other row would only say again why there is none
        rows = [turned, unread] if orders.read else [unread]
    else:
        says = "the simulated reviewer says" if simulated else "people say"
        agreement = f"{in_words(m.agreement)} of {m.pairs:,} pairs; 95 % {in_words(m.interval)}"
        decided = f"{in_words(m.without_ties)} of {m.decided:,} pairs; 95 % {in_words(m.without_ties_interval)}"
        sentence = f"The model judge says what {says} on {m.agreement:.0%} of {m.pairs:,} pairs"
        same = ""
        if isinstance(own.raw, CannotEstimate):
            among = f". How far reviewers agree among themselves is not known: {own.raw.reason}"
        else:
            same = f"; decided verdicts {in_words(own.without_ties)}"
            among = (
                f"; with a single verdict it goes in {in_words(m.with_one)} of the cases, where two reviewers go with "
                f"each other in {own.raw:.1%}."
            )
        sentence = f"{sentence} ({in_words(m.interval)}){among}"
        yardstick = (
            dot("two reviewers, ties too", own.raw, None, own.pairs_of_votes),
            dot("two reviewers, decided pairs", own.without_ties, None, own.pairs_of_votes),
        )
        dots = (
            dot("model judge, ties too", m.agreement, m.interval, m.pairs),
            dot("model judge, decided pairs", m.without_ties, m.without_ties_interval, m.decided),
            *(row for row in yardstick if row.value is not None),
        )
        always = f"{orders.always_first:,} and {orders.always_second:,}; {p_in_words(orders.p_value)}"
        rows = [
            ("Prompts that both judged", f"{m.prompts:,}"),
            ("Says what most say, ties too", agreement),
            ("Prefers what most prefer, decided pairs", decided),
            ("Goes with a single verdict", f"{in_words(m.with_one)} of {m.verdicts:,}"),
            ("Two reviewers say the same", in_words(own.raw) + same),
            ("Krippendorff's alpha, judge and majority", _alpha(m)),
            ("Krippendorff's alpha among reviewers", _alpha(own)),
            ("r between the scores of a pair", in_words(m.correlation, ".2f")),
            turned,
            ("Always the first, always the second reply", always),
            unread,
        ]
    return JudgeComparisonReport(
        simulated=simulated,
        sentence=Sentence(sentence),
        same=Picture(dots, "say the same"),
        figures=Sheet("Figures", tuple(rows)),
        help=tuple(Section(f"Against {c.baseline}", _help(c, simulated=simulated)) for c in comparison.contrasts),
        note=(Sentence(LEFT_BY_LOT, small=True),) if any(contrast.used for contrast in comparison.contrasts) else (),
    )


def _help(contrast: AssistedRate, *, simulated: bool) -> tuple[Block, ...]:
    figure = contrast.figure
    if isinstance(figure, CannotEstimate):
        return (Sentence(f"No figure with the judge's help: {figure.reason}"),)
    numbers = f"{figure.rate:.0%} [{in_words(figure.interval, '.0%')}]"
    if contrast.why_not:
        return Sentence(f"With its help: {numbers}", small=True), Sentence(f"Not to be used: {contrast.why_not}")
    who = "the simulated verdicts alone" if simulated else "people alone"
    sentence = (
        f"With the model judge's help the win rate is {numbers}; by {who} {figure.people:.0%} "
        f"[{in_words(figure.people_interval, '.0%')}], on {figure.both:,} prompts that both judged and "
        f"{figure.judge_only:,} that the model judged alone. {describe_gain(figure)}"
    )
    name = contrast.baseline
    dots = (
        dot(f"{name}: {who}", figure.people, figure.people_interval, figure.both),
        dot(f"{name}: with its help", figure.rate, figure.interval, figure.both + figure.judge_only),
    )
    return Sentence(sentence), Picture(dots, WIN_RATE)


def _alpha(agreement: JudgeAgreement | VoteAgreement) -> str:
    ends = "" if isinstance(agreement.alpha, CannotEstimate) else f"; 95 % {in_words(agreement.alpha_interval, '.2f')}"
    return in_words(agreement.alpha, ".2f") + ends
