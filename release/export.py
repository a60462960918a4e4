"""Take a model out: the merged model or its adapter alone, with its card and a manifest, as a folder or .zip.

`python -m jobs.child export RUN_ID ATTEMPT` calls `run`.

Files are copied in pieces, never held in memory. What is exported is what was registered, or nothing: the weights are
hashed first and compared with the database. The result appears whole under its name, the manifest in it written last.
"""

import hashlib
import io
import json
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.lookup import get_model
from db.models import ExportForm, ExportRun, ModelVersion, Part, PushRun, Role, TrainingRun, now
from db.people import require_role
from db.session import reading, session
from errors import BrokenModel, Refused
from files import MANIFEST, file_sha256, read_json
from jobs.progress import Progress
from jobs.runs import Resources
from llm.folder import check_model_folder, hash_weights, is_hub_id, read_template
from llm.serving import ServedModel, request_command, served_name, vllm_command
from release.card import Card, build_card, card_markdown, evaluation_results
from settings import settings
from training.lineage import find_training, model_lineage

CARD = "README.md"
TEMPLATE = "chat_template.jinja"
ADAPTER_CONFIG = "adapter_config.json"
KEPT_SUFFIXES = frozenset({".safetensors", ".json", ".jinja", ".txt", ".model"})
"""Weights, settings, tokenizers and templates. Nothing that could run code is exported."""
KEPT_NAMES = ("LICENSE", "LICENCE", "NOTICE", "COPYING", "USE_POLICY")
"""Beginnings of further files that have to go along."""
PATHS = ("base_model_name_or_path", "_name_or_path")
"""Entries of settings files that may hold a path of this machine."""
MAKING = ".making-"
"""How the name of half an export begins."""
PIECE = 1 << 20
"""Bytes that are read at once."""
WRITE_EVERY = 1.0
"""Seconds between two words on the progress, at least."""

Tell = Callable[[str, float], None]
"""Hears what goes on, in words, and which share of it is done."""
OpenFile = Callable[[str, int], IO[bytes]]
"""Opens a new file in what is written, by its name and size."""


@dataclass(frozen=True)
class Parcel:
    """What is to be exported, ready to be written without a database."""

    version_id: int
    name: str
    part: Part
    source: Path
    registered: str | None
    """Hash that the weights in ``source`` must have; none where nobody noted one."""
    base: str
    """Name of the model that an adapter goes with, else of the base model."""
    base_location: str
    template: str | None
    """The chat template, for an adapter, which has none in its folder."""
    template_hash: str | None
    snapshot_sha256: str | None
    context_tokens: int
    card: Card

    @property
    def files(self) -> list[Path]:
        """The files to take along, by name."""
        return sorted(file for file in self.source.iterdir() if _is_kept(file))


def request_export(
    s: Session, *, by: int, project_id: int, model_version_id: int, part: Part, form: ExportForm
) -> ExportRun:
    """Ask for an export: a QUEUED run that a worker takes up; managers only.

    Raises what `build_parcel` does, and `Refused` while an export or a push of the model goes on.
    """
    require_role(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    version = get_model(s, model_version_id)
    _source(version, part)
    refuse_beside_another(s, version)
    run = ExportRun(project_id=project_id, requested_by_id=by, model_version_id=version.id, part=part, form=form)
    s.add(run)
    s.flush()
    return run


def latest_release(s: Session, *, model_version_id: int) -> ExportRun | PushRun | None:
    """The newest export or push of a model."""
    exports = select(ExportRun).where(ExportRun.model_version_id == model_version_id).order_by(ExportRun.id.desc())
    pushes = select(PushRun).where(PushRun.model_version_id == model_version_id).order_by(PushRun.id.desc())
    export, push = s.scalars(exports.limit(1)).first(), s.scalars(pushes.limit(1)).first()
    if export is None or push is None:
        return export or push
    return export if export.id > push.id else push


def release_title(run: ExportRun | PushRun, version: ModelVersion) -> str:
    """The run as the screen calls it."""
    return f"Export of {version.name}" if isinstance(run, ExportRun) else f"Push of {Path(run.folder).name}"


def refuse_beside_another(s: Session, version: ModelVersion) -> None:
    """Raise `Refused` while an export or a push of the model goes on."""
    # two tabs that ask at once wait for each other
    s.get(ModelVersion, version.id, with_for_update={"key_share": True})
    run = latest_release(s, model_version_id=version.id)
    if run is not None and not run.status.ended:
        raise Refused(f"{release_title(run, version)} is still going on. Wait for its end.")


def resources(run: ExportRun) -> Resources:
    """A core, to copy and hash."""
    return Resources()


def run(progress: Progress) -> None:
    """Write the export and note its place. Raises what `build_parcel` and `write` do, and `jobs.progress.RunLost`."""
    with reading() as s:
        row = s.get_one(ExportRun, progress.run_id)
        content = build_parcel(
            s,
            by=row.requested_by_id,
            project_id=row.project_id,
            model_version_id=row.model_version_id,
            part=row.part,
            results=evaluation_results(s, model_version_id=row.model_version_id),
        )
    place = write_export(content, row.form, at=row.created_at, tell=teller(progress))
    with session() as s:
        progress.guard(s)
        s.get_one(ExportRun, progress.run_id).place = str(place)
        progress.succeed(s)


def teller(progress: Progress) -> Tell:
    """Writes into the run what goes on, about once a second."""
    told, words = float("-inf"), ""

    def tell(stage: str, share: float) -> None:
        nonlocal told, words
        if stage != words or time.monotonic() - told >= WRITE_EVERY:
            progress.update(stage=stage, done=round(100 * share), total=100)
            told, words = time.monotonic(), stage

    return tell


def build_parcel(
    s: Session, *, by: int, project_id: int, model_version_id: int, part: Part, results: Sequence[tuple[str, str]] = ()
) -> Parcel:
    """Everything that an export needs; managers only.

    Raises `Refused` for a part that the model does not have, `BrokenModel` for a folder that is not whole.
    """
    require_role(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    version = get_model(s, model_version_id)
    run = find_training(s, version)
    source = _source(version, part)
    parent = version.parent or version
    return Parcel(
        version_id=version.id,
        name=version.name,
        part=part,
        source=source,
        registered=_registered_hash(version, run, part, source),
        base=parent.name if part is Part.ADAPTER else model_lineage(version)[-1].name,
        base_location=parent.location,
        template=read_template(parent.location) if part is Part.ADAPTER else None,
        template_hash=version.template_hash,
        snapshot_sha256=run.snapshot.sha256 if run is not None else None,
        context_tokens=served_context(source if part is Part.MERGED else Path(parent.location)),
        card=build_card(s, model_version_id=model_version_id, evaluations=results),
    )


def write_export(content: Parcel, form: ExportForm, *, at: datetime, tell: Tell = lambda stage, share: None) -> Path:
    """Write the export into `exports_folder` and give its place; one of an earlier attempt is as good.

    Args:
        at: when it was asked for, which is in its name.

    Raises `Refused` where the weights are not those that were registered, or the disk has too little room.
    """
    tell("Checking that nothing changed since it was registered", 0.0)
    weights = hash_weights(content.source)
    if content.registered is not None and weights != content.registered:
        raise Refused(
            f"The weights in {content.source} are not those that were registered as {content.name} (their sha256 "
            "differs). Put the old files back, or train the model again."
        )
    place = exports_folder()
    place.mkdir(parents=True, exist_ok=True)
    for scratch in place.glob(f"{MAKING}*"):  # of an export whose process died: a home has one at a time
        shutil.rmtree(scratch)
    total = sum(file.stat().st_size for file in content.files)
    free = shutil.disk_usage(place).free
    if free < total * 1.01 + 10_000_000:
        raise Refused(
            f"The export takes {total / 1e9:.1f} GB and {place} has {free / 1e9:.1f} GB left. Free some space."
        )
    name = f"{name_prefix(content.name, content.version_id)}{content.part.value}-{at:%Y%m%d-%H%M%S}"
    final = place / (name if form is ExportForm.FOLDER else f"{name}.{form.value}")
    if final.exists():
        return final
    scratch = place / f"{MAKING}{final.name}"
    scratch.mkdir()
    try:
        inside = scratch / final.name
        with _open_output(form, inside, name) as open_file:
            _fill(content, name, weights=weights, total=total, open_file=open_file, tell=tell)
        inside.rename(final)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    tell("Done", 1.0)
    return final


def _fill(content: Parcel, name: str, *, weights: str, total: int, open_file: OpenFile, tell: Tell) -> None:
    """Write every file, then the card, which has their hashes, then the manifest."""
    entries: dict[str, dict[str, object]] = {}
    done = 0

    def add(file: str, size: int, stream: IO[bytes]) -> None:
        nonlocal done
        digest = hashlib.sha256()
        with open_file(file, size) as out:
            while piece := stream.read(PIECE):
                out.write(piece)
                digest.update(piece)
                done += len(piece)
                tell(f"Writing {file}", min(1.0, done / max(1, total)))
        entries[file] = {"sha256": digest.hexdigest(), "bytes": size}

    def add_text(file: str, text: bytes) -> None:
        add(file, len(text), io.BytesIO(text))

    for file in content.files:
        changed = _without_paths(file, base=content.base)
        if changed is not None:
            add_text(file.name, changed)
            continue
        with file.open("rb") as stream:
            add(file.name, file.stat().st_size, stream)
    if content.template is not None and TEMPLATE not in entries:
        add_text(TEMPLATE, content.template.encode())
    readme = card_markdown(
        content.card,
        adapter_only=content.part is Part.ADAPTER,
        files={file: str(entry["sha256"]) for file, entry in entries.items()},
        commands=commands(content, Path(name), base=content.base_location, template=TEMPLATE in entries),
    )
    add_text(CARD, readme.encode())
    manifest = _manifest(content, weights=weights) | {"files": dict(entries)}
    add_text(MANIFEST, (json.dumps(manifest, ensure_ascii=False, indent=2) + "\n").encode())


def _manifest(content: Parcel, *, weights: str) -> dict[str, object]:
    return {
        "model": content.name,
        "part": content.part.value,
        "base": content.base,
        "licence_of_the_base": content.card.licence.text,
        "weights_sha256": weights,
        "as_registered": content.registered is not None,
        "template_hash": content.template_hash,
        "snapshot_sha256": content.snapshot_sha256,
        "exported_at": now().isoformat(),
        "card": [asdict(section) for section in content.card.sections],
    }


def commands(content: Parcel, folder: Path, *, base: str, template: bool, python: str = "python") -> tuple[str, ...]:
    """Lines that serve what is in ``folder`` on a CPU and on a GPU, and ask it; none for what vLLM does not take."""
    served = _served_model(content, folder, base=base, template=template)
    if served is None:
        return ()
    lines = [vllm_command(served, gpu=gpu, python=python) for gpu in (False, True)]
    return lines[0], lines[1], request_command(served)


def _served_model(content: Parcel, folder: Path, *, base: str, template: bool) -> ServedModel | None:
    name = served_name(content.name)
    if content.part is Part.MERGED:
        return ServedModel(f"./{folder}" if not folder.is_absolute() else str(folder), name, content.context_tokens)
    config = read_json(content.source / ADAPTER_CONFIG)
    if config.get("use_dora"):  # vLLM serves DoRA merged only
        return None
    rank = config.get("r")
    shown = base if is_hub_id(base) or folder.is_absolute() else f"./{Path(base).name}"
    place = str(folder) if folder.is_absolute() else f"./{folder}"
    return ServedModel(
        place,
        name,
        content.context_tokens,
        base=shown,
        rank=rank if isinstance(rank, int) else 16,
        template=f"{place}/{TEMPLATE}" if template else None,
    )


def exports_folder() -> Path:
    """Where exports are."""
    return settings().home.resolve() / "exports"


def name_prefix(name: str, version_id: int) -> str:
    """How the names of a model's exports begin."""
    return f"{served_name(name)[:60]}-{version_id}-"


def list_exports(name: str, version_id: int) -> list[Path]:
    """The model's exports, newest first."""
    day = "[0-9]" * 8  # a part and a day, for `smol-1-` begins the exports of model 7 called "smol 1" too
    patterns = [f"{name_prefix(name, version_id)}{part.value}-{day}-*" for part in Part]
    places = [place for pattern in patterns for place in exports_folder().glob(pattern)]
    return sorted(places, key=lambda place: place.stat().st_mtime, reverse=True)


def exportable_parts(version: ModelVersion) -> list[Part]:
    """What of the model can be exported."""
    if is_hub_id(version.location):
        return []
    whole = [Part.MERGED] if Path(version.location).is_dir() else []
    return [*whole, Part.ADAPTER] if version.adapter_folder and Path(version.adapter_folder).is_dir() else whole


def served_context(folder: Path) -> int:
    """Longest prompt plus reply to serve: the setting, or what the model can take if that is less."""
    most = read_json(folder / "config.json").get("max_position_embeddings")
    return min(settings().context_tokens, most) if isinstance(most, int) else settings().context_tokens


def _source(version: ModelVersion, part: Part) -> Path:
    if part is Part.ADAPTER:
        if version.adapter_folder is None or version.adapter is None:
            raise Refused(f"{version.name} has no adapter of its own. Export the whole model.")
        folder = Path(version.adapter_folder)
        if not (folder / ADAPTER_CONFIG).is_file() or not any(folder.glob("*.safetensors")):
            raise BrokenModel(f"The adapter in {folder} is not whole. Train the model again, or put the files back.")
        return folder
    if is_hub_id(version.location):
        raise Refused(f"{version.name} is on the hub as {version.location}. There is nothing here to export.")
    if version.adapter_folder is not None and not Path(version.location).exists():
        raise Refused(
            f"The adapter of {version.name} was not merged into its base yet. Export the adapter alone, or generate "
            "with the model once with PICKWELL_ADAPTERS=merged."
        )
    check_model_folder(version.location)
    return Path(version.location)


def _registered_hash(version: ModelVersion, run: TrainingRun | None, part: Part, source: Path) -> str | None:
    """The hash that was noted of this part: of a trained model the merged weights', of an added adapter its own."""
    added = run is None and version.adapter is not None
    if part is Part.MERGED:
        value = read_json(source / MANIFEST).get("weights_sha256") if added else version.sha256
    else:
        value = version.sha256 if added else read_json(source.parent / MANIFEST).get("adapter_sha256")
    return value if isinstance(value, str) else None


def _is_kept(file: Path) -> bool:
    hidden = file.name.startswith(".") or file.name in (MANIFEST, CARD)
    known = file.suffix in KEPT_SUFFIXES or file.name.startswith(KEPT_NAMES)
    return file.is_file() and known and not hidden


def _without_paths(file: Path, *, base: str) -> bytes | None:
    """A settings file in which paths of this machine are the base's name; none for one without any."""
    if file.name not in (ADAPTER_CONFIG, "config.json"):
        return None
    config = read_json(file)
    paths = [key for key in PATHS if isinstance(config.get(key), str) and Path(config[key]).is_absolute()]
    if not paths:
        return None
    return (json.dumps(config | dict.fromkeys(paths, base), ensure_ascii=False, indent=2) + "\n").encode()


@contextmanager
def _open_output(form: ExportForm, place: Path, name: str) -> Iterator[OpenFile]:
    """A new folder, or a new .zip that holds one of the export's name, open for files."""
    if form is ExportForm.FOLDER:
        place.mkdir()
        yield lambda file, size: (place / file).open("wb")
        return
    # weights hardly get smaller, so nothing is compressed
    with zipfile.ZipFile(place, "x", zipfile.ZIP_STORED, allowZip64=True) as archive:

        def open_file(file: str, size: int) -> IO[bytes]:
            entry = zipfile.ZipInfo(f"{name}/{file}", now().timetuple()[:6])
            entry.file_size = size
            entry.external_attr = 0o644 << 16
            return archive.open(entry, "w")

        yield open_file


def check_export(folder: Path) -> Mapping[str, Any]:
    """The manifest of an exported folder whose every file is as it was written. Raises `Refused`."""
    manifest = read_json(folder / MANIFEST)
    entries = manifest.get("files")
    if not isinstance(entries, dict) or not entries:
        raise Refused(f"{folder} is no whole export. Export the model as a folder first.")
    there = {file.name for file in folder.iterdir()} - {MANIFEST}
    if strange := sorted(there ^ set(entries)):
        raise Refused(f"{folder} is not as it was exported: {strange[0]} was added or is missing. Export it again.")
    for name, entry in entries.items():
        if file_sha256(folder / name) != entry.get("sha256"):
            raise Refused(f"{folder / name} changed since it was exported. Export the model again.")
    return manifest
