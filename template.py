"""The one place where a Prompt becomes what a model reads, in training and in use alike.

A model behaves in use as it was trained only if both see the same tokens. So generation and training build their
messages here, always with an explicit system message: without one, SmolLM2's template (and Qwen's) puts in its own.
"""

import hashlib
import re
from typing import TypedDict

TURN_MARK = re.compile(r"<\|[\w./ -]{1,40}\|>|</?s>|\[/?INST\]|<(start|end)_of_turn>")
"""Turn marks of the ChatML, Zephyr, Llama, Mistral and Gemma templates; tokenizers take them for the real thing."""


class Message(TypedDict):
    """One turn of a conversation, as chat templates expect it."""

    role: str
    content: str


def user_text(text: str, context: str | None) -> str:
    """The user's turn: the context, if any, above the prompt's text."""
    return f"{context.strip()}\n\n{text}" if context and context.strip() else text


def messages(instructions: str, text: str, context: str | None = None) -> list[Message]:
    """The conversation up to where the reply begins."""
    return [
        {"role": "system", "content": instructions},
        {"role": "user", "content": user_text(text, context)},
    ]


def template_hash(chat_template: str) -> str:
    """Sha256 of a tokenizer's chat template: equal hashes in training and serving mean equal rendering."""
    return hashlib.sha256(chat_template.encode()).hexdigest()
