"""The one error a user is meant to read: a line naming the key or file, the value, what is allowed, what to do."""


class AurlError(Exception):
    """A mistake in the input, told in one line.

    Commands print it as ``error: ...`` and exit with status 1; only ``debug=true`` shows the traceback.
    """


class UnreadableFile(AurlError):
    """A music file that could not be read; ``reason`` goes into lists of skipped files."""

    def __init__(self, path: object, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = str(path)
        self.reason = reason
