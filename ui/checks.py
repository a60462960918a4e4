"""What checks found, as people read it: after a blind verdict, and as a table by Responder."""

from collections import defaultdict
from collections.abc import Sequence

import streamlit as st

from db.models import Assertion
from eval.after_verdict import JudgedPairChecks
from generation.asserting import PassRate
from generation.assertions import Finding, check
from stats.estimates import count_of
from texts.escape import escape_html


def _failed_checks(judged: JudgedPairChecks) -> tuple[list[str], list[str]]:
    """Name and finding of each check that failed, left and right.

    Each is done again on the texts that the reviewer saw, so that nothing is told that they could not see. A check that
    comes out otherwise there, on either side, is not told of both: a hidden signature would explain it.
    """
    view = judged.view
    sides: tuple[list[str], list[str]] = ([], [])
    for checked in judged.checks:
        findings: list[Finding | None] = [
            check(checked.claim, checked.value, text=text, prompt=view.prompt, context=view.context)
            for text in (view.left, view.right)
        ]
        if [finding.passed for finding in findings if finding] != [checked.left, checked.right]:
            continue
        for side, finding in zip(sides, findings, strict=True):
            if finding is not None and not finding.passed:
                side.append(f"{checked.name}: {finding.detail}" if finding.detail else checked.name)
    return sides


def describe_failed_checks(judged: JudgedPairChecks) -> str:
    """The failed checks of both sides as a sentence or two; empty where nothing was checked."""
    if not judged.checks:
        return ""
    parts = []
    for side, failed in zip(("Left", "Right"), _failed_checks(judged), strict=True):
        if failed:
            parts.append(f"{side}: {count_of(len(failed), 'check')} failed ({'; '.join(failed)}).")
        else:
            parts.append(f"{side}: nothing found.")
    return " ".join(parts)


def show_pass_rates(assertions: Sequence[Assertion], pass_rates: Sequence[PassRate]) -> None:
    """Responders down, checks across; each cell a bar as long as the share that passed, redder the shorter it is."""
    by_responder: dict[int, dict[int, PassRate]] = defaultdict(dict)
    for pass_rate in pass_rates:
        by_responder[pass_rate.responder_id][pass_rate.assertion_id] = pass_rate
    head = "".join(f"<th>{escape_html(assertion.name)}</th>" for assertion in assertions)
    body = "".join(
        f"<tr><th>{escape_html(next(iter(row.values())).responder)}</th>"
        + "".join(f"<td>{_cell(row.get(assertion.id))}</td>" for assertion in assertions)
        + "</tr>"
        for row in by_responder.values()
    )
    st.html(f'<div class="pw-shares"><table><thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table></div>')


def _cell(pass_rate: PassRate | None) -> str:
    if pass_rate is None:
        return "–"
    percent = int(100 * pass_rate.rate)  # rounded down: 100 % is said of all only
    counts = f"{pass_rate.passed:,} of {pass_rate.checked:,}"
    return f'<div class="pw-share" style="--share: {percent}%"><b>{percent} %</b> <span>{counts}</span></div>'
