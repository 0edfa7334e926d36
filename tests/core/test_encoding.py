"""The recorded path: rows laid out by step, whatever the order in which images advance."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from gfe_core.encoding import PathRecorder, Status


@given(st.lists(st.integers(0, 6), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_a_path_is_laid_out_by_step_and_repeats_the_last(steps, random):
    """Images advance in any order and in any grouping; state n of image i is known by its number, 100 i + n."""
    batch = len(steps)

    def state(images, at):
        number = torch.tensor([100.0 * i + n for i, n in zip(images, at, strict=True)])
        return torch.tensor(at, dtype=torch.float32), torch.stack([number, -number], dim=1), number + 0.5

    def add(images, at):
        recorder.add(torch.tensor(images, dtype=torch.int64), torch.tensor(at, dtype=torch.int64), *state(images, at))

    recorder = PathRecorder(batch)
    add(list(range(batch)), [0] * batch)
    done = [0] * batch
    while done != steps:
        under_way = [i for i in range(batch) if done[i] < steps[i]]
        group = random.sample(under_way, random.randint(0, len(under_way)))  # none falls: an empty round
        for i in group:
            done[i] += 1
        add(group, [done[i] for i in group]) if group else recorder.add(
            torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64),
            torch.zeros(0), torch.zeros(0, 2), torch.zeros(0),
        )  # fmt: skip

    path = recorder.path()
    assert path.t.shape == path.loss.shape == (max(steps) + 1, batch)
    assert path.z.shape == (max(steps) + 1, batch, 2)
    for n in range(max(steps) + 1):
        t, z, loss = state(range(batch), [min(n, last) for last in steps])
        assert torch.equal(path.t[n], t)
        assert torch.equal(path.z[n], z)
        assert torch.equal(path.loss[n], loss)


def test_statuses_are_told_apart_in_an_integer_tensor():
    assert len({int(status) for status in Status}) == len(Status) == 5
    assert Status(int(torch.tensor(Status.STALLED))) is Status.STALLED
