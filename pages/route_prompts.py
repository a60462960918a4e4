"""Say which prompts no model should answer; look at what a rule would find before it is saved, and end it."""

import streamlit as st

from db.models import ResponderKind, Role
from db.session import reading, session
from generation.responders import list_responders
from intake.routing import (
    LONGEST_PATTERN,
    LONGEST_REASON,
    NewRule,
    add_rule,
    common_answers,
    count_by_rule,
    end_rule,
    preview_routing,
    routed_prompts,
)
from texts.escape import escape_html
from ui.frame import page
from ui.safe import errors_shown, errors_toasted, plain, show_table, show_text

me = page("Route", Role.MANAGER)
KINDS = {"pattern": "Words or a pattern in the text", "classifier": "What a model says of the prompt"}
PAGE = 25
ROUND = f"route_round_{me.project_id}"
DONE = f"route_done_{me.project_id}"


def end(rule_id: int) -> None:
    with errors_toasted():
        with session() as s:
            ending = end_rule(s, by=me.reviewer_id, rule_id=rule_id)
        also = f" {ending.still_routed} stay with people, by another rule." if ending.still_routed else ""
        st.session_state[DONE] = f"Models may answer {ending.freed} prompts again.{also}"


def save(rule: NewRule) -> None:
    with errors_toasted():
        with session() as s:
            _, routed = add_rule(s, **me.ids, rule=rule)
        st.session_state[DONE] = f"The rule stands. It routes {routed} prompts to people."
        st.session_state[ROUND] = st.session_state.get(ROUND, 0) + 1


def new_rule(turn: int) -> NewRule | None:
    """The form; None until there is something to try out."""
    key, words = f"route_kind_{turn}", KINDS.__getitem__
    kind = st.segmented_control(
        "Find them by", list(KINDS), default="pattern", format_func=words, required=True, key=key
    )
    reason = st.text_input(
        "Why do people answer these?",
        placeholder="legal threats",
        max_chars=LONGEST_REASON,
        key=f"route_reason_{turn}",
        help="A few words. Whoever writes the replies sees them.",
    )
    if kind == "pattern":
        pattern = st.text_input(
            "Words or pattern",
            placeholder="solicitor|small claims|trading standards",
            max_chars=LONGEST_PATTERN,
            key=f"route_pattern_{turn}",
            help="A regular expression, whatever the case, looked for in the text and its context. “|” means or.",
        )
        return NewRule(reason=reason, pattern=pattern) if pattern.strip() else None
    with reading() as s:
        machines = {
            counts.responder.id: counts.responder.label
            for counts in list_responders(s, project_id=me.project_id)
            if counts.responder.kind is not ResponderKind.HUMAN
        }
    if not machines:
        st.info("No model answers in this project yet. Make one on the Generate page that is told to classify.")
        return None
    who = st.selectbox("Classifier", list(machines), format_func=machines.__getitem__, key=f"route_classifier_{turn}")
    with reading() as s:
        usual = common_answers(s, by=me.reviewer_id, classifier_id=who)
    if usual:
        st.caption("It said so far: " + plain("; ".join(f"{text} ({count})" for text, count in usual)))
    else:
        st.caption("It has answered nothing yet: generate one response each to all prompts on the Generate page.")
    answer = st.text_input(
        "The answer that means people",
        placeholder="people",
        max_chars=LONGEST_REASON,
        key=f"route_answer_{turn}",
        help="Whatever the case; alone, or as a value in JSON.",
    )
    return NewRule(reason=reason, classifier_id=who, answer=answer) if answer.strip() else None


with reading() as s:
    rule_counts = count_by_rule(s, project_id=me.project_id)
st.caption(
    "Some prompts should be answered by people only. Models do not answer them and do not learn from what people say "
    "of them, evaluations leave them out, and whoever writes replies is given them first."
)
if DONE in st.session_state:
    st.success(st.session_state.pop(DONE), icon=":material/check:")
for count in rule_counts:
    with st.container(border=True):
        words, ending = st.columns([6, 1], vertical_alignment="center")
        standing = count.rule
        how = f"{count.classifier} says “{standing.answer}”" if count.classifier else f"pattern: {standing.pattern}"
        words.html(
            f'<div class="pw-text"><b>{escape_html(standing.reason)}</b> · {escape_html(how)}</div>'
            f"<div>{count.prompts:,} prompts ({count.held_out:,} held out), {count.answered:,} with a person's reply; "
            f"since {standing.created_at:%d %b %Y}</div>"
        )
        ending.button("End it", key=f"end_{standing.id}", on_click=end, args=(standing.id,), width="stretch")

with st.expander("A new rule", expanded=not rule_counts, icon=":material/add:"):
    rule = new_rule(st.session_state.get(ROUND, 0))
    if rule is not None:
        with errors_shown():
            with st.spinner("Looking …"), reading() as s:
                preview = preview_routing(s, **me.ids, rule=rule)
            st.write(f"**{preview.sentence}**")
            for text in preview.first:
                show_text(text)
            st.button("Save the rule", type="primary", on_click=save, args=(rule,), icon=":material/check:")

total = sum(count.prompts for count in rule_counts)
if total:
    st.subheader(f"Routed to people: {total:,}")
    pages = -(-total // PAGE)
    place = min(st.session_state.get("routed_page", 1), pages)
    with reading() as s:
        shown = routed_prompts(s, **me.ids, page=place, size=PAGE)
    show_table(
        [
            {
                "Why": prompt.reason,
                "A person's reply": "yes" if prompt.answered else "not yet",
                "Side": "held out" if prompt.held_out else "training",
                "Prompt": prompt.text,
            }
            for prompt in shown
        ]
    )
    if pages > 1:
        st.pagination(pages, key="routed_page")
