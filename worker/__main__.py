"""`python -m worker`: the same as `embedding-worker`."""

from worker.cli import main

main()
