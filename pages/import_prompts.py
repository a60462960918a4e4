"""Upload a file, say what its columns mean, look at what would happen, confirm; or make more of what is there."""

from collections.abc import Callable

import pandas as pd
import streamlit as st
from sqlalchemy.orm import Session

from db.models import ResponderKind, Role
from db.session import reading, session
from generation.responders import list_responders
from intake.mapping import ColumnMapping, HeldOutChoice, guess_mapping, person_name
from intake.perturb import TYPO_RATE, Perturbation
from intake.plan import ImportPlan, plan_import
from intake.prompts import list_prompt_sets, run_import
from intake.reading import RowProblem, Table, read_table
from intake.synthetic import (
    MAX_SYNTHETIC_PROMPTS,
    SyntheticPrompts,
    Variation,
    plan_model_prompts,
    plan_variations,
    save_model_prompts,
    save_variations,
)
from settings import settings
from texts.diff import word_diff
from ui.frame import page
from ui.pairs import show_diff
from ui.project_progress import project_progress
from ui.safe import errors_shown, errors_toasted, plain, show_table, show_text

me = page("Import", Role.MANAGER)
HELD_OUT_WORDS = {
    HeldOutChoice.NONE: "None: all are for training",
    HeldOutChoice.ALL: "All of them",
    HeldOutChoice.SHARE: "A share, drawn at random",
    HeldOutChoice.COLUMN: "A column says which",
}
NOTHING = "(none)"
WAYS = {"change": "Change prompts that are here", "take": "Take over what a model wrote"}
WAY_WORDS = {
    Perturbation.TYPOS: "Typos, as people make them",
    Perturbation.LOWER: "All lower case, no punctuation",
    Perturbation.POLITE: "A greeting and thanks added",
    Perturbation.TERSE: "Greeting and thanks taken away",
    Perturbation.SHORT: "Shortened: how it begins, what it asks, and numbers",
}


def mapping_form(table: Table) -> ColumnMapping:
    guess = guess_mapping(table.columns)
    columns = list(table.columns)
    optional = [NOTHING, *columns]

    def choose(label: str, value: str | None, note: str = "") -> str | None:
        column = st.selectbox(label, optional, index=optional.index(value) if value else 0, help=note or None)
        return None if column == NOTHING else column

    left, right = st.columns(2)
    with left:
        prompt = st.selectbox("Text to answer", columns, index=columns.index(guess.prompt))
        note = "What the answer may rely on, such as a schema. Shown above the text."
        context = choose("Context", guess.context, note)
        topic = choose("Topic", guess.topic)
        held_out = st.radio(
            "Hold out for blind evaluation",
            list(HeldOutChoice),
            index=list(HeldOutChoice).index(guess.held_out),
            format_func=HELD_OUT_WORDS.__getitem__,
            help="Fixed now and for ever. Held-out prompts are judged blind and never trained on.",
        )
        share, column = 0.2, None
        if held_out is HeldOutChoice.SHARE:
            share = st.slider("Share", 0.05, 0.5, 0.2, 0.05)
        if held_out is HeldOutChoice.COLUMN:
            column = choose("Column that says held out", guess.held_out_column)
    with right:
        replies = st.multiselect("People's replies", columns, default=list(guess.responses))
        names = {c: st.text_input(f"Who wrote “{plain(c)}”?", value=person_name(c), key=f"who_{c}") for c in replies}
        made_up = bool(replies) and st.checkbox("These replies were made up, not written by people at work")
        picked = choose("Picks", guess.picked, "Says which reply is better: a reply column, “tie” or “both bad”.")
        reason = choose("Reasons of the picks", guess.reason) if picked else None
        picked_by = st.text_input("Whose picks are these?", value=me.name) if picked else ""
        simulated = bool(picked) and st.checkbox("A rule or a model made these picks, or they were made up")
    return ColumnMapping(
        prompt=prompt,
        context=context,
        topic=topic,
        responses=names,
        responses_simulated=made_up,
        picked=picked,
        reason=reason,
        picked_by=picked_by,
        picks_simulated=simulated,
        held_out=held_out or HeldOutChoice.NONE,
        held_out_share=share,
        held_out_column=column,
    )


def show_problems(problems: tuple[RowProblem, ...]) -> None:
    """The rows to look at, in a table: never as Markdown, since they quote the file."""
    if not problems:
        return
    skipped = len({problem.row for problem in problems if problem.skipped})
    st.warning(f"Rows that will be left out: {skipped}. Remarks in all: {len(problems)}.")
    show_table([{"Row": p.row, "Imported": "no" if p.skipped else "yes", "Remark": p.message} for p in problems[:500]])


def show_plan(plan: ImportPlan) -> None:
    numbers = st.columns(4)
    numbers[0].metric("New prompts", plan.new)
    numbers[1].metric("of them held out", plan.held_out)
    numbers[2].metric("Here already", len(plan.prompts) - plan.new)
    numbers[3].metric("Replies in the file", sum(len(planned.replies) for planned in plan.prompts))
    preview = [
        {
            "Row": planned.prompt.row_number,
            "Text": planned.prompt.text,
            "Side": "held out" if planned.prompt.held_out else "training",
            "Here already": planned.already_there,
            **planned.replies,
            "Pick": planned.pick or "",
        }
        for planned in plan.prompts[:50]
    ]
    st.dataframe(pd.DataFrame(preview), hide_index=True, width="stretch", height=300)
    if len(plan.prompts) > 50:
        st.caption(f"The first 50 of {len(plan.prompts)} rows.")


def make_more() -> None:
    """Synthetic prompts, in two ways; nothing is looked for before one is chosen."""
    st.caption(
        "Synthetic prompts say so wherever they show, are never held out, and are left out where they repeat what is "
        "here. Words with a digit in them, such as order numbers, never change."
    )
    how = st.segmented_control(
        "How", list(WAYS), format_func=WAYS.__getitem__, label_visibility="collapsed", key="more_how"
    )
    with errors_shown():
        if how == "change":
            change_prompts()
        elif how == "take":
            take_over()


def change_prompts() -> None:
    """Training prompts as another person might have typed them."""
    left, middle, right, last = st.columns([3, 1, 1, 2])
    chosen = left.selectbox("Change", list(Perturbation), format_func=WAY_WORDS.__getitem__, key="more_way")
    way = chosen or Perturbation.TYPOS
    count = middle.number_input("Prompts at most", 1, MAX_SYNTHETIC_PROMPTS, 20, key="more_count")
    seed = right.number_input("Draw", 0, 10**6, 0, key="more_seed", help="Another number draws other prompts.")
    rate = TYPO_RATE * 100
    if way is Perturbation.TYPOS:
        rate = last.slider("Letters mistyped, of 100", 1.0, 10.0, rate, 0.5, key="more_rate")
    variation = Variation(way=way, count=int(count), seed=int(seed), rate=rate / 100)
    with st.spinner("Looking for duplicates …"), reading() as s:
        synthetic = plan_variations(s, project_id=me.project_id, variation=variation)
    st.write(f"Would add {synthetic.sentence}")
    for prompt in synthetic.prompts[:5]:
        show_diff(word_diff(prompt.parent.text, prompt.text))
    add_button(synthetic, lambda s: save_variations(s, **me.ids, variation=variation))


def take_over() -> None:
    """A model's replies as prompts."""
    with reading() as s:
        machines = {
            counts.responder.id: counts.responder.label
            for counts in list_responders(s, project_id=me.project_id)
            if counts.training and counts.responder.kind is not ResponderKind.HUMAN
        }
    if not machines:
        st.info(
            "No model has answered training prompts yet. On the Generate page, make a responder whose instructions say "
            "“Write another email like this one, by somebody else”, and let it give one response to each."
        )
        return
    st.caption(
        "Choose a responder that was told to write another message like the one it was given. Let it give one response "
        "to each prompt: two would be offered for ranking."
    )
    who = st.selectbox("Responder", list(machines), format_func=machines.__getitem__, key="more_who")
    with st.spinner("Looking for duplicates …"), reading() as s:
        synthetic = plan_model_prompts(s, project_id=me.project_id, responder_id=who)
    st.write(f"Would add {synthetic.sentence}")
    for prompt in synthetic.prompts[:5]:
        sides = ("It was given", prompt.parent.text), ("It wrote", prompt.text)
        for column, (caption, text) in zip(st.columns(2), sides, strict=True):
            with column:
                st.caption(caption)
                show_text(text)
    add_button(synthetic, lambda s: save_model_prompts(s, **me.ids, responder_id=who))


def add_button(synthetic: SyntheticPrompts, save: Callable[[Session], SyntheticPrompts]) -> None:
    def add() -> None:
        with errors_toasted():
            with session() as s:
                added = save(s)
            st.session_state["imported"] = f"Added {added.sentence}"

    st.button("Add them", type="primary", disabled=not synthetic.prompts, icon=":material/check:", on_click=add)


def show_earlier_imports() -> None:
    with reading() as s:
        sets = list_prompt_sets(s, project_id=me.project_id)
    if sets:
        st.subheader("Imported so far")
        frame = [
            {"File": p.file_name, "Rows": p.row_count, "When (UTC)": p.created_at, "Hash": p.sha256[:12]} for p in sets
        ]
        st.dataframe(pd.DataFrame(frame), hide_index=True, width="stretch")


upload = st.file_uploader(
    "A CSV or JSONL file, UTF-8, one prompt a row",
    type=["csv", "tsv", "txt", "jsonl", "ndjson", "json"],
    key=f"upload_{st.session_state.get('uploads', 0)}",
    help="Nothing is saved until you confirm below.",
)
if "imported" in st.session_state:
    st.success(st.session_state.pop("imported"), icon=":material/check:")
if upload is None:
    with reading() as s:
        has_prompts = project_progress(s, project_id=me.project_id).prompts
    if has_prompts:
        with st.expander("Make more: synthetic prompts", icon=":material/science:"):
            make_more()
    show_earlier_imports()
    st.stop()
content = upload.getvalue()
with errors_shown(stop=True):
    table = read_table(content, file_name=upload.name, max_cell=settings().max_cell_kb * 1024)
    mapping = mapping_form(table)
    with st.spinner("Looking for duplicates …"), reading() as s:
        plan = plan_import(s, project_id=me.project_id, table=table, mapping=mapping)
show_problems(plan.problems)
show_plan(plan)
if st.button("Import", type="primary", disabled=not plan.prompts, icon=":material/check:"):
    with errors_shown(stop=True):
        bar = st.progress(0.0, "Saving …")

        def show_progress(saved: int, total: int) -> None:
            bar.progress(saved / total, f"Saving prompt {saved:,} of {total:,} …")

        done, _ = run_import(**me.ids, table=table, content=content, mapping=mapping, on_progress=show_progress)
    st.session_state["imported"] = (
        "Everything in this file was here already, so nothing was added."
        if done.nothing_new
        else f"Imported {done.prompts} prompts ({done.held_out} held out), {done.responses} replies and "
        f"{done.rankings} picks. {done.skipped} rows were left out."
        + (f" {done.routed} of the prompts go to people, by the rules on the Route page." if done.routed else "")
    )
    st.session_state["uploads"] = st.session_state.get("uploads", 0) + 1
    st.rerun()
