"""The settings as a list, made from the models: names, kinds, bounds, defaults. What reads, checks and documents settings
goes by this list, so that none of them can forget one."""

import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeAlias, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, MinLen
from pydantic.fields import FieldInfo

from worker.settings.sections import Sections

AnyType: TypeAlias = Any  # a type as an annotation writes it: a class, a union, Annotated, ...


class Kind(StrEnum):
    """How a setting's value is written."""

    TEXT = "text"
    INTEGER = "an integer"
    NUMBER = "a number"
    BOOLEAN = "true or false"
    CHOICE = "one of"
    LIST = "a comma list or a JSON list of strings"
    OBJECT = "a JSON object"
    PATH = "a path"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. `words` says in words what it takes; `may_be_unset`: an empty string means unset; `hidden`: its value
    may hold a secret and is never shown in an error."""

    section: str
    name: str
    kind: Kind
    words: str
    default: object
    description: str
    may_be_unset: bool
    hidden: bool

    @property
    def key(self) -> str:
        """The dotted name, as in the file: `kafka.group_id`."""
        return f"{self.section}.{self.name}"

    @property
    def environment(self) -> str:
        """The environment variable: `WORKER_KAFKA__GROUP_ID`."""
        return f"WORKER_{self.section}__{self.name}".upper()


def catalogue() -> Sequence[Setting]:
    """Every setting, in the order of the models."""
    return [
        _setting(section, name, field)
        for section, of in Sections.model_fields.items()
        for name, field in _fields(of.annotation)
    ]


def _fields(section: AnyType) -> Iterator[tuple[str, FieldInfo]]:
    yield from section.model_fields.items()


def _setting(section: str, name: str, field: FieldInfo) -> Setting:
    python_type, bounds = _unwrapped(field.annotation)
    kind = _kind(python_type)
    default = field.get_default(call_default_factory=True, validated_data={})
    return Setting(
        section=section,
        name=field.alias or name,
        kind=kind,
        words=_words(kind, python_type, [*bounds, *field.metadata]),
        default=default,
        description=field.description or "",
        may_be_unset=default is None or default == {},
        hidden=not field.repr,
    )


def _unwrapped(annotation: AnyType) -> tuple[AnyType, Sequence[object]]:
    """The type below `| None` and Annotated, with the bounds met on the way."""
    bounds: list[object] = []
    while True:
        origin: object = get_origin(annotation)
        if origin in {Union, types.UnionType}:
            annotation = next(part for part in get_args(annotation) if part is not type(None))
        elif origin is Annotated:
            annotation, *extras = get_args(annotation)
            for extra in extras:
                bounds.extend(extra.metadata if isinstance(extra, FieldInfo) else [extra])
        else:
            return annotation, bounds


def _kind(python_type: AnyType) -> Kind:
    python_type = get_origin(python_type) or python_type
    if issubclass(python_type, StrEnum):
        return Kind.CHOICE
    kinds: dict[type, Kind] = {
        str: Kind.TEXT,
        bool: Kind.BOOLEAN,
        int: Kind.INTEGER,
        float: Kind.NUMBER,
        tuple: Kind.LIST,
        dict: Kind.OBJECT,
        Path: Kind.PATH,
    }
    return kinds[python_type]


def _words(kind: Kind, python_type: AnyType, bounds: Sequence[object]) -> str:
    if kind is Kind.CHOICE:
        return f"{kind} {', '.join(python_type)}"
    low = high = above = limits = ""
    for bound in bounds:
        match bound:
            case Ge(ge=limit):
                low = str(limit)
            case Gt(gt=limit):
                above = f"above {limit}"
            case Le(le=limit):
                high = str(limit)
            case MinLen():
                limits = "not empty"
    if low and high:
        limits = f"from {low} to {high}"
    elif low or above or high:
        limits = ", ".join(part for part in (above, low and f"at least {low}", high and f"at most {high}") if part)
    separator = ", " if limits == "not empty" else " "
    return f"{kind}{separator}{limits}" if limits else f"{kind}"
