"""How a run stands: status, progress, why it waits, its log, cancel and try again."""

from functools import partial

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from db.models import Run, RunStatus
from db.session import reading
from jobs.runs import cancel_run, log_tail, pause_run, retry_run, waiting_reason
from ui.safe import act, plain

STATUS_ICONS = {
    RunStatus.QUEUED: ":material/hourglass_empty:",
    RunStatus.RUNNING: ":material/play_circle:",
    RunStatus.SUCCEEDED: ":material/check_circle:",
    RunStatus.FAILED: ":material/error:",
    RunStatus.CANCELLED: ":material/cancel:",
}
PAUSED_ICON = ":material/pause_circle:"
PAUSE_HELP = "Stops within half a minute and keeps what is done; Resume goes on from there."
STATUS_WORDS = {
    RunStatus.QUEUED: "waiting",
    RunStatus.RUNNING: "running",
    RunStatus.SUCCEEDED: "done",
    RunStatus.FAILED: "failed",
    RunStatus.CANCELLED: "cancelled",
}


def _show_buttons(run: Run, by: int, *, paused: bool) -> None:
    """What can be done about a run that has not succeeded."""
    kind = run.kind
    if run.status.ended:
        label = "Resume" if paused else "Try again"
        st.button(label, key=f"again_{kind}_{run.id}", on_click=partial(act, retry_run, by=by, run_id=run.id))
        return
    if run.cancel_requested:
        st.button("Pausing …" if run.paused else "Stopping …", key=f"cancel_{kind}_{run.id}", disabled=True)
        return
    hold = partial(act, pause_run, by=by, run_id=run.id)
    st.button("Pause", key=f"pause_{kind}_{run.id}", on_click=hold, help=PAUSE_HELP)
    st.button("Cancel", key=f"cancel_{kind}_{run.id}", on_click=partial(act, cancel_run, by=by, run_id=run.id))


def show_run(run: Run, title: str, *, by: int, note: str = "") -> DeltaGenerator:
    """One run with everything that the reviewer `by` can do about it.

    Args:
        note: a line below the title.

    Returns:
        The run's box, for what else there is to say of it.
    """
    with reading() as s:
        reason = waiting_reason(s, run)
    box = st.container(border=True)
    with box:
        head = actions = st.container()
        if run.status is not RunStatus.SUCCEEDED:
            head, actions = st.columns([3, 1], vertical_alignment="center")
        paused = run.paused and run.status is RunStatus.CANCELLED
        icon, word = (PAUSED_ICON, "paused") if paused else (STATUS_ICONS[run.status], STATUS_WORDS[run.status])
        head.markdown(f"{icon} **{plain(title)}** · {word}")
        if run.status is not RunStatus.SUCCEEDED:
            with actions.container(horizontal=True, horizontal_alignment="right", gap="xsmall"):
                _show_buttons(run, by, paused=paused)
        if note:
            st.caption(plain(note))
        if reason:
            st.warning(plain(reason), icon=":material/hourglass_empty:")
        if not run.status.ended and run.total:
            share = min(1.0, run.done / run.total)
            st.progress(share, text=plain(f"{run.stage or 'Waiting'}: {run.done} of {run.total}"))
        elif not run.status.ended:
            st.caption(plain(run.stage or "Waiting"))
        if run.error:
            st.error(plain(run.error.split("\n")[0]))
        if run.status is not RunStatus.SUCCEEDED and (log := log_tail(run.kind, run.id)):
            with st.expander("End of the log"):
                st.code(log, language=None, wrap_lines=True, height=240)
    return box
