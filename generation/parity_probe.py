"""What the trainer's own libraries make of a few conversations, in a process of its own; loads torch.

    python -m generation.parity_probe FILE

The file names the model and the conversations; the answer, as JSON, is written beside it with the ending ``.seen``.
"""

import json
import sys
from pathlib import Path
from typing import Any

from llm.template import token_ids


def look(given: dict[str, Any]) -> dict[str, Any]:
    """Token ids of each conversation without and with its reply, and the log-probability of every reply token.

    Args:
        given: ``location``, ``adapter`` (folder or none), ``dtype``, and ``conversations``, each with ``turns`` and
            ``reply``.

    Log-probabilities are natural, raw, at temperature 1.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(given["location"], trust_remote_code=False)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model: Any = AutoModelForCausalLM.from_pretrained(
        given["location"], dtype=getattr(torch, given["dtype"]), use_safetensors=True, trust_remote_code=False
    )
    model = model.to(device)
    if given["adapter"]:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, given["adapter"])
    model.eval()
    seen = []
    for one in given["conversations"]:
        prompt = token_ids(tokenizer, one["turns"], reply_next=True)
        whole = token_ids(tokenizer, [*one["turns"], {"role": "assistant", "content": one["reply"]}], reply_next=False)
        with torch.no_grad():
            logits = model(torch.tensor([whole], device=device)).logits[0].float()
        log_probabilities = torch.log_softmax(logits, dim=-1)
        start = max(1, len(prompt))
        found = [float(log_probabilities[place - 1, whole[place]]) for place in range(start, len(whole))]
        seen.append({"prompt": prompt, "whole": whole, "log_probabilities": found})
    return {"seen": seen, "bos": tokenizer.bos_token_id, "template": tokenizer.chat_template}


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.with_suffix(".seen").write_text(json.dumps(look(json.loads(file.read_text(encoding="utf-8")))))
