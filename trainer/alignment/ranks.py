"""Several processes of one training, one for each GPU: who is first, and what all of them agree on."""

import torch
from torch import distributed


def rank() -> int:
    """Return the number of this process, from 0."""
    return distributed.get_rank() if _together() else 0


def size() -> int:
    """Return how many processes work together."""
    return distributed.get_world_size() if _together() else 1


def any_of(here: bool, device: torch.device) -> bool:
    """Return whether it is so in any of the processes; all of them must ask, and wait here for each other."""
    if not _together():
        return here
    flag = torch.tensor(int(here), device=device)
    distributed.all_reduce(flag, op=distributed.ReduceOp.MAX)
    return bool(flag.item())


def sums(values: torch.Tensor) -> torch.Tensor:
    """Return the sums of a tensor over the processes; all of them must ask."""
    if _together():
        values = values.clone()
        distributed.all_reduce(values)
    return values


def _together() -> bool:
    return bool(distributed.is_available() and distributed.is_initialized())
