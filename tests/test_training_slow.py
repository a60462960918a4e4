"""The real trainer: a tiny random Llama with the default model's tokenizer, and the default model itself."""

import dataclasses
import functools
import json
import math
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from db.models import Adapter, Method, Role, RunStatus, Split, TrainingRun, TrainingStep
from db.session import reading, session
from errors import TrainingFailed
from files import MANIFEST
from jobs.progress import unmanaged_progress
from llm.folder import check_model_folder, hash_weights, weights_sha256
from llm.template import template_hash
from settings import ROOT
from tests.factories import a_comparison, a_model, a_project, a_prompt, a_ranking, a_response, a_reviewer, sure
from tests.trainings import PAIRS, Heard, a_run, losses, rows
from training.data.snapshot import freeze
from training.recipe.recipe import SMALL, Loss, Reference
from training.recipe.start import start_training
from training.trainer import worker
from training.trainer.run_folder import ADAPTER, CHECKPOINTS, MERGED, METRICS, Report, RunFolder, StepReport

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """A tiny model gains nothing by a second thread, and a busy machine loses much."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        yield


def heard(folder: Path) -> Heard:
    from training.trainer.train import train

    listener = Heard()
    train(folder, listener)
    return listener


def trained(folder: Path) -> list[StepReport]:
    return heard(folder).steps


@pytest.fixture(scope="module")
def undisturbed(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[StepReport]]:
    folder = a_run(tmp_path_factory.mktemp("undisturbed"), tiny)
    return folder, trained(folder)


def test_every_step_is_reported_and_written_down(undisturbed: tuple[Path, list[StepReport]]) -> None:
    folder, said = undisturbed
    assert [report.step for report in said if report.split is Split.TRAIN] == [1, 2, 3, 4, 5]
    assert [report.step for report in said if report.split is Split.VALIDATION] == [2, 4, 5]
    assert all(math.isfinite(report.loss) and report.steps == 5 for report in said)
    assert losses(folder) == {(report.split.value, report.step): report.loss for report in said}
    assert said[0].reward_margin == pytest.approx(0, abs=1e-3)
    manifest = sure(RunFolder(folder).finished())
    assert (manifest.steps, manifest.pairs) == (5, 20)


def test_the_merged_model_loads_differs_from_its_base_and_keeps_the_template(
    undisturbed: tuple[Path, list[StepReport]], tiny: Path
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, _ = undisturbed
    merged, manifest = folder / MERGED, RunFolder(folder).finished()
    assert manifest is not None
    assert manifest.weights_sha256 == hash_weights(merged) != hash_weights(tiny)
    assert (merged / "chat_template.jinja").read_bytes() == (tiny / "chat_template.jinja").read_bytes()
    assert manifest.template_hash == template_hash((tiny / "chat_template.jinja").read_text())
    assert json.loads((merged / "generation_config.json").read_text())["eos_token_id"] == 2

    tokenizer: Any = AutoTokenizer.from_pretrained(merged)
    tokens = tokenizer("Where is order 37?", return_tensors="pt")["input_ids"]
    base: Any = AutoModelForCausalLM.from_pretrained(tiny)
    with torch.no_grad():
        of_merged = AutoModelForCausalLM.from_pretrained(merged)(tokens).logits
        of_base = base(tokens).logits
        of_adapter = PeftModel.from_pretrained(base, str(folder / ADAPTER))(tokens).logits
    assert torch.allclose(of_merged, of_adapter, atol=1e-5)
    assert not torch.allclose(of_merged, of_base, atol=1e-5)


def test_a_killed_run_goes_on_with_the_losses_of_an_undisturbed_one(
    undisturbed: tuple[Path, list[StepReport]], tiny: Path, tmp_path: Path
) -> None:
    folder = a_run(tmp_path, tiny)
    command = [sys.executable, "-m", "training.trainer.train", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if re.match(r"TRAIN step 3/", line):  # step 2 is saved, step 4 is not
                process.send_signal(signal.SIGKILL)
                break
        process.stdout.read()
    assert process.returncode == -signal.SIGKILL
    assert RunFolder(folder).last_checkpoint() == folder / CHECKPOINTS / "checkpoint-2"
    assert RunFolder(folder).finished() is None
    (scores,) = (folder / "reference").iterdir()
    scored = scores.read_text()

    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert scores.read_text() == scored, "the pairs were scored again"
    expected = losses(undisturbed[0])
    assert losses(folder) == pytest.approx(expected, abs=1e-6)
    assert list(losses(folder)) == list(expected)


def test_a_run_that_ended_before_its_merge_is_not_trained_again(tiny: Path, tmp_path: Path) -> None:
    folder = a_run(tmp_path, tiny, max_steps=2)
    trained(folder)
    before = hash_weights(folder / MERGED)
    (folder / MANIFEST).unlink()
    assert trained(folder) == []
    assert hash_weights(folder / MERGED) == before
    assert RunFolder(folder).finished() is not None
    assert trained(folder) == []


def test_what_the_listener_raises_ends_the_training(tiny: Path, tmp_path: Path) -> None:
    from training.trainer.train import train

    class Lost(Exception):
        pass

    class Losing(Heard):
        def report(self, report: Report) -> None:
            if isinstance(report, StepReport) and report.step == 3:
                raise Lost

    folder = a_run(tmp_path, tiny, save_every=100)
    with pytest.raises(Lost):
        train(folder, Losing())
    assert RunFolder(folder).finished() is None
    assert RunFolder(folder).last_step() == 3, "a checkpoint is kept of what was learned"


EVERY_WAY: dict[str, dict[str, Any]] = {
    "supervised": {"method": Method.SFT},
    "DPO, ipo": {"loss": Loss.IPO, "rpo_alpha": 0.0},
    "DPO, robust": {"loss": Loss.ROBUST, "label_smoothing": 0.1, "rpo_alpha": 0.0},
    "DPO, apo_zero": {"loss": Loss.APO_ZERO, "rpo_alpha": 0.0},
    "DPO, sigmoid_norm": {"loss": Loss.SIGMOID_NORM, "beta": 2.0, "rpo_alpha": 0.0},
    "KTO": {"method": Method.KTO},
    "ORPO": {"method": Method.ORPO},
    "SimPO": {"method": Method.SIMPO, "beta": 2.0},
    "DPO, rsLoRA": {"adapter": Adapter.RSLORA},
    "DPO, DoRA": {"adapter": Adapter.DORA},
    "DPO, QLoRA": {"adapter": Adapter.QLORA},
    "DPO, every weight": {"adapter": None},
    "supervised, every weight": {"method": Method.SFT, "adapter": None},
}


@pytest.mark.parametrize("way", EVERY_WAY)
def test_every_method_loss_and_adapter_makes_another_model_that_can_be_loaded(
    tiny: Path, tmp_path: Path, way: str
) -> None:
    from transformers import AutoModelForCausalLM

    changes = EVERY_WAY[way]
    folder = a_run(tmp_path, tiny, max_steps=2, evaluation_count=1, **changes)
    said = heard(folder)
    assert [step.step for step in said.steps if step.split is Split.TRAIN] == [1, 2]
    assert all(math.isfinite(step.loss) for step in said.steps)
    assert {(one.step, one.place) for one in said.samples} == {(0, 1), (0, 2), (2, 1), (2, 2)}
    manifest = sure(RunFolder(folder).finished())
    assert manifest.weights_sha256 == hash_weights(folder / MERGED) != hash_weights(tiny)
    assert (folder / ADAPTER).exists() == (changes.get("adapter", Adapter.LORA) is not None)
    check_model_folder(str(folder / MERGED))
    AutoModelForCausalLM.from_pretrained(folder / MERGED)


def test_four_bits_still_learn_in_every_layer_after_the_model_was_looked_at(tiny: Path) -> None:
    import torch
    from peft import get_peft_model

    from training.trainer.weights import load_model, lora_config

    given = RunFolder(a_run(tiny.parent / "four-bits", tiny, adapter=Adapter.QLORA)).input()
    tokens = torch.tensor([[3, 4, 5, 6]])

    def gradients(*, looked_at: bool) -> dict[str, float]:
        torch.manual_seed(0)
        model: Any = get_peft_model(load_model(str(tiny), adapter=Adapter.QLORA), lora_config(given))
        if looked_at:
            model.eval()
            with torch.no_grad():
                model(tokens)
        model.train()
        model(input_ids=tokens, labels=tokens).loss.backward()
        return {name: float(value.grad.norm()) for name, value in model.named_parameters() if "lora_B" in name}

    untouched = gradients(looked_at=False)
    assert min(untouched.values()) > 0
    assert gradients(looked_at=True) == pytest.approx(untouched, rel=1e-3)


def test_a_supervised_stage_comes_first_and_its_model_is_the_reference_unless_the_base_is_wanted(
    tiny: Path, tmp_path: Path
) -> None:
    margins = {}
    for reference in Reference:
        folder = a_run(tmp_path / reference, tiny, sft_epochs=1.0, reference=reference, max_steps=2, rpo_alpha=0.0)
        said = heard(folder).steps
        train = [step for step in said if step.split is Split.TRAIN]
        assert [step.step for step in train] == [1, 2, 3, 4, 5, 6, 7], "five supervised steps, then two of DPO"
        assert {step.steps for step in train} == {7}
        assert [step.reward_margin is None for step in train] == [True] * 5 + [False] * 2
        margins[reference] = (train[5].rewards_chosen or 0, train[5].rewards_rejected or 0)
        manifest = sure(RunFolder(folder).finished())
        assert manifest.adapter is None, "it fits the model of the first stage only"
    assert margins[Reference.START] == pytest.approx((0, 0), abs=1e-3)
    assert margins[Reference.BASE][0] > 0.01, "the supervised stage made the chosen replies more likely"


def test_reference_scores_are_kept_for_another_training_on_the_same_model(tiny: Path, tmp_path: Path) -> None:
    kept = str(tmp_path / "kept")
    first = heard(a_run(tmp_path / "first", tiny, kept=kept, max_steps=2))
    (file,) = Path(kept).iterdir()
    scored = file.read_text()
    assert len(scored.splitlines()) == PAIRS
    second = heard(a_run(tmp_path / "second", tiny, kept=kept, max_steps=2, learning_rate=2e-3))
    assert file.read_text() == scored
    assert second.steps[0].loss == first.steps[0].loss


def test_a_training_that_over_fits_stops_and_keeps_its_best_model(tiny: Path, tmp_path: Path) -> None:
    confused = rows()
    backwards = [
        dataclasses.replace(one, chosen=one.rejected, rejected=one.chosen) for one in confused[Split.TRAIN][:8]
    ]
    frozen = {Split.TRAIN: confused[Split.TRAIN], Split.VALIDATION: backwards}
    folder = a_run(
        tmp_path, tiny, frozen, learning_rate=1e-2, epochs=6.0, evaluation_count=10, rpo_alpha=0.0, sample_tokens=4
    )
    said = heard(folder)
    manifest = sure(RunFolder(folder).finished())
    assert manifest.stopped is not None
    assert "by heart" in manifest.stopped
    last = max(step.step for step in said.steps)
    assert manifest.best_step is not None
    assert manifest.best_step < last < manifest.steps
    assert [one for one in said.warnings if one.kind == "overfitting" and one.stops]


def test_a_training_that_only_made_things_worse_says_so_and_makes_no_model(tiny: Path, tmp_path: Path) -> None:
    right = rows()
    backwards = [dataclasses.replace(one, chosen=one.rejected, rejected=one.chosen) for one in right[Split.TRAIN][:8]]
    frozen = {Split.TRAIN: right[Split.TRAIN], Split.VALIDATION: backwards}
    from training.trainer.train import train

    folder = a_run(tmp_path, tiny, frozen, learning_rate=1e-2, evaluation_count=5, stop_early=False, sample_tokens=0)
    listener = Heard()
    with pytest.raises(TrainingFailed, match="never better than before"):
        train(folder, listener)
    assert [step.step for step in listener.steps if step.split is Split.TRAIN] == [1, 2, 3, 4, 5]


def test_asked_to_end_a_training_keeps_a_checkpoint_and_goes_on_from_it(
    undisturbed: tuple[Path, list[StepReport]], tiny: Path, tmp_path: Path
) -> None:
    folder = a_run(tmp_path, tiny, save_every=100)
    command = [sys.executable, "-m", "training.trainer.train", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if re.match(r"TRAIN step 1/", line):
                process.send_signal(signal.SIGTERM)
    assert "asked to stop" in said[-1]
    assert 0 < RunFolder(folder).last_step() < 5
    trained(folder)
    assert losses(folder) == pytest.approx(losses(undisturbed[0]), abs=1e-6)


def test_a_point_of_a_learning_curve_is_measured_and_makes_no_model(tiny: Path, tmp_path: Path) -> None:
    folder = a_run(tmp_path, tiny, max_steps=2, makes_model=False)
    assert any(step.split is Split.VALIDATION for step in trained(folder))
    assert RunFolder(folder).finished() is not None
    assert not (folder / MERGED).exists()
    assert trained(folder) == []


def test_rows_over_the_longest_length_are_refused_and_not_cut(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed, match=r"22 of 22 rows are longer than 20 tokens"):
        trained(a_run(tmp_path, tiny, max_length=20))


def test_a_template_that_renders_the_prompt_differently_with_a_reply_is_refused(tiny: Path, tmp_path: Path) -> None:
    model = other_template(
        tiny, tmp_path, lambda text: text.replace("<|im_start|>assistant\n' }}", "<|im_start|>helper\n' }}")
    )
    with pytest.raises(TrainingFailed, match="does not begin as it does alone"):
        trained(a_run(tmp_path, model))


def test_a_template_without_an_end_of_turn_is_refused(tiny: Path, tmp_path: Path) -> None:
    model = other_template(tiny, tmp_path, lambda text: text.replace("'<|im_end|>' + ", ""))
    with pytest.raises(TrainingFailed, match="0 ends"):
        trained(a_run(tmp_path, model))


def other_template(tiny: Path, tmp_path: Path, change: Callable[[str], str]) -> Path:
    import shutil

    model = shutil.copytree(tiny, tmp_path / "model")
    file = model / "chat_template.jinja"
    changed = change(file.read_text())
    assert changed != file.read_text()
    file.write_text(changed)
    return model


def test_a_model_that_is_not_its_own_reference_is_stopped_at_the_first_step(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import peft

    # PiSSA rewrites the base weights, so that the model without its adapter is no longer the base model.
    monkeypatch.setattr(peft, "LoraConfig", functools.partial(peft.LoraConfig, init_lora_weights="pissa"))
    with pytest.raises(TrainingFailed, match="already differs from the base model"):
        trained(a_run(tmp_path, tiny, rpo_alpha=0.0))


def test_a_loss_that_is_not_a_number_stops_the_training(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed, match="fell apart"):
        trained(a_run(tmp_path, tiny, learning_rate=1e30, warmup_steps=0))


def test_a_full_disk_is_a_sentence(tiny: Path, tmp_path: Path) -> None:
    folder = a_run(tmp_path, tiny)
    (folder / METRICS).symlink_to("/dev/full")
    with pytest.raises(TrainingFailed, match=r"disk of .* is full"):
        trained(folder)


def test_the_scoring_before_the_first_step_is_told_pair_by_pair(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.trainer import cpu, train

    monkeypatch.setattr(train, "TELL_EVERY", 0.0)
    monkeypatch.setattr(cpu, "CHUNK", 2)
    said = heard(a_run(tmp_path, tiny, max_steps=2)).stages
    told = [int(text.split()[-3]) for text in said if re.search(rf"\d+ of {PAIRS}$", text)]
    assert told == [*range(0, PAIRS - 1, 2), 20, PAIRS]


def test_the_longest_row_is_in_the_first_step_and_the_other_steps_are_as_they_would_be(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.trainer import cpu

    def losses_of(name: str) -> list[float]:
        # so small a rate that a step's loss tells of its rows alone
        folder = a_run(tmp_path / name, tiny, seed=1, learning_rate=1e-12, makes_model=False, evaluation_count=0)
        return [step.loss for step in trained(folder)]

    ours = losses_of("ours")
    monkeypatch.setattr(cpu, "LONGEST_FIRST", False)
    plain = losses_of("plain")
    other = [step for step, (one, two) in enumerate(zip(ours, plain, strict=True), 1) if one != pytest.approx(two)]
    assert len(other) == 2
    assert other[0] == 1


def test_a_tracker_of_transformers_own_writes_event_files_into_the_runs_folder(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "tensorboard"))  # as a process of its own would have
    trained(a_run(tmp_path, tiny, max_steps=2, tracker="tensorboard"))
    (file,) = (tmp_path / "tensorboard").iterdir()
    assert b"train/loss" in file.read_bytes()


def test_the_default_model_trains_for_two_steps(default_model: Path, tmp_path: Path) -> None:
    folder = a_run(
        tmp_path,
        default_model,
        rows(10),
        max_steps=2,
        effective_batch_size=2,
        learning_rate=1e-4,
        lora_rank=16,
        lora_alpha=32,
    )
    said = [report for report in trained(folder) if report.split is Split.TRAIN]
    assert [report.step for report in said] == [1, 2]
    assert said[0].reward_margin == pytest.approx(0, abs=1e-3)
    assert hash_weights(folder / MERGED) != hash_weights(default_model)


def test_a_training_run_goes_from_rankings_to_a_model_that_can_be_served(database: Path, tiny: Path) -> None:
    with session() as s:
        project = a_project(s)
        by = a_reviewer(s, project, Role.MANAGER, Role.ANNOTATOR)
        base, other = a_model(s, project, location=str(tiny)), a_model(s, project)
        for n in range(12):
            prompt = a_prompt(s, project)
            pair = (
                a_response(s, prompt, base, f"It is on its way, parcel {n}."),
                a_response(s, prompt, other, f"No {n}!"),
            )
            a_ranking(s, a_comparison(s, *pair), by, *pair)
        snapshot = freeze(s, by=by.id, project_id=project.id)
        assert base.model_version_id is not None
        run_id = start_training(
            s,
            by=by.id,
            project_id=project.id,
            snapshot_id=snapshot.id,
            base_model_id=base.model_version_id,
            recipe=dataclasses.replace(SMALL, learning_rate=1e-3, warmup_steps=0),
            model_name="tuned",
        ).id
    worker.run(unmanaged_progress("training", run_id))
    with reading() as s:
        run = s.get_one(TrainingRun, run_id)
        assert run.status is RunStatus.SUCCEEDED
        assert run.model_version is not None
        check_model_folder(run.model_version.location)
        assert run.model_version.sha256 == weights_sha256(run.model_version.location)
        steps = s.scalars(select(TrainingStep)).all()
        assert sorted((str(step.split), step.step) for step in steps) == [
            ("TRAIN", 1),
            ("TRAIN", 2),
            ("TRAIN", 3),
            ("VALIDATION", 1),
            ("VALIDATION", 2),
            ("VALIDATION", 3),
        ]
