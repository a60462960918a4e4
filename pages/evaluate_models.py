"""Set up an Evaluation, close it, read its win rates."""

from dataclasses import asdict

import pandas as pd
import streamlit as st

from db.catalog import Judged, evaluations
from db.models import Role
from db.session import reading
from eval.results import Results, results
from ui.charts import outcome_bars, win_rates
from ui.export import csv_bytes
from ui.frame import page
from ui.new_evaluation import new_evaluation
from ui.open_evaluation import show_open_evaluation
from ui.safe import escaped, plain

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
        if evaluation.closed_at is None:
            show_open_evaluation(entry, me)
            return
        st.subheader(plain(evaluation.name))
        with reading() as s:
            found = results(s, evaluation_id=evaluation.id)
        show_results(found)


with reading() as s:
    known = evaluations(s, project_id=me.project_id)
if manager:
    started = not known or st.session_state.get("evaluation_like") is not None
    with st.expander("A new blind evaluation", expanded=started, icon=":material/add:"):
        new_evaluation(me)
elif not known:
    st.info("There is no evaluation yet. A manager sets one up.")
for entry in known:
    show_evaluation(entry)
