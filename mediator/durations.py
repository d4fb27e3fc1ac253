"""Lengths of time in words, for the command line, the log and messages."""


def duration(seconds: float) -> str:
    """Write a length of time with one unit, or two where it is hours: ``40 s``, ``12 min``, ``3 h 20 min``."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def time_left(seconds: float, done: int, total: int) -> str:
    """Say how long the rest takes, as ``, about 2 min left``; empty where nothing is done yet, or all.

    Args:
        seconds: that the work took so far.
        done: how much of it is done in them.
        total: how much there is in all, counted from the same start.
    """
    return f", about {duration(seconds / done * (total - done))} left" if 0 < done < total else ""
