"""The benchmark of generation runs and its arithmetic is right; how fast anything is, is never asserted."""

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from benchmarks.contestants import (
    GenerationDone,
    GenerationFigures,
    GenerationWork,
    SeededPrompt,
    count_until_end,
    read_dataclass,
    sample_emails,
)
from benchmarks.generation import compare_runs, cost, fastest, per_second, ratio
from files import write_json
from settings import ROOT

TOOK = GenerationFigures(responses=4, tokens=300, prompt_tokens=100, ended=3, start_s=20.0, seconds=2.0, stop_s=1.0)


def test_tokens_a_second_are_of_all_runs_together() -> None:
    assert per_second([TOOK, replace(TOOK, tokens=100, seconds=6.0)]) == 50.0


def test_the_ratio_is_ours_over_theirs() -> None:
    assert ratio([TOOK], [replace(TOOK, tokens=600)]) == 0.5


def test_the_fastest_batch_of_a_peer_counts() -> None:
    found = {"project": [TOOK], "vllm": [TOOK], "t_16": [replace(TOOK, tokens=80)], "t_64": [replace(TOOK, tokens=90)]}
    assert fastest(found, "t_") == "t_64"
    assert fastest(found, "nobody") is None


@pytest.mark.parametrize(("tokens", "met"), [(316, False), (315, True)])
def test_what_is_wanted_is_met_from_the_limit_on(tokens: int, met: bool) -> None:
    report = compare_runs({"project": [TOOK], "vllm": [replace(TOOK, tokens=tokens)]})
    assert [row["met"] for row in report["wanted"]] == [met]
    assert report["same_prompts"]


def test_other_prompts_are_noticed() -> None:
    assert not compare_runs({"project": [TOOK], "vllm": [replace(TOOK, prompt_tokens=99)]})["same_prompts"]


def test_the_cost_of_a_response_is_told_with_and_without_the_engines_start() -> None:
    found = cost(2, TOOK)
    assert (found.generation_s, found.whole_s, found.tokens_per_second) == (0.5, 5.75, 150.0)


def test_tokens_count_up_to_and_including_the_first_that_ends_the_text() -> None:
    assert [count_until_end(tokens, {2}) for tokens in ([5, 6, 2, 2, 2], [5, 6], [2])] == [3, 2, 1]


def test_any_number_of_different_emails_can_be_had() -> None:
    assert len(set(sample_emails(512))) == 512
    assert sample_emails(512)[:3] == sample_emails(3)


def test_work_and_figures_survive_the_way_between_processes(tmp_path: Path) -> None:
    asked = [SeededPrompt([{"role": "user", "content": "Hello"}], 3)]
    work = GenerationWork(1, 2, 0.7, 0.95, 160, "model", asked, ["--dtype", "float32"], 4)
    done = GenerationDone(TOOK, asked, ["--dtype"], {"A": "b"})
    write_json(tmp_path / "work.json", asdict(work))
    write_json(tmp_path / "done.json", asdict(done))
    assert read_dataclass(GenerationWork, tmp_path / "work.json") == work
    assert read_dataclass(GenerationDone, tmp_path / "done.json") == done


@pytest.mark.slow
def test_a_small_run_with_the_echo_engine_gives_its_figures() -> None:
    sizes = "--prompts 3 --samples 2 --repetitions 1 --sizes 2 --size-samples 2 --engine echo --no-peers"
    command = [sys.executable, "-m", "benchmarks.generation", *sizes.split()]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout)
    assert report["finished"]
    assert report["wanted"] == []
    (ours,) = report["runs"]["project"]
    assert (ours["responses"], report["tokens_per_second"]["project"] > 0) == (6, True)
    assert min(ours["tokens"], ours["prompt_tokens"], ours["seconds"], ours["start_s"]) > 0
    assert [(one["prompts"], one["responses"]) for one in report["cost"]] == [(2, 4)]
    assert all(one["whole_s"] > one["generation_s"] > 0 for one in report["cost"])
