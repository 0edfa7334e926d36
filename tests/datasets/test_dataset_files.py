"""Published files are checked byte for byte, named when wrong, and replaced only loudly or on demand."""

import gzip
import hashlib
import os
import shutil
import socket
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from urllib.error import URLError

import pytest
import torch

from gfe_companion.datasets import REGISTRY, DataError, Source, StandInWarning, check, files, load, locate
from gfe_companion.datasets.files import Files
from gfe_companion.runs.profiles import ROOT

REAL = os.environ.get("GFE_DATA")
needs_real_data = pytest.mark.skipif(not REAL, reason="GFE_DATA names no folder with the real data sets")
UNUSED = Path("unused")


def idx(path: Path, values: torch.Tensor) -> None:
    """Write a tensor of bytes as an IDX file."""
    path.write_bytes(struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + bytes(values.flatten()))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A whole small MNIST in torchvision's layout: 12 training images of which 8 are the pool, 5 test images."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, count in (("train", 12), ("t10k", 5)):
        idx(raw / f"{part}-images-idx3-ubyte", torch.arange(count * 784).reshape(count, 28, 28) % 251)
        idx(raw / f"{part}-labels-idx1-ubyte", torch.arange(count) % 10)
    sums = {name: hashlib.md5((raw / name).read_bytes()).hexdigest() for name in REGISTRY["mnist"].files.md5}
    monkeypatch.setitem(REGISTRY, "mnist", replace(REGISTRY["mnist"], files=Files("MNIST", sums, pool=8)))
    monkeypatch.delenv("GFE_DATA", raising=False)
    return tmp_path


@pytest.fixture
def project(tmp_path):
    """The project's own folder of data, which is not there yet."""
    return tmp_path / "project"


def no_network(monkeypatch):
    def fails(*_, **__):
        raise URLError("Name or service not known")

    monkeypatch.setattr("urllib.request.urlopen", fails)


def visible(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if not path.name.startswith(".")]


def test_files_are_read_and_split(folder):
    got = load("mnist", locate(str(folder), "mnist", UNUSED))
    assert (got.name, got.title, got.stand_in, got.caution) == ("mnist", "MNIST", False, "")
    assert got.md5 == REGISTRY["mnist"].files.md5
    assert [len(part.images) for part in (got.train, got.validation, got.test)] == [8, 4, 5]
    assert got.train.images.dtype == torch.float32
    assert got.train.images.shape[1] == 784
    stored = (folder / "MNIST" / "raw" / "train-images-idx3-ubyte").read_bytes()[16:]
    torch.testing.assert_close(got.train.images[0], torch.tensor(list(stored[:784])) / 255)
    assert got.validation.labels.tolist() == [8, 9, 0, 1]


@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing", "unreadable"])
def test_a_wrong_file_is_named_with_the_remedy_and_not_used(folder, monkeypatch, damage):
    file = folder / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.unlink()
    if damage == "unreadable":
        file.mkdir()
    elif damage != "missing":
        file.write_bytes(content if damage == "flipped" else content[:-1])
    said = f"{file} " + {"missing": "is missing: ", "unreadable": "cannot be read .*: "}.get(damage, "is damaged.*: ")
    monkeypatch.setattr(files, "download", lambda *_: pytest.fail("some files are there: nothing is downloaded"))
    with pytest.raises(DataError, match=f"{said}put the published file there.*--data embedded"):
        locate(str(folder), "mnist", UNUSED)
    with pytest.raises(DataError, match=f"{said}delete the folder {folder / 'MNIST'} and run again"):
        locate("auto", "mnist", folder)
    for use in (lambda: load("mnist", Source(folder)), lambda: check(folder, "mnist")):
        with pytest.raises(DataError, match=f"{said}put the published file there"):
            use()


def test_what_is_not_checked_is_not_read(folder):
    """torchvision itself would prefer this folder of its older versions."""
    (processed := folder / "MNIST" / "processed").mkdir()
    for name in ("training.pt", "test.pt"):
        torch.save((torch.zeros(3, 28, 28), torch.zeros(3)), processed / name)
    assert len(load("mnist", Source(folder)).test.labels) == 5


def test_files_are_hashed_and_read_once_until_they_change(folder, monkeypatch):
    first = load("mnist", Source(folder))
    with monkeypatch.context() as patch:
        patch.setattr(files.hashlib, "file_digest", lambda *_: pytest.fail("hashed again"))
        assert load("mnist", locate(str(folder), "mnist", UNUSED)) is first
    file = folder / "MNIST" / "raw" / "train-labels-idx1-ubyte"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DataError, match="train-labels"):
        load("mnist", Source(folder))


def test_a_named_folder_never_falls_back(folder, monkeypatch, project):
    no_network(monkeypatch)
    for named in (str(project), ""):
        with pytest.raises(DataError, match="train-images-idx3-ubyte is missing"):
            locate(named, "mnist", folder)
    monkeypatch.setenv("GFE_DATA", str(project))
    with pytest.raises(DataError, match="train-images-idx3-ubyte is missing"):
        locate("auto", "mnist", folder)


def test_auto_takes_the_environment_then_the_projects_folder(folder, monkeypatch, project):
    no_network(monkeypatch)
    assert locate("auto", "mnist", folder) == Source(folder)
    monkeypatch.setenv("GFE_DATA", str(folder))
    assert locate("auto", "mnist", project) == Source(folder)
    assert locate("embedded", "mnist", folder) == Source(None)
    assert not project.exists()


def test_with_no_files_and_no_network_embedded_images_come_loudly_each_time(folder, monkeypatch, project):
    no_network(monkeypatch)
    for _ in range(2):
        with pytest.warns(StandInWarning) as caught:
            assert locate("auto", "mnist", project).embedded
        said = str(caught[0].message)
        for part in (*REGISTRY["mnist"].files.md5, "Name or service not known", "GFE_DATA", "--data embedded"):
            assert part in said
        assert 'EMBEDDED IMAGES ARE USED INSTEAD ("MNIST, 5,000 images")' in said
        assert str(project / "MNIST" / "raw") in said
        assert caught[0].filename == __file__
        assert visible(project) == []


def test_a_folder_that_cannot_be_made_is_a_failed_download(folder, project):
    project.write_text("a file where the folder should be")
    with pytest.warns(StandInWarning, match="File exists"):
        assert locate("auto", "mnist", project).embedded


def test_a_download_is_made_once_and_leaves_only_the_files(folder, project, recwarn, monkeypatch):
    def retrieve(url, path):
        Path(path).write_bytes(gzip.compress((folder / "MNIST" / "raw" / Path(path).stem).read_bytes()))

    torchvision = files.torchvision_datasets()
    monkeypatch.setattr(torchvision.MNIST, "resources", [(f"{name}.gz", None) for name in REGISTRY["mnist"].files.md5])
    monkeypatch.setattr(torchvision.utils, "_get_redirect_url", lambda url, **_: url)
    monkeypatch.setattr(torchvision.utils, "_urlretrieve", retrieve)
    (project / "MNIST" / "raw").mkdir(parents=True)  # empty, as another tool may have left it
    for _ in range(2):
        assert locate("auto", "mnist", project) == Source(project)
        monkeypatch.setattr(torchvision.utils, "_urlretrieve", lambda *_: pytest.fail("downloaded again"))
    assert {path.name for path in (project / "MNIST" / "raw").iterdir()} == set(REGISTRY["mnist"].files.md5)
    assert [path.name for path in project.iterdir() if path.is_dir()] == ["MNIST"]
    assert not [warning for warning in recwarn if warning.category is StandInWarning]


@pytest.mark.parametrize("end", ["cut off", "wrong", "interrupted"])
def test_a_half_finished_download_is_not_mistaken_for_a_whole_one(folder, monkeypatch, project, end):
    class Half:
        def __init__(self, where, download):
            assert 0 < socket.getdefaulttimeout() <= 30, "a server that says nothing more must be given up"
            shutil.copytree(folder / "MNIST", where / "MNIST")
            file = where / "MNIST" / "raw" / "train-images-idx3-ubyte"
            file.write_bytes(file.read_bytes()[:500])
            if end != "wrong":
                raise TimeoutError("timed out") if end == "cut off" else KeyboardInterrupt

    monkeypatch.setattr(files, "torchvision_datasets", lambda: SimpleNamespace(MNIST=Half))
    if end == "interrupted":
        with pytest.raises(KeyboardInterrupt):
            locate("auto", "mnist", project)
    else:
        with pytest.warns(StandInWarning, match="timed out" if end == "cut off" else "is damaged"):
            assert locate("auto", "mnist", project).embedded
    assert socket.getdefaulttimeout() is None
    assert visible(project) == []
    monkeypatch.setattr(files, "download", lambda where, family: shutil.copytree(folder / "MNIST", where / "MNIST"))
    assert locate("auto", "mnist", project) == Source(project)


@needs_real_data
@pytest.mark.parametrize(("name", "title"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")])
def test_the_real_data_has_the_protocols_splits(name, title):
    got = load(name, locate("auto", name, UNUSED))
    assert got.title == title
    assert [len(part.labels) for part in (got.train, got.validation, got.test)] == [50_000, 10_000, 10_000]
    assert got.test.labels.bincount().min() > 800


def test_torchvisions_data_sets_can_be_imported_beside_this_torch():
    """In a fresh process, where nothing else has imported them."""
    program = "from gfe_companion.datasets import files; print(files.torchvision_datasets().MNIST.__name__)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "MNIST", done.stderr
