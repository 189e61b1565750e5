"""An event that can't be applied, where the partition is to stop before it."""

from eventsourcing_kafka.consumer.engine.applying import Applied, Applier, OnError
from eventsourcing_kafka.producer.kafka.topics import partition_of
from tests.pipeline import FastPath, page_id, write_page


async def test_an_event_that_cannot_be_applied_is_named_and_not_passed(
    environment: dict[str, str],
) -> None:
    async with FastPath(environment) as shortcut:
        write_page(shortcut.wiki, "page", "one\n")
        await shortcut.catch_up()
        pages, before = await shortcut.pages(), await shortcut.seen()
        await shortcut.sql("UPDATE {schema}.pages SET body = 'another'")
        position = shortcut.wiki.update_body("page", "two\n")

        outcome = await Applier(shortcut.store, OnError.STOP).apply(
            shortcut.connection, shortcut.batch(before), before
        )
        assert isinstance(outcome, Applied)
        partition = partition_of(str(page_id(shortcut.wiki, "page")).encode(), shortcut.partitions)
        where = f"(partition {partition}, offset {before[partition].offset}, position {position})"
        assert outcome.stopped[partition].endswith(where)
        assert "DiffError" in outcome.stopped[partition]
        assert (await shortcut.seen()) == before
        assert (await shortcut.pages())[0].version == pages[0].version
