"""SegmentedMNIST (Sec. 5): MNIST's digits 0 to 4 to learn from and to validate, 5 to 9 to test."""

from gfe_companion.datasets.base import Embedded, Entry, Splits
from gfe_companion.datasets.digits import digits
from gfe_companion.datasets.mnist import FILES


def segmented(splits: Splits) -> Splits:
    """The digits 0 to 4 of the first two splits, 5 to 9 of the last: a decoder is tested on what it never saw."""
    train, validation, test = splits
    return train.having(range(5)), validation.having(range(5)), test.having(range(5, 10))


DATASET = Entry(
    order=1,
    title="SegmentedMNIST",
    files=FILES,
    embedded=Embedded(
        "SegmentedMNIST, 2,500 images",
        digits,
        caution="These are cut from 5,000 of MNIST's 70,000 images: "
        "the paper's claims and numbers are compared with that caution.",
    ),
    epoch=25_536,
    cut=segmented,
)
