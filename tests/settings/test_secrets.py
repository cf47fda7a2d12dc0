"""Secrets stay where they are: not in files, errors, reprs or shown settings."""

import copy
import dataclasses
import json
import pickle
from pathlib import Path

import pytest

from worker.commands.configuration import settings_from
from worker.commands.opening import open_codec
from worker.errors import ConfigurationError
from worker.settings import InvalidSettings, SecretSource, load, masked
from worker.settings.secrets import is_secret, looks_secret, may_hold_secret, without_userinfo

SECRET = "hunter2-hunter2"


def test_the_key_comes_from_the_variable_or_the_file_and_is_never_shown(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"{SECRET}\n")
    by_value = load({"SEGMIND_API_KEY": SECRET})
    by_file = load({"SEGMIND_API_KEY_FILE": str(file), "SEGMIND_API_KEY": ""})
    assert by_value.api_key is not None
    assert by_file.api_key is not None
    assert by_value.api_key.read() == by_file.api_key.read() == SECRET
    assert repr(by_value.api_key) == str(by_value.api_key) == "SecretSource(SEGMIND_API_KEY)"
    assert repr(by_file.api_key) == "SecretSource(SEGMIND_API_KEY_FILE)"
    for settings in (by_value, by_file):
        assert SECRET not in f"{settings} {dataclasses.asdict(settings)} {masked(settings)} {copy.copy(settings)!r}"
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(by_value.api_key)


def test_a_key_file_is_read_again_each_time(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("old\r\n")
    source = SecretSource.from_file("SEGMIND_API_KEY_FILE", file)
    assert source.read() == "old"
    file.write_text("new")
    assert source.read() == "new"


@pytest.mark.parametrize("content", ["", "\n", "  \n", "two words", "a\nb", "schlüssel", "a\x7f", "a\0b"])
def test_a_key_that_cannot_be_sent_is_refused_without_showing_it(content: str, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(content)
    with pytest.raises(ConfigurationError, match=r"^SEGMIND_API_KEY_FILE: the key (is empty|holds)") as caught:
        SecretSource.from_file("SEGMIND_API_KEY_FILE", file).read()
    assert not content.strip() or content not in str(caught.value)


def test_a_key_file_that_is_missing_names_its_variable_and_not_what_was_taken_for_a_path() -> None:
    for path in (SECRET, f"{SECRET}\0", "/", SECRET * 500, f"\ud800{SECRET}"):
        source = load({"SEGMIND_API_KEY_FILE": path}).api_key
        assert source is not None
        with pytest.raises(
            ConfigurationError, match=r"^SEGMIND_API_KEY_FILE: the file it names cannot be read"
        ) as caught:
            source.read()
        assert SECRET not in str(caught.value)


def test_a_key_by_value_and_by_file_at_once_is_refused() -> None:
    with pytest.raises(InvalidSettings, match=r"^SEGMIND_API_KEY: set together with SEGMIND_API_KEY_FILE"):
        load({"SEGMIND_API_KEY": SECRET, "SEGMIND_API_KEY_FILE": "/x"})


def test_no_key_at_all_is_none() -> None:
    assert load({}).api_key is None
    assert load({"SEGMIND_API_KEY": "", "SEGMIND_API_KEY_FILE": ""}).api_key is None


def test_an_unusable_key_is_reported_with_the_other_problems() -> None:
    with pytest.raises(InvalidSettings) as caught:
        load({"SEGMIND_API_KEY": f"{SECRET} x", "WORKER_STATUS__PORT": "x"})
    assert [line.split(":")[0] for line in caught.value.problems] == ["WORKER_STATUS__PORT", "SEGMIND_API_KEY"]
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "name",
    ["api_key", "key", "password", "secret", "token", "sasl.password", "ssl.key.password", "ssl.keystore.password", "ssl.key.pem",
     "sasl.oauthbearer.client.secret", "sasl.oauthbearer.config", "basic.auth.user.info", "sasl.jaas.config", "apiKey", "API-KEY",
     "SEGMIND_API_KEY", "sasl.oauthbearer.assertion.private.key.passphrase", "Authorization", "access_token", "credentials"],
)  # fmt: skip
def test_names_of_secrets_are_known(name: str) -> None:
    assert looks_secret(name)


@pytest.mark.parametrize(
    "name",
    ["ssl.key.location", "ssl.keystore.location", "sasl.oauthbearer.token.endpoint.url", "sasl.username", "client.id",
     "max_tokens",
     "basic.auth.credentials.source", "monkey", "ssl.ca.location", "sasl.mechanism", "partition.assignment.strategy", ""],
)  # fmt: skip
def test_names_of_places_and_ways_are_no_secrets(name: str) -> None:
    assert not looks_secret(name)


def test_a_switch_is_no_secret_whatever_its_name() -> None:
    assert not is_secret("enable.sasl.oauthbearer.unsecure.jwt", value=True)
    assert is_secret("password", value=12345)


@pytest.mark.parametrize(
    ("text", "instead"),
    [
        (f'api_key = "{SECRET}"', "SEGMIND_API_KEY_FILE or SEGMIND_API_KEY"),
        (f'SEGMIND_API_KEY = "{SECRET}"', "SEGMIND_API_KEY_FILE or SEGMIND_API_KEY"),
        (f'[api]\nkey = "{SECRET}"', "SEGMIND_API_KEY_FILE or SEGMIND_API_KEY"),
        (f'[kafka]\nsasl.password = "{SECRET}"', "WORKER_KAFKA__PROPERTIES_FILE"),
        (f'[kafka.properties]\nsasl.password = "{SECRET}"', "WORKER_KAFKA__PROPERTIES_FILE"),
        (f'[kafka.properties]\n"ssl.key.password" = "{SECRET}"', "WORKER_KAFKA__PROPERTIES_FILE"),
        (f'[kafka.properties]\n"sasl.oauthbearer.client.secret" = "{SECRET}"', "WORKER_KAFKA__PROPERTIES_FILE"),
        (f'[kafka.properties]\n"https.proxy" = "http://me:{SECRET}@proxy"', "WORKER_KAFKA__PROPERTIES_FILE"),
        ("[kafka.properties]\nsasl.password = 12345", "WORKER_KAFKA__PROPERTIES_FILE"),
        (f'[registry]\nbasic.auth.user.info = "me:{SECRET}"', "SEGMIND_API_KEY_FILE"),
        (f'[api]\nproxy = "http://me:{SECRET}@proxy:3128"', "WORKER_API__PROXY"),
        (f'[api.extra]\nwebhook.token = "{SECRET}"', "WORKER_API__EXTRA"),
        (f'[[api.extra.hooks]]\npassword = "{SECRET}"', "WORKER_API__EXTRA"),
    ],
)
def test_a_secret_in_the_file_is_refused_and_its_right_place_named(text: str, instead: str, tmp_path: Path) -> None:
    file = tmp_path / "worker.toml"
    file.write_text(text)
    with pytest.raises(InvalidSettings) as caught:
        load({}, config_file=file)
    (line,) = caught.value.problems
    assert line.startswith(f"{file}: ")
    assert f"secrets do not belong in this file; set {instead}" in line
    assert SECRET not in line


def test_shown_settings_hide_every_secret_and_nothing_else() -> None:
    shown = masked(
        load(
            {
                "SEGMIND_API_KEY": SECRET,
                "WORKER_KAFKA__PROPERTIES": json.dumps({"sasl.password": SECRET, "client.rack": "a", "http.url": f"http://{SECRET}@x"}),
                "WORKER_API__PROXY": f"http://me:{SECRET}@proxy:3128",
                "WORKER_API__EXTRA": json.dumps({"deep": [{"token": SECRET}], "hook": f"https://a:b@{SECRET}@c/d", "seed": 1}),
                "WORKER_INPUT__SCHEMA": "in.avsc",
            }
        )
    )  # fmt: skip
    assert SECRET not in json.dumps(shown)
    assert shown["kafka.properties"] == {"sasl.password": "***", "client.rack": "a", "http.url": "http://***@x"}
    assert shown["api.proxy"] == "http://***@proxy:3128"
    assert shown["api.extra"] == {"deep": [{"token": "***"}], "hook": "https://***@c/d", "seed": 1}
    assert shown["api_key"] == "SEGMIND_API_KEY"
    assert shown["input.schema"] == "in.avsc"
    assert shown["topics.input"] == ["texts"]
    assert shown["log.level"] == "info"


def test_the_repr_of_settings_shows_no_secret() -> None:
    settings = load(
        {
            "WORKER_KAFKA__PROPERTIES": json.dumps({"sasl.password": SECRET}),
            "WORKER_API__PROXY": f"http://a:{SECRET}@b:1",
        }
    )
    assert SECRET not in f"{settings!r} {settings.kafka} {settings.api}"


def test_user_and_password_of_a_url_are_masked() -> None:
    assert without_userinfo("https://host/path") == "https://host/path"
    assert without_userinfo("mail me@host") == "mail me@host"
    assert without_userinfo("https://me:p/w@host/x") == "https://***@host/x"


@pytest.mark.parametrize(
    ("flag", "told"),
    [
        (f"api_key:{SECRET}", "want NAME=VALUE"),
        (f'kafka.properties:{{"sasl.password":"{SECRET}"}}', "want NAME=VALUE"),
        (f'kafka.properties {{"sasl.password":"{SECRET}=="}}', "flag whose name is none (not shown): "),
        (f'api.extra{{"token":"{SECRET}=="}}', "WORKER_API__EXTRA"),
        (f"{SECRET}=", "flag whose name is none (not shown): "),
    ],
)
def test_a_flag_that_has_no_name_is_not_shown(flag: str, told: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        settings_from(None, [flag])
    assert told in str(caught.value)
    assert SECRET.lower() not in str(caught.value).lower()


@pytest.mark.parametrize(
    "text",
    [f'{{"sasl.password":"{SECRET}"}}', f'{{"sasl.password":"{SECRET}","ssl.ca.location":"/etc/file"}}',
     f"Authorization: {SECRET}", f'{{"ssl.key.pem":"{SECRET}"}}', f"sasl_password={SECRET}", "SG_0123456789abcdef"],
)  # fmt: skip
def test_what_speaks_of_a_secret_is_not_shown_where_it_was_put_into_another_setting(text: str) -> None:
    with pytest.raises(InvalidSettings) as caught:
        load({"WORKER_KAFKA__BOOTSTRAP_SERVERS": text})
    (line,) = caught.value.problems
    assert line.startswith(
        "WORKER_KAFKA__BOOTSTRAP_SERVERS: got a value that is not shown, as it may be secret, wants "
    )


def test_properties_put_where_a_path_belongs_are_not_shown_and_paths_of_mounted_secrets_are() -> None:
    pasted = Path(f'{{"sasl.password":"{SECRET}"}}')
    for fails in (
        lambda: load({}, config_file=pasted),
        lambda: open_codec(load({"WORKER_INPUT__SCHEMA": str(pasted)})),
    ):
        with pytest.raises(ConfigurationError, match=r"\(not shown, as it may be secret\)") as caught:
            fails()
        assert SECRET not in str(caught.value)
    with pytest.raises(ConfigurationError, match=r"^/run/secrets/key\.toml: "):
        load({}, config_file=Path("/run/secrets/key.toml"))


@pytest.mark.parametrize("text", ["key", "by.partition", "localhost", "http://host/path", "monkey business", ""])
def test_ordinary_words_are_shown(text: str) -> None:
    assert not may_hold_secret(text)
