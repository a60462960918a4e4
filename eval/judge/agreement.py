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
from stats.intervals import clustered
from stats.judge_labels import LEAST_PROMPTS, WithJudge, with_judge
from stats.verdicts import Outcome, Verdict
from stats.vote_agreement import vote_agreement
from stats.votes import Votes, as_votes

JUDGE, PEOPLE = "model judge", "people"
_AS_VOTE = {verdict.outcome(candidate_left=True): verdict.word for verdict in Verdict}
"""Outcomes as a vote with the candidate on the left."""


@dataclass(frozen=True)
class Worth:
    """From when on a judge's help is worth the further source of error."""

    correlation: float
    """Least r between people's and the judge's scores of a prompt."""
    prompts: int
    """Least number of prompts that both judged."""
    coin: float
    """Agreement on decided pairs that must lie outside its 95 % interval."""


WORTH = Worth(correlation=0.5, prompts=LEAST_PROMPTS, coin=0.5)
"""The help multiplies the variance by 1 - r^2 N/(N+n) (N pairs judged by the model alone, n by both): at r = 0.5 even
endlessly many further pairs are worth 1.33 times the verdicts, measured 1.25, and below that hardly anything. With
fewer than 20 prompts nobody knows r. A judge whose agreement with people may be a coin's has shown nothing."""


@dataclass(frozen=True)
class TwiceJudged:
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
class PersonsVote:
    """One verdict of a reviewer, as seen from the candidate."""

    prompt: str
    reviewer: str
    baseline: str
    outcome: Outcome
    asked: bool = True
    """False for a tie of two texts that are the same, which is nobody's word."""


@dataclass(frozen=True)
class Orders:
    """What the two orders tell of a judge by itself."""

    pairs: int
    """Asked in both orders."""
    unreadable: int
    """Answers, two for each pair, that name no verdict."""
    read: int
    """Pairs with a verdict in both orders."""
    turned: int
    """Of those, pairs whose verdict changed with the order."""
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
class Measures:
    """How far a judge goes with people, on pairs that both judged."""

    pairs: int
    """With a clear majority of people and a verdict of the judge."""
    agreement: Estimated[float]
    """Share of these on which it says what most people say: the candidate, the baseline, or neither."""
    interval: Estimated[Interval]
    """95 %, by prompt."""
    decided: int
    """Of these, where people and judge both prefer one reply."""
    without_ties: Estimated[float]
    """Share of the decided ones on which they prefer the same."""
    without_ties_interval: Estimated[Interval]
    alpha: Estimated[float]
    """Krippendorff's, nominal, between the judge and people's majority."""
    alpha_interval: Estimated[Interval]
    with_one: Estimated[float]
    """Share of single verdicts of people that it goes with; to be compared with how often two people say the same."""
    verdicts: int
    """So many single verdicts."""
    correlation: Estimated[float]
    """r between people's mean score and the judge's, over pairs."""
    prompts: int
    """Different prompts that both judged."""


def one_verdict(candidate_left: Verdict | None, candidate_right: Verdict | None) -> Outcome | None:
    """One outcome from the verdicts in both orders: the same twice is that, what turns is a tie, a missing one none."""
    if candidate_left is None or candidate_right is None:
        return None
    first, second = candidate_left.outcome(candidate_left=True), candidate_right.outcome(candidate_left=False)
    return first if first is second else Outcome.TIE


def orders(judged: Sequence[TwiceJudged]) -> Orders:
    """Turned verdicts, the favour of a place, and answers that name no verdict."""
    asked = [one for one in judged if not one.identical]
    read = [one for one in asked if one.outcome is not None]
    both = Counter((one.candidate_left, one.candidate_right) for one in read)
    first, second = both[Verdict.LEFT, Verdict.LEFT], both[Verdict.RIGHT, Verdict.RIGHT]
    p_value: Estimated[float] = CannotEstimate("it never kept to one place.")
    if first + second:
        from scipy.stats import binomtest

        p_value = float(binomtest(first, first + second).pvalue)
    return Orders(
        pairs=len(asked),
        unreadable=sum((one.candidate_left is None) + (one.candidate_right is None) for one in asked),
        read=len(read),
        turned=sum(_turned(one) for one in read),
        always_first=first,
        always_second=second,
        p_value=p_value,
    )


def _turned(one: TwiceJudged) -> bool:
    if one.candidate_left is None or one.candidate_right is None:
        return False
    first = one.candidate_left.outcome(candidate_left=True).score
    return first != one.candidate_right.outcome(candidate_left=False).score


def measures(people: Sequence[PersonsVote], judged: Sequence[TwiceJudged]) -> Measures:
    """Agreement, alpha and r on the pairs that people and the judge were both asked about."""
    said = {(one.prompt, one.baseline): one.outcome for one in judged if not one.identical and one.outcome is not None}
    given: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
    for vote in people:
        if vote.asked and (vote.prompt, vote.baseline) in said:
            given[vote.prompt, vote.baseline].append(vote.outcome)
    most = {pair: found for pair, votes in given.items() if (found := majority(votes)) is not None}
    agreement, interval = _share({pair: said[pair].score == kind for pair, kind in most.items()}, "no pair was judged")
    decided = {pair: kind for pair, kind in most.items() if kind != 0.5 and said[pair].score != 0.5}
    without_ties, without = _share(
        {pair: said[pair].score == kind for pair, kind in decided.items()}, "on no pair did one side win"
    )
    votes = _as_two(most, said)
    agreed = vote_agreement(votes) if votes is not None else None
    none = CannotEstimate("no pair was judged by people, with a clear majority, and by the model.")
    singly = [one.score == said[pair].score for pair, ones in given.items() for one in ones]
    return Measures(
        pairs=len(most),
        agreement=agreement,
        interval=interval,
        decided=len(decided),
        without_ties=without_ties,
        without_ties_interval=without,
        alpha=agreed.alpha if agreed else none,
        alpha_interval=agreed.alpha_interval if agreed else none,
        with_one=sum(singly) / len(singly) if singly else none,
        verdicts=len(singly),
        correlation=_correlation(given, said),
        prompts=len({prompt for prompt, _ in given}),
    )


def majority(votes: Sequence[Outcome]) -> float | None:
    """What most of the votes say, as the candidate's score 1, 0.5 or 0; none where two answers have equally many."""
    ranked = Counter(one.score for one in votes).most_common(2)
    return None if len(ranked) > 1 and ranked[0][1] == ranked[1][1] else ranked[0][0]


def _share(hits: Mapping[tuple[str, str], bool], none: str) -> tuple[Estimated[float], Estimated[Interval]]:
    if not hits:
        nothing = CannotEstimate(f"{none} by people and by the model.")
        return nothing, nothing
    by_prompt: dict[str, list[float]] = defaultdict(list)
    for (prompt, _), hit in hits.items():
        by_prompt[prompt].append(float(hit))
    rate = sum(hits.values()) / len(hits)
    return rate, Interval(*clustered(by_prompt.values()))


def _as_two(most: Mapping[tuple[str, str], float], said: Mapping[tuple[str, str], Outcome]) -> Votes | None:
    """People's majority and the judge as two reviewers."""
    if not most:
        return None
    words = {1.0: "left", 0.0: "right", 0.5: "tie"}
    pairs = [*most, *most]
    return as_votes(
        prompts=[prompt for prompt, _ in pairs],
        reviewers=[PEOPLE] * len(most) + [JUDGE] * len(most),
        lefts=["candidate"] * len(pairs),
        rights=[f"against {baseline}" for _, baseline in pairs],
        verdicts=[words[kind] for kind in most.values()] + [words[said[pair].score] for pair in most],
        candidate="candidate",
    )


def _correlation(
    given: Mapping[tuple[str, str], Sequence[Outcome]], said: Mapping[tuple[str, str], Outcome]
) -> Estimated[float]:
    people = np.array([np.mean([one.score for one in votes]) for votes in given.values()])
    judge = np.array([said[pair].score for pair in given])
    if len(people) < 3:
        return CannotEstimate("people and the model judged fewer than three pairs both.")
    if people.std() == 0 or judge.std() == 0:
        who = "people" if people.std() == 0 else "the model"
        return CannotEstimate(f"{who} said the same of every pair, so nothing goes with anything.")
    return float(np.corrcoef(people, judge)[0, 1])


def helped(
    people: Sequence[PersonsVote], judged: Sequence[TwiceJudged], *, candidate: str, baseline: str
) -> Estimated[WithJudge]:
    """People's win rate against one baseline with the judge's help; all votes and pairs are of that contrast.

    A pair that the judge's answers leave open counts as its tie here: were it left out, the prompts would be no random
    part any more.
    """
    kept = [one for one in judged if one.baseline == baseline]
    votes = [one for one in people if one.baseline == baseline]
    both = [(one.prompt, one.reviewer, one.outcome, False) for one in votes]
    both += [(one.prompt, JUDGE, one.outcome or Outcome.TIE, True) for one in kept]
    found = as_votes(
        prompts=[prompt for prompt, *_ in both],
        reviewers=[reviewer for _, reviewer, *_ in both],
        lefts=[candidate] * len(both),
        rights=[baseline] * len(both),
        verdicts=[_AS_VOTE[said] for _, _, said, _ in both],
        candidate=candidate,
        by_model=[by_model for *_, by_model in both],
    )
    one = with_judge(found.person_votes, found.model_votes)
    return one[0] if one else CannotEstimate("the model judged no pair of this contrast.")


def why_not(found: Measures) -> str:
    """Why a judge is not to be used beside people, as a sentence; empty where it may be. The bar is `WORTH`."""
    if found.prompts < WORTH.prompts:
        return (
            f"People and the model judge both judged {found.prompts:,} prompts; with fewer than {WORTH.prompts} nobody "
            "knows how it errs."
        )
    if isinstance(found.correlation, CannotEstimate):
        return f"How its verdicts go with people's cannot be told: {found.correlation.reason}"
    if found.correlation < WORTH.correlation:
        return (
            f"Its scores go with people's by r = {found.correlation:.2f}; below {WORTH.correlation:g} it adds a source "
            "of error and hardly any knowledge."
        )
    if isinstance(found.without_ties_interval, CannotEstimate):
        return f"How often it prefers what people prefer cannot be told: {found.without_ties_interval.reason}"
    if found.without_ties_interval.low <= WORTH.coin:
        return (
            f"Where both prefer one reply, it is the same one in {found.without_ties_interval.percent} of the pairs "
            "(95 %), and that is not surely more often than a coin's."
        )
    return ""


def gain_in_words(found: WithJudge) -> str:
    """What the help is worth."""
    nothing = found.gain < 1.05
    return (
        f"{'That is next to nothing: as' if nothing else 'As'} if people had judged {max(found.gain, 1.0):.2f} times "
        "as many pairs."
    )
