"""Folders of models and adapters, and finished trainings with everything that a card tells of."""

import json
import struct
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from db.models import (
    Adapter,
    Correction,
    ModelVersion,
    Preference,
    Project,
    Recipe,
    Reviewer,
    Role,
    RunStatus,
    Snapshot,
    SnapshotLeftOut,
    Split,
    TrainingRun,
    TrainingSample,
    TrainingStep,
    TrainingWarning,
    now,
)
from files import MANIFEST, write_json
from llm.folder import hash_weights
from release.export import ADAPTER_CONFIG
from tests.factories import a_comparison, a_model, a_prompt, a_ranking, a_response, a_reviewer, saved

CUSTOMER = "My order 4711 never came, please help me. Yours, Wilhelmina Applegarth"


REPLY = "We are very sorry, Wilhelmina, the parcel left yesterday."


def safetensors(value: bytes) -> bytes:
    """A whole safetensors file with one float32 matrix of one row."""
    value += b"\0" * (-len(value) % 4)
    entry = {"w": {"dtype": "F32", "shape": [1, len(value) // 4], "data_offsets": [0, len(value)]}}
    header = json.dumps(entry).encode()
    return struct.pack("<Q", len(header)) + header + value


def a_folder(place: Path, weights: bytes = b"weights!") -> Path:
    """A model's folder as engines take it, with things in it that no export may have."""
    place.mkdir(parents=True)
    (place / "model.safetensors").write_bytes(safetensors(weights))
    write_json(place / "config.json", {"max_position_embeddings": 1024, "_name_or_path": "/home/ana/base"})
    write_json(place / "tokenizer.json", {})
    write_json(place / MANIFEST, {"weights_sha256": hash_weights(place), "base_model": "/home/ana/base"})
    (place / "chat_template.jinja").write_text("{{ messages }}")
    (place / "pytorch_model.bin").write_bytes(b"pickled")
    (place / "modeling.py").write_text("import os")
    (place / "LICENSE").write_text("Apache License\nVersion 2.0")
    return place


def an_adapter(place: Path, **config: object) -> Path:
    """An adapter's folder as PEFT saves it."""
    place.mkdir(parents=True)
    (place / "adapter_model.safetensors").write_bytes(safetensors(b"adapter!"))
    write_json(place / ADAPTER_CONFIG, {"r": 24, "base_model_name_or_path": "/home/ana/base", **config})
    return place


def a_training(
    s: Session, project: Project, by: Reviewer, home: Path, name: str = "Tuned", **knobs: Any
) -> TrainingRun:
    """A finished training with everything that a card tells of."""
    simulated = a_reviewer(s, project, Role.ANNOTATOR, simulated=True)
    base = a_model(s, project, str(a_folder(home / "base" / name)))
    pairs = []
    for reviewer in (by, simulated):
        prompt = a_prompt(s, project, CUSTOMER, synthetic=reviewer is simulated)
        one, two = a_response(s, prompt, base, REPLY), a_response(s, prompt, base, "No.", sample=1)
        pairs.append((prompt, one, two, a_ranking(s, a_comparison(s, one, two), reviewer, one, two)))
    correction = saved(s, Correction, response_id=pairs[0][2].id, reviewer_id=by.id, text="Sorry, it comes tomorrow.")
    snapshot = Snapshot(
        project_id=project.id,
        instructions="Answer kindly.",
        system_hash="5" * 64,
        folder=name,
        sha256=(name * 64)[:64].encode().hex()[:64],
        row_count=3,
        simulated_count=1,
        selection={"reviewers": [by.id], "from": "2026-01-01", "search": "Wilhelmina", "gold": False},
        created_by_id=by.id,
    )
    snapshot.left_out = [SnapshotLeftOut(reason="TIE", count=4)]
    snapshot.preferences = [
        Preference(row=row, split=split, prompt_id=p.id, chosen_id=one.id, rejected_id=two.id, ranking_id=ranking.id)
        for row, (split, (p, one, two, ranking)) in enumerate(zip((Split.TRAIN, Split.VALIDATION), pairs, strict=True))
    ] + [
        Preference(
            row=2, split=Split.TRAIN, prompt_id=pairs[0][0].id, rejected_id=pairs[0][2].id, correction_id=correction.id
        )
    ]
    recipe = Recipe(name="Small", knobs=knobs)
    s.add_all([snapshot, recipe])
    s.flush()
    run = saved(
        s,
        TrainingRun,
        project_id=project.id,
        snapshot_id=snapshot.id,
        recipe_id=recipe.id,
        base_model_id=base.model_version_id,
        model_name=name,
        requested_by_id=by.id,
        status=RunStatus.SUCCEEDED,
        started_at=now(),
        finished_at=now(),
        best_step=2,
        peak_memory_mb=3840,
        versions={"trl": "1.16.0"},
    )
    folder = home / "runs" / f"training-{run.id}"
    merged, adapter = a_folder(folder / "merged", f"{name} {run.id}".encode()), an_adapter(folder / "adapter")
    write_json(
        folder / MANIFEST, {"device": "CPU, 2 threads", "adapter_sha256": hash_weights(adapter), "peak_memory_mb": 1}
    )
    version = saved(
        s,
        ModelVersion,
        name=name,
        location=str(merged),
        sha256=hash_weights(merged),
        template_hash="7" * 64,
        adapter=Adapter.LORA,
        adapter_folder=str(adapter),
        parent_id=base.model_version_id,
    )
    run.model_version_id = version.id
    for step in (1, 2):
        for split in Split:
            s.add(
                TrainingStep(
                    training_run_id=run.id, split=split, step=step, loss=0.7 / step, reward_accuracy=0.5, seconds=1.0
                )
            )
        s.add(
            TrainingSample(
                training_run_id=run.id,
                step=step,
                place=1,
                prompt_id=pairs[0][0].id,
                reply=f"{name} at {step} <b>",
                tokens=3,
                ended=step == 2,
            )
        )
    saved(s, TrainingWarning, training_run_id=run.id, step=2, kind="overfitting", sentence="The validation loss rises.")
    return run


def version_of(s: Session, run: TrainingRun) -> ModelVersion:
    return s.get_one(ModelVersion, run.model_version_id)
