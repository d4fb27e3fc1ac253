"""Which process is meant, whether it still lives, and how it is ended together with everything that it started."""

import os
import socket
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mediator.schema import Record

_SAME_START = 1.5
"""Seconds by which two readings of when a process started may differ and still mean the same process."""


class ProcessName(Record):
    """What names a process for good: its number alone is given to other processes later.

    Attributes:
        pid: its number; 0 names no process.
        process_started: when it started, in seconds since 1970, as psutil's ``create_time`` says.
        since_boot: when it started, in seconds since the computer did: setting the clock does not change it.
        boot: which start of the computer this was, where the system tells; processes of an earlier one are dead.
        host: the computer's name.
    """

    pid: int = 0
    process_started: float = 0.0
    since_boot: float = 0.0
    boot: str = ""
    host: str = ""

    def __bool__(self) -> bool:
        return self.pid > 0

    @property
    def elsewhere(self) -> bool:
        """Whether it belongs to another computer, on a disk that several share: nothing is known of it here."""
        return bool(self.host) and self.host != socket.gethostname()


def name_of(pid: int | None = None) -> ProcessName:
    """Return the name of a living process, by default of this one; the empty name where there is none."""
    import psutil

    number = os.getpid() if pid is None else pid
    try:
        started = float(psutil.Process(number).create_time())
    except (psutil.Error, OSError):
        return ProcessName()
    return ProcessName(
        pid=number,
        process_started=started,
        since_boot=started - float(psutil.boot_time()),
        boot=this_boot(),
        host=socket.gethostname(),
    )


def name_from(text: str) -> ProcessName:
    """Return the name that `ProcessName.model_dump_json` wrote; the empty one for anything else."""
    try:
        return ProcessName.model_validate_json(text)
    except ValidationError:
        return ProcessName()


def lives(name: ProcessName) -> bool:
    """Say whether the process lives. One that has ended and that nobody has asked about (a zombie) does not."""
    import psutil

    found = _find(name)
    if found is None:
        return False
    try:
        return found.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.AccessDenied:
        return True
    except (psutil.Error, OSError):
        return False


def restarted_since(name: ProcessName) -> bool:
    """Say whether the computer was started anew since the process did; False where the system does not tell."""
    return bool(name.boot) and bool(this_boot()) and name.boot != this_boot()


def this_boot() -> str:
    """Return what names this start of the computer; empty where the system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def family(names: Iterable[ProcessName], mark: str = "") -> list[Any]:
    """Return the living processes of these names and all that they started, as `psutil.Process`.

    Args:
        names: processes; dead ones are passed over.
        mark: ``NAME=value`` in the environment of all that belong: finds also those whose parent died before them.
    """
    import psutil

    found: dict[int, Any] = {}
    for name in names:
        process = _find(name)
        if process is None:
            continue
        with suppress(psutil.Error, OSError):
            for one in [process, *process.children(recursive=True)]:
                found[one.pid] = one
    variable, sign, value = mark.partition("=")
    for one in psutil.process_iter() if sign else ():
        # Most processes of others may not be looked into.
        with suppress(psutil.Error, OSError):
            if one.pid not in found and one.pid != os.getpid() and one.environ().get(variable) == value:
                found[one.pid] = one
    return [process for process in found.values() if _is_running(process)]


def terminate(processes: Iterable[Any]) -> None:
    """Ask processes to end (SIGTERM; on Windows there is no asking, they end)."""
    import psutil

    for process in processes:
        with suppress(psutil.Error, OSError):
            process.terminate()


def kill(processes: Iterable[Any]) -> None:
    """End processes without asking them."""
    import psutil

    for process in processes:
        with suppress(psutil.Error, OSError):
            process.kill()


def wait_for_end(processes: Iterable[Any], seconds: float) -> bool:
    """Wait until all of them are dead; return whether they are."""
    waiting = list(processes)
    until = time.monotonic() + seconds
    while waiting := [process for process in waiting if _is_running(process)]:
        if time.monotonic() >= until:
            return False
        time.sleep(0.05)
    return True


def _is_running(process: Any) -> bool:
    import psutil

    try:
        return bool(process.is_running()) and process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.AccessDenied:
        return True
    except (psutil.Error, OSError):
        return False


def _find(name: ProcessName) -> Any:
    """The `psutil.Process` of a name, or None when its number belongs to nobody or to another one by now."""
    import psutil

    if not name or name.elsewhere or restarted_since(name):
        return None
    try:
        process = psutil.Process(name.pid)
        started = float(process.create_time())
    except (psutil.Error, OSError, ValueError, OverflowError):
        return None
    same = abs(started - name.process_started) < _SAME_START
    if not same and name.since_boot and name.boot:  # the clock was set, and only the clock
        same = abs(started - float(psutil.boot_time()) - name.since_boot) < _SAME_START
    return process if same else None


def detached() -> dict[str, Any]:
    """Return the options of `subprocess.Popen` for a process that outlives this one and hears nothing of its Ctrl-C."""
    if sys.platform == "win32":
        import subprocess

        flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
        return {"creationflags": flags}
    return {"start_new_session": True}
