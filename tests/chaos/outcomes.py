"""What stands on the topics, against what must: nothing lost, nothing twice, everything in its order. Collects all violations."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.chaos.workload import NUMBER
from tests.integration.events import TOMBSTONE, Event, Place
from tests.integration.outcomes import check_dead_letter, check_headers, check_vector, decoded, place_of
from tests.integration.readers import Found


@dataclass(slots=True)
class Outcomes:
    """Records of the input topic that went wrong, with a sentence for each wrong or misplaced one."""

    kinds: Counter[str] = field(default_factory=Counter)
    lost: list[Place] = field(default_factory=list)
    duplicates: list[Place] = field(default_factory=list)
    out_of_order: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def compare(
    topic: str, placed: Mapping[Place, Event], output: Sequence[Found], dead_letters: Sequence[Found]
) -> Outcomes:
    """`topic` is the input topic; both others were read with read_committed."""
    result = Outcomes()
    numbers = {header_of(event.headers): place for place, event in placed.items()}
    seen: Counter[Place] = Counter()
    streams: defaultdict[tuple[str, bytes | None], list[tuple[Found, Place]]] = defaultdict(list)
    for name, stream in (("output", output), ("dead letters", dead_letters)):
        for found in stream:
            place: Place | None
            try:
                place, kind = _checked(topic, found, placed, numbers, dead=name != "output")
            except (AssertionError, KeyError, ValueError) as error:
                result.wrong.append(f"{name} {found.partition}@{found.offset}, key {found.key!r}: {error!r}"[:400])
                place, kind = numbers.get(header_of(found.headers)), "wrong"
            result.kinds[kind] += 1
            if place is not None:
                seen[place] += 1
                streams[name, found.key].append((found, place))
    result.lost = [place for place in placed if place not in seen]
    result.duplicates = [place for place, count in seen.items() for _ in range(count - 1)]
    for (name, key), same in streams.items():
        result.out_of_order += out_of_order(name, key, same)
    return result


def out_of_order(name: str, key: bytes | None, same: Sequence[tuple[Found, Place]]) -> list[str]:
    """A sentence for every outcome of one key that stands behind the outcome of a later record. A record's second outcome is a
    duplicate, and told as one."""
    if len({found.partition for found, _ in same}) > 1:
        return [f"{name}: key {key!r} stands in several partitions"]
    behind, latest, seen = [], -1, set()
    for found, place in sorted(same, key=lambda pair: pair[0].offset):
        if place.offset < latest and place not in seen:
            where = f"{found.partition}@{found.offset}"
            behind.append(f"{name} {where}: key {key!r}, input {place.partition}@{place.offset} after @{latest}")
        seen.add(place)
        latest = max(latest, place.offset)
    return behind


def header_of(headers: Sequence[tuple[str, bytes | None]]) -> bytes | None:
    """The event's number."""
    return dict(headers).get(NUMBER)


def _checked(
    topic: str,
    found: Found,
    placed: Mapping[Place, Event],
    numbers: Mapping[bytes | None, Place],
    *,
    dead: bool,
) -> tuple[Place, str]:
    if dead:
        place = place_of(found)
        check_dead_letter(topic, found, place, placed[place])
        return place, placed[place].ends
    if found.value is None:
        place = numbers[header_of(found.headers)]
        assert (placed[place].ends, placed[place].key) == (TOMBSTONE, found.key), (
            "a tombstone for an event with a value"
        )
        check_headers(found, placed[place])
        return place, TOMBSTONE
    place, _ = check_vector(topic, found, placed)
    assert numbers[header_of(found.headers)] == place, "the headers are another event's"
    assert decoded(found.value)["id"] == placed[place].id
    return place, placed[place].ends
