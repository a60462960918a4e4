"""Which feedback a Snapshot is made of, on purpose: choices, thumbs, files, and what differs between two."""

import dataclasses
import io
import json
import zipfile
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet  # type: ignore[import-untyped]
from sqlalchemy import select
from sqlalchemy.orm import Session
from streamlit.testing.v1 import AppTest

from db.models import (
    Comparison,
    Correction,
    Criterion,
    CriterionChoice,
    Project,
    Ranking,
    RankingReason,
    Responder,
    Response,
    Reviewer,
    Role,
    Split,
    Thumb,
)
from db.session import session
from errors import NotAllowed, Refused
from tests.app_pages import open_page, press, sent
from tests.factories import a_comparison, a_model, a_project, a_prompt, a_ranking, a_response, a_reviewer, saved
from tests.feedback import a_question, a_reply, corrected, derived, ranked, texts
from training.data.feedback import feedback_choices, load_corrections, load_rankings
from training.data.preferences import derive, extra_words, is_near_no_op
from training.data.rows import (
    FILES,
    THUMBS,
    FrozenRow,
    Rows,
    RowsFormat,
    UnpairedRow,
    content_sha256,
    count_undecided,
    read_rows,
    read_unpaired_rows,
    unpaired_rows,
    write_folder,
)
from training.data.selection import DEFAULTS, PairsMode, Selection, describe_changes, describe_selection
from training.data.snapshot import (
    count_longer,
    freeze,
    list_snapshot_details,
    preview_snapshot,
    read_snapshot,
    side_lengths,
    snapshot_folder,
    zip_snapshot,
)
from training.data.terms import Feedback, LeftOutReason, Preferences

both_databases = pytest.mark.both_databases

LONG_REPLY = " ".join(f"word{'abcdefghij'[n // 10]}{'abcdefghij'[n % 10]}" for n in range(60))
"""Sixty words and no number."""


def better(text: str, worse: str, **fields: Any) -> Feedback:
    return ranked((1, text), (2, worse), **fields)


def bad(*texts: str, **fields: Any) -> Feedback:
    return ranked(*((1, text) for text in texts), both_bad=True, **fields)


def by(n: int, **fields: Any) -> dict[str, Any]:
    """Whose ranking it is, with an id of its own."""
    return {"reviewer": ["Ana", "Ben", "Cleo", "Dan"][n - 1], "reviewer_id": n, "n": n, **fields}


SIMULATED = {"reviewer": "Rule (simulated)", "reviewer_id": 9, "simulated": True, "n": 9}


@pytest.mark.parametrize(
    ("reason", "one", "chosen"),
    [
        (LeftOutReason.NOT_CHOSEN, better("a", "b"), {"reviewers": (2,)}),
        (LeftOutReason.NOT_CHOSEN, corrected("a", "b"), {"reviewers": (2,)}),
        (LeftOutReason.SIMULATED, better("a", "b", **SIMULATED), {"simulated": False}),
        (LeftOutReason.OTHER_DAYS, better("a", "b"), {"since": date(2026, 5, 11)}),
        (LeftOutReason.OTHER_DAYS, corrected("a", "b"), {"until": date(2026, 5, 9)}),
        (LeftOutReason.SYNTHETIC, better("a", "b", prompt=a_question(synthetic=True)), {"synthetic": False}),
        (LeftOutReason.CORRECTION, corrected("a", "b"), {"corrections": False}),
        (LeftOutReason.CHIPS, better("a", "b", chips=frozenset({"Warm"})), {"with_chips": ("Clear", "Correct")}),
        (LeftOutReason.CHIPS, better("a", "b", chips=frozenset({"Tone"})), {"without_chips": ("Tone",)}),
        (LeftOutReason.WEAK, better("a", "b", strength=1), {"least_strength": 2}),
        (LeftOutReason.UNSAID, better("a", "b"), {"criterion": 7}),
    ],
)
def test_what_was_not_chosen_is_left_out_counted_and_taken_in_again_by_default(
    reason: LeftOutReason, one: Feedback, chosen: dict[str, Any]
) -> None:
    found = derived(one, **chosen)
    assert (found.rows, found.undesirable, found.left_out) == ((), (), {reason: 1})
    assert len(derived(one).rows) == 1


def test_what_was_chosen_is_taken() -> None:
    one = better("a", "b", strength=2, chips=frozenset({"Warm", "Clear"}))
    chosen = {"with_chips": ("Warm",), "without_chips": ("Tone",), "least_strength": 2, "reviewers": (1, 2)}
    days = {"since": date(2026, 5, 10), "until": date(2026, 5, 10)}
    assert texts(derived(one, simulated=False, synthetic=False, **chosen, **days)) == [("a", "b")]


def test_whoever_was_not_chosen_contradicts_nobody_but_a_weaker_word_still_does() -> None:
    ana, ben = better("a", "b", strength=2, **by(1)), better("b", "a", strength=1, **by(2))
    assert derived(ana, ben).left_out == {LeftOutReason.DISAGREEMENT: 2}
    assert texts(derived(ana, ben, reviewers=(1,))) == [("a", "b")]
    assert derived(ana, ben, least_strength=2).left_out == {LeftOutReason.WEAK: 1, LeftOutReason.DISAGREEMENT: 1}


def test_a_majority_large_enough_gives_its_order() -> None:
    three = [better("a", "b", **by(1)), better("a", "b", **by(2)), better("b", "a", **by(3))]
    found = derived(*three, least_agreement=2 / 3)
    assert texts(found) == [("a", "b")]
    assert found.left_out == {LeftOutReason.DUPLICATE: 1, LeftOutReason.OUTVOTED: 1}
    assert derived(*three, least_agreement=0.7).left_out == {LeftOutReason.UNSURE: 2, LeftOutReason.OUTVOTED: 1}


def test_ties_and_both_bad_speak_against_a_majority() -> None:
    tied = [better("a", "b", **by(1)), ranked((1, "a"), (1, "b"), **by(2)), bad("a", "b", **by(3))]
    assert derived(*tied, least_agreement=0.51).left_out[LeftOutReason.UNSURE] == 1
    assert texts(derived(*tied)) == [("a", "b")]


def test_two_of_opposite_minds_give_nothing_whatever_share_is_asked_for() -> None:
    assert derived(better("a", "b", **by(1)), better("b", "a", **by(2)), least_agreement=0.51).left_out == {
        LeftOutReason.OUTVOTED: 2
    }
    alone = [better("a", "b", **by(1)), ranked((1, "b"), (2, "a"), (3, "c"), **by(1) | {"n": 5})]
    assert texts(derived(*alone, least_agreement=1.0)) == [("b", "c")]


def test_rules_have_no_vote_where_a_person_spoke() -> None:
    rule = better("b", "a", **SIMULATED)
    found = derived(better("a", "b"), rule, dataclasses.replace(rule, id=10, reviewer="Other"), least_agreement=1.0)
    assert texts(found) == [("a", "b")]
    assert found.left_out == {LeftOutReason.OUTVOTED: 2}


def test_a_criterions_choice_takes_the_place_of_the_overall_order() -> None:
    def said(better_id: int | None) -> Feedback:
        return better("a", "b", by_criterion={7: better_id})

    assert texts(derived(said(a_reply("b").id), criterion=7)) == [("b", "a")]
    assert derived(said(None), criterion=7).left_out == {LeftOutReason.TIE: 1}
    assert texts(derived(better("a", "b"), criterion=7, overall_where_unsaid=True)) == [("a", "b")]
    assert texts(derived(said(a_reply("b").id))) == [("a", "b")]


def test_all_strict_pairs_stand_where_they_are_asked_for_and_the_cap_is_lifted() -> None:
    order = ranked((1, "a"), (2, "b"), (2, "c"), (3, "d"))
    every = {"pairs": PairsMode.ALL_STRICT, "cap": None}
    assert texts(derived(order, **every)) == [("a", "b"), ("a", "c"), ("a", "d"), ("b", "d"), ("c", "d")]
    assert derived(order, pairs=PairsMode.ALL_STRICT, cap=2).left_out == {LeftOutReason.OVER_CAP: 3}
    cut = dataclasses.replace(order, placed=((1, a_reply("a", "length")), *order.placed[1:]))
    assert derived(cut, **every).left_out == {LeftOutReason.CUT_OFF: 3}
    assert derived(cut).left_out == {LeftOutReason.CUT_OFF: 1}


@pytest.mark.parametrize(
    ("before", "after", "nothing"),
    [
        (LONG_REPLY, LONG_REPLY + " indeed", True),
        (LONG_REPLY, LONG_REPLY.replace("wordaa", "other"), True),
        (LONG_REPLY, LONG_REPLY.replace("wordaa", "other").replace("wordab", "more"), False),
        (f"It costs £5. {LONG_REPLY}", f"It costs £6. {LONG_REPLY}", False),
        (f"It costs £5. {LONG_REPLY}", f"It costs £5! {LONG_REPLY}", True),
        ("Yes.", "No.", False),
        (" ".join([LONG_REPLY] * 30), " ".join([LONG_REPLY] * 30) + " indeed", True),
    ],
)
def test_a_correction_of_one_word_in_fifty_is_next_to_nothing_and_a_number_never_is(
    before: str, after: str, nothing: bool
) -> None:
    assert is_near_no_op(before, after, least=0.98) is nothing
    found = derived(corrected(before, after))
    assert found.left_out == ({LeftOutReason.NEAR_NO_OP: 1} if nothing else {})
    assert len(derived(corrected(before, after), near_no_op=None).rows) == 1


def test_balanced_lengths_lose_the_pairs_that_favour_length_most() -> None:
    some = [
        better("a b c d e", "a", n=1),
        better("a b c", "a", n=2, prompt=a_question(2)),
        better("a b", "a", n=3, prompt=a_question(3)),
        better("a", "b c", n=4, prompt=a_question(4)),
    ]
    found = derived(*some, balance_lengths=True)
    assert texts(found) == [("a b", "a"), ("a", "b c")]
    assert found.left_out == {LeftOutReason.LENGTHS: 2}
    assert len(derived(*some).rows) == 4


def thumbs(found: Preferences) -> list[str]:
    return [one.reply.text for one in found.undesirable]


def test_replies_that_were_called_bad_are_thumbs_down_and_no_pair() -> None:
    found = derived(bad("a", "b"))
    assert (found.rows, thumbs(found)) == ((), ["a", "b"])
    assert found.left_out == {LeftOutReason.BOTH_BAD: 1}


def test_a_corrected_both_bad_pair_gives_the_correction_over_each_reply() -> None:
    found = derived(bad("a", "b", **by(2)), corrected("a", "good"))
    assert texts(found) == [("good", "a"), ("good", "b")]
    assert {(row.correction_id, row.ranking_id, row.chosen_id) for row in found.rows} == {(1, None, None)}
    assert found.left_out == {}
    assert len(found.undesirable) == 2
    assert derived(bad("a", "b"), corrected("a", "good"), corrections=False).left_out == {
        LeftOutReason.BOTH_BAD: 1,
        LeftOutReason.CORRECTION: 1,
    }


def test_the_further_pair_is_simulated_where_only_a_rule_called_both_bad() -> None:
    rule = bad("a", "b", **SIMULATED)
    assert [row.simulated for row in derived(rule, corrected("a", "good")).rows] == [False, True]
    person = bad("a", "b", **by(2))
    assert [row.simulated for row in derived(rule, person, corrected("a", "good")).rows] == [False, False]


def test_a_reply_that_somebody_preferred_is_no_thumb_and_no_further_pair() -> None:
    found = derived(bad("a", "b", **by(2)), better("b", "c", **by(3)), corrected("a", "good"))
    assert texts(found) == [("b", "c"), ("good", "a")]
    assert thumbs(found) == ["a"]
    assert found.left_out == {LeftOutReason.DISPUTED: 1}


def test_a_rule_disputes_no_persons_thumb_and_a_person_disputes_a_rules() -> None:
    rule, person = better("a", "c", **SIMULATED), better("a", "c", **by(2))
    assert len(derived(bad("a", "b"), rule).undesirable) == 2
    assert thumbs(derived(bad("a", "b", **SIMULATED), person)) == ["b"]


def test_several_who_call_the_same_text_bad_give_one_thumb_and_a_person_gets_the_credit() -> None:
    found = derived(bad("a", "b", **SIMULATED), bad("a ", "c", **by(2)))
    assert [(one.reply.text, one.source.reviewer, one.simulated) for one in found.undesirable] == [
        ("a", "Ben", False),
        ("b", "Rule (simulated)", True),
        ("c", "Ben", False),
    ]
    assert derived(bad("a", " ")).left_out == {LeftOutReason.BOTH_BAD: 1, LeftOutReason.EMPTY: 1}


def test_thumbs_go_where_the_pairs_of_their_cluster_go() -> None:
    pairs = [better("a", "b", n=n, prompt=a_question(n)) for n in range(1, 21)]
    found = derived(*pairs, *(bad("c", "d", n=100 + n, prompt=a_question(n)) for n in range(1, 31)))
    split_of = {row.prompt.cluster: row.split for row in found.rows}
    assert sum(split is Split.VALIDATION for split in split_of.values()) == 2
    assert all(one.split is split_of.get(one.prompt.cluster, Split.TRAIN) for one in found.undesirable)
    assert [row.split for row in found.rows] == [row.split for row in derived(*pairs).rows]


PEOPLE = {1: ("Ana", False), 2: ("Ben", False), 9: ("Rule (simulated)", True)}


@st.composite
def some_feedback(draw: st.DrawFn) -> list[Feedback]:
    """Few people, prompts and texts, so that ties, clashes, doubles and both bad are common."""
    found: list[Feedback] = []
    for n in range(1, draw(st.integers(1, 20)) + 1):
        who = draw(st.sampled_from(list(PEOPLE)))
        said = {"reviewer_id": who, "reviewer": PEOPLE[who][0], "simulated": PEOPLE[who][1]}
        number = draw(st.integers(1, 12))
        prompt = a_question(number, cluster=f"cluster {number % 11}", synthetic=number == 3)
        when = {"given_on": date(2026, 5, draw(st.integers(1, 3)))}
        if draw(st.integers(0, 4)) == 0:
            text = draw(st.sampled_from(["a", "e e e", "f"]))
            found.append(corrected(draw(st.sampled_from("abcd")), text, n=n, prompt=prompt, **said, **when))
            continue
        four = draw(st.permutations(["a", "b b", "c c c", "d"]))[: draw(st.integers(2, 4))]
        none_good = draw(st.integers(0, 3)) == 0
        endings = st.sampled_from(["stop", "stop", "length"])
        placed = [(1 if none_good else draw(st.integers(1, 3)), a_reply(text, draw(endings))) for text in four]
        beside = {
            "strength": draw(st.sampled_from([None, 1, 2])),
            "chips": frozenset(draw(st.sets(st.sampled_from(["Warm", "Tone"])))),
            "by_criterion": {7: a_reply(four[0]).id} if draw(st.booleans()) else {},
        }
        found.append(ranked(*placed, n=n, prompt=prompt, both_bad=none_good, **said, **when, **beside))
    return found


selections = st.builds(
    Selection,
    reviewers=st.sampled_from([None, (1, 9), (2,)]),
    simulated=st.booleans(),
    since=st.sampled_from([None, date(2026, 5, 2)]),
    corrections=st.booleans(),
    synthetic=st.booleans(),
    least_agreement=st.sampled_from([None, 0.51, 2 / 3, 1.0]),
    least_strength=st.sampled_from([1, 2]),
    with_chips=st.sampled_from([(), ("Warm",)]),
    without_chips=st.sampled_from([(), ("Tone",)]),
    criterion=st.sampled_from([None, 7]),
    overall_where_unsaid=st.booleans(),
    pairs=st.sampled_from(PairsMode),
    cap=st.sampled_from([None, 1, 3]),
    near_no_op=st.sampled_from([None, 0.98]),
    balance_lengths=st.booleans(),
)


def sha_of(found: Preferences) -> str:
    def said(*texts: str) -> list[list[dict[str, str]]]:
        return [[{"role": "assistant", "content": text}] for text in texts]

    rows: Rows = {split: [] for split in Split}
    for row in found.rows:
        prompt, chosen, rejected = said(row.prompt.text, row.chosen.text, row.rejected.text)
        rows[row.split].append(FrozenRow(prompt, chosen, rejected, 1, 2, 3, 4, None, "", row.simulated))  # type: ignore[arg-type]
    marks: dict[Split, list[UnpairedRow]] = {split: [] for split in Split}
    for one in found.undesirable:
        prompt, reply = said(one.prompt.text, one.reply.text)
        marks[one.split].append(UnpairedRow(prompt, reply, False, 1, 2, 3, "", one.simulated))  # type: ignore[arg-type]
    return content_sha256(rows, marks)


@given(some_feedback(), selections, st.randoms())
def test_the_same_feedback_with_the_same_choices_gives_the_same_hash_in_whatever_order_it_came(
    feedback: list[Feedback], selection: Selection, random: Any
) -> None:
    # a prompt's cluster is the prompt's own, whoever asks for it
    shuffled = random.sample(feedback, len(feedback))
    rankings, corrections = (
        [[one for one in some if one.corrects is corrects] for some in (feedback, shuffled)]
        for corrects in (False, True)
    )
    one, other = (derive(r, c, selection) for r, c in zip(rankings, corrections, strict=True))
    assert sha_of(one) == sha_of(other)
    assert one.left_out == other.left_out
    assert derive(rankings[0], corrections[0], Selection.from_json(json.loads(json.dumps(selection.as_json())))) == one


@given(some_feedback(), selections)
def test_nothing_chosen_contradicts_itself(feedback: list[Feedback], selection: Selection) -> None:
    rankings, corrections = ([one for one in feedback if one.corrects is fixes] for fixes in (False, True))
    found = derive(rankings, corrections, selection)
    pairs = {(row.prompt.text, row.chosen.text, row.rejected.text) for row in found.rows if row.ranking_id}
    assert len(pairs) == sum(row.ranking_id is not None for row in found.rows)
    assert not any((prompt, worse, good) in pairs for prompt, good, worse in pairs)
    whole = {reply.id for one in feedback for _, reply in one.placed if reply.finish_reason == "stop"}
    assert all(row.chosen_id in whole for row in found.rows if row.ranking_id), "a reply that was cut is never chosen"
    assert all(count > 0 for count in found.left_out.values())
    people = {(row.prompt.text, row.chosen.text) for row in found.rows if row.ranking_id and not row.simulated}
    assert not people & {(one.prompt.text, one.reply.text) for one in found.undesirable}
    assert len({one.reply.id for one in found.undesirable if one.prompt.id == 1}) == sum(
        one.prompt.id == 1 for one in found.undesirable
    )
    if selection.balance_lengths:
        ahead = [extra_words(row) for row in found.rows]
        assert sum(n > 0 for n in ahead) == sum(n < 0 for n in ahead)
    if selection.cap:
        for number in range(1, 13):
            assert sum(row.prompt.id == number and row.ranking_id is not None for row in found.rows) <= selection.cap


def test_every_reason_is_a_sentence_and_every_choice_has_words() -> None:
    assert all(reason.words.endswith(".") for reason in LeftOutReason)
    words = describe_selection(DEFAULTS)
    assert len(words) == 14
    assert all(words.values())


def test_a_choice_that_cannot_work_is_refused_with_the_remedy() -> None:
    for chosen in (
        {"since": date(2026, 5, 2), "until": date(2026, 5, 1)},
        {"reviewers": ()},
        {"with_chips": ("Warm",), "without_chips": ("Warm",)},
        {"least_agreement": 0.5},
        {"least_strength": 3},
        {"cap": 0},
        {"near_no_op": 0.0},
    ):
        with pytest.raises(Refused):
            Selection(**chosen)


def test_choices_are_told_by_what_differs_from_the_usual() -> None:
    assert describe_changes(None).startswith("Frozen before there was a choice")
    assert describe_changes(DEFAULTS.as_json()) == "The usual choices."
    said = Selection(reviewers=(2, 1), criterion=7, since=date(2026, 5, 1), least_agreement=2 / 3).as_json()
    assert describe_changes(said | {"of a later version": 1}, reviewers={1: "Ana", 2: "Ben"}, criteria={7: "Tone"}) == (
        "Whose word: Ana, Ben; Days: from 2026-05-01 on; Agreement: at least 67% of a pair's reviewers gave the order; "
        "Order: which was better by “Tone”."
    )


def a_message(role: str, content: str) -> Any:
    return {"role": role, "content": content}


def a_frozen_row(n: int, **fields: Any) -> FrozenRow:
    row = FrozenRow(
        prompt=[a_message("system", "Be kind."), a_message("user", f"Question {n}?")],
        chosen=[a_message("assistant", f"Sí, {n}.")],
        rejected=[a_message("assistant", f"No, {n}.")],
        prompt_id=n,
        chosen_id=2 * n,
        rejected_id=2 * n + 1,
        ranking_id=n,
        correction_id=None,
        reviewer="Ana",
        simulated=n == 2,
    )
    return dataclasses.replace(row, **fields)


def a_frozen_thumb(n: int, text: str = "Bad.", label: bool = False) -> UnpairedRow:
    prompt = a_frozen_row(n).prompt
    return UnpairedRow(prompt, [a_message("assistant", text)], label, n, 9, 8, "Ana", False)


ROWS: Rows = {Split.TRAIN: [a_frozen_row(1), a_frozen_row(2)], Split.VALIDATION: [a_frozen_row(3)]}
OLD_SHA = "5b25d45c5659a79a3ed053323a0fc89818aad9bbf3b6aac0032f643c9968b574"
"""What a version without thumbs and Parquet gave these rows."""


def an_old_folder(folder: Path) -> Path:
    """As a version without thumbs and Parquet wrote it."""
    folder.mkdir()
    hashes = {
        "train.jsonl": "1cce2cb05032e351912b388f506029e38a30defe55d65acd2c25b28f8bc6a515",
        "validation.jsonl": "2b94a985621be407bd497853595debfb4d048917c0a37af1138aa9165239bdeb",
    }
    for split, name in FILES.items():
        with (folder / name).open("w", encoding="utf-8") as stream:
            for row in ROWS[split]:
                said = dataclasses.asdict(row)
                del said["cluster"]  # which came later
                stream.write(json.dumps(said, ensure_ascii=False) + "\n")
    manifest = {"project": "Old", "counts": {"TRAIN": 2, "VALIDATION": 1}, "sha256": OLD_SHA, "files": hashes}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_a_snapshot_of_an_older_version_is_read_as_ever_and_left_as_it_is(tmp_path: Path) -> None:
    folder = an_old_folder(tmp_path / "old")
    assert content_sha256(ROWS) == content_sha256(ROWS, {split: [] for split in Split}) == OLD_SHA
    assert read_rows(folder, sha256=OLD_SHA) == ROWS
    assert read_unpaired_rows(folder, OLD_SHA) == {Split.TRAIN: [], Split.VALIDATION: []}
    write_folder(folder, ROWS, sha256=OLD_SHA, about={})
    assert sorted(file.name for file in folder.iterdir()) == ["manifest.json", "train.jsonl", "validation.jsonl"]


def test_thumbs_are_written_beside_the_pairs_read_back_and_part_of_the_hash(tmp_path: Path) -> None:
    marks = {Split.TRAIN: [a_frozen_thumb(1)], Split.VALIDATION: []}
    sha256 = content_sha256(ROWS, marks)
    assert sha256 != OLD_SHA
    assert content_sha256(ROWS, {Split.TRAIN: [], Split.VALIDATION: [a_frozen_thumb(1)]}) != sha256
    assert content_sha256(ROWS, {**marks, Split.TRAIN: [a_frozen_thumb(1, label=True)]}) != sha256
    write_folder(tmp_path / "new", ROWS, sha256=sha256, about={}, thumbs=marks)
    assert read_rows(tmp_path / "new", sha256=sha256) == ROWS
    assert read_unpaired_rows(tmp_path / "new", sha256) == marks
    manifest = json.loads((tmp_path / "new" / "manifest.json").read_text())
    assert manifest["thumb_counts"] == {"TRAIN": 1, "VALIDATION": 0}
    assert len(manifest["files"]) == 8
    for name in [*THUMBS.values(), "train.parquet", "thumbs.train.parquet"]:
        file = tmp_path / "new" / name
        was = file.read_bytes()
        file.write_bytes(was + b" ")
        with pytest.raises(Refused, match="another hash"):
            read_rows(tmp_path / "new", sha256=sha256)
        file.unlink()
        with pytest.raises(Refused, match="is missing"):
            read_unpaired_rows(tmp_path / "new", sha256)
        file.write_bytes(was)


def test_thumbs_that_vanish_with_their_lines_in_the_manifest_are_missed(tmp_path: Path) -> None:
    marks = {Split.TRAIN: [a_frozen_thumb(1)], Split.VALIDATION: []}
    sha256 = content_sha256(ROWS, marks)
    write_folder(tmp_path / "new", ROWS, sha256=sha256, about={}, thumbs=marks)
    manifest = json.loads((tmp_path / "new" / "manifest.json").read_text())
    manifest["files"] = {name: said for name, said in manifest["files"].items() if not name.startswith("thumbs")}
    (tmp_path / "new" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(Refused, match="its rows have another hash"):
        read_rows(tmp_path / "new", sha256=sha256)


def test_parquet_holds_what_jsonl_does_with_the_same_columns_in_every_split(tmp_path: Path) -> None:
    marks = {Split.TRAIN: [a_frozen_thumb(1)], Split.VALIDATION: []}
    sha256 = content_sha256(ROWS, marks)
    write_folder(tmp_path / "new", ROWS, sha256=sha256, about={}, thumbs=marks)
    for names in (FILES, THUMBS):
        tables = [parquet.read_table(tmp_path / "new" / name.replace(".jsonl", ".parquet")) for name in names.values()]
        assert tables[0].schema == tables[1].schema
        for name, table in zip(names.values(), tables, strict=True):
            lines = [json.loads(line) for line in (tmp_path / "new" / name).read_text().splitlines()]
            assert table.to_pylist() == lines


def test_kto_gets_each_reply_once_and_none_that_is_good_here_and_bad_there() -> None:
    rows = [
        a_frozen_row(1),
        a_frozen_row(1, rejected=[a_message("assistant", "Other.")]),
        a_frozen_row(2, chosen=[a_message("assistant", "Fine.")], rejected=[a_message("assistant", "Bad.")]),
        a_frozen_row(2, chosen=[a_message("assistant", "Bad. ")], rejected=[a_message("assistant", "Worse.")]),
    ]
    found = unpaired_rows(rows, [a_frozen_thumb(1), a_frozen_thumb(1, "No, 1."), a_frozen_thumb(2, "Worse.")])
    assert [(one.prompt_id, one.completion[0]["content"], one.label) for one in found] == [
        (1, "Sí, 1.", True),
        (1, "No, 1.", False),
        (1, "Other.", False),
        (2, "Fine.", True),
        (2, "Worse.", False),
        (1, "Bad.", False),
    ]
    assert count_undecided(rows) == count_undecided(rows, [a_frozen_thumb(1)]) == 1
    assert count_undecided(rows, [a_frozen_thumb(2, "Fine.")]) == 2


@dataclasses.dataclass
class Shop:
    """Twelve ranked pairs, two models, a manager."""

    project: Project
    manager: Reviewer
    good: Responder
    bad: Responder

    def pair(self, s: Session, n: int, **prompt_fields: Any) -> tuple[Comparison, Response, Response]:
        prompt = a_prompt(
            s, self.project, f"Where is order {n}?", context=f"Order {n}", **{"cluster": f"mark {n}", **prompt_fields}
        )
        one = a_response(s, prompt, self.good, f"Better {n}")
        other = a_response(s, prompt, self.bad, f"Worse {n} by far")
        return a_comparison(s, one, other), one, other

    def both_bad(self, s: Session, n: int, **prompt_fields: Any) -> tuple[Ranking, Response, Response]:
        comparison, one, other = self.pair(s, n, **prompt_fields)
        said = a_ranking(s, comparison, self.manager, one, other, both_bad=True)
        for placement in said.placements:
            placement.place = 1
        s.flush()
        return said, one, other


def a_shop(s: Session, pairs: int = 12) -> Shop:
    project = a_project(s, instructions="Answer the email.")
    shop = Shop(project, a_reviewer(s, project), a_model(s, project), a_model(s, project))
    for n in range(pairs):
        comparison, one, other = shop.pair(s, n)
        a_ranking(s, comparison, shop.manager, one, other)
    return shop


def test_feedback_that_an_older_version_froze_gives_the_same_snapshot_now(s: Session) -> None:
    shop = a_shop(s)
    frozen = freeze(s, by=shop.manager.id, project_id=shop.project.id)
    assert frozen.sha256 == "8f626d454e510f07fa89a060a0584a19a1bceb8102936d1fec045ec7f2940440"
    assert (frozen.thumb_count, frozen.selection) == (0, DEFAULTS.as_json())


@both_databases
def test_what_was_said_beside_an_order_is_read_with_it(s: Session) -> None:
    shop = a_shop(s, pairs=1)
    tone = Criterion(project_id=shop.project.id, name="Tone", position=0)
    gone = Criterion(project_id=shop.project.id, name="Speed", position=1, retired_at=datetime.now(UTC))
    s.add_all([tone, gone])
    s.flush()
    ranking = s.scalars(select(Ranking)).one()
    worse = ranking.placements[1].response_id
    ranking.strength, ranking.created_at = 2, datetime(2026, 5, 1, 23, 30, tzinfo=UTC)
    s.add_all(
        [
            RankingReason(ranking_id=ranking.id, label="Warm", praise=True),
            RankingReason(ranking_id=ranking.id, label="Tone", praise=False),
            CriterionChoice(ranking_id=ranking.id, criterion_id=tone.id, better_id=worse),
            Correction(response_id=worse, reviewer_id=a_reviewer(s, shop.project, name="Zoe").id, text="Best."),
        ]
    )
    s.flush()
    (read,) = load_rankings(s, project_id=shop.project.id)
    assert (read.strength, read.given_on) == (2, date(2026, 5, 1))
    assert read.chips == frozenset({"Warm", "Tone"})
    assert read.by_criterion == {tone.id: worse}
    assert read.reviewer_id == shop.manager.id
    (rewritten,) = load_corrections(s, project_id=shop.project.id)
    assert (rewritten.reviewer, [reply.id for _, reply in rewritten.placed]) == ("Zoe", [worse, worse])
    there = feedback_choices(s, project_id=shop.project.id)
    assert set(there.reviewers.values()) == {shop.manager.name, "Zoe"}
    assert (there.chips, there.criteria) == (("Tone", "Warm"), {tone.id: "Tone"})
    seen = preview_snapshot(s, project_id=shop.project.id, selection=Selection(criterion=tone.id, corrections=False))
    assert [(row.chosen.text, row.rejected.text) for row in seen.rows] == [("Worse 0 by far", "Better 0")]


@both_databases
def test_thumbs_are_frozen_with_their_ranking_and_counted(s: Session) -> None:
    shop = a_shop(s)
    said, one, other = shop.both_bad(s, 50)
    seen = preview_snapshot(s, project_id=shop.project.id)
    assert (len(seen.undesirable), seen.undesirable_simulated, len(seen.rows)) == (2, 0, 12)
    frozen = freeze(s, by=shop.manager.id, project_id=shop.project.id)
    stored = s.scalars(select(Thumb).where(Thumb.snapshot_id == frozen.id).order_by(Thumb.response_id)).all()
    assert [(t.response_id, t.label, t.ranking_id) for t in stored] == [
        (one.id, False, said.id),
        (other.id, False, said.id),
    ]
    assert frozen.thumb_count == 2
    marks = read_unpaired_rows(snapshot_folder(frozen), sha256=frozen.sha256)[Split.TRAIN]
    assert [t.completion for t in marks] == [
        [a_message("assistant", "Better 50")],
        [a_message("assistant", "Worse 50 by far")],
    ]
    assert marks[0].prompt[0] == a_message("system", "Answer the email.")
    manifest = json.loads((snapshot_folder(frozen) / "manifest.json").read_text())
    assert (manifest["thumbs"], manifest["selection"]) == (2, DEFAULTS.as_json())


@both_databases
def test_the_list_of_snapshots_says_how_many_thumbs_are_simulated(s: Session) -> None:
    shop = a_shop(s)
    shop.both_bad(s, 50)[0].reviewer_id = a_reviewer(s, shop.project, simulated=True, rule="Any.").id
    shop.both_bad(s, 51)
    freeze(s, by=shop.manager.id, project_id=shop.project.id)
    (one,) = list_snapshot_details(s, project_id=shop.project.id)
    assert (one.snapshot.thumb_count, one.thumbs_simulated, one.by) == (4, 2, shop.manager.label)
    assert one.left_out == ((2, LeftOutReason.BOTH_BAD.words),)


def test_a_corrected_both_bad_pair_is_frozen_as_two_rows_of_the_correction(s: Session) -> None:
    shop = a_shop(s)
    _, one, other = shop.both_bad(s, 50)
    fixed = saved(s, Correction, response_id=one.id, reviewer_id=shop.manager.id, text="It left today.")
    frozen = freeze(s, by=shop.manager.id, project_id=shop.project.id)
    rows = [row for row in frozen.preferences if row.correction_id == fixed.id]
    assert {(row.chosen_id, row.rejected_id) for row in rows} == {(None, one.id), (None, other.id)}
    assert frozen.row_count == 14


def test_thumbs_of_held_out_prompts_and_of_their_near_duplicates_are_refused(s: Session) -> None:
    shop = a_shop(s)
    shop.both_bad(s, 50, held_out=True)
    assert preview_snapshot(s, project_id=shop.project.id).undesirable == ()
    shop.both_bad(s, 51, cluster="mark 50")
    with pytest.raises(Refused, match="held out"):
        freeze(s, by=shop.manager.id, project_id=shop.project.id)


def test_other_choices_give_another_snapshot_and_the_same_rows_the_one_that_is_there(s: Session) -> None:
    shop = a_shop(s, pairs=14)
    everything = freeze(s, by=shop.manager.id, project_id=shop.project.id)
    for ranking in s.scalars(select(Ranking).limit(3)):
        s.add(RankingReason(ranking_id=ranking.id, label="Tone", praise=False))
    s.flush()
    some = freeze(s, by=shop.manager.id, project_id=shop.project.id, selection=Selection(without_chips=("Tone",)))
    assert (everything.row_count, some.row_count) == (14, 11)
    same = freeze(s, by=shop.manager.id, project_id=shop.project.id, selection=Selection(synthetic=False))
    assert same is everything
    assert [one.choices for one in list_snapshot_details(s, project_id=shop.project.id)] == [
        "Without the chips: Tone.",
        "The usual choices.",
    ]
    with pytest.raises(NotAllowed):
        freeze(s, by=a_reviewer(s, shop.project, Role.REVIEWER).id, project_id=shop.project.id)


def test_files_can_be_had_as_jsonl_and_parquet_even_of_an_old_snapshot(s: Session) -> None:
    shop = a_shop(s)
    frozen = freeze(s, by=shop.manager.id, project_id=shop.project.id)
    for form in RowsFormat:
        with zipfile.ZipFile(io.BytesIO(zip_snapshot(frozen, form))) as archive:
            assert sorted(archive.namelist()) == ["manifest.json", f"train.{form}", f"validation.{form}"]
    folder = snapshot_folder(frozen)
    manifest = json.loads((folder / "manifest.json").read_text())
    for name in ("train.parquet", "validation.parquet"):
        (folder / name).unlink()
        del manifest["files"][name]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with zipfile.ZipFile(io.BytesIO(zip_snapshot(frozen, RowsFormat.PARQUET))) as archive:
        rows = parquet.read_table(io.BytesIO(archive.read("train.parquet"))).to_pylist()
    assert rows == [dataclasses.asdict(row) for row in read_snapshot(frozen)[Split.TRAIN]]


def test_the_preview_tells_how_often_the_longer_reply_is_better(s: Session) -> None:
    shop = a_shop(s)
    rows = preview_snapshot(s, project_id=shop.project.id).rows
    longer = count_longer(rows)
    assert (longer.longer, longer.equal, longer.shorter) == (0, 0, 12)
    assert [(one.label, one.median) for one in side_lengths(rows)] == [("better", 2), ("worse", 4)]
    assert side_lengths(preview_snapshot(s, project_id=a_project(s).id).rows) == []
    one, _ = side_lengths(preview_snapshot(s, project_id=a_shop(s, pairs=1).project.id).rows)
    assert (one.nine_tenths, one.mean) == (2, 2)


def test_a_thumb_names_its_reply() -> None:
    (one, _) = derived(bad("a", "b")).undesirable
    assert (one.reply.id, one.source.id, one.prompt.id) == (a_reply("a").id, 1, 1)


def numbers(at: AppTest) -> dict[str, str]:
    return {one.label: one.value for one in at.metric}


@pytest.fixture
def shop_ids(database: Path) -> tuple[int, int]:
    """A project with fourteen pairs, three of them with a chip, one both bad, and its manager."""
    with session() as s:
        shop = a_shop(s, pairs=14)
        shop.both_bad(s, 50)
        for ranking in s.scalars(select(Ranking).order_by(Ranking.id).limit(3)):
            s.add(RankingReason(ranking_id=ranking.id, label="<b>Tone</b>", praise=False))
        s.flush()
        return shop.project.id, shop.manager.id


def test_choices_are_seen_in_the_preview_and_frozen_on_the_page(shop_ids: tuple[int, int]) -> None:
    at = open_page("freeze_feedback", project_id=shop_ids[0], by=shop_ids[1])
    assert numbers(at)["Pairs to train on"] == "13"
    assert numbers(at)["Thumbs down"] == "2"
    assert LeftOutReason.BOTH_BAD.words in sent(at)
    press(at, "Freeze")
    next(one for one in at.multiselect if one.label == "Without the chips").set_value(["<b>Tone</b>"]).run()
    assert not at.exception
    assert numbers(at)["Pairs to train on"] == "10"
    press(at, "Freeze")
    with session() as s:
        newest, oldest = list_snapshot_details(s, project_id=shop_ids[0])
        assert (newest.snapshot.row_count, oldest.snapshot.row_count) == (11, 14)
    assert "Without the chips: &lt;b&gt;Tone&lt;/b&gt;." in sent(at)
    press(at, "Files …")
    assert [one.label for one in at.get("download_button")] == ["Download JSONL", "Download Parquet"]  # type: ignore[union-attr]


def test_a_choice_that_cannot_work_is_said_on_the_page(shop_ids: tuple[int, int]) -> None:
    at = open_page("freeze_feedback", project_id=shop_ids[0], by=shop_ids[1])
    for label, day in (("From (UTC)", date(2026, 5, 2)), ("To (UTC)", date(2026, 5, 1))):
        next(one for one in at.date_input if one.label == label).set_value(day).run()
    assert any("The first day is after the last one" in one.value.replace("\\", "") for one in at.error)


def test_an_empty_project_says_what_is_missing(database: Path) -> None:
    with session() as s:
        project = a_project(s)
        manager = a_reviewer(s, project).id
    at = open_page("freeze_feedback", project_id=project.id, by=manager)
    assert any("training needs at least 10" in one.value.replace("\\", "") for one in at.warning)
    press(at, "Freeze")
    assert any("training needs at least 10" in one.value.replace("\\", "") for one in at.error)


def test_a_changed_snapshot_is_told_where_its_files_are_asked_for(shop_ids: tuple[int, int]) -> None:
    project_id, manager_id = shop_ids
    with session() as s:
        frozen = freeze(s, by=manager_id, project_id=project_id)
    (snapshot_folder(frozen) / "train.parquet").write_bytes(b"")
    at = open_page("freeze_feedback", project_id=project_id, by=manager_id)
    press(at, "Files …")
    assert any("changed after it was frozen" in one.value.replace("\\", "") for one in at.error)
