"""Trainings from loaders: epochs in order, and continued within one as if there had been no break."""

import io

import pytest
import torch
from conftest import mlp, seeded
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, RandomSampler, TensorDataset

from gfe_core.accelerated import QuasiNewtonAMD
from gfe_core.adjoint import ApproximateGradient
from gfe_core.batches import Loaded
from gfe_core.training import Recipe, Training, autoencoder_step, encoding_step
from gfe_core.warm import WarmStart

IMAGES = torch.rand(10, 12, generator=seeded(3), dtype=torch.float64)
LABELS = torch.arange(10)


class Augmented(Dataset):
    """Adds noise by torch's global random numbers, as torchvision's transforms do."""

    def __init__(self, generator=None):
        self.generator = generator

    def __len__(self):
        return len(IMAGES)

    def __getitem__(self, place):
        return 0.9 * IMAGES[place] + 0.1 * torch.rand(12, dtype=torch.float64, generator=self.generator), LABELS[place]


class Stream(IterableDataset):
    def __iter__(self):
        return iter(IMAGES)


LOADERS = {
    "in order": lambda: DataLoader(TensorDataset(IMAGES), 4),
    "shuffled": lambda: DataLoader(TensorDataset(IMAGES, LABELS), 4, shuffle=True),
    "shuffled by its own": lambda: DataLoader(IMAGES, 4, shuffle=True, generator=seeded(1)),
    "sampler": lambda: DataLoader(IMAGES, 3, sampler=RandomSampler(IMAGES, generator=seeded(2), num_samples=7)),
    "dropping the last": lambda: DataLoader(IMAGES, 4, shuffle=True, drop_last=True),
    "augmented": lambda: DataLoader(Augmented(), 4, shuffle=True),
    "augmented by its own": lambda: DataLoader(Augmented(seeded(4)), 4, shuffle=True, generator=seeded(5)),
    "stream": lambda: DataLoader(Stream(), 4),
    "list": lambda: list(IMAGES.split(4)),
    "list of pairs": lambda: [(IMAGES[:4], {"label": LABELS[:4]}), (IMAGES[4:], {"label": LABELS[4:]})],
}
loaders = pytest.mark.parametrize("make", LOADERS.values(), ids=LOADERS)


def drawn(batches, count):
    return [batches.draw()[0] for _ in range(count)]


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


# --- batches


@loaders
@pytest.mark.parametrize("taken", [0, 1, 2, 3, 4, 7])
def test_continued_batches_are_those_of_one_without_a_break(make, taken):
    whole, first, second = (Loaded(make(), seeded(6)) for _ in range(3))
    drawn(whole, taken)
    drawn(first, taken)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    drawn(second, 1)  # elsewhere
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    expected = drawn(whole, 6)
    assert same(drawn(second, 6), expected)
    assert same(drawn(first, 6), expected)


@loaders
def test_a_loader_neither_uses_nor_disturbs_the_global_random_numbers(make):
    before = torch.get_rng_state()
    one = drawn(Loaded(make(), seeded(6)), 7)
    assert torch.equal(torch.get_rng_state(), before)
    with torch.random.fork_rng():
        torch.manual_seed(123)
        other = Loaded(make(), seeded(6))
        drawn(other, 3)
        torch.rand(5)
        assert same(one[3:], drawn(other, 4))


def test_without_a_generator_the_global_seed_decides():
    with torch.random.fork_rng():
        found = []
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            found.append(torch.cat(drawn(Loaded(LOADERS["shuffled"]()), 3)))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_epochs_are_whole_and_differ():
    batches = Loaded(LOADERS["shuffled"](), seeded())
    epochs = [torch.cat(drawn(batches, 3)) for _ in range(2)]
    for epoch in epochs:
        assert torch.equal(epoch.sort(dim=0).values, IMAGES.sort(dim=0).values)
    assert not torch.equal(*epochs)


def test_worker_processes_augment_alike_after_a_break():
    def make():
        return Loaded(DataLoader(Augmented(), 4, shuffle=True, num_workers=1), seeded(6))

    whole, first, second = make(), make(), make()
    expected = drawn(whole, 5)
    drawn(first, 2)
    second.load_state_dict(first.state_dict())
    assert same(drawn(second, 3), expected[2:])


class Interrupting(Augmented):
    pressed = False

    def __getitem__(self, place):
        if self.pressed:
            raise KeyboardInterrupt
        return super().__getitem__(place)


def test_an_interrupted_batch_is_drawn_again():
    data = Interrupting()
    batches, whole = Loaded(DataLoader(data, 4, shuffle=True), seeded()), Loaded(LOADERS["augmented"](), seeded())
    drawn(batches, 1)
    before, state = torch.get_rng_state(), batches.state_dict()
    data.pressed = True
    with pytest.raises(KeyboardInterrupt):
        batches.draw()
    assert torch.equal(torch.get_rng_state(), before)
    assert batches.state_dict()["taken"] == state["taken"]
    data.pressed = False
    assert same(drawn(batches, 4), drawn(whole, 5)[1:])


# --- trainings


def training(make, kind="ae", accumulate=1):
    if kind == "ae":
        model = nn.Sequential(mlp((12, 3)), mlp((3, 12)))
        step = autoencoder_step(model)
    else:
        model = mlp((3, 8, 12))
        solver = WarmStart(refresh=2) if kind == "warm" else QuasiNewtonAMD(max_trials=4)
        step = encoding_step(model, solver, ApproximateGradient())
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    return Training(model, step, make(), seeded(), optimizer=optimizer, accumulate=accumulate)


@pytest.mark.parametrize("kind", ["ae", "quasi-newton", "warm"])
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("until", [8, 14, 30])
def test_a_training_continued_within_an_epoch_is_uninterrupted(kind, accumulate, until):
    make = LOADERS["augmented"]
    whole, first, second = (training(make, kind, accumulate) for _ in range(3))
    whole.advance(until)
    first.advance(until)
    second.load_state_dict(first.state_dict())
    assert second.images == first.images >= until
    assert second.advance(80) == whole.advance(80)
    for a, b in zip(whole.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_last_update_is_the_one_that_reaches_the_number():
    told = []
    trained = training(LOADERS["in order"])
    trained.advance(5, told.append)
    assert trained.images == 8
    trained.advance(10, told.append)
    assert trained.images == 10
    trained.advance(11, told.append)
    assert told == [4, 4, 2, 4]


def test_batches_of_any_size_weigh_by_their_images():
    """The mean loss is that over images, and the gradient that of the summed loss."""
    model = nn.Sequential(mlp((12, 3)), mlp((3, 12)))
    losses = []

    def step(images):
        losses.append(autoencoder_step(model)(images))
        return losses[-1]

    trained = Training(model, step, [IMAGES[:4], IMAGES[4:]], optimizer=torch.optim.SGD(model.parameters(), 0.0))
    assert trained.advance(10) == pytest.approx(float(torch.cat(losses).mean()))


def test_labels_reach_a_step_that_takes_them():
    seen = []

    def step(images, labels):
        seen.append(labels)
        return images.sum(dim=1)

    model = nn.Linear(1, 1)
    Training(model, step, LOADERS["list of pairs"]()).advance(10)
    assert torch.equal(torch.cat([each["label"] for each in seen]), LABELS)


# --- what is refused


@pytest.mark.parametrize("pool", [[], DataLoader(TensorDataset(IMAGES[:0]))], ids=["list", "loader"])
def test_a_pool_without_batches_is_refused(pool):
    with pytest.raises(ValueError, match="no batch left; pass one that is not empty"):
        training(lambda: pool).advance(4)


def test_what_can_be_gone_through_once_is_trained_once():
    trained = training(lambda: iter(IMAGES.split(5)))
    trained.advance(10)
    with pytest.raises(ValueError, match="no batch left.*such as a DataLoader"):
        trained.advance(20)


def test_a_data_set_is_no_loader():
    with pytest.raises(ValueError, match=r"the pool is a data set; pass a loader: DataLoader\(pool"):
        training(lambda: TensorDataset(IMAGES))
    with pytest.raises(ValueError, match="the pool is a int; pass a tensor of images, or a DataLoader"):
        training(lambda: 3)


@pytest.mark.parametrize("batch", [{"x": IMAGES}, (IMAGES, LABELS, LABELS), [3, IMAGES], ()])
def test_batches_of_another_kind_are_refused(batch):
    with pytest.raises(
        ValueError, match="a batch of the pool holds .*; it needs a tensor of images, or images and one"
    ):
        training(lambda: [batch]).advance(4)


def test_a_loader_that_has_become_shorter_is_noticed():
    first, second = training(LOADERS["list"]), training(lambda: [IMAGES[:4]])
    first.advance(8)
    second.load_state_dict(first.state_dict())
    with pytest.raises(ValueError, match="fewer than the 2 batches that were taken"):
        second.advance(12)


def test_loaders_bring_their_own_extra():
    model = mlp((3, 8, 12))
    step = encoding_step(model, QuasiNewtonAMD(), ApproximateGradient())
    with pytest.raises(ValueError, match="extra belongs to a pool in a tensor"):
        Training(model, step, [IMAGES], extra=LABELS)


def test_extra_of_a_pool_is_drawn_with_its_images():
    seen = []

    def step(images, extra):
        seen.append((images, extra))
        return images.sum(dim=1)

    Training(nn.Linear(1, 1), step, IMAGES, seeded(), Recipe(5), extra={"label": LABELS}).advance(20)
    for images, extra in seen:
        assert torch.equal(images, IMAGES[extra["label"]])
    with pytest.raises(ValueError, match="needs one row for each of the 10 images"):
        Training(nn.Linear(1, 1), step, IMAGES, seeded(), extra=LABELS[:3])
    with pytest.raises(ValueError, match="the pool holds no images"):
        Training(nn.Linear(1, 1), step, IMAGES[:0], seeded())
