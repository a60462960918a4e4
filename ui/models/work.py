"""Exports and pushes go on behind the page: what they are at, how far they are, what became of them.

They copy, hash and upload files and load no library, so a thread of the app carries them. They end with the app, and
half an export is never taken for a whole one.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import streamlit as st

from errors import PickwellError, Refused
from release.export import Tell
from settings import settings
from ui.safe import plain

log = logging.getLogger("ui.models.work")


@dataclass
class Work:
    """One export or push."""

    title: str
    began: float = field(default_factory=time.monotonic)
    stage: str = "Beginning"
    share: float = 0.0
    result: str | None = None
    """What came of it, once it is there."""
    problem: str | None = None
    """Why nothing did."""
    thread: threading.Thread | None = None

    @property
    def running(self) -> bool:
        """It has neither a result nor a problem yet."""
        return self.result is None and self.problem is None

    def tell(self, stage: str, share: float) -> None:
        """Note what goes on."""
        self.stage, self.share = stage, share


@st.cache_resource
def _all() -> dict[str, Work]:
    return {}


def work_of(model_version_id: int) -> Work | None:
    """The newest work on a model since the app started."""
    return _all().get(f"{settings().home} {model_version_id}")


def start(model_version_id: int, title: str, job: Callable[[Tell], str]) -> Work:
    """Begin a job on a model. Raises `Refused` while another is under way."""
    known = work_of(model_version_id)
    if known is not None and known.running:
        raise Refused(f"{known.title} is still going on. Wait for its end.")
    work = Work(title)
    _all()[f"{settings().home} {model_version_id}"] = work

    def carry() -> None:
        try:
            work.result = job(work.tell)
        except PickwellError as problem:
            work.problem = str(problem)
        except Exception:
            log.exception("%s failed", title)
            work.problem = "It failed in a way that it should not have. The app's log says how."

    work.thread = threading.Thread(target=carry, name=title, daemon=True)
    work.thread.start()
    return work


def show_work(model_version_id: int) -> None:
    """The model's newest work with its progress, which moves by itself."""
    work = work_of(model_version_id)
    if work is None:
        return
    if not work.running:
        if work.problem:
            st.error(plain(f"{work.title}: {work.problem}"), icon=":material/error:")
        else:
            st.success(plain(f"{work.title}: {work.result}"), icon=":material/check:")
        return

    @st.fragment(run_every="1s")
    def moving() -> None:
        if not work.running:
            st.rerun()
        seconds = time.monotonic() - work.began
        st.progress(min(1.0, work.share), text=plain(f"{work.title}: {work.stage}, {seconds:.0f} s so far"))

    moving()
