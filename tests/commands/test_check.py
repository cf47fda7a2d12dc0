"""`check`: what it finds, and what it leaves out as a mere repetition."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from worker.commands.check import Finding, checked
from worker.core.api_url import is_clear_text
from worker.emulator.broker import EmbeddedBroker
from worker.emulator.config import EmulatorConfig
from worker.emulator.server import Emulator
from worker.settings import load

NOWHERE = "127.0.0.1:1"


@pytest.fixture(scope="module")
def empty_broker() -> Iterator[str]:
    with EmbeddedBroker() as broker:
        yield broker.start()


async def findings(monkeypatch: pytest.MonkeyPatch, servers: str = NOWHERE, **environ: str) -> dict[str, Finding]:
    monkeypatch.setattr("worker.commands.check.PATIENCE", 0.1)
    settings = load({"WORKER_KAFKA__BOOTSTRAP_SERVERS": servers, "WORKER_API__BASE_URL": f"http://{NOWHERE}"} | environ)
    said: list[Finding] = []
    found = await checked(settings, said.append)
    assert said == found
    return {finding.subject: finding for finding in found}


async def test_properties_that_run_would_refuse_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    found = await findings(monkeypatch, WORKER_KAFKA__PROPERTIES='{"session.timeout.ms": "abc"}')
    assert found["settings"].exit_code == 2
    assert "session.timeout.ms" in found["settings"].detail


async def test_missing_topics_are_told_once(monkeypatch: pytest.MonkeyPatch, empty_broker: str) -> None:
    found = await findings(monkeypatch, empty_broker)
    assert "missing topics" in found["topics"].detail
    assert "group" not in found


async def test_a_schema_that_cannot_be_read_names_its_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = await findings(monkeypatch, WORKER_INPUT__SCHEMA=str(tmp_path / "no.avsc"))
    assert found["schemas"].detail.startswith("WORKER_INPUT__SCHEMA: cannot read schema ")


async def test_a_variable_that_is_not_read_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    found = await findings(monkeypatch, SEGMIND_REGION="eu")
    assert "SEGMIND_REGION is not read" in found["settings"].detail
    assert found["settings"].exit_code == 0


@pytest.mark.parametrize("clear", [True, False])
async def test_a_key_in_clear_text_is_told_in_the_line_of_the_api(clear: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.commands.check.is_clear_text", lambda url: clear)
    emulator = Emulator(EmulatorConfig())
    url = await emulator.start()
    try:
        found = await findings(monkeypatch, WORKER_API__BASE_URL=url, SEGMIND_API_KEY="SG_0123456789")
    finally:
        await emulator.close()
    assert found["api"].exit_code == 0
    assert ("in clear text" in found["api"].detail) is clear


@pytest.mark.parametrize(
    ("url", "clear"),
    [
        ("https://api.segmind.com", False),
        ("http://api.segmind.com", True),
        ("http://10.0.0.1:8089", True),
        ("http://localhost:8089", False),
        ("http://127.0.0.2:8089", False),
        ("http://[::1]:8089", False),
        ("http://[::2]:8089", True),
        ("http://localhost.example.com", True),
    ],
)
def test_only_http_to_another_machine_is_clear_text(url: str, clear: bool) -> None:
    assert is_clear_text(url) is clear


async def test_an_empty_account_is_found_with_its_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    emulator = Emulator(EmulatorConfig(credits=0.0))
    url = await emulator.start()
    try:
        found = await findings(monkeypatch, WORKER_API__BASE_URL=url, SEGMIND_API_KEY="SG_0123456789")
    finally:
        await emulator.close()
    assert found["api"].exit_code == 3
    assert found["api"].detail.endswith(
        "takes the key, but the account is out of credits (0.00 USD and 0.00 USD free): top up"
    )


async def test_free_credits_are_money_too(monkeypatch: pytest.MonkeyPatch) -> None:
    emulator = Emulator(EmulatorConfig(credits=0.0, free_credits=1.0))
    url = await emulator.start()
    try:
        found = await findings(monkeypatch, WORKER_API__BASE_URL=url, SEGMIND_API_KEY="SG_0123456789")
    finally:
        await emulator.close()
    assert found["api"].exit_code == 0


async def test_an_api_that_never_answers_is_not_waited_for_as_long_as_api_timeout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("worker.commands.check.API_PATIENCE", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        environ = {"WORKER_API__BASE_URL": url, "SEGMIND_API_KEY": "SG_0123456789", "WORKER_API__TIMEOUT": "5"}
        found = await findings(monkeypatch, **environ)
    assert found["api"].exit_code == 3
    assert "the API has not answered within 0.1 s: check WORKER_API__BASE_URL" in found["api"].detail


@pytest.fixture(scope="module")
def two_topics() -> Iterator[str]:
    """A broker with two input topics of five records each; the group `embedding-worker` has read two of `texts`."""
    with EmbeddedBroker() as broker:
        servers = broker.start()
        for name in ("texts", "unrelated", "embeddings", "embeddings.dead-letter"):
            broker.create_topic(name, 1)
        producer = Producer({"bootstrap.servers": servers})
        for name in ("texts", "unrelated"):
            for number in range(5):
                producer.produce(name, str(number))
        assert producer.flush(30) == 0
        reader = Consumer({"bootstrap.servers": servers, "group.id": "embedding-worker"})
        reader.commit(offsets=[TopicPartition("texts", 0, 2)], asynchronous=False)
        reader.close()
        yield servers


async def test_a_new_topic_that_holds_records_is_found_where_the_group_has_offsets_of_another(
    monkeypatch: pytest.MonkeyPatch, two_topics: str
) -> None:
    found = await findings(monkeypatch, two_topics, WORKER_TOPICS__INPUT="texts,unrelated")
    assert found["group"].exit_code == 3
    assert "unrelated already holds 5 records" in found["group"].detail
    assert "texts already" not in found["group"].detail


@pytest.mark.parametrize(("start", "waiting"), [("latest", 3), ("earliest", 8)])
async def test_of_a_new_topic_those_records_wait_that_would_be_read(
    start: str, waiting: int, monkeypatch: pytest.MonkeyPatch, two_topics: str
) -> None:
    environ = {"WORKER_TOPICS__INPUT": "texts,unrelated", "WORKER_KAFKA__START_FROM": start}
    found = await findings(monkeypatch, two_topics, **environ)
    assert found["group"].exit_code == 0
    assert f"has {waiting} records before it; new to it: unrelated, starts from {start}" in found["group"].detail
