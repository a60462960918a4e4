"""Both replies of a pair in one pass: states, gradients and a whole training are those of two rows."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from db.models import Split
from tests.trainings import Heard, a_run
from training.trainer import cpu
from training.trainer.cpu import merged_adapters
from training.trainer.train import train

pytestmark = pytest.mark.slow
PAD = 0


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture
def model() -> Any:
    """A Llama of two layers, as small as can be."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    return LlamaForCausalLM(config)


def batch(pairs: list[tuple[list[int], list[int]]]) -> tuple[Any, Any]:
    """Pairs of rows as TRL gives them: the chosen ones, then the rejected ones, padded on the right."""
    import torch

    rows = [torch.tensor(one) for one in (*(chosen for chosen, _ in pairs), *(rejected for _, rejected in pairs))]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    return ids, mask


PAIRS = {
    "replies of different lengths": [([5, 6, 7, 8, 9, 10, 11], [5, 6, 7, 20, 21])],
    "nothing in common": [([5, 6, 7], [8, 9, 10, 11])],
    "one is the other's beginning": [([5, 6, 7, 8, 9], [5, 6, 7])],
    "the other way round": [([5, 6, 7], [5, 6, 7, 8, 9])],
    "twice the same": [([5, 6, 7], [5, 6, 7])],
    "pairs of different lengths": [([5, 6, 7, 8], [5, 6, 9]), ([1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 2, 3, 4, 5, 6])],
    "a token that is also the padding": [([5, 0, 0, 0], [5, 0]), ([5, 0], [5, 1, 0])],
}


@pytest.mark.parametrize("pairs", PAIRS.values(), ids=PAIRS.keys())
def test_one_pass_gives_the_states_and_gradients_of_two_rows(
    model: Any, pairs: list[tuple[list[int], list[int]]]
) -> None:
    import torch

    ids, mask = batch(pairs)
    weight = torch.linspace(-1, 1, 32)

    def computed() -> tuple[Any, Any]:
        model.zero_grad()
        states = model.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        ((states**2) @ weight)[mask.bool()].sum().backward()
        return states.detach()[mask.bool()], [part.grad.clone() for part in model.base_model.parameters()]

    states, gradients = computed()
    shared = cpu.SharedPrompt(model)
    with shared.on():
        in_one_pass, theirs = computed()
    assert shared.proved
    torch.testing.assert_close(in_one_pass, states, atol=1e-5, rtol=1e-4)
    for one, other in zip(theirs, gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


def test_one_pass_reads_the_common_beginning_once() -> None:
    laid = cpu.lay_out_pairs(*batch([([1, 2, 3, 4, 5], [1, 2, 3, 9])]))
    assert laid.ids.tolist() == [[1, 2, 3, 4, 5, 9]]
    assert laid.positions.tolist() == [[0, 1, 2, 3, 4, 3]]
    assert laid.places.tolist() == [[0, 1, 2, 3, 4], [0, 1, 2, 5, 0]]
    assert laid.may_see[0, 0, 5].tolist() == [True, True, True, False, False, True]


def test_a_model_that_carries_something_from_token_to_token_is_found_out(
    model: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    import torch

    backbone = model.base_model
    attention = backbone.forward

    def with_a_memory(**given: Any) -> Any:
        """As a recurrent layer does: every token is told of all before it in the row, whatever the mask says."""
        seen = attention(**given)
        seen.last_hidden_state = seen.last_hidden_state.cumsum(dim=1)
        return seen

    backbone.forward = with_a_memory
    ids, mask = batch([([5, 6, 7, 8, 9], [5, 6, 20, 21])])
    expected = backbone(input_ids=ids, attention_mask=mask).last_hidden_state
    shared = cpu.SharedPrompt(model)
    with shared.on():
        found = backbone(input_ids=ids, attention_mask=mask).last_hidden_state
    assert shared.proved is False
    assert "one by one" in capfd.readouterr().out
    assert torch.equal(found, expected)


def test_rows_longer_than_a_sliding_window_are_computed_one_by_one(model: Any) -> None:
    model.config.sliding_window = 4
    shared = cpu.SharedPrompt(model)
    ids, mask = batch([([5, 6, 7, 8, 9], [5, 6, 20, 21])])
    with shared.on():
        assert model.base_model(input_ids=ids, attention_mask=mask).last_hidden_state.shape[0] == 2
        assert shared.proved is None
        model.base_model(input_ids=ids[:, :4], attention_mask=mask[:, :4])
        assert shared.proved


def test_a_training_has_the_losses_of_one_that_computes_two_rows_for_each_pair(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proved = []
    agrees = cpu.SharedPrompt._agrees

    def told(self: cpu.SharedPrompt, *given: Any) -> bool:
        proved.append(agrees(self, *given))
        return proved[-1]

    monkeypatch.setattr(cpu.SharedPrompt, "_agrees", told)
    one, two = Heard(), Heard()
    train(a_run(tmp_path / "one", tiny), one)
    assert proved == [True]
    monkeypatch.setattr(cpu.SharedPrompt, "_agrees", lambda *_: False)
    train(a_run(tmp_path / "two", tiny), two)
    assert [said.loss for said in one.steps] == pytest.approx([said.loss for said in two.steps], rel=1e-5)
    assert [said.step for said in one.steps if said.split is Split.TRAIN] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("more", [{}, {"use_dora": True}, {"use_rslora": True}], ids=["LoRA", "DoRA", "rsLoRA"])
def test_writing_sample_replies_leaves_every_weight_as_it_was_to_the_last_bit(model: Any, more: dict[str, Any]) -> None:
    import torch
    from peft import LoraConfig, get_peft_model

    adapted: Any = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", **more))
    for name, part in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(part, std=0.5)
    adapted.eval()
    ids = torch.tensor([[5, 6, 7]])
    before = {name: part.clone() for name, part in adapted.state_dict().items()}
    expected = adapted(input_ids=ids).logits
    with torch.no_grad(), merged_adapters(adapted):
        assert not all(torch.equal(part, before[name]) for name, part in adapted.state_dict().items())
        torch.testing.assert_close(adapted(input_ids=ids).logits, expected, atol=1e-4, rtol=1e-3)
    assert all(torch.equal(part, before[name]) for name, part in adapted.state_dict().items())
    assert torch.equal(adapted(input_ids=ids).logits, expected)


def test_a_diverged_adapter_is_sampled_without_being_merged(model: Any) -> None:
    from peft import LoraConfig, get_peft_model

    adapted: Any = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear"))
    next(part for name, part in adapted.named_parameters() if "lora_B" in name).data.fill_(math.nan)
    with merged_adapters(adapted):
        pass
