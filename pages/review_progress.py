"""How the ranking goes: bars by person and day, what is left, and how far people agree."""

from collections.abc import Sequence
from statistics import median

import altair as alt
import pandas as pd
import streamlit as st

from db.models import Drawn, Role
from db.session import reading, session
from eval.report.pictures import GREEN
from intake.routing import rule_counts
from review.flags import Flagged, open_flags, settle
from review.progress import activity, by_draw, by_responder, consistency, coverage, opinions, opinions_by_criterion
from stats.agreement import agreement, with_others
from texts.escape import escaped
from ui.charts import responder_bars
from ui.frame import page
from ui.pairs import show_prompt
from ui.safe import errors_toasted, plain, show_table
from ui.slots import show_offer

me = page("Progress", Role.MANAGER)
DRAW_WORDS = {Drawn.RANDOM: "Drawn at random", Drawn.UNCERTAIN: "Least certain first"}


def open_pairs() -> Sequence[Flagged]:
    """What somebody flagged and nobody settled."""
    with reading() as s:
        return open_flags(s, by=me.reviewer_id, project_id=me.project_id)


def settle_flag(flag_id: int, discard: bool) -> None:
    """Keep or discard a flagged pair."""
    with errors_toasted(), session() as s:
        settle(s, by=me.reviewer_id, flag_id=flag_id, discard=discard)


with st.spinner("Counting …"), reading() as s:
    done = coverage(s, project_id=me.project_id)
    people = activity(s, project_id=me.project_id)
    said = opinions(s, project_id=me.project_id)
    by_criterion = opinions_by_criterion(s, project_id=me.project_id)
    steady = consistency(s, project_id=me.project_id)
    standings = by_responder(s, project_id=me.project_id)
    draws = by_draw(s, project_id=me.project_id)
    routed = rule_counts(s, project_id=me.project_id)

target = st.number_input(
    "Pairs to rank",
    1,
    max(1, done.comparisons),
    min(100, max(1, done.comparisons)),
    help="About 100 good ones are the least.",
)
left = max(0, int(target) - done.once)
numbers = st.columns(4)
numbers[0].metric("Ranked by people", f"{done.once:,}", help=f"Of {done.comparisons:,} pairs.")
numbers[1].metric("Left for the target", f"{left:,}")
timed = [seconds for one in people if not one.simulated for seconds in one.seconds]
numbers[2].metric("Median seconds a pair", f"{median(timed):.0f}" if timed else "–")
numbers[3].metric("Ranked by two or more", f"{done.twice:,}", help="Only these tell about agreement.")
st.progress(min(1.0, done.once / int(target)), text=f"{min(done.once, int(target))} of {int(target)}")
if done.near_identical:
    st.caption(f"{done.near_identical:,} pairs are never offered, because their replies are nearly the same.")

if routed:
    st.subheader("Routed to people")
    show_table(
        [
            {
                "Why": one.rule.reason,
                "Prompts": one.prompts,
                "With a person's reply": one.answered,
                "Found by": f"answer of {one.classifier}" if one.classifier else "pattern",
            }
            for one in routed
        ]
    )

flagged = open_pairs()
if flagged:
    st.subheader("Flagged pairs")
    for one in flagged:
        with st.container(border=True):
            st.html(f'<div class="pw-text"><b>{escaped(one.reviewer)}</b>: {escaped(one.note)}</div>')
            with st.expander("The pair"):
                show_prompt(one.offer.prompt, one.offer.context, synthetic=one.offer.synthetic)
                show_offer(one.offer)
            keep, away, _ = st.columns([1, 1, 3])
            keep.button("Keep it", key=f"keep_{one.flag_id}", on_click=settle_flag, args=(one.flag_id, False))
            away.button("Discard it", key=f"discard_{one.flag_id}", on_click=settle_flag, args=(one.flag_id, True))

if not people:
    st.info("Nobody has ranked anything yet. Pairs wait on the Compare page.")
    st.stop()

st.subheader("By person and day")
days = [
    {"Day": day.isoformat(), "Person": one.reviewer, "Pairs": count}
    for one in people
    for day, count in one.by_day.items()
]
if days:
    chart = (
        alt.Chart(pd.DataFrame(days))
        .mark_bar()
        .encode(
            x=alt.X("Day:O", title=None, axis=alt.Axis(labelAngle=0)),
            y=alt.Y("Pairs:Q", axis=alt.Axis(tickMinStep=1)),
            color=alt.Color("Person:N", title=None, scale=alt.Scale(scheme="tableau10")),
            tooltip=["Day", "Person", "Pairs"],
        )
    )
    st.altair_chart(chart.properties(height=220), width="stretch")


def share(value: float | None) -> str:
    """A share in per cent, or a dash."""
    return "–" if value is None else f"{value:.0%}"


def checks(name: str) -> dict[str, str]:
    """How consistent somebody is, where the project looks for it."""
    columns = {}
    if any(one.repeats for one in steady.values()):
        mine = steady.get(name)
        columns["Same twice"] = f"{mine.repeated_alike} of {mine.repeats}" if mine and mine.repeats else "–"
    if any(one.gold for one in steady.values()):
        mine = steady.get(name)
        columns["Gold right"] = f"{mine.gold_right} of {mine.gold}" if mine and mine.gold else "–"
    return columns


agreeing = with_others(said)
show_table(
    [
        {
            "Person": one.reviewer,
            "Ranked": one.ranked,
            "Imported": one.imported,
            "Corrected": one.corrections,
            "Seconds": "–" if one.median_seconds is None else f"{one.median_seconds:.0f}",
            "Left": share(one.left_share),
            "Ties": share(one.tie_share),
            "Agrees": share(agreeing[one.reviewer].raw) if one.reviewer in agreeing else "–",
        }
        | checks(one.reviewer)
        for one in people
    ]
)
st.caption(
    "“Seconds”: the median for a pair. “Left”: how often the left was better; far from 50 % hints at a habit. "
    "“Agrees”: with others, on pairs that somebody else ranked too."
)

if steady:
    st.caption("“Same twice”: hidden second looks, sides swapped. “Gold right”: pairs whose answer a manager gave.")
if standings:
    st.subheader("By responder")
    responder_bars(standings)
if len(draws) > 1:
    st.caption(
        plain("; ".join(f"{DRAW_WORDS[one.drawn]}: {one.decided} of {one.ranked} decided" for one in draws))
        + ". Only random pairs say how good a responder is."
    )

st.subheader("Agreement between people")
whole = agreement(said)
st.write(whole.sentence)
parts = [("Which is better", whole), *((name, agreement(some)) for name, some in by_criterion.items())]
drawn = [
    {"What": name, "alpha": part.alpha, "low": part.low, "high": part.high}
    for name, part in parts
    if part.alpha is not None
]
if drawn:
    base = alt.Chart(pd.DataFrame(drawn))
    scale = alt.Scale(domain=[min(0.0, *(float(d["low"] or 0) for d in drawn)), 1])
    rule = base.mark_rule(strokeWidth=5, color=GREEN, opacity=0.5).encode(
        x=alt.X("low:Q", scale=scale, title="Krippendorff's alpha: 0 is chance, 1 full agreement"),
        x2="high:Q",
        y=alt.Y("What:N", sort=None, title=None),
        tooltip=["What", *(alt.Tooltip(f"{c}:Q", format=".2f") for c in ("alpha", "low", "high"))],
    )
    point = base.mark_point(filled=True, size=160, color=GREEN, opacity=1).encode(
        x=alt.X("alpha:Q", scale=scale), y=alt.Y("What:N", sort=None, title=None)
    )
    st.altair_chart((rule + point).properties(height=60 + 46 * len(drawn)), width="stretch")
st.caption("Simulated reviewers are in the table and in no figure of agreement.")
