"""How a run stands: status, progress, why it waits, its log, cancel and try again."""

from collections.abc import Callable

import streamlit as st

from db.models import RunStatus
from db.session import reading, session
from jobs.runs import AnyRun, cancel, kind_of, log_tail, try_again, waiting_reason
from ui.safe import errors_toasted, plain

ICONS = {
    RunStatus.QUEUED: ":material/hourglass_empty:",
    RunStatus.RUNNING: ":material/play_circle:",
    RunStatus.SUCCEEDED: ":material/check_circle:",
    RunStatus.FAILED: ":material/error:",
    RunStatus.CANCELLED: ":material/cancel:",
}
WORDS = {
    RunStatus.QUEUED: "waiting",
    RunStatus.RUNNING: "running",
    RunStatus.SUCCEEDED: "done",
    RunStatus.FAILED: "failed",
    RunStatus.CANCELLED: "cancelled",
}


def _do(action: Callable[..., None], by: int, run: AnyRun) -> None:
    with errors_toasted(), session() as s:
        action(s, by=by, kind=kind_of(run), run_id=run.id)


def show_run(run: AnyRun, title: str, *, by: int) -> None:
    """One run with everything that the reviewer `by` can do about it."""
    kind = kind_of(run)
    with reading() as s:
        reason = waiting_reason(s, run)
    with st.container(border=True):
        head, action = st.columns([5, 1], vertical_alignment="center")
        head.markdown(f"{ICONS[run.status]} **{plain(title)}** · {WORDS[run.status]}")
        if not run.status.ended:
            label = "Stopping …" if run.cancel_requested else "Cancel"
            action.button(
                label,
                key=f"cancel_{kind}_{run.id}",
                on_click=_do,
                args=(cancel, by, run),
                disabled=run.cancel_requested,
                width="stretch",
            )
        elif run.status is not RunStatus.SUCCEEDED:
            action.button(
                "Try again", key=f"again_{kind}_{run.id}", on_click=_do, args=(try_again, by, run), width="stretch"
            )
        if reason:
            st.warning(plain(reason), icon=":material/hourglass_empty:")
        if not run.status.ended and run.total:
            share = min(1.0, run.done / run.total)
            st.progress(share, text=plain(f"{run.stage or 'Waiting'}: {run.done} of {run.total}"))
        elif not run.status.ended:
            st.caption(plain(run.stage or "Waiting"))
        if run.error:
            st.error(plain(run.error.split("\n")[0]))
        if run.status is not RunStatus.SUCCEEDED and (log := log_tail(kind, run.id)):
            with st.expander("End of the log"):
                st.code(log, language=None, wrap_lines=True, height=240)
