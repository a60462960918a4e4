"""A file of votes into columns: one line for each verdict, every problem named by its line. Nothing is saved.

Columns: prompt, reviewer, left, right (names of the two responders), verdict (left, right, tie, both_bad). Optional:
left_length and right_length, or left_text and right_text (their lengths in characters are taken), tag, and judged_by
(person or model: whose verdict it is; nobody: a tie that nobody was asked about, since both texts are the same).
Others are ignored. A million lines take a second or two: texts are never all in memory.
"""

import csv
import io
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pandas as pd

from errors import BadFile, NotFound
from stats.votes import TIE, VERDICTS, Codes, Flags, Numbers, Votes, repeated_votes

NEEDED = ("prompt", "reviewer", "left", "right", "verdict")
LENGTHS = ("left_length", "right_length")
TEXTS = ("left_text", "right_text")
OPTIONAL = ("tag", "judged_by")
KINDS = ("person", "model", "nobody")
BLOCK = 16 * 2**20
"""Bytes read at once; a line has to be shorter."""


@dataclass(frozen=True, eq=False)
class VotesFile:
    """What a file says."""

    votes: Votes
    rows: int
    duplicates: int
    """Lines left out because an earlier one has the same prompt, reviewer, sides and verdict."""
    duplicate_lines: tuple[int, ...]
    length_unit: str
    """Empty without lengths; "characters" where they were taken from the texts, else "as given"."""


def read_votes(file: Path, *, candidate: str = "") -> VotesFile:
    """Read VOTES.csv.

    Args:
        file: CSV in UTF-8, with a header; comma, semicolon or tab between cells.
        candidate: the responder that is the candidate of its pairs; otherwise the one that comes first by name.

    Raises `NotFound` or `BadFile`, in one sentence with the line and the remedy.
    """
    header, delimiter = _header(file)
    columns = _columns(header, file)
    table = _table(file, columns, delimiter)

    def fail(row: int, what: str) -> BadFile:
        (line,) = _lines_of(file, delimiter, [row])
        return BadFile(f"Line {line} of {file.name} {what}")

    (left, right), responders = _encode(table, columns["left"], columns["right"], first=candidate)
    codes, names = {"left": left, "right": right}, {"left": responders, "right": responders}
    for word in ("prompt", "reviewer", "verdict", *OPTIONAL):
        if word in columns:
            (codes[word],), names[word] = _encode(table, columns[word])
    for word in NEEDED:
        if "" in names[word] and (row := _first(codes[word] == names[word].index(""))) is not None:
            raise fail(row, f"has nothing under “{word}”. Fill it in, or leave the line out.")
    tidied = [name.lower().replace(" ", "_").replace("-", "_") for name in names["verdict"]]
    verdict = _places(tidied, VERDICTS)[codes["verdict"]]
    if (row := _first(verdict < 0)) is not None:
        word = names["verdict"][codes["verdict"][row]]
        raise fail(row, f"has the verdict “{word}”. Use {', '.join(VERDICTS[:-1])} or {VERDICTS[-1]}.")
    if (row := _first(left == right)) is not None:
        raise fail(row, f"has “{responders[left[row]]}” on both sides. Put in two different responders.")
    if candidate and candidate not in responders:
        known = ", ".join(f"“{name}”" for name in responders[:20])
        raise BadFile(f"There is no responder “{candidate}” in {file.name}. There are: {known}.")
    lengths, unit = _lengths(table, columns, fail)
    judged_by = _judged_by(codes["judged_by"], names["judged_by"], verdict, fail) if "judged_by" in codes else None
    votes = Votes(
        prompt=codes["prompt"],
        reviewer=codes["reviewer"],
        left=left,
        right=right,
        verdict=verdict,
        prompts=names["prompt"],
        reviewers=names["reviewer"],
        responders=responders,
        left_length=lengths[0],
        right_length=lengths[1],
        tag=codes.get("tag"),
        tags=tuple(name or "(no tag)" for name in names.get("tag", ())),
        by_model=None if judged_by is None else judged_by == KINDS.index("model"),
        unasked=None if judged_by is None else judged_by == KINDS.index("nobody"),
    )
    repeated = repeated_votes(votes)
    where = np.flatnonzero(repeated)
    return VotesFile(
        votes=votes.where(~repeated) if len(where) else votes,
        rows=votes.n,
        duplicates=len(where),
        duplicate_lines=_lines_of(file, delimiter, where[:5].tolist()),
        length_unit=unit,
    )


def _header(file: Path) -> tuple[list[str], str]:
    if not file.is_file():
        raise NotFound(f"There is no file {file}. Check the path.")
    with file.open("rb") as stream:
        start = stream.read(2**16)
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise BadFile(f"{file.name} is UTF-16, not UTF-8. Save it again as “CSV UTF-8” (Excel) or with encoding UTF-8.")
    text = start.decode("utf-8-sig", errors="replace")
    if not text.strip():
        raise BadFile(f"{file.name} is empty. It needs a header with {', '.join(NEEDED)}, and a line for each verdict.")
    first = text.lstrip("\r\n").splitlines()[0]
    delimiter = max(",;\t", key=first.count)
    return next(csv.reader([first], delimiter=delimiter)), delimiter


def _columns(header: list[str], file: Path) -> dict[str, str]:
    """Our word to the header's own spelling."""
    spelt: dict[str, str] = {}
    for name in header:
        word = name.strip().lower().replace(" ", "_")
        if word in spelt and word in (*NEEDED, *LENGTHS, *TEXTS, *OPTIONAL):
            raise BadFile(f"{file.name} has two columns “{word}”. Rename one of them.")
        spelt.setdefault(word, name)
    missing = [word for word in NEEDED if word not in spelt]
    if missing:
        raise BadFile(
            f"{file.name} has no column {', '.join(f'“{word}”' for word in missing)}; line 1 has "
            f"{', '.join(f'“{name}”' for name in header[:20])}. Name the columns {', '.join(NEEDED)}."
        )
    lengths = next((pair for pair in (LENGTHS, TEXTS) if spelt.keys() >= {*pair}), ())
    return {word: spelt[word] for word in (*NEEDED, *OPTIONAL, *lengths) if word in spelt}


def _table(file: Path, columns: dict[str, str], delimiter: str) -> Any:
    """An Arrow table: names as dictionaries, texts as their lengths only."""
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.compute as pc  # type: ignore[import-untyped]
    from pyarrow import csv as arrow_csv

    words = pa.dictionary(pa.int32(), pa.string())
    types = {column: pa.string() if word in (*LENGTHS, *TEXTS) else words for word, column in columns.items()}
    batches = []
    try:
        with arrow_csv.open_csv(
            file,
            read_options=arrow_csv.ReadOptions(block_size=BLOCK),
            parse_options=arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=arrow_csv.ConvertOptions(
                include_columns=list(columns.values()), column_types=types, strings_can_be_null=False
            ),
        ) as reader:
            for batch in reader:
                arrays = [
                    pc.utf8_length(batch.column(column)) if word in TEXTS else batch.column(column)
                    for word, column in columns.items()
                ]
                batches.append(pa.RecordBatch.from_arrays(arrays, names=list(columns.values())))
    except (pa.ArrowInvalid, pa.ArrowKeyError) as problem:
        raise _why(file, delimiter, str(problem)) from None
    if not any(batch.num_rows for batch in batches):
        raise BadFile(f"{file.name} has a header but no votes. Add at least one line.")
    return pa.Table.from_batches(batches).unify_dictionaries()


def _why(file: Path, delimiter: str, parse_error: str) -> BadFile:
    """The first line that cannot be read, found by reading slowly what could not be read quickly."""
    content = file.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = content[: problem.start].count(b"\n") + 1
        return BadFile(
            f"{file.name} is not UTF-8: line {line} has the byte 0x{content[problem.start]:02X}. "
            "Save it again as “CSV UTF-8” (Excel) or with encoding UTF-8 (any editor)."
        )
    width = rows = 0
    try:
        for number, cells in _lines(io.StringIO(text, newline=""), delimiter):
            width, rows = width or len(cells), rows + 1
            if len(cells) != width:
                return BadFile(
                    f"Line {number} of {file.name} has {len(cells)} cells but the header has {width}. Put text that "
                    "holds a comma or a line break between double quotes."
                )
    except csv.Error as problem:
        return BadFile(f"{file.name} is no readable CSV: {problem}. Look for a double quote that is never closed.")
    if rows < 2:
        return BadFile(f"{file.name} has a header but no votes. Add at least one line.")
    return BadFile(f"{file.name} is no readable CSV: {parse_error.splitlines()[0]} Export it again.")


def _lines(stream: TextIO, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Line number, as an editor shows it, at which each row begins, header included; empty lines are skipped."""
    csv.field_size_limit(2**31 - 1)
    reader = csv.reader(stream, delimiter=delimiter, strict=True)
    before = 0
    for cells in reader:
        if cells:
            yield before + 1, cells
        before = reader.line_num


def _lines_of(file: Path, delimiter: str, rows: Collection[int]) -> tuple[int, ...]:
    """Where data rows, counted from 0 and rising, begin."""
    if not rows:
        return ()
    with file.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
        numbers = (number for number, _ in islice(_lines(stream, delimiter), 1, max(rows) + 2))
        return tuple(number for row, number in enumerate(numbers) if row in rows)


def _encode(table: Any, *columns: str, first: str = "") -> tuple[list[Codes], tuple[str, ...]]:
    """Each column as codes into the same sorted names, without white space round them."""
    words = {column: table.column(column).chunk(0).dictionary.to_pylist() for column in columns}
    names = sorted({word.strip() for own in words.values() for word in own}, key=lambda name: (name != first, name))
    codes = []
    for column, own in words.items():
        chunks = [chunk.indices.to_numpy(zero_copy_only=False) for chunk in table.column(column).chunks]
        codes.append(_places([word.strip() for word in own], names)[np.concatenate(chunks)])
    return codes, tuple(names)


def _places(words: Sequence[str], known: Sequence[str]) -> Codes:
    """Where each word stands among those that are known; -1 for another."""
    places = {word: place for place, word in enumerate(known)}
    return np.array([places.get(word, -1) for word in words], dtype=np.int64)


def _first(wrong: Flags) -> int | None:
    return int(np.argmax(wrong)) if wrong.any() else None


def _judged_by(codes: Codes, names: Sequence[str], verdict: Codes, fail: Callable[[int, str], BadFile]) -> Codes:
    judged_by = _places([name.lower() for name in names], KINDS)[codes]
    if (row := _first(judged_by < 0)) is not None:
        word = names[codes[row]]
        raise fail(row, f"has “{word}” under “judged_by”. Use person, model or nobody, for whose verdict it is.")
    if (row := _first((judged_by == KINDS.index("nobody")) & (verdict != TIE))) is not None:
        raise fail(row, "has a verdict that nobody gave. Only a tie of two texts that are the same is.")
    return judged_by


def _lengths(
    table: Any, columns: dict[str, str], fail: Callable[[int, str], BadFile]
) -> tuple[tuple[Numbers | None, Numbers | None], str]:
    if "left_text" in columns:
        left, right = (table.column(columns[word]).to_numpy().astype(float) for word in TEXTS)
        return (left, right), "characters"
    if "left_length" not in columns:
        return (None, None), ""
    numbers = []
    for word in LENGTHS:
        cells = table.column(columns[word]).to_pandas().str.strip()
        number = np.array(pd.to_numeric(cells, errors="coerce"), dtype=float, copy=True)
        wrong = (cells != "").to_numpy(dtype=bool) & ~((number >= 0) & np.isfinite(number))
        if (row := _first(wrong)) is not None:
            raise fail(row, f"has “{cells.iloc[row]}” under “{word}”. Use a number, 0 or more, or leave it empty.")
        numbers.append(number)
    return (numbers[0], numbers[1]), "as given"
