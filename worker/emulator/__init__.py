"""Local stand-ins for what the worker talks to: the Segmind API and a Kafka broker."""
