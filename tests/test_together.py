"""Several Responders in one GenerationRun: who shares an engine, whose model is asked, and what is kept of each."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

import settings as settings_module
from db.models import (
    Adapter,
    AssertionResult,
    Claim,
    Comparison,
    GenerationRun,
    ModelVersion,
    Project,
    Prompt,
    Responder,
    ResponderKind,
    Response,
    Reviewer,
    Role,
    RunStatus,
    Scope,
)
from db.session import reading, session
from errors import NotAllowed, Refused
from generation import adapters, answering, resampling, similarity, worker
from generation.answering import AnsweringJob
from generation.asserting import add_assertion
from generation.plan import responder_labels, start_generation, start_generations
from jobs.progress import Progress, unmanaged_progress
from jobs.runs import cancel_run, retry_run
from llm import endpoints, engine
from llm.endpoints import Endpoint
from llm.engine import Weights, served_names
from tests.factories import a_human, a_project, a_prompt, a_response, a_reviewer, saved, sure
from tests.fake_endpoint import FakeEndpoint, failed, serving


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adapters are loaded beside their base."""
    monkeypatch.setattr(adapters, "can_load_adapters", lambda: True)


def an_adapter(
    s: Session, base: ModelVersion, folder: Path, kind: Adapter = Adapter.LORA, **config: Any
) -> ModelVersion:
    """A ModelVersion with an adapter's folder, in which only the configuration is."""
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 8, **config}))
    return saved(
        s,
        ModelVersion,
        name=folder.name,
        location=f"/merged/{folder.name}",
        adapter=kind,
        adapter_folder=str(folder),
        parent_id=base.id,
    )


def answering_with(s: Session, project: Project, version: ModelVersion, name: str, **fields: Any) -> Responder:
    """A Responder on a ModelVersion that is there."""
    return saved(
        s,
        Responder,
        project_id=project.id,
        name=name,
        kind=ResponderKind.MODEL,
        model_version_id=version.id,
        instructions=f"Answer as {name}.",
        **fields,
    )


class Family:
    """A base with adapters of several kinds, each with a Responder, and another model."""

    def __init__(self, s: Session, folder: Path) -> None:
        self.project = a_project(s)
        self.by: Reviewer = a_reviewer(s, self.project)
        base = ModelVersion(name="base", location="/models/base")
        other = ModelVersion(name="other", location="/models/other")
        s.add_all([base, other])
        s.flush()
        versions = [
            base,
            an_adapter(s, base, folder / "lora"),
            an_adapter(s, base, folder / "rslora", Adapter.RSLORA, r=4, rank_pattern={"q_proj": 24}),
            an_adapter(s, base, folder / "dora", Adapter.DORA, use_dora=True),
            an_adapter(s, base, folder / "head", modules_to_save=["lm_head"]),
            other,
            an_adapter(s, other, folder / "qlora", Adapter.QLORA),
        ]
        self.who = {version.name: answering_with(s, self.project, version, version.name) for version in versions}
        self.who["brief"] = answering_with(s, self.project, base, "brief")
        for _ in range(3):
            a_prompt(s, self.project)

    def started(self, s: Session, *names: str) -> Sequence[GenerationRun]:
        ids = [self.who[name].id for name in names]
        return start_generations(s, by=self.by.id, responder_ids=ids, scope=Scope.ALL, samples=2)


def labels(s: Session, runs: Sequence[GenerationRun]) -> list[list[str]]:
    found = responder_labels(s, run_ids=[run.id for run in runs])
    return [found[run.id] for run in runs]


@pytest.mark.both_databases
def test_one_model_with_several_prompts_is_one_run_and_another_model_a_run_of_its_own(
    s: Session, tmp_path: Path
) -> None:
    family = Family(s, tmp_path)
    runs = family.started(s, "base", "other", "brief", "lora")
    assert labels(s, runs) == [["base", "brief"], ["other"], ["lora"]]
    assert [run.total for run in runs] == [2 * 3 * 2, 3 * 2, 3 * 2]
    assert [(run.status, run.samples) for run in runs] == [(RunStatus.QUEUED, 2)] * 3


@pytest.mark.usefixtures("beside")
def test_where_adapters_are_loaded_beside_their_base_they_share_its_engine_but_those_that_must_be_merged(
    s: Session, tmp_path: Path
) -> None:
    family = Family(s, tmp_path)
    runs = family.started(s, "lora", "dora", "rslora", "base", "brief", "head", "qlora", "other")
    assert labels(s, runs) == [["lora", "base", "rslora", "brief"], ["dora"], ["head"], ["qlora", "other"]]


def test_models_behind_one_endpoint_share_a_run_if_they_share_its_key(s: Session, project: Project) -> None:
    by = a_reviewer(s, project)
    a_prompt(s, project)

    def remote(name: str, **fields: Any) -> int:
        made = saved(
            s,
            Responder,
            project_id=project.id,
            name=name,
            kind=ResponderKind.REMOTE,
            instructions="",
            **{"endpoint_url": "https://api.example.com/v1", "endpoint_model": "gpt-4", **fields},
        )
        return made.id

    ids = [
        remote("one"),
        remote("other"),
        remote("keyed", key_variable="PICKWELL_KEY_A"),
        remote("5", endpoint_model="5"),
    ]
    runs = start_generations(s, by=by.id, responder_ids=ids, scope=Scope.ALL)
    assert labels(s, runs) == [["one", "other"], ["keyed"], ["5"]]


def test_whoever_is_at_work_in_others_company_is_refused_and_so_is_a_whole_start_with_one_who_cannot(
    s: Session, tmp_path: Path
) -> None:
    family = Family(s, tmp_path)
    (run,) = family.started(s, "base", "brief", "base")
    assert labels(s, [run]) == [["base", "brief"]]
    for busy in ("base", "brief"):
        with pytest.raises(Refused, match=rf"{busy} is generating already \(run {run.id}\)"):
            family.started(s, "other", busy)
    cancel_run(s, by=family.by.id, run_id=run.id)
    s.flush()
    person = a_human(s, family.project, name="Ann")
    with pytest.raises(Refused, match="Ann is a person"):
        start_generations(s, by=family.by.id, responder_ids=[family.who["brief"].id, person.id], scope=Scope.ALL)
    with pytest.raises(Refused, match="Choose who is to answer"):
        start_generations(s, by=family.by.id, responder_ids=[], scope=Scope.ALL)
    annotator = a_reviewer(s, family.project, Role.ANNOTATOR)
    with pytest.raises(NotAllowed):
        start_generations(s, by=annotator.id, responder_ids=[family.who["brief"].id], scope=Scope.ALL)
    assert start_generation(s, by=family.by.id, responder_id=family.who["brief"].id, scope=Scope.ALL).companions == []


def test_vllm_is_started_once_with_room_for_all_adapters_and_their_highest_rank(s: Session, tmp_path: Path) -> None:
    base = Weights("base", "/models/base")
    one, two = Weights("one", "/models/base", "/adapters/one", 8), Weights("two", "/models/base", "/adapters/two", 24)
    together = [base, two, one]
    assert served_names(together) == ["responder", "adapted-1", "adapted-2"]
    assert engine._adapter_options([base], gpu=True) == []
    assert engine._adapter_options(together, gpu=True) == [
        "--enable-lora",
        *("--max-lora-rank", "32"),
        *("--max-loras", "2"),
        *("--max-cpu-loras", "2"),
        *("--lora-modules", "adapted-1=/adapters/two", "adapted-2=/adapters/one"),
    ]
    many = [Weights(str(n), "/models/base", f"/adapters/{n}", None) for n in range(9)]
    options = engine._adapter_options(many, gpu=True)
    assert options[options.index("--max-loras") + 1 :][:3] == ["8", "--max-cpu-loras", "9"], "further ones take turns"
    options = engine._adapter_options(many, gpu=False)
    assert options[options.index("--max-loras") + 1 :][:3] == ["10", "--max-cpu-loras", "10"], "the last stays empty"


@pytest.mark.usefixtures("beside")
def test_the_highest_rank_of_an_adapter_is_what_room_is_made_for(s: Session, tmp_path: Path) -> None:
    family = Family(s, tmp_path)
    version = sure(family.who["rslora"].model_version)
    assert adapters.engine_weights(version).adapter_rank == 24


@pytest.fixture
def fake() -> Iterator[FakeEndpoint]:
    """An engine that says which model it was asked for."""

    def telling(body: dict[str, Any]) -> Any:
        choices = [
            {
                "index": n,
                "finish_reason": "stop",
                "message": {
                    "role": "assistant",
                    "content": f"{body['model']} {body['seed'] + n}: {body['messages'][0]}",
                },
            }
            for n in range(body.get("n", 1))
        ]
        usage = {"prompt_tokens": 1, "completion_tokens": len(choices), "total_tokens": 1 + len(choices)}
        whole = {"id": "1", "object": "chat.completion", "created": 0, "model": body["model"]}
        return 200, {**whole, "choices": choices, "usage": usage}

    with serving(FakeEndpoint()) as endpoint:
        endpoint.act = telling
        yield endpoint


@pytest.fixture
def starts(fake: FakeEndpoint, monkeypatch: pytest.MonkeyPatch) -> list[Sequence[Weights]]:
    """What engines were started with; all of them are the fake."""
    found: list[Sequence[Weights]] = []

    @contextmanager
    def serve(*together: Weights, log: Path, on_wait: Callable[[float], None]) -> Iterator[Sequence[Endpoint]]:
        found.append(together)
        on_wait(0.0)
        assert len({one.location for one in together}) == 1
        yield [
            Endpoint(fake.url, name, endpoints.NO_KEY, dtype="float32", started_here=True)
            for name in served_names(together)
        ]

    monkeypatch.setattr(worker, "serve", serve)
    monkeypatch.setattr(worker, "ensure_merged", lambda version: None)
    monkeypatch.setattr(resampling, "MAX_REDRAWS", 0)
    return found


@pytest.fixture
def family(database: Path, tmp_path: Path) -> Family:
    with session() as s:
        return Family(s, tmp_path / "adapters")


def by_name(family: Family) -> dict[str, list[Response]]:
    """Every Responder's replies."""
    with reading() as s:
        rows = s.scalars(select(Response).order_by(Response.prompt_id, Response.sample)).all()
    names = {who.id: name for name, who in family.who.items()}
    found: dict[str, list[Response]] = {}
    for row in rows:
        found.setdefault(names[row.responder_id], []).append(row)
    return found


@pytest.mark.usefixtures("beside")
def test_every_reply_comes_from_its_own_responders_model_and_prompt_and_is_kept_with_what_made_it(
    family: Family, starts: list[Sequence[Weights]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PICKWELL_ENGINE", "vllm")
    settings_module.settings.cache_clear()
    monkeypatch.setattr("generation.plan.refuse_unfit", lambda s, version: None)
    monkeypatch.setattr(answering, "read_template", lambda location: f"template of {location}")
    monkeypatch.setattr(answering, "read_stop_tokens", lambda location: "</s>")
    with session() as s:
        (run,) = family.started(s, "base", "lora", "rslora", "brief")
    worker.run(unmanaged_progress("generation", run.id))
    assert [[one.name for one in together] for together in starts] == [["base", "lora", "rslora"]]
    replies = by_name(family)
    models = {name: {one.text.split()[0] for one in mine} for name, mine in replies.items()}
    assert models == {"base": {"responder"}, "brief": {"responder"}, "lora": {"adapted-1"}, "rslora": {"adapted-2"}}
    for name, mine in replies.items():
        assert len(mine) == 6
        assert all(f"Answer as {name}." in one.text for one in mine), "with its own prompt"
        assert all(f" {one.seed}: " in one.text for one in mine), "with the seed that is kept"
        assert {one.dtype for one in mine} == {"float32"}
        assert len({one.template_hash for one in mine} - {None}) == 1
    with reading() as s:
        done = s.get_one(GenerationRun, run.id)
        assert (done.status, done.done, done.total, done.failed) == (RunStatus.SUCCEEDED, 24, 24, 0)
        for pair in s.scalars(select(Comparison)):
            assert len({one.responder_id for one in pair.responses}) == 1, "each responder's own pairs"
        assert len(s.scalars(select(Comparison.id)).all()) == 4 * 3


@pytest.mark.usefixtures("beside")
def test_settings_that_changed_since_the_start_give_each_its_own_engine_one_after_the_other(
    family: Family, starts: list[Sequence[Weights]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with session() as s:
        (run,) = family.started(s, "base", "lora", "brief")
    monkeypatch.setattr(adapters, "can_load_adapters", lambda: False)
    worker.run(unmanaged_progress("generation", run.id))
    assert [[one.location for one in together] for together in starts] == [["/models/base"], ["/merged/lora"]]
    assert {name: len(mine) for name, mine in by_name(family).items()} == {"base": 6, "lora": 6, "brief": 6}


@pytest.mark.usefixtures("beside")
def test_an_engine_that_dies_and_a_run_that_is_stopped_go_on_for_everybody(
    family: Family, fake: FakeEndpoint, starts: list[Sequence[Weights]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PICKWELL_CONCURRENCY", "1")
    settings_module.settings.cache_clear()
    monkeypatch.setattr(answering, "BATCH", 1)
    with session() as s:
        (run,) = family.started(s, "base", "lora")
    saves: list[int] = []
    save = AnsweringJob._save

    def stopped_after_four(self: AnsweringJob, batch: Any, where: Any) -> None:
        save(self, batch, where)
        saves.append(len(batch))
        if len(saves) == 2:
            raise answering.EngineDied
        if len(saves) == 4:
            with session() as s:
                cancel_run(s, by=family.by.id, run_id=run.id)

    monkeypatch.setattr(AnsweringJob, "_save", stopped_after_four)
    with pytest.raises(Exception, match="no longer has generation run"):
        worker.run(unmanaged_progress("generation", run.id))
    monkeypatch.setattr(AnsweringJob, "_save", save)
    assert len(starts) == 2, "started again after its death"
    before = {name: [one.text for one in mine] for name, mine in by_name(family).items()}
    assert 0 < sum(len(mine) for mine in before.values()) < 12
    with session() as s:
        s.get_one(GenerationRun, run.id).status = RunStatus.CANCELLED
        s.flush()
        retry_run(s, by=family.by.id, run_id=run.id)
    worker.run(unmanaged_progress("generation", run.id))
    after = by_name(family)
    assert {name: len(mine) for name, mine in after.items()} == {"base": 6, "lora": 6}
    assert all({one.text for one in after[name]} >= set(before.get(name, ())) for name in after)
    assert len(starts) == 3


@pytest.mark.usefixtures("beside")
def test_a_prompt_that_one_of_them_cannot_answer_is_told_with_whose_it_was(
    family: Family, fake: FakeEndpoint, starts: list[Sequence[Weights]]
) -> None:
    telling = fake.act

    def refusing(body: dict[str, Any]) -> Any:
        return failed(400, "It is too long.") if body["model"] == "adapted-1" else telling(body)

    fake.act = refusing
    with session() as s:
        (run,) = family.started(s, "base", "lora")
    worker.run(unmanaged_progress("generation", run.id))
    with reading() as s:
        done = s.get_one(GenerationRun, run.id)
        assert (done.status, done.done, done.failed) == (RunStatus.SUCCEEDED, 6, 3)
        assert "asked of lora, was refused" in (done.problem or "")


@pytest.mark.usefixtures("beside")
def test_what_came_out_alike_is_drawn_again_from_the_model_that_gave_it(
    family: Family, fake: FakeEndpoint, starts: list[Sequence[Weights]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resampling, "MAX_REDRAWS", 1)
    telling = fake.act

    def alike(body: dict[str, Any]) -> Any:
        status, said = telling(body) or failed(500, "No answer.")
        if body["model"] == "adapted-1" and body["temperature"] < 1:
            for choice in said["choices"]:
                choice["message"]["content"] = "adapted-1 always says the same."
        return status, said

    fake.act = alike
    with session() as s:
        (run,) = family.started(s, "base", "lora")
    worker.run(unmanaged_progress("generation", run.id))
    replies = by_name(family)
    assert [one.sample for one in replies["base"]] == [0, 1] * 3
    assert [one.sample for one in replies["lora"]] == [0, 1, 9] * 3
    assert all(one.text.startswith("adapted-1 ") for one in replies["lora"])
    with reading() as s:
        assert s.get_one(GenerationRun, run.id).resampled == 3


def by_first_letter(texts: Sequence[str]) -> Any:
    """Texts that begin alike mean the same."""
    return np.array([[float(text[:1] == letter) for letter in "ar"] for text in texts], np.float32)


def a_run_to_compare(family: Family) -> GenerationRun:
    """A run whose first prompt a person has answered too, in a project that wants replies like a person's."""
    with session() as s:
        (run,) = family.started(s, "base")
        person = a_human(s, family.project)
        for prompt in s.scalars(select(Prompt).where(Prompt.project_id == family.project.id)):
            a_response(s, prompt, person, "responder or so")
        add_assertion(s, by=family.by.id, project_id=family.project.id, claim=Claim.LIKE_REFERENCE, value="0.5")
    return run


@pytest.mark.usefixtures("starts")
def test_a_run_measures_how_near_its_own_replies_are_to_a_persons(
    family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = a_run_to_compare(family)
    stages: list[str] = []
    update = Progress.update

    def heard(self: Progress, **said: Any) -> None:
        stages.append(said.get("stage") or "")
        update(self, **said)

    monkeypatch.setattr(Progress, "update", heard)
    monkeypatch.setattr(similarity, "sentence_embeddings", lambda: by_first_letter)
    monkeypatch.setattr(similarity, "missing_packages", lambda: [])
    worker.run(unmanaged_progress("generation", run.id))
    with reading() as s:
        found = s.scalars(select(AssertionResult)).all()
        mine = set(s.scalars(select(Response.id).where(Response.generation_run_id == run.id)))
        assert {one.response_id for one in found} == mine, "people's own wait for the Check page"
        assert all(one.passed for one in found)
        assert s.get_one(GenerationRun, run.id).status is RunStatus.SUCCEEDED
    assert "Comparing meanings, loading the model" in stages


@pytest.mark.usefixtures("starts")
def test_a_run_whose_meanings_cannot_be_compared_succeeds_and_its_log_says_why(
    family: Family, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = a_run_to_compare(family)
    monkeypatch.setattr(similarity, "find_spec", lambda name: None)
    worker.run(unmanaged_progress("generation", run.id))
    with reading() as s:
        assert s.get_one(GenerationRun, run.id).status is RunStatus.SUCCEEDED
        assert s.scalars(select(AssertionResult.assertion_id)).all() == []
    assert "Comparing meanings needs torch" in caplog.text
