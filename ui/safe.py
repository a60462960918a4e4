"""The only way to show text that came from a file, a person or a model.

Streamlit's Markdown runs no scripts but does load images from anywhere, which would tell a stranger who reads what
and when, and could betray a reply's author. So such text is escaped and shown as it is, in `st.html`; and where
Streamlit insists on Markdown (labels, messages) every mark that means something is escaped.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Concatenate, ParamSpec

import streamlit as st
from sqlalchemy.orm import Session

from db.session import session
from errors import PickwellError
from texts.escape import escape_html, show_hidden

if TYPE_CHECKING:
    import pandas as pd

P = ParamSpec("P")
_FORMULA = re.compile(r"[\t\r\n]|\s*[=+\-@\uff1d\uff0b\uff0d\uff20]")
"""How a cell begins that a spreadsheet would take for a formula."""
WHOLE_TABLE_ROWS = 20
"""Rows that may all be seen at once, where a table is to be whole unless it is long."""
WRAP_FROM = 60
"""Characters from which on a cell's text breaks into lines."""
_LIVE = re.compile(r"(?i)(?<=http)(?=s?:)|(?<=www)(?=\.)|(?<=\w)(?=@)|(?<=:)(?=[a-z_]+:)")
"""Places in what Streamlit makes a link or a picture of, whatever is escaped there."""
_MARKS = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~$:&@/^=])")


def plain(text: str) -> str:
    """Text as Markdown that shows exactly the text, for labels and messages; line breaks become spaces."""
    return _MARKS.sub(r"\\\1", _LIVE.sub("\u2060", " ".join(show_hidden(text).split())))


def show_text(text: str) -> None:
    """One card with a text, line breaks kept."""
    st.html(f'<div class="pw-card pw-text">{escape_html(text)}</div>')


def show_table(rows: Sequence[Mapping[str, object]], *, whole: bool = False) -> None:
    """A table whose cells wrap; it scrolls when it is long, unless it is to be ``whole``."""
    if not rows:
        return
    head = "".join(f"<th>{escape_html(name)}</th>" for name in rows[0])
    body = "".join("<tr>" + "".join(_cell(str(value)) for value in row.values()) + "</tr>" for row in rows)
    kind = "pw-table pw-whole" if whole else "pw-table"
    st.html(f'<div class="{kind}"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>')


def _cell(text: str) -> str:
    """A short text keeps to one line, a long one leaves room for the others."""
    return f'<td class="pw-long">{escape_html(text)}</td>' if len(text) > WRAP_FROM else f"<td>{escape_html(text)}</td>"


def show_error(problem: PickwellError) -> None:
    """An error for a person."""
    st.error(plain(str(problem)), icon=":material/error:")


@contextmanager
def errors_shown(*, stop: bool = False) -> Iterator[None]:
    """Show what goes wrong in the block as a sentence where the block stands; with `stop`, the page ends there."""
    try:
        yield
    except PickwellError as problem:
        show_error(problem)
        if stop:
            st.stop()


@contextmanager
def saving(then: Callable[[], object] = st.rerun, *, stop: bool = False) -> Iterator[Session]:
    """A database session that shows errors where the block stands; `then` is called once everything is saved."""
    with errors_shown(stop=stop):
        with session() as s:
            yield s
        then()


@contextmanager
def errors_toasted() -> Iterator[None]:
    """Show what goes wrong in the block in a corner: for callbacks, which have no place on the page."""
    try:
        yield
    except PickwellError as problem:
        st.toast(plain(str(problem)), icon=":material/error:")


def attempt(action: Callable[Concatenate[Session, P], object], *args: P.args, **kwargs: P.kwargs) -> bool:
    """Call ``action(session, ...)`` for a button; False where it failed, which a toast explains."""
    with errors_toasted(), session() as s:
        action(s, *args, **kwargs)
        return True
    return False


def act(action: Callable[Concatenate[Session, P], object], *args: P.args, **kwargs: P.kwargs) -> None:
    """`attempt` as a widget's callback, which returns nothing."""
    attempt(action, *args, **kwargs)


def csv_bytes(table: "pd.DataFrame") -> bytes:
    """The table as CSV for spreadsheets: UTF-8 with a mark, and no cell that would run as a formula."""

    def safe(cell: object) -> object:
        return f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) else cell

    return table.map(safe).rename(columns=safe).to_csv(index=False).encode("utf-8-sig")
