"""The app's pages as somebody has them in a tab, drawn by Streamlit's AppTest: no server, no browser."""

from collections.abc import Callable

from streamlit.components.v2.component_manager import BidiComponentManager
from streamlit.testing.v1 import AppTest

from db.models import Project, Reviewer, Role
from db.people import roles_of
from db.session import reading
from settings import ROOT
from ui.frame import CurrentPerson


def open_page(name: str, *, project_id: int, by: int, roles: frozenset[Role] | None = None) -> AppTest:
    """``pages/<name>.py``, drawn once without a crash.

    Args:
        by: id of the Reviewer whose tab it is.
        roles: what the tab takes theirs to be; those in the database unless said.
    """
    with reading() as s:
        held = roles_of(s, reviewer_id=by, project_id=project_id) if roles is None else roles
        me = CurrentPerson(by, s.get_one(Reviewer, by).name, project_id, s.get_one(Project, project_id).name, held)
    return _drawn(AppTest.from_file(str(ROOT / "pages" / f"{name}.py"), default_timeout=60), me=me)


def drawn_by(draw: Callable[[], None], **state: object) -> AppTest:
    """What the function draws, which finds the state in the session's; without a crash."""
    return _drawn(AppTest.from_function(draw, default_timeout=60), **state)


def _drawn(page: AppTest, **state: object) -> AppTest:
    page._bidi_component_manager = BidiComponentManager()  # else all installed packages are looked through for parts
    for name, value in state.items():
        page.session_state[name] = value
    page.run()
    assert not page.exception
    return page


def press(page: AppTest, label: str) -> None:
    """Click the first button with that label."""
    next(one for one in page.button if one.label == label).click().run()
    assert not page.exception


def html(page: AppTest) -> str:
    """All HTML on the page."""
    return "\n".join(part.proto.body for part in page.get("html"))


def said(page: AppTest) -> str:
    """All words on the page, boxes to fill in apart, without the marks that keep them from being Markdown."""
    texts = [*page.markdown, *page.caption, *page.subheader, *page.code]
    boxes = [*page.success, *page.info, *page.warning, *page.error]
    return "\n".join([html(page), *(one.value for one in [*texts, *boxes])]).replace("\\", "").replace("\u2060", "")


def sent(page: AppTest) -> str:
    """Everything that the last run sent to the browser, as its messages say it."""
    return "\n".join(str(getattr(node, "proto", "")) for node in page._tree)
