"""What a model judge's verdicts in both orders come to, and how far they go with people's. Pure.

A verdict that turns when the replies change places is a tie, as in MT-bench (Zheng et al. 2023, arXiv 2306.05685). The
judge's own win rate is no figure here: in simulation a judge alone covered the truth in 3.7 % of 95 % intervals. What
it can do is narrow people's interval (`stats.judge_labels`), where it goes with them well enough to be worth it.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stats.estimates import CannotEstimate, Estimated, Interval
from stats.intervals import proportion
from stats.judge_labels import LEAST_PROMPTS, JudgeAssistedRate, judge_assisted_rates
from stats.verdicts import Outcome, Verdict
from stats.vote_agreement import vote_agreement
from stats.votes import Votes, as_votes

JUDGE, PEOPLE = "model judge", "people"
_WORDS = {1.0: Verdict.LEFT.word, 0.0: Verdict.RIGHT.word, 0.5: Verdict.TIE.word}
"""Scores of the candidate as a vote with it on the left."""
LEAST_CORRELATION, COIN = 0.5, 0.5
"""From when on a judge's help is worth the further source of error: least r between people's and its scores of a
prompt; and the agreement on decided pairs that must lie outside its 95 % interval.

The help multiplies the variance by 1 - r^2 N/(N+n) (N pairs judged by the model alone, n by both): at r = 0.5 even
endlessly many further pairs are worth 1.33 times the verdicts, measured 1.25, and below that hardly anything. With
fewer than 20 prompts r is not known. A judge whose agreement with people may be a coin's has shown nothing."""


@dataclass(frozen=True)
class SwappedVerdicts:
    """What a model judge said of the candidate's and a baseline's reply to one prompt, in both orders."""

    prompt: str
    baseline: str
    candidate_left: Verdict | None
    """With the candidate on the left; none where its words name no verdict."""
    candidate_right: Verdict | None
    identical: bool = False
    """Both texts are the same: a tie that it was not asked about."""
    drawn: bool = True
    """A pairing of the Evaluation, which people judged or could have; else left over by lot."""

    @property
    def outcome(self) -> Outcome | None:
        """The one verdict on the pair; none where either answer names none."""
        if self.identical:
            return Outcome.TIE
        return one_verdict(self.candidate_left, self.candidate_right)


@dataclass(frozen=True)
class PersonVote:
    """One verdict of a reviewer, as seen from the candidate."""

    prompt: str
    reviewer: str
    baseline: str
    outcome: Outcome
    asked: bool = True
    """False for a tie of two texts that are the same, which no reviewer gave."""


@dataclass(frozen=True)
class OrderEffects:
    """What the two orders tell of a judge by itself."""

    pairs: int
    unreadable: int
    read: int
    turned: int
    always_first: int
    """Pairs whose first reply it preferred in both orders."""
    always_second: int
    p_value: Estimated[float]
    """Exact two-sided binomial test of the last two against one half."""

    @property
    def turned_share(self) -> Estimated[float]:
        """Share of the read pairs."""
        return self.turned / self.read if self.read else CannotEstimate("no pair has a verdict in both orders.")


@dataclass(frozen=True)
class JudgeAgreement:
    """How far a judge goes with people, on pairs that both judged."""

    pairs: int
    """With a clear majority of people and a verdict of the judge."""
    agreement: Estimated[float]
    """Share of these on which it says what most people say: the candidate, the baseline, or neither."""
    interval: Estimated[Interval]
    """95 %, by prompt."""
    decided: int
    without_ties: Estimated[float]
    """Share of the decided ones on which they prefer the same."""
    without_ties_interval: Estimated[Interval]
    alpha: Estimated[float]
    """Krippendorff's, nominal, between the judge and people's majority."""
    alpha_interval: Estimated[Interval]
    with_one: Estimated[float]
    """Share of single verdicts of people that it goes with; to be compared with how often two people say the same."""
    verdicts: int
    correlation: Estimated[float]
    """r between people's mean score and the judge's, over pairs."""
    prompts: int


def one_verdict(candidate_left: Verdict | None, candidate_right: Verdict | None) -> Outcome | None:
    """One outcome from the verdicts in both orders: the same twice is that, what turns is a tie, a missing one none."""
    if candidate_left is None or candidate_right is None:
        return None
    first, second = candidate_left.outcome(candidate_left=True), candidate_right.outcome(candidate_left=False)
    return first if first is second else Outcome.TIE


def order_effects(pairs: Sequence[SwappedVerdicts]) -> OrderEffects:
    """Turned verdicts, the favour of a place, and answers that name no verdict."""
    verdicts = [(pair.candidate_left, pair.candidate_right) for pair in pairs if not pair.identical]
    read = [(left, right) for left, right in verdicts if left and right]
    first, second = read.count((Verdict.LEFT, Verdict.LEFT)), read.count((Verdict.RIGHT, Verdict.RIGHT))
    scores = [(a.outcome(candidate_left=True).score, b.outcome(candidate_left=False).score) for a, b in read]
    p_value: Estimated[float] = CannotEstimate("it never kept to one place.")
    if first + second:
        from scipy.stats import binomtest

        p_value = float(binomtest(first, first + second).pvalue)
    return OrderEffects(
        pairs=len(verdicts),
        unreadable=sum((left is None) + (right is None) for left, right in verdicts),
        read=len(read),
        turned=sum(left != right for left, right in scores),
        always_first=first,
        always_second=second,
        p_value=p_value,
    )


def judge_agreement(people: Sequence[PersonVote], pairs: Sequence[SwappedVerdicts]) -> JudgeAgreement:
    """Agreement, alpha and r on the pairs that people and the judge were both asked about."""
    outcomes = {(pair.prompt, pair.baseline): pair.outcome for pair in pairs if not pair.identical}
    judge = {pair: outcome.score for pair, outcome in outcomes.items() if outcome is not None}
    votes: dict[tuple[str, str], list[float]] = defaultdict(list)
    for vote in people:
        if vote.asked and (vote.prompt, vote.baseline) in judge:
            votes[vote.prompt, vote.baseline].append(vote.outcome.score)
    majorities = {pair: score for pair, scores in votes.items() if (score := majority(scores)) is not None}
    same = {pair: judge[pair] == score for pair, score in majorities.items()}
    decided = {pair: hit for pair, hit in same.items() if 0.5 not in (majorities[pair], judge[pair])}
    singly = [score == judge[pair] for pair, scores in votes.items() for score in scores]
    agreement, interval = _share(same, "no pair was judged")
    without_ties, without_ties_interval = _share(decided, "on no pair did one side win")
    none = CannotEstimate("no pair was judged by people, with a clear majority, and by the model.")
    agreed = vote_agreement(_as_two_reviewers(majorities, judge)) if majorities else None
    return JudgeAgreement(
        pairs=len(majorities),
        agreement=agreement,
        interval=interval,
        decided=len(decided),
        without_ties=without_ties,
        without_ties_interval=without_ties_interval,
        alpha=agreed.alpha if agreed else none,
        alpha_interval=agreed.alpha_interval if agreed else none,
        with_one=sum(singly) / len(singly) if singly else none,
        verdicts=len(singly),
        correlation=_correlation([sum(scores) / len(scores) for scores in votes.values()], [judge[p] for p in votes]),
        prompts=len({prompt for prompt, _ in votes}),
    )


def majority(scores: Sequence[float]) -> float | None:
    """The candidate's score 1, 0.5 or 0 that most votes give; none where two scores have equally many."""
    ranked = Counter(scores).most_common(2)
    return None if len(ranked) > 1 and ranked[0][1] == ranked[1][1] else ranked[0][0]


def _share(hits: Mapping[tuple[str, str], bool], none: str) -> tuple[Estimated[float], Estimated[Interval]]:
    if not hits:
        reason = CannotEstimate(f"{none} by people and by the model.")
        return reason, reason
    share = proportion((prompt, hit) for (prompt, _), hit in hits.items())
    return share.rate, Interval(share.low, share.high)


def _as_two_reviewers(majorities: Mapping[tuple[str, str], float], judge: Mapping[tuple[str, str], float]) -> Votes:
    """People's majority and the judge as two reviewers."""
    pairs = [*majorities, *majorities]
    return as_votes(
        prompts=[prompt for prompt, _ in pairs],
        reviewers=[PEOPLE] * len(majorities) + [JUDGE] * len(majorities),
        lefts=["candidate"] * len(pairs),
        rights=[f"against {baseline}" for _, baseline in pairs],
        verdicts=[_WORDS[score] for score in (*majorities.values(), *(judge[pair] for pair in majorities))],
        candidate="candidate",
    )


def _correlation(people: Sequence[float], judge: Sequence[float]) -> Estimated[float]:
    if len(people) < 3:
        return CannotEstimate("people and the model judged fewer than three pairs both.")
    if np.std(people) == 0 or np.std(judge) == 0:
        who = "people" if np.std(people) == 0 else "the model"
        return CannotEstimate(f"{who} said the same of every pair, so nothing goes with anything.")
    return float(np.corrcoef(people, judge)[0, 1])


def assisted_rate(
    people: Sequence[PersonVote], pairs: Sequence[SwappedVerdicts], *, candidate: str, baseline: str
) -> Estimated[JudgeAssistedRate]:
    """People's win rate against one baseline with the judge's help; all votes and pairs are of that contrast.

    A pair that the judge's answers leave open counts as its tie here: were it left out, the prompts would be no random
    part any more.
    """
    rows = [(vote.prompt, vote.reviewer, vote.outcome, False) for vote in people]
    rows += [(pair.prompt, JUDGE, pair.outcome or Outcome.TIE, True) for pair in pairs]
    prompts, reviewers, outcomes, by_model = zip(*rows, strict=True) if rows else ((), (), (), ())
    votes = as_votes(
        prompts=prompts,
        reviewers=reviewers,
        lefts=[candidate] * len(rows),
        rights=[baseline] * len(rows),
        verdicts=[_WORDS[outcome.score] for outcome in outcomes],
        candidate=candidate,
        by_model=by_model,
    )
    rates = judge_assisted_rates(votes.person_votes, votes.model_votes)
    return rates[0] if rates else CannotEstimate("the model judged no pair of this contrast.")


def reason_against_use(judge: JudgeAgreement) -> str:
    """Why a judge is not to be used beside people, as a sentence; empty where it may be."""
    if judge.prompts < LEAST_PROMPTS:
        return (
            f"People and the model judge both judged {judge.prompts:,} prompts; with fewer than {LEAST_PROMPTS} nobody "
            "knows how it errs."
        )
    if isinstance(judge.correlation, CannotEstimate):
        return f"How its verdicts go with people's cannot be told: {judge.correlation.reason}"
    if judge.correlation < LEAST_CORRELATION:
        return (
            f"Its scores go with people's by r = {judge.correlation:.2f}; below {LEAST_CORRELATION:g} it adds a source "
            "of error and hardly any knowledge."
        )
    if isinstance(judge.without_ties_interval, CannotEstimate):
        return f"How often it prefers what people prefer cannot be told: {judge.without_ties_interval.reason}"
    if judge.without_ties_interval.low <= COIN:
        return (
            f"Where both prefer one reply, it is the same one in {judge.without_ties_interval.percent} of the pairs "
            "(95 %), and that is not surely more often than a coin's."
        )
    return ""


def describe_gain(rate: JudgeAssistedRate) -> str:
    """What the help is worth."""
    start = "That is next to nothing: as" if rate.gain < 1.05 else "As"
    return f"{start} if people had judged {max(rate.gain, 1.0):.2f} times as many pairs."
