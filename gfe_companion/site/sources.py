"""The source files that the pages of the report name, as pages of their own, so that links to them need no network."""

from __future__ import annotations

import ast
import html
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import nbformat
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import TextLexer, get_lexer_for_filename
from pygments.util import ClassNotFound

ROOMS = ("gfe_core", "gfe_companion", "examples")
FOLDER = "source"  # within the report
KINDS = (".py", ".toml")


class Sources:
    """The files of the repository at ``root`` that were asked for; :meth:`write` writes a page for each."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._asked: set[Path] = set()

    def address(self, name: str) -> str | None:
        """Where the page of the file or folder ``name`` will be, in the report; None where there is no such file.

        ``name`` is a path within the repository. A notebook that is no page is taken along as it is.
        """
        path = (self.root / name).resolve()
        if not path.is_relative_to(self.root) or not path.exists():
            return None
        within = path.relative_to(self.root)
        if within.parts[:1] == ("notebooks",) and path.suffix == ".ipynb":
            self._asked.add(path)
            return f"{FOLDER}/{within.as_posix()}"
        if within.parts[:1] and within.parts[0] in ROOMS and (path.is_dir() or path.suffix in KINDS):
            self._asked.update([path, *(_files(path) if path.is_dir() else [])])
            return _address(within, path.is_dir())
        return None

    def write(self, report: Path, framed: Callable[[str, str, str], str]) -> None:
        """Write a page for each file that was asked for; ``framed(title, body, root)`` makes a whole page of a body."""
        for path in sorted(self._asked):
            within = path.relative_to(self.root)
            target = report / _address(within, path.is_dir())
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".ipynb":
                shutil.copy(path, report / FOLDER / within)
                continue
            body = self._listed(path) if path.is_dir() else _highlighted(path)
            root = "../" * (len(target.relative_to(report).parts) - 1)
            heading = f"<h1><code>{html.escape(within.as_posix())}</code></h1>\n"
            target.write_text(framed(within.as_posix(), heading + body, root), encoding="utf-8")

    def _listed(self, folder: Path) -> str:
        """The files of ``folder``, each with the first line of its docstring."""
        rows = []
        for path in _files(folder):
            name = path.relative_to(folder).as_posix()
            rows.append(f'<dt><a href="{name}.html"><code>{name}</code></a></dt><dd>{html.escape(_said(path))}</dd>')
        return "<dl>\n" + "\n".join(rows) + "\n</dl>"


def imported(notebook: nbformat.NotebookNode, root: Path) -> list[str]:
    """The files of this repository that the cells of ``notebook`` import, as paths within it, the method first."""
    found = {}
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        try:
            tree = ast.parse(cell.source)
        except SyntaxError:  # a magic, or an exercise that is not yet Python
            continue
        for name in _modules(tree):
            place = name.replace(".", "/")
            if name.split(".")[0] in ROOMS and (root / f"{place}.py").exists():
                found[f"{place}.py"] = ROOMS.index(name.split(".")[0])
    return sorted(found, key=lambda path: (found[path], path))


def _modules(tree: ast.AST) -> Iterable[str]:
    """What may be a module among all that ``tree`` imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix in KINDS and path.name != "__init__.py")


def _address(within: Path, is_folder: bool) -> str:
    return f"{FOLDER}/{within.as_posix()}" + ("/index.html" if is_folder else ".html")


def _highlighted(path: Path) -> str:
    try:
        lexer = get_lexer_for_filename(path.name)
    except ClassNotFound:
        lexer = TextLexer()
    formatter = HtmlFormatter(linenos="inline", lineanchors="line", wrapcode=True)
    return highlight(path.read_text(encoding="utf-8"), lexer, formatter)


def _said(path: Path) -> str:
    """The first line of what ``path`` says of itself."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return (ast.get_docstring(ast.parse(text)) or "").split("\n")[0]
    first = text.split("\n", 1)[0]
    return first.lstrip("# ") if first.startswith("#") else ""
