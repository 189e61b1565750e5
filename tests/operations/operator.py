"""A person who sets the offsets of a group."""

from collections.abc import Mapping

from aiokafka import AIOKafkaConsumer, OffsetAndMetadata, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from eventsourcing_kafka.compose.servers.kafka import Kafka
from eventsourcing_kafka.producer.kafka.clients import started
from eventsourcing_kafka.producer.kafka.topics import Topics
from tests.pipeline import Pipeline


class Operator:
    """Sets the offsets of a view's group with Kafka's own tool, when it has no members."""

    def __init__(self, kafka: Kafka, pipeline: Pipeline) -> None:
        self._kafka = kafka
        self._pipeline = pipeline
        self.group = f"{pipeline.settings.group_prefix}{pipeline.store.schema}"
        self.topic = Topics.of("ContentManagement", pipeline.settings).events

    async def reset(self, to: str, *argument: str, partition: int | None = None) -> None:
        """Stop the consumers and set the offsets of one partition, or of all."""
        await self.stop()
        topic = self.topic if partition is None else f"{self.topic}:{partition}"
        options = ("--reset-offsets", f"--{to}", *argument, "--execute")
        await self._kafka.tool("consumer-groups", "--group", self.group, "--topic", topic, *options)

    async def stop(self) -> None:
        while self._pipeline.consumers:
            await self._pipeline.consumers.pop().stop()

    async def commit(self, offset: int, metadata: str = "") -> None:
        """Do to the first partition what the tool does, with any metadata."""
        await self.stop()
        client = self._pipeline.settings.client()
        kafka = AIOKafkaConsumer(**client, group_id=self.group, enable_auto_commit=False)
        async with started(kafka):
            partition = TopicPartition(self.topic, 0)
            kafka.assign([partition])
            await kafka.commit({partition: OffsetAndMetadata(offset, metadata)})

    async def forget_group(self) -> None:
        """Have the group gone, as it is after seven days without members."""
        await self.stop()
        await self._kafka.tool("consumer-groups", "--delete", "--group", self.group)

    async def committed(self) -> Mapping[int, OffsetAndMetadata]:
        async with started(AIOKafkaAdminClient(**self._pipeline.settings.client())) as admin:
            offsets = await admin.list_consumer_group_offsets(self.group)
        return {partition.partition: offset for partition, offset in offsets.items()}

    async def is_mirrored(self) -> bool:
        trackings = await self._pipeline.trackings()
        return await self.committed() == {
            n: OffsetAndMetadata(seen.offset, f"position={seen.position}")
            for n, seen in trackings.items()
        }
