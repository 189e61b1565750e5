"""Ends or breaks a batch at its n-th await, or at the n-th request that it sends to Kafka."""

from collections.abc import Callable, Coroutine, Generator
from typing import Any

import pytest
from aiokafka.client import AIOKafkaClient

from eventsourcing_kafka.producer.relay import Publisher
from eventsourcing_kafka.producer.relay.publisher import Batch


class Killed(Exception):  # noqa: N818 - it is what happens to the process
    """Nothing in the code expects it: the relay ends where it stands."""


class Injection:
    """Puts an error at the n-th step of a batch, before the step is taken or when it is done."""

    def __init__(self, error: Exception, n: int, *, done: bool) -> None:
        self.error = error
        self.n = n
        self.done = done
        self.steps = 0
        self.happened = False

    def begin(self) -> int:
        """Return the number of the step that begins."""
        self.steps += 1
        return self.steps

    def due(self, step: int, *, done: bool) -> bool:
        """Tell whether the error is due at the beginning or the end of a step."""
        now = step == self.n and done == self.done
        self.happened |= now
        return now


class _AtAwaits:
    """Awaits a coroutine, and throws the injected error into it where it waits."""

    def __init__(self, coroutine: Coroutine[Any, Any, None], injection: Injection) -> None:
        self._coroutine = coroutine
        self._injection = injection

    def __await__(self) -> Generator[Any, Any, None]:
        coroutine, injection = self._coroutine, self._injection
        step: Callable[[], Any] = lambda: coroutine.send(None)  # noqa: E731
        try:
            while True:
                waiting_for = step()
                number = injection.begin()
                if injection.due(number, done=False):
                    waiting_for = coroutine.throw(injection.error)
                try:
                    yield waiting_for
                except BaseException as error:  # noqa: BLE001 - it is the coroutine's to catch
                    thrown = error
                    step = lambda: coroutine.throw(thrown)  # noqa: B023, E731
                else:
                    step = lambda: coroutine.send(None)  # noqa: E731
                if injection.due(number, done=True):
                    step = lambda: coroutine.throw(injection.error)  # noqa: E731
        except StopIteration:
            return


def at_awaits(monkeypatch: pytest.MonkeyPatch, injection: Injection) -> None:
    """Inject at the awaits of the next batch that is published."""
    publish: Any = Publisher.publish

    async def broken(publisher: Publisher, batch: Batch) -> None:
        await _AtAwaits(publish(publisher, batch), injection)

    monkeypatch.setattr(Publisher, "publish", broken)


def at_requests(monkeypatch: pytest.MonkeyPatch, injection: Injection) -> None:
    """Inject at the requests that publishing the next batch sends to Kafka."""
    publish, send = Publisher.publish, AIOKafkaClient.send

    async def broken_send(client: AIOKafkaClient, *args: Any, **kwargs: Any) -> Any:
        number = injection.begin()
        if injection.due(number, done=False):
            raise injection.error
        response = await send(client, *args, **kwargs)
        if injection.due(number, done=True):
            raise injection.error
        return response

    async def broken(publisher: Publisher, batch: Batch) -> None:
        with pytest.MonkeyPatch.context() as during:
            during.setattr(AIOKafkaClient, "send", broken_send)
            await publish(publisher, batch)

    monkeypatch.setattr(Publisher, "publish", broken)
