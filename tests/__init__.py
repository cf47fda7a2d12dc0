"""Tests of embedding-worker."""
