"""Public benchmarks: what differences on the same examples show, task files, runs, the screen; one real lm-eval."""

import json
import math
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Barrier
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.orm import Session

import cli
from db.models import (
    Adapter,
    BenchmarkRun,
    BenchmarkScore,
    ModelVersion,
    Project,
    Responder,
    ResponderKind,
    Reviewer,
    Role,
    RunStatus,
    now,
)
from db.session import reading, session
from errors import BadFile, BrokenModel, NotAllowed, NotFound, PickwellError, Refused
from eval.benchmarks import measure as measuring
from eval.benchmarks.findings import compare_with_references, load_scores, newest_scores
from eval.benchmarks.measure import (
    BenchmarkFailed,
    BenchmarkRequest,
    LoadedTask,
    ReportProgress,
    TaskFailed,
    TaskScores,
    ask,
    describe_measurement,
    hub_answers,
    load_task,
)
from eval.benchmarks.runs import (
    BenchmarkTarget,
    find_earlier_runs,
    find_model,
    list_benchmark_runs,
    request_benchmark,
    run,
)
from eval.benchmarks.scores import list_scores
from eval.benchmarks.tasks import (
    DEFAULT,
    EXAMPLES,
    PRESETS,
    clean_tasks,
    memory_caution,
    minutes,
    read_task_file,
    task_label,
)
from jobs.progress import RunLost, unmanaged_progress
from jobs.runs import cancel_run, retry_run
from release.card import build_card
from release.versions import find_use, retire
from stats.paired import (
    IncomparableScores,
    Score,
    ScoreChange,
    ScoreDifference,
    mcnemar_p_value,
    score_difference,
    score_differences,
)
from tests.app_pages import open_page, press, said
from tests.factories import a_human, a_project, a_reviewer, of_kind, saved, sure
from tests.trained_models import a_folder, a_training

LIBRARY = "lm-eval 9.9, float32 on a CPU"


def a_score(values: Sequence[float], *, task: str = "arc_easy", asked: str = "abcd", **changes: Any) -> Score:
    """A Score with these values of examples 0, 1, …"""
    found = Score(
        task=task,
        metric="acc",
        value=math.fsum(values) / max(1, len(values)),
        standard_error=0.05,
        examples=len(values),
        higher_is_better=True,
        by_example={f"{asked}-{n:04}": value for n, value in enumerate(values)},
        measured_by=LIBRARY,
    )
    return replace(found, **changes)


def told(reference: Score, model: Score) -> ScoreDifference:
    return of_kind(ScoreDifference, score_difference(reference, model))


def right(wrong: int, of: int = 100, first: int = 0) -> list[float]:
    """So many examples answered right but for ``wrong`` of them from ``first`` on."""
    return [0.0 if first <= n < first + wrong else 1.0 for n in range(of)]


SHARES = st.lists(st.tuples(st.sampled_from([0.0, 1.0]), st.sampled_from([0.0, 1.0])), min_size=2, max_size=60)
NUMBERS = st.lists(st.tuples(*[st.floats(-1e3, 1e3, allow_nan=False)] * 2), min_size=2, max_size=60)


@given(st.one_of(SHARES, NUMBERS))
def test_swapping_the_models_turns_every_sign(pairs: list[tuple[float, float]]) -> None:
    one, two = a_score([a for a, _ in pairs]), a_score([b for _, b in pairs])
    there, back = told(one, two), told(two, one)
    assert there.difference == pytest.approx(-back.difference, abs=1e-9)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low), abs=1e-9)
    assert there.p == back.p
    turned = {
        ScoreChange.LOST: ScoreChange.GAINED,
        ScoreChange.GAINED: ScoreChange.LOST,
        ScoreChange.NOT_SHOWN: ScoreChange.NOT_SHOWN,
    }
    assert there.outcome is turned[back.outcome]


@given(st.lists(st.sampled_from([0.0, 1.0]), min_size=2, max_size=200))
def test_equal_answers_differ_by_nothing_and_still_hide_a_loss(values: list[float]) -> None:
    found = told(a_score(values), a_score(values))
    assert (found.difference, found.p, found.outcome) == (0.0, 1.0, ScoreChange.NOT_SHOWN)
    assert found.low == -found.high
    assert found.hidden > 2 / len(values) / 2, "never certain, however equal"
    assert "could be hidden" in found.sentence


@given(SHARES)
def test_the_difference_lies_in_its_interval_and_that_in_what_is_possible(pairs: list[tuple[float, float]]) -> None:
    found = told(a_score([a for a, _ in pairs]), a_score([b for _, b in pairs]))
    assert -1 <= found.low <= found.difference <= found.high <= 1


def test_the_interval_of_shares_is_bonett_and_prices() -> None:
    # 8 lost and 2 gained of 100; their formula with its four cells, written out anew
    found = told(a_score([*[1.0] * 60, *[0.0] * 40]), a_score([*[0.0] * 8, *[1.0] * 54, *[0.0] * 38]))
    lost, gained = (8 + 1) / 102, (2 + 1) / 102
    half = 1.959964 * math.sqrt((lost + gained - (gained - lost) ** 2) / 102)
    assert (found.low, found.high) == pytest.approx((gained - lost - half, gained - lost + half), abs=1e-6)
    assert (found.only_reference, found.only_value) == (8, 2)
    assert found.p == pytest.approx(2 * sum(math.comb(10, k) for k in range(3)) / 2**10)
    assert found.outcome is ScoreChange.NOT_SHOWN
    assert found.sentence == (
        "no difference that 100 examples can show (±6.6 points): a loss of up to 12.4 points could be hidden"
    )


def test_a_clear_loss_and_a_clear_gain_are_called_so() -> None:
    lost = told(a_score(right(10)), a_score(right(40)))
    assert lost.outcome is ScoreChange.LOST
    assert lost.difference == pytest.approx(-0.3)
    assert lost.sentence.startswith("lost 30.0 points on 100 examples (95 % interval -")
    gained = told(a_score(right(40)), a_score(right(10)))
    assert gained.outcome is ScoreChange.GAINED
    assert gained.sentence.startswith("gained 30.0 points")
    worse = told(*(a_score(right(n), higher_is_better=False) for n in (10, 40)))
    assert worse.outcome is ScoreChange.GAINED, "fewer is better there"


def test_pairs_show_what_two_means_apart_could_not() -> None:
    # each of 100 values falls by 0.02; the values themselves spread over all of [0, 0.9]
    values = [n % 90 / 100 + 0.05 for n in range(100)]
    found = told(a_score(values), a_score([value - 0.02 for value in values]))
    assert found.p is None
    assert found.difference == pytest.approx(-0.02)
    assert found.high - found.low < 0.06


def test_numbers_without_bounds_have_students_interval() -> None:
    found = told(a_score([10, 20, 30, 40]), a_score([11, 23, 32, 46]))
    # differences 1, 3, 2, 6: mean 3, standard deviation 2.1602, t(3) 3.18245
    assert (found.difference, found.low, found.high) == pytest.approx((3, 3 - 3.43736, 3 + 3.43736), abs=1e-4)
    assert not found.share
    assert found.sentence == "no difference that 4 examples can show (±3.44): a loss of up to 0.437 could be hidden"


def test_mcnemars_test_is_the_binomial_one() -> None:
    assert mcnemar_p_value(0, 0) == 1.0
    assert mcnemar_p_value(10, 0) == pytest.approx(2 / 2**10)
    assert mcnemar_p_value(3, 7) == mcnemar_p_value(7, 3)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"measured_by": "lm-eval 8.0, float32 on a CPU"}, "measured with lm-eval 9.9.*other with lm-eval 8.0"),
        ({"by_example": None}, "no value for each example"),
        ({"by_example": {f"ffff-{n:04}": 1.0 for n in range(100)}}, "two versions or in other words"),
        ({"by_example": {f"abcd-{n:04}": 1.0 for n in range(50)}}, "100 examples here and 50 there"),
        ({"by_example": {f"abcd-{n + 7:04}": 1.0 for n in range(100)}}, "the examples differ"),
        ({"higher_is_better": False}, "nothing can be paired"),
    ],
)
def test_what_is_not_of_the_same_examples_is_refused_with_the_reason(change: dict[str, Any], reason: str) -> None:
    found = of_kind(IncomparableScores, score_difference(a_score(right(3), **change), a_score(right(5))))
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(found.reason)


def test_one_example_shows_nothing() -> None:
    of_kind(IncomparableScores, score_difference(a_score([1.0]), a_score([0.0])))


def test_the_newest_two_that_fit_are_compared_and_a_task_of_one_side_is_named() -> None:
    old, new = a_score(right(5, of=50)), a_score(right(5, of=80))
    other = a_score(right(1), task="mmlu")
    compared, lone = score_differences([new, old], [a_score(right(9, of=50)), other])
    assert isinstance(compared, ScoreDifference)
    assert compared.examples == 50
    assert isinstance(lone, IncomparableScores)
    assert (lone.task, "only one of the two" in lone.reason) == ("mmlu", True)


QUESTIONS: list[dict[str, Any]] = [
    {"question": f"What is {n} + {n}?", "choices": ["blue", str(2 * n), "a fish"], "answer": 1} for n in range(10)
]


def a_task(
    folder: Path, *, name: str = "sums", rows: Sequence[object] = QUESTIONS, text: str = "", **more: str
) -> Path:
    """A task file with its data beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": "{data_files: {test: questions.jsonl}}",
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": '"Question: {{question}}\\nAnswer:"',
        "doc_to_target": '"{{answer}}"',
        "doc_to_choice": '"{{choices}}"',
        "metadata": "{version: 1.0}",
    } | more
    file = folder / f"{name}.yaml"
    file.write_text(text or "".join(f"{key}: {value}\n" for key, value in lines.items() if value))
    return file


def test_a_task_file_names_its_data_by_whole_paths(tmp_path: Path) -> None:
    file = a_task(tmp_path)
    assert clean_tasks([" arc_easy ", "", str(file), "arc_easy"]) == ["arc_easy", str(file)]
    assert task_label(str(file)) == "sums"
    assert read_task_file(str(file))["dataset_kwargs"] == {"data_files": {"test": str(tmp_path / "questions.jsonl")}}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"text": "task: [sums\n"}, r"sums.yaml is no YAML that can be read at line \d"),
        ({"text": "- a list\n"}, "has no line “task: name”"),
        ({"name": "sums", "text": "task: my sums\n"}, "has no line “task: name”"),
        ({"process_docs": "!function utils.run"}, r"brings program code \(!function\)"),
        ({"class": "utils.Task"}, r"brings program code \(class\)"),
        ({"include": "other.yaml"}, "includes another file"),
        ({"dataset_path": "someone/data"}, "does not say where its data is"),
        ({"dataset_kwargs": "{data_files: {test: gone.jsonl}}"}, "gone.jsonl, and there is no such file"),
        ({"dataset_kwargs": "{data_files: {test: [a, b]}}"}, "one file for each split"),
        ({"test_split": ""}, "as test_split or validation_split"),
        ({"test_split": "exam"}, "as test_split or validation_split"),
        ({"rows": []}, "questions.jsonl is empty"),
        ({"rows": ["text"]}, "questions.jsonl is no JSONL"),
        ({"metric_list": "[{metric: bleu, hf_evaluate: true}]"}, "fetched as program code"),
        ({"metric_list": "5"}, "metric_list"),
        ({"generation_kwargs": "{custom_generate: ., trust_remote_code: true}"}, "custom_generate"),
        ({"generation_kwargs": "greedy"}, "generation_kwargs"),
        ({"dataset_kwargs": "questions.jsonl"}, "does not say where its data is"),
        ({"dataset_kwargs": "{data_files: {1: questions.jsonl}}"}, "one file for each split"),
        ({"dataset_kwargs": '{data_files: {test: "a\\0b"}}'}, "there is no such file"),
        ({"dataset_kwargs": "{data_files: {test: ~nobody-here/x}}"}, "there is no such file"),
        ({"test_split": "[test]"}, "as test_split or validation_split"),
        ({"text": "task: " + "[" * 9000}, "no YAML that can be read"),
        ({"text": "#" * 1_000_001}, "too large for a task file"),
    ],
)
def test_a_task_file_that_cannot_work_is_refused_with_one_sentence(
    tmp_path: Path, given: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(BadFile, match=sentence):
        clean_tasks([str(a_task(tmp_path, **given))])


def test_names_that_cannot_be_and_files_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no task file"):
        clean_tasks([str(tmp_path / "gone.yaml")])
    for impossible in ("/" + "a" * 400 + ".yaml", "~nobody-here/task.yaml", "/tmp/a\0b.yaml"):
        with pytest.raises(NotFound, match="no task file"):
            clean_tasks([impossible])
    with pytest.raises(Refused, match="no name of a task"):
        clean_tasks(["arc easy; rm"])
    with pytest.raises(Refused, match="at least one"):
        clean_tasks(["", " "])
    one, two = a_task(tmp_path / "a"), a_task(tmp_path / "b")
    with pytest.raises(Refused, match="one name"):
        clean_tasks([str(one), str(two)])


def test_the_usual_benchmarks_take_minutes_and_more_examples_or_a_larger_model_longer() -> None:
    usual = minutes(DEFAULT, examples=EXAMPLES, parameters=135)
    assert 2 < usual < 12
    assert minutes(DEFAULT, examples=4 * EXAMPLES, parameters=None) > 2 * usual
    assert minutes(DEFAULT, examples=EXAMPLES, parameters=1000) > 2 * usual
    assert len({one.task for one in PRESETS}) == len(PRESETS)
    assert set(DEFAULT) <= {one.task for one in PRESETS}


def test_a_model_that_hardly_fits_is_told_beforehand() -> None:
    assert memory_caution([(135, False), (None, False)], free_mb=4000) is None
    assert "about 28.2 GB of memory and 15.6 are free" in (memory_caution([(7135, False)], free_mb=16_000) or "")
    assert memory_caution([(7135, True)], free_mb=16_000) is None


def a_result(values: Mapping[str, Sequence[Mapping[str, Any]]], **more: Any) -> dict[str, Any]:
    """What lm-eval gives back for tasks with these metrics of each example."""
    results = {
        task: {
            "alias": task,
            "sample_len": len(rows),
            **{f"{name},none": 0.5 for name in rows[0]},
            **{f"{name}_stderr,none": 0.1 for name in rows[0]},
        }
        for task, rows in values.items()
    }
    samples = {
        task: [{"filter": "none", "doc_hash": f"{task} {n}", "target_hash": "t", **row} for n, row in enumerate(rows)]
        for task, rows in values.items()
    }
    return {
        "results": results,
        "samples": samples,
        "configs": {task: {"doc_to_text": "{{q}}", "metadata": {"config_source": "/home/ana"}} for task in values},
        "versions": dict.fromkeys(values, 1.0),
        "n-shot": dict.fromkeys(values, 0),
        "n-samples": {task: {"original": 99, "effective": len(rows)} for task, rows in values.items()},
        "higher_is_better": {task: {"acc": True, "brier": False} for task in values},
    } | more


def test_scores_have_a_value_for_each_example_under_a_hash_of_its_text() -> None:
    (found,) = list_scores(a_result({"arc": [{"acc": 1.0}, {"acc": 0.0}]}), "arc")
    assert (found.task, found.metric, found.value, found.standard_error, found.examples) == ("arc", "acc", 0.5, 0.1, 2)
    assert found.by_example is not None
    assert list(found.by_example.values()) == [1.0, 0.0]
    moved = a_result({"arc": [{"acc": 1.0}, {"acc": 0.0}]})
    moved["configs"]["arc"]["metadata"] = {"config_source": "/home/ben"}
    assert list_scores(moved, "arc")[0].by_example == found.by_example, "where a file lies does not count"


@pytest.mark.parametrize("change", ["version", "words", "chat"])
def test_another_version_other_words_or_the_chat_template_make_it_another_question(change: str) -> None:
    result = a_result({"arc": [{"acc": 1.0}, {"acc": 0.0}]})
    (before,) = list_scores(result, "arc")
    if change == "version":
        result["versions"]["arc"] = 2.0
    if change == "words":
        result["configs"]["arc"]["doc_to_text"] = "Q: {{q}}"
    if change == "chat":
        result["chat_template"] = "{{messages}}"
    (after,) = list_scores(result, "arc")
    refused = of_kind(IncomparableScores, score_difference(before, after))
    assert "two versions or in other words" in refused.reason


def test_other_examples_shown_before_a_question_make_it_another_one() -> None:
    def keys(prompt: str, *, by_chat: bool) -> set[str]:
        result = a_result({"arc_easy": [{"acc": 1.0}]})
        result["samples"]["arc_easy"][0]["prompt_hash"] = prompt
        result["chat_template"] = "{{messages}}" if by_chat else None
        (found,) = list_scores(result, "arc_easy")
        return set(found.by_example or ())

    assert keys("one", by_chat=False) == keys("one", by_chat=False) != keys("two", by_chat=False)
    assert keys("one", by_chat=True) == keys("two", by_chat=True), "chat templates may hold the day"


def test_a_question_asked_twice_counts_twice_and_a_pair_of_numbers_is_no_value() -> None:
    result = a_result({"arc": [{"acc": 1.0, "brier": (0, 0.3)}, {"acc": 0.0, "brier": (1, 0.2)}]})
    for sample in result["samples"]["arc"]:
        sample["doc_hash"] = "the same"
    acc, brier = list_scores(result, "arc")
    assert acc.by_example is not None
    assert len(acc.by_example) == 2
    assert (brier.by_example, brier.higher_is_better) == (None, False)


def test_a_group_with_one_score_is_pooled_over_its_tasks() -> None:
    result = a_result({"a": [{"acc": 1.0}, {"acc": 0.0}], "b": [{"acc": 1.0}]})
    result["groups"] = {"mmlu": {"alias": "mmlu", "acc,none": 0.66, "acc_stderr,none": 0.2}}
    (found,) = list_scores(result, "mmlu")
    assert (found.task, found.value, found.standard_error, found.examples) == ("mmlu", 0.66, 0.2, 3)
    result["groups"]["mmlu"]["acc_stderr,none"] = "N/A"
    assert list_scores(result, "mmlu")[0].standard_error == pytest.approx(math.sqrt(1 / 3) / math.sqrt(3))
    assert found.by_example is not None
    assert len(found.by_example) == 3


def test_a_second_way_of_reading_answers_is_a_metric_of_its_own() -> None:
    result = a_result({"gsm8k": [{"exact_match": 1.0}]})
    result["results"]["gsm8k"] |= {"exact_match,flexible": 0.9, "exact_match_stderr,flexible": "N/A"}
    result["samples"]["gsm8k"].append({"filter": "flexible", "doc_hash": "d", "target_hash": "t", "exact_match": 0.0})
    one, two = list_scores(result, "gsm8k")
    assert (one.metric, two.metric, two.standard_error) == ("exact_match", "exact_match (flexible)", None)
    assert two.by_example is not None
    assert list(two.by_example.values()) == [0.0]


def a_pair(s: Session, tmp_path: Path) -> tuple[Project, Reviewer, ModelVersion]:
    """A project, its manager, and a model with the base that it was made from."""
    project = a_project(s)
    by = a_reviewer(s, project)
    base = saved(s, ModelVersion, name="Base", location=str(a_folder(tmp_path / "base")))
    model = saved(
        s, ModelVersion, name="Tuned", location=str(a_folder(tmp_path / "tuned", b"tuned")), parent_id=base.id
    )
    return project, by, model


def asked(s: Session, project: Project, by: Reviewer, version: ModelVersion, *tasks: str, **more: Any) -> BenchmarkRun:
    given = {"tasks": tasks or ("arc_easy", "mmlu"), "examples": 100, **more}
    return request_benchmark(s, by=by.id, project_id=project.id, model_version_id=version.id, **given)


def test_only_a_manager_asks_and_the_same_is_not_asked_twice(s: Session, tmp_path: Path) -> None:
    project, by, model = a_pair(s, tmp_path)
    annotator = a_reviewer(s, project, Role.ANNOTATOR)
    with pytest.raises(NotAllowed):
        asked(s, project, annotator, model)
    one = asked(s, project, by, model)
    assert (one.status, one.tasks, one.examples, one.quantised) == (RunStatus.QUEUED, ["arc_easy", "mmlu"], 100, False)
    with pytest.raises(Refused, match="Tuned is being asked this already"):
        asked(s, project, by, model, "mmlu", "arc_easy")
    asked(s, project, by, model, quantised=True)
    asked(s, project, by, model, examples=200)
    runs, target = list_benchmark_runs(s, model_version_ids=[model.id]), BenchmarkTarget(model)
    for tasks, found in ((["mmlu"], one), (["mmlu", "hellaswag"], None)):
        assert find_earlier_runs(runs, [target], tasks=tasks, examples=100).get(target) is found
    assert find_use(s, model) == f"benchmark run {one.id}"


def test_what_was_measured_otherwise_since_or_of_a_task_file_that_changed_can_be_asked_again(
    s: Session, tmp_path: Path
) -> None:
    project, by, model = a_pair(s, tmp_path)
    assert model.parent is not None
    file = str(a_task(tmp_path / "own"))
    sums, easy, target = a_score(right(3), task=file), a_score(right(3)), BenchmarkTarget(model)

    def there(*tasks: str) -> BenchmarkRun | None:
        runs = list_benchmark_runs(s, model_version_ids=[model.id, model.parent_id or 0])
        return find_earlier_runs(runs, [target], tasks=tasks, examples=100).get(target)

    old = a_measured(s, project, by, model, sums, easy)
    old.started_at = now()
    s.flush()
    assert there("arc_easy") is there(file) is old
    (tmp_path / "own" / "questions.jsonl").write_text(json.dumps(QUESTIONS[0]))
    later = now() + timedelta(seconds=5)
    os.utime(tmp_path / "own" / "questions.jsonl", (later.timestamp(), later.timestamp()))
    assert (there("arc_easy"), there(file)) == (old, None)
    newer = a_measured(s, project, by, model.parent, easy)
    newer.measured_by = "lm-eval 10"
    s.flush()
    assert there("arc_easy") is None


@pytest.mark.both_databases
def test_the_same_that_two_tabs_ask_for_at_once_is_asked_once(database: Path, tmp_path: Path) -> None:
    with session() as s:
        project, by, model = a_pair(s, tmp_path)
    start = Barrier(4, timeout=60)

    def ask(_: int) -> bool:
        start.wait()
        try:
            with session() as s:
                asked(s, project, by, model)
        except Refused:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(ask, range(4))) == 1


def test_what_cannot_be_benchmarked_is_refused_with_one_sentence(s: Session, tmp_path: Path) -> None:
    project, by, model = a_pair(s, tmp_path)
    with pytest.raises(NotFound, match="Reload the page"):
        request_benchmark(s, by=by.id, project_id=project.id, model_version_id=999, tasks=["mmlu"], examples=10)
    with pytest.raises(Refused, match="between 1 and 100,000"):
        asked(s, project, by, model, examples=0)
    gone = saved(s, ModelVersion, name="Gone", location=str(tmp_path / "gone"))
    with pytest.raises(BrokenModel, match="There is no model folder"):
        asked(s, project, by, gone)
    retire(s, by=by.id, project_id=project.id, model_version_id=model.id)
    with pytest.raises(Refused, match="Tuned is retired"):
        asked(s, project, by, model)


def test_a_model_is_found_by_its_name_or_its_responders_and_a_foreign_one_has_none(s: Session, tmp_path: Path) -> None:
    project, _, model = a_pair(s, tmp_path)
    own = {"project_id": project.id, "instructions": ""}
    s.add_all(
        [
            Responder(name="Answers", kind=ResponderKind.MODEL, model_version_id=model.id, **own),
            Responder(name="Far", kind=ResponderKind.REMOTE, endpoint_url="http://far/v1", endpoint_model="m", **own),
        ]
    )
    human = a_human(s, project)
    assert find_model(s, project_id=project.id, name="Tuned") is model
    assert find_model(s, project_id=project.id, name="Answers") is model
    for name in ("Far", human.name):
        with pytest.raises(Refused, match="no model with a folder on this machine"):
            find_model(s, project_id=project.id, name=name)
    with pytest.raises(NotFound, match="no model “Nobody”"):
        find_model(s, project_id=project.id, name="Nobody")


class Fake:
    """Measures without a model: these scores for each task, or a sentence why not."""

    def __init__(self, scores: Mapping[str, Sequence[Score] | str]) -> None:
        self.scores = scores
        self.request: BenchmarkRequest | None = None

    def __call__(
        self, request: BenchmarkRequest, say: ReportProgress
    ) -> Iterator[tuple[str, TaskScores | PickwellError]]:
        self.request = request
        for task in request.tasks:
            say(task, 1, 2)
            what = self.scores[task]
            yield task, TaskFailed(what) if isinstance(what, str) else TaskScores(what, {"seed": 1})


def carry(run_id: int, fake: Fake, *, by: str = LIBRARY) -> None:
    run(unmanaged_progress("benchmark", run_id), fake, lambda: by)


def started(tmp_path: Path, *tasks: str, **more: Any) -> tuple[int, int]:
    """Ids of a queued run and of whoever asked for it."""
    with session() as s:
        project, by, model = a_pair(s, tmp_path)
        return asked(s, project, by, model, *tasks, **more).id, by.id


@pytest.mark.both_databases
def test_each_tasks_scores_are_kept_and_only_what_failed_is_asked_again(database: Path, tmp_path: Path) -> None:
    run_id, by = started(tmp_path)
    easy, hard = a_score(right(3)), a_score(right(9), task="mmlu")
    with pytest.raises(BenchmarkFailed, match=r"1 of 2 benchmarks are done and kept\. Its data is not here\."):
        carry(run_id, Fake({"arc_easy": [easy], "mmlu": "Its data is not here."}))
    with session() as s:
        row = s.get_one(BenchmarkRun, run_id)
        assert [(one.task, one.value, len(one.by_example or {})) for one in row.scores] == [("arc_easy", 0.97, 100)]
        assert row.measured_by == LIBRARY
        row.status = RunStatus.FAILED
        retry_run(s, by=by, run_id=run_id)
    again = Fake({"mmlu": [hard]})
    carry(run_id, again)
    assert again.request is not None
    assert again.request.tasks == ("mmlu",)
    with reading() as s:
        row = s.get_one(BenchmarkRun, run_id)
        assert row.status is RunStatus.SUCCEEDED
        found = load_scores(s, model_version_id=row.model_version_id)
        assert [replace(one, standard_error=0.05) for one in found] == [easy, hard]


def test_what_another_library_measured_is_measured_again(database: Path, tmp_path: Path) -> None:
    run_id, by = started(tmp_path)
    with pytest.raises(BenchmarkFailed):
        carry(run_id, Fake({"arc_easy": [a_score(right(3))], "mmlu": "No."}))
    with session() as s:
        s.get_one(BenchmarkRun, run_id).status = RunStatus.FAILED
        retry_run(s, by=by, run_id=run_id)
    newer = Fake({"arc_easy": [a_score(right(4))], "mmlu": [a_score(right(1), task="mmlu")]})
    carry(run_id, newer, by="lm-eval 10")
    assert newer.request is not None
    assert newer.request.tasks == ("arc_easy", "mmlu")
    with reading() as s:
        assert [one.value for one in s.get_one(BenchmarkRun, run_id).scores] == [0.96, 0.99]


def test_a_cancelled_run_keeps_nothing_more(database: Path, tmp_path: Path) -> None:
    run_id, by = started(tmp_path)
    progress = unmanaged_progress("benchmark", run_id)
    with session() as s:
        cancel_run(s, by=by, run_id=run_id)
    with pytest.raises(RunLost):
        run(progress, Fake({"arc_easy": [a_score(right(3))], "mmlu": []}), lambda: LIBRARY)
    with reading() as s:
        assert s.get_one(BenchmarkRun, run_id).scores == []


def test_a_folder_that_vanished_since_ends_the_run_with_a_sentence(database: Path, tmp_path: Path) -> None:
    run_id, _ = started(tmp_path)
    (tmp_path / "tuned" / "model.safetensors").unlink()
    with pytest.raises(PickwellError, match="pickled"):
        carry(run_id, Fake({}))


def test_an_adapter_that_was_never_merged_is_merged_first(database: Path, tmp_path: Path) -> None:
    with session() as s:
        project, by, model = a_pair(s, tmp_path)
        (tmp_path / "adapter").mkdir()
        added = saved(
            s,
            ModelVersion,
            name="Added",
            location=str(tmp_path / "merged"),
            adapter=Adapter.LORA,
            adapter_folder=str(tmp_path / "adapter"),
            parent_id=model.id,
        )
        run_id = asked(s, project, by, added, "mmlu").id
    fake = Fake({"mmlu": [a_score(right(1), task="mmlu")]})
    carry(run_id, fake)
    assert fake.request is not None
    assert fake.request.adapters == ((str(tmp_path / "tuned"), str(tmp_path / "adapter"), str(tmp_path / "merged")),)


class FakeManager:
    """lm-eval's list of tasks, whose data is nowhere to be had."""

    def __init__(self, problem: Exception) -> None:
        self.problem = problem
        entries = {
            "arc_easy": {"dataset_path": "allenai/ai2_arc", "dataset_name": "ARC-Easy"},
            "boolq": {"dataset_path": "super_glue"},
            "many": {"task": ["few", *(f"one_{n}" for n in range(5))]},
            "few": {"task": ["arc_easy"]},
            **{f"one_{n}": {"dataset_path": "allenai/ai2_arc", "dataset_name": f"Part-{n}"} for n in range(5)},
        }
        self.task_index = {name: SimpleNamespace(name=name, cfg=cfg, tags=set()) for name, cfg in entries.items()}
        self.all_tasks = list(self.task_index)

    def load(self, tasks: Sequence[object]) -> dict[str, Any]:
        raise self.problem


def why_not(asked: str, problem: Exception = ConnectionError("offline")) -> str:
    """The sentence with which a task is left out."""
    with pytest.raises(TaskFailed) as told:
        load_task(FakeManager(problem), asked, examples=10)
    return str(told.value)


def test_data_that_cannot_be_reached_is_named_with_the_line_that_fetches_it() -> None:
    why = why_not("arc_easy")
    assert why.startswith("The data of arc_easy is not on this machine and the Hugging Face hub cannot be reached.")
    assert "load_dataset('allenai/ai2_arc', 'ARC-Easy')" in why
    assert "HF_HOME" in why
    assert "load_dataset('super_glue')" in why_not("boolq", ValueError("Couldn't find cache for super_glue"))
    several = why_not("many")
    assert "[load_dataset('allenai/ai2_arc', name) for name in get_dataset_config_names('allenai/ai2_arc')]" in several
    assert "needs rouge_score, which is not" in why_not("boolq", ModuleNotFoundError("No module", name="rouge_score"))
    other = why_not("arc_easy", ValueError("metric list\nis broken"))
    assert other == "lm-eval cannot read its benchmark arc_easy (metric list). Choose another one."


def test_an_unknown_benchmark_is_named_with_what_may_be_meant() -> None:
    assert why_not("arc_eazy") == "lm-eval has no benchmark called arc_eazy. Did you mean arc_easy?"
    assert "no benchmark called zzz" in why_not("zzz")


OWN = LoadedTask("own.yaml", "own", {}, [], 1)


def failing(problem: Exception) -> Callable[[LoadedTask, Path], None]:
    """An lm-eval that raises this as it asks."""

    def evaluate(task: LoadedTask, folder: Path) -> None:
        raise problem

    return evaluate


def leaving(result: dict[str, Any]) -> Callable[[LoadedTask, Path], None]:
    """An lm-eval that leaves its files with this result."""

    def evaluate(task: LoadedTask, folder: Path) -> None:
        samples = result.pop("samples")
        (folder / "results_2026-01-01T00-00-00.json").write_text(json.dumps(result))
        for name, rows in samples.items():
            text = "".join(json.dumps(row) + "\n" for row in rows)
            (folder / f"samples_{name}_2026-01-01T00-00-00.jsonl").write_text(text)

    return evaluate


def test_a_template_that_fails_at_a_later_example_is_told_as_that_tasks_fault(tmp_path: Path) -> None:
    from jinja2 import UndefinedError

    with pytest.raises(TaskFailed) as told:
        ask(OWN, failing(UndefinedError("'choices' is undefined")), folder=tmp_path / "own")
    assert str(told.value) == "own cannot be asked ('choices' is undefined). The log says where."


def test_a_gpu_that_is_too_small_ends_the_run_with_a_sentence(tmp_path: Path) -> None:
    problem = type("OutOfMemoryError", (RuntimeError,), {})("Tried to allocate 2 GiB")
    with pytest.raises(BenchmarkFailed, match="GPU has too little memory") as told:
        ask(OWN, failing(problem), folder=tmp_path / "own")
    assert not isinstance(told.value, TaskFailed), "no other task would fit either"
    with pytest.raises(RuntimeError, match="device-side"):
        ask(OWN, failing(RuntimeError("device-side assert")), folder=tmp_path / "own")


def test_scores_are_read_from_lm_evals_files_and_not_from_an_earlier_attempts(tmp_path: Path) -> None:
    ask(OWN, leaving(a_result({"own": [{"acc": 0.0}]})), folder=tmp_path / "own")
    result = a_result({"own": [{"acc": 1.0}, {"acc": 0.0}]}, chat_template="{{messages}}")
    found = ask(OWN, leaving(result), folder=tmp_path / "own")
    (score,) = found.scores
    assert list((score.by_example or {}).values()) == [1.0, 0.0]
    assert found.about["chat_template"] is True
    with pytest.raises(BenchmarkFailed, match="could not write"):
        ask(OWN, lambda task, folder: None, folder=tmp_path / "own")


def test_a_benchmark_without_any_figure_has_failed(tmp_path: Path) -> None:
    result = a_result({"own": [{"acc": 1.0}]})
    result["results"]["own"] = {"alias": "own"}
    with pytest.raises(TaskFailed, match="own gave no figure"):
        ask(OWN, leaving(result), folder=tmp_path / "own")


def test_without_lm_eval_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "find_spec", lambda name: None)
    with pytest.raises(BenchmarkFailed, match=r"requirements/benchmarks\.txt” and try again"):
        describe_measurement()


def test_a_hub_that_does_not_answer_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert not hub_answers()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert not hub_answers()


def a_measured(
    s: Session, project: Project, by: Reviewer, version: ModelVersion, *scores: Score, quantised: bool = False
) -> BenchmarkRun:
    """A BenchmarkRun that found these scores."""
    done = BenchmarkRun(
        project_id=project.id,
        model_version_id=version.id,
        tasks=sorted({one.task for one in scores}),
        examples=100,
        quantised=quantised,
        measured_by=LIBRARY,
        requested_by_id=by.id,
        status=RunStatus.SUCCEEDED,
        finished_at=now(),
    )
    done.scores = [
        BenchmarkScore(
            task=one.task,
            metric=one.metric,
            value=one.value,
            standard_error=one.standard_error,
            examples=one.examples,
            higher_is_better=one.higher_is_better,
            by_example=dict(one.by_example or {}),
        )
        for one in scores
    ]
    s.add(done)
    s.flush()
    return done


def measured_models(s: Session, home: Path) -> tuple[Project, Reviewer, ModelVersion]:
    """A trained model that lost on ARC and shows nothing on HellaSwag, and in four bits the same as stored."""
    project = a_project(s)
    by = a_reviewer(s, project)
    version = sure(a_training(s, project, by, home).model_version)
    assert version.parent is not None
    hella = [a_score(right(n, first=n), task="hellaswag") for n in (20, 22)]
    a_measured(s, project, by, version.parent, a_score(right(10)), hella[0])
    a_measured(s, project, by, version, a_score(right(40)), hella[1])
    a_measured(s, project, by, version, a_score(right(40)), quantised=True)
    return project, by, version


def test_a_model_is_held_to_its_base_and_in_four_bits_to_itself(s: Session, home: Path) -> None:
    _, _, version = measured_models(s, home)
    base, four = compare_with_references(s, version=version)
    assert version.parent is not None
    assert (base.model, base.reference) == (version.name, version.parent.name)
    assert [(one.task, one.outcome) for one in base.differences] == [
        ("arc_easy", ScoreChange.LOST),
        ("hellaswag", ScoreChange.NOT_SHOWN),
    ]
    assert (four.model, four.reference) == (f"{version.name} in four bits", version.name)
    assert [one.difference for one in four.differences] == [0.0]
    assert [one.task for one in four.not_compared] == ["hellaswag"]
    assert [one.value for one in newest_scores(load_scores(s, model_version_id=version.id))] == [0.6, 0.78]


def test_the_screen_says_what_was_lost_and_what_could_be_hidden(database: Path, home: Path) -> None:
    with session() as s:
        project, by, _ = measured_models(s, home)
    page = open_page("trained_models", project_id=project.id, by=by.id)
    words = said(page)
    assert "Of 2 figures: 1 lost, 0 gained. 1 without a difference that so few examples can show" in words
    assert "Lost 30.0 points on 100 examples" in words
    assert "could be hidden" in words
    assert "only one of the two was measured on it" in words
    assert page.get("vega_lite_chart") or page.get("arrow_vega_lite_chart")


def test_the_screen_starts_what_was_not_asked_yet(database: Path, home: Path) -> None:
    with session() as s:
        project, by, version = measured_models(s, home)
        base_id = version.parent_id
    page = open_page("trained_models", project_id=project.id, by=by.id)
    (chosen,) = [one for one in page.multiselect if one.label == "Benchmarks"]
    chosen.set_value(["arc_easy", "hellaswag"]).run()
    assert "Asked all of this already, or about to be: Tuned," in said(page)
    (run_it,) = [one for one in page.button if one.label == "Run benchmarks"]
    assert run_it.disabled, "model and base have it all"
    next(one for one in page.checkbox if "four bits" in one.label).check().run()
    press(page, "Run benchmarks")
    (chosen,) = [one for one in page.multiselect if one.label == "Benchmarks"]
    chosen.set_value(["mmlu"]).run()
    assert "minutes in all on two CPU cores" in said(page)
    press(page, "Run benchmarks")
    with reading() as s:
        new = [
            one for one in list_benchmark_runs(s, model_version_ids=[version.id, base_id or 0]) if not one.status.ended
        ]
        assert {(one.model_version_id, one.quantised, *one.tasks) for one in new} == {
            (version.id, True, "arc_easy", "hellaswag"),
            (version.id, False, "mmlu"),
            (base_id, False, "mmlu"),
            (version.id, True, "mmlu"),
        }
    assert "Benchmarks of Tuned in four bits" in said(page)


def test_a_wrong_task_is_named_on_the_screen_and_nothing_can_be_started(database: Path, home: Path) -> None:
    with session() as s:
        project, by, _ = measured_models(s, home)
    page = open_page("trained_models", project_id=project.id, by=by.id)
    (own,) = [one for one in page.text_area if one.label == "Others, one on each line"]
    own.set_value("/nowhere/<b>task.yaml").run()
    assert "There is no task file /nowhere/<b>task.yaml" in said(page)
    assert next(one for one in page.button if one.label == "Run benchmarks").disabled


@pytest.mark.usefixtures("database")
def test_the_screen_names_the_command_where_lm_eval_is_not_installed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with session() as s:
        project, by, _ = measured_models(s, home)
    monkeypatch.setattr(measuring, "find_spec", lambda name: None)
    page = open_page("trained_models", project_id=project.id, by=by.id)
    assert "requirements/benchmarks.txt" in said(page)
    assert "Run benchmarks" not in [one.label for one in page.button]
    assert "Lost 30.0 points" in said(page), "what is known is shown"


def test_values_of_two_trainings_stand_beside_each_other(database: Path, home: Path) -> None:
    with session() as s:
        project, by, _ = measured_models(s, home)
        a_training(s, project, by, home, "Other")
    words = said(open_page("trained_models", project_id=project.id, by=by.id))
    assert "Public benchmarks" in words
    assert "0.6 on 100 examples" in words
    assert "against the one it was made from" in words


def test_the_card_has_the_values_and_what_they_show(s: Session, home: Path) -> None:
    _, _, version = measured_models(s, home)
    sections = {one.title: one for one in build_card(s, model_version_id=version.id).sections}
    assert ("arc_easy, acc", "0.6 on 100 examples (standard error 0.05)") in sections["Public benchmarks"].rows
    assert LIBRARY in sections["Public benchmarks"].note
    against = sections[f"Benchmarks: Tuned against {version.parent.name if version.parent else ''}"]
    assert dict(against.rows)["arc_easy, acc"].startswith("lost 30.0 points")
    assert "could be hidden" in dict(against.rows)["hellaswag, acc"]


@pytest.mark.usefixtures("database")
def test_the_shell_prints_what_was_found_and_asks_nothing_twice(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with session() as s:
        _, by, version = measured_models(s, home)
        name, base_id = by.name, version.parent_id
    told = ["--task", "arc_easy", "--task", "hellaswag", "--as", name]
    monkeypatch.setattr(sys, "argv", ["cli.py", "benchmark", "Tuned", *told])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    words = " ".join(capsys.readouterr().out.split())
    assert "Tuned has been asked this already." in words
    assert "arc_easy, acc: lost 30.0 points on 100 examples" in words
    assert "hellaswag, acc: not compared, only one of the two was measured on it" in words, "in four bits"
    with reading() as s:
        assert all(one.status.ended for one in list_benchmark_runs(s, model_version_ids=[version.id, base_id or 0]))


def another(tiny: Path, place: Path) -> Path:
    """A model of the same shape with other random weights."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    shutil.copytree(tiny, place)
    torch.manual_seed(1)
    model: Any = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(tiny))
    model.save_pretrained(place)
    return place


def picked(folder: Path, question: str, choices: Sequence[str]) -> int:
    """The choice that a model finds likeliest after the question, by transformers alone."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    found = []
    for choice in choices:
        start = tokenizer(f"Question: {question}\nAnswer:")["input_ids"]
        whole = tokenizer(f"Question: {question}\nAnswer: {choice}")["input_ids"]
        with torch.no_grad():
            chances = model(torch.tensor([whole])).logits[0].log_softmax(-1)
        found.append(sum(float(chances[n - 1, whole[n]]) for n in range(len(start), len(whole))))
    return found.index(max(found))


@pytest.mark.slow
@pytest.mark.usefixtures("database")
def test_real_lm_eval_asks_a_model_its_base_and_itself_in_four_bits(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_EVALUATE_OFFLINE"):
        monkeypatch.setenv(name, "1")
    sums = a_task(tmp_path / "sums")
    writes = a_task(
        tmp_path / "writes",
        name="writes",
        output_type="generate_until",
        doc_to_target='"{{choices[0]}}"',
        doc_to_choice="",
        generation_kwargs='{max_gen_toks: 3, until: ["\\n"]}',
        metric_list="[{metric: exact_match, aggregation: mean, higher_is_better: true}]",
    )
    lacking = a_task(tmp_path / "lacking", name="lacking", rows=[{"question": "Why?"}])
    sly = a_task(tmp_path / "sly", name="sly", doc_to_text='"{{question.__class__.__mro__}}"')
    with session() as s:
        project = a_project(s)
        by = a_reviewer(s, project)
        base = saved(s, ModelVersion, name="Base", location=str(tiny))
        tuned = saved(s, ModelVersion, name="Tuned", location=str(another(tiny, tmp_path / "tuned")), parent_id=base.id)
        tuned_id = tuned.id
        three = [
            asked(s, project, by, base, str(sums), str(writes), examples=8).id,
            asked(s, project, by, tuned, str(lacking), str(sly), str(sums), str(writes), examples=8).id,
            asked(s, project, by, tuned, str(sums), examples=8, quantised=True).id,
        ]
    run(unmanaged_progress("benchmark", three[0]))
    with pytest.raises(BenchmarkFailed, match=r"2 of 4 benchmarks are done and kept\. lacking.*sly.*unsafe"):
        run(unmanaged_progress("benchmark", three[1]))
    run(unmanaged_progress("benchmark", three[2]))

    with reading() as s:
        of_base = s.get_one(BenchmarkRun, three[0])
        assert (of_base.status, of_base.done, of_base.total) == (RunStatus.SUCCEEDED, 16, 16)
        assert "lm-eval 0." in (of_base.measured_by or "")
        values = {(one.task, one.metric): one for one in of_base.scores}
        assert set(values) == {("sums", "acc"), ("sums", "acc_norm"), ("writes", "exact_match")}
        acc = values["sums", "acc"]
        ours = [float(picked(tiny, one["question"], one["choices"]) == one["answer"]) for one in QUESTIONS[:8]]
        assert list((acc.by_example or {}).values()) == ours, "the first eight, each as transformers alone has it"
        assert (acc.examples, acc.value) == (8, sum(ours) / 8)
        base_found, four = compare_with_references(s, version=s.get_one(ModelVersion, tuned_id))
    assert [(one.task, one.metric, one.examples) for one in base_found.differences] == [
        ("sums", "acc", 8),
        ("sums", "acc_norm", 8),
        ("writes", "exact_match", 8),
    ]
    assert {one.outcome for one in base_found.differences} <= set(ScoreChange)
    assert [(one.task, one.metric) for one in four.differences] == [("sums", "acc"), ("sums", "acc_norm")]
    said_of = json.loads((tmp_path / "home" / "runs" / f"benchmark-{three[0]}" / "manifest.json").read_text())
    assert said_of["tasks"][str(writes)]["chat_template"] is True
    assert said_of["tasks"][str(sums)]["chat_template"] is False
