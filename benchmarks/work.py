"""What the contestants of `benchmarks.generation` are given, and what they give back; files between processes."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from settings import ROOT

SAMPLE = ROOT / "examples" / "publisher_emails"
RUN_SEED = 7
"""Of the project's generation run; every sample's own seed follows from it."""


@dataclass(frozen=True)
class Asked:
    """One prompt as the project asks it."""

    messages: list[dict[str, str]]
    seed: int
    """Of the first sample; the next has the next number."""


@dataclass(frozen=True)
class Work:
    """What is to be answered, and how to sample."""

    prompts: int
    samples: int
    temperature: float
    top_p: float
    max_tokens: int
    model: str
    """Local folder or hub id."""
    asked: list[Asked] = field(default_factory=list)
    """The prompts as the project asked them; empty for the project, which makes them."""
    engine: list[str] = field(default_factory=list)
    """Flags of the vLLM server that the project started, for vLLM itself."""
    batch: int = 0
    """Prompts in one batch, for transformers."""
    our_top_p: bool = False
    """Whether vLLM itself is to use `llm.nucleus` for its top-p."""


@dataclass(frozen=True)
class Took:
    """What one contestant did, and the time it took."""

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
    stop_s: float
    """Ending the project's engine; 0 for the others."""


@dataclass(frozen=True)
class Done:
    """A contestant's whole answer."""

    took: Took
    asked: list[Asked] = field(default_factory=list)
    engine: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    """Variables that the project's engine was started with beside its own."""


def read_work(text: str) -> Work:
    """The work in a file's text."""
    found = json.loads(text)
    return Work(**found | {"asked": [Asked(**one) for one in found["asked"]]})


def read_done(text: str) -> Done:
    """A contestant's answer in a file's text."""
    found = json.loads(text)
    return Done(**found | {"took": Took(**found["took"]), "asked": [Asked(**one) for one in found["asked"]]})


def emails(count: int) -> list[str]:
    """So many different emails: the sample's training emails, and beyond them the same again under a number."""
    lines = (SAMPLE / "train.jsonl").read_text(encoding="utf-8").splitlines()
    own: list[str] = [json.loads(line)["email"] for line in lines]
    return [own[n] if n < len(own) else f"Reference {n:06d}.\n\n{own[n % len(own)]}" for n in range(count)]


def until_the_end(tokens: Sequence[int], ends: set[int]) -> int:
    """Tokens up to and including the first that ends the text; what follows is padding."""
    return next((n for n, token in enumerate(tokens, start=1) if token in ends), len(tokens))
