"""How much a server may say: the bytes of a reply are counted as they come, before anybody parses them."""

from collections.abc import AsyncIterator

import httpx2


class ReplyRefusedError(Exception):
    """A reply that is not read any further."""


class CountedBytes(httpx2.AsyncByteStream):
    """The bytes of a response, up to a limit.

    Args:
        stream: of the response.
        most: how many bytes.
    """

    def __init__(self, stream: httpx2.AsyncByteStream, most: int) -> None:
        self._stream = stream
        self._most = most

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The chunks as they come.

        Raises:
            ReplyRefusedError: they are more than the limit.
        """
        left = self._most
        async for chunk in self._stream:
            left -= len(chunk)
            if left < 0:
                raise ReplyRefusedError(_too_long(f"more than {self._most}", self._most))
            yield chunk

    async def aclose(self) -> None:
        """Close the connection under it, or give it back."""
        await self._stream.aclose()


def limit_reply(response: httpx2.Response, most: int) -> None:
    """Refuse what announces too many bytes, and count those of what does not.

    Raises:
        ReplyRefusedError: it announces more than `most` bytes, or is compressed, so that few bytes may become many.
    """
    announced = response.headers.get("content-length", "0")
    if announced.isdecimal() and (len(announced) > 15 or int(announced) > most):
        raise ReplyRefusedError(_too_long(announced[:20], most))
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise ReplyRefusedError("the server compressed its reply though it was asked not to, so its size is unknown")
    if isinstance(response.stream, httpx2.AsyncByteStream):
        response.stream = CountedBytes(response.stream, most)


def _too_long(size: str, most: int) -> str:
    return f"the server's reply has {size} bytes, and a judge's has {most} at most: it is not read"
