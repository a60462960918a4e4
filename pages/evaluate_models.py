"""Set up an Evaluation, close it, read its win rates."""

import secrets
from dataclasses import asdict

import pandas as pd
import streamlit as st

from db.catalog import Judged, evaluations
from db.models import ResponderKind, Role
from db.session import reading, session
from eval.contestants import readiness, routed_held_out
from eval.evaluations import close_evaluation, create_evaluation
from eval.results import Results, results
from ui.charts import outcome_bars, win_rates
from ui.export import csv_bytes
from ui.frame import page
from ui.safe import errors_shown, escaped, plain

me = page("Evaluate", Role.MANAGER, Role.REVIEWER)
manager = me.has(Role.MANAGER)


def show_results(found: Results) -> None:
    """A sentence, a picture, the numbers, the raw verdicts."""
    for simulated in sorted({c.simulated_judges for c in found.contrasts}):
        some = [c for c in found.contrasts if c.simulated_judges is simulated]
        mark = '<span class="pw-simulated">simulated reviewer, not people</span>' if simulated else ""
        head = some[0]
        rate = f"{head.rate.rate:.0%} [{head.rate.low:.0%} to {head.rate.high:.0%}]"
        st.html(
            f'<div class="pw-sentence">{escaped(found.candidate)} against {escaped(head.baseline)}: '
            f"win rate {rate}, n = {head.rate.n}.{mark}</div><div>{escaped(head.rate.sentence)}</div>"
        )
        win_rates(some)
        outcome_bars(some)
        rows = [
            {
                "Against": c.baseline,
                "Win rate": f"{c.rate.rate:.1%}",
                "95 % interval": f"{c.rate.low:.1%} to {c.rate.high:.1%}",
                "Wins": c.rate.wins,
                "Ties": c.rate.ties,
                "of them both bad": c.rate.both_bad,
                "Losses": c.rate.losses,
                "n": c.rate.n,
                "of them same text": c.identical,
                "Prompts": c.rate.prompts,
                "Left preferred": f"{c.left} of {c.decided}",
            }
            for c in some
        ]
        st.dataframe(pd.DataFrame(rows), hide_index=True, width="stretch")
    st.caption(
        "Win rate = (wins + ties / 2) / n; both bad counts as a tie. The interval treats each prompt as one draw. "
        f"Protocol {found.evaluation.protocol_sha256[:12]}, fixed before the first verdict."
    )
    if not manager and any(entry.evaluation.closed_at is None for entry in known):
        st.caption("The texts with their authors can be had once no evaluation is open: others may use the same ones.")
        return
    table = pd.DataFrame([asdict(row) for row in found.judgments])
    st.download_button(
        "Every verdict as CSV",
        csv_bytes(table),
        file_name=f"evaluation-{found.evaluation.id}{'-simulated' if table['simulated'].any() else ''}.csv",
        mime="text/csv",
        icon=":material/download:",
    )


def show_evaluation(entry: Judged) -> None:
    """One evaluation: how far the judging is, or what it found."""
    evaluation = entry.evaluation
    with st.container(border=True):
        if evaluation.closed_at is not None:
            st.subheader(plain(evaluation.name))
            with reading() as s:
                found = results(s, evaluation_id=evaluation.id)
            show_results(found)
            return
        st.subheader(plain(evaluation.name) if manager else f"Evaluation {evaluation.id}")
        st.progress(
            entry.judged / entry.pairings if entry.pairings else 1.0,
            text=f"Open: people judged {entry.judged} of {entry.pairings} pairs, {entry.verdicts} verdicts"
            + (f", and {entry.simulated} simulated" if entry.simulated else "")
            + ". Names and results stay hidden until it is closed.",
        )
        if manager and st.button("Close it and read the result", key=f"close_{evaluation.id}", icon=":material/lock:"):
            with errors_shown():
                with session() as s:
                    close_evaluation(s, by=me.reviewer_id, evaluation_id=evaluation.id)
                st.rerun()


def new_evaluation() -> None:
    """Candidate, baselines, name."""
    with reading() as s:
        ready = readiness(s, project_id=me.project_id)
        routed = routed_held_out(s, project_id=me.project_id)
    if routed:
        st.caption(f"Held-out prompts that people answer and no model does: {routed}. No evaluation has them.")
    complete = [entry.responder for entry in ready if entry.complete]
    for entry in ready:
        if not entry.complete and entry.responder.kind is not ResponderKind.HUMAN:
            st.caption(
                plain(
                    f"{entry.responder.label} has answered {entry.answered} of {entry.held_out} held-out prompts; "
                    "generate the rest to let it take part."
                )
            )
    machines = [responder for responder in complete if responder.kind is not ResponderKind.HUMAN]
    if not machines or len(complete) < 2:
        st.info("Two responders with a response to every held-out prompt are needed, one of them a model.")
        return
    with st.form("evaluation"):
        candidate = st.selectbox(
            "Candidate",
            machines,
            index=len(machines) - 1,
            format_func=lambda r: r.label,
            help="What you hope is better.",
        )
        baselines = st.multiselect(
            "Against",
            complete,
            default=[r for r in complete if r.kind is ResponderKind.HUMAN],
            format_func=lambda r: r.label,
        )
        shared = st.checkbox(
            "Where several people are chosen, one person's reply for each prompt, each person's equally often",
            value=True,
        )
        name = st.text_input("Name", placeholder="First model against our people", max_chars=120)
        if st.form_submit_button("Fix it and open the judging", type="primary") and candidate:
            with errors_shown():
                with session() as s:
                    create_evaluation(
                        s,
                        by=me.reviewer_id,
                        project_id=me.project_id,
                        name=name,
                        candidate_id=candidate.id,
                        baseline_ids=[r.id for r in baselines if r.id != candidate.id],
                        seed=secrets.randbelow(2**31),
                        one_person_a_prompt=shared,
                    )
                st.rerun()


with reading() as s:
    known = evaluations(s, project_id=me.project_id)
if manager:
    with st.expander("A new blind evaluation", expanded=not known, icon=":material/add:"):
        new_evaluation()
elif not known:
    st.info("There is no evaluation yet. A manager sets one up.")
for entry in known:
    show_evaluation(entry)
