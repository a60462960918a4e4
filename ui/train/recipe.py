"""The recipe's form: it starts from advice, says why and from where beside each knob, and marks what was changed."""

from dataclasses import replace
from typing import Any

import streamlit as st

from db.models import Adapter, Method
from training.recipe.advice import Advice
from training.recipe.recipe import ADAPTERS, KNOBS, LOSSES, WITH_LOSSES, Knob, KnobGroup, Loss, RecipeValues
from ui.safe import plain


def choose_loss_and_adapter(method: Method) -> tuple[Loss, Adapter | None]:
    """What the advice depends on, beside the method."""
    left, right = st.columns(2)
    loss = Loss.SIGMOID
    if method in WITH_LOSSES:
        chosen = left.selectbox("Loss", list(Loss), format_func=lambda kind: LOSSES[kind].label, key="recipe_loss")
        loss = chosen or loss
        left.caption(plain(LOSSES[loss].description))
    adapter = right.selectbox(
        "What is trained", list(ADAPTERS), format_func=lambda kind: ADAPTERS[kind].label, key="recipe_adapter"
    )
    right.caption(plain(ADAPTERS[adapter].description))
    return loss, adapter


def recipe_form(advice: Advice, *, tuned: bool) -> RecipeValues:
    """Draw every knob that the recipe reads; return the recipe as it stands, named by what was changed.

    ``tuned`` says that the model to start from was itself made from another.
    """
    recipe = _knobs(advice, advice.values, KnobGroup.MAIN, tuned=tuned)
    with st.expander("More knobs, seldom turned", icon=":material/tune:"):
        recipe = _knobs(advice, recipe, KnobGroup.MORE, tuned=tuned)
    return replace(recipe, name=advice.name_recipe(recipe))


def _knobs(advice: Advice, recipe: RecipeValues, group: KnobGroup, *, tuned: bool) -> RecipeValues:
    """The recipe with what is set to the knobs of one group; which of them it reads may hang on those before."""
    columns = st.columns(3)
    place = 0
    for name, knob in KNOBS.items():
        if knob.group is not group or not knob.read_by(recipe, tuned):
            continue
        advised, reason = getattr(advice.values, name), advice.reasons[name]
        with columns[place % 3].container(border=True):
            # it goes back to what is advised when the advice changes, and only then
            value = _ask(knob, advised, key=f"knob_{name}_{advised}")
            if value != advised:
                st.markdown(f":orange-badge[advised: {plain(_in_words(knob, advised))}]")
            st.caption(f"{plain(reason.why)} *{plain(reason.source)}*")
        recipe = replace(recipe, **{name: value})
        place += 1
    return recipe


def _ask(knob: Knob, advised: Any, *, key: str) -> Any:
    more: dict[str, Any] = {"help": f"{plain(knob.description)} — {plain(knob.source)}", "key": key}
    if knob.options:
        labels: dict[Any, str] = {option: words.label for option, words in knob.options.items()}
        start = list(labels).index(advised)
        return st.selectbox(knob.label, list(labels), index=start, format_func=labels.__getitem__, **more)
    if isinstance(advised, bool):
        return st.toggle(knob.label, value=advised, **more)
    step, form = (None, "%g") if isinstance(advised, float) else (1, None)
    typed = st.number_input(knob.label, value=advised, step=step, format=form, **more)
    return advised if typed is None and not knob.optional else typed


def _in_words(knob: Knob, value: Any) -> str:
    if knob.options:
        return knob.options[value].label
    if isinstance(value, bool):
        return "on" if value else "off"
    return "empty" if value is None else f"{value:g}"
