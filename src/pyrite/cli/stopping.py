"""Long work at the shell ends the same way on Ctrl-C and on SIGTERM: what was done stays, and the message says so."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stopping(kept: str) -> Iterator[None]:
    """Within it, SIGTERM interrupts as Ctrl-C does.

    Args:
        kept: what stays and where, such as "what was drawn is in runs/x".

    Raises:
        KeyboardInterrupt: either of them came; says what is kept and how to go on.
    """

    def stop(number: int, _: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt(f"stopped; {kept}. The same command continues.") from interrupt
    finally:
        signal.signal(signal.SIGTERM, before)
