"""OpenAI-compatible endpoints: what a request needs to know of one, and those that somebody else runs.

Keys come from the environment only: they are in no table, no run's folder and no log.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx
from dotenv import dotenv_values

from db.models import Responder
from errors import EngineFailed
from settings import ENV_FILE, settings

KEY_PREFIX = "PICKWELL_KEY_"
"""Only environment variables so named are ever sent to an endpoint."""
TOKEN_IDS = {"return_token_ids": True}
"""Asks vLLM for the ids of the tokens it read and sampled."""
NO_KEY = "none"
"""What is sent where an endpoint wants no key; the protocol's client insists on one."""


@dataclass
class Endpoint:
    """Where to send requests, and what it can do; some of that is learned from its first answers."""

    base_url: str
    """Ends in /v1."""
    model: str
    """What to ask for."""
    api_key: str = field(repr=False)
    extra: Mapping[str, object] = field(default_factory=dict)
    """What every request says beyond OpenAI's protocol."""
    many: bool = True
    """Whether one request may ask for several samples."""
    length: str = "max_tokens"
    """What it calls the longest reply; OpenAI's newer models say max_completion_tokens."""
    dtype: str | None = None
    """Precision in which the model answers, where that is known."""
    nucleus: bool = False
    """Whether it has our way to draw by top-p (`llm.nucleus`)."""
    ours: bool = False
    """Started here, so it can be started again."""

    def without_key(self, text: str) -> str:
        """The text without the key: endpoints quote it in their errors."""
        return text.replace(self.api_key, "(the key)") if len(self.api_key) > len(NO_KEY) else text


def key_in(variable: str | None) -> str:
    """The key that an environment variable (or the ``.env`` file) holds. Raises `EngineFailed` where it is not set."""
    if variable is None:
        return NO_KEY
    value = os.environ.get(variable) or dotenv_values(ENV_FILE).get(variable)
    if not value:
        raise EngineFailed(
            f"The environment variable {variable} is not set where the worker runs, so there is no key for the "
            f"endpoint. Set it (or add it to {ENV_FILE}), start Pickwell again, and try the run again."
        )
    return value


def remote_endpoint(responder: Responder) -> Endpoint:
    """The endpoint of a REMOTE Responder, once it was seen to answer and to take the key.

    Raises `EngineFailed` with what to do.
    """
    url, key = str(responder.endpoint_url), key_in(responder.key_variable)
    served = _served(url, key, key_name=responder.key_variable, remedy="Check the address.")
    about = served.get(str(responder.endpoint_model), {})
    extra = TOKEN_IDS if about.get("owned_by") == "vllm" else {}
    return Endpoint(url, str(responder.endpoint_model), key, extra)


def endpoint_elsewhere(location: str, name: str) -> Endpoint:
    """The endpoint of the settings, if it serves this very model: another's texts must never pass for its own."""
    url, key = settings().engine_url.rstrip("/"), settings().engine_api_key.get_secret_value() or NO_KEY
    served = _served(url, key, key_name="PICKWELL_ENGINE_API_KEY", remedy="Check PICKWELL_ENGINE_URL.")
    known = next((one for one in (location, name) if one in served), None)
    if known is None:
        raise EngineFailed(
            f"The endpoint {url} serves {', '.join(sorted(served)[:5]) or 'nothing'}, not {name}. Serve the model at "
            f"{location} there under the name {name}, or unset PICKWELL_ENGINE_URL."
        )
    return Endpoint(url, known, key, TOKEN_IDS if served[known].get("owned_by") == "vllm" else {})


def _served(url: str, key: str, *, key_name: str | None, remedy: str) -> dict[str, dict[str, object]]:
    """What the endpoint says it serves, by name; nothing where it keeps no list. Raises `EngineFailed`."""
    try:
        answer = httpx.get(f"{url}/models", headers={"Authorization": f"Bearer {key}"}, timeout=20)
    except (httpx.HTTPError, httpx.InvalidURL):
        raise EngineFailed(
            f"The endpoint {url} does not answer. {remedy} It ends in /v1, and this machine must reach it."
        ) from None
    if answer.status_code in (401, 403):
        raise EngineFailed(refused_key(url, key_name))
    if answer.status_code >= 500:
        raise EngineFailed(
            f"The endpoint {url} answered {answer.status_code} when asked for its models. It is in trouble: try again "
            "later."
        )
    try:
        return {str(model["id"]): dict(model) for model in answer.json()["data"]} if answer.is_success else {}
    except (ValueError, KeyError, TypeError):
        return {}


def refused_key(url: str, key_name: str | None) -> str:
    """A sentence for an endpoint that does not take the key."""
    if key_name is None:
        return f"The endpoint {url} wants a key. Name the environment variable that holds it, in a new version."
    return f"The endpoint {url} refused the key in {key_name}. Put the right one there and start Pickwell again."
