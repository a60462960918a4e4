"""An evaluation's protocol as people read it, while it is open and beside its result."""

from db.models import Evaluation
from eval.protocol import Protocol, Stopping, read_protocol
from ui.safe import show_table

STOPPING_WORDS = {
    Stopping.FIXED: "When every planned verdict is there; nobody knows before how it stands",
    Stopping.ANYTIME: "When the evidence is enough (peeking-safe); managers who do not judge in it may look",
}


def protocol_rows(evaluation: Evaluation) -> list[tuple[str, str]]:
    """What was fixed, as label and words; empty for an evaluation from before protocols."""
    if evaluation.protocol is None:
        return []
    fixed = read_protocol(evaluation.protocol)
    plan = fixed.plan
    second = sum(one.wanted > plan.judgments for one in fixed.pairings)
    judged = sum(not one.identical for one in fixed.pairings)
    rows = [
        ("Candidate", fixed.candidate.label),
        ("Against", ", ".join(one.label for one in fixed.baselines)),
        ("Primary contrast", "; ".join(fixed.label_of(one) for one in plan.primary)),
        ("Pairs", f"{judged} to judge, {fixed.identical} with the same text on both sides (ties)"),
        ("Verdicts wanted", f"{fixed.planned}: {plan.judgments} a pair, one more on {second} of them"),
        ("Smallest difference that matters", f"{plan.odds:g} to 1, found in {plan.power:.0%} of such evaluations"),
        ("Decided verdicts", _sample(fixed)),
        ("Expected", f"{plan.tie_rate:.0%} ties, verdicts on one prompt alike by {plan.correlation:g}"),
        ("It ends", STOPPING_WORDS[plan.stopping]),
        ("Asked after each verdict", "which side was the machine" if plan.ask_machine else "nothing"),
        ("Replies that tell who wrote them", _telling(fixed)),
        ("Hash", evaluation.protocol_sha256),
    ]
    return [*rows, ("Closed early", evaluation.closed_early)] if evaluation.closed_early else rows


def _sample(fixed: Protocol) -> str:
    enough = "enough" if fixed.expected_decided >= fixed.needed_decided else "too few to be sure of finding it"
    return f"{fixed.needed_decided} needed, about {fixed.expected_decided} expected: {enough}"


def _telling(fixed: Protocol) -> str:
    if not fixed.left_out and not fixed.kept_telltales:
        return "none was found"
    return f"pairs left out: {len(fixed.left_out)}; replies kept on purpose: {len(fixed.kept_telltales)}"


def show_protocol(evaluation: Evaluation) -> None:
    """The table."""
    show_table([{"What was fixed": label, "": words} for label, words in protocol_rows(evaluation)], whole=True)
