"""What `compose up` tells of a part."""

import anyio

from compose.details import relay_detail
from compose.processes import free_port


async def test_a_database_that_is_gone_does_not_hold_up_the_end() -> None:
    settings = {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_HOST": "127.0.0.1",
        "POSTGRES_PORT": str(free_port()),
        "POSTGRES_USER": "nobody",
        "POSTGRES_PASSWORD": "nothing",
        "POSTGRES_DBNAME": "none",
    }
    with anyio.fail_after(20), anyio.move_on_after(0.1) as asking:
        await relay_detail(settings)
    assert asking.cancelled_caught
