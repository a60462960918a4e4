"""Pairs whose replies are nearly the same: the second is drawn again at a higher temperature, a few times at most."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import starmap

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.comparisons import nearly_same
from db.models import Prompt, Responder, Response
from generation.pairing import PairingReply, replies_by_sample, select_replies
from llm.client import MissingSamples
from texts.rules import load_text_filter

MAX_REDRAWS = 2
"""How often one sample is drawn again at most."""
TEMPERATURE_STEP = 0.3
"""Added to the temperature in each round."""
MAX_TEMPERATURE = 1.5
"""Highest temperature; above it small models write nonsense."""
MOST_SAMPLES = 8
"""Most samples of a Responder for a prompt; the numbers of redrawn samples go on from here."""


def redraw_temperature(temperature: float, rounds: int) -> float:
    """The temperature of the n-th redraw, counted from 1."""
    return max(temperature, min(MAX_TEMPERATURE, round(temperature + TEMPERATURE_STEP * rounds, 2)))


def find_samples_to_redraw(s: Session, *, responder_id: int, run_id: int) -> Sequence[MissingSamples]:
    """List the second samples of this run's training pairs that nearly equal the first and have redraws left.

    A redrawn sample has its own number, so that it has its own seed and the old Response stays as it was.
    """
    responder = s.get_one(Responder, responder_id)
    filter_text = load_text_filter(s, project_id=responder.project_id)
    prompts_of_run = select(Response.prompt_id).where(Response.generation_run_id == run_id)
    of_run = Response.responder_id == responder_id, Response.prompt_id.in_(prompts_of_run)
    by_prompt: dict[int, list[PairingReply]] = defaultdict(list)
    for reply in starmap(PairingReply, s.execute(select_replies().where(*of_run))):
        by_prompt[reply.prompt_id].append(reply)
    prompts = {p.id: p for p in s.scalars(select(Prompt).where(Prompt.id.in_(by_prompt)))} if by_prompt else {}
    gaps: list[MissingSamples] = []
    for prompt_id, replies in sorted(by_prompt.items()):
        prompt, by_sample = prompts[prompt_id], replies_by_sample(replies)
        for sample, first in by_sample.items():
            second = by_sample.get(sample + 1)
            if sample % 2 or second is None or not nearly_same(filter_text(first.text), filter_text(second.text)):
                continue
            rounds = second.sample // MOST_SAMPLES + 1
            if rounds <= MAX_REDRAWS:
                gaps.append(
                    MissingSamples(
                        prompt_id,
                        prompt.text,
                        prompt.context,
                        prompt.extra,
                        (second.sample + MOST_SAMPLES,),
                        responder_id,
                        temperature=redraw_temperature(responder.temperature, rounds),
                        replaces_id=second.id,
                    )
                )
    return gaps
