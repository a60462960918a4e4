"""Reference scores that are kept: found again for the same model only, and never lost to a process that died."""

from dataclasses import replace
from pathlib import Path

import pytest

from db.models import Adapter
from tests.trainings import a_run
from training.trainer import methods
from training.trainer.methods import _reference_scores
from training.trainer.reference import ReferenceScores
from training.trainer.run_folder import RunFolder

MODEL = {"weights": "abc", "template": None, "precision": "float32"}


def test_scores_are_found_again_and_a_line_that_was_cut_is_left_out(tmp_path: Path) -> None:
    kept = ReferenceScores(tmp_path, model=MODEL)
    assert kept.get("row") is None
    kept.add({"row": (-12.5, -30.25), "other": (-1.0, -2.0)})
    (file,) = tmp_path.iterdir()
    file.write_text(file.read_text() + '["third", -1')
    again = ReferenceScores(tmp_path, model=MODEL)
    assert (again.get("row"), again.get("other"), again.get("third")) == ([-12.5, -30.25], [-1.0, -2.0], None)


@pytest.mark.parametrize("what", MODEL)
def test_another_model_template_or_precision_has_scores_of_its_own(tmp_path: Path, what: str) -> None:
    ReferenceScores(tmp_path, model=MODEL).add({"row": (-1.0,)})
    assert ReferenceScores(tmp_path, model=MODEL | {what: "another"}).get("row") is None


def test_a_model_in_four_bits_and_the_same_one_as_a_whole_reference_share_no_scores(tmp_path: Path) -> None:
    for name in ("base", "start"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(name.encode())
        (tmp_path / name / "config.json").write_text("{}")
    base, start = str(tmp_path / "base"), str(tmp_path / "start")
    folder = a_run(tmp_path / "run", tmp_path / "base", adapter=Adapter.QLORA, kept=str(tmp_path / "kept"))
    given = RunFolder(folder).input()
    _reference_scores(given).add({"row": (-1.0,)})
    assert _reference_scores(given).get("row") is not None
    assert _reference_scores(replace(given, base_model=start, reference_model=base)).get("row") is None
    (tmp_path / "base" / "config.json").write_text('{"rope_theta": 1}')
    assert _reference_scores(given).get("row") is None, "the same weights under another configuration score otherwise"


def test_another_commit_of_a_hub_model_has_scores_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = RunFolder(a_run(tmp_path / "run", tmp_path)).input()
    given = replace(given, base_model="maker/model", kept=str(tmp_path / "kept"))
    monkeypatch.setattr(methods, "hub_revision", lambda location: "first")
    _reference_scores(given).add({"row": (-1.0,)})
    assert _reference_scores(given).get("row") is not None
    for commit in ("second", None):
        monkeypatch.setattr(methods, "hub_revision", lambda location, commit=commit: commit)
        assert _reference_scores(given).get("row") is None
