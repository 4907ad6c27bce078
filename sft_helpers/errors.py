"""The package's own errors: each says what happened, where, and what to do next."""

from __future__ import annotations


class SFTHelpersError(Exception):
    """Base of every error that the kit raises on purpose.

    Args:
        message: what is wrong, in one plain sentence.
        where: the file, line, row or setting that it is about.
        hint: the next step to take.
    """

    def __init__(self, message: str, *, where: str | None = None, hint: str | None = None) -> None:
        self.message = message
        self.where = where
        self.hint = hint
        super().__init__(message)

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text}\nWhat to do: {self.hint}" if self.hint else text


class DataError(SFTHelpersError):
    """A data file or a row is missing, damaged or of the wrong shape."""


class ModelError(SFTHelpersError):
    """A model or tokenizer cannot be found, read or used."""


class EnvironmentProblem(SFTHelpersError):
    """The machine lacks something: disk, memory, a package, a writable folder."""
