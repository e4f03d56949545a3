"""The base classes of runnables."""

from __future__ import annotations

import configparser
import getpass
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

from flambe_ansible.errors import ClusterConfigurationError
from flambe_ansible.runnable import edit
from flambe_ansible.runnable.document import RunnableFile
from flambe_ansible.runnable.environment import RemoteEnvironment
from flambe_ansible.secrets import explain


class RemoteCluster(Protocol):
    """The part of a ``flambe_ansible.Cluster`` that ``ClusterRunnable`` uses."""

    def get_remote_env(self, user_provider: Callable[[], str]) -> RemoteEnvironment:
        """Return the cluster's addresses, login user and key."""


class Runnable(ABC):
    """An object that is described by a YAML file and can be run.

    A subclass in an extension has the tag ``!module.Class``, where ``module`` is the top-level module. The constructor
    gets the values of the YAML file as keyword arguments; pass unknown ones to this constructor.

    Attributes:
        config: The secrets, by section: ``self.config["AWS"]["ACCESS_KEY"]``. ``%`` has no special meaning in values,
            unlike in flambé.
        extensions: The extensions of the file, module name to location.
        content: The file's text; None for an object created in Python.
        user_provider: Returns the name of the user; by default the user of this process.
    """

    is_cluster: ClassVar[bool] = False  # whether it is a place to run others, which is never run from a runnable's file
    config: configparser.ConfigParser
    _saved_kwargs: dict[str, Any]
    _changed: dict[str, Any]
    _file: RunnableFile | None

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Record the arguments, so that ``to_yaml`` can write them."""
        instance = super().__new__(cls)
        try:
            bound = inspect.signature(cls.__init__).bind(instance, *args, **kwargs)
        except TypeError:
            return instance  # the constructor raises the same error
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
        """Return the YAML tag of this class."""
        return f"!{cls.__module__.split('.')[0]}.{cls.__name__}"

    @abstractmethod
    def run(self, **kwargs: Any) -> Any:
        """Do the work; what it returns is not used.

        Args:
            **kwargs: ``force`` and ``verbose``, from the command line.
        """

    def parse(self) -> None:  # noqa: B027 - optional
        """Check the object before it runs. The default accepts every object.

        Raises:
            ClusterConfigurationError: The object cannot run.
        """

    def inject_content(self, content: str) -> None:
        """Set the text of the file that this object was created from."""
        self.content = content

    def inject_secrets(self, secrets: str | Path) -> None:
        """Read a secrets file into ``config``.

        Raises:
            ClusterConfigurationError: The file cannot be read or is not an INI file. The message never contains its
                lines.
        """
        try:
            self.config.read_string(Path(secrets).read_text(encoding="utf-8-sig"))
        except OSError as error:
            raise ClusterConfigurationError(f"{secrets}: {error.strerror}") from error
        except (configparser.Error, UnicodeDecodeError) as error:
            raise explain(secrets, error) from None

    def inject_extensions(self, extensions: Mapping[str, str]) -> None:
        """Set the extensions that this object uses."""
        self.extensions = dict(extensions)

    def to_yaml(self, extensions: Mapping[str, str] | None = None) -> str:
        """Return the object as YAML, including changed attributes.

        For an object that was read from a file this is the file's text, with only the changed values replaced.

        Args:
            extensions: The locations of the extensions for the reader; by default the object's own.

        Raises:
            TypeError: An argument is not plain data.
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
    """A runnable that can run on a cluster or on this machine.

    ``setup`` runs on the machine that submits, with a connected cluster; ``run`` on the orchestrator.

    Attributes:
        env: The cluster; None when running on this machine.
        results: The folder on the orchestrator that ``run`` writes its results to, relative to the home folder; "" if
            there is none. ``flambe-ans pull`` downloads it, and TensorBoard shows it. Set it in the class, in
            ``__init__`` or in ``setup``.
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
    def setup(self, cluster: Any, extensions: dict[str, str], force: bool, **kwargs: Any) -> None:
        """Prepare the cluster: create folders, send files, run commands.

        Use ``set_serializable_attr`` for values that ``run`` needs on the orchestrator.

        Args:
            cluster: The cluster, a connected ``flambe_ansible.Cluster``.
            extensions: The extensions, module name to location on the hosts.
            force: Whether existing results may be replaced.
            **kwargs: Reserved.
        """

    def setup_inject_env(self, cluster: RemoteCluster, extensions: dict[str, str], force: bool, **kwargs: Any) -> None:
        """Call ``setup``, then set ``env``."""
        self.setup(cluster=cluster, extensions=extensions, force=force, **kwargs)
        self.set_serializable_attr("env", cluster.get_remote_env(self.user_provider))

    def set_serializable_attr(self, attr: str, value: Any) -> None:
        """Set an attribute here and in the object that is created on the orchestrator.

        Args:
            attr: The attribute. The constructor must have an argument of this name.
            value: Plain data, a path, or a ``RemoteEnvironment``.

        Raises:
            TypeError: The value cannot be written as YAML.
        """
        edit.write(value)
        setattr(self, attr, value)
        self._saved_kwargs[attr] = value
        self._changed[attr] = value
