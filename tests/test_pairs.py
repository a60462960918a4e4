"""The pause after a choice, and what is told of an odd text."""

import time

import pytest
import streamlit as st

from texts.shown import oddities
from ui.pairs import RecentChoice, oddity_note, wait_for_pause


def test_the_next_pair_comes_even_where_drawing_took_longer_than_the_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    monkeypatch.setattr(st, "rerun", lambda scope: drawn.append(scope))
    wait_for_pause(None)
    assert drawn == []
    wait_for_pause(RecentChoice(1, "LEFT", shown=None, at=time.monotonic() - 60))
    assert drawn == ["fragment"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Dear Ann, 3 < 4 and the page says hello. I aim to please.", []),
        ("See ![map](https://x.example/m.png)", ["an image link, not loaded"]),
        ("<script>alert(1)</script>", ["HTML, shown as text"]),
        ("Pay \u202e001\u202c now", ["hidden characters, made visible"]),
        ("\u05e9\u05dc\u05d5\u05dd!\u200f \u20668 May\u2069", []),
        ("As an AI language model, I cannot read letters.", ["says that it is an AI"]),
        ("I'm a chatbot <img src=x>", ["HTML, shown as text", "says that it is an AI"]),
    ],
)
def test_what_is_odd_about_a_text_is_told_beside_it(text: str, told: list[str]) -> None:
    assert oddities(text) == told
    assert ("pw-note" in oddity_note(text)) is bool(told)
