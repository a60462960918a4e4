"""What checks found, as people read it: after a blind verdict, and as a table by Responder."""

from collections.abc import Sequence

import altair as alt
import pandas as pd
import streamlit as st

from db.models import Assertion
from eval.after_verdict import AfterVerdict
from generation.asserting import Share
from generation.assertions import Finding, check
from ui.charts import GREY


def failed_checks(told: AfterVerdict) -> tuple[list[str], list[str]]:
    """Name and finding of each check that failed, left and right.

    Each is done again on the texts that the reviewer saw, so that nothing is told that they could not see. A check that
    comes out otherwise there, on either side, is not told of both: a hidden signature would explain it.
    """
    view = told.view
    sides: tuple[list[str], list[str]] = ([], [])
    for one in told.checks:
        found: list[Finding | None] = [
            check(one.claim, one.value, text=text, prompt=view.prompt, context=view.context)
            for text in (view.left, view.right)
        ]
        if [finding.passed for finding in found if finding] != [one.left, one.right]:
            continue
        for side, finding in zip(sides, found, strict=True):
            if finding is not None and not finding.passed:
                side.append(f"{one.name}: {finding.detail}" if finding.detail else one.name)
    return sides


def told_in_words(told: AfterVerdict) -> str:
    """The failed checks of both sides as a sentence or two; empty where nothing was checked."""
    if not told.checks:
        return ""
    parts = []
    for side, failed in zip(("Left", "Right"), failed_checks(told), strict=True):
        if failed:
            count = f"{len(failed)} check{'s' if len(failed) > 1 else ''} failed"
            parts.append(f"{side}: {count} ({'; '.join(failed)}).")
        else:
            parts.append(f"{side}: nothing found.")
    return " ".join(parts)


def share_table(assertions: Sequence[Assertion], shares: Sequence[Share]) -> None:
    """Responders down, checks across; the less passed, the redder, and each cell says of how many."""
    names = {one.id: one.name for one in assertions}
    frame = pd.DataFrame(
        [
            {
                "Responder": one.responder,
                "Check": names[one.assertion_id],
                "share": one.share,
                "Passed": f"{one.passed:,} of {one.checked:,}",
                "percent": f"{int(one.share * 100)} %",
            }
            for one in shares
        ]
    )
    whole = alt.Chart(frame).encode(
        x=alt.X(
            "Check:N",
            sort=list(names.values()),
            title=None,
            axis=alt.Axis(orient="top", labelAngle=0, labelLimit=180, domain=False, ticks=False),
        ),
        y=alt.Y("Responder:N", sort=None, title=None, axis=alt.Axis(labelLimit=260, domain=False, ticks=False)),
        tooltip=["Responder", "Check", "Passed"],
    )
    cells = whole.mark_rect(cornerRadius=4, stroke=GREY, strokeOpacity=0.3).encode(
        color=alt.Color(
            "share:Q", scale=alt.Scale(domain=[0, 0.5, 1], range=["#e7a9a3", "#ece5d8", "#a9d1ca"]), legend=None
        )
    )
    percent = whole.mark_text(fontSize=15, fontWeight=600, color="#1f2937", dy=-7).encode(text="percent:N")
    counts = whole.mark_text(fontSize=11, color="#374151", dy=10).encode(text="Passed:N")
    rows = len({one.responder_id for one in shares})
    st.altair_chart((cells + percent + counts).properties(height=46 + 52 * rows), width="stretch")
