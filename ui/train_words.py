"""Numbers, times and sizes of a training run, as people write them in the language of the page. All are plain text."""

import math
from datetime import datetime

from ui.strings import decimal, say


def figure(value: float, language: str, digits: int = 3) -> str:
    """Write a measured number with so many significant digits: ``2.31``, ``0.0442``, ``3e-5``, ``12345``."""
    if not math.isfinite(value):
        return str(value)
    text = f"{value:.{digits}g}"
    mantissa, mark, exponent = text.partition("e")
    if mark and 0 <= int(exponent) < 7:
        text = f"{value:.0f}"
    elif mark:
        text = f"{mantissa}e{int(exponent)}"
    return decimal(language, text)


def setting(value: object, language: str) -> str:
    """Write the value of a setting for a reader; yes and no in words. It can be typed into its field like this."""
    if isinstance(value, bool):
        return say(language, "train.value_yes" if value else "train.value_no")
    if isinstance(value, float):
        return decimal(language, typed(value))
    return str(value)


def typed(value: float) -> str:
    """Write a number as one types it: ``3e-5``, ``0.03``, ``8``."""
    text = repr(value)
    mantissa, mark, exponent = text.partition("e")
    text = mantissa if not mark else f"{mantissa}e{int(exponent)}"
    return text.removesuffix(".0")


def duration(seconds: float, language: str) -> str:
    """Write how long something takes, in the two largest units that matter: ``40 s``, ``12 min``, ``3 h 5 min``."""
    whole = max(0, round(seconds))
    if whole < 90:
        return say(language, "train.seconds", seconds=whole)
    minutes = round(whole / 60)
    if minutes < 60:
        return say(language, "train.minutes", minutes=minutes)
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return say(language, "train.hours", hours=hours, minutes=minutes)
    days, hours = divmod(hours, 24)
    return say(language, "train.days", days=days, hours=hours)


def moment(seconds: float, language: str) -> str:
    """Write when something was, in the time of this computer: ``21 November 2026, 14:20``."""
    time = datetime.fromtimestamp(seconds).astimezone()
    month = say(language, "sessions.months").split(",")[time.month - 1]
    clock = {"hour": f"{time.hour:02}", "minute": f"{time.minute:02}"}
    return say(language, "sessions.date", day=time.day, month=month, year=time.year, **clock)
