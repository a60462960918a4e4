"""The readiness report above the start button, and how far people agree."""

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st
from sqlalchemy.orm import Session
from streamlit.errors import StreamlitPageNotFoundError

from review.progress import list_opinions, responder_records
from stats.agreement import Opinion, agreement
from stats.verdicts import Verdict
from training.recipe.advice import FEW_REPEATS, DoubleJudgments, count_double_judgments
from training.recipe.readiness import DIFFERENCES, Facts, ReadinessItem, ReadinessState, readiness_items
from ui.safe import plain

ICONS = {
    ReadinessState.DONE: ":green[:material/check_circle:]",
    ReadinessState.NOT_YET: ":orange[:material/pending:]",
    ReadinessState.NOT_NEEDED: ":gray[:material/remove_circle_outline:]",
}


@dataclass(frozen=True)
class Consensus:
    """How far people agree in the project."""

    repeats: DoubleJudgments
    alpha: float | None
    tie_share: float
    """Of their rankings, ties and both bad."""


def measure_consensus(s: Session, *, project_id: int) -> Consensus:
    """Ask the review's figures for what training wants to know of them."""
    opinions = list_opinions(s, project_id=project_id)
    double = count_double_judgments(
        (opinion.comparison_id, opinion.answer) for opinion in opinions if Verdict(opinion.answer).decided
    )
    alpha = None
    if double.pairs >= FEW_REPEATS:
        alpha = _alpha([(opinion.comparison_id, opinion.reviewer, opinion.answer) for opinion in opinions])
    records = responder_records(s, project_id=project_id)
    ties = sum(record.both_good + record.both_bad for record in records)
    rankings = ties + sum(record.better + record.worse for record in records)
    return Consensus(repeats=double, alpha=alpha, tie_share=ties / rankings if rankings else 0.0)


@st.cache_data(show_spinner="Computing how far people agree …", max_entries=8)
def _alpha(answers: Sequence[tuple[int, str, str]]) -> float | None:
    return agreement([Opinion(*answer) for answer in answers]).alpha


def show_page_link(page: str, title: str) -> None:
    """A link to a page of the app; where the app has no such page, its name."""
    try:
        st.page_link(page, label=title, icon=":material/arrow_forward:")
    except StreamlitPageNotFoundError:
        st.caption(f"On the page {plain(title)}.")


def show_readiness(facts: Facts, consensus: Consensus) -> None:
    """Draw the report; it informs and never blocks."""
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    left.caption("What to have before a training. Nothing here stops you.")
    by_label = {odds.label: odds for odds in DIFFERENCES}
    chosen = right.segmented_control(
        "The smallest difference that you want to notice",
        list(by_label),
        default=DIFFERENCES[0].label,
        help="; ".join(f"{odds.label}: {odds.description}, {odds.verdicts} decisive verdicts" for odds in DIFFERENCES)
        + ". One verdict to a prompt, noticed four times in five.",
        key="readiness_odds",
    )
    odds = by_label[chosen] if chosen else DIFFERENCES[0]
    for item in readiness_items(
        facts, judgments=consensus.repeats, alpha=consensus.alpha, odds=odds, tie_share=consensus.tie_share
    ):
        _show_item(item)


def _show_item(item: ReadinessItem) -> None:
    words = f"{ICONS[item.state]} **{plain(item.title)}** · {item.state.value}  \n:small[{plain(item.sentence)}]"
    if item.state is ReadinessState.DONE:
        st.markdown(words)
        return
    what, where = st.columns([5, 1], vertical_alignment="center")
    what.markdown(words)
    with where:
        show_page_link(item.page, item.page_title)
