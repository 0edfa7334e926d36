"""Data is checked byte for byte, named when it is wrong, and replaced by stand-ins only loudly and only on demand."""

import hashlib
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from urllib.error import URLError

import pytest
import torch

from gfe_core import data
from gfe_core.companion.profiles import ROOT
from gfe_core.data import DataError, Source, StandInWarning, load, locate

REAL = os.environ.get("GFE_DATA")
needs_real_data = pytest.mark.skipif(not REAL, reason="GFE_DATA names no folder with the real data sets")


def idx(path: Path, values: torch.Tensor) -> None:
    """Write a tensor of bytes as an IDX file."""
    header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
    path.write_bytes(header + bytes(values.to(torch.uint8).flatten().tolist()))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A whole small MNIST in torchvision's layout: 12 training images of which 8 are the pool, 5 test images."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    generator = torch.Generator().manual_seed(0)
    for part, count in (("train", 12), ("t10k", 5)):
        idx(raw / f"{part}-images-idx3-ubyte", torch.randint(256, (count, 28, 28), generator=generator))
        idx(raw / f"{part}-labels-idx1-ubyte", torch.arange(count) % 10)
    sums = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in raw.iterdir()}
    monkeypatch.setitem(data.MD5, "MNIST", sums)
    monkeypatch.setattr(data, "POOL", 8)
    monkeypatch.delenv("GFE_DATA", raising=False)
    yield tmp_path
    data._load.cache_clear()


def no_network(monkeypatch):
    def fails(folder, family):
        raise URLError("Name or service not known")

    monkeypatch.setattr(data, "_download", fails)


def test_files_are_read_and_split(folder):
    got = load("mnist", locate(str(folder), "mnist", Path("unused")))
    assert (got.title, got.stand_in) == ("MNIST", False)
    assert [len(part.images) for part in (got.train, got.validation, got.test)] == [8, 4, 5]
    assert got.train.images.dtype == torch.float32
    assert got.train.images.shape[1] == 784
    stored = (folder / "MNIST" / "raw" / "train-images-idx3-ubyte").read_bytes()[16:]
    torch.testing.assert_close(got.train.images[0], torch.tensor(list(stored[:784])) / 255)
    assert got.validation.labels.tolist() == [8, 9, 0, 1]
    assert got.md5 == data.MD5["MNIST"]


@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing"])
def test_a_wrong_file_is_named_with_the_remedy_and_not_used(folder, damage):
    file = folder / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(content if damage == "flipped" else file.read_bytes()[:-1])
    for attempt in (lambda: locate(str(folder), "mnist", Path("unused")), lambda: load("mnist", Source(folder))):
        with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte is (damaged|missing).*(delete|download)"):
            attempt()


def test_a_file_that_changes_between_two_loads_is_checked_again(folder):
    load("mnist", Source(folder))
    file = folder / "MNIST" / "raw" / "train-labels-idx1-ubyte"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DataError, match="train-labels"):
        load("mnist", Source(folder))


def test_a_named_folder_never_falls_back(folder, monkeypatch, tmp_path):
    no_network(monkeypatch)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="missing"):
        locate(str(empty), "mnist", folder)
    monkeypatch.setenv("GFE_DATA", str(empty))
    with pytest.raises(DataError, match="missing"):
        locate("auto", "mnist", folder)


def test_auto_takes_the_environment_then_the_projects_folder(folder, monkeypatch, tmp_path):
    no_network(monkeypatch)
    assert locate("auto", "mnist", folder) == Source(folder)
    monkeypatch.setenv("GFE_DATA", str(folder))
    assert locate("auto", "mnist", tmp_path / "empty") == Source(folder)
    assert locate("embedded", "mnist", folder) == Source(None)


def test_with_no_data_and_no_network_the_stand_ins_come_loudly(folder, monkeypatch, tmp_path):
    no_network(monkeypatch)
    with pytest.warns(StandInWarning) as caught:
        assert locate("auto", "mnist", tmp_path / "empty").stand_in
    said = str(caught[0].message)
    for part in (
        "Name or service not known",
        "train-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
        "GFE_DATA",
        "STAND-INS",
    ):
        assert part in said
    assert str(tmp_path / "empty" / "MNIST" / "raw") in said


def test_a_half_finished_download_is_not_mistaken_for_a_whole_one(folder, monkeypatch, tmp_path):
    target = tmp_path / "data"

    def half(where, family):
        shutil.copytree(folder / "MNIST", where / "MNIST")
        file = where / "MNIST" / "raw" / "train-images-idx3-ubyte"
        file.write_bytes(file.read_bytes()[:500])

    monkeypatch.setattr(data, "_download", half)
    for _ in range(2):
        with pytest.raises(DataError, match=r"train-images-idx3-ubyte is damaged.*delete"):
            locate("auto", "mnist", target)


@pytest.mark.parametrize("name", data.DATASETS)
def test_stand_ins_say_so_and_have_disjoint_splits(name):
    got = load(name, Source(None))
    assert got.stand_in
    assert "stand-in for" in got.title
    parts = [got.train, got.validation, got.test]
    for part in parts:
        assert part.images.shape == (len(part.labels), 784)
        assert part.images.dtype == torch.float32
        assert part.labels.dtype == torch.int64
        assert 0 <= part.images.min() < 0.1
        assert 0.9 < part.images.max() <= 1
    sets = [{tuple(image.tolist()) for image in part.images} for part in parts]
    assert not (sets[0] & sets[2] or sets[0] & sets[1] or sets[1] & sets[2])
    assert len(got.train.images) >= 500


@pytest.mark.parametrize("source", [Source(None), pytest.param(Source(Path(REAL or ".")), marks=needs_real_data)])
def test_segmented_mnist_trains_on_the_low_digits_and_tests_on_the_high_ones(source):
    whole, got = load("mnist", source), load("segmented_mnist", source)
    assert got.train.labels.unique().tolist() == got.validation.labels.unique().tolist() == [0, 1, 2, 3, 4]
    assert got.test.labels.unique().tolist() == [5, 6, 7, 8, 9]
    assert len(got.train.labels) == (whole.train.labels < 5).sum()
    assert "SegmentedMNIST" in got.title


@needs_real_data
@pytest.mark.parametrize(("name", "title"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")])
def test_the_real_data_has_the_protocols_splits(name, title):
    got = load(name, locate("auto", name, Path("unused")))
    assert got.title == title
    assert [len(part.labels) for part in (got.train, got.validation, got.test)] == [50_000, 10_000, 10_000]
    assert got.test.labels.bincount().min() > 800


def test_an_unknown_data_set_is_refused():
    with pytest.raises(ValueError, match="mnist, segmented_mnist, fashion_mnist"):
        load("cifar", Source(None))


def test_torchvisions_data_sets_can_be_imported_beside_this_torch():
    """In a fresh process, and only when they are asked for: they are slow to import."""
    program = (
        "import sys; from gfe_core import data; assert 'torchvision' not in sys.modules; "
        "print(data._torchvision_datasets().MNIST.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "MNIST", done.stderr
