import os

import pytest
import torch

import thawlab.backbones  # noqa: F401 - registers the demonstration network with timm

# Two workers of pytest on two cores: more threads only fight.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
