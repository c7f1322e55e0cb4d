"""How much a reward server takes at once: what a client sends is measured against it before it costs memory."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """The limits of one server process.

    Together they bound its memory: bodies that are being read or decoded hold `max_waiting_bytes`, decoded images
    three or four bytes for each of `max_waiting_pixels`.

    Args:
        max_body_bytes: of one request; refused with 413 beyond it, if announced then before anything is read.
        max_items: images in one request.
        max_pixels: width times height of one image, read from its header; beyond it that image is unscored.
        max_waiting_bytes: of all bodies under way together; refused with 429 beyond it.
        max_waiting_images: that were accepted and have no score yet; refused with 429 beyond it.
        max_waiting_pixels: of those images together; a request with more than this alone is refused with 413.
        read_timeout_s: in which a body must have arrived, else 408.
        drain_timeout_s: in which accepted requests must be answered after SIGTERM.
        max_batch: most images in one call of a reward.
        max_wait_s: how long the first image of a batch waits for others.
    """

    max_body_bytes: int = 64 * 2**20
    max_items: int = 256
    max_pixels: int = 2**24
    max_waiting_bytes: int = 256 * 2**20
    max_waiting_images: int = 1024
    max_waiting_pixels: int = 2**28
    read_timeout_s: float = 60.0
    drain_timeout_s: float = 120.0
    max_batch: int = 64
    max_wait_s: float = 0.005
