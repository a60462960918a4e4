"""What a training says while it runs: every step written down, evaluated models tried on fixed prompts and kept.

The folder's files hear everything first, so a run that was killed, or that runs on another machine, is known by them.
"""

import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from db.models import Split
from errors import TrainingFailed
from files import read_json, write_json
from llm.template import token_ids
from training.recipe.recipe import WITH_REFERENCE
from training.trainer.cpu import merged
from training.trainer.examples import TrainingExample
from training.trainer.guards import check_finite, check_first_step
from training.trainer.health import Best, findings
from training.trainer.processes import is_first, processes
from training.trainer.run_folder import (
    Listener,
    Report,
    RunFolder,
    RunInput,
    SampleReport,
    StepReport,
    WarningReport,
    step_of,
)

FIXED_PROMPTS = 3


class Interrupted(TrainingFailed):
    """The process was asked to end; the training goes on from its last checkpoint."""


@dataclass(frozen=True)
class FileListener:
    """Keeps what it hears in the run's folder and passes it on."""

    run: RunFolder
    listener: Listener

    def stage(self, text: str) -> None:
        """Pass it on."""
        self.listener.stage(text)

    def report(self, report: Report) -> None:
        """Keep and pass on."""
        self.run.add(report)
        self.listener.report(report)


@dataclass(frozen=True)
class OffsetListener:
    """Passes on one stage of several: its steps count on from those before."""

    listener: Listener
    before: int
    """Steps of the stages before."""
    after: int
    """Steps of the stages after."""

    def stage(self, text: str) -> None:
        """Pass it on; the first stage says which it is."""
        self.listener.stage(f"First the supervised stage. {text}" if self.after else text)

    def report(self, report: Report) -> None:
        """Pass it on with its place in the whole."""
        step = report.step + self.before
        if isinstance(report, StepReport):
            self.listener.report(replace(report, step=step, steps=report.steps + self.before + self.after))
        elif isinstance(report, WarningReport) or report.step or not self.before:
            # the model before the second stage is not the base model, so that its samples are not those of step 0
            self.listener.report(replace(report, step=step))


def fixed_prompts(rows: Sequence[TrainingExample]) -> list[TrainingExample]:
    """The first few different prompts: the same ones at every look."""
    distinct = {row.prompt_id: row for row in sorted(rows, key=lambda row: row.prompt_id)}
    return list(distinct.values())[:FIXED_PROMPTS]


class Monitor:
    """Hears the trainer through `callback`, and decides what is kept and when it is enough."""

    def __init__(
        self,
        run: RunFolder,
        given: RunInput,
        listener: Listener,
        *,
        tokenizer: Any,
        prompts: Sequence[TrainingExample],
        first_loss: float | None,
        own_reference: bool,
    ) -> None:
        self.trainer: Any = None
        self.problem: Exception | None = None
        """What the listener raised; the training ends with a checkpoint and then raises it."""
        self.stopped: str | None = None
        self._run, self._given, self._listener = run, given, listener
        self._tokenizer, self._prompts = tokenizer, prompts
        self._first_loss, self._own_reference = first_loss, own_reference
        self._history = run.read(StepReport)
        self._samples = run.read(SampleReport)
        self._warned = {(warning.step, warning.kind) for warning in run.read(WarningReport)}
        best = read_json(run.best / "best.json")
        self.best = Best(**best) if best else None
        """The evaluation whose model is in the folder."""
        self._began = time.monotonic()
        self._tokens, self._at = 0.0, time.monotonic()

    def callback(self) -> Any:
        """The trainer's own kind of callback, passing everything on to this."""
        from transformers import TrainerCallback

        monitor = self

        class Reporting(TrainerCallback):
            def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
                if not any(sample.step == 0 for sample in monitor._samples):
                    monitor.try_out(model, step=0)
                monitor._at = time.monotonic()

            def on_log(
                self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any
            ) -> None:
                if logs and {"loss", "eval_loss"} & logs.keys():
                    monitor.heard(logs, step=state.global_step, steps=state.max_steps)
                if monitor.problem is not None:
                    control.should_save = control.should_training_stop = True

            def on_evaluate(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
                monitor.evaluated(model, step=state.global_step, steps=state.max_steps)
                if monitor.stopped and state.global_step < state.max_steps:
                    control.should_training_stop = True

            def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                if monitor.problem is not None:
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
        self._tell(self._listener.report, said)

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
                self._tell(self._listener.report, finding)
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
        place = self._run.best
        scratch = place.with_name(f"{place.name}.tmp")
        if is_first():
            shutil.rmtree(scratch, ignore_errors=True)
        self.trainer.save_model(str(scratch))  # all processes together, each with its part
        if is_first():
            write_json(scratch / "best.json", asdict(found))
            shutil.rmtree(place, ignore_errors=True)
            scratch.rename(place)

    def keep_checkpoint(self, checkpoint: Path) -> Best:
        """Keep the last checkpoint's model, where no validation rows could tell which is best."""
        found, place = Best(step_of(checkpoint), healthy=True, loss=0.0), self._run.best
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(checkpoint, place, ignore=shutil.ignore_patterns("optimizer*", "scheduler*", "rng_state*"))
        write_json(place / "best.json", asdict(found))
        return found

    def try_out(self, model: Any, *, step: int) -> None:
        """Sample replies to the fixed prompts, always the likeliest words, so that only the model makes a change."""
        if not self._prompts or not self._given.sample_tokens or not self._given.evaluation_count:
            return
        self._tell(self._listener.stage, "Writing sample replies")
        model = self.trainer.accelerator.unwrap_model(model)
        replies = sample_replies(model, self._tokenizer, self._prompts, most=self._given.sample_tokens)
        for place, (prompt, (text, tokens, ended)) in enumerate(zip(self._prompts, replies, strict=True), start=1):
            said = SampleReport(step, place, prompt.prompt_id, text, tokens, ended)
            self._samples.append(said)
            self._tell(self._listener.report, said)
        self._tell(self._listener.stage, "Training")

    def _tell(self, listener: Callable[[Any], None], said: object) -> None:
        """Say something; whatever the listener raises is raised once a checkpoint is saved.

        What belongs to the step that is saved is said even when somebody asked to stop: no resume would repeat it.
        """
        if self.problem is not None and not isinstance(self.problem, Interrupted):
            return
        try:
            listener(said)
        except OSError:  # the folder itself cannot be written: nothing could be saved either
            raise
        except Exception as problem:
            if processes() > 1:  # the others would wait for this one in vain
                raise
            self.problem = problem


def sample_replies(
    model: Any, tokenizer: Any, prompts: Sequence[TrainingExample], *, most: int
) -> list[tuple[str, int, bool]]:
    """Of each prompt the model's likeliest reply: text, tokens, and whether it came to its end by itself.

    The model is left as it was.
    """
    import torch

    given = [token_ids(tokenizer, one.prompt, reply_next=True) for one in prompts]
    longest, pad = max(map(len, given)), tokenizer.pad_token_id or tokenizer.eos_token_id
    ids = torch.tensor([[pad] * (longest - len(one)) + one for one in given], device=model.device)
    mask = torch.tensor([[0] * (longest - len(one)) + [1] * len(one) for one in given], device=model.device)
    ends = model.generation_config.eos_token_id
    stops = set(ends) if isinstance(ends, list) else {ends, tokenizer.eos_token_id}
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), merged(model):
            written = model.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=most,
                do_sample=False,
                temperature=None,
                top_p=None,
                top_k=None,
                pad_token_id=pad,
                use_cache=True,
                synced_gpus=processes() > 1,
            )
    finally:
        model.train(was_training)
    replies = []
    for row in written[:, longest:].tolist():
        end = next((place for place, token in enumerate(row) if token in stops), None)
        kept = row if end is None else row[:end]
        replies.append((tokenizer.decode(kept, skip_special_tokens=True).strip(), len(kept), end is not None))
    return replies


@contextmanager
def ending_asked(monitor: Monitor) -> Iterator[None]:
    """While the block runs, SIGTERM ends the training at its next step, with a checkpoint.

    Not where several processes train: they would hear of it at different steps and wait for each other.
    """
    if processes() > 1:
        yield
        return

    def end(*_: Any) -> None:
        monitor.problem = monitor.problem or Interrupted(
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
