"""Watches a training: every step is written down, evaluated models are tried on fixed prompts and the best one kept.

The folder's files get everything first, so a run that was killed, or that runs on another machine, is known by them.
"""

import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from db.models import Split
from errors import TrainingFailed
from files import read_json, write_json
from llm.template import conversation_token_ids
from training.recipe.recipe import WITH_REFERENCE
from training.trainer.cpu import merged_adapters
from training.trainer.examples import TrainingExample
from training.trainer.guards import check_finite, check_first_step
from training.trainer.health import Best, check_health
from training.trainer.processes import is_first, processes
from training.trainer.run_folder import (
    Listener,
    Report,
    RunFolder,
    RunInput,
    SampleReport,
    StepReport,
    WarningReport,
    checkpoint_step,
)
from training.trainer.weights import stop_ids

FIXED_PROMPTS = 3


class Interrupted(TrainingFailed):
    """The process was asked to end; the training goes on from its last checkpoint."""


@dataclass(frozen=True)
class FileListener:
    """Writes everything into the run's folder and passes it on."""

    run: RunFolder
    listener: Listener

    def stage(self, text: str) -> None:
        """Pass it on."""
        self.listener.stage(text)

    def report(self, report: Report) -> None:
        """Write it down."""
        self.run.write_report(report)
        self.listener.report(report)


@dataclass(frozen=True)
class OffsetListener:
    """Passes on one stage of two, whose other one has so many steps before or after it."""

    listener: Listener
    before: int
    after: int

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


def select_fixed_prompts(rows: Sequence[TrainingExample]) -> list[TrainingExample]:
    """The first few different prompts: the same ones at every evaluation."""
    distinct = {row.prompt_id: row for row in sorted(rows, key=lambda row: row.prompt_id)}
    return list(distinct.values())[:FIXED_PROMPTS]


class Monitor:
    """Listens to the trainer by `callback`, and decides which model is kept and when the training ends."""

    def __init__(
        self,
        run: RunFolder,
        run_input: RunInput,
        listener: Listener,
        *,
        tokenizer: Any,
        prompts: Sequence[TrainingExample],
        first_loss: float | None,
        own_reference: bool,
    ) -> None:
        self.trainer: Any = None
        self.problem: Exception | None = None
        """Raised by the listener, or a request to stop; the training ends with a checkpoint and then raises it."""
        self.stopped: str | None = None
        self._run, self._run_input, self._listener = run, run_input, listener
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

        def end_on_problem(control: Any) -> None:
            if monitor.problem is not None:
                control.should_save = control.should_training_stop = True

        class Reporting(TrainerCallback):  # type: ignore[misc]
            def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
                if not any(sample.step == 0 for sample in monitor._samples):
                    monitor.try_out(model, step=0)
                monitor._at = time.monotonic()

            def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
                if logs and {"loss", "eval_loss"} & logs.keys():
                    monitor.take_log(logs, step=state.global_step, steps=state.max_steps)
                end_on_problem(control)

            def on_evaluate(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
                monitor.judge(model, step=state.global_step, steps=state.max_steps)
                if monitor.stopped and state.global_step < state.max_steps:
                    control.should_training_stop = True

            def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                end_on_problem(control)

        return Reporting()

    def take_log(self, logs: dict[str, float], *, step: int, steps: int) -> None:
        """Check a log of the trainer and report it."""
        check_finite(logs, step=step)
        if step == 1 and "loss" in logs and self._run_input.method in WITH_REFERENCE:
            check_first_step(logs, expected_loss=self._first_loss, own_reference=self._own_reference)
        seconds = round(time.monotonic() - self._began, 1)
        report = StepReport.of(logs | self._speed(logs), step=step, steps=steps, seconds=seconds)
        self._history.append(report)
        margin = "" if report.reward_margin is None else f", margin {report.reward_margin:.4f}"
        if is_first():
            print(f"{report.split.value} step {step}/{steps}: loss {report.loss:.5f}{margin}", flush=True)
        self._pass_on(self._listener.report, report)

    def _speed(self, logs: dict[str, float]) -> dict[str, float]:
        """Tokens a second since the last training step, where the trainer counts them."""
        if "loss" not in logs or "num_tokens" not in logs:
            return {}
        read, seconds = logs["num_tokens"] - self._tokens, time.monotonic() - self._at
        self._tokens, self._at = logs["num_tokens"], self._at + seconds
        return {"tokens_per_second": read / seconds} if read > 0 and seconds > 0 else {}

    def judge(self, model: Any, *, step: int, steps: int) -> None:
        """After an evaluation: write sample replies, check everything, and keep the model if it is the best."""
        self.try_out(model, step=step)
        with_reference, beta = self._run_input.method in WITH_REFERENCE, self._run_input.beta
        warnings = check_health(self._history, self._samples, at=step, with_reference=with_reference, beta=beta)
        for warning in warnings:
            if (warning.step, warning.kind) not in self._warned:
                self._warned.add((warning.step, warning.kind))
                self._pass_on(self._listener.report, warning)
        if self._run_input.stop_early and step < steps:
            self.stopped = next((warning.sentence for warning in warnings if warning.stops), None)
        losses = [report.loss for report in self._history if report.split is Split.VALIDATION and report.step == step]
        if losses:
            healthy = not any(warning.kind in ("length", "repeating", "chosen collapsed") for warning in warnings)
            self.keep(Best(step, healthy, losses[-1]))
        self._at = time.monotonic()

    def keep(self, best: Best) -> None:
        """Save the model as it is now, unless a better one is kept."""
        if not best.beats(self.best):
            return
        self.best = best
        place = self._run.best
        scratch = place.with_name(f"{place.name}.tmp")
        if is_first():
            shutil.rmtree(scratch, ignore_errors=True)
        self.trainer.save_model(str(scratch))  # all processes together, each with its part
        if is_first():
            write_json(scratch / "best.json", asdict(best))
            shutil.rmtree(place, ignore_errors=True)
            scratch.rename(place)

    def keep_checkpoint(self, checkpoint: Path) -> Best:
        """Keep the last checkpoint's model, where no validation rows could tell which is best."""
        best, place = Best(checkpoint_step(checkpoint), healthy=True, loss=0.0), self._run.best
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(checkpoint, place, ignore=shutil.ignore_patterns("optimizer*", "scheduler*", "rng_state*"))
        write_json(place / "best.json", asdict(best))
        return best

    def try_out(self, model: Any, *, step: int) -> None:
        """Sample replies to the fixed prompts, always the likeliest words, so that only the model makes a change."""
        if not self._prompts or not self._run_input.sample_tokens or not self._run_input.evaluation_count:
            return
        self._pass_on(self._listener.stage, "Writing sample replies")
        model = self.trainer.accelerator.unwrap_model(model)
        replies = sample_replies(model, self._tokenizer, self._prompts, max_tokens=self._run_input.sample_tokens)
        for place, (prompt, reply) in enumerate(zip(self._prompts, replies, strict=True), start=1):
            report = SampleReport(step, place, prompt.prompt_id, *reply)
            self._samples.append(report)
            self._pass_on(self._listener.report, report)
        self._pass_on(self._listener.stage, "Training")

    def _pass_on(self, receive: Callable[[Any], None], message: object) -> None:
        """Pass it to the listener; what that raises is raised once a checkpoint is saved.

        What belongs to the saved step is passed on even after a request to stop: no resume would repeat it.
        """
        if self.problem is not None and not isinstance(self.problem, Interrupted):
            return
        try:
            receive(message)
        except OSError:  # the folder itself cannot be written: nothing could be saved either
            raise
        except Exception as problem:
            if processes() > 1:  # the others would wait for this one in vain
                raise
            self.problem = problem


def sample_replies(
    model: Any, tokenizer: Any, prompts: Sequence[TrainingExample], *, max_tokens: int
) -> list[tuple[str, int, bool]]:
    """Of each prompt the model's likeliest reply: text, tokens, and whether it came to its end by itself.

    The model is left as it was.
    """
    import torch

    rows = [conversation_token_ids(tokenizer, prompt.prompt, add_generation_prompt=True) for prompt in prompts]
    longest, pad = max(map(len, rows)), tokenizer.pad_token_id or tokenizer.eos_token_id
    ids = torch.tensor([[pad] * (longest - len(row)) + row for row in rows], device=model.device)
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows], device=model.device)
    ends = stop_ids(model, tokenizer)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), merged_adapters(model):
            outputs = model.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=max_tokens,
                do_sample=False,
                temperature=None,
                top_p=None,
                top_k=None,
                pad_token_id=pad,
                eos_token_id=sorted(ends),
                use_cache=True,
                synced_gpus=processes() > 1,
            )
    finally:
        model.train(was_training)
    replies = []
    for row in outputs[:, longest:].tolist():
        end = next((place for place, token in enumerate(row) if token in ends), None)
        kept = row if end is None else row[:end]
        replies.append((tokenizer.decode(kept, skip_special_tokens=True).strip(), len(kept), end is not None))
    return replies


@contextmanager
def end_on_sigterm(monitor: Monitor) -> Iterator[None]:
    """While the block runs, SIGTERM ends the training at its next step, with a checkpoint.

    Not where several processes train: they would hear of it at different steps and wait for each other.
    """
    if processes() > 1 or threading.current_thread() is not threading.main_thread():  # which alone gets signals
        yield
        return

    def end(*_: Any) -> None:
        monitor.problem = monitor.problem or Interrupted(
            "The training was asked to stop; it goes on from its last checkpoint when it is started again."
        )

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
