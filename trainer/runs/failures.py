"""Why a run ended, in a sentence: from the error that ended it, or from what a process left that could not say it."""

import errno
import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from mediator.errors import EvenhandError, MissingExtraError
from mediator.memory import gigabytes
from trainer.runs.folder import Launch, RunFolder, last_lines, read_json

_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
_ALMOST_FULL = 32 << 20
"""Bytes of free disk below which an error while a file is written is put down to the disk."""

_LAST_WORDS = 80
"""Lines at the end of a dead process's log in which the reason is looked for; earlier ones are about what went well."""


class Failure(NamedTuple):
    """Why a run ended, what to do about it, and what the command line exits with."""

    message: str
    hint: str = ""
    exit_code: int = 1


class Work(NamedTuple):
    """What a process worked on, in the words of a failure.

    Attributes:
        name: within a sentence.
        again: how to have it done after all, as a sentence.
    """

    name: str
    again: str


TRAINING = Work("training", "Resume it: it goes on from its checkpoint.")
EXPORT = Work("export", "Export the model again.")


class RunFolderGone(EvenhandError):
    """The folder of a run was deleted while it worked."""


def of_error(error: BaseException, settings: dict[str, Any], folder: Path, work: Work = TRAINING) -> Failure:
    """Say what an error that ended a recipe means.

    Args:
        error: what was raised.
        settings: of the recipe, for what to lower.
        folder: of the run, to look at its disk.
        work: what it ended.
    """
    for one in _chain(error):
        if isinstance(one, EvenhandError):
            return Failure(one.message, one.hint, one.exit_code)
        if isinstance(one, OSError) and one.errno in _FULL:
            return disk_full(folder, work)
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, MemoryError):
        return out_of_memory(settings, gpu=False)
    if isinstance(error, ModuleNotFoundError):
        return _missing(str(error.name or error))
    return _of_text(text, settings, folder, work) or Failure(
        f"The {work.name} failed inside: {_first_line(text)}", "The end of the log says where."
    )


def of_silence(folder: RunFolder, settings: dict[str, Any], work: Work = TRAINING) -> Failure:
    """Say why a process ended that left no last status: from what else is known of it.

    In this order: another process of the same run gave a reason; the computer was started anew; the end of the log; how
    many processes the system has ended for lack of memory since. Nothing at all most often means lack of memory too.
    """
    from trainer.runs.processes import restarted_since

    said = read_json(folder.failure)
    if isinstance(said.get("message"), str):
        return Failure(said["message"], str(said.get("hint", "")), int(said.get("exit_code", 1)))
    launch = folder.read_launch()
    if restarted_since(launch) or restarted_since(folder.read_status()):
        return Failure(f"The computer was restarted during the {work.name}.", work.again)
    log = last_lines(folder.log_since(launch.log_start), _LAST_WORDS)
    if found := _of_text(log, settings, folder.path, work, crashed=True):
        return found
    if _killed_for_memory(launch):
        failure = out_of_memory(settings, gpu=False)
        return failure._replace(message=f"The computer ran out of memory, and the system ended the {work.name}.")
    return Failure(
        f"The {work.name} ended without a word; most often that means that the computer ran out of memory and the "
        "system ended it.",
        f"Close other programs, or {what_to_lower(settings)}. {work.again}",
    )


def out_of_memory(settings: dict[str, Any], gpu: bool) -> Failure:
    """Return the sentence for too little memory: the GPU's, or the computer's."""
    whose = "The GPU" if gpu else "The computer"
    return Failure(f"{whose} ran out of memory.", f"To need less, {what_to_lower(settings)}.")


def disk_full(folder: Path, work: Work = TRAINING) -> Failure:
    """Return the sentence for a full disk."""
    try:
        free = f" ({gigabytes(shutil.disk_usage(folder).free)} are free)"
    except OSError:
        free = ""
    lower = ", or lower keep_checkpoints; then resume the run." if work is TRAINING else f". {work.again}"
    return Failure(f"The disk of {folder} is full{free}.", f"Make room, for example with `evenhand runs delete`{lower}")


def what_to_lower(settings: dict[str, Any]) -> str:
    """Return the settings that would lower the need for memory, the least harmful first, as the end of a sentence."""
    batch, steps = int(settings.get("batch_size", 1)), int(settings.get("gradient_accumulation", 1))
    ways = []
    if batch > 1:
        ways.append(f"set batch_size={batch // 2} and gradient_accumulation={steps * 2} (the result stays the same)")
    if not settings.get("gradient_checkpointing") and settings.get("trainable") != "last_layers":
        ways.append("set gradient_checkpointing=true")
    if settings.get("precision") == "fp32":
        ways.append("set precision=bf16")
    if int(settings.get("hypothesis_batch", 1)) > 1:
        ways.append("lower hypothesis_batch")
    if int(settings.get("longest_text", 0)) > 128:
        ways.append("lower longest_text")
    if settings.get("trainable") == "all":
        ways.append("set trainable=last_layers")
    return ", or ".join(ways[:3]) if ways else "choose a smaller model"


def memory_kills() -> int | None:
    """Return how many processes of this control group Linux has ended for lack of memory; None where it does not say.

    Without a control group of its own that counts, those of the whole computer.
    """
    for path in _counters():
        try:
            text = path.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            continue
        if found := re.search(r"^oom_kill (\d+)$", text, re.MULTILINE):
            return int(found[1])
    return None


def _counters() -> list[Path]:
    root = Path("/sys/fs/cgroup")
    found = []
    try:
        for line in Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines():
            _, kinds, path = line.split(":", 2)
            if kinds == "":
                found.append(root / path.lstrip("/") / "memory.events")
            elif kinds == "memory":
                found.append(root / "memory" / path.lstrip("/") / "memory.oom_control")
    except (OSError, ValueError):
        pass
    return [*found, root / "memory.events", root / "memory" / "memory.oom_control", Path("/proc/vmstat")]


def _killed_for_memory(launch: Launch) -> bool:
    now = memory_kills()
    return now is not None and launch.memory_kills is not None and now > launch.memory_kills


# What the libraries say, and what it means. Looked for from the most to the least telling.
_GPU_MEMORY = re.compile(r"CUDA out of memory|CUDA error: out of memory|CUBLAS_STATUS_ALLOC_FAILED", re.IGNORECASE)
_MEMORY = re.compile(
    r"\bMemoryError\b|can't allocate memory|Cannot allocate memory|std::bad_alloc|ArrayMemoryError", re.IGNORECASE
)
_DISK = re.compile(r"No space left on device|Disk quota exceeded|os error 28\b", re.IGNORECASE)
_WRITING = re.compile(r"PytorchStreamWriter|unexpected pos|I/O error|failed writing", re.IGNORECASE)
_MODULE = re.compile(r"ModuleNotFoundError: No module named '([\w.]+)'")
_KILLED = re.compile(r"Signal 9 \(SIGKILL\) received|exitcode\s*: -9\b")
_CRASH = re.compile(r"^Fatal Python error: (Segmentation fault|Bus error|Aborted|Illegal instruction)", re.MULTILINE)
_LAST_ERROR = re.compile(r"^(?:\[rank\d+\]: )?([\w.]*(?:Error|Exception|Interrupt)\b.*)$", re.MULTILINE)


def _of_text(text: str, settings: dict[str, Any], folder: Path, work: Work, crashed: bool = False) -> Failure | None:
    """Find what a message, or a log of a process that ``crashed``, says; None for nothing known."""
    if _DISK.search(text):
        return disk_full(folder, work)
    if _GPU_MEMORY.search(text):
        return out_of_memory(settings, gpu=True)
    if _MEMORY.search(text):
        return out_of_memory(settings, gpu=False)
    if _WRITING.search(text) and _is_almost_full(folder):
        return disk_full(folder, work)
    if not crashed:
        return None
    if missing := _MODULE.search(text):
        return _missing(missing[1])
    if _KILLED.search(text):
        failure = out_of_memory(settings, gpu=False)
        why = "most often because the computer has no memory left"
        return failure._replace(message=f"The system ended the {work.name}, {why}.")
    if crash := _CRASH.search(text):
        if crash[1] == "Bus error" and _is_almost_full(folder):
            return disk_full(folder, work)
        return Failure(
            f"A library that the {work.name} uses crashed ({crash[1].lower()}).",
            "The end of the log says where. "
            + (
                "Resume the run; if it happens again, set device=cpu or another precision."
                if work is TRAINING
                else work.again
            ),
        )
    if errors := _LAST_ERROR.findall(text):
        return Failure(f"The {work.name} failed inside: {_first_line(errors[-1])}", "The end of the log says where.")
    return None


def _missing(module: str) -> Failure:
    error = MissingExtraError(
        f"Training needs the package {module.partition('.')[0]}.", "Install it with: pip install 'evenhand[train]'"
    )
    return Failure(error.message, error.hint, error.exit_code)


def _is_almost_full(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free < _ALMOST_FULL
    except OSError:
        return False


def _first_line(text: str) -> str:
    line = " ".join(text.strip().split("\n", 1)[0].split())
    return line if len(line) <= 200 else line[:199] + "…"


def _chain(error: BaseException) -> list[BaseException]:
    """An error and those that it came from."""
    found: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in found:
        found.append(current)
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return found
