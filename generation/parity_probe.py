"""Tokenizes and scores a few conversations with the trainer's own libraries, in a separate process; loads torch.

    python -m generation.parity_probe FILE

The file (JSON) names the model and the conversations; the result is written beside it as JSON, ending in ``.seen``.
"""

import json
import sys
from pathlib import Path
from typing import Any

from llm.template import conversation_token_ids


def probe(request: dict[str, Any]) -> dict[str, Any]:
    """Return token ids of each conversation without and with its reply, and each reply token's log-probability.

    Args:
        request: ``location``, ``adapter`` (folder or none), ``dtype``, and ``conversations``, each with ``turns`` and
            ``reply``.

    Log-probabilities are natural, raw, at temperature 1.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(request["location"], trust_remote_code=False)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model: Any = AutoModelForCausalLM.from_pretrained(
        request["location"], dtype=getattr(torch, request["dtype"]), use_safetensors=True, trust_remote_code=False
    )
    model = model.to(device)
    if request["adapter"]:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, request["adapter"])
    model.eval()
    views = []
    for conversation in request["conversations"]:
        turns, reply = conversation["turns"], conversation["reply"]
        prompt = conversation_token_ids(tokenizer, turns, add_generation_prompt=True)
        with_reply = [*turns, {"role": "assistant", "content": reply}]
        whole = conversation_token_ids(tokenizer, with_reply, add_generation_prompt=False)
        with torch.no_grad():
            logits = model(torch.tensor([whole], device=device)).logits[0].float()
        logps = torch.log_softmax(logits, dim=-1)
        reply_logps = [float(logps[n - 1, whole[n]]) for n in range(max(1, len(prompt)), len(whole))]
        views.append({"prompt": prompt, "whole": whole, "log_probabilities": reply_logps})
    return {"seen": views, "bos": tokenizer.bos_token_id, "template": tokenizer.chat_template}


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.with_suffix(".seen").write_text(json.dumps(probe(json.loads(file.read_text(encoding="utf-8")))))
