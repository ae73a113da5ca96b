"""The way in which the server says no: TensorFlow's status codes, as its REST API maps them to HTTP."""

from __future__ import annotations

import json

HTTP_STATUS = {
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DATA_LOSS": 500,
    "UNAUTHENTICATED": 401,
}
"""TensorFlow's codes in the order of their numbers, which begin at 1."""


def code_of_number(number: int) -> str:
    """``NOT_FOUND`` for 5."""
    return list(HTTP_STATUS)[number - 1] if 1 <= number <= len(HTTP_STATUS) else "INTERNAL"


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
        """Code and message, as TensorFlow writes a status into a longer message."""
        return f"{self.code}: {self.message}"


def error_body(message: str) -> bytes:
    """``{"error": message}``, as TensorFlow Serving prints it."""
    return (json.dumps({"error": message}, indent=4)).encode()
