"""Every kind of contestant on the real vLLM and the real default model."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from sqlalchemy import func, select

import settings as settings_module
from db.models import Adapter, GenerationRun, ModelVersion, ParityCheck, Response, RunStatus, Scope
from db.session import reading, session
from generation import parity_check, worker
from generation.adapters import add_adapter
from generation.base_model import register_base_model
from generation.engine import SERVED_NAME, Weights, serve
from generation.nucleus import ARGUMENT
from generation.parity_check import request_check
from generation.plan import start_generation
from generation.responders import Contestant, Remote, Sampling, create_responder
from jobs.progress import unmanaged
from model_folder import template_of
from settings import ROOT
from template import PromptFormat, template_hash
from tests.factories import a_project, a_prompt, a_reviewer

pytestmark = pytest.mark.slow
ADAPTERS = {"LORA": {}, "DORA": {"use_dora": True}}
MAKE_ADAPTERS = """
import json, sys
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM
base, place, kinds = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
for kind, more in kinds.items():
    torch.manual_seed(7)
    config = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", **more)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), config)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.02)
    model.save_pretrained(f"{place}/{kind}")
"""
"""Adapters that change the model a great deal; in a process of its own, which gives its memory back."""


@pytest.fixture(autouse=True)
def _vllm(database: Path, default_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PICKWELL_BASE_MODEL", str(default_model))
    monkeypatch.setenv("PICKWELL_ENGINE", "vllm")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    settings_module.settings.cache_clear()


@pytest.fixture(scope="module")
def adapters(default_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one adapter of each kind."""
    place = tmp_path_factory.mktemp("adapters")
    command = [sys.executable, "-c", MAKE_ADAPTERS, str(default_model), str(place), json.dumps(ADAPTERS)]
    subprocess.run(command, check=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    return place


@pytest.fixture(scope="module")
def elsewhere(default_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real vLLM server with the default model, which the worker does not start."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("PICKWELL_ENGINE", "vllm")
        monkeypatch.delenv("PICKWELL_ENGINE_URL", raising=False)
        settings_module.settings.cache_clear()
        log = tmp_path_factory.mktemp("elsewhere") / "engine.log"
        with serve(Weights("default", str(default_model)), log=log) as (endpoint,):
            yield endpoint.base_url


def checked(version_id: int, project_id: int, by: int) -> ParityCheck:
    """A finished check of the model."""
    with session() as s:
        waiting = s.scalar(select(ParityCheck.id).where(ParityCheck.model_version_id == version_id))
        asked = waiting or request_check(s, by=by, project_id=project_id, model_version_id=version_id).id
    parity_check.run(unmanaged("parity", asked))
    with reading() as s:
        return s.get_one(ParityCheck, asked)


# ------------------------------------------------------------------------------------------------ a server elsewhere


def test_a_vllm_server_elsewhere_answers_by_the_openai_protocol(elsewhere: str) -> None:
    with session() as s:
        project = a_project(s)
        by = a_reviewer(s, project)
        for n in range(6):
            a_prompt(s, project, text=f"Where is parcel {n}?")
        contestant = Contestant(
            Remote(elsewhere, SERVED_NAME), PromptFormat("Answer in one sentence."), Sampling(max_tokens=24)
        )
        who = create_responder(s, by=by.id, project_id=project.id, name="vLLM elsewhere", contestant=contestant)
        run = start_generation(s, by=by.id, responder_id=who.id, scope=Scope.ALL, samples=2)
    worker.run(unmanaged("generation", run.id))
    with reading() as s:
        done = s.get_one(GenerationRun, run.id)
        assert (done.status, done.done, done.failed) == (RunStatus.SUCCEEDED, 12, 0)
        replies = s.scalars(select(Response)).all()
        assert all(one.token_ids and one.text and one.system_hash for one in replies)
        assert done.tokens == sum(len(one.token_ids or ()) for one in replies)
        assert {one.template_hash for one in replies} == {None}, "nobody knows which template is used elsewhere"


def test_our_top_p_gives_the_texts_that_vllms_own_gives(elsewhere: str) -> None:
    texts: list[list[str]] = []
    for top_p in ({"top_p": 0.95}, {"top_p": 1.0, "vllm_xargs": {ARGUMENT: 0.95}}, {"top_p": 1.0}):
        texts.append([])
        for seed, question in enumerate(("Where is parcel 7?", "Do you sell large print?", "My book is torn.") * 2):
            turns = PromptFormat("Answer the email.").messages(question)
            body = {
                "model": SERVED_NAME,
                "messages": turns,
                "seed": seed,
                "temperature": 0.9,
                "max_tokens": 24,
                **top_p,
            }
            said = httpx.post(f"{elsewhere}/chat/completions", json=body, timeout=120).json()
            texts[-1].append(said["choices"][0]["message"]["content"])
    assert texts[1] == texts[0]
    assert texts[1] != texts[2], "without top-p other texts come"


@contextmanager
def a_copy(folder: Path, place: Path) -> Iterator[Path]:
    """The folder's files by links, for one of them to be changed."""
    place.mkdir()
    for file in folder.iterdir():
        (place / file.name).symlink_to(file)
    yield place
    shutil.rmtree(place)


def another_template(folder: Path) -> None:
    """Instructions under another heading."""
    file = folder / "chat_template.jinja"
    text = file.read_text()
    file.unlink()
    file.write_text(text.replace("<|im_start|>", "<|im_start|> "))


def no_end(folder: Path) -> None:
    """Replies without their end-of-turn token."""
    file = folder / "chat_template.jinja"
    text = file.read_text()
    file.unlink()
    file.write_text(text.replace("<|im_end|>", ""))


def two_beginnings(folder: Path) -> None:
    """A begin-of-text token twice."""
    file = folder / "chat_template.jinja"
    text = file.read_text()
    file.unlink()
    file.write_text("<|im_start|><|im_start|>" + text)


def other_weights(folder: Path) -> None:
    """The last norm is a hundredth off."""
    from safetensors.numpy import load_file, save_file

    file = folder / "model.safetensors"
    weights = load_file(file)
    file.unlink()
    weights["model.norm.weight"] = weights["model.norm.weight"] * 1.01
    save_file(weights, file, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (None, None),
        (another_template, "The engine reads other tokens than the trainer"),
        (no_end, "0 end-of-turn tokens instead of one"),
        (two_beginnings, "two begin-of-text tokens"),
        (other_weights, "other probabilities than the trainer"),
    ],
)
def test_a_check_passes_the_model_that_is_served_and_catches_each_way_of_spoiling_it(
    elsewhere: str, default_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Any, sentence: str
) -> None:
    monkeypatch.setenv("PICKWELL_ENGINE_URL", elsewhere)
    settings_module.settings.cache_clear()
    with a_copy(default_model, tmp_path / "trained") as folder, session() as s:
        if spoil is not None:
            spoil(folder)
        project = a_project(s)
        by = a_reviewer(s, project)
        version = ModelVersion(
            name=SERVED_NAME, location=str(folder), template_hash=template_hash(template_of(str(folder)) or "")
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


# --------------------------------------------------------------------------------------------------------- adapters


@pytest.mark.parametrize(("kind", "served"), [("DORA", "merged"), ("LORA", "beside")])
def test_an_adapter_is_served_as_transformers_applies_it(
    adapters: Path, monkeypatch: pytest.MonkeyPatch, kind: str, served: str
) -> None:
    monkeypatch.setenv("PICKWELL_ADAPTERS", served)
    settings_module.settings.cache_clear()
    with session() as s:
        project = a_project(s)
        by = a_reviewer(s, project)
        base = register_base_model(s)
        made = add_adapter(
            s, by=by.id, project_id=project.id, name=f"Tuned {kind}", folder=str(adapters / kind), base_id=base.id
        )
        assert made.adapter is Adapter[kind]
        assert (made.parent_id, made.template_hash) == (base.id, base.template_hash)
        version_id, place = made.id, Path(made.location)
    check = checked(version_id, project.id, by.id)
    assert (check.passed, check.problem) == (True, None)
    assert check.largest_difference is not None
    assert check.largest_difference < 1e-3
    assert place.exists() == (served == "merged")


# ------------------------------------------------------------------------------------------------------- being killed


def test_a_worker_and_an_engine_that_are_killed_lose_nothing_and_repeat_nothing(default_model: Path) -> None:
    moments = random.Random(20261121)
    with session() as s:
        project = a_project(s)
        by = a_reviewer(s, project)
        prompts = [a_prompt(s, project, text=f"Where is parcel number {n}? I ordered it in May.").id for n in range(60)]
        contestant = Contestant(
            register_base_model(s).id, PromptFormat("Answer in one sentence."), Sampling(max_tokens=32)
        )
        who = create_responder(s, by=by.id, project_id=project.id, name="Base", contestant=contestant)
        run = start_generation(s, by=by.id, responder_id=who.id, scope=Scope.ALL, samples=1)
    command = [sys.executable, "-m", "jobs.worker"]
    carrying = subprocess.Popen(command, cwd=ROOT)
    engine_dies, worker_dies = moments.randint(5, 20), moments.randint(25, 45)
    engine_killed = worker_killed = False
    until = time.monotonic() + 600
    try:
        while time.monotonic() < until:
            with reading() as s:
                saved = s.scalar(select(func.count()).where(Response.generation_run_id == run.id)) or 0
                status = s.get_one(GenerationRun, run.id).status
            if status.ended:
                break
            if not engine_killed and saved >= engine_dies:
                engine_killed = _killed(psutil.Process(carrying.pid), "VLLM::EngineCore")
            if not worker_killed and saved >= worker_dies:
                carrying.kill()
                carrying.wait()
                carrying, worker_killed = subprocess.Popen(command, cwd=ROOT), True
            time.sleep(0.1)
    finally:
        carrying.terminate()
        carrying.wait(timeout=60)
    assert engine_killed
    assert worker_killed
    with reading() as s:
        done = s.get_one(GenerationRun, run.id)
        assert (done.status, done.failed) == (RunStatus.SUCCEEDED, 0)
        assert done.attempt == 2, "another worker took the run up"
        assert sorted(s.scalars(select(Response.prompt_id))) == sorted(prompts)


def _killed(worker_process: psutil.Process, name: str) -> bool:
    """Kill the first process below the worker whose command line or name has `name` in it."""
    for one in worker_process.children(recursive=True):
        try:
            if name in " ".join([one.name(), *one.cmdline()]):
                os.kill(one.pid, signal.SIGKILL)
                return True
        except psutil.NoSuchProcess:
            continue
    return False
