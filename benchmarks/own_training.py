"""The project's trainer on a folder, as the worker's child process runs it, with an eye on the clock.

    python -m benchmarks.own_training FOLDER

Started by `benchmarks.training`. What the trainer tells its listener says where the seconds went.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.training_work import Clock, Trained, cpu_seconds, device, peak_memory_mb
from db.models import Split
from errors import TrainingFailed
from training.trainer.run_folder import SampleReport, StepReport, WarningReport
from training.trainer.train import train

MERGING = "Merging"
"""How the stage after the last look begins."""


@dataclass
class Timed:
    """A Listener that notes when it hears what."""

    clock: Clock = field(default_factory=Clock)
    last: dict[Split, StepReport] = field(default_factory=dict)
    whole_s: float = 0.0
    """To the last look at the validation rows."""
    cpu_s: float = 0.0
    peak_memory_mb: int = 0
    looks: int = 0
    samples: int = 0
    _doing: str = "before the first step"
    _trained: bool = False

    def stage(self, text: str) -> None:
        """What comes next; what went on until now ends."""
        self.clock.passed(self._doing)
        if text.startswith(MERGING):
            self._doing = "merging"
        elif text.startswith("Scoring"):
            self._doing = "reference"
        else:
            self._doing = "keeping the best" if self._trained else "before the first step"

    def step(self, said: StepReport) -> None:
        """A step, or a look at the validation rows."""
        self.last[said.split] = said
        self._trained, self._doing = True, "keeping the best"
        if said.split is Split.TRAIN:
            self.clock.passed("steps")
            return
        self.whole_s = self.clock.passed("evaluations")
        self.cpu_s, self.peak_memory_mb = cpu_seconds(), peak_memory_mb()
        self.looks += 1

    def sample(self, said: SampleReport) -> None:
        """A sample reply."""
        self.clock.passed("sample replies")
        self.samples += 1

    def warning(self, said: WarningReport) -> None:
        """A guard's finding takes no time."""

    def done(self) -> Trained:
        """The figures, once the trainer has come back. Raises `TrainingFailed` where the last look came too soon."""
        self.clock.passed(self._doing)
        trained, looked = self.last.get(Split.TRAIN), self.last.get(Split.VALIDATION)
        if trained is None or looked is None or looked.step != looked.steps:
            raise TrainingFailed("The training did not end with a look at the validation rows, so nothing compares.")
        return Trained(
            steps=looked.step,
            whole_s=self.whole_s,
            cpu_s=self.cpu_s,
            steps_s=self.clock.parts["steps"],
            merging_s=self.clock.parts.get("merging", 0.0),
            parts=self.clock.parts,
            train_loss=trained.loss,
            validation_loss=looked.loss,
            validation_accuracy=looked.reward_accuracy or 0.0,
            peak_memory_mb=self.peak_memory_mb,
            device=device(),
            looks=self.looks,
            samples=self.samples,
        )


def main(arguments: Sequence[str]) -> None:
    """Train in the folder."""
    folder = Path(arguments[0])
    timed = Timed()
    train(folder, timed)
    timed.done().write(folder)


if __name__ == "__main__":
    main(sys.argv[1:])
