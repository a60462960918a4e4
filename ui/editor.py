"""A text box that tells what is in it while somebody types, which Streamlit's own does only when they leave it.

So a word diff can follow the typing, and a draft is kept. It stands in the page itself, without a shadow root, so that
keys typed in it are seen as typed and trigger no shortcut.
"""

from collections.abc import Callable
from typing import Any

import streamlit as st
from streamlit.components.v2 import component

_HTML = '<label class="pw-editor"><span></span><textarea spellcheck="true"></textarea></label>'
_JS = """
export default function ({parentElement, data, setStateValue}) {
  const box = parentElement.querySelector("textarea");
  parentElement.querySelector("span").textContent = data.label;
  if (box.dataset.version !== String(data.version)) {
    box.dataset.version = String(data.version);
    box.value = data.text;
    box.sent = data.text;
  }
  const send = () => {
    clearTimeout(box.timer);
    if (box.sent !== box.value) {
      box.sent = box.value;
      setStateValue("typed", {version: data.version, text: box.value});
    }
  };
  box.oninput = () => { clearTimeout(box.timer); box.timer = setTimeout(send, 300); };
  box.onblur = send;
  box.onkeydown = (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) send();
    else event.stopPropagation();
  };
}
"""
_editor = component("pickwell_editor", html=_HTML, js=_JS, isolate_styles=False)


def editor(key: str, *, label: str, start: str, on_typed: Callable[[str], None]) -> str:
    """A box that starts with `start`; returns what is in it now.

    Args:
        key: of this box; the same text box for the same thing, over reruns.
        on_typed: called with the whole text soon after each pause in typing.
    """
    version = int(st.session_state.get(f"{key}_version", 0))

    def report() -> None:
        on_typed(_text(st.session_state[key], version, start))

    state = _editor(
        key=key,
        data={"label": label, "text": start, "version": version},
        default={"typed": None},
        on_typed_change=report,
    )
    return _text(state, version, start)


def current_text(key: str, start: str) -> str:
    """What is in the box at this moment: for a button's callback, which may come with the last keys."""
    return _text(st.session_state.get(key, {"typed": None}), int(st.session_state.get(f"{key}_version", 0)), start)


def reset_editor(key: str) -> None:
    """The next time, the box starts again with what it is given."""
    st.session_state[f"{key}_version"] = int(st.session_state.get(f"{key}_version", 0)) + 1


def _text(state: Any, version: int, start: str) -> str:
    typed = state["typed"]
    return str(typed["text"]) if typed and typed["version"] == version else start
