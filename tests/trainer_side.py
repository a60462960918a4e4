"""What the trainer's libraries make of models and adapters: ``python -m tests.trainer_side FILE``; loads torch.

One process for everything that a test file compares the engine with, since loading the libraries takes most of the
time. The file says what is wanted; the answer is written beside it with the ending ``.seen``.
"""

import json
import sys
from pathlib import Path
from typing import Any

from generation.parity_probe import look
from template import token_ids


def make_adapter(base: str, place: str, seed: int, more: dict[str, Any]) -> None:
    """An adapter that changes the model a great deal."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    config = LoraConfig(**{"r": 8, "lora_alpha": 16, "target_modules": "all-linear", **more})
    model: Any = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), config)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.02)
    model.save_pretrained(place)


def greedy(base: str, adapter: str | None, conversations: list[Any], longest: int) -> list[list[int]]:
    """The most probable reply to each conversation, as token ids; the adapter is applied, not merged."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    if adapter:
        model = PeftModel.from_pretrained(model, adapter)
    model.eval()
    found = []
    for turns in conversations:
        prompt = token_ids(tokenizer, turns, reply_next=True)
        whole = model.generate(
            input_ids=torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            do_sample=False,
            max_new_tokens=longest,
        )
        found.append(whole[0, len(prompt) :].tolist())
    return found


def main() -> None:
    """Make the adapters, then look and answer."""
    file = Path(sys.argv[1])
    given: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    for one in given["adapters"]:
        make_adapter(**one)
    seen = {
        "looks": {name: look(one) for name, one in given["looks"].items()},
        "greedy": {name: greedy(**one) for name, one in given["greedy"].items()},
    }
    file.with_suffix(".seen").write_text(json.dumps(seen))


if __name__ == "__main__":
    main()
