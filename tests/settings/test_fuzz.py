"""Whatever the environment and the file hold: settings or a ConfigurationError, and no secret in its text."""

import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from worker.errors import ConfigurationError
from worker.settings import Settings, load, masked
from worker.settings.catalogue import catalogue

SECRET = "Zq9!sEcReT-vAlUe"
SECRET_VARIABLES = [
    "SEGMIND_API_KEY_FILE",
    "WORKER_API__KEY",
    "WORKER_API_KEY",
    "WORKER_KAFKA__SASL_PASSWORD",
    "WORKER_REGISTRY__TOKEN",
    *(setting.environment for setting in catalogue() if setting.hidden),
]
KNOWN = [setting.environment for setting in catalogue()]

names = st.sampled_from([*KNOWN, "SEGMIND_API_KEY", *SECRET_VARIABLES]) | st.text(max_size=20).map("WORKER_{}".format)
json_like = st.recursive(
    st.sampled_from(["1", '"a"', "null", "true", "NaN", "1e400", '"\\ud800"', "9" * 50]),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda parts: f"[{','.join(parts)}]")
        | st.lists(inner, max_size=2).map(
            lambda parts: "{" + ",".join(f'"a{i}":{part}' for i, part in enumerate(parts)) + "}"
        )
    ),
    max_leaves=8,
)
texts = (
    st.text(max_size=30)
    | st.text(st.characters(categories=["Cs", "Cc", "L"]), max_size=5)
    | json_like
    | st.integers().map(str)
    | st.floats().map(str)
    | st.sampled_from(
        ["", "true", "http://a:b@c", "http://[", "a:1,b:2", "earliest", "http://a:99999", "\0", "9" * 5000, "[" * 3000]
    )
)
secret_texts = st.sampled_from(
    [SECRET, f"http://me:{SECRET}@host:1", f"{SECRET}@host", f'{{"sasl.password": "{SECRET}"', f'{{"{SECRET}": null}}',
     f'{{"sasl.password": ["{SECRET}"]}}', f'{{"input": "{SECRET}"}}', f"http://host/{SECRET}", f"/run/{SECRET}", f'["{SECRET}"]',
     f"{SECRET}\n\x00", f"http://me:{SECRET}@[", f'{{"https.{SECRET}": NaN}}']
)  # fmt: skip


def error_text(environ: Mapping[str, str], config_file: Path | None = None) -> str:
    """What a ConfigurationError says, with its traceback and all it was raised from; empty if the settings are fine."""
    try:
        loaded = load(environ, config_file=config_file)
    except ConfigurationError as error:
        return f"{error}\n{error!r}\n{traceback.format_exc()}"
    assert isinstance(loaded, Settings)
    masked(loaded)
    return ""


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(names, texts, max_size=6))
@example(dict.fromkeys(KNOWN, "\ud800"))
@example(dict.fromkeys(KNOWN, "\0"))
@example(dict.fromkeys(KNOWN, "[" * 100_000))
def test_any_environment_gives_settings_or_a_configuration_error(environ: Mapping[str, str]) -> None:
    error_text(environ)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(SECRET_VARIABLES), secret_texts, st.dictionaries(names, texts, max_size=2))
def test_the_value_of_a_secret_looking_variable_is_never_in_an_error(
    variable: str, secret: str, others: Mapping[str, str]
) -> None:
    assert SECRET not in error_text({**others, variable: secret})


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([SECRET, f"{SECRET} ", f"{SECRET}\n"]),
    st.dictionaries(names, texts | st.just(SECRET) | st.just(f"x{SECRET}y"), max_size=4),
)
@example(SECRET, {f"WORKER_{SECRET}": "x"})
@example(SECRET, {"WORKER_API__MODEL": f"{SECRET}/"})
def test_the_api_key_is_in_no_error_wherever_else_it_was_put(key: str, others: Mapping[str, str]) -> None:
    assert SECRET not in error_text({**others, "SEGMIND_API_KEY": key})


toml_values = st.sampled_from(
    [
        "1",
        '"a"',
        "true",
        "nan",
        "1979-05-27",
        "[1]",
        '["a"]',
        "{}",
        "{a = 1}",
        "{a.b.c = [{d = inf}]}",
        "''",
        '"\\u0000"',
        "9" * 400,
    ]
)
toml_lines = st.tuples(
    st.sampled_from(
        [setting.key for setting in catalogue()] + ["x", "kafka", "kafka.properties.a.b", "api.extra.key", '"\\n"']
    ),
    toml_values,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(toml_lines.map(" = ".join) | st.text(max_size=10), max_size=5).map("\n".join))
@example("x" + ".a" * 2000 + " = 1")
@example("kafka.properties" + ".a" * 2000 + " = 1")
@example("api.extra" + ".a" * 2000 + " = 1")
def test_any_file_gives_settings_or_a_configuration_error(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "worker.toml"
        file.write_bytes(text.encode(errors="surrogatepass"))
        error_text({}, file)
