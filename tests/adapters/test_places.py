"""What is known of topics' ids, and for how long."""

from typing import Any

from worker.adapters.kafka.places import Places
from worker.settings.sections import KafkaSettings


class Cluster:
    """A consumer of the embedded broker, which answers no question of an admin client."""

    def list_topics(self, topic: str, timeout: float) -> Any:
        self.cluster_id = "mockCluster1"
        return self


def known_places() -> Places:
    places = Places(KafkaSettings(), lambda level, line: None)
    cluster: Any = Cluster()
    places.renew(["texts"])
    places.look(cluster)
    return places


def test_a_rebalance_that_brings_partitions_lets_their_topic_be_asked_for_again() -> None:
    places = known_places()
    assert places.of("texts") == ("mockCluster1", "texts")
    places.renew(["texts"])
    assert places.of("texts") is None


def test_a_rebalance_that_brings_nothing_leaves_everything_known() -> None:
    places = known_places()
    places.renew([])
    assert places.of("texts") == ("mockCluster1", "texts")
