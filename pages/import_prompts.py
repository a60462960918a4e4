"""Upload a file, say what its columns mean, look at what would happen, confirm."""

import pandas as pd
import streamlit as st

from db.catalog import prompt_sets
from db.models import Role
from db.session import reading, session
from intake.mapping import ColumnMapping, HeldOut, guess_mapping, person_of
from intake.plan import ImportPlan, plan_import
from intake.prompts import save_import
from intake.reading import Problem, Table, read_table
from settings import settings
from ui.frame import page
from ui.safe import errors_shown, plain, show_table

me = page("Import", Role.MANAGER)
HELD_OUT_WORDS = {
    HeldOut.NONE: "None: all are for training",
    HeldOut.ALL: "All of them",
    HeldOut.SHARE: "A share, drawn at random",
    HeldOut.COLUMN: "A column says which",
}
NOTHING = "(none)"


def mapping_form(table: Table) -> ColumnMapping:
    """What each column means, filled with the likeliest guess."""
    guess = guess_mapping(table.columns)
    columns = list(table.columns)
    optional = [NOTHING, *columns]

    def one(label: str, value: str | None, note: str = "") -> str | None:
        chosen = st.selectbox(label, optional, index=optional.index(value) if value else 0, help=note or None)
        return None if chosen == NOTHING else chosen

    left, right = st.columns(2)
    with left:
        prompt = st.selectbox("Text to answer", columns, index=columns.index(guess.prompt))
        context = one("Context", guess.context, "What the answer may rely on, such as a schema. Shown above the text.")
        topic = one("Topic", guess.topic)
        held_out = st.radio(
            "Hold out for blind evaluation",
            list(HeldOut),
            index=list(HeldOut).index(guess.held_out),
            format_func=lambda h: HELD_OUT_WORDS[h],
            help="Fixed now and for ever. Held-out prompts are judged blind and never trained on.",
        )
        share, column = 0.2, None
        if held_out is HeldOut.SHARE:
            share = st.slider("Share", 0.05, 0.5, 0.2, 0.05)
        if held_out is HeldOut.COLUMN:
            column = one("Column that says held out", guess.held_out_column)
    with right:
        replies = st.multiselect("People's replies", columns, default=list(guess.responses))
        names = {c: st.text_input(f"Who wrote “{plain(c)}”?", value=person_of(c), key=f"who_{c}") for c in replies}
        made_up = bool(replies) and st.checkbox("These replies were made up, not written by people at work")
        picked = one("Picks", guess.picked, "Says which reply is better: a reply column, “tie” or “both bad”.")
        reason = one("Reasons of the picks", guess.reason) if picked else None
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
        held_out=held_out or HeldOut.NONE,
        held_out_share=share,
        held_out_column=column,
    )


def show_problems(problems: tuple[Problem, ...]) -> None:
    """The rows to look at, in a table: never as Markdown, since they quote the file."""
    if not problems:
        return
    skipped = len({problem.row for problem in problems if problem.skipped})
    st.warning(f"Rows that will be left out: {skipped}. Remarks in all: {len(problems)}.")
    show_table([{"Row": p.row, "Imported": "no" if p.skipped else "yes", "Remark": p.message} for p in problems[:500]])


def show_plan(plan: ImportPlan) -> None:
    """What would be saved, in numbers and rows."""
    numbers = st.columns(4)
    numbers[0].metric("New prompts", plan.new)
    numbers[1].metric("of them held out", plan.held_out)
    numbers[2].metric("Here already", len(plan.prompts) - plan.new)
    numbers[3].metric("Replies in the file", sum(len(prompt.replies) for prompt in plan.prompts))
    preview = [
        {
            "Row": prompt.row,
            "Text": prompt.text,
            "Side": "held out" if prompt.held_out else "training",
            "Here already": prompt.already_there,
            **prompt.replies,
            "Pick": prompt.pick or "",
        }
        for prompt in plan.prompts[:50]
    ]
    st.dataframe(pd.DataFrame(preview), hide_index=True, width="stretch", height=300)
    if len(plan.prompts) > 50:
        st.caption(f"The first 50 of {len(plan.prompts)} rows.")


def earlier_imports() -> None:
    """What was imported before."""
    with reading() as s:
        sets = prompt_sets(s, project_id=me.project_id)
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
    earlier_imports()
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
    with errors_shown(stop=True), st.spinner("Saving …"), session() as s:
        done, _ = save_import(
            s, by=me.reviewer_id, project_id=me.project_id, table=table, content=content, mapping=mapping
        )
    st.session_state["imported"] = (
        "Everything in this file was here already, so nothing was added."
        if done.nothing_new
        else f"Imported {done.prompts} prompts ({done.held_out} held out), {done.responses} replies and "
        f"{done.rankings} picks. {done.skipped} rows were left out."
        + (f" {done.routed} of the prompts go to people, by the rules on the Route page." if done.routed else "")
    )
    st.session_state["uploads"] = st.session_state.get("uploads", 0) + 1
    st.rerun()
