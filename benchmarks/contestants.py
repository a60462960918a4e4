"""Who answers the same prompts, each in a process of its own: the project's worker, vLLM itself, and transformers.

    python -m benchmarks.contestants project|vllm|transformers WORK.json DONE.json

Started by `benchmarks.generation`. Models are loaded here and die here.
"""

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.work import RUN_SEED, Done, Took, Work, read_work, until_the_end
from llm.nucleus import ARGUMENT


def project(work: Work) -> Done:
    """The generation worker, from the database and back to it, in an empty home."""
    from benchmarks import own_worker

    return own_worker.project(work)


def vllm(work: Work) -> Done:
    """The same of vLLM's own Python interface, with the flags of the project's server."""
    began = time.perf_counter()
    from vllm import LLM, EngineArgs, SamplingParams
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    # flags of the web server are not the engine's
    parser: Any = FlexibleArgumentParser
    flags: Any = EngineArgs.add_cli_args(parser())
    known, _ = flags.parse_known_args(work.engine)
    options = EngineArgs.from_cli_args(known)
    options.disable_log_stats = True  # as LLM does by itself
    llm: Any = LLM.from_engine_args(options)
    sampling = [
        SamplingParams(
            n=work.samples,
            temperature=work.temperature,
            top_p=1.0 if work.our_top_p else work.top_p,
            extra_args={ARGUMENT: work.top_p} if work.our_top_p else None,
            max_tokens=work.max_tokens,
            seed=one.seed,
        )
        for one in work.asked
    ]
    ready = time.perf_counter()
    answers = llm.chat([one.messages for one in work.asked], sampling, use_tqdm=False)
    seconds = time.perf_counter() - ready
    texts = [one for answer in answers for one in answer.outputs]
    return Done(
        Took(
            responses=len(texts),
            tokens=sum(len(one.token_ids) for one in texts),
            prompt_tokens=sum(len(answer.prompt_token_ids) for answer in answers),
            ended=sum(one.finish_reason == "stop" for one in texts),
            start_s=ready - began,
            seconds=seconds,
            stop_s=0.0,
        )
    )


def transformers(work: Work) -> Done:
    """The same of transformers' generate, in batches of prompts of like length, padded on the left, on all cores."""
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
    asked = sorted((one.messages for one in work.asked), key=lambda turns: len(turns[-1]["content"]))
    for first in range(0, len(asked), work.batch):
        given = tokenizer.apply_chat_template(
            asked[first : first + work.batch],
            add_generation_prompt=True,
            padding=True,
            return_dict=True,
            return_tensors="pt",
        )
        with torch.inference_mode():
            made = model.generate(
                **given,
                do_sample=True,
                temperature=work.temperature,
                top_p=work.top_p,
                top_k=0,
                max_new_tokens=work.max_tokens,
                num_return_sequences=work.samples,
                pad_token_id=tokenizer.pad_token_id,
            )
        prompt_tokens += int(given["attention_mask"].sum())
        replies = made[:, given["input_ids"].shape[1] :].tolist()
        tokenizer.batch_decode(replies, skip_special_tokens=True)  # the others give texts, too
        lengths = [until_the_end(reply, ends) for reply in replies]
        tokens += sum(lengths)
        ended += sum(reply[length - 1] in ends for reply, length in zip(replies, lengths, strict=True))
        responses += len(replies)
    seconds = time.perf_counter() - ready
    return Done(Took(responses, tokens, prompt_tokens, ended, ready - began, seconds, 0.0))


CONTESTANTS = {"project": project, "vllm": vllm, "transformers": transformers}


def main(arguments: Sequence[str]) -> None:
    """Let one contestant work."""
    name, given, done = arguments
    answer = CONTESTANTS[name](read_work(Path(given).read_text(encoding="utf-8")))
    took = {what: round(value, 3) if isinstance(value, float) else value for what, value in asdict(answer.took).items()}
    Path(done).write_text(json.dumps(asdict(answer) | {"took": took}), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
