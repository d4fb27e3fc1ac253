"""How much memory the NVIDIA GPUs have free, asked of the driver's own program: no torch is needed."""

import importlib.util
import os
import shutil
import subprocess
import time
from functools import cache, lru_cache
from pathlib import Path

_ASKED_AGAIN = 5.0  # seconds for which what the GPUs said holds: the page checks at each key


def gpu_memory() -> tuple[int, ...]:
    """Return the free bytes of each NVIDIA GPU that torch could use; empty without a GPU, or for torch's CPU build."""
    return _ask_gpus(int(time.monotonic() / _ASKED_AGAIN)) if _torch_has_cuda() else ()


@lru_cache(maxsize=1)
def _ask_gpus(when: int) -> tuple[int, ...]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    try:
        answer = subprocess.run(  # noqa: S603 - a program of the system, with fixed arguments
            [program, "--query-gpu=memory.free", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        ).stdout
        free = [int(line) << 20 for line in answer.split("\n") if line.strip().isdigit()]
    except (OSError, subprocess.SubprocessError, ValueError):
        return ()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return tuple(free)
    chosen = [part.strip() for part in visible.split(",") if part.strip()]
    if all(part.isdigit() for part in chosen):
        return tuple(free[int(part)] for part in chosen if int(part) < len(free))
    return tuple(free[: len(chosen)])  # named by something else than their numbers


@cache
def _torch_has_cuda() -> bool:
    """Whether the installed torch was built for CUDA, told from its libraries."""
    found = importlib.util.find_spec("torch")
    if found is None or not found.submodule_search_locations:
        return False
    libraries = Path(next(iter(found.submodule_search_locations))) / "lib"
    return any(libraries.glob("*torch_cuda*"))
