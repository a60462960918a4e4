"""What makes a training on a CPU faster and changes no number beyond rounding. Loaded in the trainer's process only."""

import os
import platform
import warnings
from functools import cache
from pathlib import Path
from typing import Any

PROCESSORS = Path("/proc/cpuinfo")
VENDOR = "AuthenticAMD"


def use_every_core() -> None:
    """As many threads as there are cores that this process may use, unless OMP_NUM_THREADS says otherwise.

    More would wait for each other, and hyper-threads bring nothing.
    """
    import psutil
    import torch

    if not torch.cuda.is_available() and "OMP_NUM_THREADS" not in os.environ:
        allowed = len(psutil.Process().cpu_affinity() or []) or 1
        torch.set_num_threads(min(allowed, psutil.cpu_count(logical=False) or allowed))


def score_replies_only() -> None:
    """Let TRL give the vocabulary's scores for the tokens of replies alone, as it does on GPUs.

    Elsewhere it scores prompts and padding too and throws that away, since some devices would recompile for every new
    shape (`trl.trainer.utils.add_fused_lm_head`); a CPU does not. Half of the tokens of a short email are its prompt. A
    version of TRL that is made otherwise scores everything, as always.
    """
    from trl.trainer import utils

    of_trl: Any = utils

    scores_chosen_places: Any = getattr(of_trl, "_use_triton", None)
    if scores_chosen_places is not None and not getattr(scores_chosen_places, "ours", False):

        def on_cpu_too(device: Any) -> bool:
            return device.type == "cpu" or bool(scores_chosen_places(device))

        on_cpu_too.ours = True  # type: ignore[attr-defined]
        of_trl._use_triton = on_cpu_too


@cache
def use_onednn() -> bool:
    """From now on this process multiplies matrices in float32 by oneDNN, if that pays here; gives whether it does.

    PyTorch's CPU build carries two libraries and gives products in float32 to MKL, which runs its AVX-512 kernels on
    Intel's processors alone. On an AMD EPYC of two cores oneDNN's take 0.4 to 0.5 of its time at a training's sizes, in
    the same float32. Replacing one operator's kernel is PyTorch's own way to extend it
    (docs.pytorch.org/docs/stable/library.html); gradients are made of the same operator, so they follow.

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
    from torch import library

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it says that a kernel is replaced, which is the purpose
        kept: Any = library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]
        kept.impl("mm", product, "CPU")
        kept.impl("mm.out", product_into, "CPU")
        kept.impl("addmm", sum_with_product, "CPU")
        kept.impl("addmm_", add_product, "CPU")
    return kept


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


def sum_with_product(other: Any, left: Any, right: Any, *, beta: float = 1, alpha: float = 1) -> Any:
    """``beta`` times ``other``, which may be one row for all, and ``alpha`` times the product: a layer with a bias."""
    import torch

    if left.dtype is torch.float32 and other.dtype is torch.float32 and beta == alpha == 1:
        return product(left, right) + other
    size = (left.shape[0], right.shape[-1])
    return torch.baddbmm(other.expand(size)[None], left[None], right[None], beta=beta, alpha=alpha)[0]


def add_product(here: Any, left: Any, right: Any, *, beta: float = 1, alpha: float = 1) -> Any:
    """As `sum_with_product`, written over ``here``."""
    import torch

    if left.dtype is torch.float32 and here.dtype is torch.float32 and beta == alpha == 1:
        return here.add_(product(left, right))
    return here.copy_(sum_with_product(here, left, right, beta=beta, alpha=alpha))
