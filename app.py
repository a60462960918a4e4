"""Navigation by role and the page frame, nothing else. Run it with ``make run``."""

import streamlit as st

from db.models import Role
from db.people import JUDGES, RANKERS
from db.schema import migrate
from errors import to_type
from settings import ROOT, is_loopback
from ui.frame import show_sidebar, show_welcome
from ui.safe import errors_shown

# a file of ours: a Material icon as favicon would be fetched from somebody else's server
ICON = str(ROOT / "ui" / "icon.png")

st.set_page_config(page_title="Pickwell", page_icon=ICON, layout="wide")
st.html(ROOT / "ui" / "style.css")

open_database = st.cache_resource(show_spinner="Opening the database …")(migrate)  # once in each process

if not is_loopback(st.get_option("server.address")):
    start = to_type("run")
    st.error(f"Without accounts, Pickwell answers on this machine only. Start it with `{start}`, on 127.0.0.1.")
    st.stop()
with errors_shown(stop=True):
    open_database()

MANAGER = (Role.MANAGER,)
PAGES = {
    "": (
        ("pages/overview.py", "Overview", ":material/route:", tuple(Role)),
        ("pages/import_prompts.py", "Import", ":material/upload_file:", MANAGER),
        ("pages/route_prompts.py", "Route", ":material/alt_route:", MANAGER),
    ),
    "Replies": (
        ("pages/try_prompts.py", "Try prompts", ":material/science:", MANAGER),
        ("pages/generate_responses.py", "Generate", ":material/auto_awesome:", MANAGER),
        ("pages/check_responses.py", "Check", ":material/rule:", MANAGER),
        ("pages/tidy_texts.py", "Tidy texts", ":material/format_clear:", MANAGER),
    ),
    "What people say": (
        ("pages/compare_responses.py", "Compare", ":material/compare_arrows:", RANKERS),
        ("pages/correct_replies.py", "Correct", ":material/edit_note:", RANKERS),
        ("pages/review_progress.py", "Progress", ":material/bar_chart:", MANAGER),
        ("pages/decide_conflicts.py", "Decide", ":material/gavel:", MANAGER),
        ("pages/find_comparisons.py", "Find", ":material/search:", MANAGER),
    ),
    "Training": (
        ("pages/freeze_feedback.py", "Freeze", ":material/ac_unit:", MANAGER),
        ("pages/look_at_data.py", "Look at data", ":material/query_stats:", MANAGER),
        ("pages/train_model.py", "Train", ":material/model_training:", MANAGER),
        ("pages/learning_curve.py", "Learning curve", ":material/show_chart:", MANAGER),
        ("pages/trained_models.py", "Trained models", ":material/inventory_2:", MANAGER),
    ),
    "The proof": (
        ("pages/judge_blind.py", "Judge blind", ":material/visibility_off:", JUDGES),
        ("pages/evaluate_models.py", "Evaluate", ":material/leaderboard:", JUDGES),
    ),
    "The project": (("pages/manage_people.py", "People", ":material/group:", tuple(Role)),),
}
with errors_shown(stop=True):
    me = show_sidebar()
# every page has its address for everybody, so that a link works before the sign-in and a page can say what it needs
pages = {
    title: st.Page(
        path,
        title=title,
        icon=icon,
        default=title == "Overview",
        visibility="visible" if me is not None and me.has_any_role(*roles) else "hidden",
    )
    for section in PAGES.values()
    for path, title, icon, roles in section
}
menu = {name: [pages[title] for _, title, _, _ in section] for name, section in PAGES.items()}
# expanded: of more than twelve pages Streamlit would hide the last
chosen = st.navigation(menu, position="sidebar" if me is not None else "hidden", expanded=True)
if wanted := st.session_state.pop("wanted", None):  # see `ui.frame.page`
    st.switch_page(pages[wanted], query_params=st.query_params.to_dict())
# again, because navigation has just put the page's own icon in its place
st.set_page_config(page_title=f"{chosen.title} · Pickwell", page_icon=ICON, layout="wide")
if me is None:
    st.session_state.pop("me", None)
    show_welcome()
    st.stop()
st.session_state["me"] = me
if not me.roles:
    st.warning("You have no role in this project. Ask its manager to give you one on the People page.")
    st.stop()
with errors_shown(stop=True):
    chosen.run()
