"""The processes that `torchrun` starts for one training: they meet, know their number, and part. Imports torch."""

from __future__ import annotations

import torch

__all__ = ["join_processes", "leave_processes", "this_process"]


def join_processes() -> None:
    """Under `torchrun`, meet the other processes; they share every batch from then on (`prefroute.train.loop`)."""
    distributed = torch.distributed
    if not distributed.is_available() or distributed.is_initialized() or not distributed.is_torchelastic_launched():
        return
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    if torch.cuda.is_available():
        torch.cuda.set_device(distributed.get_node_local_rank(0))


def leave_processes() -> None:
    """Part from the other processes, for good: once the last training is done, and all of them call it."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def this_process() -> tuple[int, int]:
    """This process's number and how many there are: (0, 1) without `torch.distributed`."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return 0, 1
    return torch.distributed.get_rank(), torch.distributed.get_world_size()
