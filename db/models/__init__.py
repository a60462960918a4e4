"""Every table, in the order of the story: who and what, prompts and responses, feedback, training, evaluation.

The words are those of `docs/glossary.md`. Provenance is always a foreign key, so that a win rate can be walked back to
the file that a prompt came from.
"""

from db.models.base import Base, StoredText, UtcDateTime, now
from db.models.checks import Assertion, AssertionResult, Claim, HiddenPart, ParityCheck, TextRule
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
from db.models.prompts import Prompt, PromptSet, RoutingRule
from db.models.responders import Adapter, Example, Layout, ModelVersion, Responder, ResponderKind
from db.models.responses import Companion, GenerationRun, Response, Scope, TrialPrompt
from db.models.runs import Run, RunStatus, Worker
from db.models.training import (
    Launcher,
    LearningCurve,
    Loss,
    Method,
    Preference,
    Recipe,
    Reference,
    Snapshot,
    SnapshotLeftOut,
    Split,
    Thumb,
    Timing,
    TrainingRun,
    TrainingSample,
    TrainingStep,
    TrainingWarning,
)

__all__ = [
    "Adapter",
    "Assertion",
    "AssertionResult",
    "Base",
    "Change",
    "Chip",
    "Claim",
    "Companion",
    "Comparison",
    "ComparisonResponse",
    "ComparisonState",
    "Correction",
    "Criterion",
    "CriterionChoice",
    "Draft",
    "Drawn",
    "Evaluation",
    "Example",
    "Flag",
    "GenerationRun",
    "Guideline",
    "HiddenPart",
    "Judgment",
    "Launcher",
    "Layout",
    "LearningCurve",
    "Lease",
    "Loss",
    "Membership",
    "Method",
    "ModelVersion",
    "NextBy",
    "Pairing",
    "ParityCheck",
    "Placement",
    "Preference",
    "Project",
    "Prompt",
    "PromptSet",
    "Ranking",
    "Recipe",
    "Reference",
    "Responder",
    "ResponderKind",
    "Response",
    "Reveal",
    "Reviewer",
    "Role",
    "RoutingRule",
    "Run",
    "RunStatus",
    "Scope",
    "Snapshot",
    "SnapshotLeftOut",
    "Split",
    "StoredText",
    "TextRule",
    "Thumb",
    "Timing",
    "TrainingRun",
    "TrainingSample",
    "TrainingStep",
    "TrainingWarning",
    "TrialPrompt",
    "UtcDateTime",
    "Verdict",
    "Worker",
    "draw_of",
    "now",
]
