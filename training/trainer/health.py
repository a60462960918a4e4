"""Whether a training goes well, judged by what its own metrics hide as much as by them. Pure.

TRL's metrics cannot tell over-optimisation from success: a run whose accuracy was 1 and whose margin was 6 had turned
every reply into "Sorry about that." (docs/experiments.md). So replies to fixed prompts are looked at, too.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from db.models import Split
from training.trainer.run_folder import SampleReport, StepReport, WarningReport

LONGER, SHORTER = 2.0, 0.5
"""Bounds of the length of sample replies, as a multiple of the base model's."""
MARGIN = 2.0
"""Reward margin past which a sigmoid loss has nothing left to teach."""
PINNED = 10
"""Training steps in a row with every pair right, which is memory or a shortcut, not taste."""
REPEATED = 0.5
"""Share of a reply's four-word sequences that came before, over which it only repeats itself."""
COLLAPSE = 1.3
"""Times the nats that the reference gives the chosen replies: further off, the model forgets how to write them."""
DIVERGED = 2.0
"""Times the first loss."""
RECENT = 5
"""Training steps that are averaged where single ones jump about."""
WORSE = 1.01
"""Times the best validation loss, over which one is worse and not only noise."""


@dataclass(frozen=True)
class Best:
    """The evaluation whose model is kept."""

    step: int
    healthy: bool
    """Nothing was wrong with the model's replies at it."""
    loss: float

    def beats(self, other: "Best | None") -> bool:
        """Whether this one is to be kept instead: health first, then validation loss; the later one of equals."""
        return other is None or (self.healthy, -self.loss) >= (other.healthy, -other.loss)


def findings(
    steps: Sequence[StepReport], samples: Sequence[SampleReport], *, at: int, with_reference: bool, beta: float
) -> list[WarningReport]:
    """What is wrong at an evaluation, each as a sentence; those that should end the training say so.

    Args:
        steps: everything reported so far, both splits.
        samples: every sample reply so far; those of step 0 are the base model's.
        at: the step that was just evaluated.
        with_reference: rewards are relative to a reference model (DPO, KTO).
        beta: of the recipe, by which rewards were multiplied.
    """
    checks = [
        _diverged(steps),
        _overfitting(steps),
        _collapsed(steps, beta=beta) if with_reference else None,
        _pinned(steps) if with_reference else None,
        _past_margin(steps) if with_reference else None,
        _length(samples, at),
        _repeating(samples, at),
    ]
    return [WarningReport(at, kind, sentence, stops) for kind, sentence, stops in filter(None, checks)]


Finding = tuple[str, str, bool] | None


def _of(steps: Iterable[StepReport], split: Split) -> list[StepReport]:
    return sorted((one for one in steps if one.split is split), key=lambda one: one.step)


def _diverged(steps: Sequence[StepReport]) -> Finding:
    losses = [one.loss for one in _of(steps, Split.TRAIN)]
    if len(losses) < 2 * RECENT:
        return None
    first, last = sum(losses[:RECENT]) / RECENT, sum(losses[-RECENT:]) / RECENT
    if last <= DIVERGED * first:
        return None
    return "diverged", f"The loss rose from {first:.3f} to {last:.3f}. Start again with a lower learning rate.", True


def _overfitting(steps: Sequence[StepReport]) -> Finding:
    seen = _of(steps, Split.VALIDATION)
    if len(seen) < 3:
        return None
    best = min(seen[:-2], key=lambda one: one.loss)
    later = seen[-2:]
    if not all(one.loss > best.loss + (WORSE - 1) * abs(best.loss) for one in later):
        return None
    if best.reward_accuracy is not None and any((one.reward_accuracy or 0) > best.reward_accuracy for one in later):
        return None
    return (
        "overfitting",
        f"On rows that it does not learn from, the loss was best at step {best.step} ({best.loss:.3f}) and has been "
        f"worse twice since ({later[-1].loss:.3f}): it learns the training rows by heart. The model of step "
        f"{best.step} is kept. More rows, or fewer epochs, would help.",
        True,
    )


def _collapsed(steps: Sequence[StepReport], *, beta: float) -> Finding:
    seen = _of(steps, Split.VALIDATION) or _of(steps, Split.TRAIN)
    if not seen or seen[-1].logps_chosen is None or seen[-1].rewards_chosen is None:
        return None
    last, moved = seen[-1].logps_chosen, (seen[-1].rewards_chosen or 0) / beta
    reference = last - moved
    if reference >= 0 or last >= COLLAPSE * reference:
        return None
    return (
        "chosen collapsed",
        f"Even the better replies became unlikely: {last:.0f} nats, {reference:.0f} before the training. A weight on "
        "the chosen reply holds them up, and so does a higher beta.",
        last < COLLAPSE**2 * reference,
    )


def _pinned(steps: Sequence[StepReport]) -> Finding:
    seen = _of(steps, Split.TRAIN)[-PINNED:]
    if len(seen) < PINNED or any((one.reward_accuracy or 0) < 1 for one in seen):
        return None
    return (
        "accuracy pinned",
        f"Every training pair came out right for {PINNED} steps: there is nothing left to learn from them but how "
        "they are worded. Judge it blind before you believe it.",
        False,
    )


def _past_margin(steps: Sequence[StepReport]) -> Finding:
    recent = [one.reward_margin for one in _of(steps, Split.TRAIN)[-RECENT:] if one.reward_margin is not None]
    if not recent or sum(recent) / len(recent) <= MARGIN:
        return None
    return (
        "margin",
        f"The reward margin is {sum(recent) / len(recent):.1f}; healthy runs stayed under {MARGIN:g}. Such models "
        "often write a few words that please the rule and nothing else: read the replies below.",
        False,
    )


def _length(samples: Sequence[SampleReport], at: int) -> Finding:
    base, now = _tokens(samples, 0), _tokens(samples, at)
    if not base or now is None or SHORTER * base <= now <= LONGER * base:
        return None
    before = max((one.step for one in samples if 0 < one.step < at), default=None)
    earlier = _tokens(samples, before) if before is not None else None
    again = earlier is not None and not SHORTER * base <= earlier <= LONGER * base
    word = "under half" if now < base else "over twice"
    return (
        "length",
        f"Replies to the fixed prompts have {now:.0f} tokens on average, {word} of the base model's {base:.0f}. "
        "Length is the first thing that a model over-learns: compare the lengths of better and worse replies.",
        again,
    )


def _tokens(samples: Sequence[SampleReport], step: int | None) -> float | None:
    """Mean length of the replies at a step, in tokens."""
    found = [one.tokens for one in samples if one.step == step]
    return sum(found) / len(found) if found else None


def _repeating(samples: Sequence[SampleReport], at: int) -> Finding:
    base = {one.place: repeated(one.reply) for one in samples if one.step == 0}
    now = [one for one in samples if one.step == at]
    worse = [one for one in now if repeated(one.reply) > REPEATED >= base.get(one.place, 0)]
    if not worse:
        return None
    return (
        "repeating",
        f"{len(worse)} of {len(now)} replies to the fixed prompts say the same again and again, which the base model "
        "did not. Start again with a lower learning rate or fewer epochs.",
        len(worse) > 1 and len(worse) * 2 > len(now),
    )


def repeated(text: str, words: int = 4) -> float:
    """Share of a text's sequences of so many words that came before in it, in [0, 1]; 0 for a short one."""
    said = text.lower().split()
    runs = [tuple(said[start : start + words]) for start in range(len(said) - words + 1)]
    return 1 - len(set(runs)) / len(runs) if len(runs) > words else 0.0
