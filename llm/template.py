"""The one place where a Prompt becomes what a model reads, in training and in use alike.

A model behaves in use as it was trained only if both see the same tokens. So generation and training build their
messages here, always with an explicit system message: without one, SmolLM2's template (and Qwen's) puts in its own.
"""

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, TypedDict

from errors import BadTemplate

TURN_MARK = re.compile(r"<\|[\w./ -]{1,40}\|>|</?s>|\[/?INST\]|<(start|end)_of_turn>")
"""Turn marks of the ChatML, Zephyr, Llama, Mistral and Gemma templates; tokenizers take them for the real thing."""
FIELD = re.compile(r"\{\{\s*(\w+)\s*\}\}")
"""A named field, as ``{{columns}}``. Single braces mean themselves, so that JSON can be written as it is."""
TEXT, CONTEXT = "text", "context"
"""The fields that every Prompt has."""


class Message(TypedDict):
    """One turn of a conversation, as chat templates expect it."""

    role: str
    content: str


def user_text(text: str, context: str | None) -> str:
    """The user's turn where no template says otherwise: the context, if any, above the prompt's text."""
    return f"{context.strip()}\n\n{text}" if context and context.strip() else text


@dataclass(frozen=True)
class PromptFormat:
    """What a Responder puts round a prompt: system prompt, the user's turn, texts for their fields, examples."""

    instructions: str
    """The system prompt, possibly empty, with or without fields."""
    user_template: str | None = None
    """The user's turn with its fields; none puts the context above the text."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """Texts that are the same for every prompt."""
    examples: Sequence[tuple[str, str]] = ()
    """User's turn and reply of each, shown before the question (few-shot; Brown et al. 2020, arXiv 2005.14165)."""

    def messages(self, text: str, context: str | None = None, extra: Mapping[str, Any] | None = None) -> list[Message]:
        """The conversation up to where the reply begins.

        Args:
            extra: further columns of the prompt, which fields may name.

        Raises `BadTemplate` for a field that neither the format nor this prompt has.
        """
        known = {name: str(value) for name, value in (extra or {}).items() if value is not None}
        known |= {TEXT: text, CONTEXT: (context or "").strip(), **self.fields}
        turns: list[Message] = [{"role": "system", "content": filled(self.instructions, known)}]
        for shown, reply in self.examples:
            turns += [{"role": "user", "content": shown}, {"role": "assistant", "content": reply}]
        user = user_text(text, context) if self.user_template is None else filled(self.user_template, known)
        return [*turns, {"role": "user", "content": user}]

    @property
    def named(self) -> frozenset[str]:
        """Every field that the templates name."""
        return frozenset(FIELD.findall(f"{self.instructions}\n{self.user_template or ''}"))

    def check(self, columns: Collection[str]) -> None:
        """Refuse what cannot be rendered.

        Args:
            columns: further columns that the project's prompts have.

        Raises `BadTemplate` for an unknown field, one defined but never named, or a user's turn without the prompt.
        """
        known = {TEXT, CONTEXT, *columns, *self.fields}
        unknown = sorted(self.named - known)
        if unknown:
            raise BadTemplate(
                f"The template names {_braced(unknown)}, which nothing fills in. There are {_braced(sorted(known))}: "
                "use one of these, or add the field with its text."
            )
        if taken := sorted({TEXT, CONTEXT} & set(self.fields)):
            raise BadTemplate(f"{_braced(taken)} is the prompt's own. Give your field another name.")
        if idle := sorted(set(self.fields) - self.named):
            raise BadTemplate(f"The field {_braced(idle)} stands in no template. Name it there, or take it out.")
        if self.user_template is not None and TEXT not in FIELD.findall(self.user_template):
            raise BadTemplate("The user's turn does not hold {{text}}, so no model would see the prompt. Add it.")
        for shown, reply in self.examples:
            if not shown.strip() or not reply.strip():
                raise BadTemplate("An example needs both a prompt and a reply. Fill it in, or take it out.")


def filled(template: str, known: Mapping[str, str]) -> str:
    """The template with its fields put in, once: what they bring is not looked through for more.

    Raises `BadTemplate` for a field that is not known.
    """

    def value(found: re.Match[str]) -> str:
        name = found.group(1)
        if name not in known:
            raise BadTemplate(
                f"This prompt has nothing for {_braced([name])}. Import it with that column, or take the "
                "field out of the template."
            )
        return known[name]

    return FIELD.sub(value, template)


def _braced(names: Sequence[str]) -> str:
    return ", ".join("{{" + name + "}}" for name in names)


LAYOUTS = {
    "ALPACA": (
        "{{ bos_token or '' }}Below is an instruction that describes a task, paired with an input. "
        "Write a response that completes the request.\n\n"
        "{% for message in messages %}"
        "{% if message['role'] == 'system' %}### Instruction:\n{{ message['content'] }}\n\n"
        "{% elif message['role'] == 'user' %}### Input:\n{{ message['content'] }}\n\n"
        "{% else %}### Response:\n{{ message['content'] }}{{ eos_token }}\n\n{% endif %}"
        "{% endfor %}"
        "{% if add_generation_prompt %}### Response:\n{% endif %}"
    ),
    "PLAIN": (
        "{{ bos_token or '' }}"
        "{% for message in messages %}"
        "{% if message['role'] == 'system' %}{% if message['content'] %}{{ message['content'] }}\n\n{% endif %}"
        "{% elif message['role'] == 'user' %}{{ message['content'] }}\n###\n"
        "{% else %}{{ message['content'] }}{{ eos_token }}\n\n{% endif %}"
        "{% endfor %}"
    ),
}
"""Chat templates (Jinja, as tokenizers keep them) for models that have none, by `db.models.Layout`."""


def text_hash(text: str) -> str:
    """Sha256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def template_hash(chat_template: str) -> str:
    """Sha256 of a tokenizer's chat template: equal hashes in training and serving mean equal rendering."""
    return text_hash(chat_template)


def system_hash(turns: Sequence[Message]) -> str:
    """Sha256 of the system prompt of a conversation, as it was sent."""
    return text_hash(next((turn["content"] for turn in turns if turn["role"] == "system"), ""))


def rendered(
    chat_template: str, turns: Sequence[Message], *, special: Mapping[str, str], reply_next: bool = True
) -> str:
    """The text that a model with this chat template reads, special tokens visible.

    As transformers renders it (https://huggingface.co/docs/transformers/chat_templating), without loading a tokenizer.

    Args:
        special: the special tokens that templates name, such as ``bos_token``.
        reply_next: end where the reply begins.

    Raises `BadTemplate` where the template refuses the conversation.
    """
    from jinja2 import TemplateError

    try:
        return str(_compiled(chat_template).render(messages=turns, add_generation_prompt=reply_next, **special))
    except TemplateError as problem:
        raise BadTemplate(f"The model's chat template refuses this conversation: {problem}") from None


@lru_cache(maxsize=16)
def _compiled(chat_template: str) -> Any:
    """The template, ready to render: compiling it takes ten times as long as rendering a conversation."""
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message: str) -> None:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)
    environment.globals |= {"raise_exception": refuse, "strftime_now": lambda form: datetime.now().strftime(form)}
    return environment.from_string(re.sub(r"\{%-?\s*(end)?generation\s*-?%\}", "", chat_template))


def token_ids(tokenizer: Any, turns: Sequence[Message], *, reply_next: bool) -> list[int]:
    """The tokens of a conversation as a model reads it, in training and in every check of what is served.

    Args:
        tokenizer: of transformers, with its chat template.
        reply_next: end where the reply begins.
    """
    encoded = tokenizer.apply_chat_template(
        list(turns), tokenize=True, add_generation_prompt=reply_next, return_dict=True
    )
    return list(encoded["input_ids"])


SYSTEM_PROBE = "Say nothing but Xylograph."


def check_system_prompt(chat_template: str, *, special: Mapping[str, str]) -> None:
    """Raise `BadTemplate` where a chat template refuses a system prompt or leaves it out without a word."""
    turns: list[Message] = [{"role": "system", "content": SYSTEM_PROBE}, {"role": "user", "content": "Hello."}]
    remedy = (
        "Choose another model, or put a template that has a system turn into the model's folder as chat_template.jinja."
    )
    try:
        text = rendered(chat_template, turns, special=special)
    except BadTemplate as problem:
        raise BadTemplate(f"{problem} It takes no system prompt. {remedy}") from None
    if SYSTEM_PROBE not in text:
        raise BadTemplate(
            f"The model's chat template drops the system prompt, so it would never read your instructions. {remedy}"
        )
