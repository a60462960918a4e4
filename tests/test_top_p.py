"""The quick top-p keeps exactly the tokens that vLLM's keeps."""

from typing import TYPE_CHECKING

import pytest

from llm.top_p import keep_nucleus

if TYPE_CHECKING:
    from torch import Tensor

pytestmark = pytest.mark.slow  # torch takes seconds to load


def by_sorting(logits: "Tensor", share: "Tensor") -> "Tensor":
    """The same as vLLM does it, vllm/v1/sample/ops/topk_topp_sampler.py."""
    import torch

    ordered, index = logits.sort(dim=-1)
    cut = ordered.softmax(dim=-1).cumsum(dim=-1) <= 1 - share[:, None]
    cut[:, -1] = False
    kept: Tensor = torch.empty_like(logits).scatter_(-1, index, ordered.masked_fill(cut, -torch.inf))
    return kept


@pytest.mark.parametrize("spread", [0.1, 1.0, 3.0, 10.0])
@pytest.mark.parametrize("candidates", [1, 16, 5000])
def test_the_nucleus_is_the_one_that_sorting_gives(spread: float, candidates: int) -> None:
    import torch

    draw = torch.Generator().manual_seed(3)
    logits = torch.randn(8, 2000, generator=draw) * spread
    share = torch.tensor([0.02, 0.3, 0.5, 0.7, 0.9, 0.95, 0.97, 0.985])
    assert torch.equal(keep_nucleus(logits.clone(), share, candidates), by_sorting(logits, share))


def test_the_likeliest_token_is_always_kept() -> None:
    import torch

    logits = torch.tensor([[0.0, 9.0, 1.0]])
    kept = keep_nucleus(logits, torch.tensor([0.001]))
    assert kept.isfinite().tolist() == [[False, True, False]]


def test_tokens_that_are_ruled_out_already_stay_out() -> None:
    import torch

    logits = torch.tensor([[1.0, -torch.inf, 1.0, -torch.inf]])
    kept = keep_nucleus(logits, torch.tensor([0.999]))
    assert kept.isfinite().tolist() == [[True, False, True, False]]
