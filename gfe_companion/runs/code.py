"""The code that a run rests on: modules as syntax trees, found by their imports, and classes from outside by bytecode.

Comments, docstrings and formatting do not count. Importing ``a.b`` counts the module ``a.b`` alone, and neither the
package ``a`` nor what its ``__init__`` imports; ``from a import name`` counts that ``__init__`` where ``name`` is no
module. A module that looks for others by ``iter_modules`` counts all of its package. Resources count where a module
names a file beside it in a string.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING

from gfe_companion.runs.outside import Outside, digest_outside
from gfe_companion.runs.syntax import ALL, PACKAGES, Module, parse, sha

if TYPE_CHECKING:
    from gfe_companion.runs.config import RunConfig

ROOT = Path(__file__).resolve().parents[2]
DATASETS = "gfe_companion.datasets"  # a module for each data set, of its name


class StaleCode(RuntimeError):
    """The code in memory is not the code on disk, whose runs were asked for; the text names a file and the remedy."""


class Code:
    """Both packages as they were at one moment, ``files`` having the content of each by its path below the root."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.modules = {_module_name(path): path for path in files if path.endswith(".py")}
        self._closures: dict[str, dict[str, str]] = {}

    def parsed(self, module: str) -> Module:
        """What the file of a module says."""
        path = self.modules[module]
        return parse(self.files[path], module, path.endswith("__init__.py"))

    def digest_of(self, module: str, text: bool = False) -> str:
        """The digest of a module and of the resources that it names; of its whole ``text`` where that is shown."""
        path, parsed = self.modules[module], self.parsed(module)
        beside = [f"{path.rpartition('/')[0]}/{name}" for name in parsed.resources]
        found = [sha(self.files[path]) for path in beside if path in self.files]
        return sha(json.dumps([parsed.text if text else parsed.digest, *found]).encode())[:16]

    def closure(self, roots: Iterable[str]) -> dict[str, str]:
        """Digests of the modules ``roots`` and of all that they import, at their heads or inside functions, by name."""
        found: dict[str, str] = {}
        for root in roots:
            found |= self._closure(root)
        return dict(sorted(found.items()))

    def _closure(self, root: str) -> dict[str, str]:
        if root not in self._closures:
            shown: dict[str, bool] = {}
            waiting = [(root, False)]
            while waiting:
                module, text = waiting.pop()
                parsed = self.parsed(module)
                text = text or parsed.shows
                if module in shown and shown[module] >= text:
                    continue
                shown[module] = text
                waiting += [(name, parsed.shows) for name in self.resolve(parsed.imports)]
            self._closures[root] = {module: self.digest_of(module, text) for module, text in shown.items()}
        return self._closures[root]

    def resolve(self, imports: Iterable[tuple[str, str]]) -> Iterator[str]:
        """The modules of both packages that these ``imports`` bring in."""
        for module, name in imports:
            if name == ALL:
                yield from (other for other in self.modules if other.startswith(f"{module}."))
            elif f"{module}.{name}" in self.modules:
                yield f"{module}.{name}"
            elif module in self.modules:
                yield module

    def rests_on(self, config: RunConfig) -> dict[str, str]:
        """The digest of everything that the numbers of ``config`` depend on besides its settings, by name.

        These are the modules of its own class, its solvers, its data set and of the runs it depends on, with what these
        import; and classes and functions from outside both packages.
        """
        roots, outside = self._parts(config)
        dataset = f"{DATASETS}.{config.trained.dataset}"
        roots |= {dataset} & self.modules.keys()
        if dataset not in self.modules:  # registered from outside
            more, others = self._parts(_entry(config.trained.dataset))
            roots, outside = roots | more, outside | others
        return self.closure(sorted(roots)) | dict(sorted(outside.items()))

    def _parts(self, value: object) -> tuple[set[str], dict[str, str]]:
        found = Outside(self.modules)
        for part in parts_of(value):
            found.visit(part)
        return found.modules, digest_outside(found)


def parts_of(value: object) -> Iterator[type | FunctionType]:
    """The classes and functions that a value is made of, through fields and tuples.

    Those of plain data are left out: fields are settings, and a class that has nothing but fields adds nothing to them.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        if _has_code(type(value)):
            yield type(value)
        for field in dataclasses.fields(value):
            yield from parts_of(getattr(value, field.name))
    elif isinstance(value, tuple):
        for item in value:
            yield from parts_of(item)
    elif isinstance(value, type | FunctionType):
        yield value


@lru_cache(maxsize=1024)
def _has_code(kind: type) -> bool:
    own = [name for base in kind.__mro__[:-1] for name, held in vars(base).items() if callable(held) or _bound(held)]
    return any(not name.startswith("__") or name in ("__call__", "__post_init__") for name in own)


def _bound(held: object) -> bool:
    return isinstance(held, property | classmethod | staticmethod)


def _entry(dataset: str) -> object:
    from gfe_companion.datasets.registry import entry

    return entry(dataset)


def now() -> Code:
    """Both packages as they are on disk now. Costs a look at the time and size of each file."""
    stamps = _stamps(str(ROOT))
    if _last and _last[0] == stamps:
        return _last[1]
    files = {}
    for (root, path), stamp in stamps.items():
        with suppress(FileNotFoundError):  # an editor's own, which was there for a moment
            files[path] = _content(os.path.join(root, path), *stamp)
    _last[:] = [stamps, Code(files)]
    return _last[1]


_last: list = []  # the last answer of :func:`now`, and the times and sizes that it holds for


def _stamps(root: str) -> dict[tuple[str, str], tuple[int, int]]:
    found, folders = {}, [*PACKAGES]
    while folders:
        folder = folders.pop()
        for entry in os.scandir(os.path.join(root, folder)):
            path = f"{folder}/{entry.name}"
            if entry.is_dir():
                if entry.name[0] not in "._":
                    folders.append(path)
            elif not entry.name.startswith("."):
                with suppress(FileNotFoundError):
                    stat = entry.stat()
                    found[root, path] = (stat.st_mtime_ns, stat.st_size)
    return dict(sorted(found.items()))


@lru_cache(maxsize=1024)
def _content(path: str, mtime_ns: int, size: int) -> bytes:
    """The content of a file, for which its time and size stand."""
    return Path(path).read_bytes()


def _module_name(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


LOADED = now()  # as the modules in memory have been read


def digest_of(module: str) -> str:
    """The digest of a module as it is on disk now, with the resources that it names."""
    return now().digest_of(module)


def rests_on(config: RunConfig) -> dict[str, str]:
    """The digest of everything that the numbers of ``config`` depend on besides its settings: see :class:`Code`."""
    return now().rests_on(config)


def code_key(digests: dict[str, str]) -> str:
    """Eight hexadecimal digits that stand for ``digests``."""
    return sha(json.dumps(sorted(digests.items())).encode())[:8]


def changed(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """The modules that differ: those in both, or else those that are in one of them only."""
    differ = [name for name in before.keys() & after.keys() if before[name] != after[name]]
    return sorted(differ or before.keys() ^ after.keys())


def require_loaded(config: RunConfig, digests: dict[str, str]) -> None:
    """Raise :class:`StaleCode` unless the code in memory is that of ``digests``."""
    if differ := changed(LOADED.rests_on(config), digests):
        name = differ[0]
        path = now().modules.get(name) or LOADED.modules.get(name) or name
        more = f" (and {len(differ) - 1} more)" if len(differ) > 1 else ""
        raise StaleCode(
            f"{path}{more} has changed since this kernel read it, so that old code would make new numbers: "
            "restart the kernel (Kernel > Restart) and run again."
        )
