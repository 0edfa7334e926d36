"""FashionMNIST: 60,000 pieces of clothing to learn from and to validate, 10,000 to test."""

from gfe_companion.datasets.base import Embedded, Entry
from gfe_companion.datasets.files import Files
from gfe_companion.datasets.letters import letters

FILES = Files(
    "FashionMNIST",
    {
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
    pool=50_000,
)

DATASET = Entry(
    order=2,
    title="FashionMNIST",
    files=FILES,
    embedded=Embedded(
        "letters A-J (stand-in for FashionMNIST)",
        letters,
        caution="These are letters, no clothes: nothing here speaks of FashionMNIST.",
        stand_in=True,
    ),
    epoch=50_000,
)
