"""From feedback to rows, from rows to a frozen Snapshot, and a training's start and end; without the real trainer."""

import dataclasses
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.models import (
    Correction,
    Preference,
    Prompt,
    Ranking,
    Responder,
    Response,
    Role,
    RunStatus,
    Snapshot,
    Split,
    now,
)
from errors import AlreadyThere, NotAllowed, NotEnoughPreferences, NotFound, Refused
from tests.factories import a_project, a_prompt, a_reviewer, saved, sure
from tests.feedback import a_question, a_reply, corrected, derived, ranked, texts
from tests.trainings import a_ranked_project, a_training
from training.data.feedback import refuse_held_out
from training.data.rows import FILES, FrozenRow, content_sha256
from training.data.selection import PAIRS_PER_PROMPT
from training.data.snapshot import (
    freeze,
    preview_snapshot,
    read_snapshot,
    responder_counts,
    side_lengths,
    size_warning,
    snapshot_folder,
)
from training.data.terms import Feedback, LeftOutReason, PreferenceRow
from training.recipe.estimate import estimate_minutes, snapshot_lengths
from training.recipe.recipe import KNOBS, SMALL, from_row
from training.recipe.start import start_training
from training.trainer import worker


def test_the_better_reply_is_chosen_over_the_worse() -> None:
    found = derived(ranked((2, " worse\n"), (1, "better ")))
    assert texts(found) == [("better", "worse")]
    assert found.rows[0].ranking_id == 1
    assert not found.left_out


def test_a_correction_is_chosen_over_its_original_even_one_that_was_cut() -> None:
    found = derived(corrected(a_reply("It is on its", "length"), "It is on its way."))
    assert texts(found) == [("It is on its way.", "It is on its")]
    assert (found.rows[0].chosen_id, found.rows[0].correction_id) == (None, 1)


@pytest.mark.parametrize(
    ("reason", "feedback"),
    [
        (LeftOutReason.TIE, [ranked((1, "a"), (1, "b"))]),
        (LeftOutReason.BOTH_BAD, [ranked((1, "a"), (1, "b"), both_bad=True)]),
        (LeftOutReason.CUT_OFF, [ranked((1, a_reply("a", "length")), (2, "b"))]),
        (LeftOutReason.SAME_TEXT, [ranked((1, "a  b"), (2, "a b\n"))]),
        (LeftOutReason.UNCHANGED, [corrected("a b", " a\nb ")]),
        (LeftOutReason.EMPTY, [ranked((1, "a"), (2, " "))]),
        (LeftOutReason.EMPTY, [ranked((1, " "), (2, "a"))]),
    ],
)
def test_what_teaches_nothing_is_left_out_and_counted(reason: LeftOutReason, feedback: list[Feedback]) -> None:
    found = derived(*feedback)
    assert found.rows == ()
    assert found.left_out == {reason: 1}


def test_a_rejected_reply_may_have_been_cut() -> None:
    assert texts(derived(ranked((1, "a"), (2, a_reply("b", "length"))))) == [("a", "b")]


def test_opposite_orders_leave_both_rankings_out() -> None:
    found = derived(ranked((1, "a"), (2, "b")), ranked((1, "b"), (2, "a"), n=2, reviewer="Ben"))
    assert found.rows == ()
    assert found.left_out == {LeftOutReason.DISAGREEMENT: 2}


def test_a_simulated_order_never_contradicts_a_persons() -> None:
    rule = ranked((1, "b"), (2, "a"), n=2, reviewer="Rule", simulated=True)
    found = derived(ranked((1, "a"), (2, "b")), rule)
    assert texts(found) == [("a", "b")]
    assert found.left_out == {LeftOutReason.DISAGREEMENT: 1}
    assert derived(rule, ranked((1, "a"), (2, "b"), n=3, reviewer="Other rule", simulated=True)).rows == ()


def test_the_hash_says_whether_people_said_it() -> None:
    def of(simulated: bool) -> str:
        row = FrozenRow([], [], [], 1, 2, 3, 4, None, "Ana", simulated)
        return content_sha256({Split.TRAIN: [row], Split.VALIDATION: []})

    assert of(True) != of(False)


def test_an_opposite_order_counts_even_below_the_best_place() -> None:
    found = derived(ranked((1, "a"), (2, "b"), (3, "c")), ranked((1, "d"), (2, "c"), (3, "a"), n=2, reviewer="Ben"))
    assert texts(found) == [("a", "b"), ("d", "a"), ("d", "c")]
    assert found.left_out == {LeftOutReason.DISAGREEMENT: 1}


def test_the_same_replies_to_another_prompt_are_another_matter() -> None:
    assert len(derived(ranked((1, "a"), (2, "b")), ranked((1, "b"), (2, "a"), n=2, prompt=a_question(2))).rows) == 2


def test_two_reviewers_who_agree_give_one_row_and_a_person_gets_the_credit() -> None:
    simulated = ranked((1, "a"), (2, "b"), n=1, reviewer="A rule (simulated)", simulated=True)
    found = derived(simulated, ranked((1, "a"), (2, "b"), n=2, reviewer="Zoe"))
    assert [(row.source.reviewer, row.simulated) for row in found.rows] == [("Zoe", False)]
    assert found.left_out == {LeftOutReason.DUPLICATE: 1}


def test_the_best_of_many_stands_over_each_strictly_worse_one() -> None:
    found = derived(ranked((1, "a"), (2, "b"), (2, "c"), (4, "d")))
    assert texts(found) == [("a", "b"), ("a", "c"), ("a", "d")]


def test_two_that_share_the_first_place_both_stand_over_the_rest() -> None:
    assert texts(derived(ranked((1, "a"), (1, "b"), (3, "c")))) == [("a", "c"), ("b", "c")]


def test_no_prompt_gives_more_than_its_share_and_the_widest_gaps_stay() -> None:
    found = derived(ranked((1, "a"), (2, "b"), (3, "c"), (4, "d"), (5, "e")), corrected("b", "f"))
    assert texts(found) == [("a", "c"), ("a", "d"), ("a", "e"), ("f", "b")]
    assert found.left_out == {LeftOutReason.OVER_CAP: 1}
    assert PAIRS_PER_PROMPT == 3


@given(st.lists(st.integers(1, 40), min_size=1, max_size=120))
def test_near_duplicates_stay_in_one_split_and_a_tenth_is_set_aside(marks: list[int]) -> None:
    feedback = [
        ranked((1, "a"), (2, "b"), prompt=a_question(n, cluster=f"mark {m}"), n=n) for n, m in enumerate(marks, 1)
    ]
    rows = derived(*feedback).rows
    split_of: dict[str, set[Split]] = {}
    for row in rows:
        split_of.setdefault(row.prompt.cluster, set()).add(row.split)
    assert all(len(splits) == 1 for splits in split_of.values())
    aside = sum(splits == {Split.VALIDATION} for splits in split_of.values())
    assert aside == len(set(marks)) // 10


def test_a_frozen_row_has_trls_conversation_and_its_provenance(s: Session) -> None:
    project, by = a_ranked_project(s)
    snapshot = freeze(s, by=by.id, project_id=project.id)
    assert (snapshot.row_count, snapshot.simulated_count) == (12, 0)
    lines = [json.loads(line) for name in FILES.values() for line in (snapshot_folder(snapshot) / name).open()]
    assert len(lines) == 12
    line = next(line for line in lines if line["chosen"][0]["content"] == "Better 3")
    assert line["prompt"] == [
        {"role": "system", "content": "Answer the email."},
        {"role": "user", "content": "Order 3\n\nWhere is order 3?"},
    ]
    assert line["chosen"] == [{"role": "assistant", "content": "Better 3"}]
    assert line["rejected"] == [{"role": "assistant", "content": "Worse 3 by far"}]
    stored = sure(s.scalar(select(Preference).where(Preference.ranking_id == line["ranking_id"])))
    assert (stored.prompt_id, stored.chosen_id) == (line["prompt_id"], line["chosen_id"])
    assert line["reviewer"] == by.name
    manifest = json.loads((snapshot_folder(snapshot) / "manifest.json").read_text())
    assert manifest["counts"] == {"TRAIN": 11, "VALIDATION": 1}
    assert manifest["project"] == project.name


def test_the_same_feedback_gives_the_same_snapshot(s: Session) -> None:
    project, by = a_ranked_project(s)
    first = freeze(s, by=by.id, project_id=project.id)
    assert freeze(s, by=by.id, project_id=project.id) is first
    assert s.scalar(select(func.count(Snapshot.id))) == 1


def test_more_feedback_or_other_instructions_give_another_snapshot(s: Session) -> None:
    project, by = a_ranked_project(s)
    first = freeze(s, by=by.id, project_id=project.id)
    project.instructions = "Answer in one line."
    second = freeze(s, by=by.id, project_id=project.id)
    ranking = sure(s.scalars(select(Ranking)).first())
    ranking.undone_at = now()
    third = freeze(s, by=by.id, project_id=project.id)
    assert len({first.sha256, second.sha256, third.sha256}) == 3
    assert third.row_count == 11
    assert read_snapshot(first)


def test_undone_feedback_is_not_frozen(s: Session) -> None:
    project, by = a_ranked_project(s)
    response = sure(s.scalars(select(Response)).first())
    saved(s, Correction, response_id=response.id, reviewer_id=by.id, text="Best.", undone_at=now())
    assert len(preview_snapshot(s, project_id=project.id).rows) == 12
    saved(s, Correction, response_id=response.id, reviewer_id=by.id, text="Best.")
    snapshot = freeze(s, by=by.id, project_id=project.id)
    assert [p.chosen_id for p in snapshot.preferences if p.correction_id is not None] == [None]


def test_rows_that_rest_on_a_simulated_reviewer_say_so(s: Session) -> None:
    project, by = a_ranked_project(s)
    by.simulated, by.rule = True, "Shorter wins."
    s.flush()
    snapshot = freeze(s, by=by.id, project_id=project.id)
    assert snapshot.simulated_count == 12
    assert {row.reviewer for rows in read_snapshot(snapshot).values() for row in rows} == {f"{by.name} (simulated)"}
    assert json.loads((snapshot_folder(snapshot) / "manifest.json").read_text())["simulated"] == 12


def test_too_few_preferences_are_refused_with_the_remedy(s: Session) -> None:
    project, by = a_ranked_project(s, pairs=9)
    with pytest.raises(NotEnoughPreferences, match=r"9 usable preferences; training needs at least 10"):
        freeze(s, by=by.id, project_id=project.id)
    assert "at least 10" in str(size_warning(len(preview_snapshot(s, project_id=project.id).rows)))


def test_the_preview_shows_who_is_chosen_and_how_long_the_replies_are(s: Session) -> None:
    project, _ = a_ranked_project(s)
    seen = preview_snapshot(s, project_id=project.id)
    assert [(share.chosen, share.rejected) for share in responder_counts(seen.rows)] == [(12, 0), (0, 12)]
    assert [side.mean for side in side_lengths(seen.rows)] == [2.0, 4.0]
    assert (seen.validation_count, seen.simulated_count) == (1, 0)
    assert "100" in str(size_warning(len(seen.rows)))
    assert s.scalar(select(func.count(Snapshot.id))) == 0


def test_a_rows_length_is_guessed_from_its_words(s: Session) -> None:
    project, by = a_ranked_project(s)
    words = 3 + 6 + (2 + 4) / 2  # instructions, prompt with its context, the mean of both replies
    assert snapshot_lengths(freeze(s, by=by.id, project_id=project.id)).mean == pytest.approx(1.5 * words)


def test_an_empty_project_has_an_empty_preview(s: Session) -> None:
    seen = preview_snapshot(s, project_id=a_project(s).id)
    assert (seen.rows, side_lengths(seen.rows)) == ((), [])


def test_feedback_on_held_out_prompts_is_never_read(s: Session) -> None:
    project, by = a_ranked_project(s, held_out=True)
    with pytest.raises(NotEnoughPreferences, match="There are 0 usable"):
        freeze(s, by=by.id, project_id=project.id)


def test_a_near_duplicate_of_a_held_out_prompt_is_refused(s: Session) -> None:
    project, by = a_ranked_project(s)
    training = sure(s.scalars(select(Prompt)).first())
    a_prompt(s, project, "Where is my order 0?", held_out=True, cluster=training.cluster)
    with pytest.raises(Refused, match=f"held out .* prompt {training.id}"):
        freeze(s, by=by.id, project_id=project.id)


def test_a_held_out_prompt_that_reaches_a_row_is_refused(s: Session) -> None:
    project, _ = a_ranked_project(s)
    rows: tuple[PreferenceRow, ...] = preview_snapshot(s, project_id=project.id).rows
    refuse_held_out(s, project_id=project.id, rows=rows)
    s.get_one(Prompt, rows[4].prompt.id).held_out = True
    s.flush()
    with pytest.raises(Refused, match="1 prompts with feedback are held out"):
        refuse_held_out(s, project_id=project.id, rows=rows)


def test_only_a_manager_freezes(s: Session) -> None:
    project, _ = a_ranked_project(s)
    annotator = a_reviewer(s, project, Role.ANNOTATOR)
    with pytest.raises(NotAllowed):
        freeze(s, by=annotator.id, project_id=project.id)


@pytest.mark.parametrize("name", [*FILES.values(), "manifest.json"])
def test_a_changed_or_missing_file_is_caught_and_freezing_again_mends_it(s: Session, name: str) -> None:
    project, by = a_ranked_project(s)
    snapshot = freeze(s, by=by.id, project_id=project.id)
    before = read_snapshot(snapshot)
    file = snapshot_folder(snapshot) / name
    file.write_text(file.read_text().replace("Better", "Bitter").replace(".jsonl", ".json"))
    with pytest.raises(Refused, match="changed after it was frozen"):
        read_snapshot(snapshot)
    file.unlink()
    with pytest.raises(Refused, match="is missing"):
        read_snapshot(snapshot)
    assert read_snapshot(freeze(s, by=by.id, project_id=project.id)) == before


def test_files_and_manifest_changed_together_are_caught_by_the_hash_in_the_database(s: Session) -> None:
    project, by = a_ranked_project(s)
    one = freeze(s, by=by.id, project_id=project.id)
    project.instructions = "Something else."
    other = freeze(s, by=by.id, project_id=project.id)
    for name in (*FILES.values(), "manifest.json"):
        (snapshot_folder(one) / name).write_bytes((snapshot_folder(other) / name).read_bytes())
    with pytest.raises(Refused, match="its rows have another hash"):
        read_snapshot(one)


def test_the_hash_ignores_ids_and_order(s: Session) -> None:
    project, by = a_ranked_project(s)
    rows = read_snapshot(freeze(s, by=by.id, project_id=project.id))
    other = {
        split: [dataclasses.replace(row, prompt_id=row.prompt_id + 7, reviewer="Zoe") for row in reversed(of_split)]
        for split, of_split in reversed(rows.items())
    }
    assert content_sha256(other) == content_sha256(rows)
    moved = {Split.TRAIN: [*rows[Split.TRAIN], *rows[Split.VALIDATION]], Split.VALIDATION: []}
    assert content_sha256(moved) != content_sha256(rows)


def test_a_training_is_queued_with_its_recipe_as_used(s: Session) -> None:
    run = a_training(s, name="  polite   model ")
    assert (run.status, run.model_name) == (RunStatus.QUEUED, "polite model")
    assert from_row(run.recipe) == SMALL
    assert worker.run_input(s, run_id=run.id).snapshot_sha256 == run.snapshot.sha256


def test_a_taken_name_is_refused(s: Session) -> None:
    run = a_training(s)

    def again(name: str) -> None:
        start_training(
            s,
            by=run.requested_by_id,
            project_id=run.project_id,
            snapshot_id=run.snapshot_id,
            base_model_id=run.base_model_id,
            recipe=SMALL,
            model_name=name,
        )

    for name in ("tuned", run.base_model.name, s.scalars(select(Responder.name)).all()[0]):
        with pytest.raises(AlreadyThere):
            again(name)
    run.status = RunStatus.FAILED
    s.flush()
    again("tuned")


def test_a_snapshot_of_another_project_and_an_empty_one_are_refused(s: Session) -> None:
    run = a_training(s)
    other = a_project(s)
    manager = a_reviewer(s, other)
    values = {"base_model_id": run.base_model_id, "recipe": SMALL, "model_name": "new"}
    with pytest.raises(NotFound, match="snapshot"):
        start_training(s, by=manager.id, project_id=other.id, snapshot_id=run.snapshot_id, **values)  # type: ignore[arg-type]
    empty = saved(
        s,
        Snapshot,
        project_id=other.id,
        instructions="",
        folder="x",
        sha256="x",
        row_count=0,
        simulated_count=0,
        created_by_id=manager.id,
    )
    with pytest.raises(Refused, match="no rows to train on"):
        start_training(s, by=manager.id, project_id=other.id, snapshot_id=empty.id, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("knob", "value"), [("learning_rate", 0.0), ("beta", math.nan), ("rpo_alpha", -1.0), ("max_steps", 0)]
)
def test_a_knob_that_cannot_work_is_refused_by_its_label(s: Session, knob: str, value: float) -> None:
    with pytest.raises(Refused, match=KNOBS[knob].label):
        a_training(s, recipe=dataclasses.replace(SMALL, **{knob: value}))  # type: ignore[arg-type]


def test_the_estimate_grows_with_pairs_epochs_and_length_and_stops_at_the_last_step() -> None:
    minutes = estimate_minutes(SMALL, pairs=100)
    assert 2 < minutes < 5  # measured: 1.9 minutes of steps for 100 pairs, and the start
    assert estimate_minutes(dataclasses.replace(SMALL, epochs=2.0), pairs=100) > minutes
    assert estimate_minutes(SMALL, pairs=100, tokens=290) > minutes
    assert estimate_minutes(dataclasses.replace(SMALL, max_steps=2), pairs=100) < minutes
