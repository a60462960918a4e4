"""The audit trail: every change with old and new value, written by itself, altered by nobody; and who may see what."""

import re
from pathlib import Path

import pytest
from sqlalchemy import delete, select, text, update
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session

from db.models import AuditRecord, Comparison, Judgment, Project, RepeatJudgment, Role
from db.people import edit_project, remove_role
from db.session import session
from errors import NotAllowed, NotFound, Refused
from eval.judging import judge, next_view, undo_last
from release.versions import retire, set_licence, unretire
from review.assignment import next_offer
from review.corrections import save_correction
from review.queue import claim, set_queue
from review.rankings import give_reason, rank, strengthen_ranking, undo_ranking
from review.reasons import set_reasons
from review.reveals import list_project_changes, open_comparison, reveal_comparison
from stats.verdicts import Verdict
from tests.app_pages import open_page
from tests.contests import an_evaluation
from tests.factories import a_comparison, a_human, a_model, a_pair, a_project, a_prompt, a_response, a_reviewer, sure

pytestmark = pytest.mark.both_databases


def changes(s: Session, table: str) -> list[tuple[dict[str, object] | None, dict[str, object] | None, int | None]]:
    rows = s.scalars(select(AuditRecord).where(AuditRecord.table == table).order_by(AuditRecord.id))
    return [(row.before, row.after, row.reviewer_id) for row in rows]


@pytest.fixture
def pair(s: Session) -> Comparison:
    project = a_project(s)
    prompt = a_prompt(s, project)
    return a_comparison(s, a_response(s, prompt, a_human(s, project)), a_response(s, prompt, a_human(s, project)))


def test_every_change_to_a_ranking_is_kept_with_old_and_new_value(s: Session, pair: Comparison) -> None:
    ann = a_reviewer(s, s.get_one(Project, pair.project_id), Role.ANNOTATOR)
    ranking = rank(s, by=ann.id, comparison_id=pair.id, order=Verdict.LEFT.order)
    give_reason(s, by=ann.id, ranking_id=ranking.id, reason="kinder")
    strengthen_ranking(s, by=ann.id, ranking_id=ranking.id)
    set_reasons(s, by=ann.id, ranking_id=ranking.id, praise=["Warm"], faults=[])
    set_reasons(s, by=ann.id, ranking_id=ranking.id, praise=[], faults=["Tone"])
    undo_ranking(s, by=ann.id, ranking_id=ranking.id)
    added, reason, strength, undone = changes(s, "ranking")
    assert added[0] is None
    assert added[1] is not None
    assert (added[1]["comparison_id"], added[1]["sampling_reason"], added[2]) == (pair.id, "RANDOM", ann.id)
    assert reason == ({"reason": None}, {"reason": "kinder"}, ann.id)
    assert strength == ({"strength": 1}, {"strength": 2}, ann.id)
    assert undone[0] == {"undone_at": None}
    chips = changes(s, "ranking_reason")
    assert [(before and before["label"], after and after["label"]) for before, after, _ in chips] == [
        (None, "Warm"),
        (None, "Tone"),
        ("Warm", None),
    ]
    assert {
        row.comparison_id
        for row in s.scalars(select(AuditRecord).where(AuditRecord.table.in_(["ranking", "ranking_reason"])))
    } == {pair.id}


def test_settings_roles_guidelines_corrections_and_verdicts_leave_a_trail_too(s: Session, pair: Comparison) -> None:
    project = s.get_one(Project, pair.project_id)
    manager = a_reviewer(s, project)
    other = a_reviewer(s, project, Role.MANAGER, Role.ANNOTATOR)
    set_queue(s, by=manager.id, project_id=project.id, people=2, share=0.5)
    edit_project(s, by=manager.id, project_id=project.id, task="Answer", instructions="", guideline="Be kind.")
    remove_role(s, by=manager.id, project_id=project.id, reviewer_id=other.id, role=Role.ANNOTATOR)
    save_correction(s, by=manager.id, response_id=pair.responses[0].id, text="Another text.")
    queue, edited = changes(s, "project")[-2:]
    assert queue[:2] == ({"people_wanted": None, "overlap_share": 1.0}, {"people_wanted": 2, "overlap_share": 0.5})
    assert edited[1] is not None
    assert edited[1]["task"] == "Answer"
    assert changes(s, "guideline")[0][2] == manager.id
    before, after, by = changes(s, "membership")[-1]
    assert before is not None
    assert (before["role"], after, by) == ("ANNOTATOR", None, manager.id)
    assert s.scalars(select(AuditRecord.response_id).where(AuditRecord.table == "correction")).all() == [
        pair.responses[0].id
    ]

    held_out = a_prompt(s, project, held_out=True)
    human, model = a_human(s, project), a_model(s, project)
    for responder in (human, model):
        a_response(s, held_out, responder)
    evaluation = an_evaluation(s, manager, model, human)
    view = sure(next_view(s, by=manager.id, evaluation_id=evaluation.id))
    judge(s, by=manager.id, judgment_id=view.judgment_id, verdict=Verdict.TIE)
    undo_last(s, by=manager.id, evaluation_id=evaluation.id)
    taken_back = changes(s, "judgment")[-1]
    assert taken_back[0] is not None
    assert taken_back[1] is not None
    assert (taken_back[0]["verdict"], taken_back[1]["verdict"]) == ("TIE", None)
    assert s.scalars(select(Judgment)).one().verdict is None
    s.add(RepeatJudgment(judgment_id=view.judgment_id, candidate_left=True))
    s.flush()
    assert changes(s, "repeat_judgment")
    tables = {entry.change.table for entry in list_project_changes(s, by=manager.id, project_id=project.id)}
    assert tables >= {"project", "guideline", "membership", "evaluation"}
    assert not {table for table in tables if "judgment" in table}, "who judged which side how is told to nobody"


def test_retiring_a_model_and_its_licence_leave_a_trail_in_every_project(s: Session, pair: Comparison) -> None:
    project, other = s.get_one(Project, pair.project_id), a_project(s)
    manager, elsewhere = a_reviewer(s, project), a_reviewer(s, other)
    a_model(s, project, name="Base")
    version = sure(a_model(s, project, name="Tone").model_version)
    assert changes(s, "model_version") == [], "the program makes models, from what is kept elsewhere"
    set_licence(s, by=manager.id, project_id=project.id, model_version_id=version.id, licence="apache-2.0")
    retire(s, by=manager.id, project_id=project.id, model_version_id=version.id)
    unretire(s, by=elsewhere.id, project_id=other.id, model_version_id=version.id)
    licence, retired, back = changes(s, "model_version")
    assert licence == ({"licence": None}, {"licence": "apache-2.0"}, manager.id)
    assert retired[0] == {"retired_at": None}
    assert retired[1] is not None
    assert (back[0], back[1], back[2]) == (retired[1], {"retired_at": None}, elsewhere.id)
    for by, here in ((manager, project), (elsewhere, other)):
        told = list_project_changes(s, by=by.id, project_id=here.id)
        assert [entry.name for entry in told if entry.change.table == "model_version"] == [version.name] * 3


def test_the_page_find_tells_of_a_model_by_its_name_and_in_words(database: Path) -> None:
    with session() as s:
        project = a_project(s)
        manager = a_reviewer(s, project)
        a_model(s, project, name="Base")
        version = sure(a_model(s, project, name="Tone").model_version)
        name = version.name
        a_pair(s, project)
        retire(s, by=manager.id, project_id=project.id, model_version_id=version.id)
        project_id, by = project.id, manager.id
    page = open_page("find_comparisons", project_id=project_id, by=by)
    (table,) = [one.proto.body for one in page.get("html") if f"<td>model {name}</td>" in one.proto.body]
    assert "<td>retired: –</td>" in table
    assert table.index(f"<td>model {name}</td>") < table.index("<td>project "), "the newest comes first"
    assert re.search(r"<td>retired: \d\d \w{3} 20\d\d \d\d:\d\d UTC</td>", table)


@pytest.mark.parametrize(
    "attempt", [update(AuditRecord).values(table="x"), delete(AuditRecord)], ids=["change", "delete"]
)
def test_the_database_itself_refuses_to_alter_the_trail(s: Session, pair: Comparison, attempt: object) -> None:
    manager = a_reviewer(s, s.get_one(Project, pair.project_id))
    rank(s, by=manager.id, comparison_id=pair.id, order=Verdict.TIE.order)
    with pytest.raises(DatabaseError, match="only ever added to"), s.begin_nested():
        s.execute(attempt)  # type: ignore[call-overload]
    assert s.scalar(text("SELECT count(*) FROM audit_record")) > 0


def test_nobody_sees_what_others_said_before_ranking_or_giving_that_up(s: Session, pair: Comparison) -> None:
    project = s.get_one(Project, pair.project_id)
    manager, other = a_reviewer(s, project), a_reviewer(s, project)
    ann = a_reviewer(s, project, Role.ANNOTATOR)
    rank(s, by=ann.id, comparison_id=pair.id, order=Verdict.LEFT.order, reason="kinder")
    sealed = open_comparison(s, by=manager.id, comparison_id=pair.id)
    assert sealed.sealed
    assert not [*sealed.rankings, *sealed.history, *sealed.corrections]
    assert {one.responder for one in sealed.responses} == {""}
    reveal_comparison(s, by=manager.id, comparison_id=pair.id)
    seen = open_comparison(s, by=manager.id, comparison_id=pair.id)
    assert [(one.reviewer.label, one.reason) for one in seen.rankings] == [(ann.label, "kinder")]
    assert {"ranking", "reveal"} <= {entry.change.table for entry in seen.history}
    assert next_offer(s, project_id=project.id, reviewer_id=manager.id) is None
    with pytest.raises(Refused, match="seen what others said"):
        rank(s, by=manager.id, comparison_id=pair.id, order=Verdict.TIE.order)
    rank(s, by=other.id, comparison_id=pair.id, order=Verdict.TIE.order)
    assert len(open_comparison(s, by=other.id, comparison_id=pair.id).rankings) == 2, (
        "who has ranked may look at no price"
    )
    for action in (reveal_comparison, open_comparison):
        with pytest.raises(NotAllowed):
            action(s, by=ann.id, comparison_id=pair.id)
        with pytest.raises(NotFound):
            action(s, by=manager.id, comparison_id=999)


def test_a_comparison_deleted_meanwhile_is_told_and_its_trail_stays(s: Session, pair: Comparison) -> None:
    project = s.get_one(Project, pair.project_id)
    ann = a_reviewer(s, project, Role.ANNOTATOR)
    assert claim(s, project_id=project.id, reviewer_id=ann.id) is not None
    gone = pair.id
    for table in ("lease", "comparison_response"):
        s.execute(text(f"DELETE FROM {table} WHERE comparison_id = {gone}"))
    s.expire_all()
    s.delete(s.get_one(Comparison, gone))
    s.flush()
    with pytest.raises(NotFound, match="not in the database any more"):
        rank(s, by=ann.id, comparison_id=gone, order=Verdict.LEFT.order)
    assert claim(s, project_id=project.id, reviewer_id=ann.id) is None
    assert changes(s, "comparison")[-1][1] is None


@pytest.mark.usefixtures("database")
def test_what_was_opened_can_be_read_when_the_session_is_closed() -> None:
    with session() as s:
        project = a_project(s)
        manager_id, prompt = a_reviewer(s, project).id, a_prompt(s, project)
        replies = [a_response(s, prompt, a_human(s, project)) for _ in range(2)]
        comparison_id, asked = a_comparison(s, *replies).id, prompt.text
    with session() as s:
        sealed = open_comparison(s, by=manager_id, comparison_id=comparison_id)
        reveal_comparison(s, by=manager_id, comparison_id=comparison_id)
    with session() as s:
        seen = open_comparison(s, by=manager_id, comparison_id=comparison_id)
    assert sealed.comparison.prompt.text == seen.comparison.prompt.text == asked
    assert [entry.change.table for entry in seen.history] == ["reveal"]
