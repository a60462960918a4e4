"""Freeze a Snapshot, pick a Recipe, start and watch a TrainingRun."""

from dataclasses import replace

import pandas as pd
import streamlit as st

from db.catalog import models, snapshots, training_runs, training_steps
from db.models import Role, TrainingRun
from db.session import reading, session
from generation.base_model import register_base_model
from generation.responders import model_responders
from training.recipe import KNOBS, PRESETS, estimate_minutes, start_training
from training.snapshot import freeze, mean_tokens, preview
from ui.charts import training_curves
from ui.frame import page
from ui.run_status import show_run
from ui.safe import errors_shown, plain, show_table

me = page("Train", Role.MANAGER)

with reading() as s:
    with errors_shown(stop=True):
        now = preview(s, project_id=me.project_id)
    frozen = snapshots(s, project_id=me.project_id)
    bases = models(s)
    busy = any(not run.status.ended for run in training_runs(s, project_id=me.project_id))

st.subheader("1. Freeze the feedback")
numbers = st.columns(4)
numbers[0].metric("Usable preferences", len(now.rows))
numbers[1].metric("of them simulated", now.simulated_count, help="Resting on a rule's or made-up picks, not people's.")
numbers[2].metric("Mean words, better reply", f"{now.mean_words_chosen:.0f}")
numbers[3].metric("Mean words, worse reply", f"{now.mean_words_rejected:.0f}")
if now.synthetic_count:
    st.caption(f"Preferences on synthetic prompts, which no customer wrote: {now.synthetic_count}.")
if now.advice:
    st.warning(plain(now.advice))
left, right = st.columns(2)
if now.left_out:
    left.caption("Left out, and why")
    with left:
        show_table([{"Count": count, "Why": reason.sentence} for reason, count in now.left_out.items()])
if now.shares:
    right.caption("Whose replies were better, and worse")
    right.dataframe(
        pd.DataFrame([{"Responder": h.label, "Better": h.chosen, "Worse": h.rejected} for h in now.shares]),
        hide_index=True,
        width="stretch",
    )
with st.expander("Look at the pairs that would be frozen", icon=":material/table_view:"):
    st.dataframe(
        pd.DataFrame([{"Better": row.chosen, "Worse": row.rejected} for row in now.rows[:200]]),
        hide_index=True,
        width="stretch",
    )
with reading() as s:
    prompts_of = {one.id: one.label for one in model_responders(s, project_id=me.project_id) if one.kept}
whose, freezing = st.columns([3, 1], vertical_alignment="bottom")
prompt_of = whose.selectbox(
    "With the prompt of",
    [None, *prompts_of],
    format_func=lambda one: prompts_of.get(one, "the project: its instructions alone"),
    help="A model has to be trained on the very prompt that it will be given: system prompt, template and examples.",
)
if freezing.button("Freeze a snapshot", icon=":material/ac_unit:", width="stretch"):
    with errors_shown():
        with session() as s:
            made = freeze(s, by=me.reviewer_id, project_id=me.project_id, prompt_of=prompt_of)
        st.toast(f"Snapshot {made.id} holds {made.row_count} preferences.", icon=":material/check:")
        st.rerun()
if not frozen:
    st.caption("A snapshot never changes; the same feedback always gives the same one.")
    st.stop()

st.subheader("2. Train")
if not bases:
    with errors_shown(stop=True):
        with session() as s:
            register_base_model(s)
        st.rerun()
top = st.columns(3)
snapshot = top[0].selectbox(
    "Snapshot",
    frozen,
    format_func=lambda f: f"{f.id}: {f.row_count} preferences, {f.simulated_count} simulated ({f.sha256[:8]})",
)
base = top[1].selectbox("Start from", bases, format_func=lambda m: m.name)
preset = top[2].selectbox("Recipe", PRESETS, format_func=lambda r: r.name)
name = st.text_input("Name of the new model", placeholder="Service tone, first try", max_chars=80)
values = {}
with st.expander("The recipe's knobs, and why they stand where they do", icon=":material/tune:"):
    columns = st.columns(3)
    for place, (knob, about) in enumerate(KNOBS.items()):
        start = getattr(preset, knob)
        whole = isinstance(start, int) or start is None
        values[knob] = columns[place % 3].number_input(
            about.label,
            value=start,
            step=1 if whole else None,
            format=None if whole else "%g",
            help=f"{plain(about.reason)} — {plain(about.source)}",
            key=f"knob_{preset.name}_{knob}",
        )
if snapshot is not None and base is not None:
    with errors_shown(stop=True):
        tokens = mean_tokens(snapshot)
    minutes = estimate_minutes(
        pairs=snapshot.row_count,
        tokens=tokens,
        epochs=float(values["epochs"] or 1),
        max_steps=values["max_steps"],
        batch_size=int(values["batch_size"] or 1),
    )
    st.caption(f"About {minutes:.0f} minutes for a 135M model on two CPU cores; a guess from measured runs.")
    if st.button("Start training", type="primary", icon=":material/play_arrow:"):
        with errors_shown():
            with session() as s:
                start_training(
                    s,
                    by=me.reviewer_id,
                    project_id=me.project_id,
                    snapshot_id=snapshot.id,
                    base_model_id=base.id,
                    recipe=replace(preset, **values),
                    model_name=name,
                )
            st.rerun()


@st.fragment(run_every="2s" if busy else None)
def runs() -> None:
    """The runs, newest first, with the newest one's curves."""
    with reading() as s:
        found = training_runs(s, project_id=me.project_id)
    if busy and all(run.status.ended for run in found):
        st.rerun()
    for place, run in enumerate(found[:10]):
        one_run(run, open_curves=place == 0)


def one_run(run: TrainingRun, *, open_curves: bool) -> None:
    """A run with its curves."""
    title = f"{run.model_name}: {run.base_model.name} on snapshot {run.snapshot_id}, recipe “{run.recipe.name}”"
    show_run(run, title, by=me.reviewer_id)
    with reading() as s:
        steps = training_steps(s, run_id=run.id)
    if steps:
        with st.expander("Curves", expanded=open_curves):
            training_curves(steps)


st.subheader("3. Watch")
runs()
