"""What a runner leaves behind that ends before it has begun."""

from collections.abc import Mapping

import psutil
import pytest

from eventsourcing_kafka.compose.runner import KafkaRunner

from .tallying import chain


@pytest.mark.parametrize("time", range(3))
def test_no_session_is_left_half_made(env: Mapping[str, str], time: int) -> None:
    before = sessions(env)
    with KafkaRunner(chain, dict(env)):
        pass
    assert sessions(env) <= before


def sessions(env: Mapping[str, str]) -> set[tuple[str, int]]:
    """Return our own ends of the connections that this process has to Postgres."""
    ours = psutil.Process().net_connections()
    return {found.laddr for found in ours if found.raddr[-1:] == (int(env["POSTGRES_PORT"]),)}
