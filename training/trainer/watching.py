"""What a training says while it runs: every step written down, evaluated models tried on fixed prompts and kept.

The folder's files hear everything first, so a run that was killed, or that runs on another machine, is known by them.
"""

import json
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from errors import TrainingFailed
from files import read_json, write_json
from training.data.terms import Split
from training.trainer.examples import WITH_REFERENCE, Example
from training.trainer.guards import check_finite, check_first_step
from training.trainer.health import Best, findings
from training.trainer.processes import is_first, processes
from training.trainer.run_folder import (
    BEST,
    METRICS,
    SAMPLES,
    WARNINGS,
    Listener,
    RunInput,
    SampleReport,
    StepReport,
    WarningReport,
    read_lines,
    step_of,
)
from training.trainer.sampling import sample_replies

FIXED_PROMPTS = 3
LEARNED = "learned.json"
"""Written into the folder when the last optimizer step is done: which step is kept, and why it ended."""


class Interrupted(TrainingFailed):
    """The process was asked to end; the training goes on from its last checkpoint."""


class Written:
    """A Listener that keeps what it hears in the run's folder and passes it on."""

    def __init__(self, folder: Path, listener: Listener) -> None:
        self._folder, self._listener = folder, listener

    def stage(self, text: str) -> None:
        """Pass it on."""
        self._listener.stage(text)

    def step(self, said: StepReport) -> None:
        """Keep and pass on a step."""
        self._keep(METRICS, asdict(said))
        self._listener.step(said)

    def sample(self, said: SampleReport) -> None:
        """Keep and pass on a sample reply."""
        self._keep(SAMPLES, asdict(said))
        self._listener.sample(said)

    def warning(self, said: WarningReport) -> None:
        """Keep and pass on a finding."""
        self._keep(WARNINGS, asdict(said))
        self._listener.warning(said)

    def _keep(self, name: str, said: dict[str, Any]) -> None:
        with (self._folder / name).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(said, ensure_ascii=False) + "\n")


@dataclass(frozen=True)
class Shifted:
    """A Listener for a training of several stages: steps count on, and the first stage's samples stay out."""

    listener: Listener
    before: int
    """Steps of the stages before."""
    after: int
    """Steps of the stages after."""

    def stage(self, text: str) -> None:
        """Pass it on; the first stage says which it is."""
        self.listener.stage(f"First the supervised stage. {text}" if self.after else text)

    def step(self, said: StepReport) -> None:
        """Pass it on with its place in the whole."""
        values = asdict(said) | {
            "step": said.step + self.before,
            "steps": said.steps + self.before + self.after,
            "split": said.split,
        }
        self.listener.step(StepReport(**values))

    def sample(self, said: SampleReport) -> None:
        """Pass it on; the model before the second stage is not the base model."""
        if said.step or not self.before:
            self.listener.sample(SampleReport(**asdict(said) | {"step": said.step + self.before}))

    def warning(self, said: WarningReport) -> None:
        """Pass it on."""
        self.listener.warning(WarningReport(**asdict(said) | {"step": said.step + self.before}))


@dataclass(frozen=True)
class Learned:
    """How the optimizer's work ended."""

    step: int
    """The step whose model is kept."""
    stopped: str | None
    """Why it ended before its last step."""

    def write(self, folder: Path) -> None:
        """Keep it."""
        write_json(folder / LEARNED, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> "Learned | None":
        """What was kept; none while there is still something to learn."""
        said = read_json(folder / LEARNED)
        return cls(**said) if said else None


def fixed_prompts(rows: Sequence[Example]) -> list[Example]:
    """The first few different prompts: the same ones at every look."""
    distinct = {one.prompt_id: one for one in sorted(rows, key=lambda one: one.prompt_id)}
    return list(distinct.values())[:FIXED_PROMPTS]


class Watch:
    """Hears the trainer through `callback`, and decides what is kept and when it is enough."""

    def __init__(
        self,
        folder: Path,
        given: RunInput,
        listener: Listener,
        *,
        tokenizer: Any,
        prompts: Sequence[Example],
        first_loss: float | None,
        own_reference: bool,
    ) -> None:
        self.trainer: Any = None
        self.problem: Exception | None = None
        """What the listener raised; the training ends with a checkpoint and then raises it."""
        self.stopped: str | None = None
        self._folder, self._given, self._listener = folder, given, listener
        self._tokenizer, self._prompts = tokenizer, prompts
        self._first_loss, self._own_reference = first_loss, own_reference
        self._history = read_lines(folder / METRICS, StepReport)
        self._samples = read_lines(folder / SAMPLES, SampleReport)
        self._warned = {(one.step, one.kind) for one in read_lines(folder / WARNINGS, WarningReport)}
        said = read_json(folder / BEST / "best.json")
        self.best = Best(**said) if said else None
        """The evaluation whose model is in the folder."""
        self._began = time.monotonic()
        self._tokens, self._at = 0.0, time.monotonic()

    def callback(self) -> Any:
        """The trainer's own kind of callback, passing everything on to this."""
        from transformers import TrainerCallback

        watch = self

        class Reporting(TrainerCallback):
            def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
                if not any(one.step == 0 for one in watch._samples):
                    watch.try_out(model, step=0)
                watch._at = time.monotonic()

            def on_log(
                self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any
            ) -> None:
                if logs and {"loss", "eval_loss"} & logs.keys():
                    watch.heard(logs, step=state.global_step, steps=state.max_steps)
                if watch.problem is not None:
                    control.should_save = control.should_training_stop = True

            def on_evaluate(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
                watch.evaluated(model, step=state.global_step, steps=state.max_steps)
                if watch.stopped and state.global_step < state.max_steps:
                    control.should_training_stop = True

            def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                if watch.problem is not None:
                    control.should_save = control.should_training_stop = True

        return Reporting()

    def heard(self, logs: dict[str, float], *, step: int, steps: int) -> None:
        """One log of the trainer: checked, written down, told."""
        check_finite(logs, step=step)
        if step == 1 and "loss" in logs and self._given.method in WITH_REFERENCE:
            check_first_step(logs, expected_loss=self._first_loss, own_reference=self._own_reference)
        said = StepReport.of(
            logs | self._speed(logs), step=step, steps=steps, seconds=round(time.monotonic() - self._began, 1)
        )
        self._history.append(said)
        margin = "" if said.reward_margin is None else f", margin {said.reward_margin:.4f}"
        if is_first():
            print(f"{said.split.value} step {said.step}/{said.steps}: loss {said.loss:.5f}{margin}", flush=True)
        self._tell(lambda: self._listener.step(said))

    def _speed(self, logs: dict[str, float]) -> dict[str, float]:
        """Tokens a second since the last training step, where the trainer counts them."""
        if "loss" not in logs or "num_tokens" not in logs:
            return {}
        now, before, at = time.monotonic(), self._tokens, self._at
        self._tokens, self._at = logs["num_tokens"], now
        read = logs["num_tokens"] - before
        return {"tokens_per_second": read / (now - at)} if read > 0 and now > at else {}

    def evaluated(self, model: Any, *, step: int, steps: int) -> None:
        """After a look at the validation rows: sample replies, guards, and the model kept if it is the best."""
        self.try_out(model, step=step)
        found = findings(
            self._history,
            self._samples,
            at=step,
            with_reference=self._given.method in WITH_REFERENCE,
            beta=self._given.beta,
        )
        for finding in found:
            if (finding.step, finding.kind) not in self._warned:
                self._warned.add((finding.step, finding.kind))
                self._tell(lambda said=finding: self._listener.warning(said))  # type: ignore[misc]
        if self._given.stop_early and step < steps:
            self.stopped = next((one.sentence for one in found if one.stops), None)
        losses = [one.loss for one in self._history if one.split is Split.VALIDATION and one.step == step]
        if losses:
            healthy = not any(one.kind in ("length", "repeating", "chosen collapsed") for one in found)
            self.keep(Best(step, healthy, losses[-1]))
        self._at = time.monotonic()

    def keep(self, found: Best) -> None:
        """Save the model as it is now, unless a better one is kept."""
        if not found.beats(self.best):
            return
        self.best = found
        scratch, place = self._folder / f"{BEST}.tmp", self._folder / BEST
        if is_first():
            shutil.rmtree(scratch, ignore_errors=True)
        self.trainer.save_model(str(scratch))  # all processes together, each with its part
        if is_first():
            write_json(scratch / "best.json", asdict(found))
            shutil.rmtree(place, ignore_errors=True)
            scratch.rename(place)

    def keep_checkpoint(self, checkpoint: Path) -> Best:
        """Keep the last checkpoint's model, where no validation rows could tell which is best."""
        found, place = Best(step_of(checkpoint), healthy=True, loss=0.0), self._folder / BEST
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(checkpoint, place, ignore=shutil.ignore_patterns("optimizer*", "scheduler*", "rng_state*"))
        write_json(place / "best.json", asdict(found))
        return found

    def try_out(self, model: Any, *, step: int) -> None:
        """Sample replies to the fixed prompts, always the likeliest words, so that only the model makes a change."""
        if not self._prompts or not self._given.sample_tokens or not self._given.evaluations:
            return
        self._tell(lambda: self._listener.stage("Writing sample replies"))
        replies = sample_replies(
            self.trainer.accelerator.unwrap_model(model), self._tokenizer, self._prompts, most=self._given.sample_tokens
        )
        for place, (one, (text, tokens, ended)) in enumerate(zip(self._prompts, replies, strict=True), start=1):
            said = SampleReport(step, place, one.prompt_id, text, tokens, ended)
            self._samples.append(said)
            self._tell(lambda said=said: self._listener.sample(said))  # type: ignore[misc]
        self._tell(lambda: self._listener.stage("Training"))

    def _tell(self, tell: Callable[[], None]) -> None:
        """Say something; whatever the listener raises is raised once a checkpoint is saved.

        What belongs to the step that is saved is said even when somebody asked to stop: no resume would repeat it.
        """
        if self.problem is not None and not isinstance(self.problem, Interrupted):
            return
        try:
            tell()
        except OSError:  # the folder itself cannot be written: nothing could be saved either
            raise
        except Exception as problem:
            if processes() > 1:  # the others would wait for this one in vain
                raise
            self.problem = problem


@contextmanager
def ending_asked(watch: Watch) -> Iterator[None]:
    """While the block runs, SIGTERM ends the training at its next step, with a checkpoint.

    Not where several processes train: they would hear of it at different steps and wait for each other.
    """
    if processes() > 1:
        yield
        return

    def end(*_: Any) -> None:
        watch.problem = watch.problem or Interrupted(
            "The training was asked to stop; it goes on from its last checkpoint when it is started again."
        )

    try:
        before = signal.signal(signal.SIGTERM, end)
    except ValueError:  # not the main thread, which alone hears signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
