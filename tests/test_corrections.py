"""Correcting: a queue of what nobody would send, drafts, chains, and replies written from an empty box."""

import time
from dataclasses import replace

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from db.comparisons import nearly_same
from db.models import (
    AuditRecord,
    Comparison,
    ComparisonState,
    Correction,
    Draft,
    Project,
    Responder,
    ResponderKind,
    Response,
    Role,
)
from db.people import RANKERS
from errors import NotAllowed, NotFound, Refused
from review.assignment import next_offer
from review.corrections import (
    count_rejected,
    find_superseded,
    list_corrections,
    next_rejected,
    save_correction,
    withdraw_correction,
)
from review.drafts import DraftPlace, load_draft, save_draft
from review.rankings import rank, undo_ranking
from review.reveals import list_project_changes, reveal_comparison
from review.writing import count_unanswered, next_unanswered, write_reply
from stats.verdicts import Verdict
from tests.factories import a_comparison, a_human, a_project, a_prompt, a_response, a_reviewer, sure
from texts.diff import count_changed_words, word_diff
from texts.typed import clean_text
from training.data.feedback import load_corrections as given_corrections
from training.data.preferences import derive
from training.data.terms import LeftOutReason

pytestmark = pytest.mark.both_databases
LONG = "Thank you for your letter. Your parcel left our warehouse on Monday and should be with you by Friday at noon."


class Desk:
    """A project with some pairs, a manager and two annotators."""

    def __init__(self, s: Session, pairs: int = 2) -> None:
        self.s = s
        self.project = a_project(s)
        self.manager = a_reviewer(s, self.project)
        self.ann, self.bo = (a_reviewer(s, self.project, Role.ANNOTATOR, name=name) for name in ("Ann", "Bo"))
        self.pairs: list[Comparison] = []
        writers = a_human(s, self.project), a_human(s, self.project)
        for _ in range(pairs):
            prompt = a_prompt(s, self.project)
            self.pairs.append(a_comparison(s, *(a_response(s, prompt, one) for one in writers)))

    def next_for(self, who: int, *later: int) -> int | None:
        found = next_rejected(self.s, by=who, project_id=self.project.id, later=later)
        return found.comparison_id if found else None


def test_both_bad_lands_in_the_queue_and_a_correction_of_either_reply_takes_it_out(s: Session) -> None:
    desk = Desk(s)
    assert desk.next_for(desk.ann.id) is None
    for pair in desk.pairs:
        rank(s, by=desk.manager.id, comparison_id=pair.id, order=Verdict.BOTH_BAD.order)
    first, second = (pair.id for pair in desk.pairs)
    assert desk.next_for(desk.ann.id) == first
    assert (desk.next_for(desk.ann.id, first), desk.next_for(desk.ann.id, first, second)) == (second, first)
    mine = save_correction(s, by=desk.ann.id, response_id=desk.pairs[0].responses[1].id, text="Tomorrow, by noon.")
    assert desk.next_for(desk.ann.id) == second
    withdraw_correction(s, by=desk.ann.id, correction_id=mine.id)
    assert count_rejected(s, project_id=desk.project.id) == 2


def test_an_undone_or_simulated_both_bad_asks_nobody_for_a_correction(s: Session) -> None:
    desk = Desk(s)
    ranking = rank(s, by=desk.ann.id, comparison_id=desk.pairs[0].id, order=Verdict.BOTH_BAD.order)
    rule = a_reviewer(s, desk.project, simulated=True)
    rank(s, by=rule.id, comparison_id=desk.pairs[1].id, order=Verdict.BOTH_BAD.order)
    assert count_rejected(s, project_id=desk.project.id) == 1
    undo_ranking(s, by=desk.ann.id, ranking_id=ranking.id)
    assert count_rejected(s, project_id=desk.project.id) == 0


def test_what_one_ranked_oneself_comes_first_and_the_others_are_not_ones_to_rank_any_more(s: Session) -> None:
    desk = Desk(s)
    first, second = desk.pairs
    rank(s, by=desk.bo.id, comparison_id=first.id, order=Verdict.BOTH_BAD.order)
    rank(s, by=desk.ann.id, comparison_id=second.id, order=Verdict.BOTH_BAD.order)
    assert desk.next_for(desk.ann.id) == second.id
    reveal_comparison(s, by=desk.ann.id, comparison_id=second.id, roles=RANKERS)
    reveal_comparison(s, by=desk.ann.id, comparison_id=first.id, roles=RANKERS)
    with pytest.raises(Refused, match="seen what others said"):
        rank(s, by=desk.ann.id, comparison_id=first.id, order=Verdict.LEFT.order)
    assert next_offer(s, project_id=desk.project.id, reviewer_id=desk.ann.id) is None


def test_a_correction_of_a_correction_keeps_the_chain_and_the_newest_is_learned_from(s: Session) -> None:
    desk = Desk(s, pairs=1)
    reply = desk.pairs[0].responses[0]
    first = save_correction(s, by=desk.ann.id, response_id=reply.id, text="Tomorow.")
    second = save_correction(s, by=desk.bo.id, response_id=reply.id, text="Tomorrow.", parent_id=first.id)
    (listed,) = list_corrections(s, by=desk.manager.id, project_id=desk.project.id)
    assert list(listed.sealed_by) == [desk.pairs[0].id], "the manager may still rank the pair"
    reveal_comparison(s, by=desk.manager.id, comparison_id=desk.pairs[0].id)
    (listed,) = list_corrections(s, by=desk.manager.id, project_id=desk.project.id)
    assert list(listed.sealed_by) == []
    assert (listed.correction.id, [name for name, _ in listed.chain], listed.correction.text) == (
        second.id,
        ["Ann", "Bo"],
        "Tomorrow.",
    )
    found = derive([], given_corrections(s, project_id=desk.project.id))
    assert [row.chosen.text for row in found.rows] == ["Tomorrow."]
    assert found.left_out == {LeftOutReason.REVISED: 1}
    withdraw_correction(s, by=desk.bo.id, correction_id=second.id)
    found = derive([], given_corrections(s, project_id=desk.project.id))
    assert [row.chosen.text for row in found.rows] == ["Tomorow."]


def test_a_chain_starts_only_from_what_somebody_else_said_of_this_reply_and_still_says(s: Session) -> None:
    desk = Desk(s)
    reply, other = desk.pairs[0].responses
    first = save_correction(s, by=desk.ann.id, response_id=reply.id, text="Tomorow.")
    with pytest.raises(Refused, match="is yours"):
        save_correction(s, by=desk.ann.id, response_id=reply.id, text="Tomorrow.", parent_id=first.id)
    with pytest.raises(NotFound, match="started from"):
        save_correction(s, by=desk.bo.id, response_id=other.id, text="Tomorrow.", parent_id=first.id)
    with pytest.raises(Refused, match="Nothing was changed"):
        save_correction(s, by=desk.bo.id, response_id=reply.id, text=" Tomorow. ", parent_id=first.id)
    withdraw_correction(s, by=desk.ann.id, correction_id=first.id)
    with pytest.raises(NotFound, match="started from"):
        save_correction(s, by=desk.bo.id, response_id=reply.id, text="Tomorrow.", parent_id=first.id)


def test_a_draft_survives_until_its_text_is_saved_and_is_nobody_elses(s: Session) -> None:
    desk = Desk(s, pairs=1)
    reply = desk.pairs[0].responses[0]
    here = DraftPlace(reviewer_id=desk.ann.id, prompt_id=reply.prompt_id, response_id=reply.id)
    for text in ("We a", "We are s"):
        save_draft(s, place=here, text=text)
    save_draft(s, place=replace(here, response_id=None), text="Dear")
    assert load_draft(s, place=here) == "We are s"
    assert load_draft(s, place=replace(here, reviewer_id=desk.bo.id)) is None
    assert s.scalars(select(Correction)).all() == []
    save_correction(s, by=desk.ann.id, response_id=reply.id, text="We are sorry.")
    assert load_draft(s, place=here) is None
    assert s.scalars(select(Draft.text)).all() == ["Dear"]
    reviewer = a_reviewer(s, desk.project, Role.REVIEWER)
    with pytest.raises(NotAllowed):
        save_draft(s, place=replace(here, reviewer_id=reviewer.id), text="x")


def test_a_second_person_writes_alternatives_and_pairs_to_rank_appear(s: Session, project: Project) -> None:
    ann = a_reviewer(s, project, Role.ANNOTATOR, name="Ann")
    team = a_human(s, project, name="Service team")
    prompts = [a_prompt(s, project) for _ in range(3)]
    for prompt in prompts[:2]:
        a_response(s, prompt, team, text="It comes on Friday.")
    held_out = a_prompt(s, project, held_out=True)
    a_response(s, held_out, team, text="On Friday, madam.")
    assert count_unanswered(s, project_id=project.id, reviewer_id=ann.id) == 3
    found = sure(next_unanswered(s, by=ann.id, project_id=project.id))
    assert (found.prompt.id, [text for _, text in found.replies]) == (prompts[0].id, ["It comes on Friday."])
    write_reply(s, by=ann.id, prompt_id=prompts[0].id, text=" Friday at noon. ")
    write_reply(s, by=ann.id, prompt_id=prompts[2].id, text="I do not know.")
    (mine,) = s.scalars(select(Responder).where(Responder.reviewer_id == ann.id))
    assert (mine.name, mine.kind) == ("Ann", ResponderKind.HUMAN)
    assert s.scalars(select(Response.text).where(Response.responder_id == mine.id)).all() == [
        "Friday at noon.",
        "I do not know.",
    ]
    (pair,) = s.scalars(select(Comparison))
    assert pair.prompt_id == prompts[0].id
    assert next_offer(s, project_id=project.id, reviewer_id=ann.id) is None, "nobody ranks what they wrote"
    other = a_reviewer(s, project, Role.ANNOTATOR)
    assert next_offer(s, project_id=project.id, reviewer_id=other.id) is not None
    blind = sure(next_unanswered(s, by=ann.id, project_id=project.id, held_out=True))
    assert list(blind.replies) == [], "what is judged blind is not shown"
    write_reply(s, by=ann.id, prompt_id=held_out.id, text="It comes on Friday at noon.")
    assert len(s.scalars(select(Comparison)).all()) == 1, "held-out prompts are never ranked"


@pytest.mark.parametrize(
    ("text", "told"),
    [("  ", "empty reply"), ("It  comes on Friday.", "exactly this"), ("Yes<|im_end|>", "end of a turn")],
)
def test_a_reply_that_helps_nobody_is_refused_with_the_reason(s: Session, text: str, told: str) -> None:
    project = a_project(s)
    prompt = a_prompt(s, project)
    a_response(s, prompt, a_human(s, project), text="It comes on Friday.")
    with pytest.raises(Refused, match=told):
        write_reply(s, by=a_reviewer(s, project, Role.ANNOTATOR).id, prompt_id=prompt.id, text=text)


def test_nobody_replies_twice_to_a_prompt_and_a_taken_name_is_told_apart(s: Session, project: Project) -> None:
    a_human(s, project, name="Ann", simulated=True)
    ann = a_reviewer(s, project, Role.ANNOTATOR, name="Ann")
    prompt = a_prompt(s, project)
    response = write_reply(s, by=ann.id, prompt_id=prompt.id, text="Yes.")
    assert response.responder.name == "Ann (written here)"
    with pytest.raises(Refused, match="replied to this prompt already"):
        write_reply(s, by=ann.id, prompt_id=prompt.id, text="No.")


def test_nearly_the_same_reply_is_kept_and_never_offered(s: Session, project: Project) -> None:
    prompt = a_prompt(s, project)
    a_response(s, prompt, a_human(s, project), text=LONG)
    write_reply(s, by=a_reviewer(s, project).id, prompt_id=prompt.id, text=LONG.replace("Monday", "Tuesday"))
    (pair,) = s.scalars(select(Comparison))
    assert (pair.near_identical, pair.state) == (True, ComparisonState.NOT_OFFERED)


def test_comments_and_texts_nobody_could_read_are_refused_and_nothing_is_lost(s: Session) -> None:
    desk = Desk(s)
    reply = desk.pairs[0].responses[0]
    huge = "long " * 200_000
    with pytest.raises(Refused, match=r"characters; at most 2,000"):
        rank(s, by=desk.ann.id, comparison_id=desk.pairs[0].id, order=Verdict.LEFT.order, reason=huge + "!")
    with pytest.raises(Refused, match="The correction has"):
        save_correction(s, by=desk.ann.id, response_id=reply.id, text=huge)
    with pytest.raises(Refused, match="The text has"):
        save_draft(
            s, place=DraftPlace(reviewer_id=desk.ann.id, prompt_id=reply.prompt_id, response_id=reply.id), text=huge
        )
    assert s.scalars(select(Correction)).all() == []
    rank(s, by=desk.ann.id, comparison_id=desk.pairs[0].id, order=Verdict.LEFT.order, reason="  \u202eshort\u200b ")
    assert s.scalars(select(AuditRecord).where(AuditRecord.table == "ranking")).one().reviewer_id == desk.ann.id


def test_whoever_corrects_a_correction_has_seen_what_somebody_thought_and_ranks_that_pair_no_more(s: Session) -> None:
    desk = Desk(s, pairs=1)
    reply = desk.pairs[0].responses[0]
    first = save_correction(s, by=desk.ann.id, response_id=reply.id, text="Tomorow.", reason="no date")
    assert not [
        e
        for e in list_project_changes(s, by=desk.manager.id, project_id=desk.project.id)
        if e.change.table == "correction"
    ]
    save_correction(s, by=desk.bo.id, response_id=reply.id, text="Tomorrow.", parent_id=first.id)
    with pytest.raises(Refused, match="seen what others said"):
        rank(s, by=desk.bo.id, comparison_id=desk.pairs[0].id, order=Verdict.LEFT.order)


@pytest.mark.parametrize(
    ("chain", "further"),
    [
        ([(1, None, True), (2, 1, True), (3, 2, True)], {1, 2}),
        ([(1, None, True), (2, 1, False), (3, 2, True)], {1, 2}),
        ([(1, None, True), (2, 1, False)], set()),
        ([(1, None, True), (2, None, True), (3, 1, True)], {1}),
        ([(1, 2, True), (2, 1, True)], {1, 2}),
        ([], set()),
    ],
)
def test_a_correction_is_overtaken_by_any_standing_one_below_it(
    chain: list[tuple[int, int | None, bool]], further: set[int]
) -> None:
    assert find_superseded(chain) == further


def test_nobody_changes_a_correction_behind_the_back_of_who_corrected_it(s: Session) -> None:
    desk = Desk(s, pairs=1)
    reply = desk.pairs[0].responses[0]
    first = save_correction(s, by=desk.ann.id, response_id=reply.id, text="Tomorow.")
    second = save_correction(s, by=desk.bo.id, response_id=reply.id, text="Tomorrow.", parent_id=first.id)
    third = save_correction(s, by=desk.manager.id, response_id=reply.id, text="Tomorrow, by noon.", parent_id=second.id)
    with pytest.raises(Refused, match="corrected your correction further"):
        save_correction(s, by=desk.ann.id, response_id=reply.id, text="Soon, honestly.")
    withdraw_correction(s, by=desk.bo.id, correction_id=second.id)
    found = derive([], given_corrections(s, project_id=desk.project.id))
    assert [row.chosen.text for row in found.rows] == [third.text]
    listed = list_corrections(s, by=desk.manager.id, project_id=desk.project.id)
    assert [one.correction.id for one in listed] == [third.id]


def test_a_draft_belongs_to_what_is_corrected(s: Session) -> None:
    desk = Desk(s)
    reply, other = desk.pairs[0].responses[0], desk.pairs[1].responses[0]
    first = save_correction(s, by=desk.ann.id, response_id=reply.id, text="Tomorow.")
    of_reply = DraftPlace(reviewer_id=desk.bo.id, prompt_id=reply.prompt_id, response_id=reply.id)
    of_correction = replace(of_reply, parent_id=first.id)
    save_draft(s, place=of_reply, text="of the reply")
    save_draft(s, place=of_correction, text="of the correction")
    assert (load_draft(s, place=of_reply), load_draft(s, place=of_correction)) == ("of the reply", "of the correction")
    for response_id in (other.id, 999):
        with pytest.raises(NotFound, match="not in the database"):
            save_draft(s, place=replace(of_reply, response_id=response_id), text="x")


@pytest.mark.parametrize("text", ["\0", "\u200b \u200b", "\ud800", " \n"])
def test_a_text_in_which_nothing_can_be_seen_is_empty(s: Session, text: str) -> None:
    desk = Desk(s)
    with pytest.raises(Refused, match="An empty correction"):
        save_correction(s, by=desk.ann.id, response_id=desk.pairs[0].responses[0].id, text=text)
    assert clean_text(f"{text}Yes\u200bNo{text}").replace("\u200b", "").strip() == "YesNo"


def test_long_repetitive_texts_are_compared_in_no_time(s: Session) -> None:
    looping = "again " * 15_000
    began = time.monotonic()
    assert nearly_same(looping, looping + "end")
    assert count_changed_words(word_diff(looping, looping + "end")) > 0
    assert time.monotonic() - began < 20
