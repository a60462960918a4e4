"""One pass for both replies of a pair: their common beginning is computed once. Loaded in the trainer's process only.

TRL gives the model a batch of [chosen; rejected], each row the prompt with one reply, so the prompt, most of a short
email's tokens, is computed twice. Attention is causal: a token's state depends on the tokens before it and on nothing
else. So a pair can be laid out as [common beginning, rest of the chosen, rest of the rejected], where the last part
does not see the one before it and counts its positions on from the common beginning; every state is the same as before,
and gradients of the common part add up by themselves. The layout lives inside the model's backbone: TRL and PEFT see
the batch that they know.

The same idea as PyTorch's document masks for packed sequences (pytorch.org/blog/flexattention, 2024).
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

TOLERANCE = 1e-3
"""Most by which a state may differ from that of a pass with two rows, as a share of the largest; float32 gives 1e-5."""


@dataclass(frozen=True)
class Layout:
    """Where the tokens of a batch of B pairs, with rows of up to L tokens, stand in B rows of up to M tokens."""

    ids: Any
    """(B, M) token ids; what is over is 0 and seen by nobody."""
    positions: Any
    """(B, M): each token's place in its own row of the batch."""
    may_see: Any
    """(B, 1, M, M), bool: which token (second to last) sees which (last)."""
    places: Any
    """(2B, L): where each token of the batch stands in its row here; 0 for padding."""


def layout(ids: Any, mask: Any) -> Layout:
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
    laid = torch.where(second, ids[pairs:].gather(1, source), ids[:pairs].gather(1, source))

    before = place[:, :, None] >= place[:, None, :]
    of_chosen_alone = ((place >= common[:, None]) & ~second)[:, None, :]
    apart = second[:, :, None] & of_chosen_alone
    itself = place[:, :, None] == place[:, None, :]  # a row without anything to see would give NaN
    may_see = (before & ~apart & exists[:, None, :]) | itself

    in_rejected = torch.where(column < common[:, None], column, column - common[:, None] + chosen[:, None])
    places = torch.cat([column.expand(pairs, longest), in_rejected])
    return Layout(
        ids=torch.where(exists, laid, 0),
        positions=torch.where(exists, positions, 0),
        may_see=may_see[:, None],
        places=torch.where(mask.bool(), places, 0),
    )


class SharedPrompt:
    """A model's backbone that computes pairs in one pass while `on` says so, and anything else as ever.

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

        laid = layout(ids, mask)
        dtype = self._backbone.get_input_embeddings().weight.dtype
        unseen = torch.zeros(laid.may_see.shape, dtype=dtype, device=ids.device)
        unseen.masked_fill_(~laid.may_see, torch.finfo(dtype).min)
        seen = self._as_ever(input_ids=laid.ids, attention_mask=unseen, position_ids=laid.positions, **more)
        rows = torch.arange(laid.ids.shape[0], device=ids.device).repeat(2)
        seen.last_hidden_state = seen.last_hidden_state[rows[:, None], laid.places]
        return seen

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

    A version of TRL that names these methods otherwise computes two rows for each pair, as always: slower, never wrong.
    """
    shared = [SharedPrompt(model) for model in models]

    @contextmanager
    def in_one_pass() -> Iterator[None]:
        with ExitStack() as stack:
            for one in shared:
                stack.enter_context(one.on())
            yield

    class OnePass(trainer_class):  # type: ignore[misc]
        def compute_ref_log_probs(self, *given: Any, **more: Any) -> Any:
            with in_one_pass():
                return super().compute_ref_log_probs(*given, **more)

        def _compute_loss(self, *given: Any, **more: Any) -> Any:
            with in_one_pass():
                return super()._compute_loss(*given, **more)

    return OnePass
