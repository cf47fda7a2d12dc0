"""`python -m tests.chaos.emulator`: the emulator, and a record of every POST that it accepted: when, whose, and whether the
answer arrived; and of every question for a job. `GET /_emulator/posts/N` and `polls/N` give the record from number N on."""

import hashlib
import time

import orjson

from tests.emulator.process import main
from worker.emulator.answers import Reply, json_reply
from worker.emulator.api import Call
from worker.emulator.config import EmulatorConfig
from worker.emulator.server import Emulator

POSTS = "/_emulator/posts/"
POLLS = "/_emulator/polls/"


class RecordingEmulator(Emulator):
    """Each worker process has an API key of its own: so it is known who posted what."""

    def __init__(self, config: EmulatorConfig) -> None:
        super().__init__(config)
        self._posts: list[tuple[float, str, str, bool, bool]] = []
        self._polls: list[tuple[float, str]] = []

    def handle(self, call: Call) -> Reply:
        """As the emulator does."""
        if call.path.startswith(POSTS):
            return json_reply(200, self._posts[int(call.path.removeprefix(POSTS)) :])
        if call.path.startswith(POLLS):
            return json_reply(200, self._polls[int(call.path.removeprefix(POLLS)) :])
        if call.path.startswith("/v2/requests/"):
            self._polls.append((time.time(), call.path.split("/")[3]))
        reply = super().handle(call)
        # a reset after acceptance keeps the status of the answer that nobody gets
        if call.method == "POST" and call.path.startswith("/v2/") and reply.status == 200:
            self._accepted(call, reply)
        return reply

    def _accepted(self, call: Call, reply: Reply) -> None:
        text: str = orjson.loads(call.body)[self.config.text_field]
        job = self._account.jobs.get(orjson.loads(reply.body)["request_id"])
        digest = hashlib.sha256(text.encode()).hexdigest()
        billed = job is not None and job.error is None
        self._posts.append((time.monotonic(), call.headers.get("x-api-key", ""), digest, billed, reply.reset))


if __name__ == "__main__":
    main(RecordingEmulator, __doc__)
