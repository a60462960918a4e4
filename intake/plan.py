"""What an import would do, to look at before anything is saved: prompts, sides, picks, and problems by row."""

import hashlib
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import Prompt, Responder, ResponderKind, Response
from intake.mapping import ColumnMapping, HeldOutChoice, check_mapping, read_pick, says_held_out
from intake.reading import RowProblem, Table, TableRow
from llm.template import TURN_MARK
from stats.verdicts import Verdict


@dataclass(frozen=True)
class PlannedPrompt:
    """One prompt of the file as it would be saved."""

    prompt: Prompt
    """Not in the database, and without its PromptSet."""
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
    problems: tuple[RowProblem, ...]

    @property
    def new(self) -> int:
        """Prompts that the project does not have yet."""
        return sum(not planned.already_there for planned in self.prompts)

    @property
    def held_out(self) -> int:
        """New prompts kept for evaluation."""
        return sum(planned.prompt.held_out and not planned.already_there for planned in self.prompts)

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
    rows = {row.number: row for row in table.rows}
    used = mapping.columns()
    prompts: dict[str, Prompt] = {}
    for row in table.rows:
        text, context = _cell(row, mapping.prompt), _cell(row, mapping.context) or None
        mark = content_hash(text, context)
        if not text:
            why = f"has nothing in “{mapping.prompt}”. Fill it in, or leave the row out."
        elif turn := _find_turn_mark(row, mapping):
            why = (
                f"holds “{turn}”, which chat models read as the end of a turn: the text after it would pass for "
                "somebody else's. Take it out."
            )
        elif mark in prompts:
            why = f"repeats the prompt of row {prompts[mark].row_number}. One is enough."
        else:
            prompts[mark] = Prompt(
                project_id=project_id,
                row_number=row.number,
                text=text,
                context=context,
                topic=_cell(row, mapping.topic) or None,
                extra={name: value for name, value in row.values.items() if name not in used and value.strip()} or None,
                content_hash=mark,
            )
            continue
        problems.append(RowProblem(row.number, why))
    existing = s.scalars(select(Prompt).where(Prompt.project_id == project_id).order_by(Prompt.id)).all()
    known = {prompt.content_hash for prompt in existing}
    stored_replies = _load_replies(s, project_id)
    column = mapping.held_out_column if mapping.held_out is HeldOutChoice.COLUMN else None
    all_of_them = mapping.held_out is HeldOutChoice.ALL
    wishes = [all_of_them or says_held_out(_cell(rows[prompt.row_number], column)) for prompt in prompts.values()]
    notes = _choose_sides(list(prompts.values()), existing, mapping, wishes)
    problems += notes
    left_out = {note.row for note in notes if note.skipped}
    planned = []
    for mark, prompt in prompts.items():
        row = rows[prompt.row_number]
        if row.number in left_out:
            continue
        pick, pick_problem = _find_pick(row, mapping, prompt.held_out)
        problems += [pick_problem] if pick_problem else []
        replies = {
            " ".join(name.split()): row.values[column]
            for column, name in mapping.responses.items()
            if _cell(row, column)
        }
        for name, reply in replies.items():
            if (mark, name) in stored_replies and reply not in stored_replies[mark, name]:
                note = f"has another reply by “{name}” here already. Both are kept; evaluations use the first."
                problems.append(RowProblem(row.number, note, skipped=False))
        planned.append(PlannedPrompt(prompt, mark in known, replies, pick, _cell(row, mapping.reason) or None))
    return ImportPlan(tuple(planned), tuple(sorted(problems, key=lambda problem: (problem.row, not problem.skipped))))


def _cell(row: TableRow, column: str | None) -> str:
    return row.values.get(column, "").strip() if column else ""


def _load_replies(s: Session, project_id: int) -> dict[tuple[str, str], set[str]]:
    """Texts that the project has, by prompt hash and human Responder's name."""
    rows = s.execute(
        select(Prompt.content_hash, Responder.name, Response.text)
        .join(Response, Response.prompt_id == Prompt.id)
        .join(Response.responder)
        .where(Prompt.project_id == project_id, Responder.kind == ResponderKind.HUMAN)
    )
    texts: dict[tuple[str, str], set[str]] = defaultdict(set)
    for mark, name, text in rows:
        texts[mark, name].add(text)
    return texts


def _find_turn_mark(row: TableRow, mapping: ColumnMapping) -> str | None:
    """The first piece of text that a chat template uses to part the turns of a conversation, if there is one."""
    columns = (mapping.prompt, mapping.context, *mapping.responses)
    marks = (TURN_MARK.search(_cell(row, column)) for column in columns)
    return next((mark.group() for mark in marks if mark), None)


def _choose_sides(
    prompts: Sequence[Prompt], existing: Sequence[Prompt], mapping: ColumnMapping, wishes: Sequence[bool]
) -> list[RowProblem]:
    """Set for each prompt its cluster and whether it is held out; near-duplicates always on one side."""
    from intake.near_duplicates import cluster_labels  # with scipy, which only imports need

    notes: list[RowProblem] = []
    old = len(existing)
    known = {prompt.content_hash: prompt for prompt in existing}
    labels = cluster_labels([prompt.text for prompt in (*existing, *prompts)])
    if mapping.held_out is HeldOutChoice.SHARE:
        wishes = _draw_share(prompts, labels[old:], mapping)
    groups: dict[int, list[int]] = defaultdict(list)
    for index, label in enumerate(labels):
        groups[label].append(index)
    for members in groups.values():
        before = [existing[index] for index in members if index < old]
        new = [(prompts[index - old], wishes[index - old]) for index in members if index >= old]
        both_sides = len({prompt.held_out for prompt in before}) == 2
        for prompt, wish in new:
            if same := known.get(prompt.content_hash):
                prompt.cluster, prompt.held_out = same.cluster, same.held_out
            elif both_sides:
                # on either side it would carry what is held out into training
                why = "nearly repeats prompts of both sides, training and held-out, so it was left out."
                notes.append(RowProblem(prompt.row_number, why))
            else:
                # a prompt already trained on cannot become unseen; so the training side wins
                prompt.held_out = all(other.held_out for other in before) if before else all(wish for _, wish in new)
                prompt.cluster = before[0].cluster if before else new[0][0].content_hash[:16]
                if wish != prompt.held_out:
                    side = "held-out" if prompt.held_out else "training"
                    why = f"nearly repeats a {side} prompt, so it went to the {side} side."
                    notes.append(RowProblem(prompt.row_number, why, skipped=False))
    return notes


def _draw_share(prompts: Sequence[Prompt], labels: Sequence[int], mapping: ColumnMapping) -> list[bool]:
    first = {label: prompt.content_hash for label, prompt in zip(reversed(labels), reversed(prompts), strict=True)}
    order = sorted(first, key=first.__getitem__)
    random.Random(mapping.seed).shuffle(order)
    sizes = Counter(labels)
    target, taken, drawn = round(len(prompts) * mapping.held_out_share), 0, set()
    for label in order:
        if taken + sizes[label] <= target:
            drawn.add(label)
            taken += sizes[label]
    return [label in drawn for label in labels]


def _find_pick(row: TableRow, mapping: ColumnMapping, held_out: bool) -> tuple[str | Verdict | None, RowProblem | None]:
    cell = _cell(row, mapping.picked)
    if not cell:
        return None, None
    picked = None if held_out else read_pick(cell, mapping)
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
    return None, RowProblem(row.number, why, skipped=False)
