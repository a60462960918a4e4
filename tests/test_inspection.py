"""What a frozen Snapshot would teach: the figures, the tokens as the model has them, and the page."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import streamlit
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session
from streamlit.testing.v1 import AppTest

from db.models import Correction, ModelVersion, Ranking, Reveal, Role, Snapshot, Split
from db.people import ensure_reviewer, ensure_role
from db.session import reading, session
from errors import BadTemplate, BrokenModel, NotAllowed, NotFound, Refused
from intake.sample import load_sample
from llm.template import PromptFormat
from settings import ROOT
from stats.intervals import proportion
from stats.verdicts import Outcome
from tests.app_pages import drawn_by, open_page, press, said
from tests.factories import (
    a_comparison,
    a_human,
    a_model,
    a_project,
    a_prompt,
    a_ranking,
    a_response,
    a_reviewer,
    saved,
    sure,
)
from training.data.classes_and_values import Labels, Values, find_tasks, parse_amount
from training.data.inspected_rows import InspectedRow, Remark, RowSource, filter_by_source
from training.data.inspecting import RowTokenizer, count_tokens, inspect_snapshot, load_row_tokenizer
from training.data.inspection import (
    RowFilter,
    bins,
    compare_lengths,
    disagreement,
    find_repetition,
    opening,
    responder_finding,
    responder_wins,
    select_rows,
)
from training.data.rows import FrozenRow
from training.data.snapshot import freeze, snapshot_folder
from training.data.token_fit import RowTokens, cut_pieces, fit, join_pieces
from ui.data_charts import pieces_html

CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def a_row(chosen: str = "Yes, it is.", rejected: str = "No.", number: int = 1, **fields: Any) -> InspectedRow:
    """A row by a person, of a prompt of its own; fields of the frozen row or of what is known of it."""
    frozen = {name: fields.pop(name) for name in list(fields) if name in FrozenRow.__dataclass_fields__}
    row = FrozenRow(
        prompt=PromptFormat("Be brief.").messages(f"Question {number}?"),
        chosen=[{"role": "assistant", "content": chosen}],
        rejected=[{"role": "assistant", "content": rejected}],
        **{
            "prompt_id": number,
            "chosen_id": 2 * number,
            "rejected_id": 2 * number + 1,
            "ranking_id": number,
            "correction_id": None,
            "reviewer": "Ana",
            "simulated": False,
            **frozen,
        },
    )
    known = {"number": number, "split": Split.TRAIN, "chosen_by": "Rosalind", "rejected_by": "Dev", **fields}
    return InspectedRow(frozen=row, **known)


def rows_of(*chosen: str, rejected: str = "No.", **fields: Any) -> list[InspectedRow]:
    return [a_row(text, rejected, number, **fields) for number, text in enumerate(chosen, start=1)]


SEEN = st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=60)


@given(SEEN)
def test_a_share_lies_in_its_interval_and_turns_round_with_what_is_counted(seen: list[tuple[int, bool]]) -> None:
    found, turned = proportion(seen), proportion([(prompt, not holds) for prompt, holds in seen])
    assert 0 <= found.low <= found.rate <= found.high <= 1 or not seen
    assert (turned.count, turned.n) == (found.n - found.count, found.n)
    assert (turned.low, turned.high) == pytest.approx((1 - found.high, 1 - found.low), abs=1e-9)


def test_rows_of_one_prompt_count_as_less_than_rows_of_many() -> None:
    apart = proportion([(prompt, prompt % 3 > 0) for prompt in range(30)])
    together = proportion([(prompt // 3, prompt // 3 % 3 > 0) for prompt in range(30)])
    assert apart.rate == pytest.approx(2 / 3)
    assert together.high - together.low > 1.3 * (apart.high - apart.low)


def test_no_rows_tell_nothing() -> None:
    assert (proportion([]).low, proportion([]).high) == (0.0, 1.0)
    assert not compare_lengths([]).finding.warns
    assert bins({"chosen": []}) == []
    assert (responder_wins([]), find_tasks([]), find_repetition([], prose=True).findings) == ([], (), ())
    assert fit([], limit=10).longest == 0
    assert disagreement([], left_out=0).ranked_by_several == 0


WORDS = st.integers(0, 12).map(lambda n: "word " * n)


@given(st.lists(st.tuples(WORDS, WORDS), max_size=30))
def test_turning_every_pair_round_turns_the_longer_ones_share_round(pairs: list[tuple[str, str]]) -> None:
    found = compare_lengths([a_row(*pair, number) for number, pair in enumerate(pairs, 1)])
    turned = compare_lengths([a_row(*pair[::-1], number) for number, pair in enumerate(pairs, 1)])
    assert turned.longer.count == found.longer.n - found.longer.count
    assert [-one for one in turned.differences] == list(found.differences)


def test_the_finding_claims_what_the_interval_allows() -> None:
    longer = rows_of(*["one two three"] * 20)
    assert compare_lengths(longer).finding.sentence.startswith(
        "The longer reply won in 100 % [84, 100] of 20 pairs: a model"
    )
    assert compare_lengths(longer).finding.warns
    mixed = [*longer[:5], *(replace(a_row("a", "a b", n)) for n in range(21, 27))]
    assert compare_lengths(mixed).finding.sentence.endswith("no sign that length decides.")
    assert "shorter" in compare_lengths(rows_of(*["a"] * 20, rejected="a b c")).finding.sentence


def test_nothing_simulated_is_called_a_persons_word() -> None:
    rule = rows_of(*["one two three"] * 20, simulated=True)
    assert "20 simulated pairs (no person chose)" in compare_lengths(rule).finding.sentence
    both = [*rule, *(a_row("a b c", "a", number) for number in range(21, 31))]
    assert "30 pairs, 20 of them simulated" in compare_lengths(both).finding.sentence
    assert len(filter_by_source(both, RowSource.PEOPLE)) == 10
    assert filter_by_source(both, RowSource.ALL) == both
    assert len(filter_by_source(both, RowSource.SIMULATED)) == 20


@given(
    st.lists(st.floats(-1e4, 1e4).map(lambda x: round(x, 2)), max_size=40),
    st.lists(st.integers(-2000, 2000), max_size=40),
)
@example([], [5])
@example([0.1], [])
def test_every_value_is_in_one_bar(chosen: list[float], rejected: list[float]) -> None:
    found = bins({"chosen": chosen, "rejected": rejected}, most=12)
    for side, values in (("chosen", chosen), ("rejected", rejected)):
        assert sum(one.count for one in found if one.side == side) == len(values)
    assert len({one.low for one in found}) <= 13


def test_a_responder_wins_the_rows_in_which_its_reply_is_chosen_beside_anothers() -> None:
    rows = [
        *rows_of(*["a b"] * 18),
        a_row(number=19, chosen_by="Dev", rejected_by="Rosalind"),
        a_row(number=20, chosen_by="Dev", rejected_by="Dev"),
        a_row(number=21, chosen_by="Correction by Ana", correction_id=1, ranking_id=None),
    ]
    rosalind, dev = responder_wins(rows)
    assert (rosalind.responder, rosalind.won.count, rosalind.won.n, dev.won.count) == ("Rosalind", 18, 19, 1)
    assert (rosalind.corrected, dev.corrected) == (0, 1)
    assert "Rosalind were chosen in 95 %" in responder_finding([rosalind, dev], rows).sentence
    alone = [a_row(chosen_by="Dev")]
    assert "No row sets two" in responder_finding(responder_wins(alone), alone).sentence


def test_pairs_that_several_people_saw_tell_how_far_they_disagree() -> None:
    same, even, other = Outcome.WIN, Outcome.TIE, Outcome.LOSS
    said = [(same,), (same, same), (same, even), (same, other), (same, even, other), ()]
    rows = [a_row(number=number, outcomes=outcomes) for number, outcomes in enumerate(said, 1)]
    found = disagreement([*rows, a_row(number=9, correction_id=1)], left_out=3)
    assert (found.pairs, found.ranked_by_several, found.opposite.count, found.ties) == (6, 4, 2, 1)
    assert "50 % [" in found.finding.sentence
    assert "3 more orders were left out" in found.finding.sentence
    assert "None of the 1 ranked pairs" in disagreement(rows[:1], left_out=0).finding.sentence


def test_our_trainer_refuses_what_plain_trl_would_drop_or_cut() -> None:
    tokens = [
        RowTokens(1, prompt=10, chosen=5, rejected=5, ends=(3, 3)),
        RowTokens(2, prompt=10, chosen=11, rejected=5, ends=(9, 3)),  # loses only what follows its end
        RowTokens(3, prompt=18, chosen=5, rejected=9, ends=(3, 7)),
        RowTokens(4, prompt=20, chosen=5, rejected=5, ends=(3, 3)),
        RowTokens(5, prompt=3, chosen=5, rejected=5, ends=(3, None), misaligned=True),
    ]
    found = fit(tokens, limit=20)
    assert found.too_long == (2, 3, 4)
    assert (found.dropped, found.cut, found.endless, found.lost_tokens) == (1, (2, 1), 2, 1 + 3 + 7 + 10)
    assert "Choose a longest row of at least 27 tokens" in found.finding.sentence
    assert (found.misaligned, found.without_end) == ((5,), (5,))
    assert len(found.refusals) == 2
    assert "drop 1 whose prompt alone fills it and cut the tail off 2 chosen and 1 rejected" in str(found.plain_trl)
    assert fit(tokens, limit=27).plain_trl is None
    assert not fit(tokens, limit=27).finding.warns


@given(
    st.lists(st.builds(RowTokens, st.integers(1, 9), *[st.integers(0, 40)] * 3, st.just((0, 0)))), st.integers(1, 90)
)
def test_what_plain_trl_harms_is_what_our_trainer_refuses(tokens: list[RowTokens], limit: int) -> None:
    found = fit(tokens, limit=limit)
    harmed = [row for row in tokens if row.prompt >= limit or row.length > limit]
    assert len(harmed) == len(found.too_long) + sum(row.prompt == limit == row.length for row in tokens)
    assert (found.lost_tokens > 0) <= bool(harmed)


SPANS = st.lists(st.tuples(st.integers(-1, 3), st.integers(0, 3), st.booleans()), max_size=30)


@given(st.text(max_size=40), SPANS)
def test_pieces_are_the_text_and_count_every_token(text: str, steps: list[tuple[int, int, bool]]) -> None:
    spans, place = [], 0
    for gap, width, special in steps:
        start = min(len(text), max(0, place + gap))
        place = min(len(text), start + width)
        spans.append((start, place, special))
    for found in (cut_pieces(text, spans), join_pieces(cut_pieces(text, spans))):
        assert "".join(one.text for one in found) == text
        assert sum(one.tokens for one in found) == len(spans)


def test_a_character_of_several_tokens_is_one_piece() -> None:
    found = cut_pieces("a📚b", [(0, 1, False), (1, 2, False), (1, 2, False), (1, 2, False), (2, 3, False)])
    assert [(one.text, one.tokens) for one in found] == [("a", 1), ("📚", 3), ("b", 1)]


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("120", 120, ""),
        ("About 1,250.50 €", 1250.5, "€"),
        ("1.250,5", 1250.5, ""),
        ("$5k", 5000, "$"),
        ("2.5 million USD", 2_500_000, "usd"),
        ("-3 hours", -3, "hours"),
        ("12 500 kg.", 12500, "kg"),
        (".5", 0.5, ""),
        ("1.234", 1.234, ""),
    ],
)
def test_an_amount_is_read_with_its_unit(text: str, value: float, unit: str) -> None:
    found = sure(parse_amount(text))
    assert (float(found.value), found.unit) == (value, unit)


@pytest.mark.parametrize("text", ["", "none", "10 to 15", "2024-01-05", "We can send it in 3 days", "9" * 40])
def test_what_is_no_amount_is_none(text: str) -> None:
    assert parse_amount(text) is None


def test_prose_is_no_task_of_classes_or_values() -> None:
    assert find_tasks(rows_of(*(f"Thank you for letter {n}, we will answer it soon." for n in range(40)))) == ()
    assert find_tasks(rows_of(*(f"Name number {'x' * n}" for n in range(40)))) == ()


def test_labels_that_are_rare_or_always_right_are_told() -> None:
    rows = rows_of(*["Refund"] * 30, *["delivery."] * 3, rejected="DELIVERY")
    (found,) = find_tasks(rows)
    assert isinstance(found, Labels)
    assert [(one.label, one.chosen, one.rejected) for one in found.counts] == [("Refund", 30, 0), ("delivery.", 3, 33)]
    assert "“Refund” is chosen in 91 %" in found.finding.sentence
    assert "too seldom to be learned: “delivery.”" in found.finding.sentence
    (even,) = find_tasks(rows_of(*["yes", "no"] * 10, rejected="I cannot say that of this at all"))
    assert isinstance(even, Labels)
    assert even.finding == Remark("The replies are one of 2 labels in 20 rows.")
    assert even.unlabelled == (0, 20)


def test_fields_of_json_are_looked_at_one_by_one() -> None:
    replies = [
        json.dumps({"class": "a" if n % 2 else "b", "price": 100 * n, "why": f"since {n} of them came"})
        for n in range(30)
    ]
    found = find_tasks(rows_of(*replies, rejected="no idea"))
    assert [(type(one), one.name) for one in found] == [(Labels, "class"), (Values, "price")]


def test_round_values_are_told_from_exact_ones() -> None:
    (guessed,) = find_tasks(rows_of(*(f"{50 * n} €" for n in range(1, 61)), rejected="7 €"))
    assert isinstance(guessed, Values)
    assert guessed.finding.warns
    assert "100 % are multiples of 10, where chance gives 10 %" in guessed.finding.sentence
    assert guessed.units == {"€": 60}
    assert guessed.digits[0] == 60
    (exact,) = find_tasks(rows_of(*(str(137 + 7 * n) for n in range(60))))
    assert isinstance(exact, Values)
    assert not exact.finding.warns
    (cents,) = find_tasks(rows_of(*(f"{n}.{37 * n % 100:02}" for n in range(11, 60)), *["70", "80", "90"]))
    assert isinstance(cents, Values)
    assert cents.rounds[0].base == 1
    assert cents.rounds[0].chance == 0.01


def test_marks_from_a_scale_are_classes() -> None:
    (found,) = find_tasks(rows_of(*["1", "3", "5"] * 10, rejected="2"))
    assert isinstance(found, Labels)


@given(st.lists(st.one_of(st.text(max_size=12), st.integers().map(str), st.floats().map(str)), min_size=1, max_size=12))
def test_any_text_can_be_looked_at(texts: list[str]) -> None:
    rows = rows_of(*texts * 3)
    for one in find_tasks(rows):
        assert one.finding.sentence
    find_repetition(rows, prose=True)


@given(st.lists(st.integers(-10_000, 10_000), min_size=10, max_size=60))
def test_more_values_than_there_are_are_never_round(numbers: list[int]) -> None:
    for found in find_tasks(rows_of(*map(str, numbers))):
        if isinstance(found, Values):
            assert all(0 <= one.count <= one.n <= len(numbers) and 0 <= one.p <= 1 for one in found.rounds)
            assert sum(found.digits) == len([n for n in numbers if abs(n) >= 10])


def test_pasted_texts_shared_openings_and_faults_are_counted() -> None:
    letter = "Dear {}, thank you for your kind letter, which {} us."
    rows = [
        *rows_of(*(letter.format(name, name) for name in ("Ann", "Ben", "Cy", "Di", "Ed", "Flo"))),
        a_row("We are  sorry.", number=7, chosen_cut=True),
        a_row("We are sorry.", number=8, nearly_same=True, correction_id=4),
        a_row(" ", number=9),
    ]
    found = find_repetition(rows, prose=True)
    assert [(one.text, one.prompts) for one in found.texts] == [("We are sorry.", 2)]
    assert (found.openings[0].words, found.openings[0].chosen) == ("thank you for your kind", 6)
    assert (found.pasted, found.cut, found.empty, found.near, found.near_corrections) == (2, (1, 0), (1, 0), (8,), 1)
    assert len(found.findings) == 5
    assert not find_repetition(rows, prose=False).texts
    assert opening("Too short") is None


def test_rows_are_read_in_an_order_that_a_seed_fixes() -> None:
    rows = rows_of(*(f"word {'more ' * n}" for n in range(30)))
    first = select_rows(rows, seed=1)
    assert first == select_rows(rows[::-1], seed=1)
    assert first != select_rows(rows, seed=2)
    assert sorted(one.number for one in first) == list(range(1, 31))
    assert select_rows(rows, which=RowFilter.LONGEST)[0].number == 30
    assert select_rows(rows, which=RowFilter.SHORTEST)[0].number == 1
    assert select_rows(rows, which=RowFilter.LONGEST, tokens={1: 99})[0].number == 1


def test_rows_are_filtered() -> None:
    rows = [
        a_row(number=1, simulated=True, reviewer="Rule (simulated)"),
        a_row(number=2, synthetic=True),
        a_row(number=3, correction_id=1),
        a_row("Yes.", "No, I do not.", number=4, reviewer="Ben"),
    ]
    kinds = {which: [one.number for one in select_rows(rows, which=which)] for which in RowFilter}
    assert (kinds[RowFilter.SIMULATED], kinds[RowFilter.SYNTHETIC], kinds[RowFilter.CORRECTIONS]) == ([1], [2], [3])
    assert kinds[RowFilter.SHORTER_WON] == [4]
    assert [one.number for one in select_rows(rows, reviewer="Ben")] == [4]


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a byte-level tokenizer of 1000 tokens and a ChatML template; no weights."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1000,
        special_tokens=["<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train([str(ROOT / "examples" / "publisher_emails" / "train.jsonl")], trainer)
    folder = tmp_path_factory.mktemp("model")
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "chat_template": CHAT}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def reader(s: Session, folder: Path, **fields: Any) -> RowTokenizer:
    version = saved(s, ModelVersion, name=f"Model in {folder.name}", location=str(folder), **fields)
    return load_row_tokenizer(s, model_id=version.id)


def test_a_row_is_cut_into_the_tokens_that_the_model_reads(s: Session, small_model: Path) -> None:
    found = reader(s, small_model)
    row = a_row("Thank you 📚\nBye", "No. ")
    read = found.read(row)
    (counted,) = count_tokens(found, [row])
    assert counted == read.tokens
    prompt, chosen = ("".join(one.text for one in part) for part in (read.prompt, read.chosen))
    assert prompt == found.text(row.frozen.prompt, reply_next=True)
    assert chosen == "Thank you 📚\nBye<|im_end|>\n"
    assert [one.text for one in read.chosen if one.special] == ["<|im_end|>"]
    assert sum(one.tokens for one in read.prompt) == counted.prompt
    assert sum(one.tokens for one in read.rejected) == counted.rejected
    assert counted.ends == (counted.chosen - 2, counted.rejected - 2)
    assert not counted.misaligned


def test_a_reply_with_the_models_own_mark_and_a_template_that_changes_the_prompt_are_noticed(
    s: Session, small_model: Path, tmp_path: Path
) -> None:
    marked = count_tokens(reader(s, small_model), [a_row("Yes.<|im_end|> More.")])
    assert marked[0].ends[0] is None
    (tmp_path / "tokenizer.json").write_text((small_model / "tokenizer.json").read_text())
    told = "{{ messages | length }}" + CHAT
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|im_end|>", "chat_template": told}))
    apart = reader(s, tmp_path)
    (counted,) = count_tokens(apart, [a_row()])
    assert (counted.misaligned, counted.prompt) == (True, 0)
    assert "".join(one.text for one in apart.read(a_row()).chosen).startswith("3<|im_start|>")


def test_counting_tells_how_far_it_is_and_names_the_rows_that_a_template_refuses(
    s: Session, tmp_path: Path, small_model: Path
) -> None:
    heard: list[tuple[int, int]] = []
    rows = rows_of(*["Yes."] * 501)
    count_tokens(reader(s, small_model), rows, on_progress=lambda done, of: heard.append((done, of)))
    assert heard == [(250, 501), (500, 501), (501, 501)]
    (tmp_path / "tokenizer.json").write_text((small_model / "tokenizer.json").read_text())
    (tmp_path / "chat_template.jinja").write_text("{{ raise_exception('no system turn') }}")
    with pytest.raises(BadTemplate, match=r"Rows 1 to 3: .*no system turn"):
        count_tokens(reader(s, tmp_path), rows[:3])


def test_a_model_without_a_tokenizer_here_says_what_to_do(s: Session, tmp_path: Path) -> None:
    with pytest.raises(BrokenModel, match=r"tokenizer of .* is not on this machine"):
        reader(s, tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(BrokenModel, match="chat template of"):
        load_row_tokenizer(s, model_id=s.scalars(select(ModelVersion.id)).one())
    (tmp_path / "chat_template.jinja").write_text(CHAT)
    with pytest.raises(BrokenModel, match="cannot be read as a tokenizer"):
        load_row_tokenizer(s, model_id=s.scalars(select(ModelVersion.id)).one())
    with pytest.raises(NotFound):
        load_row_tokenizer(s, model_id=99)


def test_an_adapter_that_is_not_merged_yet_is_read_by_its_parents_tokenizer(s: Session, small_model: Path) -> None:
    parent = saved(s, ModelVersion, name="Parent", location=str(small_model))
    folder = small_model / "not-merged"
    assert reader(s, folder, adapter="LORA", adapter_folder="x", parent_id=parent.id).chat_template == CHAT


def test_what_a_template_adds_is_coloured_and_no_text_becomes_html() -> None:
    found = cut_pieces("<b>\n<|im_end|>", [(0, 3, False), (3, 4, False), (4, 14, True)])
    assert pieces_html(found, cut=False) == "&lt;b&gt;\n<b>&lt;|im_end|&gt;</b>"
    assert pieces_html(found, cut=True) == "<i>&lt;b&gt;</i><i><u>↵</u>\n</i><b>&lt;|im_end|&gt;</b>"


@pytest.mark.slow
def test_tokens_are_those_of_the_trainer(s: Session, default_model: Path) -> None:
    from training.trainer.guards import encode_row
    from training.trainer.weights import load_tokenizer

    file = ROOT / "examples" / "publisher_emails" / "train.jsonl"
    texts = [json.loads(line)["reply_dev"] for line in file.read_text().splitlines()]
    rows = rows_of(*texts, "Ünïcode 📚 \n\n  spaces ", rejected="No.\n")
    found = reader(s, default_model)
    tokenizer = load_tokenizer(str(default_model), expected=None)
    for row, counted in zip(rows, count_tokens(found, rows), strict=True):
        theirs = encode_row(
            tokenizer, row.frozen.prompt_id, row.frozen.prompt, (row.frozen.chosen, row.frozen.rejected)
        )
        assert (counted.prompt, *counted.replies) == (len(theirs.prompt), *map(len, theirs.replies))
        assert not counted.misaligned
        assert None not in counted.ends


def a_frozen_project(s: Session, **fields: Any) -> tuple[Snapshot, int]:
    """A Snapshot of eleven pairs that one person ranked, the first of them three people; and the manager's id."""
    project = a_project(s)
    by = a_reviewer(s, project, Role.MANAGER, Role.ANNOTATOR)
    others = [a_reviewer(s, project, Role.ANNOTATOR) for _ in range(3)]
    ann, model = a_human(s, project, name="Ann"), a_model(s, project, name="Base")
    for number in range(11):
        prompt = a_prompt(s, project)
        mine = a_response(s, prompt, ann, text=f"It left on day {number}, by post.")
        theirs = a_response(s, prompt, model, text="Gone", finish_reason="length" if number == 1 else "stop")
        pair = a_comparison(s, mine, theirs)
        a_ranking(s, pair, others[0], mine, theirs)
        if number == 0:
            tie = a_ranking(s, pair, others[1], mine, theirs, both_bad=True)
            for placement in tie.placements:
                placement.place = 1
            rule = a_reviewer(s, project, name="Rule", simulated=True, rule="Shorter is better.")
            a_ranking(s, pair, rule, theirs, mine)
        if number == 2:
            s.add(Correction(response_id=theirs.id, reviewer_id=others[2].id, text="It has gone."))
    s.flush()
    return freeze(s, by=by.id, project_id=project.id), by.id


@pytest.mark.both_databases
def test_rows_come_with_who_wrote_them_and_what_people_said(s: Session) -> None:
    snapshot, by = a_frozen_project(s)
    found = inspect_snapshot(s, by=by, project_id=snapshot.project_id, snapshot_id=snapshot.id)
    assert [one.number for one in found.rows] == list(range(1, 13))
    correction = next(one for one in found.rows if one.corrected)
    assert (correction.chosen_by, correction.rejected_by) == (f"Correction by {correction.frozen.reviewer}", "Base")
    assert correction.outcomes == ()
    assert len(correction.comparison_ids) == 1
    several = next(one for one in found.rows if len(one.outcomes) > 1)
    assert sorted(several.outcomes) == [Outcome.TIE, Outcome.WIN]
    assert sum(one.rejected_cut for one in found.rows) == 1
    assert not any(one.chosen_cut or one.nearly_same for one in found.rows)
    assert {one.chosen_by for one in found.rows if not one.corrected} == {"Ann"}
    assert found.opposite_orders == 1, "the rule said the opposite"


def test_only_a_manager_of_the_project_looks_and_only_at_what_was_frozen(s: Session) -> None:
    snapshot, by = a_frozen_project(s)
    other = a_reviewer(s, a_project(s))
    with pytest.raises(NotAllowed):
        inspect_snapshot(s, by=other.id, project_id=snapshot.project_id, snapshot_id=snapshot.id)
    with pytest.raises(NotFound):
        inspect_snapshot(s, by=by, project_id=snapshot.project_id, snapshot_id=99)
    file = snapshot_folder(snapshot) / "train.jsonl"
    file.write_text(file.read_text().replace("It left", "It stayed"))
    with pytest.raises(Refused, match="changed after it was frozen"):
        inspect_snapshot(s, by=by, project_id=snapshot.project_id, snapshot_id=snapshot.id)


@pytest.fixture
def _nothing_kept() -> Iterator[None]:
    streamlit.cache_resource.clear()
    yield
    streamlit.cache_resource.clear()


def cards(page: AppTest) -> list[str]:
    bodies = [one.proto.body for one in page.get("html")]
    return [body for body in bodies if "pw-read" in body and "<style>" not in body]


@pytest.mark.usefixtures("_nothing_kept", "database")
def test_the_page_tells_before_a_freeze_what_to_do() -> None:
    with session() as s:
        project = a_project(s)
        by = a_reviewer(s, project).id
        project_id = project.id
    assert "Freeze a snapshot on the page Freeze" in said(open_page("look_at_data", project_id=project_id, by=by))


@pytest.mark.usefixtures("_nothing_kept", "database")
def test_the_page_shows_the_sample_projects_figures_and_its_rows_as_the_model_reads_them(small_model: Path) -> None:
    with session() as s:
        project_id = load_sample(s, most=60).id  # they load in a second
        by = ensure_reviewer(s, name="Mara").id
        for role in (Role.MANAGER, Role.ANNOTATOR):
            ensure_role(s, project_id=project_id, reviewer_id=by, role=role)
        s.add(ModelVersion(name="small", location=str(small_model)))
        freeze(s, by=by, project_id=project_id)
    page = open_page("look_at_data", project_id=project_id, by=by)
    told = said(page)
    assert "simulated pairs (no person chose)" in told
    assert "rows fit into 1,024 tokens" in told
    assert "Labels" not in [one.value for one in page.subheader]
    next(one for one in page.number_input).set_value(128).run()
    assert "rows are longer than 128 tokens" in said(page)
    page.segmented_control(key="look_view").set_value("Read rows").run()
    assert not page.exception
    assert cards(page) == []
    next(one for one in page.button if one.label.startswith("Show them")).click().run()
    first = cards(page)
    assert len(first) == 10
    assert all("simulated: no person said so" in card and "<b>&lt;|im_end|&gt;</b>" in card for card in first)
    with reading() as s:
        assert len(s.scalars(select(Reveal.comparison_id).where(Reveal.reviewer_id == by)).all()) == 10
    press(page, "Another ten")
    assert set(cards(page)).isdisjoint(first)
    page.toggle(key="look_cut").set_value(True).run()
    assert "<i>" in cards(page)[0]
    page.selectbox(key="look_which").set_value(RowFilter.SHORTER_WON).run()
    assert not page.exception


@pytest.mark.usefixtures("_nothing_kept", "database")
def test_without_a_tokenizer_the_page_shows_all_the_rest() -> None:
    with session() as s:
        snapshot, _ = a_frozen_project(s)
        project_id = snapshot.project_id
        person = sure(s.scalars(select(Ranking.reviewer_id)).first())
        ensure_role(s, project_id=project_id, reviewer_id=person, role=Role.MANAGER)
    page = open_page("look_at_data", project_id=project_id, by=person)
    told = said(page)
    assert "The longer reply won in 100 %" in told
    assert "is not on this machine" in told
    assert "1 of 11 ranked pairs were seen by several people" in told
    page.segmented_control(key="look_view").set_value("Read rows").run()
    assert not page.exception
    assert len(cards(page)) == 10, "who ranked every pair already has nothing to give up"
    assert "[system]" in cards(page)[0]


def test_classes_and_values_are_drawn() -> None:
    def charts() -> None:
        from tests.test_inspection import rows_of
        from training.data.classes_and_values import Labels
        from training.data.inspection import figures
        from ui.data_charts import digit_bars, label_bars, round_bars

        for texts in (["yes", "no"] * 10, [f"{n}.50 €" for n in range(11, 60)]):
            for one in figures(rows_of(*texts, rejected="maybe"), left_out=0).task:
                if isinstance(one, Labels):
                    label_bars(one)
                else:
                    round_bars(one)
                    digit_bars(one.digits)

    assert len(drawn_by(charts).get("vega_lite_chart")) == 3
