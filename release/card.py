"""A model's card: what it was made from, by whose word, how, and how it fared; for its README and for the screen.

No prompt, reply or person's name is in it: people are counted, and texts are named by their hashes. It has the front
matter that model hubs read (https://huggingface.co/docs/hub/model-cards).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import func, select, union
from sqlalchemy.orm import Session

from db.lookup import newest_checks, the_model
from db.models import (
    Correction,
    Evaluation,
    ModelVersion,
    Preference,
    Project,
    Prompt,
    Ranking,
    Responder,
    Reviewer,
    Snapshot,
    Split,
    Thumb,
    TrainingRun,
    TrainingStep,
    TrainingWarning,
)
from eval.benchmarks.runs import contrasts, newest, scores_of
from eval.report.methods import Section
from eval.report.results import Verdicts, results
from files import MANIFEST, read_json
from jobs.runs import run_folder
from llm.folder import is_hub_id
from release.versions import Licence, ancestors, descendants, licence_of, training_of
from stats.contrasts import HeadToHead
from stats.estimates import CannotEstimate
from training.data.terms import LeftOut
from training.recipe.knobs import ADAPTERS, CHOICES, KNOBS
from training.trainer.run_folder import RecipeValues

HUB_LICENCES = frozenset(
    "apache-2.0 mit bsd-2-clause bsd-3-clause mpl-2.0 cc0-1.0 cc-by-4.0 cc-by-sa-4.0 cc-by-nc-4.0 openrail bigscience-"
    "openrail-m gemma llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 gpl-3.0 lgpl-3.0 agpl-3.0 unlicense".split()
)
"""Licences that the hub knows by these names; others are called "other" there and named beside it."""


@dataclass(frozen=True)
class Contest:
    """What a closed blind Evaluation found of the model, against one baseline."""

    evaluation: str
    baseline: str
    """Without a person's name."""
    wins: int
    ties: int
    losses: int
    rate: float
    interval: tuple[float, float] | None
    """95 %; none where all verdicts are on one prompt."""
    simulated_judges: bool
    """A written rule judged, not people."""

    @property
    def sentence(self) -> str:
        """The finding with its counts."""
        judges = "a written rule, which is simulated and no person," if self.simulated_judges else "people"
        lies = "no interval, for all are on one prompt"
        if self.interval is not None:
            lies = "95 % interval {:.1%} to {:.1%}".format(*self.interval)
        return (
            f"win rate {self.rate:.1%} ({lies}); {self.wins} wins, "
            f"{self.ties} ties, {self.losses} losses, n = {self.wins + self.ties + self.losses}; judged by {judges} "
            "without knowing whose reply was whose"
        )


def contests_of(s: Session, *, model_version_id: int) -> list[Contest]:
    """What closed Evaluations found with the model as their candidate, without anybody's name."""
    closed = s.scalars(
        select(Evaluation)
        .join(Responder, Responder.id == Evaluation.candidate_id)
        .where(Responder.model_version_id == model_version_id, Evaluation.closed_at.is_not(None))
        .order_by(Evaluation.id)
    ).all()
    return [one for evaluation in closed for one in _contests_of(s, evaluation)]


def _contests_of(s: Session, evaluation: Evaluation) -> list[Contest]:
    return [
        Contest(
            evaluation=evaluation.name,
            baseline=_baseline(by, one),
            wins=one.wins,
            ties=one.ties,
            losses=one.losses,
            rate=one.rate,
            interval=None if isinstance(one.interval, CannotEstimate) else (one.interval.low, one.interval.high),
            simulated_judges=by.simulated,
        )
        for by in results(s, evaluation_id=evaluation.id).verdicts
        for one in by.contrasts
        # several people are reported together, so that no card tells how one of them did
        if one is by.together or not (by.together and by.is_people(one))
    ]


def _baseline(by: Verdicts, one: HeadToHead) -> str:
    if one is by.together or not by.is_people(one):
        return one.baseline
    return "a person's replies" + (" (simulated)" if one.baseline.endswith("(simulated)") else "")


@dataclass(frozen=True)
class Card:
    """Everything that the card says; `markdown` writes it."""

    name: str
    summary: str
    licence: Licence
    base: str
    """Name of the base model."""
    base_hub_id: str | None
    goes_with: str
    """Name of the model that its adapter goes with."""
    adapter: bool
    """It was made with an adapter."""
    method: str | None
    """As it is called, such as DPO; none for a model that was not trained here."""
    sections: tuple[Section, ...]


def card(s: Session, *, model_version_id: int, contests: Sequence[Contest] = ()) -> Card:
    """The model's card, from the database and its run's folder; reads no weights.

    Args:
        contests: what closed Evaluations found of it, which is another stage's to know.
    """
    version = the_model(s, model_version_id)
    run = training_of(s, version)
    line = ancestors(version)
    base = line[-1] if line else version
    licence = licence_of(version)
    sections = [_origin(s, version, licence)]
    if run is not None:
        sections += [_data(s, run), _recipe(run), _training(s, run)]
    sections += [_prompt(s, version, run), _contests(contests), *_benchmarks(s, version), _lineage(s, version)]
    return Card(
        name=version.name,
        summary=_summary(s, version, run),
        licence=licence,
        base=base.name,
        base_hub_id=base.location if is_hub_id(base.location) else None,
        goes_with=(version.parent or version).name,
        adapter=version.adapter is not None,
        method=run.recipe.method.value if run is not None else None,
        sections=tuple(section for section in sections if section.rows or section.note),
    )


def markdown(found: Card, *, adapter_only: bool, files: Mapping[str, str], commands: Sequence[str]) -> str:
    """The card as README.md with YAML front matter.

    Args:
        files: name → sha256 of every other file in the folder.
        commands: lines that serve and ask the model, shown as code.
    """
    from huggingface_hub import ModelCard, ModelCardData

    known = found.licence.text.lower()
    named = {"license": known} if known in HUB_LICENCES else {"license": "other", "license_name": found.licence.text}
    data = ModelCardData(
        **(named if found.licence.known else {"license": "unknown"}),  # type: ignore[arg-type]
        base_model=found.base_hub_id,
        library_name="peft" if adapter_only else "transformers",
        pipeline_tag="text-generation",
        model_name=found.name,
        tags=["pickwell", *(["trl", found.method.lower()] if found.method else []), *(["lora"] * found.adapter)],
    )
    parts = [f"# {escaped(found.name)}", escaped(found.summary)]
    for section in (*found.sections, Section("Files, by sha256", tuple(files.items()))):
        parts.append(f"## {escaped(section.title)}")
        if section.rows:
            rows = [f"| {escaped(name)} | {escaped(value)} |" for name, value in section.rows]
            parts.append("\n".join(["| | |", "|---|---|", *rows]))
        if section.note:
            parts.append(escaped(section.note))
    if commands:
        beside = f", where {escaped(found.goes_with)} has to be too" if adapter_only and not found.base_hub_id else ""
        parts += ["## Serving it", f"With vLLM on a CPU or a GPU, from the folder above this one{beside}:"]
        parts += [f"```sh\n{command}\n```" for command in commands]
    body = "\n\n".join(parts)
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n\n{body}\n", ignore_metadata_errors=True))


_MARKS = re.compile(r"([\\`*_\[\]<>|#~!&$]|:(?=//)|(?<=www)\.)")


def escaped(text: str) -> str:
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


def _origin(s: Session, version: ModelVersion, licence: Licence) -> Section:
    line = ancestors(version)
    base = line[-1] if line else version
    rows = [
        ("Base model", base.name),
        ("Licence of the base", f"{licence.text} ({licence.source})"),
        ("Adapter", ADAPTERS[version.adapter].label if version.adapter else "none"),
        ("Precision of the weights", version.dtype or "not known"),
        ("Sha256 of the weights as registered", version.sha256 or "not known"),
    ]
    if version.retired_at is not None:
        rows.append(("Retired", f"on {version.retired_at:%d %B %Y}: no longer in use"))
    return Section("What it is", tuple(rows))


def _data(s: Session, run: TrainingRun) -> Section:
    snapshot = run.snapshot
    rows = select(func.count()).select_from(Preference).where(Preference.snapshot_id == snapshot.id)
    synthetic = rows.join(Prompt, Prompt.id == Preference.prompt_id).where(Prompt.synthetic)
    people, rules = who_ranked(s, snapshot_id=snapshot.id)
    corrections = s.scalar(rows.where(Preference.correction_id.is_not(None))) or 0
    found = [
        ("Snapshot", f"{snapshot.id}, frozen on {snapshot.created_at:%d %B %Y}"),
        ("Sha256 of its rows", snapshot.sha256),
        ("Preferences", f"{snapshot.row_count}, of them {corrections} from corrections, the others from rankings"),
        ("Replies judged by themselves", str(snapshot.thumb_count)),
        ("Set aside to watch the training on", str(s.scalar(rows.where(Preference.split == Split.VALIDATION)) or 0)),
        ("Simulated rows", f"{snapshot.simulated_count}: they rest on a rule's or made-up picks, not people's"),
        ("Rows on synthetic prompts", f"{s.scalar(synthetic) or 0}: no customer wrote these"),
        ("Whose word", f"{people} people, {rules} simulated reviewers"),
        ("Which feedback counted", selection_in_words(snapshot.selection)),
    ]
    if run.share < 1:
        found.append(("Learned from", f"{run.share:.0%} of the training rows"))
    left = [(f"Left out: {left_out_in_words(one.reason)}", str(one.count)) for one in snapshot.left_out]
    note = "Held-out prompts, which blind evaluations are judged on, are in none of these rows."
    return Section("What it learned from", (*found, *left), note)


def left_out_in_words(reason: str) -> str:
    """The sentence for a stored reason; the reason itself where this version does not know it."""
    return LeftOut(reason).sentence if reason in set(LeftOut) else reason.replace("_", " ").lower()


def who_ranked(s: Session, *, snapshot_id: int) -> tuple[int, int]:
    """How many people and how many simulated reviewers the Snapshot's rows rest on."""
    ids = union(
        select(Ranking.reviewer_id)
        .join(Preference, Preference.ranking_id == Ranking.id)
        .where(Preference.snapshot_id == snapshot_id),
        select(Correction.reviewer_id)
        .join(Preference, Preference.correction_id == Correction.id)
        .where(Preference.snapshot_id == snapshot_id),
        select(Ranking.reviewer_id).join(Thumb, Thumb.ranking_id == Ranking.id).where(Thumb.snapshot_id == snapshot_id),
    ).subquery()
    simulated = s.scalars(select(Reviewer.simulated).where(Reviewer.id.in_(select(ids)))).all()
    return simulated.count(False), simulated.count(True)


_TELLING = re.compile(r"[A-Z][A-Z0-9_]*|\d{4}-\d\d-\d\d[\dT:.+Z-]*")
"""Values of a selection that cannot be a text of anybody's: named choices and moments."""


def selection_in_words(selection: Mapping[str, Any] | None) -> str:
    """A Snapshot's selection as words; people are counted and typed texts are not repeated."""
    if selection is None:
        return "all that stood when it was frozen; there was no choice then"
    parts = [f"{name.replace('_', ' ')}: {_value(value)}" for name, value in selection.items() if value not in ([], {})]
    return "; ".join(parts) or "all"


def _value(value: Any) -> str:
    if value is None:
        return "any"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return selection_in_words(value)
    if isinstance(value, str):
        return value.replace("_", " ").lower() if _TELLING.fullmatch(value) else "a text"
    if all(isinstance(one, str) and _TELLING.fullmatch(one) for one in value):
        return ", ".join(_value(one) for one in value)
    return f"{len(value)} chosen"


def knobs(recipe: Any) -> dict[str, str]:
    """Every knob of a Recipe in words, by its label."""
    found = {}
    for knob in fields(RecipeValues):
        value = getattr(recipe, knob.name)
        label = KNOBS[knob.name].label if knob.name in KNOBS else knob.name.replace("_", " ").capitalize()
        found[label] = CHOICES[knob.name][value].label if knob.name in CHOICES else _knob(value)
    return found


def _knob(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _recipe(run: TrainingRun) -> Section:
    return Section("Recipe", tuple(knobs(run.recipe).items()))


def _training(s: Session, run: TrainingRun) -> Section:
    steps = s.scalars(
        select(TrainingStep).where(TrainingStep.training_run_id == run.id).order_by(TrainingStep.step)
    ).all()
    warnings = s.scalars(
        select(TrainingWarning).where(TrainingWarning.training_run_id == run.id).order_by(TrainingWarning.step)
    ).all()
    said = read_json(run_folder("training", run.id) / MANIFEST)
    rows = [("Device", str(said.get("device", "not known")))]
    if run.started_at and run.finished_at:
        rows.append(("Minutes", f"{(run.finished_at - run.started_at).total_seconds() / 60:.1f}"))
    memory = run.peak_memory_mb or said.get("peak_memory_mb")
    rows += [("Memory at most", f"{memory} MB")] if memory else []
    if run.versions:
        rows.append(("Libraries", ", ".join(f"{name} {number}" for name, number in run.versions.items())))
    training = [step for step in steps if step.split is Split.TRAIN]
    validation = [step for step in steps if step.split is Split.VALIDATION]
    if training:
        rows.append((f"Training rows, step {training[-1].step}", metrics(training[-1])))
    if validation:
        rows.append((f"Validation rows, step {validation[-1].step}", metrics(validation[-1])))
    if run.best_step is not None:
        best = [step for step in validation if step.step == run.best_step]
        rows.append(("Step whose model was kept", f"{run.best_step}{': ' + metrics(best[0]) if best else ''}"))
    rows += [("Ended early", run.stopped)] if run.stopped else []
    rows += [(f"Warning at step {one.step}", one.sentence) for one in warnings]
    note = "These are the trainer's own numbers. They say nothing of how good replies are."
    return Section("Training", tuple(rows), note)


def metrics(step: TrainingStep) -> str:
    """One step's numbers in words."""
    parts = [f"loss {step.loss:.4f}"]
    if step.reward_margin is not None:
        parts.append(f"reward margin {step.reward_margin:.3f}")
    if step.reward_accuracy is not None:
        parts.append(f"reward accuracy {step.reward_accuracy:.0%}")
    return ", ".join(parts)


def _prompt(s: Session, version: ModelVersion, run: TrainingRun | None) -> Section:
    check = newest_checks(s, model_version_ids=[version.id]).get(version.id)
    result = {None: "not known yet", True: "passed", False: "failed"}[check.passed] if check else "never made"
    rows = [
        ("Sha256 of the chat template", version.template_hash or "not known"),
        ("Sha256 of the system prompt", (run.snapshot.system_hash if run else None) or "not known"),
        ("Layout", version.layout.value if version.layout else "the model's own chat template"),
        ("Tokens that end a reply", version.stop_tokens or "not known"),
        ("Check that engine and trainer agree", result),
    ]
    note = "Send it the system prompt that it was trained with: it met no other." if run else ""
    return Section("What it reads", tuple(rows), note)


def _contests(contests: Sequence[Contest]) -> Section:
    rows = tuple((f"{one.evaluation}, against {one.baseline}", one.sentence) for one in contests)
    note = (
        "Win rate = (wins + ties / 2) / n over prompts that no training had. Verdicts of people and of rules are never "
        "counted together."
    )
    return Section("Blind evaluations", rows, note if rows else "It was in no blind evaluation that is closed.")


def _benchmarks(s: Session, version: ModelVersion) -> list[Section]:
    """Newest values, and what they show against the model that it was made from; nothing where none was measured."""
    alone = newest(scores_of(s, model_version_id=version.id))
    rows = [
        (f"{one.task}, {one.metric}", f"{one.value:.4g} on {one.examples:,} examples (standard error {error})")
        for one in alone
        for error in [f"{one.standard_error:.2g}" if one.standard_error is not None else "not known"]
    ]
    found = []
    if rows:
        with_what = "; ".join(sorted({one.measured_by for one in alone if one.measured_by}))
        note = f"The first examples of each task, measured with {with_what}. Not to be set beside published figures."
        found.append(Section("Public benchmarks", tuple(rows), note))
    for contrast in contrasts(s, version=version):
        told = [(f"{one.task}, {one.metric}", one.sentence) for one in contrast.told]
        untold = [(f"{one.task}, {one.metric}", f"not compared: {one.reason}") for one in contrast.untold]
        note = "On the same examples, with 95 % intervals; of twenty figures one looks different by chance."
        found.append(Section(f"Benchmarks: {contrast.model} against {contrast.reference}", (*told, *untold), note))
    return found


def _lineage(s: Session, version: ModelVersion) -> Section:
    rows = [(f"Made from, {steps} back", _named(one)) for steps, one in enumerate(ancestors(version), start=1)]
    rows += [("Made from it", _named(one)) for one in descendants(s, version)]
    note = "" if rows else "It was made from no other model here, and no other from it."
    return Section("Lineage", tuple(rows), note)


def _named(version: ModelVersion) -> str:
    retired = ", retired" if version.retired_at is not None else ""
    return f"{version.name} (sha256 {version.sha256 or 'not known'}{retired})"


def snapshot_in_words(snapshot: Snapshot) -> str:
    """A Snapshot on one line, simulated rows said."""
    simulated = f", {snapshot.simulated_count} simulated" if snapshot.simulated_count else ""
    return f"{snapshot.id}: {snapshot.row_count} preferences{simulated} ({snapshot.sha256[:8]})"
