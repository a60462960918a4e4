"""What a closed evaluation tells: the same figures on the page and from the command, in words that claim no more."""

import csv
import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import (
    Guess,
    Judgment,
    Preference,
    PromptSet,
    Ranking,
    Recipe,
    Reviewer,
    Role,
    Snapshot,
    Split,
    TrainingRun,
)
from errors import BadFile, NotAllowed, Refused
from eval.report.blocks import Picture
from eval.report.findings import build_report
from eval.report.html import report_html
from eval.report.methods import methods_appendix
from eval.report.results import ReviewerResults, list_participations, load_results
from eval.report.votes import figures_json, vote_figures
from eval.report.votes_file import read_votes
from stats.contrasts import contrasts
from stats.estimates import CannotEstimate
from stats.vote_agreement import agreement_ceiling
from stats.votes import as_votes
from tests.app_pages import html, open_page, said
from tests.factories import Judged, a_comparison, a_prompt, a_ranking, a_response, a_reviewer, saved, sure
from ui.safe import csv_bytes

VIEWPORT = '<meta name="viewport" content="width=device-width, initial-scale=1">'


def told_by_the_command(verdicts: ReviewerResults, tmp_path: Path) -> dict[str, Any]:
    """The JSON of `cli.py winrate` on the file that the page gives."""
    file = tmp_path / "votes.csv"
    file.write_bytes(csv_bytes(pd.DataFrame(verdicts.rows)))
    read = read_votes(file, candidate=verdicts.headline.candidate)
    again: dict[str, Any] = json.loads(json.dumps(figures_json(vote_figures(read.votes), read, file)))
    return again


def test_pairs_of_the_same_text_count_only_as_far_as_people_came(s: Session) -> None:
    def of(contest: Judged) -> list[tuple[int, int]]:
        (verdicts,) = load_results(s, evaluation_id=contest.evaluation.id).by_reviewers
        return [(one.n, one.ties) for one in verdicts.contrasts if one.baseline == contest.baselines[2].name]

    ended_early = Judged(s, prompts=20, reviewers=1, wins=1.0, same=range(4, 20, 4), come=10)
    assert of(ended_early) == [(10, 3)], "two of the same text before the tenth prompt, and a tie of the reviewer"
    all_judged = Judged(s, prompts=20, reviewers=1, wins=1.0, same=range(4, 20, 4))
    assert of(all_judged) == [(20, 6)]


@pytest.mark.parametrize("reviewers", [2, 5])
def test_the_exported_votes_give_the_command_the_same_figures(s: Session, tmp_path: Path, reviewers: int) -> None:
    judged = Judged(s, reviewers=reviewers, simulated=1, same=3)
    for verdicts in load_results(s, evaluation_id=judged.evaluation.id).by_reviewers:
        ours = figures_json(verdicts.figures, read_votes_of(verdicts, tmp_path), tmp_path / "votes.csv")
        theirs = told_by_the_command(verdicts, tmp_path)
        for part in (ours, theirs):
            part.pop("file")
        assert theirs == json.loads(json.dumps(ours))


def read_votes_of(verdicts: ReviewerResults, tmp_path: Path) -> Any:
    told_by_the_command(verdicts, tmp_path)
    return read_votes(tmp_path / "votes.csv")


def test_the_file_begins_with_the_command_s_columns_and_ends_with_the_lineage(s: Session) -> None:
    (people,) = load_results(s, evaluation_id=Judged(s, same=1).evaluation.id).by_reviewers
    names = list(pd.DataFrame(people.rows))
    assert names[:9] == [
        *("prompt", "reviewer", "left", "right", "verdict", "left_length", "right_length", "tag", "judged_by")
    ]
    ids = ["evaluation_id", "pairing_id", "judgment_id", "left_response_id", "right_response_id"]
    assert names[-6:] == [*ids, "prompt_set"]


def test_people_together_is_a_contrast_of_the_same_verdicts(s: Session) -> None:
    judged = Judged(s)
    (people,) = load_results(s, evaluation_id=judged.evaluation.id).by_reviewers
    assert people.people_together is people.headline
    persons = [one for one in people.by_baseline if people.is_people(one)]
    assert len(persons) == 2
    assert people.headline.n == sum(one.n for one in persons)
    assert people.headline.wins == sum(one.wins for one in persons)


def test_ties_of_the_same_text_are_nobody_s(s: Session) -> None:
    judged = Judged(s, reviewers=5, same=4)
    (people,) = load_results(s, evaluation_id=judged.evaluation.id).by_reviewers
    figures = people.figures
    assert figures.unasked == 8
    assert figures.reviewers == people.headline.reviewers == 5
    assert {one.reviewer for one in figures.agreement.reviewers} == {one.name for one in judged.judges}
    assert any("8 ties nobody was asked about" in note for note in figures.notes)


def test_unasked_ties_move_the_rate_and_no_reviewer_s_share_of_the_error() -> None:
    n = 60
    words = ["left" if (p + r) % 3 else "right" for p in range(n) for r in range(5)]
    rows: dict[str, Any] = {
        "prompts": [p for p in range(n) for _ in range(5)],
        "reviewers": [r for _ in range(n) for r in range(5)],
        "lefts": ["a"] * (n * 5),
        "rights": ["b"] * (n * 5),
        "verdicts": words,
        "unasked": [False] * (n * 5),
    }
    (plain,) = contrasts(as_votes(**rows))
    more: dict[str, Any] = {"prompts": [f"x{p}" for p in range(30)], "reviewers": ["nobody"] * 30, "lefts": ["a"] * 30}
    more |= {"rights": ["b"] * 30, "verdicts": ["tie"] * 30, "unasked": [True] * 30}
    both: dict[str, Any] = {name: [*rows[name], *more[name]] for name in rows}
    (diluted,) = contrasts(as_votes(**both))
    assert (diluted.reviewers, diluted.unasked) == (5, 30)
    assert abs(diluted.rate - 0.5) < abs(plain.rate - 0.5)
    assert not isinstance(diluted.interval_any_reviewer, CannotEstimate)
    assert not isinstance(plain.interval_any_reviewer, CannotEstimate)
    width = [i.high - i.low for i in (diluted.interval_any_reviewer, plain.interval_any_reviewer)]
    assert width[0] < width[1]


def test_a_tie_that_nobody_gave_cannot_be_anything_else(tmp_path: Path) -> None:
    file = tmp_path / "votes.csv"
    with file.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["prompt", "reviewer", "left", "right", "verdict", "judged_by"])
        rows.writerow(["1", "x", "a", "b", "left", "nobody"])
    with pytest.raises(BadFile, match="has a verdict that nobody gave"):
        read_votes(file)


@pytest.mark.parametrize(("agreement", "most"), [(1.0, 1.0), (0.5, 0.5), (0.68, 0.8)])
def test_the_ceiling_is_the_one_that_two_such_reviewers_leave(agreement: float, most: float) -> None:
    assert agreement_ceiling(agreement) == pytest.approx(most)


def test_below_even_chances_there_is_no_ceiling() -> None:
    assert isinstance(agreement_ceiling(0.4), CannotEstimate)


def test_the_words_claim_a_winner_only_where_interval_and_test_do(s: Session) -> None:
    clear, level = Judged(s, prompts=40, wins=0.95), Judged(s, prompts=16, wins=0.5)
    for judged, words in ((clear, "is preferred to"), (level, "No difference can be told")):
        (people,) = load_results(s, evaluation_id=judged.evaluation.id).by_reviewers
        found = build_report(people)
        assert words in found.finding.text
        assert found.numbers.text.startswith(f"{judged.candidate.label} against People, together: win rate ")


def test_the_result_tells_whether_reviewers_knew_the_machine_and_the_rate_by_import(s: Session) -> None:
    judged = Judged(s, prompts=30)
    for judgment in s.scalars(select(Judgment)):
        machine_left = judgment.candidate_left
        judgment.guess = Guess.LEFT if machine_left else Guess.RIGHT
    for n, prompt_set in enumerate(s.scalars(select(PromptSet))):
        prompt_set.file_name = ("spring.csv", "autumn.csv")[n % 2]
    s.flush()
    (people,) = load_results(s, evaluation_id=judged.evaluation.id).by_reviewers
    found = build_report(people)
    assert any(line.warns and "they could often tell" in line.text for line in found.doubts.lines)
    (parts,) = (part.blocks for part in found.figures if part.title == "parts of the votes")
    (by_import,) = (block for block in parts if isinstance(block, Picture) and block.title == "By import")
    assert {dot.name for dot in by_import.rows} == {"spring.csv", "autumn.csv"}


def test_every_responder_is_in_the_order_once_and_people_together(s: Session) -> None:
    judged = Judged(s, wins=0.9)
    (people,) = load_results(s, evaluation_id=judged.evaluation.id).by_reviewers
    order = build_report(people).picture.rows
    assert order[0].name == judged.candidate.label
    assert order[0].is_candidate
    assert {one.name for one in order[1:]} == {"People, together", judged.baselines[2].label}


def test_what_a_rule_judged_says_so_in_its_first_words(s: Session) -> None:
    judged = Judged(s, reviewers=0, simulated=1)
    (rule,) = load_results(s, evaluation_id=judged.evaluation.id).by_reviewers
    found = build_report(rule)
    assert found.finding.text.startswith("By a written rule, not by people (simulated): ")
    assert any("nothing here says what people prefer" in line.text for line in found.doubts.lines)


def test_the_page_of_a_closed_evaluation_begins_with_its_sentence(s: Session) -> None:
    judged = Judged(s, reviewers=2, simulated=1)
    s.commit()
    page = open_page("evaluate_models", project_id=judged.project.id, by=judged.manager.id)
    words = said(page)
    assert words.index("pw-sentence") < words.index("These reviewers only")
    for part in ("What it rests on", "What could be wrong", "By topic", "alpha", "at equal lengths", "7" * 64):
        assert part in words
    assert "By a written rule, not by people (simulated)" in words
    assert "simulated reviewer, not people" in html(page)


def test_names_of_responders_never_become_html(s: Session) -> None:
    judged = Judged(s)
    judged.candidate.name = "<img src=x onerror=alert(1)> **bold**"
    judged.baselines[2].name = "<script>1</script>"
    s.commit()
    page = open_page("evaluate_models", project_id=judged.project.id, by=judged.manager.id)
    assert "<img" not in html(page)
    assert "<script>1" not in html(page)


def test_the_report_is_one_file_that_asks_nobody_for_anything(s: Session) -> None:
    judged = Judged(s, simulated=1)
    judged.baselines[2].name = "<script>alert(1)</script>"
    s.flush()
    text = the_report(s, judged)
    assert not re.findall(r"""<script|<img|<link|@import|url\(|(?:src|href)=["']""", text)
    assert "&lt;script&gt;" in text
    assert text.count("<svg") >= 6
    ElementTree.fromstring(
        text.replace("<!doctype html>", "").replace('<meta charset="utf-8">', "").replace(VIEWPORT, "")
    )


def test_the_report_of_a_rule_s_verdicts_says_so_before_anything_else(s: Session) -> None:
    text = the_report(s, Judged(s, reviewers=0, simulated=1))
    assert text.index("simulated reviewers, who are no people") < text.index('class="finding"')
    assert "By a written rule, not by people (simulated)" in text


def test_the_appendix_leads_from_the_win_rate_to_whoever_ranked(s: Session) -> None:
    judged = Judged(s)
    ranker = trained(s, judged)
    text = the_report(s, judged)
    version = sure(judged.candidate.model_version)
    for part in (
        *("5" * 64, "6" * 64, "7" * 64),
        f"Word of {ranker.label}",
        f"{version.name} (id {version.id}",
        "1: " + str(s.scalars(select(Ranking.id)).one()),
        "0 of these prompts or near-duplicates of them",
        *(one.label for one in judged.judges),
        "temperature 0.9, top-p 0.95",
        "rows of f.csv",
        "scipy",
    ):
        assert part in text


@pytest.mark.both_databases
def test_methods_are_for_managers_and_closed_evaluations(s: Session) -> None:
    judged = Judged(s, prompts=2)
    trained(s, judged)
    assert methods_appendix(s, by=judged.manager.id, evaluation_id=judged.evaluation.id)
    with pytest.raises(NotAllowed):
        methods_appendix(s, by=judged.judges[0].id, evaluation_id=judged.evaluation.id)
    open_one = Judged(s, prompts=2, closed=False)
    with pytest.raises(Refused, match="Close it first"):
        methods_appendix(s, by=open_one.manager.id, evaluation_id=open_one.evaluation.id)


@pytest.mark.both_databases
def test_a_model_knows_the_evaluations_it_was_in_on_either_side(s: Session) -> None:
    judged = Judged(s, prompts=4)
    found = {}
    for one in (judged.candidate, judged.baselines[2]):
        assert one.model_version_id is not None
        (found[one.id],) = list_participations(s, model_version_id=one.model_version_id)
    assert [found[one.id].candidate for one in (judged.candidate, judged.baselines[2])] == [True, False]
    assert {one.pairings for one in found.values()} == {4, 8}


def the_report(s: Session, judged: Judged) -> str:
    """The file as a manager takes it away."""
    sheets = methods_appendix(s, by=judged.manager.id, evaluation_id=judged.evaluation.id)
    found = load_results(s, evaluation_id=judged.evaluation.id)
    return report_html(
        judged.evaluation.name, [build_report(verdicts) for verdicts in found.by_reviewers], methods=sheets
    )


def trained(s: Session, judged: Judged) -> Reviewer:
    """A training that the candidate's model came from, on one ranking; gives whose ranking."""
    ranker = a_reviewer(s, judged.project, Role.ANNOTATOR)
    prompt = a_prompt(s, judged.project)
    one, two = (a_response(s, prompt, judged.baselines[n]) for n in (0, 1))
    ranking = a_ranking(s, a_comparison(s, one, two), ranker, one, two)
    snapshot = Snapshot(project_id=judged.project.id, instructions="", folder="x", sha256="5" * 64, row_count=1)
    snapshot.simulated_count, snapshot.created_by_id = 0, judged.manager.id
    snapshot.preferences = [
        Preference(
            row=0, split=Split.TRAIN, prompt_id=prompt.id, chosen_id=one.id, rejected_id=two.id, ranking_id=ranking.id
        )
    ]
    recipe = Recipe(name="Gentle")
    s.add_all([snapshot, recipe])
    s.flush()
    version = sure(judged.candidate.model_version)
    version.sha256 = "6" * 64
    saved(
        s,
        TrainingRun,
        project_id=judged.project.id,
        snapshot_id=snapshot.id,
        recipe_id=recipe.id,
        base_model_id=judged.baselines[2].model_version_id,
        model_name=version.name,
        model_version_id=version.id,
        requested_by_id=judged.manager.id,
    )
    return ranker


def test_a_model_s_page_tells_the_evaluations_that_judged_it(s: Session) -> None:
    judged = Judged(s, wins=0.95, prompts=40)
    s.commit()
    page = open_page("trained_models", project_id=judged.project.id, by=judged.manager.id)
    page.selectbox(key="trained_model").set_value(judged.candidate.model_version_id).run()
    assert f"{judged.evaluation.name} (id {judged.evaluation.id})" in said(page)
    assert "is preferred to “People, together”" in said(page)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ({"prompts": 4, "same": 4}, "nobody was asked about"),
        ({"prompts": 1}, "all votes are on one prompt"),
        ({"prompts": 2, "reviewers": 1}, "no pair was judged twice"),
        ({"prompts": 4}, "a bootstrap needs 10 prompts or more"),
    ],
)
def test_what_cannot_be_estimated_says_why_on_the_page_and_in_the_file(
    s: Session, shape: dict[str, Any], words: str
) -> None:
    judged = Judged(s, **shape)
    text = the_report(s, judged)
    assert words in text
    assert "nan" not in re.sub(r"<[^>]*>", " ", text).lower().split()
    s.commit()
    assert words in said(open_page("evaluate_models", project_id=judged.project.id, by=judged.manager.id))
