"""Bytes of a CSV or JSONL file into rows of text, with every problem named by its row. Pure; nothing is saved."""

import codecs
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from errors import BadFile

FORMULA = re.compile(r"^\s*[=@]\s*\w|^\s*[+\-]\s*\w+\(")
"""What a spreadsheet would run: such a cell is kept as text here and escaped in every CSV that leaves."""

MOST_COLUMNS, MOST_ROWS = 1_000, 100_000
TOO_MANY_ROWS = f"{{}} has more than {MOST_ROWS:,} rows. Import it in parts."


@dataclass(frozen=True)
class RowProblem:
    """Something to know about one row."""

    row: int
    """Data row, counting from 1; for JSONL the line."""
    message: str
    skipped: bool = True
    """False where the row is imported all the same."""


@dataclass(frozen=True)
class TableRow:
    """One data row: column name to text."""

    number: int
    values: dict[str, str]


@dataclass(frozen=True)
class Table:
    """A file as read."""

    file_name: str
    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]
    problems: tuple[RowProblem, ...]


def read_table(content: bytes, *, file_name: str, max_cell: int) -> Table:
    """Read a CSV or JSONL file.

    Args:
        content: the file's bytes, UTF-8 with or without a byte order mark.
        file_name: decides the format by its ending: .jsonl, .ndjson, .json for JSON lines; .csv, .tsv, .txt for CSV.
        max_cell: longest cell accepted, in characters.

    Raises `BadFile` when the file as a whole cannot be used; problems of single rows are in the result.
    """
    text = _decode(content)
    if not text.strip():
        raise BadFile(f"{file_name} is empty. Choose a file with a header line and at least one row.")
    ending = file_name.rsplit(".", 1)[-1].lower()
    if ending in ("jsonl", "ndjson", "json"):
        columns, rows, problems = _read_jsonl(text)
    elif ending in ("csv", "tsv", "txt"):
        columns, rows, problems = _read_csv(text, file_name)
    else:
        raise BadFile(f"{file_name} is neither CSV nor JSONL. Save it as one of the two and give it that ending.")
    if not columns:
        first = f"Line {problems[0].row} {problems[0].message}" if problems else "None has a column with a name."
        raise BadFile(f"No line of {file_name} can be used. {first}")
    if len(columns) > MOST_COLUMNS:
        raise BadFile(
            f"{file_name} has {len(columns):,} columns; at most {MOST_COLUMNS:,} can be read. Leave out those that say "
            "nothing of a prompt or its replies."
        )
    kept = []
    for row in rows:
        own = list(_find_cell_problems(row, max_cell))
        problems += own
        if not any(problem.skipped for problem in own):
            kept.append(row)
    if not kept and not problems:
        raise BadFile(f"{file_name} has a header but no rows. Choose a file with at least one row.")
    return Table(file_name, tuple(columns), tuple(kept), tuple(problems))


def _decode(content: bytes) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise BadFile("This file is UTF-16, not UTF-8. Save it again as “CSV UTF-8” (Excel) or with encoding UTF-8.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = content[: problem.start].count(b"\n") + 1
        raise BadFile(
            f"This file is not UTF-8: line {line} has the byte 0x{content[problem.start]:02X}. "
            "Save it again as “CSV UTF-8” (Excel) or with encoding UTF-8 (any editor)."
        ) from None
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise BadFile(f"Line {line} has a NUL character, so this is not a text file. Export it again as CSV or JSONL.")
    return text


def _read_csv(text: str, file_name: str) -> tuple[list[str], list[TableRow], list[RowProblem]]:
    csv.field_size_limit(2**31 - 1)  # the limit on cells is ours, and names the row
    header = text.lstrip("\n").split("\n", 1)[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        lines = list(islice((cells for cells in reader if any(cell.strip() for cell in cells)), MOST_ROWS + 2))
    except csv.Error as problem:
        raise BadFile(
            f"{file_name} breaks off near line {reader.line_num}: {problem}. Look for a double quote that is never "
            "closed; inside a quoted cell a double quote is written twice."
        ) from None
    if len(lines) > MOST_ROWS + 1:
        raise BadFile(TOO_MANY_ROWS.format(file_name))
    if not lines:
        raise BadFile(f"{file_name} has no header. Name every column in the first line.")
    columns = [cell.strip() for cell in lines[0]]
    _check_header(columns, file_name)
    rows: list[TableRow] = []
    problems: list[RowProblem] = []
    for number, cells in enumerate(lines[1:], start=1):
        if len(cells) == len(columns):
            rows.append(TableRow(number, dict(zip(columns, cells, strict=True))))
        else:
            why = f"has {len(cells)} cells but the header has {len(columns)}. Put text that holds a comma or a "
            problems.append(RowProblem(number, why + "line break between double quotes."))
    return columns, rows, problems


def _check_header(columns: list[str], file_name: str) -> None:
    if "" in columns:
        raise BadFile(f"{file_name}: column {columns.index('') + 1} has no name. Name every column in the first line.")
    name, count = Counter(columns).most_common(1)[0]
    if count > 1:
        raise BadFile(f"{file_name}: two columns are named “{name}”. Give every column its own name.")


def _read_jsonl(text: str) -> tuple[list[str], list[TableRow], list[RowProblem]]:
    columns: dict[str, None] = {}
    rows: list[TableRow] = []
    problems: list[RowProblem] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        if len(rows) + len(problems) >= MOST_ROWS:
            raise BadFile(TOO_MANY_ROWS.format("This file"))
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as problem:  # a ValueError too: a number of thousands of digits
            where = f" at character {problem.colno}" if isinstance(problem, json.JSONDecodeError) else ""
            problems.append(RowProblem(number, f"is not valid JSON{where}. Mend the line, or leave it out."))
            continue
        if not isinstance(value, dict):
            problems.append(RowProblem(number, 'is not a JSON object. Every line must look like {"email": "…"}.'))
            continue
        values = {str(name): _as_text(cell) for name, cell in value.items()}
        columns.update(dict.fromkeys(values))
        rows.append(TableRow(number, values))
    return list(columns), rows, problems


def _as_text(cell: Any) -> str:
    if cell is None:
        return ""
    # json.loads lets lone surrogates through; no database stores them
    if isinstance(cell, str):
        return cell.encode("utf-8", "replace").decode("utf-8").replace("\0", "")
    return json.dumps(cell, ensure_ascii=False).encode("utf-8", "replace").decode("utf-8")


def _find_cell_problems(row: TableRow, max_cell: int) -> Iterator[RowProblem]:
    for name, cell in row.values.items():
        if len(cell) > max_cell:
            yield RowProblem(
                row.number,
                f"“{name}” holds {len(cell):,} characters; at most {max_cell:,} are accepted. Shorten it, or raise "
                "PICKWELL_MAX_CELL_KB.",
            )
        elif FORMULA.match(cell):
            yield RowProblem(
                row.number,
                f"“{name}” looks like a spreadsheet formula. It is kept as plain text and never run; check that this "
                "is what was written.",
                skipped=False,
            )
