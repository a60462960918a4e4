"""Public benchmarks of one model on the screen: start them, watch them, and read what was lost or gained."""

from collections.abc import Sequence

import altair as alt
import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from db.models import BenchmarkRun, ModelVersion, TrainingRun
from db.session import reading
from errors import PickwellError
from eval.benchmarks.findings import ModelComparison, compare_with_references, load_scores, newest_scores, value_rows
from eval.benchmarks.measure import missing_lm_eval
from eval.benchmarks.runs import (
    BenchmarkTarget,
    find_earlier_runs,
    list_benchmark_runs,
    model_label,
    request_benchmark,
    runs_to_watch,
)
from eval.benchmarks.tasks import DEFAULT, EXAMPLES, PRESETS, clean_tasks, duration, memory_caution, task_labels
from eval.report.pictures import GREEN, GREY, INK, RED
from stats.paired import ScoreChange, ScoreDifference
from texts.escape import escape_html
from training.recipe.estimate import count_parameters, has_gpu, machine_memory
from ui.charts import colour_scale, draw_chart, legend_html
from ui.frame import CurrentPerson
from ui.run_status import STATUS_WORDS, show_run
from ui.safe import plain, saving, show_table

COLOURS = {ScoreChange.LOST: RED, ScoreChange.GAINED: GREEN, ScoreChange.NOT_SHOWN: GREY}
WHAT = {
    ScoreChange.LOST: "lost",
    ScoreChange.GAINED: "gained",
    ScoreChange.NOT_SHOWN: "no difference that so few examples can show",
}
SHOWN = 12
"""Runs in the list, newest first."""
LABELS = {preset.task: f"{preset.label}: {preset.description}" for preset in PRESETS}


def show_benchmarks(version: ModelVersion, me: CurrentPerson) -> None:
    """Draw everything about one model's benchmarks."""
    model_ids = [model.id for model in (version, version.parent) if model is not None]
    with reading() as s:
        comparisons = compare_with_references(s, version=version)
        scores = newest_scores(load_scores(s, model_version_id=version.id))
        runs = list_benchmark_runs(s, model_version_ids=model_ids)
    st.caption(
        "A gain in your own task can hide a loss elsewhere. Here the model and the one it was made from are asked the "
        "same public questions, and each answer is compared with the other's to the same question."
    )
    for comparison in comparisons:
        _show_comparison(comparison)
    if not comparisons and scores:
        st.caption("Run the same for the model that it was made from, or for this one in four bits, to compare them.")
        show_table(value_rows({version.name: scores}), whole=True)
    _watch_runs(model_ids, me)
    if version.retired_at is None:
        _draw_form(version, runs, me)
    if runs:
        _list_runs(runs)


# --------------------------------------------------------------------------------------------------------- results


def _show_comparison(comparison: ModelComparison) -> None:
    """A model beside what it is held to: a picture, then the numbers."""
    st.html(f'<div class="pw-sentence">{escape_html(f"{comparison.model} against {comparison.reference}")}</div>')
    if comparison.differences:
        st.write(plain(comparison.summary))
        if shares := [difference for difference in comparison.differences if difference.share]:
            shown = {difference.outcome for difference in shares}
            st.html(legend_html({WHAT[outcome]: COLOURS[outcome] for outcome in COLOURS if outcome in shown}))
            draw_chart(_difference_dots(shares), height=70 + 34 * len(shares))
        show_table([_difference_row(difference, comparison) for difference in comparison.differences], whole=True)
        st.caption(
            "95 % intervals of the difference on the same examples. Of twenty figures without any real difference one "
            "looks like one by chance. So few examples do not give the published figures: compare models only."
        )
    if comparison.not_compared:
        with st.expander(f"Not compared ({len(comparison.not_compared)})"):
            pairs = comparison.not_compared
            rows = [{"Benchmark": pair.task, "Metric": pair.metric, "Why": pair.reason} for pair in pairs]
            show_table(rows, whole=True)


def _difference_dots(differences: Sequence[ScoreDifference]) -> alt.LayerChart:
    frame = pd.DataFrame(
        [
            {
                "benchmark": f"{difference.task}, {difference.metric}",
                "points": 100 * difference.difference,
                "low": 100 * difference.low,
                "high": 100 * difference.high,
                "examples": difference.examples,
                "shows": WHAT[difference.outcome],
            }
            for difference in differences
        ]
    )
    base = alt.Chart(frame).encode(
        y=alt.Y("benchmark:N", sort=None, title=None, axis=alt.Axis(labelLimit=260)),
        color=colour_scale("shows:N", {WHAT[outcome]: colour for outcome, colour in COLOURS.items()}),
        tooltip=[
            alt.Tooltip("benchmark:N"),
            *(alt.Tooltip(f"{name}:Q", format="+.1f") for name in ("points", "low", "high")),
            alt.Tooltip("examples:Q"),
            alt.Tooltip("shows:N"),
        ],
    )
    intervals = base.mark_rule(strokeWidth=5, opacity=0.5).encode(
        x=alt.X("low:Q", title="points of a hundred, less the other's"), x2="high:Q"
    )
    points = base.mark_point(filled=True, size=160, opacity=1).encode(x="points:Q")
    words = base.transform_calculate(label="format(datum.points, '+.1f')")
    numbers = words.mark_text(dy=-13, fontSize=12).encode(x="points:Q", text="label:N", color=alt.value(INK))
    zero = alt.Chart(pd.DataFrame({"x": [0]})).mark_rule(strokeDash=[4, 4], color=GREY).encode(x="x:Q")
    layers: alt.LayerChart = zero + intervals + points + numbers
    return layers


def _difference_row(difference: ScoreDifference, comparison: ModelComparison) -> dict[str, object]:
    sides = f"{comparison.reference}: {difference.only_reference}, {comparison.model}: {difference.only_value}"
    return {
        "Benchmark": f"{difference.task}, {difference.metric}",
        comparison.reference: difference.level(difference.reference),
        comparison.model: difference.level(difference.value),
        "What it shows": difference.sentence[:1].upper() + difference.sentence[1:],
        "Right by one only": f"{sides} (p = {difference.p:.2g})" if difference.p is not None else "–",
    }


def show_beside(runs: Sequence[TrainingRun], names: Sequence[str]) -> None:
    """Draw the newest benchmark values of several trainings' models; nothing where none was measured."""
    with reading() as s:
        by_model = {
            name: newest_scores(load_scores(s, model_version_id=run.model_version_id)) if run.model_version_id else []
            for name, run in zip(names, runs, strict=True)
        }
    if not any(by_model.values()):
        return
    st.subheader("Public benchmarks")
    show_table(value_rows(by_model), whole=True)
    st.caption("Whether a difference is more than chance is told with each model, against the one it was made from.")


# --------------------------------------------------------------------------------------------------------- running


def _watch_runs(model_ids: Sequence[int], me: CurrentPerson) -> None:
    """Runs under way, and those that did not end well and were not made up for."""

    def load_runs() -> list[BenchmarkRun]:
        with reading() as s:
            return runs_to_watch(list_benchmark_runs(s, model_version_ids=model_ids), project_id=me.project_id)

    busy = any(not run.status.ended for run in load_runs())

    @st.fragment(run_every="2s" if busy else None)
    def watch() -> None:
        now = load_runs()
        if busy and all(run.status.ended for run in now):
            st.rerun()
        for run in now:
            each = "all examples" if run.examples is None else f"at most {run.examples:,} examples of each"
            title = f"Benchmarks of {model_label(run.model_version, quantised=run.quantised)}"
            show_run(run, title, by=me.reviewer_id, note=f"{', '.join(task_labels(run.tasks))}; {each}")

    watch()


def _list_runs(runs: Sequence[BenchmarkRun]) -> None:
    with st.expander(f"Every run of these models ({len(runs)})"):
        show_table(
            [
                {
                    "Model": model_label(run.model_version, quantised=run.quantised),
                    "Benchmarks": ", ".join(task_labels(run.tasks)),
                    "Examples": "all" if run.examples is None else f"{run.examples:,} each",
                    "When (UTC)": f"{run.created_at:%d %b %Y %H:%M}",
                    "": STATUS_WORDS[run.status],
                    "Measured with": run.measured_by or "–",
                }
                for run in runs[:SHOWN]
            ],
            whole=True,
        )


def _draw_form(version: ModelVersion, runs: Sequence[BenchmarkRun], me: CurrentPerson) -> None:
    """What to ask, and of which models; what was asked already is not asked again."""
    if missing := missing_lm_eval():
        st.warning(plain(missing), icon=":material/download:")
        return
    key = version.id
    chosen = st.multiselect(
        "Benchmarks",
        list(LABELS),
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
    targets = _choose_targets(version, right)
    try:
        tasks = clean_tasks([*chosen, *own.splitlines()])
    except PickwellError as problem:
        st.caption(plain(str(problem)))
        tasks = []
    already = find_earlier_runs(runs, targets, tasks=tasks, examples=examples)
    todo = [target for target in targets if target not in already]
    if tasks and already:
        names = ", ".join(target.name for target in already)
        st.caption(plain(f"Asked all of this already, or about to be: {names}."))
    if tasks and todo:
        sizes = [
            (count_parameters(location=target.version.location, name=target.version.name), target.quantised)
            for target in todo
        ]
        st.caption(plain(duration(tasks, examples=examples, sizes=sizes)))
        if not has_gpu() and (caution := memory_caution(sizes, free_mb=machine_memory()[1])):
            st.warning(plain(caution))
    if st.button("Run benchmarks", disabled=not (tasks and todo), key=f"run_{key}", icon=":material/speed:"):
        with saving() as s:
            for target in todo:
                model_id, quantised = target.version.id, target.quantised
                request_benchmark(
                    s, **me.ids, model_version_id=model_id, tasks=tasks, examples=examples, quantised=quantised
                )


def _choose_targets(version: ModelVersion, place: DeltaGenerator) -> list[BenchmarkTarget]:
    """The model, the one it was made from, and the model in four bits, as far as they are wanted."""
    targets = []
    if place.checkbox(plain(version.name), value=True, key=f"of_model_{version.id}"):
        targets.append(BenchmarkTarget(version))
    parent = version.parent if version.parent is not None and version.parent.retired_at is None else None
    label = plain(f"{parent.name}, which it was made from") if parent is not None else ""
    if parent is not None and place.checkbox(label, value=True, key=f"of_base_{version.id}"):
        targets.append(BenchmarkTarget(parent))
    if place.checkbox(
        plain(f"{version.name} in four bits"),
        key=f"of_four_{version.id}",
        help="Loaded with bitsandbytes NF4, as for QLoRA: does making it smaller cost anything? On a CPU it is slower.",
    ):
        targets.append(BenchmarkTarget(version, quantised=True))
    return targets
