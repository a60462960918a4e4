"""A TrainingRun to watch: how it stands, its curves, what was found wrong, and what the model says meanwhile."""

import streamlit as st

from db.models import TrainingRun
from db.session import reading
from texts.escape import escape_html
from training.recipe.recipe import METHODS
from training.trainer.history import PromptSamples, load_samples, load_steps, load_warnings, minutes_left
from ui.charts import training_curves
from ui.run_status import show_run
from ui.safe import plain


def show_training(run: TrainingRun, *, by: int, opened: bool) -> None:
    """Draw one training with everything that it reported, from the database."""
    method = METHODS[run.recipe.method].label
    note = f"{run.base_model.name} on snapshot {run.snapshot_id}. {method}, “{run.recipe.name}”."
    with show_run(run, run.model_name, by=by, note=note):
        _show_reports(run, opened=opened)


def _show_reports(run: TrainingRun, *, opened: bool) -> None:
    with reading() as s:
        steps = load_steps(s, run_id=run.id)
        prompts = load_samples(s, run_id=run.id)
        problems = load_warnings(s, run_id=run.id)
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
    if summary := "; ".join(fact for fact in facts if fact):
        st.caption(plain(summary[0].upper() + summary[1:] + "."))
    for problem in problems:
        if problem.sentence != run.stopped:
            st.error(f"Step {problem.step}: {plain(problem.sentence)}", icon=":material/warning:")
    if run.stopped:
        st.warning(f"Stopped early: {plain(run.stopped)}", icon=":material/stop_circle:")
    if steps:
        with st.expander("Curves", expanded=opened, icon=":material/show_chart:"):
            training_curves(steps, best_step=run.best_step)
    if prompts:
        with st.expander("What the model says meanwhile", expanded=opened, icon=":material/chat:"):
            _show_samples(prompts, run_id=run.id)


def _show_samples(prompts: tuple[PromptSamples, ...], *, run_id: int) -> None:
    """Each fixed prompt with the reply before training beside the one at a step to choose."""
    steps = sorted({reply.step for prompt in prompts for reply in prompt.replies})
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
    for prompt in prompts:
        made_up = " (synthetic prompt)" if prompt.synthetic else ""
        context = f'<div class="pw-context">{escape_html(prompt.context)}</div>' if prompt.context else ""
        st.html(
            f'<div class="pw-label">Prompt {prompt.place}{made_up}</div>'
            f'<div class="pw-card pw-text pw-prompt pw-open">{context}{escape_html(prompt.prompt)}</div>'
        )
        for column, step in zip(st.columns(2), dict.fromkeys((0, chosen)), strict=False):
            if (reply := prompt.at(step)) is None:
                continue
            when = f"At step {reply.step}" if reply.step else "Before training"
            end = "" if reply.ended else ", cut at the limit"
            column.html(
                f'<div class="pw-label">{when}: {reply.tokens} tokens{end}</div>'
                f'<div class="pw-card pw-text">{escape_html(reply.reply)}</div>'
            )
