"""The benchmark runs and gives its figures; how fast anything is, is never asserted."""

import json
import os
import subprocess
import sys

import pytest

from settings import ROOT
from tests.app_server import CHROMIUM

pytestmark = pytest.mark.slow


def test_the_benchmark_of_reviewing_gives_its_figures_without_errors() -> None:
    if CHROMIUM is None and not os.environ.get("CI"):
        pytest.skip("Chromium is not installed; the package is called chromium.")
    sizes = "--prompts 40 --reviewers 2 --think 0.2 --presses 2 --browser-presses 2 --soak-minutes 0.1 --no-peer"
    command = [sys.executable, "-m", "benchmarks.review", *sizes.split()]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180)
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout)
    assert report["finished"]
    app = report["app"]
    for name in ("with_think_time", "without_think_time", "soak"):
        clients = app[name]
        assert clients["errors"] == 0, clients["first_errors"]
        assert clients["key_to_next_pair_beyond_pause"]["n"] == clients["clicks"] > 0
        assert clients["clicks_per_second"] > 0
    for name in ("with_think_time", "without_think_time"):
        assert app[name]["rankings_saved"] == app[name]["clicks"]
        assert app[name]["key_to_next_pair_beyond_pause"]["p95_ms"] > 0
    assert app["browser"]["presses"] > 0
    assert app["browser"]["key_to_next_pair_painted_beyond_pause"]["p50_ms"] > 0
    assert app["soak"]["memory"]["start_mb"] > 0
    assert {row["met"] for row in report["wanted"]} <= {True, False}
