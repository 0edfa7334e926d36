"""A solver of one's own, from a notebook or a script, counts with all that it uses."""

import importlib
import shutil
import sys

import joblib
import pytest

from gfe_companion.runs import code
from gfe_companion.runs.configs import Train

FILE = '''"""A solver of one's own."""
import functools
from dataclasses import dataclass

from gfe_core.nesterov import Nesterov

FACTOR = 2.0

def helper(x):
    return FACTOR * x

@dataclass(frozen=True)
class Mine:
    """What it is."""

    tau: float = 1.0

    def encode(self, objective, z0=None, record=False):
        """How it encodes."""
        return Nesterov(helper(self.tau)).encode(objective)
'''


def train(solver):
    return Train("mnist", True, 0, solver, (32,), (32,), 20)


@pytest.fixture
def outside(monkeypatch, tmp_path):
    """A function that writes a module of one's own and imports it anew."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(text):
        (tmp_path / "of_ones_own.py").write_text(text)
        sys.modules.pop("of_ones_own", None)
        importlib.invalidate_caches()
        shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
        return importlib.import_module("of_ones_own")

    yield write
    sys.modules.pop("of_ones_own", None)


def test_a_solver_of_ones_own_counts_with_what_it_uses(outside):
    def rests(text):
        return code.rests_on(train(outside(text).Mine()))

    before = rests(FILE)
    assert {"of_ones_own.Mine", "of_ones_own.helper", "gfe_core.nesterov"} <= before.keys()
    other_words = FILE.replace("How it encodes.", "How it does it.").replace(
        "    return FACTOR", "    # !\n    return FACTOR"
    )
    assert rests(other_words) == before
    for old, new in [
        ("helper(self.tau)", "helper(self.tau + 1)"),
        ("FACTOR * x", "FACTOR + x"),
        ("FACTOR = 2.0", "FACTOR = 3.0"),
        ("def helper(x):", "def helper(x, y=1.0):"),
        ("    tau: float = 1.0\n", "    tau: float = 1.0\n\n    def more(self):\n        return 1\n"),
    ]:
        assert rests(FILE.replace(old, new)) != before, new
    closed = FILE.replace(
        "def helper(x):", "def made(y):\n    return lambda x: x + y\n\nhelper = made(1.0)\n\ndef other(x):"
    )
    assert rests(closed) != rests(closed.replace("made(1.0)", "made(2.0)"))
    assert rests(FILE.replace("helper(x):", "helper(x, y=1):")) != rests(FILE.replace("helper(x):", "helper(x, y=2):"))
    cached = FILE.replace("def helper", "@functools.cache\ndef helper")
    assert rests(cached) != rests(cached.replace("FACTOR * x", "FACTOR + x"))
    inherits = FILE.replace("class Mine:", "class Mine(AMD):").replace(
        "from gfe_core.n", "from gfe_core.amd import AMD\nfrom gfe_core.n"
    )
    assert "gfe_core.amd" in rests(inherits)


def test_a_solver_of_a_notebook_has_the_same_key_in_a_worker():
    """Its class has no file there: it travels as bytecode."""
    namespace = {"__name__": "__main__"}
    exec(FILE.replace("x):\n", "x):\n    assert x in {1.0, 2.0, 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'}\n"), namespace)
    config = train(namespace["Mine"]())
    here = code.rests_on(config)
    assert "__main__.Mine" in here and "__main__.helper" in here
    there = joblib.Parallel(2)(joblib.delayed(code.rests_on)(config) for _ in range(2))
    assert there == [here, here]
