"""Asks an endpoint for responses."""

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
    DefaultAsyncHttpxClient,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    UnprocessableEntityError,
)
from openai.types import CompletionUsage

from db.models import Responder
from errors import BadTemplate
from llm.endpoints import Endpoint, connection_options
from llm.template import Message, PromptFormat, split_reasoning
from llm.top_p import ARGUMENT
from settings import settings
from texts.typed import LONGEST_REPLY, clean_text, storable_text

TIMEOUT = 600.0
"""Seconds until a request is given up."""
RETRIES = 5
"""How often OpenAI's client repeats a request to an endpoint elsewhere by itself, waiting longer each time."""
TOO_LONG = ("context length", "maximum context", "max_model_len", "too long", "maximum allowed length")
"""Phrases of endpoints whose context a prompt does not fit."""


@dataclass(frozen=True)
class GeneratedSample:
    """One generated text, without the characters that no database stores."""

    sample: int
    text: str
    reasoning: str | None
    """What the model thought before it answered."""
    token_ids: list[int] | None
    """As sampled; None where the endpoint does not report them, since encoding the text may give other ids."""
    prompt_tokens: int | None
    completion_tokens: int | None
    finish_reason: str | None
    temperature: float
    seed: int
    seconds: float


@dataclass(frozen=True)
class GeneratedSamples:
    """The samples generated for one prompt."""

    samples: Sequence[GeneratedSample]
    turns: Sequence[Message]
    """The messages sent."""
    tokens: int
    """Tokens generated for all samples together."""
    wordless: Sequence[str] = ()
    """Of each reply without words, which is no sample, why it has none."""


@dataclass(frozen=True)
class RequestSettings:
    """A Responder's request settings, copied so that no database object enters the event loop."""

    prompt: PromptFormat
    temperature: float
    top_p: float
    max_tokens: int

    @classmethod
    def of(cls, responder: Responder, prompt: PromptFormat) -> "RequestSettings":
        """The settings of a model Responder with its prompt format."""
        return cls(prompt, responder.temperature, responder.top_p, responder.max_tokens)


class UnanswerablePrompt(Exception):
    """The prompt cannot be answered, however often it is sent; the message says why and what to do."""


class EndpointRefusal(Exception):
    """The endpoint refuses every request; the message says why and what to do."""


class RequestFailure(Exception):
    """The endpoint failed at this prompt, and another try may succeed; the message says what it answered."""


class EndpointLost(Exception):
    """The endpoint stopped answering."""


def sample_seed(run_seed: int, prompt_id: int, sample: int) -> int:
    """The seed of one sample, below 2**31. vLLM gives the n samples of a request its seed, seed + 1, and so on."""
    return (run_seed * 1_000_003 + prompt_id * 31 + sample) % 2**31


def count_consecutive(samples: Sequence[int]) -> int:
    """How many numbers from the first on are consecutive: only these can share a request and keep their seeds."""
    count = 1
    while count < len(samples) and samples[count] == samples[0] + count:
        count += 1
    return count


def openai_client(endpoint: Endpoint) -> AsyncOpenAI:
    """OpenAI's client for the endpoint; it repeats requests that an endpoint elsewhere is too busy for."""
    retries = 1 if endpoint.started_here else RETRIES
    http = DefaultAsyncHttpxClient(**connection_options(endpoint.base_url))
    return AsyncOpenAI(
        base_url=endpoint.base_url, api_key=endpoint.api_key, max_retries=retries, timeout=TIMEOUT, http_client=http
    )


@dataclass(frozen=True)
class MissingSamples:
    """A prompt and the sample numbers it still lacks from one Responder."""

    prompt_id: int
    text: str
    context: str | None
    extra: Mapping[str, Any] | None
    """Further columns of the prompt, which templates may name."""
    sample_numbers: tuple[int, ...]
    responder_id: int
    temperature: float | None = None
    """In place of the Responder's own, where the sample is drawn again."""
    replaces_id: int | None = None
    """The Response that the new sample replaces."""


async def request_samples(
    client: AsyncOpenAI, endpoint: Endpoint, request: RequestSettings, missing: MissingSamples, *, seed: int
) -> GeneratedSamples:
    """Request the missing samples of one prompt, together where the endpoint can do that.

    Reasoning is kept apart from the reply. A reply of more than `LONGEST_REPLY` characters is cut there.

    Raises `UnanswerablePrompt`, `EndpointRefusal`, `RequestFailure` or `EndpointLost`.
    """
    try:
        turns = request.prompt.messages(missing.text, missing.context, missing.extra)
    except BadTemplate as problem:
        raise UnanswerablePrompt(str(problem)) from None
    numbers, samples, wordless, tokens = list(missing.sample_numbers), [], [], 0
    temperature = request.temperature if missing.temperature is None else missing.temperature
    while numbers:
        count = count_consecutive(numbers) if endpoint.takes_n else 1
        began, first_seed = time.monotonic(), sample_seed(seed, missing.prompt_id, numbers[0])
        options: dict[str, Any] = {
            "temperature": temperature,
            "top_p": request.top_p,
            endpoint.length_parameter: request.max_tokens,
            "seed": first_seed,
        }
        if count > 1:
            options["n"] = count
        completion = await _request_completion(client, endpoint, turns, options)
        if completion is None:
            continue
        choices = _checked_choices(completion)
        usage = completion.usage if isinstance(completion.usage, CompletionUsage) else None
        only_choice_tokens = usage.completion_tokens if usage and len(choices) == 1 else None
        for offset, choice in enumerate(choices[:count]):  # an endpoint that ignores n is asked again for the rest
            sample, token_ids = numbers.pop(0), getattr(choice, "token_ids", None)
            reasoning, text = split_reasoning(storable_text(choice.message.content or ""))
            reasoning = getattr(choice.message, "reasoning_content", None) or reasoning
            if not clean_text(text):
                wordless.append(_explain_no_words(choice, reasoning, request.max_tokens))
                continue
            samples.append(
                GeneratedSample(
                    sample=sample,
                    text=text[:LONGEST_REPLY],
                    reasoning=reasoning,
                    token_ids=token_ids,
                    prompt_tokens=usage.prompt_tokens if usage else None,
                    completion_tokens=len(token_ids) if token_ids is not None else only_choice_tokens,
                    finish_reason=choice.finish_reason if len(text) <= LONGEST_REPLY else "length",
                    temperature=temperature,
                    seed=first_seed + offset,
                    seconds=time.monotonic() - began,
                )
            )
        tokens += (usage.completion_tokens or 0) if usage else 0
    return GeneratedSamples(samples, turns, tokens, wordless)


async def _request_completion(
    client: AsyncOpenAI, endpoint: Endpoint, turns: Sequence[Message], options: Mapping[str, Any]
) -> Any:
    """One completion; None where the endpoint wants other parameters, which `endpoint` then holds."""
    try:
        return await client.chat.completions.create(
            model=endpoint.model,
            messages=turns,  # type: ignore[arg-type]
            extra_body=dict(endpoint.extra_body) | _nucleus_argument(endpoint, options),
            **({**options, "top_p": 1.0} if endpoint.has_top_p else options),
        )
    except (AuthenticationError, PermissionDeniedError):
        raise EndpointRefusal(
            f"The endpoint {endpoint.base_url} refused the key. Put the right one into the responder's environment "
            "variable and start Pickwell again."
        ) from None
    except NotFoundError:
        raise EndpointRefusal(
            f"The endpoint {endpoint.base_url} has no model “{endpoint.model}”, or the address does not end as it "
            "should (in /v1). Make a new version of the responder with the right one."
        ) from None
    except (BadRequestError, UnprocessableEntityError) as problem:
        if _adapt_endpoint(endpoint, problem.message, options):
            return None
        message = endpoint.without_key(problem.message)
        if any(phrase in message.lower() for phrase in TOO_LONG):
            setting = (
                f", or raise PICKWELL_CONTEXT_TOKENS, now {settings().context_tokens}" if endpoint.started_here else ""
            )
            raise UnanswerablePrompt(f"{message} If it is too long, shorten it{setting}.") from None
        raise UnanswerablePrompt(message) from None
    except RateLimitError as problem:
        message = endpoint.without_key(problem.message)
        if "quota" in message.lower() or "billing" in message.lower():
            raise EndpointRefusal(
                f"The endpoint's account is used up: {message} Top it up, then try the run again."
            ) from None
        raise RequestFailure(
            f"The endpoint asks to go slower (429): {message} Lower PICKWELL_CONCURRENCY, or try the run again later."
        ) from None
    except APIStatusError as problem:
        raise RequestFailure(
            f"the endpoint answered {problem.status_code}: {endpoint.without_key(problem.message)}"
        ) from None
    except APITimeoutError:
        if endpoint.started_here:
            raise EndpointLost from None
        raise RequestFailure(f"The endpoint gave no answer within {TIMEOUT / 60:.0f} minutes.") from None
    except APIConnectionError:
        raise EndpointLost from None


def _explain_no_words(choice: Any, reasoning: str | None, max_tokens: int) -> str:
    """Why a reply has no words, as far as the endpoint says it."""
    if getattr(choice.message, "refusal", None):
        return "the model refused"
    if choice.finish_reason == "content_filter":
        return "the endpoint's filter held it back"
    if getattr(choice.message, "tool_calls", None):
        return "the model called a tool instead"
    if reasoning and choice.finish_reason == "length":
        return f"all {max_tokens} tokens went into reasoning, so allow longer replies or turn reasoning off"
    return "there was only reasoning" if reasoning else "nothing in it can be seen"


def _checked_choices(completion: Any) -> Sequence[Any]:
    """The completion's choices, which OpenAI's client does not check. Raises `RequestFailure` where there are none."""
    choices = getattr(completion, "choices", None)
    if not isinstance(choices, list) or not choices or not all(map(_has_text, choices)):
        raise RequestFailure(
            "The endpoint answered with something that is no reply. Check that its address ends in /v1."
        )
    return choices


def _has_text(choice: Any) -> bool:
    return isinstance(getattr(getattr(choice, "message", None), "content", ...), str | None)


def _nucleus_argument(endpoint: Endpoint, options: Mapping[str, Any]) -> dict[str, Any]:
    """The top-p for `llm.top_p`, which keeps the same tokens faster, where the endpoint has it."""
    return {"vllm_xargs": {ARGUMENT: options["top_p"]}} if endpoint.has_top_p and options["top_p"] < 1 else {}


def _adapt_endpoint(endpoint: Endpoint, message: str, options: Mapping[str, Any]) -> bool:
    """Note in `endpoint` which parameters it wants, if its refusal names them; whether it does."""
    if endpoint.length_parameter == "max_tokens" and "max_completion_tokens" in message:
        endpoint.length_parameter = "max_completion_tokens"
        return True
    if options.get("n", 1) > 1 and ("'n'" in message or "`n`" in message or '"n"' in message):
        endpoint.takes_n = False
        return True
    return False
