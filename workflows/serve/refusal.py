"""The way in which the server says no: TensorFlow's status codes, as its REST API maps them to HTTP."""

from __future__ import annotations

import json

HTTP_STATUS = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INTERNAL": 500,
    "DATA_LOSS": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}


class Refusal(Exception):
    """A request that gets an error for an answer.

    Attributes:
        code: a key of :data:`HTTP_STATUS`.
        message: for the client.
        status: of HTTP; that of the code unless TensorFlow has no code for the case.
        retry_after: seconds after which the client may ask again.
    """

    def __init__(
        self,
        message: str,
        code: str = "INVALID_ARGUMENT",
        *,
        status: int | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code, self.message = code, message
        self.status = status or HTTP_STATUS[code]
        self.retry_after = retry_after

    def __str__(self) -> str:
        """As TensorFlow writes a status into a longer message."""
        return f"{self.code}: {self.message}"


def error_body(message: str) -> bytes:
    """``{"error": message}``, as TensorFlow Serving prints it."""
    return (json.dumps({"error": message}, indent=4)).encode()
