"""Votes as columns, and the same votes as contests between a candidate and a baseline. Pure.

A vote is one reviewer's verdict on two responders' replies to one prompt. A million votes are a few arrays of integers
that point into sorted names, so that no figure depends on the order of the rows.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from errors import BadFile
from stats.verdicts import Verdict

Codes: TypeAlias = NDArray[np.int64]
Numbers: TypeAlias = NDArray[np.float64]
Flags: TypeAlias = NDArray[np.bool_]

LEFT, RIGHT, TIE, BOTH_BAD = range(len(Verdict))
VERDICTS = tuple(verdict.word for verdict in Verdict)
"""The words of the four codes."""
LEFT_SCORE: Numbers = np.array([verdict.outcome(candidate_left=True).score for verdict in Verdict])
"""What each verdict gives the reply on the left; the other gets the rest."""


@dataclass(frozen=True, eq=False)
class Votes:
    """n votes. Arrays have one entry per vote; codes count from 0 and point into the names."""

    prompt: Codes
    reviewer: Codes
    left: Codes
    """Responder on the left."""
    right: Codes
    verdict: Codes
    """LEFT, RIGHT, TIE or BOTH_BAD."""
    prompts: tuple[str, ...]
    reviewers: tuple[str, ...]
    responders: tuple[str, ...]
    """Of two responders the earlier one is the candidate."""
    left_length: Numbers | None = None
    """Length of the reply on the left, in any unit that both lengths share."""
    right_length: Numbers | None = None
    tag: Codes | None = None
    tags: tuple[str, ...] = ()
    by_model: Flags | None = None
    """Which verdicts are a model's. They are never pooled with people's; `person_votes` leaves them out."""
    unasked: Flags | None = None
    """Ties that no reviewer gave, because both texts are the same; the reviewer's code means nothing there."""

    @property
    def n(self) -> int:
        """How many votes."""
        return len(self.prompt)

    @cached_property
    def contests(self) -> "Contests":
        """The same votes from the candidate's side."""
        return _contests(self)

    def where(self, keep: Flags | Codes) -> "Votes":
        """Some of the votes; names and their codes stay."""
        columns: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        kept: dict[str, Any] = {name: a[keep] for name, a in columns.items() if isinstance(a, np.ndarray)}
        return replace(self, **kept)

    @cached_property
    def asked(self) -> "Votes":
        """The votes that reviewers gave, without ties of texts that are the same."""
        return self if self.unasked is None else self.where(~self.unasked)

    @property
    def person_votes(self) -> "Votes":
        """All but models' verdicts."""
        return self if self.by_model is None else self.where(~self.by_model)

    @property
    def model_votes(self) -> "Votes":
        """Models' verdicts alone."""
        return self.where(np.zeros(self.n, bool) if self.by_model is None else self.by_model)


@dataclass(frozen=True, eq=False)
class Contests:
    """Votes as candidate against baseline: of two responders the earlier one in `Votes.responders` is the candidate, on
    whichever side it stood.
    """

    pairs: Codes
    """(m, 2): candidate and baseline of each pair that has votes."""
    pair: Codes
    """(n,): which of the pairs."""
    candidate_left: Flags
    score: Numbers
    """(n,): 1 the candidate won, 0 the baseline, 0.5 neither."""


def as_votes(
    *,
    prompts: Sequence[Hashable],
    reviewers: Sequence[Hashable],
    lefts: Sequence[Hashable],
    rights: Sequence[Hashable],
    verdicts: Sequence[str],
    candidate: str = "",
    left_lengths: Sequence[float] | None = None,
    right_lengths: Sequence[float] | None = None,
    tags: Sequence[str] | None = None,
    by_model: Sequence[bool] | None = None,
    unasked: Sequence[bool] | None = None,
) -> Votes:
    """Votes from sequences of equal length; names are compared as text.

    Raises `BadFile` for an unknown verdict, or a responder against itself; votes count from 1 in the message.
    """
    codes = {word: code for code, word in enumerate(VERDICTS)}
    verdict = np.array([codes.get(str(word).lower(), -1) for word in verdicts], dtype=np.int64)
    if (verdict < 0).any():
        i = int(np.argmax(verdict < 0))
        raise BadFile(f"Vote {i + 1} has the verdict “{verdicts[i]}”. Use {', '.join(VERDICTS)}.")
    prompt, prompt_names = encode_names([str(name) for name in prompts])
    reviewer, reviewer_names = encode_names([str(name) for name in reviewers])
    responder, responder_names = encode_names([str(name) for name in (*lefts, *rights)], first=candidate)
    left, right = responder[: len(lefts)], responder[len(lefts) :]
    if (left == right).any():
        i = int(np.argmax(left == right))
        raise BadFile(f"Vote {i + 1} has “{lefts[i]}” on both sides. Each vote needs two different responders.")
    tag, tag_names = encode_names(list(tags)) if tags is not None else (None, ())
    return Votes(
        prompt,
        reviewer,
        left,
        right,
        verdict,
        prompt_names,
        reviewer_names,
        responder_names,
        None if left_lengths is None else np.asarray(left_lengths, dtype=float),
        None if right_lengths is None else np.asarray(right_lengths, dtype=float),
        tag,
        tag_names,
        None if by_model is None else np.asarray(by_model, dtype=bool),
        None if unasked is None else np.asarray(unasked, dtype=bool),
    )


def encode_names(values: Sequence[str], *, first: str = "") -> tuple[Codes, tuple[str, ...]]:
    """Codes and sorted names; `first`, where it occurs, has code 0."""
    names = sorted(set(values), key=lambda name: (name != first, name))
    codes = {name: code for code, name in enumerate(names)}
    return np.array([codes[value] for value in values], dtype=np.int64), tuple(names)


def _contests(votes: Votes) -> Contests:
    k = max(len(votes.responders), 1)
    candidate_left = votes.left < votes.right
    candidate = np.where(candidate_left, votes.left, votes.right)
    baseline = np.where(candidate_left, votes.right, votes.left)
    pairs, pair = np.unique(candidate * k + baseline, return_inverse=True)
    score = LEFT_SCORE[votes.verdict]
    return Contests(
        pairs=np.stack([pairs // k, pairs % k], axis=1),
        pair=pair.astype(np.int64),
        candidate_left=candidate_left,
        score=np.where(candidate_left, score, 1 - score),
    )


def repeated_votes(votes: Votes) -> Flags:
    """Which votes repeat an earlier one: same prompt, reviewer, sides and verdict."""
    columns = [votes.prompt, votes.reviewer, votes.left, votes.right, votes.verdict]
    order = np.lexsort(columns)  # stable, so the first of equal votes is not counted as a repeat
    same = np.ones(max(votes.n - 1, 0), dtype=bool)
    for column in columns:
        same &= column[order][1:] == column[order][:-1]
    repeated = np.zeros(votes.n, dtype=bool)
    repeated[order[1:]] = same
    return repeated
