"""A runnable's file in flambé's format: an optional document of extensions, then the runnable.

It is read without flambé, and rewritten for the cluster. Only the values that must differ are changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from flambe_ansible.config.document import EXPERIMENT, read_text
from flambe_ansible.errors import ClusterConfigurationError, Problem, SourceLocation
from flambe_ansible.runnable import checks, edit, tree
from flambe_ansible.runnable.tree import Kind, Node
from flambe_ansible.sources.declared import Declared
from flambe_ansible.sources.locations import locate_extension, locate_resource


@dataclass(frozen=True, kw_only=True)
class RunnableFile:
    """A runnable's file, read and checked."""

    path: Path
    text: str = field(repr=False)
    tag: str  # ``!Experiment``, or ``!module.Class`` for a class of an extension
    is_experiment: bool  # flambé's Experiment or a subclass of it (it has a pipeline)
    name: str = ""  # of the experiment; "" for other runnables
    stages: tuple[str, ...] = ()  # of the experiment, in order
    resume: tuple[str, ...] = ()  # the stages whose results are taken from the last job
    reuse: bool = False  # whether existing results of the same name are allowed (``resume`` is set)
    extensions: tuple[Declared, ...] = ()
    resources: tuple[Declared, ...] = ()
    warnings: tuple[Problem, ...] = ()  # likely mistakes that do not prevent the runnable from running
    extensions_root: Node | None = field(default=None, repr=False, compare=False)
    root: Node = field(repr=False, compare=False)

    def rewrite(
        self,
        *,
        extensions: Mapping[str, str] | None = None,
        resources: Mapping[str, str] | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> str:
        """Return the file's text for the cluster; comments are only lost inside replaced values.

        The mappings have the locations of extensions and resources on the hosts, by name; others are unchanged, except
        that ``!cluster`` resources lose their tag. ``attributes`` are keys of the runnable to set (``env``,
        ``save_path``), as plain data or ``edit.Tagged``. A name that is not in the file raises ``KeyError``; a notation
        that cannot be changed in place raises ``ClusterConfigurationError``.
        """
        places = dict(extensions or {})
        paths = {one.name: one.value for one in self.resources if one.cluster} | dict(resources or {})
        if unknown := places.keys() - {one.name for one in self.extensions}:
            raise KeyError(min(unknown))
        if unknown := paths.keys() - {one.name for one in self.resources}:
            raise KeyError(min(unknown))
        values = dict(attributes or {})
        try:
            edits = edit.set_values(self.text, self.root, values)
            if paths and (pair := self.root.get("resources")):
                edits += edit.set_values(self.text, pair[1], paths)
            if places and self.extensions_root:
                edits += edit.set_values(self.text, self.extensions_root, places)
        except edit.EditError as error:
            raise self.refuse(error.node, str(error)) from error
        text = edit.apply(self.text, edits)
        self._verify(text, places, values, {"resources": paths})
        return text

    def _verify(
        self, text: str, places: Mapping[str, str], values: Mapping[str, Any], below: Mapping[str, Mapping[str, str]]
    ) -> None:
        """Parse the new text: it must differ from the old one in the set values only."""
        wanted = [edit.expect(self.root, values, below=below)]
        if self.extensions_root:
            wanted.insert(0, edit.expect(self.extensions_root, places, below={}))
        try:
            found = [edit.meaning(root) for root in tree.parse(text)]
        except tree.TreeError as error:
            raise self.refuse(self.root, f"this document cannot be rewritten in place ({error})") from error
        if found != wanted:
            message = "this document cannot be rewritten in place; write it in block style, one key per line"
            raise self.refuse(self.root, message)

    def refuse(self, node: Node, message: str) -> ClusterConfigurationError:
        """Make the error of a node."""
        return _refuse(self.path, message, line=node.line, column=node.column)


def read(path: str | Path) -> RunnableFile:
    """Read and check a runnable's file, and raise all its problems at once; relative paths start from its folder."""
    path = Path(path)
    if path.is_dir():
        raise _refuse(path, "this is a folder", "a runnable (YAML file)")
    return from_text(read_text(path, shown=str(path)), path)


def from_text(text: str, path: Path) -> RunnableFile:
    """Read and check a runnable's text; ``path`` is used for messages and relative paths."""
    try:
        roots = tree.parse(text)
    except tree.TreeError as error:
        raise _refuse(path, str(error), error.expected, line=error.line, column=error.column) from error
    if all(one.kind is Kind.SCALAR and one.plain and not one.tag and not one.value for one in roots):
        raise _refuse(path, "the file is empty", "!Experiment", line=1, column=1)
    if len(roots) > 2:
        message, expected = "a third document starts here", "the extensions, then the runnable"
        raise _refuse(path, message, expected, line=roots[2].line, column=roots[2].column)
    report = checks.Report(str(path))
    head = roots[0] if len(roots) == 2 else None
    extensions = checks.read_extensions(report, head) if head else ()
    tag = checks.read_tag(report, roots[-1], [one.name for one in extensions])
    read_file = RunnableFile(
        path=path,
        text=text,
        tag=tag,
        is_experiment=tag == EXPERIMENT or roots[-1].get("pipeline") is not None,
        extensions=extensions,
        extensions_root=head,
        root=roots[-1],
    )
    checks.check_keys(report, *roots)
    checks.check_sources(report, extensions, locate_extension, path.parent)
    if read_file.is_experiment:
        read_file = _read_experiment(report, read_file)
    checks.check_tag_roots(report, roots[-1], [one.name for one in extensions])
    if report.problems:
        raise ClusterConfigurationError.of(sorted(report.problems, key=lambda one: (one.line, one.column)))
    return replace(read_file, warnings=tuple(report.warnings))


def _read_experiment(report: checks.Report, found: RunnableFile) -> RunnableFile:
    """Read and check the fields of an experiment."""
    root = found.root
    if root.kind is not Kind.MAPPING:
        report.add(root, "the experiment is not a mapping", "name: and pipeline: below the tag")
        return found
    if found.tag == EXPERIMENT:
        checks.check_fields(report, root)
    name = checks.read_name(report, root)
    stages = checks.read_stages(report, root)
    resources = checks.read_resources(report, root)
    checks.check_sources(report, [one for one in resources if not one.cluster], locate_resource, found.path.parent)
    resume, reuse = checks.read_resume(report, root, stages)
    checks.check_stage_keys(report, root, stages)
    checks.check_stage_names(report, root)
    checks.check_links(report, root, [one.name for one in resources])
    checks.check_local_paths(report, root)
    return replace(found, name=name, stages=stages, resources=resources, resume=resume, reuse=reuse)


def _refuse(
    path: Path, message: str, expected: str = "", *, line: int = 0, column: int = 0
) -> ClusterConfigurationError:
    return ClusterConfigurationError.of([SourceLocation(str(path), line, column).problem(message, expected)])
