"""How long a reviewer waits for the next pair, in the real app and in one peer, on the same machine in the same run.

    python -m benchmarks.review --prompts 100000 --reviewers 20

Seeds a database of its own in a temporary folder, serves the app on loopback, and drives it over its websocket and in
one real Chromium; then the same with Label Studio. Prints one JSON object; what it is doing goes to the other stream.
With the standard sizes it takes about 75 minutes, of which the two soaks are 60. Everything that it starts it ends.
"""

import asyncio
import os
import sqlite3
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import label_studio, our_app
from benchmarks.measuring import (
    BrowserPace,
    ClickPace,
    Presses,
    machine,
    press_all,
    print_stage,
    printed_report,
    watch_memory,
)
from benchmarks.our_app import LEAST, LargeProject
from db.schema import migrate
from db.session import session
from review.queue import set_queue
from ui.pairs import PAUSE

WANTED_AT_THE_SERVER_MS = 60
"""Longest 95th percentile beyond the pause, with think time, for a websocket client."""
WANTED_IN_THE_BROWSER_MS = 250
"""Longest 95th percentile beyond the pause, from key to painted pair."""
NOISE = 0.05
"""Share of the memory at the start by which the fitted line may rise over a soak and still count as no growth."""
REST = LEAST + 0.5
"""Seconds that a pair is looked at in the browser."""


@dataclass(frozen=True)
class Load:
    """The paces at which the app and the peer are used."""

    warm_up: ClickPace
    """Not counted: a fresh server imports and compiles in its first requests."""
    paces: dict[str, ClickPace]
    """Of the two runs of all clients, by name."""
    browser: BrowserPace
    soak: ClickPace | None


Side = our_app.OurApp | label_studio.LabelStudio
"""Either of the two at work."""


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
    paces = {
        "with_think_time": ClickPace(think, presses=presses, seed=draw_seed),
        "without_think_time": ClickPace(0.0, presses=presses, seed=draw_seed + 1),
    }
    soak = ClickPace(think, seconds=60 * soak_minutes, seed=draw_seed + 2) if soak_minutes else None
    browser = BrowserPace(browser_presses, REST, draw_seed + 3)
    load = Load(ClickPace(0.0, presses=2, seed=draw_seed + 3), paces, browser, soak)
    about = machine("streamlit") | {"sqlite": sqlite3.sqlite_version}
    with (
        printed_report(machine=about, database={}, app={}) as report,
        tempfile.TemporaryDirectory(prefix="pickwell-benchmark-") as folder,
    ):
        home, peer_home = Path(folder) / "pickwell", Path(folder) / "label-studio"
        home.mkdir()
        os.environ["PICKWELL_HOME"] = str(home)
        os.environ.pop("PICKWELL_DATABASE_URL", None)
        large = make_database(report["database"], home, prompts, reviewers, people_wanted)
        report["app"]["pause_ms"] = round(1000 * PAUSE)
        with our_app.serve_app(home, large) as app:
            measure_load(report["app"], app, load)
        report["wanted"] = check_limits(report["app"])
        print_stage("The database alone")
        report["database_alone"] = {
            name: our_app.time_database(large, turns=40, people_wanted=people, share=0.1)
            for name, people in (("everybody_ranks_all", None), ("two_people_for_a_tenth", 2))
        }
        if peer:
            report["peer"] = {}
            measure_peer(report["peer"], peer_home, peer_prompts or prompts, reviewers, load)


def make_database(report: dict[str, Any], home: Path, prompts: int, reviewers: int, people_wanted: int) -> LargeProject:
    """Make a database of the size asked for."""
    print_stage(f"Seeding {prompts} prompts")
    migrate()
    began = time.perf_counter()
    large = our_app.seed_database(prompts, reviewers)
    report |= {
        "prompts": large.prompts,
        "responses": large.responses,
        "rankings": large.rankings,
        "reviewers": reviewers,
        "people_wanted": people_wanted or "everybody ranks all",
        "seeding_s": round(time.perf_counter() - began, 1),
        "megabytes": round((home / "pickwell.db").stat().st_size / 1e6),
    }
    with session() as s:
        by, people = large.reviewer_ids[0], people_wanted or None
        set_queue(s, by=by, project_id=large.project_id, people=people, share=1.0)
    return large


def measure_load(report: dict[str, Any], side: Side, load: Load) -> None:
    """Measure a side in every way."""
    print_stage(f"{side.name}: warming it up")
    measure_clicks(side, load.warm_up)
    for name, pace in load.paces.items():
        print_stage(f"{side.name}: all clients, {name.replace('_', ' ')}")
        report[name] = measure_clicks(side, pace)
    print_stage(f"{side.name}: Chromium")
    presses = side.press_in_browser(load.browser)
    report["browser"] = {"presses": len(presses.next_pairs), **side.browser_figures(presses), "lost": presses.lost}
    if load.soak is not None:
        print_stage(f"{side.name}: the soak")
        report["soak"] = measure_clicks(side, load.soak)


def measure_clicks(side: Side, pace: ClickPace) -> dict[str, Any]:
    """The figures of all clients at a pace; where that is for a time, with the server's memory meanwhile."""

    async def all_clients() -> tuple[int, Presses]:
        async with side.tabs() as tabs:
            return len(tabs), await press_all(tabs, pace, least=side.least)

    async def with_memory(seconds: float) -> tuple[tuple[int, Presses], dict[str, float]]:
        return await asyncio.gather(all_clients(), watch_memory(side.server, seconds))

    saved, used = our_app.count_rankings(), side.server.cpu_seconds
    soak: dict[str, Any] = {}
    if pace.seconds is None:
        clients, presses = asyncio.run(all_clients())
    else:
        (clients, presses), memory = asyncio.run(with_memory(pace.seconds))
        soak = {"seconds": pace.seconds, "memory": memory}
    clicks = len(presses.next_pairs)
    return soak | {
        "clients": clients,
        "think_s": pace.think,
        "clicks": clicks,
        "clicks_per_second": round(clicks / presses.seconds, 2),
        **side.click_figures(presses, pace, saved=our_app.count_rankings() - saved),
        "errors": len(presses.errors),
        "first_errors": presses.errors[:3],
        "server_cpu_ms_per_click": round(1000 * (side.server.cpu_seconds - used) / max(1, clicks), 1),
        "server_megabytes": round(side.server.megabytes, 1),
    }


def check_limits(app: dict[str, Any]) -> list[dict[str, Any]]:
    """The app's limits, and whether they are kept."""
    clients, browser = app["with_think_time"], app["browser"]
    at_the_server = clients["key_to_next_pair_beyond_pause"].p95_ms
    painted = browser["key_to_next_pair_painted_beyond_pause"].p95_ms
    rows: list[tuple[str, float, float | None]] = [
        ("p95 beyond the pause at the server, with think time, ms", WANTED_AT_THE_SERVER_MS, at_the_server),
        ("p95 beyond the pause in the browser, ms", WANTED_IN_THE_BROWSER_MS, painted),
    ]
    if soak := app.get("soak"):
        memory = soak["memory"]
        hours = (soak["seconds"] - memory["warm_up_s"]) / 3600
        rise = memory["slope_mb_per_hour"] * hours / memory["start_mb"]
        rows.append(("rise of memory over the soak, share", NOISE, rise))
    return [
        {"what": what, "at_most": limit, "found": value, "met": value is not None and value <= limit}
        for what, limit, value in rows
    ]


def measure_peer(report: dict[str, Any], home: Path, prompts: int, reviewers: int, load: Load) -> None:
    """The same of Label Studio; where it cannot be installed, why not."""
    report |= {
        "name": f"Label Studio {label_studio.VERSION}, as `label-studio start` serves it (SQLite, one process), "
        "telemetry off",
        "comparable": "The same texts, annotations, people, think times and machine, one after the other. A wait is "
        "from sending the annotation to having the next task, as its front end asks for it: no rendering, and no "
        "pause, for it has none. In the browser a wait is from Ctrl+Enter to the next prompt painted.",
        "not_comparable": "It wants two presses for a pair, a digit and Ctrl+Enter "
        f"({label_studio.BETWEEN_KEYS_MS} ms apart here); only the second is timed. It gives tasks in the order of "
        "their import, the app first those that fewest people have ranked. It sends a task and the browser draws the "
        "screen; Streamlit draws the screen on the server. Without think time its clients wait for nothing; the app's "
        "wait for the pause and the moments in which presses do not count.",
    }
    print_stage("Label Studio: installing it unless it is there")
    try:
        label_studio.install()
    except subprocess.CalledProcessError as problem:
        report["not_measured"] = f"It cannot be installed here: {problem}"
        return
    print_stage(f"Label Studio: importing {prompts} tasks")
    home.mkdir()
    with label_studio.label_studio(home, prompts=prompts, reviewers=reviewers) as peer:
        report |= {"tasks": peer.tasks, "annotations": peer.annotations, "import_s": peer.import_s}
        measure_load(report, peer, load)


if __name__ == "__main__":
    typer.run(main)
