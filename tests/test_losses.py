"""Where a candidate loses: pair after pair with everything behind it, and what changed since an earlier model."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from db.models import Assertion, AssertionResult, Claim, Evaluation, Judgment, Pairing, Responder, Role, now
from errors import NotAllowed, Refused
from eval.report.pairs import (
    AuthoredReply,
    CandidateOutcome,
    Case,
    GivenVerdict,
    LossChange,
    count_passed_checks,
    filter_cases,
    find_earlier,
    load_cases,
    loss_changes,
    may_read,
)
from stats.verdicts import Outcome, Verdict
from tests.app_pages import html, open_page, press, said
from tests.factories import Judged, a_model, a_response, a_reviewer, saved, sure


def a_case(number: int, *outcomes: Outcome, topic: str = "orders", baseline: int = 0) -> Case:
    """One pair of prompt `number`, judged by as many reviewers as outcomes."""
    mine = AuthoredReply(number, 1, "candidate", "model-1 (model 1)", "mine", (), 0)
    other = AuthoredReply(baseline or 1000 + number, 2, "baseline", "", "theirs", (), 0)
    heard = tuple(GivenVerdict(f"r{at}", one, "", None) for at, one in enumerate(outcomes))
    return Case(number, number, "Where is it?", None, topic, mine, other, heard)


@given(st.lists(st.lists(st.sampled_from(Outcome), min_size=1, max_size=4), max_size=20))
def test_losses_come_first_then_ties_then_wins_and_none_is_left_out(seen: list[list[Outcome]]) -> None:
    found = filter_cases([a_case(n, *outcomes) for n, outcomes in enumerate(seen)])
    fates = [list(CandidateOutcome).index(case.outcome) for case in found]
    assert fates == sorted(fates)
    assert {case.pairing_id for case in found} == set(range(len(seen)))


def test_with_a_reviewer_chosen_only_their_word_decides() -> None:
    case = a_case(1, Outcome.LOSS, Outcome.WIN, Outcome.WIN)
    assert case.outcome is CandidateOutcome.WON
    (theirs,) = filter_cases([case], reviewer="r0")
    assert (theirs.outcome, [one.reviewer for one in theirs.verdicts]) == (CandidateOutcome.LOST, ["r0"])
    assert filter_cases([case], reviewer="somebody") == ()
    assert filter_cases([case], topic="returns") == ()


def test_a_loss_is_fixed_broken_or_still_there() -> None:
    then = [a_case(n, one) for n, one in enumerate((Outcome.LOSS, Outcome.WIN, Outcome.LOSS, Outcome.WIN))]
    new = [a_case(n, one) for n, one in enumerate((Outcome.TIE, Outcome.LOSS, Outcome.LOSS, Outcome.WIN))]
    found = loss_changes([*new, a_case(9, Outcome.LOSS)], then)
    assert {n: kind for n, (kind, _) in found.items()} == {
        0: LossChange.FIXED,
        1: LossChange.BROKE,
        2: LossChange.STILL_LOST,
    }
    assert loss_changes([a_case(0, Outcome.WIN, baseline=77)], then) == {}, (
        "another reply of the baseline is another pair"
    )


def test_each_case_names_both_authors_and_the_checks_that_failed(s: Session) -> None:
    judged = Judged(s, prompts=4, same=1)
    first = load_cases(s, by=judged.manager.id, evaluation_id=judged.evaluation.id)[0]
    kept = saved(
        s,
        Assertion,
        project_id=judged.project.id,
        name="No sorry",
        claim=Claim.LACKS,
        value="Sorry",
        created_by_id=judged.manager.id,
    )
    for response_id, good in ((first.candidate.response_id, False), (first.baseline.response_id, True)):
        s.add(AssertionResult(assertion_id=kept.id, response_id=response_id, passed=good, detail="found “Sorry”"))
    s.flush()
    found = load_cases(s, by=judged.manager.id, evaluation_id=judged.evaluation.id)
    assert len(found) == 6, "pairs of one text were judged by nobody"
    assert found[0].candidate.failed == ("No sorry: found “Sorry”",)
    assert (found[0].baseline.failed, found[0].baseline.checked) == ((), 1)
    assert found[0].candidate.responder == judged.candidate.label
    assert judged.candidate.model_version is not None
    assert judged.candidate.model_version.name in found[0].candidate.made_by
    assert [(one.responder, one.passed, one.checked) for one in count_passed_checks(s, cases=found)] == [
        (judged.candidate.label, 0, 1),
        (first.baseline.responder, 1, 1),
    ]


def test_simulated_verdicts_are_read_apart(s: Session) -> None:
    judged = Judged(s, prompts=2, reviewers=1, simulated=2)
    for simulated, reviewers in ((False, 1), (True, 2)):
        found = load_cases(s, by=judged.manager.id, evaluation_id=judged.evaluation.id, simulated=simulated)
        assert {len(case.verdicts) for case in found} == {reviewers}
        assert all(one.reviewer.endswith("(simulated)") == simulated for case in found for one in case.verdicts)


@pytest.mark.both_databases
def test_a_reviewer_reads_authors_only_while_nothing_is_open(s: Session) -> None:
    judged = Judged(s, prompts=2)
    reviewer = judged.judges[0]
    assert load_cases(s, by=reviewer.id, evaluation_id=judged.evaluation.id)
    still = an_open_one(s, judged)
    assert not may_read(s, by=reviewer.id, project_id=judged.project.id)
    with pytest.raises(Refused, match="when no evaluation is open"):
        load_cases(s, by=reviewer.id, evaluation_id=judged.evaluation.id)
    assert load_cases(s, by=judged.manager.id, evaluation_id=judged.evaluation.id)
    with pytest.raises(Refused, match="when no evaluation is open"):
        load_cases(s, by=judged.manager.id, evaluation_id=still.id)
    stranger = a_reviewer(s, judged.project, Role.ANNOTATOR)
    with pytest.raises(NotAllowed):
        load_cases(s, by=stranger.id, evaluation_id=judged.evaluation.id)


@pytest.mark.both_databases
def test_the_earlier_evaluation_is_the_newest_of_an_earlier_model_beside_the_same_replies(s: Session) -> None:
    judged = Judged(s, prompts=4)
    assert find_earlier(s, evaluation_id=judged.evaluation.id) is None
    later = a_later_one(s, judged, Verdict.RIGHT)
    found = sure(find_earlier(s, evaluation_id=later.id))
    assert (found.evaluation, found.shared) == (judged.evaluation, 4)
    new = load_cases(s, by=judged.manager.id, evaluation_id=later.id)
    then = load_cases(s, by=judged.manager.id, evaluation_id=judged.evaluation.id)
    assert {kind for kind, _ in loss_changes(new, then).values()} <= {LossChange.BROKE, LossChange.STILL_LOST}


def test_the_page_walks_through_the_losses(s: Session) -> None:
    judged = Judged(s, prompts=6, wins=0.4)
    a_later_one(s, judged, Verdict.RIGHT)
    s.commit()
    page = open_page("evaluate_models", project_id=judged.project.id, by=judged.manager.id)
    page.toggle(key="read_pairs").set_value(True).run()
    assert not page.exception
    assert "losses fixed" in said(page)
    assert "The candidate lost" in said(page)
    assert "**1** of 6" in said(page)
    first = html(page)
    press(page, "Next")
    assert "**2** of 6" in said(page)
    assert html(page) != first
    page.selectbox(key="pairs_shown").set_value(LossChange.FIXED.value).run()
    assert "No pair is like that" in said(page)


def an_open_one(s: Session, judged: Judged, candidate: Responder | None = None) -> Evaluation:
    """Another evaluation that still takes verdicts."""
    return saved(
        s,
        Evaluation,
        project_id=judged.project.id,
        name="Open",
        candidate_id=(candidate or judged.candidate).id,
        seed=1,
        protocol_sha256="1" * 64,
        created_by_id=judged.manager.id,
    )


def a_later_one(s: Session, judged: Judged, verdict: Verdict) -> Evaluation:
    """A closed one of a newer model beside the people's replies, the candidate always left."""
    newer = a_model(s, judged.project)
    found = an_open_one(s, judged, newer)
    first = {one.prompt_id: one for one in reversed(judged.evaluation.pairings)}
    for pairing in first.values():
        mine = a_response(s, pairing.prompt, newer)
        again = saved(
            s,
            Pairing,
            evaluation_id=found.id,
            prompt_id=pairing.prompt_id,
            candidate_response_id=mine.id,
            baseline_response_id=pairing.baseline_response_id,
        )
        s.add(
            Judgment(
                pairing_id=again.id,
                reviewer_id=judged.judges[0].id,
                candidate_left=True,
                verdict=verdict,
                judged_at=now(),
            )
        )
    found.closed_at = now()
    s.flush()
    return found


def test_a_reviewer_gets_neither_pairs_nor_files_while_an_evaluation_is_open(s: Session) -> None:
    judged = Judged(s, prompts=4, wins=0.4)
    an_open_one(s, judged)
    s.commit()
    page = open_page("evaluate_models", project_id=judged.project.id, by=judged.judges[0].id)
    assert "can be had once no evaluation is open" in said(page)
    assert not page.toggle
    assert not list(page.get("download_button"))
