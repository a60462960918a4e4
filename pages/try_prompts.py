"""Write a prompt, try it on a handful of training prompts, see what changed, keep what is good."""

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from db.lookup import list_models
from db.models import Project, Responder, Response, Role
from db.session import reading, session
from generation.base_model import register_base_model
from generation.plan import list_generation_runs
from generation.responders import Sampling, keep_responder, list_model_responders, prompt_columns, spec_of
from generation.trials import (
    MAX_TRIAL_PROMPTS,
    cost_of,
    differences,
    list_trial_prompts,
    list_tried_versions,
    render_for_model,
    start_trial,
    sum_known,
    training_prompts,
    trial_answers,
)
from llm.template import PromptFormat
from texts.diff import word_diff
from texts.escape import escape_html, show_hidden
from ui.frame import page
from ui.pairs import show_diff, show_prompt
from ui.responder_form import InitialSpec, responder_form
from ui.run_status import show_run
from ui.safe import errors_shown, errors_toasted, plain, show_text

me = page("Try prompts", Role.MANAGER)
HANDFUL = 5
"""Prompts that a first try is run on."""

with errors_shown(stop=True), session() as s:
    if not list_models(s):
        register_base_model(s)
with reading() as s:
    project = s.get_one(Project, me.project_id)
    known_models = list_models(s)
    columns = prompt_columns(s, project_id=me.project_id)
    bases = list_model_responders(s, project_id=me.project_id)
    prompts = {prompt.id: prompt for prompt in training_prompts(s, project_id=me.project_id)}
    busy = any(run.trial and not run.status.ended for run in list_generation_runs(s, project_id=me.project_id))

st.caption(
    "Try prompting before training: it costs minutes. What you keep here can be compared with people and models."
)
if not prompts:
    st.info("There are no training prompts yet. Import some first.", icon=":material/upload_file:")
    st.stop()


def in_one_line(prompt_id: int) -> str:
    words = " ".join(prompts[prompt_id].text.split())
    return show_hidden(words if len(words) < 90 else words[:89] + "…")


def initial_spec(base: Responder | None) -> InitialSpec:
    if base is None:
        return InitialSpec(known_models[0].id, PromptFormat(project.instructions), Sampling())
    return InitialSpec(**vars(spec_of(base)))


left, right = st.columns([1, 1], gap="large")
with left:
    st.subheader("The prompt")
    names = {responder.id: responder.label for responder in bases}
    base_id = st.selectbox(
        "Start from",
        [None, *names],
        format_func=lambda responder_id: names.get(responder_id, "The project's instructions"),
        key="try_base",
        help="A changed prompt becomes a new version; the old one and its replies stay as they are.",
    )
    base = next((responder for responder in bases if responder.id == base_id), None)
    spec = responder_form(f"try_{base_id}", known_models, initial_spec(base), columns=columns)

with right:
    st.subheader("What the model reads")
    seen = st.selectbox("For the prompt", list(prompts), format_func=in_one_line, key="try_seen")
    if spec is not None:
        with errors_shown():
            with reading() as s:
                text, note = render_for_model(s, spec=spec, prompt=prompts[seen])
            st.html(f'<div class="pw-card pw-text pw-read">{escape_html(text)}</div>')
            st.caption(note)

chosen = st.multiselect(
    "Try it on",
    list(prompts),
    default=list(prompts)[:HANDFUL],
    format_func=in_one_line,
    max_selections=MAX_TRIAL_PROMPTS,
    key="try_on",
)
if st.button("Try it", type="primary", icon=":material/play_arrow:", disabled=spec is None):
    with errors_shown():
        assert spec is not None
        with session() as s:
            version = start_trial(s, **me.ids, spec=spec, prompt_ids=chosen, base=base_id)
        st.session_state["try_after"] = version.id
        st.session_state.pop("try_before", None)
        st.rerun()


def keep_version(responder_id: int) -> None:
    name = st.session_state.get(f"keep_name_{responder_id}", "")
    with errors_toasted():
        with session() as s:
            label = keep_responder(s, by=me.reviewer_id, responder_id=responder_id, name=name).label
        st.toast(plain(f"{label} is among the responders now: generate its replies on the Generate page."))


@st.fragment(run_every="1s" if busy else None)
def show_versions() -> None:
    """Two versions side by side, drawn again while replies come in."""
    with reading() as s:
        versions = list_tried_versions(s, project_id=me.project_id)
        by_id = {version.responder.id: version.responder for version in versions}
        runs = [run for run in list_generation_runs(s, project_id=me.project_id) if run.trial]
    if busy and all(run.status.ended for run in runs):
        st.rerun()
    for run in runs[:1]:
        if not run.status.ended or run.error or run.problem:
            show_run(run, "Trying", by=me.reviewer_id)
        if run.problem:
            st.warning(plain(run.problem), icon=":material/warning:")
    if not by_id:
        return
    st.subheader("Side by side")
    after_id = st.session_state.get("try_after")
    if after_id not in by_id:
        after_id = next(iter(by_id))
    after = by_id[after_id]
    others = [None, *(responder_id for responder_id in by_id if responder_id != after_id)]
    first, second = st.columns(2)
    newest = others[1] if len(others) > 1 else None
    default = after.parent_id if after.parent_id in by_id else newest
    before_id = first.selectbox(
        "Before",
        others,
        index=others.index(default),
        format_func=lambda responder_id: by_id[responder_id].label if responder_id else "nothing",
    )
    chosen_after = second.selectbox(
        "After",
        list(by_id),
        index=list(by_id).index(after_id),
        format_func=lambda responder_id: by_id[responder_id].label,
    )
    if chosen_after != after_id:
        st.session_state["try_after"] = chosen_after
        st.rerun(scope="fragment")
    shown = [after]
    if before_id is not None:
        shown = [by_id[before_id], after]
        show_differences(*shown)
    with reading() as s:
        asked = list_trial_prompts(s, responder_ids=[version.id for version in shown])
        prompt_ids = [prompt.id for prompt in asked]
        replies = [trial_answers(s, responder=version, prompt_ids=prompt_ids) for version in shown]
    for column, version, by_prompt in zip(st.columns(len(shown)), shown, replies, strict=True):
        show_total(column, version, list(by_prompt.values()))
    for prompt in asked:
        show_prompt(prompt.text, None, compact=True)
        for column, version, by_prompt in zip(st.columns(len(shown)), shown, replies, strict=True):
            answer = by_prompt.get(prompt.id)
            with column:
                if answer is None:
                    st.html('<div class="pw-card pw-text pw-waiting">No reply yet.</div>')
                    continue
                show_text(answer.text)
                st.caption(cost_in_words(version, [answer], cut=answer.finish_reason == "length"))
    if not after.listed:
        name, button = st.columns([3, 1], vertical_alignment="bottom")
        name.text_input("Keep it under the name", value=after.name, key=f"keep_name_{after.id}", max_chars=80)
        button.button(
            "Keep as responder",
            type="primary",
            icon=":material/bookmark_add:",
            on_click=keep_version,
            args=(after.id,),
            width="stretch",
        )


def show_differences(before: Responder, after: Responder) -> None:
    changes = differences(before, after)
    if not changes:
        st.caption("The two are the same.")
    for change in changes:
        st.html(f'<div class="pw-label">{escape_html(change.part)}</div>')
        show_diff(word_diff(change.before, change.after))


def show_total(place: DeltaGenerator, version: Responder, replies: list[Response]) -> None:
    count = "1 reply" if len(replies) == 1 else f"{len(replies)} replies"
    words = escape_html(cost_in_words(version, replies, cut=False))
    place.html(f'<div class="pw-label">{escape_html(version.label)}: {count} · {words}</div>')


def cost_in_words(version: Responder, replies: list[Response], *, cut: bool) -> str:
    """Tokens, seconds and cost of the replies together."""
    tokens_in = sum_known([reply.prompt_tokens for reply in replies])
    tokens_out = sum_known([reply.completion_tokens for reply in replies])
    seconds = sum_known([reply.seconds for reply in replies])
    cost = sum_known([cost_of(version, reply.prompt_tokens, reply.completion_tokens) for reply in replies])
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


show_versions()
