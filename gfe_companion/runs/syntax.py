"""What a module says, as a syntax tree: its digest without comments, docstrings and formatting, and what it names."""

from __future__ import annotations

import ast
import hashlib
import re
from dataclasses import dataclass
from functools import cache

PACKAGES = ("gfe_core", "gfe_companion")
ALL = "**"  # in the place of an imported name: every module of the package


@dataclass(frozen=True)
class Module:
    """What a file says: its ``digest``, the one of its ``text``, and what it names.

    ``imports`` has pairs of a module and a name in it, or "" . ``shows``: it reads docstrings or source, so that its
    own text counts and that of what it imports . ``resources``: strings that may be names of files.
    """

    digest: str
    text: str
    imports: tuple[tuple[str, str], ...]
    shows: bool
    resources: tuple[str, ...]


@cache
def parse(content: bytes, module: str, is_package: bool) -> Module:
    """What a file with this ``content`` says; one that is no Python, as it may be amid an edit, is its bytes."""
    text = sha(content)
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):
        return Module(text, text, (), False, ())
    tree = _Plain().visit(tree)
    imports: list[tuple[str, str]] = []
    names: set[str] = set()
    strings: set[str] = set()
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports += [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*above, *filter(None, [node.module])])
            imports += [(source, alias.name) for alias in node.names]
        elif isinstance(node, ast.Attribute | ast.Name | ast.alias):
            names |= {getattr(node, kind) for kind in ("attr", "id", "name") if hasattr(node, kind)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            strings.add(node.value)
    imports = [pair for pair in imports if pair[0].split(".")[0] in PACKAGES]
    imports += [(name, "") for name in strings if "." in name and name.split(".")[0] in PACKAGES]  # by importlib
    imports += [(package, ALL)] if "iter_modules" in names else []
    resources = sorted(name for name in strings if re.fullmatch(r"[\w-]+\.\w+", name) and not name.endswith(".py"))
    shows = not names.isdisjoint({"__doc__", "getsource", "getsourcelines", "getdoc"})
    digest = sha(_dumped(tree).encode())
    return Module(digest, text, tuple(sorted(set(imports))), shows, tuple(resources))


def _dumped(node: object) -> str:
    """As ``ast.dump``, without the empty fields, which differ between versions of Python."""
    if isinstance(node, ast.AST):
        fields = ((name, value) for name, value in ast.iter_fields(node) if value is not None and value != [])
        return f"{type(node).__name__}({', '.join(f'{name}={_dumped(value)}' for name, value in fields)})"
    return f"[{', '.join(map(_dumped, node))}]" if isinstance(node, list) else repr(node)


class _Plain(ast.NodeTransformer):
    """Takes strings that stand alone (docstrings), and imports for type checkers only, out of a tree."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return None
        return self.generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST | None:
        test = node.test
        if getattr(test, "id", getattr(test, "attr", "")) == "TYPE_CHECKING" and not node.orelse:
            return None
        return self.generic_visit(node)


def sha(content: bytes) -> str:
    """The SHA-256 sum of ``content``."""
    return hashlib.sha256(content).hexdigest()
