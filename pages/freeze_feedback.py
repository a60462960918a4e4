"""Choose which feedback counts, see what it would teach, freeze it as a Snapshot; look at frozen ones."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import streamlit as st

from db.models import Role
from db.session import reading, session
from generation.responders import model_responders
from stats.verdicts import MUCH_BETTER
from texts.escape import escaped
from training.data.feedback import Choosable, choosable
from training.data.rows import RowsFormat
from training.data.selection import DEFAULTS, PairsMode, Selection
from training.data.snapshot import (
    Listed,
    advice,
    better_is_longer,
    export,
    freeze,
    listed,
    preview,
    responder_shares,
    side_spreads,
)
from training.data.terms import Preferences
from ui.charts import length_spreads, longer_bar, share_bars
from ui.frame import page
from ui.safe import errors_shown, plain, show_table

me = page("Freeze", Role.MANAGER)
SHOWN = 200
"""Pairs in the table: more than anybody reads."""
NEWEST = 10
"""Snapshots in the list, unless all are asked for."""
AGREEMENT: Mapping[float | None, str] = {
    None: "No two opposite orders",
    0.51: "More than half gave the order",
    2 / 3: "Two thirds gave the order",
    0.75: "Three quarters gave the order",
    1.0: "Everybody gave the order",
}
STRENGTH = {1: "Better or much better", MUCH_BETTER: "Only much better"}
PAIRS = {PairsMode.BEST_AGAINST_REST: "The best over each worse one", PairsMode.ALL_STRICT: "Each over each worse one"}
FILES = f"freeze_files_{me.project_id}"
"""Where this tab keeps the files that were asked for."""


def key(name: str) -> str:
    """A choice's place in the session; each project has its own."""
    return f"freeze_{name}_{me.project_id}"


def whose_and_when(there: Choosable) -> dict[str, Any]:
    """Who has a say, and over which days."""
    st.markdown("**Whose word counts**")
    whose = st.multiselect(
        "Reviewers",
        list(there.reviewers),
        format_func=lambda one: there.reviewers[one],
        placeholder="Everybody",
        key=key("whose"),
    )
    simulated = st.checkbox(
        "Simulated reviewers too", value=True, key=key("simulated"), help="Rules and made-up picks, not people."
    )
    first, last = st.columns(2)
    since: date | None = first.date_input("From (UTC)", value=None, key=key("since"))
    until: date | None = last.date_input("To (UTC)", value=None, key=key("until"))
    corrections = st.checkbox("Corrections", value=True, key=key("corrections"))
    synthetic = st.checkbox("Feedback on synthetic prompts", value=True, key=key("synthetic"))
    return {
        "reviewers": tuple(sorted(whose)) or None,
        "simulated": simulated,
        "since": since,
        "until": until,
        "corrections": corrections,
        "synthetic": synthetic,
    }


def which_rankings(there: Choosable) -> dict[str, Any]:
    """Which of their orders are good enough."""
    st.markdown("**Which of their rankings**")
    agreement = st.selectbox(
        "Agreement of a pair's reviewers",
        list(AGREEMENT),
        format_func=lambda one: AGREEMENT[one],
        key=key("agreement"),
        help="The usual choice leaves a pair out as soon as two people gave opposite orders. With a majority, ties and "
        "both bad count among those who did not give the order.",
    )
    strength = st.selectbox(
        "Strength",
        list(STRENGTH),
        format_func=lambda one: STRENGTH[one],
        key=key("strength"),
        help="It is asked of pairs here; orders of several replies and imported picks have none.",
    )
    wanted = st.multiselect(
        "With one of the chips", there.chips, placeholder="Not asked for", key=key("with"), disabled=not there.chips
    )
    unwanted = st.multiselect(
        "Without the chips", there.chips, placeholder="None is left out", key=key("without"), disabled=not there.chips
    )
    criterion = st.selectbox(
        "Which reply is better",
        [None, *there.criteria],
        format_func=lambda one: "Overall" if one is None else f"By “{there.criteria[one]}”",
        key=key("criterion"),
        disabled=not there.criteria,
    )
    overall = criterion is not None and st.checkbox(
        "Overall, where nothing was said by it", value=False, key=key("overall")
    )
    return {
        "least_agreement": agreement,
        "least_strength": strength,
        "with_chips": tuple(wanted),
        "without_chips": tuple(unwanted),
        "criterion": criterion,
        "overall_where_unsaid": overall,
    }


def into_pairs() -> dict[str, Any]:
    """How orders become pairs."""
    st.markdown("**How they become pairs**")
    mode = st.selectbox(
        "Of several replies in order", list(PAIRS), format_func=lambda one: PAIRS[one], key=key("pairs")
    )
    cap = st.number_input(
        "Most pairs of one prompt",
        1,
        1000,
        DEFAULTS.cap,
        placeholder="All",
        key=key("cap"),
        help="From rankings, the widest gaps first, so that no prompt outweighs the others. Corrections always stay.",
    )
    drop = st.checkbox(
        "Leave out corrections that change next to nothing",
        value=True,
        key=key("drop"),
        help="Two texts that differ in a word or two make a model less sure of both. A changed number always counts.",
    )
    alike = st.slider(
        "From so many words in common on",
        80.0,
        100.0,
        100 * (DEFAULTS.near_no_op or 1),
        0.5,
        format="%g %%",
        key=key("alike"),
        disabled=not drop,
    )
    balance = st.checkbox(
        "Balance lengths",
        value=False,
        key=key("balance"),
        help="Leaves out the pairs that favour the longer reply most, until the shorter is better as often (or the "
        "other way round).",
    )
    return {
        "pairs": mode,
        "cap": None if cap is None else int(cap),
        "near_no_op": alike / 100 if drop else None,
        "balance_lengths": balance,
    }


def show_pairs(pairs: Sequence[tuple[str, str]]) -> None:
    """Replies beside each other, whole."""
    cells = "".join(f'<div class="pw-text">{escaped(text)}</div>' for pair in pairs for text in pair)
    st.html(f'<div class="pw-pairs"><b>Better</b><b>Worse</b>{cells}</div>')


def show_preview(now: Preferences) -> None:
    """What would be frozen, in numbers and pictures."""
    with st.container(horizontal=True, gap="medium"):  # goes on below where the screen is narrow
        st.metric("Pairs to train on", f"{len(now.rows) - now.validation_count:,}", width="content")
        aside = "Validation: never trained on, to watch the training by."
        st.metric("Set aside", f"{now.validation_count:,}", help=aside, width="content")
        made_up = "Of all pairs; a rule's or made-up picks."
        st.metric("Simulated", f"{now.simulated_count:,}", help=made_up, width="content")
        down = "Replies of rankings that called all bad. KTO learns from them too."
        st.metric("Thumbs down", f"{len(now.thumbs):,}", help=down, width="content")
    if now.synthetic_count:
        st.caption(f"On synthetic prompts, which no customer wrote: {now.synthetic_count:,} pairs.")
    if now.thumbs_simulated:
        st.caption(f"Of the thumbs, simulated: {now.thumbs_simulated:,}.")
    if said := advice(len(now.rows)):
        st.warning(plain(said))
    if now.rows:
        st.caption("Whose replies are better, and worse")
        share_bars(responder_shares(now.rows))
        better, worse = side_spreads(now.rows)
        st.caption(
            f"Length: {better.mean:.0f} words on average in the better replies, {worse.mean:.0f} in the worse. A model "
            "learns a difference in length sooner than anything."
        )
        length_spreads([better, worse], sides=True)
        longer_bar(better_is_longer(now.rows))
    if now.left_out:
        st.caption("Left out, and why")
        show_table([{"Count": count, "Why": reason.words} for reason, count in now.left_out.items()])
    with st.expander("Look at the pairs that would be frozen", icon=":material/table_view:"):
        show_pairs([(row.chosen.text, row.rejected.text) for row in now.rows[:SHOWN]])
        if len(now.rows) > SHOWN:
            st.caption(f"The first {SHOWN} of {len(now.rows):,}.")


def freeze_button(chosen: Selection) -> None:
    """With whose prompt, and the button."""
    with reading() as s:
        prompts_of = {one.id: one.label for one in model_responders(s, project_id=me.project_id) if one.kept}
    whose, freezing = st.columns([3, 1], vertical_alignment="bottom")
    prompt_of = whose.selectbox(
        "With the prompt of",
        [None, *prompts_of],
        format_func=lambda one: prompts_of.get(one, "the project: its instructions alone"),
        help="A model has to be trained on the very prompt that it will be given: system prompt, template, examples.",
        key=key("prompt_of"),
    )
    if freezing.button("Freeze", icon=":material/ac_unit:", type="primary", width="stretch"):
        with errors_shown(), st.spinner("Freezing …"):
            with session() as s:
                made = freeze(s, by=me.reviewer_id, project_id=me.project_id, prompt_of=prompt_of, selection=chosen)
            known = any(made.id == one.snapshot.id for one in frozen_ones)
            words = "has these very rows already" if known else f"holds {made.row_count:,} preferences"
            st.toast(f"Snapshot {made.id} {words}.", icon=":material/check:")
            st.rerun()
    st.caption("A snapshot never changes; the same feedback with the same choices always gives the same one.")


def name_of(one: Listed) -> str:
    """A snapshot in one line."""
    frozen = one.snapshot
    thumbs = f", {frozen.thumb_count:,} thumbs" if frozen.thumb_count else ""
    thumbs += f" ({one.thumbs_simulated:,} simulated)" if one.thumbs_simulated else ""
    return (
        f"{frozen.id}: {frozen.row_count:,} preferences, {frozen.simulated_count:,} simulated{thumbs} "
        f"({frozen.sha256[:8]})"
    )


def show_frozen(one: Listed) -> None:
    """One snapshot: what it holds, how it was chosen, its files."""
    frozen = one.snapshot
    with st.container(border=True):
        head, files = st.columns([4, 1], vertical_alignment="center")
        with head:
            prompt = f"the prompt of {one.prompt_of}" if one.prompt_of else "the project's instructions"
            st.html(
                f"<div><b>Snapshot {escaped(name_of(one))}</b></div>"
                f'<div class="pw-text">{escaped(one.choices)}</div>'
                f'<div class="pw-label">Frozen {frozen.created_at:%Y-%m-%d %H:%M} UTC by {escaped(one.by)}, '
                f"with {escaped(prompt)}.</div>"
            )
        if files.button("Files …", key=f"files_{frozen.id}", icon=":material/folder_zip:", width="stretch"):
            with errors_shown(), st.spinner("Proving that nothing was changed …"):
                st.session_state[FILES] = (frozen.id, {form: export(frozen, form) for form in RowsFormat})
        there = st.session_state.get(FILES)
        if there and there[0] == frozen.id:
            for column, (form, word) in zip(
                st.columns(3), {RowsFormat.JSONL: "JSONL", RowsFormat.PARQUET: "Parquet"}.items(), strict=False
            ):
                column.download_button(
                    f"Download {word}",
                    there[1][form],
                    file_name=f"snapshot-{frozen.id}-{frozen.sha256[:8]}-{form.value}.zip",
                    mime="application/zip",
                    icon=":material/download:",
                    key=f"download_{form}_{frozen.id}",
                )
        if one.left_out:
            with st.expander(f"Left out: {sum(count for count, _ in one.left_out):,}"):
                show_table([{"Count": count, "Why": why} for count, why in one.left_out])


with reading() as s:
    offered = choosable(s, project_id=me.project_id)
    frozen_ones = listed(s, project_id=me.project_id)

choices, seen = st.columns([2, 3], gap="large")
with choices, errors_shown(stop=True):
    st.subheader("Choose")
    selection = Selection(**whose_and_when(offered), **which_rankings(offered), **into_pairs())
with seen:
    st.subheader("What it would teach")
    with errors_shown(stop=True), st.spinner("Looking …"), reading() as s:
        previewed = preview(s, project_id=me.project_id, selection=selection)
    show_preview(previewed)
    freeze_button(selection)

if not frozen_ones:
    st.stop()
st.subheader("Frozen")
every = len(frozen_ones) <= NEWEST or st.toggle(f"Show all {len(frozen_ones):,}", key=key("all"))
for listed_one in frozen_ones if every else frozen_ones[:NEWEST]:
    show_frozen(listed_one)
