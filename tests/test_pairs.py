"""The pause after a choice."""

import time

import pytest
import streamlit as st

from ui.pairs import Chosen, go_on_after_the_pause


def test_the_next_pair_comes_even_where_drawing_took_longer_than_the_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    monkeypatch.setattr(st, "rerun", lambda scope: drawn.append(scope))
    go_on_after_the_pause(None)
    assert drawn == []
    go_on_after_the_pause(Chosen(1, "LEFT", shown=None, at=time.monotonic() - 60))
    assert drawn == ["fragment"]
