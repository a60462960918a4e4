"""Asking an endpoint for responses."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from openai import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AsyncOpenAI,
    AuthenticationError,
    BadRequestError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    UnprocessableEntityError,
)
from openai.types import CompletionUsage

from db.models import Responder
from errors import BadTemplate
from llm import nucleus
from llm.endpoints import Endpoint
from llm.template import Message, PromptFormat
from settings import settings

TIMEOUT = 600.0
"""Seconds after which a request is given up."""
RETRIES = 5
"""How often the protocol's client asks an endpoint elsewhere again by itself, waiting longer each time."""
LIMITS = ("context length", "maximum context", "max_model_len", "too long", "maximum allowed length")
"""How endpoints word that a prompt does not fit."""


@dataclass(frozen=True)
class Sampled:
    """One generated text, as decoded but for what no database takes."""

    sample: int
    text: str
    token_ids: list[int] | None
    """As sampled; none where the endpoint does not tell, for encoding the text again may give others."""
    prompt_tokens: int | None
    completion_tokens: int | None
    finish_reason: str | None
    temperature: float
    seed: int
    seconds: float


@dataclass(frozen=True)
class Answer:
    """All samples that one prompt lacked."""

    samples: Sequence[Sampled]
    turns: Sequence[Message]
    """What was sent."""
    tokens: int
    """Tokens generated for them."""


@dataclass(frozen=True)
class Asking:
    """How to ask, copied from a Responder so that no database object crosses into the event loop."""

    prompt: PromptFormat
    temperature: float
    top_p: float
    max_tokens: int

    @classmethod
    def of(cls, responder: Responder, prompt: PromptFormat) -> "Asking":
        """The settings of a model Responder with the prompt that is its."""
        return cls(prompt, responder.temperature, responder.top_p, responder.max_tokens)


class Unanswerable(Exception):
    """The prompt cannot be answered, however often it is asked; says why and what to do."""


class Hopeless(Exception):
    """The endpoint refuses every request; says why and what to do."""


class Trouble(Exception):
    """The endpoint failed at this prompt; another try may do. Says what it answered."""


class Gone(Exception):
    """The endpoint does not answer any more."""


def seed_of(run_seed: int, prompt_id: int, sample: int) -> int:
    """The seed of one sample, below 2**31. vLLM gives the n samples of a request its seed, seed + 1, and so on."""
    return (run_seed * 1_000_003 + prompt_id * 31 + sample) % 2**31


def first_block(samples: Sequence[int]) -> int:
    """How many numbers from the first on follow each other: only those can share a request and keep their seeds."""
    count = 1
    while count < len(samples) and samples[count] == samples[0] + count:
        count += 1
    return count


def client_for(endpoint: Endpoint) -> AsyncOpenAI:
    """The protocol's client; an endpoint elsewhere is asked again by it when it is busy."""
    retries = 1 if endpoint.ours else RETRIES
    return AsyncOpenAI(base_url=endpoint.base_url, api_key=endpoint.api_key, max_retries=retries, timeout=TIMEOUT)


@dataclass(frozen=True)
class Missing:
    """A prompt and the sample numbers it still lacks from one Responder."""

    prompt_id: int
    text: str
    context: str | None
    extra: Mapping[str, Any] | None
    """Further columns of the prompt, for templates."""
    samples: tuple[int, ...]
    responder_id: int
    temperature: float | None = None
    """Other than the Responder's own, where the sample is drawn again."""
    replaces_id: int | None = None
    """The Response that it is drawn in place of."""


async def ask(client: AsyncOpenAI, endpoint: Endpoint, asking: Asking, gap: Missing, *, seed: int) -> Answer:
    """The missing samples of one prompt, in one request where the endpoint can do that.

    Raises `Unanswerable`, `Hopeless`, `Trouble` or `Gone`.
    """
    try:
        turns = asking.prompt.messages(gap.text, gap.context, gap.extra)
    except BadTemplate as problem:
        raise Unanswerable(str(problem)) from None
    left, found, tokens = list(gap.samples), [], 0
    temperature = asking.temperature if gap.temperature is None else gap.temperature
    while left:
        count = first_block(left) if endpoint.many else 1
        began, started = time.monotonic(), seed_of(seed, gap.prompt_id, left[0])
        options: dict[str, Any] = {
            "temperature": temperature,
            "top_p": asking.top_p,
            endpoint.length: asking.max_tokens,
            "seed": started,
        }
        if count > 1:
            options["n"] = count
        answer = await _sent(client, endpoint, turns, options)
        if answer is None:
            continue
        choices = _choices(answer)
        usage = answer.usage if isinstance(answer.usage, CompletionUsage) else None
        for place, choice in enumerate(choices[:count]):  # one that ignores n is asked again for the rest
            ids = getattr(choice, "token_ids", None)
            alone = usage.completion_tokens if usage and len(choices) == 1 else None
            found.append(
                Sampled(
                    sample=left.pop(0),
                    text=_storable(choice.message.content or ""),
                    token_ids=ids,
                    prompt_tokens=usage.prompt_tokens if usage else None,
                    completion_tokens=len(ids) if ids is not None else alone,
                    finish_reason=choice.finish_reason,
                    temperature=temperature,
                    seed=started + place,
                    seconds=time.monotonic() - began,
                )
            )
        tokens += (usage.completion_tokens or 0) if usage else 0
    return Answer(found, turns, tokens)


async def _sent(client: AsyncOpenAI, endpoint: Endpoint, turns: Sequence[Message], options: Mapping[str, Any]) -> Any:
    """One request's answer; None where the endpoint wants to be asked otherwise, which is noted in `endpoint`."""
    try:
        return await client.chat.completions.create(
            model=endpoint.model,
            messages=turns,  # type: ignore[arg-type]
            extra_body=dict(endpoint.extra) | _own_top_p(endpoint, options),
            **({**options, "top_p": 1.0} if endpoint.nucleus else options),
        )
    except (AuthenticationError, PermissionDeniedError):
        raise Hopeless(
            f"The endpoint {endpoint.base_url} refused the key. Put the right one into the responder's environment "
            "variable and start Pickwell again."
        ) from None
    except NotFoundError:
        raise Hopeless(
            f"The endpoint {endpoint.base_url} has no model “{endpoint.model}”, or the address does not end as it "
            "should (in /v1). Make a new version of the responder with the right one."
        ) from None
    except (BadRequestError, UnprocessableEntityError) as problem:
        if _learned(endpoint, problem.message, options):
            return None
        said = endpoint.without_key(problem.message)
        if any(words in said.lower() for words in LIMITS):
            more = f", or raise PICKWELL_CONTEXT_TOKENS, now {settings().context_tokens}" if endpoint.ours else ""
            raise Unanswerable(f"{said} If it is too long, shorten it{more}.") from None
        raise Unanswerable(said) from None
    except RateLimitError as problem:
        said = endpoint.without_key(problem.message)
        if "quota" in said.lower() or "billing" in said.lower():
            raise Hopeless(f"The endpoint's account is used up: {said} Top it up, then try the run again.") from None
        raise Trouble(
            f"The endpoint asks to go slower (429): {said} Lower PICKWELL_CONCURRENCY, or try the run again later."
        ) from None
    except APIStatusError as problem:
        raise Trouble(f"the endpoint answered {problem.status_code}: {endpoint.without_key(problem.message)}") from None
    except APITimeoutError:
        if endpoint.ours:
            raise Gone from None
        raise Trouble(f"The endpoint gave no answer within {TIMEOUT / 60:.0f} minutes.") from None
    except APIConnectionError:
        raise Gone from None


def _storable(text: str) -> str:
    """Without what no database takes: NULs and half characters, as a reply that was cut may end in."""
    return text.replace("\0", "").encode("utf-8", "ignore").decode()


def _choices(answer: Any) -> Sequence[Any]:
    """The texts in an answer, which the protocol's client does not check. Raises `Trouble` where it holds none."""
    found = getattr(answer, "choices", None)
    if not isinstance(found, list) or not found or not all(_is_text(one) for one in found):
        raise Trouble("The endpoint answered with something that is no reply. Check that its address ends in /v1.")
    return found


def _is_text(choice: Any) -> bool:
    return isinstance(getattr(getattr(choice, "message", None), "content", ...), str | None)


def _own_top_p(endpoint: Endpoint, options: Mapping[str, Any]) -> dict[str, Any]:
    """The same top-p by our way, which gives the same tokens sooner, where the endpoint has it."""
    return {"vllm_xargs": {nucleus.ARGUMENT: options["top_p"]}} if endpoint.nucleus and options["top_p"] < 1 else {}


def _learned(endpoint: Endpoint, said: str, options: Mapping[str, Any]) -> bool:
    """Whether the refusal tells how this endpoint wants to be asked; then it is asked so from now on."""
    if endpoint.length == "max_tokens" and "max_completion_tokens" in said:
        endpoint.length = "max_completion_tokens"
        return True
    if options.get("n", 1) > 1 and ("'n'" in said or "`n`" in said or '"n"' in said):
        endpoint.many = False
        return True
    return False
