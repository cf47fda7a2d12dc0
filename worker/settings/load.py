"""All settings, read and checked once: flags over environment over file. The only reader of any of them.

A plain reading of the environment instead of pydantic-settings: that library does not report unknown variables, quotes
values in its errors and converts leniently, so each of the rules here would have had to be built against it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from pydantic import ValidationError

from worker.errors import ConfigurationError
from worker.settings import checks, values
from worker.settings.budgets import DeadLettersSettings, SpendSettings
from worker.settings.catalogue import Setting, catalogue
from worker.settings.guarantees import GuaranteesSettings
from worker.settings.report import Given, Report
from worker.settings.secrets import API_KEY, SecretSource, api_key_source, read_file
from worker.settings.sections import (
    ApiSettings,
    InputSettings,
    KafkaSettings,
    LimitsSettings,
    LogSettings,
    PaceSettings,
    RegistrySettings,
    Sections,
    StatusSettings,
    TopicsSettings,
)
from worker.settings.sources import Known, from_environment, from_file, from_flags, unread_variables


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one start. `api_key` None: none was given. `unread`: a line for each variable of the environment that
    looks as if it were meant for the worker, which does not read it."""

    kafka: KafkaSettings = field(default_factory=KafkaSettings)
    topics: TopicsSettings = field(default_factory=TopicsSettings)
    input: InputSettings = field(default_factory=InputSettings)
    api: ApiSettings = field(default_factory=ApiSettings)
    pace: PaceSettings = field(default_factory=PaceSettings)
    guarantees: GuaranteesSettings = field(default_factory=GuaranteesSettings)
    limits: LimitsSettings = field(default_factory=LimitsSettings)
    dead_letters: DeadLettersSettings = field(default_factory=DeadLettersSettings)
    spend: SpendSettings = field(default_factory=SpendSettings)
    registry: RegistrySettings = field(default_factory=RegistrySettings)
    status: StatusSettings = field(default_factory=StatusSettings)
    log: LogSettings = field(default_factory=LogSettings)
    api_key: SecretSource | None = None
    unread: Sequence[str] = ()


def load(
    environ: Mapping[str, str], *, config_file: Path | None = None, flags: Mapping[str, object] | None = None
) -> Settings:
    """The settings from flags (nested, or by dotted name as `kafka.group_id`; None: not used), `WORKER_*` variables and a
    TOML file, the first that names a setting winning. Reads the file that WORKER_KAFKA__PROPERTIES_FILE names, but not
    the API key's. Raises InvalidSettings, a ConfigurationError whose `problems` are one line each, all of them at once."""
    report = Report(environ.get(API_KEY, "").strip())
    known = {setting.key: setting for setting in catalogue()}
    given: dict[str, Given] = {}
    if config_file is not None:
        given |= from_file(config_file, known, report)
    given |= from_environment(environ, known, report)
    given |= from_flags(flags or {}, known, report)
    sections = _checked(given, known, report)
    api_key: SecretSource | None = None
    try:
        api_key = api_key_source(environ)
    except ConfigurationError as error:
        report.add(*str(error).split(": ", 1))
    unread = unread_variables(environ, report)
    report.raise_if_any()
    return Settings(api_key=api_key, unread=unread, **{name: getattr(sections, name) for name in Sections.model_fields})


def _checked(given: Mapping[str, Given], known: Known, report: Report) -> Sections:
    """The models, or the defaults after everything wrong has been reported, in the order of the models."""
    typed: dict[str, object] = {}
    wanted: dict[str, str] = {}
    for key, one in given.items():
        try:
            if one.is_text:
                typed[key] = values.from_text(one.setting, str(one.value))
            else:
                typed[key] = values.from_typed(one.setting, one.value)
        except ValueError as error:
            wanted[key] = str(error)
    _merge_properties_file(given, known, typed, report)
    tree: dict[str, dict[str, object]] = {}
    for key, value in typed.items():
        tree.setdefault(known[key].section, {})[known[key].name] = value
    sections = Sections()
    try:
        sections = Sections.model_validate(tree)
    except ValidationError as error:
        for key, wants in _explained(error, known):
            wanted.setdefault(key, wants)
    for key, setting in known.items():
        if key in given and key in wanted:
            report.wrong(given[key], wanted[key])
        elif key in wanted:
            default = Given(setting, setting.default, setting.environment, is_text=False)
            report.wrong(default, wanted[key], note=" (the default)")
    return sections


def _explained(error: ValidationError, known: Known) -> Iterator[tuple[str, str]]:
    """What each setting wants that pydantic has refused, by dotted name."""
    for problem in error.errors(include_url=False, include_input=False):
        section, name, *_ = problem["loc"]
        setting: Setting = known[f"{section}.{name}"]
        own_words = problem["type"] == "value_error"
        yield setting.key, str(problem["ctx"]["error"]) if own_words else setting.words


def _merge_properties_file(given: Mapping[str, Given], known: Known, typed: dict[str, object], report: Report) -> None:
    path = typed.get("kafka.properties_file")
    if not isinstance(path, Path):
        return
    properties = typed.get("kafka.properties", {})
    trouble = "cannot be read"
    try:
        text = read_file(path)
        trouble = "does not fit"
        content = values.from_text(known["kafka.properties"], text)
        merged = checks.kafka_properties(cast("dict[str, object]", content))
    except ValueError as error:
        wants = ", wants " if trouble == "does not fit" else ": "
        report.add(given["kafka.properties_file"].place, f"the file it names {trouble}{wants}{error}")
        return
    typed["kafka.properties"] = cast("dict[str, object]", properties) | merged
