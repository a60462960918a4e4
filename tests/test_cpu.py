"""Matrix products by oneDNN: the same numbers and gradients as PyTorch's own, whatever is multiplied."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from training.trainer import cpu

pytestmark = pytest.mark.slow


@pytest.fixture
def by_onednn() -> Iterator[None]:
    """In this test matrices are multiplied by oneDNN, whoever made the processor."""
    library = cpu.replace_kernels()
    yield
    library._destroy()


def _worked(left: Any, right: Any) -> list[Any]:
    """The product, and both gradients of a sum of it that tells its places apart."""
    import torch

    left, right = left.detach().requires_grad_(), right.detach().requires_grad_()
    found = left @ right
    (found * torch.arange(found.numel(), dtype=found.dtype).reshape(found.shape).sin()).sum().backward()
    return [found.detach(), left.grad, right.grad]


def _cases() -> list[tuple[Any, Any]]:
    import torch

    torch.manual_seed(0)
    a, b = torch.randn(37, 19), torch.randn(19, 23)
    return [
        (a, b),
        (torch.randn(19, 37).t(), torch.randn(23, 19).t()),
        (torch.randn(37, 38)[:, ::2], b),
        (torch.randn(1, 19).expand(37, 19), b),
        (torch.randn(4, 5, 19), b),
        (torch.randn(1, 1), torch.randn(1, 1)),
    ]


def test_products_and_gradients_are_pytorch_s_own(by_onednn: None) -> None:
    import torch

    for left, right in _cases():
        for ours, exact in zip(_worked(left, right), _worked(left.double(), right.double()), strict=True):
            assert (ours.dtype, ours.shape) == (torch.float32, exact.shape)
            assert torch.allclose(ours, exact.float(), atol=1e-4, rtol=1e-5)


def test_the_replacement_is_really_asked(by_onednn: None) -> None:
    import torch

    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        torch.nn.Linear(8, 8, bias=False)(torch.randn(2, 3, 8))
    assert any("_linear_pointwise" in event.key for event in seen.key_averages())


def test_other_types_empty_matrices_and_wrong_shapes_are_as_ever(by_onednn: None) -> None:
    import torch

    assert torch.equal(torch.tensor([[1, 2]]) @ torch.tensor([[3], [4]]), torch.tensor([[11]]))
    assert (torch.ones(2, 3).bfloat16() @ torch.ones(3, 2).bfloat16()).tolist() == [[3.0, 3.0]] * 2
    assert (torch.ones(0, 3) @ torch.ones(3, 2)).shape == (0, 2)
    assert (torch.ones(2, 0) @ torch.ones(0, 2)).tolist() == [[0.0, 0.0]] * 2
    with pytest.raises(RuntimeError):
        torch.mm(torch.ones(2, 3), torch.ones(2, 3))
    with pytest.raises(RuntimeError):
        torch.mm(torch.ones(2, 3), torch.ones(3, 2).double())


def test_a_product_can_be_written_into_a_part_of_another_matrix(by_onednn: None) -> None:
    import torch

    left, right, room = torch.randn(5, 7), torch.randn(7, 3), torch.zeros(5, 6)
    torch.mm(left, right, out=room[:, 1:4])
    assert torch.allclose(room[:, 1:4], (left.double() @ right.double()).float(), atol=1e-5)
    assert not room[:, [0, 4, 5]].any()


@pytest.mark.parametrize(("beta", "alpha"), [(1, 1), (0, 1), (0.5, 2), (1, -1)])
def test_sums_with_a_product_are_pytorch_s_own(by_onednn: None, beta: float, alpha: float) -> None:
    import torch

    left, right, bias = torch.randn(5, 7), torch.randn(7, 3), torch.randn(3)
    exact = (beta * bias.double() + alpha * (left.double() @ right.double())).float()
    assert torch.allclose(torch.addmm(bias, left, right, beta=beta, alpha=alpha), exact, atol=1e-5)
    here = bias.repeat(5, 1)
    assert torch.allclose(here.addmm_(left, right, beta=beta, alpha=alpha), exact, atol=1e-5)
    assert torch.allclose(here, exact, atol=1e-5)
    layer: Any = torch.nn.Linear(7, 3)
    layer(left).sum().backward()
    assert torch.allclose(layer.weight.grad[0], left.sum(0), atol=1e-5)
    assert layer.bias.grad.tolist() == [5, 5, 5]
    whole = torch.ones(2, 2, dtype=torch.long)
    assert torch.addmm(whole, whole, whole).tolist() == [[3, 3], [3, 3]]


def test_only_a_processor_that_mkl_slows_down_is_helped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    about = tmp_path / "cpuinfo"
    monkeypatch.setattr(cpu, "PROCESSORS", about)
    monkeypatch.setattr("platform.processor", lambda: "")
    assert not cpu.mkl_is_slow()
    about.write_text("vendor_id\t: GenuineIntel\n")
    assert not cpu.mkl_is_slow()
    about.write_text("vendor_id\t: AuthenticAMD\n")
    assert cpu.mkl_is_slow()
