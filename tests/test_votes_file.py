"""The command on a file of votes: what it gives, and one sentence for everything that is wrong with a file."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cli
from benchmarks.evaluation import DESIGNS, coverage, false_winners, write_votes
from errors import BadFile, NotFound
from eval.report.votes import figures_json, summarise, vote_figures
from eval.report.votes_file import read_votes
from settings import ROOT
from stats.votes import VERDICTS

HEADER = "prompt,reviewer,left,right,verdict"


@pytest.fixture
def csv(tmp_path: Path) -> Callable[..., Path]:
    """Writes a file of votes."""

    def write(*lines: str, header: str = HEADER, end: str = "\n") -> Path:
        file = tmp_path / "votes.csv"
        file.write_text(end.join([header, *lines]) + end, encoding="utf-8", newline="")
        return file

    return write


def a_hundred(wins: int = 60, ties: int = 10, losses: int = 30) -> list[str]:
    """Votes on DPO, on both sides in turn, by five reviewers."""
    lines = []
    for n, word in enumerate(["left"] * wins + ["tie"] * ties + ["right"] * losses):
        turned = {"left": "right", "right": "left", "tie": "tie"}[word]
        lines.append(f"p{n},r{n % 5},DPO,SFT,{word}" if n % 2 else f"p{n},r{n % 5},SFT,DPO,{turned}")
    return lines


def told(file: Path, **more: Any) -> dict[str, Any]:
    """The JSON of a file, as it would be read back."""
    read = read_votes(file, **more)
    found = figures_json(vote_figures(read.votes, rounds=100), read, file)
    again: dict[str, Any] = json.loads(json.dumps(found, allow_nan=False))
    return again


def test_a_file_gives_the_worked_figures(csv: Callable[..., Path]) -> None:
    found = told(csv(*a_hundred()))
    (one,) = found["contrasts"]
    assert (one["candidate"], one["baseline"]) == ("DPO", "SFT")
    assert (one["wins"], one["ties"], one["losses"], one["rate"]) == (60, 10, 30, 0.65)
    assert one["interval"] == {
        "low": pytest.approx(0.552544, abs=5e-7),
        "high": pytest.approx(0.736358, abs=5e-7),
        "level": 0.95,
    }
    assert one["p_value"] == pytest.approx(0.00206027, abs=5e-9)
    assert found["file"]["rows"] == found["votes"] == 100
    assert found["responders"] == ["DPO", "SFT"]
    assert told(csv(*a_hundred()), candidate="SFT")["contrasts"][0]["rate"] == pytest.approx(0.35)


def test_the_command_prints_a_summary_and_writes_json_without_a_database(
    csv: Callable[..., Path],
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(cli, "migrate", lambda: pytest.fail("the command needs no database"))
    to = tmp_path / "out.json"
    words = ["winrate", str(csv(*a_hundred())), "--json", str(to), "--candidate", "SFT", "--against", "DPO"]
    monkeypatch.setattr(sys, "argv", ["cli.py", *words, "--rounds", "100"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    said = " ".join(capsys.readouterr().out.split())
    assert "100 votes by people on 100 prompts, 5 reviewers, 2 responders." in said
    assert "SFT against DPO: 35.0% (26.4% to 44.7%), 30 won, 10 tied (0 both bad), 60 lost." in said
    assert "“DPO” is preferred to “SFT”, 2.0 to 1 in decided votes." in said
    assert "E-value 81.76: enough to stop at any time." in said
    assert json.loads(to.read_text())["contrasts"][0]["primary"] is True


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--against", "DPO"], "Give --candidate too"),
        (["--candidate", "GRPO"], "There is no responder “GRPO”"),
        (["--candidate", "SFT", "--against", "GRPO"], "There is no other responder “GRPO”"),
        (["--json", "nowhere/out.json"], "Make it first"),
    ],
)
def test_a_wrong_option_is_one_sentence(
    csv: Callable[..., Path],
    words: list[str],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["cli.py", "winrate", str(csv(*a_hundred())), *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    assert sentence in " ".join(capsys.readouterr().out.split())


def test_the_figures_never_replace_the_votes(
    csv: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = csv(*a_hundred())
    before = file.read_bytes()
    monkeypatch.setattr(sys, "argv", ["cli.py", "winrate", str(file), "--json", str(file)])
    with pytest.raises(SystemExit):
        cli.main()
    assert "the file of the votes itself" in " ".join(capsys.readouterr().out.split())
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("p,r,DPO,SFT,better", "Line 102 of votes.csv has the verdict “better”. Use left, right, tie or both_bad."),
        ("p,r,DPO,DPO,left", "Line 102 of votes.csv has “DPO” on both sides."),
        ("p,,DPO,SFT,left", "Line 102 of votes.csv has nothing under “reviewer”."),
        ("p,r,DPO,SFT", "Line 102 of votes.csv has 4 cells but the header has 5."),
        ("p,r,DPO,SFT,left,", "Line 102 of votes.csv has 6 cells but the header has 5."),
    ],
)
def test_a_bad_line_is_named_with_the_remedy(csv: Callable[..., Path], line: str, sentence: str) -> None:
    with pytest.raises(BadFile, match=re.escape(sentence)):
        read_votes(csv(*a_hundred(), line, *a_hundred()))


def test_lines_are_counted_as_an_editor_shows_them(csv: Callable[..., Path]) -> None:
    file = csv("p1,r,DPO,SFT,left", '"two\nlines",r,DPO,SFT,tie', "", "p3,r,DPO,SFT,won")
    with pytest.raises(BadFile, match=r"Line 6 .*“won”"):
        read_votes(file)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (HEADER.encode(), "has a header but no votes"),
        (HEADER.encode() + b"\n\n", "has a header but no votes"),
        (b"prompt,reviewer,left,right\np,r,a,b\n", "has no column “verdict”"),
        (b"prompt,prompt,reviewer,left,right,verdict\np,p,r,a,b,left\n", "two columns “prompt”"),
        (HEADER.encode() + b"\np,r,caf\xe9,b,left\n", "is not UTF-8: line 2 has the byte 0xE9"),
        ((HEADER + "\np,r,a,b,left\n").encode("utf-16"), "is UTF-16, not UTF-8"),
        (HEADER.encode() + b'\np,r,"a,b,left\n', "double quote that is never closed"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path: Path, content: bytes, sentence: str) -> None:
    file = tmp_path / "votes.csv"
    file.write_bytes(content)
    with pytest.raises(BadFile, match=re.escape(sentence)):
        read_votes(file)


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="Check the path"):
        read_votes(tmp_path / "votes.csv")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_spreadsheets_files_are_read_alike(tmp_path: Path, delimiter: str) -> None:
    file = tmp_path / "votes.csv"
    lines = [HEADER.replace("prompt", "Prompt"), *a_hundred(), "p5, r1 ,DPO,SFT,Both bad"]
    file.write_text("\r\n".join(lines).replace(",", delimiter), encoding="utf-8-sig", newline="")
    found = read_votes(file).votes
    assert found.n == 101
    assert found.responders == ("DPO", "SFT")
    assert len(found.reviewers) == 5
    assert VERDICTS[found.verdict[-1]] == "both_bad"


def test_a_hundred_repeated_lines_count_once_and_are_told(csv: Callable[..., Path]) -> None:
    file = csv(*a_hundred(), *["p0,r0,SFT,DPO,right"] * 100)
    found = told(file)
    assert found["votes"] == 100
    assert found["file"]["duplicate_rows_left_out"] == 100
    assert found["file"]["first_duplicate_lines"] == [102, 103, 104, 105, 106]
    assert found["contrasts"][0]["rate"] == 0.65
    read = read_votes(file)
    said = summarise(vote_figures(read.votes, rounds=100), read)
    assert any("100 of 200 lines repeat an earlier one" in line and "counted once" in line for line in said)


def test_a_reviewer_with_one_vote_is_told_and_has_no_figures(csv: Callable[..., Path]) -> None:
    found = told(csv(*a_hundred(), "p0,once,DPO,SFT,left"))
    assert any("1 reviewer gave one vote only (“once”)" in note for note in found["notes"])
    part = next(one for one in found["slices"] if one["part"] == "once")
    assert "cannot_be_estimated" in part["rate"]


@pytest.mark.parametrize(
    ("lines", "key"),
    [
        ([f"p{n},r,DPO,SFT,tie" for n in range(20)], "p_value"),
        ([f"p{n},r,DPO,SFT,both_bad" for n in range(20)], "p_value"),
        ([f"p,r{n},DPO,SFT,left" for n in range(20)], "interval"),
        (["p,r,DPO,SFT,left"] * 20, "standard_error"),
        ([f"p{n},r,DPO,SFT,left" for n in range(20)], "interval_any_reviewer"),
    ],
)
def test_what_votes_cannot_tell_is_a_reason_and_no_number(csv: Callable[..., Path], lines: list[str], key: str) -> None:
    found = told(csv(*lines))["contrasts"][0]
    assert found[key].keys() == {"cannot_be_estimated"}


def test_an_undefeated_responder_is_said_to_be(csv: Callable[..., Path]) -> None:
    found = told(csv(*a_hundred(), *(f"p{n},r{n % 5},SFT,Base,left" for n in range(20))))
    assert any("“Base”: it never won or tied" in note for note in found["notes"])
    ranked = found["strengths"]["bradley_terry"]
    assert ranked["responders"][-1]["responder"] == "Base"
    assert ranked["penalised_resamples"] == ranked["resamples"] == 100


def test_separate_pairs_are_counted_and_not_ranked(csv: Callable[..., Path]) -> None:
    found = told(csv(*a_hundred(), *(line.replace("DPO", "KTO").replace("SFT", "Base") for line in a_hundred())))
    assert len(found["contrasts"]) == 2
    assert "never judged against each other" in found["strengths"]["davidson"]["cannot_be_estimated"]


def test_lengths_come_from_texts_or_columns(csv: Callable[..., Path]) -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(5, 60, (100, 2))
    given = [f"{line},{a},{b}" for line, (a, b) in zip(a_hundred(), sizes, strict=True)]
    by_number = told(csv(*given, header=HEADER + ",left_length,right_length"))
    texts = [f'{line},"{"é" * a}","{"x" * b}"' for line, (a, b) in zip(a_hundred(), sizes, strict=True)]
    by_text = told(csv(*texts, header=HEADER + ",left_text,right_text"))
    assert by_number["lengths"] == by_text["lengths"]
    assert (by_number["file"]["length_unit"], by_text["file"]["length_unit"]) == ("as given", "characters")
    assert isinstance(by_number["lengths"]["contrasts"][0]["rate"], float)
    assert {one["by"] for one in by_number["slices"]} == {"reviewer", "length"}
    wrong = csv(*given, "p,r,DPO,SFT,left,long,3", header=HEADER + ",left_length,right_length")
    with pytest.raises(BadFile, match=r"Line 102 .*“left_length”"):
        read_votes(wrong)


def test_tags_and_a_models_verdicts_are_kept_apart(csv: Callable[..., Path]) -> None:
    lines = [f"{line},{'billing' if n % 3 else 'orders'},person" for n, line in enumerate(a_hundred())]
    lines += [f"{re.sub(',r[0-9]', ',judge', line)},,model" for line in a_hundred(50, 10, 40)]
    lines += [f"{re.sub(',r[0-9]', ',judge', line.replace('p', 'q'))},,model" for line in a_hundred(40, 10, 50)]
    found = told(csv(*lines, header=HEADER + ",tag,judged_by"))
    assert found["votes"] == 100
    assert found["contrasts"][0]["rate"] == 0.65
    assert {one["part"] for one in found["slices"] if one["by"] == "tag"} == {"billing", "orders"}
    assert found["with_judge"][0]["both"] == 100
    assert any("200 verdicts of a model" in note for note in found["notes"])
    with pytest.raises(BadFile, match="under “judged_by”"):
        read_votes(csv("p,r,a,b,left,robot", header=HEADER + ",judged_by"))


@pytest.mark.slow
def test_the_benchmark_gives_its_figures() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.evaluation", "--most", "1000"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    (found,) = json.loads(run.stdout)["runs"]
    assert found["votes"] == 1000
    assert found["seconds"] > 0
    assert found["peak_memory_mb"] > 0


def test_the_benchmarks_votes_are_read_and_its_simulations_run(tmp_path: Path) -> None:
    file = tmp_path / "votes.csv"
    write_votes(file, 500)
    assert read_votes(file).rows == 500
    found = coverage(DESIGNS[0], evaluations=60)
    assert found.clustered > 0.8
    assert found.naive < found.clustered
    assert false_winners(evaluations=200)["by_the_stopping_rule"] <= 0.06
