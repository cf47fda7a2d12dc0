"""A codec that speaks JSON, so that tests can be read."""

import json

from worker.errors import InvalidEvent
from worker.model import Embedding, Redacted


class JsonCodec:
    """The port `Codec` with JSON in place of Avro."""

    async def decode(self, topic: str, value: bytes) -> object:
        try:
            return json.loads(value)
        except ValueError as error:
            raise InvalidEvent(f"not JSON: {error}") from None

    def encode(self, embedding: Embedding) -> bytes:
        return json.dumps(
            {
                "id": embedding.id,
                "vector": list(embedding.vector),
                "request_id": embedding.job.request_id,
                "attempts": embedding.job.attempt,
                "offset": embedding.record.offset,
                "text_sha256": embedding.text_sha256,
            }
        ).encode()

    def encode_redacted(self, redacted: Redacted) -> bytes:
        return json.dumps(
            {
                "id": redacted.id,
                "text_sha256": redacted.text_sha256,
                "characters": redacted.characters,
                "bytes": redacted.utf8_bytes,
            }
        ).encode()
