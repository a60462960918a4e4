"""A model's card on the screen, with what closed blind Evaluations found of it."""

import streamlit as st
from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import Evaluation, Responder
from eval.results import Contrast, results
from training.card import Card, Contest
from ui.safe import escaped, plain, show_table

TOGETHER = "People, together"


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
    found = results(s, evaluation_id=evaluation.id).contrasts
    together = {one.simulated_judges for one in found if one.baseline.startswith(TOGETHER)}
    return [
        Contest(
            evaluation=evaluation.name,
            baseline=_baseline(one),
            wins=one.rate.wins,
            ties=one.rate.ties,
            losses=one.rate.losses,
            rate=one.rate.rate,
            low=one.rate.low,
            high=one.rate.high,
            simulated_judges=one.simulated_judges,
        )
        for one in found
        # several people are reported together, so that no card tells how one of them did
        if not one.is_people or one.baseline.startswith(TOGETHER) or one.simulated_judges not in together
    ]


def _baseline(one: Contrast) -> str:
    if not one.is_people or one.baseline.startswith(TOGETHER):
        return one.baseline
    return "a person's replies" + (" (simulated)" if one.baseline.endswith("(simulated)") else "")


def show_card(card: Card) -> None:
    """The card, section by section; every text exactly as it is."""
    st.write(plain(card.summary))
    for section in card.sections:
        st.html(f'<div class="pw-sentence">{escaped(section.title)}</div>')
        show_table([{"What": name, "Value": value} for name, value in section.rows], whole=True)
        if section.note:
            st.caption(plain(section.note))
