"""When asking has become pointless: too many of the latest requests failed."""

from collections import deque

WINDOW = 50
"""How many of the latest requests count."""

AT_LEAST = 20
"""Of fewer than this nothing is concluded."""


class Breaker:
    """Counts which of the latest requests failed for good, whatever call they belong to.

    Args:
        max_failure_rate: the share that may fail.
    """

    def __init__(self, max_failure_rate: float) -> None:
        self.max_failure_rate = max_failure_rate
        self._failed: deque[bool] = deque(maxlen=WINDOW)

    def count(self, *, failed: bool) -> str | None:
        """Count one request; says why to stop, if it is time to.

        The count begins again then: whoever goes on asking gets another `AT_LEAST` requests.
        """
        self._failed.append(failed)
        num, num_failed = len(self._failed), sum(self._failed)
        if num < AT_LEAST or num_failed <= self.max_failure_rate * num:
            return None
        self._failed.clear()
        return f"{num_failed} of the last {num} requests failed, more than max_failure_rate={self.max_failure_rate:g}"
