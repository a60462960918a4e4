"""Every kind of contestant on the real vLLM and the real default model.

One server, with two adapters beside their base, answers for all tests but the first, which kills its own; what the
trainer's libraries say to the same conversations is computed once, in one process.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from sqlalchemy import func, select
from tokenizers import Tokenizer

import settings as settings_module
from db.models import Adapter, Comparison, GenerationRun, ModelVersion, ParityCheck, Response, RunStatus, Scope
from db.session import reading, session
from generation import parity_check, worker
from generation.adapters import add_adapter
from generation.base_model import register_base_model
from generation.parity import CONVERSATIONS, TrainerView, conversations
from generation.parity_check import request_check
from generation.plan import start_generation, start_generations
from generation.responders import RemoteModel, ResponderSpec, Sampling, create_responder
from jobs.progress import unmanaged_progress
from llm.endpoints import Endpoint
from llm.engine import SERVED_NAME, Weights, serve
from llm.folder import read_template
from llm.template import PromptFormat, template_hash
from llm.top_p import ARGUMENT
from settings import ROOT
from tests.factories import a_project, a_prompt, a_reviewer

pytestmark = pytest.mark.slow
ADAPTERS: Mapping[str, dict[str, Any]] = {
    "LORA": {"lora_alpha": 64},
    "RSLORA": {"use_rslora": True, "r": 4},
    "DORA": {"use_dora": True},
}
BESIDE = ("LORA", "RSLORA")
QUESTIONS = ("Where is parcel 7?", "Do you sell large print?", "My book is torn.")
BRIEFLY = PromptFormat("Answer in one sentence.")
LONGEST = 8
"""Tokens of a reply that is compared with the trainer's libraries."""
END_OF_TURN = 2


def another_template(folder: Path) -> None:
    """Instructions under another heading."""
    _with_template(folder, lambda text: text.replace("<|im_start|>", "<|im_start|> "))


def no_end(folder: Path) -> None:
    """Replies without their end-of-turn token."""
    _with_template(folder, lambda text: text.replace("<|im_end|>", ""))


def two_beginnings(folder: Path) -> None:
    """A begin-of-text token twice."""
    _with_template(folder, lambda text: "<|im_start|><|im_start|>" + text)


def _with_template(folder: Path, change: Callable[[str], str]) -> None:
    file = folder / "chat_template.jinja"
    text = file.read_text()
    file.unlink()
    file.write_text(change(text))


def other_weights(folder: Path) -> None:
    """The last norm is a hundredth off."""
    from safetensors.numpy import load_file, save_file

    file = folder / "model.safetensors"
    weights = load_file(file)
    file.unlink()
    weights["model.norm.weight"] = weights["model.norm.weight"] * 1.01
    save_file(weights, file, metadata={"format": "pt"})


SPOILS: Mapping[str, tuple[Callable[[Path], None], str | None]] = {
    "as served": (lambda folder: None, None),
    "another template": (another_template, "The engine reads other tokens than the trainer"),
    "no end": (no_end, "0 end-of-turn tokens instead of one"),
    "two beginnings": (two_beginnings, "two begin-of-text tokens"),
    "other weights": (other_weights, "other probabilities than the trainer"),
}
"""What is done to a copy of the model that is served, and what a check of that copy says."""


def a_copy(folder: Path, place: Path) -> Path:
    """The folder's files by links, for one of them to be changed."""
    place.mkdir(parents=True)
    for file in folder.iterdir():
        (place / file.name).symlink_to(file)
    return place


@dataclass(frozen=True)
class Trainer:
    """What transformers and PEFT say, by name of model or adapter."""

    folder: Path
    """Holds the adapters and the spoiled models, by name."""
    looks: Mapping[str, tuple[list[TrainerView], int | None]]
    """The conversations of a check, and the begin-of-text token."""
    greedy: Mapping[str, Sequence[Sequence[int]]]
    """The most probable replies to the questions, as token ids."""


def _said(name: str) -> int:
    """How many of a check's conversations it is done with: the last is long, and once is enough."""
    return len(CONVERSATIONS) if name == "as served" else len(CONVERSATIONS) - 1


def the_trainer_says(name: str, trainer: "Trainer", monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks get what the trainer's libraries said before, and do not load them again."""
    monkeypatch.setattr(parity_check, "_trainer_views", lambda *_: trainer.looks[name])
    monkeypatch.setattr(parity_check, "conversations", lambda: conversations()[: _said(name)])


@pytest.fixture(scope="module")
def trainer(default_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    """Adapters and spoiled models, and what the trainer's libraries make of them: all in one process of their own."""
    place, base = tmp_path_factory.mktemp("trainer"), str(default_model)
    for name, (spoil, *_) in SPOILS.items():
        spoil(a_copy(default_model, place / name))

    def looking(name: str, location: str, adapter: str | None = None) -> dict[str, Any]:
        asked = [
            {"turns": turns, "reply": reply}
            for turns, (*_, reply) in zip(conversations(), CONVERSATIONS[: _said(name)], strict=False)
        ]
        return {"location": location, "adapter": adapter, "dtype": "float32", "conversations": asked}

    given = {
        "base": base,
        "adapters": ADAPTERS,
        "questions": [BRIEFLY.messages(one) for one in QUESTIONS],
        "longest": LONGEST,
        "looks": {name: looking(name, str(place / name)) for name in ("as served", "other weights")}
        | {"LORA": looking("LORA", base, str(place / "LORA"))},
        "tokens": {name: looking(name, str(place / name)) for name in ("another template", "no end", "two beginnings")},
    }
    file = place / "wanted.json"
    file.write_text(json.dumps(given))
    command = [sys.executable, "-m", "tests.trainer_side", str(file)]
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    said = json.loads(file.with_suffix(".seen").read_text())
    seen = {name: ([TrainerView(**each) for each in one["seen"]], one["bos"]) for name, one in said["looks"].items()}
    return Trainer(place, seen, said["greedy"])


@dataclass(frozen=True)
class Served:
    """A vLLM that answers with the default model and with two adapters on it."""

    endpoints: Mapping[str | None, Endpoint]
    """By the adapter's folder; of the base under None."""

    @property
    def url(self) -> str:
        """The server's address."""
        return self.endpoints[None].base_url

    @contextmanager
    def serve(self, *together: Weights, log: Path, **_: object) -> Iterator[Sequence[Endpoint]]:
        """In place of `llm.engine.serve`, which takes most of a minute: the same for what is served already."""
        yield [self.endpoints[one.adapter_folder] for one in together]


@pytest.fixture(scope="module")
def served(default_model: Path, trainer: Trainer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One real engine for all tests: a base and two adapters beside it, of different ranks."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("PICKWELL_ENGINE", "vllm")
        monkeypatch.delenv("PICKWELL_ENGINE_URL", raising=False)
        settings_module.settings.cache_clear()
        log = tmp_path_factory.mktemp("served") / "engine.log"
        ranks = {"LORA": 8, "RSLORA": 4}
        every = [Weights("default", str(default_model))]
        every += [Weights(one, str(default_model), str(trainer.folder / one), ranks[one]) for one in BESIDE]
        with serve(*every, log=log) as endpoints:
            yield Served({one.adapter_folder: endpoint for one, endpoint in zip(every, endpoints, strict=True)})


@pytest.fixture(autouse=True)
def _vllm(database: Path, default_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PICKWELL_BASE_MODEL", str(default_model))
    monkeypatch.setenv("PICKWELL_ENGINE", "vllm")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    settings_module.settings.cache_clear()


def checked(version_id: int, project_id: int, by: int) -> ParityCheck:
    """A finished check of the model."""
    with session() as s:
        waiting = s.scalar(select(ParityCheck.id).where(ParityCheck.model_version_id == version_id))
        asked = waiting or request_check(s, by=by, project_id=project_id, model_version_id=version_id).id
    parity_check.run(unmanaged_progress("parity", asked))
    with reading() as s:
        return s.get_one(ParityCheck, asked)


def test_a_worker_and_an_engine_that_are_killed_lose_nothing_and_a_merged_adapter_answers_as_it_is_applied(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PICKWELL_ADAPTERS", "merged")
    monkeypatch.setenv("PICKWELL_CONCURRENCY", "4")  # a few at once, so that there is a middle to be killed in
    settings_module.settings.cache_clear()
    moments = random.Random(20261121)
    with session() as s:
        project = a_project(s)
        by = a_reviewer(s, project)
        texts = [*QUESTIONS, *(f"Where is parcel number {n}? I ordered it in May." for n in range(60 - len(QUESTIONS)))]
        prompts = [a_prompt(s, project, text=text).id for text in texts]
        base = register_base_model(s)
        folder = str(trainer.folder / "DORA")
        dora = add_adapter(s, by=by.id, project_id=project.id, name="DoRA", folder=folder, base_id=base.id)
        assert dora.adapter is Adapter.DORA
        for check in s.scalars(select(ParityCheck)):
            s.delete(check)  # the worker would start one more engine for it
        contestant = ResponderSpec(dora.id, BRIEFLY, Sampling(temperature=0, top_p=1, max_tokens=LONGEST))
        who = create_responder(s, by=by.id, project_id=project.id, name="DoRA", spec=contestant)
        run = start_generation(s, by=by.id, responder_id=who.id, scope=Scope.ALL, samples=1)
        merged = Path(dora.location)
    command = [sys.executable, "-m", "jobs.worker"]
    carrying = subprocess.Popen(command, cwd=ROOT)
    engine_dies = moments.randint(5, 40)
    dead: set[int] = set()
    worker_killed = False
    until = time.monotonic() + 600
    try:
        while time.monotonic() < until:
            with reading() as s:
                saved = s.scalar(select(func.count()).where(Response.generation_run_id == run.id)) or 0
                status = s.get_one(GenerationRun, run.id).status
            if status.ended:
                break
            if not dead and saved >= engine_dies:
                assert saved < len(prompts), "it is killed in the middle"
                dead = {one.pid for one in _engines(carrying)}
                os.kill(next(one.pid for one in _engines(carrying) if _is_core(one)), signal.SIGKILL)
            # the worker dies as soon as it has started the engine again
            if dead and not worker_killed and {one.pid for one in _engines(carrying)} - dead:
                carrying.kill()
                carrying.wait()
                carrying, worker_killed = subprocess.Popen(command, cwd=ROOT), True
            time.sleep(0.1)
    finally:
        carrying.terminate()
        carrying.wait(timeout=60)
    assert dead
    assert worker_killed
    with reading() as s:
        done = s.get_one(GenerationRun, run.id)
        assert (done.status, done.failed) == (RunStatus.SUCCEEDED, 0)
        assert done.attempt == 2, "another worker took the run up"
        assert sorted(s.scalars(select(Response.prompt_id))) == sorted(prompts)
        first = s.scalars(select(Response).order_by(Response.prompt_id).limit(len(QUESTIONS)))
        assert [one.token_ids for one in first] == trainer.greedy["DORA"]
    assert merged.exists()


def _engines(worker_process: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    """The engine's processes below the worker: its server, and its core once that is there."""
    found = []
    for one in psutil.Process(worker_process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if "vllm.entrypoints" in " ".join(one.cmdline()) or _is_core(one):
                found.append(one)
    return found


def _is_core(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return "VLLM::EngineCore" in " ".join([process.name(), *process.cmdline()])
    return False


def test_a_vllm_server_elsewhere_answers_by_the_openai_protocol(served: Served) -> None:
    with session() as s:
        project = a_project(s)
        by = a_reviewer(s, project)
        for n in range(4):
            a_prompt(s, project, text=f"Where is parcel {n}?")
        contestant = ResponderSpec(RemoteModel(served.url, SERVED_NAME), BRIEFLY, Sampling(max_tokens=16))
        who = create_responder(s, by=by.id, project_id=project.id, name="vLLM elsewhere", spec=contestant)
        run = start_generation(s, by=by.id, responder_id=who.id, scope=Scope.ALL, samples=2)
    worker.run(unmanaged_progress("generation", run.id))
    with reading() as s:
        done = s.get_one(GenerationRun, run.id)
        assert (done.status, done.done, done.failed) == (RunStatus.SUCCEEDED, 8, 0)
        replies = s.scalars(select(Response)).all()
        assert all(one.token_ids and one.text and one.system_hash for one in replies)
        assert done.tokens == sum(len(one.token_ids or ()) for one in replies)
        assert {one.template_hash for one in replies} == {None}, "nobody knows which template is used elsewhere"


def test_our_top_p_gives_the_texts_that_vllms_own_gives(served: Served) -> None:
    texts: list[list[str]] = []
    for top_p in ({"top_p": 0.8}, {"top_p": 1.0, "vllm_xargs": {ARGUMENT: 0.8}}, {"top_p": 1.0}):
        texts.append([])
        for seed, question in enumerate(QUESTIONS[:2]):
            turns = PromptFormat("Answer the email.").messages(question)
            body = {
                "model": SERVED_NAME,
                "messages": turns,
                "seed": 10 * seed,
                "n": 2,
                "temperature": 0.9,
                "max_tokens": 20,
                **top_p,
            }
            said = httpx.post(f"{served.url}/chat/completions", json=body, timeout=120).json()
            texts[-1] += [one["message"]["content"] for one in said["choices"]]
    assert texts[1] == texts[0]
    assert texts[1] != texts[2], "without top-p other texts come"


@pytest.mark.parametrize("spoil", list(SPOILS))
def test_a_check_passes_the_model_that_is_served_and_catches_each_way_of_spoiling_it(
    served: Served, trainer: Trainer, monkeypatch: pytest.MonkeyPatch, spoil: str
) -> None:
    monkeypatch.setenv("PICKWELL_ENGINE_URL", served.url)
    settings_module.settings.cache_clear()
    the_trainer_says(spoil, trainer, monkeypatch)
    folder, sentence = str(trainer.folder / spoil), SPOILS[spoil][1]
    with session() as s:
        project = a_project(s)
        by = a_reviewer(s, project)
        version = ModelVersion(
            name=SERVED_NAME, location=folder, template_hash=template_hash(read_template(folder) or "")
        )
        s.add(version)
        s.commit()
        check = checked(version.id, project.id, by.id)
    if sentence is None:
        assert (check.passed, check.problem) == (True, None)
        assert check.largest_difference is not None
        assert check.largest_difference < 1e-3
        assert (check.tokens or 0) > 100
    else:
        assert check.passed is False
        assert sentence in (check.problem or "")


def test_vllm_answers_with_the_tokens_it_sampled(
    served: Served, default_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoTokenizer

    monkeypatch.setattr(worker, "serve", served.serve)
    emails = (
        "Where is my book? I ordered it two weeks ago.\n\nAda",
        "Kann ich das Buch zurückgeben? 📚 Es hat einen Riß.",
        "My parcel came  with two copies. What should I do with the second one?",
        "Do you sell large print?",
        "word " * 3000,
    )
    with session() as s:
        project = a_project(s)
        by = a_reviewer(s, project)
        for email in emails:
            a_prompt(s, project, text=email)
        prompt = PromptFormat("Answer the customer's email in two sentences.")
        contestant = ResponderSpec(register_base_model(s).id, prompt, Sampling(max_tokens=40))
        who = create_responder(s, by=by.id, project_id=project.id, name="Base model", spec=contestant)
        run = start_generation(s, by=by.id, responder_id=who.id, scope=Scope.ALL, samples=2, seed=7)
    worker.run(unmanaged_progress("generation", run.id))
    tokenizer = Tokenizer.from_file(str(default_model / "tokenizer.json"))
    rendering: Any = AutoTokenizer.from_pretrained(str(default_model))
    with reading() as s:
        done = s.get_one(GenerationRun, run.id)
        assert (done.status, done.done, done.failed) == (RunStatus.SUCCEEDED, 8, 1)
        version = s.scalars(select(ModelVersion)).one()
        assert s.scalar(select(func.count()).select_from(Comparison)) == 4
        replies = s.scalars(select(Response).order_by(Response.id)).all()
        assert len(replies) == len({reply.text for reply in replies}) == 8
        for reply in replies:
            assert reply.token_ids
            assert tokenizer.decode(reply.token_ids, skip_special_tokens=True) == reply.text
            assert (reply.template_hash, reply.dtype) == (version.template_hash, "float32")
            assert reply.finish_reason in ("stop", "length")
            assert (reply.token_ids[-1] == END_OF_TURN) == (reply.finish_reason == "stop")
            assert reply.finish_reason == "stop" or len(reply.token_ids) == 40
            asked = prompt.messages(reply.prompt.text)
            whole = rendering.apply_chat_template(asked, add_generation_prompt=True, return_dict=True)["input_ids"]
            assert reply.prompt_tokens == len(whole)
        assert done.tokens == sum(len(reply.token_ids or ()) for reply in replies)


def test_two_adapters_and_their_base_answer_side_by_side_as_transformers_applies_each(
    served: Served, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PICKWELL_ADAPTERS", "beside")
    settings_module.settings.cache_clear()
    monkeypatch.setattr(worker, "serve", served.serve)
    monkeypatch.setattr(parity_check, "serve", served.serve)
    the_trainer_says("LORA", trainer, monkeypatch)
    who: dict[int, str] = {}
    with session() as s:
        project = a_project(s)
        by = a_reviewer(s, project)
        base = register_base_model(s)
        versions = {"": base}
        for kind in BESIDE:
            folder = str(trainer.folder / kind)
            versions[kind] = add_adapter(s, by=by.id, project_id=project.id, name=kind, folder=folder, base_id=base.id)
            assert versions[kind].adapter is Adapter[kind]
            assert (versions[kind].parent_id, versions[kind].template_hash) == (base.id, base.template_hash)
        for text in QUESTIONS:
            a_prompt(s, project, text=text)
        for kind, version in versions.items():
            contestant = ResponderSpec(version.id, BRIEFLY, Sampling(temperature=0, top_p=1, max_tokens=LONGEST))
            name = f"With {kind or 'nothing'}"
            made = create_responder(s, by=by.id, project_id=project.id, name=name, spec=contestant)
            who[made.id] = kind
        (run,) = start_generations(s, by=by.id, responder_ids=list(who), scope=Scope.ALL, samples=1)
    worker.run(unmanaged_progress("generation", run.id))
    with reading() as s:
        done = s.get_one(GenerationRun, run.id)
        assert (done.status, done.done, done.failed) == (RunStatus.SUCCEEDED, 9, 0)
        for responder_id, kind in who.items():
            mine = select(Response).where(Response.responder_id == responder_id).order_by(Response.prompt_id)
            replies = s.scalars(mine).all()
            assert [one.token_ids for one in replies] == trainer.greedy[kind]
            assert {(one.template_hash, one.dtype) for one in replies} == {(base.template_hash, "float32")}
    assert len({json.dumps(trainer.greedy[kind]) for kind in who.values()}) == 3, (
        "each adapter has an effect of its own"
    )
    check = checked(versions["LORA"].id, project.id, by.id)
    assert (check.passed, check.problem) == (True, None)
    assert check.largest_difference is not None
    assert check.largest_difference < 1e-3
    assert not any(Path(version.location).exists() for kind, version in versions.items() if kind), "nothing was merged"
