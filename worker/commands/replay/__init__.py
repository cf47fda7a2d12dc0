"""`embedding-worker replay`."""
