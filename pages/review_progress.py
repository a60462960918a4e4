"""How the ranking goes: bars by person and day, what is left, and how far people agree."""

from functools import partial
from statistics import median

import altair as alt
import pandas as pd
import streamlit as st

from db.models import Role, SamplingReason
from db.session import reading
from intake.routing import count_by_rule
from review.flags import list_open_flags, settle_flag
from review.progress import (
    list_opinions,
    opinions_by_criterion,
    ranking_coverage,
    responder_records,
    reviewer_activity,
    reviewer_consistency,
    sampling_shares,
)
from stats.agreement import agreement, agreement_by_reviewer
from texts.escape import escape_html
from ui.charts import interval_dots, responder_bars
from ui.frame import page
from ui.pairs import show_prompt
from ui.safe import act, plain, show_table
from ui.slots import show_offer

me = page("Progress", Role.MANAGER)
SAMPLING_WORDS = {SamplingReason.RANDOM: "Drawn at random", SamplingReason.UNCERTAIN: "Least certain first"}


with st.spinner("Counting …"), reading() as s:
    done = ranking_coverage(s, project_id=me.project_id)
    people = reviewer_activity(s, project_id=me.project_id)
    opinions = list_opinions(s, project_id=me.project_id)
    by_criterion = opinions_by_criterion(s, project_id=me.project_id)
    consistency = reviewer_consistency(s, project_id=me.project_id)
    records = responder_records(s, project_id=me.project_id)
    shares = sampling_shares(s, project_id=me.project_id)
    rule_counts = count_by_rule(s, project_id=me.project_id)
    flags = list_open_flags(s, **me.ids)

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
timed = [seconds for person in people if not person.simulated for seconds in person.seconds]
numbers[2].metric("Median seconds a pair", f"{median(timed):.0f}" if timed else "–")
numbers[3].metric("Ranked by two or more", f"{done.twice:,}", help="Only these tell about agreement.")
st.progress(min(1.0, done.once / int(target)), text=f"{min(done.once, int(target))} of {int(target)}")
if done.near_identical:
    st.caption(f"{done.near_identical:,} pairs are never offered, because their replies are nearly the same.")

if rule_counts:
    st.subheader("Routed to people")
    show_table(
        [
            {
                "Why": count.rule.reason,
                "Prompts": count.prompts,
                "With a person's reply": count.answered,
                "Found by": f"answer of {count.classifier}" if count.classifier else "pattern",
            }
            for count in rule_counts
        ]
    )

if flags:
    st.subheader("Flagged pairs")
for flag in flags:
    with st.container(border=True):
        st.html(f'<div class="pw-text"><b>{escape_html(flag.reviewer)}</b>: {escape_html(flag.note)}</div>')
        with st.expander("The pair"):
            show_prompt(flag.offer.prompt, flag.offer.context, synthetic=flag.offer.synthetic)
            show_offer(flag.offer)
        keep, away, _ = st.columns([1, 1, 3])
        for column, label, discard in ((keep, "Keep it", False), (away, "Discard it", True)):
            settle = partial(act, settle_flag, by=me.reviewer_id, flag_id=flag.flag_id, discard=discard)
            column.button(label, key=f"{'discard' if discard else 'keep'}_{flag.flag_id}", on_click=settle)

if not people:
    st.info("Nobody has ranked anything yet. Pairs wait on the Compare page.")
    st.stop()

st.subheader("By person and day")
days = [
    {"Day": day.isoformat(), "Person": person.reviewer, "Pairs": count}
    for person in people
    for day, count in person.by_day.items()
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


def percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def consistency_columns(name: str) -> dict[str, str]:
    """How consistent a person is, where the project looks for it."""
    person = consistency.get(name)
    columns = {}
    if any(record.repeats for record in consistency.values()):
        columns["Same twice"] = f"{person.repeated_alike} of {person.repeats}" if person and person.repeats else "–"
    if any(record.gold for record in consistency.values()):
        columns["Gold right"] = f"{person.gold_right} of {person.gold}" if person and person.gold else "–"
    return columns


agreements = agreement_by_reviewer(opinions)
show_table(
    [
        {
            "Person": person.reviewer,
            "Ranked": person.ranked,
            "Imported": person.imported,
            "Corrected": person.corrections,
            "Seconds": "–" if person.median_seconds is None else f"{person.median_seconds:.0f}",
            "Left": percent(person.left_share),
            "Ties": percent(person.tie_share),
            "Agrees": percent(agreements[person.reviewer].raw) if person.reviewer in agreements else "–",
        }
        | consistency_columns(person.reviewer)
        for person in people
    ]
)
st.caption(
    "“Seconds”: the median for a pair. “Left”: how often the left was better; far from 50 % hints at a habit. "
    "“Agrees”: with others, on pairs that somebody else ranked too."
)

if consistency:
    st.caption("“Same twice”: hidden second looks, sides swapped. “Gold right”: pairs whose answer a manager gave.")
if records:
    st.subheader("By responder")
    responder_bars(records)
if len(shares) > 1:
    words = [f"{SAMPLING_WORDS[share.sampling_reason]}: {share.decided} of {share.ranked} decided" for share in shares]
    st.caption(plain("; ".join(words)) + ". Only random pairs say how good a responder is.")

st.subheader("Agreement between people")
whole = agreement(opinions)
st.write(whole.sentence)
parts = {"Which is better": whole} | {name: agreement(answers) for name, answers in by_criterion.items()}
rows = [
    {"What": name, "alpha": part.alpha, "low": part.low, "high": part.high}
    for name, part in parts.items()
    if part.alpha is not None
]
if rows:
    base = alt.Chart(pd.DataFrame(rows)).encode(y=alt.Y("What:N", sort=None, title=None))
    title = "Krippendorff's alpha: 0 is chance, 1 full agreement"
    domain = (min(0.0, *(float(row["low"] or 0) for row in rows)), 1)
    tips = ["What", *(alt.Tooltip(f"{name}:Q", format=".2f") for name in ("alpha", "low", "high"))]
    bars, dots = interval_dots(base, "alpha", title=title, domain=domain, tooltip=tips)
    st.altair_chart((bars + dots).properties(height=60 + 46 * len(rows)), width="stretch")
st.caption("Simulated reviewers are in the table and in no figure of agreement.")
