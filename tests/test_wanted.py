"""A lost judgment sends training prompts like it to the queue of corrections, and never the held-out one."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier

import pytest
from sqlalchemy.orm import Session

from db.models import Evaluation, Pairing, Project, Prompt, Response, Reviewer, Role, RoutingRule, now
from db.session import session
from errors import NotAllowed, NotFound, PickwellError, Refused
from review.corrections import save_correction, withdraw_correction
from review.wanted import count_wanted, find_similar_prompts, next_wanted, rank_by_similarity, request_corrections
from review.writing import write_reply
from tests.app_pages import open_page, press, said
from tests.factories import a_human, a_model, a_project, a_prompt, a_response, a_reviewer, saved, sure
from training.data.snapshot import freeze

LOST = "My parcel never arrived, where is the parcel?"
TRAIN = ("The parcel arrived broken.", "Where is my invoice?", "Parcel, parcel: where is it?", "Ünïcode grüßt!")


@dataclass
class Setting:
    project: Project
    manager: Reviewer
    pairing: Pairing
    train: list[Prompt]
    replies: list[Response]
    """Of the candidate, to the first and third training prompt."""

    @property
    def ids(self) -> list[int]:
        return [prompt.id for prompt in self.train]


def setting(s: Session, *, closed: bool = True) -> Setting:
    project = a_project(s)
    manager = a_reviewer(s, project, Role.MANAGER, Role.ANNOTATOR)
    model, human = a_model(s, project), a_human(s, project)
    held = a_prompt(s, project, LOST, held_out=True)
    evaluation = saved(
        s,
        Evaluation,
        project_id=project.id,
        name="First",
        candidate_id=model.id,
        seed=1,
        protocol_sha256="x",
        created_by_id=manager.id,
        closed_at=now() if closed else None,
    )
    pairing = Pairing(
        evaluation_id=evaluation.id,
        prompt_id=held.id,
        candidate_response_id=a_response(s, held, model).id,
        baseline_response_id=a_response(s, held, human).id,
    )
    s.add(pairing)
    train = [a_prompt(s, project, text) for text in TRAIN]
    a_response(s, train[0], human, text="Sorry.")
    replies = [a_response(s, train[n], model, text=f"Model's reply {n}.") for n in (0, 2)]
    s.flush()
    return Setting(project, manager, pairing, train, replies)


def test_the_training_prompts_with_most_of_the_words_come_first(s: Session) -> None:
    here = setting(s)
    found = find_similar_prompts(s, by=here.manager.id, pairing_id=here.pairing.id)
    assert [one.text for one in found] == [TRAIN[0], TRAIN[2], TRAIN[1]], "none without a word in common"
    assert 1 > found[0].similarity > found[2].similarity > 0


def test_prompts_of_the_same_topic_come_before_others(s: Session) -> None:
    here = setting(s)
    here.pairing.prompt.topic, here.train[1].topic = "parcels", "parcels"
    s.flush()
    assert find_similar_prompts(s, by=here.manager.id, pairing_id=here.pairing.id, most=2)[0].text == TRAIN[1]


def test_prompts_that_a_rule_routes_to_people_train_nothing_so_nobody_is_asked_for_a_better_reply(s: Session) -> None:
    here = setting(s)
    request_corrections(s, by=here.manager.id, pairing_id=here.pairing.id, prompt_ids=[here.train[1].id])
    rule = saved(
        s,
        RoutingRule,
        project_id=here.project.id,
        pattern="invoice|broken",
        reason="money",
        created_by_id=here.manager.id,
    )
    for routed in here.train[:2]:
        routed.routing_rule_id = rule.id
    s.flush()
    assert [one.text for one in find_similar_prompts(s, by=here.manager.id, pairing_id=here.pairing.id)] == [TRAIN[2]]
    assert count_wanted(s, project_id=here.project.id) == 0
    assert next_wanted(s, by=here.manager.id, project_id=here.project.id) is None
    with pytest.raises(Refused, match="routes to people"):
        request_corrections(s, by=here.manager.id, pairing_id=here.pairing.id, prompt_ids=[here.train[0].id])


@pytest.mark.both_databases
def test_two_tabs_that_send_the_same_prompts_send_them_once(database: Path) -> None:
    with session() as s:
        here = setting(s)
    start = Barrier(4, timeout=60)

    def send(_: int) -> int:
        start.wait()
        with session() as s:
            return request_corrections(s, by=here.manager.id, pairing_id=here.pairing.id, prompt_ids=here.ids[:2])

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(send, range(4))) == [0, 0, 0, 2]


def test_texts_without_a_word_are_like_nothing() -> None:
    assert rank_by_similarity("???", ["!!!", "..."]) == []
    assert rank_by_similarity("words", []) == []
    ((place, similarity),) = rank_by_similarity("same words", ["same words", "others"])
    assert (place, round(similarity, 9)) == (0, 1)


@pytest.mark.both_databases
def test_a_wanted_prompt_waits_until_a_person_corrects_a_reply_to_it(s: Session) -> None:
    here = setting(s)
    by = here.manager.id
    assert request_corrections(s, by=by, pairing_id=here.pairing.id, prompt_ids=[here.ids[0], here.ids[2]]) == 2
    assert request_corrections(s, by=by, pairing_id=here.pairing.id, prompt_ids=[here.ids[0]]) == 0, "it waits already"
    first = sure(next_wanted(s, by=by, project_id=here.project.id))
    assert (first.prompt.id, first.replies[0]) == (here.ids[0], (here.replies[0].id, "Model's reply 0."))
    assert [text for _, text in first.replies] == ["Model's reply 0.", "Sorry."], "the loser's own reply comes first"
    fixed = save_correction(s, by=by, response_id=here.replies[0].id, text="I am sorry, a new one is on its way.")
    assert count_wanted(s, project_id=here.project.id) == 1
    withdraw_correction(s, by=by, correction_id=fixed.id)
    assert count_wanted(s, project_id=here.project.id) == 2


def test_a_reply_written_from_an_empty_box_is_enough(s: Session) -> None:
    here = setting(s)
    request_corrections(s, by=here.manager.id, pairing_id=here.pairing.id, prompt_ids=[here.ids[1]])
    found = sure(next_wanted(s, by=here.manager.id, project_id=here.project.id))
    assert found.replies == []
    write_reply(s, by=here.manager.id, prompt_id=here.ids[1], text="It is attached.")
    assert count_wanted(s, project_id=here.project.id) == 0


def test_what_was_corrected_can_be_wanted_once_more(s: Session) -> None:
    here = setting(s)
    by, pairing, ids = here.manager.id, here.pairing.id, here.ids[:1]
    request_corrections(s, by=by, pairing_id=pairing, prompt_ids=ids)
    save_correction(s, by=here.manager.id, response_id=here.replies[0].id, text="A better one.")
    assert request_corrections(s, by=by, pairing_id=pairing, prompt_ids=ids) == 1
    assert count_wanted(s, project_id=here.project.id) == 1


def test_put_off_prompts_come_when_nothing_else_is_left(s: Session) -> None:
    here = setting(s)
    request_corrections(s, by=here.manager.id, pairing_id=here.pairing.id, prompt_ids=here.ids[:2])

    def after(*later: int) -> int | None:
        found = next_wanted(s, by=here.manager.id, project_id=here.project.id, later=later)
        return found.prompt.id if found else None

    assert [after(), after(here.ids[0]), after(here.ids[1], here.ids[0])] == [here.ids[0], here.ids[1], here.ids[1]]


def test_the_corrections_reach_the_next_snapshot_and_the_lost_prompt_does_not(s: Session) -> None:
    here = setting(s)
    more = [a_prompt(s, here.project, f"Where is parcel {n}?") for n in range(12)]
    ids = [prompt.id for prompt in more]
    replies = [a_response(s, prompt, here.pairing.evaluation.candidate, text="It is late.") for prompt in more]
    request_corrections(s, by=here.manager.id, pairing_id=here.pairing.id, prompt_ids=ids)
    for n, reply in enumerate(replies):
        save_correction(s, by=here.manager.id, response_id=reply.id, text=f"It comes on day {n}, I looked it up.")
    assert count_wanted(s, project_id=here.project.id) == 0
    snapshot = freeze(s, by=here.manager.id, project_id=here.project.id)
    assert {row.prompt_id for row in snapshot.preferences} == {*ids}


@pytest.mark.parametrize("which", ["held out", "another project's", "open", "no manager"])
def test_what_may_not_be_sent_is_refused_with_the_reason(s: Session, which: str) -> None:
    here = setting(s, closed=which != "open")
    by, ids = here.manager.id, here.ids[:1]
    if which == "held out":
        ids = [here.pairing.prompt_id]
    elif which == "another project's":
        ids = [a_prompt(s, a_project(s)).id]
    elif which == "no manager":
        by = a_reviewer(s, here.project, Role.REVIEWER).id
    with pytest.raises(PickwellError) as refused:
        request_corrections(s, by=by, pairing_id=here.pairing.id, prompt_ids=ids)
    assert str(refused.value).endswith((".", "?"))
    kinds = {"another project's": NotFound, "no manager": NotAllowed}
    assert type(refused.value) is kinds.get(which, Refused)
    assert count_wanted(s, project_id=here.project.id) == 0


def test_the_page_correct_offers_what_waits_after_a_loss(database: object) -> None:
    with session() as s:
        here = setting(s)
        request_corrections(s, by=here.manager.id, pairing_id=here.pairing.id, prompt_ids=here.ids[:1])
        project, by = here.project.id, here.manager.id
    page = open_page("correct_replies", project_id=project, by=by)
    page.button_group(key="correct_part").set_value("wanted").run()
    assert not page.exception
    assert "Prompts like those that a model lost on: 1" in said(page)
    page.button_group(key=f"start_wanted_{here.ids[0]}").set_value("An empty box").run()
    assert "Save reply" in [one.label for one in page.button]
    press(page, "Later")
