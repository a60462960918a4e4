"""A project's text rules: what reaches whoever judges, who may change them and when, and what a rule would change."""

import dataclasses

import pytest
from sqlalchemy import event, select
from sqlalchemy.orm import Session

import texts.rules
from db.models import AuditRecord, Comparison, HiddenPart, Project, Response, Reviewer, Role, TextRule
from db.session import engine, session
from errors import AlreadyThere, NotAllowed, NotFound, Refused
from eval.evaluations import close_evaluation
from eval.judging import judge, next_view
from review.adjudication import list_conflicts
from review.assignment import load_offer
from review.flags import flag_comparison, list_open_flags
from review.queue import claim
from review.rankings import rank
from review.reveals import open_comparison, reveal_comparison
from review.writing import write_reply
from stats.verdicts import Verdict
from tests.app_pages import open_page, sent
from tests.contests import an_evaluation
from tests.factories import a_comparison, a_human, a_model, a_project, a_prompt, a_response, a_reviewer, sure
from texts.rules import add_rule, end_rule, list_rules, load_text_filter, preview_rule
from texts.shown import GreetingName, Pattern, TicketNumber
from training.data.feedback import load_rankings
from training.data.preferences import derive

both_databases = pytest.mark.both_databases
SECRET = "AB-20443"
SIGNED = f"Dear Ann,\r\n**Your parcel** left.  Ticket #{SECRET} is closed.\n\nKind regards,\nRosalind"
PLAIN = "Dear reader, it is on its way."


@pytest.fixture
def project(s: Session) -> Project:
    return a_project(s)


@pytest.fixture
def manager(s: Session, project: Project) -> Reviewer:
    return a_reviewer(s, project)


@pytest.fixture
def pair(s: Session, project: Project) -> Comparison:
    prompt = a_prompt(s, project)
    return a_comparison(
        s,
        a_response(s, prompt, a_human(s, project, name="Rosalind Achterberg"), text=SIGNED),
        a_response(s, prompt, a_model(s, project), text=PLAIN),
    )


def hide_numbers(s: Session, project: Project, by: Reviewer) -> TextRule:
    return add_rule(s, by=by.id, project_id=project.id, part=HiddenPart.TICKET_NUMBER)


@both_databases
def test_every_text_that_people_judge_by_is_shown_alike_and_the_original_is_kept(
    s: Session, project: Project, manager: Reviewer, pair: Comparison
) -> None:
    hide_numbers(s, project, manager)
    add_rule(s, by=manager.id, project_id=project.id, part=HiddenPart.GREETING_NAME)
    ann = a_reviewer(s, project, Role.ANNOTATOR)
    bo = a_reviewer(s, project, Role.ANNOTATOR)
    texts = {"Dear,\nYour parcel left. Ticket is closed.", "Dear, it is on its way."}
    claimed = sure(claim(s, project_id=project.id, reviewer_id=ann.id))
    assert {reply.text for reply in claimed.replies} == texts
    sealed = open_comparison(s, by=manager.id, comparison_id=pair.id)
    assert {one.text for one in sealed.responses} == texts
    for person, better in ((ann, pair.responses[0]), (bo, pair.responses[1])):
        seen = load_offer(s, comparison_id=pair.id, reviewer_id=person.id)
        verdict = Verdict.LEFT if seen.replies[0].response_id == better.id else Verdict.RIGHT
        rank(s, by=person.id, comparison_id=pair.id, order=verdict.order)
    flag_comparison(s, by=ann.id, comparison_id=pair.id, note="Look.")
    waiting = list_conflicts(s, by=manager.id, project_id=project.id, decided=False)
    assert SECRET not in repr(waiting + list(list_open_flags(s, by=manager.id, project_id=project.id)))
    assert waiting
    signed = pair.responses[0]
    assert signed.text == SIGNED
    reveal_comparison(s, by=manager.id, comparison_id=pair.id)
    told = open_comparison(s, by=manager.id, comparison_id=pair.id).responses[0]
    assert (told.text, told.shown) == (SIGNED, "Dear,\nYour parcel left. Ticket is closed.")


def test_what_is_learned_from_is_the_original(
    s: Session, project: Project, manager: Reviewer, pair: Comparison
) -> None:
    hide_numbers(s, project, manager)
    rank(s, by=manager.id, comparison_id=pair.id, order=Verdict.LEFT.order)
    (row,) = derive(load_rankings(s, project_id=project.id), []).rows
    assert {row.chosen.text, row.rejected.text} == {SIGNED, PLAIN}


def test_cards_are_shown_alike_too(s: Session, project: Project, manager: Reviewer) -> None:
    hide_numbers(s, project, manager)
    prompt = a_prompt(s, project)
    three = a_comparison(s, *(a_response(s, prompt, a_human(s, project), text=f"{n} {SIGNED}") for n in range(3)))
    assert SECRET not in repr(load_offer(s, comparison_id=three.id, reviewer_id=manager.id))


def test_names_and_rules_cost_two_queries_however_many_texts(
    s: Session, project: Project, manager: Reviewer, pair: Comparison
) -> None:
    hide_numbers(s, project, manager)
    said: list[str] = []
    event.listen(engine(), "before_cursor_execute", lambda *about: said.append(about[2]))
    shown = load_text_filter(s, project_id=project.id)
    assert shown(SIGNED) != shown(PLAIN)
    assert len(said) == 2
    said.clear()
    load_offer(s, comparison_id=pair.id, reviewer_id=manager.id, shown=shown)
    assert not [one for one in said if "text_rule" in one]


@both_databases
def test_a_blind_judge_sees_no_ticket_number_and_what_becomes_the_same_is_nobodys_to_judge(
    s: Session, project: Project, manager: Reviewer
) -> None:
    hide_numbers(s, project, manager)
    human, model = a_human(s, project, name="Rosalind Achterberg"), a_model(s, project)
    for ours, theirs in ((SIGNED, PLAIN), ("It left, order #12345.\n\nBest,\nRosalind", "It left, order #777.")):
        prompt = a_prompt(s, project, held_out=True)
        a_response(s, prompt, human, text=ours)
        a_response(s, prompt, model, text=theirs)
    evaluation = an_evaluation(s, manager, model, human)
    assert sorted(pairing.identical for pairing in evaluation.pairings) == [False, True]
    view = sure(next_view(s, by=manager.id, evaluation_id=evaluation.id))
    assert not [word for word in (SECRET, "Rosalind", "**", "\r") if word in repr(dataclasses.asdict(view))]
    judge(s, by=manager.id, judgment_id=view.judgment_id, verdict=Verdict.TIE)
    assert next_view(s, by=manager.id, evaluation_id=evaluation.id) is None


@both_databases
def test_no_rule_changes_while_an_evaluation_is_open(s: Session, project: Project, manager: Reviewer) -> None:
    standing = hide_numbers(s, project, manager)
    human, model = a_human(s, project), a_model(s, project)
    prompt = a_prompt(s, project, held_out=True)
    for who in (human, model):
        a_response(s, prompt, who)
    evaluation = an_evaluation(s, manager, model, human)
    with pytest.raises(Refused, match="“First” is open"):
        add_rule(s, by=manager.id, project_id=project.id, part=HiddenPart.GREETING_NAME)
    with pytest.raises(Refused, match="“First” is open"):
        end_rule(s, by=manager.id, rule_id=standing.id)
    view = sure(next_view(s, by=manager.id, evaluation_id=evaluation.id))
    judge(s, by=manager.id, judgment_id=view.judgment_id, verdict=Verdict.TIE)
    close_evaluation(s, by=manager.id, evaluation_id=evaluation.id)
    end_rule(s, by=manager.id, rule_id=standing.id)
    assert list_rules(s, project_id=project.id) == []


@both_databases
def test_rules_are_the_managers_and_leave_a_trail(s: Session, project: Project, manager: Reviewer) -> None:
    ann = a_reviewer(s, project, Role.ANNOTATOR)
    standing = hide_numbers(s, project, manager)
    for attempt in (
        lambda: hide_numbers(s, project, ann),
        lambda: end_rule(s, by=ann.id, rule_id=standing.id),
        lambda: preview_rule(s, by=ann.id, project_id=project.id, new=GreetingName()),
    ):
        with pytest.raises(NotAllowed):
            attempt()
    with pytest.raises(AlreadyThere, match="such a rule already"):
        hide_numbers(s, project, manager)
    end_rule(s, by=manager.id, rule_id=standing.id)
    with pytest.raises(Refused, match="ended already"):
        end_rule(s, by=manager.id, rule_id=standing.id)
    with pytest.raises(NotFound):
        end_rule(s, by=manager.id, rule_id=10**6)
    hide_numbers(s, project, manager)
    trail = s.scalars(select(AuditRecord).where(AuditRecord.table == "text_rule").order_by(AuditRecord.id)).all()
    assert [(one.before is None, one.reviewer_id, one.project_id) for one in trail] == [
        (True, manager.id, project.id),
        (False, manager.id, project.id),
        (True, manager.id, project.id),
    ]


@pytest.mark.parametrize(
    ("pattern", "replacement", "sentence"),
    [
        ("", "", "cannot be empty"),
        ("(", "", "cannot be used: missing"),
        (r"(a+)+$", "", "takes too long"),
        ("x*", "", "finds places where there is nothing"),
        ("left", "has left", "finds its own replacement"),
        ("left", "**gone**", "plain words"),
        ("left", "two\nlines", "plain words"),
        ("left", "x" * 41, "at most 40"),
    ],
)
def test_a_bad_rule_is_refused_with_the_reason(
    s: Session, project: Project, manager: Reviewer, pair: Comparison, pattern: str, replacement: str, sentence: str
) -> None:
    with pytest.raises(Refused, match=sentence):
        add_rule(
            s, by=manager.id, project_id=project.id, part=HiddenPart.PATTERN, pattern=pattern, replacement=replacement
        )
    assert list_rules(s, project_id=project.id) == []


def test_there_are_not_more_rules_than_anybody_can_look_over(
    s: Session, project: Project, manager: Reviewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(texts.rules, "MOST_RULES", 1)
    hide_numbers(s, project, manager)
    with pytest.raises(Refused, match="1 rules already"):
        add_rule(s, by=manager.id, project_id=project.id, part=HiddenPart.GREETING_NAME)


@both_databases
def test_a_preview_counts_by_responder_shows_before_and_after_and_says_when_the_mark_would_tell(
    s: Session, project: Project, manager: Reviewer, pair: Comparison
) -> None:
    a_response(s, a_prompt(s, project), pair.responses[1].responder, text="Another one.")
    found = preview_rule(s, by=manager.id, project_id=project.id, new=TicketNumber("[number]"))
    counted = {one.responder: (one.changed, one.texts) for one in found.effects}
    assert counted == {"Rosalind Achterberg": (1, 1), pair.responses[1].responder.label: (0, 2)}
    assert (found.changed, len(found.examples)) == (1, 1)
    assert "Ticket [number] is closed." in found.examples[0].after
    assert SECRET in found.examples[0].before
    assert "100% of Rosalind Achterberg's" in (found.leak_warning("[number]") or "")
    assert found.leak_warning("") is None
    hide_numbers(s, project, manager)
    again = preview_rule(s, by=manager.id, project_id=project.id, new=TicketNumber())
    assert again.changed == 1, "what a standing rule changes is seen beside the others"
    assert preview_rule(s, by=manager.id, project_id=project.id, new=Pattern("nowhere")).changed == 0


def test_replies_that_look_nearly_the_same_once_shown_are_not_offered(
    s: Session, project: Project, manager: Reviewer
) -> None:
    hide_numbers(s, project, manager)
    said = " ".join(f"word{n}" for n in range(20))
    prompt = a_prompt(s, project)
    first = a_response(s, prompt, a_human(s, project), text=f"{said} ticket #1 #2 #3 order #4444 #55555")
    written = write_reply(s, by=manager.id, prompt_id=prompt.id, text=f"{said} ticket order")
    made = s.scalars(select(Comparison)).one()
    assert {one.id for one in made.responses} == {first.id, written.id}
    assert made.near_identical


@pytest.fixture
def shop(database: object) -> tuple[int, int]:
    """A manager and a project with a pair to rank and a pairing to judge."""
    with session() as s:
        project = a_project(s)
        manager = a_reviewer(s, project, *Role)
        human = a_human(s, project, name="Rosalind Achterberg")
        model = a_model(s, project)
        for held_out in (False, True):
            prompt = a_prompt(s, project, held_out=held_out)
            some = [a_response(s, prompt, human, text=SIGNED), a_response(s, prompt, model, text=PLAIN)]
            if not held_out:
                a_comparison(s, *some)
        hide_numbers(s, project, manager)
        an_evaluation(s, manager, model, human)
        return manager.id, project.id


@pytest.mark.parametrize("page", ["compare_responses", "judge_blind"])
def test_a_ticket_number_in_the_raw_text_does_not_reach_the_page(shop: tuple[int, int], page: str) -> None:
    with session() as s:
        assert SECRET in "".join(s.scalars(select(Response.text)))
    at = open_page(page, project_id=shop[1], by=shop[0])
    assert "Your parcel left." in sent(at)
    assert SECRET not in sent(at)
    assert "Kind regards" not in sent(at)


def test_the_page_shows_what_a_rule_would_change_adds_it_and_ends_it(database: object) -> None:
    with session() as s:
        project = a_project(s)
        manager = a_reviewer(s, project)
        prompt = a_prompt(s, project)
        human, model = a_human(s, project, name="Rosalind"), a_model(s, project, name="Model")
        a_comparison(s, a_response(s, prompt, human, text=SIGNED), a_response(s, prompt, model, text=PLAIN))
        project_id, manager_id = project.id, manager.id
    at = open_page("tidy_texts", project_id=project_id, by=manager_id)
    assert "No ranked pair tells yet" in sent(at)
    at.selectbox[0].select(HiddenPart.PATTERN).run()
    at.text_input[0].input("(").run()
    assert "This pattern cannot be used" in at.error[0].value
    at.text_input[0].input(r"#\S+\d").run()
    assert f"Ticket <del>#{SECRET} </del>is closed" in sent(at)
    assert "<td>1 of 1</td>" in sent(at)
    at.text_input[1].input("[gone]").run()
    assert "the mark tells them apart" in at.warning[0].value
    at.button(key="tidy_add").click().run()
    assert not at.exception
    with session() as s:
        (stored,) = list_rules(s, project_id=project_id)
        assert (stored.pattern, stored.replacement) == (r"#\S+\d", "[gone]")
    assert "becomes “[gone]”" in sent(at)
    assert at.selectbox[0].value is None
    at.button(key=f"end_{stored.id}").click().run()
    with session() as s:
        assert list_rules(s, project_id=project_id) == []


def test_the_page_keeps_the_rules_while_an_evaluation_is_open(shop: tuple[int, int]) -> None:
    at = open_page("tidy_texts", project_id=shop[1], by=shop[0])
    assert "“First” is open" in at.info[0].value
    assert [one.disabled for one in at.button if one.label == "End it"] == [True]


def test_the_record_shows_the_original_and_what_reviewers_saw(shop: tuple[int, int]) -> None:
    manager_id, _ = shop
    with session() as s:
        pair = s.scalars(select(Comparison)).one()
        reveal_comparison(s, by=manager_id, comparison_id=pair.id)
        told = open_comparison(s, by=manager_id, comparison_id=pair.id)
    assert [one.shown != one.text for one in told.responses] == [True, False]
