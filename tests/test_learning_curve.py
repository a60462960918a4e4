"""Learning curves: which rows a share has, what the points say, how four trainings are asked for, and the page."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session
from streamlit.testing.v1 import AppTest

from db.models import (
    Comparison,
    LearningCurve,
    Method,
    ModelVersion,
    Placement,
    Ranking,
    Role,
    RunStatus,
    Snapshot,
    Split,
    TrainingRun,
    TrainingStep,
)
from db.session import reading, session
from errors import NotAllowed, NotEnoughPreferences, NotFound, Refused
from tests.app_pages import open_page, press, said
from tests.factories import a_model, a_project, a_reviewer, many_pairs, sure
from training.data.snapshot import freeze, snapshot_folder
from training.recipe import curve_runs
from training.recipe.curve_runs import cancel_curve, count_rows, curve_minutes, curve_status, list_curves, start_curve
from training.recipe.learning_curve import SHARES, CurvePoint, count_right, describe_trend, explain_chance, take_share
from training.recipe.recipe import SMALL


@dataclass(frozen=True)
class Row:
    """A row as far as shares are concerned."""

    prompt_id: int
    number: int
    cluster: str = ""


some_rows = st.lists(st.integers(1, 40), max_size=120).map(lambda ids: [Row(one, n) for n, one in enumerate(ids)])
a_share = st.sampled_from([*SHARES, 0.1, 1 / 3])


@given(some_rows, a_share, a_share, st.integers(0, 5))
def test_a_smaller_shares_rows_are_all_in_a_larger_one(rows: list[Row], one: float, other: float, seed: int) -> None:
    few, many = (take_share(rows, share, seed) for share in sorted((one, other)))
    assert set(few) <= set(many)


@given(some_rows, a_share, st.integers(0, 5))
def test_a_share_has_whole_prompts_its_number_of_rows_and_their_order(rows: list[Row], share: float, seed: int) -> None:
    taken = take_share(rows, share, seed)
    prompts = {row.prompt_id for row in taken}
    assert taken == [row for row in rows if row.prompt_id in prompts]
    assert len(taken) >= share * len(rows) - 1e-5
    largest = max((sum(row.prompt_id == one for row in rows) for one in prompts), default=0)
    assert len(taken) < share * len(rows) + largest + 1


@given(some_rows, st.randoms())
def test_the_order_of_the_rows_does_not_change_which_are_taken(rows: list[Row], random: Any) -> None:
    shuffled = random.sample(rows, len(rows))
    assert set(take_share(rows, 0.5, 3)) == set(take_share(shuffled, 0.5, 3))


def test_the_whole_share_is_every_row_and_another_seed_draws_others() -> None:
    rows = [Row(n, n) for n in range(100)]
    assert take_share(rows, 1.0, 0) == rows
    assert len(take_share(rows, 0.25, 0)) == 25
    assert take_share(rows, 0.25, 0) != take_share(rows, 0.25, 1)


def test_near_duplicates_stay_together_where_rows_name_their_cluster() -> None:
    rows = [Row(n, n, f"cluster {n // 4}") for n in range(40)]
    taken = take_share(rows, 0.25, 0)
    assert len(taken) == 12
    assert len({row.cluster for row in taken}) == 3


@pytest.mark.parametrize("share", [0.0, -0.5, 1.01])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(Refused, match="above 0 and up to 1"):
        take_share([Row(1, 1)], share, 0)


def a_point(share: float, right: int, rows: int = 20) -> CurvePoint:
    return CurvePoint(share=share, pairs=int(200 * share), right=right, rows=rows, step=25)


def test_a_point_has_wilsons_interval() -> None:
    point = a_point(1.0, 15)
    assert point.accuracy == 0.75
    assert (round(point.low, 3), round(point.high, 3)) == (0.531, 0.888)  # Wilson 1927, by hand


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_an_interval_holds_its_point_and_mirrors(counted: tuple[int, int]) -> None:
    right, rows = counted
    point, mirror = a_point(1.0, right, rows), a_point(1.0, rows - right, rows)
    assert -1e-9 <= point.low <= point.accuracy + 1e-9
    assert point.accuracy - 1e-9 <= point.high <= 1 + 1e-9
    assert abs(point.low - (1 - mirror.high)) < 1e-9


@pytest.mark.parametrize(
    ("before", "last", "words"),
    [
        (14, 15, "From 75 to 100 % it rose by 5 points, and the intervals overlap"),
        (15, 15, "From 75 to 100 % it stayed the same: flat"),
        (15, 14, "From 75 to 100 % it fell by 5 points, and the intervals overlap: flat"),
        (4, 19, "From 75 to 100 % it rose by 75 points, beyond both intervals: it is still rising"),
        (19, 4, "From 75 to 100 % it fell by 75 points, beyond both intervals"),
    ],
)
def test_the_finding_claims_no_more_than_the_intervals_allow(before: int, last: int, words: str) -> None:
    points = [a_point(1.0, last), a_point(0.25, 2), a_point(0.75, before)]
    assert describe_trend(points).startswith(words)


def test_one_point_says_nothing_yet() -> None:
    assert "Two of the trainings" in describe_trend([a_point(0.25, 12)])
    assert "Two of the trainings" in describe_trend([])


def test_a_point_whose_interval_takes_in_one_half_is_called_a_guess() -> None:
    assert explain_chance([]) is None
    assert explain_chance([a_point(0.5, 10), a_point(1.0, 18)]) is None
    assert explain_chance([a_point(0.5, 18), a_point(1.0, 11)]) == (
        "At 100 % it gets 11 of 20 right: these numbers cannot tell it from guessing."
    )


def test_right_rows_are_counted_from_the_trainers_mean() -> None:
    assert [count_right(accuracy, 12) for accuracy in (0.0, 0.0833, 0.5, 0.9999, 1.0)] == [0, 1, 6, 12, 12]


def a_snapshot(s: Session, prompts: int = 110, simulated: bool = False) -> Snapshot:
    """So many ranked pairs, frozen; a tenth of their prompts is set aside to validate on."""
    project = a_project(s)
    rule = "Longer wins." if simulated else None
    by = a_reviewer(s, project, Role.MANAGER, Role.ANNOTATOR, simulated=simulated, rule=rule)
    many_pairs(s, project, prompts)
    rankings = [
        Ranking(
            comparison_id=comparison.id,
            reviewer_id=by.id,
            placements=[
                Placement(response_id=one.id, place=place, position=place - 1)
                for place, one in enumerate(comparison.responses, start=1)
            ],
        )
        for comparison in s.scalars(select(Comparison).where(Comparison.project_id == project.id))
    ]
    s.add_all(rankings)  # all at once, so that they are counted once
    s.flush()
    a_model(s, project)
    return freeze(s, by=by.id, project_id=project.id)


def a_curve(s: Session, snapshot: Snapshot, **changes: Any) -> LearningCurve:
    base = sure(s.scalars(select(ModelVersion)).first())
    given = {
        "by": snapshot.created_by_id,
        "project_id": snapshot.project_id,
        "snapshot_id": snapshot.id,
        "base_model_id": base.id,
        "recipe": SMALL,
        "name": " Before  summer ",
        **changes,
    }
    return start_curve(s, **given)


def looked(s: Session, run: TrainingRun, accuracy: float | None, step: int = 10) -> None:
    s.add(
        TrainingStep(
            training_run_id=run.id, split=Split.VALIDATION, step=step, loss=0.6, reward_accuracy=accuracy, seconds=1.0
        )
    )


@pytest.mark.both_databases
def test_four_trainings_are_asked_for_that_differ_in_their_share_alone(s: Session) -> None:
    snapshot = a_snapshot(s)
    curve = a_curve(s, snapshot)
    runs = curve_status(s, curve_id=curve.id).runs
    assert [(run.share, run.model_name) for run in runs] == [
        (0.25, "Before summer, 25 %"),
        (0.5, "Before summer, 50 %"),
        (0.75, "Before summer, 75 %"),
        (1.0, "Before summer, 100 %"),
    ]
    assert {(run.status, run.snapshot_id, run.curve_id) for run in runs} == {(RunStatus.QUEUED, snapshot.id, curve.id)}
    assert {run.recipe.name for run in runs} == {SMALL.name}
    assert curve_status(s, curve_id=curve.id).title == "Before summer"
    assert [one.id for one in list_curves(s, project_id=snapshot.project_id)] == [curve.id]
    assert list_curves(s, project_id=snapshot.project_id + 1) == []


@pytest.mark.both_databases
def test_points_come_from_trainings_that_are_done_and_from_the_model_that_was_kept(s: Session) -> None:
    curve = a_curve(s, a_snapshot(s))
    first, second, third, fourth = curve_status(s, curve_id=curve.id).runs
    for run in (first, second, third):
        run.status = RunStatus.SUCCEEDED
        looked(s, run, 5 / 11, step=3)
        looked(s, run, 8 / 11, step=6)
    second.best_step, third.status = 3, RunStatus.FAILED
    fourth.status = RunStatus.RUNNING
    looked(s, fourth, 1.0)
    s.flush()
    found = curve_status(s, curve_id=curve.id)
    assert [(p.share, p.pairs, p.right, p.rows, p.step) for p in found.points] == [
        (0.25, 25, 8, 11, 6),
        (0.5, 50, 5, 11, 3),
    ]
    assert found.counts.pairs == (25, 50, 75, 99)
    assert not found.ended


def test_a_training_that_reported_no_accuracy_has_no_point(s: Session) -> None:
    curve = a_curve(s, a_snapshot(s))
    first, second, *_ = curve_status(s, curve_id=curve.id).runs
    first.status = second.status = RunStatus.SUCCEEDED
    looked(s, first, None)
    s.flush()
    assert curve_status(s, curve_id=curve.id).points == ()


def test_too_few_validation_rows_are_refused_with_the_remedy(s: Session) -> None:
    snapshot = a_snapshot(s, prompts=99)
    with pytest.raises(NotEnoughPreferences, match=r"9 validation rows.*about 100 prompts"):
        a_curve(s, snapshot)
    assert list_curves(s, project_id=snapshot.project_id) == []


@pytest.mark.parametrize("method", [Method.SFT, Method.KTO])
def test_a_method_that_compares_no_replies_is_refused(s: Session, method: Method) -> None:
    with pytest.raises(Refused, match=f"which {method.value} does not learn"):
        a_curve(s, a_snapshot(s), recipe=replace(SMALL, method=method))


def test_only_a_manager_starts_or_cancels_one_and_only_on_the_projects_own_snapshot(s: Session) -> None:
    snapshot = a_snapshot(s)
    project = a_project(s)
    stranger = a_reviewer(s, project)
    with pytest.raises(NotAllowed):
        a_curve(s, snapshot, by=stranger.id)
    with pytest.raises(NotFound, match="no snapshot"):
        a_curve(s, snapshot, by=stranger.id, project_id=project.id)
    with pytest.raises(Refused, match="needs a name"):
        a_curve(s, snapshot, name="  ")
    curve = a_curve(s, snapshot)
    with pytest.raises(NotAllowed):
        cancel_curve(s, by=stranger.id, curve_id=curve.id)
    with pytest.raises(NotFound):
        cancel_curve(s, by=stranger.id, curve_id=curve.id + 1)


@pytest.mark.both_databases
def test_cancel_stops_every_training_that_has_not_ended(s: Session) -> None:
    curve = a_curve(s, a_snapshot(s))
    first, second, *_ = curve_status(s, curve_id=curve.id).runs
    first.status, second.status = RunStatus.SUCCEEDED, RunStatus.RUNNING
    s.flush()
    cancel_curve(s, by=curve.requested_by_id, curve_id=curve.id)
    found = curve_status(s, curve_id=curve.id)
    assert [run.status for run in found.runs] == [
        RunStatus.SUCCEEDED,
        RunStatus.RUNNING,
        RunStatus.CANCELLED,
        RunStatus.CANCELLED,
    ]
    assert found.runs[1].cancel_requested
    found.runs[1].status = RunStatus.CANCELLED
    s.flush()
    with pytest.raises(Refused, match="have ended"):
        cancel_curve(s, by=curve.requested_by_id, curve_id=curve.id)


def test_a_changed_snapshot_is_noticed(s: Session) -> None:
    snapshot = a_snapshot(s)
    curve_runs._counts.cache_clear()
    file = snapshot_folder(snapshot) / "train.jsonl"
    file.write_text(file.read_text().replace("left today", "left yesterday"))
    with pytest.raises(Refused, match="changed after it was frozen"):
        a_curve(s, snapshot)


def test_all_four_take_as_long_as_each_by_itself(s: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = a_snapshot(s)
    minutes = curve_minutes(snapshot, recipe=SMALL)
    assert minutes > 0
    monkeypatch.setattr(curve_runs, "estimate_minutes", lambda recipe, *, pairs, **_: pairs)
    assert curve_minutes(snapshot, recipe=SMALL) == sum((25, 50, 75, 99)) + 4 * 11


def test_simulated_rows_are_counted(s: Session) -> None:
    counts = count_rows(a_snapshot(s, simulated=True), seed=0)
    assert (counts.simulated, counts.simulated_validation, counts.validation_prompts) == (99, 11, 11)


def opened(snapshot: Snapshot) -> AppTest:
    """The page as the person has it who froze the snapshot."""
    return open_page("learning_curve", project_id=snapshot.project_id, by=snapshot.created_by_id)


def test_one_button_starts_all_four_and_another_cancels_them(database: Path) -> None:
    with session() as s:
        snapshot = a_snapshot(s)
    page = opened(snapshot)
    assert "Pairs: 25, 50, 75, 99. Validation pairs: 11." in said(page)
    press(page, "Start all four")
    assert "needs a name" in said(page)
    next(one for one in page.text_input if one.label == "Name").set_value("First").run()
    press(page, "Start all four")
    with reading() as s:
        assert len(s.scalars(select(TrainingRun)).all()) == 4
    assert "First" in said(page)
    press(page, "Cancel all four")
    with reading() as s:
        assert set(s.scalars(select(TrainingRun.status))) == {RunStatus.CANCELLED}
    assert "Cancel all four" not in [one.label for one in page.button]


def test_the_page_draws_the_points_says_what_they_tell_and_what_is_simulated(database: Path) -> None:
    with session() as s:
        snapshot = a_snapshot(s)
        curve = a_curve(s, snapshot)
        for run, right in zip(curve_status(s, curve_id=curve.id).runs, (5, 6, 7, 8), strict=True):
            run.status = RunStatus.SUCCEEDED
            looked(s, run, right / 11)
    page = opened(snapshot)
    told = said(page)
    assert "From 75 to 100 % it rose by 9 points, and the intervals overlap" in told
    assert "8 of 11" in told
    assert "cannot tell it from guessing" in told
    assert "simulated" not in told.lower().replace("0 simulated", "")
    (chart,) = page.get("arrow_vega_lite_chart") or page.get("vega_lite_chart")
    assert "guessing" in json.dumps(str(chart.proto))


def test_a_curve_on_simulated_picks_says_so(database: Path) -> None:
    with session() as s:
        snapshot = a_snapshot(s, simulated=True)
        curve = a_curve(s, snapshot)
        run = curve_status(s, curve_id=curve.id).runs[0]
        run.status = RunStatus.SUCCEEDED
        looked(s, run, 6 / 11)
    told = said(opened(snapshot))
    assert "simulated picks, not people" in told
    assert "99 of the 99 pairs to learn from and 11 of the 11 validation pairs" in told


def test_without_a_snapshot_the_page_says_where_to_make_one(database: Path, home: Path) -> None:
    with session() as s:
        project = a_project(s)
        by = a_reviewer(s, project)
        snapshot = Snapshot(project_id=project.id, created_by_id=by.id)
    assert "Freeze one on the page Freeze" in said(opened(snapshot))


def test_too_few_pairs_hide_no_older_curve(database: Path) -> None:
    with session() as s:
        snapshot = a_snapshot(s)
        a_curve(s, snapshot, name="Older")
        small = Snapshot(
            project_id=snapshot.project_id,
            instructions="",
            folder=snapshot.folder + "-gone",
            sha256="gone",
            row_count=1,
            simulated_count=0,
            created_by_id=snapshot.created_by_id,
        )
        s.add(small)
    told = said(opened(snapshot))
    assert "was changed after it was frozen" in told
    assert "Older" in told
