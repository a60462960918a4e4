"""What a frozen Snapshot would teach, in charts and findings, and its rows as the model will read them."""

from collections.abc import Sequence

import streamlit as st

from db.lookup import models
from db.models import ModelVersion, Role, Snapshot
from db.session import reading, session
from errors import PickwellError
from review.reveals import may_see, reveal
from training.data.classes_and_values import Labels
from training.data.inspected_rows import InspectedRow, RowSource, among, of_whom
from training.data.inspecting import Inspected, Reader, count_tokens, inspected, reader_of
from training.data.inspection import Figures, RowFilter, bins, figures, to_read
from training.data.snapshot import folder_of, snapshots
from training.data.token_fit import RowTokens, as_turns, fit, joined
from training.recipe.recipe import SMALL
from ui.data_charts import (
    difference_bars,
    digit_bars,
    disagreement_bar,
    label_bars,
    opening_bars,
    responder_shares,
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
def kept_rows(folder: str, snapshot_id: int, by: int, project_id: int) -> Inspected:
    """A snapshot's rows; the folder's name has its hash."""
    with reading() as s:
        return inspected(s, by=by, project_id=project_id, snapshot_id=snapshot_id)


@st.cache_resource(ttl=60 * MINUTES, max_entries=4, show_spinner="Counting …")
def kept_figures(folder: str, snapshot_id: int, by: int, project_id: int, whose: RowSource) -> Figures:
    """The figures of a snapshot's rows."""
    known = kept_rows(folder, snapshot_id, by, project_id)
    return figures(of_whom(known.rows, whose), left_out=known.opposite)


@st.cache_resource(ttl=60 * MINUTES, max_entries=4, show_spinner="Loading the tokenizer …")
def kept_reader(model_id: int, location: str, template_hash: str | None) -> Reader:
    """A base model's tokenizer and chat template."""
    with reading() as s:
        return reader_of(s, model_id=model_id)


@st.cache_resource(ttl=60 * MINUTES, max_entries=8, show_spinner=False)
def kept_counts(folder: str, model_id: int, location: str, template_hash: str | None) -> list[RowTokens]:
    """A place for a snapshot's token counts; empty until they are counted."""
    return []


def tokens_of(reader: Reader, snapshot: Snapshot, base: ModelVersion) -> Sequence[RowTokens]:
    """The lengths of all rows in tokens, counted once."""
    place = kept_counts(str(folder_of(snapshot)), base.id, base.location, base.template_hash)
    if not place:
        bar = st.progress(0.0, "Counting tokens …")

        def heard(done: int, of: int) -> None:
            bar.progress(done / of, f"Counting tokens: {done:,} of {of:,} rows")

        place[:] = count_tokens(reader, look.rows, told=heard)
        bar.empty()
    return place


with reading() as s:
    frozen = snapshots(s, project_id=me.project_id)
    bases = [one for one in models(s) if one.retired_at is None]
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
    look = kept_rows(str(folder_of(snapshot)), snapshot.id, me.reviewer_id, me.project_id)
reader: Reader | None = None
counts: Sequence[RowTokens] = ()
unread = "There is no model yet: the Train page adds the base model. Tokens are not counted."
if base is not None:
    try:
        reader = kept_reader(base.id, base.location, base.template_hash)
        counts = tokens_of(reader, snapshot, base)
    except PickwellError as problem:
        reader, unread = None, str(problem)

simulated = snapshot.simulated_count
views, words = st.columns([1, 1], vertical_alignment="bottom")
view = views.segmented_control("View", ["Figures", "Read rows"], default="Figures", required=True, key="look_view")
whose = RowSource.ALL
if 0 < simulated < len(look.rows):
    whose = words.segmented_control(
        "Rows",
        list(RowSource),
        default=RowSource.ALL,
        required=True,
        format_func=lambda one: one.words,
        key="look_whose",
    )
rows = of_whom(look.rows, whose)
numbers = {one.number for one in rows}
tokens = [one for one in counts if one.number in numbers]
if simulated:
    st.caption(
        plain(f"In {among(rows, 'rows')}: whatever is called simulated here is a rule's or made up, no person's.")
    )


def show_lengths() -> None:
    """Words by side, and whether the longer reply won."""
    st.subheader("Length")
    found = told.lengths
    show_finding(found.finding)
    left, right = st.columns(2)
    with left:
        side_histogram(bins({"chosen": found.chosen, "rejected": found.rejected}), title="words in a reply")
    with right:
        difference_bars(found.differences)


def show_winners() -> None:
    """How often each responder won, and how far people disagree."""
    left, right = st.columns(2, gap="large")
    with left:
        st.subheader("Who won")
        show_finding(told.winner)
        responder_shares(told.fared)
        corrected = [f"{one.responder} {one.corrected:,}" for one in told.fared if one.corrected]
        if corrected:
            st.caption(plain(f"Rows in which a correction stands over a reply by: {', '.join(corrected)}."))
    with right:
        st.subheader("Disagreement")
        show_finding(told.said.finding)
        if told.said.pairs:
            disagreement_bar(told.said)
        st.caption("As rankings stand now, each person's own word; simulated ones are in no figure of disagreement.")


def show_tokens() -> None:
    """Tokens by side with the limit, and what becomes of longer rows."""
    st.subheader("Tokens")
    if reader is None:
        st.info(plain(unread), icon=":material/info:")
        return
    found = fit(tokens, limit=int(limit))
    for one in (found.finding, *found.refusals):
        show_finding(one)
    sides = {"chosen": [t.prompt + t.chosen for t in tokens], "rejected": [t.prompt + t.rejected for t in tokens]}
    side_histogram(bins(sides), title="tokens in a prompt with its reply; the line is the limit", limit=int(limit))
    if found.elsewhere:
        st.caption(plain(found.elsewhere))
    if found.too_long:
        st.caption(plain("Too long are rows " + ", ".join(map(str, found.too_long[:20])) + more(found.too_long, 20)))


def more(some: Sequence[object], shown: int) -> str:
    """How many of them are not named."""
    return f" and {len(some) - shown:,} more." if len(some) > shown else "."


def show_task() -> None:
    """Labels and values where the chosen replies consist of them."""
    for one in told.task:
        st.subheader(("Labels" if isinstance(one, Labels) else "Values") + (f": {plain(one.name)}" if one.name else ""))
        show_finding(one.finding)
        if isinstance(one, Labels):
            label_bars(one)
            continue
        units = {unit: count for unit, count in one.units.items() if unit}
        if units:
            st.caption(plain("Given in: " + ", ".join(f"{unit} ({count:,})" for unit, count in units.items())))
        side_histogram(bins({"chosen": one.chosen, "rejected": one.rejected}), title="value")
        left, right = st.columns(2)
        with left:
            round_bars(one)
        with right:
            digit_bars(one.digits)


def show_repeats() -> None:
    """Pasted texts, shared openings and faulty replies."""
    found = told.repeats
    if not found.findings:
        return
    st.subheader("Repeats and faults")
    for one in found.findings:
        show_finding(one)
    if found.openings:
        opening_bars(found.openings[:8])
    if found.texts:
        show_table([{"Prompts": one.prompts, "Chosen for all of them": one.text} for one in found.texts[:20]])
    if found.near:
        st.caption(plain("Hardly differing are rows " + ", ".join(map(str, found.near[:20])) + more(found.near, 20)))


def sealed(shown: Sequence[InspectedRow]) -> bool:
    """Whether one of these pairs is still this manager's to rank."""
    with reading() as s:
        return any(not may_see(s, by=me.reviewer_id, comparison_id=i) for one in shown for i in one.comparison_ids)


def note_looks(shown: Sequence[InspectedRow]) -> None:
    """Note that this manager has seen what was said of these pairs."""
    known = st.session_state.setdefault("looked_at", set())
    new = {i for one in shown for i in one.comparison_ids} - known
    if new:
        with session() as s:
            for comparison_id in sorted(new):
                reveal(s, by=me.reviewer_id, comparison_id=comparison_id)
        known |= new


@st.fragment
def read_rows() -> None:
    """Ten rows at a time, as the model reads them."""
    kinds = {which: to_read(rows, which=which) for which in RowFilter}
    people = sorted({one.row.reviewer for one in rows})
    left, middle, right = st.columns([2, 2, 1], vertical_alignment="bottom")
    which = left.selectbox(
        "Which rows",
        [one for one in RowFilter if kinds[one]],
        format_func=lambda one: f"{one.words} ({len(kinds[one]):,})",
        key="look_which",
    )
    reviewer = middle.selectbox(
        "Whose word", [None, *people], format_func=lambda one: one or "anybody's", key="look_who"
    )
    cut = right.toggle(
        "Each token", disabled=reader is None, key="look_cut", help="Where one token ends and another begins"
    )
    found = to_read(rows, which=which, reviewer=reviewer, tokens={one.number: one.length for one in tokens})
    if not found:
        st.info("No row fits.")
        return
    chosen = (snapshot.id, whose, which, reviewer)
    if st.session_state.get("look_at") != chosen:
        st.session_state["look_at"], st.session_state["look_from"] = chosen, 0
    start = st.session_state["look_from"] % len(found)
    shown = found[start : start + AT_ONCE]
    button, place = st.columns([1, 4], vertical_alignment="center")
    button.button(
        "Another ten",
        shortcut="N",
        icon=":material/shuffle:",
        on_click=go_on,
        args=(start, len(found)),
        width="stretch",
    )
    by_length = which in (RowFilter.LONGEST, RowFilter.SHORTEST)
    ordered = "by length" if by_length else "in a random order that stays the same"
    place.caption(f"{start + 1:,} to {start + len(shown):,} of {len(found):,} rows, {ordered}")
    if not st.session_state.get("look_unsealed") and sealed(shown):
        st.info("Some of these pairs you could still rank yourself. Nobody sees what others said before ranking.")
        st.button("Show them; I will not rank pairs that I look at here", icon=":material/visibility:", on_click=unseal)
        return
    with errors_shown(stop=True):
        note_looks(shown)
    show_style()
    for one in shown:
        with errors_shown():
            show_one(one, cut=cut)
    st.caption(
        plain(unread) if reader is None else "Word for word as in training; what the template adds is in colour."
    )


def unseal() -> None:
    """From now on this manager gives up ranking what is read here."""
    st.session_state["look_unsealed"] = True


def go_on(start: int, count: int) -> None:
    """The next ten, and from the last on the first."""
    st.session_state["look_from"] = start + AT_ONCE if start + AT_ONCE < count else 0


def show_one(one: InspectedRow, *, cut: bool) -> None:
    """One row in the base model's tokens, or as plain turns where there is no tokenizer."""
    if reader is None:
        sides = (as_turns(one.row.prompt), as_turns(one.row.chosen), as_turns(one.row.rejected))
        show_row(one, sides, tokens="tokens not counted", cut=False)
        return
    read = reader.read(one)
    size = f"{read.tokens.prompt:,} + {read.tokens.chosen:,} | {read.tokens.rejected:,} tokens"
    if cut:
        show_row(one, (read.prompt, read.chosen, read.rejected), tokens=size, cut=True)
    else:
        show_row(one, (joined(read.prompt), joined(read.chosen), joined(read.rejected)), tokens=size, cut=False)


if not rows:
    st.info("No row fits.")
elif view == "Read rows":
    read_rows()
else:
    told = kept_figures(str(folder_of(snapshot)), snapshot.id, me.reviewer_id, me.project_id, whose)
    show_lengths()
    show_winners()
    show_tokens()
    show_task()
    show_repeats()
