"""Lengths of replies: quantiles in words, whose are the longer ones, and whether the longer one wins."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.orm import Session

import review.lengths
from db.models import Project, Role
from errors import NotAllowed
from review.lengths import MeasuredPair, length_balance, longer_sides, longer_won, summarize_lengths
from tests.factories import a_comparison, a_human, a_model, a_project, a_prompt, a_ranking, a_response, a_reviewer

PAIRS = st.lists(
    st.builds(
        MeasuredPair,
        st.tuples(st.sampled_from("abc"), st.sampled_from("abc")),
        st.tuples(st.integers(0, 9), st.integers(0, 9)),
        st.sampled_from([None, 0.0, 0.25, 0.5, 1.0]),
    ),
    max_size=40,
)


def mirrored(pair: MeasuredPair) -> MeasuredPair:
    better = None if pair.first_better is None else 1 - pair.first_better
    return MeasuredPair(pair.responders[::-1], pair.words[::-1], better)


def test_quantiles_are_in_words() -> None:
    found = summarize_lengths("Ann", [10, 20, 30, 40, 50], cut=1, known=4)
    assert (found.tenth, found.quarter, found.median, found.three_quarters, found.nine_tenths) == (14, 20, 30, 40, 46)
    assert (found.texts, found.cut_share) == (5, 0.25)
    assert summarize_lengths("Ann", [3], cut=0, known=0).cut_share is None
    with pytest.raises(ValueError, match="No lengths"):
        summarize_lengths("Ann", [], cut=0, known=0)


@given(PAIRS)
def test_which_side_a_reply_stands_on_changes_nothing(pairs: list[MeasuredPair]) -> None:
    turned = [mirrored(pair) for pair in pairs]
    assert longer_sides(turned) == longer_sides(pairs)
    assert longer_won(turned) == longer_won(pairs)


@given(PAIRS)
def test_the_interval_holds_the_rate_and_no_undecided_pair_counts(pairs: list[MeasuredPair]) -> None:
    found = longer_won(pairs)
    assert found.pairs == sum(p.words[0] != p.words[1] and p.first_better not in (None, 0.5) for p in pairs)
    assert 0 <= found.won <= found.pairs
    if found.pairs:
        assert found.low - 1e-9 <= found.won / found.pairs <= found.high + 1e-9


@pytest.mark.parametrize(
    ("longer", "shorter", "meaning"),
    [(128, 52, "length may decide"), (52, 128, "brevity may decide"), (10, 9, "no sign"), (0, 0, "No ranked pair")],
)
def test_what_it_means_is_said_in_one_sentence(longer: int, shorter: int, meaning: str) -> None:
    won = [MeasuredPair(("a", "b"), (9, 5), 1.0)] * longer + [MeasuredPair(("a", "b"), (9, 5), 0.0)] * shorter
    found = longer_won(won)
    assert meaning in found.sentence
    if longer == 128:
        assert "won 71% of 180 pairs" in found.sentence


@pytest.mark.both_databases
def test_a_projects_lengths_are_those_that_people_see(s: Session, project: Project) -> None:
    manager, ann = a_reviewer(s, project), a_reviewer(s, project, Role.ANNOTATOR)
    rule = a_reviewer(s, project, simulated=True)
    human, model = a_human(s, project, name="Rosalind Achterberg"), a_model(s, project, name="Model")
    for number in range(4):
        prompt = a_prompt(s, project)
        long = a_response(
            s, prompt, model, text=f"It left today, and it will come on day {number}.", finish_reason="length"
        )
        short = a_response(s, prompt, human, text=f"It left today {number}.\n\nKind regards,\nRosalind Achterberg")
        pair = a_comparison(s, long, short)
        a_ranking(s, pair, ann, long, short)
        a_ranking(s, pair, rule, short, long)
    tied = a_ranking(s, pair, manager, long, short)
    tied.placements[1].place = 1
    undone = a_prompt(s, project)
    a_comparison(s, a_response(s, undone, model, text="Now"), a_response(s, undone, human, text="It left now"))
    s.flush()

    found = length_balance(s, by=manager.id, project_id=project.id)

    assert [(one.label, one.texts, one.median, one.cut_share) for one in found.spreads] == [
        ("Model", 5, 10, 0.8),
        ("Rosalind Achterberg", 5, 4, None),
    ]
    assert [(one.label, one.pairs, one.longer, one.equal) for one in found.sides] == [
        ("Model", 5, 4, 0),
        ("Rosalind Achterberg", 5, 1, 0),
    ]
    assert (found.won.pairs, found.won.won) == (4, 4)
    with pytest.raises(NotAllowed):
        length_balance(s, by=ann.id, project_id=project.id)


def test_of_many_texts_some_are_measured(s: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(review.lengths, "MAX_TEXTS", 5)
    project = a_project(s)
    manager, human = a_reviewer(s, project), a_human(s, project)
    for _ in range(12):
        a_response(s, a_prompt(s, project), human)
    (found,) = length_balance(s, by=manager.id, project_id=project.id).spreads
    assert 3 <= found.texts <= 5
