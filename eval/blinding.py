"""How often reviewers who were asked knew which side was the machine: the test of blindness."""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from db.models import Guess, Pairing, ResponderKind
from stats.estimates import CannotEstimate, Interval
from stats.intervals import Proportion, proportion

NO_GUESS = CannotEstimate("nobody said which side was the machine. Ask reviewers, and have them guess where they can.")


@dataclass(frozen=True)
class BlindingGuess:
    """One answer to which side was the machine, where exactly one was."""

    prompt: Hashable
    right: bool | None
    """None for "cannot tell"."""


@dataclass(frozen=True)
class BlindingCheck:
    """The answers together; half right is what a coin gets, so blindness held where the interval holds a half."""

    named: Proportion
    cannot_tell: int

    @property
    def sentence(self) -> str:
        """What it says of the blindness, for a person."""
        named = self.named
        if not named.n:
            return f"Which side was the machine: {NO_GUESS}"
        head = (
            f"Asked which side was the machine, reviewers were right in {named.count} of {named.n} "
            f"({named.rate:.0%}, {Interval(named.low, named.high).percent}) and could not tell in {self.cannot_tell}"
        )
        if named.low > 0.5:
            return f"{head}: they could often tell, so the verdicts were not fully blind."
        if named.high < 0.5:
            return f"{head}: they took people for the machine."
        return f"{head}: no better than a coin, as far as these answers show."


def blinding_check(guesses: Sequence[BlindingGuess]) -> BlindingCheck:
    """Accuracy of the guesses with its interval."""
    named = proportion((guess.prompt, guess.right) for guess in guesses if guess.right is not None)
    return BlindingCheck(named, len(guesses) - named.n)


def blinding_guesses(pairings: Iterable[Pairing]) -> list[BlindingGuess]:
    """People's answers on pairings of which exactly one reply is a machine's; others have no right answer."""
    guesses = []
    for pairing in pairings:
        sides = pairing.candidate_response, pairing.baseline_response
        candidate, baseline = (side.responder.kind is not ResponderKind.HUMAN for side in sides)
        for judgment in pairing.judgments if candidate is not baseline else ():
            if (guess := judgment.guess) is not None and not judgment.reviewer.simulated:
                is_right = (guess is Guess.LEFT) is (candidate is judgment.candidate_left)
                guesses.append(BlindingGuess(pairing.prompt_id, None if guess is Guess.CANNOT_TELL else is_right))
    return guesses
