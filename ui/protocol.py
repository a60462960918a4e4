"""An evaluation's protocol as people read it while it is open."""

from db.models import Evaluation
from eval.protocol import protocol_rows
from ui.safe import show_table


def show_protocol(evaluation: Evaluation) -> None:
    """The table."""
    show_table([{"What was fixed": label, "": words} for label, words in protocol_rows(evaluation)], whole=True)
