"""The tables of a closed Evaluation, alike on the screen and in the report file; what cannot be said is a sentence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from eval.report.findings import Telling, p_in_words, percent, span
from eval.report.results import Results, Verdicts
from eval.report.votes import VotesReport
from eval.second_looks import consistency
from stats.contrasts import HeadToHead
from stats.estimates import CannotEstimate, Estimated, Interval
from stats.strengths import Strengths

Table: TypeAlias = Sequence[Mapping[str, object]] | str
"""Rows with the same names, at least one; or why there are none."""


@dataclass(frozen=True, eq=False)
class Told:
    """One kind of reviewer's verdicts with all their figures."""

    verdicts: Verdicts
    figures: VotesReport
    telling: Telling


@dataclass(frozen=True, eq=False)
class ToldResults:
    """A closed Evaluation, reckoned."""

    results: Results
    told: tuple[Told, ...]


def contrast_row(one: HeadToHead) -> dict[str, object]:
    """A contrast in a table."""
    e = one.evidence
    return {
        "Against": one.baseline,
        "Win rate": f"{one.rate:.1%}",
        "These reviewers, 95 %": span(one.interval),
        "Reviewers like these, 95 %": span(one.interval_any_reviewer),
        "Won": one.wins,
        "Tied": one.ties,
        "of them both bad": one.both_bad,
        "of them same text": one.unasked,
        "Lost": one.losses,
        "Verdicts": one.n,
        "Prompts": one.prompts,
        "Reviewers": one.reviewers,
        "Each prompt once": f"{one.rate_each_prompt_once:.1%}",
        "p": p_in_words(one.p_value),
        "p corrected": p_in_words(one.p_value_holm),
        "E-value": f"{e.betting:.3g}, {e.enough:g} wanted",
        "At any look, 95 %": span(e.interval),
        "Verdicts to flip": "" if one.flips_to_change_winner is None else one.flips_to_change_winner,
    }


def without_reasons(rows: Sequence[dict[str, object]]) -> tuple[list[dict[str, object]], list[str]]:
    """A table's rows with a dash where something cannot be estimated, and each reason once, for below the table."""
    reasons: dict[str, None] = {}
    found = []
    for row in rows:
        cells = dict(row)
        for name, cell in row.items():
            if isinstance(cell, str) and cell.startswith(CannotEstimate.BEGINNING):
                cells[name] = "–"
                reasons[f"{name} – {cell}"] = None
        found.append(cells)
    return found, list(reasons)


def length_table(told: Told) -> Table:
    """The win rate at equal lengths beside the one as judged, on the same votes."""
    length = told.telling.length
    if isinstance(length, CannotEstimate):
        return str(length)
    return [
        {"Win rate": "as judged", "Value": f"{length.raw_rate:.1%}", "95 %": span(told.verdicts.head.interval)},
        {"Win rate": "at equal lengths", "Value": percent(length.rate), "95 %": span(length.interval)},
    ]


def side_table(told: Told) -> Table:
    """Left and right: counts, the exact test, and the favour between equals with its standard error."""
    side = told.figures.position
    rows = [
        {"What": "Left reply won", "Value": f"{side.left:,}"},
        {"What": "Right reply won", "Value": f"{side.right:,}"},
        {"What": "Left rate", "Value": percent(side.left_rate)},
        {"What": "95 %, by prompt", "Value": span(side.interval)},
        {"What": "Exact test", "Value": p_in_words(side.p_value)},
    ]
    if isinstance(side.effect, CannotEstimate):
        return [*rows, {"What": "Favour of the left between equals", "Value": str(side.effect)}]
    error = (
        f"{side.effect.log_odds:.3f} (standard error {side.effect.standard_error:.3f}, by {side.effect.clustered_by})"
    )
    return [
        *rows,
        {"What": "Favour of the left between equals, log odds", "Value": error},
        {"What": "Test of that", "Value": p_in_words(side.effect.p_value)},
    ]


def planned_table(told: Told) -> Table:
    """Verdicts that the next evaluation needs, with the ties and the likeness of verdicts measured in this one."""
    rows: list[dict[str, object]] = []
    for one in told.figures.planned:
        if isinstance(one.needed, CannotEstimate):
            return str(one.needed)
        rows.append(
            {
                "To find": f"{one.odds:.3g} to 1",
                "With a chance of": f"{one.power:.0%}",
                "Decided verdicts": f"{one.needed.decided:,}",
                "Verdicts in all": f"{one.needed.votes:,}",
                "Prompts": f"{one.needed.prompts:,}",
            }
        )
    return rows or "Nothing to plan by."


def agreement_tables(told: Told) -> tuple[Table, Table]:
    """All together, and each reviewer beside the others."""
    agreed, seconds = told.figures.agreement, told.verdicts.median_seconds()
    together = [
        {"What": "Krippendorff's alpha, nominal", "Value": _number(agreed.alpha)},
        {"What": "95 %, by prompt", "Value": _ends(agreed.alpha_interval)},
        {"What": "Say the same", "Value": percent(agreed.raw)},
        {"What": "Say the same, decided verdicts", "Value": percent(agreed.without_ties)},
        {"What": "Most that this leaves to any model", "Value": percent(agreed.ceiling)},
        {"What": "Pairs of replies judged by several", "Value": f"{agreed.units:,}"},
    ]
    each = [
        {
            "Reviewer": one.reviewer,
            "Verdicts": one.votes,
            "Shared": one.shared,
            "With the rest": percent(one.with_the_rest),
            "Same again": _same_again(told, one.reviewer, one.same_again),
            "Left": percent(one.left_rate),
            "Ties": f"{one.tie_rate:.0%}",
            "Median seconds": f"{seconds[one.reviewer]:.0f}" if one.reviewer in seconds else "not timed",
        }
        for one in agreed.reviewers
    ]
    return together, each or "Nobody was asked."


def _same_again(told: Told, reviewer: str, of_votes: Estimated[float]) -> str:
    """By second looks where pairs came twice, else by votes on one pair that a file has several times."""
    found = consistency([look for look in told.verdicts.twice if look.reviewer == reviewer], reviewer=reviewer)
    return f"{found.same} of {found.n}" if found.n else percent(of_votes)


def scale_of(told: Told) -> Estimated[Strengths]:
    """Davidson's strengths; Bradley and Terry's where ties leave him none."""
    both = told.figures.strengths
    return both.bradley_terry if isinstance(both.davidson, CannotEstimate) else both.davidson


def strength_table(told: Told) -> Table:
    """All responders on one scale, strongest first."""
    found = scale_of(told)
    if isinstance(found, CannotEstimate):
        return str(found)
    return [
        {
            "Responder": one.responder,
            "Elo": f"{one.elo:.0f}",
            "Log strength": f"{one.log_strength:.3f}",
            "95 %": _ends(one.interval),
            "Best": percent(one.probability_best),
            "Note": one.unbounded_because,
        }
        for one in found.responders
    ]


def _number(value: Estimated[float]) -> str:
    return str(value) if isinstance(value, CannotEstimate) else f"{value:.3f}"


def _ends(value: Estimated[Interval]) -> str:
    return str(value) if isinstance(value, CannotEstimate) else f"{value.low:.3f} to {value.high:.3f}"
