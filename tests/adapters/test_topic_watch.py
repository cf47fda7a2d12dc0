"""How often ids of topics are asked for, and what is made of the answers."""

from collections.abc import Collection, Mapping
from concurrent.futures import Future
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from worker.adapters.kafka.topic_watch import TopicWatch


class Described:
    def __init__(self, topic_id: str) -> None:
        self.topic_id = topic_id


class Places:
    """Assigned as `ids` say; answers as `broker` says: an id, or the code of an error."""

    def __init__(self) -> None:
        self.ids = {"texts": "one"}
        self.broker: dict[str, str | int] = {"texts": "one"}
        self.questions: list[Collection[str]] = []
        self.silent = False

    def of(self, topic: str) -> tuple[str, str] | None:
        return ("cluster", self.ids[topic]) if topic in self.ids else None

    def lasting(self, topic: str) -> bool:
        return self.ids.get(topic) == topic

    def ask(self, topics: Collection[str]) -> Mapping[str, Future[Any]]:
        self.questions.append(tuple(topics))
        return {topic: Future() if self.silent else self._answer(topic) for topic in topics}

    def _answer(self, topic: str) -> Future[Any]:
        future: Future[Any] = Future()
        found = self.broker[topic]
        if isinstance(found, int):
            future.set_exception(KafkaException(KafkaError(found)))
        else:
            future.set_result(Described(found))
        return future


class Scene:
    def __init__(self) -> None:
        self.places = Places()
        self.now = 1000.0
        self.lines: list[str] = []
        places: Any = self.places
        self.watch = TopicWatch(places, lambda _, line: self.lines.append(line), lambda: self.now)

    def turn(self, seconds: float, *, step: float = 0.01, busy: bool = False) -> list[str]:
        """What has changed in that time."""
        changed: list[str] = []
        for _ in range(round(seconds / step)):
            if busy:
                self.watch.hasten()
            changed += self.watch.look(set(self.places.ids))
            self.now += step
        return changed


@pytest.fixture
def on() -> Scene:
    return Scene()


def test_an_idle_worker_asks_once_in_five_seconds_for_all_topics_together(on: Scene) -> None:
    on.places.ids["more"] = on.places.broker["more"] = "two"
    assert not on.turn(59.9)
    assert len(on.places.questions) == 12
    assert all(set(asked) == {"texts", "more"} for asked in on.places.questions)


def test_a_busy_worker_asks_five_times_a_second_and_always_trusts_what_comes(on: Scene) -> None:
    on.turn(0.03, busy=True)
    for _ in range(200):
        on.turn(0.01, busy=True)
        assert on.watch.trusts("texts", on.now)
    assert len(on.places.questions) <= 11


def test_after_idling_records_wait_for_an_answer_to_a_question_that_is_younger_than_their_topics_death(
    on: Scene,
) -> None:
    on.turn(3)
    polled = on.now
    assert not on.watch.trusts("texts", polled)
    on.turn(0.02, busy=True)
    assert on.watch.trusts("texts", polled)


def test_slow_turns_do_not_withhold_records_for_ever(on: Scene) -> None:
    on.turn(3)
    polled = on.now
    on.turn(1.2, step=0.6, busy=True)
    assert on.watch.trusts("texts", polled)


def test_another_id_counts_when_it_was_told_twice(on: Scene) -> None:
    on.turn(3)
    on.places.broker["texts"] = "anew"
    on.turn(0.1, busy=True)
    on.places.broker["texts"] = "one"
    assert not on.turn(6)
    on.places.broker["texts"] = "anew"
    assert on.turn(6) == ["texts"]
    assert not on.watch.trusts("texts", on.now)


@pytest.mark.parametrize("code", [KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._TIMED_OUT, KafkaError._TRANSPORT])
def test_an_error_changes_nothing_but_a_topic_that_stays_unknown_is_gone(on: Scene, code: int) -> None:
    on.turn(1)
    on.places.broker["texts"] = code
    on.turn(3, busy=True)
    assert not on.watch.trusts("texts", on.now)
    gone = code == KafkaError.UNKNOWN_TOPIC_OR_PART
    assert on.turn(6)[:1] == (["texts"] if gone else [])
    assert len(on.lines) == len([line for line in on.lines if "does not exist any more" in line]) == gone


def test_an_answer_from_before_an_assignment_says_nothing_of_it(on: Scene) -> None:
    on.places.silent = True
    on.turn(0.02)
    on.places.silent = False
    on.watch.renew()
    on.turn(0.5, busy=True)
    assert len(on.places.questions) > 1
    assert on.watch.trusts("texts", on.now)


def test_topics_without_ids_are_trusted_and_not_asked_for(on: Scene) -> None:
    on.places.ids["texts"] = "texts"
    on.turn(20, busy=True)
    assert on.watch.trusts("texts", on.now)
    assert not on.places.questions
