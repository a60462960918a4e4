"""The app as a person meets it: served on a free port, and keys pressed in a real browser."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from settings import ROOT

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


class App:
    """The app as `streamlit run` serves it, on a free port of its own."""

    def __init__(self, home: Path) -> None:
        self.log = home / "app.log"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Serve, and wait until it answers."""
        command = [sys.executable, "-m", "streamlit", "run", "ui/server.py", "--server.port", str(self.port)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, env=os.environ.copy())
        for _ in range(150):
            try:
                urllib.request.urlopen(f"{self.address}/_stcore/health", timeout=1)
                return
            except OSError:
                time.sleep(0.2)

    def kill(self) -> None:
        """End it as `kill -9` does."""
        self.process.kill()
        self.process.wait(timeout=20)

    def stop(self) -> None:
        """End it as Ctrl+C does."""
        self.process.terminate()
        self.process.wait(timeout=20)


@contextmanager
def app_running(home: Path) -> Iterator[str]:
    """The app's address, once it answers; ended afterwards."""
    app = App(home)
    app.start()
    try:
        yield app.address
    finally:
        app.stop()


@contextmanager
def browser_page() -> Iterator[Page]:
    """A page of headless Chromium."""
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("Chromium is missing: .ci/run installs it.")
        pytest.skip("Chromium is not installed; the package is called chromium.")
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=quiet)
        page = browser.new_page(viewport={"width": 1360, "height": 900})
        page.set_default_timeout(30_000)
        expect.set_options(timeout=30_000)
        yield page
        browser.close()


def press_until(page: Page, key: str, text: str) -> None:
    """Press a key once the pair has stood long enough to count, until the page says the text.

    A key in the first moments of a pair is dropped on purpose, and the first one after loading may be lost.
    """
    for _ in range(8):
        page.wait_for_timeout(500)
        page.keyboard.press(key)
        try:
            expect(page.get_by_text(text)).to_be_visible(timeout=3000)
            return
        except AssertionError:
            continue
    expect(page.get_by_text(text)).to_be_visible()
