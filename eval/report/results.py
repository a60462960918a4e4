"""A closed Evaluation's Judgments as Votes and what these say; people apart from simulated reviewers, always.

A Pairing whose two texts are the same is shown to nobody and counts as a tie that nobody was asked about. The rows are
those of `python cli.py winrate`, so an export gives there, to the digit, what stands here.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from statistics import median
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload, selectinload

from db.models import Evaluation, Judgment, Pairing, Prompt, Responder, ResponderKind, Response
from errors import Refused
from eval.guesses import Guessed, guesses_of
from eval.protocol import Stated, stated
from eval.report.votes import VotesReport, report
from eval.second_looks import Twice, looks_of
from stats.contrasts import HeadToHead, contrasts
from stats.verdicts import Outcome, Verdict
from stats.votes import Votes, as_votes
from texts.rules import as_shown

TOGETHER = "People, together"
NOBODY = "(nobody: same text)"
"""Stands for the reviewer of a tie that nobody was asked about."""
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
    """The prompt's topic."""
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
    """The file that the prompt was imported from."""


@dataclass(frozen=True, eq=False)
class Verdicts:
    """What one kind of reviewer said, people or simulated ones; never both."""

    simulated: bool
    """The verdicts are a written rule's, not people's."""
    rows: tuple[JudgmentRow, ...]
    votes: Votes
    pooled: Votes
    """The same with all people's replies as one responder's; `votes` itself where there are not several people."""
    together: HeadToHead | None
    """The candidate against all people's replies as one baseline; only where there are several people."""
    each: tuple[HeadToHead, ...]
    """The candidate against every baseline, people first."""
    people: frozenset[str]
    """Labels of the baselines whose replies people wrote."""
    guesses: tuple[Guessed, ...] = ()
    """What people took for the machine, where they were asked."""
    twice: tuple[Twice, ...] = ()
    """Pairs that reviewers of this kind judged twice."""

    @property
    def contrasts(self) -> tuple[HeadToHead, ...]:
        """All, people together first."""
        return (self.together, *self.each) if self.together else self.each

    @property
    def head(self) -> HeadToHead:
        """The contrast that the sentence is about: the one named beforehand, else people together, else the first."""
        return next((one for one in self.contrasts if one.primary), self.contrasts[0])

    def is_people(self, one: HeadToHead) -> bool:
        """Whether people wrote the baseline's replies."""
        return one is self.together or one.baseline in self.people

    def figures(self, *, primary: tuple[str, str] | None = None) -> VotesReport:
        """Everything that `cli.py winrate` tells of the same votes."""
        return report(self.votes, primary=primary)

    def median_seconds(self) -> dict[str, float]:
        """By reviewer, of the verdicts that were timed."""
        taken: dict[str, list[float]] = {}
        for row in self.rows:
            if row.seconds is not None:
                taken.setdefault(row.reviewer, []).append(row.seconds)
        return {reviewer: median(seconds) for reviewer, seconds in sorted(taken.items())}


@dataclass(frozen=True)
class Results:
    """A closed Evaluation."""

    evaluation: Evaluation
    candidate: str
    stated: Stated
    verdicts: tuple[Verdicts, ...]
    """People's first; then simulated reviewers', if there are any."""


def results(s: Session, *, evaluation_id: int) -> Results:
    """Win rates of a closed evaluation; verdicts of people and of simulated reviewers are never pooled.

    Raises `Refused` while the evaluation is open: nobody may see how it stands.
    """
    evaluation = s.get_one(Evaluation, evaluation_id)
    if evaluation.closed_at is None:
        raise Refused("The results open when the evaluation is closed: seeing them earlier would sway the judging.")
    pairings = pairings_of(s, evaluation_id=evaluation_id)
    kinds = {
        judgment.reviewer.simulated
        for pairing in pairings
        for judgment in pairing.judgments
        if judgment.verdict is not None
    } or {False}
    protocol = stated(s, evaluation_id=evaluation_id)
    names = names_of(pairings)
    shown = as_shown(s, project_id=evaluation.project_id)
    length = {
        one.id: len(shown(one.text)) for pair in pairings for one in (pair.candidate_response, pair.baseline_response)
    }
    baselines = {pairing.baseline_response.responder for pairing in pairings}
    people = {names[one.id]: one.simulated for one in baselines if one.kind is ResponderKind.HUMAN}
    found = [
        verdicts_of(
            tuple(_rows(pairings, names, length, simulated=simulated)),
            simulated=simulated,
            people=people,
            candidate=names[evaluation.candidate_id],
            primary=protocol.primary,
        )
        for simulated in sorted(kinds)
    ]
    guesses = tuple(guesses_of(s, evaluation_id=evaluation_id))
    return Results(
        evaluation=evaluation,
        candidate=names[evaluation.candidate_id],
        stated=protocol,
        verdicts=tuple(
            replace(
                one,
                guesses=() if one.simulated else guesses,
                twice=looks_of(s, evaluation_id=evaluation_id, simulated=one.simulated),
            )
            for one in found
        ),
    )


def pairings_of(s: Session, *, evaluation_id: int) -> Sequence[Pairing]:
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


def names_of(pairings: Iterable[Pairing]) -> dict[int, str]:
    """Each Responder's label, with its id where two would be called the same."""
    found: dict[int, Responder] = {}
    for pairing in pairings:
        for response in (pairing.candidate_response, pairing.baseline_response):
            found[response.responder_id] = response.responder
    labels = [" ".join(one.label.split()) for one in found.values()]
    return {
        one.id: label if labels.count(label) == 1 else f"{label} #{one.id}"
        for one, label in zip(found.values(), labels, strict=True)
    }


def comment_of(judgment: Judgment) -> str:
    """What the reviewer wrote beside the verdict; empty where they could not or did not."""
    return getattr(judgment, "comment", None) or ""


def verdicts_of(
    rows: tuple[JudgmentRow, ...],
    *,
    simulated: bool,
    people: Mapping[str, bool],
    candidate: str,
    primary: tuple[str, str] | None,
) -> Verdicts:
    """Pure: rows of one kind of reviewer as votes and contrasts.

    Args:
        people: labels of the baselines whose replies people wrote, and whether these were made up.
    """
    votes = votes_of(rows, candidate=candidate)
    each = sorted(contrasts(votes, primary=primary), key=lambda one: one.baseline not in people)
    together, pooled = None, votes
    if len(people) > 1:
        made_up = set(people.values())
        mark = {frozenset({True}): " (simulated)", frozenset({True, False}): " (partly simulated)"}
        name = TOGETHER + mark.get(frozenset(made_up), "")
        pooled = votes_of(rows, candidate=candidate, as_one=(people, name))
        named = (candidate, name) if primary == (candidate, TOGETHER) else primary
        together = next((one for one in contrasts(pooled, primary=named) if one.baseline == name), None)
    return Verdicts(simulated, rows, votes, pooled, together, tuple(each), frozenset(people))


def votes_of(
    rows: Sequence[JudgmentRow], *, candidate: str, as_one: tuple[Collection[str], str] | None = None
) -> Votes:
    """The rows as columns; `as_one` are responders that count as one, and its name."""

    def name(responder: str) -> str:
        return as_one[1] if as_one and responder in as_one[0] else responder

    return as_votes(
        prompts=[row.prompt for row in rows],
        reviewers=[row.reviewer for row in rows],
        lefts=[name(row.left) for row in rows],
        rights=[name(row.right) for row in rows],
        verdicts=[row.verdict for row in rows],
        candidate=candidate,
        left_lengths=[row.left_length for row in rows],
        right_lengths=[row.right_length for row in rows],
        tags=[row.tag for row in rows],
        by_model=[row.judged_by == "model" for row in rows],
        unasked=[row.judged_by == "nobody" for row in rows],
    )


def as_columns(rows: Iterable[JudgmentRow]) -> list[dict[str, Any]]:
    """The rows for a table, in the order of the fields; blank cells where there is nothing to say."""
    return [{f.name: _cell(getattr(row, f.name)) for f in fields(row)} for row in rows]


def _cell(value: Any) -> Any:
    return value.value if isinstance(value, Outcome) else value


def reached(pairings: Iterable[Pairing], judged: Collection[int]) -> int | None:
    """Id of the Pairing up to which those of the same text count as ties; none for all of them.

    They are ties from the start, and pairs come to people in a drawn order. Where not all came, those behind the last
    judged one would make the rate of the others look more even than people found it.

    Args:
        judged: ids of the pairings with a verdict.
    """
    asked = {pairing.id for pairing in pairings if not pairing.identical}
    return None if asked <= set(judged) else max(judged, default=0)


def _rows(
    pairings: Sequence[Pairing], names: Mapping[int, str], length: Mapping[int, int], *, simulated: bool
) -> Iterable[JudgmentRow]:
    verdicts = {
        pairing.id: sorted(
            (one for one in pairing.judgments if one.verdict is not None and one.reviewer.simulated == simulated),
            key=lambda judgment: judgment.id,
        )
        for pairing in pairings
    }
    last = reached(pairings, {pairing_id for pairing_id, given in verdicts.items() if given})
    for pairing in pairings:
        if pairing.identical and last is not None and pairing.id > last:
            continue
        candidate, baseline = pairing.candidate_response, pairing.baseline_response
        given = verdicts[pairing.id]
        looks: list[Judgment | None] = [None] if pairing.identical else [*given]
        for look in looks:
            sides = (candidate, baseline) if look is None or look.candidate_left else (baseline, candidate)
            verdict = Verdict.TIE if look is None or look.verdict is None else look.verdict
            yield JudgmentRow(
                prompt=str(pairing.prompt_id),
                reviewer=NOBODY if look is None else " ".join(look.reviewer.label.split()),
                left=names[sides[0].responder_id],
                right=names[sides[1].responder_id],
                verdict=verdict.word,
                left_length=length[sides[0].id],
                right_length=length[sides[1].id],
                tag=(pairing.prompt.topic or "").strip() or NO_TAG,
                judged_by="nobody" if look is None else "model" if simulated else "person",
                outcome=verdict.outcome(candidate_left=look is None or look.candidate_left),
                candidate=names[candidate.responder_id],
                baseline=names[baseline.responder_id],
                seconds=look.seconds if look else None,
                judged_at=look.judged_at if look else None,
                comment=comment_of(look) if look else "",
                prompt_text=pairing.prompt.text,
                left_reply=sides[0].text,
                right_reply=sides[1].text,
                evaluation_id=pairing.evaluation_id,
                pairing_id=pairing.id,
                judgment_id=look.id if look else None,
                left_response_id=sides[0].id,
                right_response_id=sides[1].id,
                prompt_set=pairing.prompt.prompt_set.file_name,
            )
