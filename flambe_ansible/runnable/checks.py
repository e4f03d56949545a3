"""Checks of a runnable's file before anything runs."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flambe_ansible.errors import Problem, SourceLocation
from flambe_ansible.runnable.tree import Kind, Node, type_of
from flambe_ansible.sources.declared import Declared
from flambe_ansible.sources.locations import LocationError, redact
from flambe_ansible.validation.schema import clean, show, suggest

# The names of experiments and resources become names of folders and files on the hosts, and parts of shell commands
# that flambé runs.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
MAX_NAME = 128
FIELDS = (
    "name", "pipeline", "resume", "devices", "save_path", "resources", "search", "schedulers", "reduce", "env",
    "max_failures", "stop_on_failure", "merge_plot",
)  # fmt: skip
# The namespaces that flambé registers itself; the tags of its own classes have none.
NAMESPACES = ("torch", "ray")
LINK_TAGS = ("!@", "!link", "!call")
_SYSTEM_PATHS = ("/dev", "/proc", "/sys")  # below these, paths are the same on every host


@dataclass
class Report:
    """Collects the problems of one file."""

    file: str
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)

    def place(self, node: Node) -> SourceLocation:
        """Return the location of a node."""
        return SourceLocation(self.file, node.line, node.column)

    def add(self, node: Node, message: str, expected: str = "", suggestion: str = "") -> None:
        """Add a problem at a node."""
        self.problems.append(self.place(node).problem(message, expected, suggestion))

    def warn(self, node: Node, message: str, expected: str = "", suggestion: str = "") -> None:
        """Add a warning at a node."""
        self.warnings.append(self.place(node).problem(message, expected, suggestion))


def read_extensions(report: Report, root: Node) -> tuple[Declared, ...]:
    """Read the extensions from the first document."""
    if root.kind is not Kind.MAPPING or root.tag:
        message = "the first of two documents must declare the extensions"
        report.add(root, message, "module: path, git URL or requirement")
        return ()
    found = []
    for key, value in root.pairs:
        if type_of(key) != "string" or not all(part.isidentifier() for part in key.value.split(".")):
            report.add(key, f"{show(key.value)} is not a module name", "the name that the extension is imported by")
        elif (given := type_of(value)) != "string" or not value.resolved().value.strip():
            report.add(value, f"the extension {key.value} is {_article(given)}", "a path, a git URL or a requirement")
        else:
            found.append(Declared(name=key.value, value=value.resolved().value.strip(), location=report.place(value)))
    return tuple(found)


def read_tag(report: Report, root: Node, extensions: Sequence[str]) -> str:
    """Read the runnable's tag and check that its class can run on a cluster."""
    wanted = "!Experiment, or !module.Class of an extension"
    tag = root.tag
    if not tag.startswith("!"):
        report.add(root, "the document has no tag", wanted)
    elif "." in tag:
        module = tag[1:].split(".")[0]
        if module not in {name.split(".")[0] for name in extensions}:
            message = f"{tag} belongs to the extension {module}, which the file does not declare"
            expected = f"a first document with {module}: path, git URL or requirement"
            report.add(root, message, expected, suggest(module, extensions))
    elif tag != "!Experiment":
        message = f"{tag} cannot run on a cluster: the only ClusterRunnable of flambé is Experiment"
        if tag.endswith("Cluster"):
            message = f"{tag} is a cluster, not a runnable: pass its file with --cluster"
        report.add(root, message, wanted, "!Experiment" if suggest(tag, ["!Experiment"]) else "")
    return tag


def check_keys(report: Report, *roots: Node) -> None:
    """Find duplicate keys, and merge keys in mappings that are rewritten."""
    for root in roots:
        for node in root.walk():
            seen: dict[str, Node] = {}
            for key, _value in node.pairs:
                name = key.value
                if key.kind is Kind.SCALAR and name in seen:
                    report.add(key, f"{show(name)} is set twice, first on line {seen[name].line}")
                seen.setdefault(name, key)
    resources = roots[-1].get("resources")
    for mapping in [*roots, *([resources[1]] if resources else [])]:
        if merge := mapping.get("<<"):
            report.add(merge[0], "a merge key (<<) is not supported here", "the keys written out")


def check_fields(report: Report, root: Node) -> None:
    """Find fields that flambé's Experiment does not have."""
    for key, _value in root.pairs:
        if key.value not in FIELDS and key.value != "<<":
            report.add(key, f"unknown field {show(key.value)} in !Experiment", suggestion=suggest(key.value, FIELDS))


def read_name(report: Report, root: Node) -> str:
    """Read an experiment's name, which is part of paths and commands on the hosts."""
    pair = root.get("name")
    wanted = "letters, digits, - and _, starting with a letter or a digit"
    if pair is None:
        report.add(root, "the experiment has no name", "name: my_experiment")
        return ""
    value = pair[1].resolved()
    if (given := type_of(value)) != "string":
        report.add(pair[1], f"name is {_article(given)}", wanted)
    elif not NAME.fullmatch(value.value):
        report.add(pair[1], f"the name {show(value.value)} cannot be used for folders on the hosts", wanted)
    elif len(value.value) > MAX_NAME:
        report.add(pair[1], f"the name is {len(value.value)} characters long", f"at most {MAX_NAME}")
    return value.value


def read_stages(report: Report, root: Node) -> tuple[str, ...]:
    """Read the names of the pipeline's stages."""
    pair = root.get("pipeline")
    if pair is None:
        report.add(root, "the experiment has no pipeline", "pipeline: followed by its stages")
        return ()
    pipeline = pair[1].resolved()
    if pipeline.kind is not Kind.MAPPING or not pipeline.pairs:
        report.add(pair[1], f"pipeline is {_article(type_of(pipeline))}", "stages as name: !Class")
        return ()
    stages = []
    for key, value in pipeline.pairs:
        if type_of(key) != "string" or not re.fullmatch(r"[^/\s.\[\]]+", key.value):
            report.add(key, f"{show(key.value)} is not a valid stage name", "a word without slashes, dots and brackets")
        if not value.resolved().tag.startswith("!"):
            report.add(value, f"the stage {show(key.value)} has no class", "a tag, such as !Trainer")
        stages.append(key.value)
    return tuple(stages)


def read_resources(report: Report, root: Node) -> tuple[Declared, ...]:
    """Read an experiment's resources."""
    pair = root.get("resources")
    if pair is None or type_of(pair[1]) == "null":
        return ()
    if pair[1].kind is not Kind.MAPPING or pair[1].tag:
        given = "an alias" if pair[1].kind is Kind.ALIAS else _article(type_of(pair[1]))
        report.add(pair[1], f"resources is {given}", "name: path or URL, one per line")
        return ()
    found = []
    for key, value in pair[1].pairs:
        if key.value == "<<":
            continue  # reported by check_keys
        given, written = type_of(value), value.resolved()
        if type_of(key) != "string" or not NAME.fullmatch(key.value):
            report.add(key, f"{show(key.value)} is not a valid resource name", "letters, digits, - and _")
        elif given not in ("string", "!cluster") or written.kind is not Kind.SCALAR or not written.value.strip():
            report.add(value, f"the resource {key.value} is {_article(given)}", "a path, a URL, or !cluster PATH")
        else:
            place, cluster = report.place(value), given == "!cluster"
            found.append(Declared(name=key.value, value=written.value.strip(), location=place, cluster=cluster))
    return tuple(found)


def check_sources(
    report: Report, declared: Sequence[Declared], locate: Callable[[str, Path], object], folder: Path
) -> None:
    """Check that each extension or resource can exist; nothing is fetched."""
    for one in declared:
        try:
            locate(one.value, folder)
        except LocationError as error:
            report.problems.append(one.location.problem(f"{one.name}: {redact(str(error))}", error.expected))


def read_resume(report: Report, root: Node, stages: Sequence[str]) -> tuple[tuple[str, ...], bool]:
    """Read ``resume``: a stage (with all stages before it), a list of stages, or true (existing results are allowed).

    Returns the stages to take from the last job, and whether ``resume`` is set.
    """
    pair = root.get("resume")
    wanted = "a stage, or a list of stages"
    if pair is None or (given := type_of(pair[1])) == "null":
        return (), False
    value = pair[1].resolved()
    if given == "boolean":
        return (), value.value.lower() == "true"
    named = [value] if given == "string" else [one.resolved() for one in value.items] if given == "list" else []
    if not named and given != "list":
        report.add(pair[1], f"resume is {_article(given)}", wanted)
    for one in named:
        if type_of(one) != "string" or (stages and one.value not in stages):
            report.add(one, f"resume: unknown stage {show(one.value)}", wanted, suggest(one.value, stages))
    names = tuple(one.value for one in named)
    if given == "string" and names[0] in stages:
        names = tuple(stages[: stages.index(names[0]) + 1])
    return names, bool(names)


def check_stage_keys(report: Report, root: Node, stages: Sequence[str]) -> None:
    """Check that ``search``, ``schedulers`` and ``reduce`` are mappings of stages, and the numbers of ``reduce``."""
    for name in ("search", "schedulers", "reduce"):
        pair = root.get(name)
        if pair and (given := type_of(pair[1])) not in ("null", "mapping") and not given.startswith("!"):
            given = "text" if given == "string" else _article(given)
            report.add(pair[1], f"{name} is {given}", "a mapping, with stages as its keys")
        for key, value in pair[1].resolved().pairs if pair and name == "reduce" else ():
            text = value.resolved().value
            if key.value != "<<" and (type_of(value) != "integer" or re.fullmatch(r"-.*|\+?0+", text)):
                given = show(text) if value.resolved().kind is Kind.SCALAR else _article(type_of(value))
                report.add(value, f"reduce: {show(key.value)} is {given}", "a whole number of variants, from 1 on")
        for key, _value in pair[1].resolved().pairs if pair and stages else ():
            if key.value not in stages and key.value != "<<":
                report.add(key, f"{name}: unknown stage {show(key.value)}", suggestion=suggest(key.value, stages))


def check_links(report: Report, root: Node, resources: Sequence[str]) -> None:
    """Check that each link refers to a resource, an earlier stage, or its own stage."""
    pair = root.get("pipeline")
    known = list(resources)
    for key, stage in pair[1].resolved().pairs if pair else ():
        known.append(key.value)
        for node in stage.walk():
            if node.tag not in LINK_TAGS or node.kind is not Kind.SCALAR:
                continue
            start = re.split(r"[.\[]", node.value.strip())[0]
            if start not in known:
                message = f"a link to {show(start)}, which is neither a resource nor this or an earlier stage"
                report.add(node, message, suggestion=suggest(start, known))


def check_stage_names(report: Report, root: Node) -> None:
    """Check that no stage has the name of a resource: flambé fails on both with a RecursionError."""
    pairs = [root.get(name) for name in ("resources", "pipeline")]
    resources, stages = ({key.value: key for key, _ in pair[1].resolved().pairs} if pair else {} for pair in pairs)
    for name, key in stages.items():
        if name in resources:
            first = report.place(resources[name])
            message = f"the stage {show(name)} has the name of the resource at {first.file}:{first.line}:{first.column}"
            report.add(key, message, "different names")


def check_local_paths(report: Report, root: Node) -> None:
    """Warn about absolute paths in the pipeline that exist on this machine: the hosts may not have them."""
    pair = root.get("pipeline")
    for node in pair[1].resolved().walk() if pair else ():
        text = node.value
        if type_of(node) != "string" or not text.startswith("/") or not text.strip("/"):
            continue
        if not text.startswith(_SYSTEM_PATHS) and os.path.exists(text):  # noqa: PTH110 - Path.exists raises for long text
            problem = "exists on this machine, but on a cluster only files in resources: are sent to the hosts"
            message = f"{clean(text)} {problem}"
            report.warn(node, message, "an entry in resources: and a link to it, unless every host has this path")


def check_tag_roots(report: Report, root: Node, extensions: Sequence[str]) -> None:
    """Find tags of undeclared modules.

    The first part of a lower-case tag must be an extension, torch or ray. Extensions can register other namespaces, so
    this is only a warning if the file has extensions.
    """
    known = [*NAMESPACES, *(name.split(".")[0] for name in extensions)]
    for node in root.walk():
        module, dot, _rest = node.tag.removeprefix("!").partition(".")
        if node is root or not node.tag.startswith("!") or not dot or module in known or not module.islower():
            continue
        add = report.warn if extensions else report.add
        add(node, f"{node.tag}: unknown extension {module}", f"one of {', '.join(known)}", suggest(module, known))


def _article(kind: str) -> str:
    """Return a type's name with its article."""
    if kind in ("null", "string"):
        return "empty"
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"
