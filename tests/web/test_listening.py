"""The socket that browsers come to."""

import socket

from eventsourcing_kafka.compose.web.serving import listening


def test_the_end_of_an_answer_does_not_wait_until_its_beginning_is_acknowledged() -> None:
    with (
        listening("127.0.0.1", 0) as listener,
        socket.create_connection(listener.getsockname()),
    ):
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
