"""ModelVersions: cards, licences, exports, pushes, retiring, comparing trainings; and the loggers of trainings."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session

import settings as settings_module
from db.lookup import list_models, refuse_retired
from db.models import (
    Companion,
    Evaluation,
    ExportForm,
    ExportRun,
    GenerationRun,
    Judgment,
    ModelVersion,
    Pairing,
    ParityCheck,
    Part,
    Preference,
    Project,
    PushRun,
    Reviewer,
    Role,
    Run,
    RunStatus,
    Scope,
    Split,
    Thumb,
    TrainingRun,
    TrainingSample,
    now,
)
from db.session import reading, session
from errors import BrokenModel, NotAllowed, Refused
from files import MANIFEST, file_sha256, write_json
from jobs.child import carry
from jobs.progress import RunLost, unmanaged_progress
from jobs.runs import cancel_run, get_run
from llm import engine
from llm.folder import check_model_folder, hash_weights
from llm.serving import ServedModel, served_name, vllm_command
from release import export as exporting
from release import hub as hubs
from release.card import Card, build_card, card_markdown, describe_selection, escape_markdown, evaluation_results
from release.compare import compare_runs, differing_first, side_by_side
from release.export import (
    ADAPTER_CONFIG,
    CARD,
    PIECE,
    build_parcel,
    commands,
    exportable_parts,
    exports_folder,
    latest_release,
    list_exports,
    name_prefix,
    request_export,
    write_export,
)
from release.hub import PushFailed, missing_token, push_export, request_push
from release.versions import NOT_KNOWN, find_use, licence_of, list_model_entries, retire, set_licence, unretire
from stats.verdicts import Verdict
from tests.app_pages import open_page, press, said
from tests.factories import a_human, a_model, a_project, a_prompt, a_response, a_reviewer, saved, sure
from tests.trained_models import a_training, safetensors, version_of
from training.lineage import (
    count_learned_prompts,
    feedback_counts,
    find_training,
    list_descendants,
    list_trainings,
    model_lineage,
)
from training.recipe.recipe import LOSSES, Loss


@pytest.fixture
def manager(s: Session) -> tuple[Project, Reviewer]:
    project = a_project(s)
    return project, a_reviewer(s, project, name="Ottilie Featherstonehaugh")


def everything(found: Card) -> str:
    return "\n".join(
        [
            found.summary,
            *(f"{n}: {v}" for part in found.sections for n, v in part.rows),
            *(x.note for x in found.sections),
        ]
    )


def an_evaluation(s: Session, project: Project, version: ModelVersion, *judges: Reviewer) -> Evaluation:
    """A closed one that the model won once and drew once, against one person."""
    person = a_human(s, project, name="Jade Merriweather")
    candidate = a_model(s, project, name="Tuned with instructions")
    candidate.model_version_id = version.id
    found = saved(
        s,
        Evaluation,
        project_id=project.id,
        name="First | contest",
        candidate_id=candidate.id,
        seed=1,
        protocol_sha256="9" * 64,
        created_by_id=judges[0].id,
        closed_at=now(),
    )
    for verdict in (Verdict.LEFT, Verdict.TIE):
        prompt = a_prompt(s, project, held_out=True)
        pairing = saved(
            s,
            Pairing,
            evaluation_id=found.id,
            prompt_id=prompt.id,
            candidate_response_id=a_response(s, prompt, candidate).id,
            baseline_response_id=a_response(s, prompt, person).id,
        )
        for judge in judges:
            s.add(
                Judgment(
                    pairing_id=pairing.id, reviewer_id=judge.id, candidate_left=True, verdict=verdict, judged_at=now()
                )
            )
    s.flush()
    return found


@pytest.mark.both_databases
def test_a_card_counts_people_and_rules_and_names_neither_them_nor_customers(
    s: Session, home: Path, manager: tuple[Project, Reviewer]
) -> None:
    project, by = manager
    run = a_training(s, project, by, home, learning_rate=3e-4)
    version = version_of(s, run)
    an_evaluation(s, project, version, by, a_reviewer(s, project, Role.REVIEWER, simulated=True))
    contests = evaluation_results(s, model_version_id=version.id)
    found = build_card(s, model_version_id=version.id, evaluations=contests)
    text = everything(found)
    assert "Whose word: 1 people, 1 simulated reviewers" in text
    assert "Preferences: 3, of them 1 from corrections" in text
    assert "Simulated rows: 1: they rest on a rule's" in text
    assert "1 of them simulated" in found.summary
    assert "Rows on synthetic prompts: 1" in text
    assert "Set aside to watch the training on: 1" in text
    assert "Left out: Ranked as a tie" in text
    assert "Learning rate: 0.0003" in text
    assert "Device: CPU, 2 threads" in text
    assert "Step whose model was kept: 2: loss 0.3500" in text
    assert "Warning at step 2: The validation loss rises." in text
    assert "win rate 75.0 %" in text.replace("%", " %")
    assert {"judged by people" in found for _, found in contests} == {True, False}
    assert "simulated and no person" in text
    assert {name for name, _ in contests} == {"First | contest, against a person's replies"}
    written = card_markdown(found, adapter_only=False, files={"model.safetensors": "f" * 64}, commands=("vllm",))
    for secret in ("Wilhelmina", "4711", "sorry", "Ottilie", "Jade", "Answer kindly"):
        assert secret not in written
        assert secret not in text


@pytest.mark.both_databases
def test_a_card_tells_the_line_both_ways(s: Session, home: Path, manager: tuple[Project, Reviewer]) -> None:
    project, by = manager
    version = version_of(s, a_training(s, project, by, home))
    child = saved(s, ModelVersion, name="Child", location="x", sha256="c" * 64, parent_id=version.id, retired_at=now())
    assert f"Made from it: Child (sha256 {'c' * 64}, retired)" in everything(build_card(s, model_version_id=version.id))
    assert version.parent is not None
    assert list_descendants(s, version.parent) == [version, child]
    assert "Made from, 2 back: model-" in everything(build_card(s, model_version_id=child.id))


@pytest.mark.both_databases
def test_a_lineage_leads_from_a_model_to_whoever_it_learned_from(
    s: Session, home: Path, manager: tuple[Project, Reviewer]
) -> None:
    project, by = manager
    run = a_training(s, project, by, home)
    version = version_of(s, run)
    later = a_training(s, project, by, home, name="Later")
    child = version_of(s, later)
    child.parent = version
    s.flush()
    assert version.parent is not None
    assert model_lineage(child) == [child, version, version.parent]
    assert model_lineage(None) == []
    assert list_trainings(s, model_lineage(child)) == [later, run]
    assert find_training(s, version.parent) is None
    word = {reviewer.simulated: count for reviewer, count in feedback_counts(s, snapshot_ids=[run.snapshot_id])}
    assert word == {False: 2, True: 1}, "a ranking and a correction; a rule's ranking"
    rows = s.scalars(select(Preference).where(Preference.snapshot_id == run.snapshot_id)).all()
    alone = sure(rows[1].ranking_id)
    saved(
        s,
        Thumb,
        snapshot_id=later.snapshot_id,
        split=Split.TRAIN,
        prompt_id=rows[1].prompt_id,
        ranking_id=alone,
        response_id=rows[1].rejected_id,
        label=False,
    )
    both = dict(feedback_counts(s, snapshot_ids=[run.snapshot_id, later.snapshot_id]))
    assert sorted(both.values()) == [1, 1, 4], "a ranking that gave a pair and a thumb counts once"
    asked = select(Preference.prompt_id).where(Preference.row == 0)
    assert count_learned_prompts(s, snapshot_ids=[run.snapshot_id], prompt_ids=asked) == 1
    assert count_learned_prompts(s, snapshot_ids=[], prompt_ids=asked) == 0


def test_the_front_matter_is_what_the_hub_reads_and_names_become_no_markdown(
    s: Session, home: Path, manager: tuple[Project, Reviewer]
) -> None:
    from huggingface_hub import ModelCard

    project, by = manager
    name = "Tone ![x](http://evil.example/i.png) <img src=x>"
    version = version_of(s, a_training(s, project, by, home, name=name.replace("/", "_")))
    version.name = name
    written = ModelCard(
        card_markdown(build_card(s, model_version_id=version.id), adapter_only=True, files={}, commands=())
    )
    data: Any = written.data
    assert data.license == "apache-2.0"
    assert data.to_dict()["library_name"] == "peft"
    assert data.model_name == name
    assert {"dpo", "trl", "lora"} <= set(data.tags)
    assert "<img" not in written.text.replace("\\<", "")
    assert "![x]" not in written.text
    assert "http://" not in written.text


@given(st.text())
def test_escaped_text_is_one_line_that_begins_no_markup(text: str) -> None:
    found = escape_markdown(text)
    assert "\n" not in found
    for place, mark in enumerate(found):
        if mark in "<[|`*!&":
            before = len(found[:place]) - len(found[:place].rstrip("\\"))
            assert before % 2 == 1


def test_a_selection_is_told_without_what_was_typed() -> None:
    words = describe_selection(
        {
            "roles": ["MANAGER"],
            "reviewers": [3, 4],
            "words": "Wilhelmina",
            "since": "2026-01-01",
            "cap": 3,
            "ties": None,
        }
    )
    assert words == "roles: manager; reviewers: 2 chosen; words: a text; since: 2026-01-01; cap: 3; ties: any"
    assert describe_selection(None).startswith("all that stood")


def test_a_typed_licence_counts_before_the_folders_and_reaches_what_was_trained(
    s: Session, home: Path, manager: tuple[Project, Reviewer]
) -> None:
    project, by = manager
    version = version_of(s, a_training(s, project, by, home))
    base = sure(version.parent)
    assert licence_of(version).text == "apache-2.0"
    (Path(base.location) / "README.md").write_text("---\nlanguage: en\nlicense: llama3.2\n---\n# Base\nlicense: mit\n")
    assert licence_of(version).text == "llama3.2"
    args = {"by": by.id, "project_id": project.id}
    set_licence(s, **args, model_version_id=base.id, licence=" openrail ")
    assert (licence_of(version).text, licence_of(version).source) == ("openrail", f"typed for {base.name}")
    set_licence(s, **args, model_version_id=base.id, licence="")
    assert licence_of(version).text == "llama3.2"
    with pytest.raises(Refused, match="has the licence of"):
        set_licence(s, **args, model_version_id=version.id, licence="mit")
    with pytest.raises(NotAllowed):
        set_licence(s, by=0, project_id=project.id, model_version_id=base.id, licence="mit")


def test_a_licence_that_nobody_knows_is_said_to_be_unknown(s: Session, manager: tuple[Project, Reviewer]) -> None:
    project, _ = manager
    version = sure(a_model(s, project, "someone/model").model_version)
    assert licence_of(version).text == NOT_KNOWN
    found = build_card(s, model_version_id=version.id)
    assert "license: unknown" in card_markdown(found, adapter_only=False, files={}, commands=())
    assert "base_model: someone/model" in card_markdown(found, adapter_only=False, files={}, commands=())


def exported(s: Session, project: Project, by: Reviewer, version: ModelVersion, part: Part, form: ExportForm) -> Path:
    told: list[float] = []
    given_ = build_parcel(s, by=by.id, project_id=project.id, model_version_id=version.id, part=part)
    place = write_export(given_, form, at=now(), tell=lambda stage, share: told.append(share))
    assert told[-1] == 1.0
    assert told == sorted(told)
    return place


def unpacked(place: Path, form: ExportForm, into: Path) -> Path:
    if form is ExportForm.FOLDER:
        return place
    with zipfile.ZipFile(place) as archive:
        archive.extractall(into)
    (folder,) = into.iterdir()
    assert place.name == f"{folder.name}.{form.value}"
    return folder


@pytest.mark.parametrize("form", ExportForm)
def test_an_export_holds_the_model_its_card_and_a_hash_of_every_file(
    s: Session, home: Path, tmp_path: Path, manager: tuple[Project, Reviewer], form: ExportForm
) -> None:
    project, by = manager
    version = version_of(s, a_training(s, project, by, home))
    place = exported(s, project, by, version, Part.MERGED, form)
    assert place.parent == exports_folder()
    folder = unpacked(place, form, tmp_path / "out")
    manifest = json.loads((folder / MANIFEST).read_text())
    assert set(manifest["files"]) == {file.name for file in folder.iterdir()} - {MANIFEST}
    assert set(manifest["files"]) == {
        "LICENSE", CARD, "chat_template.jinja", "config.json", "model.safetensors", "tokenizer.json"
    }  # fmt: skip
    for name, entry in manifest["files"].items():
        assert (file_sha256(folder / name), (folder / name).stat().st_size) == (entry["sha256"], entry["bytes"])
    assert manifest["weights_sha256"] == version.sha256
    assert manifest["as_registered"]
    assert manifest["files"]["model.safetensors"]["sha256"] in (folder / CARD).read_text()
    assert "/home/ana" not in "".join(file.read_text() for file in folder.glob("*.json"))
    check_model_folder(str(folder))
    assert list(exports_folder().iterdir()) == [place]
    of_another = exports_folder() / f"{name_prefix(f'{version.name} {version.id}', 7)}merged-20260101-000000"
    of_another.mkdir()
    assert list_exports(version.name, version.id) == [place]
    assert list_exports(f"{version.name} {version.id}", 7) == [of_another]


def test_an_adapter_is_exported_with_the_template_it_was_trained_with(
    s: Session, home: Path, manager: tuple[Project, Reviewer]
) -> None:
    project, by = manager
    version = version_of(s, a_training(s, project, by, home))
    folder = exported(s, project, by, version, Part.ADAPTER, ExportForm.FOLDER)
    manifest = json.loads((folder / MANIFEST).read_text())
    assert manifest["as_registered"]
    assert (folder / "chat_template.jinja").read_text() == "{{ messages }}"
    assert version.parent is not None
    config = json.loads((folder / ADAPTER_CONFIG).read_text())
    assert config["base_model_name_or_path"] == version.parent.name
    text = (folder / CARD).read_text()
    assert "--enable-lora --max-lora-rank 32" in text
    assert f"--chat-template ./{folder.name}/chat_template.jinja" in text
    assert f"where {version.parent.name} has to be too" in text


@pytest.mark.parametrize("part", Part)
def test_weights_that_changed_since_they_were_registered_are_not_exported(
    s: Session, home: Path, manager: tuple[Project, Reviewer], part: Part
) -> None:
    project, by = manager
    version = version_of(s, a_training(s, project, by, home))
    folder = Path(version.location if part is Part.MERGED else str(version.adapter_folder))
    next(folder.glob("*.safetensors")).write_bytes(safetensors(b"others!!"))
    with pytest.raises(Refused, match="not those that were registered"):
        exported(s, project, by, version, part, ExportForm.FOLDER)
    assert not exports_folder().exists()


def test_nothing_half_stays_where_an_export_dies(s: Session, home: Path, manager: tuple[Project, Reviewer]) -> None:
    project, by = manager
    version = version_of(s, a_training(s, project, by, home))
    found = build_parcel(s, by=by.id, project_id=project.id, model_version_id=version.id, part=Part.MERGED)

    def die(stage: str, share: float) -> None:
        if "model.safetensors" in stage:
            raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_export(found, ExportForm.ZIP, at=now(), tell=die)
    assert list(exports_folder().iterdir()) == []


@pytest.mark.parametrize("form", ExportForm)
def test_weights_are_never_in_memory_as_a_whole(
    s: Session, home: Path, manager: tuple[Project, Reviewer], form: ExportForm
) -> None:
    project, by = manager
    version = version_of(s, a_training(s, project, by, home))
    (Path(version.location) / "model.safetensors").write_bytes(safetensors(bytes(48 << 20)))
    version.sha256 = hash_weights(Path(version.location))
    found = build_parcel(s, by=by.id, project_id=project.id, model_version_id=version.id, part=Part.MERGED)
    tracemalloc.start()
    write_export(found, form, at=now())
    assert tracemalloc.get_traced_memory()[1] < 12 * PIECE
    tracemalloc.stop()


def carried(run: Run) -> Run:
    """The run as it is once a worker's child has carried it."""
    carry(unmanaged_progress(run.kind, run.id), hubs.run if isinstance(run, PushRun) else exporting.run)
    with reading() as s:
        return get_run(s, run.id)


@pytest.fixture
def asked(database: Path, home: Path) -> ExportRun:
    """An export that somebody asked for."""
    with session() as s:
        project = a_project(s)
        by = a_reviewer(s, project)
        version = version_of(s, a_training(s, project, by, home))
        return request_export(
            s, by=by.id, project_id=project.id, model_version_id=version.id, part=Part.MERGED, form=ExportForm.ZIP
        )


@pytest.mark.both_databases
def test_an_export_is_a_run_that_says_where_it_put_the_model(asked: ExportRun, backend: str) -> None:
    run = carried(asked)
    assert isinstance(run, ExportRun)
    assert (run.status, run.done, run.total, run.error) == (RunStatus.SUCCEEDED, 100, 100, None)
    assert [str(place) for place in exports_folder().iterdir()] == [run.place]


def test_an_export_that_was_killed_anywhere_is_whole_once_and_leaves_nothing_half(
    asked: ExportRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def kill(folder: Path, ignore_errors: bool = False) -> None:
        if folder.exists():
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", kill)  # at its very end, when the result is in its place
        with pytest.raises(Killed):
            carried(asked)
    (place,) = (place for place in exports_folder().iterdir() if not place.name.startswith("."))
    when = place.stat().st_mtime_ns
    with session() as s:
        s.get_one(ExportRun, asked.id).status = RunStatus.QUEUED
    run = carried(asked)
    assert (run.status, run.attempt) == (RunStatus.SUCCEEDED, 2)
    assert place.stat().st_mtime_ns == when, "it was there, and was written again"


def test_an_export_of_changed_weights_has_failed_with_the_sentence(asked: ExportRun) -> None:
    with session() as s:
        location = s.get_one(ModelVersion, asked.model_version_id).location
        (Path(location) / "model.safetensors").write_bytes(safetensors(b"others!!"))
    run = carried(asked)
    assert run.status is RunStatus.FAILED
    assert "not those that were registered" in (run.error or "")


def test_a_cancelled_export_writes_no_more(asked: ExportRun) -> None:
    progress = unmanaged_progress("export", asked.id)
    with session() as s:
        cancel_run(s, by=asked.requested_by_id, run_id=asked.id)
    with pytest.raises(RunLost):
        exporting.run(progress)
    with reading() as s:
        assert s.get_one(ExportRun, asked.id).place is None


def test_a_model_leaves_by_one_run_at_a_time_and_by_managers_only(asked: ExportRun) -> None:
    where: dict[str, Any] = {"project_id": asked.project_id, "model_version_id": asked.model_version_id}
    with session() as s:
        project = s.get_one(Project, asked.project_id)
        with pytest.raises(Refused, match="Export of Tuned is still going on"):
            request_push(s, by=asked.requested_by_id, **where, folder=Path("x"), repository="team/tone")
        s.get_one(ExportRun, asked.id).status = RunStatus.FAILED
        push_ = request_push(s, by=asked.requested_by_id, **where, folder=Path("x/y"), repository=" team/tone ")
        assert (push_.repository, push_.private) == ("team/tone", True)
        assert latest_release(s, model_version_id=asked.model_version_id) is push_
        form: dict[str, Any] = {"part": Part.MERGED, "form": ExportForm.FOLDER}
        with pytest.raises(Refused, match="Push of y is still going on"):
            request_export(s, by=asked.requested_by_id, **where, **form)
        other = a_reviewer(s, project, Role.REVIEWER).id
        with pytest.raises(NotAllowed):
            request_export(s, by=other, **where, **form)
        with pytest.raises(NotAllowed):
            request_push(s, by=other, **where, folder=Path("x"), repository="team/tone")


def test_what_is_not_there_is_not_offered_and_not_exported(s: Session, manager: tuple[Project, Reviewer]) -> None:
    project, by = manager
    on_hub = sure(a_model(s, project, "someone/model").model_version)
    assert exportable_parts(on_hub) == []
    with pytest.raises(Refused, match="on the hub"):
        exported(s, project, by, on_hub, Part.MERGED, ExportForm.FOLDER)
    with pytest.raises(Refused, match="no adapter"):
        exported(s, project, by, on_hub, Part.ADAPTER, ExportForm.FOLDER)
    gone = saved(s, ModelVersion, name="Gone", location="/nowhere/model")
    with pytest.raises(BrokenModel, match="no model folder"):
        exported(s, project, by, gone, Part.MERGED, ExportForm.FOLDER)
    reviewer = a_reviewer(s, project, Role.REVIEWER)
    with pytest.raises(NotAllowed):
        exported(s, project, reviewer, gone, Part.MERGED, ExportForm.FOLDER)


def test_the_line_says_what_the_engine_is_started_with_here() -> None:
    ours, _ = engine._server_command(settings_module.Engine.vllm, [engine.Weights("m", "/m", "/a", 24)], 1)
    served = ServedModel("/a", "tuned", 2048, base="/m", rank=24)
    line = shlex.split(vllm_command(served, gpu=engine.on_gpu()))
    flags = {flag for flag in ours if flag.startswith("--")}
    # the block size and the processor only make it faster, and the processor is our code
    assert flags - set(line) <= {"--block-size", "--logits-processors"}
    for flag in (
        "--max-lora-rank",
        "--max-loras",
        "--max-model-len",
        "--dtype",
        "--generation-config",
        "--load-format",
    ):
        assert line[line.index(flag) + 1] == ours[list(ours).index(flag) + 1]


def test_a_line_survives_the_shell_and_differs_by_machine() -> None:
    served = ServedModel("/my models/it's", served_name("Ton & Stil #2"), 512)
    cpu, gpu = vllm_command(served, gpu=False), vllm_command(served, gpu=True)
    assert shlex.split(gpu)[3:7] == ["--model", "/my models/it's", "--served-model-name", "ton-stil-2"]
    assert "--dtype float32" in cpu
    assert "--dtype bfloat16" in gpu
    assert "--host 127.0.0.1" in gpu


def test_dora_gets_no_line_for_its_adapter_alone(s: Session, home: Path, manager: tuple[Project, Reviewer]) -> None:
    project, by = manager
    version = version_of(s, a_training(s, project, by, home))
    write_json(Path(str(version.adapter_folder)) / ADAPTER_CONFIG, {"use_dora": True, "r": 8})
    found = build_parcel(s, by=by.id, project_id=project.id, model_version_id=version.id, part=Part.ADAPTER)
    assert commands(found, Path("x"), base="b", template=False) == ()


@pytest.mark.slow
def test_the_line_in_an_exports_card_starts_vllm_which_answers_as_the_next_line_asks(
    s: Session, default_model: Path, manager: tuple[Project, Reviewer]
) -> None:
    import httpx

    project, by = manager
    version = sure(a_model(s, project, str(default_model)).model_version)
    version.name, version.sha256 = "Ton & Stil", hash_weights(default_model)
    folder = exported(s, project, by, version, Part.MERGED, ExportForm.FOLDER)
    lines = [block.split("\n```")[0] for block in (folder / CARD).read_text().split("```sh\n")[1:]]
    serving, asking = lines[1 if engine.on_gpu() else 0], lines[2]
    own = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | engine.QUIET | {"PATH": own, "HF_HUB_OFFLINE": "1"}
    log = folder.parent / "vllm.log"
    with log.open("wb") as out:
        server = subprocess.Popen(
            ["bash", "-c", f"exec env {serving}"],
            cwd=folder.parent,
            env=environment,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + 300
            while time.monotonic() < deadline and server.poll() is None:
                with suppress(httpx.HTTPError):
                    if httpx.get("http://127.0.0.1:8000/health", timeout=2).status_code == 200:
                        break
                time.sleep(1)
            answer_process = subprocess.run(["bash", "-c", asking], capture_output=True, text=True, timeout=120)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)
            server.wait(60)
    assert answer_process.returncode == 0, log.read_text()[-3000:]
    answer = json.loads(answer_process.stdout)
    assert answer["model"] == "ton-stil"
    assert answer["choices"][0]["message"]["content"].strip()


class FakeHub:
    """A hub that keeps what it is sent."""

    def __init__(self, *, there: bool = False, private: bool = True, status: int | None = None) -> None:
        self.there, self.private, self.status = there, private, status
        self.got: list[str] = []

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> None:
        if self.there or self.status:
            self._refuse(self.status or 409)
        self.there, self.private = True, private

    def repo_info(self, repo_id: str) -> Any:
        return SimpleNamespace(private=self.private)

    def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> None:
        self.got = sorted(file.name for file in folder_path.iterdir())

    def _refuse(self, status: int) -> None:
        import httpx2
        from huggingface_hub.errors import HfHubHTTPError

        answer = httpx2.Response(status, request=httpx2.Request("POST", "http://hub/"))
        raise HfHubHTTPError("refused", response=answer)


@pytest.fixture
def folder(s: Session, home: Path, manager: tuple[Project, Reviewer]) -> Path:
    """An export as a folder."""
    project, by = manager
    version = version_of(s, a_training(s, project, by, home))
    return exported(s, project, by, version, Part.ADAPTER, ExportForm.FOLDER)


def test_a_push_is_private_and_takes_the_whole_export(folder: Path) -> None:
    hub = FakeHub()
    assert push_export(folder, repository="team/tone", to=hub) == "https://huggingface.co/team/tone"
    assert hub.private
    assert hub.got == sorted(file.name for file in folder.iterdir())


def test_a_repository_that_is_public_gets_nothing_that_was_to_be_private(folder: Path) -> None:
    hub = FakeHub(there=True, private=False)
    with pytest.raises(Refused, match="public"):
        push_export(folder, repository="team/tone", to=hub)
    assert hub.got == []
    hub = FakeHub(there=True, private=True)
    push_export(folder, repository="team/tone", to=hub)
    assert hub.got


@pytest.mark.parametrize("name", ["", "tone", "a/b/c", "team/to ne", "team/--x--", "../x"])
def test_a_push_needs_whose_repository_it_is(
    s: Session, folder: Path, manager: tuple[Project, Reviewer], name: str
) -> None:
    project, by = manager
    where: dict[str, Any] = {"project_id": project.id, "model_version_id": 1, "folder": folder}
    with pytest.raises(Refused, match="owner/name"):
        request_push(s, by=by.id, **where, repository=name)
    with pytest.raises(Refused, match="owner/name"):
        push_export(folder, repository=name, to=FakeHub())


def test_an_export_that_was_touched_is_not_pushed(folder: Path) -> None:
    (folder / "notes.txt").write_text("x")
    with pytest.raises(Refused, match=r"notes\.txt"):
        push_export(folder, repository="team/tone", to=FakeHub())
    (folder / "notes.txt").unlink()
    (folder / CARD).write_text("changed")
    with pytest.raises(Refused, match="changed"):
        push_export(folder, repository="team/tone", to=FakeHub())


def test_a_refusal_of_the_hub_is_a_sentence_without_the_token(folder: Path) -> None:
    with pytest.raises(PushFailed, match="HF_TOKEN is not valid"):
        push_export(folder, repository="team/tone", to=FakeHub(status=401))
    with pytest.raises(PushFailed, match="may not write"):
        push_export(folder, repository="team/tone", to=FakeHub(status=403))


def test_without_a_token_or_a_hub_one_sentence_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    assert "HF_TOKEN" in str(missing_token())
    with pytest.raises(PushFailed, match="HF_TOKEN"):
        push_export(folder, repository="team/tone")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(PushFailed, match=r"No hub can be reached at http://127\.0\.0\.1:9") as caught:
        push_export(folder, repository="team/tone")
    assert "hf_secret" not in str(caught.value)


@pytest.fixture
def hub_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, str, Any]]]:
    """What a hub on this machine is asked: path, authorization and body."""
    asked: list[tuple[str, str, Any]] = []

    class Hub(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            lines = [json.loads(line) for line in body.splitlines() if line]
            asked.append((self.path, self.headers.get("Authorization", ""), lines))
            answer: dict[str, object] = {"url": f"http://{self.headers['Host']}/team/tone"}
            if "preupload" in self.path:
                files = [file["path"] for file in lines[0]["files"]]
                answer = {"files": [{"path": f, "uploadMode": "regular", "shouldIgnore": False} for f in files]}
            elif "/commit/" in self.path:
                answer = {"success": True, "commitOid": "a" * 40, "commitUrl": f"{answer['url']}/commit/{'a' * 40}"}
            self._send(answer)

        def do_GET(self) -> None:
            asked.append((self.path, self.headers.get("Authorization", ""), []))
            self._send({"id": "team/tone", "private": True, "siblings": [], "sha": "a" * 40})

        def _send(self, answer: object) -> None:
            text = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    yield asked
    server.shutdown()
    server.server_close()


def test_the_hubs_own_client_sends_the_export_with_the_token_of_the_environment(
    folder: Path, hub_server: list[tuple[str, str, Any]]
) -> None:
    address = push_export(folder, repository="team/tone")
    assert address.endswith("/team/tone")
    created = next(body for path, _, body in hub_server if path == "/api/repos/create")
    assert (created[0]["name"], created[0]["organization"]) == ("tone", "team")
    assert created[0].get("visibility", created[0].get("private")) in ("private", True)
    sent = next(body for path, _, body in hub_server if "/commit/" in path)
    names = {line["value"]["path"] for line in sent if line["key"] == "file"}
    assert names == {file.name for file in folder.iterdir()}
    assert {authorization for _, authorization, _ in hub_server} == {"Bearer hf_secret"}


@pytest.mark.both_databases
def test_a_model_is_not_retired_while_a_run_uses_it(s: Session, home: Path, manager: tuple[Project, Reviewer]) -> None:
    project, by = manager
    run = a_training(s, project, by, home)
    version = version_of(s, run)
    args = {"by": by.id, "project_id": project.id, "model_version_id": version.id}
    answers = a_model(s, project)
    other = a_model(s, project)
    answers.model_version_id = version.id
    asked = {"project_id": project.id, "requested_by_id": by.id}
    trains = {**asked, "snapshot_id": run.snapshot_id, "recipe_id": run.recipe_id, "base_model_id": version.id}
    beside = GenerationRun(**asked, responder_id=other.id, scope=Scope.ALL)
    beside.companions = [Companion(responder_id=answers.id)]
    for using, words in (
        (TrainingRun(**trains, model_name="Next"), "training run"),
        (GenerationRun(**asked, responder_id=answers.id, scope=Scope.ALL), "generation run"),
        (beside, "generation run"),
        (ParityCheck(**asked, model_version_id=version.id), "check"),
    ):
        s.add(using)
        s.flush()
        with pytest.raises(Refused, match=words):
            retire(s, **args)
        using.status = RunStatus.SUCCEEDED
        s.flush()
        assert find_use(s, version) is None
    retire(s, **args)
    assert version.retired_at is not None


def test_a_retired_model_is_offered_no_more_keeps_its_past_and_comes_back(
    s: Session, home: Path, manager: tuple[Project, Reviewer]
) -> None:
    project, by = manager
    run = a_training(s, project, by, home)
    version = version_of(s, run)
    args = {"by": by.id, "project_id": project.id, "model_version_id": version.id}
    retire(s, **args)
    assert version not in list_models(s)
    assert version in list_models(s, include_retired=True)
    assert [one.run for one in list_model_entries(s, project_id=project.id) if one.version is version] == [run]
    assert "Retired: on" in everything(build_card(s, model_version_id=version.id))
    with pytest.raises(Refused, match="is retired"):
        refuse_retired(version)
    unretire(s, **args)
    assert version in list_models(s)
    refuse_retired(version)
    with pytest.raises(NotAllowed):
        retire(s, **{**args, "by": a_reviewer(s, project, Role.REVIEWER).id})


def test_the_last_model_stays(s: Session, manager: tuple[Project, Reviewer]) -> None:
    project, by = manager
    version = sure(a_model(s, project).model_version)
    with pytest.raises(Refused, match="only model"):
        retire(s, by=by.id, project_id=project.id, model_version_id=version.id)


@pytest.mark.both_databases
def test_what_differs_comes_first_then_curves_numbers_and_replies(
    s: Session, home: Path, manager: tuple[Project, Reviewer]
) -> None:
    project, by = manager
    one = a_training(s, project, by, home, name="One", beta=0.1)
    two = a_training(s, project, by, home, name="Two", beta=0.5)
    saved(
        s,
        TrainingSample,
        training_run_id=two.id,
        step=2,
        place=2,
        prompt_id=_prompt_of(s, one),
        reply="Two to One's",
        tokens=1,
        ended=True,
    )
    found = compare_runs(s, by=by.id, project_id=project.id, run_ids=[two.id, one.id])
    assert found.labels == (f"Two (training {two.id})", f"One (training {one.id})")
    first = {row.label: row.values for row in found.settings if row.differs}
    assert first["Beta"] == ("0.5", "0.1")
    assert set(first) == {"Base", "Snapshot", "Beta"}
    same = {row.label: row.values[0] for row in found.settings if not row.differs}
    assert (same["Loss"], same["What is trained"]) == (LOSSES[Loss.SIGMOID].label, "LoRA"), "in the page Train's words"
    assert [row.differs for row in found.settings] == sorted((row.differs for row in found.settings), reverse=True)
    assert found.simulated
    assert "1 simulated" in first["Snapshot"][0]
    outcomes = {row.label: row.values for row in found.outcomes}
    assert outcomes["Last validation numbers"][0] == "loss 0.3500, reward accuracy 50%"
    assert outcomes["Lowest validation loss"][0] == "0.3500 at step 2"
    assert outcomes["Memory at most"] == ("3840 MB", "3840 MB")
    assert outcomes["Warnings"] == ("overfitting", "overfitting")
    assert len(found.points) == 8
    assert [(reply.reply, reply.step) for reply in found.samples[0].replies] == [
        ("Two to One's", 2),
        ("One at 2 <b>", 2),
    ]


def test_the_accuracy_of_the_first_step_where_all_pairs_are_ties_is_left_out(
    s: Session, home: Path, manager: tuple[Project, Reviewer]
) -> None:
    project, by = manager
    runs = [a_training(s, project, by, home, name=name) for name in ("One", "Two")]
    found = compare_runs(s, by=by.id, project_id=project.id, run_ids=[run.id for run in runs])
    told = {(point.run[:3], point.split, point.step): point.accuracy for point in found.points}
    for name in ("One", "Two"):
        assert [told[name, Split.TRAIN, step] for step in (1, 2)] == [None, 0.5]
        assert [told[name, Split.VALIDATION, step] for step in (1, 2)] == [0.5, 0.5]


def _prompt_of(s: Session, run: TrainingRun) -> int:
    return s.get_one(TrainingSample, (run.id, 1, 1)).prompt_id


def test_two_to_four_trainings_of_the_project_are_compared(
    s: Session, home: Path, manager: tuple[Project, Reviewer]
) -> None:
    project, by = manager
    run = a_training(s, project, by, home)
    with pytest.raises(Refused, match="2 to 4"):
        compare_runs(s, by=by.id, project_id=project.id, run_ids=[run.id, run.id])
    elsewhere = a_project(s)
    other = a_training(s, elsewhere, a_reviewer(s, elsewhere), home, name="Elsewhere")
    with pytest.raises(Exception, match="not in this project"):
        compare_runs(s, by=by.id, project_id=project.id, run_ids=[run.id, other.id])


@given(st.lists(st.dictionaries(st.sampled_from("abcd"), st.sampled_from("xy")), min_size=1, max_size=4))
def test_every_value_stays_in_its_column_whatever_the_order(columns: list[dict[str, str]]) -> None:
    rows = differing_first(columns)
    assert set(rows) == set(side_by_side(columns))
    for row in rows:
        for column, value in zip(columns, row.values, strict=True):
            assert column.get(row.label, "–") == value
    assert [row.differs for row in rows] == sorted((row.differs for row in rows), reverse=True)


@pytest.fixture
def two(database: Path, home: Path) -> tuple[int, int, int]:
    """Two trainings of a project: its id, its manager's, the newer model's."""
    with session() as s:
        project = a_project(s)
        by = a_reviewer(s, project)
        a_training(s, project, by, home, name="One")
        run = a_training(s, project, by, home, name="Two", beta=0.4)
        return project.id, by.id, int(run.model_version_id or 0)


def test_a_manager_reads_a_card_exports_the_model_and_gets_the_line_that_serves_it(
    two: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    project_id, by, _ = two
    page = open_page("trained_models", project_id=project_id, by=by)
    assert "Sha256 of the chat template" in said(page)
    press(page, "Export")
    assert "No worker is running, so this waits" in said(page)
    assert next(one for one in page.button if one.label == "Export").disabled
    with reading() as s:
        (run,) = s.scalars(select(ExportRun))
    assert carried(run).status is RunStatus.SUCCEEDED
    page = open_page("trained_models", project_id=project_id, by=by)
    (place,) = exports_folder().iterdir()
    assert f"{place}" in said(page)
    assert f"--model {place} --served-model-name two" in said(page)
    assert "A push needs your token" in said(page)


def test_a_push_begins_only_when_the_repository_is_typed(
    two: tuple[int, int, int], hub_server: list[tuple[str, str, Any]]
) -> None:
    project_id, by, version_id = two
    with session() as s:
        found = build_parcel(s, by=by, project_id=project_id, model_version_id=version_id, part=Part.ADAPTER)
    write_export(found, ExportForm.FOLDER, at=now())
    page = open_page("trained_models", project_id=project_id, by=by)
    button = next(one for one in page.button if one.label == "Push")
    assert button.disabled
    page.text_input(key=f"repository_{version_id}_0").set_value("team/tone").run()
    press(page, "Push")
    assert hub_server == []
    with reading() as s:
        (run,) = s.scalars(select(PushRun))
    assert carried(run).error is None
    assert any("/commit/" in path for path, _, _ in hub_server)
    page = open_page("trained_models", project_id=project_id, by=by)
    assert "/team/tone" in said(page)


def test_a_model_is_retired_and_brought_back_and_its_bases_licence_typed(two: tuple[int, int, int]) -> None:
    project_id, by, version_id = two
    page = open_page("trained_models", project_id=project_id, by=by)
    press(page, "Retire it")
    with reading() as s:
        version = s.get_one(ModelVersion, version_id)
        assert version.retired_at is not None
        base_id = version.parent_id
    page.run()
    assert "offered for nothing new" in said(page)
    press(page, "Bring it back")
    page.selectbox(key="trained_model").set_value(base_id).run()
    page.text_input(key=f"licence_{base_id}").set_value("gemma").run()
    assert not page.exception
    with reading() as s:
        assert s.get_one(ModelVersion, base_id).licence == "gemma"


def test_two_trainings_are_shown_side_by_side_and_replies_stay_text(two: tuple[int, int, int]) -> None:
    page = open_page("trained_models", project_id=two[0], by=two[1])
    text = said(page)
    assert "Beta" in text
    assert "Two at 2 &lt;b&gt;" in text
    assert "partly simulated feedback" in text
    assert len(page.get("arrow_vega_lite_chart") or page.get("vega_lite_chart")) >= 2


def test_the_legend_stands_above_the_charts_where_nothing_cuts_it(two: tuple[int, int, int]) -> None:
    page = open_page("trained_models", project_id=two[0], by=two[1])
    for words in ("Two (training", "One (training", "training rows", "validation rows"):
        assert f"</b>{words}" in said(page) or f"</i>{words}" in said(page)
    charts = page.get("arrow_vega_lite_chart") or page.get("vega_lite_chart")
    assert charts
    for chart in charts:
        encoding = json.loads(chart.proto.spec)["encoding"]
        assert (encoding["color"]["legend"], encoding["strokeDash"]["legend"]) == (None, None)


def test_tables_of_a_card_are_whole_and_what_a_model_has_not_is_an_empty_cell(two: tuple[int, int, int]) -> None:
    page = open_page("trained_models", project_id=two[0], by=two[1])
    tables = [one.proto.body for one in page.get("html") if "<table>" in one.proto.body]
    assert tables
    assert all('class="pw-table pw-whole"' in table for table in tables)
    assert not [table for table in tables if "<td>None</td>" in table]
    assert "<td>3, 1 simulated</td>" in tables[0]
    assert "<td>LoRA</td>" in tables[1]
