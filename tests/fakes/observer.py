"""An observer that remembers."""

from typing import TypeVar

from worker.notices import Notice

Kind = TypeVar("Kind")


class RememberingObserver:
    """The port `Observer`; `of` gives all notices of one type."""

    def __init__(self) -> None:
        self.notices: list[Notice] = []

    def notice(self, notice: Notice) -> None:
        self.notices.append(notice)

    def of(self, kind: type[Kind]) -> list[Kind]:
        return [notice for notice in self.notices if isinstance(notice, kind)]
