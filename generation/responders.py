"""Creates Responders and their later versions: a model here or behind an endpoint, its prompt, how it samples."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from ipaddress import ip_address
from itertools import count
from urllib.parse import urlsplit

from sqlalchemy import func, select
from sqlalchemy.orm import Session, selectinload

from db.comparisons import nearly_same
from db.lookup import get_existing, get_model, refuse_retired
from db.models import FewShotExample, JudgeRun, Prompt, Responder, ResponderKind, Response, Role
from db.people import require_role
from errors import AlreadyThere, Refused
from llm.endpoints import KEY_PREFIX
from llm.template import TURN_MARK, PromptFormat, user_text

UNCLEAR = re.compile(r"[\s\x00-\x1f\x7f#\\]")
"""What no address of an endpoint has, and what programs read in different ways."""
KEY_VARIABLE = re.compile(rf"{KEY_PREFIX}[A-Z0-9_]+")
MAX_PRICE = 10_000.0
"""Highest price accepted, in US dollars for a million tokens: more is taken for a typing error."""
VERSION_SUFFIX = re.compile(r" v\d+$")
"""Ending of a later version's name."""


@dataclass(frozen=True)
class Sampling:
    """Sampling settings of a Responder."""

    temperature: float = 0.9
    top_p: float = 0.95
    max_tokens: int = 160


@dataclass(frozen=True)
class RemoteModel:
    """A model behind an OpenAI-compatible endpoint."""

    url: str
    """Ends in /v1."""
    model: str
    key_variable: str | None = None
    """Name of the environment variable with the key; None where the endpoint needs no key."""
    price_in: float | None = None
    price_out: float | None = None
    """US dollars for a million tokens, read and written."""


@dataclass(frozen=True)
class ResponderSpec:
    """Everything that determines a model Responder's replies: the model, its prompt, its sampling."""

    model: int | RemoteModel
    """Id of a ModelVersion, or an endpoint."""
    prompt: PromptFormat
    sampling: Sampling = field(default_factory=Sampling)


def create_responder(
    s: Session, *, by: int, project_id: int, name: str, spec: ResponderSpec, listed: bool = True
) -> Responder:
    """Create a model Responder; managers only.

    Raises `AlreadyThere` for a taken name, `BadTemplate` for a prompt that cannot be rendered, `Refused` for settings
    that cannot work.
    """
    require_role(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    name = " ".join(name.split())
    if not name:
        raise Refused("The responder needs a name. Type one.")
    _refuse_taken_name(s, project_id=project_id, name=name)
    return _store(s, project_id=project_id, name=name, spec=spec, listed=listed)


def create_version(s: Session, *, by: int, responder_id: int, spec: ResponderSpec, listed: bool = True) -> Responder:
    """Create the next version of a Responder; the old one and its Responses stay as they are. Managers only.

    Raises `Refused` when nothing differs, and as `create_responder` does.
    """
    old = get_responder(s, by=by, responder_id=responder_id)
    if old.kind is ResponderKind.HUMAN:
        raise Refused(f"{old.label} is a person: people have no versions.")
    spec = normalize_spec(spec)
    if spec == spec_of(old):
        raise Refused(f"Nothing differs from {old.label}. Change its prompt or how it samples.")
    root = VERSION_SUFFIX.sub("", old.name)
    number = free_number(s, project_id=old.project_id, prefix=f"{root} v", first=2)
    new = _store(s, project_id=old.project_id, name=f"{root} v{number}", spec=spec, listed=listed)
    new.version, new.parent_id = number, old.id
    s.flush()
    return new


def keep_responder(s: Session, *, by: int, responder_id: int, name: str = "") -> Responder:
    """List a Responder that was only tried out among the others, under a new name if one is given; managers only."""
    responder = get_responder(s, by=by, responder_id=responder_id)
    name = " ".join(name.split())
    if name and name != responder.name:
        _refuse_taken_name(s, project_id=responder.project_id, name=name)
        responder.name = name
    responder.listed = True
    s.flush()
    return responder


def get_responder(s: Session, *, by: int, responder_id: int) -> Responder:
    """The Responder, for a manager of its project. Raises `NotFound`."""
    responder = get_existing(s, Responder, responder_id, "responder")
    require_role(s, by=by, project_id=responder.project_id, roles=(Role.MANAGER,))
    return responder


def _refuse_taken_name(s: Session, *, project_id: int, name: str) -> None:
    if s.scalar(select(Responder.id).where(Responder.project_id == project_id, Responder.name == name)):
        raise AlreadyThere(f"There is a responder “{name}” already. Choose another name.")


def normalize_spec(spec: ResponderSpec) -> ResponderSpec:
    """The spec without parts that change no reply, so that equivalent specs compare equal."""
    prompt, model = spec.prompt, spec.model
    template = prompt.user_template if (prompt.user_template or "").strip() else None
    examples = tuple((turn, reply) for turn, reply in prompt.examples if turn.strip() or reply.strip())
    tidy_prompt = PromptFormat(prompt.instructions.strip(), template, dict(prompt.fields), examples)
    return ResponderSpec(check_remote(model) if isinstance(model, RemoteModel) else model, tidy_prompt, spec.sampling)


def spec_of(responder: Responder) -> ResponderSpec:
    """The spec that a model Responder was created from."""
    model: int | RemoteModel
    if responder.kind is ResponderKind.REMOTE:
        model = RemoteModel(
            url=responder.endpoint_url or "",
            model=responder.endpoint_model or "",
            key_variable=responder.key_variable,
            price_in=responder.price_in,
            price_out=responder.price_out,
        )
    else:
        model = responder.model_version_id or 0
    sampling = Sampling(responder.temperature, responder.top_p, responder.max_tokens)
    return ResponderSpec(model, prompt_format(responder), sampling)


def list_model_responders(s: Session, *, project_id: int) -> Sequence[Responder]:
    """The project's model Responders except judges, newest first, with those that were only tried out."""
    judges = select(JudgeRun.responder_id).where(JudgeRun.project_id == project_id)
    return s.scalars(
        select(Responder)
        .where(Responder.project_id == project_id, Responder.kind != ResponderKind.HUMAN, Responder.id.not_in(judges))
        .order_by(Responder.id.desc())
        .options(selectinload(Responder.examples), selectinload(Responder.model_version))
    ).all()


def prompt_columns(s: Session, *, project_id: int) -> list[str]:
    """Names of the further columns of the project's prompts, which templates may name."""
    extras = s.scalars(select(Prompt.extra).where(Prompt.project_id == project_id, Prompt.extra.is_not(None)))
    return sorted({name for extra in extras for name in extra or {} if re.fullmatch(r"\w+", name)})


def free_number(s: Session, *, project_id: int, prefix: str, first: int) -> int:
    """The first number, from `first` on, that makes a name with this prefix that no Responder of the project has."""
    names = set(s.scalars(select(Responder.name).where(Responder.project_id == project_id)))
    return next(number for number in count(first) if f"{prefix}{number}" not in names)


def _store(s: Session, *, project_id: int, name: str, spec: ResponderSpec, listed: bool) -> Responder:
    spec = normalize_spec(spec)
    prompt, sampling, model = spec.prompt, spec.sampling, spec.model
    if not (0 <= sampling.temperature <= 2 and 0 < sampling.top_p <= 1 and sampling.max_tokens >= 1):
        raise Refused("Temperature lies between 0 and 2, top-p above 0 up to 1, and a reply has at least one token.")
    prompt.check(prompt_columns(s, project_id=project_id))
    _refuse_turn_marks(prompt)
    _refuse_held_out(s, project_id=project_id, examples=prompt.examples)
    responder = Responder(
        project_id=project_id,
        name=name,
        kind=ResponderKind.REMOTE if isinstance(model, RemoteModel) else ResponderKind.MODEL,
        instructions=prompt.instructions,
        user_template=prompt.user_template,
        fields=dict(prompt.fields) or None,
        **asdict(sampling),
        listed=listed,
    )
    if isinstance(model, RemoteModel):
        responder.endpoint_url, responder.endpoint_model = model.url, model.model
        responder.key_variable = model.key_variable
        responder.price_in, responder.price_out = model.price_in, model.price_out
    else:
        refuse_retired(get_model(s, model))
        responder.model_version_id = model
    responder.examples = [
        FewShotExample(place=place, prompt=turn, reply=reply)
        for place, (turn, reply) in enumerate(prompt.examples, start=1)
    ]
    s.add(responder)
    s.flush()
    return responder


def check_remote(remote: RemoteModel) -> RemoteModel:
    """The endpoint with its address tidied. Raises `Refused` for an endpoint that cannot work or is not safe."""
    url = remote.url.strip().rstrip("/")
    try:
        parts = urlsplit(url)
        clear = not UNCLEAR.search(url) and _is_clear(parts.hostname or "") and (parts.port or 1) > 0
    except ValueError:
        clear = False
    if not clear or parts.scheme not in ("http", "https"):
        raise Refused("The endpoint's address begins with https:// (or http:// on this network) and ends in /v1.")
    if parts.username or parts.password or parts.query:
        raise Refused(
            f"Keys do not belong into the address. Put the key into an environment variable {KEY_PREFIX}…, and name "
            "that here."
        )
    if not remote.model.strip():
        raise Refused("The endpoint has several models, so say which: for example gpt-4.")
    variable = (remote.key_variable or "").strip() or None
    if variable is not None and not KEY_VARIABLE.fullmatch(variable):
        raise Refused(
            f"Here goes the name of an environment variable, and it begins with {KEY_PREFIX}, so that no other secret "
            f"of this machine can be sent out. For example {KEY_PREFIX}OPENAI. The key itself is never stored."
        )
    if variable and parts.scheme == "http" and not _is_local(parts.hostname or ""):
        raise Refused("With http:// the key would travel in clear text. Use the endpoint's https:// address.")
    for price in (remote.price_in, remote.price_out):
        if price is not None and not 0 <= price <= MAX_PRICE:
            raise Refused(f"A price is in US dollars for a million tokens, from 0 to {MAX_PRICE:,.0f}.")
    return replace(remote, url=url, model=remote.model.strip(), key_variable=variable)


def _is_clear(host: str) -> bool:
    """Whether a host is one name or address that means the same to everybody, and none of a cloud's own services."""
    try:
        address = ip_address(host)
        return not (getattr(address, "ipv4_mapped", None) or address).is_link_local
    except ValueError:
        return bool(host) and not re.fullmatch(r"(0x[0-9a-f]*|[0-9]*)\.?", host.rsplit(".", 1)[-1])


def _is_local(host: str) -> bool:
    """Whether a host belongs to this machine or network."""
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost" or "." not in host or host.endswith((".local", ".internal"))
    return address.is_private or address.is_loopback


def _refuse_turn_marks(prompt: PromptFormat) -> None:
    texts = [prompt.instructions, prompt.user_template or "", *prompt.fields.values()]
    texts += [text for example in prompt.examples for text in example]
    for text in texts:
        if match := TURN_MARK.search(text):
            raise Refused(
                f"“{match.group()}” is a mark that models take for the end of a turn. The model's own template puts "
                "such marks in; take it out of your text."
            )


def _refuse_held_out(s: Session, *, project_id: int, examples: Sequence[tuple[str, str]]) -> None:
    """Raise `Refused` for an example from a held-out prompt: it would give the model an answer that it is judged by."""
    if not examples:
        return
    rows = s.execute(select(Prompt.text, Prompt.context).where(Prompt.project_id == project_id, Prompt.held_out))
    for text, context in rows:
        held_out = text.casefold(), user_text(text, context).casefold()
        for turn, _ in examples:
            if any(nearly_same(turn.casefold(), wording) for wording in held_out):
                raise Refused(
                    "An example stands among the held-out prompts, which models are judged by. Take another one."
                )


def prompt_format(responder: Responder) -> PromptFormat:
    """Everything that determines how this Responder's prompts are rendered."""
    return PromptFormat(
        instructions=responder.instructions or "",
        user_template=responder.user_template,
        fields=dict(responder.fields or {}),
        examples=tuple((example.prompt, example.reply) for example in responder.examples),
    )


@dataclass(frozen=True)
class ResponderCounts:
    """A Responder and how many responses it has given to training and to held-out prompts."""

    responder: Responder
    training: int
    held_out: int


def list_responders(s: Session, *, project_id: int) -> Sequence[ResponderCounts]:
    """The project's Responders, oldest first, except those that were only tried out."""
    rows = s.execute(
        select(
            Responder,
            func.count(Prompt.id).filter(Prompt.held_out.is_(False)),
            func.count(Prompt.id).filter(Prompt.held_out),
        )
        .outerjoin(Response, Response.responder_id == Responder.id)
        .outerjoin(Prompt, Prompt.id == Response.prompt_id)
        .where(Responder.project_id == project_id, Responder.listed)
        .group_by(Responder.id)
        .order_by(Responder.id)
        .options(selectinload(Responder.model_version))
    ).all()
    return [ResponderCounts(responder, training, held_out) for responder, training, held_out in rows]
