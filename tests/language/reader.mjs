// Reads a topic with a client that knows nothing of the program that writes it:
// node reader.mjs SERVERS TOPIC GROUP COUNT COMPRESSION prints so many records, a line of JSON each.
import { createRequire } from "node:module";

// From the folder that it is run in, where npm has installed what is needed.
const require = createRequire(`${process.cwd()}/`);
const { CompressionCodecs, CompressionTypes, Kafka, logLevel } = require("kafkajs");
const { decompress } = require("fzstd");

const [servers, topic, groupId, count, compression] = process.argv.slice(2);

// kafkajs reads gzip by itself, and has no zstd of its own.
if (compression === "zstd")
  CompressionCodecs[CompressionTypes.ZSTD] = () => ({
    decompress: async (buffer) => Buffer.from(decompress(buffer)),
  });

const kafka = new Kafka({ brokers: servers.split(","), logLevel: logLevel.ERROR });
const consumer = kafka.consumer({ groupId, readUncommitted: false });
await consumer.connect();
await consumer.subscribe({ topic, fromBeginning: true });

const text = (buffers) =>
  Object.fromEntries(Object.entries(buffers).map(([name, value]) => [name, value.toString()]));

let left = Number(count);
await new Promise((finished, failed) => {
  // What it can be rid of by itself, such as a coordinator that is loading, it tells of as well.
  consumer.on(consumer.events.CRASH, ({ payload: { restart, error } }) => restart || failed(error));
  consumer.run({
    eachMessage: async ({ partition, message: { offset, key, headers, value } }) => {
      if (left-- > 0)
        console.log(
          JSON.stringify({
            partition,
            offset: Number(offset),
            key: key.toString(),
            headers: text(headers),
            value: value.toString(), // JavaScript has no integers beyond 2 ** 53.
          }),
        );
      if (left === 0) finished();
    },
  });
});
await consumer.disconnect();
