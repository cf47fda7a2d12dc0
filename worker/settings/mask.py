"""The effective settings, fit to be shown: by `check`, and in the log at DEBUG."""

from enum import Enum
from pathlib import Path

from worker.settings.catalogue import catalogue
from worker.settings.load import Settings
from worker.settings.secrets import MASK, is_secret, without_userinfo


def masked(settings: Settings) -> dict[str, object]:
    """Every setting by dotted name, as plain JSON values; secrets masked. `api_key` says where the key comes from
    (None: nowhere)."""
    shown: dict[str, object] = {
        setting.key: _shown(setting.name, _value(settings, setting.section, setting.name)) for setting in catalogue()
    }
    shown["api_key"] = settings.api_key and settings.api_key.variable
    return shown


def _value(settings: Settings, section: str, name: str) -> object:
    of_section: dict[str, object] = getattr(settings, section).model_dump(by_alias=True)
    return of_section[name]


def _shown(name: str, value: object) -> object:
    if isinstance(value, dict):
        return {inner: _masked_by_name(inner, part) for inner, part in value.items()}
    if isinstance(value, list | tuple):
        return [_shown(name, part) for part in value]
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, str | Path):
        return without_userinfo(str(value))
    return value


def _masked_by_name(name: str, value: object) -> object:
    return MASK if is_secret(name, value) else _shown(name, value)
