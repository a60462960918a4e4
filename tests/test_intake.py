"""Import: every kind of bad file gets its sentence, twice adds nothing, held-out stays held out."""

import random
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.models import Comparison, Project, Prompt, PromptSet, Ranking, Responder, Response, Reviewer, Role
from db.people import add_member, link_authors, roles_of
from db.session import engine, reading, session
from errors import BadFile, DatabaseUnavailable, NotAllowed, Refused
from intake.mapping import ColumnMapping, HeldOutChoice, check_mapping, guess_mapping, read_pick
from intake.near_duplicates import cluster_labels
from intake.plan import ImportPlan, plan_import
from intake.prompts import ImportResult, run_import, save_import
from intake.reading import Table, read_table
from tests.factories import a_human, a_project, a_reviewer

LIMIT = 1000


def read(text: str | bytes, name: str = "emails.csv") -> Table:
    content = text if isinstance(text, bytes) else text.encode()
    return read_table(content, file_name=name, max_cell=LIMIT)


def project_of(s: Session) -> Project:
    """The only project, made at the first call."""
    return s.scalars(select(Project)).first() or a_project(s)


def imported(
    s: Session, text: str, mapping: ColumnMapping, name: str = "emails.csv"
) -> tuple[ImportResult, ImportPlan]:
    project = project_of(s)
    by = a_reviewer(s, project)
    return save_import(
        s, by=by.id, project_id=project.id, table=read(text, name), content=text.encode(), mapping=mapping
    )


def count(s: Session, table: type) -> int:
    return s.scalar(select(func.count()).select_from(table)) or 0


@pytest.mark.parametrize(
    ("content", "name", "sentence"),
    [
        ("email\ncaf\xe9\n".encode("latin-1"), "a.csv", "not UTF-8: line 2 has the byte 0xE9"),
        ("email\nhello\n".encode("utf-16"), "a.csv", "UTF-16, not UTF-8"),
        (b"email\nhi\0there\n", "a.csv", "Line 2 has a NUL character"),
        (b"", "a.csv", "is empty"),
        (b'[{"email": "Where is it?"}]\n', "a.json", "No line of a.json can be used. Line 1 is not a JSON object"),
        (b'{"n": ' + b"9" * 5000 + b"}\n", "a.jsonl", "No line of a.jsonl can be used. Line 1 is not valid JSON"),
        (b"email\n", "a.csv", "no rows"),
        (b'email\n"never closed\n', "a.csv", "double quote that is never closed"),
        (b"email,email\na,b\n", "a.csv", "two columns are named"),
        (b"email,\na,b\n", "a.csv", "column 2 has no name"),
        (b"PK\x03\x04 something", "a.xlsx", "neither CSV nor JSONL"),
    ],
)
def test_a_file_that_cannot_be_read_gets_one_sentence_with_the_remedy(content: bytes, name: str, sentence: str) -> None:
    with pytest.raises(BadFile, match=sentence):
        read(content, name)


def test_broken_json_on_line_7_is_named_and_the_other_lines_are_kept() -> None:
    lines = [f'{{"email": "Question {n}"}}' for n in range(1, 10)]
    lines[6] = '{"email": "Question'
    table = read("\n".join(lines), "emails.jsonl")
    assert [problem.row for problem in table.problems] == [7]
    assert "not valid JSON" in table.problems[0].message
    assert len(table.rows) == 8


def test_a_row_with_too_many_cells_is_named() -> None:
    table = read("email,topic\nhello,a\nhello, there,b\n")
    assert [(p.row, p.skipped) for p in table.problems] == [(2, True)]


def test_a_cell_over_the_limit_is_left_out_and_named() -> None:
    table = read("email\n" + "x" * (LIMIT + 1) + "\nshort\n")
    assert [row.values["email"] for row in table.rows] == ["short"]
    assert "1,001 characters" in table.problems[0].message


def test_a_formula_is_kept_as_text_and_pointed_out() -> None:
    table = read('email\n"=HYPERLINK(""http://x"")"\n')
    assert table.rows[0].values["email"] == '=HYPERLINK("http://x")'
    assert [problem.skipped for problem in table.problems] == [False]


def test_excels_semicolons_and_byte_order_mark_are_understood() -> None:
    table = read("\ufeffemail;reply_ann\nhello;hi\n")
    assert table.columns == ("email", "reply_ann")


CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1).map("x".__add__)


@given(st.lists(CELL, min_size=1))
def test_whatever_csv_writes_is_read_back(cells: list[str]) -> None:
    import csv
    import io

    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["email", "other"])
    writer.writerows([cell, "x"] for cell in cells)
    table = read_table(out.getvalue().encode(), file_name="a.csv", max_cell=10**6)
    assert [row.values["email"] for row in table.rows] == cells


def test_a_column_that_is_not_there_is_named_with_those_that_are(s: Session) -> None:
    with pytest.raises(BadFile, match=r"no column “mail”\. Its columns are: email"):
        imported(s, "email\nhello\n", ColumnMapping(prompt="mail"))


def test_empty_and_repeated_prompts_are_left_out_and_named(s: Session) -> None:
    done, plan = imported(s, "email,t\nhello,1\n  ,2\nhello,3\n", ColumnMapping(prompt="email"))
    assert done.prompts == 1
    assert [(p.row, p.skipped) for p in plan.problems] == [(2, True), (3, True)]


@pytest.mark.parametrize("mark", ["<|im_end|>", "</s>", "[/INST]", "<end_of_turn>", "<|start_header_id|>"])
def test_a_text_with_a_models_mark_for_the_end_of_a_turn_is_left_out_and_named(s: Session, mark: str) -> None:
    rows = [f"Where is it? {mark},Soon.,", f"Is it late?,Soon {mark},", f"How much is 1 < 2 > 0?,Ten.,{mark}"]
    text = "\n".join(["email,reply_ann,note", *rows])
    done, plan = imported(s, text, ColumnMapping(prompt="email", responses={"reply_ann": "Ann"}))
    assert done.prompts == 1
    assert [problem.row for problem in plan.problems] == [1, 2]
    assert f"holds “{mark}”" in plan.problems[0].message


def test_importing_twice_adds_nothing(s: Session) -> None:
    text = "email,reply_ann,reply_bob,picked\nWhere is it?,Soon.,Sorry! Tomorrow.,bob\n"
    mapping = ColumnMapping(
        prompt="email", responses={"reply_ann": "Ann", "reply_bob": "Bob"}, picked="picked", picked_by="Mara"
    )
    first, _ = imported(s, text, mapping)
    assert (first.prompts, first.responses, first.rankings) == (1, 2, 1)
    before = [count(s, table) for table in (Prompt, Response, Comparison, Ranking, PromptSet, Responder)]
    second, _ = imported(s, text, mapping)
    assert second.nothing_new
    assert [count(s, table) for table in (Prompt, Response, Comparison, Ranking, PromptSet, Responder)] == before


def test_a_pick_becomes_a_ranking_by_whoever_made_it(s: Session) -> None:
    text = "email,reply_ann,reply_bob,picked,reason\nWhere is it?,Soon.,Sorry! Tomorrow.,bob,says when\n"
    mapping = ColumnMapping(
        prompt="email",
        responses={"reply_ann": "Ann", "reply_bob": "Bob"},
        picked="picked",
        reason="reason",
        picked_by="Mara",
        picks_simulated=True,
    )
    imported(s, text, mapping)
    ranking = s.scalars(select(Ranking)).one()
    assert ranking.reviewer.label == "Mara (simulated)"
    assert ranking.reason == "says when"
    assert {p.response.responder.name: p.place for p in ranking.placements} == {"Bob": 1, "Ann": 2}


def test_a_pick_that_changed_takes_the_place_of_the_old_one_which_stays_as_history(s: Session) -> None:
    mapping = ColumnMapping(
        prompt="email", responses={"reply_ann": "Ann", "reply_bo": "Bo"}, picked="picked", picked_by="Mara"
    )
    rows = "email,reply_ann,reply_bo,picked\nWhere is it?,Soon.,Later.,{}\n"
    for pick, saved in (("ann", 1), ("ann", 0), ("bo", 1), ("both bad", 1), ("both bad", 0)):
        assert imported(s, rows.format(pick), mapping)[0].rankings == saved
    rankings = s.scalars(select(Ranking).order_by(Ranking.id)).all()
    assert [(r.both_bad, r.undone_at is None) for r in rankings] == [(False, False), (False, False), (True, True)]


def test_another_reply_by_the_same_person_is_pointed_out(s: Session) -> None:
    mapping = ColumnMapping(prompt="email", responses={"reply_ann": "Ann"})
    imported(s, "email,reply_ann\nWhere is it?,Soon.\n", mapping)
    done, plan = imported(s, "email,reply_ann\nWhere is it?,On Friday.\n", mapping)
    assert done.responses == 1
    assert "another reply by “Ann”" in plan.problems[0].message


def test_near_duplicates_of_a_training_prompt_never_become_held_out(s: Session) -> None:
    text = "My parcel with the order number MB-1001 has still not arrived and I am rather cross about it."
    imported(s, f"email\n{text}\n", ColumnMapping(prompt="email"))
    done, plan = imported(
        s, f"email\n{text} Please help!\nDo you sell maps?\n", ColumnMapping(prompt="email", held_out=HeldOutChoice.ALL)
    )
    assert done.prompts == 2
    assert [planned.prompt.held_out for planned in plan.prompts] == [False, True]
    assert "nearly repeats a training prompt" in plan.problems[0].message


@pytest.mark.parametrize("first", [HeldOutChoice.NONE, HeldOutChoice.ALL])
def test_a_prompt_near_both_sides_is_left_out_and_nothing_held_out_reaches_training(
    s: Session, first: HeldOutChoice
) -> None:
    second = HeldOutChoice.ALL if first is HeldOutChoice.NONE else HeldOutChoice.NONE
    words = "my parcel with seven blue atlases and the small red globe has not come to the school office".split()
    left, right = [*words, "yesterday", "again"], [*words[3:], "on friday", "at noon", "or later"]
    between = [*words, "on friday", "at noon"]
    for text, side in ((left, first), (right, second)):
        imported(s, "email\n" + " ".join(text) + "\n", ColumnMapping(prompt="email", held_out=side))
    sides = set(s.scalars(select(Prompt.held_out)))
    assert sides == {True, False}, "the two must not be near each other"
    done, plan = imported(
        s, "email\n" + " ".join(between) + "\nWhat else do you sell?\n", ColumnMapping(prompt="email")
    )
    assert done.prompts == 1
    assert "both sides" in plan.problems[0].message


def test_a_held_out_share_keeps_near_duplicates_together_and_is_fixed_by_its_seed(s: Session) -> None:
    questions = [
        "My parcel has not come and where is it",
        "Which poems are in the green anthology",
        "Could you resend the school invoice for March",
        "The audiobook stops after chapter nine",
        "Do you take back unread novels without the receipt",
        "Whom do I ask about filming a play in our hall",
        "Grandmother needs large print so what is there",
        "Somebody charged my card two times on Friday",
    ]
    rows = [line for question in questions for line in (question, f"{question}?")]
    table = read("email\n" + "\n".join(rows) + "\n")
    project = a_project(s)
    mapping = ColumnMapping(prompt="email", held_out=HeldOutChoice.SHARE, held_out_share=0.5)
    plan = plan_import(s, project_id=project.id, table=table, mapping=mapping)
    again = plan_import(s, project_id=project.id, table=table, mapping=mapping)
    assert [p.prompt.held_out for p in plan.prompts] == [p.prompt.held_out for p in again.prompts]
    sides = [p.prompt.held_out for p in plan.prompts]
    assert sides[::2] == sides[1::2]
    assert sum(sides) == 8


def test_a_held_out_prompts_pick_is_left_aside(s: Session) -> None:
    text = "email,reply_ann,reply_bob,picked\nWhere is it?,Soon.,Tomorrow.,bob\n"
    mapping = ColumnMapping(
        prompt="email",
        responses={"reply_ann": "Ann", "reply_bob": "Bob"},
        picked="picked",
        picked_by="Mara",
        held_out=HeldOutChoice.ALL,
    )
    done, plan = imported(s, text, mapping)
    assert (done.prompts, done.responses, done.rankings) == (1, 2, 0)
    assert "only judged blind" in plan.problems[0].message


def test_importing_somebodys_picks_gives_them_no_power(s: Session) -> None:
    text = "email,reply_ann,reply_bo,picked\nWhere is it?,Soon.,Later.,ann\n"
    mapping = ColumnMapping(
        prompt="email", responses={"reply_ann": "Ann", "reply_bo": "Bo"}, picked="picked", picked_by="Bob"
    )
    project = project_of(s)
    bob = a_reviewer(s, project, Role.REVIEWER, name="Bob")
    imported(s, text, mapping)
    assert roles_of(s, reviewer_id=bob.id, project_id=project.id) == {Role.REVIEWER}


def test_replies_by_somebody_who_uses_the_app_are_theirs_whichever_came_first(s: Session) -> None:
    project = project_of(s)
    ann = a_reviewer(s, project, Role.REVIEWER, name="Ann")
    mapping = ColumnMapping(prompt="email", responses={"reply_ann": "ann", "reply_bo": "Bo"})
    imported(s, "email,reply_ann,reply_bo\nWhere is it?,Soon.,Later.\n", mapping)
    bo = add_member(s, project_id=project.id, name="Bo", role=Role.ANNOTATOR, by=None)
    owners = {r.name: r.reviewer_id for r in s.scalars(select(Responder))}
    assert owners == {"ann": ann.id, "Bo": bo.id}


def test_only_a_manager_imports(s: Session, project: Project) -> None:
    reviewer = a_reviewer(s, project, Role.REVIEWER)
    with pytest.raises(NotAllowed, match="needs the role manager"):
        save_import(
            s,
            by=reviewer.id,
            project_id=project.id,
            table=read("email\nhi\n"),
            content=b"",
            mapping=ColumnMapping(prompt="email"),
        )


@pytest.mark.parametrize(
    ("name", "again"),
    [
        ("Rita", "rita"),
        ("RITA  Moss", "Rita Moss"),
        ("Zo\u00eb", "Zoe\u0308"),
        ("Rita", "\u200bRi\u00adta\u200f"),
        ("Stra\u00dfe", "STRASSE"),
    ],
)
def test_one_person_is_one_whatever_the_spelling_of_their_name(s: Session, name: str, again: str) -> None:
    project = a_project(s)
    first = add_member(s, project_id=project.id, name=name, role=Role.ANNOTATOR, by=None)
    assert add_member(s, project_id=project.id, name=again, role=Role.ANNOTATOR, by=None) is first
    author = a_human(s, project, name=again)
    link_authors(s, project_id=project.id)
    assert author.reviewer_id == first.id, "nobody judges their own words under another spelling"


def test_a_name_of_which_nothing_can_be_seen_is_refused(s: Session) -> None:
    with pytest.raises(Refused, match="cannot be empty"):
        add_member(s, project_id=a_project(s).id, name="\u200b \u2060", role=Role.ANNOTATOR, by=None)


def test_the_mapping_is_guessed_from_usual_names() -> None:
    guess = guess_mapping(["topic", "email", "reply_rosalind", "reply_dev", "picked", "reason"])
    assert (guess.prompt, guess.topic, guess.picked, guess.reason) == ("email", "topic", "picked", "reason")
    assert guess.responses == {"reply_rosalind": "Rosalind", "reply_dev": "Dev"}


@pytest.mark.parametrize(
    ("cell", "column"),
    [("reply_dev", "reply_dev"), ("Dev", "reply_dev"), ("both_bad", "BOTH_BAD"), ("Tie", "TIE"), ("nobody", None)],
)
def test_a_pick_can_be_said_in_several_ways(cell: str, column: str | None) -> None:
    mapping = ColumnMapping(prompt="e", responses={"reply_rosalind": "Rosalind", "reply_dev": "Dev Malhotra"})
    assert read_pick(cell, mapping) == column


def test_no_column_is_guessed_to_mean_two_things(s: Session) -> None:
    for columns in (("subject_x", "thing"), ("reply",), ("category", "reply_ann"), ("text", "body", "question")):
        guess = guess_mapping(columns)
        assert len(set(guess.columns())) == len(guess.columns())


def test_nothing_is_saved_by_looking(s: Session, project: Project) -> None:
    look: Callable[[], ImportPlan] = lambda: plan_import(  # noqa: E731
        s, project_id=project.id, table=read("email\nhello\n"), mapping=ColumnMapping(prompt="email")
    )
    assert look().new == 1
    assert count(s, Prompt) == 0


# --------------------------------------------------------------------------------------------- large and hostile files


def rows_of(count: int, text: str = "Where is parcel {n}? {words}") -> bytes:
    chance = random.Random(count)
    words = "moon river stone glass paper honey cloud tiger apple storm".split()
    lines = ["email,Ann,Bo"]
    for n in range(count):
        mail = text.format(n=n, words=" ".join(chance.choices(words, k=12)))
        lines.append(f"{mail},It is on its way {n}.,We will look {n}.")
    return "\n".join(lines).encode()


MAPPED = ColumnMapping("email", responses={"Ann": "Ann", "Bo": "Bo"})


def test_an_import_in_parts_saves_what_one_in_a_piece_does_and_holds_no_lock_between_them(database: Path) -> None:
    content = rows_of(250)
    table = read_table(content, file_name="a.csv", max_cell=LIMIT)
    with session() as s:
        project = a_project(s)
        by = a_reviewer(s, project).id
    ranked: list[int] = []

    def others_write(saved: int, total: int) -> None:
        with session() as s:
            s.add(Reviewer(name=f"Somebody {saved}"))
        ranked.append(saved)

    done, _ = run_import(
        by=by, project_id=project.id, table=table, content=content, mapping=MAPPED, on_progress=others_write
    )
    assert ranked == [100, 200, 250]
    assert (done.prompts, done.responses) == (250, 500)
    with reading() as s:
        assert s.scalar(select(func.count()).select_from(Comparison)) == 250
    again, _ = run_import(by=by, project_id=project.id, table=table, content=content, mapping=MAPPED)
    assert again.nothing_new


def test_an_import_that_is_cut_short_tells_what_it_saved_and_adds_the_rest_the_next_time(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = rows_of(250)
    table = read_table(content, file_name="a.csv", max_cell=LIMIT)
    with session() as s:
        project = a_project(s)
        by = a_reviewer(s, project).id
    full = partial(run_import, by=by, project_id=project.id, table=table, content=content, mapping=MAPPED)

    def fill_the_disk(saved: int, total: int) -> None:
        if saved == 200:
            with engine().connect() as connection:
                pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
                connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    with pytest.raises(DatabaseUnavailable, match=r"200 of 250 prompts were saved; .*disk is full"):
        full(on_progress=fill_the_disk)
    engine().dispose()
    done, _ = full()
    assert (done.prompts, done.responses) == (50, 100)


def test_two_imports_at_once_never_part_near_duplicates(database: Path) -> None:
    first, second = rows_of(150), rows_of(150, "Where is parcel {n}? {words}!")
    with session() as s:
        project = a_project(s)
        by = a_reviewer(s, project).id
    held_out = replace(MAPPED, held_out=HeldOutChoice.ALL)

    def import_the_other(saved: int, total: int) -> None:
        if saved == 100:
            table = read_table(second, file_name="b.csv", max_cell=LIMIT)
            run_import(by=by, project_id=project.id, table=table, content=second, mapping=held_out)

    table = read_table(first, file_name="a.csv", max_cell=LIMIT)
    run_import(by=by, project_id=project.id, table=table, content=first, mapping=MAPPED, on_progress=import_the_other)
    with reading() as s:
        sides: dict[str, set[bool]] = {}
        for prompt in s.scalars(select(Prompt)):
            sides.setdefault(prompt.text.removesuffix("!"), set()).add(prompt.held_out)
    assert len(sides) == 150
    assert all(len(both) == 1 for both in sides.values())


def test_planning_thousands_of_nearly_the_same_prompts_takes_little_memory() -> None:
    form = "Dear team, my order number {} has not come yet. Please tell me where it is. Thank you."
    tracemalloc.start()
    labels = cluster_labels([form.format(n) for n in range(3000)])
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(set(labels)) == 1
    assert most < 100_000_000


@pytest.mark.parametrize(
    ("content", "name", "sentence"),
    [
        (b"{}", "a.jsonl", "None has a column with a name"),
        (",".join(f"c{n}" for n in range(60_000)).encode() + b"\n1", "a.csv", "60,000 columns"),
        (b"x\n" + b"a\n" * 200_000, "a.csv", "more than 100,000 rows"),
        (b'{"x": 1}\n' * 200_000, "a.jsonl", "more than 100,000 rows"),
    ],
    ids=["no columns", "columns", "rows", "rows of JSON"],
)
def test_a_file_of_a_size_that_nobody_needs_is_refused(content: bytes, name: str, sentence: str) -> None:
    with pytest.raises(BadFile, match=sentence):
        read_table(content, file_name=name, max_cell=LIMIT)


def test_more_reply_columns_than_anybody_compares_are_refused() -> None:
    columns = [f"reply {n}" for n in range(3000)]
    with pytest.raises(BadFile, match="3,000 reply columns"):
        check_mapping(ColumnMapping("email", responses={name: name for name in columns}), ["email", *columns])
