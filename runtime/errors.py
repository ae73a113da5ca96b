"""The two ways in which a person's input can be wrong, told apart by exit code; and foreign errors in one line."""


class DataError(Exception):
    """A file, folder or data set is not what it should be (exit code 1).

    The message names the file, says what is wrong with it and what to do.
    """


class UsageError(Exception):
    """A request that makes no sense or contradicts an earlier choice (exit code 2).

    The message names the option or setting and says what would be accepted.
    """


def first_line(error: BaseException | str) -> str:
    """The first line of an error's message that says anything, or the error's type; ``""`` where a text is blank."""
    blank = "" if isinstance(error, str) else type(error).__name__
    return next((line.strip() for line in str(error).splitlines() if line.strip()), blank)


def counted(n: int, noun: str) -> str:
    """``1 face``, ``2 faces``."""
    return f"{n} {noun if n == 1 else noun + 's'}"
