"""Train on growing shares of one Snapshot and see whether more ranking would help."""

from functools import partial

import streamlit as st

from db.lookup import list_models
from db.models import Role, RunStatus, Snapshot
from db.session import reading, session
from texts.escape import escape_html
from training.data.snapshot import list_snapshots
from training.recipe.curve_runs import (
    CurveStatus,
    cancel_curve,
    check_curve,
    count_rows,
    curve_minutes,
    curve_status,
    list_curves,
    start_curve,
)
from training.recipe.learning_curve import describe_trend, explain_chance
from training.recipe.recipe import PAIRED, PRESETS
from training.trainer.history import list_training_runs
from ui.charts import draw_learning_curve
from ui.frame import page
from ui.run_status import show_run
from ui.safe import act, errors_shown, plain, show_table

me = page("Learning curve", Role.MANAGER)
RECIPES = [preset for preset in PRESETS if preset.method in PAIRED]
SHOWN = 5
"""Curves on the page, the newest ones."""

st.caption(
    "Four trainings on 25, 50, 75 and 100 % of a snapshot, each looked at with the same validation pairs, which none "
    "learns from. They make no model; what they tell is whether more ranking would help."
)
with reading() as s:
    frozen = list_snapshots(s, project_id=me.project_id)
    bases = list_models(s)
    known = [curve.id for curve in list_curves(s, project_id=me.project_id)]
    runs = list_training_runs(s, project_id=me.project_id)
    busy = any(run.curve_id is not None and not run.status.ended for run in runs)
if not frozen or not bases:
    st.info("There is no snapshot to learn from yet. Freeze one on the page Freeze.")
    st.stop()


def describe_snapshot(snapshot: Snapshot) -> str:
    return f"{snapshot.id}: {snapshot.row_count} preferences, {snapshot.simulated_count} simulated"


def new_curve() -> None:
    top = st.columns(3)
    snapshot = top[0].selectbox("Snapshot", frozen, format_func=describe_snapshot)
    base = top[1].selectbox("Start from", bases, format_func=lambda m: m.name)
    recipe = top[2].selectbox("Recipe", RECIPES, format_func=lambda r: r.name)
    name = st.text_input("Name", max_chars=80, placeholder="Before the second round of ranking", key="curve_name")
    with errors_shown():
        counts = count_rows(snapshot, seed=recipe.seed)
        check_curve(counts, method=recipe.method)
        minutes = curve_minutes(snapshot, recipe=recipe)
        sizes = ", ".join(f"{pairs:,}" for pairs in counts.pairs)
        st.caption(
            f"Pairs: {sizes}. Validation pairs: {counts.validation:,}. About {minutes:,.0f} minutes for all four, one "
            "after another, for a 135M model on two CPU cores; a guess from measured runs."
        )
        if st.button("Start all four", type="primary", icon=":material/play_arrow:"):
            with session() as s:
                start_curve(s, **me.ids, snapshot_id=snapshot.id, base_model_id=base.id, recipe=recipe, name=name)
            st.session_state.pop("curve_name", None)
            st.rerun()


def show_curve(status: CurveStatus, *, newest: bool) -> None:
    head, action = st.columns([4, 1], vertical_alignment="center")
    head.subheader(plain(status.title))
    if not status.ended:
        action.button(
            "Cancel all four",
            key=f"cancel_curve_{status.curve.id}",
            icon=":material/cancel:",
            width="stretch",
            on_click=partial(act, cancel_curve, by=me.reviewer_id, curve_id=status.curve.id),
        )
    if status.points:
        show_points(status)
    with st.expander("The four trainings", expanded=newest and not status.ended):
        for run in status.runs:
            about = f"{run.share * 100:.0f} %: {run.base_model.name}, recipe “{run.recipe.name}”"
            show_run(run, about, by=me.reviewer_id)


def show_points(status: CurveStatus) -> None:
    counts = status.counts
    simulated = counts.simulated + counts.simulated_validation
    every = simulated == counts.pairs[-1] + counts.validation
    tag = "simulated picks, not people's" if every else "some of the picks are simulated"
    mark = f'<span class="pw-simulated">{tag}</span>' if simulated else ""
    st.html(f'<div class="pw-sentence">{escape_html(describe_trend(status.points))}{mark}</div>')
    if words := explain_chance(status.points):
        st.caption(plain(words))
    draw_learning_curve(status.points)
    by_share = {point.share: point for point in status.points}
    rows = []
    silent = "reported no accuracy"
    for run, pairs in zip(status.runs, counts.pairs, strict=False):
        point = by_share.get(run.share)
        rows.append(
            {
                "Share": f"{run.share * 100:.0f} %",
                "Pairs": f"{pairs:,}",
                "Right": f"{point.right} of {point.rows}" if point else "",
                "Accuracy": f"{point.accuracy:.0%}" if point else "",
                "95 % interval": f"{point.low:.0%} to {point.high:.0%}" if point else "",
                "Step": str(point.step) if point else "",
                "Note": run.stopped or (silent if point is None and run.status is RunStatus.SUCCEEDED else ""),
            }
        )
    if not any(row["Note"] for row in rows):
        for row in rows:
            row.pop("Note")
    show_table(rows)
    notes = [
        "Right: a pair whose better reply gains more on the base model than the worse one does. It is the trainer's "
        "own measure, not how good the replies are; only a blind evaluation tells that.",
        "Every training sees its pairs equally often, so a smaller share also makes fewer steps.",
    ]
    if counts.validation > counts.validation_prompts:
        notes.append(
            f"The {counts.validation} validation pairs are of {counts.validation_prompts} prompts, so the intervals "
            "are really somewhat wider."
        )
    if simulated:
        notes.append(
            f"Simulated: {counts.simulated:,} of the {counts.pairs[-1]:,} pairs to learn from and "
            f"{counts.simulated_validation:,} of the {counts.validation:,} validation pairs rest on a rule's or "
            "made-up picks."
        )
    for note in notes:
        st.caption(plain(note))


with st.expander("A new learning curve", expanded=not known, icon=":material/add:"):
    new_curve()


@st.fragment(run_every="2s" if busy else None)
def show_curves() -> None:
    ended = True
    for place, curve_id in enumerate(known[:SHOWN]):
        with st.container(border=True), errors_shown():
            with reading() as s:
                status = curve_status(s, curve_id=curve_id)
            show_curve(status, newest=place == 0)
            ended = ended and status.ended
    if busy and ended:
        st.rerun()


show_curves()
