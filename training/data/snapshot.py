"""Freeze a project's standing feedback: what would come of it, the frozen Snapshot, and proof that it is unchanged."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

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
from db.people import require
from errors import NotEnoughPreferences, NotFound
from generation.responders import prompt_format
from llm.template import Message, PromptFormat, text_hash
from review.lengths import LongerSide, Spread, spread
from settings import settings
from training.data.feedback import names, refuse_held_out, standing_corrections, standing_rankings
from training.data.preferences import derive, words_ahead
from training.data.rows import (
    FrozenRow,
    Rows,
    RowsFormat,
    Thumbs,
    UnpairedRow,
    content_sha256,
    read_rows,
    write_folder,
    zipped,
)
from training.data.selection import DEFAULTS, Selection, chosen_in_words
from training.data.terms import AskedPrompt, GivenReply, PreferenceRow, Preferences, reason_in_words

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


def preview(s: Session, *, project_id: int, selection: Selection = DEFAULTS) -> Preferences:
    """What `freeze` would give now; writes nothing. Raises `Refused` when a held-out prompt would get in."""
    return _derive(s, project_id, selection)[1]


def responder_shares(rows: Sequence[PreferenceRow]) -> list[ResponderShare]:
    """Whose replies and corrections are better and worse, the most often chosen first. Pure."""
    chosen = Counter(row.chosen.by for row in rows)
    rejected = Counter(row.rejected.by for row in rows)
    labels = sorted(chosen.keys() | rejected.keys(), key=lambda label: (-chosen[label], label))
    return [ResponderShare(label, chosen[label], rejected[label]) for label in labels]


def side_spreads(rows: Sequence[PreferenceRow]) -> list[Spread]:
    """How long the better and the worse replies are; none without rows. Pure.

    A model learns a difference in length sooner than anything else.
    """
    sides = {
        "better": [len(row.chosen.text.split()) for row in rows],
        "worse": [len(row.rejected.text.split()) for row in rows],
    }
    return [spread(side, words) for side, words in sides.items() if words]


def better_is_longer(rows: Sequence[PreferenceRow]) -> LongerSide:
    """How often the better reply is the longer one, and how often both are as long. Pure."""
    ahead = [words_ahead(row) for row in rows]
    return LongerSide("better", len(ahead), longer=sum(n > 0 for n in ahead), same=sum(n == 0 for n in ahead))


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
        raise NotEnoughPreferences(str(advice(len(found.rows))))
    rows, thumbs = _frozen(found, prompt)
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
            row_count=len(found.rows),
            simulated_count=found.simulated_count,
            thumb_count=len(found.thumbs),
            selection=selection.as_json(),
            created_by_id=by,
            created_at=now(),
        )
        _store(s, snapshot, found)
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
        select(Thumb.snapshot_id, func.count(Thumb.id))
        .join(Ranking, Ranking.id == Thumb.ranking_id)
        .join(Reviewer, Reviewer.id == Ranking.reviewer_id)
        .join(Snapshot, Snapshot.id == Thumb.snapshot_id)
        .where(Snapshot.project_id == project_id, Reviewer.simulated)
        .group_by(Thumb.snapshot_id)
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


def export(snapshot: Snapshot, form: RowsFormat) -> bytes:
    """The Snapshot's files of one form with its manifest, as a zip; raises as `verify` does."""
    return zipped(folder_of(snapshot), sha256=snapshot.sha256, form=form)


def advice(count: int) -> str | None:
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
    found = derive(
        standing_rankings(s, project_id=project_id),
        standing_corrections(s, project_id=project_id),
        selection,
    )
    refuse_held_out(s, project_id=project_id, rows=[*found.rows, *found.thumbs])
    return project, found


def _frozen(found: Preferences, prompt: PromptFormat) -> tuple[Rows, Thumbs]:
    rows: Rows = {split: [] for split in Split}
    for row in found.rows:
        rows[row.split].append(
            FrozenRow(
                prompt=_asked(prompt, row.prompt),
                chosen=_said(row.chosen),
                rejected=_said(row.rejected),
                prompt_id=row.prompt.id,
                chosen_id=row.chosen_id,
                rejected_id=row.rejected.id,
                ranking_id=row.ranking_id,
                correction_id=row.correction_id,
                reviewer=row.source.reviewer,
                simulated=row.simulated,
                synthetic=row.prompt.synthetic,
                cluster=row.prompt.cluster,
            )
        )
    thumbs: Thumbs = {split: [] for split in Split}
    for thumb in found.thumbs:
        thumbs[thumb.split].append(
            UnpairedRow(
                prompt=_asked(prompt, thumb.prompt),
                completion=_said(thumb.reply),
                label=False,
                prompt_id=thumb.prompt.id,
                response_id=thumb.reply.id,
                ranking_id=thumb.source.id,
                reviewer=thumb.source.reviewer,
                simulated=thumb.simulated,
                synthetic=thumb.prompt.synthetic,
            )
        )
    return rows, thumbs


def _asked(prompt: PromptFormat, asked: AskedPrompt) -> list[Message]:
    return prompt.messages(asked.text, asked.context, asked.extra)


def _said(reply: GivenReply) -> list[Message]:
    return [{"role": "assistant", "content": reply.text}]


def _prompt_of(s: Session, *, project_id: int, responder_id: int | None) -> Responder | None:
    if responder_id is None:
        return None
    found = s.get(Responder, responder_id)
    if found is None or found.project_id != project_id or found.kind is ResponderKind.HUMAN:
        raise NotFound("That responder is not in this project's list of models any more. Reload the page.")
    return found


def _store(s: Session, snapshot: Snapshot, found: Preferences) -> None:
    snapshot.left_out = [SnapshotLeftOut(reason=reason.value, count=n) for reason, n in found.left_out.items()]
    snapshot.preferences = [
        Preference(
            row=number,
            split=row.split,
            prompt_id=row.prompt.id,
            chosen_id=row.chosen_id,
            rejected_id=row.rejected.id,
            ranking_id=row.ranking_id,
            correction_id=row.correction_id,
        )
        for number, row in enumerate(found.rows)
    ]
    s.add(snapshot)
    s.flush()
    s.add_all(
        Thumb(
            snapshot_id=snapshot.id,
            split=thumb.split,
            prompt_id=thumb.prompt.id,
            response_id=thumb.reply.id,
            up=False,
            ranking_id=thumb.source.id,
        )
        for thumb in found.thumbs
    )
    s.flush()


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
