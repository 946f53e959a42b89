"""One lazy registry for each kind of thing that can be added: routers, embedders, benchmarks.

A registry maps a short name to "module:attribute" and imports it when it is first asked for, so that listing names
costs nothing. Other packages add entries through entry points of the registry's group:

    [project.entry-points."prefroute.routers"]
    my_router = "my_package.router:MyRouter"
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
from collections.abc import Mapping
from typing import Generic, TypeVar, cast

from prefroute.errors import ConfigError, nearest

__all__ = ["Registry"]

T = TypeVar("T")


class Registry(Generic[T]):
    """Names of one kind of thing, imported on demand.

    Args:
        what: The kind, in the singular, for messages: "router".
        builtin: Name -> "module:attribute".
        group: Entry-point group through which other packages add names; a built-in name cannot be replaced.

    Example:
        >>> colours = Registry[object]("colour", {"red": "builtins:str"}, group="prefroute.colours")
        >>> colours.names(), colours.get("red")
        (('red',), <class 'str'>)
    """

    def __init__(self, what: str, builtin: Mapping[str, str], group: str) -> None:
        self.what = what
        self.builtin = dict(builtin)
        self.group = group

    @functools.cached_property
    def _plugins(self) -> dict[str, importlib.metadata.EntryPoint]:
        found = importlib.metadata.entry_points(group=self.group)
        return {point.name: point for point in found if point.name not in self.builtin}

    def names(self) -> tuple[str, ...]:
        """Every name, sorted; imports nothing."""
        return tuple(sorted({*self.builtin, *self._plugins}))

    def __contains__(self, name: object) -> bool:
        """Whether the name is known; built-in names are looked up without reading entry points."""
        return name in self.builtin or name in self._plugins

    def get(self, name: str) -> T:
        """The thing with this name, imported now if it was not yet.

        Raises:
            ConfigError: If there is no such name; the message names the nearest and lists all.
        """
        if name in self.builtin:
            module, attribute = self.builtin[name].split(":")
            return cast(T, getattr(importlib.import_module(module), attribute))
        if name in self._plugins:
            return cast(T, self._plugins[name].load())
        raise ConfigError(nearest(name, self.names(), self.what))
