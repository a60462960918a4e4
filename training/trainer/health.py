"""Whether a training goes well, judged by what its own metrics hide as much as by them. Pure.

TRL's metrics cannot tell over-optimisation from success: a run whose accuracy was 1 and whose margin was 6 had turned
every reply into "Sorry about that." (docs/experiments.md). So replies to fixed prompts are looked at, too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

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
    """Whether the model's replies were in order at it."""
    loss: float

    def beats(self, other: "Best | None") -> bool:
        """Whether it is to be kept instead: health first, then validation loss; the later one of equals."""
        return other is None or (self.healthy, -self.loss) >= (other.healthy, -other.loss)


def check_health(
    steps: Sequence[StepReport], samples: Sequence[SampleReport], *, at: int, with_reference: bool, beta: float
) -> list[WarningReport]:
    """Everything that is wrong at an evaluation; what should end the training says so.

    Args:
        steps: everything reported so far, both splits.
        samples: every sample reply so far; those of step 0 are the base model's.
        with_reference: rewards are relative to a reference model (DPO, KTO), multiplied by ``beta``.
    """
    train, validation = (
        sorted((report for report in steps if report.split is split), key=lambda report: report.step)
        for split in (Split.TRAIN, Split.VALIDATION)
    )
    checks = [_check_divergence(train), _check_overfitting(validation)]
    if with_reference:
        checks += [_check_collapse(validation or train, beta=beta), _check_accuracy(train), _check_margin(train)]
    checks += [_check_length(samples, at), _check_repetition(samples, at)]
    return [WarningReport(at, kind, sentence, stops) for kind, sentence, stops in filter(None, checks)]


Finding = tuple[str, str, bool] | None
"""A kind, a sentence, and whether it should end the training."""


def _check_divergence(train: Sequence[StepReport]) -> Finding:
    losses = [report.loss for report in train]
    if len(losses) < 2 * RECENT:
        return None
    first, last = fmean(losses[:RECENT]), fmean(losses[-RECENT:])
    if last <= DIVERGED * first:
        return None
    return "diverged", f"The loss rose from {first:.3f} to {last:.3f}. Start again with a lower learning rate.", True


def _check_overfitting(validation: Sequence[StepReport]) -> Finding:
    if len(validation) < 3:
        return None
    best, later = min(validation[:-2], key=lambda report: report.loss), validation[-2:]
    if any(report.loss <= best.loss + (WORSE - 1) * abs(best.loss) for report in later):
        return None
    accuracy = best.reward_accuracy
    if accuracy is not None and any((report.reward_accuracy or 0) > accuracy for report in later):
        return None
    return (
        "overfitting",
        f"On rows that it does not learn from, the loss was best at step {best.step} ({best.loss:.3f}) and has been "
        f"worse twice since ({later[-1].loss:.3f}): it learns the training rows by heart. The model of step "
        f"{best.step} is kept. More rows, or fewer epochs, would help.",
        True,
    )


def _check_collapse(reports: Sequence[StepReport], *, beta: float) -> Finding:
    last, reward = (reports[-1].logps_chosen, reports[-1].rewards_chosen) if reports else (None, None)
    if last is None or reward is None:
        return None
    reference = last - reward / beta
    if reference >= 0 or last >= COLLAPSE * reference:
        return None
    return (
        "chosen collapsed",
        f"Even the better replies became unlikely: {last:.0f} nats, {reference:.0f} before the training. A weight on "
        "the chosen reply holds them up, and so does a higher beta.",
        last < COLLAPSE**2 * reference,
    )


def _check_accuracy(train: Sequence[StepReport]) -> Finding:
    if len(train) < PINNED or any((report.reward_accuracy or 0) < 1 for report in train[-PINNED:]):
        return None
    return (
        "accuracy pinned",
        f"Every training pair came out right for {PINNED} steps: there is nothing left to learn from them but how "
        "they are worded. Judge it blind before you believe it.",
        False,
    )


def _check_margin(train: Sequence[StepReport]) -> Finding:
    recent = [report.reward_margin for report in train[-RECENT:] if report.reward_margin is not None]
    if not recent or fmean(recent) <= MARGIN:
        return None
    return (
        "margin",
        f"The reward margin is {fmean(recent):.1f}; healthy runs stayed under {MARGIN:g}. Such models "
        "often write a few words that please the rule and nothing else: read the replies below.",
        False,
    )


def _check_length(samples: Sequence[SampleReport], at: int) -> Finding:
    base, now = _mean_tokens(samples, 0), _mean_tokens(samples, at)
    if not base or now is None or SHORTER * base <= now <= LONGER * base:
        return None
    earlier = _mean_tokens(samples, max((sample.step for sample in samples if 0 < sample.step < at), default=-1))
    again = earlier is not None and not SHORTER * base <= earlier <= LONGER * base
    word = "under half" if now < base else "over twice"
    return (
        "length",
        f"Replies to the fixed prompts have {now:.0f} tokens on average, {word} of the base model's {base:.0f}. "
        "Length is the first thing that a model over-learns: compare the lengths of better and worse replies.",
        again,
    )


def _mean_tokens(samples: Sequence[SampleReport], step: int) -> float | None:
    tokens = [sample.tokens for sample in samples if sample.step == step]
    return fmean(tokens) if tokens else None


def _check_repetition(samples: Sequence[SampleReport], at: int) -> Finding:
    base = {sample.place: repetition_share(sample.reply) for sample in samples if sample.step == 0}
    now = [sample for sample in samples if sample.step == at]
    worse = [sample for sample in now if repetition_share(sample.reply) > REPEATED >= base.get(sample.place, 0)]
    if not worse:
        return None
    return (
        "repeating",
        f"{len(worse)} of {len(now)} replies to the fixed prompts say the same again and again, which the base model "
        "did not. Start again with a lower learning rate or fewer epochs.",
        len(worse) > 1 and len(worse) * 2 > len(now),
    )


def repetition_share(text: str, words: int = 4) -> float:
    """Share of a text's sequences of so many words that came before in it, in [0, 1]; 0 for a short one."""
    text_words = text.lower().split()
    sequences = list(zip(*(text_words[start:] for start in range(words)), strict=False))
    return 1 - len(set(sequences)) / len(sequences) if len(sequences) > words else 0.0
