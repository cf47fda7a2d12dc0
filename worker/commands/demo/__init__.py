"""`embedding-worker demo`: the whole path in one command, on an embedded broker and an emulated API."""
