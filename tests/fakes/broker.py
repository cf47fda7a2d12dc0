"""An in-memory Kafka: topics, transactions, consumer groups, and the ports `Source` and `Sink` on them.

No threads and no time of its own: everything runs on the event loop, real or virtual, in the same order on every run.

    broker = FakeBroker({"in": 3, "out": 1}, transaction_timeout=10.0)
    source = broker.source(group, ["in"], start_from=StartFrom.EARLIEST, revoke_timeout=5.0)
    sink = broker.transactional_sink(source)                   exactly once; `transactional_id=` to reuse one
    sink = broker.sink(source.commit, source.connection)       at least once
    await broker.close()                                       at the end of a test that used expel(silent=...), freeze or unplug

Topics      create_topic(name, n), delete_topic(name, keep_offsets=False), topic_id(name), partitions(names), log(tp) (records,
            begin, end, stable), records(topic) (both as read_committed sees them), publish(topic, key, value, headers,
            partition=...), skip(tp, n): a gap; truncate(tp, begin). `coordinator.markers_take_offsets = False`: no gaps.
Groups      committed(group) (a mapping; changing it is an operator's reset), latest(group, tp) (what is decided, marker there or
            not), rebalance(group), offset_metadata_max (4096 characters, of which 4095 are usable).
Watching    watchers.append(f): f(Decided) at each decision of a transaction (committed or aborted, with records and positions)
            and at each plain commit, at the very moment. A record in it has the offset it got; aborted ones are in no topic.
Faults      broker.faults, see `Faults`: delays(step) for each request and each answer, marker_delay, unknown_commit (a deque of
            Unknown.APPLIED / LOST / LATE), fail_settle, fail_recall, abort_publish, abort_commit, max_bytes, ...
Processes   source.connection, shared by the ports of one process (`broker.sink` has to be told):
              cut()              kill -9: its calls never return (cancel its tasks), what it has sent takes effect
              freeze(), thaw()   SIGSTOP, SIGCONT: its calls return and its listener hears after thaw
              unplug(), plug()   its network: source calls abort, a transaction becomes CommitUnknown, settle aborts
              await gate()       waits while frozen, for ever once cut: for a process's clock and HTTP calls
            A silent member keeps its partitions, and does not learn new generations, until the group removes it:
              await broker.kill(source)                   for good (a cut one, after the session time-out)
              await broker.expel(source)                  removed, heard `lost`, joined again
              await broker.expel(source, silent=30.0)     a zombie for 30 s, or until the group refuses its offsets, or until
                                                          `await source.hear()`. A frozen one hears after thaw.
"""

from tests.fakes.kafka.cluster import FakeBroker
from tests.fakes.kafka.connection import Connection
from tests.fakes.kafka.faults import Faults, Unknown
from tests.fakes.kafka.sink import FakeSink
from tests.fakes.kafka.source import FakeSource
from tests.fakes.kafka.transactional_sink import FakeTransactionalSink
from tests.fakes.kafka.transactions import Decided

__all__ = [
    "Connection",
    "Decided",
    "FakeBroker",
    "FakeSink",
    "FakeSource",
    "FakeTransactionalSink",
    "Faults",
    "Unknown",
]
