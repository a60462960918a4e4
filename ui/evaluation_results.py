"""A closed Evaluation on the screen: a sentence, a picture, what it rests on, what could be wrong, the details."""

from dataclasses import dataclass

import pandas as pd
import streamlit as st

from db.session import reading
from eval.contrasts import HeadToHead
from eval.estimates import CannotEstimate
from eval.results import Results, Verdicts, as_columns, results
from eval.telling import PARTS, Telling, p_in_words, percent, span, telling
from eval.votes_report import VotesReport
from ui.evaluation_charts import outcome_bars, rates, strength_dots
from ui.export import csv_bytes
from ui.safe import escaped, plain, show_table

SIMULATED = '<span class="pw-simulated">simulated reviewer, not people</span>'
KEPT = 3
"""Evaluations whose figures a tab keeps."""


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


def told_results(evaluation_id: int) -> ToldResults:
    """Everything there is to tell; reckoned once in a tab, since nothing about a closed Evaluation changes."""
    kept: dict[int, ToldResults] = st.session_state.setdefault("told_results", {})
    if evaluation_id not in kept:
        with st.spinner("Reckoning intervals and strengths …"), reading() as s:
            found = results(s, evaluation_id=evaluation_id)
            told = []
            for verdicts in found.verdicts:
                figures = verdicts.figures(primary=found.stated.primary)
                told.append(Told(verdicts, figures, telling(verdicts, figures)))
        while len(kept) >= KEPT:
            kept.pop(next(iter(kept)))
        kept[evaluation_id] = ToldResults(found, tuple(told))
    return kept[evaluation_id]


def show_results(found: ToldResults) -> None:
    """People's verdicts first, then simulated reviewers'; never together."""
    for one in found.told:
        _show_told(one)
    with st.expander("What was fixed before the first verdict", icon=":material/lock:"):
        show_table([{"What": name, "Value": value} for name, value in found.results.stated.rows], whole=True)


def _show_told(told: Told) -> None:
    said, verdicts = told.telling, told.verdicts
    mark = SIMULATED if said.simulated else ""
    st.html(f'<div class="pw-sentence">{escaped(said.finding)}{mark}</div><div>{escaped(said.numbers)}</div>')
    if len(said.order) > 2:
        rates(
            said.order,
            title="preferred to the candidate, ties as half",
            candidate=verdicts.head.candidate,
        )
    else:
        rates(said.against, title="win rate of the candidate, ties as half")
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("**What it rests on**")
        st.html("<ul>" + "".join(f"<li>{escaped(line)}</li>" for line in said.rests_on) + "</ul>")
    with right:
        st.markdown("**What could be wrong**")
        show_checks(said)
    with st.expander("Against each baseline", icon=":material/compare_arrows:"):
        outcome_bars(verdicts.contrasts)
        show_table([contrast_row(one) for one in verdicts.contrasts], whole=True)
        st.caption(
            "Win rate = (wins + ties / 2) / n; both bad counts as a tie. People together are one more way to count the "
            "same verdicts; p is corrected among the others without it."
        )
    with st.expander("Parts of the votes: reviewers, topics, lengths", icon=":material/donut_small:"):
        show_parts(told)
    with st.expander("How far reviewers agree", icon=":material/handshake:"):
        show_agreement(told)
    with st.expander("All on one scale", icon=":material/format_list_numbered:"):
        show_strengths(told)


def show_checks(said: Telling) -> None:
    """What was looked at, warnings first, each with a mark that tells which."""
    marks = {True: ("⚠", "#d97706"), False: ("✓", "#0d9488")}
    lines = []
    for check in sorted(said.checks, key=lambda one: not one.warns):
        mark, colour = marks[check.warns]
        lines.append(
            f'<div style="display: flex; gap: .6rem; margin-bottom: .35rem"><b style="color: {colour}">{mark}</b>'
            f"<span>{escaped(check.sentence)}</span></div>"
        )
    st.html("".join(lines))


def contrast_row(one: HeadToHead) -> dict[str, object]:
    """A contrast in a table."""
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
        "p": p_in_words(one.p_value),
        "p corrected": p_in_words(one.p_value_holm),
        "E-value": f"{one.evidence.betting:.3g}",
        "Flips to turn it": "" if one.flips_to_change_winner is None else one.flips_to_change_winner,
    }


def show_parts(told: Told) -> None:
    """Each kind of part as a picture; then the win rate at equal lengths beside the raw one."""
    said, head = told.telling, told.verdicts.head
    for name in PARTS.values():
        if name not in said.parts:
            st.caption(f"{name}: there is one part only, or nothing to part by.")
            continue
        st.markdown(f"**{name}**")
        rates(said.parts[name], title="win rate of the candidate, ties as half")
    st.caption("Parts are for looking: none of these intervals is corrected for their number.")
    length = said.length
    if isinstance(length, CannotEstimate):
        st.caption(plain(str(length)))
        return
    st.markdown("**Beside each other**")
    shown = [{"Win rate": "as judged", "Value": f"{length.raw_rate:.1%}", "95 %": span(head.interval)}]
    shown.append({"Win rate": "at equal lengths", "Value": percent(length.rate), "95 %": span(length.interval)})
    show_table(shown, whole=True)


def show_agreement(told: Told) -> None:
    """Each reviewer beside the others, as a picture and in figures."""
    said, agreed = told.telling, told.figures.agreement
    if any(dot.rate is not None for dot in said.agreement):
        rates(said.agreement, title="says what most of the others say")
    seconds = told.verdicts.median_seconds()
    show_table(
        [
            {
                "Reviewer": one.reviewer,
                "Verdicts": one.votes,
                "Shared": one.shared,
                "With the rest": percent(one.with_the_rest),
                "Same again": percent(one.same_again),
                "Left": percent(one.left_rate),
                "Ties": f"{one.tie_rate:.0%}",
                "Median seconds": f"{seconds[one.reviewer]:.0f}" if one.reviewer in seconds else "not timed",
            }
            for one in agreed.reviewers
        ],
        whole=True,
    )
    alpha = agreed.alpha if isinstance(agreed.alpha, CannotEstimate) else f"{agreed.alpha:.3f}"
    lies = agreed.alpha_interval
    interval = lies if isinstance(lies, CannotEstimate) else f"{lies.low:.3f} to {lies.high:.3f}"
    show_table(
        [
            {"What": "Krippendorff's alpha, nominal", "Value": str(alpha)},
            {"What": "95 %, by prompt", "Value": str(interval)},
            {"What": "Say the same", "Value": percent(agreed.raw)},
            {"What": "Say the same, decided verdicts", "Value": percent(agreed.without_ties)},
            {"What": "Most that this leaves to any model", "Value": percent(agreed.ceiling)},
            {"What": "Pairs of replies judged by several", "Value": f"{agreed.units:,}"},
        ],
        whole=True,
    )
    st.caption(
        "Low agreement says something about the task or its guideline; it is no reason to drop anybody's verdicts."
    )


def show_strengths(told: Told) -> None:
    """Davidson's strengths with ties as an outcome, and the chance of being the best."""
    both = told.figures.strengths
    found = both.bradley_terry if isinstance(both.davidson, CannotEstimate) else both.davidson
    if isinstance(found, CannotEstimate):
        st.caption(plain(str(found)))
        return
    strength_dots(found)
    show_table(
        [
            {
                "Responder": one.responder,
                "Elo": f"{one.elo:.0f}",
                "Log strength": f"{one.log_strength:.3f}",
                "95 %": str(one.interval)
                if isinstance(one.interval, CannotEstimate)
                else f"{one.interval.low:.3f} to {one.interval.high:.3f}",
                "Best": percent(one.probability_best),
                "Note": one.unbounded_because,
            }
            for one in found.responders
        ],
        whole=True,
    )
    st.caption(plain(f"{found.model}; {found.resamples:,} resamples of the prompts."))


def download_verdicts(found: ToldResults) -> None:
    """The raw verdicts, in the columns that `python cli.py winrate` reads; one file for each kind of reviewer."""
    for one in found.told:
        kind = "simulated" if one.verdicts.simulated else "people"
        st.download_button(
            "Every simulated verdict as CSV" if one.verdicts.simulated else "Every verdict as CSV",
            csv_bytes(pd.DataFrame(as_columns(one.verdicts.rows))),
            file_name=f"evaluation-{found.results.evaluation.id}-{kind}.csv",
            mime="text/csv",
            icon=":material/download:",
            key=f"verdicts_{found.results.evaluation.id}_{kind}",
        )
