"""Promise P8, from outside: a worker that meets every kind of error, with secrets for the API, for Kafka and for a registry, and
then everything that anybody can read of it."""

import base64
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest
from confluent_kafka import Consumer, Message, TopicPartition

from tests.integration.events import VECTOR, Event, encoded
from tests.integration.setup import Setup
from tests.integration.waiting import until
from tests.kafka import maven
from tests.kafka.backend import BackendUnavailable
from tests.kafka.kraft import KraftBroker
from tests.kafka.ports import free_port

pytestmark = pytest.mark.real_kafka

KEY: Final = "SG_5ecret/k3y+0f=the~api"
SASL: Final = "Sasl&passw0rd?5ecret"
REGISTRY: Final = "regi5try:pass/word!"
PARTITIONS: Final = 2

TEXTS: Final = (
    *(f"[[status:{status}]] an answer of {status}" for status in (307, 400, 401, 405, 409, 418, 422, 429, 500, 502)),
    "[[block]] blocked",
    "[[fail]] failing",
    "[[flaky]] flaky",
    "[[badvector:nan]] no numbers",
    "[[reject]] rejected",
    "[[hang]] for ever",
    "good",
)


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[Setup]:
    """Topics on a broker that asks for a password on a second port; `setup.bootstrap_servers` is the first."""
    try:
        broker = KraftBroker(maven.install(os.environ))
    except BackendUnavailable as missing:
        pytest.skip(f"needs a broker with a configuration of its own: {missing}")
    plain, sasl, controller = int(broker.bootstrap_servers.split(":")[1]), free_port(), free_port()
    login = 'org.apache.kafka.common.security.plain.PlainLoginModule required user_worker="' + SASL + '";'
    broker.configure(
        {
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "listeners": f"PLAINTEXT://127.0.0.1:{plain},SASL_PLAINTEXT://127.0.0.1:{sasl},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{plain},SASL_PLAINTEXT://127.0.0.1:{sasl}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT",
            "sasl.enabled.mechanisms": "PLAIN",
            "listener.name.sasl_plaintext.plain.sasl.jaas.config": login,
        }
    )
    names = tuple(f"{label}-{uuid.uuid4().hex[:12]}" for label in ("input", "output", "dead-letter"))
    try:
        broker.start()
        for name in names:
            broker.create_topic(name, PARTITIONS, {})
        setup = Setup(broker.bootstrap_servers, tmp_path, (names[0], names[1], names[2]))
        setup.sasl_servers = f"127.0.0.1:{sasl}"  # type: ignore[attr-defined]
        yield setup
        setup.close()
    finally:
        broker.close()


def forms_of(secret: str) -> set[bytes]:
    """The ways in which a secret may be written."""
    raw = secret.encode()
    shifted = {base64.b64encode(before + raw)[3 * bool(before) : -4].strip(b"=") for before in (b"", b"x", b"xx")}
    return {
        raw,
        raw.hex().encode(),
        quote(secret).encode(),
        quote(secret, safe="").encode(),
        json.dumps(secret)[1:-1].encode(),
        *(form[2:] for form in shifted),
    }


def check(what: str, shown: bytes) -> None:
    """Nothing that was shown holds a secret."""
    for secret in (KEY, SASL, REGISTRY):
        for form in forms_of(secret):
            assert form not in shown, f"{what} holds {form!r} of {secret!r}"


def environment(setup: Setup, api: str, **overrides: str | None) -> dict[str, str]:
    """Everything over the port that asks for a password; log lines at their most talkative."""
    properties = {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "worker",
        "sasl.password": SASL,
        "session.timeout.ms": 6000,
        "heartbeat.interval.ms": 300,
    }
    given: dict[str, str | None] = {
        "SEGMIND_API_KEY": KEY,
        "WORKER_KAFKA__BOOTSTRAP_SERVERS": setup.sasl_servers,  # type: ignore[attr-defined]
        "WORKER_KAFKA__PROPERTIES": json.dumps(properties),
        "WORKER_LOG__LEVEL": "debug",
        "WORKER_API__DEADLINE": "25",
        "WORKER_API__ATTEMPTS": "2",
        "WORKER_API__PROXY": None,
        **overrides,
    }
    return setup.environment(api, **given)


def said(setup: Setup, what: str, arguments: tuple[str, ...], environment: Mapping[str, str]) -> str:
    """What a command says until it ends, checked."""
    process = setup.command(arguments, environment)
    process.wait(60.0)
    check(what, process.output.encode())
    return process.output


def everything_on(servers: str, topic: str) -> bytes:
    """All keys, values and headers of a topic, uncommitted ones too."""
    reader = Consumer({"bootstrap.servers": servers, "group.id": "reader", "isolation.level": "read_uncommitted"})
    found: list[bytes] = []
    for number in range(PARTITIONS):
        low, high = reader.get_watermark_offsets(TopicPartition(topic, number), timeout=10.0)
        reader.assign([TopicPartition(topic, number, low)])
        while reader.position([TopicPartition(topic, number)])[0].offset < high:
            message = reader.poll(1.0)
            if message is None:
                break
            found += [message.key() or b"", message.value() or b""]
            for name, value in headers_of(message):
                found += [name.encode(), value or b""]
    reader.close()
    return b"\n".join(found)


def headers_of(message: Message) -> list[tuple[str, bytes | None]]:
    headers: Any = message.headers()
    return list(headers or [])


def metadata_of(setup: Setup) -> bytes:
    """The ledgers, as they are and as the bytes that they encode."""
    reader = Consumer({"bootstrap.servers": setup.bootstrap_servers, "group.id": setup.group})
    partitions = [TopicPartition(setup.input, number) for number in range(PARTITIONS)]
    texts = [found.metadata or "" for found in reader.committed(partitions, timeout=10.0)]
    reader.close()
    assert all(texts)
    return b"\n".join(
        [text.encode() for text in texts] + [base64.b64decode(f"{text[4:]}===") for text in texts if text]
    )


@pytest.mark.timeout(180)
def test_no_secret_is_in_anything_that_a_worker_shows_whatever_goes_wrong(setup: Setup) -> None:
    emulator = setup.emulator(
        module="tests.integration.quoting_emulator", get_error_rate=0.1, reset_before=0.05, get_reset_after=0.05
    )
    api = emulator.wait_url()
    events = [Event(b"key-%d" % n, encoded(text), VECTOR) for n, text in enumerate(TEXTS)]
    setup.produce([*events, Event(b"garbage", b"\xff" * 40, "INVALID_EVENT"), Event(b"gone", None, "tombstone")])
    worker = setup.worker(api, **environment(setup, api))
    pages: set[str] = set()

    def finished() -> bool:
        nonlocal pages
        if worker.logged("started"):
            pages |= {worker.ready()[1], worker.page("spend")}
        return setup.lag() == 0

    until(finished, 120.0, "lag 0", lambda: f"lag {setup.lag()}\n{worker.tail}")
    assert worker.stop() == 0
    reasons = {line.get("reason") for line in worker.logged("dead_letter")}
    # chance has a hand in which reason ends the others
    assert {"CONTENT_BLOCKED", "INVALID_REQUEST", "INVALID_EVENT"} < reasons - {None}
    assert any("api_key" in line["reason"] for line in worker.logged("halted"))
    assert any("halted" in page for page in pages)

    check("the log", worker.output.encode())
    check("/readyz and /spend", "\n".join(pages).encode())
    for topic in (setup.input, setup.output, setup.dead_letter):
        check(topic, everything_on(setup.bootstrap_servers, topic))
    check("the ledgers", metadata_of(setup))

    well = environment(setup, api)
    assert "[redacted]" in said(setup, "embed", ("embed", "[[status:403]] x"), well)
    assert "***" in said(setup, "check --show", ("check", "--show"), well)
    assert "CONTENT_BLOCKED" in said(setup, "dead-letters stats", ("dead-letters", "stats"), well)
    assert "[redacted]" in said(setup, "dead-letters list", ("dead-letters", "list", "--json"), well)
    assert "dlq.reason" in said(setup, "dead-letters show", ("dead-letters", "show", "0:0", "--full"), well)
    assert "replayed" in said(setup, "replay", ("replay", "--yes", "--force", "--limit", "3"), well)
    assert setup.group in said(setup, "pending", ("pending", "--json"), well)
    assert (
        "sasl"
        in said(
            setup,
            "a wrong password",
            ("check",),
            environment(setup, api, WORKER_KAFKA__PROPERTIES=json.dumps(wrong_password())),
        ).lower()
    )
    for name, value in (
        ("WORKER_REGISTRY__URL", f"http://user:{quote(REGISTRY, safe='')}@127.0.0.1:1"),
        ("WORKER_KAFKA__PROPERTIES", json.dumps({"sasl.password": SASL, "acks": "1"})),
        ("WORKER_API__PROXY", f"socks://user:{REGISTRY}@127.0.0.1:1"),
        ("WORKER_API__BASE_URL", f"http://user:{KEY}@127.0.0.1:1"),
        ("WORKER_API_KEY", KEY),
        ("WORKER_KAFKA__SASL_PASSWORD", SASL),
    ):
        assert name in said(setup, name, ("run",), environment(setup, api) | {name: value})


def wrong_password() -> dict[str, str]:
    """What a broker refuses."""
    return {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "worker",
        "sasl.password": SASL[::-1] + SASL,
    }
