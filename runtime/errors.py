"""The two ways in which a person's input can be wrong, told apart by exit code."""


class DataError(Exception):
    """A file, folder or data set is not what it should be (exit code 1).

    The message names the file, says what is wrong with it and what to do.
    """


class UsageError(Exception):
    """What was asked for makes no sense or contradicts an earlier choice (exit code 2).

    The message names the option or setting and says what would be accepted.
    """
