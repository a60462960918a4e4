"""Prompts for people only: rules find them, models leave them alone, and nothing that is said of them trains one."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import AuditRecord, Project, Prompt, Reviewer, Role, RoutingRule, Scope
from db.session import reading, session
from errors import NotAllowed, NotFound, Refused
from eval.contestants import count_routed_held_out, list_readiness
from generation.plan import find_missing, start_generation
from intake.mapping import ColumnMapping, HeldOutChoice
from intake.prompts import save_import
from intake.reading import read_table
from intake.routing import (
    MAX_TIMEOUTS,
    NewRule,
    add_rule,
    apply_classifiers,
    common_answers,
    compile_pattern,
    count_by_rule,
    end_rule,
    match_rule,
    matches_answer,
    matches_pattern,
    preview_routing,
    routed_prompts,
)
from review.corrections import save_correction
from review.writing import count_unanswered, next_unanswered, write_reply
from tests.app_pages import open_page, press, said
from tests.contests import an_evaluation
from tests.factories import a_comparison, a_human, a_model, a_project, a_prompt, a_ranking, a_response, a_reviewer, sure
from training.data.snapshot import preview_snapshot as snapshot_preview
from training.data.terms import LeftOutReason
from ui.project_progress import project_progress

both = pytest.mark.both_databases
LEGAL = NewRule(reason=" legal  threats ", pattern="solicitor|small claims")


def rule_of(s: Session, prompt: Prompt) -> int | None:
    s.refresh(prompt)
    return prompt.routing_rule_id


def test_a_pattern_is_found_in_text_and_context_whatever_the_case() -> None:
    pattern = compile_pattern(r"solicitor|order \d+")
    assert matches_pattern(pattern, "My SOLICITOR will write.")
    assert matches_pattern(pattern, "Where is it?", "Order 12, sent on Monday")
    assert not matches_pattern(pattern, "Where is it?", "Sent on Monday")
    assert not matches_pattern(pattern, "Where is it?")


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [
        ("(never closed", "no regular expression"),
        ("[z-a]", "no regular expression"),
        ("  ", "needs a pattern"),
        (".*", "even in an empty text"),
        ("a" * 501, "at most 500"),
    ],
)
def test_a_pattern_that_cannot_be_used_is_refused_with_a_sentence(pattern: str, sentence: str) -> None:
    with pytest.raises(Refused, match=sentence):
        compile_pattern(pattern)


def test_a_pattern_that_would_take_for_ever_ends_after_a_moment() -> None:
    began = time.process_time()
    assert matches_pattern(compile_pattern("(a|a|aa)+$"), "a" * 60 + "b") is None
    assert time.process_time() - began < 5


@given(st.text(max_size=50), st.text(max_size=50))
def test_any_text_is_either_a_pattern_or_refused(pattern: str, text: str) -> None:
    try:
        found = compile_pattern(pattern)
    except Refused:
        return
    assert matches_pattern(found, text) in (True, False, None)


@pytest.mark.parametrize(
    "reply",
    [
        "people",
        " People.\n"[:-2],
        "PEOPLE\n",
        '{"route": "People"}',
        '```json\n{"who": " people ", "why": 3}\n```',
        '"people"',
    ],
)
def test_a_classifiers_answer_counts_alone_or_as_a_value_in_json(reply: str) -> None:
    assert matches_answer(reply, " people ")


@pytest.mark.parametrize("reply", ["", "the people", '{"people": "no"}', "[1", "{" * 5000, "null"])
def test_anything_else_is_another_answer(reply: str) -> None:
    assert not matches_answer(reply, "people")


@given(st.text())
def test_whatever_a_classifier_says_is_read(reply: str) -> None:
    assert matches_answer(reply, "people") in (True, False)
    assert matches_answer(json.dumps({"answer": reply}), reply)


@both
def test_a_rule_is_tried_out_before_it_is_saved_and_routes_what_it_said(
    s: Session, project: Project, manager: Reviewer
) -> None:
    wanted = [a_prompt(s, project, "My solicitor will write."), a_prompt(s, project, "Small Claims!", held_out=True)]
    other = a_prompt(s, project, "Where is my atlas?")
    elsewhere = a_prompt(s, a_project(s), "My solicitor will write.")
    found = preview_routing(s, by=manager.id, project_id=project.id, rule=LEGAL)
    assert found.sentence == "Would route 2 of 3 prompts to people, 1 of them held out."
    assert list(found.first) == [prompt.text for prompt in wanted]
    assert not s.scalars(select(RoutingRule)).all()
    rule, count = add_rule(s, by=manager.id, project_id=project.id, rule=LEGAL)
    assert (rule.reason, count) == ("legal threats", 2)
    assert [rule_of(s, prompt) for prompt in (*wanted, other, elsewhere)] == [rule.id, rule.id, None, None]
    again = preview_routing(s, by=manager.id, project_id=project.id, rule=NewRule(reason="", pattern="solicitor|atlas"))
    assert (again.matches, again.already) == (1, 1)
    kept = s.scalars(select(AuditRecord).where(AuditRecord.table == "routing_rule")).one()
    assert (kept.reviewer_id, kept.project_id) == (manager.id, project.id)


@both
def test_ending_a_rule_gives_its_prompts_back_unless_another_finds_them(
    s: Session, project: Project, manager: Reviewer
) -> None:
    one, two = a_prompt(s, project, "My solicitor, and the press!"), a_prompt(s, project, "My solicitor will write.")
    first, _ = add_rule(s, by=manager.id, project_id=project.id, rule=LEGAL)
    second, count = add_rule(s, by=manager.id, project_id=project.id, rule=NewRule("press", pattern="press"))
    assert count == 0, "each prompt is counted once"
    done = end_rule(s, by=manager.id, rule_id=first.id)
    assert (done.freed, done.still_routed) == (1, 1)
    assert [rule_of(s, one), rule_of(s, two)] == [second.id, None]
    with pytest.raises(NotFound, match="ended already"):
        end_rule(s, by=manager.id, rule_id=first.id)
    counts = count_by_rule(s, project_id=project.id)
    assert [(c.rule.id, c.prompts, c.held_out, c.answered) for c in counts] == [(second.id, 1, 0, 0)]
    add_rule(s, by=manager.id, project_id=project.id, rule=LEGAL)


@both
def test_a_classifiers_first_answer_decides_as_it_comes(s: Session, project: Project, manager: Reviewer) -> None:
    classifier = a_model(s, project)
    prompts = [a_prompt(s, project) for _ in range(4)]
    a_response(s, prompts[0], classifier, '{"route": "PEOPLE"}')
    a_response(s, prompts[1], classifier, "model")
    a_response(s, prompts[1], classifier, "people", sample=1)
    new = NewRule(reason="hard", classifier_id=classifier.id, answer=" people")
    found = preview_routing(s, by=manager.id, project_id=project.id, rule=new)
    assert (found.matches, found.unanswered) == (1, 2)
    assert common_answers(s, by=manager.id, classifier_id=classifier.id)[0][1] == 1
    rule, count = add_rule(s, by=manager.id, project_id=project.id, rule=new)
    assert count == 1
    a_response(s, prompts[2], classifier, "people")
    assert apply_classifiers(s, project_id=project.id) == 1
    assert apply_classifiers(s, project_id=project.id) == 0
    assert [rule_of(s, prompt) for prompt in prompts] == [rule.id, None, rule.id, None]
    assert count_by_rule(s, project_id=project.id)[0].classifier == classifier.label


def test_a_rule_that_cannot_be_is_refused(s: Session, project: Project, manager: Reviewer) -> None:
    person, stranger = a_human(s, project), a_model(s, a_project(s))
    model = a_model(s, project)
    a_prompt(s, project, "a" * 60 + "b")
    for rule, sentence in (
        (NewRule(" ", pattern="x"), "needs a reason"),
        (NewRule("x" * 81, pattern="x"), "at most 80"),
        (NewRule("r"), "either a pattern or a classifier"),
        (NewRule("r", pattern="x", classifier_id=model.id, answer="y"), "either a pattern or a classifier"),
        (NewRule("r", classifier_id=person.id, answer="people"), "is a person"),
        (NewRule("r", classifier_id=model.id, answer=" "), "what the classifier answers"),
        (NewRule("r", pattern="(a|a|aa)+$"), "takes too long"),
    ):
        with pytest.raises(Refused, match=sentence):
            add_rule(s, by=manager.id, project_id=project.id, rule=rule)
    with pytest.raises(NotFound):
        add_rule(s, by=manager.id, project_id=project.id, rule=NewRule("r", classifier_id=stranger.id, answer="p"))
    add_rule(s, by=manager.id, project_id=project.id, rule=LEGAL)
    with pytest.raises(Refused, match="stands already"):
        add_rule(s, by=manager.id, project_id=project.id, rule=LEGAL)
    assert len(s.scalars(select(RoutingRule)).all()) == 1


def test_only_managers_route(s: Session, project: Project, manager: Reviewer) -> None:
    ann = a_reviewer(s, project, Role.ANNOTATOR, Role.REVIEWER)
    rule, _ = add_rule(s, by=manager.id, project_id=project.id, rule=LEGAL)
    with pytest.raises(NotAllowed):
        preview_routing(s, by=ann.id, project_id=project.id, rule=LEGAL)
    with pytest.raises(NotAllowed):
        add_rule(s, by=ann.id, project_id=project.id, rule=LEGAL)
    with pytest.raises(NotAllowed):
        end_rule(s, by=ann.id, rule_id=rule.id)
    with pytest.raises(NotAllowed):
        routed_prompts(s, by=ann.id, project_id=project.id, page=1, size=5)


def test_where_a_standing_pattern_takes_too_long_people_answer(s: Session, project: Project, manager: Reviewer) -> None:
    rule, _ = add_rule(s, by=manager.id, project_id=project.id, rule=NewRule("slow", pattern="(a|a|aa)+$"))
    slow = [a_prompt(s, project, "a" * 60 + f"b{n}").id for n in range(2)]
    plain = a_prompt(s, project, "Where is it?").id
    began = time.process_time()
    assert match_rule(s, rule=rule) == slow
    assert plain not in slow
    assert time.process_time() - began < MAX_TIMEOUTS


@both
def test_new_prompts_are_routed_as_they_are_imported(s: Session, project: Project, manager: Reviewer) -> None:
    add_rule(s, by=manager.id, project_id=project.id, rule=LEGAL)
    content = b"email\nMy solicitor will write.\nWhere is my atlas?\n"
    done, _ = save_import(
        s,
        by=manager.id,
        project_id=project.id,
        table=read_table(content, file_name="f.csv", max_cell=999),
        content=content,
        mapping=ColumnMapping(prompt="email", held_out=HeldOutChoice.ALL),
    )
    assert (done.prompts, done.routed) == (2, 1)
    assert count_routed_held_out(s, project_id=project.id) == 1


@both
def test_models_leave_routed_prompts_out_and_a_classifier_sees_all(
    s: Session, project: Project, manager: Reviewer
) -> None:
    routed, free = a_prompt(s, project, "My solicitor will write."), a_prompt(s, project)
    held_out = a_prompt(s, project, "Small claims it is.", held_out=True)
    model, classifier = a_model(s, project), a_model(s, project)
    add_rule(s, by=manager.id, project_id=project.id, rule=LEGAL)
    rule, _ = add_rule(s, by=manager.id, project_id=project.id, rule=NewRule("r", None, classifier.id, "people"))

    def asked(responder_id: int) -> list[int]:
        found = find_missing(s, responder_id=responder_id, scope=Scope.ALL, samples=1, prompt_limit=None)
        return [one.prompt_id for one in found]

    assert asked(model.id) == [free.id]
    assert asked(classifier.id) == [routed.id, free.id, held_out.id]
    assert start_generation(s, by=manager.id, responder_id=model.id, scope=Scope.ALL, samples=2).total == 2
    end_rule(s, by=manager.id, rule_id=rule.id)
    assert asked(classifier.id) == [free.id], "a rule that ended needs no answers"


@both
def test_a_candidate_that_answered_all_held_out_prompts_but_the_routed_ones_is_complete(
    s: Session, project: Project, manager: Reviewer
) -> None:
    free = [a_prompt(s, project, held_out=True) for _ in range(2)]
    routed = a_prompt(s, project, "My solicitor will write.", held_out=True)
    person, model = a_human(s, project), a_model(s, project)
    for prompt in (*free, routed):
        a_response(s, prompt, person)
    for prompt in free:
        a_response(s, prompt, model)

    def evaluate(name: str) -> list[int]:
        made = an_evaluation(s, manager, model, person, name=name)
        return sorted(pairing.prompt_id for pairing in made.pairings)

    with pytest.raises(Refused, match="answered 2 of 3"):
        evaluate("too early")
    add_rule(s, by=manager.id, project_id=project.id, rule=LEGAL)
    assert {
        (one.responder.id, one.answered, one.held_out, one.complete) for one in list_readiness(s, project_id=project.id)
    } == {(person.id, 2, 2, True), (model.id, 2, 2, True)}
    assert evaluate("now") == [prompt.id for prompt in free]
    add_rule(s, by=manager.id, project_id=project.id, rule=NewRule("all", pattern="parcel"))
    with pytest.raises(Refused, match="no held-out prompts that models answer"):
        evaluate("nothing left")


@both
def test_feedback_on_routed_prompts_trains_nothing_and_is_counted(
    s: Session, project: Project, manager: Reviewer
) -> None:
    routed, free = a_prompt(s, project, "My solicitor will write."), a_prompt(s, project)
    for prompt in (routed, free):
        pair = [a_response(s, prompt, a_human(s, project)) for _ in range(2)]
        a_ranking(s, a_comparison(s, *pair), manager, *pair)
        save_correction(s, by=manager.id, response_id=pair[0].id, text="What should have been sent.")
    assert len(snapshot_preview(s, project_id=project.id).rows) == 4
    rule, _ = add_rule(s, by=manager.id, project_id=project.id, rule=LEGAL)
    found = snapshot_preview(s, project_id=project.id)
    assert {row.prompt.id for row in found.rows} == {free.id}
    assert found.left_out == {LeftOutReason.ROUTED: 2}
    assert "Route" in LeftOutReason.ROUTED.words
    end_rule(s, by=manager.id, rule_id=rule.id)
    assert len(snapshot_preview(s, project_id=project.id).rows) == 4


@both
def test_whoever_writes_replies_is_given_routed_prompts_first_with_the_reason(
    s: Session, project: Project, manager: Reviewer
) -> None:
    free = a_prompt(s, project)
    made_up, waiting = a_prompt(s, project, "My solicitor!"), a_prompt(s, project, "Small claims!")
    for _ in range(2):
        a_response(s, made_up, a_human(s, project, simulated=True))
    add_rule(s, by=manager.id, project_id=project.id, rule=LEGAL)
    ann = a_reviewer(s, project, Role.ANNOTATOR)
    given: list[tuple[int, str | None]] = []
    listed = routed_prompts(s, by=manager.id, project_id=project.id, page=1, size=1)
    assert [(one.text, one.reason, one.answered) for one in listed] == [("My solicitor!", "legal threats", False)]
    assert count_unanswered(s, project_id=project.id, reviewer_id=ann.id) == 3
    while (found := next_unanswered(s, by=ann.id, project_id=project.id)) is not None:
        given.append((found.prompt.id, found.routed))
        write_reply(s, by=ann.id, prompt_id=found.prompt.id, text=f"Reply {len(given)}.")
    assert given == [(made_up.id, "legal threats"), (waiting.id, "legal threats"), (free.id, None)]
    now = project_progress(s, project_id=project.id)
    assert (now.routed, now.routed_answered) == (2, 2)
    assert all(one.answered for one in routed_prompts(s, by=manager.id, project_id=project.id, page=1, size=9))
    bob = a_reviewer(s, project, Role.ANNOTATOR)
    again = sure(next_unanswered(s, by=bob.id, project_id=project.id))
    assert (again.prompt.id, again.routed) == (free.id, None), "one person's reply is enough to be no more urgent"


def test_a_manager_tries_a_rule_out_saves_it_and_ends_it_on_the_page(database: Path) -> None:
    with session() as s:
        project = a_project(s)
        by = a_reviewer(s, project)
        a_prompt(s, project, "My solicitor will write.")
        a_prompt(s, project)
    page = open_page("route_prompts", project_id=project.id, by=by.id)
    page.text_input(key="route_pattern_0").set_value("(oops").run()
    assert "no regular expression" in said(page)
    page.text_input(key="route_pattern_0").set_value("solicitor").run()
    assert "Would route 1 of 2 prompts" in said(page)
    page.text_input(key="route_reason_0").set_value("<b>legal</b>").run()
    press(page, "Save the rule")
    assert "It routes 1 prompts" in said(page)
    assert "&lt;b&gt;legal" in said(page)
    assert "not yet" in said(page)
    progress = open_page("review_progress", project_id=project.id, by=by.id)
    assert "Routed to people" in [head.value for head in progress.subheader]
    overview = open_page("overview", project_id=project.id, by=by.id)
    assert "Routed to people: 1 prompts" in said(overview)
    open_page("correct_replies", project_id=project.id, by=by.id)
    open_page("evaluate_models", project_id=project.id, by=by.id)
    press(page, "End it")
    assert "Models may answer 1 prompts again" in said(page)


def test_a_classifier_rule_is_made_on_the_page(database: Path) -> None:
    with session() as s:
        project = a_project(s)
        by = a_reviewer(s, project)
        classifier = a_model(s, project)
        a_response(s, a_prompt(s, project), classifier, "people")
    page = open_page("route_prompts", project_id=project.id, by=by.id)
    page.button_group(key="route_kind_0").set_value("classifier").run()
    assert "people (1)" in said(page)
    page.text_input(key="route_reason_0").set_value("hard").run()
    page.text_input(key="route_answer_0").set_value("people").run()
    press(page, "Save the rule")
    with reading() as s:
        assert count_by_rule(s, project_id=project.id)[0].prompts == 1
