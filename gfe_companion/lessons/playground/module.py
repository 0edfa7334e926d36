"""The playground's script: the files of this folder in one ES module, for a page that can load no other file."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
PARTS = (
    "engine", "weights", "solvers", "backends", "dom", "pictures", "pen", "controls", "encode", "walk", "toy",
    "playground",
)  # fmt: skip  # each imports from those before it alone
IMPORT = re.compile(r'^import \{[^}]*\} from "\./(\w+)\.js";\n', re.MULTILINE)


def source() -> str:
    """All parts one after another, without what they import from one another.

    Raises ``ValueError`` for a part that imports from one that does not stand before it.
    """
    joined = []
    for place, name in enumerate(PARTS):
        text = (HERE / f"{name}.js").read_text(encoding="utf-8")
        if late := set(IMPORT.findall(text)) - set(PARTS[:place]):
            raise ValueError(f"{name}.js imports from {', '.join(sorted(late))}, which does not stand before it.")
        joined.append(IMPORT.sub("", text))
    return "\n".join(joined)


def style() -> str:
    """The playground's style sheet."""
    return (HERE / "playground.css").read_text(encoding="utf-8")
