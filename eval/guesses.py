"""How often reviewers who were asked knew which side was the machine: the test of blindness."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

from db.models import Evaluation, Guess, Judgment, Pairing, ResponderKind, Reviewer
from errors import Refused
from stats.estimates import CannotEstimate, Estimated, Interval
from stats.intervals import proportion

NO_GUESS = CannotEstimate("nobody said which side was the machine. Ask reviewers, and have them guess where they can.")


@dataclass(frozen=True)
class Guessed:
    """One answer to which side was the machine, where exactly one was."""

    prompt: Hashable
    right: bool | None
    """None for "cannot tell"."""


@dataclass(frozen=True)
class GuessAccuracy:
    """The answers together; half right is what a coin gets, so blindness held where the interval holds a half."""

    right: int
    wrong: int
    cannot_tell: int
    rate: Estimated[float]
    """Right of those who named a side, in [0, 1]."""
    interval: Estimated[Interval]
    """95 %, clustered by prompt."""

    @property
    def asked(self) -> int:
        """Answers in all."""
        return self.right + self.wrong + self.cannot_tell

    @property
    def sentence(self) -> str:
        """What it says of the blindness, for a person."""
        if isinstance(self.rate, CannotEstimate) or isinstance(self.interval, CannotEstimate):
            return (
                f"Which side was the machine: {self.rate if isinstance(self.rate, CannotEstimate) else self.interval}"
            )
        named = self.right + self.wrong
        head = (
            f"Asked which side was the machine, reviewers were right in {self.right} of {named} "
            f"({self.rate:.0%}, {self.interval.percent}) and could not tell in {self.cannot_tell}"
        )
        if self.interval.low > 0.5:
            return f"{head}: they could often tell, so the verdicts were not fully blind."
        if self.interval.high < 0.5:
            return f"{head}: they took people for the machine."
        return f"{head}: no better than a coin, as far as these answers show."


def guess_accuracy(guesses: Iterable[Guessed]) -> GuessAccuracy:
    """Accuracy of the guesses with its interval."""
    answers = list(guesses)
    named = proportion((guess.prompt, guess.right) for guess in answers if guess.right is not None)
    cannot_tell = len(answers) - named.n
    if not named.n:
        return GuessAccuracy(0, 0, cannot_tell, NO_GUESS, NO_GUESS)
    interval = Interval(named.low, named.high)
    return GuessAccuracy(named.count, named.n - named.count, cannot_tell, named.rate, interval)


def guesses_of(s: Session, *, evaluation_id: int) -> list[Guessed]:
    """People's answers on pairings of which exactly one reply is a machine's; others have no right answer.

    Raises `Refused` while the evaluation is open.
    """
    if s.get_one(Evaluation, evaluation_id).closed_at is None:
        raise Refused("What reviewers guessed is told once the evaluation is closed.")
    rows = s.scalars(
        select(Judgment)
        .join(Pairing, Pairing.id == Judgment.pairing_id)
        .join(Reviewer, Reviewer.id == Judgment.reviewer_id)
        .where(Pairing.evaluation_id == evaluation_id, Judgment.guess.is_not(None), Reviewer.simulated.is_(False))
        .order_by(Judgment.id)
        .options(
            selectinload(Judgment.pairing).selectinload(Pairing.candidate_response),
            selectinload(Judgment.pairing).selectinload(Pairing.baseline_response),
        )
    )
    found = []
    for one in rows:
        sides = one.pairing.candidate_response, one.pairing.baseline_response
        machines = [side.responder.kind is not ResponderKind.HUMAN for side in sides]
        if sum(machines) != 1:
            continue
        machine_left = machines[0] is one.candidate_left
        right = None if one.guess is Guess.CANNOT_TELL else (one.guess is Guess.LEFT) is machine_left
        found.append(Guessed(one.pairing.prompt_id, right))
    return found
