"""`embedding-worker dead-letters`: a file per command, and what they share."""
