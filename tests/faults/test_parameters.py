"""What -p may set: by annotation and range, before anything runs."""

import json
import math

import pytest

from gfe_companion.cli.environment import Exit, Stop
from gfe_companion.cli.parameters import checked, declared

CELL = """\
profile: str = "quick"
image: int = 0  # 0 to 999: which image
rate: float = 1e-3  # above 0, at most 1
size: int | None = None  # at least 1
flag: bool = False
label: str = "a"
kind: Literal["small", "large", 3] = "small"
sizes: list[int] = [1, 2]
pair: tuple[float, float] = (0.0, 1.0)
plain = 5
free = object()
"""


@pytest.fixture
def notebook(tmp_path):
    cell = {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": CELL.splitlines(keepends=True)}
    path = tmp_path / "01_one.ipynb"
    path.write_text(json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    return path


TAKEN = [
    ("image=0", 0), ("image=999", 999), ("rate=1", 1.0), ("rate=2e-3", 0.002), ("size=None", None), ("size=7", 7),
    ("flag=True", True), ("label=7", "7"), ("label=some words", "some words"), ("label='q'", "q"),
    ("kind=large", "large"),
    ("kind=3", 3), ("sizes=[3]", [3]), ("sizes=[]", []), ("pair=(1, 2)", (1.0, 2.0)), ("plain=6", 6),
    ("free=anything", "anything"), ("pair=(-.5e-3, 1E3)", (-0.0005, 1000.0)),
    ("label=0x10", "0x10"), ("plain=1_000", 1000),
]  # fmt: skip


@pytest.mark.parametrize(("given", "value"), TAKEN)
def test_taken(notebook, given, value):
    name, _, text = given.partition("=")
    found = checked({name: text}, [notebook])[name]
    assert found == value and type(found) is type(value)


REFUSED = [
    ("image=-1", "0 to 999"), ("image=1000", "0 to 999"), ("image=7.5", "a whole number"),
    ("image=True", "a whole number"),
    ("image=seven", "a whole number"), ("image=", "a whole number"), ("rate=0", "above 0"), ("rate=1.5", "at most 1"),
    ("rate=nan", "a number"), ("rate=1e999", "a number"), ("rate=[1]", "a number"), ("size=0", "at least 1"),
    ("size=1.5", "or None"), ("flag=yes", "True or False"), ("flag=false", "True or False"),
    ("flag=1", "True or False"),
    ("kind=medium", "one of small, large, 3"), ("sizes=3", "a list"), ("sizes=['a']", "a whole number"),
    ("pair=(1,)", "2 values"),
    ("plain=x", "a whole number"), ("image=" + "9" * 5000, "a whole number"),
    ("image=" + "(" * 300, "a whole number"), ("image=0x10", "a whole number"), ("rate=0b1", "a number"),
    ("sizes=[1, 0o7]", "a list"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "wanted"), REFUSED, ids=[given[:20] for given, _ in REFUSED])
def test_refused_in_one_sentence(notebook, given, wanted):
    name, _, text = given.partition("=")
    with pytest.raises(Stop) as stop:
        checked({name: text}, [notebook])
    assert stop.value.code == Exit.USAGE and wanted in str(stop.value) and "\n" not in str(stop.value)


def test_every_selected_notebook_must_take_it(notebook, tmp_path):
    other = tmp_path / "02_two.ipynb"
    other.write_text(notebook.read_text().replace("0 to 999", "0 to 9"))
    assert checked({"image": "9"}, [notebook, other]) == {"image": 9}
    with pytest.raises(Stop, match="02_two.ipynb wants 0 to 9 for image"):
        checked({"image": "10"}, [notebook, other])


def test_a_range_of_the_real_kind(notebook):
    assert declared(notebook)["image"].words.startswith("0 to 999") and math.isfinite(
        declared(notebook)["rate"].read("0.5")
    )
