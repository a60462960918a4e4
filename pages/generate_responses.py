"""Choose who answers, start a GenerationRun, watch it."""

import pandas as pd
import streamlit as st

from db.catalog import generation_runs, models, responders
from db.comparisons import MOST
from db.models import Project, ResponderKind, Role, RunStatus, Scope
from db.session import reading, session
from generation.base_model import register_base_model
from generation.pairing import Paired, offer_for_ranking
from generation.plan import start_generation
from generation.responders import create_model_responder
from ui.frame import page
from ui.run_status import show_run
from ui.safe import errors_shown, plain

me = page("Generate", Role.MANAGER)
SCOPES = {
    Scope.TRAINING: "Training prompts, to rank",
    Scope.HELD_OUT: "Held-out prompts, to judge blind",
    Scope.ALL: "Both",
}
with reading() as s:
    answered = responders(s, project_id=me.project_id)
    project = s.get_one(Project, me.project_id)
    known_models = models(s)
    busy = any(not run.status.ended for run in generation_runs(s, project_id=me.project_id))

if answered:
    st.subheader("Who answers")
    rows = [
        {
            "Responder": a.responder.label,
            "Kind": a.responder.kind.value.lower(),
            "Model": a.responder.model_version.name if a.responder.model_version else "",
            "Training responses": a.training,
            "Held-out responses": a.held_out,
        }
        for a in answered
    ]
    st.dataframe(pd.DataFrame(rows), hide_index=True, width="stretch")


def sentence(made: Paired) -> str:
    """What offering did."""
    left_out = {
        "were there already": made.already_there,
        "hold the same words only": made.identical,
        "differ in hardly a word and are never offered": made.near_identical,
        "have fewer than two replies with words": made.empty,
    }
    parts = [f"{count:,} {words}" for words, count in left_out.items() if count]
    return f"{made.created:,} new comparisons wait on the Compare page. {'; '.join(parts)}".strip() + "." * bool(parts)


machines = [a.responder for a in answered if a.responder.kind is not ResponderKind.HUMAN]
if machines:
    with st.form("generate"):
        st.subheader("Generate what is missing")
        left, middle, right, last = st.columns([2, 2, 1, 1], vertical_alignment="bottom")
        who = left.selectbox("Responder", machines, format_func=lambda r: r.label)
        scope = middle.selectbox("Prompts", list(SCOPES), format_func=lambda k: SCOPES[k])
        samples = right.number_input(
            "Responses each", 1, 8, 2, help="For training prompts; two make a pair. Held-out prompts get one."
        )
        most = last.number_input(
            "Prompts at most", 1, value=None, placeholder="all", help="Of the training prompts, in the order of import."
        )
        if st.form_submit_button("Start", type="primary", icon=":material/play_arrow:") and who and scope:
            with errors_shown():
                with session() as s:
                    start_generation(
                        s,
                        by=me.reviewer_id,
                        responder_id=who.id,
                        scope=scope,
                        samples=int(samples),
                        prompt_limit=None if most is None else int(most),
                    )
                st.rerun()

with_replies = [a.responder for a in answered if a.training]
if with_replies:
    with st.form("offer"):
        st.subheader("Offer for ranking")
        st.caption("A run offers its own replies in pairs by itself. Here they meet other people's and other models'.")
        whose = st.multiselect(
            "Whose replies", with_replies, default=with_replies, format_func=lambda responder: responder.label
        )
        how = st.radio(
            "How",
            [False, True],
            format_func={False: "In pairs", True: f"All replies to a prompt together, up to {MOST}"}.get,
            horizontal=True,
        )
        if st.form_submit_button("Offer them", icon=":material/rule:"):
            ids = [responder.id for responder in whose]
            with errors_shown():
                with session() as s:
                    made = offer_for_ranking(
                        s, by=me.reviewer_id, project_id=me.project_id, responder_ids=ids, together=bool(how)
                    )
                st.success(sentence(made), icon=":material/check:")

with st.expander("A new responder: a model with instructions", expanded=not machines, icon=":material/add:"):
    if not known_models:
        with errors_shown(stop=True):
            with session() as s:
                register_base_model(s)
            st.rerun()
    with st.form("responder", clear_on_submit=True):
        left, right = st.columns(2)
        name = left.text_input("Name", placeholder="Base model with our instructions", max_chars=80)
        model = right.selectbox("Model", known_models, format_func=lambda m: m.name)
        instructions = st.text_area(
            "Instructions (system prompt)",
            value=project.instructions,
            height=130,
            help="Always sent, in training and in use alike: without them many models put in their own.",
        )
        a, b, c = st.columns(3)
        temperature = a.number_input("Temperature", 0.0, 2.0, 0.9, 0.1, help="Higher makes samples differ more.")
        top_p = b.number_input("Top-p", 0.05, 1.0, 0.95, 0.05)
        max_tokens = c.number_input("Longest reply, tokens", 1, 4096, 160)
        if st.form_submit_button("Make it", type="primary") and model:
            with errors_shown():
                with session() as s:
                    create_model_responder(
                        s,
                        by=me.reviewer_id,
                        project_id=me.project_id,
                        name=name,
                        model_version_id=model.id,
                        instructions=instructions,
                        temperature=temperature,
                        top_p=top_p,
                        max_tokens=int(max_tokens),
                    )
                st.rerun()


@st.fragment(run_every="2s" if busy else None)
def runs() -> None:
    """The runs, newest first, drawn again while one is under way."""
    with reading() as s:
        found = generation_runs(s, project_id=me.project_id)
    if busy and all(run.status.ended for run in found):
        st.rerun()
    for run in found[:10]:
        show_run(run, f"Run {run.id}: {run.responder.label}, {SCOPES[run.scope].lower()}", by=me.reviewer_id)
        if run.status is RunStatus.SUCCEEDED and run.started_at and run.finished_at:
            seconds = (run.finished_at - run.started_at).total_seconds()
            st.caption(f"{run.done:,} of {run.total:,} responses, {run.tokens:,} tokens, {seconds:,.0f} s")
        if run.failed:
            st.warning(
                plain(f"Prompts without an answer: {run.failed}. {run.problem or ''}"), icon=":material/warning:"
            )


st.subheader("Runs")
runs()
