"""Rankings, snapshots and queued trainings made with one call; run folders for the trainer, and who listens to it."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import ModelVersion, Project, Responder, ResponderKind, Reviewer, Role, Snapshot, Split, TrainingRun
from llm.template import PromptFormat
from tests.factories import a_comparison, a_model, a_project, a_prompt, a_ranking, a_response, a_reviewer, sure
from training.data.rows import FrozenRow, Rows, content_sha256, write_folder
from training.data.snapshot import freeze
from training.recipe.recipe import SMALL, RecipeValues
from training.recipe.start import start_training
from training.trainer.run_folder import METRICS, Report, RunFolder, RunInput, SampleReport, StepReport, WarningReport


def a_ranked_project(s: Session, pairs: int = 12, **prompt_fields: Any) -> tuple[Project, Reviewer]:
    """A project with two models' replies to each prompt, the first ranked over the second."""
    project = a_project(s, instructions="Answer the email.")
    by = a_reviewer(s, project, Role.MANAGER, Role.ANNOTATOR)
    good, bad = a_model(s, project), a_model(s, project)
    for n in range(pairs):
        prompt = a_prompt(s, project, f"Where is order {n}?", context=f"Order {n}", **prompt_fields)
        better, worse = a_response(s, prompt, good, f"Better {n}"), a_response(s, prompt, bad, f"Worse {n} by far")
        a_ranking(s, a_comparison(s, better, worse), by, better, worse)
    return project, by


def a_snapshot(s: Session) -> tuple[Project, Reviewer, Snapshot, ModelVersion]:
    project, by = a_ranked_project(s)
    responder = sure(s.scalars(select(Responder).where(Responder.kind == ResponderKind.MODEL)).first())
    responder.temperature, responder.max_tokens = 0.3, 99
    assert responder.model_version is not None
    return project, by, freeze(s, by=by.id, project_id=project.id), responder.model_version


def a_training(s: Session, name: str = "tuned", recipe: RecipeValues = SMALL) -> TrainingRun:
    project, by, snapshot, base = a_snapshot(s)
    return start_training(
        s,
        by=by.id,
        project_id=project.id,
        snapshot_id=snapshot.id,
        base_model_id=base.id,
        recipe=recipe,
        model_name=name,
    )


PAIRS = 22


def rows(pairs: int = PAIRS) -> Rows:
    def row(n: int) -> FrozenRow:
        return FrozenRow(
            prompt=PromptFormat("Answer the email.").messages(
                f"Where is order {n * 37}? It should have come {n} days ago."
            ),
            chosen=[{"role": "assistant", "content": f"I am sorry about order {n * 37}. It goes out today."}],
            rejected=[{"role": "assistant", "content": f"Orders are orders. {'Wait and see. ' * (n % 4 + 1)}".strip()}],
            prompt_id=n,
            chosen_id=2 * n,
            rejected_id=2 * n + 1,
            ranking_id=n,
            correction_id=None,
            reviewer="Rule (simulated)",
            simulated=True,
        )

    made = [row(n) for n in range(1, pairs + 1)]
    return {Split.TRAIN: made[2:], Split.VALIDATION: made[:2]}


def a_run(folder: Path, model: Path, frozen: Rows | None = None, **changes: Any) -> Path:
    """A folder with a snapshot and a `run.json`: 20 pairs, 5 steps, a checkpoint every 2."""
    frozen = rows() if frozen is None else frozen
    folder.mkdir(exist_ok=True)
    snapshot, sha256 = folder / "snapshot", content_sha256(frozen)
    write_folder(snapshot, frozen, sha256=sha256, about={})
    given = RunInput(
        name="Tiny",
        base_model=str(model),
        template_hash=None,
        snapshot=str(snapshot),
        snapshot_sha256=sha256,
        learning_rate=1e-3,
        warmup_steps=1,
        lora_rank=8,
        lora_alpha=16,
        max_length=512,
        seed=3,
        save_every=2,
        sample_tokens=8,
    )
    RunFolder(folder).begin(dataclasses.replace(given, **changes))
    return folder


def losses(folder: Path) -> dict[tuple[str, int], float]:
    lines = [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]
    found = {(line["split"], line["step"]): line["loss"] for line in lines}
    assert len(found) == len(lines), "a step is written down twice"
    return found


def a_report(step: int, steps: int = 3, loss: float = 0.6, split: Split = Split.TRAIN) -> StepReport:
    return StepReport(split, step, steps, loss, 0.1, 0.5, -10.0, -12.0, 1e-4, 20.0 * step)


class Deaf:
    """A Listener that forgets at once."""

    def stage(self, text: str) -> None:
        pass

    def report(self, report: Report) -> None:
        pass


class Lost(Exception):
    """The run belongs to another attempt by now."""


class Heard:
    """A Listener that remembers what it is told, and raises `Lost` at what it is told to."""

    def __init__(self, *, lost_at: object = None) -> None:
        self.said: list[object] = []
        self._lost_at = lost_at

    def stage(self, text: str) -> None:
        self._hear(text)

    def report(self, report: Report) -> None:
        self._hear(report)

    def _hear(self, said: object) -> None:
        self.said.append(said)
        if said == self._lost_at:
            raise Lost

    @property
    def stages(self) -> list[str]:
        return [said for said in self.said if isinstance(said, str)]

    @property
    def steps(self) -> list[StepReport]:
        return [said for said in self.said if isinstance(said, StepReport)]

    @property
    def samples(self) -> list[SampleReport]:
        return [said for said in self.said if isinstance(said, SampleReport)]

    @property
    def warnings(self) -> list[WarningReport]:
        return [said for said in self.said if isinstance(said, WarningReport)]
