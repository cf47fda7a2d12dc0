"""The worker beside the vendor's SDK in a thread pool: the same work on the same broker and emulator, in one run."""
