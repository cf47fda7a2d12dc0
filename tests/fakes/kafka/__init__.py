"""An in-memory Kafka in parts; `tests.fakes.broker` says how to use it."""
