"""What a runner leaves behind that ends before it has begun."""

from collections.abc import Mapping

import psutil
import pytest

from consumer.runner import KafkaRunner

from .tallying import chain


@pytest.mark.parametrize("time", range(3))
def test_no_session_is_left_half_made(env: Mapping[str, str], time: int) -> None:
    with KafkaRunner(chain, dict(env)):
        pass
    port = int(env["POSTGRES_PORT"])
    ours = psutil.Process().net_connections()
    assert [connection for connection in ours if connection.raddr[-1:] == (port,)] == []
