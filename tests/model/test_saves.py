"""Whatever a client of Cassandra does not come to: there is one order, and no hole in it."""

import pytest

from .saves import Rules, Saves, explore

RIVALS: Saves = ((("x", 1), ("y", 1)), (("x", 1), ("z", 1)))
FOLLOWING: Saves = ((("x", 1), ("y", 1)), (("x", 2),))
THREE: Saves = ((("x", 1),), (("x", 1),), (("y", 1),))

SCOPES = [(RIVALS, 2), (FOLLOWING, 3), (THREE, 1)]


@pytest.mark.parametrize(("saves", "faults"), SCOPES)
def test_there_is_one_order_without_a_hole(saves: Saves, faults: int) -> None:
    explored = explore(saves, Rules(), faults)
    assert not explored.wrong, "\n".join([explored.wrong, *explored.story])
    assert explored.states > 1000


@pytest.mark.parametrize(
    ("without", "wrong"),
    [
        ("complete_first", "a version is recorded twice"),
        ("check_behind_tail", "a version is recorded twice"),
        ("same_position", "a save that was refused is there"),
        ("own_is_success", "a save that was refused is there"),
        ("merge_tail", "a reader of an aggregate misses an event"),
        ("tail_first", "a reader of an aggregate misses an event"),
        ("cut_at_gap", "the relay passes over an event"),
    ],
)
def test_it_goes_wrong_without(without: str, wrong: str) -> None:
    found = {explore(saves, Rules(**{without: False}), 2).wrong for saves, _ in SCOPES}
    assert wrong in found
