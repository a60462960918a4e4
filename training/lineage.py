"""Where a model came from: what it was made from, the trainings that made it, and whose word these learned from."""

from collections import Counter
from collections.abc import Sequence

from sqlalchemy import Select, func, or_, select
from sqlalchemy.orm import Session

from db.models import Correction, ModelVersion, Preference, Prompt, Ranking, Reviewer, Thumb, TrainingRun


def line_of(version: ModelVersion | None) -> list[ModelVersion]:
    """The model itself, then what it was made from, the base model last; empty where no model is."""
    line: list[ModelVersion] = []
    while version is not None:
        line.append(version)
        version = version.parent
    return line


def descendants(s: Session, version: ModelVersion) -> list[ModelVersion]:
    """Every model that was made from this one, directly or not, oldest first."""
    found: list[ModelVersion] = []
    level = [version.id]
    while level:
        children = s.scalars(select(ModelVersion).where(ModelVersion.parent_id.in_(level))).all()
        found += children
        level = [child.id for child in children]
    return sorted(found, key=lambda child: child.id)


def trainings_of(s: Session, line: Sequence[ModelVersion]) -> list[TrainingRun]:
    """The trainings that made the models, in the order of these; none for a model that was added."""
    place = {version.id: at for at, version in enumerate(line)}
    runs = s.scalars(select(TrainingRun).where(TrainingRun.model_version_id.in_(place)).order_by(TrainingRun.id))
    return sorted(runs, key=lambda run: place[run.model_version_id or 0])


def training_of(s: Session, version: ModelVersion) -> TrainingRun | None:
    """The run that made the model; none for one that was added."""
    return next(iter(trainings_of(s, [version])), None)


def learned_from(s: Session, *, snapshot_ids: Sequence[int], prompt_ids: Select[int]) -> int:
    """How many of the prompts, themselves or by a near-duplicate, are in the Snapshots."""
    kinds = select(Prompt.content_hash, Prompt.cluster).distinct()
    rows = (select(table.prompt_id).where(table.snapshot_id.in_(snapshot_ids)) for table in (Preference, Thumb))
    learned = s.execute(kinds.where(or_(*(Prompt.id.in_(ids) for ids in rows)))).all()
    hashes, clusters = {row.content_hash for row in learned}, {row.cluster for row in learned}
    asked = s.execute(kinds.where(Prompt.id.in_(prompt_ids))).all()
    return sum(row.content_hash in hashes or row.cluster in clusters for row in asked)


def whose_word(s: Session, *, snapshot_ids: Sequence[int]) -> list[tuple[Reviewer, int]]:
    """Who ranked and corrected what the Snapshots hold, and how many rankings and corrections of each there are."""
    rows = Preference.snapshot_id.in_(snapshot_ids)
    rankings = or_(
        Ranking.id.in_(select(Preference.ranking_id).where(rows)),
        Ranking.id.in_(select(Thumb.ranking_id).where(Thumb.snapshot_id.in_(snapshot_ids))),
    )
    corrections = Correction.id.in_(select(Preference.correction_id).where(rows))
    counts: Counter[Reviewer] = Counter()
    for table, taken in ((Ranking, rankings), (Correction, corrections)):
        whose = select(Reviewer, func.count(table.id)).join(table, table.reviewer_id == Reviewer.id)
        for reviewer, count in s.execute(whose.where(taken).group_by(Reviewer.id)):
            counts[reviewer] += count
    return sorted(counts.items(), key=lambda one: one[0].id)
