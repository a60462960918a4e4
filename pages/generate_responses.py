"""Choose who answers, start a GenerationRun, watch it."""

import streamlit as st

from db.comparisons import MAX_RESPONSES
from db.lookup import list_models, newest_parity_checks
from db.models import ChatLayout, GenerationRun, ParityCheck, Project, Responder, ResponderKind, Role, RunStatus, Scope
from db.session import reading, session
from generation.adapters import add_adapter
from generation.base_model import add_model, register_base_model
from generation.pairing import PairingCounts, offer_for_ranking
from generation.parity_check import request_check
from generation.plan import list_generation_runs, responder_labels, start_generations
from generation.responders import Sampling, create_responder, list_responders
from llm.template import PromptFormat
from ui.frame import page
from ui.responder_form import InitialSpec, responder_form
from ui.run_status import show_run
from ui.safe import WHOLE_TABLE_ROWS, errors_shown, plain, saving, show_table

me = page("Generate", Role.MANAGER)
SCOPES = {
    Scope.TRAINING: "Training prompts, to rank",
    Scope.HELD_OUT: "Held-out prompts, to judge blind",
    Scope.ALL: "Both",
}
with reading() as s:
    responder_counts = list_responders(s, project_id=me.project_id)
    project = s.get_one(Project, me.project_id)
    known_models = list_models(s)
    model_ids = [model.id for model in known_models]
    checking = any(not check.status.ended for check in newest_parity_checks(s, model_version_ids=model_ids).values())
    busy = any(not run.status.ended for run in list_generation_runs(s, project_id=me.project_id))

LAYOUTS = {
    None: "The model's own chat template",
    ChatLayout.ALPACA: "Alpaca: ### Instruction, ### Input, ### Response",
    ChatLayout.PLAIN: "Plain: the input, ###, the output",
}


def model_of(responder: Responder) -> str:
    """The model in a table's cell, with what kind of adapter it is."""
    version = responder.model_version
    if version is None:
        return f"{responder.endpoint_model} at {responder.endpoint_url}" if responder.endpoint_url else ""
    return f"{version.name} ({version.adapter.value.lower()})" if version.adapter else version.name


if responder_counts:
    st.subheader("Who answers")
    rows = [
        {
            "Responder": counts.responder.label,
            "Kind": counts.responder.kind.value.lower(),
            "Model": model_of(counts.responder),
            "Training responses": f"{counts.training:,}",
            "Held-out responses": f"{counts.held_out:,}",
        }
        for counts in responder_counts
    ]
    show_table(rows, whole=len(rows) <= WHOLE_TABLE_ROWS)


def describe_pairs(made: PairingCounts) -> str:
    left_out = {
        "were there already": made.already_there,
        "hold the same words only": made.identical,
        "differ in hardly a word and are never offered": made.near_identical,
        "have fewer than two replies with words": made.empty,
    }
    parts = [f"{count:,} {words}" for words, count in left_out.items() if count]
    return f"{made.created:,} new comparisons wait on the Compare page. {'; '.join(parts)}".strip() + "." * bool(parts)


machines = [
    responder
    for responder in (counts.responder for counts in responder_counts)
    if responder.kind is not ResponderKind.HUMAN
    and (responder.model_version is None or responder.model_version.retired_at is None)
]
if machines:
    with st.form("generate"):
        st.subheader("Generate what is missing")
        # in a column, Streamlit keeps the chosen ones on one line and cuts it
        who = st.multiselect(
            "Responders",
            machines,
            default=machines[:1],
            format_func=lambda r: r.label,
            help="Those that one engine can answer for share a run: one model with several prompts, or a base with its "
            "adapters where they are loaded beside it. Below, their replies can be offered against each other.",
        )
        left, middle, right = st.columns([2, 1, 1], vertical_alignment="bottom")
        scope = left.selectbox("Prompts", list(SCOPES), format_func=SCOPES.__getitem__)
        samples = middle.number_input(
            "Responses each", 1, 8, 2, help="For training prompts; two make a pair. Held-out prompts get one."
        )
        most = right.number_input(
            "Prompts at most", 1, value=None, placeholder="all", help="Of the training prompts, in the order of import."
        )
        if st.form_submit_button("Start", type="primary", icon=":material/play_arrow:") and who and scope:
            ids, limit = [responder.id for responder in who], None if most is None else int(most)
            with saving() as s:
                start_generations(
                    s, by=me.reviewer_id, responder_ids=ids, scope=scope, samples=int(samples), prompt_limit=limit
                )

with_replies = [counts.responder for counts in responder_counts if counts.training]
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
            format_func={False: "In pairs", True: f"All replies to a prompt together, up to {MAX_RESPONSES}"}.get,
            horizontal=True,
        )
        if st.form_submit_button("Offer them", icon=":material/rule:"):
            ids = [responder.id for responder in whose]
            with errors_shown():
                with session() as s:
                    made = offer_for_ranking(s, **me.ids, responder_ids=ids, together=bool(how))
                st.success(describe_pairs(made), icon=":material/check:")

if not known_models:
    with saving(stop=True) as s:
        register_base_model(s)
with st.expander("A new responder: a model with instructions", expanded=not machines, icon=":material/add:"):
    st.caption("To write a prompt and see what it does before you keep it, use the page Try prompts.")
    name = st.text_input("Name", placeholder="Base model with our instructions", max_chars=80, key="responder_name")
    start = InitialSpec(known_models[0].id if known_models else None, PromptFormat(project.instructions), Sampling())
    spec = responder_form("responder", known_models, start, columns=(), templates=False)
    if st.button("Make it", type="primary", disabled=spec is None) and spec is not None:
        with saving() as s:
            create_responder(s, **me.ids, name=name, spec=spec)


@st.fragment(run_every="2s" if checking else None)
def show_models() -> None:
    with reading() as s:
        checks = newest_parity_checks(s, model_version_ids=model_ids)
    if checking and all(check.status.ended for check in checks.values()):
        st.rerun()
    for model in known_models:
        check = checks.get(model.id)
        if check is not None and not (check.status.ended and check.passed is not None):
            show_run(check, f"Check of how {model.name} is served", by=me.reviewer_id)
            continue
        words, button = st.columns([5, 1], vertical_alignment="center")
        words.markdown(f"**{plain(model.name)}** · {plain(check_words(check))}")
        if button.button("Check" if check is None else "Check again", key=f"check_{model.id}", width="stretch"):
            with saving() as s:
                request_check(s, **me.ids, model_version_id=model.id)
        if check is not None and check.passed is False:
            st.error(plain(check.problem or ""), icon=":material/block:")


def check_words(check: ParityCheck | None) -> str:
    if check is None:
        return "never checked whether it is served exactly as it was trained"
    if not check.passed:
        return "may not answer"
    if check.largest_difference is None:
        return f"{check.conversations} conversations come out right; {check.engine} tells no probabilities to compare"
    return (
        f"served as trained: {check.conversations} conversations token by token; {check.tokens} log-probabilities "
        f"differ by at most {check.largest_difference:.2g} nats ({check.dtype}, {check.engine})"
    )


with st.expander("How models are served", icon=":material/verified:"):
    st.caption(
        "A model behaves in use as it was trained only if both read the same tokens. A check runs after every training "
        "and whenever you ask; a model that fails it may not answer."
    )
    show_models()

WHOLE, ADAPTER = "A whole model", "An adapter on one of the models here"
with st.expander("Add a model", icon=":material/deployed_code:"):
    what = st.radio("What", [WHOLE, ADAPTER], horizontal=True, label_visibility="collapsed")
    with st.form("model", clear_on_submit=True):
        left, right = st.columns([1, 2])
        model_name = left.text_input("Name", max_chars=80)
        place = right.text_input(
            "Folder on this machine" if what == ADAPTER else "Folder on this machine, or hub id",
            help="Weights as safetensors only: other kinds of files can run code as they are loaded.",
        )
        layout, base, quantised = None, None, False
        if what == WHOLE:
            layout = st.selectbox(
                "Layout",
                [None, *ChatLayout],
                format_func=LAYOUTS.__getitem__,
                help="A model with a chat template always uses its own.",
            )
        else:
            a, b = st.columns([2, 1], vertical_alignment="bottom")
            base = a.selectbox("Its base", [m for m in known_models if not m.adapter], format_func=lambda m: m.name)
            quantised = b.checkbox("Trained in four bits (QLoRA)")
        if st.form_submit_button("Add it", type="primary"):
            with saving() as s:
                if base is None:
                    add_model(s, **me.ids, name=model_name, location=place, layout=layout)
                else:
                    add_adapter(s, **me.ids, name=model_name, folder=place, base_id=base.id, quantised=quantised)


@st.fragment(run_every="2s" if busy else None)
def show_runs() -> None:
    with reading() as s:
        runs = list_generation_runs(s, project_id=me.project_id)
        newest = [run for run in runs if not run.trial][:10]
        names = responder_labels(s, run_ids=[run.id for run in newest])
    if busy and all(run.status.ended for run in runs):
        st.rerun()
    for run in newest:
        title = f"Run {run.id}: {' + '.join(names[run.id])} · {SCOPES[run.scope].lower()}"
        with show_run(run, title, by=me.reviewer_id):
            show_outcome(run, several=len(names[run.id]) > 1)


def show_outcome(run: GenerationRun, *, several: bool) -> None:
    if run.status is RunStatus.SUCCEEDED and run.started_at and run.finished_at:
        seconds = (run.finished_at - run.started_at).total_seconds()
        again = f", {run.resampled:,} drawn again that were nearly the same" if run.resampled else ""
        st.caption(f"{run.done:,} of {run.total:,} responses, {run.tokens:,} tokens, {seconds:,.0f} s{again}")
    if run.failed:
        each = ", counted for each responder" if several else ""
        st.warning(
            plain(f"Prompts without an answer{each}: {run.failed}. {run.problem or ''}"), icon=":material/warning:"
        )


st.subheader("Runs")
show_runs()
