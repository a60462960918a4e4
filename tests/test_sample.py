"""The sample project holds what its data card says."""

import json
from collections import Counter

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import Prompt, Ranking, Responder, Response, Reviewer
from intake.near_duplicates import similar_pairs
from intake.sample import FOLDER, load_sample

ROWS = {name: [json.loads(line) for line in (FOLDER / f"{name}.jsonl").open()] for name in ("train", "heldout")}


def test_there_are_200_emails_to_train_on_and_40_held_out() -> None:
    assert {name: len(rows) for name, rows in ROWS.items()} == {"train": 200, "heldout": 40}


def test_no_two_emails_are_alike() -> None:
    emails = [row["email"] for rows in ROWS.values() for row in rows]
    assert similar_pairs(emails, near=0.35) == []


def test_neither_person_is_always_better_nor_always_longer() -> None:
    picks = Counter(row["picked"] for row in ROWS["train"])
    assert picks == {"rosalind": 93, "dev": 89, "both_bad": 9, "tie": 9}
    longer = sum(
        (len(row["reply_rosalind"].split()) > len(row["reply_dev"].split())) == (row["picked"] == "rosalind")
        for row in ROWS["train"]
        if row["picked"] in ("rosalind", "dev")
    )
    assert 0.4 < longer / 182 < 0.6


def test_held_out_emails_carry_no_picks() -> None:
    assert not any("picked" in row for row in ROWS["heldout"])


def test_the_data_card_says_that_no_real_person_is_in_it() -> None:
    card = (FOLDER / "README.md").read_text()
    assert "no real customer" in card
    assert "no real human preference" in card


def test_loading_it_twice_gives_one_project_and_everything_says_simulated(s: Session) -> None:
    assert load_sample(s).id == load_sample(s).id
    assert len(s.scalars(select(Prompt.id)).all()) == 240
    assert len(s.scalars(select(Prompt.id).where(Prompt.held_out)).all()) == 40
    assert len(s.scalars(select(Response.id)).all()) == 480
    assert len(s.scalars(select(Ranking.id)).all()) == 200
    assert all(responder.label.endswith("(simulated)") for responder in s.scalars(select(Responder)))
    assert all(reviewer.label.endswith("(simulated)") for reviewer in s.scalars(select(Reviewer)))
