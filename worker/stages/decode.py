"""Decode: Avro bytes to a text event."""

from collections.abc import Callable

from worker.errors import InvalidEvent, Rejected
from worker.model import EmbedRequest, Reason, Record, TextEvent
from worker.ports import Codec
from worker.settings.sections import ApiSettings


class Decode:
    """Makes a text event of a record, and of the event what is asked of the API."""

    def __init__(self, codec: Codec, extract: Callable[[object, Record], TextEvent], api: ApiSettings) -> None:
        self._codec = codec
        self._extract = extract
        self._api = api

    async def __call__(self, record: Record, value: bytes) -> TextEvent:
        """The event. Raises Rejected (INVALID_EVENT)."""
        try:
            return self._extract(await self._codec.decode(record.source.topic, value), record)
        except InvalidEvent as error:
            raise Rejected(Reason.INVALID_EVENT, str(error), retryable=False) from None

    def request(self, event: TextEvent) -> EmbedRequest:
        """What is asked of the API: the event's own wishes win over the settings."""
        return EmbedRequest(
            event.text,
            event.task_type or self._api.task_type,
            event.output_dimensionality or self._api.output_dimensionality,
        )
