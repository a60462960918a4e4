"""The recipe's form: it starts from advice, says why and from where beside each knob, and marks what was changed."""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import streamlit as st

from db.models import Adapter, Loss, Method
from training.recipe.advice import Advice
from training.recipe.knobs import ADAPTERS, CHOICES, HAS_LOSSES, KNOBS, LOSSES, knobs_of
from training.trainer.run_folder import RecipeValues
from ui.safe import plain

MAIN = (
    "learning_rate",
    "beta",
    "sft_weight",
    "label_smoothing",
    "epochs",
    "batch_size",
    "sft_epochs",
    "reference",
    "lora_rank",
)
"""Knobs that are turned now and then; the others are folded away."""
CHOSEN_ABOVE = ("method", "loss", "adapter")
WHOLE = frozenset({"max_steps"})
"""Whole numbers that may be empty."""


def choose_loss_and_adapter(method: Method) -> tuple[Loss, Adapter | None]:
    """What the advice depends on, beside the method."""
    left, right = st.columns(2)
    loss = Loss.SIGMOID
    if method in HAS_LOSSES:
        chosen = left.selectbox("Loss", list(Loss), format_func=lambda one: LOSSES[one].label, key="recipe_loss")
        loss = chosen or loss
        left.caption(plain(LOSSES[loss].says))
    adapter = right.selectbox(
        "What is trained", list(ADAPTERS), format_func=lambda one: ADAPTERS[one].label, key="recipe_adapter"
    )
    right.caption(plain(ADAPTERS[adapter].says))
    return loss, adapter


def recipe_form(advice: Advice, *, tuned: bool) -> RecipeValues:
    """Draw every knob that the recipe reads and give the recipe as it stands, named by what was changed.

    ``tuned`` says that the model to start from was itself made from another.
    """
    values: dict[str, Any] = {one.name: getattr(advice.values, one.name) for one in fields(RecipeValues)}
    _knobs(advice, values, MAIN, tuned=tuned)
    others = [name for name in KNOBS if name not in (*MAIN, *CHOSEN_ABOVE)]
    with st.expander("More knobs, seldom turned", icon=":material/tune:"):
        _knobs(advice, values, others, tuned=tuned)
    used = replace(advice.values, **values)
    return replace(used, name=advice.named(used))


def _knobs(advice: Advice, values: dict[str, Any], names: Sequence[str], *, tuned: bool) -> None:
    columns = st.columns(3)
    place = 0
    for name in names:
        read = knobs_of(
            method=values["method"],
            loss=values["loss"],
            adapter=values["adapter"],
            launcher=values["launcher"],
            sft_epochs=values["sft_epochs"] or 0.0,
            tuned=tuned,
        )
        if name not in read:
            continue
        with columns[place % 3].container(border=True):
            values[name] = _knob(name, advice)
            _say_why(name, values[name], advice)
        place += 1


def _knob(name: str, advice: Advice) -> Any:
    """One knob; it goes back to what is advised when the advice changes, and only then."""
    about, start = KNOBS[name], getattr(advice.values, name)
    key = f"knob_{name}_{start}"
    help_text = f"{plain(about.reason)} — {plain(about.source)}"
    if name in CHOICES:
        options = list(CHOICES[name])
        chosen: Any = st.selectbox(
            about.label,
            options,
            index=options.index(start),
            format_func=lambda one: CHOICES[name][one].label,
            help=help_text,
            key=key,
        )
        return chosen
    if isinstance(start, bool):
        return st.toggle(about.label, value=start, help=help_text, key=key)
    whole = isinstance(start, int) or name in WHOLE
    given = st.number_input(
        about.label,
        value=start,
        step=1 if whole else None,
        format=None if whole else "%g",
        help=help_text,
        key=key,
    )
    return start if given is None and name not in WHOLE else given


def _say_why(name: str, value: Any, advice: Advice) -> None:
    reason = advice.reasons[name]
    start = getattr(advice.values, name)
    if value != start:
        st.markdown(f":orange-badge[advised: {plain(in_words(name, start))}]")
    st.caption(f"{plain(reason.why)} *{plain(reason.source)}*")


def in_words(name: str, value: Any) -> str:
    """A knob's value for people."""
    if name in CHOICES:
        return CHOICES[name][value].label
    if isinstance(value, bool):
        return "on" if value else "off"
    return "empty" if value is None else f"{value:g}"
