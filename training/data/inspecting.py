"""Reads a Snapshot's rows, their stories and tokens for `training.data.inspection` and `training.data.token_fit`.

The app's process counts tokens with the library tokenizers alone: no torch, no transformers.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session, aliased

from db.comparisons import OWN_RANKING, nearly_same
from db.lookup import readable_location
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
from db.people import require_role
from errors import BadTemplate, BrokenModel, NotFound, missing_package
from llm.folder import is_hub_id, read_end_tokens, read_special_tokens, read_template
from llm.template import Message, render_conversation
from stats.verdicts import Outcome
from training.data.inspected_rows import InspectedRow, reply_text
from training.data.rows import FrozenRow, read_rows
from training.data.snapshot import snapshot_folder
from training.data.terms import LeftOutReason
from training.data.token_fit import RowTokens, TokenPiece, cut_pieces

CHUNK = 250
"""Rows that are tokenized at once."""


@dataclass(frozen=True)
class InspectedSnapshot:
    """A Snapshot's rows with what the database knows of them."""

    rows: tuple[InspectedRow, ...]
    """Training rows first, as in the files."""
    opposite_orders: int
    """Orders that the freeze left out because a person or a rule put the same two replies the other way round."""


def inspect_snapshot(s: Session, *, by: int, project_id: int, snapshot_id: int) -> InspectedSnapshot:
    """The Snapshot's rows and what is known of each; managers only. Raises `Refused` where its files were changed."""
    require_role(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    snapshot = s.get(Snapshot, snapshot_id)
    if snapshot is None or snapshot.project_id != project_id:
        raise NotFound("That snapshot is not in this project any more. Choose one from the list.")
    frozen = read_rows(snapshot_folder(snapshot), sha256=snapshot.sha256)
    replies, orders = _replies(s, snapshot_id), _orders(s, snapshot_id)
    comparisons = _comparisons_of_corrected(s, snapshot_id)
    rows = []
    for number, (split, row) in enumerate(((part, row) for part in Split for row in frozen[part]), start=1):
        unknown = "nobody known", False
        of_correction = (f"Correction by {row.reviewer}", False) if row.correction_id is not None else unknown
        chosen_by, chosen_cut = replies.get(row.chosen_id or 0, of_correction)
        rejected_by, rejected_cut = replies.get(row.rejected_id, unknown)
        comparison_id, row_orders = orders.get(row.ranking_id or 0, (None, ()))
        rows.append(
            InspectedRow(
                number,
                split,
                row,
                chosen_by,
                rejected_by,
                chosen_cut,
                rejected_cut,
                nearly_same=nearly_same(reply_text(row.chosen), reply_text(row.rejected)),
                outcomes=tuple(_outcome(order, row) for order in row_orders),
                comparison_ids=comparisons.get(row.rejected_id, ()) if comparison_id is None else (comparison_id,),
            )
        )
    opposite = s.get(SnapshotLeftOut, (snapshot_id, LeftOutReason.DISAGREEMENT.value))
    return InspectedSnapshot(tuple(rows), opposite.count if opposite else 0)


def _outcome(order: Mapping[int, int], row: FrozenRow) -> Outcome:
    better, worse = order.get(row.chosen_id or 0, 1), order.get(row.rejected_id, 1)
    return Outcome.TIE if better == worse else Outcome.WIN if better < worse else Outcome.LOSS


def _replies(s: Session, snapshot_id: int) -> dict[int, tuple[str, bool]]:
    """The author of each of the rows' replies, and whether it was cut off."""
    sides = (Preference.chosen_id, Preference.rejected_id)
    of_rows = or_(*(Response.id.in_(select(side).where(Preference.snapshot_id == snapshot_id)) for side in sides))
    authors = select(Response.id, Response.finish_reason, Responder).join(Responder).where(of_rows)
    return {i: (responder.label, finish == "length") for i, finish, responder in s.execute(authors)}


def _orders(s: Session, snapshot_id: int) -> dict[int, tuple[int, Collection[Mapping[int, int]]]]:
    """For each ranking behind a row its comparison, and each person's own order of it now; rules are left out.

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
        .where(Ranking.comparison_id.in_(same), OWN_RANKING, Reviewer.simulated.is_(False))
        .order_by(Ranking.id)
    ):
        orders[comparison_id][reviewer_id][response_id] = 1 if both_bad else place
    return {i: (comparison_id, orders[comparison_id].values()) for i, comparison_id in comparisons}


def _comparisons_of_corrected(s: Session, snapshot_id: int) -> dict[int, tuple[int, ...]]:
    """For each corrected reply the comparisons that it stands in: its correction hints at what was said of it."""
    corrected = select(Preference.rejected_id).where(
        Preference.snapshot_id == snapshot_id, Preference.correction_id.is_not(None)
    )
    comparisons: dict[int, tuple[int, ...]] = defaultdict(tuple)
    for response_id, comparison_id in s.execute(
        select(ComparisonResponse.response_id, ComparisonResponse.comparison_id)
        .where(ComparisonResponse.response_id.in_(corrected))
        .order_by(ComparisonResponse.comparison_id)
    ):
        comparisons[response_id] += (comparison_id,)
    return comparisons


@dataclass(frozen=True)
class TokenizedRow:
    """A row as the base model reads it."""

    prompt: tuple[TokenPiece, ...]
    chosen: tuple[TokenPiece, ...]
    rejected: tuple[TokenPiece, ...]
    tokens: RowTokens


@dataclass(frozen=True)
class RowTokenizer:
    """A base model's chat template and tokenizer, which turn a text into what the model reads."""

    tokenizer: Any
    """Of the library tokenizers."""
    chat_template: str
    special: Mapping[str, str]
    """The special tokens that the template may name."""
    stop_ids: frozenset[int]
    special_ids: frozenset[int]

    def text(self, turns: Sequence[Message], *, reply_next: bool) -> str:
        """A conversation as one text. Raises `BadTemplate` where the template refuses it."""
        return render_conversation(
            self.chat_template, turns, special_tokens=self.special, add_generation_prompt=reply_next
        )

    def read(self, row: InspectedRow) -> TokenizedRow:
        """The row cut into its tokens. Raises `BadTemplate` where the template refuses it."""
        texts = self._texts(row)
        prompt, *whole = self.tokenizer.encode_batch(texts, add_special_tokens=False)
        tokens = self._tokens(row.number, prompt, *whole)
        parts = [self._parts(text, encoding, tokens.prompt) for text, encoding in zip(texts[1:], whole, strict=True)]
        return TokenizedRow(parts[0][0], parts[0][1], parts[1][1], tokens)

    def count(self, rows: Sequence[InspectedRow]) -> list[RowTokens]:
        """The lengths of some rows, as TRL and our trainer have them. Raises `BadTemplate`."""
        texts = [text for row in rows for text in self._texts(row)]
        # the template has put its special tokens in; where each token begins is not asked for
        encoded = iter(self.tokenizer.encode_batch_fast(texts, add_special_tokens=False))
        return [self._tokens(row.number, *islice(encoded, 3)) for row in rows]

    def _texts(self, row: InspectedRow) -> list[str]:
        """The prompt alone, then with either reply."""
        prompt, replies = row.frozen.prompt, (row.frozen.chosen, row.frozen.rejected)
        whole = (self.text([*prompt, *reply], reply_next=False) for reply in replies)
        return [self.text(prompt, reply_next=True), *whole]

    def _tokens(self, number: int, prompt: Any, chosen: Any, rejected: Any) -> RowTokens:
        together = zip(prompt.ids, chosen.ids, rejected.ids, strict=False)
        shared = len(list(takewhile(lambda ids: len(set(ids)) == 1, together)))
        replies = chosen.ids[shared:], rejected.ids[shared:]
        ends = self._end(replies[0]), self._end(replies[1])
        return RowTokens(number, shared, len(replies[0]), len(replies[1]), ends, misaligned=shared < len(prompt.ids))

    def _end(self, reply: Sequence[int]) -> int | None:
        """Where its only end-of-turn token stands; its last token where the model names none."""
        if not self.stop_ids:
            return len(reply) - 1
        ends = [place for place, token in enumerate(reply) if token in self.stop_ids]
        return ends[0] if len(ends) == 1 else None

    def _parts(self, text: str, encoding: Any, shared: int) -> tuple[tuple[TokenPiece, ...], tuple[TokenPiece, ...]]:
        spans = [(*span, i in self.special_ids) for span, i in zip(encoding.offsets, encoding.ids, strict=True)]
        border = max((end for _, end, _ in spans[:shared]), default=0)
        after = [(max(0, start - border), max(0, end - border), special) for start, end, special in spans[shared:]]
        return cut_pieces(text[:border], spans[:shared]), cut_pieces(text[border:], after)


def load_row_tokenizer(s: Session, *, model_id: int) -> RowTokenizer:
    """The chat template and tokenizer of a base model on this machine.

    Raises `NotFound`, or `BrokenModel` where there is no tokenizer, no chat template or no library to read it with.
    """
    version = s.get(ModelVersion, model_id)
    if version is None:
        raise NotFound("That model is not in the database any more. Choose one from the list.")
    location = readable_location(version)
    try:
        from tokenizers import Tokenizer
    except ModuleNotFoundError:
        raise BrokenModel(missing_package("Counting tokens", "tokenizers")) from None
    file, template = _tokenizer_file(location), read_template(location)
    if file is None or template is None:
        missing = "tokenizer" if file is None else "chat template"
        raise BrokenModel(
            f"The {missing} of {version.name} is not on this machine, so nothing can be told in its tokens. Choose a "
            "model with a folder here, or let it answer once: that fetches it."
        )
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as problem:  # the library raises nothing more special
        raise BrokenModel(f"{file} cannot be read as a tokenizer ({problem}). Put the whole model there.") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    special = read_special_tokens(location)
    ends = read_end_tokens(location).get("eos_token_id", [])
    ends = {*(ends if isinstance(ends, list) else [ends]), tokenizer.token_to_id(special.get("eos_token", ""))}
    stops = frozenset(end for end in ends if end is not None)
    added = frozenset(i for i, token in tokenizer.get_added_tokens_decoder().items() if token.special)
    return RowTokenizer(tokenizer, template, special, stops, added | stops)


def _tokenizer_file(location: str) -> Path | None:
    if not is_hub_id(location):
        file = Path(location) / "tokenizer.json"
        return file if file.is_file() else None
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(location, "tokenizer.json") if "/" in location else None
    return Path(cached) if isinstance(cached, str) else None


def count_tokens(
    tokenizer: RowTokenizer, rows: Sequence[InspectedRow], *, on_progress: Callable[[int, int], None] = lambda *_: None
) -> tuple[RowTokens, ...]:
    """Every row's lengths in tokens; ``on_progress`` gets how many are done. Raises `BadTemplate`, naming the rows."""
    counts: list[RowTokens] = []
    for start in range(0, len(rows), CHUNK):
        chunk = rows[start : start + CHUNK]
        try:
            counts += tokenizer.count(chunk)
        except BadTemplate as problem:
            raise BadTemplate(f"Rows {chunk[0].number} to {chunk[-1].number}: {problem}") from None
        on_progress(len(counts), len(rows))
    return tuple(counts)
