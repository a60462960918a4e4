"""Top-p for vLLM on CPUs without sorting the vocabulary for every token, which costs more than a small model itself.

    python -m vllm.entrypoints.openai.api_server ... --logits-processors llm.nucleus:Nucleus

A request says ``"top_p": 1, "vllm_xargs": {"nucleus": 0.95}``. It keeps the tokens that vLLM's own
top-p keeps, so a seed gives the same text: only the likeliest tokens are sorted, and more where they do not suffice.
"""

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

NAME = "llm.nucleus:Nucleus"
"""What vLLM's option --logits-processors is told."""
ARGUMENT = "nucleus"
"""Under which name a request gives its top-p."""
FIRST = 256
"""Likeliest tokens that are looked at first; nearly always enough."""
GROWTH = 16
"""How many times as many are looked at where those did not suffice."""


def keep_nucleus(logits: "Tensor", share: "Tensor", candidates: int = FIRST) -> "Tensor":
    """Set what lies outside each row's nucleus to minus infinity, in place; gives the same tensor.

    A token is kept if all that are likelier have less than the share of the probability together.

    Args:
        logits: rows × vocabulary, float32, after the temperature.
        share: top-p of each row, in (0, 1).
        candidates: how many of the likeliest tokens are looked at.
    """
    import torch

    size = logits.shape[-1]
    best = logits.topk(min(candidates, size), dim=-1).values
    likely = (best - logits.logsumexp(-1, keepdim=True)).exp_()
    so_far = likely.cumsum(-1)
    kept = (so_far - likely < share[:, None]).sum(-1, keepdim=True)
    least = best.gather(-1, kept - 1)
    enough = so_far[:, -1] >= share
    if candidates < size and not bool(enough.all()):
        rows = torch.nonzero(~enough).squeeze(-1)
        logits[rows] = keep_nucleus(logits[rows], share[rows], candidates * GROWTH)
        least[rows] = -torch.inf
    return logits.masked_fill_(logits < least, -torch.inf)


def __getattr__(name: str) -> Any:
    """`Nucleus`, made when it is asked for: this module has to be light, and vLLM is not."""
    if name == "Nucleus":
        return _processor()
    raise AttributeError(name)


@cache
def _processor() -> type:
    import torch
    from vllm import SamplingParams
    from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor
    from vllm.v1.sample.logits_processor.builtin import process_dict_updates

    class Nucleus(LogitsProcessor):  # type: ignore[misc, unused-ignore]
        """Applies `keep_nucleus` to the requests that ask for it."""

        @classmethod
        def validate_params(cls, sampling_params: SamplingParams) -> None:
            """Refuse a share that cannot be."""
            share = (sampling_params.extra_args or {}).get(ARGUMENT, 1.0)
            if not isinstance(share, int | float) or not 0 < share <= 1:
                raise ValueError(f"{ARGUMENT} lies above 0 up to 1, and is {share!r}.")

        def __init__(self, vllm_config: Any, device: "torch.device", is_pin_memory: bool) -> None:
            self.device = device
            self.shares: dict[int, float] = {}
            self.rows = self.share = torch.empty(0)

        def is_argmax_invariant(self) -> bool:
            """The likeliest token is always kept; this also puts it after the temperature."""
            return True

        def update_state(self, batch_update: BatchUpdate | None) -> None:
            """Note who is in which row."""

            def asked(params: SamplingParams, _prompt: Any, _output: Any) -> float | None:
                share = float((params.extra_args or {}).get(ARGUMENT, 1.0))
                return share if share < 1 else None

            if process_dict_updates(self.shares, batch_update, asked):
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
