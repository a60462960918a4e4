"""How an Evaluation came about, for a methods appendix: from its win rate back to who ranked what.

All that a report needs beside its figures: who took part with model hashes, prompts and settings; where prompts came
from and that no training had them; who judged; and the whole chain verdict → response → model → training → snapshot →
ranking → person, with ids. No reply and no prompt is repeated.
"""

import platform
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib.metadata import version as version_of

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.models import (
    Evaluation,
    GenerationRun,
    Guideline,
    JudgeRun,
    JudgeVerdict,
    Judgment,
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
    TrainingRun,
)
from db.people import require_role
from errors import Refused, to_type
from eval.contestants import list_participants
from eval.protocol import summarise_protocol
from eval.report.blocks import Sheet
from llm.template import text_hash
from settings import VERSION
from training.lineage import count_learned_prompts, feedback_counts, list_trainings, model_lineage
from training.recipe.recipe import from_row

LIBRARIES = ("numpy", "scipy", "statsmodels", "sqlalchemy")
SHOWN_IDS = 12


def methods_appendix(s: Session, *, by: int, evaluation_id: int) -> tuple[Sheet, ...]:
    """The appendix of a closed Evaluation, for its project's managers: it names who wrote, ranked and judged."""
    evaluation = s.get_one(Evaluation, evaluation_id)
    require_role(s, by=by, project_id=evaluation.project_id, roles=(Role.MANAGER,))
    if evaluation.closed_at is None:
        raise Refused("Who takes part is told when the evaluation is closed. Close it first.")
    responders = list_participants(s, evaluation)
    trainings = {run.id: run for who in responders for run in list_trainings(s, model_lineage(who.model_version))}
    snapshot_ids = [run.snapshot_id for run in trainings.values()]
    libraries = ((name, version_of(name)) for name in LIBRARIES)
    command = to_type("winrate FILE --candidate NAME --json OUT")
    judge_runs = s.scalars(select(JudgeRun).where(JudgeRun.evaluation_id == evaluation_id).order_by(JudgeRun.id)).all()
    return (
        Sheet("Fixed before the first verdict", summarise_protocol(s, evaluation_id=evaluation_id).rows),
        _task(s, evaluation),
        _prompts(s, evaluation_id, snapshot_ids),
        _reviewers(s, evaluation_id, snapshot_ids),
        *(_model_judge(s, run) for run in judge_runs),
        *(_responder(s, evaluation, responder) for responder in responders),
        *(_training(s, run) for run in trainings.values()),
        Sheet(
            "Reckoned with",
            (("Pickwell", VERSION), ("Python", platform.python_version()), *libraries),
            f"The verdicts as CSV give the same figures with: {command}.",
        ),
    )


def _task(s: Session, evaluation: Evaluation) -> Sheet:
    project = s.get_one(Project, evaluation.project_id)
    when = evaluation.closed_at or evaluation.created_at
    versions = select(Guideline).where(Guideline.project_id == project.id, Guideline.created_at <= when)
    guideline = s.scalars(versions.order_by(Guideline.version.desc())).first()
    rows = (
        ("Project", f"{project.name} (id {project.id})"),
        ("What is answered", project.task or "not said"),
        ("Question to reviewers", "Which reply would you rather have sent? Left, right, both good, both bad."),
        ("Guideline", f"version {guideline.version}: {guideline.text}" if guideline else "none"),
    )
    return Sheet("Task", rows)


def _prompts(s: Session, evaluation_id: int, snapshot_ids: Sequence[int]) -> Sheet:
    used = select(Pairing.prompt_id).where(Pairing.evaluation_id == evaluation_id)
    files = s.execute(
        select(PromptSet, func.count(Prompt.id))
        .join(Prompt, Prompt.prompt_set_id == PromptSet.id)
        .where(Prompt.id.in_(used))
        .group_by(PromptSet.id)
        .order_by(PromptSet.id)
    )
    rows = [
        (f"From import {file.id}", f"{count:,} of {file.row_count:,} rows of {file.file_name}, sha256 {file.sha256}")
        for file, count in files
    ]
    topics = Counter(s.scalars(select(Prompt.topic).where(Prompt.id.in_(used))))
    if set(topics) != {None}:
        rows.append(("Topics", ", ".join(f"{topic or 'none'} {count:,}" for topic, count in topics.most_common(30))))
    identical = s.scalars(select(Pairing.identical).where(Pairing.evaluation_id == evaluation_id)).all()
    learned = count_learned_prompts(s, snapshot_ids=snapshot_ids, prompt_ids=used)
    rows += [
        ("Pairs of replies", f"{len(identical):,}"),
        ("Pairs with the same text twice", f"{sum(identical):,}: shown to nobody, counted as ties"),
        ("In the training rows of any model here", f"{learned:,} of these prompts or near-duplicates of them"),
    ]
    return Sheet("Prompts", tuple(rows), "Held out at import, near-duplicates on one side; drawn in a seeded order.")


def _reviewers(s: Session, evaluation_id: int, snapshot_ids: Sequence[int]) -> Sheet:
    has_verdict = Judgment.verdict.is_not(None)
    reviewers = s.execute(
        select(Reviewer, func.count(Judgment.id).filter(has_verdict), func.count(Judgment.id).filter(~has_verdict))
        .join(Judgment, Judgment.reviewer_id == Reviewer.id)
        .join(Pairing, Pairing.id == Judgment.pairing_id)
        .where(Pairing.evaluation_id == evaluation_id)
        .group_by(Reviewer.id)
        .order_by(Reviewer.id)
    ).all()
    ranked = {reviewer.id for reviewer, _ in feedback_counts(s, snapshot_ids=snapshot_ids)}
    people = sum(not reviewer.simulated for reviewer, _, _ in reviewers)
    rows = [("Number", f"{people} people, {len(reviewers) - people} simulated")]
    for reviewer, judged, left in reviewers:
        words = f"{judged:,} verdicts; id {reviewer.id}"
        words += f"; simulated, by this rule: {reviewer.rule or 'not said'}" if reviewer.simulated else ""
        words += "; their rankings trained a model that is judged here" if reviewer.id in ranked else ""
        words += f"; {left:,} seen and not judged" if left else ""
        rows.append((reviewer.label, words))
    note = (
        "Blind: authors, names and ids never reach a judging browser; nobody judges what they wrote. Pairs seen and "
        "not judged are in no figure."
    )
    return Sheet("Reviewers", tuple(rows), note)


def _model_judge(s: Session, run: JudgeRun) -> Sheet:
    judge = run.responder
    verdicts = s.scalars(select(JudgeVerdict.verdict).where(JudgeVerdict.run_id == run.id)).all()
    rows = [
        ("Responder", f"{judge.name} (id {judge.id}), judge run {run.id}: {run.status.value.lower()}"),
        ("Asked for by", f"{s.get_one(Reviewer, run.requested_by_id).label}, {run.created_at:%d %B %Y, %H:%M} UTC"),
        ("Answers", f"{len(verdicts):,}, {verdicts.count(None):,} of them without a verdict"),
        ("Decoding", f"temperature {judge.temperature:g}, at most {judge.max_tokens:,} tokens"),
        ("Sha256 of its instructions", text_hash(judge.instructions or "")),
        ("Instructions", judge.instructions or "empty"),
        *_lineage_rows(judge),
    ]
    note = "A model, no reviewer: each pair in both orders, blind; in no figure of people's."
    return Sheet(f"Model judge: {judge.name}", tuple(rows), note)


def _responder(s: Session, evaluation: Evaluation, responder: Responder) -> Sheet:
    candidate = responder.id == evaluation.candidate_id
    side = Pairing.candidate_response_id if candidate else Pairing.baseline_response_id
    judged = Response.id.in_(select(side).where(Pairing.evaluation_id == evaluation.id))
    own = select(Response).where(judged, Response.responder_id == responder.id)
    replies = s.scalars(own.order_by(Response.id)).all()
    rows = [
        ("Role", "candidate" if candidate else "baseline"),
        ("Id", str(responder.id)),
        ("Replies judged", f"{len(replies):,}: responses {_name_ids(reply.id for reply in replies)}"),
    ]
    if responder.kind is ResponderKind.HUMAN:
        files = s.scalars(select(PromptSet).where(PromptSet.id.in_({reply.prompt_set_id for reply in replies})))
        known = [f"{file.file_name} (import {file.id}, sha256 {file.sha256})" for file in files]
        rows.append(("Who", "made up (simulated)" if responder.simulated else "a person or a team"))
        rows.append(("From", "; ".join(known) or "written here"))
        return Sheet(f"Responder: {responder.label}", tuple(rows))
    ids = {reply.generation_run_id for reply in replies}
    runs = s.scalars(select(GenerationRun.id).where(GenerationRun.id.in_(ids)))
    sampling = f"temperature {responder.temperature:g}, top-p {responder.top_p:g}"
    rows += [
        ("System prompt", responder.instructions or "empty"),
        ("User's turn", responder.user_template or "context above text"),
        ("Examples shown before", str(len(responder.examples))),
        ("Decoding", f"{sampling}, at most {responder.max_tokens:,} tokens"),
        ("Seeds", _name_values(reply.seed for reply in replies)),
        ("Chat template, by hash", _name_values(reply.template_hash for reply in replies)),
        ("Precision when it answered", _name_values(reply.dtype for reply in replies)),
        ("Cut at the token limit", f"{sum(reply.finish_reason == 'length' for reply in replies):,}"),
        ("Generated by", "; ".join(f"generation {run_id}" for run_id in runs) or "imported"),
        *_lineage_rows(responder),
    ]
    return Sheet(f"Responder: {responder.label}", tuple(rows))


def _lineage_rows(responder: Responder) -> list[tuple[str, str]]:
    """What answers for a Responder: an endpoint, or a model with all that it was made from."""
    rows = [("Endpoint", f"{responder.endpoint_model} at {responder.endpoint_url}")] if responder.endpoint_url else []
    for steps, model in enumerate(model_lineage(responder.model_version)):
        title = f"Made from, {steps} back" if steps else "Model"
        rows.append((title, f"{model.name} (id {model.id}, sha256 {model.sha256 or '?'})"))
    return rows


def _training(s: Session, run: TrainingRun) -> Sheet:
    snapshot, recipe = run.snapshot, from_row(run.recipe)
    by, frozen_by = (s.get_one(Reviewer, i).label for i in (run.requested_by_id, snapshot.created_by_id))
    simulated = f", {snapshot.simulated_count:,} of them simulated" if snapshot.simulated_count else ""
    ids = select(Preference.ranking_id).where(Preference.snapshot_id == snapshot.id)
    rankings = s.scalars(select(Ranking.id).where(Ranking.id.in_(ids))).all()
    words = [
        (f"Word of {reviewer.label}", f"{count:,} rankings and corrections")
        for reviewer, count in feedback_counts(s, snapshot_ids=[snapshot.id])
    ]
    rows = (
        ("Model", f"{run.model_name} (id {run.model_version_id}), from {run.base_model.name}"),
        ("Recipe", f"{recipe.name} (id {run.recipe_id}): {recipe.method.value}, seed {recipe.seed}"),
        ("Asked for by", by),
        ("Snapshot", f"{snapshot.id}, sha256 {snapshot.sha256}, frozen by {frozen_by}"),
        ("Preferences", f"{snapshot.row_count:,}{simulated}"),
        ("Rankings", f"{len(rankings):,}: {_name_ids(rankings)}" if rankings else "none"),
        *words,
    )
    return Sheet(f"Training {run.id}", rows)


def _name_ids(ids: Iterable[int]) -> str:
    first, rest = sorted(ids)[:SHOWN_IDS], sorted(ids)[SHOWN_IDS:]
    return ", ".join(map(str, first)) + (f" … {rest[-1]}" if rest else "")


def _name_values(values: Iterable[object]) -> str:
    different = sorted({str(value) for value in values if value is not None})
    more = f" and {len(different) - SHOWN_IDS} more" if len(different) > SHOWN_IDS else ""
    return ", ".join(different[:SHOWN_IDS]) + more or "not known"
