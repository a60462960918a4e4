"""Putting cards in order by keys: places are dense or nothing is submitted, whatever is pressed."""

from collections.abc import Sequence
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.comparisons import MAX_RESPONSES, MIN_RESPONSES
from review.slots import BestWorst, Slots, card_letter, dense_places, describe_order
from stats.verdicts import Order, Verdict


def pressed(cards: int, keys: str) -> Slots:
    """What keys come to: digits, `<` and `>` for the focus, `!` for Enter."""

    def press(state: Slots, key: str) -> Slots:
        if key in "<>":
            return state.move(1 if key == ">" else -1)
        return state.enter() if key == "!" else state.digit(int(key))

    return reduce(press, keys, Slots.empty(cards))


def named(keys: str) -> BestWorst:
    return reduce(lambda state, key: state.enter() if key == "!" else state.digit(int(key)), keys, BestWorst())


def is_dense(places: Sequence[int]) -> bool:
    return sorted(set(places)) == list(range(1, len(set(places)) + 1))


@pytest.mark.parametrize(
    ("keys", "places"),
    [
        ("2143!", (2, 1, 4, 3)),
        ("1122!", (1, 1, 2, 2)),
        ("1133!", (1, 1, 2, 2)),
        ("4444!", (1, 1, 1, 1)),
        ("2143<1!", (2, 1, 1, 3)),
        (">>1243!", (4, 3, 1, 2)),
        ("!!", (1, 2, 3, 4)),
        ("!2143!", (2, 1, 4, 3)),
    ],
)
def test_digits_put_the_focused_card_in_a_place_and_enter_submits(keys: str, places: tuple[int, ...]) -> None:
    assert pressed(4, keys).submitted == places


def test_the_focus_goes_to_the_next_card_without_a_place_and_round_at_the_ends() -> None:
    assert [pressed(3, keys).focus for keys in ("", "1", "12", "123", "<", "<3", ">3", ">>>")] == [
        0,
        1,
        2,
        2,
        2,
        0,
        2,
        0,
    ]


def test_a_card_without_a_place_is_asked_for_by_its_letter() -> None:
    one = pressed(3, "12!")
    assert (one.submitted, one.message) == (None, "Place card C too, then Enter.")
    assert pressed(4, "1!").message == "Place cards B, C and D too, then Enter."


def test_the_order_as_shown_is_saved_only_after_a_warning_that_nothing_came_between() -> None:
    warned = pressed(3, "!")
    assert warned.submitted is None
    assert warned.message == "You have placed nothing. Enter again saves the order as it is shown: A, B, C, best first."
    assert pressed(3, "!>!").submitted is None
    assert pressed(3, "!>!!").submitted == (1, 2, 3)


def test_a_place_beyond_the_last_is_refused_and_changes_nothing() -> None:
    state = pressed(3, "14")
    assert (state.places, state.focus, state.message) == ((1, None, None), 1, "There are 3 places: press 1 to 3.")


@given(
    st.integers(MIN_RESPONSES, MAX_RESPONSES).flatmap(
        lambda n: st.tuples(st.just(n), st.text("1234567890<>!", max_size=30))
    )
)
def test_any_keys_give_dense_places_or_no_submission(case: tuple[int, str]) -> None:
    cards, keys = case
    state = pressed(cards, keys)
    assert 0 <= state.focus < cards
    assert all(place is None or 1 <= place <= cards for place in state.places)
    if state.submitted is not None:
        assert len(state.submitted) == cards
        assert is_dense(state.submitted)
        assert "!" in keys
        assert pressed(cards, keys + "1<!") == state, "nothing changes what was submitted"


@given(st.integers(MIN_RESPONSES, MAX_RESPONSES).flatmap(lambda n: st.lists(st.integers(1, n), min_size=n, max_size=n)))
def test_typing_each_place_submits_that_order_with_the_same_ties(typed: list[int]) -> None:
    places = pressed(len(typed), "".join(map(str, typed)) + "!").submitted
    assert places == dense_places(typed)
    assert all((typed[i] < typed[j]) == (places[i] < places[j]) for i in range(len(typed)) for j in range(len(typed)))


@given(st.text("12345!", max_size=12))
def test_best_and_worst_give_three_places_or_no_submission(keys: str) -> None:
    state = named(keys)
    if state.submitted is not None:
        assert sorted(state.submitted) == [1, 2, 2, 3]
    assert state.best is None or state.best != state.worst


@pytest.mark.parametrize(("keys", "places"), [("31!", (3, 2, 1, 2)), ("331!", (3, 2, 1, 2)), ("3142!", (2, 3, 2, 1))])
def test_the_first_digit_names_the_best_and_the_second_the_worst(keys: str, places: tuple[int, ...]) -> None:
    assert named(keys).submitted == places


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ("!", "Name the best card, then the worst, then Enter."),
        ("2!", "Name the worst card, then Enter."),
        ("22", "Card B is the best already; the worst has to be another one."),
        ("5", "There are 4 cards: press 1 to 4."),
    ],
)
def test_best_and_worst_say_what_is_missing(keys: str, sentence: str) -> None:
    assert (named(keys).message, named(keys).submitted) == (sentence, None)


def test_an_order_reads_from_the_best_to_the_worst() -> None:
    assert describe_order(Order((2, 2, 1, 3))) == "C, then A and B, then D"
    assert describe_order(Order((1, 1, 1))) == "A, B and C"
    assert describe_order(Order((1, 1, 1), none_good=True)) == "none can be sent"


def test_an_order_of_two_reads_as_a_verdict_with_its_strength() -> None:
    assert [describe_order(verdict.order, strength=2) for verdict in (Verdict.LEFT, Verdict.BOTH_BAD)] == [
        "left is better (much)",
        "both bad (much)",
    ]
    assert describe_order(Order((1, 2)), strength=1) == "left is better"


def test_as_many_are_offered_together_as_fit_the_screen_and_each_has_a_letter() -> None:
    assert card_letter(MAX_RESPONSES - 1) == "F"
    for cards in (MIN_RESPONSES - 1, MAX_RESPONSES + 1):
        with pytest.raises(ValueError, match="can be put in order"):
            Slots.empty(cards)
