"""Who is in the project with which roles, and what the project is."""

from functools import partial

import pandas as pd
import streamlit as st

from db.models import Project, QueueOrder, ResponderKind, Role
from db.people import add_member, create_project, current_guideline, edit_project, list_members, remove_role, set_author
from db.session import reading, session
from generation.responders import list_responders
from review.queue import MOST_REPEATS, set_queue
from review.reasons import list_criteria, set_criteria
from ui.frame import ROLE_WORDS, page
from ui.safe import errors_shown, plain, saving

me = page("People")
say_saved = partial(st.toast, "Saved.")
ORDER_WORDS = {QueueOrder.RANDOM: "a random one", QueueOrder.UNCERTAIN: "the least certain one"}
with reading() as s:
    people = list_members(s, project_id=me.project_id)
    project = s.get_one(Project, me.project_id)
    guideline_now = current_guideline(s, project_id=me.project_id)

st.dataframe(
    pd.DataFrame(
        [
            {
                "Name": reviewer.label,
                **{role.value.capitalize(): role in roles for role in Role},
                "Note": reviewer.rule if reviewer.simulated else "",
            }
            for reviewer, roles in people
        ]
    ),
    hide_index=True,
    width="stretch",
)
if not me.has_any_role(Role.MANAGER):
    st.caption("A manager adds people and changes roles.")
    st.stop()

adding, changing = st.columns(2)
with adding.form("add", clear_on_submit=True):
    st.subheader("Add a role")
    name = st.text_input("Name", max_chars=80, help="Somebody who is here already, or somebody new.")
    role = st.selectbox("Role", list(Role), format_func=ROLE_WORDS.__getitem__)
    if st.form_submit_button("Add", type="primary") and role is not None:
        with saving() as s:
            add_member(s, **me.ids, name=name, role=role)
with changing.form("remove"):
    st.subheader("Take a role away")
    st.caption("Until there are passwords, anybody can come back as annotator or reviewer.")
    held = [(reviewer, role) for reviewer, roles in people for role in sorted(roles)]
    which = st.selectbox(
        "Whose, which?", range(len(held)), format_func=lambda i: f"{held[i][0].label}: {held[i][1].value.lower()}"
    )
    if st.form_submit_button("Take away") and which is not None:
        with saving() as s:
            remove_role(s, **me.ids, reviewer_id=held[which][0].id, role=held[which][1])

with reading() as s:
    every = [counts.responder for counts in list_responders(s, project_id=me.project_id)]
writers = [responder for responder in every if responder.kind is ResponderKind.HUMAN]
if writers:
    with st.expander("Who wrote which replies", icon=":material/signature:"), st.form("authors"):
        st.caption("Nobody judges or ranks what they wrote themselves. Equal names are linked by themselves.")
        nobody = {None: "nobody who uses Pickwell"}
        names = nobody | {reviewer.id: reviewer.label for reviewer, _ in people if not reviewer.simulated}
        authors = {
            writer.id: st.selectbox(
                plain(f"Replies of {writer.label}"),
                list(names),
                index=list(names).index(writer.reviewer_id) if writer.reviewer_id in names else 0,
                format_func=names.__getitem__,
            )
            for writer in writers
        }
        if st.form_submit_button("Save", type="primary"):
            with saving(say_saved) as s:
                for responder_id, reviewer_id in authors.items():
                    set_author(s, by=me.reviewer_id, responder_id=responder_id, reviewer_id=reviewer_id)

with st.expander("This project: task, instructions, guideline", icon=":material/tune:"), st.form("project"):
    task = st.text_input("Task, in one sentence", value=project.task)
    instructions = st.text_area(
        "Instructions that models get (system prompt)",
        value=project.instructions,
        height=140,
        help="New models start from these. Models that exist keep theirs.",
    )
    guideline = st.text_area(
        f"Guideline that reviewers go by (version {guideline_now.version} now)" if guideline_now else "Guideline",
        value=guideline_now.text if guideline_now else "",
        height=240,
        help="A change makes a new version; each ranking keeps the version that it was made under.",
    )
    if st.form_submit_button("Save", type="primary"):
        with saving(say_saved) as s:
            edit_project(s, **me.ids, task=task, instructions=instructions, guideline=guideline)

queue = st.expander("The queue: how many people rank each pair, and which comes next", icon=":material/groups:")
with queue, st.form("queue"):
    st.caption("No number: everybody ranks every pair. A number shares the queue; overlap is needed for agreement.")
    people_wanted = st.number_input("People for a pair", 1, 10, value=project.people_wanted, placeholder="everybody")
    share = st.slider(
        "Share of pairs that want so many; the others want one person", 0.05, 1.0, project.overlap_share, 0.05
    )
    queue_order = st.radio(
        "Which pair comes next",
        list(QueueOrder),
        index=list(QueueOrder).index(project.queue_order),
        format_func=ORDER_WORDS.__getitem__,
        help="Least certain: between models that do about equally well, and where people disagree. One pair in "
        "five stays random, so that Progress can tell what the choosing does.",
    )
    repeat_share = st.slider(
        "Hidden second looks: share of pairs given again with the sides swapped",
        0.0,
        MOST_REPEATS,
        project.repeat_share,
        0.01,
        help="Shows how consistent each person is. Such a second look counts for nothing else.",
    )
    authors_rank = st.checkbox("People may rank replies that they wrote themselves", value=project.authors_rank)
    if st.form_submit_button("Save", type="primary"):
        with saving(say_saved) as s:
            set_queue(
                s,
                **me.ids,
                people=people_wanted,
                share=share,
                next_by=queue_order or QueueOrder.RANDOM,
                repeat_share=repeat_share,
                authors_rank=authors_rank,
            )

with reading() as s:
    criteria = list_criteria(s, project_id=me.project_id)
with st.expander("Criteria to compare by, beside the choice itself", icon=":material/checklist:"), st.form("criteria"):
    st.caption("Asked after each choice, and optional. Few is better: each costs a second on every pair.")
    wanted = st.text_area(
        "One a line", value="\n".join(criterion.name for criterion in criteria), placeholder="Correct\nComplete\nTone"
    )
    if st.form_submit_button("Save", type="primary"):
        with saving(say_saved) as s:
            set_criteria(s, **me.ids, names=wanted.splitlines())

with st.expander("Another project", icon=":material/create_new_folder:"), st.form("new_project", clear_on_submit=True):
    st.caption("One project for each task: a model that answers email should not also write stories.")
    title = st.text_input("Name", max_chars=120)
    about = st.text_input("Task, in one sentence")
    if st.form_submit_button("Make the project", type="primary"):
        with errors_shown():
            with session() as s:
                created = create_project(s, name=title, task=about, instructions="", guideline="", by=me.reviewer_id)
            st.success(f"Made. Choose “{plain(created.name)}” in the sidebar.")
