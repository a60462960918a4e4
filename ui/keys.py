"""A key that is held down is one press: the browser's repeats of it never reach the buttons.

The server's own guards (`ui/pairs.py`, `ui/slots.py`) tell presses apart by the time between them. A machine that
stands still for a second makes a held key look like two presses there; only the browser knows that it was never let go.
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


def one_press_a_key() -> None:
    """Called by whatever draws a bar with keys; once in a tab is enough, more do no harm."""
    st.html(f"<script>{_SCRIPT}</script>", unsafe_allow_javascript=True)
