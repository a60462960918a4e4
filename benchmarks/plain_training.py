"""DPO as somebody would write it from TRL's documentation, with TRL's defaults made to run on this device.

    python -m benchmarks.plain_training FOLDER

Started by `benchmarks.training`. FOLDER/run.json names model, rows and recipe, the same as for the project. What is not
a default on a CPU: no bf16 and no gradient checkpointing (with them one step takes minutes). Four pairs at once
everywhere, which is the project's number of pairs for a step.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.training_work import Clock, Trained, cpu_seconds, device, peak_memory_mb


def train(folder: Path) -> Trained:
    """Load, train, look at the validation rows once."""
    clock = Clock()
    import torch
    from datasets import load_dataset
    from peft import LoraConfig
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer

    given = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    files = {name: f"{given['snapshot']}/{name}.jsonl" for name in ("train", "validation")}
    rows: Any = load_dataset("json", data_files=files, cache_dir=str(folder / "cache"))
    rows = rows.select_columns(["prompt", "chosen", "rejected"])
    on_cpu = not torch.cuda.is_available()
    made_to_run: dict[str, Any] = {"use_cpu": True, "bf16": False, "gradient_checkpointing": False} if on_cpu else {}
    trainer: Any = DPOTrainer(
        model=given["base_model"],
        args=DPOConfig(
            output_dir=str(folder / "output"),
            per_device_train_batch_size=given["effective_batch_size"],
            num_train_epochs=given["epochs"],
            learning_rate=given["learning_rate"],
            lr_scheduler_type="cosine",
            warmup_steps=given["warmup_steps"],
            beta=given["beta"],
            seed=given["seed"],
            report_to="none",
            **made_to_run,
        ),
        train_dataset=rows["train"],
        eval_dataset=rows["validation"],
        peft_config=LoraConfig(
            r=given["lora_rank"], lora_alpha=given["lora_alpha"], target_modules="all-linear", task_type="CAUSAL_LM"
        ),
    )
    clock.passed("before the first step")
    trainer.train()
    clock.passed("steps")
    found = trainer.evaluate()
    whole = clock.passed("evaluations")
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    return Trained(
        steps=trainer.state.global_step,
        whole_s=whole,
        cpu_s=cpu_seconds(),
        steps_s=clock.parts["steps"],
        merging_s=0.0,
        parts=clock.parts,
        # TRL logs every tenth step, so a short run has none but the mean
        train_loss=losses[-1] if losses else trainer.state.log_history[-2]["train_loss"],
        validation_loss=found["eval_loss"],
        validation_accuracy=found["eval_rewards/accuracies"],
        peak_memory_mb=peak_memory_mb(),
        device=device(),
    )


def main(arguments: Sequence[str]) -> None:
    """Train in the folder."""
    folder = Path(arguments[0])
    train(folder).write(folder)


if __name__ == "__main__":
    main(sys.argv[1:])
