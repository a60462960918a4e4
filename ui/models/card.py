"""A model's card on the screen, with what closed blind Evaluations found of it."""

import streamlit as st
from sqlalchemy.orm import Session

from eval.report.methods import TookPart, took_part
from eval.report.results import Results, results
from release.card import Card
from texts.escape import escaped
from ui.safe import plain, show_table


def show_evaluations(s: Session, *, model_version_id: int) -> None:
    """Every Evaluation that the model took part in, also as a baseline, with what the closed ones found."""
    found = took_part(s, model_version_id=model_version_id)
    if not found:
        st.caption("It was in no blind evaluation yet.")
        return
    told = {
        one.evaluation.id: results(s, evaluation_id=one.evaluation.id)
        for one in found
        if one.evaluation.closed_at is not None
    }
    show_table(
        [
            {
                "Evaluation": f"{one.evaluation.name} (id {one.evaluation.id})",
                "As": f"{'candidate' if one.candidate else 'baseline'}, by the name {one.responder}",
                "Pairs": f"{one.pairings:,}",
                "Found": _finding(told.get(one.evaluation.id), one),
            }
            for one in found
        ],
        whole=True,
    )


def _finding(closed: Results | None, took: TookPart) -> str:
    """The headline, or of a baseline its own contrast with the candidate."""
    if closed is None:
        return "still open"
    said = []
    for by in closed.verdicts:
        one = by.head
        if not took.candidate:
            one = next((c for c in by.each if c.baseline == took.responder), by.head)
        said.append(f"{'Judged by a written rule (simulated): ' if by.simulated else ''}{one.finding}")
    return " ".join(said)


def show_card(card: Card) -> None:
    """The card, section by section; every text exactly as it is."""
    st.write(plain(card.summary))
    for section in card.sections:
        st.html(f'<div class="pw-sentence">{escaped(section.title)}</div>')
        show_table([{"What": name, "Value": value} for name, value in section.rows], whole=True)
        if section.note:
            st.caption(plain(section.note))
