"""What the tests of training share: one thread for torch, and a collector that passes over the libraries."""

import gc
import sys

import pytest


@pytest.fixture(scope="module", autouse=True)
def _light_work() -> None:
    """Compute in one thread, and have the collector pass over what is there already.

    On tensors this small a second thread only waits, at full speed. The Trainer collects garbage twice for each
    training, which with these libraries takes longer than a training's steps: they are half a million objects, none of
    which ever goes.
    """
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(1)
    gc.collect()
    gc.freeze()
