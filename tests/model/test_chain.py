import pytest

from .chain import LOST_IN_TOPIC, Scope
from .explore import explore
from .rules import Rules
from .scopes import NO_CHAIN, QUICK, SEPARATE, TORN, Without


@pytest.mark.parametrize("scope", QUICK, ids=lambda scope: scope.name)
def test_nothing_is_lost_doubled_or_wrong_without_a_word(scope: Scope) -> None:
    explored = explore(Rules(), scope)
    assert explored.wrong is None, str(explored)


@pytest.mark.parametrize("case", SEPARATE, ids=lambda case: ", ".join(case.rules))
def test_it_goes_wrong_without(case: Without) -> None:
    explored = explore(Rules().without(*case.rules), case.scope)
    assert explored.wrong, f"nothing is wrong in {explored.states} states"
    assert explored.wrong.kind == case.kind, str(explored)


def test_a_late_end_of_a_transaction_tears_the_next_one() -> None:
    explored = explore(NO_CHAIN.without("epoch", "produce"), TORN)
    assert explored.wrong
    assert explored.wrong.kind == LOST_IN_TOPIC, str(explored)


def test_a_new_epoch_after_a_missing_answer_is_enough_against_torn_transactions() -> None:
    explored = explore(NO_CHAIN, TORN)
    assert explored.wrong is None, str(explored)
