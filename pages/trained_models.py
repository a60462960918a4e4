"""Read a model's card, take it out, retire it; compare trainings side by side."""

import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import streamlit as st

from db.models import ExportForm, ExportRun, ModelVersion, Part, Role, RunStatus, TrainingRun
from db.session import reading, session
from files import MANIFEST, read_json
from release.card import card, contests_of
from release.compare import LEAST, MOST, compare, label_of
from release.export import (
    TEMPLATE,
    commands,
    exports,
    exports_folder,
    latest_release,
    parcel,
    parts,
    release_title,
    request_export,
)
from release.hub import hub_address, missing, request_push
from release.versions import Trained, bring_back, licence_of, models_of, retire, set_licence
from training.trainer.history import training_runs
from ui.frame import page
from ui.models.benchmarks import show_benchmarks, show_beside
from ui.models.card import show_card, show_evaluations
from ui.models.compare import show_comparison
from ui.run_status import show_run
from ui.safe import FEW, errors_shown, errors_toasted, plain, show_table

me = page("Trained models", Role.MANAGER)
PARTS = {
    Part.MERGED: "The whole model, ready to serve",
    Part.ADAPTER: "The adapter alone, to load beside its base",
}
FORMS = {ExportForm.FOLDER: "A folder", ExportForm.ZIP: "A .zip"}
with reading() as s:
    entries = models_of(s, project_id=me.project_id)
    licences = {one.version.id: licence_of(one.version) for one in entries}
    runs = [run for run in training_runs(s, project_id=me.project_id) if run.status is not RunStatus.QUEUED]


def row(one: Trained) -> dict[str, object]:
    """A model in the table."""
    snapshot = one.run.snapshot if one.run is not None else None
    simulated = ""
    if snapshot and snapshot.simulated_count:
        every = snapshot.simulated_count == snapshot.row_count
        simulated = ", all simulated" if every else f", {snapshot.simulated_count:,} simulated"
    return {
        "Model": one.version.name,
        "Made from": one.version.parent.name if one.version.parent else "",
        "How": f"{one.run.recipe.method.value}, training {one.run.id}" if one.run else "added",
        "Preferences": f"{snapshot.row_count:,}{simulated}" if snapshot else "",
        "Licence": licences[one.version.id].text,
        "Retired": f"{one.version.retired_at:%d %b %Y}" if one.version.retired_at else "",
    }


def change(action: Callable[..., ModelVersion], version: ModelVersion) -> None:
    """Retire a model, or bring it back."""
    with errors_toasted(), session() as s:
        action(s, by=me.reviewer_id, project_id=me.project_id, model_version_id=version.id)


def note_licence(version: ModelVersion, key: str) -> None:
    """Keep the licence as it was typed."""
    typed = str(st.session_state[key])
    with errors_toasted(), session() as s:
        set_licence(s, by=me.reviewer_id, project_id=me.project_id, model_version_id=version.id, licence=typed)


def show_release(version: ModelVersion, *, going: bool) -> None:
    """The model's newest export or push, which moves by itself while it goes on."""

    @st.fragment(run_every="1s" if going else None)
    def moving() -> None:
        with reading() as s:
            run = latest_release(s, model_version_id=version.id)
        if run is None:
            return
        if going and run.status.ended:
            st.rerun()
        title = release_title(run, version)
        if run.status is RunStatus.SUCCEEDED:
            result = run.place if isinstance(run, ExportRun) else run.address
            st.success(plain(f"{title}: {result}"), icon=":material/check:")
        else:
            show_run(run, title, by=me.reviewer_id)

    moving()


def show_lines(version: ModelVersion, part: Part, folder: Path) -> None:
    """How to serve what is in a folder, with this machine's vLLM where it has one."""
    with errors_shown(), reading() as s:
        given = parcel(s, by=me.reviewer_id, project_id=me.project_id, model_version_id=version.id, part=part)
        lines = commands(
            given,
            folder,
            base=given.base_location,
            template=part is Part.ADAPTER and (folder / TEMPLATE).is_file(),
            python=sys.executable if find_spec("vllm") else "python",
        )
        if not lines:
            st.caption("vLLM serves this kind of adapter (DoRA) only merged: take the whole model.")
            return
        for words, line in zip(("On a CPU", "On an NVIDIA GPU", "Ask it something"), lines, strict=True):
            st.caption(words)
            st.code(line, language="sh", wrap_lines=True)


def show_export(version: ModelVersion, place: Path, number: int) -> None:
    """One export: where it is, how to serve it, and the push of a folder to a hub."""
    with st.container(border=True):
        size = sum(file.stat().st_size for file in place.iterdir()) if place.is_dir() else place.stat().st_size
        st.markdown(f"**{plain(place.name)}** · {size / 1e6:,.0f} MB")
        st.code(str(place), language=None, wrap_lines=True)
        said = read_json(place / MANIFEST) if place.is_dir() else {}
        if not said:
            return
        with st.expander("Serve it with vLLM", icon=":material/terminal:"):
            show_lines(version, Part(said["part"]), place)
        with st.expander("Push it to a model hub", icon=":material/cloud_upload:"):
            show_push(version, place, number)


def show_push(version: ModelVersion, place: Path, number: int) -> None:
    """The form that sends an export away, once somebody has typed where."""
    if problem := missing():
        st.caption(plain(problem))
        return
    st.caption(
        plain(f"It goes to {hub_address()}. The model learned from what your customers wrote; its card has none of it.")
    )
    name = st.text_input("Repository, as owner/name", key=f"repository_{version.id}_{number}", max_chars=96)
    private = st.checkbox("Private", value=True, key=f"private_{version.id}_{number}")
    if st.button("Push", key=f"push_{version.id}_{number}", disabled=not name.strip(), icon=":material/cloud_upload:"):
        with errors_shown():
            with session() as s:
                request_push(
                    s,
                    by=me.reviewer_id,
                    project_id=me.project_id,
                    model_version_id=version.id,
                    folder=place,
                    repository=name,
                    private=private,
                )
            st.rerun()


def one_model(version: ModelVersion) -> None:
    """Everything about one model."""
    with reading() as s:
        found = card(s, model_version_id=version.id, contests=contests_of(s, model_version_id=version.id))
        release = latest_release(s, model_version_id=version.id)
    if version.retired_at is not None:
        st.info("Retired: it is offered for nothing new. What it did stays as it is.", icon=":material/inventory_2:")
    with st.expander("Card", expanded=True, icon=":material/badge:"):
        show_card(found)
        if version.parent_id is None:
            key = f"licence_{version.id}"
            st.text_input(
                "Licence of this base model",
                version.licence or "",
                key=key,
                max_chars=100,
                placeholder=found.licence.text,
                on_change=note_licence,
                args=(version, key),
                help="As its card names it, such as apache-2.0. Every model made from it has the same.",
            )
    with st.expander("Blind evaluations it took part in", icon=":material/balance:"), reading() as s:
        show_evaluations(s, model_version_id=version.id)
    with st.expander("Public benchmarks", icon=":material/speed:"):
        show_benchmarks(version, me)
    with st.expander("Export", expanded=release is not None, icon=":material/download:"):
        show_exports(version, going=release is not None and not release.status.ended)
    if version.retired_at is not None:
        st.button("Bring it back", on_click=change, args=(bring_back, version), icon=":material/unarchive:")
    else:
        st.button(
            "Retire it",
            on_click=change,
            args=(retire, version),
            icon=":material/archive:",
            help="It is no longer offered for trainings, generations and evaluations. It keeps its past.",
        )


def show_exports(version: ModelVersion, *, going: bool) -> None:
    """A new export, and those that are there."""
    there = parts(version)
    if not there:
        st.caption("There is no folder of it on this machine, so nothing to export.")
        return
    left, middle, right = st.columns([2, 2, 1], vertical_alignment="bottom")
    part = left.radio("What", there, format_func=PARTS.__getitem__, key=f"part_{version.id}")
    form = middle.radio("As", list(FORMS), format_func=FORMS.__getitem__, key=f"form_{version.id}", horizontal=True)
    if right.button("Export", type="primary", disabled=going, key=f"export_{version.id}") and part and form:
        with errors_shown():
            with session() as s:
                request_export(
                    s,
                    by=me.reviewer_id,
                    project_id=me.project_id,
                    model_version_id=version.id,
                    part=part,
                    form=form,
                )
            st.rerun()
    show_release(version, going=going)
    st.caption(plain(f"Exports are in {exports_folder()}, each with its card and a manifest with every file's sha256."))
    for number, place in enumerate(exports(version.name, version.id)[:5]):
        show_export(version, place, number)


def made_no_model(run: TrainingRun) -> bool:
    """Whether it is a learning curve's, or came to no end."""
    return run.curve_id is not None or run.status is not RunStatus.SUCCEEDED


def comparison() -> None:
    """Two to four trainings side by side."""
    if len(runs) < LEAST:
        st.info("Train at least two models; then they can be compared here.")
        return
    labels = {run.id: label_of(run) for run in runs}
    chosen = st.multiselect(
        "Trainings",
        list(labels),
        default=[run.id for run in reversed(sorted(runs, key=made_no_model)[:LEAST])],
        format_func=labels.__getitem__,
        max_selections=MOST,
        key="compared",
    )
    if len(chosen) < LEAST:
        st.caption(f"Choose {LEAST} to {MOST}.")
        return
    with errors_shown(), reading() as s:
        show_comparison(compare(s, by=me.reviewer_id, project_id=me.project_id, run_ids=chosen))
    beside = {run.id: run for run in runs}
    show_beside([beside[one] for one in chosen], [labels[one] for one in chosen])


models_tab, compare_tab = st.tabs(["Models", "Compare trainings"])
with models_tab:
    if not entries:
        st.info("There is no model yet. Train one, or add one on the page Generate.")
    else:
        show_table([row(one) for one in entries], whole=len(entries) <= FEW)
        names = {one.version.id: one.version.name for one in entries}
        which = st.selectbox("Model", list(names), format_func=names.__getitem__, key="trained_model")
        one_model(next(one.version for one in entries if one.version.id == which))
with compare_tab:
    comparison()
