"""A model's card: what it was made from, by whose word, how, and how it fared; for its README and for the screen.

No prompt, reply or person's name is in it: people are counted, and texts are named by their hashes. It has the front
matter that model hubs read (https://huggingface.co/docs/hub/model-cards).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.lookup import get_model, newest_parity_checks
from db.models import ModelVersion, Preference, Project, Prompt, Recipe, Snapshot, Split, TrainingRun, TrainingStep
from eval.benchmarks.findings import compare_with_references, load_scores, newest_scores
from eval.report.blocks import Sheet
from eval.report.results import list_participations, load_results
from files import MANIFEST, read_json
from jobs.runs import run_folder
from llm.folder import is_hub_id
from release.versions import NOT_KNOWN, Licence, licence_of
from stats.contrasts import Contrast
from stats.estimates import CannotEstimate
from training.data.terms import LeftOutReason
from training.lineage import feedback_counts, find_training, list_descendants, model_lineage
from training.recipe.recipe import ADAPTERS, KNOBS, from_row
from training.trainer.history import load_steps, load_warnings

HUB_LICENCES = frozenset(
    "apache-2.0 mit bsd-2-clause bsd-3-clause mpl-2.0 cc0-1.0 cc-by-4.0 cc-by-sa-4.0 cc-by-nc-4.0 openrail bigscience-"
    "openrail-m gemma llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 gpl-3.0 lgpl-3.0 agpl-3.0 unlicense".split()
)
"""Licences that the hub knows by these names; others are called "other" there and named beside it."""

WIN_RATES = (
    "Win rate = (wins + ties / 2) / n over prompts that no training had. Verdicts of people and of rules are never "
    "counted together."
)
NO_EVALUATION = "It was in no blind evaluation that is closed."


@dataclass(frozen=True)
class Card:
    """Everything that the card says; `card_markdown` writes it."""

    name: str
    summary: str
    licence: Licence
    base_hub_id: str | None
    goes_with: str
    """Name of the model that its adapter goes with."""
    adapter: bool
    method: str | None
    """As it is called, such as DPO; none for a model that was not trained here."""
    sections: tuple[Sheet, ...]


def build_card(s: Session, *, model_version_id: int, evaluations: Sequence[tuple[str, str]] = ()) -> Card:
    """The model's card, from the database and its run's folder; reads no weights.

    Args:
        evaluations: what `evaluation_results` gives, which takes a moment to reckon.
    """
    version = get_model(s, model_version_id)
    run = find_training(s, version)
    lineage = model_lineage(version)
    base, licence = lineage[-1], licence_of(version)
    sections = [_origin(lineage, licence)]
    if run is not None:
        sections += [_data(s, run), Sheet("Recipe", tuple(knob_values(run.recipe).items())), _training(s, run)]
    rates = Sheet("Blind evaluations", tuple(evaluations), WIN_RATES if evaluations else NO_EVALUATION)
    sections += [_prompt(s, version, run), rates, *_benchmarks(s, version), _lineage(s, lineage)]
    return Card(
        name=version.name,
        summary=_summary(s, version, run),
        licence=licence,
        base_hub_id=base.location if is_hub_id(base.location) else None,
        goes_with=(version.parent or version).name,
        adapter=version.adapter is not None,
        method=run.recipe.method.value if run is not None else None,
        sections=tuple(section for section in sections if section.rows or section.note),
    )


def evaluation_results(s: Session, *, model_version_id: int) -> list[tuple[str, str]]:
    """What closed Evaluations found with the model as their candidate, without a person's name: which, and a sentence.

    Several people are told together, so that no card tells how one of them did.
    """
    return [
        (f"{evaluation.name}, against {baseline}", _describe_contrast(contrast, by_rule=results.simulated))
        for participation in reversed(list_participations(s, model_version_id=model_version_id))
        if participation.candidate and (evaluation := participation.evaluation).closed_at is not None
        for results in load_results(s, evaluation_id=evaluation.id).by_reviewers
        for contrast in results.contrasts
        if (baseline := results.nameless(contrast))
    ]


def card_markdown(card: Card, *, adapter_only: bool, files: Mapping[str, str], commands: Sequence[str]) -> str:
    """The card as README.md with YAML front matter.

    Args:
        files: name → sha256 of every other file in the folder.
        commands: lines that serve and ask the model, shown as code.
    """
    from huggingface_hub import ModelCard, ModelCardData

    licence = card.licence.text.lower()
    named = {"license": licence} if licence in HUB_LICENCES else {"license": "other", "license_name": card.licence.text}
    data = ModelCardData(
        **(named if card.licence.text != NOT_KNOWN else {"license": "unknown"}),  # type: ignore[arg-type]
        base_model=card.base_hub_id,
        library_name="peft" if adapter_only else "transformers",
        pipeline_tag="text-generation",
        model_name=card.name,
        tags=["pickwell", *(["trl", card.method.lower()] if card.method else []), *(["lora"] * card.adapter)],
    )
    parts = [f"# {escape_markdown(card.name)}", escape_markdown(card.summary)]
    for section in (*card.sections, Sheet("Files, by sha256", tuple(files.items()))):
        parts.append(f"## {escape_markdown(section.title)}")
        if section.rows:
            rows = [f"| {escape_markdown(name)} | {escape_markdown(value)} |" for name, value in section.rows]
            parts.append("\n".join(["| | |", "|---|---|", *rows]))
        if section.note:
            parts.append(escape_markdown(section.note))
    if commands:
        beside = (
            f", where {escape_markdown(card.goes_with)} has to be too" if adapter_only and not card.base_hub_id else ""
        )
        parts += ["## Serving it", f"With vLLM on a CPU or a GPU, from the folder above this one{beside}:"]
        parts += [f"```sh\n{command}\n```" for command in commands]
    body = "\n\n".join(parts)
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n\n{body}\n", ignore_metadata_errors=True))


_MARKS = re.compile(r"([\\`*_\[\]<>|#~!&$]|:(?=//)|(?<=www)\.)")


def escape_markdown(text: str) -> str:
    """Text as Markdown that shows exactly the text, on one line; what people typed becomes no link, picture or HTML."""
    return _MARKS.sub(r"\\\1", " ".join(text.split()))


def _summary(s: Session, version: ModelVersion, run: TrainingRun | None) -> str:
    if run is None:
        return f"{version.name} was added to Pickwell on {version.created_at:%d %B %Y}; it was not trained there."
    project = s.get_one(Project, run.project_id)
    simulated = run.snapshot.simulated_count
    words = f"{run.recipe.method.value} on {run.snapshot.row_count} preferences"
    if simulated:
        words += f", {simulated} of them simulated (a rule's picks, not people's)"
    return (
        f"{version.name} is {run.base_model.name} after {words}, made with Pickwell for the project {project.name} on "
        f"{version.created_at:%d %B %Y}. It learned style from those preferences; that it is right about facts was "
        "never shown."
    )


def _origin(lineage: Sequence[ModelVersion], licence: Licence) -> Sheet:
    version = lineage[0]
    rows = [
        ("Base model", lineage[-1].name),
        ("Licence of the base", f"{licence.text} ({licence.source})"),
        ("Adapter", ADAPTERS[version.adapter].label if version.adapter else "none"),
        ("Precision of the weights", version.dtype or "not known"),
        ("Sha256 of the weights as registered", version.sha256 or "not known"),
    ]
    if version.retired_at is not None:
        rows.append(("Retired", f"on {version.retired_at:%d %B %Y}: no longer in use"))
    return Sheet("What it is", tuple(rows))


def _data(s: Session, run: TrainingRun) -> Sheet:
    snapshot = run.snapshot
    count = select(func.count()).select_from(Preference).where(Preference.snapshot_id == snapshot.id)
    corrections = s.scalar(count.where(Preference.correction_id.is_not(None))) or 0
    validation = s.scalar(count.where(Preference.split == Split.VALIDATION)) or 0
    synthetic = s.scalar(count.join(Prompt, Prompt.id == Preference.prompt_id).where(Prompt.synthetic)) or 0
    simulated = [reviewer.simulated for reviewer, _ in feedback_counts(s, snapshot_ids=[snapshot.id])]
    rows = [
        ("Snapshot", f"{snapshot.id}, frozen on {snapshot.created_at:%d %B %Y}"),
        ("Sha256 of its rows", snapshot.sha256),
        ("Preferences", f"{snapshot.row_count}, of them {corrections} from corrections, the others from rankings"),
        ("Replies judged by themselves", str(snapshot.thumb_count)),
        ("Set aside to watch the training on", str(validation)),
        ("Simulated rows", f"{snapshot.simulated_count}: they rest on a rule's or made-up picks, not people's"),
        ("Rows on synthetic prompts", f"{synthetic}: no customer wrote these"),
        ("Whose word", f"{simulated.count(False)} people, {simulated.count(True)} simulated reviewers"),
        ("Which feedback counted", describe_selection(snapshot.selection)),
        *([("Learned from", f"{run.share:.0%} of the training rows")] if run.share < 1 else []),
        *((f"Left out: {_left_out_words(row.reason)}", str(row.count)) for row in snapshot.left_out),
    ]
    note = "Held-out prompts, which blind evaluations are judged on, are in none of these rows."
    return Sheet("What it learned from", tuple(rows), note)


def _left_out_words(reason: str) -> str:
    return LeftOutReason(reason).words if reason in set(LeftOutReason) else reason.replace("_", " ").lower()


_TELLING = re.compile(r"[A-Z][A-Z0-9_]*|\d{4}-\d\d-\d\d[\dT:.+Z-]*")
"""Values of a selection that cannot be a typed text: named choices and moments."""


def describe_selection(selection: Mapping[str, Any] | None) -> str:
    """A Snapshot's selection as words; people are counted and typed texts are not repeated."""
    if selection is None:
        return "all that stood when it was frozen; there was no choice then"
    parts = [f"{name.replace('_', ' ')}: {_value(value)}" for name, value in selection.items() if value not in ([], {})]
    return "; ".join(parts) or "all"


def _value(value: Any) -> str:
    match value:
        case Mapping():
            return describe_selection(value)
        case str():
            return value.replace("_", " ").lower() if _TELLING.fullmatch(value) else "a text"
        case list() | tuple():
            named = all(isinstance(item, str) and _TELLING.fullmatch(item) for item in value)
            return ", ".join(map(_value, value)) if named else f"{len(value)} chosen"
    return "any" if value is None else _knob(value if isinstance(value, bool) else float(value))


def knob_values(stored: Recipe) -> dict[str, str]:
    """Every knob of a Recipe in words, by its label."""
    recipe = from_row(stored)
    words = {"Name": recipe.name}
    for name, knob in KNOBS.items():
        value = getattr(recipe, name)
        words[knob.label] = knob.options[value].label if knob.options else _knob(value)
    return words


def _knob(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _training(s: Session, run: TrainingRun) -> Sheet:
    steps = load_steps(s, run_id=run.id)
    manifest = read_json(run_folder("training", run.id) / MANIFEST)
    rows = [("Device", str(manifest.get("device", "not known")))]
    if minutes := minutes_taken(run):
        rows.append(("Minutes", minutes))
    if memory := run.peak_memory_mb or manifest.get("peak_memory_mb"):
        rows.append(("Memory at most", f"{memory} MB"))
    if run.versions:
        rows.append(("Libraries", ", ".join(f"{name} {number}" for name, number in run.versions.items())))
    for split, words in ((Split.TRAIN, "Training"), (Split.VALIDATION, "Validation")):
        if own := [step for step in steps if step.split is split]:
            rows.append((f"{words} rows, step {own[-1].step}", step_metrics(own[-1])))
    if run.best_step is not None:
        best = [step for step in steps if (step.split, step.step) == (Split.VALIDATION, run.best_step)]
        rows.append(("Step whose model was kept", f"{run.best_step}{': ' + step_metrics(best[0]) if best else ''}"))
    rows += [("Ended early", run.stopped)] if run.stopped else []
    rows += [(f"Warning at step {warning.step}", warning.sentence) for warning in load_warnings(s, run_id=run.id)]
    note = "These are the trainer's own numbers. They say nothing of how good replies are."
    return Sheet("Training", tuple(rows), note)


def minutes_taken(run: TrainingRun) -> str:
    """With one decimal; empty where the run has not ended."""
    if not run.started_at or not run.finished_at:
        return ""
    return f"{(run.finished_at - run.started_at) / timedelta(minutes=1):.1f}"


def step_metrics(step: TrainingStep) -> str:
    """One step's numbers in words."""
    parts = [f"loss {step.loss:.4f}"]
    if step.reward_margin is not None:
        parts.append(f"reward margin {step.reward_margin:.3f}")
    if step.reward_accuracy is not None:
        parts.append(f"reward accuracy {step.reward_accuracy:.0%}")
    return ", ".join(parts)


def _prompt(s: Session, version: ModelVersion, run: TrainingRun | None) -> Sheet:
    check = newest_parity_checks(s, model_version_ids=[version.id]).get(version.id)
    result = {None: "not known yet", True: "passed", False: "failed"}[check.passed] if check else "never made"
    rows = [
        ("Sha256 of the chat template", version.template_hash or "not known"),
        ("Sha256 of the system prompt", (run.snapshot.system_hash if run else None) or "not known"),
        ("Layout", version.layout.value if version.layout else "the model's own chat template"),
        ("Tokens that end a reply", version.stop_tokens or "not known"),
        ("Check that engine and trainer agree", result),
    ]
    note = "Send it the system prompt that it was trained with: it met no other." if run else ""
    return Sheet("What it reads", tuple(rows), note)


def _describe_contrast(contrast: Contrast, *, by_rule: bool) -> str:
    interval = "no interval, for all are on one prompt"
    if not isinstance(contrast.interval, CannotEstimate):
        interval = f"95 % interval {contrast.interval.percent}"
    judges = "a written rule, which is simulated and no person," if by_rule else "people"
    return (
        f"win rate {contrast.rate:.1%} ({interval}); {contrast.wins} wins, {contrast.ties} ties, "
        f"{contrast.losses} losses, n = {contrast.n}; judged by {judges} without knowing whose reply was whose"
    )


def _benchmarks(s: Session, version: ModelVersion) -> list[Sheet]:
    """Newest values, and what they show against the model that it was made from; nothing where none was measured."""
    scores = newest_scores(load_scores(s, model_version_id=version.id))
    errors = (None if score.standard_error is None else f"{score.standard_error:.2g}" for score in scores)
    rows = tuple(
        (
            f"{score.task}, {score.metric}",
            f"{score.value:.4g} on {score.examples:,} examples (standard error {error or 'not known'})",
        )
        for score, error in zip(scores, errors, strict=True)
    )
    with_what = "; ".join(sorted({score.measured_by for score in scores if score.measured_by}))
    note = f"The first examples of each task, measured with {with_what}. Not to be set beside published figures."
    sheets = [Sheet("Public benchmarks", rows, note)] if rows else []
    note = "On the same examples, with 95 % intervals; of twenty figures one looks different by chance."
    for comparison in compare_with_references(s, version=version):
        title = f"Benchmarks: {comparison.model} against {comparison.reference}"
        compared = [(f"{row.task}, {row.metric}", row.sentence) for row in comparison.differences]
        refused = [(f"{row.task}, {row.metric}", f"not compared: {row.reason}") for row in comparison.not_compared]
        sheets.append(Sheet(title, (*compared, *refused), note))
    return sheets


def _lineage(s: Session, lineage: Sequence[ModelVersion]) -> Sheet:
    rows = [(f"Made from, {steps} back", _name_and_hash(parent)) for steps, parent in enumerate(lineage[1:], start=1)]
    rows += [("Made from it", _name_and_hash(child)) for child in list_descendants(s, lineage[0])]
    note = "" if rows else "It was made from no other model here, and no other from it."
    return Sheet("Lineage", tuple(rows), note)


def _name_and_hash(version: ModelVersion) -> str:
    retired = ", retired" if version.retired_at is not None else ""
    return f"{version.name} (sha256 {version.sha256 or 'not known'}{retired})"


def describe_snapshot(snapshot: Snapshot) -> str:
    """A Snapshot on one line, simulated rows said."""
    simulated = f", {snapshot.simulated_count} simulated" if snapshot.simulated_count else ""
    return f"{snapshot.id}: {snapshot.row_count} preferences{simulated} ({snapshot.sha256[:8]})"
