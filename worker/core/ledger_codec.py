"""The ledger as the metadata of a committed offset: bytes in base64, because brokers count characters.

    "ewl" version base64( crc32 head { mark run }* )

    crc32   4 bytes, of the version and of everything behind the crc
    head    46 bytes: fingerprints of cluster and topic (6 each), partition (4), offset (8), fingerprint of the job (6), unclean
            with two flags, clean and waiting (1), what is spent: the hour since the epoch (3), nanodollars of that hour and of
            its day (3 each: the upper bytes of a 4-byte float, five digits), newest submit time (4, seconds since the epoch),
            the reason of too many dead letters (4 bits, 0: none) and the number of entries (12 bits)
    mark    1 byte of flags; then, for an intent or a job: attempt (1), seconds before the newest submit time (2); then the
            request_id: 16 bytes where it is a UUID in its usual lowercase form, else its length (1) and itself
    run     varint: how many offsets up to the next entry (or the end) are finished

The first entry stands at the committed offset. Integers are big-endian; the base64 has no padding. Times are kept in whole
seconds, rounded down, and at most 65,535 s (18 h) apart: results live for an hour, so that what is lost by it changes nothing.
"""

import re
import struct
from base64 import b64decode, b64encode
from binascii import crc32
from typing import Any

from worker.core.answers import is_request_id
from worker.core.ledger import BLANK, MOST_CLAIMS, Entry, Ledger, Mark, Nothing, Place, Read, Refused, Void, fingerprint
from worker.core.spending import MOST, Spent
from worker.model import Reason

MAGIC = "ewl"
VERSION = "1"
UUID_BYTES = 16
"""Bytes that an id of the usual form takes."""
LONGEST_METADATA = 65_536
"""Characters read at most: far above 120 jobs with the longest ids (22,000)."""

_HEAD = struct.Struct(">6s6sIQ6sB3s3s3sIH")
_FLOAT = struct.Struct(">f")
_TIMING = struct.Struct(">BH")
_CRC = struct.Struct(">I")
FIXED_BYTES = _CRC.size + _HEAD.size
"""Of a ledger without entries."""
MARK_BYTES = 1 + _TIMING.size
"""Of the mark of a job, without its id."""

_UUID, _RAW, _INTENT, _CLAIM = 1, 2, 4, 8
_CLAIMS = MOST_CLAIMS * _CLAIM | _CLAIM
_CLEAN, _WAITING, _MOST_UNCLEAN = 0x80, 0x40, 0x3F
_LATEST, _OLDEST_AGE, _MOST_ATTEMPTS = 2**32 - 1, 2**16 - 1, 255
_MOST_OFFSET = 2**63 - 1
_REASONS: tuple[Reason | None, ...] = (None, *Reason)
_COUNT_BITS, _LATEST_HOUR = 12, 2**24 - 1
_CANONICAL_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def is_uuid(request_id: str) -> bool:
    """Has the id the usual form, which takes `UUID_BYTES`? Any other takes one byte more than it has characters."""
    return _CANONICAL_UUID.fullmatch(request_id) is not None


def encode(ledger: Ledger) -> str:
    """The ledger as ASCII text. Raises ValueError for what is no ledger (entries out of order, an impossible id)."""
    _check(ledger)
    times = [_seconds(entry.mark) for entry in ledger.entries if _timed(entry.mark)]
    newest = max(times, default=0)
    flags = (_CLEAN if ledger.clean else 0) | (_WAITING if ledger.waiting else 0)
    unclean = min(ledger.unclean, _MOST_UNCLEAN) | flags
    count = _REASONS.index(ledger.exceeded) << _COUNT_BITS | len(ledger.entries)
    head = (unclean, *_sums(ledger.spent), newest, count)
    body = bytearray(_HEAD.pack(*_standing(ledger.place, ledger.offset), ledger.job, *head))
    for index, (offset, mark) in enumerate(ledger.entries):
        _put_mark(body, mark, newest)
        stop = ledger.entries[index + 1].offset if index + 1 < len(ledger.entries) else ledger.end
        _put_varint(body, stop - offset - 1)
    return MAGIC + VERSION + _base64(_checksum(body) + body)


def decode(metadata: str, place: Place, offset: int) -> Read:
    """What the metadata of a partition's committed offset says. Never raises; work and memory grow with its length only.

    Whether its request_ids are usable is asked separately (`ledger.usable`).
    """
    if not metadata.startswith(MAGIC):
        return Nothing("another program's metadata" if metadata else "no metadata")
    if len(metadata) > LONGEST_METADATA:
        return Refused(f"its {len(metadata)} characters are more than any ledger has")
    if not metadata.startswith(MAGIC + VERSION):
        return Refused(
            f"its version {metadata[len(MAGIC) : len(MAGIC) + 1]!r} is not {VERSION!r}: a newer worker wrote it, or it is cut off"
        )
    try:
        raw = _bytes_of(metadata.removeprefix(MAGIC + VERSION))
        return _Reader(raw).ledger(place, offset)
    except (ValueError, IndexError, struct.error):
        return Refused("it is damaged")


def written_for_another(name: str) -> Void:
    """How `decode` says that a ledger belongs elsewhere. `name`: the first of cluster, topic, partition, offset that differs."""
    return Void(f"it was written for another {name}")


def _check(ledger: Ledger) -> None:
    stop = ledger.offset
    if len(ledger.entries) >> _COUNT_BITS:
        raise ValueError(f"{len(ledger.entries)} entries are too many")
    for index, entry in enumerate(ledger.entries):
        if entry.offset < stop or (index == 0 and entry.offset != ledger.offset):
            raise ValueError(f"the entry at offset {entry.offset} is out of order")
        request_id = entry.mark.request_id
        if request_id is not None and not is_uuid(request_id) and not is_request_id(request_id):
            raise ValueError(f"the request_id at offset {entry.offset} is none")
        stop = entry.offset + 1
    if (
        not 0 <= ledger.offset <= ledger.end <= _MOST_OFFSET
        or ledger.end < stop
        or (not ledger.entries and ledger.end != stop)
    ):
        raise ValueError(f"the end {ledger.end} does not follow from offset {ledger.offset} and the entries")


def _standing(place: Place, offset: int) -> tuple[bytes, bytes, int, int]:
    return fingerprint(place.cluster), fingerprint(place.topic), place.partition, offset


def _sums(spent: Spent) -> tuple[bytes, bytes, bytes]:
    hour = max(0, min(spent.hour, _LATEST_HOUR)).to_bytes(3, "big")
    of_hour, of_day = (_FLOAT.pack(min(nanos, MOST))[:3] for nanos in (spent.of_hour, spent.of_day))
    return hour, of_hour, of_day


def _sum(stored: bytes) -> int:
    """Raises ValueError for what is no sum."""
    nanos: float = _FLOAT.unpack(stored + b"\x00")[0]
    if not nanos >= 0.0:
        raise ValueError("an impossible sum")
    return round(min(nanos, MOST))


def _timed(mark: Mark) -> bool:
    return mark.intent or mark.request_id is not None


def _seconds(mark: Mark) -> int:
    return int(max(0, min(mark.submitted_at, _LATEST)))


def _put_mark(body: bytearray, mark: Mark, newest: int) -> None:
    uuid = mark.request_id is not None and is_uuid(mark.request_id)
    kind = 0 if mark.request_id is None else _UUID if uuid else _RAW
    body.append(kind | (_INTENT if mark.intent else 0) | _CLAIM * max(0, min(mark.claims, MOST_CLAIMS)))
    if _timed(mark):
        attempt = max(0, min(mark.attempt, _MOST_ATTEMPTS))
        body += _TIMING.pack(attempt, min(newest - _seconds(mark), _OLDEST_AGE))
    if mark.request_id is not None and uuid:
        body += bytes.fromhex(mark.request_id.replace("-", ""))
    elif mark.request_id is not None:
        body.append(len(mark.request_id))
        body += mark.request_id.encode()


def _put_varint(body: bytearray, number: int) -> None:
    while number >= 0x80:
        body.append(number & 0x7F | 0x80)
        number >>= 7
    body.append(number)


def _base64(raw: bytes) -> str:
    return b64encode(raw).rstrip(b"=").decode()


def _bytes_of(text: str) -> bytes:
    """What the text encodes, behind its checksum. Raises ValueError where it is not exactly what `encode` writes."""
    raw = b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), validate=True)
    body = raw[_CRC.size :]
    if _base64(raw) != text or raw[: _CRC.size] != _checksum(body):
        raise ValueError("the checksum does not match")
    return body


def _checksum(body: bytes | bytearray) -> bytes:
    return _CRC.pack(crc32(body, crc32(VERSION.encode())))


class _Reader:
    """Reads one ledger from its checked bytes. Raises ValueError, IndexError or struct.error where they make no sense."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._at = 0

    def ledger(self, place: Place, offset: int) -> Ledger | Void:
        *standing, job, unclean, hour, of_hour, of_day, newest, count = self._unpack(_HEAD)
        expected = _standing(place, offset)
        for name, found, wanted in zip(("cluster", "topic", "partition", "offset"), standing, expected, strict=True):
            if found != wanted:
                return written_for_another(name)
        entries = []
        end = offset
        for _ in range(count & ~(-1 << _COUNT_BITS)):
            entry = Entry(end, self._mark(newest))
            entries.append(entry)
            end += 1 + self._varint()
        if self._at != len(self._raw) or end > _MOST_OFFSET:
            raise ValueError("the entries do not end where the ledger ends")
        clean, waiting = bool(unclean & _CLEAN), bool(unclean & _WAITING)
        spent = Spent(int.from_bytes(hour, "big"), _sum(of_hour), _sum(of_day))
        exceeded = _REASONS[count >> _COUNT_BITS]  # an IndexError for one that nobody knows
        return Ledger(place, offset, job, tuple(entries), end, unclean & _MOST_UNCLEAN, clean, waiting, spent, exceeded)

    def _mark(self, newest: int) -> Mark:
        (flags,) = self._take(1)
        kind, intent, claims = flags & (_UUID | _RAW), bool(flags & _INTENT), (flags & _CLAIMS) // _CLAIM
        if flags & ~(_UUID | _RAW | _INTENT | _CLAIMS) or kind == _UUID | _RAW or claims > MOST_CLAIMS:
            raise ValueError("an unknown kind of mark")
        if not kind and not intent:
            return Mark(claims=claims) if claims else BLANK
        attempt, age = self._unpack(_TIMING)
        request_id = None
        if kind == _UUID:
            digits = self._take(UUID_BYTES).hex()
            request_id = f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
        elif kind == _RAW:
            request_id = self._take(self._take(1)[0]).decode("ascii")
            if not is_request_id(request_id):
                raise ValueError("an impossible request_id")
        return Mark(request_id, float(max(0, newest - age)), attempt, intent, claims)

    def _varint(self) -> int:
        number = 0
        for shift in range(0, 63, 7):
            (byte,) = self._take(1)
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
        raise ValueError("a number without end")

    def _unpack(self, form: struct.Struct) -> tuple[Any, ...]:
        return form.unpack(self._take(form.size))

    def _take(self, size: int) -> bytes:
        taken = self._raw[self._at : self._at + size]
        if len(taken) != size:
            raise ValueError("it ends too early")
        self._at += size
        return taken
