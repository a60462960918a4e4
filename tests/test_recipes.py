"""Recipes that work and recipes that are refused, what is advised and why, and what a training will take."""

import dataclasses
import importlib.util
import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.orm import Session

import settings as settings_module
from db.models import Adapter, LearningCurve, Method, Preference, RunStatus, Split, Thumb, TrainingStep
from errors import AlreadyThere, BadSetting, Refused
from jobs.runs import run_folder
from tests.factories import saved, sure
from tests.trainings import a_snapshot, a_training
from training.recipe import estimate as estimating
from training.recipe import start
from training.recipe.advice import (
    FEW_REPEATS,
    Advice,
    DoubleJudgments,
    FlipRate,
    advise_recipe,
    cautions,
    count_double_judgments,
    flip_rate,
)
from training.recipe.estimate import (
    Measurement,
    SnapshotLengths,
    count_parameters,
    estimate,
    find_measurement,
    memory_warning,
    snapshot_lengths,
)
from training.recipe.recipe import (
    ADAPTERS,
    EXPERIMENTAL,
    KNOBS,
    LARGE,
    LOSSES,
    METHODS,
    PRESETS,
    REFERENCES,
    SMALL,
    Loss,
    RecipeValues,
    Reference,
    check_recipe,
    from_row,
    to_row,
)
from training.recipe.start import start_training


def changed(**knobs: object) -> RecipeValues:
    return dataclasses.replace(SMALL, **knobs)  # type: ignore[arg-type]


def shown(method: Method, loss: Loss = Loss.SIGMOID, tuned: bool = False, **knobs: object) -> set[str]:
    """The knobs of a plain recipe of the method."""
    return set(changed(method=method, loss=loss, **knobs).used_knobs(tuned=tuned))


def test_only_knobs_that_the_method_reads_are_shown() -> None:
    assert {"beta", "loss", "rpo_alpha", "label_smoothing", "sft_epochs", "reference"} & shown(Method.SFT) == set()
    assert {"loss", "rpo_alpha", "label_smoothing"} & shown(Method.KTO) == set()
    assert {"beta", "sft_epochs"} <= shown(Method.KTO)
    assert "label_smoothing" not in shown(Method.DPO)
    assert "label_smoothing" in shown(Method.DPO, Loss.ROBUST)
    assert "reference" not in shown(Method.DPO)
    assert "reference" in shown(Method.DPO, sft_epochs=1.0)
    assert "reference" in shown(Method.KTO, tuned=True)
    assert "rpo_alpha" in shown(Method.SIMPO)
    assert {"lora_rank", "lora_alpha"} & shown(Method.DPO, adapter=None) == set()
    for method in (Method.ORPO, Method.SIMPO):
        assert {"sft_epochs", "reference", "loss"} & shown(method) == set()


def test_every_value_of_every_choice_has_words() -> None:
    assert (set(METHODS), set(LOSSES), set(REFERENCES)) == (set(Method), set(Loss), set(Reference))
    assert set(ADAPTERS) == {*Adapter, None}
    assert all(option.label and option.description for knob in KNOBS.values() for option in knob.options.values())
    assert all("experimental" in METHODS[method].label for method in EXPERIMENTAL)


def test_every_knob_is_declared_with_a_label_a_reason_and_a_source() -> None:
    assert {field.name for field in dataclasses.fields(RecipeValues)} - {"name"} == set(KNOBS)
    assert all(knob.label and knob.description and knob.source for knob in KNOBS.values())
    assert PRESETS[0] is SMALL
    for preset in PRESETS:
        check_recipe(preset)


@st.composite
def some_recipes(draw: st.DrawFn) -> RecipeValues:
    """Any values of the right kind, whether or not they work together."""

    def value(name: str) -> st.SearchStrategy[object]:
        default = getattr(SMALL, name)
        if KNOBS[name].options:
            return st.sampled_from(list(KNOBS[name].options))
        if isinstance(default, bool):
            return st.booleans()
        number = st.floats(allow_nan=False) if isinstance(default, float) else st.integers()
        return st.none() | number if KNOBS[name].optional else number

    return changed(name=draw(st.text()), **{name: draw(value(name)) for name in KNOBS})


@given(some_recipes())
def test_a_recipe_comes_back_from_its_row_and_from_json_as_it_was(recipe: RecipeValues) -> None:
    assert RecipeValues.from_json(json.loads(json.dumps(dataclasses.asdict(recipe)))) == recipe
    stored = to_row(recipe)
    stored.knobs = json.loads(json.dumps(stored.knobs))
    assert from_row(stored) == recipe


def test_a_row_of_another_version_has_the_defaults_of_later_knobs_and_none_that_went() -> None:
    stored = to_row(LARGE)
    stored.knobs = {"beta": 0.3, "launcher": "LOCAL"}
    assert from_row(stored) == changed(name=LARGE.name, beta=0.3)
    with pytest.raises(ValueError, match="has no launcher"):
        RecipeValues.from_json({"name": "x", "launcher": "LOCAL"})
    with pytest.raises(ValueError, match="loss cannot be 'HINGE'"):
        RecipeValues.from_json({"name": "x", "loss": "HINGE"})


def test_trl_is_told_what_the_method_reads_by_its_own_names() -> None:
    plain = {"learning_rate": 1e-4, "warmup_steps": 3, "max_length": 1024, "seed": 0}
    assert changed(method=Method.SFT).trl_arguments() == plain
    assert SMALL.trl_arguments() == plain | {"beta": 0.1}
    robust = changed(loss=Loss.ROBUST, label_smoothing=0.2)
    assert robust.trl_arguments() == plain | {"beta": 0.1, "label_smoothing": 0.2}


def test_steps_are_those_of_whole_epochs_up_to_the_last_one_allowed() -> None:
    assert [SMALL.steps(rows) for rows in (1, 8, 9)] == [1, 2, 3]
    assert changed(epochs=1.5).steps(9) == 5
    assert changed(max_steps=2).steps(9) == 2


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (changed(method=Method.ORPO, sft_epochs=1.0), "ORPO has its supervised part in itself"),
        (changed(method=Method.SIMPO, sft_epochs=1.0), "SimPO has its supervised part in itself"),
        (changed(method=Method.SFT, sft_epochs=1.0), "SFT has its supervised part in itself"),
        (changed(method=Method.KTO, loss=Loss.IPO), "KTO has a loss of its own, so ipo cannot be chosen"),
        (changed(method=Method.KTO, effective_batch_size=1), "2 per step or more"),
        (changed(loss=Loss.ROBUST, label_smoothing=0.5), "below 0.5"),
        (changed(loss=Loss.ROBUST, label_smoothing=-0.1), "0 or more"),
        (changed(label_smoothing=0.1), "Only the robust loss reads"),
        (changed(processes=0), "Processes cannot be 0. Give a number that is 1 or more"),
        (changed(max_steps=0), "more than 0"),
        (changed(sft_epochs=-1.0), "Supervised stage first, epochs"),
        (changed(evaluation_count=-1), "0 or more"),
        (changed(name=" "), "needs a name"),
    ],
)
def test_a_recipe_that_cannot_work_is_refused_with_the_remedy(recipe: RecipeValues, words: str) -> None:
    with pytest.raises(Refused) as problem:
        check_recipe(recipe)
    assert words in str(problem.value)


@pytest.mark.parametrize("loss", Loss)
@pytest.mark.parametrize("reference", Reference)
def test_every_loss_takes_an_anchor_and_a_supervised_stage(loss: Loss, reference: Reference) -> None:
    check_recipe(changed(loss=loss, rpo_alpha=0.5, sft_epochs=1.0, reference=reference))
    check_recipe(changed(loss=loss, rpo_alpha=0.0))


def test_qlora_without_its_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Refused, match="bitsandbytes"):
        check_recipe(changed(adapter=Adapter.QLORA))


def test_training_every_weight_of_a_model_too_large_for_the_machine_is_refused(
    s: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "has_gpu", lambda: False)
    monkeypatch.setattr(start, "count_parameters", lambda **_: 7e6)
    with pytest.raises(Refused, match="Train a LoRA adapter instead"):
        a_training(s, recipe=changed(adapter=None))
    assert a_training(s, "on several", recipe=changed(adapter=None, processes=2))
    monkeypatch.setattr(start, "count_parameters", lambda **_: 1.0)
    assert from_row(a_training(s, recipe=changed(adapter=None)).recipe).adapter is None


def test_a_tracker_that_is_not_installed_is_told_before_anything_is_queued(
    s: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "find_spec", lambda name: None)
    for tracker, line in (("trackio", "pip install .* trackio"), ("mlflow", "pip install .* mlflow-skinny")):
        monkeypatch.setenv("PICKWELL_TRACKER", tracker)
        settings_module.settings.cache_clear()
        with pytest.raises(BadSetting, match=line):
            a_training(s)


def test_a_base_model_has_no_earlier_one_to_be_held_to(s: Session) -> None:
    with pytest.raises(Refused, match="no earlier one to hold it to"):
        a_training(s, recipe=changed(reference=Reference.BASE))
    run = a_training(s, recipe=changed(reference=Reference.BASE, sft_epochs=1.0))
    assert from_row(run.recipe).reference is Reference.BASE


def test_a_weight_that_no_trainer_reads_is_not_stored(s: Session) -> None:
    assert from_row(a_training(s, recipe=changed(method=Method.KTO)).recipe).rpo_alpha == 0.0


def test_a_point_of_a_learning_curve_may_have_a_taken_name_and_has_its_share(s: Session) -> None:
    run = a_training(s)
    curve = saved(
        s, LearningCurve, project_id=run.project_id, snapshot_id=run.snapshot_id, requested_by_id=run.requested_by_id
    )
    same = {
        "by": run.requested_by_id,
        "project_id": run.project_id,
        "snapshot_id": run.snapshot_id,
        "base_model_id": run.base_model_id,
        "recipe": SMALL,
        "model_name": run.model_name,
    }
    point = start_training(s, **same, share=0.25, curve_id=curve.id)  # type: ignore[arg-type]
    assert (point.share, point.curve_id, run.share) == (0.25, curve.id, 1.0)
    with pytest.raises(AlreadyThere):
        start_training(s, **same)  # type: ignore[arg-type]
    for share in (0.0, 1.1, math.nan):
        with pytest.raises(Refused, match="share"):
            start_training(s, **same | {"model_name": "new"}, share=share)  # type: ignore[arg-type]


def test_kto_alone_trains_on_single_replies(s: Session) -> None:
    project, by, snapshot, base = a_snapshot(s)
    pair = sure(s.query(Preference).filter_by(snapshot_id=snapshot.id).first())
    thumb = Thumb(
        snapshot_id=snapshot.id,
        split=Split.TRAIN,
        prompt_id=pair.prompt_id,
        response_id=pair.rejected_id,
        label=True,
        ranking_id=pair.ranking_id,
    )
    s.add(thumb)
    s.query(Preference).filter_by(snapshot_id=snapshot.id).delete()
    s.flush()

    def started(recipe: RecipeValues) -> None:
        start_training(
            s,
            by=by.id,
            project_id=project.id,
            snapshot_id=snapshot.id,
            base_model_id=base.id,
            recipe=recipe,
            model_name=recipe.method.value,
        )

    started(changed(method=Method.KTO))
    with pytest.raises(Refused, match="KTO learns from those"):
        started(SMALL)


def an_advice(**given: object) -> Advice:
    values: dict[str, object] = {"pairs": 90, "parameters": 135.0, "gpu": False, **given}
    return advise_recipe(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", Method)
@pytest.mark.parametrize("adapter", [*Adapter, None])
def test_whatever_is_advised_works_and_every_knob_has_its_reason(method: Method, adapter: Adapter | None) -> None:
    for loss in Loss if method is Method.DPO else (Loss.SIGMOID,):
        for pairs in (1, 12, 90, 300, 20_000):
            found = an_advice(method=method, loss=loss, adapter=adapter, pairs=pairs)
            if adapter is not Adapter.QLORA:
                check_recipe(found.values)
            assert found.reasons.keys() == KNOBS.keys()
            assert all(reason.why and reason.source for reason in found.reasons.values())
            assert found.changed_knobs(found.values) == ()


def test_what_worked_here_is_advised_for_the_default_model() -> None:
    found = an_advice().values
    assert found == changed(name="DPO, as advised")


def test_a_large_model_gets_the_handbooks_recipe() -> None:
    found = an_advice(parameters=7000.0, adapter=Adapter.QLORA, gpu=True, pairs=2000).values
    assert (found.learning_rate, found.beta, found.rpo_alpha, found.lora_alpha) == (5e-6, 0.01, 0.0, 16)


@given(st.floats(1, 1e6), st.sampled_from([one for one in Method if one is not Method.SFT]))
def test_larger_models_take_no_larger_steps_and_every_weight_a_tenth_of_an_adapters(
    millions: float, method: Method
) -> None:
    rate = an_advice(parameters=millions, method=method).values.learning_rate
    assert an_advice(parameters=millions * 2, method=method).values.learning_rate <= rate
    full = an_advice(parameters=millions, method=method, adapter=None).values.learning_rate
    assert full == pytest.approx(rate / 10)


def test_each_loss_has_a_beta_of_its_own() -> None:
    betas = {loss: an_advice(loss=loss).values.beta for loss in Loss}
    assert betas[Loss.SIGMOID] == betas[Loss.ROBUST] == betas[Loss.APO_ZERO] == 0.1
    assert betas[Loss.IPO] == 1.0
    assert betas[Loss.SIGMOID_NORM] == 2.0
    assert an_advice(method=Method.SIMPO).values.beta == 2.0


def test_the_longest_row_fits_what_is_advised() -> None:
    assert an_advice(longest=700).values.max_length == 1024
    assert 1500 < an_advice(longest=1500).values.max_length <= 2048


def test_what_somebody_changed_is_told_from_what_was_advised() -> None:
    found = an_advice()
    used = dataclasses.replace(found.values, beta=0.3)
    assert found.changed_knobs(used) == ("beta",)
    assert found.name_recipe(used) == "DPO, with own beta"
    assert found.name_recipe(found.values) == "DPO, as advised"


def test_the_robust_loss_gets_the_share_that_agreement_tells() -> None:
    known = FlipRate(0.2, "68 % agree.")
    assert an_advice(loss=Loss.ROBUST, flips=known).values.label_smoothing == 0.2
    assert an_advice(loss=Loss.SIGMOID, flips=known).values.label_smoothing == 0.0
    unknown = an_advice(loss=Loss.ROBUST, flips=flip_rate(DoubleJudgments(3, 3)))
    assert unknown.values.label_smoothing == 0.1
    assert "too few" in unknown.reasons["label_smoothing"].why


@given(st.floats(0, 0.45))
def test_the_flip_rate_is_what_makes_two_people_agree_that_often(e: float) -> None:
    pairs = 100_000
    found = flip_rate(DoubleJudgments(pairs, round(pairs * ((1 - e) ** 2 + e**2))))
    assert found.rate == pytest.approx(e, abs=5e-3)


def test_agreement_by_chance_or_too_little_of_it_gives_no_flip_rate() -> None:
    assert flip_rate(DoubleJudgments(FEW_REPEATS - 1, 20)).rate is None
    by_chance = flip_rate(DoubleJudgments(100, 50))
    assert by_chance.rate is None
    assert "coin" in by_chance.sentence
    assert flip_rate(DoubleJudgments(100, 100)).rate == 0.0


def test_pairs_of_opinions_are_counted_within_each_comparison() -> None:
    assert count_double_judgments([(1, "LEFT"), (1, "LEFT"), (1, "RIGHT"), (2, "LEFT")]) == DoubleJudgments(3, 1)
    assert count_double_judgments([]).share is None


def test_few_pairs_and_low_agreement_say_what_to_do_instead() -> None:
    assert cautions(pairs=100, judgments=DoubleJudgments(40, 30), alpha=0.5) == ()
    (few,) = cautions(pairs=99, judgments=DoubleJudgments(0, 0), alpha=None)
    assert "Rank more pairs" in few
    (low,) = cautions(pairs=100, judgments=DoubleJudgments(40, 22), alpha=None)
    assert "55% of 40" in low
    assert "guideline" in low
    assert cautions(pairs=100, judgments=DoubleJudgments(40, 26), alpha=0.1) != ()
    assert cautions(pairs=100, judgments=DoubleJudgments(5, 1), alpha=-0.5) == ()


SIZE = SnapshotLengths(rows=90, validation=10, mean=145.0, longest=300)
TIMED = Measurement(source="from the training of “tuned” here", seconds_per_row=2.0, tokens=145.0, memory_mb=3000)


def estimated(
    recipe: RecipeValues = SMALL, size: SnapshotLengths = SIZE, found: Measurement | None = TIMED
) -> estimating.Estimate:
    return estimate(recipe, size=size, thumbs=0, parameters=135, measurement=found, gpu=False)


def test_without_a_measurement_the_estimate_says_that_it_is_a_guess() -> None:
    guess = estimated(found=None)
    assert "a guess from another machine" in guess.sentence
    assert 1.5 < guess.minutes < 5
    assert 1000 < guess.memory_mb < 4000


def test_a_measured_step_gives_minutes_and_memory() -> None:
    found = estimated(changed(evaluation_count=0))
    steps = math.ceil(90 / 4)
    reference = 100 * 2.0 * estimating.FORWARD_SHARE
    assert found.minutes == pytest.approx((estimating.FIXED_SECONDS + steps * 4 * 2.0 + reference) / 60)
    assert found.memory_mb > 3000  # the longest row is longer than the measured ones
    assert "from the training of “tuned” here" in found.sentence


@pytest.mark.parametrize(
    "more", [changed(epochs=2.0), changed(sft_epochs=1.0), changed(evaluation_count=8), changed(method=Method.KTO)]
)
def test_more_work_takes_longer(more: RecipeValues) -> None:
    assert estimated(more).minutes > estimated().minutes


def test_longer_rows_take_longer_in_proportion_and_more_memory() -> None:
    long = dataclasses.replace(SIZE, mean=290.0, longest=600)
    assert estimated(size=long).minutes > 1.5 * estimated().minutes
    assert estimated(size=long).memory_mb > estimated().memory_mb


def test_what_does_not_fit_is_told_with_the_remedy() -> None:
    assert memory_warning(1000, total_mb=8000, free_mb=4000) is None
    assert "close what else runs" in str(memory_warning(5000, total_mb=8000, free_mb=4000))
    assert "will not fit" in str(memory_warning(9000, total_mb=8000, free_mb=4000))


def test_quantised_weights_take_less_and_all_weights_more() -> None:
    memory = {one: estimated(changed(adapter=one), found=None).memory_mb for one in ADAPTERS}
    assert memory[Adapter.QLORA] < memory[Adapter.LORA] < memory[None]


@pytest.mark.parametrize(
    ("name", "millions"),
    [("SmolLM2-135M-Instruct", 135), ("meta/Llama-3.2-1B", 1000), ("Qwen2.5-0.5B", 500), ("tuned", None)],
)
def test_a_models_size_is_read_from_its_name(name: str, millions: float | None) -> None:
    assert count_parameters(location="nowhere/at-all", name=name) == millions


def test_a_models_size_is_counted_where_its_weights_are(tmp_path: Path) -> None:
    head = json.dumps({"a": {"shape": [1000, 2000], "dtype": "F32", "data_offsets": [0, 0]}}).encode()
    (tmp_path / "model.safetensors").write_bytes(len(head).to_bytes(8, "little") + head)
    assert count_parameters(location=str(tmp_path), name="any 7B") == 2.0


def test_the_usual_time_between_steps_is_not_moved_by_pauses_or_a_new_attempt() -> None:
    assert estimating.seconds_per_step([(1, 5.0), (2, 7.0), (3, 9.0), (4, 60.0), (5, 62.0)]) == 2.0
    assert estimating.seconds_per_step([(1, 50.0), (2, 52.0), (3, 3.0), (4, 5.0)]) == 2.0
    assert estimating.seconds_per_step([(1, 5.0), (2, 7.0)]) is None


@pytest.mark.both_databases
def test_a_training_by_such_a_recipe_here_tells_how_long_a_row_takes(
    s: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimating, "has_gpu", lambda: False)
    run = a_training(s)
    for step in range(1, 5):
        s.add(TrainingStep(training_run_id=run.id, split=Split.TRAIN, step=step, loss=0.6, seconds=30 + 8.0 * step))
    s.flush()

    def asked(recipe: RecipeValues = SMALL) -> Measurement | None:
        return find_measurement(s, project_id=run.project_id, base_model_id=run.base_model_id, recipe=recipe)

    assert asked() is None
    run.status, run.peak_memory_mb = RunStatus.SUCCEEDED, 2500
    s.flush()
    found = sure(asked())
    assert (found.seconds_per_row, found.memory_mb) == (2.0, 2500)
    assert found.tokens == pytest.approx(snapshot_lengths(run.snapshot).mean)
    others = {"effective_batch_size": 8}, {"adapter": Adapter.DORA}, {"adapter": None}, {"method": Method.KTO}
    assert [asked(changed(**other)) for other in others] == [None] * 4
    assert "training of “tuned”" in found.source
    folder = run_folder("training", run.id)
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text('{"device": "NVIDIA H200"}')
    assert asked() is None
