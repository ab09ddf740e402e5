"""What can be chosen by name, and replaced: presets, coders, ranges.

A package of somebody else's adds to them by an entry point of the group ``fmtc.plugins`` that names
a module; it is imported when a name is looked up for the first time, and registers what it has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Generic, TypeVar

from .errors import UnknownNameError
from .progress import warn

T = TypeVar("T")
PLUGINS = "fmtc.plugins"
_loaded = False


class Registry(Mapping[str, T], Generic[T]):
    """Things of one kind by their names, in the order in which they were registered."""

    def __init__(self, kind: str):
        self.kind = kind
        self._things: dict[str, T] = {}

    def register(self, name: str, thing: T) -> T:
        """Add a thing. ValueError: not a name, or one that is taken by another thing."""
        if not isinstance(name, str) or not name or name != name.strip():
            raise ValueError(f"a {self.kind} is registered under a name, not {name!r}")
        if self._things.get(name, thing) is not thing:
            raise ValueError(f"there is a {self.kind} called '{name}' already; take another name")
        self._things[name] = thing
        return thing

    def unregister(self, name: str) -> None:
        """Take a thing out again. UnknownNameError where it is not there."""
        self[name]
        del self._things[name]

    def names(self, pattern: str = "*") -> list[str]:
        """Those that match a pattern such as "pca*"."""
        load_plugins()
        return [name for name in self._things if fnmatchcase(name, pattern)]

    def __getitem__(self, name: str) -> T:
        try:
            if name not in self._things:
                load_plugins()
            return self._things[name]
        except (KeyError, TypeError):
            raise UnknownNameError(unknown(self.kind, name, self._things)) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self.names())


def unknown(kind: str, name: object, known: Mapping[str, object]) -> str:
    """The sentence about a name that is not known, with the nearest that is."""
    near = get_close_matches(str(name), known, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return f"unknown {kind} {name!r}: {hint}known are {', '.join(known)}"


def load_plugins() -> None:
    """Import the modules that entry points of the group ``fmtc.plugins`` name, once.

    One that fails is left out with a warning.
    """
    global _loaded
    if _loaded:
        return
    _loaded = True
    from importlib.metadata import entry_points

    for plugin in entry_points(group=PLUGINS):
        try:
            plugin.load()
        except Exception as error:  # somebody else's code: anything can be raised
            warn(f"the plugin '{plugin.name}' ({plugin.value}) cannot be loaded: {error!r}")
