"""What a frozen Snapshot would teach, in charts and findings, and its rows as the model will read them."""

from collections.abc import Sequence
from operator import attrgetter

import streamlit as st

from db.lookup import list_models
from db.models import ModelVersion, Role
from db.session import reading, session
from errors import PickwellError
from review.reveals import is_open_to, reveal_comparison
from training.data.classes_and_values import Labels
from training.data.inspected_rows import InspectedRow, RowSource, describe_count, filter_by_source
from training.data.inspecting import InspectedSnapshot, RowTokenizer, count_tokens, inspect_snapshot, load_row_tokenizer
from training.data.inspection import Figures, RowFilter, bins, figures, select_rows
from training.data.snapshot import list_snapshots, snapshot_folder
from training.data.token_fit import RowTokens, fit, join_pieces, turn_pieces
from training.recipe.recipe import SMALL
from ui.data_charts import (
    difference_bars,
    digit_bars,
    disagreement_bar,
    label_bars,
    opening_bars,
    responder_win_chart,
    round_bars,
    show_finding,
    show_row,
    show_style,
    side_histogram,
)
from ui.frame import page
from ui.safe import errors_shown, plain, show_table

me = page("Look at data", Role.MANAGER)
AT_ONCE = 10
"""Rows that are read at once."""
MINUTES = 5
"""For how long a snapshot's figures are kept: what people say of its pairs may change."""


@st.cache_resource(ttl=60 * MINUTES, max_entries=4, show_spinner="Reading the snapshot …")
def load_rows(folder: str, snapshot_id: int, by: int, project_id: int) -> InspectedSnapshot:
    """A snapshot's rows; the folder's name has its hash."""
    with reading() as s:
        return inspect_snapshot(s, by=by, project_id=project_id, snapshot_id=snapshot_id)


@st.cache_resource(ttl=60 * MINUTES, max_entries=4, show_spinner="Counting …")
def load_figures(folder: str, snapshot_id: int, by: int, project_id: int, whose: RowSource) -> Figures:
    snapshot_rows = load_rows(folder, snapshot_id, by, project_id)
    return figures(filter_by_source(snapshot_rows.rows, whose), left_out=snapshot_rows.opposite_orders)


@st.cache_resource(ttl=60 * MINUTES, max_entries=4, show_spinner="Loading the tokenizer …")
def load_tokenizer(model_id: int, location: str, template_hash: str | None) -> RowTokenizer:
    with reading() as s:
        return load_row_tokenizer(s, model_id=model_id)


@st.cache_resource(ttl=60 * MINUTES, max_entries=8, show_spinner=False)
def cached_counts(folder: str, model_id: int, location: str, template_hash: str | None) -> list[RowTokens]:
    """A place for a snapshot's token counts; empty until they are counted."""
    return []


def count_row_tokens(tokenizer: RowTokenizer, folder: str, base: ModelVersion) -> Sequence[RowTokens]:
    """The lengths of all rows in tokens, counted once."""
    counts = cached_counts(folder, base.id, base.location, base.template_hash)
    if not counts:
        bar = st.progress(0.0, "Counting tokens …")

        def show_progress(done: int, of: int) -> None:
            bar.progress(done / of, f"Counting tokens: {done:,} of {of:,} rows")

        counts[:] = count_tokens(tokenizer, frozen_rows, on_progress=show_progress)
        bar.empty()
    return counts


with reading() as s:
    frozen = list_snapshots(s, project_id=me.project_id)
    bases = [model for model in list_models(s) if model.retired_at is None]
st.caption("Before a training: what would a model learn from these rows, and what does it really read?")
if not frozen:
    st.info(
        "Nothing is frozen yet. Freeze a snapshot on the page Freeze, then look at it here.", icon=":material/ac_unit:"
    )
    st.stop()

first, second, third = st.columns([3, 2, 1])
snapshot = first.selectbox(
    "Snapshot",
    frozen,
    format_func=lambda f: f"{f.id}: {f.row_count} preferences, {f.simulated_count} simulated ({f.sha256[:8]})",
)
base = second.selectbox("Read by", bases, format_func=lambda m: m.name, help="Whose tokenizer and chat template count.")
limit = third.number_input("Longest row, tokens", 16, 1_000_000, SMALL.max_length, step=64)

with errors_shown(stop=True):
    folder = str(snapshot_folder(snapshot))
    frozen_rows = load_rows(folder, snapshot.id, **me.ids).rows
tokenizer: RowTokenizer | None = None
counts: Sequence[RowTokens] = ()
unread = "There is no model yet: the Train page adds the base model. Tokens are not counted."
if base is not None:
    try:
        tokenizer = load_tokenizer(base.id, base.location, base.template_hash)
        counts = count_row_tokens(tokenizer, folder, base)
    except PickwellError as problem:
        tokenizer, unread = None, str(problem)

simulated = snapshot.simulated_count
views, words = st.columns([1, 1], vertical_alignment="bottom")
view = views.segmented_control("View", ["Figures", "Read rows"], default="Figures", required=True, key="look_view")
whose = RowSource.ALL
if 0 < simulated < len(frozen_rows):
    whose = words.segmented_control(
        "Rows",
        list(RowSource),
        default=RowSource.ALL,
        required=True,
        format_func=attrgetter("words"),
        key="look_whose",
    )
rows = filter_by_source(frozen_rows, whose)
numbers = {row.number for row in rows}
tokens = [count for count in counts if count.number in numbers]
if simulated:
    note = f"In {describe_count(rows, 'rows')}: whatever is called simulated here is a rule's or made up, no person's."
    st.caption(plain(note))


def show_lengths(shown: Figures) -> None:
    lengths = shown.lengths
    st.subheader("Length")
    show_finding(lengths.finding)
    left, right = st.columns(2)
    with left:
        side_histogram(bins({"chosen": lengths.chosen, "rejected": lengths.rejected}), title="words in a reply")
    with right:
        difference_bars(lengths.differences)


def show_winners(shown: Figures) -> None:
    left, right = st.columns(2, gap="large")
    with left:
        st.subheader("Who won")
        show_finding(shown.winner)
        responder_win_chart(shown.wins)
        corrected = [f"{record.responder} {record.corrected:,}" for record in shown.wins if record.corrected]
        if corrected:
            st.caption(plain(f"Rows in which a correction stands over a reply by: {', '.join(corrected)}."))
    with right:
        st.subheader("Disagreement")
        show_finding(shown.said.finding)
        if shown.said.pairs:
            disagreement_bar(shown.said)
        st.caption("As rankings stand now, each person's own word; simulated ones are in no figure of disagreement.")


def show_tokens() -> None:
    """Tokens by side with the limit, and what becomes of longer rows."""
    st.subheader("Tokens")
    if tokenizer is None:
        st.info(plain(unread), icon=":material/info:")
        return
    fitting = fit(tokens, limit=int(limit))
    for remark in (fitting.finding, *fitting.refusals):
        show_finding(remark)
    sides = {"chosen": [t.prompt + t.chosen for t in tokens], "rejected": [t.prompt + t.rejected for t in tokens]}
    side_histogram(bins(sides), title="tokens in a prompt with its reply; the line is the limit", limit=int(limit))
    if fitting.plain_trl:
        st.caption(plain(fitting.plain_trl))
    name_rows("Too long are rows", fitting.too_long)


def name_rows(words: str, numbers: Sequence[int], most: int = 20) -> None:
    """A line with the first row numbers and how many more there are; none where there is no row."""
    if numbers:
        more = f" and {len(numbers) - most:,} more." if len(numbers) > most else "."
        st.caption(plain(f"{words} {', '.join(map(str, numbers[:most]))}{more}"))


def show_task(shown: Figures) -> None:
    """Labels and values where the chosen replies consist of them."""
    for part in shown.task:
        st.subheader(
            ("Labels" if isinstance(part, Labels) else "Values") + (f": {plain(part.name)}" if part.name else "")
        )
        show_finding(part.finding)
        if isinstance(part, Labels):
            label_bars(part)
            continue
        units = [f"{unit} ({count:,})" for unit, count in part.units.items() if unit]
        if units:
            st.caption(plain("Given in: " + ", ".join(units)))
        side_histogram(bins({"chosen": part.chosen, "rejected": part.rejected}), title="value")
        left, right = st.columns(2)
        with left:
            round_bars(part)
        with right:
            digit_bars(part.digits)


def show_repeats(shown: Figures) -> None:
    repeats = shown.repeats
    if not repeats.findings:
        return
    st.subheader("Repeats and faults")
    for remark in repeats.findings:
        show_finding(remark)
    if repeats.openings:
        opening_bars(repeats.openings[:8])
    show_table([{"Prompts": pasted.prompts, "Chosen for all of them": pasted.text} for pasted in repeats.texts[:20]])
    name_rows("Hardly differing are rows", repeats.near)


def is_sealed(comparison_ids: set[int]) -> bool:
    """Whether one of these pairs is still this manager's to rank."""
    with reading() as s:
        return any(not is_open_to(s, by=me.reviewer_id, comparison_id=pair_id) for pair_id in comparison_ids)


def note_reveals(comparison_ids: set[int]) -> None:
    """Note that this manager has seen what was said of these pairs."""
    noted = st.session_state.setdefault("looked_at", set())
    if new := comparison_ids - noted:
        with session() as s:
            for comparison_id in sorted(new):
                reveal_comparison(s, by=me.reviewer_id, comparison_id=comparison_id)
        noted |= new


@st.fragment
def read_rows() -> None:
    """Ten rows at a time, as the model reads them."""
    kinds = {which: select_rows(rows, which=which) for which in RowFilter}
    people = sorted({row.frozen.reviewer for row in rows})
    left, middle, right = st.columns([2, 2, 1], vertical_alignment="bottom")
    which = left.selectbox(
        "Which rows",
        [kind for kind in RowFilter if kinds[kind]],
        format_func=lambda kind: f"{kind.words} ({len(kinds[kind]):,})",
        key="look_which",
    )
    reviewer = middle.selectbox(
        "Whose word", [None, *people], format_func=lambda name: name or "anybody's", key="look_who"
    )
    cut = right.toggle(
        "Each token", disabled=tokenizer is None, key="look_cut", help="Where one token ends and another begins"
    )
    lengths = {count.number: count.length for count in tokens}
    matching = select_rows(rows, which=which, reviewer=reviewer, tokens=lengths)
    if not matching:
        st.info("No row fits.")
        return
    choice = (snapshot.id, whose, which, reviewer)
    if st.session_state.get("look_at") != choice:
        st.session_state["look_at"], st.session_state["look_from"] = choice, 0
    start = st.session_state["look_from"] % len(matching)
    shown = matching[start : start + AT_ONCE]
    button, place = st.columns([1, 4], vertical_alignment="center")
    next_start = start + AT_ONCE if start + AT_ONCE < len(matching) else 0  # from the last ten on the first
    button.button(
        "Another ten",
        shortcut="N",
        icon=":material/shuffle:",
        on_click=st.session_state.update,
        args=({"look_from": next_start},),
        width="stretch",
    )
    by_length = which in (RowFilter.LONGEST, RowFilter.SHORTEST)
    ordered = "by length" if by_length else "in a random order that stays the same"
    place.caption(f"{start + 1:,} to {start + len(shown):,} of {len(matching):,} rows, {ordered}")
    comparison_ids = {comparison_id for row in shown for comparison_id in row.comparison_ids}
    if not st.session_state.get("look_unsealed") and is_sealed(comparison_ids):
        st.info("Some of these pairs you could still rank yourself. Nobody sees what others said before ranking.")
        st.button(
            "Show them; I will not rank pairs that I look at here",
            icon=":material/visibility:",
            on_click=st.session_state.update,
            args=({"look_unsealed": True},),
        )
        return
    with errors_shown(stop=True):
        note_reveals(comparison_ids)
    show_style()
    for row in shown:
        with errors_shown():
            read_row(row, cut=cut)
    st.caption(
        plain(unread) if tokenizer is None else "Word for word as in training; what the template adds is in colour."
    )


def read_row(row: InspectedRow, *, cut: bool) -> None:
    """One row in the base model's tokens, or as plain turns where there is no tokenizer."""
    if tokenizer is None:
        sides = [turn_pieces(text) for text in (row.frozen.prompt, row.frozen.chosen, row.frozen.rejected)]
        show_row(row, sides, tokens="tokens not counted", cut=False)
        return
    read = tokenizer.read(row)
    size = f"{read.tokens.prompt:,} + {read.tokens.chosen:,} | {read.tokens.rejected:,} tokens"
    pieces = [side if cut else join_pieces(side) for side in (read.prompt, read.chosen, read.rejected)]
    show_row(row, pieces, tokens=size, cut=cut)


if not rows:
    st.info("No row fits.")
elif view == "Read rows":
    read_rows()
else:
    shown_figures = load_figures(folder, snapshot.id, **me.ids, whose=whose)
    show_lengths(shown_figures)
    show_winners(shown_figures)
    show_tokens()
    show_task(shown_figures)
    show_repeats(shown_figures)
