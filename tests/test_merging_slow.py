"""Merging adapters into copies of their base: a tiny random Llama with the default model's tokenizer."""

from pathlib import Path
from typing import Any

import pytest

from errors import BrokenModel
from files import MANIFEST, read_json
from llm.folder import check_model_folder, hash_weights, read_dtype, read_template
from llm.merging import InfiniteAdapter, ZeroAdapter, merge
from llm.template import template_hash

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tiny(default_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model's folder that loads in a moment."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

    folder = tmp_path_factory.mktemp("tiny")
    tokenizer: Any = AutoTokenizer.from_pretrained(str(default_model))
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2
    )
    model: Any = AutoModelForCausalLM.from_config(config)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def an_adapter(base: Path, place: Path, *, scale: float = 0.5, **more: Any) -> Path:
    """An adapter whose numbers are of that size."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    config = LoraConfig(r=2, target_modules="all-linear", **more)
    model: Any = get_peft_model(AutoModelForCausalLM.from_pretrained(str(base), dtype=torch.float32), config)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=scale)
    model.save_pretrained(str(place))
    return place


def says(folder: Path, adapter: Path | None = None) -> Any:
    """The model's logits for a few tokens."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32)
    model = PeftModel.from_pretrained(model, str(adapter)) if adapter else model
    with torch.no_grad():
        return model.eval()(torch.tensor([[5, 6, 7, 8]])).logits


@pytest.mark.parametrize("kind", [{}, {"use_rslora": True}, {"use_dora": True}])
def test_a_merged_copy_answers_as_the_adapter_does_on_its_base_and_keeps_the_template(
    tiny: Path, tmp_path: Path, kind: dict[str, bool]
) -> None:
    import torch

    adapter = an_adapter(tiny, tmp_path / "adapter", **kind)
    (tmp_path / ".merged.tmp").mkdir()
    (tmp_path / ".merged.tmp" / "half").write_text("of a merging that was killed")
    template = template_hash(read_template(str(tiny)) or "")
    place = merge(
        str(tiny), adapter, tmp_path / "merged", expected_template_hash=template, manifest={"snapshot_sha256": "abc"}
    )
    check_model_folder(str(place))
    assert torch.allclose(says(place), says(tiny, adapter), atol=1e-4)
    assert not torch.allclose(says(place), says(tiny), atol=1e-2)
    assert read_json(place / MANIFEST) == {
        "base_model": str(tiny),
        "weights_sha256": hash_weights(place),
        "template_hash": template,
        "snapshot_sha256": "abc",
    }
    assert read_dtype(str(place)) == "float32", "a base of half precision would round much of the adapter away"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["adapter", "merged"]


def test_what_is_there_stays_and_precision_may_be_named(tiny: Path, tmp_path: Path) -> None:
    adapter, place = an_adapter(tiny, tmp_path / "adapter"), tmp_path / "merged"
    merge(str(tiny), adapter, place, dtype="bfloat16")
    assert read_dtype(str(place)) == "bfloat16"
    before = hash_weights(place)
    merge(str(tiny), adapter, place)
    assert hash_weights(place) == before


@pytest.mark.parametrize(
    ("scale", "problem", "sentence"),
    [(0.0, ZeroAdapter, "changes nothing: it is zero"), (float("inf"), InfiniteAdapter, "cannot be merged")],
)
def test_an_adapter_that_taught_nothing_or_ran_away_is_refused_and_leaves_nothing(
    tiny: Path, tmp_path: Path, scale: float, problem: type[BrokenModel], sentence: str
) -> None:
    adapter = an_adapter(tiny, tmp_path / "adapter", scale=0.5 if scale else 0.0)
    if scale:
        from safetensors.torch import load_file, save_file

        file = adapter / "adapter_model.safetensors"
        save_file({name: value * scale for name, value in load_file(file).items()}, file)
    with pytest.raises(problem, match=sentence):
        merge(str(tiny), adapter, tmp_path / "merged")
    with pytest.raises(BrokenModel, match="not the one that it was registered with"):
        merge(str(tiny), adapter, tmp_path / "merged", expected_template_hash="another")
    with pytest.raises(BrokenModel, match="does not load with"):
        merge(str(tiny), tmp_path / "nowhere", tmp_path / "merged")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["adapter"]
