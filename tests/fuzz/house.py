"""A worker whose API adapter and codec are the real ones, on an HTTP transport that a test makes hostile."""

import asyncio
import base64
import io
import json
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import httpx
from hypothesis import HealthCheck, Phase, settings

from tests.fakes.observer import RememberingObserver
from tests.fakes.virtual_time import EPOCH, run
from tests.flow.harness import DEAD, INPUT, OUTPUT, House
from worker.adapters.avro import AvroCodec, bundled_schema
from worker.adapters.segmind import SegmindApi
from worker.adapters.telemetry import LogObserver, Observers, open_log
from worker.app import Worker
from worker.model import Record, TopicPartition
from worker.notices import Ended, Notice
from worker.settings import Delivery, InputFormat

KEY = "SG_a+/b=0123456789abcdef"
SECRETS = (KEY, base64.b64encode(KEY.encode()).decode(), quote(KEY, safe=""), KEY.encode().hex())

EXAMPLES = settings(
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # to shrink a whole worker's life takes minutes
    suppress_health_check=[HealthCheck.too_slow],
)
"""For tests in which each example is a worker's whole life."""

Hostile = Callable[[httpx.Request], Awaitable[httpx.Response]]


class Web(httpx.AsyncBaseTransport):
    """The network. `hostile`: answers in place of the API while it is set. The API itself is as good as can be: each job is done
    at once."""

    def __init__(self) -> None:
        self.hostile: Hostile | None = None
        self.jobs: set[str] = set()
        self.requests = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        assert request.url.host == "api.segmind.com"
        await asyncio.sleep(0.01)
        if self.hostile is not None:
            return await self.hostile(request)
        path = bytes(request.extensions["target"]).decode()
        if request.method == "POST":
            request_id = str(uuid.UUID(int=len(self.jobs) + 1))
            self.jobs.add(request_id)
            return answer(200, {"request_id": request_id, "status": "QUEUED"})
        if path == "/v1/get-user-credits":
            return answer(200, {"credits": 10.0, "free-credits": 0.0})
        request_id = path.removeprefix("/v2/requests/").removesuffix("/status")
        if request_id not in self.jobs:
            return answer(404, {"error": f"Request {request_id} not found"})
        return answer(200, {"request_id": request_id, "status": "COMPLETED", "output": [0.5, 0.25], "metrics": {}})


def answer(status: int, body: object) -> httpx.Response:
    """JSON as the real transport gives it."""
    return raw_answer(status, [(b"content-type", b"application/json")], json.dumps(body).encode())


def raw_answer(status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> httpx.Response:
    """Anything at all."""
    return httpx.Response(status, headers=headers, stream=httpx.ByteStream(body))


class HostileHouse(House):
    """A house on that network. Everything that the worker says is kept."""

    def __init__(self, partitions: int, delivery: Delivery, **environment: str) -> None:
        super().__init__(partitions, delivery, **environment)
        self.web = Web()
        self.codec: Any = AvroCodec(
            (bundled_schema("text_event.avsc"),),
            InputFormat.AUTO,
            bundled_schema("embedding.avsc"),
            bundled_schema("redacted.avsc"),
        )
        self._log = io.StringIO()
        self.remembered = RememberingObserver()
        written = LogObserver(open_log("debug", json_lines=True, stream=self._log))
        self.observer: Any = Observers(self.remembered, written)
        self.sentences: set[str] = set()

    def start(self, until: Mapping[TopicPartition, int] | None = None, **changed: str) -> Worker:
        self.api: Any = SegmindApi(self.settings.api, lambda: KEY, self.web, self.clock.epoch)
        return super().start(until, **changed)

    async def until_all_is_done(self, worker: Worker, seconds: float) -> None:
        """Wait for the end of every record; what the worker says of itself meanwhile is kept."""

        def done() -> bool:
            self.sentences.update(worker.not_ready())
            return self.lag() == 0

        async with asyncio.timeout(seconds):
            while not done():
                assert not self.workers[-1].task.done(), "the worker has ended"
                await asyncio.sleep(1.0)

    def endings(self) -> Counter[tuple[int, int]]:
        """How often each record ended, by partition and offset."""
        ended = self.remembered.of(Ended)
        return Counter((notice.record.source.partition, notice.record.offset) for notice in ended)

    def outcomes(self) -> list[Record]:
        """All that was published."""
        return [*self.broker.records(OUTPUT), *self.broker.records(DEAD)]

    def said(self) -> Iterator[bytes]:
        """Everything that left the worker: topics, log lines, sentences, notices, committed metadata."""
        for record in self.outcomes():
            yield record.key or b""
            yield record.value or b""
            for name, value in record.headers:
                yield name.encode("utf-8", "replace")
                yield value or b""
        yield self._log.getvalue().encode()
        yield from (sentence.encode() for sentence in self.sentences)
        yield from (repr(notice).encode("utf-8", "replace") for notice in self.notices())
        for where in self.broker.partitions([INPUT]):
            committed = self.committed(where.partition)
            yield (committed.metadata if committed else "").encode()

    def notices(self) -> list[Notice]:
        """All of them."""
        return self.remembered.notices

    def check_secrets(self) -> None:
        """No form of the API key is in anything that was said."""
        found = b"\n".join(self.said())
        for secret in SECRETS:
            assert secret.encode() not in found


def in_hostile_house(
    test: Callable[[HostileHouse], Awaitable[None]],
    partitions: int = 2,
    delivery: Delivery = Delivery.EXACTLY_ONCE,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run a test in virtual time, and look for secrets in what the worker has said."""

    async def main() -> None:
        house = HostileHouse(partitions, delivery, **(environment or {}))
        try:
            async with asyncio.timeout(7 * 86400):
                await test(house)
        finally:
            await house.close()
        house.check_secrets()

    run(main())


NOW = EPOCH
"""The time, in seconds since the epoch, at which every test begins."""
