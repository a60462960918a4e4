"""Keys: of the keyboard, and of widgets.

A key that is held down is one press: the browser's repeats of it never reach the buttons. The server's own guards
(`ui/pairs.py`, `ui/slots.py`) tell presses apart by the time between them. A machine that stands still for a second
makes a held key look like two presses there; only the browser knows that it was never let go.
"""

import streamlit as st

_SCRIPT = """
if (!window.pickwellOnePressAKey) {
  window.pickwellOnePressAKey = true
  window.addEventListener('keydown', event => {
    const typing = event.target.closest?.('input, textarea, [contenteditable]')
    if (!event.repeat || typing || !document.querySelector('.st-key-choice_bar')) return
    event.stopImmediatePropagation()
    if (event.key === 'Enter' || event.key === ' ') event.preventDefault()
  }, true)
}
"""
"""On the window and before everything else, so that neither Streamlit's shortcuts nor a focused button see a repeat."""


def ignore_repeated_keys() -> None:
    """Called by whatever draws a bar with keys; once in a tab is enough, more do no harm."""
    st.html(f"<script>{_SCRIPT}</script>", unsafe_allow_javascript=True)


def alternating_key(name: str, item_id: int) -> str:
    """A widget key that is another one than for the item before, out of two.

    So a widget begins anew with each item, as with a key that names the item; but Streamlit 1.67 keeps what it knows of
    every key that a session ever had (`WStates.widget_metadata`), and 20 people's sessions grew by 8 KB a click.
    """
    held = st.session_state.setdefault("alternating", {})
    last, turn = held.get(name, (None, 1))
    if last != item_id:
        turn = 1 - turn
        held[name] = (item_id, turn)
    return f"{name}_{turn}"
