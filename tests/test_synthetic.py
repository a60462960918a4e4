"""Synthetic prompts: numbers stay, the same seed gives the same, nothing held out gets in, and all of them say so."""

import json
import random
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db.models import Project, Prompt, PromptSet, Reviewer, Role
from db.session import reading, session
from errors import NotAllowed, NotFound, Refused
from intake.mapping import ColumnMapping, HeldOutChoice
from intake.perturb import Perturbation, add_typos, lower_and_strip, make_polite, make_terse, perturb, shorten
from intake.plan import content_hash, plan_import
from intake.reading import read_table
from intake.routing import NewRule, add_rule
from intake.sample import FOLDER
from intake.synthetic import (
    LeftOutCause,
    Variation,
    plan_model_prompts,
    plan_variations,
    save_model_prompts,
    save_variations,
    unwrap_reply,
)
from review.assignment import next_offer
from review.browse import find_comparisons
from review.filters import Filter
from tests.app_pages import html, open_page, press
from tests.factories import a_comparison, a_human, a_model, a_project, a_prompt, a_ranking, a_response, a_reviewer, sure
from training.data import snapshot as snapshots
from training.data.rows import FILES
from ui.project_progress import project_progress

both = pytest.mark.both_databases
EMAILS = [json.loads(line)["email"] for line in (FOLDER / "train.jsonl").open()]
TEXT = st.one_of(
    st.sampled_from(EMAILS),
    st.text(max_size=200),
    st.lists(
        st.sampled_from(
            [
                *"Hello, Dear Sir or Madam, thanks! Thank you. MB-12345, £7.95 3rd? 12.5.7 Regards where it".split(),
                *("\n", "\n\n", "…", "a@b.de", "http://x.y/Z", "²", "!!"),
            ]
        ),
        max_size=30,
    ).map(" ".join),
)


def an_email(s: Session, project: Project, text: str, **fields: object) -> Prompt:
    """A prompt with its true hash."""
    return a_prompt(s, project, text, content_hash=content_hash(text, None), **fields)  # type: ignore[arg-type]


@given(TEXT, st.sampled_from(Perturbation), st.integers(0, 99))
def test_a_changed_text_keeps_every_number_and_is_neither_empty_nor_the_same(
    text: str, way: Perturbation, seed: int
) -> None:
    made = perturb(text, way, seed=str(seed), rate=0.2)
    assert made == perturb(text, way, seed=str(seed), rate=0.2)
    if made is not None:
        assert made.strip()
        assert made.split() != text.split()
        assert re.findall(r"\S*\d\S*", made) == re.findall(r"\S*\d\S*", text)


def test_most_emails_can_be_changed_in_every_way() -> None:
    for way, fewest in (
        (Perturbation.TYPOS, 200),
        (Perturbation.LOWER, 190),
        (Perturbation.POLITE, 150),
        (Perturbation.TERSE, 40),
        (Perturbation.SHORT, 150),
    ):
        assert sum(perturb(email, way, seed="0") is not None for email in EMAILS) >= fewest, way


@given(st.text("abcdefghijklmnopqrstuvwxyz ", min_size=2).filter(lambda text: re.search("[a-z]{2}", text)))
def test_there_is_always_a_typo_where_there_is_a_word(text: str) -> None:
    assert add_typos(text, random.Random(0)) != text


def test_typos_come_at_the_rate_that_was_asked_for() -> None:
    text = "where is it " * 1000
    made = add_typos(text, random.Random(1), rate=0.1)
    changed = sum(a != b for a, b in zip(made.split(), text.split(), strict=True))
    # 6 letters may be hit in every three words
    assert 0.12 < changed / 3000 < 0.22


def test_each_way_does_what_it_says() -> None:
    assert lower_and_strip("Don't! My e-book, MB-12/A: ask A.B@c.de") == "dont my e-book MB-12/A: ask A.B@c.de"
    letter = "Dear Sir or Madam,\nwhere is it? Many thanks in advance!\n\nKind regards\nJo"
    assert make_terse(letter) == "Where is it? \n\nJo"
    for text in ("Hi can you help. It is late.", "Thanks to you I am late."):
        assert make_terse(text) == text
    chance = random.Random(0)
    assert make_polite("Hello, where is it? Thanks", chance) == "Hello, where is it? Thanks"
    hello, _, asked, thanks, _, name = make_polite("Where is it?\n\nJo Bell", chance).split("\n")
    assert (hello[-1], asked, thanks[-1], name) == (",", "Where is it?", ".", "Jo Bell")
    long = "I am late today. It rains a lot. I like the rain. Order MB-1 came. So it goes. Could you call? Jo"
    assert shorten(long) == "I am late today. It rains a lot. Order MB-1 came. Could you call?"


@pytest.mark.parametrize(
    "reply",
    [
        "Where is my atlas?",
        '"Where is my atlas?"',
        " “Where is my atlas?” ",
        "Email: Where is my atlas?",
        "**Email:**\nWhere is my atlas?",
        "Sure! Here is another email like this one:\n\n“Where is my atlas?”",
        "Here's one:\nSubject: Atlas\n\nWhere is my atlas?",
        "```\nWhere is my atlas?\n```",
        "Certainly! Where is my atlas?",
    ],
)
def test_what_a_model_puts_around_a_message_is_taken_away(reply: str) -> None:
    assert unwrap_reply(reply) == "Where is my atlas?"


@given(st.text())
def test_unwrapping_twice_changes_nothing(reply: str) -> None:
    assert unwrap_reply(unwrap_reply(reply)) == unwrap_reply(reply)


def test_quotes_within_a_message_stay() -> None:
    for text in ("“Gull Tax” is lost. So is “Tern”", "'tis late, isn't it", "Here is the thing: it broke."):
        assert unwrap_reply(text) == text


@both
def test_the_database_refuses_a_synthetic_prompt_that_is_held_out(s: Session, project: Project) -> None:
    with pytest.raises(IntegrityError, match="synthetic_trains_only"), s.begin_nested():
        a_prompt(s, project, held_out=True, synthetic=True)


@both
def test_changed_prompts_are_saved_with_their_parent_and_marked(
    s: Session, project: Project, manager: Reviewer
) -> None:
    parents = [an_email(s, project, email, topic="t") for email in EMAILS[:6]]
    an_email(s, project, EMAILS[6], held_out=True)
    routed = an_email(s, project, EMAILS[7] + " My solicitor will write.")
    add_rule(s, by=manager.id, project_id=project.id, rule=NewRule("legal", pattern="solicitor"))
    variation = Variation(Perturbation.TYPOS, count=5, seed=3)
    planned = plan_variations(s, project_id=project.id, variation=variation)
    done = save_variations(s, by=manager.id, project_id=project.id, variation=variation)
    assert [one.text for one in planned.prompts] == [one.text for one in done.prompts]
    made = s.scalars(select(Prompt).where(Prompt.synthetic)).all()
    assert len(made) == 5
    for prompt in made:
        parent = s.get_one(Prompt, prompt.parent_id)
        assert parent in parents
        assert parent is not routed
        assert (prompt.cluster, prompt.topic, prompt.held_out, prompt.made_by_id) == (parent.cluster, "t", False, None)
    sets = {s.get_one(PromptSet, prompt.prompt_set_id).file_name for prompt in made}
    assert sets == {"synthetic: typos"}
    now = project_progress(s, project_id=project.id)
    assert (now.prompts, now.synthetic, now.held_out) == (8, 5, 1)
    with pytest.raises(Refused, match="5 here already"):
        save_variations(s, by=manager.id, project_id=project.id, variation=variation)
    again = save_variations(
        s, by=manager.id, project_id=project.id, variation=Variation(Perturbation.TYPOS, count=50, seed=4)
    )
    assert len(again.prompts) == 6, "what was made is not changed again"


@both
def test_a_models_replies_become_prompts_unless_they_repeat_what_is_here(
    s: Session, project: Project, manager: Reviewer
) -> None:
    model = a_model(s, project)
    parents = [an_email(s, project, email) for email in EMAILS[:9]]
    held_out = an_email(s, project, EMAILS[20], held_out=True)
    new = "Good evening, my atlas of the northern seas came without its cover and the index is missing."
    replies = [
        f"Sure! Here is one:\n\n“{new}”",
        new + "!",
        EMAILS[5],
        EMAILS[6] + " Please.",
        EMAILS[20] + " Please.",
        "No.",
        "word " * 5000,
        new.replace("atlas", "globe") + " <|im_end|> and more",
    ]
    for parent, reply in zip(parents, replies, strict=False):
        a_response(s, parent, model, reply)
    a_response(s, parents[8], model, "My globe has lost its stand, who could mend it", finish_reason="length")
    a_response(s, held_out, model, "My subscription to the chess monthly should end in March, please see to it.")
    planned = plan_model_prompts(s, project_id=project.id, responder_id=model.id)
    assert [one.text for one in planned.prompts] == [new]
    assert planned.left_out == {
        LeftOutCause.HELD_OUT: 2,
        LeftOutCause.THERE: 1,
        LeftOutCause.NEAR: 2,
        LeftOutCause.SHORT: 1,
        LeftOutCause.LONG: 1,
        LeftOutCause.CUT: 1,
        LeftOutCause.MARK: 1,
    }
    done = save_model_prompts(s, by=manager.id, project_id=project.id, responder_id=model.id)
    assert "1 synthetic prompts. Left out: 2 nearly a held-out prompt" in done.sentence
    made = s.scalars(select(Prompt).where(Prompt.synthetic)).one()
    assert (made.parent_id, made.made_by_id, made.cluster) == (parents[0].id, model.id, parents[0].cluster)
    assert s.get_one(PromptSet, made.prompt_set_id).file_name == f"synthetic: by {model.label}"
    with pytest.raises(Refused, match="Nothing new"):
        save_model_prompts(s, by=manager.id, project_id=project.id, responder_id=model.id)


@both
def test_a_change_that_comes_near_a_held_out_prompt_is_refused(s: Session, project: Project, manager: Reviewer) -> None:
    text = "where is my atlas of the northern seas and who has the missing index of its second part"
    an_email(s, project, text.title() + "!!! Hm, hm, hm.", cluster="one")
    an_email(s, project, text + " hm hm", held_out=True, cluster="two")
    with pytest.raises(Refused, match="1 nearly a held-out prompt"):
        save_variations(s, by=manager.id, project_id=project.id, variation=Variation(Perturbation.LOWER, count=1))


@both
def test_synthetic_prompts_are_routed_like_others(s: Session, project: Project, manager: Reviewer) -> None:
    an_email(s, project, "Where is my atlas? My number is 12, and I wait.")
    add_rule(s, by=manager.id, project_id=project.id, rule=NewRule("thanks", pattern="thank|grateful"))
    done = save_variations(s, by=manager.id, project_id=project.id, variation=Variation(Perturbation.POLITE, count=1))
    assert done.routed == 1
    assert "1 go to people" in done.sentence


def test_a_file_can_hold_no_prompt_out_that_nearly_repeats_a_synthetic_one(
    s: Session, project: Project, manager: Reviewer
) -> None:
    an_email(s, project, EMAILS[0])
    save_variations(s, by=manager.id, project_id=project.id, variation=Variation(Perturbation.LOWER, count=1))
    made = s.scalars(select(Prompt).where(Prompt.synthetic)).one()
    content = json.dumps({"email": made.text + " please"}).encode()
    table = read_table(content, file_name="f.jsonl", max_cell=9999)
    mapping = ColumnMapping(prompt="email", held_out=HeldOutChoice.ALL)
    plan = plan_import(s, project_id=project.id, table=table, mapping=mapping)
    assert [planned.prompt.held_out for planned in plan.prompts] == [False]


def test_only_managers_make_prompts_and_only_of_models(s: Session, project: Project, manager: Reviewer) -> None:
    an_email(s, project, EMAILS[0])
    ann = a_reviewer(s, project, Role.ANNOTATOR)
    with pytest.raises(NotAllowed):
        save_variations(s, by=ann.id, project_id=project.id, variation=Variation(Perturbation.LOWER, count=1))
    with pytest.raises(NotAllowed):
        save_model_prompts(s, by=ann.id, project_id=project.id, responder_id=a_model(s, project).id)
    with pytest.raises(Refused, match="is a person"):
        save_model_prompts(s, by=manager.id, project_id=project.id, responder_id=a_human(s, project).id)
    with pytest.raises(NotFound):
        save_model_prompts(s, by=manager.id, project_id=project.id, responder_id=a_model(s, a_project(s)).id)
    for variation, sentence in (
        (Variation(Perturbation.LOWER, count=0), "Choose 1 to 2,000"),
        (Variation(Perturbation.TYPOS, count=1, rate=0.5), "between 0 and 0.3"),
    ):
        with pytest.raises(Refused, match=sentence):
            plan_variations(s, project_id=project.id, variation=variation)
    with pytest.raises(Refused, match="no training prompts"):
        plan_variations(s, project_id=a_project(s).id, variation=Variation(Perturbation.LOWER, count=1))


@both
def test_whoever_ranks_or_looks_is_told_and_a_snapshot_says_so(s: Session, project: Project, manager: Reviewer) -> None:
    ann = a_reviewer(s, project, Role.ANNOTATOR)
    for number in range(12):
        prompt = a_prompt(s, project, synthetic=number < 3)
        pair = [a_response(s, prompt, a_human(s, project)) for _ in range(2)]
        a_ranking(s, a_comparison(s, *pair), manager, *pair)
    told = sure(next_offer(s, project_id=project.id, reviewer_id=ann.id))
    assert told.synthetic == s.get_one(Prompt, told.prompt_id).synthetic
    rows = find_comparisons(s, by=manager.id, project_id=project.id, only=Filter()).rows
    assert sum(row.comparison.prompt.synthetic for row in rows) == 3
    assert snapshots.preview_snapshot(s, project_id=project.id).synthetic_count == 3
    folder = snapshots.snapshot_folder(snapshots.freeze(s, by=manager.id, project_id=project.id))
    lines = [json.loads(line) for name in FILES.values() for line in (folder / name).open()]
    assert sum(line["synthetic"] for line in lines) == 3
    assert json.loads((folder / "manifest.json").read_text())["synthetic"] == 3


def test_a_manager_makes_more_on_the_import_page(database: Path) -> None:
    with session() as s:
        project = a_project(s)
        by = a_reviewer(s, project)
        model = a_model(s, project)
        parents = [an_email(s, project, email) for email in EMAILS[:3]]
        a_response(s, parents[0], model, "My globe has lost its stand, and nobody near us mends them. " * 3)
    page = open_page("import_prompts", project_id=project.id, by=by.id)
    page.button_group(key="more_how").set_value("change").run()
    assert any("Would add 3 synthetic prompts" in part.value for part in page.markdown)
    page.selectbox(key="more_way").set_value(Perturbation.LOWER).run()
    assert "<del>" in html(page)
    press(page, "Add them")
    assert [part.value for part in page.success] == ["Added 3 synthetic prompts."]
    page.button_group(key="more_how").set_value("take").run()
    press(page, "Add them")
    assert [part.value for part in page.success] == ["Added 1 synthetic prompts."]
    with reading() as s:
        assert project_progress(s, project_id=project.id).synthetic == 4
    overview = open_page("overview", project_id=project.id, by=by.id)
    assert any("4 synthetic" in part.value for part in overview.caption)


@pytest.mark.parametrize("synthetic", [True, False])
def test_a_synthetic_prompt_says_so_on_the_screens_where_people_work(database: Path, synthetic: bool) -> None:
    with session() as s:
        project = a_project(s)
        by = a_reviewer(s, project)
        prompt = a_prompt(s, project, synthetic=synthetic)
        person = a_human(s, project)
        a_comparison(s, a_response(s, prompt, person), a_response(s, prompt, a_model(s, project)))
    compare = open_page("compare_responses", project_id=project.id, by=by.id)
    assert ("synthetic prompt" in html(compare)) is synthetic
    correct = open_page("correct_replies", project_id=project.id, by=by.id)
    correct.button_group(key="correct_part").set_value("unanswered").run()
    assert not correct.exception
    assert ("synthetic prompt" in html(correct)) is synthetic
