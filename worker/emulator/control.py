"""`/_emulator/`: statistics, bills and live changes. Needs no key; the emulator listens on the local machine only."""

from collections.abc import Callable
from typing import Any, Protocol

import orjson

from worker.emulator.answers import Reply, error, json_reply, wrong_verb
from worker.emulator.api import Call
from worker.emulator.config import InvalidConfigError

PREFIX = "/_emulator/"


class Controlled(Protocol):
    """What can be asked and changed from outside."""

    def stats(self) -> dict[str, Any]:
        """Counts of requests, jobs, bills and faults."""

    def bills(self) -> dict[str, int]:
        """Bills by the hex SHA-256 of the text."""

    def settings(self) -> dict[str, Any]:
        """The configuration in force."""

    def reconfigure(self, /, **changes: object) -> None:
        """Change settings; raises InvalidConfigError."""

    def reset(self) -> None:
        """Forget jobs, bills and counts."""


def control(emulator: Controlled, call: Call) -> Reply:
    """The reply to a call below `/_emulator/`."""
    routes: dict[str, dict[str, Callable[[], Reply]]] = {
        "stats": {"GET": lambda: json_reply(200, emulator.stats())},
        "bills": {"GET": lambda: json_reply(200, emulator.bills())},
        "config": {
            "GET": lambda: json_reply(200, emulator.settings()),
            "PATCH": lambda: _change(emulator, call.body),
        },
        "reset": {"POST": lambda: _reset(emulator)},
    }
    verbs = routes.get(call.path.removeprefix(PREFIX))
    if verbs is None:
        return error(404, f"Not found; there are {', '.join(PREFIX + name for name in routes)}")
    if call.method not in verbs:
        return wrong_verb(", ".join(verbs))
    return verbs[call.method]()


def _change(emulator: Controlled, body: bytes) -> Reply:
    try:
        changes = orjson.loads(body)
    except orjson.JSONDecodeError as problem:
        return error(400, f"the body is not JSON: {problem}")
    if not isinstance(changes, dict):
        return error(400, "the body must be a JSON object of configuration fields")
    try:
        emulator.reconfigure(**changes)
    except InvalidConfigError as problem:
        return error(400, str(problem))
    return json_reply(200, emulator.settings())


def _reset(emulator: Controlled) -> Reply:
    emulator.reset()
    return json_reply(200, {"status": "reset"})
