"""The few styles that Streamlit has no option for; colours follow its theme, light or dark."""

import streamlit as st

CSS = """
<style>
.pw-card {border: 1px solid color-mix(in srgb, currentColor 18%, transparent); border-radius: .6rem;
  padding: .9rem 1.1rem; background: color-mix(in srgb, currentColor 3%, transparent);}
.pw-text {white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.55;}
.pw-prompt {height: 20vh; min-height: 7rem; overflow-y: auto; border-left: 4px solid #0f766e;}
.pw-compact {height: auto; min-height: 0; max-height: 8rem;}
.pw-context {opacity: .75; margin-bottom: .7rem; padding-bottom: .7rem;
  border-bottom: 1px dashed color-mix(in srgb, currentColor 25%, transparent);}
.pw-label {font-size: .78rem; letter-spacing: .04em; opacity: .65; margin-bottom: .3rem;}
.pw-pair {display: grid; grid-template-columns: 1fr 1fr; gap: .9rem; height: 43vh; min-height: 12rem; overflow-y: auto;
  align-items: stretch;}
@media (max-width: 640px) {.pw-pair {grid-template-columns: 1fr; height: 50vh;} h1 {font-size: 1.9rem !important;}}
.pw-chosen {outline: 3px solid #0f766e; outline-offset: -3px;}
.pw-faded {opacity: .45;}
:has(> .st-key-choice_bar) {position: sticky; bottom: 0; z-index: 90; padding: .6rem 0 .8rem;
  background: var(--st-background-color, Canvas);}
.pw-diff ins {background: color-mix(in srgb, #16a34a 25%, transparent); text-decoration: none; border-radius: .2rem;}
.pw-diff del {background: color-mix(in srgb, #dc2626 22%, transparent); border-radius: .2rem;}
.pw-editor {display: flex; flex-direction: column; gap: .3rem; font-size: .875rem;}
.pw-editor textarea, .pw-editor .pw-card {font-family: inherit; font-size: 1rem; line-height: 1.55; color: inherit;
  padding: .9rem 1.1rem; min-height: 13rem; max-height: 60vh; overflow-y: auto; border-radius: .6rem; width: 100%;
  box-sizing: border-box;}
.pw-editor textarea {field-sizing: content; resize: vertical; background: transparent;
  border: 1px solid color-mix(in srgb, currentColor 35%, transparent);}
.pw-editor textarea:focus {outline: 2px solid #0f766e; outline-offset: -1px;}
.pw-simulated {display: inline-block; border: 1px solid #b45309; color: #b45309; border-radius: 1rem;
  padding: 0 .6rem; font-size: .78rem; margin-left: .4rem;}
.pw-table {max-height: 18rem; overflow-y: auto; font-size: .9rem;
  border: 1px solid color-mix(in srgb, currentColor 18%, transparent); border-radius: .6rem;}
.pw-table table {width: 100%; border-collapse: collapse;}
.pw-table th {text-align: left; font-weight: 500; opacity: .65; white-space: nowrap;}
.pw-table td:not(:last-child) {white-space: nowrap;}
.pw-table th, .pw-table td {padding: .35rem .8rem; vertical-align: top; overflow-wrap: anywhere;
  border-bottom: 1px solid color-mix(in srgb, currentColor 12%, transparent);}
.pw-sentence {font-size: 1.5rem; line-height: 1.35; font-weight: 600; margin: .2rem 0 .6rem;}
.block-container, [data-testid="stMainBlockContainer"] {padding-top: 2.6rem; padding-bottom: 2rem;}
</style>
"""


def apply_style() -> None:
    """Put the styles on the page."""
    st.html(CSS)
