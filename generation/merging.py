"""Merge an adapter into a copy of its base, in a process of its own; loads torch.

    python -m generation.merging BASE ADAPTER PLACE

The copy keeps the base's tokenizer, chat template and generation settings; its manifest is written last.
"""

import sys
from pathlib import Path

from files import MANIFEST, write_json
from model_folder import hash_weights


def merge(base: str, adapter: str, place: Path) -> None:
    """Write the merged model to `place`. The sums are made in float32, where an adapter loses nothing by rounding."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(
        base, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
    )
    kept = model.config.dtype
    merged = PeftModel.from_pretrained(model, adapter).merge_and_unload(safe_merge=True)
    merged.config.dtype = kept
    merged.save_pretrained(str(place))
    AutoTokenizer.from_pretrained(base, trust_remote_code=False).save_pretrained(str(place))
    write_json(place / MANIFEST, {"base_model": base, "adapter": adapter, "weights_sha256": hash_weights(place)})


if __name__ == "__main__":
    merge(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
