"""What was set, where: the file, the environment and the flags, each read into a mapping by dotted name."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

from worker.settings.catalogue import Setting
from worker.settings.report import Given, Report, escaped, home_of_secret, printable
from worker.settings.secrets import API_KEY, API_KEY_FILE, has_userinfo, is_secret, looks_secret, read_file, shown_path

Known = Mapping[str, Setting]
PREFIX = "WORKER_"
VENDOR = "SEGMIND_"
# Kubernetes puts the addresses of Services into the environment (WORKER_SERVICE_HOST, WORKER_PORT_80_TCP_ADDR, ...): a
# Service whose name begins with "worker" must not stop the worker.
SERVICE_LINK = re.compile(
    r"WORKER_(?:[A-Z0-9_]+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)"
)
SERVICE_ADDRESS = re.compile(r"(?:tcp|udp|sctp)://[^@]*")
FLAG_NAME = re.compile(r"[A-Za-z0-9_.]+")


def from_environment(environ: Mapping[str, str], known: Known, report: Report) -> dict[str, Given]:
    """The variables WORKER_<SECTION>__<NAME>; others that begin with WORKER_ are reported."""
    by_variable = {setting.environment: setting for setting in known.values()}
    given: dict[str, Given] = {}
    for variable, text in environ.items():
        setting = by_variable.get(variable)
        if setting:
            _give(given, Given(setting, text, variable, is_text=True))
        elif not variable.startswith(PREFIX) and variable.upper() in by_variable:
            report.add(variable, f"not read: names of variables are upper case, set {variable.upper()} instead")
        elif not variable.startswith(PREFIX) or _is_service_link(variable, text):
            continue
        elif looks_secret(variable):
            key = variable.removeprefix(PREFIX).lower().replace("__", ".")
            report.add(printable(variable), f"no such setting; secrets go into {home_of_secret(key)}")
        else:
            report.unknown(printable(variable), variable, by_variable)
    return given


def unread_variables(environ: Mapping[str, str], report: Report) -> tuple[str, ...]:
    """A line for each SEGMIND_* variable that the worker does not read. One that looks like the key is reported where the
    key is not given otherwise; the others may be some other tool's."""
    found = []
    has_key = bool(environ.get(API_KEY) or environ.get(API_KEY_FILE))
    for variable, text in environ.items():
        name = variable.upper()
        if not name.startswith(VENDOR) or variable in {API_KEY, API_KEY_FILE} or not text:
            continue
        if _is_service_link(name.replace(VENDOR, PREFIX, 1), text):
            continue
        if not has_key and (looks_secret(name) or name == API_KEY_FILE):
            report.add(printable(variable), f"not read: the API key goes into {API_KEY} or {API_KEY_FILE}")
        else:
            found.append(
                f"{printable(variable)} is not read: the key is {API_KEY} or {API_KEY_FILE}, all else {PREFIX}*"
            )
    return tuple(found)


def _is_service_link(variable: str, text: str) -> bool:
    if "__" in variable:
        return False
    if SERVICE_LINK.fullmatch(variable):
        return True
    return variable.endswith("_PORT") and SERVICE_ADDRESS.fullmatch(text) is not None


def from_flags(flags: Mapping[str, object], known: Known, report: Report) -> dict[str, Given]:
    """Flags by dotted name or as nested mappings; None is a flag that was not used."""
    given: dict[str, Given] = {}
    for key, value in _by_dotted_name(flags, known):
        # what stands before the first `=` of something pasted may hold a secret
        place = f"flag {printable(key)}" if FLAG_NAME.fullmatch(key) else "flag whose name is none (not shown)"
        if key not in known:
            if looks_secret(key):
                report.add(place, f"no such setting; secrets go into {home_of_secret(key)}")
            else:
                report.unknown(place, key, known)
        elif value is not None:
            _give(given, Given(known[key], value, place, is_text=isinstance(value, str)))
    return given


def _by_dotted_name(flags: Mapping[str, object], known: Known) -> Iterator[tuple[str, object]]:
    for key, value in flags.items():
        if key not in known and isinstance(value, Mapping):
            yield from ((f"{key}.{name}", inner) for name, inner in value.items())
        else:
            yield key, value


def from_file(path: Path, known: Known, report: Report) -> dict[str, Given]:
    """A TOML file with a table for each section. Secrets in it are refused: files are copied, committed and mailed."""
    file = escaped(shown_path(path))
    tree = _parsed(path, file, report)
    given: dict[str, Given] = {}
    secrets = _report_secrets(tree, file, report)
    sections = {setting.section for setting in known.values()}
    for section, table in tree.items():
        if section in secrets:
            continue
        if section not in sections:
            report.unknown(f"{file}: {printable(section)}", section, sections)
            continue
        if not isinstance(table, dict):
            report.add(f"{file}: {section}", f"wants a table, [{section}]")
            continue
        for name, value in table.items():
            key = f"{section}.{name}"
            if key in known:
                flat = _flattened(value) if key == "kafka.properties" and isinstance(value, dict) else value
                _give(given, Given(known[key], flat, f"{file}: {key}", is_text=False))
            elif not any(secret == key or secret.startswith(f"{key}.") for secret in secrets):
                report.unknown(f"{file}: {printable(key)}", key, known)
    return given


def _parsed(path: Path, file: str, report: Report) -> dict[str, object]:
    try:
        text = read_file(path)
    except ValueError as error:
        report.add(file, f"the configuration file cannot be read: {error}")
        return {}
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # Only the position: the rest of the message may quote the file.
        found = re.search(r"\((at [^()]*)\)\Z", str(error))
        report.add(file, f"not valid TOML ({found[1] if found else 'somewhere'})")
    except RecursionError:
        report.add(file, "not usable: nested too deeply")
    except ValueError:
        report.add(file, "not usable: holds a number with too many digits")
    return {}


def _report_secrets(tree: Mapping[str, object], file: str, report: Report) -> set[str]:
    """Reports what looks like a secret; its dotted names."""
    found: set[str] = set()
    waiting: list[tuple[str, object]] = list(reversed(list(tree.items())))
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, dict):
            waiting.extend((f"{key}.{name}", inner) for name, inner in reversed(list(value.items())))
        elif isinstance(value, list):
            waiting.extend((key, inner) for inner in reversed(value))
        elif is_secret(".".join(key.split(".")[-3:]), value) or (isinstance(value, str) and has_userinfo(value)):
            if key not in found:
                report.add(
                    f"{file}: {printable(key)}",
                    f"secrets do not belong in this file; set {home_of_secret(key)} instead",
                )
            found.add(key)
    return found


def _flattened(table: Mapping[str, object]) -> dict[str, object]:
    """`security.protocol = "SSL"` in TOML makes a table in a table; librdkafka's names are flat."""
    flat: dict[str, object] = {}
    waiting = list(reversed(list(table.items())))
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, dict) and value:
            waiting.extend((f"{name}.{inner}", deeper) for inner, deeper in reversed(list(value.items())))
        else:
            flat[name] = value
    return flat


def _give(given: dict[str, Given], one: Given) -> None:
    """An empty string for a setting that may be unset means: not set here."""
    if one.value != "" or not one.setting.may_be_unset:
        given[one.setting.key] = one
