"""OpenAI-compatible endpoints: what a request needs to know of one, and checks of those that run elsewhere.

Keys come from the environment only: no table, run folder or log holds them.
"""

import base64
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypedDict
from urllib.parse import quote, urlsplit

import httpx
from dotenv import dotenv_values

from db.models import Responder
from errors import EngineFailed
from settings import ENV_FILE, is_loopback, settings

KEY_PREFIX = "PICKWELL_KEY_"
"""Only environment variables whose names begin so are ever sent to an endpoint."""
HOST_SUFFIX = "_HOST"
"""Ends the name of the variable that says to which host a key may go."""
LONGEST_QUOTE = 500
"""Characters of an endpoint's error that are shown."""
TOKEN_IDS = {"return_token_ids": True}
"""Makes vLLM return the ids of the tokens that it read and sampled."""
NO_KEY = "none"
"""Sent to an endpoint that wants no key; OpenAI's client insists on one."""


@dataclass
class Endpoint:
    """Where requests go and what the endpoint can do; its first answers correct some of this."""

    base_url: str
    """Ends in /v1."""
    model: str
    """The model's name in requests."""
    api_key: str = field(repr=False)
    extra_body: Mapping[str, object] = field(default_factory=dict)
    """Parameters of every request beyond OpenAI's protocol."""
    takes_n: bool = True
    """Whether one request may ask for several samples (``n``)."""
    length_parameter: str = "max_tokens"
    """Its parameter for the longest reply; OpenAI's newer models take max_completion_tokens."""
    dtype: str | None = None
    """Precision in which the model computes, where that is known."""
    has_top_p: bool = False
    """Whether it draws by top-p with `llm.top_p`."""
    started_here: bool = False
    """Whether it was started here, and so can be started again."""

    def without_key(self, text: str) -> str:
        """The beginning of what an endpoint says in an error, without the key, which it may quote in some coding."""
        text = text[:LONGEST_QUOTE] + " …" * (len(text) > LONGEST_QUOTE)
        return _codings(self.api_key).sub("(the key)", text) if len(self.api_key) > len(NO_KEY) else text


def _codings(key: str) -> re.Pattern[str]:
    """What shows a key: itself in any case, backwards, in hexadecimal, per cent, and base64 at each of its offsets."""
    data = key.encode()
    forms = {key, key[::-1], data.hex(), quote(key, safe=""), "".join(f"%{byte:02x}" for byte in data)}
    for offset in range(3):
        coded = base64.b64encode(b"\0" * offset + data).decode().rstrip("=")
        forms |= {form[2 * offset : -1] for form in (coded, coded.translate(str.maketrans("+/", "-_")))}
    return re.compile(
        "|".join(map(re.escape, sorted((form for form in forms if len(form) > 3), key=len, reverse=True))),
        re.IGNORECASE,
    )


class ConnectionOptions(TypedDict):
    """Of HTTP clients."""

    trust_env: bool
    """Whether the environment's proxies count."""
    follow_redirects: bool


def connection_options(url: str) -> ConnectionOptions:
    """No proxy for what runs on this machine, and no redirect: prompts go where they were meant to."""
    return {"trust_env": not is_loopback(urlsplit(url).hostname), "follow_redirects": False}


def read_key(variable: str | None, url: str) -> str:
    """The key that an environment variable (or the ``.env`` file) holds, if it may go to the address.

    A second variable says to which host. Raises `EngineFailed` where one of them is not set, or names another host.
    """
    if variable is None:
        return NO_KEY
    environment = dotenv_values(ENV_FILE) | os.environ
    value, host = environment.get(variable), urlsplit(url).hostname
    if value and environment.get(f"{variable}{HOST_SUFFIX}") != host:
        raise EngineFailed(
            f"The environment does not say that the key in {variable} may be sent to {host}, so it was not. If it may, "
            f"set {variable}{HOST_SUFFIX}={host} where the worker runs (or add it to {ENV_FILE}), start Pickwell "
            "again, and try the run again."
        )
    if not value:
        raise EngineFailed(
            f"The environment variable {variable} is not set where the worker runs, so there is no key for the "
            f"endpoint. Set it (or add it to {ENV_FILE}), start Pickwell again, and try the run again."
        )
    return value


def remote_endpoint(responder: Responder) -> Endpoint:
    """The endpoint of a REMOTE Responder, checked to answer and to accept the key.

    Raises `EngineFailed` with what to do.
    """
    url, key = str(responder.endpoint_url), read_key(responder.key_variable, str(responder.endpoint_url))
    models = _list_models(url, key, key_name=responder.key_variable, remedy="Check the address.")
    name = str(responder.endpoint_model)
    return Endpoint(url, name, key, _extra_parameters(models.get(name, {})))


def settings_endpoint(location: str, name: str) -> Endpoint:
    """The endpoint of the settings, if it serves this very model: another model's texts must never pass for its own."""
    url, key = settings().engine_url.rstrip("/"), settings().engine_api_key.get_secret_value() or NO_KEY
    models = _list_models(url, key, key_name="PICKWELL_ENGINE_API_KEY", remedy="Check PICKWELL_ENGINE_URL.")
    served_name = next((candidate for candidate in (location, name) if candidate in models), None)
    if served_name is None:
        raise EngineFailed(
            f"The endpoint {url} serves {', '.join(sorted(models)[:5]) or 'nothing'}, not {name}. Serve the model at "
            f"{location} there under the name {name}, or unset PICKWELL_ENGINE_URL."
        )
    return Endpoint(url, served_name, key, _extra_parameters(models[served_name]))


def _extra_parameters(model: Mapping[str, object]) -> Mapping[str, object]:
    return TOKEN_IDS if model.get("owned_by") == "vllm" else {}


def _list_models(url: str, key: str, *, key_name: str | None, remedy: str) -> dict[str, dict[str, object]]:
    """The endpoint's models by name; empty where it publishes no list. Raises `EngineFailed`."""
    try:
        headers = {"Authorization": f"Bearer {key}"}
        response = httpx.get(f"{url}/models", headers=headers, timeout=20, **connection_options(url))
    except (httpx.HTTPError, httpx.InvalidURL):
        raise EngineFailed(
            f"The endpoint {url} does not answer. {remedy} It ends in /v1, and this machine must reach it."
        ) from None
    if response.status_code in (401, 403):
        raise EngineFailed(_refused_key_sentence(url, key_name))
    if response.status_code >= 500:
        raise EngineFailed(
            f"The endpoint {url} answered {response.status_code} when asked for its models. "
            "It is in trouble: try again later."
        )
    try:
        return {str(model["id"]): dict(model) for model in response.json()["data"]} if response.is_success else {}
    except (ValueError, KeyError, TypeError):
        return {}


def _refused_key_sentence(url: str, key_name: str | None) -> str:
    if key_name is None:
        return f"The endpoint {url} wants a key. Name the environment variable that holds it, in a new version."
    return f"The endpoint {url} refused the key in {key_name}. Put the right one there and start Pickwell again."
