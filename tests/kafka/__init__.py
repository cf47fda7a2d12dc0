"""Kafka for tests: a given address, Docker, Apache Kafka from Maven artifacts, or the embedded mock, in this order."""
