"""Chaos on a real Kafka: workers are killed, frozen and restarted, brokers too, and every event is accounted for."""
