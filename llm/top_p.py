"""Top-p for vLLM on CPUs without sorting the vocabulary for every token, which costs more than a small model itself.

    python -m vllm.entrypoints.openai.api_server ... --logits-processors llm.top_p:Nucleus

A request has ``"top_p": 1, "vllm_xargs": {"nucleus": 0.95}``. The processor sorts only the likeliest tokens, and more
where they do not suffice. It keeps the tokens that vLLM's own top-p keeps, so a seed gives the same text.
"""

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

NAME = "llm.top_p:Nucleus"
"""The value of vLLM's option --logits-processors."""
ARGUMENT = "nucleus"
"""The key of a request's top-p in ``vllm_xargs``."""
FIRST = 256
"""Likeliest tokens that are sorted first; nearly always enough."""
GROWTH = 16
"""How many times as many are sorted where those did not suffice."""


def keep_nucleus(logits: "Tensor", share: "Tensor", candidates: int = FIRST) -> "Tensor":
    """Set the logits outside each row's nucleus to minus infinity, in place; returns the same tensor.

    A token is kept if all likelier tokens together have less than the share of the probability.

    Args:
        logits: rows × vocabulary, float32, after the temperature.
        share: top-p of each row, in (0, 1).
        candidates: how many of the likeliest tokens are sorted.
    """
    import torch

    size = logits.shape[-1]
    top = logits.topk(min(candidates, size), dim=-1).values
    probability = (top - logits.logsumexp(-1, keepdim=True)).exp_()
    cumulative = probability.cumsum(-1)
    kept = (cumulative - probability < share[:, None]).sum(-1, keepdim=True)
    least = top.gather(-1, kept - 1)
    enough = cumulative[:, -1] >= share
    if candidates < size and not bool(enough.all()):
        rows = torch.nonzero(~enough).squeeze(-1)
        logits[rows] = keep_nucleus(logits[rows], share[rows], candidates * GROWTH)
        least[rows] = -torch.inf
    return logits.masked_fill_(logits < least, -torch.inf)


def __getattr__(name: str) -> Any:
    """`Nucleus`, defined at first use, since importing this module must not load vLLM."""
    if name == "Nucleus":
        return _define_processor()
    raise AttributeError(name)


@cache
def _define_processor() -> type:
    import torch
    from vllm import SamplingParams
    from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor
    from vllm.v1.sample.logits_processor.builtin import process_dict_updates

    class Nucleus(LogitsProcessor):  # type: ignore[misc, unused-ignore]
        """Applies `keep_nucleus` to the requests that give a share."""

        @classmethod
        def validate_params(cls, sampling_params: SamplingParams) -> None:
            """Refuse a share outside (0, 1]."""
            share = (sampling_params.extra_args or {}).get(ARGUMENT, 1.0)
            if not isinstance(share, int | float) or not 0 < share <= 1:
                raise ValueError(f"{ARGUMENT} lies above 0 up to 1, and is {share!r}.")

        def __init__(self, vllm_config: Any, device: "torch.device", is_pin_memory: bool) -> None:
            self.device = device
            self.shares: dict[int, float] = {}
            self.rows = self.share = torch.empty(0)

        def is_argmax_invariant(self) -> bool:
            """True, since the likeliest token is always kept; so vLLM applies it after the temperature."""
            return True

        def update_state(self, batch_update: BatchUpdate | None) -> None:
            """Note the share of each request's row."""

            def requested_share(params: SamplingParams, _prompt: Any, _output: Any) -> float | None:
                share = float((params.extra_args or {}).get(ARGUMENT, 1.0))
                return share if share < 1 else None

            if process_dict_updates(self.shares, batch_update, requested_share):
                rows = sorted(self.shares)
                self.rows = torch.tensor(rows, dtype=torch.long, device=self.device)
                self.share = torch.tensor([self.shares[row] for row in rows], dtype=torch.float32, device=self.device)

        def apply(self, logits: "Tensor") -> "Tensor":
            """Keep each row's nucleus."""
            if len(self.shares) == len(logits):  # the usual case, without copies
                return keep_nucleus(logits, self.share)
            if self.shares:
                logits[self.rows] = keep_nucleus(logits[self.rows], self.share)
            return logits

    return Nucleus
