"""The benchmark of training makes its rows and its figures right; how fast anything is, is never asserted."""

import json
import signal
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmarks import training as benchmark
from benchmarks.contestants import ClockListener, PhaseClock, TrainingFigures, read_dataclass
from benchmarks.measuring import ContestantFailed, run_contestant
from benchmarks.training import compare_runs, make_recipe, make_task_folder, ratio, run_training, sample_pairs
from db.models import Split
from errors import Refused, TrainingFailed
from files import write_json
from training.data.rows import FrozenRow, Rows
from training.trainer.run_folder import RunFolder, SampleReport, StepReport

DONE = TrainingFigures(
    steps=48,
    whole_s=100.0,
    cpu_s=180.0,
    steps_s=80.0,
    merging_s=0.0,
    parts={"steps": 80.0},
    train_loss=0.5,
    validation_loss=0.6,
    validation_accuracy=0.75,
    peak_memory_mb=4000,
    device="CPU",
)


def words(row: FrozenRow) -> float:
    """Stands in for a tokenizer: mean words of a row's two sides."""
    prompt = sum(len(turn["content"].split()) for turn in row.prompt)
    return prompt + sum(len(reply[0]["content"].split()) for reply in (row.chosen, row.rejected)) / 2


def of_sample(*, pairs: int = 64, validation: int = 12, tokens: int = 170) -> Rows:
    return sample_pairs(pairs=pairs, validation=validation, tokens=tokens, length=words)


def test_the_rows_are_whole_texts_of_the_sample_and_said_to_be_simulated() -> None:
    rows = of_sample()
    assert {split: len(some) for split, some in rows.items()} == {Split.TRAIN: 64, Split.VALIDATION: 12}
    every = [row for some in rows.values() for row in some]
    assert len({row.prompt_id for row in every}) == 76
    assert all(row.simulated and row.reviewer.endswith("(simulated)") for row in every)
    assert all(row.prompt[0]["role"] == "system" for row in every)
    assert all(row.prompt[0]["content"].endswith("Sign as Merrowby Books.") for row in every)
    assert abs(sum(map(words, every)) / len(every) - 170) < 10


def test_the_same_rows_come_every_time() -> None:
    assert of_sample() == of_sample()


def test_short_rows_are_made_by_cutting_every_text() -> None:
    rows = of_sample(pairs=4, validation=2, tokens=40)
    every = [row for some in rows.values() for row in some]
    assert len(every) == 6
    assert sum(map(words, every)) / len(every) < 44
    assert all(len(row.prompt[0]["content"].split()) < 30 for row in every)


def test_more_pairs_than_the_rule_decides_are_refused() -> None:
    with pytest.raises(Refused, match="152 were asked for"):
        of_sample(pairs=140)


def test_the_rule_and_not_the_samples_own_pick_says_which_is_better() -> None:
    from examples import simulated

    for row in of_sample()[Split.TRAIN]:
        email = row.prompt[1]["content"]
        better, worse = (
            simulated.score_reply(email, reply[0]["content"], finish_reason=None)
            for reply in (row.chosen, row.rejected)
        )
        assert better >= worse + 1


@pytest.mark.parametrize(("pairs", "epochs", "warmup"), [(64, 3, 3), (4, 1, 0), (40, 1, 2)])
def test_a_short_training_warms_up_less_and_none_stops_early(pairs: int, epochs: float, warmup: int) -> None:
    recipe = make_recipe(pairs=pairs, epochs=epochs, seed=0)
    assert (recipe.warmup_steps, recipe.rpo_alpha, recipe.stop_early) == (warmup, 0.0, False)


def test_each_contestant_gets_a_folder_of_its_own_and_the_same_task(tmp_path: Path) -> None:
    rows, recipe = of_sample(pairs=4, validation=2), make_recipe(pairs=4, epochs=1, seed=3)
    both = [make_task_folder(tmp_path, name, rows, model="base", recipe=recipe, most=60) for name in ("plain", "cold")]
    assert [one.name for one in both] == ["plain", "cold"]
    first, second = (RunFolder(one).input() for one in both)
    assert first == second
    assert (first.seed, first.kept, first.sample_tokens) == (3, str(tmp_path / "reference"), 60)


def a_step(step: int, split: Split = Split.TRAIN, loss: float = 0.6) -> StepReport:
    return StepReport(split, step, 2, loss, 0.1, 0.75, -10.0, -12.0, 1e-4, 1.0)


def used() -> tuple[float, int]:
    """The real one loads torch."""
    return 180.0, 4000


def test_every_second_is_put_down_to_what_it_went_into() -> None:
    now = iter(range(10, 200, 10))
    timed = ClockListener(PhaseClock(started=0.0, now=lambda: float(next(now))), used)
    timed.stage("Loading the model")  # 10
    timed.stage("Scoring the pairs with the reference model, 0 of 6")  # 20
    timed.stage("Scoring the pairs with the reference model, 6 of 6")  # 30
    timed.stage("Training")  # 40
    timed.stage("Writing sample replies")  # 50
    timed.report(SampleReport(0, 1, 7, "Hello", 1, True))  # 60
    timed.stage("Training")  # 70
    timed.report(a_step(1))  # 80
    timed.report(a_step(2, loss=0.5))  # 90
    timed.report(a_step(2, Split.VALIDATION))  # 100
    timed.report(SampleReport(2, 1, 7, "Hello", 1, True))  # 110
    timed.stage("Training")  # 120
    timed.stage("Merging the adapter into the model")  # 130
    done = timed.figures(device="CPU")  # 140
    assert done.parts == {
        "before the first step": 40.0,
        "reference": 20.0,
        "sample replies": 20.0,
        "steps": 20.0,
        "evaluations": 10.0,
        "keeping the best": 20.0,
        "merging": 10.0,
    }
    assert (done.whole_s, done.steps_s, done.merging_s) == (100.0, 20.0, 10.0)
    assert (done.steps, done.looks, done.samples) == (2, 1, 2)
    assert (done.train_loss, done.validation_loss, done.validation_accuracy) == (0.5, 0.6, 0.75)
    assert (done.peak_memory_mb, done.cpu_s) == (4000, 180.0)


def test_a_training_that_was_not_looked_at_in_the_end_gives_no_figures() -> None:
    timed = ClockListener(used=used)
    for said in (a_step(1), a_step(1, Split.VALIDATION), a_step(2)):
        timed.report(said)
    with pytest.raises(TrainingFailed, match="did not end with a look"):
        timed.figures(device="CPU")


def test_the_ratio_is_of_all_rounds_together() -> None:
    assert ratio([replace(DONE, whole_s=10.0), replace(DONE, whole_s=50.0)], [DONE, replace(DONE, whole_s=20.0)]) == 0.5


def test_the_aims_are_answered_with_yes_or_no() -> None:
    cold, kept = replace(DONE, whole_s=51.0, validation_loss=0.611), replace(DONE, whole_s=50.0, validation_loss=0.613)
    report = compare_runs({"plain": [DONE], "cold": [cold], "kept": [kept]}, tokens=8000)
    assert [(row["found"], row["met"]) for row in report["wanted"]] == [
        (0.51, "no"),
        (0.0183, "yes"),
        (0.5, "yes"),
        (0.0217, "no"),
    ]
    assert report["tokens_per_second_in_steps"]["plain"] == 100.0
    assert report["over_plain"]["cold"] == {"cpu_seconds": 1.0, "seconds_in_steps": 1.0}


def test_figures_survive_the_way_between_processes(tmp_path: Path) -> None:
    write_json(tmp_path / "done.json", asdict(DONE))
    assert read_dataclass(TrainingFigures, tmp_path / "done.json") == DONE


@pytest.fixture
def _no_model(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Without a tokenizer; and signals go on as before, which the benchmark takes to itself."""
    before = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGHUP)}

    def rows(model: str, *, pairs: int, validation: int, tokens: int) -> tuple[Rows, int]:
        return of_sample(pairs=pairs, validation=validation), 2 * pairs * 60

    monkeypatch.setenv("PICKWELL_BASE_MODEL", "base")
    monkeypatch.setattr(benchmark, "_rows", rows)
    yield
    for one, handler in before.items():
        signal.signal(one, handler)


def run(*arguments: str) -> tuple[int, dict[str, Any]]:
    import typer

    app = typer.Typer()
    app.command()(benchmark.main)
    done = CliRunner().invoke(app, list(arguments))
    return done.exit_code, json.loads(done.stdout)


@pytest.mark.usefixtures("_no_model")
def test_the_contestants_take_turns_and_the_first_of_each_round_finds_nothing_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    turns = []

    def trained(name: str, folder: Path) -> TrainingFigures:
        kept = Path(RunFolder(folder).input().kept or "")
        turns.append((name, benchmark.CONTESTANTS[name], kept.exists()))
        if name != "plain":
            kept.mkdir(exist_ok=True)
        return DONE

    monkeypatch.setattr(benchmark, "run_training", trained)
    status, report = run("--pairs", "4", "--epochs", "1", "--validation", "2", "--rounds", "2")
    one_round = [("plain", "plain_trl", False), ("cold", "trainer", False), ("kept", "trainer", True)]
    assert turns == [*one_round, *one_round]
    assert (status, report["finished"]) == (0, True)
    assert [len(some) for some in report["runs"].values()] == [2, 2, 2]
    assert report["work"]["picks"] == "by the written rule (simulated)"
    assert report["work"]["tokens_a_side"] == 60.0


@pytest.mark.usefixtures("_no_model")
def test_what_was_measured_is_printed_though_a_later_contestant_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def trained(name: str, folder: Path) -> TrainingFigures:
        if name == "kept":
            raise ContestantFailed("kept gave no figures.")
        return DONE

    monkeypatch.setattr(benchmark, "run_training", trained)
    status, report = run("--pairs", "4", "--epochs", "1", "--validation", "2")
    assert (status, report["finished"]) == (1, False)
    assert report["runs"]["cold"] == [asdict(DONE)]
    assert "wanted" not in report


def test_a_contestant_that_fails_shows_the_end_of_its_log(tmp_path: Path) -> None:
    with pytest.raises(ContestantFailed, match=r"(?s)trainer gave no figures.*run\.json"):
        run_contestant("trainer", tmp_path, patience=60)


@pytest.mark.slow
def test_both_train_the_same_on_a_small_real_model(tiny: Path, tmp_path: Path) -> None:
    recipe = replace(make_recipe(pairs=8, epochs=1, seed=0), learning_rate=1e-3)
    rows = of_sample(pairs=8, validation=4, tokens=40)
    plain, cold = (
        run_training(name, make_task_folder(tmp_path, name, rows, model=str(tiny), recipe=recipe, most=4))
        for name in ("plain", "cold")
    )
    assert plain.steps == cold.steps == 2
    assert cold.validation_loss == pytest.approx(plain.validation_loss, rel=0.02)
    assert (cold.looks, cold.samples) == (2, 9)
    for one in (plain, cold):
        assert 0 < one.steps_s < one.whole_s
        assert min(one.cpu_s, one.peak_memory_mb) > 0
        assert sum(one.parts.values()) >= one.whole_s - 1e-2
    assert cold.merging_s > 0
    assert list((tmp_path / "reference").glob("*.jsonl"))
