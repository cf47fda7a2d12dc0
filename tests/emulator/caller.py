"""Calls the emulator without a socket, in time that only the test moves."""

from dataclasses import dataclass
from typing import Any

import orjson

from worker.emulator.answers import Reply
from worker.emulator.api import Call
from worker.emulator.config import EmulatorConfig
from worker.emulator.server import Emulator

MODEL = "gemini-embedding-001"


@dataclass(slots=True)
class TestClock:
    """Seconds that stand still until the test adds to them."""

    __test__ = False
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


class Caller:
    """One emulator, one account; latency is 1 s and the first tenth of it is QUEUED, unless told otherwise."""

    def __init__(self, **settings: Any) -> None:
        self.clock = TestClock()
        self.emulator = Emulator(EmulatorConfig(**{"latency": "constant:1"} | settings), self.clock)

    def call(self, method: str, path: str, body: bytes = b"", **headers: str) -> Reply:
        sent = {"x-api-key": "SG_test", "content-type": "application/json", "host": "api.test:1"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return self.emulator.handle(Call(method, path, sent, body))

    def get(self, path: str) -> Reply:
        return self.call("GET", path)

    def post(self, fields: object, model: str = MODEL, **headers: str) -> Reply:
        return self.call("POST", f"/v2/{model}", orjson.dumps(fields), **headers)

    def submit(self, text: str, **fields: object) -> str:
        reply = self.post({"input": text} | fields)
        assert reply.status == 200, reply
        request_id: str = orjson.loads(reply.body)["request_id"]
        return request_id

    def status(self, request_id: str) -> Reply:
        return self.get(f"/v2/requests/{request_id}/status")

    def result(self, request_id: str) -> Reply:
        return self.get(f"/v2/requests/{request_id}")

    def outcome(self, text: str, **fields: object) -> Reply:
        """Submit, let all time pass that a job takes, fetch."""
        request_id = self.submit(text, **fields)
        self.clock.now += 1.0
        return self.result(request_id)

    def stats(self) -> dict[str, Any]:
        return self.emulator.stats()


def body_of(reply: Reply) -> dict[str, Any]:
    """The JSON object in a reply."""
    value = orjson.loads(reply.body)
    assert isinstance(value, dict)
    return value
