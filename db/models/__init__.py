"""Every table, in the order of the story: who and what, prompts and responses, feedback, training, evaluation.

The words are those of `docs/glossary.md`. Provenance is always a foreign key, so that a win rate can be walked back to
the file that a prompt came from.
"""

from db.models.base import Base, StoredText, UtcDateTime, now
from db.models.comparisons import (
    Comparison,
    ComparisonResponse,
    ComparisonState,
    Drawn,
    Flag,
    Lease,
    Reveal,
    draw_of,
)
from db.models.evaluation import Evaluation, Judgment, Pairing, Verdict
from db.models.feedback import (
    Chip,
    Correction,
    Criterion,
    CriterionChoice,
    Draft,
    Placement,
    Ranking,
)
from db.models.history import Change
from db.models.people import Guideline, Membership, NextBy, Project, Reviewer, Role
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
    "Change",
    "Chip",
    "Comparison",
    "ComparisonResponse",
    "ComparisonState",
    "Correction",
    "Criterion",
    "CriterionChoice",
    "Draft",
    "Drawn",
    "Evaluation",
    "Flag",
    "GenerationRun",
    "Guideline",
    "Judgment",
    "Lease",
    "Membership",
    "Method",
    "ModelVersion",
    "NextBy",
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
    "Reveal",
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
    "draw_of",
    "now",
]
