"""Who does the work that `benchmarks.generation` and `benchmarks.training` time, each in a process of its own.

    python -m benchmarks.contestants project|vllm|transformers FOLDER
    python -m benchmarks.contestants trainer|plain_trl FOLDER

FOLDER/work.json says what to answer, FOLDER/run.json what to train; figures are left in FOLDER/done.json. The project's
own are its generation worker and its trainer; the others are its peers. Models are loaded here and die here.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psutil
from pydantic import TypeAdapter

from db.models import Split
from errors import TrainingFailed
from files import write_json
from settings import ROOT, settings
from training.trainer.run_folder import Report, SampleReport, StepReport

SAMPLE = ROOT / "examples" / "publisher_emails"
RUN_SEED = 7
"""Of the project's generation run; every sample's own seed follows from it."""
WORK, DONE = "work.json", "done.json"

T = TypeVar("T")


def read_dataclass(kind: type[T], file: Path) -> T:
    """A dataclass from its JSON."""
    return TypeAdapter(kind).validate_json(file.read_bytes())


@dataclass(frozen=True)
class SeededPrompt:
    """One prompt as the project asks it."""

    messages: list[dict[str, str]]
    seed: int
    """Of the first sample; the next has the next number."""


@dataclass(frozen=True)
class GenerationWork:
    """What is to be answered, and how to sample."""

    prompts: int
    samples: int
    temperature: float
    top_p: float
    max_tokens: int
    model: str
    """Local folder or hub id."""
    asked: list[SeededPrompt] = field(default_factory=list)
    """The prompts as the project asked them; empty for the project, which makes them."""
    engine: list[str] = field(default_factory=list)
    """Flags of the vLLM server that the project started, for vLLM itself."""
    batch: int = 0
    """Prompts in one batch, for transformers."""
    our_top_p: bool = False
    """Whether vLLM itself is to use `llm.top_p` for its top-p."""


@dataclass(frozen=True)
class GenerationFigures:
    """What one contestant answered, and the time it took."""

    responses: int
    tokens: int
    """Generated, up to and including the end token."""
    prompt_tokens: int
    """Of all prompts, each counted once."""
    ended: int
    """Responses that came to their end before the limit."""
    start_s: float
    """From the start of the engine, or of loading, until it can be asked."""
    seconds: float
    """From then until everything is answered, and for the project also until it is saved and offered for ranking."""
    stop_s: float = 0.0
    """Ending the project's engine; 0 for the others."""


@dataclass(frozen=True)
class GenerationDone:
    """A contestant's figures, and of the project what others need to do the same."""

    figures: GenerationFigures
    asked: list[SeededPrompt] = field(default_factory=list)
    engine: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    """Variables that the project's engine was started with beside its own."""


def sample_emails(count: int) -> list[str]:
    """So many different emails: the sample's training emails, and beyond them the same again under a number."""
    lines = (SAMPLE / "train.jsonl").read_text(encoding="utf-8").splitlines()
    own: list[str] = [json.loads(line)["email"] for line in lines]
    return [own[n] if n < len(own) else f"Reference {n:06d}.\n\n{own[n % len(own)]}" for n in range(count)]


def project(work: GenerationWork) -> GenerationDone:
    """The generation worker in an empty home: import, ask, answer, save, offer; the engine's start and end apart."""
    from sqlalchemy import select

    from db.models import GenerationRun, Prompt, Response, Scope
    from db.schema import migrate
    from db.session import reading, session
    from generation import worker
    from generation.plan import start_generation
    from jobs.progress import unmanaged_progress
    from llm.client import sample_seed

    migrate()
    clock = EngineClock()
    # the worker alone knows when its engine is there and when it ends it
    setattr(worker, "serve", clock.serve)  # noqa: B010
    with session() as s:
        by, responder_id, template = _project_with_prompts(s, work)
        size = {"samples": work.samples, "prompt_limit": work.prompts}
        run = start_generation(s, by=by, responder_id=responder_id, scope=Scope.TRAINING, seed=RUN_SEED, **size)
    progress = unmanaged_progress("generation", run.id)
    began = time.perf_counter()
    worker.run(progress)
    whole = time.perf_counter() - began
    with reading() as s:
        tokens = s.get_one(GenerationRun, run.id).tokens
        responses = s.scalars(select(Response)).all()
        prompts = s.scalars(select(Prompt).order_by(Prompt.id).limit(work.prompts)).all()
    figures = GenerationFigures(
        responses=len(responses),
        tokens=tokens,
        prompt_tokens=sum({response.prompt_id: response.prompt_tokens or 0 for response in responses}.values()),
        ended=sum(response.finish_reason == "stop" for response in responses),
        start_s=clock.start,
        seconds=whole - clock.start - clock.stop,
        stop_s=clock.stop,
    )
    chats = {prompt.id: template.messages(prompt.text) for prompt in prompts}
    asked = [SeededPrompt([dict(turn) for turn in turns], sample_seed(RUN_SEED, n, 0)) for n, turns in chats.items()]
    return GenerationDone(figures, asked, clock.command, clock.environment)


@dataclass
class EngineClock:
    """Seconds that starting and ending the engine took, and how it was started."""

    start: float = 0.0
    stop: float = 0.0
    command: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def serve(self, *models: Any, **options: Any) -> Iterator[Any]:
        """`llm.engine.serve`, timed; its flags are read from its process, which is never out of date."""
        from llm.engine import serve

        began = time.perf_counter()
        with serve(*models, **options) as endpoints:
            self.start += time.perf_counter() - began
            for process in psutil.Process().children():
                if "-m" in (line := process.cmdline()):
                    self.command = line[line.index("-m") + 2 :]
                    self.environment = {k: v for k, v in process.environ().items() if os.environ.get(k) != v}
            yield endpoints
            began = time.perf_counter()
        self.stop += time.perf_counter() - began


def _project_with_prompts(s: Any, work: GenerationWork) -> tuple[int, int, Any]:
    """Save the sample's instructions and so many emails; gives the manager's id, the Responder's, and its format."""
    from db.people import create_project, ensure_reviewer
    from generation.base_model import register_base_model
    from generation.responders import ResponderSpec, Sampling, create_responder
    from intake.mapping import ColumnMapping
    from intake.prompts import save_import
    from intake.reading import read_table
    from llm.template import PromptFormat

    about = json.loads((SAMPLE / "project.json").read_text(encoding="utf-8"))
    by, template = ensure_reviewer(s, name="Somebody").id, PromptFormat(about["instructions"])
    words = {"task": about["task"], "instructions": about["instructions"], "guideline": "None."}
    project_id = create_project(s, name="Throughput", **words, by=by).id
    content = "\n".join(json.dumps({"email": email}) for email in sample_emails(work.prompts)).encode()
    table = read_table(content, file_name="emails.jsonl", max_cell=settings().max_cell_kb * 1024)
    mapping = ColumnMapping(prompt="email")
    save_import(s, by=by, project_id=project_id, table=table, content=content, mapping=mapping)
    sampling = Sampling(work.temperature, work.top_p, work.max_tokens)
    spec = ResponderSpec(register_base_model(s).id, template, sampling)
    responder = create_responder(s, by=by, project_id=project_id, name="Base model", spec=spec)
    return by, responder.id, template


def vllm(work: GenerationWork) -> GenerationDone:
    """The same by vLLM's own Python interface, with the flags of the project's server."""
    began = time.perf_counter()
    from vllm import LLM, EngineArgs, SamplingParams
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    from llm.top_p import ARGUMENT

    # flags of the web server are not the engine's
    parser: Any = FlexibleArgumentParser
    flags: Any = EngineArgs.add_cli_args(parser())
    known, _ = flags.parse_known_args(work.engine)
    options = EngineArgs.from_cli_args(known)
    options.disable_log_stats = True  # as LLM does by itself
    llm: Any = LLM.from_engine_args(options)
    common: dict[str, Any] = {"n": work.samples, "temperature": work.temperature, "max_tokens": work.max_tokens}
    common |= {"top_p": 1.0, "extra_args": {ARGUMENT: work.top_p}} if work.our_top_p else {"top_p": work.top_p}
    sampling = [SamplingParams(**common, seed=prompt.seed) for prompt in work.asked]
    ready = time.perf_counter()
    answers = llm.chat([prompt.messages for prompt in work.asked], sampling, use_tqdm=False)
    seconds = time.perf_counter() - ready
    texts = [text for answer in answers for text in answer.outputs]
    tokens = sum(len(text.token_ids) for text in texts)
    prompt_tokens = sum(len(answer.prompt_token_ids) for answer in answers)
    ended = sum(text.finish_reason == "stop" for text in texts)
    return GenerationDone(GenerationFigures(len(texts), tokens, prompt_tokens, ended, ready - began, seconds))


def transformers(work: GenerationWork) -> GenerationDone:
    """The same by transformers' generate, in batches of prompts of like length, padded on the left, on all cores."""
    began = time.perf_counter()
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(os.cpu_count() or 1)
    torch.manual_seed(RUN_SEED)
    tokenizer: Any = AutoTokenizer.from_pretrained(work.model, padding_side="left")
    model: Any = AutoModelForCausalLM.from_pretrained(work.model, dtype=torch.float32)
    model.eval()
    ends = model.generation_config.eos_token_id
    ends = set(ends) if isinstance(ends, list) else {ends}
    ready = time.perf_counter()
    responses = tokens = prompt_tokens = ended = 0
    chats = sorted((prompt.messages for prompt in work.asked), key=lambda turns: len(turns[-1]["content"]))
    as_batch = {"add_generation_prompt": True, "padding": True, "return_dict": True, "return_tensors": "pt"}
    sampling = {"do_sample": True, "temperature": work.temperature, "top_p": work.top_p, "top_k": 0}
    sampling |= {"max_new_tokens": work.max_tokens, "num_return_sequences": work.samples}
    for first in range(0, len(chats), work.batch):
        batch = tokenizer.apply_chat_template(chats[first : first + work.batch], **as_batch)
        with torch.inference_mode():
            sequences = model.generate(**batch, **sampling, pad_token_id=tokenizer.pad_token_id)
        prompt_tokens += int(batch["attention_mask"].sum())
        replies = sequences[:, batch["input_ids"].shape[1] :].tolist()
        tokenizer.batch_decode(replies, skip_special_tokens=True)  # the others give texts, too
        lengths = [count_until_end(reply, ends) for reply in replies]
        tokens += sum(lengths)
        ended += sum(reply[length - 1] in ends for reply, length in zip(replies, lengths, strict=True))
        responses += len(replies)
    seconds = time.perf_counter() - ready
    return GenerationDone(GenerationFigures(responses, tokens, prompt_tokens, ended, ready - began, seconds))


def count_until_end(tokens: Sequence[int], ends: set[int]) -> int:
    """Tokens up to and including the first that ends the text; what follows is padding."""
    return next((n for n, token in enumerate(tokens, start=1) if token in ends), len(tokens))


@dataclass(frozen=True)
class TrainingFigures:
    """What one contestant trained, and what it took; all seconds are wall time unless they say otherwise."""

    steps: int
    whole_s: float
    """From the start of the process to the end of the last look at the validation rows."""
    cpu_s: float
    """Processor time in that, of the process and those under it."""
    steps_s: float
    merging_s: float
    """Afterwards, to make the model that can be served."""
    parts: dict[str, float]
    """Where the seconds went, to the very end."""
    train_loss: float
    """Of the project the last step's, of plain TRL the mean of the steps since its last log but one: not to compare."""
    validation_loss: float
    validation_accuracy: float
    peak_memory_mb: int
    """On a GPU what torch had allocated there, else of the machine's memory; up to the last look."""
    device: str
    looks: int = 1
    samples: int = 0


@dataclass
class PhaseClock:
    """Seconds since this process was started, and what they went into."""

    started: float = field(default_factory=lambda: psutil.Process().create_time())
    parts: dict[str, float] = field(default_factory=dict)
    now: Callable[[], float] = time.time
    _before: float = 0.0

    def passed(self, into: str) -> float:
        """The time since the last call went into this; gives the seconds since the start."""
        now = self.now() - self.started
        self.parts[into] = round(self.parts.get(into, 0.0) + now - self._before, 3)
        self._before = now
        return now


def resource_usage() -> tuple[float, int]:
    """Processor seconds of this process and those it waited for, and the most MB it has had; on a GPU of its memory."""
    import torch

    usage = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    on_gpu = torch.cuda.is_available()
    megabytes = torch.cuda.max_memory_allocated() // 2**20 if on_gpu else usage[0].ru_maxrss // 1024
    return sum(process.ru_utime + process.ru_stime for process in usage), int(megabytes)


@dataclass
class ClockListener:
    """A Listener of the project's trainer that takes the time of every report."""

    clock: PhaseClock = field(default_factory=PhaseClock)
    used: Callable[[], tuple[float, int]] = resource_usage
    last: dict[Split, StepReport] = field(default_factory=dict)
    samples: int = 0
    looks: int = 0
    _at_last_look: tuple[float, tuple[float, int]] = (0.0, (0.0, 0))
    _doing: str = "before the first step"

    def stage(self, text: str) -> None:
        """The next stage; the one before ends."""
        self.clock.passed(self._doing)
        usual = "keeping the best" if self.last else "before the first step"
        self._doing = {"Merging": "merging", "Scoring": "reference"}.get(text.split()[0], usual)

    def report(self, report: Report) -> None:
        """A step, an evaluation, or a sample reply; a warning takes no time."""
        if isinstance(report, SampleReport):
            self.clock.passed("sample replies")
            self.samples += 1
        elif isinstance(report, StepReport):
            self.last[report.split] = report
            self._doing = "keeping the best"
            if report.split is Split.TRAIN:
                self.clock.passed("steps")
            else:
                self._at_last_look = self.clock.passed("evaluations"), self.used()
                self.looks += 1

    def figures(self, *, device: str) -> TrainingFigures:
        """The figures, once the trainer has come back. Raises `TrainingFailed` where the last look came too soon."""
        self.clock.passed(self._doing)
        training, validation = self.last.get(Split.TRAIN), self.last.get(Split.VALIDATION)
        if training is None or validation is None or validation.step != validation.steps:
            raise TrainingFailed("The training did not end with a look at the validation rows, so nothing compares.")
        whole, (cpu, megabytes) = self._at_last_look
        return TrainingFigures(
            steps=validation.step,
            whole_s=whole,
            cpu_s=cpu,
            steps_s=self.clock.parts["steps"],
            merging_s=self.clock.parts.get("merging", 0.0),
            parts=self.clock.parts,
            train_loss=training.loss,
            validation_loss=validation.loss,
            validation_accuracy=validation.reward_accuracy or 0.0,
            peak_memory_mb=megabytes,
            device=device,
            looks=self.looks,
            samples=self.samples,
        )


def trainer(folder: Path) -> TrainingFigures:
    """The project's trainer, as the worker's child process runs it."""
    from training.trainer.train import train
    from training.trainer.weights import device_name

    listener = ClockListener()
    train(folder, listener)
    return listener.figures(device=device_name())


def plain_trl(folder: Path) -> TrainingFigures:
    """DPO as somebody would write it from TRL's documentation, with TRL's defaults made to run on this device.

    What is not a default on a CPU: no bf16 and no gradient checkpointing (with them one step takes minutes). Four pairs
    at once everywhere, which is the project's number of pairs for a step.
    """
    clock = PhaseClock()
    import torch
    from datasets import load_dataset
    from peft import LoraConfig
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer

    from training.trainer.weights import device_name

    task = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    files = {name: f"{task['snapshot']}/{name}.jsonl" for name in ("train", "validation")}
    rows: Any = load_dataset("json", data_files=files, cache_dir=str(folder / "cache"))
    rows = rows.select_columns(["prompt", "chosen", "rejected"])
    on_cpu = not torch.cuda.is_available()
    made_to_run: dict[str, Any] = {"use_cpu": True, "bf16": False, "gradient_checkpointing": False} if on_cpu else {}
    dpo: Any = DPOTrainer(
        model=task["base_model"],
        args=DPOConfig(
            output_dir=str(folder / "output"),
            per_device_train_batch_size=task["effective_batch_size"],
            num_train_epochs=task["epochs"],
            learning_rate=task["learning_rate"],
            lr_scheduler_type="cosine",
            warmup_steps=task["warmup_steps"],
            beta=task["beta"],
            seed=task["seed"],
            report_to="none",
            **made_to_run,
        ),
        train_dataset=rows["train"],
        eval_dataset=rows["validation"],
        peft_config=LoraConfig(
            r=task["lora_rank"],
            lora_alpha=task["lora_alpha"],
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        ),
    )
    clock.passed("before the first step")
    dpo.train()
    clock.passed("steps")
    metrics = dpo.evaluate()
    whole = clock.passed("evaluations")
    losses = [line["loss"] for line in dpo.state.log_history if "loss" in line]
    cpu, megabytes = resource_usage()
    return TrainingFigures(
        steps=dpo.state.global_step,
        whole_s=whole,
        cpu_s=cpu,
        steps_s=clock.parts["steps"],
        merging_s=0.0,
        parts=clock.parts,
        # TRL logs every tenth step, so a short run has none but the mean
        train_loss=losses[-1] if losses else dpo.state.log_history[-2]["train_loss"],
        validation_loss=metrics["eval_loss"],
        validation_accuracy=metrics["eval_rewards/accuracies"],
        peak_memory_mb=megabytes,
        device=device_name(),
    )


def main(name: str, place: str) -> None:
    """Let one contestant work."""
    folder = Path(place)
    if trains := {"trainer": trainer, "plain_trl": plain_trl}.get(name):
        write_json(folder / DONE, asdict(trains(folder)))
    else:
        answers = {"project": project, "vllm": vllm, "transformers": transformers}[name]
        done = asdict(answers(read_dataclass(GenerationWork, folder / WORK)))
        figures = {what: round(value, 3) for what, value in done["figures"].items()}
        write_json(folder / DONE, done | {"figures": figures})


if __name__ == "__main__":
    main(*sys.argv[1:])
