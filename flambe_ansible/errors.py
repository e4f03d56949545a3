"""Every error of this package, under one root.

Each kind carries what it is about as typed attributes, and knows the exit code the command line ends with.
The library raises; only ``flambe_ansible.cli`` prints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class FlambeAnsibleError(Exception):
    """The root of the family.

    Attributes:
        hint: What to run or do next, one line, or None.
    """

    exit_code: int = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ClusterError(FlambeAnsibleError):
    """Something about a cluster failed."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One problem of a configuration file; lines and columns count from 1, 0 where there is no place.

    ``field`` names the field it is about, for who knows where that field stands.
    """

    file: str
    line: int
    column: int
    message: str
    expected: str = ""
    suggestion: str = ""
    field: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        text = f"{place}: {self.message}"
        if self.expected:
            text += f"; expected {self.expected}"
        if self.suggestion:
            text += f"; did you mean {self.suggestion}?"
        return text


class ClusterConfigurationError(ClusterError, ValueError):
    """The configuration cannot be used; nothing was created.

    Attributes:
        problems: All problems of the file, in the order of their places.
    """

    exit_code = 3

    def __init__(self, message: str, *, problems: Sequence[Problem] = (), hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.problems = tuple(problems)

    @classmethod
    def of(cls, problems: Sequence[Problem]) -> ClusterConfigurationError:
        """Make one error of all problems found."""
        return cls("\n".join(str(problem) for problem in problems), problems=problems)


class MissingSecretsError(ClusterConfigurationError):
    """A wanted section is not in the secrets file.

    Attributes:
        sections: The missing sections.
    """

    def __init__(self, message: str, *, sections: Sequence[str] = (), hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.sections = tuple(sections)


class AWSError(ClusterError):
    """A call to AWS failed.

    Attributes:
        operation: The API operation, such as ``RunInstances``.
        code: AWS's error code, such as ``InsufficientInstanceCapacity``; empty where no answer came.
    """

    exit_code = 4

    def __init__(self, message: str, *, operation: str = "", code: str = "", hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.operation = operation
        self.code = code


class HostError(ClusterError):
    """One host could not be reached or used.

    Attributes:
        host: The host's name.
    """

    exit_code = 5

    def __init__(self, message: str, *, host: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.host = host


class HostConnectionError(HostError, ConnectionError):
    """SSH to a host failed: no answer, no login."""


class HostKeyError(HostConnectionError):
    """A host's key is not the one it should have; nothing was sent to it."""


class UnsupportedHostError(HostError):
    """A host lacks something that every host must have (Python, sudo, rsync, x86_64)."""


class RemoteCommandError(HostError):
    """A command on a host failed.

    Attributes:
        command: The command as it was given.
        returncode: Its exit code.
        output: The end of its output.
    """

    def __init__(
        self, message: str, *, host: str, command: str, returncode: int, output: str = "", hint: str | None = None
    ) -> None:
        super().__init__(message, host=host, hint=hint)
        self.command = command
        self.returncode = returncode
        self.output = output


@dataclass(frozen=True, kw_only=True)
class TaskFailure:
    """One task that failed on one host.

    ``output`` is the tail of what the task printed; ``command`` and ``returncode`` are set where the task ran one.
    """

    host: str
    role: str
    task: str
    message: str
    command: str = ""
    returncode: int | None = None
    output: str = ""
    unreachable: bool = False


class PlaybookError(ClusterError):
    """A playbook failed on at least one host.

    Attributes:
        failures: What failed, a host each.
        log: Path of the full log.
    """

    exit_code = 6

    def __init__(
        self, message: str, *, failures: Sequence[TaskFailure] = (), log: str = "", hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.failures = tuple(failures)
        self.log = log


class RayError(ClusterError):
    """Ray is not as it should be.

    Attributes:
        missing: Names of the hosts whose Ray node is not alive.
        logs: The last lines of the unit's journal, by host name.
    """

    exit_code = 7

    def __init__(
        self,
        message: str,
        *,
        missing: Sequence[str] = (),
        logs: dict[str, str] | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.missing = tuple(missing)
        self.logs = dict(logs or {})


class LabError(FlambeAnsibleError):
    """The lab could not do what was asked."""

    exit_code = 8


class SourceError(ClusterError):
    """An extension or a resource could not be fetched, or a checkout could not be built.

    Attributes:
        source: Where it should have come from, without credentials.
    """

    exit_code = 10

    def __init__(self, message: str, *, source: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.source = source


class RunError(ClusterError):
    """A run cannot begin, or did not succeed.

    Attributes:
        state: The run's state, such as ``running`` or ``failed``; "" where there is none.
    """

    exit_code = 11

    def __init__(self, message: str, *, state: str = "", hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.state = state


class ClusterBusyError(RunError):
    """Another run is under way; nothing was touched."""


class ExistingResultsError(RunError):
    """The cluster holds results of an experiment of this name; nothing was touched."""


class ClusterNotFoundError(ClusterError, LookupError):
    """No host of the cluster exists."""

    exit_code = 9


class CancelledError(FlambeAnsibleError):
    """The user said no, or pressed Ctrl-C."""

    exit_code = 130
