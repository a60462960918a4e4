"""Everything that patches a library, each patch behind one switch. Loaded in the trainer's process only.

The first five make a training on a CPU faster and change no number beyond rounding: with one switched off, or a version
of its library that is made otherwise, a training is as slow as ever and never wrong.
"""

import math
import os
import platform
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from training.trainer.processes import processes
from training.trainer.reference import ReferenceScores, row_key

ONEDNN = True
"""PyTorch multiplies matrices by oneDNN where MKL is slow: `use_onednn`."""
REPLIES_ONLY = True
"""TRL scores the tokens of replies alone, as on a GPU: `score_replies_only`."""
SHARED_PROMPTS = True
"""Both replies of a pair share one pass over their prompt: `with_shared_prompts`."""
PRECOMPUTED_REFERENCE = True
"""TRL asks for a reference's score once for all trainings: `with_precomputed_reference`."""
MERGED_ADAPTERS = True
"""Sample replies are written with PEFT's adapter in the weights: `merged_adapters`."""
LONGEST_FIRST = True
"""transformers takes the longest row first, so that memory fails in the first step: `with_longest_first`."""
FOUR_BIT_GRADIENTS = True
"""bitsandbytes does not repack its layers, which would stop them learning: `keep_gradients`."""


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

    use_triton: Any = getattr(utils, "_use_triton", None)
    if REPLIES_ONLY and use_triton is not None and not hasattr(use_triton, "on_gpu"):

        def on_cpu_too(device: Any) -> bool:
            return device.type == "cpu" or bool(use_triton(device))

        on_cpu_too.on_gpu = use_triton  # type: ignore[attr-defined]
        setattr(utils, "_use_triton", on_cpu_too)  # noqa: B010


PROCESSORS = Path("/proc/cpuinfo")
VENDOR = "AuthenticAMD"


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
    if not (ONEDNN and mkl_is_slow() and with_both):
        return False
    try:
        mm(torch.zeros(2, 3), torch.zeros(3, 4))
    except (AttributeError, NotImplementedError, RuntimeError):
        return False  # another version of PyTorch: as slow as ever
    _replacements.append(replace_kernels())
    return True


_replacements: list[Any] = []
"""Each lasts as long as the object that made it."""


def mkl_is_slow() -> bool:
    """Whether this computer's processor is one that MKL does not do its best for."""
    if VENDOR in platform.processor():
        return True
    try:
        return VENDOR in PROCESSORS.read_text(encoding="utf-8")
    except OSError:
        return False


def replace_kernels() -> Any:
    """Let `mm` multiply this process's matrices; lasts until the library object that it gives is destroyed."""
    from torch import library

    kernels = {"mm": mm, "mm.out": mm_out, "addmm": addmm, "addmm_": addmm_inplace}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it says that a kernel is replaced, which is the purpose
        replacement: Any = library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]
        for name, kernel in kernels.items():
            replacement.impl(name, kernel, "CPU")
    return replacement


def mm(left: Any, right: Any) -> Any:
    """The product (M, N) of ``left`` (M, K) and ``right`` (K, N).

    Other types than float32, empty matrices and shapes that do not fit take another way of PyTorch's, with its words.
    """
    import torch

    alike = left.dim() == right.dim() == 2 and left.shape[1] == right.shape[0]
    if alike and left.dtype is right.dtype is torch.float32 and left.numel() and right.numel():
        return torch.ops.mkldnn._linear_pointwise(left, right.t(), None, "none", [], "")
    return torch.bmm(left[None], right[None])[0]


def mm_out(left: Any, right: Any, *, out: Any) -> Any:
    """As `mm`, written into ``out``."""
    result = mm(left, right)
    if out.dtype is not result.dtype:
        raise RuntimeError(f"Expected out tensor to have dtype {result.dtype}, but got {out.dtype} instead")
    return out.resize_(result.shape).copy_(result)


def addmm(other: Any, left: Any, right: Any, *, beta: float = 1, alpha: float = 1) -> Any:
    """``beta`` times ``other``, which may be one row for all, and ``alpha`` times the product: a layer with a bias."""
    import torch

    if left.dtype is torch.float32 and other.dtype is torch.float32 and beta == alpha == 1:
        return mm(left, right) + other
    size = (left.shape[0], right.shape[-1])
    return torch.baddbmm(other.expand(size)[None], left[None], right[None], beta=beta, alpha=alpha)[0]


def addmm_inplace(here: Any, left: Any, right: Any, *, beta: float = 1, alpha: float = 1) -> Any:
    """As `addmm`, written over ``here``."""
    import torch

    if left.dtype is torch.float32 and here.dtype is torch.float32 and beta == alpha == 1:
        return here.add_(mm(left, right))
    return here.copy_(addmm(here, left, right, beta=beta, alpha=alpha))


TOLERANCE = 1e-3
"""Most by which a state may differ from that of a pass with two rows, as a share of the largest; float32 gives 1e-5."""


@dataclass(frozen=True)
class PairLayout:
    """Where the tokens of a batch of B pairs, with rows of up to L tokens, stand in B rows of up to M tokens."""

    ids: Any
    """(B, M) token ids; places left over are 0 and seen by no token."""
    positions: Any
    """(B, M): each token's place in its own row of the batch."""
    may_see: Any
    """(B, 1, M, M), bool: which token (second to last) sees which (last)."""
    places: Any
    """(2B, L): where each token of the batch stands in its row here; 0 for padding."""


def lay_out_pairs(ids: Any, mask: Any) -> PairLayout:
    """Lay out a batch [chosen; rejected] with one row for each pair.

    Args:
        ids: (2B, L) token ids, padded on the right.
        mask: (2B, L), 1 for a token and 0 for padding.
    """
    import torch

    pairs, longest = ids.shape[0] // 2, ids.shape[1]
    lengths = mask.sum(dim=1)
    chosen, rejected = lengths[:pairs], lengths[pairs:]
    column = torch.arange(longest, device=ids.device)
    both = column < torch.minimum(chosen, rejected)[:, None]
    alike = ((ids[:pairs] == ids[pairs:]) & both).long()
    common = alike.cumprod(dim=1).sum(dim=1)  # tokens before the first difference
    whole = chosen + rejected - common

    width = int(whole.max())
    place = torch.arange(width, device=ids.device).expand(pairs, width)
    second = place >= chosen[:, None]  # belongs to the rejected reply alone
    positions = torch.where(second, place - chosen[:, None] + common[:, None], place)
    exists = place < whole[:, None]
    source = torch.where(exists, positions, 0)
    pair_ids = torch.where(second, ids[pairs:].gather(1, source), ids[:pairs].gather(1, source))

    before = place[:, :, None] >= place[:, None, :]
    of_chosen_alone = ((place >= common[:, None]) & ~second)[:, None, :]
    apart = second[:, :, None] & of_chosen_alone
    itself = place[:, :, None] == place[:, None, :]  # a row without anything to see would give NaN
    may_see = (before & ~apart & exists[:, None, :]) | itself

    in_rejected = torch.where(column < common[:, None], column, column - common[:, None] + chosen[:, None])
    places = torch.cat([column.expand(pairs, longest), in_rejected])
    return PairLayout(
        ids=torch.where(exists, pair_ids, 0),
        positions=torch.where(exists, positions, 0),
        may_see=may_see[:, None],
        places=torch.where(mask.bool(), places, 0),
    )


class SharedPrompt:
    """A model's backbone that computes pairs in one pass within `on`, and anything else as ever.

    TRL gives the model a batch of [chosen; rejected], each row the prompt with one reply, so the prompt, most of a
    short email's tokens, is computed twice. Attention is causal: a token's state depends on the tokens before it and on
    nothing else. So a pair can be laid out as [common beginning, rest of the chosen, rest of the rejected], where the
    last part does not see the one before it and counts its positions on from the common beginning; every state is the
    same as before, and gradients of the common part add up by themselves. The layout lives inside the model's backbone:
    TRL and PEFT see the batch that they know. The same idea as PyTorch's document masks for packed sequences
    (pytorch.org/blog/flexattention, 2024).

    The first pairs are computed both ways. Where the states differ, as they would in a model with recurrent layers, it
    computes all pairs as ever: slower, never wrong.
    """

    def __init__(self, model: Any) -> None:
        """Put itself in the place of the backbone's forward pass; ``model`` is a causal language model."""
        self._backbone = model.base_model
        self._as_ever = self._backbone.forward
        self._reach = _reach(model.config)
        self._on = False
        self.proved: bool | None = None
        """Whether one pass gave what two rows give; none before the first pairs."""
        self._backbone.forward = self._forward

    @contextmanager
    def on(self) -> Iterator[None]:
        """While the block runs, every batch is one of [chosen; rejected]."""
        self._on = True
        try:
            yield
        finally:
            self._on = False

    def _forward(self, input_ids: Any = None, attention_mask: Any = None, **more: Any) -> Any:
        if not self._on or self.proved is False or input_ids.shape[1] > self._reach:
            return self._as_ever(input_ids=input_ids, attention_mask=attention_mask, **more)
        if self.proved is None:
            self.proved = self._agrees(input_ids, attention_mask, more)
            return self._forward(input_ids=input_ids, attention_mask=attention_mask, **more)
        return self._one_pass(input_ids, attention_mask, more)

    def _one_pass(self, ids: Any, mask: Any, more: dict[str, Any]) -> Any:
        import torch

        layout = lay_out_pairs(ids, mask)
        dtype = self._backbone.get_input_embeddings().weight.dtype
        bias = torch.zeros(layout.may_see.shape, dtype=dtype, device=ids.device)
        bias.masked_fill_(~layout.may_see, torch.finfo(dtype).min)
        output = self._as_ever(input_ids=layout.ids, attention_mask=bias, position_ids=layout.positions, **more)
        rows = torch.arange(layout.ids.shape[0], device=ids.device).repeat(2)
        output.last_hidden_state = output.last_hidden_state[rows[:, None], layout.places]
        return output

    def _agrees(self, ids: Any, mask: Any, more: dict[str, Any]) -> bool:
        import torch

        with torch.no_grad():
            ours = self._one_pass(ids, mask, more).last_hidden_state
            theirs = self._as_ever(input_ids=ids, attention_mask=mask, **more).last_hidden_state
        real = mask.bool()
        off = float((ours - theirs)[real].abs().max() / theirs[real].abs().max())
        if off <= TOLERANCE:
            return True
        print(f"This model's replies are computed one by one: in one pass its states are {off:.2g} off.", flush=True)
        return False


def _reach(config: Any) -> float:
    """Tokens of a row up to which every layer sees all that came before; 0 where it cannot be given a mask."""
    if getattr(config, "_attn_implementation", None) not in ("sdpa", "eager"):
        return 0
    text = config.get_text_config()
    windows = (getattr(text, name, None) for name in ("sliding_window", "attention_chunk_size"))
    return min((window for window in windows if window), default=math.inf)


def with_shared_prompts(trainer_class: Any, models: Sequence[Any]) -> Any:
    """TRL's DPO trainer, computing each pair in one pass with these models: the one in training, and its reference.

    A version of TRL that names these methods otherwise computes two rows for each pair, as always.
    """
    if not SHARED_PROMPTS:
        return trainer_class
    shared = [SharedPrompt(model) for model in models]

    def in_one_pass(method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with ExitStack() as stack:
            for backbone in shared:
                stack.enter_context(backbone.on())
            return method(*args, **kwargs)

    class OnePass(trainer_class):  # type: ignore[misc]
        def compute_ref_log_probs(self, *args: Any, **kwargs: Any) -> Any:
            return in_one_pass(super().compute_ref_log_probs, *args, **kwargs)

        def _compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            return in_one_pass(super()._compute_loss, *args, **kwargs)

    return OnePass


CHUNK = 8
"""Rows that are scored between two writes: the most that is lost when the process dies."""


def with_precomputed_reference(trainer_class: Any, scores: ReferenceScores, on_progress: Callable[[int], None]) -> Any:
    """TRL's DPO trainer, asking ``scores`` before it lets the reference model score a row.

    The one method that is replaced is TRL's own, so a version of TRL without it scores every row, as always.
    ``on_progress`` gets the number of scored rows, those of data sets before included.
    """
    if not PRECOMPUTED_REFERENCE:
        return trainer_class

    class PrecomputedReference(trainer_class):  # type: ignore[misc]
        before = 0

        def _precompute_ref_logps(self, dataset: Any, name: str, batch_size: int) -> Any:
            columns = ("ref_chosen_logps", "ref_rejected_logps")
            keys = [row_key(row) for row in dataset.select_columns(["prompt_ids", "chosen_ids", "rejected_ids"])]
            missing = [number for number, key in enumerate(keys) if scores.get(key) is None]
            for start in range(0, len(missing), CHUNK):
                on_progress(self.before + len(keys) - len(missing) + start)
                chunk = missing[start : start + CHUNK]
                scored = super()._precompute_ref_logps(dataset.select(chunk), name, batch_size)
                values = zip(*(list(scored[column]) for column in columns), strict=True)
                scores.add({keys[number]: pair for number, pair in zip(chunk, values, strict=True)})
            self.before += len(keys)
            on_progress(self.before)
            for place, column in enumerate(columns):
                dataset = dataset.add_column(column, [(scores.get(key) or [])[place] for key in keys])
            return dataset

    return PrecomputedReference


ROOM = 1.5
"""Times the weights that must be free in memory before they are held twice."""


@contextmanager
def merged_adapters(model: Any) -> Iterator[None]:
    """While the block runs, adapters are part of the weights; afterwards these are the same ones, to the last bit.

    An adapter computed layer by layer takes most of a token's time on a CPU. Does nothing where it would not pay or not
    be exact: on a GPU, with parts of the model in other processes, in four bits, diverged, or where memory does not
    hold the weights twice.
    """
    import psutil
    import torch
    from peft.tuners.lora import LoraLayer

    layers: list[Any] = [layer for layer in model.modules() if isinstance(layer, LoraLayer)]
    weights = [layer.get_base_layer().weight for layer in layers]
    if (
        not MERGED_ADAPTERS
        or torch.cuda.is_available()
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


def longest_first(order: Sequence[int], lengths: Sequence[int], *, seen: int) -> list[int]:
    """The order in which the longest row of the first ``seen`` and the first one have traded places.

    ``lengths`` are in tokens, by the numbers of rows that ``order`` has.
    """
    rows = list(order)
    if LONGEST_FIRST and rows:
        place = max(range(min(seen, len(rows))), key=lambda at: lengths[rows[at]])
        rows[0], rows[place] = rows[place], rows[0]
    return rows


class LongestFirstSampler:
    """accelerate's own order of an epoch; in the first one the longest row has traded places with the first."""

    def __init__(self, sampler: Any, lengths: Sequence[int], *, seen: int) -> None:
        self._sampler, self._lengths, self._seen = sampler, lengths, seen

    def __len__(self) -> int:
        """Rows of an epoch."""
        return len(self._lengths)

    def set_epoch(self, epoch: int) -> None:
        """What decides the order; a resumed training says where it goes on."""
        self._sampler.set_epoch(epoch)

    def __iter__(self) -> Iterator[int]:
        first = self._sampler.epoch == 0
        order = list(self._sampler)
        return iter(longest_first(order, self._lengths, seen=self._seen) if first else order)


def with_longest_first(trainer_class: Any, lengths: Sequence[int], *, seen: int) -> Any:
    """A trainer that takes the longest row first, and every other one but the one it traded places with as ever.

    A version of transformers that names this method otherwise takes all rows as ever.
    """
    if not LONGEST_FIRST:
        return trainer_class

    class LongestFirst(trainer_class):  # type: ignore[misc]
        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            from accelerate.data_loader import SeedableRandomSampler

            # what accelerate would put in the place of transformers' own
            rows = self.train_dataset if train_dataset is None else train_dataset
            return LongestFirstSampler(SeedableRandomSampler(rows, data_seed=self.args.data_seed), lengths, seen=seen)

    return LongestFirst


def keep_gradients(model: Any) -> None:
    """Let layers of four bits learn after they answered.

    bitsandbytes 0.50 repacks a layer that once answered in evaluation mode for CPUs with AVX-512 BF16, and what it is
    then multiplied by has no gradient: everything below it would stop learning without a word.
    """
    for layer in model.modules():
        if FOUR_BIT_GRADIENTS and hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False
