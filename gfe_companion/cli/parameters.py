"""What `-p NAME=VALUE` may set: the variables of a notebook's parameters cell, by their annotations and ranges.

A line of that cell is `name: type = default  # words`. The type is one of :data:`TYPES`, a `Literal[...]`, a list or
tuple of these, or several joined by `|`; without one, the default's own type counts. A range is in the words: `0 to 9`,
`at least 1`, `at most 5`, `above 0`, `below 1`. Standard library only.
"""

from __future__ import annotations

import ast
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

from gfe_companion.cli.environment import Exit, Stop

OF_FLAGS = ("profile", "data", "seeds", "jobs", "device")  # the notebooks' parameters that have a flag of their own
TYPES = {
    "int": "a whole number such as 3", "float": "a number such as 0.5", "str": "a text", "bool": "True or False",
    "None": "None", "list": "a list such as [1, 2]", "tuple": "a tuple such as (1, 2)",
}  # fmt: skip
DECIMAL = re.compile(r"[\d_]*\.?[\d_]*(e[+-]?[\d_]+)?", re.ASCII | re.IGNORECASE)
NUMBER = r"(-?\d[\d_]*(?:\.\d+)?(?:e[+-]?\d+)?)"
RANGES = (
    (re.compile(rf"{NUMBER} to {NUMBER}"), lambda value, low, high: low <= value <= high),
    (re.compile(rf"at least {NUMBER}"), lambda value, low: value >= low),
    (re.compile(rf"at most {NUMBER}"), lambda value, high: value <= high),
    (re.compile(rf"above {NUMBER}"), lambda value, low: value > low),
    (re.compile(rf"below {NUMBER}"), lambda value, high: value < high),
)


class Refused(ValueError):
    """A value that is not what its parameter wants, which the text says."""


@dataclass(frozen=True)
class Parameter:
    """A variable of the parameters cell: its name, its annotation (None: anything), and the words beside it."""

    name: str
    kind: ast.expr | None
    words: str = ""

    def read(self, text: str) -> object:
        """The value that ``text`` stands for. Raises :class:`Refused`, saying what was wanted."""
        value = _value(text)
        if self.kind is None:
            return value
        value = _fitted(value, text, self.kind)
        for pattern, holds in RANGES:
            found = pattern.search(self.words) if isinstance(value, int | float) else None
            if found and not holds(value, *(float(bound.replace("_", "")) for bound in found.groups())):
                raise Refused(found[0])
        return value


def _value(text: str) -> object:
    """What ``text`` writes in Python; ``text`` itself where that is nothing, or has a number that is not decimal."""
    source = text.strip()
    try:
        parts = list(ast.walk(ast.parse(source, mode="eval")))
        numbers = [part for part in parts if isinstance(part, ast.Constant) and type(part.value) in (int, float)]
        if all(DECIMAL.fullmatch(ast.get_source_segment(source, number) or "") for number in numbers):
            return ast.literal_eval(source)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        pass
    return text


def _fitted(value: object, text: str | None, kind: ast.expr) -> object:
    """``value`` as an instance of ``kind``, of which ``text`` is how it was given. Raises :class:`Refused`."""
    if isinstance(kind, ast.BinOp) and isinstance(kind.op, ast.BitOr):
        for side in (kind.left, kind.right):
            try:
                return _fitted(value, text, side)
            except Refused:
                continue
        raise Refused(f"{_wanted(kind.left)} or {_wanted(kind.right)}")
    if isinstance(kind, ast.Subscript):
        return _fitted_inside(value, text, kind)
    name = ast.unparse(kind)
    if name == "str" and text is not None:
        return value if isinstance(value, str) else text
    fits = {
        "int": isinstance(value, int) and not isinstance(value, bool),
        "float": isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value),
        "str": isinstance(value, str),
        "bool": isinstance(value, bool),
        "None": value is None,
        "list": isinstance(value, list),
        "tuple": isinstance(value, tuple),
    }
    if not fits.get(name, True):
        raise Refused(_wanted(kind))
    return float(value) if name == "float" and isinstance(value, int) else value


def _fitted_inside(value: object, text: str | None, kind: ast.Subscript) -> object:
    outer = ast.unparse(kind.value)
    inner = list(kind.slice.elts) if isinstance(kind.slice, ast.Tuple) else [kind.slice]
    if outer == "Literal":
        choices = [ast.literal_eval(choice) for choice in inner]
        for found in (value, text):
            if any(found == choice and type(found) is type(choice) for choice in choices):
                return found
        raise Refused(_wanted(kind))
    if outer == "Annotated":
        return _fitted(value, text, inner[0])
    if outer not in ("list", "tuple"):
        return value
    if not isinstance(value, list if outer == "list" else tuple):
        raise Refused(_wanted(kind))
    if outer == "list" or (len(inner) == 2 and ast.unparse(inner[1]) == "..."):
        inner = [inner[0]] * len(value)
    if len(inner) != len(value):
        raise Refused(f"{len(inner)} values, {_wanted(kind)}")
    return type(value)(_fitted(item, None, part) for item, part in zip(value, inner, strict=True))


def _wanted(kind: ast.expr) -> str:
    if isinstance(kind, ast.Subscript) and ast.unparse(kind.value) == "Literal":
        choices = kind.slice.elts if isinstance(kind.slice, ast.Tuple) else [kind.slice]
        return "one of " + ", ".join(str(ast.literal_eval(choice)) for choice in choices)
    if isinstance(kind, ast.Subscript):
        return f"{TYPES.get(ast.unparse(kind.value), 'something')} of the kind {ast.unparse(kind)}"
    return TYPES.get(ast.unparse(kind), ast.unparse(kind))


def declared(path: Path) -> dict[str, Parameter]:
    """The parameters of the notebook at ``path``. Raises Stop (USAGE) where it cannot be read."""
    found: dict[str, Parameter] = {}
    try:
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if "parameters" in cell["metadata"].get("tags", []):
                found |= _of_cell("".join(cell["source"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SyntaxError) as error:
        raise Stop(f"{path.name} cannot be read as a notebook ({error}); restore that file", Exit.USAGE) from error
    return found


def _of_cell(source: str) -> dict[str, Parameter]:
    found: dict[str, Parameter] = {}
    lines = source.splitlines()
    targets: list[ast.expr]
    kind: ast.expr | None
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.AnnAssign):
            targets, kind = [statement.target], statement.annotation
        elif isinstance(statement, ast.Assign):
            targets, kind = statement.targets, _kind_of(statement.value)
        else:
            continue
        end = statement.end_lineno or statement.lineno
        words = lines[end - 1].encode()[statement.end_col_offset :].decode().strip(" #")
        found |= {target.id: Parameter(target.id, kind, words) for target in targets if isinstance(target, ast.Name)}
    return found


def _kind_of(default: ast.expr) -> ast.expr | None:
    """The annotation that a default without one stands for."""
    try:
        name = type(ast.literal_eval(default)).__name__
    except ValueError:
        return None
    return ast.Name(name) if name in TYPES else None


def checked(given: dict[str, str], notebooks: list[Path]) -> dict[str, object]:
    """The values of ``given``, which every one of ``notebooks`` must declare and accept. Raises Stop (USAGE)."""
    values: dict[str, object] = {}
    for path in notebooks if given else []:
        known = declared(path)
        for name, text in given.items():
            if name not in known:
                valid = ", ".join(sorted(known.keys() - set(OF_FLAGS))) or "none"
                raise Stop(f"{path.name} has no parameter {name!r}; valid with -p: {valid}", Exit.USAGE)
            try:
                values[name] = known[name].read(text)
            except Refused as refused:
                raise Stop(f"-p {name}={text[:40]}: {path.name} wants {refused} for {name}", Exit.USAGE) from refused
    return values
