"""`python -m tests.adapters.zombie SERVERS GROUP INPUT OUTPUT`: a worker process that commits what it has when it is told to.

Joins with a short session time-out, prints `ready`, and for a line on its standard input commits a batch under the membership it
had then; prints what became of it.
"""

import asyncio
import sys

from tests.conformance.clusters import Recorder, listener, log
from worker.adapters.kafka import KafkaSource, TransactionalSink
from worker.errors import CommitError
from worker.model import Batch, Message, Position, TopicPartition
from worker.settings.sections import KafkaSettings, StartFrom

SESSION = {"session.timeout.ms": 1000, "heartbeat.interval.ms": 200}


async def main(servers: str, group: str, topic: str, output: str) -> None:
    """Until standard input closes."""
    given = KafkaSettings(
        bootstrap_servers=servers, group_id=group, start_from=StartFrom.EARLIEST, properties=dict(SESSION)
    )
    source = KafkaSource(given, (topic,), log=log)
    sink = TransactionalSink(given, log=log)
    recorder = Recorder(source)
    await sink.start()
    await source.start(listener(recorder))
    while not recorder.starts:
        await asyncio.sleep(0.01)
    membership = await source.snapshot()
    print("ready", flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        try:
            positions = {TopicPartition(topic, 0): Position(99, "zombie")}
            await sink.commit(Batch((Message(output, b"key", b"zombie", ()),), positions, membership))
        except CommitError as error:
            print(type(error).__name__, error, flush=True)
        else:
            print("committed", flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
