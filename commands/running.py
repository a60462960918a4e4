"""Set up, serve, and the loop without a person."""

import json
import signal
import socket
import subprocess
import sys
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from commands.shell import console, run_progress
from db.session import session
from errors import BadSetting, NotFound, missing_package, requirement_file
from settings import ROOT, Engine, is_loopback, settings

app = typer.Typer()


def _check_host() -> None:
    host = settings().host
    if not is_loopback(host):
        raise BadSetting(
            f"PICKWELL_HOST is {host}, but without accounts the app answers on this machine only. Use 127.0.0.1."
        )


def _check_port() -> None:
    """Raise `BadSetting` where something else listens already."""
    host, port = settings().host, settings().port
    family, kind, *_, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(place)
        except OSError as problem:
            raise BadSetting(
                f"Port {port} on {host} cannot be had ({problem.strerror}). Is Pickwell running already? Open it "
                "there, or set PICKWELL_PORT to another number."
            ) from None


def _answered_without_model() -> bool:
    """Whether prompts are answered elsewhere, or by the echo server, so that this machine needs no model for it."""
    return settings().engine is Engine.echo or bool(settings().engine_url)


@app.command()
def setup(sample: Annotated[bool, typer.Option(help="Load the sample project.")] = True) -> None:
    """Database, sample project and default model; does nothing that is done already."""
    _check_host()
    if sample:
        from intake.sample import load_sample

        console.print("Sample project …")
        with session() as s:
            load_sample(s)
    model()


@app.command()
def model() -> None:
    """The default model, unpacked once; needs the full requirements, not only the app's."""
    if settings().base_model or _answered_without_model():
        return
    if not find_spec("transformers"):
        lacking = missing_package("Everything else", "transformers", pip=["-r", requirement_file("train")])
        console.print(f"People can rank and judge here. {lacking}", markup=False, highlight=False, soft_wrap=True)
        return
    # a process of its own: this one stays free of torch
    if subprocess.run([sys.executable, "-m", "llm.default_model"], cwd=ROOT).returncode:
        raise typer.Exit(1)


@app.command()
def run() -> None:
    """Serve the app, with a worker beside it where something here can answer prompts; Ctrl+C ends both."""
    _check_host()
    _check_port()
    from jobs.local import ensure_worker
    from jobs.processes import tied

    host = settings().host
    address = f"http://{f'[{host}]' if ':' in host else host}:{settings().port}"
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup leaves it
            signal.signal(number, signal.default_int_handler)
    console.print(f"Pickwell answers on {address} and on this machine only. Ctrl+C ends it.")
    # without the full set a worker could only take up what it must fail at; the pages say that none is there
    able = find_spec("transformers") or _answered_without_model() or settings().ray_address
    with ensure_worker() if able else nullcontext():
        command = [sys.executable, "-m", "streamlit", "run", str(ROOT / "ui" / "server.py")]
        command += ["--server.address", host, "--server.port", str(settings().port)]
        app = subprocess.Popen(tied(command, by=signal.SIGTERM), cwd=ROOT)
        try:
            raise typer.Exit(app.wait())
        except KeyboardInterrupt:
            app.terminate()
            app.wait()
            console.print("Ended.")


@app.command()
def demo(
    to: Annotated[Path | None, typer.Option("--json", help="Write what happened to this file.")] = None,
    prompts: Annotated[int, typer.Option(help="Training emails to use.")] = 140,
    generated: Annotated[int, typer.Option(help="Those of them that the supervised model answers too.")] = 140,
    held_out: Annotated[int, typer.Option(help="Emails to judge on.")] = 40,
    max_steps: Annotated[int | None, typer.Option(help="Stop training after so many steps.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings, each with a seed of its own.")] = 1,
) -> None:
    """The whole loop without a person; a written rule ranks and judges, and everything says simulated."""
    from examples.demo import Size, run_demo

    if to is not None and not to.parent.is_dir():
        raise NotFound(f"There is no folder {to.parent} to write {to.name} to. Make it first.")
    model()
    bar, watch = run_progress()
    with bar:
        size = Size(prompts=prompts, generated=generated, held_out=held_out, max_steps=max_steps, seeds=seeds)
        report = run_demo(size=size, say=console.print, watch=watch)
    console.print_json(json.dumps({key: report[key] for key in ("seconds", "snapshot", "win_rates")}))
    console.print("No person ranked or judged anything here: a written rule did (simulated).")
    if to:
        to.write_text(json.dumps(report, indent=2) + "\n")
