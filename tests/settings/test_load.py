"""What `load` takes, what it refuses, and in which words."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from worker.errors import ConfigurationError
from worker.settings import InputFormat, InvalidSettings, Settings, StartFrom, load
from worker.settings.catalogue import catalogue
from worker.settings.secrets import looks_secret


def problems_of(
    environ: Mapping[str, str], *, config_file: Path | None = None, flags: Mapping[str, object] | None = None
) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        load(environ, config_file=config_file, flags=flags)
    assert isinstance(caught.value, InvalidSettings)
    assert all(line.isprintable() for line in caught.value.problems)
    return caught.value.problems


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    return tmp_path / "worker.toml"


def test_an_empty_environment_gives_the_defaults() -> None:
    assert load({}) == Settings()
    assert load({"PATH": "/bin", "HOME": "/root", "KAFKA_GROUP": "x"}) == Settings()


def test_flags_win_over_the_environment_which_wins_over_the_file(toml: Path) -> None:
    toml.write_text('[kafka]\ngroup_id = "file"\n[api]\nmodel = "file"\ntext_field = "file"\n')
    environ = {"WORKER_KAFKA__GROUP_ID": "environment", "WORKER_API__MODEL": "environment"}
    settings = load(environ, config_file=toml, flags={"kafka": {"group_id": "flag", "start_from": None}})
    assert settings.kafka.group_id == "flag"
    assert settings.api.model == "environment"
    assert settings.api.text_field == "file"


def test_a_flag_by_its_dotted_name_is_typed_or_text() -> None:
    settings = load({}, flags={"status.port": 0, "api.timeout": "2.5", "topics.input": ["a", "b"], "input.id": None})
    assert (settings.status.port, settings.api.timeout, settings.topics.input) == (0, 2.5, ("a", "b"))


@pytest.mark.parametrize("text", ["a,b", " a , b ", '["a", "b"]', ' ["a","b"]'])
def test_input_topics_are_a_comma_list_or_a_json_list(text: str) -> None:
    assert load({"WORKER_TOPICS__INPUT": text}).topics.input == ("a", "b")


def test_every_kind_is_read_from_the_environment() -> None:
    settings = load(
        {
            "WORKER_KAFKA__START_FROM": "earliest",
            "WORKER_KAFKA__PROPERTIES": '{"client.rack": "a", "queued.min.messages": 10, "log.connection.close": false}',
            "WORKER_INPUT__SCHEMA": "in.avsc",
            "WORKER_INPUT__FORMAT": "bare",
            "WORKER_API__EXTRA": '{"seed": 1, "nested": {"list": [1, null, true]}}',
            "WORKER_LOG__JSON_LINES": "TRUE",
            "WORKER_PACE__REQUESTS_PER_MINUTE": "1e3",
        }
    )
    assert settings.kafka.start_from is StartFrom.EARLIEST
    assert settings.kafka.properties == {"client.rack": "a", "queued.min.messages": 10, "log.connection.close": False}
    assert settings.input.schema_file == Path("in.avsc")
    assert settings.input.format is InputFormat.BARE
    assert settings.api.extra == {"seed": 1, "nested": {"list": [1, None, True]}}
    assert settings.log.json_lines is True
    assert settings.pace.requests_per_minute == 1000.0


def test_an_empty_string_unsets_what_may_be_unset_and_is_wrong_elsewhere(toml: Path) -> None:
    toml.write_text('[api]\ntask_type = "FROM_FILE"\n')
    optional = {setting.environment: "" for setting in catalogue() if setting.may_be_unset}
    assert load(optional) == Settings()
    assert load(optional, config_file=toml).api.task_type == "FROM_FILE"
    required = [setting.environment for setting in catalogue() if not setting.may_be_unset]
    assert [line.split(":")[0] for line in problems_of(dict.fromkeys(required, ""))] == required


@pytest.mark.parametrize(
    ("variable", "text", "line"),
    [
        ("STATUS__PORT", "99999", "got '99999', wants an integer from 0 to 65535"),
        ("STATUS__PORT", "8080 ", "got '8080 ', wants an integer from 0 to 65535"),
        ("STATUS__PORT", "8_080", "got '8_080', wants an integer from 0 to 65535"),
        ("STATUS__PORT", "80.0", "got '80.0', wants an integer from 0 to 65535"),
        ("STATUS__PORT", "٨٠", "got '٨٠', wants an integer from 0 to 65535"),
        ("API__TIMEOUT", "nan", "got 'nan', wants a number above 0, at most 600"),
        ("API__TIMEOUT", "1e999", "got '1e999', wants a number above 0, at most 600"),
        ("API__TIMEOUT", "0", "got '0', wants a number above 0, at most 600"),
        ("LOG__JSON_LINES", "yes", "got 'yes', wants true or false"),
        ("LOG__LEVEL", "loud", "got 'loud', wants one of debug, info, warning, error"),
        ("LIMITS__BYTES", "1", "got '1', wants an integer from 1048576 to 1099511627776"),
        ("PACE__REQUESTS_PER_MINUTE", "0", "got '0', wants a number above 0, at most 1000000"),
        ("TOPICS__INPUT", "a,,b", "got 'a,,b', wants a comma list or a JSON list of strings, without empty items"),
        ("TOPICS__INPUT", "[1]", "got '[1]', wants a comma list or a JSON list of strings, not empty"),
        ("TOPICS__INPUT", "[]", "got '[]', wants a comma list or a JSON list of strings, not empty"),
        ("TOPICS__INPUT", '["a"', "got '[\"a\"', wants valid JSON (look at line 1, column 5)"),
        ("TOPICS__INPUT", "a,a", "got 'a,a', wants each topic once"),
        ("INPUT__TEXT", "", "got '', wants text, not empty"),
        ("STATUS__HOST", "a b", "got 'a b', wants a host name or an IP address"),
    ],
)
def test_a_wrong_value_is_one_line_with_the_variable_what_it_got_and_what_it_wants(
    variable: str, text: str, line: str
) -> None:
    assert problems_of({f"WORKER_{variable}": text}) == (f"WORKER_{variable}: {line}",)


@pytest.mark.parametrize(
    "url",
    [
        "api.segmind.com",
        "ftp://host",
        "https://",
        "https://user:hunter2@host",
        "https://host?x=1",
        "https://host#x",
        "https://host:port",
        "https://host:70000",
        "https://[::1",
        "https://ho\nst",
        "https:\\\\host",
        "https://host/?",
    ],
)
def test_a_base_url_is_http_without_user_query_or_fragment(url: str) -> None:
    (line,) = problems_of({"WORKER_API__BASE_URL": url})
    assert line.startswith("WORKER_API__BASE_URL: got ")
    assert ", wants http://host[:port] or https://host[:port], without" in line
    assert "hunter2" not in line


def test_a_slash_at_the_end_of_the_base_url_is_taken_away() -> None:
    assert load({"WORKER_API__BASE_URL": "http://127.0.0.1:8900/"}).api.base_url == "http://127.0.0.1:8900"


@pytest.mark.parametrize(
    "servers", ["localhost", "localhost:", "a:1,", "a:0", "a:70000", "PLAINTEXT://a:9092", "a b:1", "::1:9"]
)
def test_each_broker_needs_host_and_port(servers: str) -> None:
    (line,) = problems_of({"WORKER_KAFKA__BOOTSTRAP_SERVERS": servers})
    assert "wants host:port,host:port" in line


def test_brokers_may_be_names_and_addresses_with_blanks_between() -> None:
    settings = load({"WORKER_KAFKA__BOOTSTRAP_SERVERS": "kafka-0.kafka:9092, 10.0.0.1:9093,[::1]:9094"})
    assert settings.kafka.bootstrap_servers == "kafka-0.kafka:9092,10.0.0.1:9093,[::1]:9094"


@pytest.mark.parametrize("variable", ["KAFKA__GROUP_ID", "TOPICS__INPUT", "TOPICS__OUTPUT", "TOPICS__DEAD_LETTER"])
@pytest.mark.parametrize("name", ["a b", "ä", "..", ".", "x" * 250, "^regex.*", "a\n"])
def test_topics_and_groups_keep_to_the_legal_characters_of_kafka(variable: str, name: str) -> None:
    if variable == "TOPICS__INPUT" and name == "a\n":
        return  # blanks around the items of a comma list are not part of them
    (line,) = problems_of({f"WORKER_{variable}": name})
    assert line.startswith(f"WORKER_{variable}: got ")
    assert "wants 1 to 249 of the characters" in line


def test_the_worker_cannot_feed_itself() -> None:
    (line,) = problems_of({"WORKER_TOPICS__INPUT": "texts,embeddings"})
    assert line.startswith(
        "WORKER_TOPICS__OUTPUT: got 'embeddings' (the default), wants a topic other than the input topics"
    )
    (line,) = problems_of({"WORKER_TOPICS__DEAD_LETTER": "texts"})
    assert "wants a topic other than the input topics" in line
    (line,) = problems_of({"WORKER_TOPICS__DEAD_LETTER": "embeddings"})
    assert "wants a topic other than the output topic" in line
    (line,) = problems_of({"WORKER_TOPICS__CONTENT_BLOCKED": "texts"})
    assert "wants a topic other than the input topics" in line
    (line,) = problems_of({"WORKER_TOPICS__CONTENT_BLOCKED": "embeddings"})
    assert "wants a topic other than the output topic" in line


def test_dead_letters_go_to_one_topic_or_to_two() -> None:
    assert load({}).topics.outcomes == ("embeddings", "embeddings.dead-letter")
    for same in ({}, {"WORKER_TOPICS__CONTENT_BLOCKED": "embeddings.dead-letter"}):
        assert load(same).topics.dead_letters == ("embeddings.dead-letter",)
    two = load({"WORKER_TOPICS__CONTENT_BLOCKED": "blocked"}).topics
    assert (two.dead_letters, two.outcomes[2]) == (("embeddings.dead-letter", "blocked"), "blocked")


@pytest.mark.parametrize("slug", ["..", "a/b", "a b", "-a", "a?b", "a%2f", ".a"])
def test_a_model_slug_is_one_segment_of_the_path(slug: str) -> None:
    (line,) = problems_of({"WORKER_API__MODEL": slug})
    assert "wants a model slug" in line


@pytest.mark.parametrize(
    "text", ["{", "[]", "3", '{"a": null}', '{"a": {"b": 1}}', '{"a": NaN}', '{"a": 1, "a": 2}', '{"A B": 1}', '{"a": "\\u0000"}',
             '{"a": "\\ud800"}', '{"a": 1e999}', "[" * 100_000, '{"a": ' + "9" * 5000 + "}"]
)  # fmt: skip
@pytest.mark.parametrize("variable", ["WORKER_KAFKA__PROPERTIES", "WORKER_KAFKA__PROPERTIES_FILE"])
def test_unusable_properties_are_refused_in_one_line(variable: str, text: str, tmp_path: Path) -> None:
    file = tmp_path / "properties.json"
    file.write_text(text)
    (line,) = problems_of({variable: str(file) if variable.endswith("FILE") else text})
    assert line.startswith(f"{variable}: ")
    assert "JSON" in line


@pytest.mark.parametrize(
    "text", ['{"input": "x"}', '{"task_type": "x"}', '{"output_dimensionality": 1}', "[]", '{"a": 36893488147419103232}',
             '{"a": ' + "[" * 40 + "]" * 40 + "}", '{"a": -Infinity}']
)  # fmt: skip
def test_extra_is_an_object_that_can_be_sent_and_leaves_the_text_alone(text: str) -> None:
    (line,) = problems_of({"WORKER_API__EXTRA": text})
    assert line.startswith("WORKER_API__EXTRA: got a value that is not shown, as it may be secret, wants ")


def test_the_properties_file_is_merged_over_the_properties(tmp_path: Path) -> None:
    file = tmp_path / "properties.json"
    file.write_text('{"sasl.password": "hunter2", "client.rack": "file"}\n')
    environ = {"WORKER_KAFKA__PROPERTIES_FILE": str(file), "WORKER_KAFKA__PROPERTIES": '{"client.rack": "a", "x": 1}'}
    settings = load(environ)
    assert settings.kafka.properties == {"client.rack": "file", "x": 1, "sasl.password": "hunter2"}


def test_a_registry_is_refused_rather_than_ignored() -> None:
    (line,) = problems_of({"WORKER_REGISTRY__URL": "http://registry:8081"})
    assert "WORKER_REGISTRY__URL" in line
    assert "this version has no Schema Registry support yet" in line


def test_an_unknown_variable_names_the_nearest_known_one() -> None:
    assert problems_of({"WORKER_KAFKA__GROUPID": "x"}) == (
        "WORKER_KAFKA__GROUPID: no such setting; the nearest is WORKER_KAFKA__GROUP_ID",
    )
    assert problems_of({"WORKER_Kafka__group_id": "x"}) == (
        "WORKER_Kafka__group_id: no such setting; the nearest is WORKER_KAFKA__GROUP_ID",
    )
    assert problems_of({"WORKER_INPUT__SCHEMA_FILE": "x"}) == (
        "WORKER_INPUT__SCHEMA_FILE: no such setting; the nearest is WORKER_INPUT__SCHEMA",
    )


def test_an_unknown_variable_that_looks_secret_names_the_place_for_secrets() -> None:
    assert problems_of({"WORKER_API__KEY": "hunter2"}) == (
        "WORKER_API__KEY: no such setting; secrets go into SEGMIND_API_KEY_FILE or SEGMIND_API_KEY",
    )
    (line,) = problems_of({"WORKER_KAFKA__SASL_PASSWORD": "hunter2"})
    assert "WORKER_KAFKA__PROPERTIES_FILE" in line


@pytest.mark.parametrize(
    ("variable", "nearest"),
    [
        ("WORKER_BOOTSTRAP_SERVERS", "WORKER_KAFKA__BOOTSTRAP_SERVERS"),
        ("WORKER_LOG_LEVEL", "WORKER_LOG__LEVEL"),
        ("WORKER_API_URL", "WORKER_API__BASE_URL"),
        ("WORKER_TYPO", None),
        ("WORKER_NODE_ENV", None),
        ("WORKER_", None),
    ],
)
def test_only_a_name_that_is_alike_counts_as_near(variable: str, nearest: str | None) -> None:
    told = f"; the nearest is {nearest}" if nearest else ", nor one with a similar name: README.md lists them all"
    assert problems_of({variable: "x"}) == (f"{variable}: no such setting{told}",)


def test_a_flag_that_looks_secret_names_the_place_for_secrets() -> None:
    assert problems_of({}, flags={"api_key": "hunter2"}) == (
        "flag api_key: no such setting; secrets go into SEGMIND_API_KEY_FILE or SEGMIND_API_KEY",
    )


def test_a_variable_in_lower_case_is_not_passed_over() -> None:
    assert problems_of({"worker_kafka__group_id": "x"}) == (
        "worker_kafka__group_id: not read: names of variables are upper case, set WORKER_KAFKA__GROUP_ID instead",
    )
    assert load({"worker_of_another_program": "x"}) == Settings()


@pytest.mark.parametrize("variable", ["SEGMIND_APIKEY", "SEGMIND_KEY", "SEGMIND_TOKEN", "segmind_api_key_file"])
def test_a_variable_that_was_meant_to_be_the_key_is_refused_where_there_is_no_key(variable: str) -> None:
    assert problems_of({variable: "hunter2"}) == (
        f"{variable}: not read: the API key goes into SEGMIND_API_KEY or SEGMIND_API_KEY_FILE",
    )
    (line,) = load({variable: "hunter2", "SEGMIND_API_KEY": "SG_0123456789"}).unread
    assert line.startswith(f"{variable} is not read")


def test_other_variables_of_the_vendor_are_told_and_stop_nothing() -> None:
    (line,) = load({"SEGMIND_BASE_URL": "https://x"}).unread
    assert line == "SEGMIND_BASE_URL is not read: the key is SEGMIND_API_KEY or SEGMIND_API_KEY_FILE, all else WORKER_*"
    assert load({"SEGMIND_SERVICE_HOST": "10.0.0.1", "SEGMIND_PORT": "tcp://10.0.0.1:80"}).unread == ()


def test_addresses_that_kubernetes_puts_into_the_environment_are_no_settings() -> None:
    links = {
        "WORKER_SERVICE_HOST": "10.0.0.1",
        "WORKER_SERVICE_PORT": "80",
        "WORKER_SERVICE_PORT_HTTP": "80",
        "WORKER_PORT": "tcp://10.0.0.1:80",
        "WORKER_PORT_80_TCP": "tcp://10.0.0.1:80",
        "WORKER_PORT_80_TCP_ADDR": "10.0.0.1",
        "WORKER_STATUS_PORT": "tcp://10.0.0.1:80",
    }
    assert load(links) == Settings()
    (line,) = problems_of({"WORKER_STATUS_PORT": "8080"})
    assert line == "WORKER_STATUS_PORT: no such setting; the nearest is WORKER_STATUS__PORT"


def test_all_problems_of_all_sources_are_reported_together(toml: Path) -> None:
    toml.write_text('[kafka]\ngroup_di = "x"\n[status]\nport = "80"\n[nope]\n[log]\nlevel = "loud"\n')
    lines = problems_of(
        {"WORKER_API__TIMEOUT": "fast", "WORKER_LOGLEVEL": "", "WORKER_LOG__LEVEL": "info"},
        config_file=toml,
        flags={"kafka": {"group_id": "a b"}, "kafka.group": 1},
    )
    assert lines == (
        f"{toml}: kafka.group_di: no such setting; the nearest is kafka.group_id",
        f"{toml}: nope: no such setting, nor one with a similar name: README.md lists them all",
        "WORKER_LOGLEVEL: no such setting; the nearest is WORKER_LOG__LEVEL",
        "flag kafka.group: no such setting; the nearest is kafka.group_id",
        "flag kafka.group_id: got 'a b', wants 1 to 249 of the characters a-z A-Z 0-9 . _ - (and not just . or ..)",
        "WORKER_API__TIMEOUT: got 'fast', wants a number above 0, at most 600",
        f"{toml}: status.port: got '80', wants an integer from 0 to 65535",
    )


def test_a_file_may_write_properties_as_a_table_or_dotted(toml: Path) -> None:
    toml.write_text(
        '[kafka.properties]\nsecurity.protocol = "SSL"\n"ssl.key.location" = "/key.pem"\nsocket.nagle.disable = true\n'
    )
    properties = load({}, config_file=toml).kafka.properties
    assert properties == {"security.protocol": "SSL", "ssl.key.location": "/key.pem", "socket.nagle.disable": True}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("kafka = 3", "kafka: wants a table, [kafka]"),
        ("[[kafka]]", "kafka: wants a table, [kafka]"),
        ("[status]\nport = true", "status.port: got True, wants an integer from 0 to 65535"),
        ("[status]\nport = 1.0", "status.port: got 1.0, wants an integer from 0 to 65535"),
        ("[api]\ntimeout = nan", "api.timeout: got nan, wants a number above 0, at most 600"),
        ("[api]\nmodel = 3", "api.model: got 3, wants text"),
        ("[api]\nextra.at = 2020-01-01", "api.extra: got a value that is not shown"),
        ("[topics]\ninput = [1]", "topics.input: got a list, wants a comma list or a JSON list of strings, not empty"),
        ("[limits]\nbytes = " + "9" * 400, "limits.bytes: got a very large integer, wants"),
        ("[api]\ntimeout = " + "9" * 400, "api.timeout: got a very large integer, wants a number above 0, at most 600"),
        ("x = = 3", "not valid TOML (at line 1, column 5)"),
        ("x = " + "9" * 5000, "not usable: holds a number with too many digits"),
        ("x = " + "[" * 50_000, "not usable: nested too deeply"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_told_by_file_and_key(text: str, line: str, toml: Path) -> None:
    toml.write_text(text)
    (got,) = problems_of({}, config_file=toml)
    assert got.startswith(f"{toml}: {line}")


def test_a_file_that_cannot_be_read_is_named(toml: Path) -> None:
    assert problems_of({}, config_file=toml) == (
        f"{toml}: the configuration file cannot be read: No such file or directory",
    )
    toml.write_bytes(b"\xff\xfe")
    assert problems_of({}, config_file=toml) == (f"{toml}: the configuration file cannot be read: not UTF-8",)
    with toml.open("wb") as file:
        file.truncate(2_000_000)
    assert "larger than" in problems_of({}, config_file=toml)[0]


def test_no_setting_has_a_name_that_looks_secret() -> None:
    assert [setting.key for setting in catalogue() if looks_secret(setting.key)] == []


def test_every_setting_can_be_set_by_its_variable_and_in_the_file(toml: Path, tmp_path: Path) -> None:
    values = {
        "text": "abc", "a number": 5.5, "an integer": 100, "true or false": True,
        "a path": str(tmp_path / "p.json"), "a JSON object": {"a": 1},
        "a comma list or a JSON list of strings": ["abc"], "one of": "",
    }  # fmt: skip
    (tmp_path / "p.json").write_text("{}")
    special = {
        "kafka.bootstrap_servers": "a:1", "topics.output": "out", "topics.dead_letter": "dlq", "api.base_url": "http://a",
        "topics.content_blocked": "blocked", "dead_letters.blocked_text": "redact", "dead_letters.share": 0.25,
        "api.proxy": "http://a:1", "limits.bytes": 2_000_000, "kafka.start_from": "latest", "kafka.on_out_of_range": "latest",
        "input.format": "bare",
        "log.level": "error", "guarantees.delivery": "at_least_once", "guarantees.ordering": "key",
        "guarantees.on_unknown_submit": "dead_letter", "guarantees.drain": "wait",
        "guarantees.on_outage": "dead_letter",
        "guarantees.on_unreadable_ledger": "discard",
    }  # fmt: skip
    lines, environ = [], {}
    for setting in catalogue():
        if setting.key == "registry.url":
            continue
        value = special.get(setting.key, values[setting.kind])
        literal = "{a = 1}" if isinstance(value, dict) else json.dumps(value)
        lines.append(f"{setting.key} = {literal}")
        environ[setting.environment] = value if isinstance(value, str) else json.dumps(value)
    toml.write_text("\n".join(lines))
    settings = load({}, config_file=toml)
    assert settings == load(environ)
    for name in ("kafka", "topics", "input", "api", "pace", "limits", "dead_letters", "spend", "status", "log"):
        changed, default = getattr(settings, name).model_dump(), getattr(Settings(), name).model_dump()
        assert [field for field, value in changed.items() if value == default[field]] == []
