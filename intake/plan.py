"""What an import would do, to look at before anything is saved: prompts, sides, picks, and problems by row."""

import hashlib
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import Prompt, Responder, ResponderKind, Response
from intake.mapping import ColumnMapping, HeldOut, check_mapping, picked_column, says_held_out
from intake.near_duplicates import clusters
from intake.reading import Problem, Table, TableRow
from llm.template import TURN_MARK
from stats.verdicts import Verdict


@dataclass(frozen=True)
class PlannedPrompt:
    """One prompt of the file as it would be saved."""

    row: int
    text: str
    context: str | None
    topic: str | None
    extra: dict[str, str]
    content_hash: str
    cluster: str
    held_out: bool
    already_there: bool
    """The project has this prompt; only replies that are new would be added to it."""
    replies: dict[str, str]
    """Responder name → text, without empty cells."""
    pick: str | Verdict | None
    """Responder name of the better reply, or a verdict for none of them."""
    reason: str | None


@dataclass(frozen=True)
class ImportPlan:
    """What an import would do."""

    prompts: tuple[PlannedPrompt, ...]
    problems: tuple[Problem, ...]

    @property
    def new(self) -> int:
        """Prompts that the project does not have yet."""
        return sum(not prompt.already_there for prompt in self.prompts)

    @property
    def held_out(self) -> int:
        """New prompts kept for evaluation."""
        return sum(prompt.held_out and not prompt.already_there for prompt in self.prompts)

    @property
    def skipped(self) -> int:
        """Rows that would not be imported."""
        return len({problem.row for problem in self.problems if problem.skipped})


def content_hash(text: str, context: str | None) -> str:
    """What makes two prompts the same: text and context, whatever the white space at line ends and around."""

    def clean(value: str) -> str:
        return "\n".join(line.rstrip() for line in value.strip().splitlines())

    return hashlib.sha256(f"{clean(text)}\0{clean(context or '')}".encode()).hexdigest()


def plan_import(s: Session, *, project_id: int, table: Table, mapping: ColumnMapping) -> ImportPlan:
    """What importing the table would add to the project; reads only.

    Raises `BadFile` when the mapping does not fit the columns.
    """
    check_mapping(mapping, table.columns)
    problems = list(table.problems)
    rows: list[_Candidate] = []
    first_row: dict[str, int] = {}
    for row in table.rows:
        text, context = _cell(row, mapping.prompt), _cell(row, mapping.context) or None
        mark = content_hash(text, context)
        if not text:
            problems.append(
                Problem(row.number, f"has nothing in “{mapping.prompt}”. Fill it in, or leave the row out.")
            )
        elif (turn := _turn_mark(row, mapping)) is not None:
            problems.append(
                Problem(
                    row.number,
                    f"holds “{turn}”, which chat models read as the end of a turn: the text after it would pass for "
                    "somebody else's. Take it out.",
                )
            )
        elif mark in first_row:
            problems.append(Problem(row.number, f"repeats the prompt of row {first_row[mark]}. One is enough."))
        else:
            first_row[mark] = row.number
            rows.append(_Candidate(row, text, context, mark))
    existing = s.execute(
        select(Prompt.text, Prompt.content_hash, Prompt.cluster, Prompt.held_out)
        .where(Prompt.project_id == project_id)
        .order_by(Prompt.id)
    ).all()
    known = {mark: (cluster, held_out) for _, mark, cluster, held_out in existing}
    given = _given_replies(s, project_id)
    sides, notes = _sides(rows, [(text, cluster, held) for text, _, cluster, held in existing], known, mapping)
    problems += notes
    used = mapping.columns()
    prompts = []
    for row, text, context, mark in rows:
        if mark not in sides:
            continue  # named among the problems
        cluster, held_out = sides[mark]
        pick, pick_problem = _pick(row, mapping, held_out)
        problems += [pick_problem] if pick_problem else []
        replies = {
            " ".join(name.split()): row.values[column]
            for column, name in mapping.responses.items()
            if _cell(row, column)
        }
        for name, reply in replies.items():
            if (mark, name) in given and reply not in given[mark, name]:
                note = f"has another reply by “{name}” here already. Both are kept; evaluations use the first."
                problems.append(Problem(row.number, note, skipped=False))
        prompts.append(
            PlannedPrompt(
                row=row.number,
                text=text,
                context=context,
                topic=_cell(row, mapping.topic) or None,
                extra={k: v for k, v in row.values.items() if k not in used and v.strip()},
                content_hash=mark,
                cluster=cluster,
                held_out=held_out,
                already_there=mark in known,
                replies=replies,
                pick=pick,
                reason=_cell(row, mapping.reason) or None,
            )
        )
    return ImportPlan(tuple(prompts), tuple(sorted(problems, key=lambda p: (p.row, not p.skipped))))


class _Candidate(NamedTuple):
    row: TableRow
    text: str
    context: str | None
    mark: str
    """Its `content_hash`."""


def _cell(row: TableRow, column: str | None) -> str:
    return row.values.get(column, "").strip() if column else ""


def _given_replies(s: Session, project_id: int) -> dict[tuple[str, str], set[str]]:
    """Texts that the project has, by prompt hash and human Responder's name."""
    rows = s.execute(
        select(Prompt.content_hash, Responder.name, Response.text)
        .join(Response, Response.prompt_id == Prompt.id)
        .join(Responder, Responder.id == Response.responder_id)
        .where(Prompt.project_id == project_id, Responder.kind == ResponderKind.HUMAN)
    )
    found: dict[tuple[str, str], set[str]] = {}
    for mark, name, text in rows:
        found.setdefault((mark, name), set()).add(text)
    return found


def _turn_mark(row: TableRow, mapping: ColumnMapping) -> str | None:
    """The first piece of text that a chat template uses to part the turns of a conversation, if there is one."""
    columns = (mapping.prompt, mapping.context, *mapping.responses)
    marks = (TURN_MARK.search(_cell(row, column)) for column in columns)
    return next((mark.group() for mark in marks if mark), None)


def _sides(
    rows: Sequence[_Candidate],
    existing: Sequence[tuple[str, str, bool]],
    known: dict[str, tuple[str, bool]],
    mapping: ColumnMapping,
) -> tuple[dict[str, tuple[str, bool]], list[Problem]]:
    """For each prompt's hash its cluster and whether it is held out; near-duplicates always on one side."""
    notes: list[Problem] = []
    old = len(existing)
    labels = clusters([text for text, _, _ in existing] + [candidate.text for candidate in rows])
    groups: dict[int, list[int]] = {}
    for index, label in enumerate(labels):
        groups.setdefault(label, []).append(index)
    if mapping.held_out is HeldOut.SHARE:
        wanted = _draw_share(rows, [labels[old + i] for i in range(len(rows))], mapping)
    else:
        wanted = [_wants_held_out(candidate.row, mapping) for candidate in rows]
    result: dict[str, tuple[str, bool]] = {}
    for members in groups.values():
        before = [existing[i] for i in members if i < old]
        new = [i - old for i in members if i >= old]
        if not new:
            continue
        if len({held for _, _, held in before}) == 2:
            # on either side they would carry what is held out into training
            left = "nearly repeats prompts of both sides, training and held-out, so it was left out."
            notes += [Problem(rows[i].row.number, left) for i in new if rows[i].mark not in known]
            result |= {rows[i].mark: known[rows[i].mark] for i in new if rows[i].mark in known}
            continue
        if before:
            # a prompt already trained on cannot become unseen; so the training side wins
            held_out = all(held for _, _, held in before)
            cluster = before[0][1]
        else:
            held_out = all(wanted[i] for i in new)
            cluster = rows[new[0]].mark[:16]
        for i in new:
            row, _, _, mark = rows[i]
            result[mark] = known.get(mark, (cluster, held_out))
            if mark not in known and wanted[i] != held_out:
                side = "held-out" if held_out else "training"
                notes.append(
                    Problem(
                        row.number, f"nearly repeats a {side} prompt, so it went to the {side} side.", skipped=False
                    )
                )
    return result, notes


def _wants_held_out(row: TableRow, mapping: ColumnMapping) -> bool:
    if mapping.held_out is HeldOut.COLUMN:
        return says_held_out(_cell(row, mapping.held_out_column))
    return mapping.held_out is HeldOut.ALL


def _draw_share(rows: Sequence[_Candidate], labels: Sequence[int], mapping: ColumnMapping) -> list[bool]:
    order = sorted(set(labels), key=lambda label: rows[labels.index(label)].mark)
    random.Random(mapping.seed).shuffle(order)
    sizes = Counter(labels)
    target, taken, drawn = round(len(rows) * mapping.held_out_share), 0, set()
    for label in order:
        if taken + sizes[label] <= target:
            drawn.add(label)
            taken += sizes[label]
    return [label in drawn for label in labels]


def _pick(row: TableRow, mapping: ColumnMapping, held_out: bool) -> tuple[str | Verdict | None, Problem | None]:
    cell = _cell(row, mapping.picked)
    if not cell:
        return None, None
    picked = None if held_out else picked_column(cell, mapping)
    if held_out:
        why = "is held out, so its pick was left aside: held-out prompts are only judged blind."
    elif picked is None:
        choices = ", ".join([*mapping.responses, "tie", "both bad"])
        why = f"has the pick “{cell[:40]}”, which is none of: {choices}. The pick was left out."
    elif isinstance(picked, Verdict):
        return picked, None
    elif _cell(row, picked):
        return " ".join(mapping.responses[picked].split()), None
    else:
        why = f"picks “{picked}”, but that reply is empty. The pick was left out."
    return None, Problem(row.number, why, skipped=False)
