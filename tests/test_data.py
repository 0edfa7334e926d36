"""Data is checked byte for byte, named when it is wrong, and replaced by stand-ins only loudly and only on demand."""

import gzip
import hashlib
import os
import shutil
import socket
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from urllib.error import URLError

import numpy as np
import pytest
import torch

from gfe_companion.datasets import data
from gfe_companion.datasets.data import DataError, Source, StandInWarning, load, locate
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
    sums = {name: hashlib.md5((raw / name).read_bytes()).hexdigest() for name in data.MD5["MNIST"]}
    monkeypatch.setitem(data.MD5, "MNIST", sums)
    monkeypatch.setattr(data, "POOL", 8)
    monkeypatch.delenv("GFE_DATA", raising=False)
    yield tmp_path
    data._load.cache_clear()


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
    assert (got.name, got.title, got.stand_in, got.md5) == ("mnist", "MNIST", False, data.MD5["MNIST"])
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
    monkeypatch.setattr(data, "_download", lambda *_: pytest.fail("some files are there: nothing is downloaded"))
    with pytest.raises(DataError, match=f"{said}put the published file there.*--data embedded"):
        locate(str(folder), "mnist", UNUSED)
    with pytest.raises(DataError, match=f"{said}delete the folder {folder / 'MNIST'} and run again"):
        locate("auto", "mnist", folder)
    with pytest.raises(DataError, match=f"{said}put the published file there"):
        load("mnist", Source(folder))


def test_what_is_not_checked_is_not_read(folder):
    """torchvision itself would prefer this folder of its older versions."""
    (processed := folder / "MNIST" / "processed").mkdir()
    for name in ("training.pt", "test.pt"):
        torch.save((torch.zeros(3, 28, 28), torch.zeros(3)), processed / name)
    assert len(load("mnist", Source(folder)).test.labels) == 5


def test_files_are_hashed_and_read_once_until_they_change(folder, monkeypatch):
    first = load("mnist", Source(folder))
    with monkeypatch.context() as patch:
        patch.setattr(data.hashlib, "file_digest", lambda *_: pytest.fail("hashed again"))
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


def test_with_no_data_and_no_network_the_stand_ins_come_loudly_each_time(folder, monkeypatch, project):
    no_network(monkeypatch)
    for _ in range(2):
        with pytest.warns(StandInWarning) as caught:
            assert locate("auto", "mnist", project).stand_in
        said = str(caught[0].message)
        for part in (*data.MD5["MNIST"], "Name or service not known", "STAND-INS", "GFE_DATA", "--data embedded"):
            assert part in said
        assert str(project / "MNIST" / "raw") in said
        assert caught[0].filename == __file__
        assert visible(project) == []


def test_a_folder_that_cannot_be_made_is_a_failed_download(folder, project):
    project.write_text("a file where the folder should be")
    with pytest.warns(StandInWarning, match="File exists"):
        assert locate("auto", "mnist", project).stand_in


def test_a_download_is_made_once_and_leaves_only_the_files(folder, project, recwarn, monkeypatch):
    def retrieve(url, path):
        Path(path).write_bytes(gzip.compress((folder / "MNIST" / "raw" / Path(path).stem).read_bytes()))

    torchvision = data._torchvision_datasets()
    monkeypatch.setattr(torchvision.MNIST, "resources", [(f"{name}.gz", None) for name in data.MD5["MNIST"]])
    monkeypatch.setattr(torchvision.utils, "_get_redirect_url", lambda url, **_: url)
    monkeypatch.setattr(torchvision.utils, "_urlretrieve", retrieve)
    (project / "MNIST" / "raw").mkdir(parents=True)  # empty, as another tool may have left it
    for _ in range(2):
        assert locate("auto", "mnist", project) == Source(project)
        monkeypatch.setattr(torchvision.utils, "_urlretrieve", lambda *_: pytest.fail("downloaded again"))
    assert {path.name for path in (project / "MNIST" / "raw").iterdir()} == set(data.MD5["MNIST"])
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

    monkeypatch.setattr(data, "_torchvision_datasets", lambda: SimpleNamespace(MNIST=Half))
    if end == "interrupted":
        with pytest.raises(KeyboardInterrupt):
            locate("auto", "mnist", project)
    else:
        with pytest.warns(StandInWarning, match="timed out" if end == "cut off" else "is damaged"):
            assert locate("auto", "mnist", project).stand_in
    assert socket.getdefaulttimeout() is None
    assert visible(project) == []
    monkeypatch.setattr(data, "_download", lambda where, family: shutil.copytree(folder / "MNIST", where / "MNIST"))
    assert locate("auto", "mnist", project) == Source(project)


@pytest.mark.parametrize(("name", "least"), [("mnist", 1200), ("segmented_mnist", 500), ("fashion_mnist", 1000)])
def test_stand_ins_say_so_and_have_disjoint_splits(name, least):
    got = load(name, Source(None))
    assert got.stand_in and "stand-in for" in got.title
    for part in (parts := [got.train, got.validation, got.test]):
        assert part.images.shape == (len(part.labels), 784)
        assert (part.images.dtype, part.labels.dtype) == (torch.float32, torch.int64)
        assert 0 <= part.images.min() < 0.1
        assert 0.9 < part.images.max() <= 1
    sets = [{image.numpy().tobytes() for image in part.images} for part in parts]
    assert not (sets[0] & sets[2] or sets[0] & sets[1] or sets[1] & sets[2])
    assert len(parts[0].images) >= least


def test_no_column_of_a_photograph_is_in_two_splits(monkeypatch):
    """In these photographs each pixel's grey value is the number of its column."""
    photograph = np.broadcast_to(np.arange(640.0)[:, None], (427, 640, 3))
    monkeypatch.setattr("sklearn.datasets.load_sample_images", lambda: SimpleNamespace(images=[photograph, photograph]))
    *splits, _ = data._photographs()
    columns = [set((split.images * 255).round().int().flatten().tolist()) for split in splits]
    assert all(max(earlier) < min(later) for earlier, later in zip(columns[:-1], columns[1:], strict=True))
    assert all(split.labels.unique().tolist() == [0, 1] for split in splits)


@pytest.mark.parametrize("source", [Source(None), pytest.param(Source(Path(REAL or ".")), marks=needs_real_data)])
def test_segmented_mnist_trains_on_the_low_digits_and_tests_on_the_high_ones(source):
    whole, got = load("mnist", source), load("segmented_mnist", source)
    assert got.train.labels.unique().tolist() == got.validation.labels.unique().tolist() == [0, 1, 2, 3, 4]
    assert got.test.labels.unique().tolist() == [5, 6, 7, 8, 9]
    assert torch.equal(got.train.images, whole.train.images[whole.train.labels < 5])
    assert "SegmentedMNIST" in got.title


@needs_real_data
@pytest.mark.parametrize(("name", "title"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")])
def test_the_real_data_has_the_protocols_splits(name, title):
    got = load(name, locate("auto", name, UNUSED))
    assert got.title == title
    assert [len(part.labels) for part in (got.train, got.validation, got.test)] == [50_000, 10_000, 10_000]
    assert got.test.labels.bincount().min() > 800


def test_an_unknown_data_set_is_refused():
    with pytest.raises(ValueError, match="mnist, segmented_mnist, fashion_mnist"):
        locate("embedded", "cifar", UNUSED)


def test_torchvisions_data_sets_can_be_imported_beside_this_torch():
    """In a fresh process, and only when they are asked for: they are slow to import."""
    program = (
        "import sys; from gfe_companion.datasets import data; assert not {'torchvision', 'sklearn'} & set(sys.modules); "
        "print(data._torchvision_datasets().MNIST.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "MNIST", done.stderr
