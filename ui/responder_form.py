"""The boxes that say what makes a model's replies: which model, its prompt, how it samples."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st

from db.models import ModelVersion
from generation.responders import RemoteModel, ResponderSpec, Sampling
from llm.endpoints import HOST_SUFFIX, KEY_PREFIX
from llm.template import PromptFormat

ELSEWHERE = "A model behind an endpoint …"
FIELDS, EXAMPLES = ("Field", "Text"), ("Prompt", "Reply")


@dataclass(frozen=True)
class InitialSpec:
    """What the boxes hold at first."""

    model: int | RemoteModel | None
    prompt: PromptFormat
    sampling: Sampling


def responder_form(
    key: str, models: Sequence[ModelVersion], start: InitialSpec, *, columns: Sequence[str], templates: bool = True
) -> ResponderSpec | None:
    """Draw the boxes and return what they say; None while no model is chosen.

    Args:
        key: makes the boxes anew where it changes, with what `start` holds.
        columns: further columns of the project's prompts, which templates may name.
        templates: with template, fields and examples; else the system prompt alone.
    """
    model = _ask_model(key, models, start.model)
    instructions = st.text_area(
        "System prompt (instructions)",
        value=start.prompt.instructions,
        height=160,
        key=f"{key}_instructions",
        help="Always sent, in training and in use alike: without one many models put in their own.",
    )
    prompt = _ask_templates(key, instructions, start.prompt, columns) if templates else PromptFormat(instructions)
    left, middle, right = st.columns(3)
    note, sampling = "Higher makes samples differ more.", start.sampling
    temperature = left.number_input(
        "Temperature", 0.0, 2.0, sampling.temperature, 0.1, key=f"{key}_temperature", help=note
    )
    top_p = middle.number_input("Top-p", 0.05, 1.0, sampling.top_p, 0.05, key=f"{key}_top_p")
    longest = right.number_input("Longest reply, tokens", 1, 8192, sampling.max_tokens, key=f"{key}_longest")
    if model is None:
        return None
    return ResponderSpec(model, prompt, Sampling(float(temperature), float(top_p), int(longest)))


def _ask_model(key: str, models: Sequence[ModelVersion], start: int | RemoteModel | None) -> int | RemoteModel | None:
    names = {model.id: model.name for model in models}
    options = [*names, ELSEWHERE]
    at = ELSEWHERE if isinstance(start, RemoteModel) else start
    chosen = st.selectbox(
        "Model",
        options,
        index=options.index(at) if at in options else 0,
        format_func=lambda model_id: names.get(model_id, ELSEWHERE),
        key=f"{key}_model",
    )
    if chosen != ELSEWHERE:
        return chosen if isinstance(chosen, int) else None
    old = start if isinstance(start, RemoteModel) else RemoteModel("", "")
    st.caption("Prompts are sent to this address. Use one that may read what your customers write.")
    left, right = st.columns(2)
    url = left.text_input("Address", old.url, placeholder="https://api.openai.com/v1", key=f"{key}_url")
    name = right.text_input("What the model is called there", old.model, placeholder="gpt-4", key=f"{key}_remote")
    a, b, c = st.columns([2, 1, 1])
    variable = a.text_input(
        "Environment variable that holds the key",
        old.key_variable or "",
        placeholder=f"{KEY_PREFIX}OPENAI",
        key=f"{key}_variable",
        help=f"Its name, never the key itself. A second variable, {KEY_PREFIX}OPENAI{HOST_SUFFIX}, names the one host "
        "that the key may go to. Empty where the endpoint wants no key.",
    )
    price_in = b.number_input(
        "US$ per million tokens read", 0.0, None, old.price_in, key=f"{key}_price_in", placeholder="unknown"
    )
    price_out = c.number_input(
        "US$ per million written", 0.0, None, old.price_out, key=f"{key}_price_out", placeholder="unknown"
    )
    return RemoteModel(url, name, variable or None, price_in, price_out)


def _ask_templates(key: str, instructions: str, start: PromptFormat, columns: Sequence[str]) -> PromptFormat:
    placeholders = ", ".join("{{" + name + "}}" for name in ("text", "context", *columns))
    with st.expander("Template and fields", expanded=bool(start.user_template or start.fields)):
        user = st.text_area(
            "The user's turn",
            value=start.user_template or "",
            height=120,
            key=f"{key}_user",
            placeholder="Empty: the context, if any, and below it the prompt.\n\n"
            "Or, say:\nColumns: {{columns}}\nTips: {{tips}}\nQuestion: {{text}}",
            help="Names in double braces are filled in, here and in the system prompt.",
        )
        st.caption(f"Every prompt has {placeholders}. Further fields, the same for every prompt:")
        fields = _edit_table(key + "_fields", FIELDS, list(start.fields.items()))
    with st.expander("Examples shown before each question", expanded=bool(start.examples)):
        examples = _edit_table(key + "_examples", EXAMPLES, list(start.examples))
    named = {name.strip("{} "): text for name, text in fields if name.strip("{} ")}
    return PromptFormat(instructions, user if user.strip() else None, named, tuple(examples))


def _edit_table(key: str, heads: tuple[str, str], rows: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """A table of texts that grows; the rows of it that hold anything."""
    frame = pd.DataFrame(rows, columns=list(heads), dtype=str)
    edited: Any = st.data_editor(
        frame,
        key=key,
        num_rows="dynamic",
        hide_index=True,
        width="stretch",
        row_height=64,
        column_config={head: st.column_config.TextColumn(width="large") for head in heads},
    )
    texts = edited.fillna("").astype(str).itertuples(index=False, name=None)
    return [(left, right) for left, right in texts if left.strip() or right.strip()]
