"""What every reply should be, checked on each, and by whom it is kept. Shown to managers; no ranking is touched."""

from contextlib import closing
from math import inf

import streamlit as st

from db.models import Assertion, Claim, Role
from db.session import reading, session
from errors import PickwellError
from generation.asserting import (
    BATCH,
    LONGEST_NAME,
    Failures,
    Share,
    add_assertion,
    assertions,
    end_assertion,
    failures,
    found,
    keep_checked,
    shares,
    unchecked,
    unchecked_count,
)
from generation.assertions import LONGEST_VALUE, TITLES, cleaned_value, languages, sentence
from generation.similarity import left_to_compare, measured
from review.reveals import reveal
from texts.escape import escaped
from ui.checks import share_table
from ui.frame import page
from ui.pairs import show_prompt
from ui.safe import errors_shown, errors_toasted, plain

me = page("Check", Role.MANAGER)
ON_OPENING = 2000
"""Replies checked before the page is drawn; the button checks the rest."""
HINTS = {
    Claim.MATCHES: ("Expression", r"^Dear ", "A regular expression; (?i) at its beginning takes any case."),
    Claim.CONTAINS: ("Words, one or more a line", "refund\nworking days", "All of them, as whole words, in any case."),
    Claim.LACKS: ("Words, one or more a line", "guarantee\nas an AI", "None of them, as whole words, in any case."),
    Claim.ONE_OF: ("Classes, one a line", "refund\ndelivery\nother", "Capitals count."),
    Claim.NO_NEW_NUMBERS: (
        "Numbers that are allowed everywhere (optional)",
        "Free delivery from £30, office hours 9 to 17:30",
        "Paste house facts here: each number in them is allowed.",
    ),
}
"""Label, example and help for what is typed; claims with another kind of box are not here."""


def check_missing(most: float) -> None:
    """Check what has no result yet, in batches that are saved as they are done."""
    with reading() as s:
        waiting = min(most, unchecked_count(s, project_id=me.project_id))
    if not waiting:
        return
    done, bar = 0, st.progress(0.0, text="Checking …")
    while done < waiting:
        with reading() as s:
            some = unchecked(s, project_id=me.project_id, limit=BATCH)
        if not some:
            break
        results = found(some)
        with session() as s:
            keep_checked(s, by=me.reviewer_id, project_id=me.project_id, results=results)
        done += len(some)
        bar.progress(min(1.0, done / waiting), text=f"Checked {done:,} of {int(waiting):,} replies")
    bar.empty()


def compare_meanings() -> None:
    """Measure similarity in a process of its own, and show how far it is."""
    bar = st.progress(0.0, text="Loading the model, some seconds …")
    with errors_shown(), closing(measured(by=me.reviewer_id, project_id=me.project_id)) as running:
        for now in running:
            bar.progress(now.done / max(1, now.total), text=f"Compared {now.done:,} of {now.total:,} replies")
        st.rerun()


def end(assertion_id: int) -> None:
    """End an assertion."""
    with errors_toasted(), session() as s:
        end_assertion(s, by=me.reviewer_id, assertion_id=assertion_id)


def open_pairs(comparison_ids: list[int]) -> None:
    """Give up ranking these, so that their replies may be read with their author."""
    with errors_toasted(), session() as s:
        for comparison_id in comparison_ids:
            reveal(s, by=me.reviewer_id, comparison_id=comparison_id)


def new_assertion() -> None:
    """The form, outside st.form because its second box depends on the first."""
    left, right = st.columns(2)
    claim = left.selectbox("Every reply should be …", list(TITLES), format_func=lambda one: TITLES[one], key="claim")
    name = right.text_input("Name", max_chars=LONGEST_NAME, placeholder=TITLES[claim], key=f"name_{claim}")
    value = typed_value(claim)
    if claim is Claim.LIKE_REFERENCE or claim in (Claim.JSON, Claim.NO_NEW_NUMBERS) or value.strip():
        try:
            st.caption(plain(sentence(claim, cleaned_value(claim, value))))
        except PickwellError as problem:
            st.caption(plain(str(problem)))
    if st.button("Add it", type="primary", icon=":material/add:"):
        with errors_shown():
            with session() as s:
                add_assertion(s, by=me.reviewer_id, project_id=me.project_id, claim=claim, value=value, name=name)
            for key in (f"name_{claim}", f"value_{claim}"):
                st.session_state.pop(key, None)
            st.rerun()


def typed_value(claim: Claim) -> str:
    """The box that fits the claim."""
    key = f"value_{claim}"
    if claim is Claim.LANGUAGE:
        known = languages()
        codes = list(known)
        return st.selectbox(
            "Language", codes, index=codes.index("en"), format_func=lambda code: f"{known[code]} ({code})", key=key
        )
    if claim is Claim.AT_MOST_WORDS:
        return str(st.number_input("Words at most", 1, 100_000, 120, key=key))
    if claim is Claim.LIKE_REFERENCE:
        help_text = "1 is the same. In the sample, two people's replies to one email mostly lie between 0.35 and 0.6."
        return str(st.slider("Least similarity", 0.05, 1.0, 0.4, 0.05, help=help_text, key=key))
    if claim not in HINTS:
        return ""
    label, example, help_text = HINTS[claim]
    if claim is Claim.MATCHES:
        return st.text_input(label, placeholder=example, help=help_text, max_chars=LONGEST_VALUE, key=key)
    return st.text_area(label, placeholder=example, help=help_text, height=110, max_chars=LONGEST_VALUE, key=key)


def listed(standing: list[Assertion]) -> None:
    """The standing assertions, each with what it checks and the button that ends it."""
    for one in standing:
        words, action = st.columns([6, 1], vertical_alignment="center")
        words.html(
            f'<div class="pw-text"><b>{escaped(one.name)}</b><br>{escaped(sentence(one.claim, one.value))}</div>'
        )
        action.button("End", key=f"end_{one.id}", on_click=end, args=(one.id,), width="stretch")


def show_failures(standing: list[Assertion], table: list[Share]) -> None:
    """The replies of one responder that fail one check, one after another."""
    failing = [one for one in table if one.passed < one.checked]
    if not failing:
        st.success("Nothing that was checked has failed.", icon=":material/check:")
        return
    st.subheader("Replies that fail")
    left, right, number = st.columns([3, 3, 1])
    names = {one.id: one.name for one in standing}
    people = {one.responder_id: one.responder for one in failing}
    who = left.selectbox("Replies by", list(people), format_func=lambda i: people[i], key="failing_who")
    mine = [one.assertion_id for one in failing if one.responder_id == who]
    what = right.selectbox("Check", mine, format_func=lambda i: names[i], key="failing_what")
    shown = number.number_input("At most", 1, 200, 10, key="failing_most")
    with reading() as s:
        some = failures(s, by=me.reviewer_id, assertion_id=what, responder_id=who, limit=int(shown))
    kept_back(some)
    for one in some.shown:
        with st.container(border=True):
            show_prompt(one.prompt, one.context, compact=True)
            st.html(
                f'<div class="pw-label pw-note">{escaped(one.detail)}</div>'
                f'<div class="pw-text">{escaped(one.text)}</div>'
            )


def kept_back(some: Failures) -> None:
    """How many of the failing replies are here, and why the others are not."""
    st.caption(f"Here: {len(some.shown):,} of {some.total:,}.")
    if some.kept_to_judge:
        st.caption(
            f"Kept back: {some.kept_to_judge:,} that you may still judge blind. They come once you have, or once the "
            "evaluation is closed."
        )
    if some.kept_to_rank:
        words, action = st.columns([3, 2], vertical_alignment="center")
        words.caption(
            f"Kept back: {some.kept_to_rank:,} in pairs that you may still rank: whoever knows the author ranks the "
            "author."
        )
        action.button(
            "Show some; I will not rank their pairs",
            icon=":material/visibility:",
            on_click=open_pairs,
            args=(list(some.to_rank),),
        )


st.caption("What every reply should be, whoever wrote it. Nothing here changes a ranking, a verdict or a win rate.")
with errors_shown():
    check_missing(ON_OPENING)
with reading() as s:
    standing = list(assertions(s, project_id=me.project_id))
    table = shares(s, by=me.reviewer_id, project_id=me.project_id)
    waiting = unchecked_count(s, project_id=me.project_id)
    to_compare = left_to_compare(s, project_id=me.project_id)
with st.expander("A new check", expanded=not standing, icon=":material/add:"):
    new_assertion()
if not standing:
    st.info("Nothing is checked yet. A good first one: “No invented numbers”.")
    st.stop()
with st.expander(f"What is checked: {len(standing)}", icon=":material/rule:"):
    listed(standing)
if waiting:
    st.caption(f"Replies not checked yet: {waiting:,}.")
    if st.button("Check now", icon=":material/play_arrow:"):
        with errors_shown():
            check_missing(inf)
            st.rerun()
if to_compare:
    st.caption(f"Replies not compared with a person's yet: {to_compare:,}. A hundred take about half a minute.")
    if st.button("Compare meanings", icon=":material/play_arrow:"):
        compare_meanings()
if table:
    st.subheader("By responder")
    share_table(standing, table)
    show_failures(standing, table)
else:
    st.info("There are no replies to check yet. Import or generate some.")
