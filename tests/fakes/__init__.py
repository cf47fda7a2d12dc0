"""Fakes of the ports: real behaviour, in memory, without threads."""
