"""The files of a frozen Snapshot: rows in TRL's conversational format, and hashes that notice any change.

Read by the trainer, so there is no database here. A folder holds, for each split, the pairs as JSONL and Parquet, the
same of thumbs where there are any, and the manifest, written last. Folders of versions that knew neither Parquet nor
thumbs are read all the same.
"""

import hashlib
import io
import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from db.models import Split
from errors import Refused
from files import MANIFEST, file_sha256, write_json
from llm.template import Message
from training.data.preferences import collapse_spaces

FILES = {Split.TRAIN: "train.jsonl", Split.VALIDATION: "validation.jsonl"}
THUMBS = {Split.TRAIN: "thumbs.train.jsonl", Split.VALIDATION: "thumbs.validation.jsonl"}
"""There only where a Snapshot has thumbs."""


class RowsFormat(StrEnum):
    """A kind of file that a Snapshot can be had as; the value is the ending."""

    JSONL = "jsonl"
    PARQUET = "parquet"


@dataclass(frozen=True, slots=True)
class FrozenRow:
    """One line of a Snapshot's file: TRL's ``prompt``, ``chosen`` and ``rejected``, then their origin."""

    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]
    prompt_id: int
    chosen_id: int | None
    rejected_id: int
    ranking_id: int | None
    correction_id: int | None
    reviewer: str
    """Its label; says so if simulated."""
    simulated: bool
    synthetic: bool = False
    """The prompt was made up by a rule or a model."""
    cluster: str = ""
    """The mark that near-duplicates of the prompt share."""


@dataclass(frozen=True, slots=True)
class UnpairedRow:
    """A reply judged by itself: TRL's ``prompt``, ``completion`` and ``label``, then their origin."""

    prompt: list[Message]
    completion: list[Message]
    label: bool
    """Whether it could be sent; of a pair's, whether it is the chosen one."""
    prompt_id: int
    response_id: int | None
    """None where it is a correction."""
    ranking_id: int | None
    reviewer: str
    simulated: bool
    synthetic: bool = False


Rows = dict[Split, list[FrozenRow]]
UnpairedRows = dict[Split, list[UnpairedRow]]
Line = TypeVar("Line", FrozenRow, UnpairedRow)


def content_sha256(rows: Rows, thumbs: UnpairedRows | None = None) -> str:
    """Hash of what a model learns from and whether people said it: messages, split, simulated; no ids, no order.

    Without thumbs it is what it was before there were any.
    """
    lines = [
        json.dumps([split, row.prompt, row.chosen, row.rejected, row.simulated], ensure_ascii=False)
        for split, of_split in rows.items()
        for row in of_split
    ]
    lines += [
        json.dumps(["thumb", split, thumb.prompt, thumb.completion, thumb.label, thumb.simulated], ensure_ascii=False)
        for split, of_split in (thumbs or {}).items()
        for thumb in of_split
    ]
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def write_folder(
    folder: Path, rows: Rows, *, sha256: str, about: Mapping[str, Any], thumbs: UnpairedRows | None = None
) -> None:
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
        files = {}
        for name, lines in _lines(rows, thumbs).items():
            for file in (name, _in_form(name, RowsFormat.PARQUET)):
                (scratch / file).write_bytes(_jsonl(lines) if file == name else _parquet(name, lines))
                files[file] = file_sha256(scratch / file)
        counts = {split.value: len(rows[split]) for split in FILES}
        manifest = {**about, "counts": counts, "sha256": sha256, "files": files}
        if thumbs and any(thumbs.values()):
            manifest["thumb_counts"] = {split.value: len(thumbs[split]) for split in THUMBS}
        write_json(scratch / MANIFEST, manifest)
        scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def read_rows(folder: Path, *, sha256: str) -> Rows:
    """The rows of a frozen Snapshot, after proving that nobody changed them or its thumbs.

    Raises `Refused` when a file is missing, changed since the freeze, or not the Snapshot with this hash.
    """
    return _read_folder(folder, sha256)[0]


def read_unpaired_rows(folder: Path, sha256: str) -> UnpairedRows:
    """The thumbs of a frozen Snapshot, none in each split where it has none; proves and raises as `read_rows` does."""
    return _read_folder(folder, sha256)[1]


def zip_folder(folder: Path, *, sha256: str, form: RowsFormat) -> bytes:
    """A Snapshot's rows, thumbs and manifest in one zip file, after proving them as `read_rows` does.

    Parquet of a Snapshot from before it was written beside JSONL is made on the way.
    """
    rows, thumbs = _read_folder(folder, sha256)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, lines in _lines(rows, thumbs).items():
            wanted = _in_form(name, form)
            if (folder / wanted).is_file():
                archive.write(folder / wanted, wanted)
            else:
                archive.writestr(wanted, _parquet(name, lines))
        archive.write(folder / MANIFEST, MANIFEST)
    return packed.getvalue()


def unpaired_rows(rows: Iterable[FrozenRow], thumbs: Iterable[UnpairedRow] = ()) -> list[UnpairedRow]:
    """KTO's rows of one split: each reply to a prompt once, with its label, in the order of pairs and then thumbs.

    A reply is good where it is chosen, bad where it is rejected or has a thumb down. One that is both is left out and
    counted by `count_undecided`. White space tells no two replies apart.
    """
    return [row for row, labels in _labelled(rows, thumbs) if len(labels) == 1]


def count_undecided(rows: Iterable[FrozenRow], thumbs: Iterable[UnpairedRow] = ()) -> int:
    """How many replies `unpaired_rows` leaves out, because they are good in one place and bad in another."""
    return sum(len(labels) > 1 for _, labels in _labelled(rows, thumbs))


def _labelled(rows: Iterable[FrozenRow], thumbs: Iterable[UnpairedRow]) -> list[tuple[UnpairedRow, set[bool]]]:
    """Each reply to a prompt once, with the labels that it has."""
    origin = ("prompt", "prompt_id", "ranking_id", "reviewer", "simulated", "synthetic")
    of_pairs = [
        UnpairedRow(completion=reply, label=label, response_id=i, **{name: getattr(row, name) for name in origin})
        for row in rows
        for reply, label, i in ((row.chosen, True, row.chosen_id), (row.rejected, False, row.rejected_id))
    ]
    labelled: dict[tuple[str, str], tuple[UnpairedRow, set[bool]]] = {}
    for row in (*of_pairs, *thumbs):
        same = json.dumps(row.prompt), collapse_spaces(" ".join(message["content"] for message in row.completion))
        labelled.setdefault(same, (row, set()))[1].add(row.label)
    return list(labelled.values())


def _read_folder(folder: Path, sha256: str) -> tuple[Rows, UnpairedRows]:
    changed = (
        f"The snapshot in {folder} was changed after it was frozen ({{}}). Freeze the project's preferences again: "
        "the same feedback gives the same snapshot."
    )
    try:
        hashes = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        learned = [*FILES.values(), *(name for name in THUMBS.values() if name in hashes)]
        _prove(folder, learned, hashes, changed)
        rows = {split: _read(folder / name, FrozenRow) for split, name in FILES.items()}
        thumbs = {split: _read(folder / name, UnpairedRow) if name in hashes else [] for split, name in THUMBS.items()}
        if content_sha256(rows, thumbs) != sha256:
            raise Refused(changed.format("its rows have another hash"))
        _prove(folder, sorted(set(hashes) - set(learned)), hashes, changed)
    except FileNotFoundError as missing:
        raise Refused(changed.format(f"{Path(missing.filename).name} is missing")) from None
    except (ValueError, KeyError, TypeError):
        raise Refused(changed.format("a file cannot be read")) from None
    return rows, thumbs


def _prove(folder: Path, names: Iterable[str], hashes: Mapping[str, str], changed: str) -> None:
    for name in names:
        if file_sha256(folder / name) != hashes[name]:
            raise Refused(changed.format(f"{name} has another hash"))


def _read(file: Path, kind: type[Line]) -> list[Line]:
    with file.open(encoding="utf-8") as stream:
        return [kind(**json.loads(line)) for line in stream]


def _lines(rows: Rows, thumbs: UnpairedRows | None) -> dict[str, Sequence[FrozenRow] | Sequence[UnpairedRow]]:
    """JSONL file name to what it holds; both files of thumbs where there is any."""
    of_thumbs = {name: thumbs[split] for split, name in THUMBS.items()} if thumbs and any(thumbs.values()) else {}
    return {**{name: rows[split] for split, name in FILES.items()}, **of_thumbs}


def _in_form(name: str, form: RowsFormat) -> str:
    return str(Path(name).with_suffix(f".{form}"))


def _jsonl(lines: Sequence[FrozenRow] | Sequence[UnpairedRow]) -> bytes:
    return "".join(json.dumps(asdict(line), ensure_ascii=False) + "\n" for line in lines).encode()


def _parquet(name: str, lines: Sequence[FrozenRow] | Sequence[UnpairedRow]) -> bytes:
    import pyarrow as pa  # type: ignore[import-untyped]
    from pyarrow import parquet

    # said, not guessed: a column that is empty in one split must have the other's type
    messages = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    types = {str: pa.string(), bool: pa.bool_(), int: pa.int64(), int | None: pa.int64(), list[Message]: messages}
    columns = fields(UnpairedRow if name in THUMBS.values() else FrozenRow)
    schema = pa.schema([(column.name, types[column.type]) for column in columns])  # type: ignore[index]
    packed = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist([asdict(line) for line in lines], schema=schema), packed)
    return packed.getvalue()
