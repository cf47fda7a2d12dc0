"""What a person is told of properties that are wrong and of brokers that do not answer."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator

import pytest

from worker.adapters.kafka import Topics
from worker.adapters.kafka.clients import RememberedCause, masked
from worker.emulator.broker import EmbeddedBroker
from worker.errors import ConfigurationError, StartError
from worker.settings.sections import KafkaSettings

NOWHERE = "127.0.0.1:1"


@pytest.fixture(scope="module")
def plaintext() -> Iterator[str]:
    with EmbeddedBroker() as broker:
        yield broker.start()


@pytest.fixture
async def gibberish() -> AsyncIterator[str]:
    """A server that is no Kafka broker."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_one_client_waits_and_repeats_no_line() -> None:
    lines: list[str] = []
    words: list[str] = []
    topics = Topics(KafkaSettings(bootstrap_servers=NOWHERE), lambda level, line: lines.append(line))
    with pytest.raises(StartError, match=r"127\.0\.0\.1:1: Connect to .* failed: Connection refused"):
        await topics.wait_reachable(words.append, patience=3.0)
    assert len([line for line in lines if "Connection refused" in line]) == 1
    assert len(words) == 1


async def test_a_tls_client_at_a_plaintext_listener_is_told_so(plaintext: str) -> None:
    topics = Topics(
        KafkaSettings(bootstrap_servers=plaintext, properties={"security.protocol": "SSL"}), lambda level, line: None
    )
    with pytest.raises(StartError, match="PLAINTEXT broker listener"):
        await topics.wait_reachable(lambda _: None, patience=0.1)


async def test_the_cause_of_a_failed_handshake_is_told(gibberish: str) -> None:
    topics = Topics(
        KafkaSettings(bootstrap_servers=gibberish, properties={"security.protocol": "SSL"}), lambda level, line: None
    )
    with pytest.raises(StartError, match=r"SSL handshake failed: .*wrong version number"):
        await topics.wait_reachable(lambda _: None, patience=0.1)


def test_a_line_that_only_follows_does_not_replace_the_cause() -> None:
    handed: list[str] = []
    cause = RememberedCause(lambda level, line: handed.append(line))
    place = "[rdkafka#consumer-1] [thrd:ssl://b:1/bootstrap]: ssl://b:1/bootstrap"
    for line in (
        f"FAIL {place}: SASL authentication error: Authentication failed (after 3ms in state AUTH_REQ)",
        f"FAIL {place}: Disconnected: connection reset by peer (after 1ms in state SSL_HANDSHAKE)",
        "Kafka: 1/1 brokers are down",
    ):
        cause.log(40, line)
    assert cause.line == "b:1: SASL authentication error: Authentication failed"
    assert len(handed) == 3


@pytest.mark.parametrize("name", ["session.timeout.ms", "delivery.timeout.ms"])
async def test_properties_of_either_client_are_tried_without_a_broker(name: str) -> None:
    wrong = KafkaSettings(bootstrap_servers=NOWHERE, properties={name: "abc"})
    with pytest.raises(ConfigurationError, match=r"WORKER_KAFKA__PROPERTIES: .*timeout\.ms"):
        await Topics(wrong, lambda level, line: None).try_properties()
    await Topics(KafkaSettings(bootstrap_servers=NOWHERE), lambda level, line: None).try_properties()


def test_secrets_are_masked_and_user_names_and_short_values_are_not() -> None:
    properties = json.loads(
        '{"sasl.username": "u", "sasl.password": "hunter2", "ssl.key.pem": "PEM!", "x.secret": "e"}'
    )
    assert masked("a user u of hunter2 sent PEM!", properties) == "a user u of *** sent ***"
