"""Models behind somebody else's endpoint: what goes well, and everything that can go wrong."""

import base64
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import GenerationRun, Responder, Response, RunStatus, Scope
from db.session import reading, session
from errors import EngineFailed, Refused
from generation import worker
from generation.plan import start_generation
from generation.responders import RemoteModel, ResponderSpec, check_remote, create_responder
from jobs.progress import Progress, unmanaged_progress
from llm import client
from llm.template import PromptFormat
from tests.factories import a_project, a_prompt, a_reviewer
from tests.fake_endpoint import FakeEndpoint, Reply, failed, ordinary, serving

KEY = "sk-very-secret-4711"
VARIABLE = "PICKWELL_KEY_TEST"


@pytest.fixture
def there(database: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEndpoint]:
    """An endpoint that wants a key, the key in its variable, and a client that does not wait between tries."""
    monkeypatch.setenv(VARIABLE, KEY)
    monkeypatch.setenv(f"{VARIABLE}_HOST", "127.0.0.1")
    monkeypatch.setattr(client, "RETRIES", 0)
    with serving(FakeEndpoint(KEY)) as endpoint:
        yield endpoint


def asked_of(endpoint: FakeEndpoint, *texts: str, samples: int = 1, **fields: Any) -> Progress:
    """A run of a new REMOTE responder over these prompts, taken up."""
    with session() as s:
        project = a_project(s)
        by = a_reviewer(s, project)
        for text in texts or ("Where is parcel 1?",):
            a_prompt(s, project, text=text)
        remote = RemoteModel(endpoint.url, "gpt-fake", VARIABLE, price_in=2.5, price_out=10)
        contestant = ResponderSpec(replace(remote, **fields), PromptFormat("Answer the email."))
        who = create_responder(s, by=by.id, project_id=project.id, name="GPT", spec=contestant)
        run = start_generation(s, by=by.id, responder_id=who.id, scope=Scope.ALL, samples=samples)
    return unmanaged_progress("generation", run.id)


def replies() -> list[Response]:
    with reading() as s:
        return list(s.scalars(select(Response).order_by(Response.prompt_id, Response.sample)))


def outcome(progress: Progress) -> GenerationRun:
    with reading() as s:
        return s.get_one(GenerationRun, progress.run_id)


def test_a_model_behind_an_endpoint_answers_and_its_key_is_written_nowhere(
    there: FakeEndpoint, database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    progress = asked_of(there, "Where is parcel 1?", "Where is parcel 2?", samples=2)
    worker.run(progress)
    assert outcome(progress).status is RunStatus.SUCCEEDED
    assert [(r.sample, r.finish_reason, r.prompt_tokens) for r in replies()] == [(0, "stop", 10), (1, "stop", 10)] * 2
    assert there.asked[0]["messages"][0] == {"role": "system", "content": "Answer the email."}
    written = [file for file in database.parent.rglob("*") if file.is_file()]
    assert written
    assert [file for file in written if KEY.encode() in file.read_bytes()] == []
    assert KEY not in caplog.text


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_key_stops_the_run_with_what_to_do_and_is_not_quoted(
    there: FakeEndpoint, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    if status == 401:
        monkeypatch.setenv(VARIABLE, "sk-wrong")
    else:
        there.act = lambda body: failed(403, f"{KEY} may not do that")
    with pytest.raises(EngineFailed, match="refused the key") as caught:
        worker.run(asked_of(there))
    assert "sk-" not in str(caught.value)


def test_a_key_that_is_not_set_stops_the_run_and_names_the_variable(
    there: FakeEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(EngineFailed, match=rf"{VARIABLE} is not set .* Set it"):
        worker.run(asked_of(there))


@pytest.mark.parametrize("host", [None, "api.example.com"])
def test_a_key_goes_only_to_the_host_that_the_environment_names(
    there: FakeEndpoint, monkeypatch: pytest.MonkeyPatch, host: str | None
) -> None:
    monkeypatch.setenv(f"{VARIABLE}_HOST", host or "")
    heard: list[str] = []

    def answer(method: str, path: str, key: str, body: dict[str, Any]) -> Reply:
        heard.append(key)
        return failed(500, "")

    monkeypatch.setattr(there, "answer", answer)
    with pytest.raises(EngineFailed, match=rf"set {VARIABLE}_HOST=127\.0\.0\.1"):
        worker.run(asked_of(there))
    assert heard == []


def test_no_proxy_stands_before_what_runs_on_this_machine(there: FakeEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
    worker.run(asked_of(there))
    assert len(replies()) == 1


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_prompts_follow_no_redirect(there: FakeEndpoint, status: int) -> None:
    with serving(FakeEndpoint()) as elsewhere:
        there.location = f"{elsewhere.url}/chat/completions"
        there.act = lambda body: failed(status, "elsewhere")
        with pytest.raises(EngineFailed, match=rf"the endpoint answered {status}"):
            worker.run(asked_of(there))
        assert elsewhere.asked == []


@pytest.mark.parametrize(
    "code",
    [
        str.upper,
        lambda key: key[::-1],
        lambda key: key.encode().hex(),
        lambda key: base64.b64encode(key.encode()).decode(),
        lambda key: base64.b64encode(f"Bearer {key}".encode()).decode(),
        lambda key: base64.urlsafe_b64encode(f"x{key}".encode()).decode(),
        lambda key: "".join(f"%{byte:02X}" for byte in key.encode()),
    ],
    ids=["upper", "backwards", "hex", "base64", "base64 of the header", "base64 shifted", "per cent"],
)
def test_what_an_endpoint_quotes_never_shows_the_key_in_any_coding(
    there: FakeEndpoint, code: Callable[[str], str]
) -> None:
    there.act = lambda body: failed(400, f"You sent {code(KEY)}!")
    with pytest.raises(EngineFailed, match=r"You sent .*\(the key\)") as caught:
        worker.run(asked_of(there))
    assert code(KEY)[4:-4] not in str(caught.value)


def test_an_endpoint_that_asks_to_go_slower_is_asked_again(there: FakeEndpoint) -> None:
    times: list[int] = []

    def busy_at_first(body: dict[str, Any]) -> Reply | None:
        times.append(1)
        return failed(429, "Rate limit reached") if len(times) <= 2 else None

    there.act = busy_at_first
    progress = asked_of(there)
    worker.run(progress)
    assert (len(replies()), outcome(progress).failed) == (1, 0)


@pytest.mark.parametrize(
    ("status", "message", "sentence"),
    [
        (429, "Rate limit reached", "asks to go slower .* Lower PICKWELL_CONCURRENCY"),
        (500, "The server had an error", "could not be answered: the endpoint answered 500"),
        (400, "This model's maximum context length is 8192 tokens", "was refused: .* If it is too long, shorten it"),
    ],
)
def test_a_prompt_that_an_endpoint_never_answers_is_given_up_and_the_rest_go_on(
    there: FakeEndpoint, status: int, message: str, sentence: str
) -> None:
    there.act = lambda body: failed(status, message) if "poison" in body["messages"][-1]["content"] else None
    progress = asked_of(there, "one", "poison", "three")
    worker.run(progress)
    run = outcome(progress)
    assert (run.status, run.failed, run.done, run.total) == (RunStatus.SUCCEEDED, 1, 2, 3)
    assert re.search(f"The prompt “poison” .*{sentence}", run.problem or "")


WORDLESS: dict[str, tuple[dict[str, Any], str]] = {
    "empty": ({"content": ""}, "nothing in it can be seen"),
    "invisible": ({"content": " \u200b\n\ufeff"}, "nothing in it can be seen"),
    "refused": ({"content": None, "refusal": "I cannot help with that."}, "the model refused"),
    "filtered": ({"content": None, "finish_reason": "content_filter"}, "the endpoint's filter held it back"),
    "tool": ({"content": None, "tool_calls": [{"id": "1", "type": "function"}]}, "the model called a tool instead"),
    "cut": (
        {"content": "<think>Well, I", "finish_reason": "length"},
        "tokens went into reasoning, so allow longer replies",
    ),
    "apart": ({"content": None, "reasoning_content": "Well"}, "there was only reasoning"),
}
"""Answers that have no words for anybody, and what is said of each."""


def says(message: dict[str, Any]) -> Reply:
    status, body = ordinary({"messages": [{"content": ""}]})
    finish_reason = message.pop("finish_reason", "stop")
    choice = {"index": 0, "finish_reason": finish_reason, "message": {"role": "assistant", **message}}
    return status, {**body, "choices": [choice]}


@pytest.mark.parametrize("name", WORDLESS)
def test_an_answer_without_words_is_no_answer_and_its_reason_is_told(there: FakeEndpoint, name: str) -> None:
    message, reason = WORDLESS[name]
    there.act = lambda body: says(dict(message)) if "wordless" in body["messages"][-1]["content"] else None
    progress = asked_of(there, "one", "wordless", "three")
    worker.run(progress)
    run = outcome(progress)
    assert (run.status, run.failed, run.done, run.total) == (RunStatus.SUCCEEDED, 1, 2, 3)
    assert "Without words, so counted as no reply: 1, " in (run.problem or "")
    assert reason in (run.problem or "")
    assert len(replies()) == 2


def test_a_run_of_nothing_but_answers_without_words_fails_with_the_reason(there: FakeEndpoint) -> None:
    there.act = lambda body: says({"content": None, "refusal": "No."})
    with pytest.raises(EngineFailed, match=r"No prompt could be answered.* got no words: the model refused"):
        worker.run(asked_of(there, "one", "two"))
    assert replies() == []


@pytest.mark.parametrize("start", ["<think>They want 7.</think>\n\n", "They want 7.\n</think>"])
def test_reasoning_is_kept_apart_from_the_reply(there: FakeEndpoint, start: str) -> None:
    there.act = lambda body: says({"content": f"{start}It is on its way."})
    worker.run(asked_of(there))
    (reply,) = replies()
    assert (reply.text, reply.reasoning) == ("It is on its way.", "They want 7.")


def test_an_empty_block_of_reasoning_leaves_only_the_reply(there: FakeEndpoint) -> None:
    there.act = lambda body: says({"content": "<think>\n\n</think>\n\nIt is on its way."})
    worker.run(asked_of(there))
    (reply,) = replies()
    assert (reply.text, reply.reasoning) == ("It is on its way.", None)


def test_a_reply_has_a_longest_length(there: FakeEndpoint) -> None:
    there.act = lambda body: says({"content": "x" * 300_000})
    worker.run(asked_of(there))
    (reply,) = replies()
    assert (len(reply.text), reply.finish_reason) == (100_000, "length")


def test_an_account_that_is_used_up_stops_the_run(there: FakeEndpoint) -> None:
    there.act = lambda body: failed(429, "You exceeded your current quota, please check your plan and billing")
    with pytest.raises(EngineFailed, match=r"account is used up: .* Top it up"):
        worker.run(asked_of(there))


def test_a_prompt_without_an_answer_in_time_is_given_up_and_the_rest_go_on(
    there: FakeEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "TIMEOUT", 0.3)
    over = threading.Event()

    def slow(body: dict[str, Any]) -> Reply | None:
        if "slow" in body["messages"][-1]["content"]:
            over.wait(20)
        return None

    there.act = slow
    progress = asked_of(there, "slow", "quick")
    worker.run(progress)
    over.set()
    run = outcome(progress)
    assert (run.failed, len(replies())) == (1, 1)
    assert "gave no answer within" in (run.problem or "")


def test_an_unknown_model_stops_the_run_and_names_it(there: FakeEndpoint) -> None:
    there.act = lambda body: failed(404, "The model does not exist")
    with pytest.raises(EngineFailed, match="has no model “gpt-fake”"):
        worker.run(asked_of(there))


def test_an_endpoint_that_goes_away_fails_the_run_and_what_was_answered_stays(
    there: FakeEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "WAIT", 0.0)
    progress = asked_of(there)
    there.url = ""
    with session() as s:
        s.scalars(select(Responder)).one().endpoint_url = "http://127.0.0.1:9/v1"
    with pytest.raises(EngineFailed, match=r"does not answer. Check the address"):
        worker.run(progress)


def test_an_endpoint_that_knows_no_n_and_a_new_name_for_the_length_is_asked_its_way(there: FakeEndpoint) -> None:
    def particular(body: dict[str, Any]) -> Reply | None:
        if "max_tokens" in body:
            return failed(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
        return failed(400, "'n' must be at most 1") if body.get("n", 1) > 1 else None

    there.act = particular
    worker.run(asked_of(there, samples=3))
    assert [r.sample for r in replies()] == [0, 1, 2]
    assert len({r.text for r in replies()}) == 3


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"url": "api.example.com/v1"}, "begins with https://"),
        ({"url": "https://user:pass@api.example.com/v1"}, "Keys do not belong into the address"),
        ({"url": "https://api.example.com/v1?key=1"}, "Keys do not belong into the address"),
        ({"key_variable": "AWS_SECRET_ACCESS_KEY"}, "begins with PICKWELL_KEY_"),
        ({"key_variable": KEY}, "The key itself is never stored"),
        ({"url": "http://api.example.com/v1"}, "would travel in clear text"),
        ({"model": " "}, "say which"),
        ({"price_in": -1.0}, "A price is in US dollars"),
        ({"url": "http://2130706433/v1"}, "begins with https://"),
        ({"url": "http://0x7f000001/v1"}, "begins with https://"),
        ({"url": "http://127.1/v1"}, "begins with https://"),
        ({"url": "http://169.254.169.254/v1"}, "begins with https://"),
        ({"url": "http://[fe80::1]/v1"}, "begins with https://"),
        ({"url": "http://[::ffff:169.254.169.254]/v1"}, "begins with https://"),
        ({"url": "https://api.example.com/v1\r\nX: y"}, "begins with https://"),
        ({"url": "https://api.example.com/v1#x"}, "begins with https://"),
        ({"url": "https://api.example.com:99999/v1"}, "begins with https://"),
    ],
)
def test_an_endpoint_that_cannot_work_or_is_not_safe_is_refused(fields: dict[str, Any], sentence: str) -> None:
    good = RemoteModel("https://api.example.com/v1/", "gpt-4", VARIABLE)
    assert check_remote(good).url == "https://api.example.com/v1"
    with pytest.raises(Refused, match=sentence):
        check_remote(replace(good, **fields))


def test_a_key_stays_out_of_an_endpoints_description(there: FakeEndpoint, s: Session) -> None:
    from llm.endpoints import Endpoint

    assert "sk-" not in repr(Endpoint("https://api.example.com/v1", "gpt-4", KEY))
