"""Events written by older and by newer programs."""

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any, ClassVar

import pytest
from eventsourcing.domain import Aggregate
from eventsourcing.persistence import Mapper, Notification
from eventsourcing.utils import get_topic

from eventsourcing_kafka.producer.wire import (
    EventTypes,
    OutdatedError,
    Record,
    WireError,
    WireFormat,
)
from tests.chains import linked

from .conversation import APPLICATION, PLAIN, WRITER, read, stored, written
from .encryption import SECRET, SECRETIVE
from .shop import Account, happened

READER = WireFormat(APPLICATION, EventTypes.of(Account))
OPENED = happened(Account.Opened, holder="Ada", balances={})


def opened_in_version(version: int, **attributes: object) -> Record:
    """Return what a program wrote that knew the class in an earlier or later version."""
    record = written(OPENED)
    common = {
        name: value
        for name, value in json.loads(record.value).items()
        if name not in {"holder", "balances"}
    }
    headers = [(name, value) for name, value in record.headers if name != "ce_classversion"]
    headers.append(("ce_classversion", str(version).encode()))
    return record._replace(value=json.dumps({**attributes, **common}).encode(), headers=headers)


def test_the_version_of_a_class_that_has_changed_is_in_a_header() -> None:
    assert dict(written(OPENED).headers)["ce_classversion"] == b"3"
    assert "ce_classversion" not in dict(written(happened(Account.Closed)).headers)


def test_the_current_version_is_read_as_it_is() -> None:
    assert vars(read(written(OPENED), READER)) == vars(OPENED)


@pytest.mark.parametrize("attributes", [{"name": "Ada"}, {"holder": "Ada"}])
def test_an_older_version_is_upcast(attributes: dict[str, str]) -> None:
    version = 1 if "name" in attributes else 2

    again = read(opened_in_version(version, **attributes), READER)

    assert vars(again) == {**vars(OPENED), "balances": {1: Decimal("0.00")}}


class OpenedInVersion1(Aggregate.Event):
    name: str


class OpenedInVersion2(Aggregate.Event):
    class_version: ClassVar[int] = 2
    holder: str


def stored_by_an_older_program(version: int, mapper: Mapper[Any] = PLAIN) -> Notification:
    """Return what is in the store of a program that knew the class in an earlier version."""
    older = (
        happened(OpenedInVersion1, name="Ada")
        if version == 1
        else happened(OpenedInVersion2, holder="Ada")
    )
    return replace(stored(older, mapper=mapper), topic=get_topic(Account.Opened))


@pytest.mark.parametrize("version", [1, 2])
def test_an_older_version_in_the_store_is_published_as_it_is(version: int) -> None:
    notification = stored_by_an_older_program(version)

    record = linked(WRITER.to_record(notification))

    assert dict(record.headers).get("ce_classversion", b"1") == b"%d" % version
    assert "balances" not in json.loads(record.value)
    again = read(record, READER)
    assert again == PLAIN.to_domain_event(notification)
    assert vars(again)["holder"] == "Ada"
    assert vars(again)["balances"] == {1: Decimal("0.00")}


@pytest.mark.parametrize("version", [1, 2])
def test_an_older_version_published_as_ciphertext_is_upcast_by_who_has_the_key(
    version: int,
) -> None:
    notification = stored_by_an_older_program(version, SECRET)
    reader = WireFormat(APPLICATION, EventTypes.of(Account), SECRET)

    again = read(linked(SECRETIVE.to_record(notification)), reader)

    assert vars(again)["balances"] == {1: Decimal("0.00")}


@pytest.mark.parametrize("version", [4, 400])
def test_a_newer_version_asks_for_an_update(version: int) -> None:
    record = opened_in_version(version, holder="Ada", balances={}, signature="…")

    with pytest.raises(
        OutdatedError, match=f"version {version} of Account.Opened.* up to 3: update it"
    ):
        read(record, READER)


def test_a_version_that_never_was_is_refused() -> None:
    with pytest.raises(WireError, match=r"header is malformed: .* no class version"):
        read(opened_in_version(0), READER)


def test_an_older_version_without_what_its_upcast_needs_is_refused() -> None:
    with pytest.raises(WireError, match=r"not a Account\.Opened: KeyError: 'name'"):
        read(opened_in_version(1, holder="Ada"), READER)


@pytest.mark.parametrize("value", [b"[]", b"1", b"null"])
def test_an_older_version_that_is_no_object_is_refused(value: bytes) -> None:
    with pytest.raises(WireError, match=r"not a Account\.Opened: .*no JSON object"):
        read(opened_in_version(2)._replace(value=value), READER)


def test_what_was_stored_without_an_attribute_is_read_with_the_default_of_its_class() -> None:
    event = happened(Account.Closed, reason="moved")
    del vars(event)["reason"]

    record = written(event)
    again = read(record, READER)

    assert "reason" not in json.loads(record.value)
    assert vars(again) == vars(event)
    assert again.reason == "unknown"  # type: ignore[attr-defined]
