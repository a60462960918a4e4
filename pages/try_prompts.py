"""Write a prompt, try it on a handful of training prompts, see what changed, keep what is good."""

import streamlit as st

from db.lookup import models
from db.models import Project, Prompt, Responder, Response, Role
from db.session import reading, session
from generation.base_model import register_base_model
from generation.plan import generation_runs
from generation.responders import Sampling, columns_of, contestant_of, keep, model_responders
from generation.trials import (
    MOST,
    answers,
    asked_prompts,
    cost_of,
    differences,
    read_by_model,
    start_trial,
    total,
    training_prompts,
    tried,
)
from llm.template import PromptFormat
from texts.diff import word_diff
from texts.escape import escaped, visible
from ui.contestant import Start, contestant_boxes
from ui.frame import page
from ui.pairs import show_diff
from ui.run_status import show_run
from ui.safe import errors_shown, errors_toasted, plain

me = page("Try prompts", Role.MANAGER)
HANDFUL = 5
"""Prompts that a first try is run on."""

with errors_shown(stop=True), session() as s:
    if not models(s):
        register_base_model(s)
with reading() as s:
    project = s.get_one(Project, me.project_id)
    known_models = models(s)
    columns = columns_of(s, project_id=me.project_id)
    bases = model_responders(s, project_id=me.project_id)
    versions = tried(s, project_id=me.project_id)
    prompts = {one.id: one for one in training_prompts(s, project_id=me.project_id)}
    busy = any(run.trial and not run.status.ended for run in generation_runs(s, project_id=me.project_id))

st.caption(
    "Try prompting before training: it costs minutes. What you keep here can be compared with people and models."
)
if not prompts:
    st.info("There are no training prompts yet. Import some first.", icon=":material/upload_file:")
    st.stop()


def short(prompt: Prompt) -> str:
    """A prompt in one line."""
    words = " ".join(prompt.text.split())
    return visible(words if len(words) < 90 else words[:89] + "…")


def start_of(base: Responder | None) -> Start:
    """What the boxes begin with."""
    if base is None:
        return Start(known_models[0].id, PromptFormat(project.instructions), Sampling())
    was = contestant_of(base)
    return Start(was.model, was.prompt, was.sampling)


left, right = st.columns([1, 1], gap="large")
with left:
    st.subheader("The prompt")
    names = {one.id: one.label for one in bases}
    base_id = st.selectbox(
        "Start from",
        [None, *names],
        format_func=lambda one: names.get(one, "The project's instructions"),
        key="try_base",
        help="A changed prompt becomes a new version; the old one and its replies stay as they are.",
    )
    base = next((one for one in bases if one.id == base_id), None)
    contestant = contestant_boxes(f"try_{base_id}", known_models, start_of(base), columns=columns)

with right:
    st.subheader("What the model reads")
    seen = st.selectbox("For the prompt", list(prompts), format_func=lambda one: short(prompts[one]), key="try_seen")
    if contestant is not None:
        with errors_shown():
            with reading() as s:
                text, note = read_by_model(s, contestant=contestant, prompt=prompts[seen])
            st.html(f'<div class="pw-card pw-text pw-read">{escaped(text)}</div>')
            st.caption(note)

chosen = st.multiselect(
    "Try it on",
    list(prompts),
    default=list(prompts)[:HANDFUL],
    format_func=lambda one: short(prompts[one]),
    max_selections=MOST,
    key="try_on",
)
if st.button("Try it", type="primary", icon=":material/play_arrow:", disabled=contestant is None):
    with errors_shown():
        assert contestant is not None
        with session() as s:
            made = start_trial(
                s,
                by=me.reviewer_id,
                project_id=me.project_id,
                contestant=contestant,
                prompt_ids=chosen,
                base=base_id,
            )
            made_id = made.id
        st.session_state["try_after"] = made_id
        st.session_state.pop("try_before", None)
        st.rerun()


def keep_it(responder_id: int) -> None:
    """Take a version among the responders."""
    with errors_toasted():
        with session() as s:
            kept = keep(
                s,
                by=me.reviewer_id,
                responder_id=responder_id,
                name=st.session_state.get(f"keep_name_{responder_id}", ""),
            )
            label = kept.label
        st.toast(plain(f"{label} is among the responders now: generate its replies on the Generate page."))


@st.fragment(run_every="1s" if busy else None)
def results() -> None:
    """Two versions side by side, drawn again while replies come in."""
    with reading() as s:
        found = tried(s, project_id=me.project_id)
        runs = [run for run in generation_runs(s, project_id=me.project_id) if run.trial]
    if busy and all(run.status.ended for run in runs):
        st.rerun()
    for run in runs[:1]:
        if not run.status.ended or run.error or run.problem:
            show_run(run, "Trying", by=me.reviewer_id)
        if run.problem:
            st.warning(plain(run.problem), icon=":material/warning:")
    if not found:
        return
    st.subheader("Side by side")
    by_id = {one.responder.id: one for one in found}
    after_id = st.session_state.get("try_after")
    if after_id not in by_id:
        after_id = found[0].responder.id
    parent_id = by_id[after_id].responder.parent_id
    others = [None, *(one for one in by_id if one != after_id)]
    first, second = st.columns(2)
    newest = others[1] if len(others) > 1 else None
    default = parent_id if parent_id is not None and parent_id in others else newest
    before_id = first.selectbox(
        "Before",
        others,
        index=others.index(default),
        format_func=lambda one: by_id[one].responder.label if one else "nothing",
    )
    chosen_after = second.selectbox(
        "After", list(by_id), index=list(by_id).index(after_id), format_func=lambda one: by_id[one].responder.label
    )
    if chosen_after != after_id:
        st.session_state["try_after"] = chosen_after
        st.rerun(scope="fragment")
    after = by_id[after_id].responder
    before = by_id[before_id].responder if before_id else None
    shown = [one for one in (before, after) if one is not None]
    if before is not None:
        _show_differences(before, after)
    with reading() as s:
        asked = asked_prompts(s, responder_ids=[one.id for one in shown])
        replies = {one.id: answers(s, responder=one, prompt_ids=[p.id for p in asked]) for one in shown}
    _show_totals(shown, replies)
    for prompt in asked:
        st.html(f'<div class="pw-card pw-prompt pw-compact"><div class="pw-text">{escaped(prompt.text)}</div></div>')
        for column, one in zip(st.columns(len(shown)), shown, strict=True):
            answer = replies[one.id].get(prompt.id)
            with column:
                if answer is None:
                    st.html('<div class="pw-card pw-text pw-waiting">No reply yet.</div>')
                    continue
                read, written, cut = answer.prompt_tokens, answer.completion_tokens, answer.finish_reason == "length"
                st.html(f'<div class="pw-card pw-text">{escaped(answer.text)}</div>')
                st.caption(_took(read, written, answer.seconds, cost_of(one, read, written), cut))
    if not after.kept:
        name, button = st.columns([3, 1], vertical_alignment="bottom")
        name.text_input("Keep it under the name", value=after.name, key=f"keep_name_{after.id}", max_chars=80)
        button.button(
            "Keep as responder",
            type="primary",
            icon=":material/bookmark_add:",
            on_click=keep_it,
            args=(after.id,),
            width="stretch",
        )


def _show_differences(before: Responder, after: Responder) -> None:
    found = differences(before, after)
    if not found:
        st.caption("The two are the same.")
    for one in found:
        st.html(f'<div class="pw-label">{escaped(one.part)}</div>')
        show_diff(word_diff(one.before, one.after))


def _show_totals(shown: list[Responder], replies: dict[int, dict[int, Response]]) -> None:
    for column, one in zip(st.columns(len(shown)), shown, strict=True):
        given = list(replies[one.id].values())
        count = len(given)
        words = _took(
            total([answer.prompt_tokens for answer in given]),
            total([answer.completion_tokens for answer in given]),
            total([answer.seconds for answer in given]),
            total([cost_of(one, answer.prompt_tokens, answer.completion_tokens) for answer in given]),
            cut=False,
        )
        column.html(
            f'<div class="pw-label">{escaped(one.label)}: {count} '
            f"{'reply' if count == 1 else 'replies'} · {escaped(words)}</div>"
        )


def _took(
    tokens_in: float | None, tokens_out: float | None, seconds: float | None, cost: float | None, cut: bool
) -> str:
    """Tokens, seconds and cost in words."""
    parts = []
    if tokens_in is not None:
        parts.append(f"{tokens_in:,.0f} tokens read")
    if tokens_out is not None:
        parts.append(f"{tokens_out:,.0f} written" + (", cut at the longest reply" if cut else ""))
    if seconds is not None:
        parts.append(f"{seconds:.1f} s")
    if cost is not None:
        parts.append(f"US$ {cost:.4f}" if cost < 1 else f"US$ {cost:.2f}")
    return " · ".join(parts) or "no counts"


results()
