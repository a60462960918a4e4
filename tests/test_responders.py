"""What a Responder puts round a prompt, its versions, and the workbench where they are tried out."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import (
    ChatLayout,
    GenerationRun,
    ModelVersion,
    Project,
    Prompt,
    Responder,
    ResponderKind,
    Response,
    Reviewer,
    RunStatus,
    Scope,
)
from db.session import reading, session
from errors import AlreadyThere, BadTemplate, BrokenModel, Refused
from generation import worker
from generation.base_model import add_model
from generation.plan import start_generation
from generation.responders import (
    RemoteModel,
    ResponderSpec,
    Sampling,
    create_responder,
    create_version,
    keep_responder,
    list_responders,
    prompt_format,
    spec_of,
)
from generation.trials import cost_of, differences, list_tried_versions, render_for_model, start_trial, trial_answers
from jobs.progress import unmanaged_progress
from llm.template import LAYOUTS, PromptFormat, check_system_prompt, fill_template, render_conversation, system_hash
from tests.factories import a_model, a_project, a_prompt, a_response, a_reviewer, sure
from training.data.snapshot import _prompt_of  # the Snapshot's own reading of a Responder's prompt

HONEYCOMB = PromptFormat(
    "Write a query for this dataset.\nColumns: {{columns}}\n{{guide}}",
    "Question: {{ text }}",
    {"guide": 'Queries are JSON: {"calculations": [...]}'},
    [("Question: count errors", '{"calculations": [{"op": "COUNT"}]}')],
)


def test_fields_are_filled_from_the_prompt_and_from_the_responder() -> None:
    turns = HONEYCOMB.messages("slowest requests?", None, {"columns": "duration_ms, path"})
    assert [turn["role"] for turn in turns] == ["system", "user", "assistant", "user"]
    assert turns[0]["content"] == (
        'Write a query for this dataset.\nColumns: duration_ms, path\nQueries are JSON: {"calculations": [...]}'
    )
    assert turns[3]["content"] == "Question: slowest requests?"


@given(st.text(), st.text())
def test_what_a_field_brings_is_never_filled_in_again(text: str, value: str) -> None:
    prompt = PromptFormat("{{note}}", "{{text}}", {"note": "{{text}}" + value})
    turns = prompt.messages(text)
    assert turns[0]["content"] == "{{text}}" + value
    assert turns[1]["content"] == text


@given(st.text(alphabet=st.characters(blacklist_characters="{}")))
def test_a_text_without_double_braces_is_its_own_template(text: str) -> None:
    assert fill_template(text, {}) == text
    assert fill_template('{"a": 1}', {}) == '{"a": 1}'


@pytest.mark.parametrize(
    ("prompt", "sentence"),
    [
        (PromptFormat("{{colums}}"), r"names \{\{colums\}\}, which nothing fills in. There are"),
        (PromptFormat("", "{{context}}"), r"does not hold \{\{text\}\}"),
        (PromptFormat("", None, {"tips": "Be brief."}), "stands in no template"),
        (PromptFormat("{{text}}", None, {"text": "no"}), "is the prompt's own"),
        (PromptFormat("", None, {}, [("Where is it?", " ")]), "needs both a prompt and a reply"),
    ],
)
def test_a_prompt_that_cannot_be_rendered_is_refused_with_what_to_do(prompt: PromptFormat, sentence: str) -> None:
    with pytest.raises(BadTemplate, match=sentence):
        prompt.check(["columns"])


def test_a_prompt_that_lacks_a_column_is_given_up_and_the_rest_go_on(database: Path) -> None:
    with session() as s:
        project = a_project(s)
        by, model = a_reviewer(s, project), a_model(s, project)
        a_prompt(s, project, text="count errors", extra={"columns": "status"})
        a_prompt(s, project, text="slowest", extra=None)
        contestant = ResponderSpec(model.model_version_id or 0, HONEYCOMB)
        made = create_responder(s, by=by.id, project_id=project.id, name="Query", spec=contestant)
        run = start_generation(s, by=by.id, responder_id=made.id, scope=Scope.ALL, samples=1)
    worker.run(unmanaged_progress("generation", run.id))
    with reading() as s:
        done = s.get_one(GenerationRun, run.id)
        assert (done.status, done.failed, done.done) == (RunStatus.SUCCEEDED, 1, 1)
        assert "nothing for {{columns}}. Import it with that column" in (done.problem or "")
        (reply,) = s.scalars(select(Response))
        prompt = s.get_one(Prompt, reply.prompt_id)
        assert reply.system_hash == system_hash(HONEYCOMB.messages(prompt.text, None, prompt.extra))


SPECIAL: Mapping[str, str] = {"bos_token": "<s>", "eos_token": "</s>"}


@pytest.mark.parametrize("layout", list(ChatLayout))
def test_a_layout_begins_with_the_prompt_that_it_ends_with_and_ends_each_reply(layout: ChatLayout) -> None:
    turns = HONEYCOMB.messages("slowest?", None, {"columns": "a"})
    asked = render_conversation(LAYOUTS[layout.value], turns, special_tokens=SPECIAL)
    whole = render_conversation(
        LAYOUTS[layout.value],
        [*turns, {"role": "assistant", "content": "{}"}],
        special_tokens=SPECIAL,
        add_generation_prompt=False,
    )
    assert whole == asked + "{}</s>\n\n"
    assert whole.count("<s>") == 1
    assert whole.count("</s>") == 2
    check_system_prompt(LAYOUTS[layout.value], special=SPECIAL)


def test_a_template_that_drops_or_refuses_the_system_prompt_is_caught() -> None:
    dropping = "{% for m in messages if m.role != 'system' %}{{ m.content }}{% endfor %}"
    with pytest.raises(BadTemplate, match="drops the system prompt"):
        check_system_prompt(dropping, special={})
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    with pytest.raises(BadTemplate, match="System role not supported"):
        check_system_prompt(refusing, special={})


def a_model_folder(folder: Path, *, template: str | None, config: dict[str, Any] | None = None) -> Path:
    """A folder that looks like a tiny model's; nothing loads it."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"torch_dtype": "bfloat16", "eos_token_id": 2, **(config or {})}))
    (folder / "tokenizer.json").write_text(json.dumps({"added_tokens": [{"id": 2, "content": "</s>"}]}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>", "chat_template": template}))
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0\0\0")
    return folder


@pytest.fixture
def loading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Model folders are looked at, as with an engine that loads them."""
    import settings as settings_module

    monkeypatch.setenv("PICKWELL_ENGINE", "vllm")
    settings_module.settings.cache_clear()


@pytest.mark.usefixtures("loading")
def test_a_model_without_a_template_gets_a_layout_in_a_folder_of_ours(s: Session, tmp_path: Path) -> None:
    project = a_project(s)
    by = a_reviewer(s, project)
    theirs = a_model_folder(tmp_path / "base", template=None)
    fields: dict[str, Any] = {"by": by.id, "project_id": project.id, "location": str(theirs)}
    with pytest.raises(BrokenModel, match=r"has no chat template.* Choose a layout"):
        add_model(s, name="Base", **fields)
    made = add_model(s, name="Base", layout=ChatLayout.ALPACA, **fields)
    assert (made.layout, made.stop_tokens, made.dtype) == (ChatLayout.ALPACA, "</s>", "bfloat16")
    assert (Path(made.location) / "chat_template.jinja").read_text() == LAYOUTS["ALPACA"]
    assert sorted(file.name for file in theirs.iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ], "the folder that was named is left alone"
    with pytest.raises(AlreadyThere, match="name that no other model has"):
        add_model(s, name="Base", **fields)


@pytest.mark.usefixtures("loading")
def test_a_model_with_code_of_its_own_or_its_own_template_under_a_layout_is_refused(s: Session, tmp_path: Path) -> None:
    project = a_project(s)
    by = a_reviewer(s, project)
    fields: dict[str, Any] = {"by": by.id, "project_id": project.id}
    code = a_model_folder(tmp_path / "code", template=LAYOUTS["PLAIN"], config={"auto_map": {"AutoModel": "m.M"}})
    with pytest.raises(BrokenModel, match=r"program code of its own \(auto_map"):
        add_model(s, name="Code", location=str(code), **fields)
    chat = a_model_folder(tmp_path / "chat", template=LAYOUTS["PLAIN"])
    with pytest.raises(Refused, match="always used"):
        add_model(s, name="Chat", location=str(chat), layout=ChatLayout.PLAIN, **fields)
    assert add_model(s, name="Chat", location=str(chat), **fields).layout is None


def test_changed_instructions_make_a_new_version_and_old_replies_keep_theirs(s: Session, project: Project) -> None:
    by, model = a_reviewer(s, project), a_model(s, project, name="Support model")
    reply = a_response(s, a_prompt(s, project), model)
    was = spec_of(model)
    with pytest.raises(Refused, match="Nothing differs from Support model"):
        create_version(s, by=by.id, responder_id=model.id, spec=was)
    second = create_version(
        s, by=by.id, responder_id=model.id, spec=replace(was, prompt=PromptFormat("Be brief. ")), listed=True
    )
    third = create_version(s, by=by.id, responder_id=second.id, spec=replace(was, sampling=Sampling(0.2)))
    assert [(one.name, one.version, one.parent_id) for one in (second, third)] == [
        ("Support model v2", 2, model.id),
        ("Support model v3", 3, second.id),
    ]
    assert (model.instructions, second.instructions, third.temperature) == ("Answer the email.", "Be brief.", 0.2)
    assert reply.responder_id == model.id


def test_a_version_holds_everything_that_makes_its_replies(s: Session, project: Project, manager: Reviewer) -> None:
    a_prompt(s, project, extra={"columns": "a"})
    remote = RemoteModel("https://api.example.com/v1", "gpt-4", "PICKWELL_KEY_OPENAI", 2.5, 10.0)
    contestant = ResponderSpec(remote, HONEYCOMB, Sampling(0.3, 0.9, 99))
    made = create_responder(s, by=manager.id, project_id=project.id, name="GPT-4", spec=contestant)
    s.expire(made)
    assert made.kind is ResponderKind.REMOTE
    found = spec_of(made)
    assert found == replace(contestant, prompt=replace(HONEYCOMB, examples=tuple(HONEYCOMB.examples)))
    frozen = sure(_prompt_of(s, project_id=project.id, responder_id=made.id))
    assert prompt_format(frozen) == found.prompt, "training renders by the very same prompt"
    assert cost_of(made, 1_000_000, 100_000) == pytest.approx(3.5)


@pytest.mark.parametrize("text", ["Where is parcel number 7 that I ordered in May? Please answer soon, I am waiting."])
def test_an_example_from_the_held_out_side_or_with_turn_marks_is_refused(s: Session, text: str) -> None:
    project = a_project(s)
    by, model = a_reviewer(s, project), a_model(s, project)
    a_prompt(s, project, held_out=True, text=text)
    given: dict[str, Any] = {"by": by.id, "project_id": project.id, "name": "Shots"}
    version = model.model_version_id or 0
    with pytest.raises(Refused, match="stands among the held-out prompts"):
        create_responder(
            s, spec=ResponderSpec(version, PromptFormat("", examples=[(text.upper().lower(), "Soon.")])), **given
        )
    with pytest.raises(Refused, match="end of a turn"):
        create_responder(s, spec=ResponderSpec(version, PromptFormat("Answer.<|im_end|>")), **given)


def test_two_versions_are_tried_on_the_same_prompts_and_one_is_kept(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "LINGER", 0.0)
    with session() as s:
        project = a_project(s)
        by, model = a_reviewer(s, project), a_model(s, project, name="Base")
        prompts = [a_prompt(s, project).id for _ in range(3)]
        first = spec_of(model)
        project_id, person, base = project.id, by.id, model.id
        start_trial(s, by=person, project_id=project_id, spec=first, prompt_ids=prompts, base=base)
        brief = replace(first, prompt=PromptFormat("Be brief."))
        second = start_trial(s, by=person, project_id=project_id, spec=brief, prompt_ids=prompts, base=base)
        again = start_trial(s, by=person, project_id=project_id, spec=brief, prompt_ids=prompts[:1], base=base)
        assert again.id == second.id
        runs = list(s.scalars(select(GenerationRun)))
        assert len(runs) == 1, "an engine that is on its way answers for both"
        second_id = second.id
    worker.run(unmanaged_progress("generation", runs[0].id))
    with reading() as s:
        both = list_tried_versions(s, project_id=project_id)
        assert [(one.responder.name, one.prompts, one.answered) for one in both] == [("Base v2", 3, 3), ("Base", 3, 3)]
        old, new = both[1].responder, both[0].responder
        assert [(d.part, d.before, d.after) for d in differences(old, new)] == [
            ("System prompt", "Answer the email.", "Be brief.")
        ]
        found = trial_answers(s, responder=new, prompt_ids=prompts)
        assert set(found) == set(prompts)
        assert all(one.completion_tokens and one.seconds is not None for one in found.values())
        assert {cost_of(new, one.prompt_tokens, one.completion_tokens) for one in found.values()} == {None}
        assert [one.responder.name for one in list_responders(s, project_id=project_id)] == ["Base"]
    with session() as s:
        keep_responder(s, by=person, responder_id=second_id, name="Brief")
        assert [one.responder.name for one in list_responders(s, project_id=project_id)] == ["Base", "Brief"]


def test_held_out_prompts_are_not_tried_on(s: Session, project: Project) -> None:
    by, model = a_reviewer(s, project), a_model(s, project)
    held_out = a_prompt(s, project, held_out=True)
    given: dict[str, Any] = {"by": by.id, "project_id": project.id, "spec": spec_of(model)}
    with pytest.raises(Refused, match="for the blind evaluation only"):
        start_trial(s, prompt_ids=[held_out.id], **given)
    with pytest.raises(Refused, match="Choose 1 to 20 prompts"):
        start_trial(s, prompt_ids=[], **given)


def test_the_workbench_shows_what_the_model_reads(s: Session, project: Project) -> None:
    prompt = a_prompt(s, project, text="Where is it?", context="Order 7")
    remote = ResponderSpec(RemoteModel("https://api.example.com/v1", "gpt-4"), PromptFormat("Answer."))
    text, note = render_for_model(s, spec=remote, prompt=prompt)
    assert text == "[system]\nAnswer.\n\n[user]\nOrder 7\n\nWhere is it?"
    assert "endpoint puts its own marks" in note


def test_a_trial_needs_no_held_responder(s: Session, project: Project) -> None:
    by, version = a_reviewer(s, project), a_model(s, project).model_version_id
    prompt = a_prompt(s, project)
    fresh = ResponderSpec(version or 0, PromptFormat("Rhyme."))
    made = start_trial(s, by=by.id, project_id=project.id, spec=fresh, prompt_ids=[prompt.id])
    assert (made.name, made.listed, made.parent_id) == ("Try 1", False, None)
    assert s.get_one(ModelVersion, version) is made.model_version
    assert isinstance(made, Responder)
