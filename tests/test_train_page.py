"""The page Train as a manager uses it, without a browser, and what a training is read back as."""

import json
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session
from streamlit.testing.v1 import AppTest

from db.models import Method, Preference, RunStatus, Split, TrainingRun, TrainingSample, TrainingStep, TrainingWarning
from db.session import reading, session
from tests.app_pages import drawn_by, html, open_page, press, said
from tests.factories import a_model, a_project, a_reviewer, sure
from tests.trainings import a_snapshot, a_training
from training.recipe.recipe import Loss, from_row
from training.trainer.history import CURVES, StepValue, chart_points, load_samples, load_warnings, minutes_left
from ui.charts import CURVE_NOTES, CURVE_TABS

HERE: dict[str, int] = {}


@pytest.fixture
def project(database: Path) -> None:
    with session() as s:
        made, by, _, _ = a_snapshot(s)
        HERE.update(project=made.id, by=by.id)


def opened() -> AppTest:
    """The page as the manager sees it."""
    return open_page("train_model", project_id=HERE["project"], by=HERE["by"])


def set_to(page: AppTest, label: str, value: object) -> None:
    every = [*page.selectbox, *page.number_input, *page.text_input, *page.toggle]
    next(one for one in every if one.label == label).set_value(value).run()
    assert not page.exception


def knobs(page: AppTest) -> set[str]:
    return {one.label for one in [*page.number_input, *page.selectbox, *page.toggle]}


@pytest.mark.usefixtures("project")
def test_a_training_starts_from_advice_and_what_was_changed_is_marked() -> None:
    page = opened()
    assert "advised:" not in said(page)
    assert "our runs on SmolLM2-135M" in said(page)
    set_to(page, "Beta", 0.3)
    assert "advised: 0.1" in said(page)
    set_to(page, "Name of the new model", "polite")
    press(page, "Start training")
    with reading() as s:
        (run,) = s.scalars(select(TrainingRun)).all()
        recipe = from_row(run.recipe)
        assert (recipe.beta, recipe.name, recipe.learning_rate) == (0.3, "DPO, with own beta", 1e-4)
        assert (run.status, run.model_name) == (RunStatus.QUEUED, "polite")
    assert "polite" in said(page)


@pytest.mark.usefixtures("project")
def test_a_changed_knob_stays_changed_when_other_advice_changes() -> None:
    page = opened()
    set_to(page, "Epochs", 2.0)
    set_to(page, "Loss", Loss.IPO)
    values = {one.label: one.value for one in page.number_input}
    assert (values["Epochs"], values["Beta"]) == (2.0, 1.0)


@pytest.mark.usefixtures("project")
def test_the_knobs_shown_are_those_that_the_method_reads() -> None:
    page = opened()
    assert "Beta" in knobs(page)
    assert "Share of wrong picks" not in knobs(page)
    set_to(page, "Loss", Loss.ROBUST)
    assert "Share of wrong picks" in knobs(page)
    set_to(page, "Supervised stage first, epochs", 1.0)
    assert "Held to" in knobs(page)
    trained = next(one for one in page.selectbox if one.label == "What is trained")
    trained.select_index(len(trained.options) - 1).run()
    assert "LoRA rank" not in knobs(page)
    set_to(page, "Method", Method.SFT)
    assert {"Beta", "Loss", "Share of wrong picks", "Held to"} & knobs(page) == set()
    set_to(page, "Method", Method.ORPO)
    assert "Experimental" in said(page)


@pytest.mark.usefixtures("project")
def test_readiness_is_told_before_any_training_and_stops_nobody() -> None:
    page = opened()
    told = said(page)
    assert "Prompting tried first** · not yet" in told
    assert "Prompts for people routed** · not needed" in told
    assert "takes 77" in told
    assert "below 100, expect small shifts of style" in told
    assert any(one.label == "Start training" and not one.disabled for one in page.button)


@pytest.mark.usefixtures("project")
def test_the_estimate_says_where_it_comes_from() -> None:
    assert "a guess from another machine" in said(opened())


@pytest.mark.usefixtures("project")
def test_what_cannot_work_is_told_and_nothing_is_queued() -> None:
    page = opened()
    set_to(page, "Name of the new model", "polite")
    set_to(page, "Learning rate", 0.0)
    press(page, "Start training")
    assert "Learning rate cannot be 0" in said(page)
    with reading() as s:
        assert s.scalars(select(TrainingRun)).all() == []


def test_without_a_snapshot_the_page_says_what_to_do_first(database: Path) -> None:
    with session() as s:
        made = a_project(s)
        a_model(s, made)
        HERE.update(project=made.id, by=a_reviewer(s, made).id)
    told = said(opened())
    assert "There is none yet" in told
    assert "No snapshot is frozen yet" in told


def a_watched_run() -> int:
    """A training that ran, with all that it can say."""
    with session() as s:
        run = a_training(s)
        HERE.update(project=run.project_id, by=run.requested_by_id)
        run.status, run.best_step, run.stopped = RunStatus.SUCCEEDED, 2, "The validation loss rose."
        run.total = 4
        prompt = sure(s.scalars(select(Preference.prompt_id)).first())
        for step in range(1, 5):
            s.add(
                TrainingStep(
                    training_run_id=run.id,
                    split=Split.TRAIN,
                    step=step,
                    loss=0.7 - step / 10,
                    reward_margin=step - 1.0,
                    reward_accuracy=0.0 if step == 1 else 0.75,
                    logps_chosen=-90.0,
                    logps_rejected=-95.0,
                    seconds=10.0 * step,
                )
            )
        for step, reply in ((0, "Hi <b>there</b>"), (2, "Dear Jo"), (4, "Sorry.")):
            s.add(
                TrainingSample(
                    training_run_id=run.id, step=step, place=1, prompt_id=prompt, reply=reply, tokens=3, ended=step < 4
                )
            )
        s.add(TrainingWarning(training_run_id=run.id, step=3, kind="shrinking", sentence="Replies are half as long."))
        return run.id


def test_curves_warnings_and_samples_are_there_after_a_reload(database: Path) -> None:
    a_watched_run()
    page = opened()
    assert any("Replies are half as long" in one.value for one in page.error)
    told = said(page)
    assert "Stopped early: The validation loss rose." in told
    assert "Best at step 2, which was kept" in told
    shown = "\n".join(str(getattr(one, "proto", one)) for one in page.get("html"))
    assert "Hi &lt;b&gt;there&lt;/b&gt;" in shown
    assert "Sorry." in shown
    assert "Dear Jo" not in shown
    slider = page.select_slider[0]
    assert (list(slider.options), slider.value) == (["2", "4"], 4)
    slider.set_value(2).run()
    assert not page.exception
    assert "Dear Jo" in "\n".join(str(getattr(one, "proto", one)) for one in page.get("html"))


def test_samples_and_warnings_are_read_back_in_order(database: Path) -> None:
    run_id = a_watched_run()
    with reading() as s:
        (one,) = load_samples(s, run_id=run_id)
        assert [reply.step for reply in one.replies] == [0, 2, 4]
        assert one.at(3) == one.at(2) == one.replies[1]
        assert one.at(-1) is None
        assert [found.kind for found in load_warnings(s, run_id=run_id)] == ["shrinking"]


def a_step(step: int, accuracy: float | None = None, split: Split = Split.TRAIN, **given: float) -> TrainingStep:
    return TrainingStep(step=step, split=split, loss=0.5, reward_accuracy=accuracy, **given)


def test_ties_before_the_first_update_are_no_accuracy() -> None:
    steps = [a_step(1, 0.0), a_step(2, 0.5), a_step(0, 0.0, Split.VALIDATION), a_step(2, 0.0, Split.VALIDATION)]
    assert chart_points(steps, "Reward accuracy") == [StepValue(2, "training", 0.5), StepValue(2, "validation", 0.0)]
    assert len(chart_points(steps, "Loss")) == 4
    assert chart_points(steps, "Reward") == []


def test_a_warm_up_begins_at_a_rate_of_0_so_the_second_step_is_of_ties_too() -> None:
    steps = [a_step(step, accuracy, reward_margin=margin) for step, accuracy, margin in ((1, 0, 0), (2, 0, 0))]
    steps += [a_step(1, 0.0, Split.VALIDATION, reward_margin=0.0), a_step(3, 0.0, reward_margin=-0.2)]
    assert chart_points(steps, "Reward accuracy") == [StepValue(3, "training", 0.0)], "wrong ones are no ties"


def test_what_a_chart_of_two_replies_means_stands_above_it_and_is_drawn_whole() -> None:
    def charts() -> None:
        from db.models import Split, TrainingStep
        from ui.charts import training_curves

        steps = [
            TrainingStep(step=step, split=split, loss=0.5, logps_chosen=-5.0, logps_rejected=-6.0)
            for step in (1, 2)
            for split in Split
        ]
        training_curves(steps, best_step=2)

    page = drawn_by(charts)
    told = html(page)
    assert told.count("</b>training</span>") == told.count("</b>validation</span>") == 2
    assert told.count("</i>chosen reply</span>") == told.count("</i>rejected reply</span>") == 1
    drawn = page.get("arrow_vega_lite_chart") or page.get("vega_lite_chart")
    assert len(drawn) == 2
    for chart in drawn:
        lines = json.loads(chart.proto.spec)["layer"][0]["encoding"]
        assert lines["color"]["legend"] is None
        assert lines["strokeDash"].get("legend") is None


def test_why_a_training_ended_early_is_said_once(database: Path) -> None:
    run_id = a_watched_run()
    with session() as s:
        s.get_one(TrainingRun, run_id).stopped = "Replies are half as long."
    page = opened()
    assert said(page).count("Replies are half as long") == 1
    assert "Stopped early: Replies are half as long." in said(page)


def test_both_replies_of_a_pair_are_lines_of_one_chart() -> None:
    found = chart_points([a_step(1, logps_chosen=-5.0, logps_rejected=-6.0)], "Log-probability")
    assert {point.line: point.value for point in found} == {"training, chosen": -5.0, "training, rejected": -6.0}


def test_every_curve_has_its_place_and_its_note() -> None:
    assert {name for names in CURVE_TABS.values() for name in names} == set(CURVES) == set(CURVE_NOTES)


def test_the_time_left_comes_from_the_steps_so_far() -> None:
    run = TrainingRun(status=RunStatus.RUNNING, total=10)
    steps = [a_step(step, seconds=30.0 * step) for step in range(1, 5)]
    assert minutes_left(run, steps) == 3.0
    assert minutes_left(run, steps[:2]) is None
    run.status = RunStatus.SUCCEEDED
    assert minutes_left(run, steps) is None


def test_models_out_of_use_are_not_offered(s: Session) -> None:
    from db.models import now

    made, by, _, base = a_snapshot(s)
    a_model(s, made)
    base.retired_at = now()
    retired = base.name
    HERE.update(project=made.id, by=by.id)
    s.commit()
    page = opened()
    assert retired not in next(one for one in page.selectbox if one.label == "Start from").options
