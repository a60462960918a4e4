"""Choose which feedback counts, see what it would teach, freeze it as a Snapshot; look at frozen ones."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from db.models import Role
from db.session import reading, session
from generation.responders import list_model_responders
from stats.verdicts import MUCH_BETTER
from texts.escape import escape_html
from training.data.feedback import FeedbackChoices, feedback_choices
from training.data.rows import RowsFormat
from training.data.selection import DEFAULTS, PairsMode, Selection
from training.data.snapshot import (
    SnapshotListing,
    count_longer,
    freeze,
    list_snapshot_details,
    preview_snapshot,
    responder_counts,
    side_lengths,
    size_warning,
    zip_snapshot,
)
from training.data.terms import Preferences
from ui.charts import length_spreads, longer_reply_bar, share_bars
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


def whose_and_when(choices: FeedbackChoices) -> dict[str, Any]:
    """The part of the Selection that says who has a say, and over which days."""
    st.markdown("**Whose word counts**")
    whose = st.multiselect(
        "Reviewers",
        list(choices.reviewers),
        format_func=choices.reviewers.__getitem__,
        placeholder="Everybody",
        key=key("whose"),
    )
    simulated = st.checkbox(
        "Simulated reviewers too", value=True, key=key("simulated"), help="Rules and made-up picks, not people."
    )
    first, last = st.columns(2)
    return {
        "reviewers": tuple(sorted(whose)) or None,
        "simulated": simulated,
        "since": first.date_input("From (UTC)", value=None, key=key("since")),
        "until": last.date_input("To (UTC)", value=None, key=key("until")),
        "corrections": st.checkbox("Corrections", value=True, key=key("corrections")),
        "synthetic": st.checkbox("Feedback on synthetic prompts", value=True, key=key("synthetic")),
    }


def which_rankings(choices: FeedbackChoices) -> dict[str, Any]:
    """The part of the Selection that says which orders are good enough."""
    st.markdown("**Which of their rankings**")
    agreement = st.selectbox(
        "Agreement of a pair's reviewers",
        list(AGREEMENT),
        format_func=AGREEMENT.__getitem__,
        key=key("agreement"),
        help="The usual choice leaves a pair out as soon as two people gave opposite orders. With a majority, ties and "
        "both bad count among those who did not give the order.",
    )
    strength = st.selectbox(
        "Strength",
        list(STRENGTH),
        format_func=STRENGTH.__getitem__,
        key=key("strength"),
        help="It is asked of pairs here; orders of several replies and imported picks have none.",
    )
    chips, none = choices.chips, not choices.chips
    wanted = st.multiselect("With one of the chips", chips, placeholder="Not asked for", key=key("with"), disabled=none)
    unwanted = st.multiselect(
        "Without the chips", chips, placeholder="None is left out", key=key("without"), disabled=none
    )
    criterion = st.selectbox(
        "Which reply is better",
        [None, *choices.criteria],
        format_func=lambda criterion_id: f"By “{choices.criteria[criterion_id]}”" if criterion_id else "Overall",
        key=key("criterion"),
        disabled=not choices.criteria,
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
    """The part of the Selection that says how orders become pairs."""
    st.markdown("**How they become pairs**")
    mode = st.selectbox("Of several replies in order", list(PAIRS), format_func=PAIRS.__getitem__, key=key("pairs"))
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
    label, near_no_op = "From so many words in common on", 100 * (DEFAULTS.near_no_op or 1)
    alike = st.slider(label, 80.0, 100.0, near_no_op, 0.5, format="%g %%", key=key("alike"), disabled=not drop)
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


def show_preview(preview: Preferences) -> None:
    validation = preview.validation_count
    metrics = (
        ("Pairs to train on", len(preview.rows) - validation, None),
        ("Set aside", validation, "Validation: never trained on, to watch the training by."),
        ("Simulated", preview.simulated_count, "Of all pairs; a rule's or made-up picks."),
        ("Thumbs down", len(preview.undesirable), "Replies of rankings that called all bad. KTO learns from them too."),
    )
    with st.container(horizontal=True, gap="medium"):  # goes on below where the screen is narrow
        for label, count, note in metrics:
            st.metric(label, f"{count:,}", help=note, width="content")
    if preview.synthetic_count:
        st.caption(f"On synthetic prompts, which no customer wrote: {preview.synthetic_count:,} pairs.")
    if preview.undesirable_simulated:
        st.caption(f"Of the thumbs, simulated: {preview.undesirable_simulated:,}.")
    if warning := size_warning(len(preview.rows)):
        st.warning(plain(warning))
    if preview.rows:
        st.caption("Whose replies are better, and worse")
        share_bars(responder_counts(preview.rows))
        better, worse = side_lengths(preview.rows)
        st.caption(
            f"Length: {better.mean:.0f} words on average in the better replies, {worse.mean:.0f} in the worse. A model "
            "learns a difference in length sooner than anything."
        )
        length_spreads([better, worse], sides=True)
        longer_reply_bar(count_longer(preview.rows))
    if preview.left_out:
        st.caption("Left out, and why")
        show_table([{"Count": count, "Why": reason.words} for reason, count in preview.left_out.items()])
    with st.expander("Look at the pairs that would be frozen", icon=":material/table_view:"):
        texts = (text for row in preview.rows[:SHOWN] for text in (row.chosen.text, row.rejected.text))
        cells = "".join(f'<div class="pw-text">{escape_html(text)}</div>' for text in texts)
        st.html(f'<div class="pw-pairs"><b>Better</b><b>Worse</b>{cells}</div>')
        if len(preview.rows) > SHOWN:
            st.caption(f"The first {SHOWN} of {len(preview.rows):,}.")


def freeze_button(chosen: Selection) -> None:
    with reading() as s:
        models = list_model_responders(s, project_id=me.project_id)
    prompts_of = {model.id: model.label for model in models if model.listed}
    whose, freezing = st.columns([3, 1], vertical_alignment="bottom")
    prompt_of = whose.selectbox(
        "With the prompt of",
        [None, *prompts_of],
        format_func=lambda model_id: prompts_of.get(model_id, "the project: its instructions alone"),
        help="A model has to be trained on the very prompt that it will be given: system prompt, template, examples.",
        key=key("prompt_of"),
    )
    if freezing.button("Freeze", icon=":material/ac_unit:", type="primary", width="stretch"):
        with errors_shown(), st.spinner("Freezing …"):
            with session() as s:
                snapshot = freeze(s, **me.ids, prompt_of=prompt_of, selection=chosen)
            known = any(snapshot.id == entry.snapshot.id for entry in frozen)
            words = "has these very rows already" if known else f"holds {snapshot.row_count:,} preferences"
            st.toast(f"Snapshot {snapshot.id} {words}.", icon=":material/check:")
            st.rerun()
    st.caption("A snapshot never changes; the same feedback with the same choices always gives the same one.")


def show_frozen(entry: SnapshotListing) -> None:
    snapshot = entry.snapshot
    hash8 = snapshot.sha256[:8]
    thumbs = f", {snapshot.thumb_count:,} thumbs" if snapshot.thumb_count else ""
    thumbs += f" ({entry.thumbs_simulated:,} simulated)" if entry.thumbs_simulated else ""
    rows = f"{snapshot.row_count:,} preferences, {snapshot.simulated_count:,} simulated{thumbs} ({hash8})"
    prompt = f"the prompt of {entry.prompt_of}" if entry.prompt_of else "the project's instructions"
    with st.container(border=True):
        head, files = st.columns([4, 1], vertical_alignment="center")
        head.html(
            f"<div><b>Snapshot {snapshot.id}: {escape_html(rows)}</b></div>"
            f'<div class="pw-text">{escape_html(entry.choices)}</div>'
            f'<div class="pw-label">Frozen {snapshot.created_at:%Y-%m-%d %H:%M} UTC by {escape_html(entry.by)}, '
            f"with {escape_html(prompt)}.</div>"
        )
        if files.button("Files …", key=f"files_{snapshot.id}", icon=":material/folder_zip:", width="stretch"):
            with errors_shown(), st.spinner("Proving that nothing was changed …"):
                st.session_state[FILES] = (snapshot.id, {form: zip_snapshot(snapshot, form) for form in RowsFormat})
        shown_id, contents = st.session_state.get(FILES, (None, {}))
        if shown_id == snapshot.id:
            words = {RowsFormat.JSONL: "JSONL", RowsFormat.PARQUET: "Parquet"}
            for column, (form, word) in zip(st.columns(3), words.items(), strict=False):
                column.download_button(
                    f"Download {word}",
                    contents[form],
                    file_name=f"snapshot-{snapshot.id}-{hash8}-{form.value}.zip",
                    mime="application/zip",
                    icon=":material/download:",
                    key=f"download_{form}_{snapshot.id}",
                )
        if entry.left_out:
            with st.expander(f"Left out: {sum(count for count, _ in entry.left_out):,}"):
                show_table([{"Count": count, "Why": why} for count, why in entry.left_out])


with reading() as s:
    choices = feedback_choices(s, project_id=me.project_id)
    frozen = list_snapshot_details(s, project_id=me.project_id)

left, right = st.columns([2, 3], gap="large")
with left, errors_shown(stop=True):
    st.subheader("Choose")
    selection = Selection(**whose_and_when(choices), **which_rankings(choices), **into_pairs())
with right:
    st.subheader("What it would teach")
    with errors_shown(stop=True), st.spinner("Looking …"), reading() as s:
        preview = preview_snapshot(s, project_id=me.project_id, selection=selection)
    show_preview(preview)
    freeze_button(selection)

if not frozen:
    st.stop()
st.subheader("Frozen")
every = len(frozen) <= NEWEST or st.toggle(f"Show all {len(frozen):,}", key=key("all"))
for listing in frozen if every else frozen[:NEWEST]:
    show_frozen(listing)
