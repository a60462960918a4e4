"""The statistics of blind votes: worked numbers, libraries that must agree, and what may never change a figure."""

from collections.abc import Sequence
from math import log
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from errors import BadFile, BadSetting
from eval.report.votes import to_plain, vote_figures
from stats.clusters import group_means, intraclass_correlation, two_way_variance
from stats.contrasts import Contrast, contrasts, flips_to_change_winner, holm_adjusted, sign_test
from stats.estimates import CannotEstimate, Estimated, Interval
from stats.judge_labels import JudgeAssistedRate, judge_assisted_rates, prediction_powered_mean
from stats.logistic import clustered_covariance, fit_logistic
from stats.position import LeftAdvantage, position_bias
from stats.ratings import (
    ELO,
    Ratings,
    connected_groups,
    counts,
    explain_unbounded,
    fit_bradley_terry,
    fit_davidson,
    ratings,
)
from stats.reply_length import LengthEffect, length_effect
from stats.sample_size import sample_size, sign_test_power
from stats.sequential import (
    ENOUGH,
    anytime_interval,
    betting_e_value,
    evidence,
    mixture_e_value,
    running_e_values,
)
from stats.slices import slices
from stats.verdicts import Verdict
from stats.vote_agreement import nominal_alpha, vote_agreement
from stats.votes import VERDICTS, Numbers, Votes, as_votes, repeated_votes
from tests.factories import of_kind, sure

Row = tuple[int, int, int, int, str]
"""Prompt, reviewer, left, right, verdict."""


def votes_of(rows: Sequence[Row], **more: Any) -> Votes:
    """Votes on responders that are called by a letter."""
    prompts, reviewers, lefts, rights, verdicts = zip(*rows, strict=True)
    letters = "ABCDEFGH"
    return as_votes(
        prompts=prompts,
        reviewers=reviewers,
        lefts=[letters[n] for n in lefts],
        rights=[letters[n] for n in rights],
        verdicts=verdicts,
        **more,
    )


def two(wins: int, ties: int, losses: int, **more: Any) -> Votes:
    """One vote on each prompt, by one reviewer, the candidate always left."""
    said = ["left"] * wins + ["tie"] * ties + ["right"] * losses
    return votes_of([(n, 0, 0, 1, word) for n, word in enumerate(said)], **more)


def only(votes: Votes) -> Contrast:
    (found,) = contrasts(votes)
    return found


def drawn(n: int = 900, *, k: int = 4, reviewers: int = 6, seed: int = 1, left: float = 0.0) -> Votes:
    """Votes by Davidson's model, three on a prompt."""
    rng = np.random.default_rng(seed)
    strength = np.linspace(0.6, -0.6, k)
    one = rng.integers(0, k, n)
    other = (one + rng.integers(1, k, n)) % k
    gap = strength[one] - strength[other] + left
    weights = np.stack([np.exp(gap / 2), np.exp(-gap / 2), np.full(n, 0.4), np.full(n, 0.1)])
    said = (rng.random(n) > np.cumsum(weights / weights.sum(0), axis=0)).sum(0).clip(0, 3)
    rows = zip(rng.integers(0, n // 3, n), rng.integers(0, reviewers, n), one, other, said, strict=True)
    return votes_of([(int(p), int(r), int(a), int(b), VERDICTS[v]) for p, r, a, b, v in rows])


rows = st.lists(
    st.tuples(
        st.integers(0, 11), st.integers(0, 5), st.integers(0, 3), st.integers(1, 3), st.sampled_from(VERDICTS)
    ).map(lambda t: (t[0], t[1], t[2], (t[2] + t[3]) % 4, t[4])),
    min_size=1,
    max_size=60,
)


def close(one: Any, other: Any) -> None:
    """Two reports as plain objects say the same, numbers up to rounding."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            close(one[key], other[key])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            close(a, b)
    elif isinstance(one, float):
        assert np.isfinite(one)
        assert one == pytest.approx(other, abs=1e-6, rel=1e-6)
    else:
        assert one == other


def test_the_worked_example_of_a_hundred_votes() -> None:
    found = only(two(60, 10, 30))
    assert found.rate == 0.65
    assert isinstance(found.interval, Interval)
    assert (round(found.interval.low, 6), round(found.interval.high, 6)) == (0.552544, 0.736358)
    assert found.p_value == pytest.approx(0.00206027, abs=5e-9)
    assert found.evidence.mixture == pytest.approx(20.2096, abs=5e-5)
    assert found.evidence.betting == pytest.approx(81.7629, abs=5e-5)
    assert found.evidence.stop
    assert found.flips_to_change_winner == 16
    assert found.finding == "“A” is preferred to “B”, 2.0 to 1 in decided votes."


def test_the_worked_strengths_of_a_hundred_votes() -> None:
    wins, ties = counts(two(60, 10, 30))
    decided = fit_bradley_terry(wins[None], 0 * ties[None])[0][0]
    assert decided[0] - decided[1] == pytest.approx(0.693147, abs=5e-7)
    assert (decided[0] - decided[1]) * ELO == pytest.approx(120.412, abs=5e-4)
    alone = fit_logistic(np.ones((1, 1)), np.array([2 / 3]), np.array([90.0]))
    assert np.sqrt(alone.inverse[0, 0]) == pytest.approx(0.223607, abs=5e-7)
    half = fit_bradley_terry(wins[None], ties[None])[0][0]
    assert half[0] - half[1] == pytest.approx(0.619039, abs=5e-7)
    theta, log_nu, _ = fit_davidson(wins[None], ties[None])
    assert theta[0, 0] - theta[0, 1] == pytest.approx(log(2), abs=1e-9)
    assert np.exp(log_nu[0]) == pytest.approx(0.235702, abs=5e-7)


@pytest.mark.parametrize(
    ("wins", "losses", "e"), [(10, 0, 93.0909), (15, 5, 3.22060), (20, 10, 1.15283), (40, 20, 4.50884)]
)
def test_the_mixtures_worked_e_values(wins: int, losses: int, e: float) -> None:
    assert mixture_e_value(wins, losses) == pytest.approx(e, rel=3e-6)


@pytest.mark.parametrize(
    ("wins", "losses", "e"), [(10, 0, 8.88753), (20, 10, 2.73688), (40, 20, 14.9518), (30, 30, 0.0292028)]
)
def test_the_bettings_worked_e_values(wins: int, losses: int, e: float) -> None:
    assert betting_e_value(np.repeat([1.0, 0.0], [wins, losses])) == pytest.approx(e, rel=3e-6)


@pytest.mark.parametrize(
    ("odds", "power", "formula", "exact"),
    [
        (2, 0.8, 68.2, 77),
        (2, 0.9, 90.3, 99),
        (1.5, 0.8, 193.8, 210),
        (1.5, 0.9, 258.5, 274),
        (11 / 9, 0.8, 782.5, 820),
        (11 / 9, 0.9, 1046.6, 1080),
    ],
)
def test_the_worked_sample_sizes(odds: float, power: float, formula: float, exact: int) -> None:
    found = sample_size(odds=odds, power=power)
    assert round(found.by_formula, 1) == formula
    assert found.decided == found.votes == exact
    assert all(sign_test_power(exact + more, odds=odds) >= power for more in range(12))
    assert sign_test_power(exact - 1, odds=odds) < power


def test_ties_and_votes_that_share_prompts_ask_for_more() -> None:
    found = sample_size(odds=2, tie_rate=0.3, votes_per_prompt=3, correlation=0.3)
    assert found.design_effect == pytest.approx(1.6)
    assert (found.decided, found.votes, found.prompts) == (77, 176, 59)


@pytest.mark.parametrize("wrong", [{"odds": 1.0}, {"odds": 2.0, "tie_rate": 1.0}, {"odds": 1.001}])
def test_an_impossible_plan_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(BadSetting):
        sample_size(**wrong)


def test_the_worked_alpha() -> None:
    table = [
        [None, None, None, None, None, 3, 4, 1, 2, 1, 1, 3, 3, None, 3],
        [1, None, 2, 1, 3, 3, 4, 3, None, None, None, None, None, None, None],
        [None, None, 2, 1, 3, 4, 4, None, 2, 1, 1, 3, 3, None, 4],
    ]
    units = np.array([[sum(row[u] == v for row in table) for v in (1, 2, 3, 4)] for u in range(15)], dtype=float)
    assert nominal_alpha(units) == pytest.approx(0.691358, abs=5e-7)
    from evalica import alpha

    frame = pd.DataFrame(table)
    assert alpha(frame, "nominal").alpha == pytest.approx(0.691358, abs=5e-7)
    assert alpha(frame, "ordinal").alpha == pytest.approx(0.806721, abs=5e-7)
    assert alpha(frame, "interval").alpha == pytest.approx(0.810845, abs=5e-7)


def test_the_worked_holm() -> None:
    found = holm_adjusted([0.001, 0.012, 0.03, 0.04, 0.2, 0.6])
    assert found == pytest.approx([0.006, 0.06, 0.12, 0.12, 0.4, 0.6])
    from statsmodels.stats.multitest import multipletests

    some = np.random.default_rng(0).random(30) ** 3
    assert holm_adjusted(some.tolist()) == pytest.approx(multipletests(some, method="holm")[1])
    assert holm_adjusted([]) == []


def test_the_worked_test_of_sides() -> None:
    rows_ = [(n, 0, n % 2, 1 - n % 2, "left") for n in range(2911)]
    rows_ += [(9999 + n, 0, n % 2, 1 - n % 2, "right") for n in range(2549)]
    found = position_bias(votes_of(rows_))
    assert found.p_value == pytest.approx(1.0e-6, abs=5e-8)


def test_looking_after_every_vote_stops_as_the_worked_table_says() -> None:
    rng = np.random.default_rng(5)
    table = np.array([[mixture_e_value(w, n - w) if w <= n else 0.0 for w in range(301)] for n in range(1, 301)])
    worked = {(1, 1): (0.036, None, None), (3, 2): (0.675, 196, 210), (2, 1): (0.997, 79, 68)}
    for (a, b), (share, mean, median) in worked.items():
        wins = (rng.random((10_000, 300)) < a / (a + b)).cumsum(axis=1)
        reached = table[np.arange(300), wins] >= ENOUGH
        stopped = np.where(reached.any(axis=1), reached.argmax(axis=1) + 1, 300)
        assert reached.any(axis=1).mean() == pytest.approx(share, abs=0.025)
        if mean and median:
            assert stopped.mean() == pytest.approx(mean, abs=6)
            assert np.median(stopped) == pytest.approx(median, abs=9)


def test_strengths_are_evalicas() -> None:
    from evalica import Winner, bradley_terry, newman

    votes = drawn()
    winner = {0: Winner.X, 1: Winner.Y, 2: Winner.Draw, 3: Winner.Draw}
    said = [winner[int(v)] for v in votes.verdict]
    wins, ties = counts(votes)
    theirs = bradley_terry(votes.left, votes.right, said, tolerance=1e-12, limit=100_000).scores.sort_index()
    logs = np.log(theirs.to_numpy())
    assert fit_bradley_terry(wins[None], ties[None])[0][0] == pytest.approx(logs - logs.mean(), abs=1e-8)
    result = newman(votes.left, votes.right, said, tolerance=1e-12, limit=100_000)
    logs = np.log(result.scores.sort_index().to_numpy())
    theta, log_nu, _ = fit_davidson(wins[None], ties[None])
    assert theta[0] == pytest.approx(logs - logs.mean(), abs=1e-7)
    assert np.exp(log_nu[0]) == pytest.approx(2 * result.v, abs=1e-7)


def test_alpha_is_evalicas() -> None:
    from evalica import alpha

    rng = np.random.default_rng(3)
    said = rng.integers(0, 3, (5, 60))
    frame = pd.DataFrame(said).where(rng.random((5, 60)) < 0.6)
    units = np.stack([(frame == value).sum(axis=0).to_numpy() for value in range(3)], axis=1).astype(float)
    assert nominal_alpha(units) == pytest.approx(alpha(frame, "nominal").alpha, abs=1e-12)


def test_the_intercept_and_its_error_are_statsmodels() -> None:
    import statsmodels.api as sm

    votes = drawn(left=0.3)
    found = of_kind(LeftAdvantage, position_bias(votes).effect)
    k = len(votes.responders)
    design = np.zeros((votes.n, k + 1))
    design[:, k] = 1
    design[np.arange(votes.n), votes.left] += 1
    design[np.arange(votes.n), votes.right] -= 1
    score = np.array([1, 0, 0.5, 0.5])[votes.verdict]
    theirs = sm.GLM(score, design[:, 1:], family=sm.families.Binomial()).fit(
        cov_type="cluster", cov_kwds={"groups": votes.reviewer}
    )
    assert found.log_odds == pytest.approx(theirs.params[-1], abs=1e-8)
    assert found.standard_error == pytest.approx(theirs.bse[-1], rel=1e-6)
    assert found.clustered_by == "reviewer"
    assert sum(found.corrected_log_strengths.values()) == pytest.approx(0, abs=1e-9)


def test_the_clustered_error_is_millers() -> None:
    rng = np.random.default_rng(2)
    prompt, reviewer = rng.integers(0, 20, 100), rng.integers(0, 7, 100)
    y = rng.choice([0, 0.5, 1], 100)
    found = group_means(np.zeros(100, int), prompt, y, groups=1)
    total = sum(sum(y[prompt == g] - y.mean()) ** 2 for g in np.unique(prompt))
    groups = len(np.unique(prompt))
    assert found.variance[0] == pytest.approx(groups / (groups - 1) * total / 100**2)
    assert found.independent[0] == pytest.approx(((y - y.mean()) ** 2).sum() / 100**2)
    by_reviewer = group_means(np.zeros(100, int), reviewer, y, groups=1)
    both, _ = two_way_variance(found, by_reviewer)
    assert both[0] >= max(found.variance[0], by_reviewer.variance[0])


def test_the_kind_that_varies_gives_the_degrees_of_freedom() -> None:
    prompt, reviewer = np.repeat(np.arange(40), 5), np.tile(np.arange(5), 40)
    none = np.zeros(200, int)

    def freedom(y: NDArray[Any]) -> float:
        return float(
            two_way_variance(group_means(none, prompt, y, groups=1), group_means(none, reviewer, y, groups=1))[1][0]
        )

    assert freedom((reviewer % 2).astype(float)) == pytest.approx(4), "five reviewers, each with a habit of their own"
    assert freedom((prompt % 2).astype(float)) == pytest.approx(39), "they all agree, prompts differ"
    assert freedom(np.random.default_rng(0).choice([0, 0.5, 1], 200)) > 4
    assert freedom(np.ones(200)) == 4, "nothing varies"


def test_copies_of_every_vote_leave_the_interval_as_it_was() -> None:
    once = [(n, 0, 0, 1, "left" if n % 3 else "right") for n in range(40)]
    twice = only(votes_of([*once, *[(p, 1, a, b, v) for p, _, a, b, v in once]]))
    single = only(votes_of(once))
    assert isinstance(twice.standard_error, float)
    assert twice.standard_error == pytest.approx(single.standard_error)
    assert twice.naive_standard_error < 0.8 * twice.standard_error
    assert isinstance(twice.interval, Interval)
    assert isinstance(single.interval, Interval)
    assert twice.interval.high - twice.interval.low >= single.interval.high - single.interval.low


def test_votes_of_one_prompt_that_always_agree_are_fully_correlated() -> None:
    prompt = np.repeat(np.arange(30), 3)
    y = np.repeat(np.arange(30) % 2, 3).astype(float)
    assert intraclass_correlation(np.zeros(90, int), prompt, y) == pytest.approx(1.0)
    noise = np.random.default_rng(0).random(90).round()
    assert intraclass_correlation(np.zeros(90, int), prompt, noise) == pytest.approx(0.0, abs=0.15)
    assert intraclass_correlation(np.zeros(90, int), np.arange(90), noise) is None


def test_a_clustered_fit_needs_no_row_of_its_own_for_each_vote() -> None:
    rng = np.random.default_rng(4)
    kind, cluster = rng.integers(0, 3, 200), rng.integers(0, 9, 200)
    design = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, -1.0]])
    y = rng.random(200).round()
    grouped = fit_logistic(design, np.bincount(kind, y) / np.bincount(kind), np.bincount(kind).astype(float))
    single = fit_logistic(design[kind], y, np.ones(200))
    assert grouped.coefficients == pytest.approx(single.coefficients)
    by_kind = clustered_covariance(grouped, design, kind, y, cluster)
    by_vote = clustered_covariance(single, design[kind], np.arange(200), y, cluster)
    assert by_kind == pytest.approx(by_vote)


def test_equals_seldom_reach_twenty_however_often_one_looks() -> None:
    rng = np.random.default_rng(6)
    scores = rng.choice([0.0, 0.25, 0.5, 0.75, 1.0], (2000, 300))
    assert (running_e_values(scores) >= ENOUGH).any(axis=1).mean() <= 0.05
    assert running_e_values(scores[0])[-1] == pytest.approx(betting_e_value(scores[0]))
    assert (running_e_values(np.full(300, 0.5)) < ENOUGH).all()


def test_the_anytime_interval_holds_all_along() -> None:
    rng = np.random.default_rng(7)
    missed = 0
    for _ in range(60):
        scores = (rng.random(200) < 0.7).astype(float)
        seen = [anytime_interval(scores[:n]) for n in (5, 20, 50, 100, 200)]
        assert all(isinstance(one, Interval) for one in seen)
        missed += any(isinstance(one, Interval) and not one.low <= 0.7 <= one.high for one in seen)
    assert missed <= 6
    wide, narrow = anytime_interval(scores[:50]), anytime_interval(np.tile(scores, 50))
    assert isinstance(wide, Interval)
    assert isinstance(narrow, Interval)
    assert narrow.high - narrow.low < (wide.high - wide.low) / 4


def test_several_contrasts_need_more_evidence() -> None:
    means_ = np.repeat([1.0, 0.0], [50, 26])
    assert evidence(means_).stop
    assert not evidence(means_, contrasts=6).stop
    assert evidence(means_, contrasts=6).enough == 120


def test_the_bootstrap_is_as_wide_as_the_clustered_error_says() -> None:
    once = [(n, n % 4, 0, 1, "left" if n < 260 else "right") for n in range(400)]
    votes = votes_of(once + [(p, r + 4, a, b, v) for p, r, a, b, v in once])
    error = of_kind(float, only(votes).standard_error)
    found = of_kind(Ratings, ratings(votes).bradley_terry)
    interval = of_kind(Interval, found.responders[0].interval)
    # of the two strengths each is half the gap, whose error is that of the rate's log odds
    assert interval.high - interval.low == pytest.approx(1.96 * error / (0.65 * 0.35), rel=0.1)


@given(rows)
def test_candidate_and_baseline_mirror_each_other(seen: list[Row]) -> None:
    said = [(p, r, a % 2, 1 - a % 2, v) for p, r, a, _, v in seen]
    one, other = only(votes_of(said)), only(votes_of(said, candidate="B"))
    assert (one.candidate, other.candidate) == ("A", "B")
    assert one.rate == pytest.approx(1 - other.rate)
    assert (one.wins, one.ties, one.losses, one.both_bad) == (other.losses, other.ties, other.wins, other.both_bad)
    for a, b in (
        (one.interval, other.interval),
        (one.interval_any_reviewer, other.interval_any_reviewer),
        (one.evidence.interval, other.evidence.interval),
    ):
        if isinstance(a, Interval):
            assert isinstance(b, Interval)
            assert (a.low, a.high) == pytest.approx((1 - b.high, 1 - b.low), abs=1e-6)
        else:
            assert a == b
    close(to_plain(one.p_value), to_plain(other.p_value))
    assert one.evidence.betting == pytest.approx(other.evidence.betting)


@given(rows, st.randoms(use_true_random=False))
def test_neither_order_of_rows_nor_names_of_prompts_matter(seen: list[Row], random: Any) -> None:
    shuffled = random.sample(seen, len(seen))
    name = random.sample(range(100), 12)
    renamed = [(name[p], r, a, b, v) for p, r, a, b, v in shuffled]
    close(to_plain(vote_figures(votes_of(seen), rounds=100)), to_plain(vote_figures(votes_of(renamed), rounds=100)))


@given(rows, st.randoms(use_true_random=False))
def test_swapping_sides_changes_nothing_but_the_left_rate(seen: list[Row], random: Any) -> None:
    exchanged = {"left": "right", "right": "left"}
    swapped = [
        (p, r, b, a, exchanged.get(v, v)) if random.random() < 0.5 else (p, r, a, b, v) for p, r, a, b, v in seen
    ]
    one, other = (to_plain(vote_figures(votes_of(side), rounds=100)) for side in (seen, swapped))
    for found in (one, other):
        del found["position"], found["verdicts"]
        for reviewer in found["agreement"]["reviewers"]:
            del reviewer["left_rate"]
    close(one, other)


@given(rows)
def test_strengths_sum_to_zero_or_are_not_given(seen: list[Row]) -> None:
    votes = votes_of(seen)
    found = ratings(votes, rounds=100)
    for model in (found.bradley_terry, found.davidson):
        if isinstance(model, Ratings):
            assert sum(one.log_strength for one in model.responders) == pytest.approx(0, abs=1e-7)
            assert all(np.isfinite(one.log_strength) for one in model.responders)
            best = [one.probability_best for one in model.responders if isinstance(one.probability_best, float)]
            assert not best or sum(best) == pytest.approx(1)
        else:
            assert len(connected_groups(votes)) > 1 or set(votes.verdict) <= {2, 3}


def test_the_verdicts_are_the_databases() -> None:
    assert [word.upper() for word in VERDICTS] == [one.value for one in Verdict]


def test_undefeated_responders_are_named_and_kept_finite() -> None:
    rows_ = [(n, 0, 0, 1, "left") for n in range(20)] + [(n, 0, 1, 2, "left" if n % 3 else "right") for n in range(20)]
    votes = votes_of(rows_)
    assert explain_unbounded(votes).keys() == {"A", "B", "C"}
    assert explain_unbounded(votes)["A"] == "it never lost or tied"
    found = of_kind(Ratings, ratings(votes).bradley_terry)
    assert found.responders[0].responder == "A"
    assert 1 < found.responders[0].log_strength < 10
    assert found.responders[0].unbounded_because
    assert isinstance(found.responders[0].interval, CannotEstimate)
    assert found.penalised_resamples == found.resamples
    assert isinstance(position_bias(votes).effect, CannotEstimate)


def test_responders_without_a_link_are_reported_and_not_fitted() -> None:
    votes = votes_of([(n, 0, 2 * (n % 2), 2 * (n % 2) + 1, "left" if n % 3 else "right") for n in range(40)])
    found = ratings(votes)
    assert isinstance(found.bradley_terry, CannotEstimate)
    assert "“A”, “B” | “C”, “D”" in found.bradley_terry.reason
    assert isinstance(found.davidson, CannotEstimate)
    assert isinstance(position_bias(votes).effect, CannotEstimate)
    assert len(contrasts(votes)) == 2


def test_nothing_but_ties_has_a_rate_and_no_winner() -> None:
    votes = two(0, 30, 0)
    found = only(votes)
    assert found.rate == 0.5
    assert isinstance(found.interval, Interval)
    assert found.interval.high - found.interval.low > 0.3
    assert isinstance(found.p_value, CannotEstimate)
    assert isinstance(found.p_value_holm, CannotEstimate)
    assert found.flips_to_change_winner is None
    assert found.evidence.betting == 1.0
    both = ratings(votes)
    assert isinstance(both.davidson, CannotEstimate)
    assert isinstance(both.bradley_terry, Ratings)
    assert isinstance(position_bias(votes).left_rate, CannotEstimate)
    assert isinstance(vote_figures(votes).planned[0].needed, CannotEstimate)


def test_ties_and_wins_of_one_alone_give_no_tie_parameter() -> None:
    found = of_kind(Ratings, ratings(two(20, 10, 0)).davidson)
    assert isinstance(found.tie_parameter, CannotEstimate)
    assert all(one.unbounded_because for one in found.responders)
    none = of_kind(Ratings, ratings(two(20, 0, 10)).davidson)
    assert (none.tie_parameter, none.tie_interval) == (0.0, Interval(0.0, 0.0))


def test_one_prompt_has_no_interval() -> None:
    found = only(votes_of([(0, r, 0, 1, "left") for r in range(6)]))
    assert isinstance(found.interval, CannotEstimate)
    assert isinstance(found.standard_error, CannotEstimate)
    assert isinstance(found.interval_any_reviewer, CannotEstimate)
    assert found.finding.startswith("Cannot be estimated")


def test_four_reviewers_speak_for_themselves_only() -> None:
    def by(reviewers: int) -> Contrast:
        return only(votes_of([(n, n % reviewers, 0, 1, "left" if n % 3 else "right") for n in range(60)]))

    few, more = by(4).interval_any_reviewer, by(5)
    assert isinstance(few, CannotEstimate)
    assert "these reviewers only" in few.reason
    wide = of_kind(Interval, more.interval_any_reviewer)
    assert isinstance(more.interval, Interval)
    assert wide.high - wide.low > more.interval.high - more.interval.low


def test_a_side_that_tells_who_it_is_cannot_be_corrected_for() -> None:
    found = position_bias(two(30, 0, 20))
    assert found.left_rate == 0.6
    assert isinstance(found.effect, CannotEstimate)
    assert "Draw the sides" in found.effect.reason


def test_the_contrast_named_before_the_votes_is_not_corrected() -> None:
    votes = drawn()
    found = contrasts(votes, primary=("D", "A"))
    (first,) = [one for one in found if one.primary]
    assert (first.candidate, first.baseline) == ("A", "D")
    assert first.p_value_holm == first.p_value
    assert (first.evidence.enough, found[0].evidence.enough) == (20, 100)
    rest = [one for one in found if not one.primary]
    assert [one.p_value_holm for one in rest] == pytest.approx(holm_adjusted([float(str(one.p_value)) for one in rest]))


def test_a_lead_that_the_corrected_test_does_not_bear_is_no_finding() -> None:
    rows_ = [(n, 0, 0, 1, "left" if n < 30 else "right") for n in range(45)]
    rows_ += [(100 + n, 0, a, b, "left" if n % 2 else "right") for a, b in ((0, 2), (1, 2)) for n in range(30)]
    found = contrasts(votes_of(rows_))[0]
    assert isinstance(found.interval, Interval)
    assert found.interval.low > 0.5
    assert "no finding" in found.finding


def test_flips_change_the_winner() -> None:
    for wins, losses in ((5, 4), (6, 4), (60, 30), (0, 3)):
        needed = sure(flips_to_change_winner(wins, losses))
        more, fewer = max(wins, losses), min(wins, losses)
        assert more - needed < fewer + needed
        assert more - (needed - 1) >= fewer + needed - 1


def test_several_votes_on_a_prompt_are_one_sign() -> None:
    assert sign_test(np.array([1, 1, 1, 0.75, 0.5])) == pytest.approx(0.125)


def test_repeated_rows_are_found_and_the_first_stays() -> None:
    votes = votes_of([(0, 0, 0, 1, "left"), (1, 0, 0, 1, "left"), (0, 0, 0, 1, "left"), (0, 0, 1, 0, "right")])
    assert repeated_votes(votes).tolist() == [False, False, True, False]


@pytest.mark.parametrize(
    ("row", "said"), [((0, 0, 0, 0, "left"), "both sides"), ((0, 0, 0, 1, "neither"), "verdict “neither”")]
)
def test_impossible_votes_are_refused(row: Row, said: str) -> None:
    with pytest.raises(BadFile, match=said):
        votes_of([(1, 0, 0, 1, "tie"), row])


def test_agreement_counts_pairs_of_reviewers_whichever_side_the_replies_stood_on() -> None:
    found = vote_agreement(
        votes_of(
            [
                (0, 0, 0, 1, "left"),
                (0, 1, 1, 0, "right"),
                (0, 2, 0, 1, "right"),
                (1, 0, 0, 1, "tie"),
                (1, 1, 0, 1, "both_bad"),
                (2, 0, 0, 1, "left"),
            ]
        )
    )
    assert (found.units, found.pairs_of_votes) == (2, 4)
    assert found.raw == 0.5
    assert found.without_ties == pytest.approx(1 / 3)
    by_name = {one.reviewer: one for one in found.reviewers}
    assert by_name["2"].with_the_rest == 0.0
    assert by_name["0"].votes == 3
    assert isinstance(found.alpha_interval, CannotEstimate)


def test_a_second_look_is_no_agreement_with_oneself() -> None:
    votes = votes_of([(n, 0, 0, 1, "left") for n in range(5)] + [(n, 0, 1, 0, "right") for n in range(4)])
    found = vote_agreement(votes)
    assert isinstance(found.alpha, CannotEstimate)
    assert (found.reviewers[0].repeats, found.reviewers[0].same_again) == (4, 1.0)


def test_reviewers_who_agree_have_a_high_alpha_with_an_interval() -> None:
    rng = np.random.default_rng(8)
    truth = rng.integers(0, 2, 80)
    seen = [(p, r, 0, 1, "left" if truth[p] != (rng.random() < 0.1) else "right") for p in range(80) for r in range(3)]
    found = vote_agreement(votes_of(seen))
    assert isinstance(found.alpha, float)
    assert isinstance(found.alpha_interval, Interval)
    assert found.alpha_interval.low < found.alpha < found.alpha_interval.high
    assert 0.45 < found.alpha < 0.85


def measured(longer: float, effect: float, *, n: int = 600, strength: float = 0.5) -> Votes:
    """Votes of two, the candidate longer in a share of them, and length worth some log odds."""
    rng = np.random.default_rng(9)
    first = np.where(rng.random(n) < longer, 300, 100) + rng.integers(0, 20, n)
    gap = np.tanh((first - 200) / 100.0)
    won = rng.random(n) < 1 / (1 + np.exp(-(strength + effect * gap)))
    return votes_of(
        [(i, i % 3, 0, 1, "left" if w else "right") for i, w in enumerate(won)],
        left_lengths=first.tolist(),
        right_lengths=[200.0] * n,
    )


def test_the_rate_at_equal_lengths_takes_out_what_length_did() -> None:
    found = of_kind(LengthEffect, length_effect(measured(0.75, 1.5)))
    (one,) = found.contrasts
    assert isinstance(one.rate, float)
    assert isinstance(one.interval, Interval)
    assert one.raw_rate > one.rate
    assert one.interval.low < 1 / (1 + np.exp(-0.5)) < one.interval.high
    assert isinstance(found.longer_wins, float)
    assert found.longer_wins > 0.55


def test_no_rate_at_equal_lengths_where_one_is_always_longer() -> None:
    found = of_kind(LengthEffect, length_effect(measured(0.9, 1.0)))
    assert isinstance(found.contrasts[0].rate, CannotEstimate)
    assert "20%" in found.contrasts[0].rate.reason
    assert isinstance(length_effect(two(5, 0, 5)), CannotEstimate)


def test_parts_are_pulled_to_the_middle_and_small_ones_not_shown() -> None:
    rng = np.random.default_rng(10)
    seen: list[Row] = []
    for reviewer, (n, p) in enumerate(((100, 0.8), (100, 0.6), (8, 0.4), (2, 0.5))):
        seen += [(len(seen), reviewer, 0, 1, "left" if rng.random() < p else "right") for _ in range(n)]
    votes = votes_of([(i, r, a, b, v) for i, (_, r, a, b, v) in enumerate(seen)])
    found = {one.part: one for one in slices(votes) if one.by == "reviewer"}
    assert isinstance(found["3"].rate, CannotEstimate)
    overall = only(votes).rate
    small = found["2"]
    assert isinstance(small.rate, float)
    assert isinstance(small.shrunken, float)
    assert abs(small.shrunken - overall) < abs(small.rate - overall)
    assert isinstance(small.interval, Interval)
    assert small.interval.low < small.rate < small.interval.high


def test_a_judge_narrows_the_interval_and_never_bends_it() -> None:
    rng = np.random.default_rng(11)
    plain, powered, held = [], [], 0
    for _ in range(300):
        truth = (rng.random(2200) < 0.69).astype(float)
        # right in 80 %: seldom where the candidate is better, so biased
        judge = np.where(rng.random(2200) < np.where(truth == 1, 0.72, 0.98), truth, 1 - truth)
        mean, error, _ = prediction_powered_mean(truth[:200], judge[:200], judge[200:])
        plain.append(2 * 1.96 * truth[:200].std(ddof=1) / np.sqrt(200))
        powered.append(2 * 1.96 * error)
        held += abs(mean - 0.69) <= 1.96 * error
    assert np.mean(plain) == pytest.approx(0.128, abs=0.002)
    assert np.mean(powered) < 0.105
    assert 0.91 <= held / 300 <= 0.99
    correlation_ = np.corrcoef(truth, judge)[0, 1]
    factor = np.mean(powered) ** 2 / np.mean(plain) ** 2
    assert factor == pytest.approx(1 - correlation_**2 * 2000 / 2200, abs=0.06)


def by_people_and_model(people: Numbers, judge: Numbers) -> Estimated[JudgeAssistedRate]:
    """People's scores (0 or 1) of the first prompts and a model's of all, as votes."""
    seen = [(p, 9, 0, 1, "left" if score else "right") for p, score in enumerate(judge)]
    seen += [(p, 1, 0, 1, "left" if score else "right") for p, score in enumerate(people)]
    votes = votes_of(seen, by_model=[True] * len(judge) + [False] * len(people))
    (found,) = judge_assisted_rates(votes.person_votes, votes.model_votes)
    return found


def test_a_judge_that_says_what_people_say_is_worth_no_more_than_people_on_all_pairs() -> None:
    scores = np.ones(40)
    scores[3] = 0
    found = of_kind(JudgeAssistedRate, by_people_and_model(scores[:20], scores))
    assert found.gain == pytest.approx(2.0)
    assert 0 <= found.interval.low < found.rate <= found.interval.high <= 1
    assert found.interval.high - found.interval.low > 0.1


def test_with_few_prompts_and_a_clear_winner_the_help_still_covers_the_truth() -> None:
    rng = np.random.default_rng(5)
    held = seen = 0
    for both, more in [(20, 20), (44, 26), (80, 220)] * 100:
        truth = (rng.random(both + more) < 0.93).astype(float)
        judge = np.where(rng.random(both + more) < 0.97, truth, 1 - truth)
        found = by_people_and_model(truth[:both], judge)
        if isinstance(found, JudgeAssistedRate):
            assert found.gain <= 1 + more / both + 1e-9
            seen += 1
            held += found.interval.low <= 0.93 <= found.interval.high
    assert seen > 200
    assert held / seen >= 0.93


def test_a_models_verdicts_help_and_are_not_counted() -> None:
    rng = np.random.default_rng(12)
    seen: list[Row] = []
    model: list[bool] = []
    for p in range(300):
        good = rng.random() < 0.65
        seen.append((p, 9, 0, 1, "left" if good == (rng.random() < 0.85) else "right"))
        model.append(True)
        if p < 60:
            seen.append((p, p % 3, 0, 1, "left" if good else "right"))
            model.append(False)
    votes = votes_of(seen, by_model=model)
    found = vote_figures(votes, rounds=100)
    assert found.votes == 60
    assert found.reviewers == 3
    (one,) = found.with_judge
    assert isinstance(one, JudgeAssistedRate)
    assert (one.both, one.judge_only) == (60, 240)
    assert one.gain > 1.1
    assert one.interval.high - one.interval.low < one.people_interval.high - one.people_interval.low
    few = judge_assisted_rates(votes.where(np.arange(votes.n) < 20).person_votes, votes.model_votes)
    assert isinstance(few[0], CannotEstimate)
    alone = vote_figures(votes.model_votes, rounds=100)
    assert alone.judged_by == "a model"
    assert "nobody here says what people prefer" in alone.notes[0]
