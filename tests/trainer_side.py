"""What the trainer's libraries make of models and adapters: ``python -m tests.trainer_side FILE``; loads torch.

One process for everything that a test file compares the engine with, since loading the libraries takes most of the
time. The file says what is wanted; the answer is written beside it with the ending ``.seen``.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from generation.parity_probe import probe
from llm.template import Message, conversation_token_ids


def make_adapter(model: Any, place: str, *, seed: int, more: Mapping[str, Any]) -> None:
    """An adapter that changes the model a great deal; the model itself is given back as it was."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    config = LoraConfig(**{"r": 8, "lora_alpha": 16, "target_modules": "all-linear", **more})
    adapted: Any = get_peft_model(model, config)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.02)
    adapted.save_pretrained(place)
    adapted.unload()


def greedy(model: Any, prompts: Sequence[Sequence[int]], longest: int) -> list[list[int]]:
    """The most probable reply to each prompt; all are token ids."""
    import torch

    found = []
    for prompt in prompts:
        given = torch.tensor([prompt])
        whole = model.generate(
            input_ids=given, attention_mask=torch.ones_like(given), do_sample=False, max_new_tokens=longest
        )
        found.append(whole[0, len(prompt) :].tolist())
    return found


def seen_only(given: Mapping[str, Any]) -> dict[str, Any]:
    """As `generation.parity_probe.probe`, without the log-probabilities: for what differs in its tokens already."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(given["location"])
    seen = []
    for one in given["conversations"]:
        reply: Message = {"role": "assistant", "content": one["reply"]}
        prompt = conversation_token_ids(tokenizer, one["turns"], add_generation_prompt=True)
        whole = conversation_token_ids(tokenizer, [*one["turns"], reply], add_generation_prompt=False)
        seen.append({"prompt": prompt, "whole": whole, "log_probabilities": [0.0] * (len(whole) - len(prompt))})
    return {"seen": seen, "bos": tokenizer.bos_token_id}


def main() -> None:
    """Make the adapters, then look and answer; adapters are applied, never merged."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    file = Path(sys.argv[1])
    given: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    tokenizer = AutoTokenizer.from_pretrained(given["base"])
    model: Any = AutoModelForCausalLM.from_pretrained(given["base"], dtype=torch.float32)
    model.eval()
    prompts = [conversation_token_ids(tokenizer, turns, add_generation_prompt=True) for turns in given["questions"]]
    said = {"": greedy(model, prompts, given["longest"])}
    for seed, (name, more) in enumerate(given["adapters"].items()):
        make_adapter(model, str(file.parent / name), seed=seed, more=more)
        adapted: Any = PeftModel.from_pretrained(model, str(file.parent / name)).eval()
        said[name] = greedy(adapted, prompts, given["longest"])
        adapted.unload()
    looks = {name: probe(one) for name, one in given["looks"].items()}
    looks |= {name: seen_only(one) for name, one in given["tokens"].items()}
    file.with_suffix(".seen").write_text(json.dumps({"looks": looks, "greedy": said}))


if __name__ == "__main__":
    main()
