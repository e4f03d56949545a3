"""All errors of this package, with one base class.

Every class has typed attributes, and the exit code of the command line for it. The library raises errors; only
``flambe_ansible.cli`` prints them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class FlambeAnsibleError(Exception):
    """The base class.

    Attributes:
        message: What is wrong.
        hint: What to do next, one line, or None.
    """

    exit_code: int = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ClusterError(FlambeAnsibleError):
    """The base class of errors about a cluster."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One problem of a configuration file.

    Attributes:
        file: The file's path, or "" if it is unknown.
        line: The line from 1, or 0 if it is unknown.
        column: The column from 1, or 0 if it is unknown.
        message: What is wrong.
        expected: What would be right, or "".
        suggestion: A similar valid value, or "".
        field: The field with the problem, or "".
    """

    file: str
    line: int
    column: int
    message: str
    expected: str = ""
    suggestion: str = ""
    field: str = ""

    def __str__(self) -> str:
        location = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        text = f"{location}: {self.message}" if location else self.message
        if self.expected:
            text += f"; expected {self.expected}"
        if self.suggestion:
            text += f"; did you mean {self.suggestion}?"
        return text


@dataclass(frozen=True)
class SourceLocation:
    """A location in a file.

    Attributes:
        file: The file's path.
        line: The line from 1, or 0 for the whole file.
        column: The column from 1, or 0 for the whole file.
    """

    file: str
    line: int = 0
    column: int = 0

    def problem(self, message: str, expected: str = "", suggestion: str = "") -> Problem:
        """Make a problem at this location."""
        return Problem(
            file=self.file,
            line=self.line,
            column=self.column,
            message=message,
            expected=expected,
            suggestion=suggestion,
        )


class ClusterConfigurationError(ClusterError, ValueError):
    """The configuration cannot be used; nothing was created.

    Attributes:
        problems: All problems of the file, in the order of their locations.
    """

    exit_code = 3

    def __init__(self, message: str, *, problems: Sequence[Problem] = (), hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.problems = tuple(problems)

    @classmethod
    def of(cls, problems: Sequence[Problem]) -> ClusterConfigurationError:
        """Make one error of all problems."""
        return cls("\n".join(str(problem) for problem in problems), problems=problems)


class MissingSecretsError(ClusterConfigurationError):
    """A required section is missing in the secrets file.

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
        code: AWS's error code, such as ``InsufficientInstanceCapacity``; "" if there was no answer.
        reason: AWS's own message and code; "" if there was no answer.
    """

    exit_code = 4

    def __init__(
        self, message: str, *, operation: str = "", code: str = "", reason: str = "", hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.operation = operation
        self.code = code
        self.reason = reason


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
    """The SSH connection to a host failed.

    Attributes:
        unreachable: Whether there was no answer; False for a refused login and for a wrong key.
    """

    def __init__(self, message: str, *, host: str, hint: str | None = None, unreachable: bool = False) -> None:
        super().__init__(message, host=host, hint=hint)
        self.unreachable = unreachable


class HostKeyError(HostConnectionError):
    """A host's key is unknown or different from the trusted one; nothing was sent to the host."""


class RevokedKeyError(HostKeyError):
    """The user's known_hosts marks a host's key as revoked; nothing was sent to the host."""


class BastionKeyError(HostConnectionError):
    """The host key of the bastion on the way to a host is unknown or different; nothing was sent to the bastion."""


class UnsupportedHostError(HostError):
    """A host does not meet a requirement (operating system, x86_64, Python, sudo, rsync)."""


class RemoteCommandError(HostError):
    """A command on a host failed.

    Attributes:
        command: The command.
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

    ``output`` is the end of the task's output; ``command`` and ``returncode`` are set if the task ran a command;
    ``step`` is set if a module names the step that failed.
    """

    host: str
    role: str
    task: str
    message: str
    command: str = ""
    returncode: int | None = None
    output: str = ""
    unreachable: bool = False
    step: str = ""


class PlaybookError(ClusterError):
    """A playbook failed on at least one host.

    Attributes:
        failures: The failed task of each failed host.
        log: The path of the full log.
    """

    exit_code = 6

    def __init__(
        self, message: str, *, failures: Sequence[TaskFailure] = (), log: str = "", hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.failures = tuple(failures)
        self.log = log


class RayError(ClusterError):
    """Ray does not run as expected.

    Attributes:
        missing: The names of the hosts whose Ray node is not alive.
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
    """A lab operation failed."""

    exit_code = 8


class LabUsageError(LabError):
    """An argument for a lab is wrong; nothing was changed."""

    exit_code = 2


class SourceError(ClusterError):
    """Fetching an extension or a resource failed, or building a checkout failed.

    Attributes:
        source: The path or URL, without credentials.
    """

    exit_code = 10

    def __init__(self, message: str, *, source: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.source = source


class RunError(ClusterError):
    """A job could not be started, or did not succeed.

    Attributes:
        state: The job's state, such as ``running`` or ``failed``; "" if there is none.
    """

    exit_code = 11

    def __init__(self, message: str, *, state: str = "", hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.state = state


class ClusterBusyError(RunError):
    """Another job or launch is active on the cluster; nothing was changed."""


class ExistingResultsError(RunError):
    """The cluster has results of an experiment with this name; nothing was changed."""


class ClusterNotFoundError(ClusterError, LookupError):
    """No host of the cluster exists."""

    exit_code = 9


class CancelledError(FlambeAnsibleError):
    """The user declined, or pressed Ctrl-C."""

    exit_code = 130
