"""Planted bugs: does the simulation find what it is there to find? Each is one mechanism switched off, patched into the classes
of the worker (or of its adapter's fake, where the rule is the adapter's) while a run is made; production code knows nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from tests.simulation import bugs_of_commit, bugs_of_ledger, bugs_of_submit
from tests.simulation.patching import Patch, patched

MODULES = (bugs_of_ledger, bugs_of_commit, bugs_of_submit)


class Bug(NamedTuple):
    """What is wrong, and how it is brought about."""

    what: str
    patches: Callable[[], Sequence[Patch]]


BUGS: dict[str, Bug] = {
    name.replace("_", "-"): Bug((function.__doc__ or "").strip(), function)
    for module in MODULES
    for name, function in module.BUGS.items()
}


@contextmanager
def planted(name: str | None) -> Iterator[None]:
    """With this bug (None: with none)."""
    with patched(BUGS[name].patches() if name else []):
        yield
