"""Topics as an archive: read from one offset to another without joining any group. Blocks."""

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as ClientPartition

from worker.adapters.kafka import lookups
from worker.adapters.kafka.clients import Log, error_of, open_consumer
from worker.adapters.kafka.places import Places, is_embedded
from worker.adapters.kafka.properties import archive_properties
from worker.adapters.kafka.records import record_of
from worker.core.ledger import fingerprint
from worker.errors import StartError
from worker.model import Record, TopicPartition
from worker.settings.sections import KafkaSettings

_POLL_SECONDS: Final = 0.2
_BATCH_RECORDS: Final = 500
_BATCH_BYTES: Final = 4 * 1_048_576
_SILENCE_SECONDS: Final = 30.0
"""Without a record, an end or an error before it is said that the brokers do not answer."""
_IDS_SECONDS: Final = 10.0
_NO_USE: Final = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.UNKNOWN_TOPIC_OR_PART)
_OUT_OF_RANGE: Final = (
    KafkaError._AUTO_OFFSET_RESET,  # noqa: SLF001
    KafkaError.OFFSET_OUT_OF_RANGE,
)


class KafkaArchive:
    """Two consumers that are assigned what is read, one partition at a time: one for scans, one for single records, which may be
    asked for amid a scan. `close` frees them."""

    def __init__(self, settings: KafkaSettings, log: Log) -> None:
        self._settings = settings
        self._log = log
        self._reader = open_consumer(archive_properties(settings), log)
        self._fetcher: Consumer | None = None

    def require_transactions(self) -> None:
        """Raises StartError on the embedded broker, which has none."""
        try:
            cluster = self._reader.list_topics(timeout=lookups.LOOKUP_SECONDS).cluster_id or ""
        except KafkaException as problem:
            raise lookups.unanswered("asking for the cluster", error_of(problem)) from None
        if is_embedded(cluster):
            raise StartError("the embedded broker has no transactions, on which a replay rests: use a real Kafka")

    def partition_counts(self, names: Iterable[str]) -> Mapping[str, int]:
        """Partitions of each topic. Raises StartError that lists all that are missing."""
        return lookups.partition_counts(self._reader, names)

    def bounds(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, tuple[int, int]]:
        """First offset and `read_committed` end of each. Raises StartError."""
        return lookups.watermarks(self._reader, partitions)

    def fingerprints(self, names: Collection[str]) -> Mapping[str, str]:
        """What tells each topic from another one of its name: hex digits of cluster id and topic id. Raises StartError."""
        places = Places(self._settings, self._log)
        places.wait(self._reader, names, _IDS_SECONDS)
        return {name: fingerprint(*places.known(name)).hex() for name in names}

    def scan(self, source: TopicPartition, begin: int, end: int) -> Iterator[Sequence[Record]]:
        """The committed records from `begin` up to `end`, some at a time; at times none, so that the caller can look around.

        Where retention deletes records meanwhile, it goes on with the first that is left. One scan at a time. Raises StartError.
        """
        return _Reading(self._reader, source, begin, end).batches()

    def record(self, source: TopicPartition, offset: int) -> Record | None:
        """The record at one offset; None where there is none any more. Raises StartError."""
        low, high = self.bounds([source])[source]
        if not low <= offset < high:
            return None
        if self._fetcher is None:
            self._fetcher = open_consumer(archive_properties(self._settings), self._log)
        found = [one for some in _Reading(self._fetcher, source, offset, offset + 1).batches() for one in some]
        return found[0] if found else None

    def close(self) -> None:
        """Free the clients."""
        self._reader.close()
        if self._fetcher is not None:
            self._fetcher.close()


class _Reading:
    """One partition, from one offset to another."""

    def __init__(self, reader: Consumer, source: TopicPartition, begin: int, end: int) -> None:
        self._reader = reader
        self._source = source
        self._position = begin
        self._end = end

    def batches(self) -> Iterator[Sequence[Record]]:
        """See `KafkaArchive.scan`."""
        if self._position >= self._end:
            return
        self._reader.assign([ClientPartition(*self._source, self._position)])
        heard = time.monotonic()
        try:
            while self._position < self._end:
                before = self._position
                yield self._batch()
                if self._position > before:
                    heard = time.monotonic()
                elif time.monotonic() - heard > _SILENCE_SECONDS:
                    raise StartError(self._why_silent())
        finally:
            self._reader.unassign()

    def _batch(self) -> list[Record]:
        records: list[Record] = []
        size, wait = 0, _POLL_SECONDS
        while len(records) < _BATCH_RECORDS and size < _BATCH_BYTES and self._position < self._end:
            message = self._reader.poll(wait)
            wait = 0.0
            if message is None:
                break
            error = message.error()
            if error is not None:
                self._told(message, error)
                continue
            record = record_of(message, self._source, 0)
            self._position = record.offset + 1
            if record.offset < self._end:
                records.append(record)
                size += record.size
        return records

    def _told(self, message: Message, error: KafkaError) -> None:
        """An error of the client, or the end of the partition. Raises StartError."""
        if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
            # just after a change of leaders an end may be told that is too low
            self._position = max(self._position, message.offset() or 0)
        elif error.code() in _OUT_OF_RANGE:
            low, high = lookups.watermarks(self._reader, [self._source])[self._source]
            self._position = max(self._position, self._end if low >= high else low)
            if self._position < self._end:
                self._reader.assign([ClientPartition(*self._source, self._position)])
        elif error.fatal() or error.code() in _NO_USE:
            raise lookups.unanswered(f"reading {self._source}", error)

    def _why_silent(self) -> str:
        _, high = lookups.watermarks(self._reader, [self._source])[self._source]
        if high < self._end:
            return f"{self._source} ends at {high} and had {self._end} before: it was shortened or made anew: plan anew"
        return f"{self._source}: the brokers sent nothing for {_SILENCE_SECONDS:g} s: are they well?"
