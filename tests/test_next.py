"""What comes next: filters, the least certain first with a random control, gold pairs, hidden second looks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session

from db.comparisons import nearly_same
from db.models import (
    Comparison,
    ComparisonState,
    Placement,
    QueueOrder,
    Ranking,
    Responder,
    Reviewer,
    Role,
    SamplingReason,
)
from errors import NotAllowed, NotFound, Refused
from review import uncertainty
from review.adjudication import decide, list_conflicts
from review.assignment import Offer, left_first, ranking_progress
from review.browse import discard_comparison, end_decision, end_gold, find_comparisons, make_gold, restore_comparison
from review.filters import ComparisonStanding, Filter
from review.flags import flag_comparison
from review.progress import list_opinions, responder_records, reviewer_consistency, sampling_shares
from review.queue import LOOK_BACK, claim, set_queue
from review.rankings import last_ranking, rank, undo_ranking
from review.reveals import open_comparison, reveal_comparison
from review.uncertainty import Candidate, least_certain, margin
from stats.verdicts import Verdict
from tests.factories import a_comparison, a_human, a_project, a_prompt, a_response, a_reviewer, sure
from training.data.feedback import load_rankings

pytestmark = pytest.mark.both_databases
WORDS = "one two three four five six seven eight nine ten".split()


class Team:
    """A project with pairs between some responders, a manager and two annotators."""

    def __init__(self, s: Session, pairs: int, responders: int = 2, **queue: object) -> None:
        self.s = s
        uncertainty._kept.clear()
        self.project = a_project(s)
        self.manager = a_reviewer(s, self.project)
        self.ann, self.bo = (a_reviewer(s, self.project, Role.ANNOTATOR, name=name) for name in ("Ann", "Bo"))
        self.writers = [a_human(s, self.project, name=f"Writer {n}") for n in range(responders)]
        self.pairs = [self.pair(n % responders, (n + 1) % responders) for n in range(pairs)]
        if queue:
            set_queue(s, by=self.manager.id, project_id=self.project.id, **{"people": None, "share": 1.0, **queue})  # type: ignore[arg-type]

    def pair(self, one: int, other: int) -> Comparison:
        prompt = a_prompt(self.s, self.project)
        return a_comparison(self.s, *(a_response(self.s, prompt, self.writers[n]) for n in (one, other)))

    def claim(self, who: Reviewer, **only: object) -> int | None:
        pair = claim(self.s, project_id=self.project.id, reviewer_id=who.id, only=Filter(**only))  # type: ignore[arg-type]
        return pair.comparison_id if pair else None

    def next_pair(self, who: Reviewer) -> Offer | None:
        return claim(self.s, project_id=self.project.id, reviewer_id=who.id)

    def say(self, who: Reviewer, pair: Comparison, better: Responder | None) -> Ranking:
        """Rank with one writer's reply better, or both good."""
        if better is None:
            return rank(self.s, by=who.id, comparison_id=pair.id, order=Verdict.TIE.order)
        first = pair.responses[0].responder_id == better.id
        verdict = Verdict.LEFT if left_first(pair.id, who.id) == first else Verdict.RIGHT
        return rank(self.s, by=who.id, comparison_id=pair.id, order=verdict.order)

    def rank_all(self, who: Reviewer) -> list[tuple[int, SamplingReason]]:
        """Rank all that comes, left always better; what came and how."""
        came = []
        while (pair := self.next_pair(who)) is not None:
            ranking = rank(
                self.s,
                by=who.id,
                comparison_id=pair.comparison_id,
                order=Verdict.LEFT.order,
                first_id=pair.replies[0].response_id,
            )
            came.append((pair.comparison_id, ranking.sampling_reason))
        return came


def test_a_filter_narrows_the_queue_and_only_managers_may_use_one_that_tells_something(s: Session) -> None:
    team = Team(s, pairs=6, responders=3)
    one, two, three = team.writers
    fits = {p.id for p in team.pairs if {r.responder_id for r in p.responses} == {one.id, three.id}}
    assert team.claim(team.manager, responder_ids=(one.id, three.id)) in fits
    by_set = team.pairs[4]
    assert team.claim(team.ann, prompt_set_id=by_set.prompt.prompt_set_id) == by_set.id
    flag_comparison(s, by=team.ann.id, comparison_id=team.pairs[1].id, note="Cut off.")
    assert team.claim(team.manager, standing=ComparisonStanding.FLAGGED) == team.pairs[1].id
    team.say(team.ann, team.pairs[2], two)
    team.say(team.bo, team.pairs[2], three)
    assert team.claim(team.manager, standing=ComparisonStanding.CONTESTED) == team.pairs[2].id
    for only in (Filter(responder_ids=(one.id,)), Filter(standing=ComparisonStanding.CONTESTED)):
        with pytest.raises(NotAllowed):
            claim(s, project_id=team.project.id, reviewer_id=team.ann.id, only=only)


def test_the_least_certain_comes_first_and_about_one_in_five_is_random(s: Session) -> None:
    team = Team(s, pairs=0, responders=3)
    strong, even, other = team.writers
    for _ in range(12):
        team.say(team.bo, team.pair(0, 1), strong)
        team.say(team.bo, team.pair(0, 2), strong)
    for turn in range(12):
        team.say(team.bo, team.pair(1, 2), (even, other)[turn % 2])
    clear = {team.pair(0, 1).id for _ in range(24)}
    close = {team.pair(1, 2).id for _ in range(24)}
    set_queue(s, by=team.manager.id, project_id=team.project.id, people=1, share=1.0, next_by=QueueOrder.UNCERTAIN)
    came = team.rank_all(team.ann)
    first = came[:18]
    assert {comparison_id for comparison_id, drawn in first if drawn is SamplingReason.UNCERTAIN} <= close
    assert {comparison_id for comparison_id, drawn in first if drawn is SamplingReason.RANDOM} & clear
    shares = {one.sampling_reason: one.ranked for one in sampling_shares(s, project_id=team.project.id)}
    assert shares[SamplingReason.UNCERTAIN] == sum(drawn is SamplingReason.UNCERTAIN for _, drawn in came)
    assert 3 <= sum(drawn is SamplingReason.RANDOM for _, drawn in came) <= 20, "one in five of 48"


def test_what_people_disagree_on_is_least_certain_of_all(s: Session) -> None:
    team = Team(s, pairs=8, people=3, next_by=QueueOrder.UNCERTAIN)
    contested = team.pairs[5]
    team.say(team.ann, contested, team.writers[0])
    team.say(team.bo, contested, team.writers[1])
    third = a_reviewer(s, team.project, Role.ANNOTATOR)
    first = sure(team.claim(third))
    rank(s, by=third.id, comparison_id=first, order=Verdict.TIE.order)
    assert contested.id in (first, team.claim(third))


@given(st.dictionaries(st.integers(1, 4), st.floats(0.01, 100)), st.permutations([1, 2, 3, 4]))
def test_a_margin_lies_between_even_and_clear_whatever_the_order(strengths: dict[int, float], ids: list[int]) -> None:
    found = margin(Candidate(1, False, tuple(ids)), strengths)
    assert 0 <= found <= 0.5
    assert found == pytest.approx(margin(Candidate(1, False, tuple(reversed(ids))), strengths))
    assert margin(Candidate(1, True, tuple(ids)), strengths) == 0
    assert least_certain([Candidate(1, False, (1, 2)), Candidate(2, True, (1, 2))], strengths) == 2
    assert least_certain([], strengths) is None


def test_a_hidden_second_look_swaps_the_sides_and_counts_for_nothing_but_consistency(s: Session) -> None:
    team = Team(s, pairs=40, people=1, repeat_share=0.2)
    came = team.rank_all(team.ann)
    repeats = [
        (place, comparison_id) for place, (comparison_id, drawn) in enumerate(came) if drawn is SamplingReason.REPEAT
    ]
    assert 2 <= len(repeats) <= 16, "one in five of 40"
    for place, comparison_id in repeats:
        before = [i for i, _ in came[:place]].index(comparison_id)
        assert place - before > LOOK_BACK - 1
    lefts = s.execute(
        select(Ranking.comparison_id, Placement.response_id)
        .join(Placement, Placement.ranking_id == Ranking.id)
        .where(Ranking.comparison_id.in_([i for _, i in repeats]), Placement.position == 0)
    ).all()
    assert len(set(lefts)) == 2 * len(repeats), "the response on the left is another one the second time"
    found = reviewer_consistency(s, project_id=team.project.id)["Ann"]
    assert (found.repeats, found.repeated_alike) == (len(repeats), 0), "always left is consistent with nobody"
    assert len(load_rankings(s, project_id=team.project.id)) == 40
    assert {p.people for p in s.scalars(select(Comparison))} == {1}
    assert ranking_progress(s, project_id=team.project.id, reviewer_id=team.ann.id).done == len(came)


def test_undoing_a_second_look_brings_it_back_as_one(s: Session) -> None:
    team = Team(s, pairs=24, people=1, repeat_share=0.2)
    while True:
        pair = sure(team.next_pair(team.ann))
        ranking = rank(s, by=team.ann.id, comparison_id=pair.comparison_id, order=Verdict.LEFT.order)
        if ranking.sampling_reason is SamplingReason.REPEAT:
            break
    last = sure(last_ranking(s, by=team.ann.id, project_id=team.project.id))
    undo_ranking(s, by=team.ann.id, ranking_id=last.ranking_id)
    assert claim(s, project_id=team.project.id, reviewer_id=team.ann.id) == pair
    again = rank(
        s,
        by=team.ann.id,
        comparison_id=pair.comparison_id,
        order=Verdict.TIE.order,
        first_id=pair.replies[0].response_id,
    )
    assert again.sampling_reason is SamplingReason.REPEAT


def test_a_stale_tab_with_the_sides_the_other_way_round_saves_nothing(s: Session) -> None:
    team = Team(s, pairs=1)
    pair = sure(team.next_pair(team.ann))
    with pytest.raises(Refused, match="other way round"):
        rank(
            s,
            by=team.ann.id,
            comparison_id=pair.comparison_id,
            order=Verdict.LEFT.order,
            first_id=pair.replies[1].response_id,
        )
    assert s.scalars(select(Ranking)).all() == []


def test_a_gold_pair_is_given_to_everybody_whatever_the_quota_and_shows_who_is_right(s: Session) -> None:
    team = Team(s, pairs=16, people=1)
    gold = team.pairs[3]
    first = gold.responses[0].responder
    left = left_first(gold.id, team.manager.id)
    order = (Verdict.LEFT if left else Verdict.RIGHT).order
    decision = make_gold(s, by=team.manager.id, comparison_id=gold.id, order=order)
    came = [comparison_id for comparison_id, drawn in team.rank_all(team.ann) if drawn is SamplingReason.GOLD]
    assert came == [gold.id]
    assert s.get_one(Comparison, gold.id).state is ComparisonState.OPEN
    assert team.claim(team.bo) == gold.id, "all others have their one person"
    team.say(team.bo, gold, first)
    found = reviewer_consistency(s, project_id=team.project.id)
    assert (found["Bo"].gold, found["Bo"].gold_right) == (1, 1)
    assert found["Ann"].gold_right == int(left_first(gold.id, team.ann.id))
    rows = [r for r in load_rankings(s, project_id=team.project.id) if r.adjudicates]
    assert [r.id for r in rows] == [decision.id]
    end_gold(s, by=team.manager.id, comparison_id=gold.id)
    assert s.get_one(Comparison, gold.id).state is ComparisonState.FULL


def test_stored_counts_follow_rankings_undoing_discarding_and_the_quota(s: Session) -> None:
    team = Team(s, pairs=1, people=2)
    (pair,) = team.pairs

    def stored() -> tuple[int, bool, ComparisonState]:
        row = s.execute(
            select(Comparison.people, Comparison.contested, Comparison.state).where(Comparison.id == pair.id)
        ).one()
        return row[0], row[1], row[2]

    assert stored() == (0, False, ComparisonState.OPEN)
    ranking = team.say(team.ann, pair, team.writers[0])
    rule = a_reviewer(s, team.project, simulated=True)
    team.say(rule, pair, team.writers[1])
    assert stored() == (1, False, ComparisonState.OPEN), "a rule's word is no person's"
    team.say(team.bo, pair, team.writers[1])
    assert stored() == (2, True, ComparisonState.FULL)
    set_queue(s, by=team.manager.id, project_id=team.project.id, people=3, share=1.0)
    assert stored() == (2, True, ComparisonState.OPEN)
    undo_ranking(s, by=team.ann.id, ranking_id=ranking.id)
    assert stored() == (1, False, ComparisonState.OPEN)
    discard_comparison(s, by=team.manager.id, comparison_id=pair.id)
    assert stored() == (1, False, ComparisonState.NOT_OFFERED)
    with pytest.raises(Refused, match="discarded this comparison already"):
        discard_comparison(s, by=team.manager.id, comparison_id=pair.id)
    restore_comparison(s, by=team.manager.id, comparison_id=pair.id)
    set_queue(s, by=team.manager.id, project_id=team.project.id, people=1, share=1.0)
    assert stored() == (1, False, ComparisonState.FULL)
    with pytest.raises(NotAllowed):
        discard_comparison(s, by=team.ann.id, comparison_id=pair.id)


def test_the_managers_table_finds_by_words_responder_and_standing_page_by_page(s: Session) -> None:
    team = Team(s, pairs=30, responders=3)

    def found(page: int = 1, **only: object) -> tuple[int, int]:
        table = find_comparisons(s, by=team.manager.id, project_id=team.project.id, only=Filter(**only), page=page)  # type: ignore[arg-type]
        return len(table.rows), table.total

    assert (found(), found(page=2), found(page=3)) == ((25, 30), (5, 30), (0, 30))
    assert found(responder_ids=(team.writers[0].id,)) == (20, 20)
    assert found(responder_ids=(team.writers[0].id, team.writers[1].id)) == (10, 10)
    team.pairs[0].prompt.text = "Where is my 100%_sure parcel?"
    s.flush()
    assert (found(words="100%_SURE"), found(words="100x")) == ((1, 1), (0, 0))
    team.say(team.ann, team.pairs[1], None)
    assert found(standing=ComparisonStanding.RANKED) == (1, 1)
    assert found(standing=ComparisonStanding.UNRANKED) == (25, 29)
    discard_comparison(s, by=team.manager.id, comparison_id=team.pairs[2].id)
    assert found(standing=ComparisonStanding.DISCARDED) == (1, 1)
    with pytest.raises(NotAllowed):
        find_comparisons(s, by=team.ann.id, project_id=team.project.id, only=Filter())


def test_authors_rank_their_own_only_where_the_project_says_so(s: Session) -> None:
    team = Team(s, pairs=1)
    team.writers[0].reviewer_id = team.ann.id
    s.flush()
    assert team.claim(team.ann) is None
    with pytest.raises(Refused, match="You wrote one"):
        rank(s, by=team.ann.id, comparison_id=team.pairs[0].id, order=Verdict.LEFT.order)
    set_queue(s, by=team.manager.id, project_id=team.project.id, people=None, share=1.0, authors_rank=True)
    assert team.claim(team.ann) == team.pairs[0].id
    team.say(team.ann, team.pairs[0], None)


def test_responders_are_counted_by_how_their_replies_fared(s: Session) -> None:
    team = Team(s, pairs=3)
    one, two = team.writers
    team.say(team.ann, team.pairs[0], one)
    team.say(team.ann, team.pairs[1], None)
    rank(s, by=team.ann.id, comparison_id=team.pairs[2].id, order=Verdict.BOTH_BAD.order)
    found = responder_records(s, project_id=team.project.id)
    assert [(f.responder, f.better, f.both_good, f.worse, f.both_bad) for f in found] == [
        (one.label, 1, 1, 0, 1),
        (two.label, 0, 1, 1, 1),
    ]
    assert list_opinions(s, project_id=team.project.id) == [], "nobody ranked the same pair twice"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Refund", "Refund", True),
        ("SELECT a FROM t", "SELECT b FROM t", False),
        (" ".join(WORDS * 3), " ".join(WORDS * 3) + " more", True),
        (" ".join(WORDS * 3), " ".join(WORDS * 2), False),
        (" ".join(WORDS * 3), " ".join(reversed(WORDS * 3)), False),
    ],
)
def test_long_texts_with_nearly_all_words_alike_are_nearly_the_same_and_short_ones_never(
    one: str, other: str, same: bool
) -> None:
    assert nearly_same(one, other) is same is nearly_same(other, one)


def test_only_sensible_settings_of_the_queue_are_taken(s: Session) -> None:
    team = Team(s, pairs=1)
    with pytest.raises(Refused, match="at most 20%"):
        set_queue(s, by=team.manager.id, project_id=team.project.id, people=None, share=1.0, repeat_share=0.5)


def test_a_pair_on_the_screen_that_stops_being_ones_own_is_not_given_again(s: Session) -> None:
    team = Team(s, pairs=3)
    for make_foreign in (
        lambda i: reveal_comparison(s, by=team.manager.id, comparison_id=i),
        lambda i: flag_comparison(s, by=team.manager.id, comparison_id=i, note="Cut off."),
    ):
        held = sure(team.claim(team.manager))
        make_foreign(held)
        assert team.claim(team.manager) != held
    assert team.claim(team.ann) is not None
    team.writers[0].reviewer_id = team.ann.id
    s.flush()
    assert team.claim(team.ann) is None


def test_a_second_look_can_be_put_off_and_flagged_like_any_other_pair(s: Session) -> None:
    team = Team(s, pairs=24, people=1, repeat_share=0.2)
    seen = 0
    for _ in range(24):
        pair = team.next_pair(team.ann)
        if pair is None:
            break
        again = s.scalar(select(Ranking.id).where(Ranking.comparison_id == pair.comparison_id))
        if again is None:
            rank(s, by=team.ann.id, comparison_id=pair.comparison_id, order=Verdict.TIE.order)
            continue
        seen += 1
        other = claim(s, project_id=team.project.id, reviewer_id=team.ann.id, later=[pair.comparison_id])
        assert other is None or other.comparison_id != pair.comparison_id
        flag_comparison(s, by=team.ann.id, comparison_id=pair.comparison_id, note="Seen before.")
        assert team.claim(team.ann) != pair.comparison_id
    assert seen


def test_who_looks_at_what_others_said_after_ranking_cannot_undo_and_rank_anew(s: Session) -> None:
    team = Team(s, pairs=1)
    (pair,) = team.pairs
    ranking = team.say(team.manager, pair, team.writers[0])
    open_comparison(s, by=team.manager.id, comparison_id=pair.id)
    undo_ranking(s, by=team.manager.id, ranking_id=ranking.id)
    assert team.claim(team.manager) is None
    with pytest.raises(Refused, match="seen what others said"):
        team.say(team.manager, pair, team.writers[1])


def test_the_list_of_decisions_tells_nobody_who_may_still_rank(s: Session) -> None:
    team = Team(s, pairs=1)
    (pair,) = team.pairs
    team.say(team.ann, pair, team.writers[0])
    team.say(team.bo, pair, team.writers[1])
    decide(s, by=team.manager.id, comparison_id=pair.id, order=Verdict.TIE.order)
    other = a_reviewer(s, team.project)
    for who, seen in ((team.manager, 1), (other, 0)):
        assert len(list_conflicts(s, by=who.id, project_id=team.project.id, decided=True)) == seen
    team.say(other, pair, None)
    assert len(list_conflicts(s, by=other.id, project_id=team.project.id, decided=True)) == 1


def test_a_gold_answer_can_be_corrected_and_taken_back(s: Session) -> None:
    team = Team(s, pairs=1)
    (pair,) = team.pairs
    make_gold(s, by=team.manager.id, comparison_id=pair.id, order=Verdict.LEFT.order)
    make_gold(s, by=team.manager.id, comparison_id=pair.id, order=Verdict.TIE.order)
    standing = [r for r in load_rankings(s, project_id=team.project.id) if r.adjudicates]
    assert [{place for place, _ in r.placed} for r in standing] == [{1}]
    end_decision(s, by=team.manager.id, comparison_id=pair.id)
    assert load_rankings(s, project_id=team.project.id) == []
    assert not s.get_one(Comparison, pair.id).gold
    with pytest.raises(NotFound, match="No decision stands"):
        end_decision(s, by=team.manager.id, comparison_id=pair.id)
    discard_comparison(s, by=team.manager.id, comparison_id=pair.id)
    with pytest.raises(Refused, match="cannot be gold"):
        make_gold(s, by=team.manager.id, comparison_id=pair.id, order=Verdict.TIE.order)


def test_only_who_ranks_in_the_project_is_given_anything(s: Session) -> None:
    team = Team(s, pairs=1)
    for stranger in (a_reviewer(s, a_project(s)), a_reviewer(s, team.project, Role.REVIEWER)):
        with pytest.raises(NotAllowed):
            team.claim(stranger)
