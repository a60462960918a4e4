"""What is hidden in everybody's texts before people judge them, and whether length tells whose they are."""

from functools import partial

import streamlit as st

from db.models import HiddenPart, Role, TextRule
from db.session import reading, session
from review.lengths import length_balance
from texts.diff import Edit, word_diff
from texts.escape import escape_html
from texts.rules import (
    EACH,
    LONGEST_REPLACEMENT,
    add_rule,
    end_rule,
    find_open_evaluation,
    list_rules,
    make_rule,
    preview_rule,
    stored_rule,
)
from texts.shown import LONGEST_PATTERN, Rule
from ui.charts import length_spreads, longer_by_responder
from ui.frame import page
from ui.pairs import show_diff
from ui.safe import act, errors_shown, errors_toasted, plain, show_table

me = page("Tidy texts", Role.MANAGER)
PART, PATTERN, INSTEAD = (f"tidy_{name}_{me.project_id}" for name in ("part", "pattern", "instead"))
PART_WORDS = {
    HiddenPart.GREETING_NAME: "The name in the greeting",
    HiddenPart.TICKET_NUMBER: "Ticket, case and order numbers",
    HiddenPart.PATTERN: "What a pattern finds",
}


def add(part: HiddenPart, pattern: str | None, replacement: str) -> None:
    """Hide it from now on; the form is empty again."""
    with errors_toasted():
        with session() as s:
            add_rule(s, **me.ids, part=part, pattern=pattern, replacement=replacement)
        for key in (PART, PATTERN, INSTEAD):
            st.session_state.pop(key, None)


def show_preview(new: Rule) -> None:
    """How many texts of each Responder a rule changes, and how some read before and after."""
    with errors_shown(), st.spinner("Trying it …"):
        with reading() as s:
            preview = preview_rule(s, **me.ids, new=new)
        if not preview.effects:
            st.info("There are no replies to try it on yet.")
            return
        show_table(
            [{"Responder": row.responder, "Changed": f"{row.changed} of {row.texts}"} for row in preview.effects]
        )
        st.caption(f"Among the first {EACH} replies of each.")
        if warning := preview.leak_warning(new.replacement):
            st.warning(plain(warning), icon=":material/visibility:")
        for number, example in enumerate(preview.examples):
            pieces = word_diff(example.before, example.after)
            sides = ("Before", Edit.ADDED), ("After", Edit.REMOVED)
            for column, (side, hidden) in zip(st.columns(2), sides, strict=True):
                with column:
                    if not number:
                        st.caption(side)
                    show_diff(tuple(piece for piece in pieces if piece.change is not hidden))


def show_standing(row: TextRule, *, fixed: bool) -> None:
    with st.container(border=True):
        words, button = st.columns([5, 1], vertical_alignment="center")
        finds = f" <code>{escape_html(row.pattern)}</code>" if row.pattern else ""
        instead = f"becomes “{escape_html(row.replacement)}”" if row.replacement else "is left out"
        words.html(f'<div class="pw-text">{escape_html(PART_WORDS[row.part])}{finds} {instead}</div>')
        end = partial(act, end_rule, by=me.reviewer_id, rule_id=row.id)
        button.button("End it", key=f"end_{row.id}", on_click=end, width="stretch", disabled=fixed)
        below = st.expander("What it changes", key=f"effect_{row.id}", on_change="rerun")
        if below.open:
            with below:
                show_preview(stored_rule(row))


def new_rule(*, fixed: bool) -> None:
    what, finds, instead = st.columns(3, vertical_alignment="bottom")
    part = what.selectbox(
        "Hide", list(PART_WORDS), index=None, format_func=PART_WORDS.__getitem__, placeholder="Choose", key=PART
    )
    if part is None:
        return
    pattern = None
    if part is HiddenPart.PATTERN:
        pattern = finds.text_input(
            "Pattern",
            key=PATTERN,
            max_chars=LONGEST_PATTERN,
            placeholder="Store [0-9]+",
            help="A regular expression; (?i) in front ignores case, ^ and $ are a line's ends.",
        )
    else:
        instead = finds
    replacement = instead.text_input("Put there instead (optional)", key=INSTEAD, max_chars=LONGEST_REPLACEMENT).strip()
    if part is HiddenPart.PATTERN and not pattern:
        return
    st.button(
        "Add this rule", type="primary", on_click=add, args=(part, pattern, replacement), disabled=fixed, key="tidy_add"
    )
    show_preview(make_rule(part, pattern, replacement))


st.write(
    "People who rank or judge see every reply with the same white space, bullets and headings, without names of our "
    "people and without sign-offs, so that format does not tell who wrote it. Here you hide more. The replies "
    "themselves stay as they are: corrections, training and exports have the original."
)
with reading() as s:
    rules = list_rules(s, project_id=me.project_id)
    evaluation = find_open_evaluation(s, project_id=me.project_id)
if evaluation is not None:
    st.info(
        plain(
            f"The evaluation “{evaluation.name}” is open. Until it is closed the rules stay, so that its judges see "
            "one kind of text."
        ),
        icon=":material/lock:",
    )
for standing in rules:
    show_standing(standing, fixed=evaluation is not None)
st.subheader("Hide more")
new_rule(fixed=evaluation is not None)

st.subheader("Length")
with st.spinner("Counting words …"), reading() as s:
    balance = length_balance(s, **me.ids)
if not balance.spreads:
    st.info("There are no replies yet: import or generate some.")
    st.stop()
st.write(plain(balance.won.sentence))
length_spreads(balance.spreads)
st.caption(
    "The bar is the middle half of a responder's replies, the mark the median; the line leaves a tenth out at each end."
)
show_table(
    [
        {
            "Responder": spread.label,
            "Median words": f"{spread.median:.0f}",
            "Middle half": f"{spread.quarter:.0f} to {spread.three_quarters:.0f}",
            "Cut off at the token limit": "–"
            if spread.cut_share is None
            else f"{spread.cut_share:.0%} of {spread.known}",
            "Replies measured": spread.texts,
        }
        for spread in balance.spreads
    ]
)
if balance.sides:
    longer_by_responder(balance.sides)
    st.caption("Where one responder's reply is nearly always the longer one, length alone tells them apart.")
