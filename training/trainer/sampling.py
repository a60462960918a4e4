"""Sample replies of a model while it is trained, which leave it as it was. Loaded in the trainer's process only.

An adapter is asked layer by layer, most of a token's time on a CPU, so it is added to the weights meanwhile.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from llm.template import token_ids
from training.trainer.examples import Example
from training.trainer.processes import processes
from training.trainer.weights import on_gpu

ROOM = 1.5
"""Times the weights that must be free in memory before they are held twice."""


def sample_replies(model: Any, tokenizer: Any, prompts: Sequence[Example], *, most: int) -> list[tuple[str, int, bool]]:
    """Of each prompt the model's likeliest reply: text, tokens, and whether it came to its end by itself."""
    import torch

    given = [token_ids(tokenizer, one.prompt, reply_next=True) for one in prompts]
    longest, pad = max(map(len, given)), tokenizer.pad_token_id or tokenizer.eos_token_id
    ids = torch.tensor([[pad] * (longest - len(one)) + one for one in given], device=model.device)
    mask = torch.tensor([[0] * (longest - len(one)) + [1] * len(one) for one in given], device=model.device)
    ends = model.generation_config.eos_token_id
    stops = set(ends) if isinstance(ends, list) else {ends, tokenizer.eos_token_id}
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), _merged(model):
            written = model.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=most,
                do_sample=False,
                temperature=None,
                top_p=None,
                top_k=None,
                pad_token_id=pad,
                use_cache=True,
                synced_gpus=processes() > 1,
            )
    finally:
        model.train(was_training)
    replies = []
    for row in written[:, longest:].tolist():
        end = next((place for place, token in enumerate(row) if token in stops), None)
        kept = row if end is None else row[:end]
        replies.append((tokenizer.decode(kept, skip_special_tokens=True).strip(), len(kept), end is not None))
    return replies


@contextmanager
def _merged(model: Any) -> Iterator[None]:
    """While the block runs, adapters are part of the weights; afterwards these are the same ones, to the last bit.

    Does nothing where it would not pay or not be exact: on a GPU, with parts of the model in other processes, in four
    bits, diverged, or where memory does not hold the weights twice.
    """
    import psutil
    import torch
    from peft.tuners.lora import LoraLayer

    layers: list[Any] = [layer for layer in model.modules() if isinstance(layer, LoraLayer)]
    weights = [layer.get_base_layer().weight for layer in layers]
    if (
        on_gpu()
        or processes() > 1
        or any(weight.dtype is not torch.float32 for weight in weights)
        or not all(part.isfinite().all() for layer in layers for part in layer.parameters())
        or psutil.virtual_memory().available < ROOM * sum(weight.nbytes for weight in weights)
    ):
        yield
        return
    before = [weight.data for weight in weights]
    try:
        for layer in layers:
            layer.merge(safe_merge=True)  # puts a new tensor in the place of the old, which is left as it was
        yield
    finally:
        for layer, weight, old in zip(layers, weights, before, strict=True):
            if layer.merged:
                layer.unmerge()
            weight.data = old
