"""Where a model came from: its parents, the trainings that made it, and whose feedback these learned from."""

from collections import Counter
from collections.abc import Sequence

from sqlalchemy import Select, func, or_, select
from sqlalchemy.orm import Session

from db.models import Correction, ModelVersion, Preference, Prompt, Ranking, Reviewer, Thumb, TrainingRun


def model_lineage(version: ModelVersion | None) -> list[ModelVersion]:
    """The model itself, then its parents, the base model last; empty without a model."""
    lineage: list[ModelVersion] = []
    while version is not None:
        lineage.append(version)
        version = version.parent
    return lineage


def list_descendants(s: Session, version: ModelVersion) -> list[ModelVersion]:
    """Every model that was made from this one, directly or not, oldest first."""
    descendants: list[ModelVersion] = []
    level = [version.id]
    while level:
        children = s.scalars(select(ModelVersion).where(ModelVersion.parent_id.in_(level))).all()
        descendants += children
        level = [child.id for child in children]
    return sorted(descendants, key=lambda descendant: descendant.id)


def list_trainings(s: Session, line: Sequence[ModelVersion]) -> list[TrainingRun]:
    """The trainings that made the models, in the order of these; none for a model that was added."""
    place = {version.id: at for at, version in enumerate(line)}
    runs = s.scalars(select(TrainingRun).where(TrainingRun.model_version_id.in_(place)).order_by(TrainingRun.id))
    return sorted(runs, key=lambda run: place[run.model_version_id or 0])


def find_training(s: Session, version: ModelVersion) -> TrainingRun | None:
    """The run that made the model; none for one that was added."""
    return next(iter(list_trainings(s, [version])), None)


def count_learned_prompts(s: Session, *, snapshot_ids: Sequence[int], prompt_ids: Select[int]) -> int:
    """How many of the prompts, themselves or by a near-duplicate, are in the Snapshots."""
    kinds = select(Prompt.content_hash, Prompt.cluster).distinct()
    rows = (select(table.prompt_id).where(table.snapshot_id.in_(snapshot_ids)) for table in (Preference, Thumb))
    learned = s.execute(kinds.where(or_(*(Prompt.id.in_(ids) for ids in rows)))).all()
    hashes, clusters = {row.content_hash for row in learned}, {row.cluster for row in learned}
    prompts = s.execute(kinds.where(Prompt.id.in_(prompt_ids)))
    return sum(row.content_hash in hashes or row.cluster in clusters for row in prompts)


def feedback_counts(s: Session, *, snapshot_ids: Sequence[int]) -> list[tuple[Reviewer, int]]:
    """Reviewers of the Snapshots' rows, each with the number of its rankings and corrections."""
    rows = Preference.snapshot_id.in_(snapshot_ids)
    rankings = or_(
        Ranking.id.in_(select(Preference.ranking_id).where(rows)),
        Ranking.id.in_(select(Thumb.ranking_id).where(Thumb.snapshot_id.in_(snapshot_ids))),
    )
    corrections = Correction.id.in_(select(Preference.correction_id).where(rows))
    counts: Counter[Reviewer] = Counter()
    for table, used in ((Ranking, rankings), (Correction, corrections)):
        by_reviewer = select(Reviewer, func.count(table.id)).join(table, table.reviewer_id == Reviewer.id)
        counts.update(dict(s.execute(by_reviewer.where(used).group_by(Reviewer.id)).all()))
    return sorted(counts.items(), key=lambda item: item[0].id)
