"""Classes and functions from outside both packages, such as a solver in a notebook: what their code is.

They are taken as they are in memory, by bytecode and constants: that is what runs, in a notebook as in its workers.
Names that a function uses are followed to other such classes, functions and constants, and into both packages.
"""

from __future__ import annotations

import dataclasses
import hashlib
import sys
import sysconfig
from collections.abc import Collection, Iterator
from functools import lru_cache
from types import CellType, CodeType, FunctionType, ModuleType

HAS_DOCSTRING = 0x4000000  # a flag of code objects since Python 3.13


class Outside:
    """What :meth:`visit` has come by: ``modules`` of both packages, and ``code`` from outside, by name."""

    def __init__(self, known: Collection[str]) -> None:
        self.known = known
        self.modules: set[str] = set()
        self.code: dict[str, list[str]] = {}
        self._seen: list[object] = []  # holds them, so that no id is used twice

    def visit(self, value: object) -> None:
        """Note ``value``, a class or function, and all that it uses."""
        value = _unwrapped(value)
        if any(value is seen for seen in self._seen):
            return
        self._seen.append(value)
        if isinstance(value, ModuleType):
            self.modules |= {value.__name__} & set(self.known)
        elif isinstance(value, type):
            for base in value.__mro__[:-1]:
                self._note(base)
        elif isinstance(value, FunctionType):
            self._note(value)

    def _note(self, value: type | FunctionType) -> None:
        module = value.__module__
        if module in self.known:
            self.modules.add(module)
            if "<" not in value.__qualname__:  # a lambda or a local function is not told by its name
                return
        elif not is_users(module):
            return
        said = self.code.setdefault(f"{module}.{value.__qualname__}", [])
        place = len(said)
        said.append("")  # its turn is kept, while what it uses is visited
        said[place] = "; ".join(self._class(value) if isinstance(value, type) else self._function(value))

    def _class(self, kind: type) -> Iterator[str]:
        fields = {field.name for field in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else set()
        for name, held in sorted(vars(kind).items()):
            held = _unwrapped(held)
            for function in (held.fget, held.fset) if isinstance(held, property) else (held,):
                made = fields and name.startswith("__") and _file(function) == "<string>"  # by @dataclass
                if isinstance(function, FunctionType) and not made:
                    yield f"{name}: {'; '.join(self._function(function))}"
                elif not name.startswith("__") and name not in fields:
                    yield f"{name} = {self._constant(function)}"

    def _function(self, function: FunctionType) -> Iterator[str]:
        yield _said(function.__code__)
        cells = [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]
        defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
        for value in (*cells, *defaults):
            yield self._constant(value)
        for name in sorted(_names(function.__code__)):
            self.modules |= {name} & set(self.known)  # imported by the function
            value = function.__globals__.get(name)
            if isinstance(value, ModuleType) and is_users(value.__name__):
                for inner in sorted(_names(function.__code__) & vars(value).keys()):
                    yield f"{name}.{inner} = {self._constant(vars(value)[inner])}"
            elif name in function.__globals__:
                yield f"{name} = {self._constant(value)}"

    def _constant(self, value: object) -> str:
        """Numbers, strings, tuples and settings as text; classes and functions are visited, others have no text."""
        if value is None or isinstance(value, bool | int | float | complex | str | bytes):
            return repr(value)
        if isinstance(value, tuple | list):
            return f"({', '.join(map(self._constant, value))})"
        if isinstance(value, dict):
            return f"({', '.join(f'{key!r}: {self._constant(held)}' for key, held in value.items())})"
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            self.visit(type(value))
            held = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
            return f"{type(value).__qualname__}{self._constant(held)}"
        self.visit(value)
        return getattr(value, "__qualname__", type(value).__qualname__)


def digest_outside(found: Outside) -> dict[str, str]:
    """The digest of each class and function from outside, by name."""
    return {name: hashlib.sha256("\n".join(said).encode()).hexdigest()[:16] for name, said in found.code.items()}


@lru_cache(maxsize=256)
def is_users(module: str) -> bool:
    """Whether a module is neither Python's nor an installed package's: a notebook, a script, a file of one's own."""
    if module == "__main__":
        return True
    path = getattr(sys.modules.get(module), "__file__", None)
    places = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return path is not None and not any(path.startswith(f"{place}/") for place in places)


def _said(code: CodeType) -> str:
    """Bytecode and constants, without line numbers and docstrings."""
    held = list(code.co_consts)
    documented = code.co_flags & HAS_DOCSTRING if sys.version_info >= (3, 13) else code.co_name != "<lambda>"
    if documented and held and isinstance(held[0], str):
        held[0] = None
    told = [code.co_code.hex(), code.co_exceptiontable.hex(), code.co_names, code.co_varnames, code.co_freevars]
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & ~HAS_DOCSTRING)
    return repr([*told, *counts, *map(_shown, held), sys.version_info[:2]])


def _shown(value: object) -> str:
    if isinstance(value, CodeType):
        return _said(value)
    if isinstance(value, frozenset):
        return f"{{{', '.join(sorted(map(_shown, value)))}}}"
    if isinstance(value, tuple):
        return f"({', '.join(map(_shown, value))})"
    return repr(value)


def _unwrapped(value: object) -> object:
    """The function in a method, a class method or a static one, a cached function or property."""
    for name in ("__func__", "__wrapped__", "func"):
        if not isinstance(value, type | FunctionType | ModuleType):
            inner = getattr(value, name, None)
            value = inner if isinstance(inner, FunctionType) else value
    return value


def _names(code: CodeType) -> set[str]:
    inner = [_names(held) for held in code.co_consts if isinstance(held, CodeType)]
    return set(code.co_names).union(*inner)


def _file(function: object) -> str:
    return function.__code__.co_filename if isinstance(function, FunctionType) else ""


def _is_filled(cell: CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True
