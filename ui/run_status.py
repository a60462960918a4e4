"""How a run stands: status, progress, why it waits, its log, cancel and try again."""

import streamlit as st

from db.models import GenerationRun, RunStatus, TrainingRun
from db.session import reading, session
from errors import PickwellError
from jobs.runs import cancel, kind_of, log_tail, try_again, waiting_reason
from ui.safe import plain

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


def _do(action: str, kind: str, run_id: int) -> None:
    try:
        with session() as s:
            (cancel if action == "cancel" else try_again)(s, kind=kind, run_id=run_id)
    except PickwellError as problem:
        st.toast(plain(str(problem)), icon=":material/error:")


def show_run(run: GenerationRun | TrainingRun, title: str) -> None:
    """One run with everything a person can do about it."""
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
                args=("cancel", kind, run.id),
                disabled=run.cancel_requested,
                width="stretch",
            )
        elif run.status is not RunStatus.SUCCEEDED:
            action.button(
                "Try again", key=f"again_{kind}_{run.id}", on_click=_do, args=("again", kind, run.id), width="stretch"
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
