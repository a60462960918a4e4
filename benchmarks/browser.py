"""One reviewer in a real Chromium: from a key's press to the next pair on the screen, timed inside the page.

The page's own clock is read when the browser has the key (the event's time stamp) and in the first task after the frame
in which a change was drawn, so neither playwright nor this process is in the figures.
"""

import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from playwright.sync_api import Page, TimeoutError, sync_playwright

from benchmarks.seeding import PARCEL

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
ANSWER_MS = 20_000
"""Milliseconds after which a press counts as lost."""
LOOK_AGAIN_MS = 50
"""Milliseconds between two looks at whether the pair has come; longer ones would only make the run longer."""

WATCH = """
([keys, prompt, choice]) => {
  const pair = () => /PARCEL (\\d{7})/.exec(document.querySelector(prompt)?.textContent ?? '')?.[1];
  const painted = then => requestAnimationFrame(() => {
    const channel = new MessageChannel();
    channel.port1.onmessage = () => then(performance.now());
    channel.port2.postMessage(0);
  });
  window.pair = pair;
  window.press = null;
  addEventListener('keydown', event => {
    if (keys.includes(event.key)) window.press = {at: event.timeStamp, before: pair(), choice: null, next: null};
  }, true);
  new MutationObserver(() => {
    const press = window.press;
    if (!press) return;
    if (choice && !press.choiceDrawn && document.querySelector(choice)) {
      press.choiceDrawn = true;
      painted(now => press.choice = now - press.at);
    }
    const now = pair();
    if (!press.nextDrawn && now && now !== press.before) {
      press.nextDrawn = true;
      painted(now => press.next = now - press.at);
    }
  }).observe(document, {subtree: true, childList: true, characterData: true, attributes: true});
}
""".replace("PARCEL", PARCEL)


@dataclass(frozen=True)
class Seen:
    """What one press brought to the screen; seconds since the key."""

    choice: float | None
    """When the choice was painted as marked; None where it never was, or where there is no such mark."""
    next_pair: float
    """When the next pair was painted, pause included."""


@dataclass(frozen=True)
class Sitting:
    """All presses of one reviewer."""

    seen: list[Seen]
    lost: int
    """Presses that brought no other pair."""


@contextmanager
def a_page() -> Iterator[Page]:
    """A page of headless Chromium."""
    if CHROMIUM is None:
        raise RuntimeError("Chromium is missing; the package is called chromium.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        try:
            yield browser.new_page(viewport={"width": 1360, "height": 900})
        finally:
            browser.close()


def sit(
    page: Page,
    *,
    keys: Sequence[str],
    press: Callable[[Page, str], None],
    prompt: str,
    choice: str | None,
    presses: int,
    rest: float,
    seed: int,
) -> Sitting:
    """Press keys on a page that shows a pair, one after another as pairs come; the first one does not count.

    Args:
        page: with the first pair painted.
        keys: names of the keys that end a pair (KeyboardEvent.key).
        press: what the person does, given one of the keys.
        prompt: CSS selector of the element with the prompt.
        choice: CSS selector of what marks a choice until the next pair comes, if anything does.
        presses: to be counted.
        rest: seconds that a pair is looked at.
        seed: of which keys are pressed.
    """
    draw = random.Random(seed)
    page.evaluate(WATCH, [list(keys), prompt, choice])
    seen: list[Seen] = []
    lost = 0
    for turn in range(presses + 1):
        page.wait_for_timeout(1000 * rest)
        press(page, draw.choice(keys))
        try:
            page.wait_for_function("() => window.press?.next", timeout=ANSWER_MS, polling=LOOK_AGAIN_MS)
        except TimeoutError:
            lost += 1
            continue
        if turn:  # the first press after loading warms things up, and may get lost
            found = page.evaluate("() => window.press")
            choice_ms = found["choice"]
            seen.append(Seen(None if choice_ms is None else choice_ms / 1000, found["next"] / 1000))
    return Sitting(seen, lost)


def rank_pairs(address: str, *, project_id: int, reviewer_id: int, presses: int, rest: float, seed: int) -> Sitting:
    """Rank pairs of the app with the arrow keys."""
    with a_page() as page:
        page.goto(f"{address}/compare_responses?project={project_id}&person={reviewer_id}")
        page.get_by_role("button", name="Left is better").wait_for()
        return sit(
            page,
            keys=("ArrowLeft", "ArrowUp", "ArrowDown", "ArrowRight"),
            press=lambda page, key: page.keyboard.press(key),
            prompt=".pw-prompt",
            choice=".pw-chosen, .pw-faded",
            presses=presses,
            rest=rest,
            seed=seed,
        )
