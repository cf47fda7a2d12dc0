"""`pending` on the embedded broker, which keeps the metadata of committed offsets."""

import asyncio
import io
import json
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.kafka.mock import MockBroker
from worker.adapters.kafka import GroupOffsets
from worker.cli import main
from worker.commands.opening import no_log, open_codec
from worker.core.ledger import Entry, Ledger, Mark, Place, job_of
from worker.core.ledger_codec import encode
from worker.emulator.broker import EmbeddedBroker
from worker.model import Position, TopicPartition
from worker.settings import load

ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
KEY = "SG_0123456789abcdef"
NOW = 1_800_000_000.0

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def broker() -> Iterator[MockBroker]:
    with EmbeddedBroker() as embedded:
        yield MockBroker(embedded, embedded.start())


class Group:
    """A group that has committed ledgers for a topic of its own."""

    def __init__(self, broker: MockBroker) -> None:
        name = uuid.uuid4().hex[:8]
        self.topic, self.name = f"texts-{name}", f"group-{name}"
        broker.create_topic(self.topic, 3, {})
        self.environment = {
            "WORKER_KAFKA__BOOTSTRAP_SERVERS": broker.bootstrap_servers,
            "WORKER_KAFKA__GROUP_ID": self.name,
            "WORKER_TOPICS__INPUT": self.topic,
            "WORKER_API__BASE_URL": "http://127.0.0.1:1",
            "SEGMIND_API_KEY": KEY,
        }
        self.settings = load(self.environment)

    @property
    def offsets(self) -> GroupOffsets:
        return GroupOffsets(self.settings.kafka, no_log)

    def committed(self) -> dict[int, Position | None]:
        reading = asyncio.run(self.offsets.read([self.topic], stable=True))
        return {where.partition: position for where, position in reading.positions.items()}

    def commit(self, *positions: Position) -> None:
        sent = {TopicPartition(self.topic, number): position for number, position in enumerate(positions)}
        asyncio.run(self.offsets.commit(sent))

    def position(self, partition: int, *marks: Mark, offset: int = 0, cluster: str | None = None) -> Position:
        reading = asyncio.run(self.offsets.read([self.topic], stable=True))
        job = job_of(self.settings.api, self.settings.input, open_codec(self.settings).bare_schema)
        entries = tuple(Entry(offset + n, mark) for n, mark in enumerate(marks))
        place = Place(cluster or reading.cluster, reading.topics[self.topic], partition)
        return Position(offset, encode(Ledger(place, offset, job, entries, offset + len(entries), clean=True)))


@pytest.fixture
def group(broker: MockBroker) -> Group:
    return Group(broker)


@pytest.fixture
def call(group: Group, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs `pending` in this process; `answer`: what is typed on a terminal."""
    for name in [name for name in os.environ if name.startswith(("WORKER_", "SEGMIND_"))]:
        monkeypatch.delenv(name)
    for name, value in group.environment.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: object, answer: str | None = None) -> tuple[int, str, str]:
        typed = io.StringIO(answer or "")
        monkeypatch.setattr(typed, "isatty", lambda: answer is not None)
        monkeypatch.setattr("sys.stdin", typed)
        monkeypatch.setattr("sys.argv", ["embedding-worker", "pending", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr()
        assert KEY not in said.out + said.err
        assert "Traceback" not in said.err
        return int(left.value.code or 0), said.out, said.err

    return run


def test_it_lists_what_the_ledgers_hold(group: Group, call: Call) -> None:
    group.commit(group.position(0, Mark(ID, NOW, 1), Mark(claims=1), offset=5), Position(7))
    code, out, _ = call("--json")
    first, second, third = json.loads(out)["partitions"]
    assert code == 0
    assert [entry["request_id"] for entry in first["pending"]] == [ID, None]
    assert [entry["offset"] for entry in first["pending"]] == [5, 6]
    assert (first["handed_over"], first["ledger"]) == (True, "ledger")
    assert (second["ledger"], third["ledger"]) == ("no ledger", "no offset")
    code, out, _ = call()
    assert code == 0
    assert out.splitlines()[0].split()[:4] == ["topic", "partition", "offset", "request_id"]
    assert ID in out


def test_another_topic_can_be_asked_for(group: Group, call: Call, broker: MockBroker) -> None:
    other = Group(broker)
    code, out, _ = call("--json", "--topic", other.topic, "--topic", group.topic)
    assert code == 0
    assert {state["topic"] for state in json.loads(out)["partitions"]} == {group.topic, other.topic}
    code, _, err = call("--topic", "missing")
    assert (code, "missing topics: missing" in err) == (3, True)


def test_without_an_answer_of_the_api_the_list_is_there_all_the_same(group: Group, call: Call) -> None:
    group.commit(group.position(0, *(Mark(f"job-{n}", NOW + n, 1) for n in range(5))))
    code, out, err = call("--fetch", "--rate", "100")
    assert code == 0
    assert "job-4" in out
    assert "does not answer" in out
    assert "asking for 5 jobs at 100 a second" in err


def test_what_was_exported_is_imported_again_metadata_included(group: Group, call: Call, tmp_path: Path) -> None:
    path = tmp_path / "offsets.json"
    before = [group.position(0, Mark(ID, NOW, 1)), Position(0), group.position(2)]
    group.commit(*before)
    code, out, _ = call("--export", path)
    assert code == 0
    assert f"3 offsets with 1 job of group {group.name}" in out
    group.commit(Position(2), Position(1), Position(0))
    code, out, err = call("--import", path, answer="y\n")
    assert code == 0, err
    assert f"{group.topic}-0: 2 -> 0 (2 records back, done again), 1 job" in out
    assert f"warning: {group.topic}-1: it has no ledger" in out
    assert "1 job in all would be polled on" in out
    assert list(group.committed().values()) == before


def test_an_import_that_is_not_agreed_to_changes_nothing(group: Group, call: Call, tmp_path: Path) -> None:
    path = tmp_path / "offsets.json"
    group.commit(group.position(0, Mark(ID, NOW, 1)))
    assert call("--export", path)[0] == 0
    group.commit(Position(2))
    code, _, err = call("--import", path, answer="n\n")
    assert (code, "nothing was changed" in err) == (1, True)
    code, _, err = call("--import", path)
    assert (code, "say --yes" in err) == (2, True)
    assert group.committed()[0] == Position(2)
    assert call("--import", path, "--yes")[0] == 0
    assert group.committed()[0] != Position(2)


def test_an_existing_file_is_not_written_over(group: Group, call: Call, tmp_path: Path) -> None:
    path = tmp_path / "offsets.json"
    group.commit(group.position(0))
    path.write_text("mine")
    code, _, err = call("--export", path)
    assert (code, "exists already: name another file" in err) == (2, True)
    assert path.read_text() == "mine"
    code, _, err = call("--export", tmp_path / "no" / "offsets.json")
    assert (code, "cannot write" in err) == (1, True)


def test_a_group_that_has_committed_nothing_has_nothing_to_export(call: Call, tmp_path: Path) -> None:
    code, _, err = call("--export", tmp_path / "offsets.json")
    assert (code, "nothing to export" in err) == (1, True)
    assert not (tmp_path / "offsets.json").exists()


def test_the_file_of_another_group_is_refused_unless_that_is_said(group: Group, call: Call, tmp_path: Path) -> None:
    path = tmp_path / "offsets.json"
    group.commit(group.position(0, Mark(ID, NOW, 1)))
    assert call("--export", path)[0] == 0
    flag = ("--set", f"kafka.group_id={group.name}-new")
    code, _, err = call("--import", path, "--yes", *flag)
    assert (code, f"say --from-group {group.name}" in err) == (2, True)
    assert call("--import", path, "--yes", "--from-group", "another", *flag)[0] == 2
    assert call("--import", path, "--yes", "--from-group", group.name, *flag)[0] == 0
    code, out, _ = call("--json", *flag)
    assert json.loads(out)["totals"]["jobs"] == 1


@pytest.mark.parametrize("content", ["", "{}", "[" * 100_000, '{"format": "embedding-worker offsets", "version": 9}'])
def test_a_file_that_is_not_ours_is_refused_in_one_line(call: Call, tmp_path: Path, content: str) -> None:
    path = tmp_path / "offsets.json"
    path.write_text(content)
    code, _, err = call("--import", path, "--yes")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "cannot be imported" in err
    code, _, err = call("--import", tmp_path / "missing", "--yes")
    assert (code, "cannot read" in err) == (2, True)


def test_what_would_be_void_or_out_of_range_is_told_before_it_is_committed(
    group: Group, call: Call, tmp_path: Path
) -> None:
    path = tmp_path / "offsets.json"
    group.commit(group.position(0, Mark(ID, NOW, 1), cluster="another"), Position(9))
    assert call("--export", path)[0] == 0
    text = path.read_text()
    path.write_text(
        text.replace('"cluster": "', '"cluster": "x').replace(f'{{"{group.topic}": "', f'{{"{group.topic}": "x')
    )
    code, out, _ = call("--import", path, answer="n\n")
    assert code == 1
    assert "warning: it comes from another cluster" in out
    assert f"warning: {group.topic} was made anew since" in out
    assert f"warning: {group.topic}-0: its ledger is void: it was written for another cluster" in out
    assert f"warning: {group.topic}-1 holds the offsets 0 to 0" in out
    assert "0 jobs in all would be polled on" in out


def test_partitions_that_do_not_exist_are_refused(group: Group, call: Call, tmp_path: Path) -> None:
    path = tmp_path / "offsets.json"
    group.commit(group.position(0))
    assert call("--export", path)[0] == 0
    path.write_text(path.read_text().replace('"partition": 0', '"partition": 12'))
    code, _, err = call("--import", path, "--yes")
    assert (code, f"partitions that do not exist: {group.topic}-12" in err) == (2, True)


@pytest.mark.parametrize(
    "arguments", [("--export", "a", "--import", "b"), ("--export", "a", "--json"), ("--import", "a", "--fetch")]
)
def test_options_that_do_not_go_together_are_refused(call: Call, arguments: tuple[str, ...]) -> None:
    code, _, err = call(*arguments)
    assert (code, len(err.splitlines())) == (2, 1)
