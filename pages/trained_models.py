"""Read a model's card, take it out, retire it; compare trainings side by side."""

import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import streamlit as st
from sqlalchemy.orm import Session

from db.models import ExportForm, ExportRun, ModelVersion, Part, Role, RunStatus, TrainingRun
from db.session import reading
from eval.report.results import Participation, list_participations, load_results
from files import MANIFEST, read_json
from release.card import Card, build_card, evaluation_results
from release.compare import LEAST, MOST, compare_runs, run_label
from release.export import (
    TEMPLATE,
    build_parcel,
    commands,
    exportable_parts,
    exports_folder,
    latest_release,
    list_exports,
    release_title,
    request_export,
)
from release.hub import hub_address, missing_token, request_push
from release.versions import ModelEntry, licence_of, list_model_entries, retire, set_licence, unretire
from texts.escape import escape_html
from training.trainer.history import list_training_runs
from ui.evaluate.blocks import show_blocks
from ui.frame import page
from ui.models.benchmarks import show_benchmarks, show_beside
from ui.models.compare import show_comparison
from ui.run_status import show_run
from ui.safe import WHOLE_TABLE_ROWS, attempt, errors_shown, plain, saving, show_table

me = page("Trained models", Role.MANAGER)
PARTS = {
    Part.MERGED: "The whole model, ready to serve",
    Part.ADAPTER: "The adapter alone, to load beside its base",
}
FORMS = {ExportForm.FOLDER: "A folder", ExportForm.ZIP: "A .zip"}
with reading() as s:
    entries = list_model_entries(s, project_id=me.project_id)
    licences = {entry.version.id: licence_of(entry.version) for entry in entries}
    runs = [run for run in list_training_runs(s, project_id=me.project_id) if run.status is not RunStatus.QUEUED]


def table_row(entry: ModelEntry) -> dict[str, object]:
    version, run = entry.version, entry.run
    snapshot = run.snapshot if run is not None else None
    simulated = ""
    if snapshot and snapshot.simulated_count:
        every = snapshot.simulated_count == snapshot.row_count
        simulated = ", all simulated" if every else f", {snapshot.simulated_count:,} simulated"
    return {
        "Model": version.name,
        "Made from": version.parent.name if version.parent else "",
        "How": f"{run.recipe.method.value}, training {run.id}" if run else "added",
        "Preferences": f"{snapshot.row_count:,}{simulated}" if snapshot else "",
        "Licence": licences[version.id].text,
        "Retired": f"{version.retired_at:%d %b %Y}" if version.retired_at else "",
    }


def change(action: Callable[..., ModelVersion], version: ModelVersion, **more: str) -> None:
    attempt(action, **me.ids, model_version_id=version.id, **more)


def save_licence(version: ModelVersion, key: str) -> None:
    change(set_licence, version, licence=str(st.session_state[key]))


def show_card(version: ModelVersion, card: Card) -> None:
    st.write(plain(card.summary))
    for section in card.sections:
        st.html(f'<div class="pw-sentence">{escape_html(section.title)}</div>')
        show_blocks([section])
    if version.parent_id is None:
        key = f"licence_{version.id}"
        st.text_input(
            "Licence of this base model",
            version.licence or "",
            key=key,
            max_chars=100,
            placeholder=card.licence.text,
            on_change=save_licence,
            args=(version, key),
            help="As its card names it, such as apache-2.0. Every model made from it has the same.",
        )


def show_evaluations(version: ModelVersion) -> None:
    """Every Evaluation that the model took part in, also as a baseline, with what the closed ones found."""
    with reading() as s:
        participations = list_participations(s, model_version_id=version.id)
        if not participations:
            st.caption("It was in no blind evaluation yet.")
        show_table(
            [
                {
                    "Evaluation": f"{participation.evaluation.name} (id {participation.evaluation.id})",
                    "As": ("candidate" if participation.candidate else "baseline")
                    + f", by the name {participation.responder}",
                    "Pairs": f"{participation.pairings:,}",
                    "Found": describe_result(s, participation),
                }
                for participation in participations
            ],
            whole=True,
        )


def describe_result(s: Session, participation: Participation) -> str:
    """The headline, or of a baseline its own contrast with the candidate."""
    if participation.evaluation.closed_at is None:
        return "still open"
    sentences = []
    for results in load_results(s, evaluation_id=participation.evaluation.id).by_reviewers:
        own = (contrast for contrast in results.by_baseline if contrast.baseline == participation.responder)
        contrast = results.headline if participation.candidate else next(own, results.headline)
        sentences.append(f"{'Judged by a written rule (simulated): ' if results.simulated else ''}{contrast.finding}")
    return " ".join(sentences)


def show_release(version: ModelVersion, *, going: bool) -> None:
    """The model's newest export or push, which moves by itself while it goes on."""

    @st.fragment(run_every="1s" if going else None)
    def watch() -> None:
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

    watch()


def show_lines(version: ModelVersion, part: Part, folder: Path) -> None:
    """How to serve what is in a folder, with this machine's vLLM where it has one."""
    with errors_shown(), reading() as s:
        content = build_parcel(s, **me.ids, model_version_id=version.id, part=part)
        lines = commands(
            content,
            folder,
            base=content.base_location,
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
    with st.container(border=True):
        size = sum(file.stat().st_size for file in place.iterdir()) if place.is_dir() else place.stat().st_size
        st.markdown(f"**{plain(place.name)}** · {size / 1e6:,.0f} MB")
        st.code(str(place), language=None, wrap_lines=True)
        manifest = read_json(place / MANIFEST) if place.is_dir() else {}
        if not manifest:
            return
        with st.expander("Serve it with vLLM", icon=":material/terminal:"):
            show_lines(version, Part(manifest["part"]), place)
        with st.expander("Push it to a model hub", icon=":material/cloud_upload:"):
            show_push(version, place, number)


def show_push(version: ModelVersion, place: Path, number: int) -> None:
    """The form that sends an export to a hub, once a repository is typed."""
    if problem := missing_token():
        st.caption(plain(problem))
        return
    st.caption(
        plain(f"It goes to {hub_address()}. The model learned from what your customers wrote; its card has none of it.")
    )
    name = st.text_input("Repository, as owner/name", key=f"repository_{version.id}_{number}", max_chars=96)
    private = st.checkbox("Private", value=True, key=f"private_{version.id}_{number}")
    if st.button("Push", key=f"push_{version.id}_{number}", disabled=not name.strip(), icon=":material/cloud_upload:"):
        with saving() as s:
            request_push(s, **me.ids, model_version_id=version.id, folder=place, repository=name, private=private)


def show_model(version: ModelVersion) -> None:
    with reading() as s:
        evaluations = evaluation_results(s, model_version_id=version.id)
        card = build_card(s, model_version_id=version.id, evaluations=evaluations)
        release = latest_release(s, model_version_id=version.id)
    if version.retired_at is not None:
        st.info("Retired: it is offered for nothing new. What it did stays as it is.", icon=":material/inventory_2:")
    with st.expander("Card", expanded=True, icon=":material/badge:"):
        show_card(version, card)
    with st.expander("Blind evaluations it took part in", icon=":material/balance:"):
        show_evaluations(version)
    with st.expander("Public benchmarks", icon=":material/speed:"):
        show_benchmarks(version, me)
    with st.expander("Export", expanded=release is not None, icon=":material/download:"):
        show_exports(version, going=release is not None and not release.status.ended)
    if version.retired_at is not None:
        st.button("Bring it back", on_click=change, args=(unretire, version), icon=":material/unarchive:")
    else:
        st.button(
            "Retire it",
            on_click=change,
            args=(retire, version),
            icon=":material/archive:",
            help="It is no longer offered for trainings, generations and evaluations. It keeps its past.",
        )


def show_exports(version: ModelVersion, *, going: bool) -> None:
    choices = exportable_parts(version)
    if not choices:
        st.caption("There is no folder of it on this machine, so nothing to export.")
        return
    left, middle, right = st.columns([2, 2, 1], vertical_alignment="bottom")
    part = left.radio("What", choices, format_func=PARTS.__getitem__, key=f"part_{version.id}")
    form = middle.radio("As", list(FORMS), format_func=FORMS.__getitem__, key=f"form_{version.id}", horizontal=True)
    if right.button("Export", type="primary", disabled=going, key=f"export_{version.id}") and part and form:
        with saving() as s:
            request_export(s, **me.ids, model_version_id=version.id, part=part, form=form)
    show_release(version, going=going)
    st.caption(plain(f"Exports are in {exports_folder()}, each with its card and a manifest with every file's sha256."))
    for number, place in enumerate(list_exports(version.name, version.id)[:5]):
        show_export(version, place, number)


def made_no_model(run: TrainingRun) -> bool:
    return run.curve_id is not None or run.status is not RunStatus.SUCCEEDED


def compare_trainings() -> None:
    if len(runs) < LEAST:
        st.info("Train at least two models; then they can be compared here.")
        return
    labels = {run.id: run_label(run) for run in runs}
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
        show_comparison(compare_runs(s, **me.ids, run_ids=chosen))
    by_id = {run.id: run for run in runs}
    show_beside([by_id[run_id] for run_id in chosen], [labels[run_id] for run_id in chosen])


models_tab, compare_tab = st.tabs(["Models", "Compare trainings"])
with models_tab:
    if not entries:
        st.info("There is no model yet. Train one, or add one on the page Generate.")
    else:
        show_table([table_row(entry) for entry in entries], whole=len(entries) <= WHOLE_TABLE_ROWS)
        versions = {entry.version.id: entry.version for entry in entries}
        chosen_id = st.selectbox("Model", list(versions), format_func=lambda i: versions[i].name, key="trained_model")
        show_model(versions[chosen_id])
with compare_tab:
    compare_trainings()
