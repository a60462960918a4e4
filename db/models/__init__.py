"""Every table, in the order of the story: who and what, prompts and responses, feedback, training, evaluation.

The words are those of `docs/glossary.md`. Provenance is always a foreign key, so that a win rate can be walked back to
the file that a prompt came from.
"""

from db.models.base import Base, StoredText, UtcDateTime, now
from db.models.evaluation import Evaluation, Judgment, Pairing, Verdict
from db.models.feedback import (
    Chip,
    Comparison,
    ComparisonResponse,
    Correction,
    Criterion,
    CriterionChoice,
    Flag,
    Lease,
    Placement,
    Ranking,
)
from db.models.people import Guideline, Membership, Project, Reviewer, Role
from db.models.responses import (
    GenerationRun,
    ModelVersion,
    Prompt,
    PromptSet,
    Responder,
    ResponderKind,
    Response,
    Scope,
)
from db.models.runs import Run, RunStatus, Worker
from db.models.training import Method, Preference, Recipe, Snapshot, SnapshotLeftOut, Split, TrainingRun, TrainingStep

__all__ = [
    "Base",
    "Chip",
    "Comparison",
    "ComparisonResponse",
    "Correction",
    "Criterion",
    "CriterionChoice",
    "Evaluation",
    "Flag",
    "GenerationRun",
    "Guideline",
    "Judgment",
    "Lease",
    "Membership",
    "Method",
    "ModelVersion",
    "Pairing",
    "Placement",
    "Preference",
    "Project",
    "Prompt",
    "PromptSet",
    "Ranking",
    "Recipe",
    "Responder",
    "ResponderKind",
    "Response",
    "Reviewer",
    "Role",
    "Run",
    "RunStatus",
    "Scope",
    "Snapshot",
    "SnapshotLeftOut",
    "Split",
    "StoredText",
    "TrainingRun",
    "TrainingStep",
    "UtcDateTime",
    "Verdict",
    "Worker",
    "now",
]
