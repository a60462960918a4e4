"""Find any comparison, open it with everything that was ever said of it, discard it, or make it a gold pair."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from itertools import groupby
from typing import Any

import pandas as pd
import streamlit as st

from db.models import ComparisonState, Ranking, Role, SamplingReason
from db.session import reading, session
from review.assignment import load_offer
from review.browse import discard_comparison, end_decision, end_gold, find_comparisons, make_gold, restore_comparison
from review.filters import ComparisonStanding, Filter, filter_choices
from review.reveals import AuditEntry, ComparisonDetails, list_project_changes, open_comparison, reveal_comparison
from stats.verdicts import MUCH_BETTER, Verdict
from texts.diff import word_diff
from texts.escape import escape_html
from ui.frame import page
from ui.pairs import show_diff, show_prompt
from ui.safe import attempt, errors_shown, plain, show_table

me = page("Find", Role.MANAGER)
STANDING_WORDS: dict[ComparisonStanding | None, str] = {
    None: "everything",
    ComparisonStanding.UNRANKED: "nobody has ranked",
    ComparisonStanding.RANKED: "somebody has ranked",
    ComparisonStanding.CONTESTED: "people disagree on",
    ComparisonStanding.FLAGGED: "flagged",
    ComparisonStanding.GOLD: "gold: the answer is known",
    ComparisonStanding.NEAR_IDENTICAL: "nearly the same replies, never offered",
    ComparisonStanding.DISCARDED: "discarded",
}
WORDS = {
    "model_version": "model",
    "ranking_reason": "chip",
    "retired_at": "retired",
    "discarded_at": "discarded",
    "discarded_by_id": "by person number",
    "reveal": "opened, with all that was said, comparison and person",
}
"""Of tables and columns, where their own names are not the screen's."""
SAID_BESIDE = ("project_id", "comparison_id", "reviewer_id", "created_at")
STATE_WORDS = {
    ComparisonState.OPEN: "open",
    ComparisonState.FULL: "enough people",
    ComparisonState.NOT_OFFERED: "not offered",
}
SAMPLING_WORDS = {
    SamplingReason.UNCERTAIN: "least certain first",
    SamplingReason.GOLD: "gold",
    SamplingReason.REPEAT: "hidden second look",
}


def chosen_filter() -> Filter:
    with reading() as s:
        sets, writers = filter_choices(s, project_id=me.project_id)
    words, prompts, who, standing = st.columns([3, 2, 3, 2])
    return Filter(
        words=words.text_input("Words in the prompt", max_chars=200),
        prompt_set_id=prompts.selectbox("Import", [None, *sets], format_func=lambda set_id: sets.get(set_id, "all")),
        responder_ids=tuple(
            who.multiselect("Replies by (one or two)", list(writers), format_func=writers.__getitem__, max_selections=2)
        ),
        standing=standing.selectbox("Only", list(STANDING_WORDS), format_func=STANDING_WORDS.__getitem__),
    )


def change(action: Any, comparison_id: int, **more: Any) -> None:
    attempt(action, by=me.reviewer_id, comparison_id=comparison_id, **more)


def show_rankings(details: ComparisonDetails) -> None:
    names = {
        response.response_id: f"{number}: {response.responder}"
        for number, response in enumerate(details.responses, start=1)
    }
    if not details.rankings:
        st.caption("Nobody has ranked it.")
    show_table(
        [
            {
                "Person": ranking.reviewer.label + (" (decision)" if ranking.adjudicates else ""),
                "Said": ranking_in_words(ranking, names),
                "When (UTC)": f"{ranking.created_at:%d %b %H:%M}",
                "Seconds": "" if ranking.seconds is None else f"{ranking.seconds:.0f}",
                "How it came": SAMPLING_WORDS.get(ranking.sampling_reason, ""),
                "Why": ranking.reason or "",
                "Taken back (UTC)": f"{ranking.undone_at:%d %b %H:%M}" if ranking.undone_at else "",
            }
            for ranking in details.rankings
        ]
    )


def ranking_in_words(ranking: Ranking, names: dict[int, str]) -> str:
    """A ranking in words, best first."""
    if ranking.both_bad:
        return "none could be sent"
    ranks = groupby(ranking.placements, key=lambda placement: placement.place)
    groups = [" = ".join(names.get(placement.response_id, "?") for placement in rank) for _, rank in ranks]
    return (" ≫ " if ranking.strength == MUCH_BETTER else " > ").join(groups)


def show_history(entries: Iterable[AuditEntry]) -> None:
    """The audit trail, newest first: old and new values."""
    show_table(
        [
            {
                "When (UTC)": f"{entry.change.created_at:%d %b %H:%M:%S}",
                "Who": entry.by,
                "What": f"{WORDS.get(entry.change.table, entry.change.table.replace('_', ' '))} "
                f"{entry.name or entry.change.row}",
                "Before": values(entry.change.before),
                "After": values(entry.change.after),
            }
            for entry in sorted(entries, key=lambda entry: entry.change.created_at, reverse=True)
        ]
    )


def values(columns: dict[str, Any] | None) -> str:
    """Columns and values on one line, without what the other columns of the table say."""
    return ", ".join(
        f"{WORDS.get(name, name.replace('_', ' '))}: {in_short(name, value)}"
        for name, value in (columns or {}).items()
        if name not in SAID_BESIDE
    )


def in_short(name: str, value: Any) -> str:
    """A value of a column; times, whose columns end in ``_at``, to the minute."""
    if value is None:
        return "–"
    return f"{datetime.fromisoformat(value):%d %b %Y %H:%M} UTC" if name.endswith("_at") else str(value)


def show_comparison(details: ComparisonDetails) -> None:
    """The open comparison: sealed, until the manager gives up ranking it."""
    prompt = details.comparison.prompt
    show_prompt(prompt.text, prompt.context, compact=True, synthetic=prompt.synthetic)
    columns = st.columns(min(3, len(details.responses)))
    for number, response in enumerate(details.responses, start=1):
        label = f"{number}: {response.responder}" if response.responder else str(number)
        columns[(number - 1) % 3].html(
            f'<div class="pw-card"><div class="pw-label">{escape_html(label)}</div>'
            f'<div class="pw-text">{escape_html(response.text)}</div></div>'
        )
    numbered = enumerate(details.responses, start=1)
    if tidied := [(number, response) for number, response in numbered if response.shown != response.text]:
        with st.expander("As shown to whoever ranks", icon=":material/visibility_off:"):
            for number, response in tidied:
                st.caption(f"Reply {number}")
                show_diff(word_diff(response.text, response.shown))
    if details.sealed:
        st.button(
            "Show who wrote what and what people said; I will not rank it",
            icon=":material/visibility:",
            on_click=change,
            args=(reveal_comparison, details.comparison.id),
            help="Nobody sees others' rankings before giving their own.",
        )
        return
    show_rankings(details)
    originals = {response.response_id: response.text for response in details.responses}
    for correction in details.corrections:
        away = " (taken back)" if correction.undone_at else ""
        st.caption(plain(f"Corrected by {correction.reviewer.label}{away}. {correction.reason or ''}"))
        show_diff(word_diff(originals[correction.response_id], correction.text))
    show_actions(details)
    with st.expander(f"Everything that changed: {len(details.history)}", icon=":material/history:"):
        show_history(details.history)


def show_actions(details: ComparisonDetails) -> None:
    away, gold, back, _ = st.columns([2, 2, 2, 1], vertical_alignment="bottom")
    comparison = details.comparison
    if comparison.discarded_at is None:
        away.button("Discard it", on_click=change, args=(discard_comparison, comparison.id), icon=":material/delete:")
    else:
        away.button("Bring it back", on_click=change, args=(restore_comparison, comparison.id), icon=":material/undo:")
    if any(ranking.adjudicates and ranking.undone_at is None for ranking in details.rankings):
        back.button(
            "Take the decision back", on_click=change, args=(end_decision, comparison.id), icon=":material/undo:"
        )
    if comparison.gold:
        gold.button("Gold no longer", on_click=change, args=(end_gold, comparison.id))
    elif len(details.responses) == 2 and comparison.state is not ComparisonState.NOT_OFFERED:
        note = "Everybody is given it; Progress tells who agrees"
        with gold.popover("Make it gold", icon=":material/star:", help=note):
            answers = dict(zip(("1 is better", "2 is better", "both good", "both bad"), Verdict, strict=True))
            verdict = answers[st.radio("The right answer", answers)]
            st.button("Make it gold", key="gold", type="primary", on_click=save_gold, args=(details, verdict))


def save_gold(details: ComparisonDetails, verdict: Verdict) -> None:
    """Store the right answer, whichever side the responses stand on for this manager."""
    order = verdict.order
    with reading() as s:
        first = load_offer(s, comparison_id=details.comparison.id, reviewer_id=me.reviewer_id).replies[0]
    if first.response_id != details.responses[0].response_id:
        order = replace(order, places=order.places[::-1])
    change(make_gold, details.comparison.id, order=order)


only = chosen_filter()
place = st.session_state.get("pairs_page", 1)
with reading() as s:
    listed = find_comparisons(s, **me.ids, only=only, page=place)
    if place > listed.pages:
        listed = find_comparisons(s, **me.ids, only=only, page=listed.pages)
if not listed.total:
    st.info("No comparison fits." if only.is_set else "There are no comparisons yet: import or generate responses.")
    st.stop()
picked = st.dataframe(
    pd.DataFrame(
        [
            {
                "Prompt": row.prompt,
                "Replies by": row.responders,
                "People": row.comparison.people,
                "Disagree": row.comparison.contested,
                "Flagged": row.flagged,
                "Gold": row.comparison.gold,
                "Synthetic": row.comparison.prompt.synthetic,
                "State": "nearly the same" if row.comparison.near_identical else STATE_WORDS[row.comparison.state],
            }
            for row in listed.rows
        ]
    ),
    hide_index=True,
    width="stretch",
    height=min(460, 38 + 35 * len(listed.rows)),
    column_config={name: st.column_config.TextColumn(width=w) for name, w in (("Prompt", 300), ("Replies by", 150))},
    on_select="rerun",
    selection_mode="single-row",
    # rows may go or come: a choice stays with the rows that it was made among
    key=f"pairs_{place}_{hash((only, tuple(row.comparison.id for row in listed.rows)))}",
)
count, pager = st.columns([1, 3], vertical_alignment="center")
count.caption(f"Found: {listed.total:,}. Click a row to open it.")
if listed.pages > 1:
    with pager:
        st.pagination(listed.pages, key="pairs_page")
rows = picked["selection"]["rows"]
if rows and rows[0] < len(listed.rows):
    with st.container(border=True), errors_shown():
        with session() as s:
            details = open_comparison(s, by=me.reviewer_id, comparison_id=listed.rows[rows[0]].comparison.id)
        show_comparison(details)
with st.expander("What changed: settings, people, guideline, models", icon=":material/history:"), reading() as s:
    show_history(list_project_changes(s, **me.ids))
