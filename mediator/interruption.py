"""A round whose program ended in its midst: how that is noticed, and what the round looks like then."""

import os
import secrets
from collections import Counter
from functools import cache
from typing import Any

from mediator.neutrality import select
from mediator.session import Round

_SAME_START = 1.5
"""Seconds by which two readings of when a process started may differ and still mean the same process."""


def this_process() -> str:
    """Return what names this process: its number, when it started (seconds since the boot), and a random token.

    The number alone is given again to other processes; in a container after each restart to the very same program.
    """
    return _this_process(os.getpid())


def is_alive(owner: str) -> bool:
    """Say whether the process lives that `this_process` named. What is no such name belongs to nobody."""
    import psutil

    number, _, rest = owner.partition(" ")
    started, _, token = rest.partition(" ")
    if not (number.isdecimal() and number.isascii() and token) or len(number) > 12:
        return False
    if int(number) == os.getpid():
        return owner == this_process()
    try:
        process = psutil.Process(int(number))
        alive = process.status() != psutil.STATUS_ZOMBIE
        return alive and abs(_start(process) - float(started)) < _SAME_START
    except psutil.AccessDenied:
        return True  # there is one, and somebody else's: better to wait for it than to call its work ended
    except (psutil.Error, OSError, ValueError, OverflowError):
        return False


def as_interrupted(entry: Round) -> Round:
    """Return a round that was running when its program ended, with its best proposals chosen.

    What `finish_round` could no longer say is worked out from the finished proposals: ranks (unless there are some),
    how many of them are below the warmth floor, and who wrote them. Marks play no part: what the mediator drops later
    must not make the others change places.
    """
    changes: dict[str, object] = {"state": "interrupted"}
    scored = [proposal for proposal in entry.proposals if proposal.candidate.scores is not None]
    if scored and all(proposal.rank is None for proposal in entry.proposals):
        selection = select([proposal.candidate for proposal in scored], max(1, entry.count))
        # By identity: two proposals may be equal in every word.
        ranks = {id(candidate): rank for rank, candidate in enumerate(selection.candidates, start=1)}
        changes["proposals"] = tuple(
            proposal.model_copy(update={"rank": ranks.get(id(proposal.candidate))}) for proposal in entry.proposals
        )
        changes["below_floor"] = selection.below_floor
        changes["sources"] = dict(Counter(candidate.strategy for candidate in selection.candidates))
    return entry.model_copy(update=changes)


@cache
def _this_process(number: int) -> str:
    import psutil

    return f"{number} {_start(psutil.Process(number)):.2f} {secrets.token_hex(8)}"


def _start(process: Any) -> float:
    """Return when a `psutil.Process` started, in seconds since the boot: setting the clock does not change it."""
    import psutil

    return float(process.create_time()) - float(psutil.boot_time())
