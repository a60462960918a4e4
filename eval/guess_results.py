"""What people of a closed Evaluation took for the machine, as `eval.guesses` takes it."""

from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

from db.models import Evaluation, Guess, Judgment, Pairing, ResponderKind, Reviewer
from errors import Refused
from eval.guesses import Guessed


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
