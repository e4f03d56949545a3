"""The base classes of what runs here or on a cluster."""

from __future__ import annotations

import configparser
import getpass
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

from flambe_ansible.errors import ClusterConfigurationError
from flambe_ansible.runnable import edit
from flambe_ansible.runnable.environment import RemoteEnvironment

if TYPE_CHECKING:
    from flambe_ansible.cluster.cluster import Cluster
    from flambe_ansible.runnable.document import RunnableFile


class Runnable(ABC):
    """Something that a YAML file describes and that runs.

    A subclass in an extension is found by its tag ``!module.Class``, where module is the first part of its module's
    name. The constructor takes what the YAML has as keywords; pass those you do not know on to this one.

    Attributes:
        config: The secrets, by section: ``self.config["AWS"]["ACCESS_KEY"]``. Values are taken literally (flambé's
            parser gives ``%`` a meaning, this one does not).
        extensions: The extensions of the file, module name to location.
        content: The file's text, None for one that was made in Python.
        user_provider: Says who runs it; the name of this machine's user by default.
    """

    config: configparser.ConfigParser
    _saved_kwargs: dict[str, Any]
    _changed: dict[str, Any]
    _file: RunnableFile | None

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Remember the arguments, so that the object can be written as YAML whatever the constructor does."""
        instance = super().__new__(cls)
        try:
            bound = inspect.signature(cls.__init__).bind(instance, *args, **kwargs)
        except TypeError:
            return instance  # the constructor itself says what is wrong
        given = dict(bound.arguments)
        given.pop(next(iter(given)))
        for name, parameter in bound.signature.parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD:
                given |= given.pop(name, {})
        instance._saved_kwargs = given
        instance._changed = {}
        instance._file = None
        return instance

    def __init__(self, user_provider: Callable[[], str] | None = None, **kwargs: Any) -> None:
        self.config = configparser.ConfigParser(interpolation=None)
        self.extensions: dict[str, str] = {}
        self.content: str | None = None
        self.user_provider = user_provider or getpass.getuser
        if kwargs:
            names = ", ".join(sorted(kwargs))
            raise TypeError(f"{type(self).__name__} does not take {names}")

    @classmethod
    def tag(cls) -> str:
        """Return the tag that a YAML file names this class by."""
        return f"!{cls.__module__.split('.')[0]}.{cls.__name__}"

    @abstractmethod
    def run(self, **kwargs: Any) -> None:
        """Do the work.

        Args:
            **kwargs: ``force`` and ``verbose``, as the user gave them.
        """

    def parse(self) -> None:  # noqa: B027 (most have nothing to check)
        """Check the object before it runs; the default finds nothing wrong.

        Raises:
            ClusterConfigurationError: It cannot run.
        """

    def inject_content(self, content: str) -> None:
        """Set the text that this object was made from."""
        self.content = content

    def inject_secrets(self, secrets: str | Path) -> None:
        """Read the secrets into ``config``.

        Raises:
            ClusterConfigurationError: The file is not there, or no INI file; its lines are not repeated.
        """
        try:
            self.config.read_string(Path(secrets).read_text(encoding="utf-8"))
        except OSError as error:
            raise ClusterConfigurationError(f"{secrets}: {error.strerror}") from error
        except (configparser.Error, UnicodeDecodeError):
            raise ClusterConfigurationError(f"{secrets}: not an INI file") from None

    def inject_extensions(self, extensions: Mapping[str, str]) -> None:
        """Set the extensions that this object uses."""
        self.extensions = dict(extensions)

    def to_yaml(self, extensions: Mapping[str, str] | None = None) -> str:
        """Write the object as a file that it can be made from again, changes included.

        One that was read from a file keeps that file's text wherever nothing was changed.

        Args:
            extensions: Where the extensions are on the machine that reads it; those of the object if None.

        Raises:
            TypeError: An argument is no plain data.
        """
        places = dict(self.extensions if extensions is None else extensions)
        if self._file:
            known = {one.name for one in self._file.extensions}
            return self._file.rewrite(
                extensions={name: place for name, place in places.items() if name in known}, attributes=self._changed
            )
        values = {name: value for name, value in self._saved_kwargs.items() if name != "user_provider"}
        lines = [f"{edit.write(name)}: {edit.write(value)}" for name, value in values.items()]
        head = [f"{edit.write(name)}: {edit.write(place)}" for name, place in places.items()]
        return "\n".join([*([*head, "---"] if head else []), self.tag() if lines else f"{self.tag()} {{}}", *lines, ""])


class ClusterRunnable(Runnable):
    """Something that runs on a cluster, and here as well.

    ``setup`` runs on the machine that submits, with the live cluster; ``run`` on the orchestrator.

    Attributes:
        env: The cluster, when it runs on one; None here.
        results: The folder on the orchestrator that ``run`` writes its results to, a path relative to the home folder;
            "" where there is none. ``flambe-ans pull`` brings it here, TensorBoard shows it. A class sets it for all
            its objects, ``__init__`` or ``setup`` for this one.
    """

    results: str = ""

    def __init__(
        self,
        user_provider: Callable[[], str] | None = None,
        env: RemoteEnvironment | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(user_provider=user_provider, **kwargs)
        self.env = env

    @abstractmethod
    def setup(self, cluster: Cluster, extensions: dict[str, str], force: bool, **kwargs: Any) -> None:
        """Prepare the cluster: make folders, send files, run commands.

        What ``run`` must know of it on the orchestrator is set with ``set_serializable_attr``.

        Args:
            cluster: The cluster, its hosts ready.
            extensions: The extensions, module name to location on the hosts.
            force: Whether the user wants to replace what is there.
            **kwargs: Nothing yet.
        """

    def setup_inject_env(self, cluster: Cluster, extensions: dict[str, str], force: bool, **kwargs: Any) -> None:
        """Call ``setup``, then set ``env`` to the cluster's addresses."""
        self.setup(cluster=cluster, extensions=extensions, force=force, **kwargs)
        self.set_serializable_attr("env", cast(Any, cluster).get_remote_env(self.user_provider))

    def set_serializable_attr(self, attr: str, value: Any) -> None:
        """Set an attribute that the object on the orchestrator is made with, too.

        Args:
            attr: The attribute, which is also an argument of the constructor.
            value: Plain data, a path, or a ``RemoteEnvironment``.

        Raises:
            TypeError: The value cannot be written as YAML.
        """
        edit.write(value)
        setattr(self, attr, value)
        self._saved_kwargs[attr] = value
        self._changed[attr] = value
