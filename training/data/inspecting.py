"""Reads a Snapshot's rows, their stories and tokens for `training.data.inspection` and `training.data.token_fit`.

The app's process counts tokens with the library tokenizers alone: no torch, no transformers.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from db.comparisons import OWN_WORD, nearly_same
from db.models import (
    ComparisonResponse,
    ModelVersion,
    Placement,
    Preference,
    Ranking,
    Responder,
    Response,
    Reviewer,
    Role,
    Snapshot,
    SnapshotLeftOut,
    Split,
)
from db.people import require
from errors import BadTemplate, BrokenModel, NotFound, missing_package
from llm.folder import ending_of, is_hub_id, special_tokens_of, template_of
from llm.template import Message, rendered
from stats.verdicts import Outcome
from training.data.inspected_rows import InspectedRow, text_of
from training.data.rows import FrozenRow, read_rows
from training.data.snapshot import folder_of
from training.data.terms import LeftOutReason
from training.data.token_fit import RowTokens, TokenPiece, pieces

CHUNK = 250
"""Rows that are tokenized at once."""


@dataclass(frozen=True)
class Inspected:
    """A Snapshot's rows with what the database knows of them."""

    rows: tuple[InspectedRow, ...]
    """Training rows first, as in the files."""
    opposite: int
    """Orders that the freeze left out because somebody, or a rule, put the same two replies the other way round."""


def inspected(s: Session, *, by: int, project_id: int, snapshot_id: int) -> Inspected:
    """The Snapshot's rows and what is known of each; managers only. Raises `Refused` where its files were changed."""
    require(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    snapshot = s.get(Snapshot, snapshot_id)
    if snapshot is None or snapshot.project_id != project_id:
        raise NotFound("That snapshot is not in this project any more. Choose one from the list.")
    frozen = read_rows(folder_of(snapshot), sha256=snapshot.sha256)
    replies, orders = _replies(s, snapshot_id), _orders(s, snapshot_id)
    comparisons = _comparisons_of_corrected(s, snapshot_id)
    found: list[InspectedRow] = []
    for split in Split:
        for row in frozen[split]:
            unknown = "nobody known", False
            of_correction = (f"Correction by {row.reviewer}", False) if row.correction_id is not None else unknown
            chosen_by, chosen_cut = replies.get(row.chosen_id or 0, of_correction)
            rejected_by, rejected_cut = replies.get(row.rejected_id, unknown)
            comparison_id, said = orders.get(row.ranking_id or 0, (None, ()))
            found.append(
                InspectedRow(
                    number=len(found) + 1,
                    split=split,
                    row=row,
                    chosen_by=chosen_by,
                    rejected_by=rejected_by,
                    chosen_cut=chosen_cut,
                    rejected_cut=rejected_cut,
                    near=nearly_same(text_of(row.chosen), text_of(row.rejected)),
                    outcomes=tuple(_outcome(order, row) for order in said),
                    comparison_ids=comparisons.get(row.rejected_id, ()) if comparison_id is None else (comparison_id,),
                )
            )
    opposite = s.get(SnapshotLeftOut, (snapshot_id, LeftOutReason.DISAGREEMENT.value))
    return Inspected(tuple(found), opposite.count if opposite else 0)


def _outcome(order: Mapping[int, int], row: FrozenRow) -> Outcome:
    better = order.get(row.chosen_id or 0, 1)
    worse = order.get(row.rejected_id, 1)
    return Outcome.TIE if better == worse else Outcome.WIN if better < worse else Outcome.LOSS


def _replies(s: Session, snapshot_id: int) -> dict[int, tuple[str, bool]]:
    """Who wrote each of the rows' replies, and whether it was cut off."""
    found: dict[int, tuple[str, bool]] = {}
    for side in (Preference.chosen_id, Preference.rejected_id):
        for response_id, finish, responder in s.execute(
            select(Response.id, Response.finish_reason, Responder)
            .join(Responder, Responder.id == Response.responder_id)
            .where(Response.id.in_(select(side).where(Preference.snapshot_id == snapshot_id)))
        ):
            found[response_id] = responder.label, finish == "length"
    return found


def _orders(s: Session, snapshot_id: int) -> dict[int, tuple[int, Collection[Mapping[int, int]]]]:
    """For each ranking behind a row its comparison, and each person's own order of it now; rules say nothing.

    An order is response to place; both bad puts all in the same.
    """
    behind = aliased(Ranking)
    of_rows = (Preference.ranking_id == behind.id) & (Preference.snapshot_id == snapshot_id)
    comparisons = s.execute(select(behind.id, behind.comparison_id).join(Preference, of_rows).distinct()).all()
    same = select(behind.comparison_id).join(Preference, of_rows)
    orders: dict[int, dict[int, dict[int, int]]] = defaultdict(lambda: defaultdict(dict))
    for comparison_id, reviewer_id, both_bad, response_id, place in s.execute(
        select(Ranking.comparison_id, Ranking.reviewer_id, Ranking.both_bad, Placement.response_id, Placement.place)
        .join(Placement, Placement.ranking_id == Ranking.id)
        .join(Reviewer, Reviewer.id == Ranking.reviewer_id)
        .where(Ranking.comparison_id.in_(same), OWN_WORD, Reviewer.simulated.is_(False))
        .order_by(Ranking.id)
    ):
        orders[comparison_id][reviewer_id][response_id] = 1 if both_bad else place
    return {i: (comparison_id, orders[comparison_id].values()) for i, comparison_id in comparisons}


def _comparisons_of_corrected(s: Session, snapshot_id: int) -> dict[int, tuple[int, ...]]:
    """For each corrected reply the comparisons that it stands in: its correction hints at what was said of it."""
    corrected = select(Preference.rejected_id).where(
        Preference.snapshot_id == snapshot_id, Preference.correction_id.is_not(None)
    )
    found: dict[int, list[int]] = defaultdict(list)
    for response_id, comparison_id in s.execute(
        select(ComparisonResponse.response_id, ComparisonResponse.comparison_id)
        .where(ComparisonResponse.response_id.in_(corrected))
        .order_by(ComparisonResponse.comparison_id)
    ):
        found[response_id].append(comparison_id)
    return {response_id: tuple(ids) for response_id, ids in found.items()}


# ------------------------------------------------------------------------------------------------ tokens


@dataclass(frozen=True)
class Reading:
    """A row as the base model reads it."""

    prompt: tuple[TokenPiece, ...]
    chosen: tuple[TokenPiece, ...]
    rejected: tuple[TokenPiece, ...]
    tokens: RowTokens


@dataclass(frozen=True)
class Reader:
    """A base model's chat template and tokenizer: what becomes of a text before the model has it."""

    tokenizer: Any
    """Of the library tokenizers."""
    chat_template: str
    special: Mapping[str, str]
    """The special tokens that the template may name."""
    stop_ids: frozenset[int]
    """Tokens that end a reply."""
    special_ids: frozenset[int]

    def text(self, turns: Sequence[Message], *, reply_next: bool) -> str:
        """A conversation as one text. Raises `BadTemplate` where the template refuses it."""
        return rendered(self.chat_template, turns, special=self.special, reply_next=reply_next)

    def read(self, one: InspectedRow) -> Reading:
        """The row cut into its tokens. Raises `BadTemplate` where the template refuses it."""
        texts = self._texts(one)
        prompt, *whole = self.tokenizer.encode_batch(texts, add_special_tokens=False)
        tokens = self._tokens(one.number, prompt, *whole)
        parts = [self._parts(text, it, tokens.prompt) for text, it in zip(texts[1:], whole, strict=True)]
        return Reading(parts[0][0], parts[0][1], parts[1][1], tokens)

    def count(self, rows: Sequence[InspectedRow]) -> list[RowTokens]:
        """The lengths of some rows, as TRL and our trainer have them. Raises `BadTemplate`."""
        texts = [text for one in rows for text in self._texts(one)]
        # the template has put its special tokens in; where each token begins is not asked for
        encoded = iter(self.tokenizer.encode_batch_fast(texts, add_special_tokens=False))
        return [self._tokens(one.number, *islice(encoded, 3)) for one in rows]

    def _texts(self, one: InspectedRow) -> list[str]:
        """The prompt alone, then with either reply."""
        replies = (one.row.chosen, one.row.rejected)
        whole = [self.text([*one.row.prompt, *reply], reply_next=False) for reply in replies]
        return [self.text(one.row.prompt, reply_next=True), *whole]

    def _tokens(self, number: int, prompt: Any, chosen: Any, rejected: Any) -> RowTokens:
        ids, sides = prompt.ids, (chosen.ids, rejected.ids)
        shared = min(_common(ids, side) for side in sides)
        replies = [side[shared:] for side in sides]
        return RowTokens(
            number=number,
            prompt=shared,
            chosen=len(replies[0]),
            rejected=len(replies[1]),
            ends=(self._end(replies[0]), self._end(replies[1])),
            apart=shared < len(ids),
        )

    def _end(self, reply: Sequence[int]) -> int | None:
        """Where its only end-of-turn token stands; its last token where the model names none."""
        if not self.stop_ids:
            return len(reply) - 1
        ends = [place for place, token in enumerate(reply) if token in self.stop_ids]
        return ends[0] if len(ends) == 1 else None

    def _parts(self, text: str, encoding: Any, shared: int) -> tuple[tuple[TokenPiece, ...], tuple[TokenPiece, ...]]:
        """The pieces of the prompt and of the reply."""
        spans = [
            (start, end, token in self.special_ids)
            for (start, end), token in zip(encoding.offsets, encoding.ids, strict=True)
        ]
        border = max((end for _, end, _ in spans[:shared]), default=0)
        after = [(max(0, start - border), max(0, end - border), special) for start, end, special in spans[shared:]]
        return pieces(text[:border], spans[:shared]), pieces(text[border:], after)


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two sequences begin with alike."""
    if list(other[: len(one)]) == list(one):
        return len(one)
    return next(place for place, (a, b) in enumerate(zip(one, [*other, -1], strict=False)) if a != b)


def reader_of(s: Session, *, model_id: int) -> Reader:
    """The chat template and tokenizer of a base model on this machine.

    Raises `NotFound`, or `BrokenModel` where there is no tokenizer, no chat template or no library to read it with.
    """
    version = s.get(ModelVersion, model_id)
    if version is None:
        raise NotFound("That model is not in the database any more. Choose one from the list.")
    name = version.name
    while version.adapter_folder and version.parent and not Path(version.location).exists():
        version = version.parent
    try:
        from tokenizers import Tokenizer
    except ModuleNotFoundError:
        raise BrokenModel(missing_package("Counting tokens", "tokenizers")) from None
    file, template = _tokenizer_file(version.location), template_of(version.location)
    if file is None or template is None:
        missing = "tokenizer" if file is None else "chat template"
        raise BrokenModel(
            f"The {missing} of {name} is not on this machine, so nothing can be told in its tokens. Choose a model "
            "with a folder here, or let it answer once: that fetches it."
        )
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as problem:  # the library raises nothing more special
        raise BrokenModel(f"{file} cannot be read as a tokenizer ({problem}). Put the whole model there.") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    special = special_tokens_of(version.location)
    said = ending_of(version.location).get("eos_token_id", [])
    stops = {*(said if isinstance(said, list) else [said])}
    if (end := tokenizer.token_to_id(special.get("eos_token", ""))) is not None:
        stops.add(end)
    added = tokenizer.get_added_tokens_decoder()
    ids = frozenset(number for number, token in added.items() if token.special)
    return Reader(tokenizer, template, special, frozenset(stops), ids | stops)


def _tokenizer_file(location: str) -> Path | None:
    if not is_hub_id(location):
        file = Path(location) / "tokenizer.json"
        return file if file.is_file() else None
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(location, "tokenizer.json") if "/" in location else None
    return Path(cached) if isinstance(cached, str) else None


def count_tokens(
    reader: Reader, rows: Sequence[InspectedRow], *, told: Callable[[int, int], None] = lambda done, of: None
) -> tuple[RowTokens, ...]:
    """Every row's lengths in tokens; ``told`` hears how many are done. Raises `BadTemplate`, naming the row."""
    found: list[RowTokens] = []
    for start in range(0, len(rows), CHUNK):
        some = rows[start : start + CHUNK]
        try:
            found += reader.count(some)
        except BadTemplate as problem:
            raise BadTemplate(f"Rows {some[0].number} to {some[-1].number}: {problem}") from None
        told(len(found), len(rows))
    return tuple(found)
