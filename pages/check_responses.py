"""What every reply should be, checked on each, and by whom it is kept. Shown to managers; no ranking is touched."""

from contextlib import closing
from functools import partial
from math import inf

import streamlit as st

from db.models import Assertion, Claim, Role
from db.session import reading, session
from errors import PickwellError
from generation.asserting import (
    BATCH,
    LONGEST_NAME,
    FailedReplies,
    PassRate,
    add_assertion,
    count_unchecked,
    end_assertion,
    failed_replies,
    find_unchecked,
    list_assertions,
    pass_rates,
    run_assertions,
    save_results_as_manager,
)
from generation.assertions import LONGEST_VALUE, TITLES, clean_value, describe_claim, languages
from generation.similarity import count_uncompared, run_comparison
from review.reveals import reveal_comparison
from texts.escape import escape_html
from ui.checks import show_pass_rates
from ui.frame import page
from ui.pairs import show_prompt
from ui.safe import act, errors_shown, errors_toasted, plain

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
        waiting = min(most, count_unchecked(s, project_id=me.project_id))
    if not waiting:
        return
    done, bar = 0, st.progress(0.0, text="Checking …")
    while done < waiting:
        with reading() as s:
            replies = find_unchecked(s, project_id=me.project_id, limit=BATCH)
        if not replies:
            break
        results = run_assertions(replies)
        with session() as s:
            save_results_as_manager(s, **me.ids, results=results)
        done += len(replies)
        bar.progress(min(1.0, done / waiting), text=f"Checked {done:,} of {int(waiting):,} replies")
    bar.empty()


def compare_meanings() -> None:
    """Measure similarity in a process of its own, and show how far it is."""
    bar = st.progress(0.0, text="Loading the model, some seconds …")
    with errors_shown(), closing(run_comparison(**me.ids)) as running:
        for now in running:
            bar.progress(now.done / max(1, now.total), text=f"Compared {now.done:,} of {now.total:,} replies")
        st.rerun()


def open_pairs(comparison_ids: list[int]) -> None:
    """Give up ranking these, so that their replies may be read with their author."""
    with errors_toasted(), session() as s:
        for comparison_id in comparison_ids:
            reveal_comparison(s, by=me.reviewer_id, comparison_id=comparison_id)


def new_assertion() -> None:
    """The form, outside st.form because its second box depends on the first."""
    left, right = st.columns(2)
    claim = left.selectbox("Every reply should be …", list(TITLES), format_func=TITLES.__getitem__, key="claim")
    name = right.text_input("Name", max_chars=LONGEST_NAME, placeholder=TITLES[claim], key=f"name_{claim}")
    value = typed_value(claim)
    if claim is Claim.LIKE_REFERENCE or claim in (Claim.JSON, Claim.NO_NEW_NUMBERS) or value.strip():
        try:
            st.caption(plain(describe_claim(claim, clean_value(claim, value))))
        except PickwellError as problem:
            st.caption(plain(str(problem)))
    if st.button("Add it", type="primary", icon=":material/add:"):
        with errors_shown():
            with session() as s:
                add_assertion(s, **me.ids, claim=claim, value=value, name=name)
            for key in (f"name_{claim}", f"value_{claim}"):
                st.session_state.pop(key, None)
            st.rerun()


def typed_value(claim: Claim) -> str:
    key = f"value_{claim}"
    if claim is Claim.LANGUAGE:
        names = {code: f"{name} ({code})" for code, name in languages().items()}
        start = list(names).index("en")
        return st.selectbox("Language", list(names), index=start, format_func=names.__getitem__, key=key)
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


def show_assertions(assertions: list[Assertion]) -> None:
    for assertion in assertions:
        words, action = st.columns([6, 1], vertical_alignment="center")
        claim = escape_html(describe_claim(assertion.claim, assertion.value))
        words.html(f'<div class="pw-text"><b>{escape_html(assertion.name)}</b><br>{claim}</div>')
        end = partial(act, end_assertion, by=me.reviewer_id, assertion_id=assertion.id)
        action.button("End", key=f"end_{assertion.id}", on_click=end, width="stretch")


def show_failures(assertions: list[Assertion], rates: list[PassRate]) -> None:
    failing = [rate for rate in rates if rate.passed < rate.checked]
    if not failing:
        st.success("Nothing that was checked has failed.", icon=":material/check:")
        return
    st.subheader("Replies that fail")
    left, right, number = st.columns([3, 3, 1])
    names = {assertion.id: assertion.name for assertion in assertions}
    responders = {rate.responder_id: rate.responder for rate in failing}
    who = left.selectbox("Replies by", list(responders), format_func=responders.__getitem__, key="failing_who")
    failing_ids = [rate.assertion_id for rate in failing if rate.responder_id == who]
    what = right.selectbox("Check", failing_ids, format_func=names.__getitem__, key="failing_what")
    limit = number.number_input("At most", 1, 200, 10, key="failing_most")
    with reading() as s:
        replies = failed_replies(s, by=me.reviewer_id, assertion_id=what, responder_id=who, limit=int(limit))
    show_withheld(replies)
    for reply in replies.shown:
        with st.container(border=True):
            show_prompt(reply.prompt, reply.context, compact=True)
            st.html(
                f'<div class="pw-label pw-note">{escape_html(reply.detail)}</div>'
                f'<div class="pw-text">{escape_html(reply.text)}</div>'
            )


def show_withheld(replies: FailedReplies) -> None:
    st.caption(f"Here: {len(replies.shown):,} of {replies.total:,}.")
    if replies.withheld_to_judge:
        st.caption(
            f"Kept back: {replies.withheld_to_judge:,} that you may still judge blind. They come once you have, or "
            "once the evaluation is closed."
        )
    if replies.withheld_to_rank:
        words, action = st.columns([3, 2], vertical_alignment="center")
        words.caption(
            f"Kept back: {replies.withheld_to_rank:,} in pairs that you may still rank: whoever knows the author ranks "
            "the author."
        )
        label, ids = "Show some; I will not rank their pairs", list(replies.comparison_ids)
        action.button(label, icon=":material/visibility:", on_click=open_pairs, args=(ids,))


st.caption("What every reply should be, whoever wrote it. Nothing here changes a ranking, a verdict or a win rate.")
with errors_shown():
    check_missing(ON_OPENING)
with reading() as s:
    assertions = list(list_assertions(s, project_id=me.project_id))
    rates = pass_rates(s, **me.ids)
    waiting = count_unchecked(s, project_id=me.project_id)
    to_compare = count_uncompared(s, project_id=me.project_id)
with st.expander("A new check", expanded=not assertions, icon=":material/add:"):
    new_assertion()
if not assertions:
    st.info("Nothing is checked yet. A good first one: “No invented numbers”.")
    st.stop()
with st.expander(f"What is checked: {len(assertions)}", icon=":material/rule:"):
    show_assertions(assertions)
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
if rates:
    st.subheader("By responder")
    show_pass_rates(assertions, rates)
    show_failures(assertions, rates)
else:
    st.info("There are no replies to check yet. Import or generate some.")
