"""How far the project is and what to do next."""

import streamlit as st

from db.backup import newest_backup
from db.models import Project
from db.session import reading
from texts.escape import escape_html
from ui.frame import page
from ui.project_progress import project_progress
from ui.safe import plain

me = page("Overview")
with reading() as s:
    project = s.get_one(Project, me.project_id)
    now = project_progress(s, project_id=me.project_id)

st.html(
    f'<div class="pw-sentence">{escape_html(project.name)}</div><div class="pw-text">{escape_html(project.task)}</div>'
)
st.info(now.next_step, icon=":material/arrow_forward:")

synthetic = f", and {now.synthetic:,} synthetic beside them" if now.synthetic else ""
steps = (
    ("Prompts", now.prompts, f"{now.held_out} held out for judging{synthetic}"),
    ("Responses", now.responses, f"{now.comparisons} pairs to rank"),
    ("Pairs ranked by people", now.ranked_by_people, f"and {now.ranked_simulated} by simulated reviewers only"),
    ("Corrections", now.corrections, "rewritten by people"),
    ("Models trained", now.models, f"from {now.snapshots} snapshots"),
    ("Verdicts by people", now.judgments, f"and {now.judgments_simulated} simulated, in {now.evaluations} evaluations"),
)
for row in (steps[:3], steps[3:]):
    for column, (label, value, note) in zip(st.columns(3), row, strict=True):
        with column.container(border=True):
            st.metric(label, f"{value:,}")
            st.caption(note)

if now.routed:
    st.caption(
        f"Routed to people: {now.routed:,} prompts, which no model answers or learns from. A person has replied to "
        f"{now.routed_answered:,} of them."
    )
if (backup := newest_backup()) is not None:
    st.caption(plain(f"Newest backup: {backup.file}, of {backup.made_at:%d %b %Y %H:%M} UTC."))
with st.expander("How the loop works", icon=":material/help:"):
    st.markdown(
        "1. **Import** prompts, with people's replies if you have them. Some are held out: nobody trains on those.\n"
        "2. **Generate** responses, two for each prompt, so that there are pairs.\n"
        "3. **Compare**: a manager picks the better one of each pair; whoever can, corrects.\n"
        "4. **Train**: freeze the picks into a snapshot and tune a model on it.\n"
        "5. **Judge blind**: reviewers see the new model's replies beside people's, without knowing which is which.\n"
        "6. **Evaluate**: close the contest and read the win rate with its interval."
    )
