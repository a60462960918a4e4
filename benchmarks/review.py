"""How long a reviewer waits for the next pair, in the real app and in one peer, on the same machine in the same run.

    python -m benchmarks.review --prompts 100000 --reviewers 20

Seeds a database of its own in a temporary folder, serves the app on loopback, and drives it over its websocket and in
one real Chromium; then the same with Label Studio. Prints one JSON object; what it is doing goes to the other stream.
With the standard sizes it takes about 75 minutes, of which the two soaks are 60. Everything that it starts it ends.
"""

import asyncio
import json
import os
import platform
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer
from rich.console import Console

from benchmarks.browser import Sitting, rank_pairs
from benchmarks.claims import claims
from benchmarks.latency import latency
from benchmarks.memory import Memory, watch
from benchmarks.pace import Pace
from benchmarks.peer import BETWEEN_KEYS_MS, VERSION, Peer, Submissions, annotate, install, label_studio, submit_pairs
from benchmarks.seeding import Seeded, seed
from benchmarks.server import Server, the_app
from benchmarks.websocket_clients import LEAST, Answers, review
from ui.pairs import PAUSE

WANTED_AT_THE_SERVER_MS = 60
"""Longest 95th percentile beyond the pause, with think time, for a websocket client."""
WANTED_IN_THE_BROWSER_MS = 250
"""Longest 95th percentile beyond the pause, from key to painted pair."""
NOISE = 0.05
"""Share of the memory at the start by which the fitted line may rise over a soak and still count as no growth."""
REST = LEAST + 0.5
"""Seconds that a pair is looked at in the browser."""
LOG = 1500
"""Last characters of the app's log that are kept where something failed: its pages tell nobody what it was."""
console = Console(stderr=True)


@dataclass(frozen=True)
class Load:
    """What the app and the peer are put under."""

    with_think_time: Pace
    without_think_time: Pace
    browser_presses: int
    soak: Pace | None
    warm_up: Pace
    """Not counted: a fresh server imports and compiles in its first requests."""

    @property
    def paces(self) -> dict[str, Pace]:
        """The two runs of all clients, by name."""
        return {"with_think_time": self.with_think_time, "without_think_time": self.without_think_time}


def main(
    prompts: Annotated[int, typer.Option(min=2, help="One pair each.")] = 100_000,
    reviewers: Annotated[int, typer.Option(min=2, help="One websocket client each.")] = 20,
    think: Annotated[float, typer.Option(help="Mean think time in seconds.")] = 5.0,
    presses: Annotated[int, typer.Option(min=2, help="Of each client, with and without think time.")] = 12,
    browser_presses: Annotated[int, typer.Option(min=2)] = 60,
    soak_minutes: Annotated[float, typer.Option(help="0 leaves the soaks out.")] = 30.0,
    people_wanted: Annotated[int, typer.Option(help="People for each pair; 0 lets everybody rank all.")] = 0,
    peer: Annotated[bool, typer.Option(help="Measure Label Studio too.")] = True,
    peer_prompts: Annotated[int, typer.Option(help="Fewer tasks for the peer; 0 gives it as many.")] = 0,
    draw_seed: Annotated[int, typer.Option("--seed", help="Of think times and choices.")] = 0,
) -> None:
    """Seed, serve, measure, print."""
    # so that being told to end also ends the servers
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    load = Load(
        with_think_time=Pace(think, presses=presses, seed=draw_seed),
        without_think_time=Pace(0.0, presses=presses, seed=draw_seed + 1),
        browser_presses=browser_presses,
        soak=Pace(think, seconds=60 * soak_minutes, seed=draw_seed + 2) if soak_minutes else None,
        warm_up=Pace(0.0, presses=2, seed=draw_seed + 3),
    )
    report: dict[str, Any] = {"finished": False, "machine": machine(), "database": {}, "app": {}}
    try:
        with tempfile.TemporaryDirectory(prefix="pickwell-benchmark-") as folder:
            home, peer_home = Path(folder) / "pickwell", Path(folder) / "label-studio"
            home.mkdir()
            os.environ["PICKWELL_HOME"] = str(home)
            os.environ.pop("PICKWELL_DATABASE_URL", None)
            seeded = seeding(report["database"], home, prompts, reviewers, people_wanted)
            with the_app(home) as app:
                under_load(report["app"], app, seeded, load)
            report["wanted"] = wanted(report["app"])
            told("The database alone")
            report["database_alone"] = {
                name: claims(seeded.project_id, seeded.reviewer_ids, turns=40, people_wanted=people, share=0.1)
                for name, people in (("everybody_ranks_all", None), ("two_people_for_a_tenth", 2))
            }
            if peer:
                report["peer"] = {}
                peer_under_load(report["peer"], peer_home, peer_prompts or prompts, reviewers, load)
        report["finished"] = True
    finally:
        # also where something failed or somebody ended it: an hour's figures are not to be lost
        print(json.dumps(report, indent=2, default=asdict))


def told(what: str) -> None:
    """Say what is being done, and when it began."""
    console.print(f"{time.strftime('%H:%M:%S')} {what} …", highlight=False)


def machine() -> dict[str, Any]:
    """What the figures were measured on; the load says whether something else was running."""
    return {
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "load_before": [round(value, 2) for value in os.getloadavg()],
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "streamlit": version("streamlit"),
    }


def seeding(found: dict[str, Any], home: Path, prompts: int, reviewers: int, people_wanted: int) -> Seeded:
    """Make the database."""
    from db.session import migrate, session
    from review.queue import set_queue

    told(f"Seeding {prompts} prompts")
    migrate()
    began = time.perf_counter()
    seeded = seed(prompts, reviewers)
    found |= {
        "prompts": seeded.prompts,
        "responses": seeded.responses,
        "rankings": seeded.rankings,
        "reviewers": reviewers,
        "people_wanted": people_wanted or "everybody ranks all",
        "seeding_s": round(time.perf_counter() - began, 1),
        "megabytes": round((home / "pickwell.db").stat().st_size / 1e6),
    }
    with session() as s:
        set_queue(
            s,
            by=seeded.reviewer_ids[0],
            project_id=seeded.project_id,
            people=people_wanted or None,
            share=1.0,
        )
    return seeded


def saved() -> int:
    """Rankings in the database."""
    from sqlalchemy import func, select

    from db.models import Ranking
    from db.session import reading

    with reading() as s:
        return s.scalar(select(func.count()).select_from(Ranking)) or 0


def under_load(found: dict[str, Any], app: Server, seeded: Seeded, load: Load) -> None:
    """All that is measured of the app."""
    found["pause_ms"] = round(1000 * PAUSE)
    told("Warming the app up")
    reviewing(app, seeded, load.warm_up)
    for name, pace in load.paces.items():
        told(f"{len(seeded.reviewer_ids)} websocket clients, {name.replace('_', ' ')}")
        found[name] = reviewing(app, seeded, pace)
    told("Chromium")
    sitting = rank_pairs(
        app.address,
        project_id=seeded.project_id,
        reviewer_id=seeded.reviewer_ids[0],
        presses=load.browser_presses,
        rest=REST,
        seed=load.warm_up.seed,
    )
    found["browser"] = in_the_browser(sitting)
    if load.soak is not None:
        told("The soak")
        found["soak"] = soaking(app, seeded, load.soak)


def reviewing(app: Server, seeded: Seeded, pace: Pace) -> dict[str, Any]:
    """One run of all websocket clients."""
    before, used = saved(), app.cpu_seconds
    answers = asyncio.run(
        review(app.address, project_id=seeded.project_id, reviewer_ids=seeded.reviewer_ids, pace=pace)
    )
    return {
        "clients": len(seeded.reviewer_ids),
        "think_s": pace.think,
        **clicks_of(answers),
        "clicks_per_second_at_most": None if pace.think else round(len(seeded.reviewer_ids) / (PAUSE + LEAST), 1),
        "server_cpu_ms_per_click": round(1000 * (app.cpu_seconds - used) / max(1, len(answers.clicks)), 1),
        "rankings_saved": saved() - before,
        "end_of_the_log": app.log.read_text(errors="replace")[-LOG:] if answers.errors else "",
        "server_megabytes": round(app.megabytes, 1),
    }


def clicks_of(answers: Answers) -> dict[str, Any]:
    """What the websocket clients saw, in figures."""
    return {
        "clicks": len(answers.clicks),
        "clicks_per_second": round(len(answers.clicks) / answers.seconds, 2),
        "key_to_choice_seen": latency([c.choice_seen for c in answers.clicks if c.choice_seen is not None]),
        "choice_never_seen": sum(c.choice_seen is None for c in answers.clicks),
        "key_to_next_pair_beyond_pause": latency([c.next_pair - PAUSE for c in answers.clicks]),
        "ignored": answers.ignored,
        "clients_out_of_pairs": answers.finished,
        "errors": len(answers.errors),
        "first_errors": answers.errors[:3],
    }


def in_the_browser(sitting: Sitting) -> dict[str, Any]:
    """What one reviewer saw painted."""
    return {
        "presses": len(sitting.seen),
        "key_to_choice_painted": latency([seen.choice for seen in sitting.seen if seen.choice is not None]),
        "key_to_next_pair_painted_beyond_pause": latency([seen.next_pair - PAUSE for seen in sitting.seen]),
        "lost": sitting.lost,
    }


def soaking(app: Server, seeded: Seeded, pace: Pace) -> dict[str, Any]:
    """All clients for a long time, and the server's memory meanwhile."""

    async def both() -> tuple[Answers, Memory]:
        assert pace.seconds is not None
        clients = review(app.address, project_id=seeded.project_id, reviewer_ids=seeded.reviewer_ids, pace=pace)
        return await asyncio.gather(clients, watch(app, pace.seconds))

    answers, memory = asyncio.run(both())
    return {"seconds": pace.seconds, "think_s": pace.think, "memory": memory, **clicks_of(answers)}


def wanted(app: dict[str, Any]) -> list[dict[str, Any]]:
    """What the app should hold, and whether it does."""
    clients, browser = app["with_think_time"], app["browser"]
    at_the_server = clients["key_to_next_pair_beyond_pause"].p95_ms
    painted = browser["key_to_next_pair_painted_beyond_pause"].p95_ms
    rows: list[tuple[str, float, float | None]] = [
        ("p95 beyond the pause at the server, with think time, ms", WANTED_AT_THE_SERVER_MS, at_the_server),
        ("p95 beyond the pause in the browser, ms", WANTED_IN_THE_BROWSER_MS, painted),
    ]
    if soak := app.get("soak"):
        memory = soak["memory"]
        hours = (soak["seconds"] - memory.warm_up_s) / 3600
        rows.append(("rise of memory over the soak, share", NOISE, memory.slope_mb_per_hour * hours / memory.start_mb))
    return [
        {"what": what, "at_most": limit, "found": found, "met": found is not None and found <= limit}
        for what, limit, found in rows
    ]


def peer_under_load(found: dict[str, Any], home: Path, prompts: int, reviewers: int, load: Load) -> None:
    """The same of Label Studio; where it cannot be installed, why not."""
    found |= {
        "name": f"Label Studio {VERSION}, as `label-studio start` serves it (SQLite, one process), telemetry off",
        "comparable": "The same texts, annotations, people, think times and machine, one after the other. A wait is "
        "from sending the annotation to having the next task, as its front end asks for it: no rendering, and no "
        "pause, for it has none. In the browser a wait is from Ctrl+Enter to the next prompt painted.",
        "not_comparable": "It wants two presses for a pair, a digit and Ctrl+Enter "
        f"({BETWEEN_KEYS_MS} ms apart here); only the second is timed. It gives tasks in the order of their import, "
        "the app first those that fewest people have ranked. It sends a task and the browser draws the screen; "
        "Streamlit draws the screen on the server. Without think time its clients wait for nothing; the app's wait "
        "for the pause and the moments in which presses do not count.",
    }
    told("Label Studio: installing it unless it is there")
    try:
        install()
    except subprocess.CalledProcessError as problem:
        found["not_measured"] = f"It cannot be installed here: {problem}"
        return
    told(f"Label Studio: importing {prompts} tasks")
    home.mkdir()
    with label_studio(home, prompts=prompts, reviewers=reviewers) as peer:
        found |= {"tasks": peer.tasks, "annotations": peer.annotations, "import_s": peer.import_s}
        told("Label Studio: warming it up")
        submitting(peer, load.warm_up)
        for name, pace in load.paces.items():
            told(f"Label Studio: {reviewers} clients, {name.replace('_', ' ')}")
            found[name] = submitting(peer, pace)
        told("Label Studio: Chromium")
        sitting = submit_pairs(peer, presses=load.browser_presses, rest=REST, seed=load.warm_up.seed)
        found["browser"] = {
            "presses": len(sitting.seen),
            "key_to_next_pair_painted": latency([seen.next_pair for seen in sitting.seen]),
            "lost": sitting.lost,
        }
        if load.soak is not None:
            told("Label Studio: the soak")
            found["soak"] = soaking_peer(peer, load.soak)


def soaking_peer(peer: Peer, pace: Pace) -> dict[str, Any]:
    """All clients of the peer for a long time, and its memory meanwhile."""

    async def both() -> tuple[Submissions, Memory]:
        assert pace.seconds is not None
        return await asyncio.gather(annotate(peer, pace), watch(peer.server, pace.seconds))

    submissions, memory = asyncio.run(both())
    return {"seconds": pace.seconds, "think_s": pace.think, "memory": memory, **submissions_of(submissions)}


def submitting(peer: Peer, pace: Pace) -> dict[str, Any]:
    """One run of all clients of the peer."""
    used = peer.server.cpu_seconds
    found = asyncio.run(annotate(peer, pace))
    return {
        "clients": len(peer.people),
        "think_s": pace.think,
        **submissions_of(found),
        "server_cpu_ms_per_click": round(1000 * (peer.server.cpu_seconds - used) / max(1, len(found.waits)), 1),
        "server_megabytes": round(peer.server.megabytes, 1),
    }


def submissions_of(found: Submissions) -> dict[str, Any]:
    """What the peer's clients saw, in figures."""
    return {
        "clicks": len(found.waits),
        "clicks_per_second": round(len(found.waits) / found.seconds, 2),
        "submit_to_next_pair": latency(found.waits),
        "errors": len(found.errors),
        "first_errors": found.errors[:3],
    }


if __name__ == "__main__":
    typer.run(main)
