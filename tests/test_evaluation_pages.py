"""The pages Evaluate and Judge blind as managers and reviewers use them, without a browser."""

import pytest
from sqlalchemy import select
from streamlit.testing.v1 import AppTest

from db.models import Evaluation, Guess, Judgment, Peek, Response, Reviewer, Role
from db.session import reading, session
from eval.evaluations import create_evaluation
from eval.judging import judge, list_reason_labels, next_view
from eval.protocol import Plan, Protocol, Stopping, protocol_of
from stats.verdicts import Verdict
from tests.app_pages import html, open_page, press, said, sent
from tests.factories import a_human, a_model, a_project, a_prompt, a_response, a_reviewer, sure

HERE: dict[str, int] = {}


@pytest.fixture(autouse=True)
def _project(database: object) -> None:
    with session() as s:
        project = a_project(s)
        manager, judge_ = a_reviewer(s, project), a_reviewer(s, project, Role.REVIEWER)
        model = a_model(s, project, name="Zebra Nine")
        people = [a_human(s, project, name=name) for name in ("Rosalind", "Dev")]
        for _ in range(8):
            prompt = a_prompt(s, project, held_out=True)
            for who in (model, *people):
                a_response(s, prompt, who)
        HERE.update(project=project.id, manager=manager.id, judge=judge_.id, model=model.id, human=people[0].id)


def opened(name: str, who: str = "manager") -> AppTest:
    return open_page(name, project_id=HERE["project"], by=HERE[who])


def box(page: AppTest, label: str) -> object:
    every = [*page.text_input, *page.number_input, *page.slider, *page.multiselect, *page.selectbox, *page.checkbox]
    return next(one for one in [*every, *page.radio] if one.label == label)


def fill(page: AppTest, label: str, value: object) -> None:
    box(page, label).set_value(value).run()  # type: ignore[attr-defined]
    assert not page.exception


def bars(page: AppTest) -> str:
    """The words on progress bars."""
    return "\n".join(one.proto.text for one in page.get("progress")).replace("\\", "")


def made(plan: Plan) -> int:
    with session() as s:
        return create_evaluation(
            s,
            by=HERE["manager"],
            project_id=HERE["project"],
            name="Secret name",
            candidate_id=HERE["model"],
            baseline_ids=[HERE["human"]],
            seed=1,
            plan=plan,
        ).id


def judge_all(evaluation: int) -> None:
    with session() as s:
        while view := next_view(s, by=HERE["judge"], evaluation_id=evaluation):
            left = s.get_one(Judgment, view.judgment_id).candidate_left
            verdict = Verdict.LEFT if left else Verdict.RIGHT
            judge(s, by=HERE["judge"], judgment_id=view.judgment_id, verdict=verdict)


def only_protocol() -> Protocol:
    with reading() as s:
        found = protocol_of(s.scalars(select(Evaluation).order_by(Evaluation.id.desc())).first() or Evaluation())
    assert found is not None
    return found


def test_the_form_says_live_whether_it_is_enough_and_fixes_what_it_showed() -> None:
    page = opened("evaluate_models")
    assert "77 decided verdicts needed to find 2 to 1, this gives about 7" in said(page)
    assert "find a larger difference or hold out more prompts" in said(page)
    fill(page, "Smallest difference that matters, to 1", 9.0)
    assert "decided verdicts needed to find 9 to 1" in said(page)
    fill(page, "Judged by one person more, %", 25)
    fill(page, "It ends", Stopping.ANYTIME)
    press(page, "Fix it and open the judging")
    assert "needs a name" in said(page)
    fill(page, "Name", "First")
    press(page, "Fix it and open the judging")
    fixed = only_protocol()
    assert (fixed.plan.odds, fixed.plan.overlap, fixed.plan.stopping) == (9.0, 0.25, Stopping.ANYTIME)
    assert (fixed.planned, len(fixed.pairings)) == (10, 8)
    told = said(page)
    assert "Open: 0 of 10 verdicts by people" in bars(page)
    assert "10: 1 a pair, one more on 2 of them" in told


def test_odds_that_cannot_be_planned_are_told_where_they_are_typed() -> None:
    page = opened("evaluate_models")
    fill(page, "Smallest difference that matters, to 1", 1.0)
    assert "Give more than 1" in said(page)
    assert not [one for one in page.button if one.label == "Fix it and open the judging"]


def test_replies_that_tell_are_shown_marked_and_decided_on() -> None:
    with session() as s:
        reply = sure(s.scalars(select(Response).where(Response.responder_id == HERE["model"])).first())
        reply.text = "<b>Hello</b>, I am Zebra Nine."
    page = opened("evaluate_models")
    assert "&lt;b&gt;Hello&lt;/b&gt;, I am <mark>Zebra Nine</mark>." in html(page)
    fill(page, "Name", "First")
    press(page, "Fix it and open the judging")
    assert "1 reply tells who wrote it (a responder's name)" in said(page)
    next(one for one in page.button_group if one.label == "What becomes of them").set_value("Leave all out").run()
    press(page, "Fix it and open the judging")
    fixed = only_protocol()
    assert (len(fixed.left_out), len(fixed.pairings)) == (1, 7)
    assert "pairs left out: 1; replies kept on purpose: 0" in said(page)


def test_another_like_it_starts_with_the_same_values() -> None:
    made(Plan(judgments=2, overlap=0.5, odds=3.0, tie_rate=0.2, stopping=Stopping.ANYTIME, ask_machine=True))
    page = opened("evaluate_models")
    press(page, "Set up another like this one")
    values = {one.label: one.value for one in [*page.number_input, *page.slider, *page.checkbox, *page.radio]}
    assert values["Judgments for each pair"] == 2
    assert values["Judged by one person more, %"] == 50
    assert values["Smallest difference that matters, to 1"] == 3.0
    assert values["Ties expected, %"] == 20
    assert values["It ends"] is Stopping.ANYTIME
    assert values["Ask reviewers after each verdict which side was the machine"]
    assert [one.id for one in box(page, "Against").value] == [HERE["human"]]  # type: ignore[attr-defined]
    fill(page, "Name", "Second")
    press(page, "Fix it and open the judging")
    assert only_protocol().plan.odds == 3.0


def test_a_fixed_evaluation_is_closed_early_only_with_a_reason_and_shows_nothing_before() -> None:
    evaluation = made(Plan(overlap=0.25))
    judge_all(evaluation)
    page = opened("evaluate_models")
    assert "Open: 8 of 10 verdicts by people" in bars(page)
    assert not [one for one in page.button if "how it stands" in one.label]
    assert "to 1 of the" not in bars(page)
    press(page, "Close it and read the result")
    assert "2 of 10 planned verdicts are missing" in said(page)
    fill(page, "Why it ends before what was planned", "Only one of us is here.")
    press(page, "Close it and read the result")
    with reading() as s:
        assert s.get_one(Evaluation, evaluation).closed_early == "Only one of us is here."


def test_a_manager_who_looks_sees_the_evidence_and_has_no_pair_to_judge_any_more() -> None:
    evaluation = made(Plan(stopping=Stopping.ANYTIME))
    judge_all(evaluation)
    page = opened("evaluate_models")
    assert "e-value" not in said(page).lower()
    press(page, "Look at how it stands and judge in it no more")
    assert "Not enough yet: the evidence is" in bars(page)
    assert "however often one looks" in said(page)
    assert "not yours to judge any more" in said(opened("judge_blind"))
    with reading() as s:
        assert s.scalars(select(Peek.reviewer_id)).all() == [HERE["manager"]]


def test_a_reviewer_is_offered_no_look_and_no_name() -> None:
    made(Plan(stopping=Stopping.ANYTIME))
    page = opened("evaluate_models", "judge")
    assert [one.label for one in page.button] == []
    for secret in ("Zebra", "Rosalind", "Secret name"):
        assert secret not in sent(page)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every press counts and there is no pause after it, which needs a browser to be drawn again."""
    monkeypatch.setattr("ui.pairs.TOO_SOON", 0.0)
    monkeypatch.setattr("ui.pairs.PAUSE", -1.0)


@pytest.mark.usefixtures("quick")
def test_after_the_verdict_which_side_was_the_machine_is_asked_then_comes_the_next_pair() -> None:
    evaluation = made(Plan(ask_machine=True))
    page = opened("judge_blind", "judge")
    assert not [one for one in page.button if "machine" in one.label]
    for secret in ("Zebra", "Rosalind", "Secret name"):
        assert secret not in sent(page)
    press(page, "Left is better")
    assert {one.label for one in page.button} >= {"Left was the machine", "Cannot tell", "Right was the machine"}
    assert "Left is better" not in {one.label for one in page.button}
    with reading() as s:
        assert len(s.scalars(select(Judgment)).all()) == 1, "the next pair is not drawn before the answer"
    press(page, "Right was the machine")
    assert "Left is better" in {one.label for one in page.button}
    with reading() as s:
        (first, second) = s.scalars(select(Judgment).order_by(Judgment.id)).all()
        assert (first.verdict, first.guess, second.verdict) == (Verdict.LEFT, Guess.RIGHT, None)
        assert s.get_one(Evaluation, evaluation).closed_at is None


@pytest.mark.usefixtures("quick")
def test_a_verdict_may_be_explained_afterwards() -> None:
    made(Plan())
    page = opened("judge_blind", "judge")
    press(page, "Right is better")
    label = "Your last choice: right is better. Why? (optional, Enter saves)"
    fill(page, label, "It answers the question.")
    next(one for one in page.button_group if one.label == "The better one is").set_value(["Clear"]).run()
    assert not page.exception
    with reading() as s:
        judgment = s.scalars(select(Judgment).where(Judgment.verdict.is_not(None))).one()
        assert (judgment.comment, list_reason_labels(s, judgment_id=judgment.id)) == (
            "It answers the question.",
            ["Clear"],
        )
        assert s.get_one(Reviewer, judgment.reviewer_id).id == HERE["judge"]
