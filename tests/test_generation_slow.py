"""The real engines on the real default model."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from sqlalchemy import select

import settings as settings_module
from db.models import GenerationRun, Response, RunStatus, Scope
from db.session import reading, session
from files import MANIFEST
from generation import worker
from generation.base_model import register_base_model
from generation.plan import start_generation
from generation.responders import ResponderSpec, Sampling, create_responder
from jobs.progress import unmanaged_progress
from llm.folder import hash_weights
from llm.template import PromptFormat, template_hash
from settings import ROOT
from tests.factories import a_project, a_prompt, a_reviewer

pytestmark = pytest.mark.slow

END_OF_TURN = 2
EMAILS = (
    "Where is my book? I ordered it two weeks ago.\n\nAda",
    "Kann ich das Buch zurückgeben? 📚 Es hat einen Riß.",
    "My parcel came  with two copies. What should I do with the second one?",
    "Do you sell large print?",
)


@pytest.fixture
def base(default_model: Path, database: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The default model as the base model, and proof that no process outlives the test."""
    monkeypatch.setenv("PICKWELL_BASE_MODEL", str(default_model))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    settings_module.settings.cache_clear()
    before = set(psutil.Process().children(recursive=True))
    yield default_model
    assert set(psutil.Process().children(recursive=True)) <= before
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(default_model) in " ".join(p.info["cmdline"] or ())]


def use(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PICKWELL_ENGINE", engine)
    settings_module.settings.cache_clear()


def answered(*emails: str, samples: int, max_tokens: int) -> tuple[GenerationRun, list[Response]]:
    """A finished run over the emails, and its responses."""
    with session() as s:
        project = a_project(s)
        by = a_reviewer(s, project)
        for email in emails:
            a_prompt(s, project, text=email)
        prompt = PromptFormat("Answer the customer's email in two sentences.")
        contestant = ResponderSpec(register_base_model(s).id, prompt, Sampling(max_tokens=max_tokens))
        responder = create_responder(s, by=by.id, project_id=project.id, name="Base model", spec=contestant)
        run = start_generation(s, by=by.id, responder_id=responder.id, scope=Scope.ALL, samples=samples, seed=7)
    worker.run(unmanaged_progress("generation", run.id))
    with reading() as s:
        return s.get_one(GenerationRun, run.id), list(s.scalars(select(Response).order_by(Response.id)))


def test_the_default_model_is_whole_and_asking_for_it_again_loads_nothing(default_model: Path) -> None:
    manifest = json.loads((default_model / MANIFEST).read_text())
    assert manifest["weights_sha256"] == hash_weights(default_model)
    assert manifest["template_hash"] == template_hash((default_model / "chat_template.jinja").read_text())
    assert json.loads((default_model / "generation_config.json").read_text())["eos_token_id"] == END_OF_TURN
    assert "quantization_config" not in json.loads((default_model / "config.json").read_text())
    environment = {**os.environ, "PICKWELL_HOME": str(default_model.parent.parent)}
    command = [sys.executable, "-X", "importtime", "-m", "llm.default_model"]
    again = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    assert "ready in" in again.stdout
    assert "torch" not in again.stderr


def test_the_transformers_server_answers_where_vllm_is_missing(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use("transformers", monkeypatch)
    run, replies = answered(EMAILS[0], samples=2, max_tokens=24)
    assert run.status is RunStatus.SUCCEEDED
    assert len({reply.text for reply in replies}) == 2
    assert [reply.token_ids for reply in replies] == [None, None]
    assert {reply.finish_reason for reply in replies} <= {"stop", "length"}
    assert run.tokens > 0
