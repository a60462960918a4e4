"""A closed Evaluation's Judgments as Votes and what these say; people apart from simulated reviewers, always.

A Pairing whose two texts are the same is not shown and counts as a tie that no reviewer was asked about. The rows are
those of `python cli.py winrate`, so an export gives there, to the digit, what stands here.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import chain

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session, joinedload, selectinload

from db.models import Evaluation, Judgment, Pairing, Prompt, Responder, ResponderKind, Response
from errors import Refused
from eval.blinding import BlindingGuess, blinding_guesses
from eval.protocol import TOGETHER, ProtocolSummary, summarise_protocol
from eval.repeats import RepeatedVerdict, load_repeats
from eval.report.votes import VoteFigures, vote_figures
from stats.contrasts import Contrast, contrasts
from stats.verdicts import Outcome, Verdict
from stats.votes import Votes, as_votes
from texts.rules import load_text_filter

NOBODY = "(nobody: same text)"
"""Stands for the reviewer of a tie that no reviewer was asked about."""
NO_TAG = "(no tag)"


@dataclass(frozen=True)
class JudgmentRow:
    """One vote with everything behind it; the columns of the CSV export, the first nine as `cli.py winrate` reads."""

    prompt: str
    """The Prompt's id: its text may be long, and is not unique without its context."""
    reviewer: str
    left: str
    right: str
    verdict: str
    left_length: int
    """Characters of the text as it was shown."""
    right_length: int
    tag: str
    judged_by: str
    """person; model, which a simulated reviewer's word counts as; or nobody, where both texts are the same."""
    outcome: Outcome
    candidate: str
    baseline: str
    seconds: float | None
    judged_at: datetime | None
    comment: str
    prompt_text: str
    left_reply: str
    """As it was written; what hides names and signatures is not applied."""
    right_reply: str
    evaluation_id: int
    pairing_id: int
    judgment_id: int | None
    left_response_id: int
    right_response_id: int
    prompt_set: str


@dataclass(frozen=True, eq=False)
class ReviewerResults:
    """What one kind of reviewer said, people or simulated ones; never both."""

    simulated: bool
    rows: tuple[JudgmentRow, ...]
    votes: Votes
    pooled: Votes
    """The same with all people's replies as one responder's; `votes` itself where there are not several people."""
    people_together: Contrast | None
    """The candidate against all people's replies as one baseline; only where there are several people."""
    by_baseline: tuple[Contrast, ...]
    """The candidate against every baseline, people first."""
    people: frozenset[str]
    primary: tuple[str, str] | None = None
    guesses: tuple[BlindingGuess, ...] = ()
    repeats: tuple[RepeatedVerdict, ...] = ()

    @property
    def contrasts(self) -> tuple[Contrast, ...]:
        """All, people together first."""
        return (self.people_together, *self.by_baseline) if self.people_together else self.by_baseline

    @property
    def headline(self) -> Contrast:
        """The contrast that the sentence is about: the one named beforehand, else people together, else the first."""
        return next((contrast for contrast in self.contrasts if contrast.primary), self.contrasts[0])

    def is_people(self, contrast: Contrast) -> bool:
        """Whether people wrote the baseline's replies."""
        return contrast is self.people_together or contrast.baseline in self.people

    def nameless(self, contrast: Contrast) -> str:
        """The baseline without a person's name; empty for one person where several are counted together too."""
        if contrast is self.people_together or not self.is_people(contrast):
            return contrast.baseline
        if self.people_together:
            return ""
        return "a person's replies" + (" (simulated)" if contrast.baseline.endswith("(simulated)") else "")

    @cached_property
    def figures(self) -> VoteFigures:
        """Everything that `cli.py winrate` tells of the same votes; reckoned once."""
        return vote_figures(self.votes, primary=self.primary)


@dataclass(frozen=True)
class Results:
    """A closed Evaluation."""

    evaluation: Evaluation
    candidate: str
    protocol: ProtocolSummary
    by_reviewers: tuple[ReviewerResults, ...]
    """People's first; then simulated reviewers', if there are any."""


@dataclass(frozen=True)
class Participation:
    """An Evaluation in which a model took part."""

    evaluation: Evaluation
    responder: str
    candidate: bool
    pairings: int


def load_results(s: Session, *, evaluation_id: int) -> Results:
    """Win rates of a closed evaluation; verdicts of people and of simulated reviewers are never pooled.

    Raises `Refused` while the evaluation is open: no reviewer may see how it stands.
    """
    evaluation = s.get_one(Evaluation, evaluation_id)
    if evaluation.closed_at is None:
        raise Refused("The results open when the evaluation is closed: seeing them earlier would sway the judging.")
    pairings = load_pairings(s, evaluation_id=evaluation_id)
    protocol = summarise_protocol(s, evaluation_id=evaluation_id)
    names = responder_names(pairings)
    candidate = names[evaluation.candidate_id]
    filter_text = load_text_filter(s, project_id=evaluation.project_id)
    length = {reply.id: len(filter_text(reply.text)) for reply in replies_of(pairings)}
    judged = (judgment for pairing in pairings for judgment in pairing.judgments if judgment.verdict is not None)
    baselines = {pairing.baseline_response.responder for pairing in pairings}
    people = {names[writer.id]: writer.simulated for writer in baselines if writer.kind is ResponderKind.HUMAN}
    by_reviewers = tuple(
        reviewer_results(
            tuple(_build_rows(pairings, names, length, simulated=simulated)),
            simulated=simulated,
            people=people,
            candidate=candidate,
            primary=protocol.primary,
            guesses=() if simulated else tuple(blinding_guesses(pairings)),
            repeats=load_repeats(s, evaluation_id=evaluation_id, simulated=simulated),
        )
        for simulated in sorted({judgment.reviewer.simulated for judgment in judged} or {False})
    )
    return Results(evaluation, candidate, protocol, by_reviewers)


def list_participations(s: Session, *, model_version_id: int) -> list[Participation]:
    """Every Evaluation that a model took part in, newest first, also as a baseline."""
    candidate = Responder.id == Evaluation.candidate_id
    sides = Response.id.in_([Pairing.candidate_response_id, Pairing.baseline_response_id])
    rows = s.execute(
        select(Evaluation, Responder, func.count(Pairing.id))
        .join(Pairing, Pairing.evaluation_id == Evaluation.id)
        .join(Response, sides)
        .join(Responder, Responder.id == Response.responder_id)
        .where(Responder.model_version_id == model_version_id)
        .group_by(Evaluation.id, Responder.id)
        .order_by(Evaluation.id.desc(), case((candidate, 0), else_=Responder.id))
    )
    return [
        Participation(evaluation, responder.label, responder.id == evaluation.candidate_id, pairings)
        for evaluation, responder, pairings in rows
    ]


def load_pairings(s: Session, *, evaluation_id: int) -> Sequence[Pairing]:
    """The Pairings with their texts, authors and judgments at hand, in the order in which they were drawn."""
    return s.scalars(
        select(Pairing)
        .where(Pairing.evaluation_id == evaluation_id)
        .options(
            selectinload(Pairing.judgments).joinedload(Judgment.reviewer),
            joinedload(Pairing.prompt).joinedload(Prompt.prompt_set),
            joinedload(Pairing.candidate_response).joinedload(Response.responder),
            joinedload(Pairing.baseline_response).joinedload(Response.responder),
        )
        .order_by(Pairing.id)
    ).all()


def replies_of(pairings: Iterable[Pairing]) -> Iterator[Response]:
    """Both sides of each, the candidate's first."""
    return chain.from_iterable((pairing.candidate_response, pairing.baseline_response) for pairing in pairings)


def judgments_with_verdict(pairing: Pairing, *, simulated: bool) -> list[Judgment]:
    """Those with a verdict by one kind of reviewer, oldest first."""
    of_kind = (judgment for judgment in pairing.judgments if judgment.reviewer.simulated == simulated)
    return sorted((judgment for judgment in of_kind if judgment.verdict is not None), key=lambda judgment: judgment.id)


def responder_names(pairings: Iterable[Pairing]) -> dict[int, str]:
    """Each Responder's label, with its id where two would be called the same."""
    labels = {reply.responder_id: " ".join(reply.responder.label.split()) for reply in replies_of(pairings)}
    count = Counter(labels.values())
    return {key: label if count[label] == 1 else f"{label} #{key}" for key, label in labels.items()}


def reviewer_results(
    rows: tuple[JudgmentRow, ...],
    *,
    simulated: bool,
    people: Mapping[str, bool],
    candidate: str,
    primary: tuple[str, str] | None,
    guesses: tuple[BlindingGuess, ...] = (),
    repeats: tuple[RepeatedVerdict, ...] = (),
) -> ReviewerResults:
    """Pure: rows of one kind of reviewer as votes and contrasts.

    Args:
        people: labels of the baselines whose replies people wrote, and whether these were made up.
    """
    votes = pooled = _build_votes(rows, candidate=candidate, names={})
    by_baseline = sorted(contrasts(votes, primary=primary), key=lambda contrast: contrast.baseline not in people)
    together = None
    if len(people) > 1:
        made_up = set(people.values())
        name = TOGETHER + ("" if made_up == {False} else " (simulated)" if made_up == {True} else " (partly simulated)")
        pooled = _build_votes(rows, candidate=candidate, names=dict.fromkeys(people, name))
        pooled_contrasts = contrasts(pooled, primary=(candidate, name) if primary == (candidate, TOGETHER) else primary)
        together = next((contrast for contrast in pooled_contrasts if contrast.baseline == name), None)
    return ReviewerResults(
        simulated, rows, votes, pooled, together, tuple(by_baseline), frozenset(people), primary, guesses, repeats
    )


def _build_votes(rows: Sequence[JudgmentRow], *, candidate: str, names: Mapping[str, str]) -> Votes:
    """The rows as columns, some responders by other names."""
    return as_votes(
        prompts=[row.prompt for row in rows],
        reviewers=[row.reviewer for row in rows],
        lefts=[names.get(row.left, row.left) for row in rows],
        rights=[names.get(row.right, row.right) for row in rows],
        verdicts=[row.verdict for row in rows],
        candidate=candidate,
        left_lengths=[row.left_length for row in rows],
        right_lengths=[row.right_length for row in rows],
        tags=[row.tag for row in rows],
        by_model=[row.judged_by == "model" for row in rows],
        unasked=[row.judged_by == "nobody" for row in rows],
    )


def last_reached(pairings: Iterable[Pairing], judged: Collection[int]) -> int | None:
    """Id of the Pairing up to which those of the same text count as ties; none for all of them.

    They are ties from the start, and pairs come to people in a drawn order. Where not all came, those behind the last
    judged one would make the rate of the others look more even than people found it.

    Args:
        judged: ids of the pairings with a verdict.
    """
    asked = {pairing.id for pairing in pairings if not pairing.identical}
    return None if asked <= set(judged) else max(judged, default=0)


def _build_rows(
    pairings: Sequence[Pairing], names: Mapping[int, str], length: Mapping[int, int], *, simulated: bool
) -> Iterable[JudgmentRow]:
    by_pairing = {pairing.id: judgments_with_verdict(pairing, simulated=simulated) for pairing in pairings}
    last = last_reached(pairings, {pairing_id for pairing_id, judgments in by_pairing.items() if judgments})
    for pairing in pairings:
        if pairing.identical and last is not None and pairing.id > last:
            continue
        candidate, baseline = pairing.candidate_response, pairing.baseline_response
        for judgment in [None] if pairing.identical else by_pairing[pairing.id]:
            candidate_left = judgment is None or judgment.candidate_left
            left, right = (candidate, baseline) if candidate_left else (baseline, candidate)
            verdict = judgment.verdict if judgment and judgment.verdict else Verdict.TIE
            yield JudgmentRow(
                prompt=str(pairing.prompt_id),
                reviewer=" ".join(judgment.reviewer.label.split()) if judgment else NOBODY,
                left=names[left.responder_id],
                right=names[right.responder_id],
                verdict=verdict.word,
                left_length=length[left.id],
                right_length=length[right.id],
                tag=(pairing.prompt.topic or "").strip() or NO_TAG,
                judged_by="nobody" if judgment is None else "model" if simulated else "person",
                outcome=verdict.outcome(candidate_left=candidate_left),
                candidate=names[candidate.responder_id],
                baseline=names[baseline.responder_id],
                seconds=judgment.seconds if judgment else None,
                judged_at=judgment.judged_at if judgment else None,
                comment=judgment.comment or "" if judgment else "",
                prompt_text=pairing.prompt.text,
                left_reply=left.text,
                right_reply=right.text,
                evaluation_id=pairing.evaluation_id,
                pairing_id=pairing.id,
                judgment_id=judgment.id if judgment else None,
                left_response_id=left.id,
                right_response_id=right.id,
                prompt_set=pairing.prompt.prompt_set.file_name,
            )
