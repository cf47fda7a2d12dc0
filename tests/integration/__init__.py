"""The worker as real processes against a real Kafka and the emulated API."""
