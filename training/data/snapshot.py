"""Freeze a project's standing feedback: what would come of it, the frozen Snapshot, and proof that it is unchanged."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, quantiles

from sqlalchemy import func, select
from sqlalchemy.orm import Session, selectinload

from db import models
from db.models import (
    Preference,
    Project,
    Ranking,
    Responder,
    ResponderKind,
    Reviewer,
    Role,
    Snapshot,
    SnapshotLeftOut,
    Split,
)
from db.people import require
from errors import NotEnoughPreferences, NotFound
from generation.responders import prompt_format
from llm.template import PromptFormat, text_hash
from settings import settings
from training.data.feedback import names, refuse_held_out, standing_corrections, standing_rankings
from training.data.preferences import derive, words_ahead
from training.data.rows import (
    Form,
    FrozenRow,
    Rows,
    ThumbRow,
    Thumbs,
    content_sha256,
    read_rows,
    write_folder,
    zipped,
)
from training.data.selection import DEFAULTS, Selection, chosen_in_words
from training.data.terms import JudgedReply, LeftOut, PreferenceRow, Preferences, reason_in_words

NEEDED = 10
"""Fewer preferences than this are refused."""
ADVISED = 100
"""Fewer than this are frozen with a warning: about 90 pairs shifted a 135M model's style in our runs."""


@dataclass(frozen=True)
class ResponderShare:
    """How one responder's replies, or one reviewer's corrections, fared."""

    label: str
    chosen: int
    """Rows in which its reply is chosen."""
    rejected: int


@dataclass(frozen=True)
class SideLengths:
    """How long the replies of one side are, in words."""

    side: str
    """“Better” or “Worse”."""
    tenth: float
    """A tenth of them are shorter."""
    quarter: float
    median: float
    three_quarters: float
    nine_tenths: float


@dataclass(frozen=True)
class Lengths:
    """Whether length alone tells which reply is better: a model learns that sooner than anything else."""

    sides: tuple[SideLengths, ...]
    """Better, then worse; none without rows."""
    longer: int
    """Rows whose better reply has more words."""
    same: int
    shorter: int


@dataclass(frozen=True)
class SnapshotPreview:
    """What a freeze would give at this moment."""

    rows: tuple[PreferenceRow, ...]
    thumbs: tuple[JudgedReply, ...]
    """Replies that are judged by themselves."""
    left_out: Mapping[LeftOut, int]
    simulated_count: int
    """Rows that rest on a simulated reviewer's word."""
    thumbs_simulated: int
    synthetic_count: int
    """Rows whose prompt was made up by a rule or a model."""
    validation_count: int
    """Rows set aside to watch the loss on; the others are trained on."""
    shares: tuple[ResponderShare, ...]
    """Most often chosen first."""
    mean_words_chosen: float
    """0 without rows. A model learns a difference in length sooner than anything else."""
    mean_words_rejected: float
    lengths: Lengths
    advice: str | None
    """What stands in the way of a useful model, if anything does."""


def preview(s: Session, *, project_id: int, selection: Selection = DEFAULTS) -> SnapshotPreview:
    """What `freeze` would give now; writes nothing. Raises `Refused` when a held-out prompt would get in."""
    _, found = _derive(s, project_id, selection)
    chosen = Counter(row.chosen_by for row in found.rows)
    rejected = Counter(row.rejected_by for row in found.rows)
    labels = sorted(chosen.keys() | rejected.keys(), key=lambda label: (-chosen[label], label))
    return SnapshotPreview(
        rows=found.rows,
        thumbs=found.thumbs,
        left_out=found.left_out,
        simulated_count=sum(row.simulated for row in found.rows),
        thumbs_simulated=sum(one.simulated for one in found.thumbs),
        synthetic_count=sum(row.prompt.synthetic for row in found.rows),
        validation_count=sum(row.split is Split.VALIDATION for row in found.rows),
        shares=tuple(ResponderShare(label, chosen[label], rejected[label]) for label in labels),
        mean_words_chosen=fmean(len(row.chosen.split()) for row in found.rows) if found.rows else 0.0,
        mean_words_rejected=fmean(len(row.rejected.split()) for row in found.rows) if found.rows else 0.0,
        lengths=lengths(found.rows),
        advice=_advice(len(found.rows)),
    )


def lengths(rows: Sequence[PreferenceRow]) -> Lengths:
    """How long both sides are and how often the longer one is better. Pure."""
    ahead = [words_ahead(row) for row in rows]
    return Lengths(
        sides=(
            _side("Better", [len(row.chosen.split()) for row in rows]),
            _side("Worse", [len(row.rejected.split()) for row in rows]),
        )
        if rows
        else (),
        longer=sum(n > 0 for n in ahead),
        same=sum(n == 0 for n in ahead),
        shorter=sum(n < 0 for n in ahead),
    )


def _side(side: str, words: Sequence[int]) -> SideLengths:
    # one value alone has no quantiles; twice the same one has
    cuts = quantiles(words if len(words) > 1 else [*words, *words], n=20, method="inclusive")
    return SideLengths(side, cuts[1], cuts[4], cuts[9], cuts[14], cuts[17])


def freeze(
    s: Session, *, by: int, project_id: int, prompt_of: int | None = None, selection: Selection = DEFAULTS
) -> Snapshot:
    """Freeze the standing feedback on training prompts into files and rows; managers only.

    Args:
        prompt_of: id of the Responder whose prompt (system prompt, template, examples) the rows have, so that the
            model is trained on what it will read in use; none for the Project's instructions.
        selection: which feedback counts and how it becomes rows.

    The same rows are the Snapshot that is there already, with the choices that first gave them. Raises
    `NotEnoughPreferences`, or `Refused` when a held-out prompt would get in.
    """
    require(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    project, found = _derive(s, project_id, selection)
    responder = _prompt_of(s, project_id=project_id, responder_id=prompt_of)
    prompt = prompt_format(responder) if responder is not None else PromptFormat(project.instructions)
    if len(found.rows) < NEEDED:
        raise NotEnoughPreferences(str(_advice(len(found.rows))))
    rows, thumbs = _frozen(found, prompt), _thumbs(found, prompt)
    sha256 = content_sha256(rows, thumbs)
    snapshot = s.scalar(select(Snapshot).where(Snapshot.project_id == project_id, Snapshot.sha256 == sha256))
    if snapshot is None:
        snapshot = _store(
            s,
            found,
            project=project,
            prompt=prompt,
            prompt_of=prompt_of,
            selection=selection,
            sha256=sha256,
            by=by,
        )
    _write(snapshot, rows, thumbs, project.name)
    return snapshot


def folder_of(snapshot: Snapshot) -> Path:
    """Where the Snapshot's files are."""
    return settings().snapshots_dir / snapshot.folder


def verify(snapshot: Snapshot) -> Rows:
    """The Snapshot's rows, read back and hashed. Raises `Refused` when the files are not as they were frozen."""
    return read_rows(folder_of(snapshot), sha256=snapshot.sha256)


@dataclass(frozen=True)
class Listed:
    """A frozen Snapshot as a list shows it."""

    snapshot: Snapshot
    by: str
    """Who froze it."""
    prompt_of: str | None
    """Label of the Responder whose prompt its rows have; none for the project's instructions."""
    thumbs_simulated: int
    """Of its thumbs, those that rest on a simulated reviewer's word."""
    choices: str
    """What differs from the usual choices, as a sentence."""
    left_out: tuple[tuple[int, str], ...]
    """How many, and why as a sentence; most first."""


def listed(s: Session, *, project_id: int) -> list[Listed]:
    """The project's Snapshots, newest first, with what a person wants to know of each."""
    reviewers, criteria = names(s, project_id=project_id)
    simulated = s.execute(
        select(models.Thumb.snapshot_id, func.count(models.Thumb.id))
        .join(Ranking, Ranking.id == models.Thumb.ranking_id)
        .join(Reviewer, Reviewer.id == Ranking.reviewer_id)
        .join(Snapshot, Snapshot.id == models.Thumb.snapshot_id)
        .where(Snapshot.project_id == project_id, Reviewer.simulated)
        .group_by(models.Thumb.snapshot_id)
    ).all()
    thumbs_simulated = dict(simulated)
    return [
        Listed(
            snapshot=one,
            thumbs_simulated=thumbs_simulated.get(one.id, 0),
            by=reviewers[one.created_by_id],
            prompt_of=one.prompt_of.label if one.prompt_of is not None else None,
            choices=chosen_in_words(one.selection, reviewers=reviewers, criteria=criteria),
            left_out=tuple(
                (left.count, reason_in_words(left.reason))
                for left in sorted(one.left_out, key=lambda left: (-left.count, left.reason))
            ),
        )
        for one in snapshots(s, project_id=project_id)
    ]


def export(snapshot: Snapshot, form: Form) -> bytes:
    """The Snapshot's files of one form with its manifest, as a zip; raises as `verify` does."""
    return zipped(folder_of(snapshot), sha256=snapshot.sha256, form=form)


def _advice(count: int) -> str | None:
    if count < NEEDED:
        return f"There are {count} usable preferences; training needs at least {NEEDED}. Rank more comparisons."
    if count < ADVISED:
        return (
            f"{count} preferences are enough to try it out. Below about {ADVISED}, expect small shifts of style "
            "(length, tone, how a reply opens and ends) and nothing else."
        )
    return None


def _derive(s: Session, project_id: int, selection: Selection) -> tuple[Project, Preferences]:
    project = s.get(Project, project_id)
    if project is None:
        raise NotFound(f"There is no project {project_id}. Choose one from the list.")
    found = derive(
        standing_rankings(s, project_id=project_id),
        standing_corrections(s, project_id=project_id),
        selection,
    )
    refuse_held_out(s, project_id=project_id, rows=[*found.rows, *found.thumbs])
    return project, found


def _frozen(found: Preferences, prompt: PromptFormat) -> Rows:
    rows: Rows = {split: [] for split in Split}
    for row in found.rows:
        rows[row.split].append(
            FrozenRow(
                prompt=prompt.messages(row.prompt.text, row.prompt.context, row.prompt.extra),
                chosen=[{"role": "assistant", "content": row.chosen}],
                rejected=[{"role": "assistant", "content": row.rejected}],
                prompt_id=row.prompt.id,
                chosen_id=row.chosen_id,
                rejected_id=row.rejected_id,
                ranking_id=row.ranking_id,
                correction_id=row.correction_id,
                reviewer=row.reviewer,
                simulated=row.simulated,
                synthetic=row.prompt.synthetic,
                cluster=row.prompt.cluster,
            )
        )
    return rows


def _thumbs(found: Preferences, prompt: PromptFormat) -> Thumbs:
    thumbs: Thumbs = {split: [] for split in Split}
    for one in found.thumbs:
        thumbs[one.split].append(
            ThumbRow(
                prompt=prompt.messages(one.prompt.text, one.prompt.context, one.prompt.extra),
                completion=[{"role": "assistant", "content": one.text}],
                label=one.up,
                prompt_id=one.prompt.id,
                response_id=one.response_id,
                ranking_id=one.ranking_id,
                reviewer=one.reviewer,
                simulated=one.simulated,
                synthetic=one.prompt.synthetic,
            )
        )
    return thumbs


def _prompt_of(s: Session, *, project_id: int, responder_id: int | None) -> Responder | None:
    if responder_id is None:
        return None
    found = s.get(Responder, responder_id)
    if found is None or found.project_id != project_id or found.kind is ResponderKind.HUMAN:
        raise NotFound("That responder is not in this project's list of models any more. Reload the page.")
    return found


def _store(
    s: Session,
    found: Preferences,
    *,
    project: Project,
    prompt: PromptFormat,
    prompt_of: int | None,
    selection: Selection,
    sha256: str,
    by: int,
) -> Snapshot:
    snapshot = Snapshot(
        project_id=project.id,
        instructions=prompt.instructions,
        system_hash=text_hash(prompt.instructions),
        prompt_of_id=prompt_of,
        folder=f"{project.id}-{sha256[:8]}",
        sha256=sha256,
        row_count=len(found.rows),
        simulated_count=sum(row.simulated for row in found.rows),
        thumb_count=len(found.thumbs),
        selection=selection.as_json(),
        created_by_id=by,
        created_at=models.now(),
    )
    snapshot.left_out = [SnapshotLeftOut(reason=reason.value, count=n) for reason, n in found.left_out.items()]
    snapshot.preferences = [
        Preference(
            row=number,
            split=row.split,
            prompt_id=row.prompt.id,
            chosen_id=row.chosen_id,
            rejected_id=row.rejected_id,
            ranking_id=row.ranking_id,
            correction_id=row.correction_id,
        )
        for number, row in enumerate(found.rows)
    ]
    s.add(snapshot)
    s.flush()
    s.add_all(
        models.Thumb(
            snapshot_id=snapshot.id,
            split=one.split,
            prompt_id=one.prompt.id,
            response_id=one.response_id,
            up=one.up,
            ranking_id=one.ranking_id,
        )
        for one in found.thumbs
    )
    s.flush()
    return snapshot


def _write(snapshot: Snapshot, rows: Rows, thumbs: Thumbs, project: str) -> None:
    write_folder(
        folder_of(snapshot),
        rows,
        sha256=snapshot.sha256,
        about={
            "project": project,
            "created_at": snapshot.created_at.isoformat(),
            "rows": snapshot.row_count,
            "simulated": snapshot.simulated_count,
            "synthetic": sum(row.synthetic for of_split in rows.values() for row in of_split),
            "left_out": {left.reason: left.count for left in snapshot.left_out},
            "thumbs": snapshot.thumb_count,
            "thumbs_simulated": sum(one.simulated for of_split in thumbs.values() for one in of_split),
            "selection": snapshot.selection,
        },
        thumbs=thumbs,
    )


def snapshots(s: Session, *, project_id: int) -> Sequence[Snapshot]:
    """The project's Snapshots, newest first."""
    return s.scalars(
        select(Snapshot)
        .where(Snapshot.project_id == project_id)
        .order_by(Snapshot.id.desc())
        .options(selectinload(Snapshot.left_out))
    ).all()
