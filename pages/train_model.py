"""Pick what to train and how, see whether it is time to, start a TrainingRun and watch it."""

import streamlit as st

from db.lookup import list_models
from db.models import Role, Snapshot
from db.session import reading
from generation.base_model import register_base_model
from training.data.snapshot import list_snapshots
from training.recipe.advice import advise_recipe, cautions, flip_rate
from training.recipe.estimate import (
    SnapshotLengths,
    count_parameters,
    estimate,
    find_measurement,
    has_gpu,
    machine_memory,
    memory_warning,
    snapshot_lengths,
)
from training.recipe.readiness import load_facts
from training.recipe.recipe import EXPERIMENTAL, METHODS
from training.recipe.start import start_training
from training.trainer.history import list_training_runs
from ui.frame import page
from ui.safe import errors_shown, plain, saving
from ui.train.readiness import measure_consensus, show_page_link, show_readiness
from ui.train.recipe import choose_loss_and_adapter, recipe_form
from ui.train.watch import show_training

SHOWN = 10
"""Runs on the page, newest first."""

me = page("Train", Role.MANAGER)


@st.cache_data(show_spinner="Reading the snapshot …", max_entries=20)
def load_lengths(_snapshot: Snapshot, sha256: str) -> SnapshotLengths:
    return snapshot_lengths(_snapshot)


with reading() as s:
    frozen = list_snapshots(s, project_id=me.project_id)
    bases = [model for model in list_models(s) if model.retired_at is None]
    busy = any(not run.status.ended for run in list_training_runs(s, project_id=me.project_id))
    consensus = measure_consensus(s, project_id=me.project_id)
if not bases:
    with saving(stop=True) as s:
        register_base_model(s)

st.subheader("1. What to train")
if not frozen:
    st.info("A model is trained on a snapshot: feedback that is frozen and never changes. There is none yet.")
    show_page_link("pages/freeze_feedback.py", "Freeze")
    with reading() as s:
        show_readiness(load_facts(s, project_id=me.project_id, snapshot_id=None), consensus)
    st.stop()
top = st.columns(3)
snapshot = top[0].selectbox(
    "Snapshot",
    frozen,
    format_func=lambda f: f"{f.id}: {f.row_count} preferences, {f.simulated_count} simulated ({f.sha256[:8]})",
)
base = top[1].selectbox("Start from", bases, format_func=lambda m: m.name)
method = top[2].selectbox("Method", list(METHODS), format_func=lambda m: METHODS[m].label)
with top[0]:
    show_page_link("pages/freeze_feedback.py", "Freeze")
top[2].caption(plain(METHODS[method].description))
if method in EXPERIMENTAL:
    st.warning("Experimental: TRL may change this trainer from one version to the next. DPO is the one that is tested.")
with errors_shown(stop=True):
    lengths = load_lengths(snapshot, snapshot.sha256)

st.subheader("2. Is it time?")
with reading() as s:
    show_readiness(load_facts(s, project_id=me.project_id, snapshot_id=snapshot.id), consensus)

st.subheader("3. The recipe")
for caution in cautions(pairs=lengths.rows, judgments=consensus.repeats, alpha=consensus.alpha):
    st.warning(plain(caution))
loss, adapter = choose_loss_and_adapter(method)
parameters = count_parameters(location=base.location, name=base.name)
advice = advise_recipe(
    pairs=lengths.rows,
    parameters=parameters,
    gpu=has_gpu(),
    method=method,
    loss=loss,
    adapter=adapter,
    longest=lengths.longest,
    validation=lengths.validation,
    flips=flip_rate(consensus.repeats),
)
recipe = recipe_form(advice, tuned=base.parent_id is not None)

st.subheader("4. How long, and start")
with reading() as s, errors_shown(stop=True):
    measurement = find_measurement(s, project_id=me.project_id, base_model_id=base.id, recipe=recipe)
expected = estimate(
    recipe, size=lengths, thumbs=snapshot.thumb_count, parameters=parameters, measurement=measurement, gpu=has_gpu()
)
total, free = machine_memory()
st.markdown(f":material/schedule: {plain(expected.sentence)}")
if not has_gpu() and (tight := memory_warning(expected.memory_mb, total_mb=total, free_mb=free)):
    st.warning(plain(tight), icon=":material/memory:")
naming, starting = st.columns([3, 1], vertical_alignment="bottom")
name = naming.text_input("Name of the new model", placeholder="Service tone, first try", max_chars=80)
if starting.button("Start training", type="primary", icon=":material/play_arrow:", width="stretch"):
    with saving() as s:
        start_training(s, **me.ids, snapshot_id=snapshot.id, base_model_id=base.id, recipe=recipe, model_name=name)


@st.fragment(run_every="2s" if busy else None)
def show_runs() -> None:
    with reading() as s:
        runs = list_training_runs(s, project_id=me.project_id)
    if busy and all(run.status.ended for run in runs):
        st.rerun()
    own = [run for run in runs if run.curve_id is None]  # a learning curve's are shown with it
    for place, run in enumerate(own[:SHOWN]):
        show_training(run, by=me.reviewer_id, opened=place == 0)
    if not own:
        st.caption("No training yet.")


st.subheader("5. Watch")
show_runs()
