"""Compares how the trainer sees a model with how the engine serves it, and names what differs. Pure.

The trainer's libraries and the engine get the same conversations. Their tokens must be the same one by one, the reply
must end in the token that the engine stops at, and the log-probabilities of a reply must agree within the tolerance of
the precision.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, quantiles

from llm.template import Message, PromptFormat

TOLERANCE = {"float32": 1e-3, "bfloat16": 0.5, "float16": 0.5}
"""Nats by which two log-probabilities of one token may differ: all of them in float32, 99 of 100 in half precision.

On GPUs bfloat16 engines and transformers differ by up to 0.48 for a token, 0.11 for 95 of 100 (TRL's issue 6789)."""
MEAN_TOLERANCE = 0.02
"""Nats by which they may differ on average in half precision."""
LONG = " ".join(f"Item {n} of order {n * 37} came {n} days late." for n in range(1, 25))
CONVERSATIONS: Sequence[tuple[PromptFormat, str, str | None, str]] = (
    (PromptFormat("Answer the customer's email."), "Where is order 4711?", None, "It left us on Monday."),
    (PromptFormat(""), "Hello.", None, "Hello, how can I help?"),
    (PromptFormat("Be brief."), "Why is it so dear?", "Price list:\n- Book: 19.90 €", "Paper costs more this year."),
    (PromptFormat("Answer."), "Grüße aus Köln 🙂 — “is it” <there>?\n", None, "Ja, natürlich! 🙂\n\nBis bald"),
    (
        PromptFormat("Classify.", examples=(("It is broken.", '{"class": "defect"}'),)),
        "  When do you open?  ",
        None,
        '{"class": "hours"}',
    ),
    (PromptFormat("Answer in full."), LONG, None, f"I am sorry. {LONG}"),
)
"""Prompt, text, context and reply of each: with and without instructions, context, examples, odd characters, length."""


@dataclass(frozen=True)
class TrainerView:
    """One conversation as the trainer's libraries tokenize and score it."""

    prompt: Sequence[int]
    """Token ids up to where the reply begins."""
    whole: Sequence[int]
    """Token ids with the reply and its end."""
    log_probabilities: Sequence[float]
    """Of every token after the prompt, in nats."""


@dataclass(frozen=True)
class EngineView:
    """The same conversation as the engine tokenizes and scores it."""

    prompt: Sequence[int]
    log_probabilities: Sequence[float]


@dataclass(frozen=True)
class Parity:
    """The result of the comparison."""

    problem: str | None
    """What differs, with the remedy; None where nothing does."""
    tokens: int = 0
    largest: float | None = None
    mean: float | None = None


def conversations() -> list[list[Message]]:
    """The turns of each conversation up to where the reply begins."""
    return [prompt.messages(text, context) for prompt, text, context, _ in CONVERSATIONS]


def trainer_problem(ours: Sequence[TrainerView], *, bos: int | None, stops: frozenset[int]) -> str | None:
    """What is wrong with the trainer's own tokens, before any comparison; None where nothing is. Pure."""
    for view in ours:
        if list(view.whole[: len(view.prompt)]) != list(view.prompt):
            return (
                "With its reply, a conversation does not begin as it does alone, so the model would learn from another "
                "text than it meets in use. This chat template is not fit for training: choose another model."
            )
        if has_two_bos(view.prompt, bos):
            return (
                "Conversations begin with two begin-of-text tokens (BOS): the template puts one in and the tokenizer "
                "another. Take it out of the template, or set add_bos_token to false in tokenizer_config.json."
            )
        ends = sum(token in stops for token in view.whole[len(view.prompt) :])
        if ends != 1:
            return (
                f"A reply has {ends} end-of-turn tokens instead of one, so the model would not learn when to "
                "stop. The template has to close each reply with a token that generation_config.json names as "
                "eos_token_id."
            )
    return None


def has_two_bos(prompt: Sequence[int], bos: int | None) -> bool:
    """Whether a conversation begins with two begin-of-text tokens. Pure."""
    return bos is not None and list(prompt[:2]) == [bos, bos]


def compare_views(ours: Sequence[TrainerView], theirs: Sequence[EngineView], *, bos: int | None, dtype: str) -> Parity:
    """Compare the trainer's tokens and log-probabilities with the engine's. Pure."""
    for trainer, engine in zip(ours, theirs, strict=True):
        if list(engine.prompt) == list(trainer.prompt):
            continue
        if has_two_bos(engine.prompt, bos):
            return Parity(
                "The engine puts a second begin-of-text token (BOS) in front of every prompt. Take it out of the "
                "template, or set add_bos_token to false in tokenizer_config.json."
            )
        place = next(
            (n for n, (a, b) in enumerate(zip(trainer.prompt, engine.prompt, strict=False)) if a != b),
            min(len(trainer.prompt), len(engine.prompt)),
        )
        return Parity(
            f"The engine reads other tokens than the trainer: they differ from token {place + 1} on "
            f"({len(engine.prompt)} tokens there, {len(trainer.prompt)} in training). The engine uses another "
            "tokenizer or chat template; serve the very folder that was trained."
        )
    differences = [
        abs(a - b)
        for trainer, engine in zip(ours, theirs, strict=True)
        for a, b in zip(trainer.log_probabilities, engine.log_probabilities, strict=True)
    ]
    largest, mean = max(differences), fmean(differences)
    exact = dtype == "float32"
    measured = largest if exact else quantiles(differences, n=100)[98]
    problem = None
    if measured > TOLERANCE[dtype] or (not exact and mean > MEAN_TOLERANCE):
        problem = (
            "The engine gives other probabilities than the trainer: log-probabilities of the same tokens differ by up "
            f"to {largest:.3g} nats, {mean:.3g} on average, and {TOLERANCE[dtype]:g} is allowed in {dtype}. It serves "
            "other weights, or an adapter that is not applied. Merge the model again, or serve the very folder that "
            "was trained."
        )
    return Parity(problem, len(differences), largest, mean)
