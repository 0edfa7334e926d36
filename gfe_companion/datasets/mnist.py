"""MNIST: 60,000 digits to learn from and to validate, 10,000 to test."""

from gfe_companion.datasets.base import Embedded, Entry
from gfe_companion.datasets.digits import digits
from gfe_companion.datasets.files import Files

FILES = Files(
    "MNIST",
    {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    pool=50_000,
)

DATASET = Entry(
    order=0,
    title="MNIST",
    files=FILES,
    embedded=Embedded(
        "MNIST, 5,000 images",
        digits,
        caution="These are 5,000 of MNIST's 70,000 images: "
        "the paper's claims and numbers are compared with that caution.",
    ),
    epoch=50_000,
)
