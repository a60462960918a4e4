"""What a Responder puts round a prompt, read from its rows: generation and training render by this alone."""

from db.models import Responder
from template import PromptFormat


def prompt_format(responder: Responder) -> PromptFormat:
    """Everything by which this Responder's prompts are rendered."""
    return PromptFormat(
        instructions=responder.instructions or "",
        user_template=responder.user_template,
        fields=dict(responder.fields or {}),
        examples=tuple((example.prompt, example.reply) for example in responder.examples),
    )
