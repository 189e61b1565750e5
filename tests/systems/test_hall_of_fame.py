"""Players reach scores, and the three best are in the hall of fame, whatever runs the system."""

from collections.abc import Sequence
from uuid import UUID

import pytest
from eventsourcing.application import AggregateNotFoundError
from eventsourcing.persistence import IntegrityError
from eventsourcing.system import Runner
from hypothesis import given
from hypothesis import strategies as st

from examples.game.application import Game
from examples.halloffame.application import HallOfFame
from examples.halloffame.domainmodel import PLACES, HighScore, HighScoreTable
from examples.halloffame.system import system

from .running import Settle
from .staging import Stage, over
from .storing import DURABLE, EVERY

PLAYERS = ("Ada", "Bea", "Cleo", "Dora")

SCORES = st.lists(st.tuples(st.sampled_from(PLAYERS), st.integers(0, 9)))


def play(runner: Runner[UUID], settle: Settle) -> None:
    """Play a few rounds, and look at the table after each."""
    game, hall = runner.get(Game), runner.get(HallOfFame)

    for name in PLAYERS:
        game.add_player(name)
    settle(runner)
    assert hall.get_high_scores() == []

    game.update_score("Ada", 10)
    game.update_score("Bea", 30)
    settle(runner)
    assert hall.get_high_scores() == [("Bea", 30), ("Ada", 10)]

    game.update_score("Cleo", 20)
    game.update_score("Dora", 40)
    settle(runner)
    assert hall.get_high_scores() == [("Dora", 40), ("Bea", 30), ("Cleo", 20)]

    game.update_score("Dora", 5)
    game.update_score("Ada", 35)
    settle(runner)
    assert hall.get_high_scores() == [("Dora", 40), ("Ada", 35), ("Bea", 30)]
    assert [game.get_score(name) for name in PLAYERS] == [35, 30, 20, 5]


@over(EVERY)
def test_the_three_best_players_are_in_the_hall_of_fame(stage: Stage) -> None:
    with stage.run(system) as runner:
        play(runner, stage.settle)


@over(DURABLE)
def test_the_table_goes_on_from_where_it_was_when_the_system_is_reopened(stage: Stage) -> None:
    with stage.run(system) as runner:
        play(runner, stage.settle)

    with stage.run(system) as runner:
        runner.get(Game).update_score("Cleo", 36)
        stage.settle(runner)
        best = [("Dora", 40), ("Cleo", 36), ("Ada", 35)]
        assert runner.get(HallOfFame).get_high_scores() == best


def test_the_system_is_named_by_its_place_in_a_module() -> None:
    assert system.edges == [("Game", "HallOfFame")]
    assert system.topic == "examples.halloffame.system:system"


def test_a_player_is_found_by_name_only() -> None:
    with Game() as game:
        game.add_player("Ada")
        with pytest.raises(IntegrityError):
            game.add_player("Ada")
        with pytest.raises(AggregateNotFoundError):
            game.update_score("Bea", 1)


def test_a_score_that_changes_nothing_is_no_event_of_the_table() -> None:
    table = table_after([("Ada", 4), ("Bea", 3), ("Cleo", 2)])
    entered = len(table.pending_events)

    table.enter("Ada", 4)
    table.enter("Ada", 1)
    table.enter("Dora", 1)
    assert len(table.pending_events) == entered


@given(scores=SCORES)
def test_the_table_has_the_best_of_each_player_in_whatever_order_they_came(
    scores: Sequence[tuple[str, int]],
) -> None:
    best = dict(sorted(scores, key=lambda entry: entry[1]))
    ranked = sorted(best.items(), key=lambda entry: (-entry[1], entry[0]))

    assert table_after(scores).scores == [HighScore(*entry) for entry in ranked[:PLACES]]


def table_after(scores: Sequence[tuple[str, int]]) -> HighScoreTable:
    table = HighScoreTable()
    for name, score in scores:
        table.enter(name, score)
    return table
