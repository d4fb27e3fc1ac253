"""How often a computer may guess the password: five times, then ever longer waits."""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

FREE_FAILURES = 5
"""Wrong passwords of one address that are answered at once; each further one doubles the wait."""

FIRST_WAIT, LONGEST_WAIT = 30.0, 3600.0
"""Seconds in which an address is not heard after its fifth wrong password, and at most."""

FORGOTTEN_AFTER = 86_400.0
"""Seconds without a wrong password after which an address has all its tries again."""

MOST_ADDRESSES = 4096
"""Addresses remembered; the one whose last wrong password is longest ago makes room."""


@dataclass
class _Record:
    failures: int = 0
    closed_until: float = 0.0
    last: float = 0.0


class LoginLimits:
    """Counts wrong passwords per address. For one thread: that of the event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock`` returns seconds that never go back."""
        self._clock = clock
        self._records: OrderedDict[str, _Record] = OrderedDict()

    def wait(self, address: str) -> float:
        """Return the seconds for which this address is not heard; 0 when it may try."""
        record = self._records.get(network_of(address))
        return max(0.0, record.closed_until - self._clock()) if record else 0.0

    def failed(self, address: str) -> None:
        """Note a wrong password."""
        now, network = self._clock(), network_of(address)
        record = self._records.pop(network, _Record())
        if now - record.last > FORGOTTEN_AFTER:
            record = _Record()
        record.failures, record.last = record.failures + 1, now
        if record.failures >= FREE_FAILURES:
            doubled = FIRST_WAIT * 2.0 ** min(record.failures - FREE_FAILURES, 32)
            record.closed_until = now + min(doubled, LONGEST_WAIT)
        self._records[network] = record
        while len(self._records) > MOST_ADDRESSES:
            self._records.popitem(last=False)

    def succeeded(self, address: str) -> None:
        """Note the right password: the wrong ones before it were slips."""
        self._records.pop(network_of(address), None)


def network_of(address: str) -> str:
    """Return what one person can be expected to have: an IPv4 address, or a /64 network of IPv6."""
    try:
        known = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(known, ipaddress.IPv6Address):
        if known.ipv4_mapped is not None:
            return str(known.ipv4_mapped)
        return str(ipaddress.IPv6Network((known, 64), strict=False))
    return str(known)
