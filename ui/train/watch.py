"""A TrainingRun to watch: how it stands, its curves, what was found wrong, and what the model says meanwhile."""

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from db.models import TrainingRun
from db.session import reading
from texts.escape import escaped
from training.recipe.recipe import METHODS
from training.trainer.history import PromptSamples, minutes_left, samples, training_steps, warnings
from ui.charts import training_curves
from ui.run_status import show_run
from ui.safe import plain


def show_training(run: TrainingRun, *, by: int, opened: bool) -> None:
    """One training with everything that it said, from the database."""
    what = (
        f"{run.base_model.name} on snapshot {run.snapshot_id}. {METHODS[run.recipe.method].label}, “{run.recipe.name}”."
    )
    with show_run(run, run.model_name, by=by, note=what):
        _show_what_it_said(run, opened=opened)


def _show_what_it_said(run: TrainingRun, *, opened: bool) -> None:
    with reading() as s:
        steps = training_steps(s, run_id=run.id)
        said = samples(s, run_id=run.id)
        wrong = warnings(s, run_id=run.id)
    left = minutes_left(run, steps)
    facts = [
        f"{run.snapshot.simulated_count} of {run.snapshot.row_count} rows are simulated"
        if run.snapshot.simulated_count
        else "",
        f"learns from {run.share:.0%} of the rows" if run.share < 1 else "",
        f"about {left:.0f} minutes left" if left is not None and left >= 1 else "",
        "under a minute left" if left is not None and left < 1 else "",
        f"best at step {run.best_step}, which was kept" if run.best_step is not None else "",
        f"peak memory {run.peak_memory_mb / 1024:.1f} GB" if run.peak_memory_mb else "",
    ]
    if told := "; ".join(fact for fact in facts if fact):
        st.caption(plain(told[0].upper() + told[1:] + "."))
    for one in wrong:
        if one.sentence == run.stopped:
            continue
        st.error(f"Step {one.step}: {plain(one.sentence)}", icon=":material/warning:")
    if run.stopped:
        st.warning(f"Stopped early: {plain(run.stopped)}", icon=":material/stop_circle:")
    if steps:
        with st.expander("Curves", expanded=opened, icon=":material/show_chart:"):
            training_curves(steps, best_step=run.best_step)
    if said:
        with st.expander("What the model says meanwhile", expanded=opened, icon=":material/chat:"):
            show_samples(said, run_id=run.id)


def show_samples(said: tuple[PromptSamples, ...], *, run_id: int) -> None:
    """Each fixed prompt with the reply before training beside the one at a step to choose."""
    steps = sorted({reply.step for one in said for reply in one.replies})
    chosen = steps[-1]
    if len(steps) > 2:
        # a new look at the end makes another slider, which stands at its end
        chosen = st.select_slider(
            "At step",
            steps[1:],
            value=steps[-1],
            key=f"sample_{run_id}_{steps[-1]}",
            help="Beside the untrained model.",
        )
    for one in said:
        made_up = " (synthetic prompt)" if one.synthetic else ""
        context = f'<div class="pw-context">{escaped(one.context)}</div>' if one.context else ""
        st.html(
            f'<div class="pw-label">Prompt {one.place}{made_up}</div>'
            f'<div class="pw-card pw-text pw-prompt pw-open">{context}{escaped(one.prompt)}</div>'
        )
        for column, step in zip(st.columns(2), dict.fromkeys((0, chosen)), strict=False):
            _show_reply(column, one, step)


def _show_reply(column: DeltaGenerator, one: PromptSamples, step: int) -> None:
    reply = one.at(step)
    if reply is None:
        return
    when = "Before training" if reply.step == 0 else f"At step {reply.step}"
    end = "" if reply.ended else ", cut at the limit"
    column.html(
        f'<div class="pw-label">{when}: {reply.tokens} tokens{end}</div>'
        f'<div class="pw-card pw-text">{escaped(reply.reply)}</div>'
    )
