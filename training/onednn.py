"""Matrix products by oneDNN where MKL keeps its fast ones to itself. Loaded in the trainer's process only.

PyTorch's CPU build carries two libraries and gives products in float32 to MKL, which runs its AVX-512 kernels on
Intel's processors alone. On an AMD EPYC of two cores oneDNN's take 0.4 to 0.5 of its time at a training's sizes, in the
same float32. Replacing one operator's kernel is PyTorch's own way to extend it
(docs.pytorch.org/docs/stable/library.html); gradients are made of the same operator, so they follow.
"""

import platform
import warnings
from functools import cache
from pathlib import Path
from typing import Any

PROCESSORS = Path("/proc/cpuinfo")
VENDOR = "AuthenticAMD"


@cache
def use_onednn() -> bool:
    """From now on this process multiplies matrices in float32 by oneDNN, if that pays here; gives whether it does.

    What decides is the processor's maker and not a measurement, so that a training that goes on after it was killed
    adds up in the same order as before.
    """
    import torch

    with_both = torch.backends.mkl.is_available() and torch.backends.mkldnn.enabled  # type: ignore[no-untyped-call]
    if not (pays() and with_both):
        return False
    try:
        product(torch.zeros(2, 3), torch.zeros(3, 4))
    except (AttributeError, NotImplementedError, RuntimeError):
        return False  # another version of PyTorch: as slow as ever
    _kept.append(replaced())
    return True


_kept: list[Any] = []
"""A replacement lasts as long as the object that made it."""


def pays() -> bool:
    """Whether this computer's processor is one that MKL does not do its best for."""
    if VENDOR in platform.processor():
        return True
    try:
        return VENDOR in PROCESSORS.read_text(encoding="utf-8")
    except OSError:
        return False


def replaced() -> Any:
    """Let `product` multiply this process's matrices; lasts until the library object that it gives is destroyed."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it says that a kernel is replaced, which is the purpose
        library: Any = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]
        library.impl("mm", product, "CPU")
        library.impl("mm.out", product_into, "CPU")
    return library


def product(left: Any, right: Any) -> Any:
    """The product (M, N) of ``left`` (M, K) and ``right`` (K, N).

    Other types than float32, empty matrices and shapes that do not fit take another way of PyTorch's, with its words.
    """
    import torch

    alike = left.dim() == right.dim() == 2 and left.shape[1] == right.shape[0]
    if alike and left.dtype is right.dtype is torch.float32 and left.numel() and right.numel():
        return torch.ops.mkldnn._linear_pointwise(left, right.t(), None, "none", [], "")
    return torch.bmm(left[None], right[None])[0]


def product_into(left: Any, right: Any, *, out: Any) -> Any:
    """As `product`, written into ``out``."""
    found = product(left, right)
    if out.dtype is not found.dtype:
        raise RuntimeError(f"Expected out tensor to have dtype {found.dtype}, but got {out.dtype} instead")
    return out.resize_(found.shape).copy_(found)
