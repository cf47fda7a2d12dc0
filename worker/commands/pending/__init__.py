"""`embedding-worker pending`: the jobs that the committed offsets remember."""
