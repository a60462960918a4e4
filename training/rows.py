"""The files of a frozen Snapshot: rows in TRL's conversational format, and hashes that notice any change.

Read by the trainer, so there is no database here.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from errors import Refused
from files import MANIFEST, file_sha256, write_json
from template import Message
from training.preferences import Split

FILES = {Split.TRAIN: "train.jsonl", Split.VALIDATION: "validation.jsonl"}


@dataclass(frozen=True, slots=True)
class FrozenRow:
    """One line of a Snapshot's file: TRL's ``prompt``, ``chosen`` and ``rejected``, then where it comes from."""

    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]
    prompt_id: int
    chosen_id: int | None
    rejected_id: int
    ranking_id: int | None
    correction_id: int | None
    reviewer: str
    """Whose word it is; says so if simulated."""
    simulated: bool
    synthetic: bool = False
    """The prompt was made up by a rule or a model."""


Rows = dict[Split, list[FrozenRow]]


def content_sha256(rows: Rows) -> str:
    """Hash of what a model learns from and whether people said it: messages, split, simulated; no ids, no order."""
    lines = sorted(
        json.dumps([split, row.prompt, row.chosen, row.rejected, row.simulated], ensure_ascii=False)
        for split, of_split in rows.items()
        for row in of_split
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def write_folder(folder: Path, rows: Rows, *, sha256: str, about: Mapping[str, Any]) -> None:
    """Write a Snapshot's folder whole or not at all; one that is there already and unchanged is left alone."""
    if folder.exists():
        try:
            read_rows(folder, sha256=sha256)
            return
        except Refused:
            shutil.rmtree(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for split, name in FILES.items():
            with (scratch / name).open("w", encoding="utf-8") as stream:
                stream.writelines(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows[split])
        files = {name: file_sha256(scratch / name) for name in FILES.values()}
        counts = {split.value: len(rows[split]) for split in FILES}
        manifest = {**about, "counts": counts, "sha256": sha256, "files": files}
        write_json(scratch / MANIFEST, manifest)
        scratch.chmod(0o755)
        scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def read_rows(folder: Path, *, sha256: str) -> Rows:
    """The rows of a frozen Snapshot, after proving that nobody changed them.

    Raises `Refused` when a file is missing, changed since the freeze, or not the Snapshot with this hash.
    """
    changed = (
        f"The snapshot in {folder} was changed after it was frozen ({{}}). Freeze the project's preferences again: "
        "the same feedback gives the same snapshot."
    )
    try:
        said = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        for name in FILES.values():
            if file_sha256(folder / name) != said[name]:
                raise Refused(changed.format(f"{name} has another hash"))
        rows = {split: _read(folder / name) for split, name in FILES.items()}
    except FileNotFoundError as missing:
        raise Refused(changed.format(f"{Path(missing.filename).name} is missing")) from None
    except (ValueError, KeyError, TypeError):
        raise Refused(changed.format("a file cannot be read")) from None
    if content_sha256(rows) != sha256:
        raise Refused(changed.format("its rows have another hash"))
    return rows


def _read(file: Path) -> list[FrozenRow]:
    with file.open(encoding="utf-8") as stream:
        return [FrozenRow(**json.loads(line)) for line in stream]
