"""Files that were cut short, or in which a bit changed: each is remade or refused, and none is believed."""

import gzip
import json
import shutil

import nbformat
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gfe_companion.cli import notebook
from gfe_companion.cli.notebook import Notebook
from gfe_companion.datasets import DataError, Source
from gfe_companion.datasets.compressed import packed, unpacked
from gfe_companion.datasets.files import Files
from gfe_companion.runs import store as runs
from gfe_companion.runs import unfinished
from gfe_companion.runs.configs import Train
from gfe_companion.runs.folders import read
from gfe_companion.runs.profiles import Setting, home
from gfe_companion.site import report
from gfe_companion.site.stamps import checksum

CASES = settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
CONFIG = Train("mnist", True, 0, None, (16,), (16,), 5)


@st.composite
def damage(draw):
    """What happens to the content of a file: it is cut short, or a bit of it changes."""
    place, bit = draw(st.floats(0, 1, exclude_max=True)), draw(st.integers(0, 7))
    if draw(st.booleans()):
        return lambda content: content[: int(place * len(content))]
    return lambda content: _flipped(content, int(place * len(content)), bit)


def _flipped(content: bytes, place: int, bit: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished run, whose files are put back by each test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GFE_HOME", str(tmp_path_factory.mktemp("home")))
        yield runs.run(CONFIG, Source(None))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["run.json", "history.csv", "weights.pt"])
@CASES
@given(damage=damage())
def test_a_run(made, name, damage):
    path = made.folder / name
    whole = path.read_bytes()
    try:
        path.write_bytes(damage(whole))
        found = read(CONFIG, made.folder)
        assert found is None or found.provenance == made.provenance, "white space in JSON says nothing"
    finally:
        path.write_bytes(whole)
    assert read(CONFIG, made.folder)


@pytest.mark.slow
def test_a_damaged_run_is_made_again(made, monkeypatch):
    monkeypatch.setenv("GFE_HOME", str(made.folder.parents[1]))
    (made.folder / "run.json").write_bytes(_flipped((made.folder / "run.json").read_bytes(), 40, 0))
    with pytest.warns(UserWarning, match="is damaged and is made again"):
        again = runs.run(CONFIG, Source(None))
    assert again.history.validation_loss.tolist() == made.history.validation_loss.tolist()


@pytest.mark.slow
@CASES
@given(damage=damage())
@pytest.mark.filterwarnings("ignore:.*cannot be read")
def test_the_state_of_an_unfinished_run(tmp_path, damage):
    saved = unfinished.Saved(tmp_path / "state.pt")
    saved.save({"weights": torch.arange(100.0), "rows": [{"images": 16}]})
    saved.path.write_bytes(damage(saved.path.read_bytes()))
    assert saved.load() is None


@pytest.mark.slow
@CASES
@given(damage=damage())
def test_data_files(tmp_path, damage):
    from hashlib import md5

    content = bytes(range(256)) * 8
    files = Files("MNIST", {"train": md5(content).hexdigest()}, 10)
    (path,) = files.paths(tmp_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(damage(content))
    with pytest.raises(DataError, match="is damaged"):
        files.check(tmp_path)


@pytest.mark.slow
@CASES
@given(damage=damage())
def test_data_files_that_are_compressed(tmp_path, damage):
    """What unpacks to the published content is whole: a gzip file has bytes that say nothing of its content."""
    from hashlib import md5

    content = bytes(range(256)) * 8
    files = Files("MNIST", {"train": md5(content).hexdigest()}, 10)
    folder, cache = tmp_path / "named", tmp_path / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    (path,) = files.paths(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    packed(path).write_bytes(damage(gzip.compress(content)))
    try:
        assert files.paths(unpacked(files, folder, cache))[0].read_bytes() == content
    except DataError as refused:
        assert f"{packed(path)} is damaged" in str(refused)
        assert [left.name for left in cache.iterdir()] == [".MNIST.lock"]


@pytest.fixture
def executed(tmp_path, monkeypatch):
    """A notebook that counts as executed: its results and its stamp."""
    monkeypatch.setenv("GFE_HOME", str(tmp_path))
    path = tmp_path / "notebooks" / "01_one.ipynb"
    path.parent.mkdir()
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")]), path)
    notebook = Notebook(path, Setting.of("smoke", "embedded", device="cpu"), {"profile": "smoke"})
    notebook.stamp.parent.mkdir(parents=True)
    whole = notebook.build / path.name
    shutil.copy(path, whole)
    made = {str(whole.relative_to(tmp_path)): checksum(whole)}
    notebook.stamp.write_text(json.dumps({"rests_on": notebook.rests_on(), "made": made}, indent=1))
    assert notebook.why() == ""
    return notebook


@pytest.mark.slow
@pytest.mark.parametrize("what", ["notebook", "stamp"])
@CASES
@given(damage=damage())
def test_executed_notebooks_and_stamps(executed, what, damage):
    path = executed.stamp if what == "stamp" else executed.build / executed.path.name
    whole = path.read_bytes()
    try:
        path.write_bytes(damage(whole))
        same = what == "stamp" and _says(path) == json.loads(whole)
        assert same or executed.why()
    finally:
        path.write_bytes(whole)


@pytest.mark.slow
@CASES
@given(damage=damage())
def test_the_report_believes_no_executed_notebook(executed, damage):
    path = executed.build / executed.path.name
    whole = path.read_bytes()
    try:
        path.write_bytes(damage(whole))
        with pytest.raises(report.Damaged, match="call again with --only 01"):
            report.build(executed.setting)
    finally:
        path.write_bytes(whole)


def test_what_reads_the_numbers_of_others_believes_none_that_changed(executed, monkeypatch):
    """Notebook 09 alone: the file is named, and the call that makes it anew; nothing of 09's is lost."""
    numbers = executed.setting.figures / "fig1.csv"
    numbers.parent.mkdir(parents=True)
    numbers.write_text("a\n1\n")
    stamp = json.loads(executed.stamp.read_text())
    stamp["made"][str(numbers.relative_to(home()))] = checksum(numbers)
    executed.stamp.write_text(json.dumps(stamp))
    page = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_markdown_cell("")], metadata={"gfe": {"reads_figures": True}}
    )
    nbformat.write(page, executed.path.with_name("09_all.ipynb"))
    reader = Notebook(executed.path.with_name("09_all.ipynb"), executed.setting, {})
    done: list = []
    monkeypatch.setattr(notebook, "execute", lambda path, *_: done.append(path) or (_ for _ in ()).throw(Stopped()))
    with pytest.raises(Stopped):
        reader.execute()
    numbers.write_text("a\n2\n")
    said = reader.execute()
    assert done == [reader.path] and "\n" not in said
    assert "reads figures/smoke/fig1.csv, which is not as it was made: call again with --only 01, then" in said
    assert "fig1.csv is not as it was made" in executed.why(), "so that call makes it anew"


class Stopped(Exception):
    """In the place of an execution."""


def _says(path):
    try:
        return json.loads(path.read_bytes())
    except ValueError:
        return None
