"""The registry of data sets, a new one in one place, and what the environment ships where the files are not."""

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gfe_companion.datasets import REGISTRY, DataError, Embedded, Source, Split, check, load, locate
from gfe_companion.datasets.registry import collect
from gfe_companion.runs.profiles import ROOT

REAL = os.environ.get("GFE_DATA")
UNUSED = Path("unused")
needs_real_data = pytest.mark.skipif(not REAL, reason="GFE_DATA names no folder with the real data sets")
sources = pytest.mark.parametrize(
    "source", [Source(None), pytest.param(Source(Path(REAL or ".")), marks=needs_real_data)]
)
MNIST_SHA256 = "bba2ce736b4f7b746ecaad44ffef20d59eb59f7df7416af95275b08ed08a49fc"
every_name = pytest.mark.parametrize("name", REGISTRY)
TOY = """
import torch
from gfe_companion.datasets import Embedded, Entry, Split

def splits():
    return tuple(Split(torch.full((n, 784), n / 10), torch.zeros(n, dtype=torch.int64)) for n in (3, 2, 1))

DATASET = Entry(order=ORDER, title="a toy", files=None, embedded=Embedded("a toy", splits, "Nothing."), epoch=48)
"""


def parts(dataset):
    return dataset.train, dataset.validation, dataset.test


def digest(dataset):
    tensors = [tensor for part in parts(dataset) for tensor in (part.images, part.labels)]
    return hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in tensors)).hexdigest()


def fresh(program):
    """What ``program`` prints in a new process."""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_papers_data_sets_come_in_its_order():
    assert list(REGISTRY)[:3] == ["mnist", "segmented_mnist", "fashion_mnist"]
    assert [entry.title for entry in REGISTRY.values()][:3] == ["MNIST", "SegmentedMNIST", "FashionMNIST"]


@pytest.mark.parametrize(("order", "place"), [(-1, 0), (99, 3)])
def test_a_new_data_set_is_one_file(tmp_path, monkeypatch, order, place):
    own = ROOT / "gfe_companion" / "datasets"
    (tmp_path / "toy.py").write_text(TOY.replace("ORDER", str(order)))
    monkeypatch.setattr("gfe_companion.datasets.__path__", [str(own), str(tmp_path)])
    monkeypatch.setitem(sys.modules, "gfe_companion.datasets.toy", None)
    del sys.modules["gfe_companion.datasets.toy"]  # and it is forgotten again at the end
    found = collect([str(own), str(tmp_path)], "gfe_companion.datasets")
    assert list(found).index("toy") == place
    assert len(found) == len(REGISTRY) + 1
    monkeypatch.setitem(REGISTRY, "toy", found["toy"])
    for data in ("auto", "embedded", str(tmp_path)):  # it has no files to look for
        assert locate(data, "toy", UNUSED) == Source(None)
    got = load("toy", Source(None))
    assert (got.name, got.title, got.stand_in, got.caution, got.md5) == ("toy", "a toy", False, "Nothing.", {})
    assert [len(part.labels) for part in parts(got)] == [3, 2, 1]
    assert load("toy", Source(None)) is got
    with pytest.raises(DataError, match="toy has no published files"):
        check(tmp_path, "toy")
    with pytest.raises(DataError, match="toy has no published files"):
        load("toy", Source(tmp_path))


def test_what_is_loaded_once_is_forgotten_with_its_entry(monkeypatch):
    entry = REGISTRY["mnist"]
    split = Split(torch.zeros(1, 784), torch.zeros(1, dtype=torch.int64))
    monkeypatch.setitem(REGISTRY, "mnist", replace(entry, embedded=Embedded("another", lambda: (split,) * 3)))
    assert load("mnist", Source(None)).title == "another"
    monkeypatch.setitem(REGISTRY, "mnist", entry)
    assert load("mnist", Source(None)).title == "MNIST, 5,000 images"


@pytest.mark.parametrize(
    "use",
    [
        lambda: locate("embedded", "cifar", UNUSED),
        lambda: load("cifar", Source(None)),
        lambda: check(UNUSED, "cifar"),
    ],
    ids=["locate", "load", "check"],
)
def test_an_unknown_data_set_is_refused(use):
    with pytest.raises(ValueError, match="'cifar' is unknown; valid are mnist, segmented_mnist, fashion_mnist"):
        use()


def test_importing_the_registry_imports_no_library_of_images():
    slow = {"mlxtend", "sklearn", "torchvision", "PIL", "matplotlib"}
    assert fresh(f"import sys, gfe_companion.datasets; print({slow} & set(sys.modules))") == "set()"


# --- what the environment ships


@pytest.mark.parametrize(
    ("name", "title", "stand_in", "classes", "sizes"),
    [
        ("mnist", "MNIST, 5,000 images", False, [range(10)] * 3, (4000, 500, 500)),
        (
            "segmented_mnist",
            "SegmentedMNIST, 2,500 images",
            False,
            [range(5), range(5), range(5, 10)],
            (2000, 250, 250),
        ),
        ("fashion_mnist", "letters A-J (stand-in for FashionMNIST)", True, [range(10)] * 3, (10_000, 1_000, 2_000)),
    ],
)
def test_embedded_splits_are_disjoint_balanced_and_named(name, title, stand_in, classes, sizes):
    got = load(name, locate("embedded", name, UNUSED))
    assert (got.name, got.title, got.stand_in, got.md5) == (name, title, stand_in, {})
    assert got.caution.endswith(".")
    seen = set()
    for part, labels, size in zip(parts(got), classes, sizes, strict=True):
        assert part.images.shape == (size, 784)
        assert part.labels.shape == (size,)
        assert (part.images.dtype, part.labels.dtype) == (torch.float32, torch.int64)
        assert part.images.min() == 0
        assert 0.99 < part.images.max() <= 1
        assert part.labels.unique(return_counts=True)[0].tolist() == list(labels)
        assert set(part.labels.unique(return_counts=True)[1].tolist()) == {size // len(labels)}
        images = {image.numpy().tobytes() for image in part.images}
        assert len(images) == size, "an image comes twice"
        assert not images & seen
        seen |= images


def test_embedded_mnist_is_the_same_everywhere():
    assert digest(load("mnist", Source(None))) == MNIST_SHA256


def test_letters_are_the_same_in_every_process():
    program = (
        "import sys; sys.path.insert(0, 'tests/datasets'); from test_dataset_registry import Source, digest, load; "
        "print(digest(load('fashion_mnist', Source(None))))"
    )
    assert fresh(program) == digest(load("fashion_mnist", Source(None)))


def test_letters_can_be_told_apart_but_not_without_mistakes():
    """By the nearest of 10,000 images, pixel by pixel: guessing would name one in ten."""
    letters = load("fashion_mnist", Source(None))
    nearest = torch.cdist(letters.test.images, letters.train.images).argmin(dim=1)
    assert 0.8 < (letters.train.labels[nearest] == letters.test.labels).double().mean() < 0.97


@needs_real_data
def test_embedded_mnist_is_mnist():
    real = load("mnist", Source(Path(REAL)))
    published = {i.numpy().tobytes(): int(k) for i, k in zip(real.train.images, real.train.labels, strict=True)}
    for part in parts(load("mnist", Source(None))):
        for image, label in zip(part.images, part.labels, strict=True):
            assert published[image.numpy().tobytes()] == label


@sources
def test_segmented_mnist_trains_on_the_low_digits_and_tests_on_the_high_ones(source):
    whole, got = load("mnist", source), load("segmented_mnist", source)
    assert got.train.labels.unique().tolist() == got.validation.labels.unique().tolist() == [0, 1, 2, 3, 4]
    assert got.test.labels.unique().tolist() == [5, 6, 7, 8, 9]
    assert torch.equal(got.train.images, whole.train.images[whole.train.labels < 5])
    assert torch.equal(got.test.images, whole.test.images[whole.test.labels >= 5])


@needs_real_data
@every_name
def test_an_epoch_is_the_published_training_pool_in_whole_batches(name):
    if REGISTRY[name].files is not None:
        assert REGISTRY[name].epoch == len(load(name, Source(Path(REAL))).train.images) // 16 * 16
