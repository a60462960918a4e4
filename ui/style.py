"""The few styles that Streamlit has no option for; colours follow its theme, light or dark."""

import streamlit as st

CSS = """
<style>
.pw-card {border: 1px solid color-mix(in srgb, currentColor 18%, transparent); border-radius: .6rem;
  padding: .9rem 1.1rem; background: color-mix(in srgb, currentColor 3%, transparent);}
.pw-text {white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.55;}
.pw-prompt {height: 20vh; min-height: 7rem; overflow-y: auto; border-left: 4px solid #0f766e;}
.pw-compact {height: auto; min-height: 0; max-height: 8rem;}
.pw-open {height: auto; min-height: 0; max-height: 24rem;}
.pw-context {opacity: .75; margin-bottom: .7rem; padding-bottom: .7rem;
  border-bottom: 1px dashed color-mix(in srgb, currentColor 25%, transparent);}
.pw-label {font-size: .78rem; letter-spacing: .04em; margin-bottom: .3rem;
  color: color-mix(in srgb, currentColor 65%, transparent);}
.pw-note {color: color-mix(in srgb, #d97706 75%, var(--st-text-color, CanvasText)); letter-spacing: 0;}
.pw-pair {display: grid; grid-template-columns: 1fr 1fr; gap: .9rem; height: 43vh; min-height: 12rem; overflow-y: auto;
  align-items: stretch;}
@media (max-width: 640px) {.pw-pair {grid-template-columns: 1fr; height: 50vh;} h1 {font-size: 1.9rem !important;}}
.pw-chosen {outline: 3px solid #0f766e; outline-offset: -3px;}
.pw-faded {opacity: .45;}
:has(> .st-key-choice_bar) {position: sticky; bottom: 0; z-index: 90; padding: .6rem 0 .8rem;
  background: var(--st-background-color, Canvas);}
[class*="st-key-pwgrid_"] {display: grid; gap: .7rem; grid-template-columns: 1fr; align-items: stretch;}
[class*="st-key-pwcard_"] {position: relative; gap: 0; height: 100%; border-radius: .6rem; padding: .55rem 1rem;
  border: 1px solid color-mix(in srgb, currentColor 18%, transparent);
  background: color-mix(in srgb, currentColor 3%, transparent);}
[class*="st-key-pwcard_"]:has(.pw-focus, .pw-first) {outline: 3px solid #0f766e; outline-offset: -3px;}
[class*="st-key-pwcard_"] [class*="st-key-card_"] {position: absolute; top: .6rem; left: 4.9rem; width: auto;}
[class*="st-key-pwcard_"]:has(kbd) [class*="st-key-card_"] {left: 7rem;}
[class*="st-key-pwcard_"] [class*="st-key-card_"] button {min-height: 0; padding: 0 .5rem; line-height: 1.5;
  font-size: .85rem; opacity: .75;}
[class*="st-key-pwcard_"]:has(.pw-focus, .pw-done) [class*="st-key-card_"] {visibility: hidden;}
.pw-slot-head {display: flex; justify-content: space-between; align-items: center; min-height: 1.75rem;
  font-size: .85rem; letter-spacing: .04em;}
.pw-slot-head kbd {margin-left: .3rem; padding: 0 .45rem; border-radius: .3rem; font-family: inherit;
  border: 1px solid color-mix(in srgb, currentColor 30%, transparent);}
.pw-slot-head {scroll-margin: 5rem 0 17rem;}
.pw-place {border-radius: 1rem; padding: .05rem .7rem; font-weight: 600; background: #0f766e; color: #fff;}
.pw-hint {min-height: 1.5rem; opacity: .8;}
.pw-said {opacity: 1; font-weight: 600; color: color-mix(in srgb, #d97706 75%, currentColor);}
.st-key-slots_keys button {padding: .2rem .47rem; min-width: 2.6rem;}
[class*="st-key-slots_place_"] kbd, .st-key-slots_previous kbd, .st-key-slots_next kbd {display: none;}
:has(> * [class*="st-key-pwgrid_"]) .pw-prompt {height: 15vh; min-height: 5.5rem;}
@media (min-width: 641px) {
  [class*="st-key-pwgrid_2_"] {grid-template-columns: 1fr 1fr;}
  [class*="st-key-pwgrid_3_"] {grid-template-columns: 1fr 1fr 1fr;}
  .pw-slot-text {height: 17vh; min-height: 6rem; overflow-y: auto;}
  [class*="st-key-pwgrid_3_1_"] .pw-slot-text {height: 42vh;}
}
@media (min-width: 641px) and (min-height: 1000px) {
  [class*="st-key-pwgrid_"]:not([class*="_3_1_"]) .pw-slot-text {height: 21vh;}
}
@media (max-width: 640px) {
  .st-key-slots_keys kbd, .st-key-slots_keys button [data-testid="stIconMaterial"]:not(:only-child) {display: none;}
  .st-key-slots_keys button {padding: .2rem .4rem; font-size: .85rem;}
  .pw-hint {font-size: .9rem;}
  .pw-slot-head {scroll-margin-bottom: 60vh;}
}
.pw-diff ins {background: color-mix(in srgb, #16a34a 25%, transparent); text-decoration: none; border-radius: .2rem;}
.pw-diff del {background: color-mix(in srgb, #dc2626 22%, transparent); border-radius: .2rem;}
.pw-editor {display: flex; flex-direction: column; gap: .3rem; font-size: .875rem;}
.pw-editor textarea, .pw-editor .pw-card {font-family: inherit; font-size: 1rem; line-height: 1.55; color: inherit;
  padding: .9rem 1.1rem; min-height: 13rem; max-height: 60vh; overflow-y: auto; border-radius: .6rem; width: 100%;
  box-sizing: border-box;}
.pw-editor textarea {field-sizing: content; resize: vertical; background: transparent;
  border: 1px solid color-mix(in srgb, currentColor 35%, transparent);}
.pw-editor textarea:focus {outline: 2px solid #0f766e; outline-offset: -1px;}
.pw-simulated {display: inline-block; border: 1px solid; border-radius: 1rem;
  color: color-mix(in srgb, #d97706 75%, var(--st-text-color, CanvasText));
  padding: 0 .6rem; font-size: .78rem; margin-left: .4rem;}
.pw-table {max-height: 18rem; overflow-y: auto; font-size: .9rem;
  border: 1px solid color-mix(in srgb, currentColor 18%, transparent); border-radius: .6rem;}
.pw-table table {width: 100%; border-collapse: collapse;}
.pw-table th {text-align: left; font-weight: 500; opacity: .65; white-space: nowrap;}
.pw-table td:not(:last-child) {white-space: nowrap;}
.pw-table td.pw-long {white-space: normal; min-width: 11rem;}
.pw-table th, .pw-table td {padding: .35rem .8rem; vertical-align: top; overflow-wrap: anywhere;
  border-bottom: 1px solid color-mix(in srgb, currentColor 12%, transparent);}
.pw-table.pw-whole {max-height: none;}
.pw-table.pw-whole th, .pw-table.pw-whole td {white-space: normal; min-width: 6rem;}
.pw-table.pw-whole th, .pw-table.pw-whole td:first-child {overflow-wrap: break-word;}
.pw-pairs {display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: .8rem 1.2rem; font-size: .9rem;
  max-height: 24rem; overflow-y: auto; padding-right: .6rem;}
.pw-pairs b {font-weight: 500; opacity: .65;}
.pw-pairs div {border-top: 1px solid color-mix(in srgb, currentColor 12%, transparent); padding-top: .5rem;}
.pw-legend {display: flex; flex-wrap: wrap; gap: .2rem 1.4rem; font-size: .9rem;}
.pw-legend span {display: inline-flex; align-items: center; gap: .5rem; overflow-wrap: anywhere;}
.pw-legend b {flex: none; width: .8rem; height: .8rem; border-radius: .2rem;}
.pw-legend i {flex: none; width: 1.6rem; border-top: 3px solid currentColor;}
.pw-legend i.pw-dashed {border-top-style: dashed;}
.pw-shares {overflow-x: auto; font-size: .9rem;}
.pw-shares table {width: 100%; border-collapse: separate; border-spacing: .35rem .3rem;}
.pw-shares th {text-align: left; font-weight: 500; opacity: .75; vertical-align: bottom; min-width: 7rem;
  max-width: 14rem; overflow-wrap: break-word;}
.pw-shares tbody th {vertical-align: middle; opacity: 1; min-width: 10rem;}
.pw-share {--tone: color-mix(in oklab, #0f766e var(--share), #b91c1c); padding: .4rem .7rem; border-radius: .4rem;
  border-left: 3px solid var(--tone); white-space: nowrap; background: linear-gradient(90deg,
  color-mix(in srgb, var(--tone) 30%, transparent) var(--share),
  color-mix(in srgb, currentColor 6%, transparent) var(--share));}
.pw-shares thead th:first-child {min-width: 0;}
.pw-share span {opacity: .75; font-size: .8rem; margin-left: .35rem;}
.pw-sentence {font-size: 1.5rem; line-height: 1.35; font-weight: 600; margin: .2rem 0 .6rem;}
.block-container, [data-testid="stMainBlockContainer"] {padding-top: 2.6rem; padding-bottom: 2rem;}
</style>
"""


def apply_style() -> None:
    """Put the styles on the page."""
    st.html(CSS)
