"""A message-driven embedding worker."""
