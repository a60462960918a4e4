"""A ParityCheck at work: `python -m jobs.child parity CHECK_ID ATTEMPT` calls `run`.

What it finds blocks the model's Responders, with the reason.
"""

import json
import logging
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import httpx
from sqlalchemy import select
from sqlalchemy.orm import Session

from db.lookup import get_model, refuse_retired
from db.models import ParityCheck, Role, RunStatus
from db.people import require_role
from db.session import reading, session
from errors import BadTemplate, BrokenModel, EngineFailed, Refused
from generation.adapters import engine_weights, ensure_merged
from generation.parity import (
    CONVERSATIONS,
    TOLERANCE,
    EngineView,
    Parity,
    TrainerView,
    compare_views,
    conversations,
    trainer_problem,
)
from jobs.progress import Progress
from jobs.runs import Resources
from llm.endpoints import TOKEN_IDS, Endpoint, connection_options
from llm.engine import Weights, engine_version, gpus_wanted, on_gpu, select_engine, serve
from llm.folder import is_hub_id, read_end_tokens, read_special_tokens, read_template
from llm.template import Message, check_system_prompt, template_hash
from settings import ROOT, Engine, settings

log = logging.getLogger("generation.parity_check")


def request_check(s: Session, *, by: int, project_id: int, model_version_id: int) -> ParityCheck:
    """Ask for a check of how a model is served; managers only. Raises `Refused` while one is under way."""
    require_role(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    version = get_model(s, model_version_id)
    refuse_retired(version)
    busy = select(ParityCheck.id).where(
        ParityCheck.model_version_id == model_version_id, ParityCheck.status.in_([RunStatus.QUEUED, RunStatus.RUNNING])
    )
    if s.scalar(busy) is not None:
        raise Refused(f"{version.name} is being checked already. Wait for the result.")
    check = ParityCheck(project_id=project_id, model_version_id=model_version_id, requested_by_id=by)
    s.add(check)
    s.flush()
    return check


def resources(run: ParityCheck) -> Resources:
    """A GPU for the trainer's side, then what the engine takes."""
    return Resources(gpus=0 if select_engine() is Engine.echo else max(1, gpus_wanted()))


def run(progress: Progress) -> None:
    """Check one model and note the result."""
    for noisy in ("httpx", "httpx2"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    with reading() as s:
        version = s.get_one(ParityCheck, progress.run_id).model_version
        parent = version.parent
        weights, expected = engine_weights(version), version.template_hash
        ensure_merged(version)
        family = parent.template_hash if parent is not None else None
    dtype = "bfloat16" if on_gpu() else "float32"

    def report_wait(waited: float) -> None:
        progress.update(stage=f"Starting the engine, {waited:.0f} s so far, about a minute")

    parity = Parity(_folder_problem(weights.location, expected=expected, family=family))
    if parity.problem is None and select_engine() is not Engine.echo:
        progress.update(stage="Loading the model as the trainer does", total=2, done=0)
        ours, bos = _trainer_views(progress.folder, weights, dtype)
        ending = read_end_tokens(weights.location).get("eos_token_id")
        stops = frozenset(ending if isinstance(ending, list) else [ending]) - {None}
        parity = Parity(trainer_problem(ours, bos=bos, stops=stops))
        if parity.problem is None and (select_engine() is Engine.vllm or settings().engine_url):
            progress.update(stage="Starting the engine, about a minute", done=1)
            with serve(weights, log=progress.folder / "engine.log", on_wait=report_wait) as (endpoint,):
                theirs = [_engine_view(endpoint, *pair) for pair in zip(ours, conversations(), strict=True)]
            parity = compare_views(ours, theirs, bos=bos, dtype=dtype)
    log.info("%s", parity.problem or f"No difference: {parity}")
    with session() as s:
        progress.guard(s)
        check = s.get_one(ParityCheck, progress.run_id)
        check.passed, check.problem = parity.problem is None, parity.problem
        check.engine, check.dtype, check.tolerance = engine_version(), dtype, TOLERANCE[dtype]
        check.conversations, check.tokens = len(CONVERSATIONS), parity.tokens
        check.largest_difference, check.mean_difference = parity.largest, parity.mean
        progress.succeed(s)


def _folder_problem(location: str, *, expected: str | None, family: str | None) -> str | None:
    """What is wrong with the model's folder by itself."""
    template = read_template(location)
    if template is None:
        unseen = is_hub_id(location) or select_engine() is Engine.echo  # nothing of it is on this machine yet
        return None if unseen else f"The model at {location} has no chat template any more. Put it back."
    if expected is not None and template_hash(template) != expected:
        return (
            "The chat template in the model's folder is not the one that it was registered with, so its replies so far "
            "do not fit it any more. Put the old template back, or add the model under a new name."
        )
    if family is not None and template_hash(template) != family:
        return (
            "The model's chat template is not its base's, so it would be asked otherwise than it was trained. Merge it "
            "again with the base's tokenizer."
        )
    try:
        check_system_prompt(template, special=read_special_tokens(location))
    except BadTemplate as problem:
        return str(problem)
    return None


def _trainer_views(folder: Path, weights: Weights, dtype: str) -> tuple[list[TrainerView], int | None]:
    """The conversations by the trainer's libraries, and the begin-of-text token's id."""
    request = {
        "location": weights.location,
        "adapter": weights.adapter_folder,
        "dtype": dtype,
        "conversations": [
            {"turns": turns, "reply": reply} for turns, (*_, reply) in zip(conversations(), CONVERSATIONS, strict=True)
        ],
    }
    file = folder / "probe.json"
    file.write_text(json.dumps(request), encoding="utf-8")
    command = [sys.executable, "-m", "generation.parity_probe", str(file)]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if process.returncode != 0:
        reason = (process.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise BrokenModel(f"The model cannot be loaded as the trainer does ({reason}). Is its folder whole?")
    answer = json.loads(file.with_suffix(".seen").read_text(encoding="utf-8"))
    return [TrainerView(**view) for view in answer["seen"]], answer["bos"]


def _engine_view(endpoint: Endpoint, view: TrainerView, turns: Sequence[Message]) -> EngineView:
    """One conversation by the engine: the tokens it reads, then the log-probabilities of the trainer's tokens.

    One request at a time: prompt log-probabilities in a mixed batch kill some engines.
    """
    headers, options = {"Authorization": f"Bearer {endpoint.api_key}"}, connection_options(endpoint.base_url)
    common = {"model": endpoint.model, "max_tokens": 1, "temperature": 0}

    def post(path: str, **body: object) -> dict[str, object]:
        answer = httpx.post(f"{endpoint.base_url}/{path}", json=common | body, headers=headers, timeout=300, **options)
        if answer.status_code != 200:
            raise EngineFailed(f"The engine answered {answer.status_code} when checked: {answer.text[:300]}")
        return dict(answer.json())

    chat = post("chat/completions", messages=list(turns), **TOKEN_IDS)
    completion = post("completions", prompt=list(view.whole), prompt_logprobs=0)
    entries = completion["choices"][0]["prompt_logprobs"][len(view.prompt) :]  # type: ignore[index]
    reply_ids = view.whole[len(view.prompt) :]
    logps = [float(entry[str(token)]["logprob"]) for token, entry in zip(reply_ids, entries, strict=True)]
    return EngineView(chat["prompt_token_ids"], logps)  # type: ignore[arg-type]
