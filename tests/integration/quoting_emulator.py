"""`python -m tests.integration.quoting_emulator`: an API that quotes the caller's key wherever it can, in every form, and that
answers a text with `[[status:N]]` in it once with that status."""

import base64
import re
from urllib.parse import quote

import orjson

from tests.emulator.process import main
from worker.emulator.answers import Reply, error
from worker.emulator.api import Call
from worker.emulator.config import EmulatorConfig
from worker.emulator.server import Emulator

_STATUS = re.compile(rb"\[\[status:(\d{3})\]\]")


class QuotingEmulator(Emulator):
    """Whatever goes wrong, the answer repeats the key: in the message, in headers, in a URL."""

    def __init__(self, config: EmulatorConfig) -> None:
        super().__init__(config)
        self._met: set[bytes] = set()

    def handle(self, call: Call) -> Reply:
        """As the emulator does, but for what it says."""
        key = call.headers.get("x-api-key", "")
        wanted = _STATUS.search(call.body)
        if wanted and call.body not in self._met:
            self._met.add(call.body)
            headers = (("location", f"http://127.0.0.1:1/{quote(key)}?x={key}"), ("x-rate-limit-reset-at-utc", key))
            return error(int(wanted[1]), f"refused on purpose: {quoted(key)}", headers)
        reply = super().handle(call)
        if reply.status < 400 or reply.reset:
            return reply
        try:
            said = orjson.loads(reply.body)
        except ValueError:
            return Reply(reply.status, reply.body + quoted(key).encode(), reply.content_type, reply.headers)
        said["error"] = f"{said.get('error')}: {quoted(key)}"
        return Reply(reply.status, orjson.dumps(said), headers=(*reply.headers, ("x-your-key", key)))


def quoted(key: str) -> str:
    """The key as a careless server might show it."""
    encoded = base64.b64encode(key.encode()).decode()
    basic = base64.b64encode(f"user:{key}".encode()).decode()
    return f"x-api-key: {key}; {encoded}; Basic {basic}; ?key={quote(key, safe='')}; {key.encode().hex()}"


if __name__ == "__main__":
    main(QuotingEmulator, __doc__)
