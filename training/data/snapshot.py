"""Freeze a project's standing feedback: what would come of it, the frozen Snapshot, and proof that it is unchanged."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session, selectinload

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
    Thumb,
    now,
)
from db.people import require_role
from errors import NotEnoughPreferences, NotFound
from generation.responders import prompt_format
from llm.template import Message, PromptFormat, text_hash
from review.lengths import LengthSummary, LongerSide, summarize_lengths
from settings import settings
from training.data.feedback import load_corrections, load_rankings, refuse_held_out, reviewer_and_criterion_names
from training.data.preferences import derive, extra_words
from training.data.rows import (
    FrozenRow,
    Rows,
    RowsFormat,
    UnpairedRow,
    UnpairedRows,
    content_sha256,
    read_rows,
    write_folder,
    zip_folder,
)
from training.data.selection import DEFAULTS, Selection, describe_changes
from training.data.terms import FeedbackReply, PreferenceRow, Preferences, UndesirableReply, describe_reason

NEEDED = 10
"""Fewer preferences than this are refused."""
ADVISED = 100
"""Fewer than this are frozen with a warning: about 90 pairs shifted a 135M model's style in our runs."""


@dataclass(frozen=True)
class ResponderCount:
    """In how many rows one responder's replies, or one reviewer's corrections, are chosen and rejected."""

    label: str
    chosen: int
    rejected: int


def preview_snapshot(s: Session, *, project_id: int, selection: Selection = DEFAULTS) -> Preferences:
    """What `freeze` would give now; writes nothing. Raises `Refused` when a held-out prompt would get in."""
    return _derive(s, project_id, selection)[1]


def responder_counts(rows: Sequence[PreferenceRow]) -> list[ResponderCount]:
    """Of each author of replies or corrections, the most often chosen first. Pure."""
    chosen, rejected = Counter(row.chosen.author for row in rows), Counter(row.rejected.author for row in rows)
    labels = sorted(chosen.keys() | rejected.keys(), key=lambda label: (-chosen[label], label))
    return [ResponderCount(label, chosen[label], rejected[label]) for label in labels]


def side_lengths(rows: Sequence[PreferenceRow]) -> list[LengthSummary]:
    """How long the better and the worse replies are; none without rows. Pure.

    A model learns a difference in length sooner than anything else.
    """
    sides = {"better": [row.chosen for row in rows], "worse": [row.rejected for row in rows]} if rows else {}
    return [summarize_lengths(side, [len(reply.text.split()) for reply in replies]) for side, replies in sides.items()]


def count_longer(rows: Sequence[PreferenceRow]) -> LongerSide:
    """How often the better reply is the longer one, and how often both are as long. Pure."""
    extra = [extra_words(row) for row in rows]
    return LongerSide("better", len(extra), longer=sum(n > 0 for n in extra), equal=sum(n == 0 for n in extra))


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
    require_role(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    project, preferences = _derive(s, project_id, selection)
    responder = _prompt_of(s, project_id=project_id, responder_id=prompt_of)
    prompt = prompt_format(responder) if responder is not None else PromptFormat(project.instructions)
    if len(preferences.rows) < NEEDED:
        raise NotEnoughPreferences(str(size_warning(len(preferences.rows))))
    rows, thumbs = _freeze_rows(preferences, prompt)
    sha256 = content_sha256(rows, thumbs)
    snapshot = s.scalar(select(Snapshot).where(Snapshot.project_id == project_id, Snapshot.sha256 == sha256))
    if snapshot is None:
        snapshot = Snapshot(
            project_id=project.id,
            instructions=prompt.instructions,
            system_hash=text_hash(prompt.instructions),
            prompt_of_id=prompt_of,
            folder=f"{project.id}-{sha256[:8]}",
            sha256=sha256,
            row_count=len(preferences.rows),
            simulated_count=preferences.simulated_count,
            thumb_count=len(preferences.undesirable),
            selection=selection.as_json(),
            created_by_id=by,
            created_at=now(),
        )
        _store(s, snapshot, preferences)
    about = {
        "project": project.name,
        "created_at": snapshot.created_at.isoformat(),
        "rows": snapshot.row_count,
        "simulated": snapshot.simulated_count,
        "synthetic": preferences.synthetic_count,
        "left_out": {left.reason: left.count for left in snapshot.left_out},
        "thumbs": snapshot.thumb_count,
        "thumbs_simulated": preferences.undesirable_simulated,
        "selection": snapshot.selection,
    }
    write_folder(snapshot_folder(snapshot), rows, sha256=sha256, about=about, thumbs=thumbs)
    return snapshot


def snapshot_folder(snapshot: Snapshot) -> Path:
    """The folder of the Snapshot's files."""
    return settings().snapshots_dir / snapshot.folder


def read_snapshot(snapshot: Snapshot) -> Rows:
    """The Snapshot's rows, read back and hashed. Raises `Refused` when the files are not as they were frozen."""
    return read_rows(snapshot_folder(snapshot), sha256=snapshot.sha256)


@dataclass(frozen=True)
class SnapshotListing:
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


def list_snapshot_details(s: Session, *, project_id: int) -> list[SnapshotListing]:
    """The project's Snapshots, newest first, with what a person wants to know of each."""
    reviewers, criteria = reviewer_and_criterion_names(s, project_id=project_id)
    simulated = (
        select(Thumb.snapshot_id, func.count(Thumb.id))
        .join(Ranking, Ranking.id == Thumb.ranking_id)
        .join(Reviewer, Reviewer.id == Ranking.reviewer_id)
        .join(Snapshot, Snapshot.id == Thumb.snapshot_id)
        .where(Snapshot.project_id == project_id, Reviewer.simulated)
        .group_by(Thumb.snapshot_id)
    )
    thumbs_simulated = dict(s.execute(simulated).all())
    return [
        SnapshotListing(
            snapshot=snapshot,
            thumbs_simulated=thumbs_simulated.get(snapshot.id, 0),
            by=reviewers[snapshot.created_by_id],
            prompt_of=snapshot.prompt_of.label if snapshot.prompt_of is not None else None,
            choices=describe_changes(snapshot.selection, reviewers=reviewers, criteria=criteria),
            left_out=tuple(
                (left.count, describe_reason(left.reason))
                for left in sorted(snapshot.left_out, key=lambda left: (-left.count, left.reason))
            ),
        )
        for snapshot in list_snapshots(s, project_id=project_id)
    ]


def zip_snapshot(snapshot: Snapshot, form: RowsFormat) -> bytes:
    """The Snapshot's files of one form with its manifest, as a zip; raises as `read_snapshot` does."""
    return zip_folder(snapshot_folder(snapshot), sha256=snapshot.sha256, form=form)


def size_warning(count: int) -> str | None:
    """What stands in the way of a useful model from so many preferences, if anything does."""
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
    rankings, corrections = load_rankings(s, project_id=project_id), load_corrections(s, project_id=project_id)
    preferences = derive(rankings, corrections, selection)
    refuse_held_out(s, project_id=project_id, rows=[*preferences.rows, *preferences.undesirable])
    return project, preferences


def _freeze_rows(preferences: Preferences, prompt: PromptFormat) -> tuple[Rows, UnpairedRows]:
    def origin(row: PreferenceRow | UndesirableReply) -> dict[str, Any]:
        question = row.prompt
        messages = prompt.messages(question.text, question.context, question.extra)
        by = {"reviewer": row.source.reviewer, "simulated": row.simulated, "synthetic": question.synthetic}
        return {"prompt": messages, **row.references, **by}

    rows: Rows = {split: [] for split in Split}
    for row in preferences.rows:
        chosen, rejected, cluster = _turns(row.chosen), _turns(row.rejected), row.prompt.cluster
        rows[row.split].append(FrozenRow(chosen=chosen, rejected=rejected, cluster=cluster, **origin(row)))
    thumbs: UnpairedRows = {split: [] for split in Split}
    for thumb in preferences.undesirable:
        thumbs[thumb.split].append(UnpairedRow(completion=_turns(thumb.reply), label=False, **origin(thumb)))
    return rows, thumbs


def _turns(reply: FeedbackReply) -> list[Message]:
    return [{"role": "assistant", "content": reply.text}]


def _prompt_of(s: Session, *, project_id: int, responder_id: int | None) -> Responder | None:
    if responder_id is None:
        return None
    responder = s.get(Responder, responder_id)
    if responder is None or responder.project_id != project_id or responder.kind is ResponderKind.HUMAN:
        raise NotFound("That responder is not in this project's list of models any more. Reload the page.")
    return responder


def _store(s: Session, snapshot: Snapshot, preferences: Preferences) -> None:
    snapshot.left_out = [SnapshotLeftOut(reason=reason.value, count=n) for reason, n in preferences.left_out.items()]
    snapshot.preferences = [
        Preference(row=number, split=row.split, **row.references) for number, row in enumerate(preferences.rows)
    ]
    s.add(snapshot)
    s.flush()
    s.add_all(
        Thumb(snapshot_id=snapshot.id, split=thumb.split, label=False, **thumb.references)
        for thumb in preferences.undesirable
    )
    s.flush()


def list_snapshots(s: Session, *, project_id: int) -> Sequence[Snapshot]:
    """The project's Snapshots, newest first."""
    return s.scalars(
        select(Snapshot)
        .where(Snapshot.project_id == project_id)
        .order_by(Snapshot.id.desc())
        .options(selectinload(Snapshot.left_out))
    ).all()
