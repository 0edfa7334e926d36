"""Files that are there as .gz are used: checked, unpacked into a folder of ours once, and never beside the reader's."""

import gzip
import hashlib
import multiprocessing
import os
import random
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import pytest

from gfe_companion.datasets import REGISTRY, DataError, Source, compressed, download, load, locate, pending
from gfe_companion.datasets.files import Files
from gfe_companion.runs import worker
from gfe_companion.runs.configs import Train
from gfe_companion.runs.profiles import Setting

IMAGES, LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
ALL = tuple(REGISTRY["mnist"].files.md5)


def pack(folder, *names):
    """Have ``.gz`` in the place of the files of these names. Returns their folder."""
    raw = folder / "MNIST" / "raw"
    for name in names:
        (raw / f"{name}.gz").write_bytes(gzip.compress((raw / name).read_bytes()))
        (raw / name).unlink()
    return raw


def tree(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(autouse=True)
def nothing_is_downloaded(monkeypatch):
    monkeypatch.setattr(download, "download", lambda *_: pytest.fail("the files are there"))


@pytest.fixture
def named(folder):
    """The folder that a reader names, in which nothing may change."""
    shutil.copytree(folder / "MNIST", folder / "named" / "MNIST")
    return folder / "named"


@pytest.mark.parametrize("packed", [ALL, (IMAGES,), (LABELS, ALL[0])], ids=["all", "one", "two"])
@pytest.mark.parametrize("by", ["--data", "GFE_DATA"])
def test_a_named_folder(named, folder, project, monkeypatch, packed, by):
    whole = load("mnist", locate(str(folder), "mnist", project))
    pack(named, *packed)
    before = tree(named)
    if by == "GFE_DATA":
        monkeypatch.setenv("GFE_DATA", str(named))
    found = locate("auto" if by == "GFE_DATA" else str(named), "mnist", project)
    assert found == Source(project / "unpacked")
    got = load("mnist", found)
    assert got.train.images.equal(whole.train.images) and got.test.labels.equal(whole.test.labels)
    assert got.title == "MNIST" and not got.stand_in
    assert tree(named) == before
    assert sorted(path.name for path in found.folder.rglob("*")) == sorted([".MNIST.lock", "MNIST", "raw", *ALL])


def test_a_folder_that_cannot_be_written(named, project):
    raw = pack(named, *ALL)
    for place in (raw, raw.parent, named):
        place.chmod(0o555)
    try:
        assert locate(str(named), "mnist", project) == Source(project / "unpacked")
    finally:
        for place in (named, raw.parent, raw):
            place.chmod(0o755)


def test_the_projects_own_folder(folder, project):
    """Where somebody put them by hand."""
    shutil.copytree(folder / "MNIST", project / "MNIST")
    pack(project, *ALL)
    before = tree(project)
    assert locate("auto", "mnist", project) == Source(project / "unpacked")
    assert {path: content for path, content in tree(project).items() if path in before} == before
    (project / "MNIST" / "raw" / f"{IMAGES}.gz").unlink()
    with pytest.raises(DataError, match=f"{IMAGES} is missing: put the published file there, or delete"):
        locate("auto", "mnist", project)


def test_unpacked_once_and_again_when_damaged(named, project, monkeypatch):
    pack(named, *ALL)
    locate(str(named), "mnist", project)
    with monkeypatch.context() as patch:
        patch.setattr(compressed, "aside", lambda *_: pytest.fail("unpacked again"))
        locate(str(named), "mnist", project)
    file = project / "unpacked" / "MNIST" / "raw" / IMAGES
    whole = file.read_bytes()
    for damaged in (whole[:-1], whole[:-1] + b"!"):
        file.write_bytes(damaged)
        locate(str(named), "mnist", project)
        assert file.read_bytes() == whole
    file.unlink()
    locate(str(named), "mnist", project)
    assert file.read_bytes() == whole


def test_a_file_beside_its_gz_is_what_counts(named, project):
    raw = pack(named, IMAGES)
    shutil.copy(raw / f"{IMAGES}.gz", raw / IMAGES)
    with pytest.raises(DataError, match=f"{IMAGES} is damaged"):
        locate(str(named), "mnist", project)
    assert not project.exists()


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda content: content[:-20], r"damaged \(Compressed file ended before"),
        (lambda content: b"", "damaged, its MD5 sum"),
        (lambda content: content[:-6] + bytes([content[-6] ^ 1]) + content[-5:], r"damaged \(CRC check failed"),
        (lambda content: gzip.decompress(content), r"damaged \(Not a gzipped file"),
        (lambda content: gzip.compress(b"another"), "damaged, its MD5 sum"),
        (lambda content: gzip.compress(bytes(3_000_000)), r"damaged \(it holds more than 2,000,000"),
    ],
    ids=["cut", "empty", "flipped", "not packed", "another", "a bomb"],
)
def test_a_damaged_gz_is_named_with_the_remedy(named, project, monkeypatch, damage, why):
    monkeypatch.setattr(compressed, "LARGEST", 2_000_000)
    monkeypatch.setattr(compressed, "CHUNK", 1000)
    file = pack(named, *ALL) / f"{IMAGES}.gz"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(DataError, match=f"{file} is {why}.*: put the published file there.*--data embedded") as error:
        locate(str(named), "mnist", project)
    assert [path.name for path in (project / "unpacked").iterdir()] == [".MNIST.lock"]
    assert "\n" not in str(error.value)


def test_a_damaged_plain_file_among_packed_ones_is_named(named, project):
    file = pack(named, LABELS) / IMAGES
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DataError, match=f"{file} is damaged, its MD5 sum"):
        locate(str(named), "mnist", project)


def test_nowhere_to_unpack(named, project, monkeypatch):
    pack(named, *ALL)
    project.write_text("a file where the folder should be")
    with pytest.raises(
        DataError, match=f"{named}/MNIST/raw cannot be unpacked into {project}/unpacked .Not a directory"
    ):
        locate(str(named), "mnist", project)
    project.unlink()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(compressed, "unpack", full)
    with pytest.raises(DataError, match="No space left on device.*: put the published file there"):
        locate(str(named), "mnist", project)
    assert [path.name for path in (project / "unpacked").iterdir()] == [".MNIST.lock"]


def _locate(named, project, files, barrier, results):
    REGISTRY["mnist"] = replace(REGISTRY["mnist"], files=files)
    barrier.wait()
    unpack = compressed.unpack
    compressed.unpack = lambda source, target: (results.put(source), unpack(source, target))[1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = locate(str(named), "mnist", project)
    results.put((found.folder, files.is_whole(found.folder)))


def test_several_processes_at_once(named, project):
    raw = pack(named, *ALL)
    content = random.Random(0).randbytes(3_000_000)  # some tenths of a second to unpack
    (raw / f"{IMAGES}.gz").write_bytes(gzip.compress(content, 1))
    sums = REGISTRY["mnist"].files.md5 | {IMAGES: hashlib.md5(content).hexdigest()}
    files, processes = Files("MNIST", sums, 8), multiprocessing.get_context("fork")
    barrier, results = processes.Barrier(3), processes.Queue()
    started = [processes.Process(target=_locate, args=(named, project, files, barrier, results)) for _ in range(3)]
    for process in started:
        process.start()
    said = [results.get(timeout=60) for _ in (*started, *ALL)]
    assert said.count((project / "unpacked", True)) == 3
    assert set(said[:4]) == {raw / f"{name}.gz" for name in ALL}, "each is unpacked by one of them"
    for process in started:
        process.join()


def test_a_plan_unpacks_nothing(named, tmp_path, monkeypatch):
    pack(named, *ALL)
    monkeypatch.setenv("GFE_HOME", str(tmp_path / "home"))
    setting = Setting.of("smoke", str(named), device="cpu")
    plan = replace(setting, offline=True)
    assert plan.pending() == "unpacked"
    assert not plan.embedded()
    assert not (tmp_path / "home").exists()
    assert setting.source() == Source(tmp_path / "home" / "data" / "unpacked")
    assert plan.pending() == ""
    assert plan.source() == setting.source()
    assert pending("auto", "mnist", tmp_path / "home" / "nothing") == "downloaded"
    assert pending("auto", "mnist", named) == "unpacked"
    assert pending("embedded", "mnist", named) == ""


def test_a_worker_unpacks_into_its_own_cache(named, tmp_path, monkeypatch):
    pack(named, *ALL)
    monkeypatch.setenv("GFE_HOME", str(tmp_path / "home"))
    config = Train("mnist", False, 0, None, (32,))
    assert worker._source(config, str(named)) == Source(tmp_path / "home" / "data" / "unpacked")
    monkeypatch.setenv("GFE_DATA", str(named))
    assert worker._source(config, "").folder == tmp_path / "home" / "data" / "unpacked"


@pytest.mark.skipif(not os.environ.get("GFE_DATA"), reason="GFE_DATA names no folder with the real data sets")
def test_the_real_files(tmp_path, monkeypatch):
    real = Path(os.environ["GFE_DATA"]) / "FashionMNIST" / "raw"
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name in REGISTRY["fashion_mnist"].files.md5:
        (raw / f"{name}.gz").write_bytes(gzip.compress((real / name).read_bytes(), 1))
    monkeypatch.setenv("GFE_DATA", str(tmp_path))
    found = locate("auto", "fashion_mnist", tmp_path / "cache")
    assert len(load("fashion_mnist", found).train.labels) == 50_000
