"""A request that is not answered with scores: the status, a name for programs and a sentence for people."""

from collections.abc import Mapping
from typing import Any


class Refusal(Exception):
    """Ends a request with a status of 4xx or 5xx; an answer to a client, never an error of the server's own.

    Args:
        status: of HTTP.
        name: for programs, such as "too_busy".
        message: what happened, why it matters, what to do next.
        retry_after_s: whole seconds until it may work; None where trying again changes nothing.
        problems: what is wrong where in the request.
    """

    def __init__(
        self,
        status: int,
        name: str,
        message: str,
        *,
        retry_after_s: int | None = None,
        problems: tuple[Mapping[str, str], ...] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.name = name
        self.message = message
        self.retry_after_s = retry_after_s
        self.problems = problems

    @property
    def body(self) -> dict[str, Any]:
        """What the client reads."""
        return {"error": self.name, "message": self.message, "problems": [dict(problem) for problem in self.problems]}

    @property
    def headers(self) -> dict[str, str]:
        """When to come back, whom to show a token, and whether the connection stays."""
        headers = {"retry-after": str(self.retry_after_s)} if self.retry_after_s is not None else {}
        if self.status == 401:
            headers["www-authenticate"] = "Bearer"
        if self.status in (408, 413, 503):  # the body was left unread, or nobody will read the next one
            headers["connection"] = "close"
        return headers
