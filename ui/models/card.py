"""A model's card on the screen, with what closed blind Evaluations found of it."""

import streamlit as st
from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import Evaluation, Responder
from eval.report.methods import TookPart, took_part
from eval.report.results import Results, Verdicts, results
from release.card import Card, Contest
from stats.contrasts import HeadToHead
from stats.estimates import CannotEstimate
from texts.escape import escaped
from ui.safe import plain, show_table


def contests_of(s: Session, *, model_version_id: int) -> list[Contest]:
    """What closed Evaluations found with the model as their candidate, without anybody's name."""
    closed = s.scalars(
        select(Evaluation)
        .join(Responder, Responder.id == Evaluation.candidate_id)
        .where(Responder.model_version_id == model_version_id, Evaluation.closed_at.is_not(None))
        .order_by(Evaluation.id)
    ).all()
    return [one for evaluation in closed for one in _of(s, evaluation)]


def _of(s: Session, evaluation: Evaluation) -> list[Contest]:
    return [
        Contest(
            evaluation=evaluation.name,
            baseline=_baseline(by, one),
            wins=one.wins,
            ties=one.ties,
            losses=one.losses,
            rate=one.rate,
            interval=None if isinstance(one.interval, CannotEstimate) else (one.interval.low, one.interval.high),
            simulated_judges=by.simulated,
        )
        for by in results(s, evaluation_id=evaluation.id).verdicts
        for one in by.contrasts
        # several people are reported together, so that no card tells how one of them did
        if one is by.together or not (by.together and by.is_people(one))
    ]


def _baseline(by: Verdicts, one: HeadToHead) -> str:
    if one is by.together or not by.is_people(one):
        return one.baseline
    return "a person's replies" + (" (simulated)" if one.baseline.endswith("(simulated)") else "")


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
