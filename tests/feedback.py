"""What people said of replies, as a Snapshot is made of it: without a database."""

from datetime import date
from typing import Any

from training.data.preferences import derive
from training.data.selection import Selection
from training.data.terms import Feedback, FeedbackPrompt, FeedbackReply, Preferences


def a_question(n: int = 1, **fields: Any) -> FeedbackPrompt:
    return FeedbackPrompt(**{"id": n, "text": f"Question {n}?", "context": None, "cluster": f"cluster {n}", **fields})


def a_reply(text: str, finish_reason: str = "stop") -> FeedbackReply:
    return FeedbackReply(id=sum(map(ord, text)), text=text, finish_reason=finish_reason, author="Model")


def _said(n: int, **fields: Any) -> dict[str, Any]:
    """Ana, in May, of the first question."""
    ana = {"reviewer": "Ana", "reviewer_id": 1, "simulated": False, "given_on": date(2026, 5, 10)}
    return {"id": n, "prompt": a_question(), **ana, **fields}


def _reply(given: str | FeedbackReply) -> FeedbackReply:
    return a_reply(given) if isinstance(given, str) else given


def ranked(*placed: tuple[int, str | FeedbackReply], n: int = 1, **fields: Any) -> Feedback:
    """A ranking: each place with its reply."""
    replies = tuple((place, _reply(reply)) for place, reply in placed)
    return Feedback(**{"both_bad": False, "placed": replies, **_said(n, **fields)})


def corrected(original: str | FeedbackReply, text: str, n: int = 1, **fields: Any) -> Feedback:
    """A correction of a reply into the text."""
    return Feedback.correction(_reply(original), text, **_said(n, **fields))


def derived(*feedback: Feedback, **chosen: Any) -> Preferences:
    """What is learned from the feedback with these choices."""
    rankings = [one for one in feedback if not one.corrects]
    return derive(rankings, [one for one in feedback if one.corrects], Selection(**chosen))


def texts(found: Preferences) -> list[tuple[str, str]]:
    """Chosen and rejected text of each row."""
    return [(row.chosen.text, row.rejected.text) for row in found.rows]
