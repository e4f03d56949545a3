"""The field ``runtime``, its options, and the fields of Ray's nodes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from packaging.version import InvalidVersion, Version

from flambe_ansible.validation import rules
from flambe_ansible.validation.missing import check_path, describe_missing
from flambe_ansible.validation.schema import Field, Flaw, Kind, show

RUNTIMES = ("flambe", "none", "ray")  # the names that runtimes.make_runtime takes
SMALLEST_STORE = 78_643_200  # bytes; Ray's minimum
_PYTHON = re.compile(r"3\.[0-9]{1,2}(\.[0-9]{1,2})?")
_BACKEND = re.compile(r"auto|none|cpu|cu[0-9]{3}|rocm[0-9.]+|xpu")
_FOLDER = re.compile(r"/[A-Za-z0-9._/-]*[A-Za-z0-9._-]")
_RESOURCE = re.compile(r"[A-Za-z_][A-Za-z0-9_:.-]{0,99}")
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?")
_REQUIREMENTS = (".txt", ".in", ".toml", ".lock")


def is_local(text: str) -> bool:
    """Return whether an entry of ``packages`` is a path, not a requirement."""
    return text.startswith(("./", "../", "/", "~/")) or (text.endswith(".whl") and "@" not in text)


def ray_version(value: str) -> list[Flaw]:
    """Check the version of a release of Ray."""
    try:
        version = Version(value)
    except InvalidVersion:
        digits = re.search(r"[0-9]+(\.[0-9]+)+", value)
        return [Flaw(message=f"is {show(value)}", suggestion=digits.group() if digits else "")]
    if len(version.release) < 3:
        return [Flaw(message=f"is {value}, which is not complete")]
    return []


def packages(value: Sequence[Any]) -> list[Flaw]:
    """Check a list of requirements and paths."""
    return [replaced for index, one in enumerate(value) for replaced in _check_package(one, index)]


def _check_package(value: Any, index: int) -> list[Flaw]:
    if not isinstance(value, str) or not value.strip():
        return [Flaw(message=f"is {show(value)}", expected='a requirement, such as "torch==2.13.0"', path=(index,))]
    if is_local(value):
        flaws = check_path(value, lambda path: None if path.exists() else _describe_missing(path))
        return [Flaw(message=one.message, suggestion=one.suggestion, path=(index,)) for one in flaws]
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        Requirement(value)
    except InvalidRequirement as error:
        return [Flaw(message=f"is {show(value)}: {str(error).splitlines()[0]}", path=(index,))]
    return []


def _describe_missing(path: Path) -> Flaw:
    return describe_missing(path, kind="wheel or folder", may_be=lambda one: one.is_dir() or one.suffix == ".whl")


def requirements_file(value: str) -> list[Flaw]:
    """Check that a file of requirements exists; its content is checked when it is used."""

    def find_flaw(path: Path) -> Flaw | None:
        if not path.exists():
            return describe_missing(path, kind="file", may_be=lambda one: one.suffix in _REQUIREMENTS)
        return None if path.is_file() else Flaw(message=f"is {path}, which is not a file")

    return check_path(value, find_flaw)


def url(value: str) -> list[Flaw]:
    """Check the URL of a package index; a password in it is not repeated."""
    parts = urlsplit(value)
    if parts.scheme in ("http", "https") and parts.hostname and value.isprintable() and " " not in value:
        return []
    return [Flaw(message="is not the URL of a package index")]


@dataclass(frozen=True)
class RuntimeChoice(rules.Choice):
    """The rule for the name of a runtime, or for the options of Ray."""

    def __call__(self, value: str | Mapping[str, Any]) -> list[Flaw]:
        """Check a value."""
        return super().__call__(value) if isinstance(value, str) else _check_options(value)


def _check_options(value: Mapping[str, Any]) -> list[Flaw]:
    """Check that the options of Ray fit together."""
    if not value.get("venv"):
        return []
    unused = [name for name in ("python", "packages", "requirements", "index_url", "torch_backend") if value.get(name)]
    message = "is set together with venv, in which nothing is installed"
    return [Flaw(message=message, expected="one of the two", path=(name,)) for name in unused]


def amounts(value: Mapping[Any, Any]) -> list[Flaw]:
    """Check the names and amounts of resources."""
    flaws = []
    for name, amount in value.items():
        if not isinstance(name, str) or not _RESOURCE.fullmatch(name):
            expected = "a name of letters, digits and _"
            flaws.append(
                Flaw(message="is not the name of a resource", expected=expected, path=(str(name),), at_key=True)
            )
        elif isinstance(amount, bool) or not isinstance(amount, int | float) or not 0 <= amount < 1e15:
            flaws.append(Flaw(message=f"is {show(amount)}", expected="a number from 0", path=(name,)))
        elif amount != int(amount) and (amount > 1 or name in ("CPU", "memory")):
            flaws.append(Flaw(message=f"is {amount}", expected="a whole number", path=(name,)))
    return flaws


def labels(value: Mapping[Any, Any]) -> list[Flaw]:
    """Check the names and values of labels."""
    flaws = []
    for name, text in value.items():
        expected = "1 to 63 letters, digits, and . _ / - between them"
        if not isinstance(name, str) or not _LABEL.fullmatch(name) or name.startswith("ray.io"):
            flaws.append(Flaw(message="is not the name of a label", expected=expected, path=(str(name),), at_key=True))
        elif not isinstance(text, str) or not _LABEL.fullmatch(text):
            flaws.append(Flaw(message=f"is {show(text)}", expected=expected, path=(name,)))
    return flaws


RUNTIME_OPTIONS = (
    Field(
        name="ray",
        expected='a release of Ray, such as "2.60.0"',
        doc="The release of Ray to install on all hosts.",
        default_note="the version in the requirements, else the one installed here, else the newest that was tested",
        rule=ray_version,
    ),
    Field(
        name="python",
        expected='a version of Python, such as "3.12" or "3.12.4"',
        doc="The version of Python. If the hosts do not all have the same one, uv installs it.",
        default_note="the hosts' own python3 if Ray has wheels for it and all hosts have the same, else one by uv",
        rule=rules.form(_PYTHON),
    ),
    Field(
        name="packages",
        kind=Kind.PACKAGES,
        expected="a list of requirements, and of paths of wheels and project folders",
        doc="Packages to install beside Ray. Local wheels and folders are copied to the hosts.",
        rule=packages,
    ),
    Field(
        name="requirements",
        kind=Kind.PATH,
        expected="the path of a requirements.txt, uv.lock, pylock.toml or pyproject.toml",
        doc="A file of packages to install beside Ray. Local wheels and folders in it are copied to the hosts.",
        rule=requirements_file,
    ),
    Field(
        name="venv",
        expected="the absolute path of a virtual environment on all hosts",
        doc="An environment with Ray that exists on all hosts. It is checked, and nothing is installed in it.",
        rule=rules.form(_FOLDER),
    ),
    Field(
        name="index_url",
        expected="the URL of a package index",
        doc="The package index.",
        default_note="the one that uv or pip is configured for on the hosts",
        rule=url,
    ),
    Field(
        name="torch_backend",
        expected="auto, none, cpu, or a value of uv's --torch-backend such as cu128",
        doc="The builds of PyTorch: `auto` is CUDA for the host's driver, else CPU; `none` is the index's own.",
        default="auto",
        rule=rules.form(_BACKEND),
    ),
    Field(
        name="object_store_memory",
        kind=Kind.INTEGER,
        expected=f"a whole number of bytes, at least {SMALLEST_STORE}",
        doc="The size of Ray's object store on each host, in bytes.",
        default_note="Ray's own choice: 30% of the memory",
        rule=rules.within(SMALLEST_STORE, 1e15),
    ),
    Field(
        name="temp_dir",
        expected="an absolute path",
        doc="Ray's folder for temporary files and logs on each host.",
        default="/tmp/ray",  # noqa: S108 - Ray's own default
        rule=rules.form(_FOLDER),
    ),
)
RUNTIME = Field(
    name="runtime",
    kind=Kind.OPTIONS,
    expected=f"{', '.join(RUNTIMES[:-1])} or {RUNTIMES[-1]}, or a mapping with options of ray",
    doc=(
        "What the hosts get installed: flambe with its Ray; current Ray (`ray`); or nothing "
        "(`none`: keys, setup commands and secrets). A mapping is current Ray with the options below."
    ),
    change_note="Ray restarts; a runtime that is installed already is not removed",
    default="flambe",
    rule=RuntimeChoice(RUNTIMES),
    options=RUNTIME_OPTIONS,
)
NODE_FIELDS = (
    Field(
        name="factories_resources",
        kind=Kind.AMOUNTS,
        expected="a mapping of names to numbers, such as {accelerator: 1}",
        doc="Resources of each factory in Ray; CPU, GPU and memory replace what is detected. For runtime ray.",
        change_note="Ray restarts",
        rule=amounts,
    ),
    Field(
        name="orchestrator_resources",
        kind=Kind.AMOUNTS,
        expected="a mapping of names to numbers, such as {CPU: 1}",
        doc="Resources of the orchestrator; without them it has no CPUs for tasks. For runtime ray.",
        change_note="Ray restarts",
        rule=amounts,
    ),
    Field(
        name="factories_labels",
        kind=Kind.TAGS,
        expected="a mapping of names to values",
        doc="Labels of each factory for Ray's scheduler. For runtime ray.",
        change_note="Ray restarts",
        rule=labels,
    ),
)
