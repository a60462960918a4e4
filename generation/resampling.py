"""Pairs whose replies are nearly the same: the second is drawn again at a higher temperature, a few times at most."""

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.comparisons import nearly_same
from db.models import Prompt, Responder, Response
from generation.pairing import Reply, offered, select_replies
from llm.client import Missing
from texts.rules import as_shown

ROUNDS = 2
"""How often one sample is drawn again at most."""
TEMPERATURE_STEP = 0.3
"""Added to the temperature in each round."""
MAX_TEMPERATURE = 1.5
"""Highest temperature; above it small models write nonsense."""
MOST_SAMPLES = 8
"""Most samples of a Responder for a prompt; the numbers of redrawn samples go on from here."""


def wider(temperature: float, rounds: int) -> float:
    """The temperature of the n-th redraw, counted from 1."""
    return max(temperature, min(MAX_TEMPERATURE, round(temperature + TEMPERATURE_STEP * rounds, 2)))


def to_draw_again(s: Session, *, responder_id: int, run_id: int) -> Sequence[Missing]:
    """List the second samples of this run's training pairs that nearly equal the first and have redraws left.

    A redrawn sample has its own number, so that it has its own seed and the old Response stays as it was.
    """
    responder = s.get_one(Responder, responder_id)
    shown = as_shown(s, project_id=responder.project_id)
    prompts_of_run = select(Response.prompt_id).where(Response.generation_run_id == run_id)
    of_run = Response.responder_id == responder_id, Response.prompt_id.in_(prompts_of_run)
    by_prompt: dict[int, list[Reply]] = defaultdict(list)
    for row in s.execute(select_replies().where(*of_run)):
        by_prompt[row[1]].append(Reply(*row))
    prompts = {p.id: p for p in s.scalars(select(Prompt).where(Prompt.id.in_(by_prompt)))} if by_prompt else {}
    gaps: list[Missing] = []
    for prompt_id, replies in sorted(by_prompt.items()):
        prompt, by_sample = prompts[prompt_id], offered(replies)
        for sample, first in by_sample.items():
            second = by_sample.get(sample + 1)
            if sample % 2 or second is None or not nearly_same(shown(first.text), shown(second.text)):
                continue
            rounds = second.sample // MOST_SAMPLES + 1
            if rounds <= ROUNDS:
                gaps.append(
                    Missing(
                        prompt_id,
                        prompt.text,
                        prompt.context,
                        prompt.extra,
                        (second.sample + MOST_SAMPLES,),
                        responder_id,
                        temperature=wider(responder.temperature, rounds),
                        replaces_id=second.id,
                    )
                )
    return gaps
