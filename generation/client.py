"""Asking an endpoint for responses."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from openai import AsyncOpenAI, BadRequestError, UnprocessableEntityError

from db.models import Responder
from generation.engine import Endpoint
from generation.plan import Missing
from template import messages


@dataclass(frozen=True)
class Sampled:
    """One generated text, exactly as decoded."""

    sample: int
    text: str
    token_ids: list[int] | None
    """As sampled; none where the endpoint does not tell, for encoding the text again may give others."""
    prompt_tokens: int | None
    finish_reason: str | None
    seconds: float


@dataclass(frozen=True)
class Answer:
    """All samples that one prompt lacked."""

    samples: Sequence[Sampled]
    tokens: int
    """Tokens generated for them."""


@dataclass(frozen=True)
class Sampling:
    """How to sample, copied from a Responder so that no database object crosses into the event loop."""

    instructions: str
    temperature: float
    top_p: float
    max_tokens: int

    @classmethod
    def of(cls, responder: Responder) -> "Sampling":
        """The settings of a model Responder."""
        return cls(responder.instructions or "", responder.temperature, responder.top_p, responder.max_tokens)


class Unanswerable(Exception):
    """The endpoint refuses this prompt for good, as when it is longer than the context."""


def seed_of(run_seed: int, prompt_id: int, sample: int) -> int:
    """The seed of one sample, below 2**31. vLLM gives the n samples of a request its seed, seed + 1, and so on."""
    return (run_seed * 1_000_003 + prompt_id * 31 + sample) % 2**31


def first_block(samples: Sequence[int]) -> int:
    """How many numbers from the first on follow each other: only those can share a request and keep their seeds."""
    count = 1
    while count < len(samples) and samples[count] == samples[0] + count:
        count += 1
    return count


async def ask(client: AsyncOpenAI, endpoint: Endpoint, sampling: Sampling, gap: Missing, *, seed: int) -> Answer:
    """The missing samples of one prompt, in one request where the endpoint can do that.

    Raises `Unanswerable`; whatever else the client raises is worth another try.
    """
    left, found, tokens = list(gap.samples), [], 0
    options: dict[str, Any] = {"extra_body": dict(endpoint.extra)}
    while left:
        count = first_block(left) if endpoint.many else 1
        began = time.monotonic()
        try:
            answer = await client.chat.completions.create(
                model=endpoint.model,
                messages=messages(sampling.instructions, gap.text, gap.context),  # type: ignore[arg-type]
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                max_tokens=sampling.max_tokens,
                seed=seed_of(seed, gap.prompt_id, left[0]),
                **options | ({"n": count} if count > 1 else {}),
            )
        except (BadRequestError, UnprocessableEntityError) as problem:
            raise Unanswerable(problem.message) from None
        if not answer.choices:
            raise Unanswerable("The endpoint answered without a text.")
        for choice in answer.choices[:count]:  # an endpoint that ignores n is asked again for the rest
            found.append(
                Sampled(
                    sample=left.pop(0),
                    text=choice.message.content or "",
                    token_ids=getattr(choice, "token_ids", None),
                    prompt_tokens=answer.usage.prompt_tokens if answer.usage else None,
                    finish_reason=choice.finish_reason,
                    seconds=time.monotonic() - began,
                )
            )
        tokens += answer.usage.completion_tokens if answer.usage else 0
    return Answer(found, tokens)
