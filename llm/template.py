"""The one place where a Prompt becomes what a model reads, in training and in generation alike.

A model answers as it was trained only if both see the same tokens. So generation and training build their messages
here, always with an explicit system message: without one, the templates of SmolLM2 and Qwen add their own.
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
"""Turn marks of the ChatML, Zephyr, Llama, Mistral and Gemma templates; tokenizers read them as turns in any text."""
THINK, THOUGHT = "<think>", "</think>"
FIELD = re.compile(r"\{\{\s*(\w+)\s*\}\}")
"""A named field, as ``{{columns}}``. Single braces are plain text, so JSON needs no escaping."""
TEXT, CONTEXT = "text", "context"
"""The fields that every Prompt has."""


def split_reasoning(answer: str) -> tuple[str | None, str]:
    """What a model thought, if anything, and the reply after it. Pure.

    The chat template may have begun the thinking, so the first mark may be missing; without the last one, the reply was
    cut before it began.
    """
    thought, ended, rest = answer.rpartition(THOUGHT)
    reply, begun, more = rest.partition(THINK)
    if not ended and not begun:
        return None, answer
    return f"{thought}\n{more}".replace(THINK, "").strip() or None, reply.strip()


class Message(TypedDict):
    """One turn of a conversation, as chat templates expect it."""

    role: str
    content: str


def user_text(text: str, context: str | None) -> str:
    """The user's turn without a template: the context, if any, above the prompt's text."""
    return f"{context.strip()}\n\n{text}" if context and context.strip() else text


@dataclass(frozen=True)
class PromptFormat:
    """What a Responder adds to a prompt: system prompt, template of the user's turn, texts for fields, examples."""

    instructions: str
    """The system prompt, possibly empty, with or without fields."""
    user_template: str | None = None
    """The user's turn with its fields; None puts the context above the text."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """Texts that are the same for every prompt."""
    examples: Sequence[tuple[str, str]] = ()
    """User's turn and reply of each, put before the prompt (few-shot; Brown et al. 2020, arXiv 2005.14165)."""

    def messages(self, text: str, context: str | None = None, extra: Mapping[str, Any] | None = None) -> list[Message]:
        """The conversation up to where the reply begins.

        Args:
            extra: further columns of the prompt, which fields may name.

        Raises `BadTemplate` for a field that neither the format nor this prompt has.
        """
        values = {name: str(value) for name, value in (extra or {}).items() if value is not None}
        values |= {TEXT: text, CONTEXT: (context or "").strip(), **self.fields}
        turns: list[Message] = [{"role": "system", "content": fill_template(self.instructions, values)}]
        for question, reply in self.examples:
            turns += [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]
        template = self.user_template
        user = user_text(text, context) if template is None else fill_template(template, values)
        return [*turns, {"role": "user", "content": user}]

    @property
    def field_names(self) -> frozenset[str]:
        """Every field that the templates name."""
        return frozenset(FIELD.findall(f"{self.instructions}\n{self.user_template or ''}"))

    def check(self, columns: Collection[str]) -> None:
        """Raise `BadTemplate` for an unknown field, one defined but never named, or a user's turn without the prompt.

        Args:
            columns: further columns that the project's prompts have.
        """
        known = {TEXT, CONTEXT, *columns, *self.fields}
        unknown = sorted(self.field_names - known)
        if unknown:
            raise BadTemplate(
                f"The template names {_braced(unknown)}, which nothing fills in. There are {_braced(sorted(known))}: "
                "use one of these, or add the field with its text."
            )
        if taken := sorted({TEXT, CONTEXT} & set(self.fields)):
            raise BadTemplate(f"{_braced(taken)} is the prompt's own. Give your field another name.")
        if unused := sorted(set(self.fields) - self.field_names):
            raise BadTemplate(f"The field {_braced(unused)} stands in no template. Name it there, or take it out.")
        if self.user_template is not None and TEXT not in FIELD.findall(self.user_template):
            raise BadTemplate("The user's turn does not hold {{text}}, so no model would see the prompt. Add it.")
        for question, reply in self.examples:
            if not question.strip() or not reply.strip():
                raise BadTemplate("An example needs both a prompt and a reply. Fill it in, or take it out.")


def fill_template(template: str, values: Mapping[str, str]) -> str:
    """The template with its fields filled in once: fields inside the values stay as they are.

    Raises `BadTemplate` for a field without a value.
    """

    def field_value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in values:
            raise BadTemplate(
                f"This prompt has nothing for {_braced([name])}. Import it with that column, or take the "
                "field out of the template."
            )
        return values[name]

    return FIELD.sub(field_value, template)


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
"""Chat templates (Jinja, as tokenizers store them) for models that have none, by `db.models.ChatLayout`."""


def text_hash(text: str) -> str:
    """Sha256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def template_hash(chat_template: str) -> str:
    """Sha256 of a tokenizer's chat template: equal hashes in training and generation mean equal rendering."""
    return text_hash(chat_template)


def system_hash(turns: Sequence[Message]) -> str:
    """Sha256 of the system prompt of a conversation, as it was sent."""
    return text_hash(next((turn["content"] for turn in turns if turn["role"] == "system"), ""))


def render_conversation(
    chat_template: str,
    turns: Sequence[Message],
    *,
    special_tokens: Mapping[str, str],
    add_generation_prompt: bool = True,
) -> str:
    """The text that a model with this chat template reads, with its special tokens.

    The same as transformers renders (https://huggingface.co/docs/transformers/chat_templating), without a tokenizer.

    Args:
        special_tokens: the special tokens that templates name, such as ``bos_token``.
        add_generation_prompt: whether the text ends where the reply begins.

    Raises `BadTemplate` where the template refuses the conversation.
    """
    from jinja2 import TemplateError

    try:
        return str(
            _compile_template(chat_template).render(
                messages=turns, add_generation_prompt=add_generation_prompt, **special_tokens
            )
        )
    except TemplateError as problem:
        raise BadTemplate(f"The model's chat template refuses this conversation: {problem}") from None


@lru_cache(maxsize=16)
def _compile_template(chat_template: str) -> Any:
    """Cached: compiling a template takes ten times as long as rendering a conversation."""
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


def conversation_token_ids(tokenizer: Any, turns: Sequence[Message], *, add_generation_prompt: bool) -> list[int]:
    """The tokens of a conversation as a model reads it, for training and for checks of served models.

    Args:
        tokenizer: of transformers, with its chat template.
        add_generation_prompt: whether the tokens end where the reply begins.
    """
    encoded = tokenizer.apply_chat_template(
        list(turns), tokenize=True, add_generation_prompt=add_generation_prompt, return_dict=True
    )
    return list(encoded["input_ids"])


SYSTEM_PROBE = "Say nothing but Xylograph."


def check_system_prompt(chat_template: str, *, special: Mapping[str, str]) -> None:
    """Raise `BadTemplate` where a chat template refuses a system prompt or silently leaves it out."""
    turns: list[Message] = [{"role": "system", "content": SYSTEM_PROBE}, {"role": "user", "content": "Hello."}]
    remedy = (
        "Choose another model, or put a template that has a system turn into the model's folder as chat_template.jinja."
    )
    try:
        text = render_conversation(chat_template, turns, special_tokens=special)
    except BadTemplate as problem:
        raise BadTemplate(f"{problem} It takes no system prompt. {remedy}") from None
    if SYSTEM_PROBE not in text:
        raise BadTemplate(
            f"The model's chat template drops the system prompt, so it would never read your instructions. {remedy}"
        )
