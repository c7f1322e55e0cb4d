"""The Retry-After header: how long a server asks to be left alone (RFC 9110, section 10.2.3)."""

import math
import time
from email.utils import parsedate_to_datetime


def retry_after_s(told: str | None) -> float:
    """Seconds from now that the header asks for, in either of its forms; 0 if it says nothing readable.

    Args:
        told: value of the header: a number of seconds, or a date; None if there is none.
    """
    if told is None:
        return 0.0
    try:
        seconds = float(told)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(told).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return 0.0
    # An endless pause is beyond every deadline, which is what it says.
    return max(0.0, seconds) if not math.isnan(seconds) else 0.0
