"""How an Evaluation came about, for a methods appendix: from its win rate back to who ranked what.

Everything that evaluation.md asks of a report and that is no figure: who took part with model hashes, prompts and
settings; where prompts came from and that no training had them; who judged; and the whole chain verdict → response →
model → training → snapshot → ranking → person, with ids. No reply and no prompt is repeated.
"""

import platform
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version as version_of

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from db.models import (
    Correction,
    Evaluation,
    GenerationRun,
    Guideline,
    JudgeRun,
    JudgeVerdict,
    Judgment,
    ModelVersion,
    Pairing,
    Preference,
    Project,
    Prompt,
    PromptSet,
    Ranking,
    Responder,
    ResponderKind,
    Response,
    Reviewer,
    Role,
    Snapshot,
    Thumb,
    TrainingRun,
)
from db.people import require
from errors import Refused, to_type
from eval.protocol import stated
from llm.template import text_hash
from settings import VERSION
from training.recipe.recipe import from_row

LIBRARIES = ("numpy", "scipy", "statsmodels", "sqlalchemy")
SHOWN_IDS = 12
"""So many ids are named before the rest is counted."""


@dataclass(frozen=True)
class TookPart:
    """An Evaluation in which a model took part."""

    evaluation: Evaluation
    responder: str
    """Label of the Responder by which it did."""
    candidate: bool
    """Else it was a baseline."""
    pairings: int


@dataclass(frozen=True)
class Section:
    """Names and values, all of them plain text."""

    title: str
    rows: tuple[tuple[str, str], ...]
    note: str = ""
    """A paragraph below."""


def methods(s: Session, *, by: int, evaluation_id: int) -> tuple[Section, ...]:
    """The appendix of a closed Evaluation, for its project's managers: it names who wrote, ranked and judged."""
    evaluation = s.get_one(Evaluation, evaluation_id)
    require(s, by=by, project_id=evaluation.project_id, roles=(Role.MANAGER,))
    if evaluation.closed_at is None:
        raise Refused("Who takes part is told when the evaluation is closed. Close it first.")
    taking_part = _responders(s, evaluation)
    return (
        Section("Fixed before the first verdict", stated(s, evaluation_id=evaluation_id).rows),
        _task(s, evaluation),
        _prompts(s, evaluation, taking_part),
        _reviewers(s, evaluation, taking_part),
        *_model_judges(s, evaluation),
        *(_responder(s, evaluation, one) for one in taking_part),
        *_trainings(s, taking_part),
        _code(),
    )


def took_part(s: Session, *, model_version_id: int) -> tuple[TookPart, ...]:
    """Every Evaluation that a model took part in, newest first, also as a baseline."""
    found: list[TookPart] = []
    for side, candidate in ((Pairing.candidate_response_id, True), (Pairing.baseline_response_id, False)):
        rows = s.execute(
            select(Evaluation, Responder, func.count(Pairing.id))
            .join(Pairing, Pairing.evaluation_id == Evaluation.id)
            .join(Response, Response.id == side)
            .join(Responder, Responder.id == Response.responder_id)
            .where(Responder.model_version_id == model_version_id)
            .group_by(Evaluation.id, Responder.id)
        )
        found += [TookPart(evaluation, responder.label, candidate, count) for evaluation, responder, count in rows]
    return tuple(sorted(found, key=lambda one: -one.evaluation.id))


def _responders(s: Session, evaluation: Evaluation) -> Sequence[Responder]:
    """The candidate, then the baselines."""
    used = (
        select(Response.responder_id)
        .join(Pairing, Pairing.baseline_response_id == Response.id)
        .where(Pairing.evaluation_id == evaluation.id)
    )
    rest = s.scalars(select(Responder).where(Responder.id.in_(used)).order_by(Responder.id))
    return [evaluation.candidate, *rest]


def _task(s: Session, evaluation: Evaluation) -> Section:
    project = s.get_one(Project, evaluation.project_id)
    when = evaluation.closed_at or evaluation.created_at
    guideline = s.scalars(
        select(Guideline)
        .where(Guideline.project_id == project.id, Guideline.created_at <= when)
        .order_by(Guideline.version.desc())
    ).first()
    return Section(
        "Task",
        (
            ("Project", f"{project.name} (id {project.id})"),
            ("What is answered", project.task or "not said"),
            ("Question to reviewers", "Which reply would you rather have sent? Left, right, both good, both bad."),
            ("Guideline", f"version {guideline.version}: {guideline.text}" if guideline else "none"),
        ),
    )


def _prompts(s: Session, evaluation: Evaluation, taking_part: Sequence[Responder]) -> Section:
    used = select(Pairing.prompt_id).where(Pairing.evaluation_id == evaluation.id)
    rows = s.execute(
        select(PromptSet, func.count(Prompt.id))
        .join(Prompt, Prompt.prompt_set_id == PromptSet.id)
        .where(Prompt.id.in_(used))
        .group_by(PromptSet.id)
        .order_by(PromptSet.id)
    ).all()
    found = [
        (f"From import {one.id}", f"{count:,} of {one.row_count:,} rows of {one.file_name}, sha256 {one.sha256}")
        for one, count in rows
    ]
    topics = Counter(s.scalars(select(Prompt.topic).where(Prompt.id.in_(used))))
    if set(topics) != {None}:
        found.append(("Topics", ", ".join(f"{topic or 'none'} {count:,}" for topic, count in topics.most_common(30))))
    same = s.scalar(select(func.count(Pairing.id)).where(Pairing.evaluation_id == evaluation.id, Pairing.identical))
    pairs = s.scalar(select(func.count(Pairing.id)).where(Pairing.evaluation_id == evaluation.id))
    found.append(("Pairs of replies", f"{pairs or 0:,}"))
    found.append(("Pairs with the same text twice", f"{same or 0:,}: shown to nobody, counted as ties"))
    learned = _learned(s, evaluation, taking_part)
    found.append(("In the training rows of any model here", f"{learned:,} of these prompts or near-duplicates of them"))
    return Section("Prompts", tuple(found), "Held out at import, near-duplicates on one side; drawn in a seeded order.")


def _learned(s: Session, evaluation: Evaluation, taking_part: Sequence[Responder]) -> int:
    """How many of the judged prompts, or near-duplicates, are in a Snapshot that any of the models learned from."""
    ours = s.execute(
        select(Prompt.content_hash, Prompt.cluster)
        .join(Pairing, Pairing.prompt_id == Prompt.id)
        .where(Pairing.evaluation_id == evaluation.id)
        .distinct()
    ).all()
    snapshots = [run.snapshot_id for one in taking_part for run in _runs(s, one.model_version)]
    theirs = s.execute(
        select(Prompt.content_hash, Prompt.cluster)
        .where(
            or_(
                Prompt.id.in_(select(Preference.prompt_id).where(Preference.snapshot_id.in_(snapshots))),
                Prompt.id.in_(select(Thumb.prompt_id).where(Thumb.snapshot_id.in_(snapshots))),
            )
        )
        .distinct()
    ).all()
    hashes, clusters = {row.content_hash for row in theirs}, {row.cluster for row in theirs}
    return sum(row.content_hash in hashes or row.cluster in clusters for row in ours)


def _reviewers(s: Session, evaluation: Evaluation, taking_part: Sequence[Responder]) -> Section:
    of_this = select(Pairing.id).where(Pairing.evaluation_id == evaluation.id)
    rows = s.execute(
        select(
            Reviewer,
            func.count(Judgment.id).filter(Judgment.verdict.is_not(None)),
            func.count(Judgment.id).filter(Judgment.verdict.is_(None)),
        )
        .join(Judgment, Judgment.reviewer_id == Reviewer.id)
        .where(Judgment.pairing_id.in_(of_this))
        .group_by(Reviewer.id)
        .order_by(Reviewer.id)
    ).all()
    snapshots = [run.snapshot_id for one in taking_part for run in _runs(s, one.model_version)]
    ranked = {reviewer.id for reviewer, _ in _whose_word(s, snapshots)}
    found = []
    for reviewer, judged, left in rows:
        words = f"{judged:,} verdicts; id {reviewer.id}"
        words += f"; simulated, by this rule: {reviewer.rule or 'not said'}" if reviewer.simulated else ""
        words += "; their rankings trained a model that is judged here" if reviewer.id in ranked else ""
        words += f"; {left:,} seen and not judged" if left else ""
        found.append((reviewer.label, words))
    people = sum(not reviewer.simulated for reviewer, _, _ in rows)
    found.insert(0, ("Number", f"{people} people, {len(rows) - people} simulated"))
    note = (
        "Blind: authors, names and ids never reach a judging browser; nobody judges what they wrote. Pairs seen and "
        "not judged are in no figure."
    )
    return Section("Reviewers", tuple(found), note)


def _model_judges(s: Session, evaluation: Evaluation) -> list[Section]:
    """Every model that was asked to judge as well; how far each goes with people stands among the figures."""
    runs = s.scalars(select(JudgeRun).where(JudgeRun.evaluation_id == evaluation.id).order_by(JudgeRun.id)).all()
    found = []
    for run in runs:
        judge = run.responder
        answers = select(func.count()).select_from(JudgeVerdict).where(JudgeVerdict.run_id == run.id)
        nothing = s.scalar(answers.where(JudgeVerdict.verdict.is_(None))) or 0
        rows = [
            ("Responder", f"{judge.name} (id {judge.id}), judge run {run.id}: {run.status.value.lower()}"),
            ("Asked for by", f"{s.get_one(Reviewer, run.requested_by_id).label}, {run.created_at:%d %B %Y, %H:%M} UTC"),
            ("Answers", f"{s.scalar(answers) or 0:,}, {nothing:,} of them without a verdict"),
            ("Decoding", f"temperature {judge.temperature:g}, at most {judge.max_tokens:,} tokens"),
            ("Sha256 of its instructions", text_hash(judge.instructions or "")),
            ("Instructions", judge.instructions or "empty"),
        ]
        if judge.endpoint_url:
            rows.append(("Endpoint", f"{judge.endpoint_model} at {judge.endpoint_url}"))
        if judge.model_version is not None:
            rows += _model(judge.model_version)
        note = "A model, no reviewer: each pair in both orders, blind; in no figure of people's."
        found.append(Section(f"Model judge: {judge.name}", tuple(rows), note))
    return found


def _responder(s: Session, evaluation: Evaluation, one: Responder) -> Section:
    candidate = one.id == evaluation.candidate_id
    side = Pairing.candidate_response_id if candidate else Pairing.baseline_response_id
    used = select(side).where(Pairing.evaluation_id == evaluation.id)
    replies = s.scalars(
        select(Response).where(Response.id.in_(used), Response.responder_id == one.id).order_by(Response.id)
    ).all()
    rows = [
        ("Role", "candidate" if candidate else "baseline"),
        ("Id", str(one.id)),
        ("Replies judged", f"{len(replies):,}: responses {_ids(reply.id for reply in replies)}"),
    ]
    if one.kind is ResponderKind.HUMAN:
        files = s.scalars(
            select(PromptSet).where(PromptSet.id.in_({r.prompt_set_id for r in replies if r.prompt_set_id is not None}))
        )
        known = [f"{file.file_name} (import {file.id}, sha256 {file.sha256})" for file in files]
        rows.append(("Who", "made up (simulated)" if one.simulated else "a person or a team"))
        rows.append(("From", "; ".join(known) or "written here"))
        return Section(f"Responder: {one.label}", tuple(rows))
    rows += [
        ("System prompt", one.instructions or "empty"),
        ("User's turn", one.user_template or "context above text"),
        ("Examples shown before", str(len(one.examples))),
        ("Decoding", f"temperature {one.temperature:g}, top-p {one.top_p:g}, at most {one.max_tokens:,} tokens"),
        ("Seeds", _some(reply.seed for reply in replies)),
        ("Chat template, by hash", _some(reply.template_hash for reply in replies)),
        ("Precision when it answered", _some(reply.dtype for reply in replies)),
        ("Cut at the token limit", f"{sum(reply.finish_reason == 'length' for reply in replies):,}"),
    ]
    runs = s.scalars(
        select(GenerationRun).where(
            GenerationRun.id.in_({r.generation_run_id for r in replies if r.generation_run_id is not None})
        )
    )
    rows.append(("Generated by", "; ".join(f"generation {run.id}" for run in runs) or "imported"))
    if one.endpoint_url:
        rows.append(("Endpoint", f"{one.endpoint_model} at {one.endpoint_url}"))
    if one.model_version is not None:
        rows += _model(one.model_version)
    return Section(f"Responder: {one.label}", tuple(rows))


def _model(model: ModelVersion) -> list[tuple[str, str]]:
    line = [model]
    while line[-1].parent is not None:
        line.append(line[-1].parent)
    return [
        ("Model" if steps == 0 else f"Made from, {steps} back", f"{one.name} (id {one.id}, sha256 {one.sha256 or '?'})")
        for steps, one in enumerate(line)
    ]


def _runs(s: Session, model: ModelVersion | None) -> list[TrainingRun]:
    """The trainings that the model and its ancestors came from, newest first."""
    found: list[TrainingRun] = []
    while model is not None:
        found += s.scalars(select(TrainingRun).where(TrainingRun.model_version_id == model.id))
        model = model.parent
    return found


def _trainings(s: Session, taking_part: Sequence[Responder]) -> list[Section]:
    runs = {run.id: run for one in taking_part for run in _runs(s, one.model_version)}
    return [_training(s, run) for run in runs.values()]


def _training(s: Session, run: TrainingRun) -> Section:
    snapshot = s.get_one(Snapshot, run.snapshot_id)
    by = s.get_one(Reviewer, run.requested_by_id)
    frozen_by = s.get_one(Reviewer, snapshot.created_by_id)
    simulated = f", {snapshot.simulated_count:,} of them simulated" if snapshot.simulated_count else ""
    recipe = from_row(run.recipe)
    rows = [
        ("Model", f"{run.model_name} (id {run.model_version_id}), from {run.base_model.name}"),
        ("Recipe", f"{recipe.name} (id {run.recipe_id}): {recipe.method.value}, seed {recipe.seed}"),
        ("Asked for by", by.label),
        ("Snapshot", f"{snapshot.id}, sha256 {snapshot.sha256}, frozen by {frozen_by.label}"),
        ("Preferences", f"{snapshot.row_count:,}{simulated}"),
    ]
    ids = select(Preference.ranking_id).where(Preference.snapshot_id == snapshot.id)
    rankings = s.scalars(select(Ranking.id).where(Ranking.id.in_(ids)).order_by(Ranking.id)).all()
    rows.append(("Rankings", f"{len(rankings):,}: {_ids(rankings)}" if rankings else "none"))
    rows += [
        (f"Word of {who.label}", f"{count:,} rankings and corrections") for who, count in _whose_word(s, [snapshot.id])
    ]
    return Section(f"Training {run.id}", tuple(rows))


def _whose_word(s: Session, snapshots: Sequence[int]) -> list[tuple[Reviewer, int]]:
    """Who ranked and corrected what the Snapshots hold, and how many of each person's rankings and corrections."""
    counts: Counter[int] = Counter()
    for table, column in (
        (Ranking, Preference.ranking_id),
        (Correction, Preference.correction_id),
    ):
        ids = select(column).where(Preference.snapshot_id.in_(snapshots), column.is_not(None))
        rows = s.execute(select(table.reviewer_id, func.count()).where(table.id.in_(ids)).group_by(table.reviewer_id))
        for reviewer_id, count in rows:
            counts[reviewer_id] += count
    thumbs = select(Thumb.ranking_id).where(Thumb.snapshot_id.in_(snapshots))
    pairs = select(Preference.ranking_id).where(
        Preference.snapshot_id.in_(snapshots), Preference.ranking_id.is_not(None)
    )
    only = select(Ranking.reviewer_id, func.count()).where(Ranking.id.in_(thumbs), Ranking.id.not_in(pairs))
    for reviewer_id, count in s.execute(only.group_by(Ranking.reviewer_id)):
        counts[reviewer_id] += count
    known = {one.id: one for one in s.scalars(select(Reviewer).where(Reviewer.id.in_(list(counts))))}
    return [(known[one], count) for one, count in sorted(counts.items())]


def _code() -> Section:
    rows = [("Pickwell", VERSION), ("Python", platform.python_version())]
    rows += [(name, version_of(name)) for name in LIBRARIES]
    line = to_type("winrate FILE --candidate NAME --json OUT")
    note = f"The verdicts as CSV give the same figures with: {line}."
    return Section("Reckoned with", tuple(rows), note)


def _ids(ids: Iterable[int]) -> str:
    """Ids, the first dozen named."""
    found = sorted(ids)
    named = ", ".join(map(str, found[:SHOWN_IDS]))
    return named if len(found) <= SHOWN_IDS else f"{named} … {found[-1]}"


def _some(values: Iterable[object]) -> str:
    """Different values, in words."""
    found = sorted({str(value) for value in values if value is not None})
    if not found:
        return "not known"
    return ", ".join(found[:SHOWN_IDS]) + (f" and {len(found) - SHOWN_IDS} more" if len(found) > SHOWN_IDS else "")
