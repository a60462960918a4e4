"""Public benchmarks of one model on the screen: start them, watch them, and read what was lost or gained."""

from collections.abc import Sequence

import altair as alt
import pandas as pd
import streamlit as st

from db.models import BenchmarkRun, ModelVersion, TrainingRun
from db.session import reading, session
from errors import PickwellError
from eval.benchmarks.runs import (
    Contrast,
    benchmarks,
    contrasts,
    labels,
    named,
    newest,
    request_benchmark,
    scores_of,
    there_already,
)
from eval.benchmarks.tasks import DEFAULT, EXAMPLES, PRESETS, checked_tasks, memory_caution, minutes
from eval.benchmarks.terms import not_installed
from eval.report.pictures import GREEN, GREY, INK, RED
from stats.paired import Difference, Score, ScoreChange
from texts.escape import escaped
from training.recipe.estimate import has_gpu, memory_here, parameters_of
from ui.charts import coloured, draw, legend
from ui.frame import Me
from ui.run_status import WORDS, show_run
from ui.safe import errors_shown, plain, show_table

COLOURS = {ScoreChange.LOST: RED, ScoreChange.GAINED: GREEN, ScoreChange.NOT_SHOWN: GREY}
WHAT = {
    ScoreChange.LOST: "lost",
    ScoreChange.GAINED: "gained",
    ScoreChange.NOT_SHOWN: "no difference that so few examples can show",
}
SHOWN = 12
"""Runs in the list, newest first."""
LABELS = {one.task: f"{one.label}: {one.says}" for one in PRESETS}


def show_benchmarks(version: ModelVersion, me: Me) -> None:
    """Everything about one model's benchmarks."""
    with reading() as s:
        found = contrasts(s, version=version)
        alone = newest(scores_of(s, model_version_id=version.id))
        runs = benchmarks(s, model_version_ids=[one.id for one in _both(version)])
    st.caption(
        "A gain in your own task can hide a loss elsewhere. Here the model and the one it was made from are asked the "
        "same public questions, and each answer is compared with the other's to the same question."
    )
    for one in found:
        show_contrast(one)
    if not found and alone:
        st.caption("Run the same for the model that it was made from, or for this one in four bits, to compare them.")
        show_table(_values({version.name: alone}), whole=True)
    _watch(version, me)
    if version.retired_at is None:
        _form(version, runs, me)
    if runs:
        _list(runs)


def _both(version: ModelVersion) -> list[ModelVersion]:
    return [version, *([version.parent] if version.parent is not None else [])]


# --------------------------------------------------------------------------------------------------------- results


def show_contrast(one: Contrast) -> None:
    """A model beside what it is held to: a picture, then the numbers."""
    st.html(f'<div class="pw-sentence">{escaped(f"{one.model} against {one.reference}")}</div>')
    if one.told:
        st.write(plain(summary(one.told)))
        shares = [difference for difference in one.told if difference.share]
        if shares:
            shown = {outcome for outcome in COLOURS if any(each.outcome is outcome for each in shares)}
            st.html(legend({WHAT[outcome]: COLOURS[outcome] for outcome in COLOURS if outcome in shown}))
            draw(_dots(shares), height=70 + 34 * len(shares))
        show_table([_row(difference, one) for difference in one.told], whole=True)
        st.caption(
            "95 % intervals of the difference on the same examples. Of twenty figures without any real difference one "
            "looks like one by chance. So few examples do not give the published figures: compare models only."
        )
    if one.untold:
        with st.expander(f"Not compared ({len(one.untold)})"):
            show_table(
                [{"Benchmark": each.task, "Metric": each.metric, "Why": each.reason} for each in one.untold], whole=True
            )


def summary(found: Sequence[Difference]) -> str:
    """How many were lost and gained, and what could still be hidden, in a sentence."""
    count = {outcome: sum(one.outcome is outcome for one in found) for outcome in ScoreChange}
    parts = [f"{count[ScoreChange.LOST]} lost", f"{count[ScoreChange.GAINED]} gained"]
    open_ = [one for one in found if one.outcome is ScoreChange.NOT_SHOWN]
    words = f"Of {len(found)} figures: {', '.join(parts)}."
    if not open_:
        return words
    widest = max((one.hidden for one in open_ if one.share), default=0.0)
    hidden = f": losses of up to {100 * widest:.0f} points could still be hidden there" if widest else ""
    return f"{words} {len(open_)} without a difference that so few examples can show{hidden}."


def _dots(found: Sequence[Difference]) -> alt.LayerChart:
    frame = pd.DataFrame(
        [
            {
                "benchmark": f"{one.task}, {one.metric}",
                "points": 100 * one.difference,
                "low": 100 * one.low,
                "high": 100 * one.high,
                "examples": one.examples,
                "shows": WHAT[one.outcome],
            }
            for one in found
        ]
    )
    tips = [
        alt.Tooltip("benchmark:N"),
        *(alt.Tooltip(f"{name}:Q", format="+.1f") for name in ("points", "low", "high")),
        alt.Tooltip("examples:Q"),
        alt.Tooltip("shows:N"),
    ]
    base = alt.Chart(frame).encode(
        y=alt.Y("benchmark:N", sort=None, title=None, axis=alt.Axis(labelLimit=260)),
        color=coloured("shows:N", {WHAT[outcome]: colour for outcome, colour in COLOURS.items()}),
        tooltip=tips,
    )
    intervals = base.mark_rule(strokeWidth=5, opacity=0.5).encode(
        x=alt.X("low:Q", title="points of a hundred, less the other's"), x2="high:Q"
    )
    points = base.mark_point(filled=True, size=160, opacity=1).encode(x="points:Q")
    words = base.transform_calculate(label="format(datum.points, '+.1f')")
    numbers = words.mark_text(dy=-13, fontSize=12).encode(x="points:Q", text="label:N", color=alt.value(INK))
    zero = alt.Chart(pd.DataFrame({"x": [0]})).mark_rule(strokeDash=[4, 4], color=GREY).encode(x="x:Q")
    every: alt.LayerChart = zero + intervals + points + numbers
    return every


def _row(one: Difference, of: Contrast) -> dict[str, object]:
    row: dict[str, object] = {
        "Benchmark": f"{one.task}, {one.metric}",
        of.reference: one.level(one.reference),
        of.model: one.level(one.value),
        "What it shows": one.sentence[:1].upper() + one.sentence[1:],
    }
    sides = f"{of.reference}: {one.only_reference}, {of.model}: {one.only_value}"
    row["Right by one only"] = f"{sides} (p = {one.p:.2g})" if one.p is not None else "–"
    return row


def _values(by_model: dict[str, list[Score]]) -> list[dict[str, object]]:
    """Newest values, models across."""
    names = sorted({(one.task, one.metric) for scores in by_model.values() for one in scores})
    rows = []
    for task, metric in names:
        row: dict[str, object] = {"Benchmark": f"{task}, {metric}"}
        for model, scores in by_model.items():
            one = next((one for one in scores if (one.task, one.metric) == (task, metric)), None)
            row[model] = f"{one.value:.3g} on {one.examples:,} examples" if one is not None else "–"
        rows.append(row)
    return rows


def show_beside(runs: Sequence[TrainingRun], names: Sequence[str]) -> None:
    """Newest benchmark values of several trainings' models beside each other; nothing where none was measured."""
    with reading() as s:
        found = {
            name: newest(scores_of(s, model_version_id=run.model_version_id)) if run.model_version_id else []
            for name, run in zip(names, runs, strict=True)
        }
    if not any(found.values()):
        return
    st.subheader("Public benchmarks")
    show_table(_values(found), whole=True)
    st.caption("Whether a difference is more than chance is told with each model, against the one it was made from.")


# --------------------------------------------------------------------------------------------------------- running


def _watch(version: ModelVersion, me: Me) -> None:
    """Runs under way, and those that did not end well and were not made up for."""

    def waiting() -> list[BenchmarkRun]:
        with reading() as s:
            every = benchmarks(s, model_version_ids=[one.id for one in _both(version)])
        latest: dict[tuple[int, bool], BenchmarkRun] = {}
        for run in every:
            latest.setdefault((run.model_version_id, run.quantised), run)
        own = [run for run in every if run.project_id == me.project_id]
        return [run for run in own if not run.status.ended or (run in latest.values() and run.error)]

    busy = any(not run.status.ended for run in waiting())

    @st.fragment(run_every="2s" if busy else None)
    def moving() -> None:
        now = waiting()
        if busy and all(run.status.ended for run in now):
            st.rerun()
        for run in now:
            title = f"Benchmarks of {named(run.model_version, quantised=run.quantised)}"
            show_run(run, title, by=me.reviewer_id, note=_what(run))

    moving()


def _what(run: BenchmarkRun) -> str:
    each = "all examples" if run.examples is None else f"at most {run.examples:,} examples of each"
    return f"{', '.join(labels(run.tasks))}; {each}"


def _list(runs: Sequence[BenchmarkRun]) -> None:
    with st.expander(f"Every run of these models ({len(runs)})"):
        show_table(
            [
                {
                    "Model": named(run.model_version, quantised=run.quantised),
                    "Benchmarks": ", ".join(labels(run.tasks)),
                    "Examples": "all" if run.examples is None else f"{run.examples:,} each",
                    "When": f"{run.created_at:%d %b %Y %H:%M}",
                    "": WORDS[run.status],
                    "Measured with": run.measured_by or "–",
                }
                for run in runs[:SHOWN]
            ],
            whole=True,
        )


def _form(version: ModelVersion, runs: Sequence[BenchmarkRun], me: Me) -> None:
    """What to ask, and of which models; what was asked already is not asked again."""
    if lacking := not_installed():
        st.warning(plain(lacking), icon=":material/download:")
        return
    key = version.id
    chosen = st.multiselect(
        "Benchmarks",
        [one.task for one in PRESETS],
        default=list(DEFAULT),
        format_func=LABELS.__getitem__,
        key=f"benchmarks_{key}",
        help="Their data comes from the Hugging Face hub, or from its cache on this machine.",
    )
    left, right = st.columns([3, 2])
    own = left.text_area(
        "Others, one on each line",
        key=f"other_benchmarks_{key}",
        height=90,
        max_chars=5000,
        placeholder="winogrande\n/data/our-questions/task.yaml",
        help="Names that lm-eval has, or task files of your own on this machine: YAML beside its data in JSONL.",
    )
    examples = int(
        right.number_input(
            "Examples of each, at most", min_value=10, max_value=10_000, value=EXAMPLES, step=50, key=f"examples_{key}"
        )
    )
    targets: list[tuple[ModelVersion, bool]] = []
    if right.checkbox(plain(version.name), value=True, key=f"of_model_{key}"):
        targets.append((version, False))
    parent = version.parent if version.parent is not None and version.parent.retired_at is None else None
    if parent is not None and right.checkbox(
        plain(f"{parent.name}, which it was made from"), value=True, key=f"of_base_{key}"
    ):
        targets.append((parent, False))
    if right.checkbox(
        plain(f"{version.name} in four bits"),
        key=f"of_four_{key}",
        help="Loaded with bitsandbytes NF4, as for QLoRA: does making it smaller cost anything? On a CPU it is slower.",
    ):
        targets.append((version, True))
    try:
        tasks = checked_tasks([*chosen, *own.splitlines()])
    except PickwellError as problem:
        st.caption(plain(str(problem)))
        tasks = []
    done = [
        (model, four)
        for model, four in targets
        if there_already(runs, model_version_id=model.id, tasks=tasks, examples=examples, quantised=four)
    ]
    todo = [target for target in targets if target not in done]
    if tasks and done:
        names = ", ".join(named(model, quantised=four) for model, four in done)
        st.caption(plain(f"Asked all of this already, or about to be: {names}."))
    if tasks and todo:
        _show_estimate(tasks, examples, todo)
    if st.button("Run benchmarks", disabled=not (tasks and todo), key=f"run_{key}", icon=":material/speed:"):
        with errors_shown():
            with session() as s:
                for model, four in todo:
                    request_benchmark(
                        s,
                        by=me.reviewer_id,
                        project_id=me.project_id,
                        model_version_id=model.id,
                        tasks=tasks,
                        examples=examples,
                        quantised=four,
                    )
            st.rerun()


def _show_estimate(tasks: Sequence[str], examples: int, todo: Sequence[tuple[ModelVersion, bool]]) -> None:
    """How long it will take, as far as anybody knows, and whether it fits."""
    sizes = [(parameters_of(location=model.location, name=model.name), four) for model, four in todo]
    time = sum(minutes(tasks, examples=examples, parameters=size) for size, _ in sizes)
    words = f"{time:.0f} minutes" if time < 90 else f"{time / 60:.1f} hours"
    gpu = ", which a GPU leaves far behind" if has_gpu() else ""
    runs = f"{len(todo)} runs, one after another" if len(todo) > 1 else "one run"
    st.caption(
        plain(f"About {words} in all on two CPU cores{gpu}: a guess from how fast such a model reads, for {runs}.")
    )
    if not has_gpu() and (caution := memory_caution(sizes, free_mb=memory_here()[1])):
        st.warning(plain(caution))
