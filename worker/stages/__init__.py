"""One verb, one file: consume, decode, submit, poll, publish, commit."""
