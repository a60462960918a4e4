"""Who is here, in which project, and what their roles let them see.

Choosing a name stands in for signing in: real sign-in replaces `_choose_person` and nothing else, because pages know
only `CurrentPerson` and every function that writes checks the role again.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TypedDict

import streamlit as st
from sqlalchemy import select

from db.models import Project, Role
from db.people import (
    add_member,
    create_project,
    current_guideline,
    ensure_reviewer,
    ensure_role,
    has_manager,
    list_members,
    roles_of,
)
from db.session import reading, session
from errors import to_type
from ui.safe import errors_shown, plain

ROLE_WORDS = {
    Role.MANAGER: "manager: imports, ranks, trains, evaluates",
    Role.ANNOTATOR: "annotator: ranks and corrects",
    Role.REVIEWER: "reviewer: judges blind",
}


class ActorIds(TypedDict):
    """Who acts, and in which project."""

    by: int
    project_id: int


@dataclass(frozen=True)
class CurrentPerson:
    """The person using this browser tab."""

    reviewer_id: int
    name: str
    project_id: int
    project: str
    roles: frozenset[Role]

    @property
    def ids(self) -> ActorIds:
        """What most functions want to be told: ``list_corrections(s, **me.ids)``."""
        return {"by": self.reviewer_id, "project_id": self.project_id}

    def has_any_role(self, *roles: Role) -> bool:
        """Whether any of the roles is held."""
        return bool(self.roles & set(roles))


def show_sidebar() -> CurrentPerson | None:
    """Draw the sidebar's choices; None until the visitor has chosen a name."""
    with reading() as s:
        projects = {project.id: project.name for project in s.scalars(select(Project).order_by(Project.id))}
    if not projects:
        return None
    with st.sidebar:
        project_id = _choose("project", "Project", projects, _find_kept("project", projects) or next(iter(projects)))
        people = _list_people(project_id)
        reviewer_id = _choose_person(people)
    if reviewer_id is None:
        return None
    with reading() as s:
        roles = roles_of(s, reviewer_id=reviewer_id, project_id=project_id)
    return CurrentPerson(reviewer_id, people[reviewer_id], project_id, projects[project_id], roles)


def _list_people(project_id: int) -> dict[int, str]:
    with reading() as s:
        return {person.id: person.name for person, _ in list_members(s, project_id=project_id) if not person.simulated}


def _find_kept(name: str, options: Collection[int]) -> int | None:
    """The earlier choice, in this tab or in the address that it was opened with, if it still exists."""
    stored = str(st.session_state.get(f"kept_{name}", st.query_params.get(name, "")))
    number = int(stored) if stored.isdecimal() else None
    return number if number in options else None


def _choose(name: str, label: str, words: Mapping[int, str], chosen: int) -> int:
    """A select box that shows the kept choice, whatever it showed before; the address keeps it over a reload."""
    key = f"choose_{name}"
    # the box remembers its last value by itself; what is kept must win, or one person would act as another
    st.session_state[key] = chosen
    st.selectbox(label, list(words), format_func=lambda i: words[i], key=key, on_change=_keep, args=(name, key))
    st.session_state[f"kept_{name}"] = chosen
    st.query_params[name] = str(chosen)
    return chosen


def _keep(name: str, key: str) -> None:
    st.session_state[f"kept_{name}"] = st.session_state[key]


def _choose_person(people: Mapping[int, str]) -> int | None:
    kept = _find_kept("person", people)
    if kept is None:
        _forget_person()
        return None
    chosen = _choose("person", "You are", people, kept)
    if st.button("Somebody else", icon=":material/logout:", type="tertiary"):
        _forget_person()
        st.rerun()
    return chosen


def _forget_person() -> None:
    st.session_state.pop("kept_person", None)
    st.query_params.pop("person", None)


def show_welcome() -> None:
    """Draw the first screen, on which a visitor chooses or adds a name."""
    project_id = st.session_state.get("kept_project")
    st.title("Who are you?")
    if project_id is None:
        _first_project()
        return
    people = _list_people(project_id)
    with reading() as s:
        managed = has_manager(s, project_id=project_id)
    st.caption(
        "Pickwell notes whose word every ranking and verdict is. There are no passwords yet, so it answers on this "
        "machine only."
    )
    if people:
        st.subheader("Already here")
        columns = st.columns(3)
        for place, (reviewer_id, name) in enumerate(people.items()):
            if columns[place % 3].button(plain(name), key=f"enter_{reviewer_id}", width="stretch"):
                _enter(reviewer_id)
    st.subheader("New here")
    with st.form("new_person"):
        name = st.text_input("Your name", max_chars=80)
        offered = [role for role in Role if not (managed and role is Role.MANAGER)]
        roles = st.multiselect(
            "What will you do?",
            offered,
            default=offered,
            format_func=ROLE_WORDS.__getitem__,
            help="One project can have different people for each. A manager changes roles on the People page.",
        )
        if not st.form_submit_button("Enter", type="primary"):
            return
        if not roles:
            st.warning("Choose at least one thing that you will do.")
            return
        with errors_shown():
            with session() as s:
                for role in roles:
                    # the same press may make a person the first manager and give the other roles too
                    reviewer = add_member(s, project_id=project_id, name=name, role=role, by=None)
            _enter(reviewer.id)


def _enter(reviewer_id: int) -> None:
    st.session_state["kept_person"] = reviewer_id
    st.rerun()


def _first_project() -> None:
    st.write(f"There is no project yet. Make the first one; `{to_type('setup')}` adds a sample to look at.")
    with st.form("first_project"):
        name = st.text_input("Your name", max_chars=80)
        title = st.text_input("Project", placeholder="Answering customer email", max_chars=120)
        if st.form_submit_button("Make the project", type="primary"):
            with errors_shown():
                with session() as s:
                    me = ensure_reviewer(s, name=name)
                    project = create_project(s, name=title, task="", instructions="", guideline="", by=me.id)
                    for role in (Role.ANNOTATOR, Role.REVIEWER):
                        ensure_role(s, project_id=project.id, reviewer_id=me.id, role=role)
                    st.session_state["kept_project"] = project.id
                _enter(me.id)


def page(title: str, *roles: Role) -> CurrentPerson:
    """Draw a page's title and check that this person may be here."""
    me = st.session_state.get("me")
    if not isinstance(me, CurrentPerson):
        # Until app.py has called st.navigation, Streamlit runs the files of a folder named pages by themselves. So the
        # very first visit to a fresh server goes to app.py, whichever page it asked for.
        st.session_state["wanted"] = title
        st.switch_page("app.py", query_params=st.query_params.to_dict())
    with reading() as s:
        own_roles = roles_of(s, reviewer_id=me.reviewer_id, project_id=me.project_id)
    st.title(title)
    if roles and not own_roles & set(roles):
        needed = " or ".join(role.value.lower() for role in roles)
        st.warning(f"This page is for the role {needed}. A manager can give it to you on the People page.")
        st.stop()
    return me


def show_guideline(me: CurrentPerson) -> None:
    """Draw the project's guideline, folded, where there is one."""
    with reading() as s:
        guideline = current_guideline(s, project_id=me.project_id)
    if guideline is not None and guideline.text:
        title = f"Guideline: what makes a reply better (version {guideline.version})"
        with st.expander(title, icon=":material/menu_book:"):
            st.text(guideline.text)
