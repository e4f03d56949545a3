"""The pages that are generated: commands from their parsers, roles and modules from their specs, classes by autodoc."""

from __future__ import annotations

import importlib
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import rich_click as click

_MARKUP = re.compile(r"\b([A-Z])\(([^()]+)\)")  # Ansible's: C(code), O(option), I(italics), ...
_TABLE = re.compile(r"^\| variable \| default \|.*\n(?:\|.*\n)+", re.MULTILINE)
_SPECIAL = re.compile(r"(`[^`]*`)|([\\*_<>\[\]])")

# The modules of the Python API beside the package's own names.
API = (
    "flambe_ansible.jobs.commands", "flambe_ansible.jobs.submission", "flambe_ansible.jobs.state",
    "flambe_ansible.inventory", "flambe_ansible.hosts", "flambe_ansible.events", "flambe_ansible.errors",
)  # fmt: skip


def escape(text: str) -> str:
    """Return plain text as Markdown; what is in backticks stays code."""
    return _SPECIAL.sub(lambda one: one[1] or f"\\{one[2]}", text)


def _cell(text: object) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ")


def write_table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a table in Markdown."""
    lines = [header, ("---",) * len(header), *rows]
    return "".join(f"| {' | '.join(map(_cell, line))} |\n" for line in lines)


def write_commands(app: click.Group) -> str:
    """Return the page of all commands, from their help."""
    parts = [
        "# Commands and options\n",
        "\nThe help of every command, as `flambe-ans COMMAND --help` prints it. "
        "[Command line](cli.md) explains the commands, the exit codes and the documents for scripts.\n",
    ]
    for words, command in _walk(app, ("flambe-ans",)):
        parts.append(_write_command(words, command))
    return "".join(parts)


def _walk(group: click.Group, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _walk(command, (*words, name))
        else:
            yield (*words, name), command


def _write_command(words: tuple[str, ...], command: click.Command) -> str:
    context = click.Context(command, info_name=" ".join(words))
    usage = " ".join(command.collect_usage_pieces(context))
    paragraphs = inspect.cleandoc(command.help or "").replace("\b", "").split("\n\n")
    rows = [(f"`{names}`", escape(text)) for names, text in _list_options(command, context)]
    parts = [f"\n## {' '.join(words)}\n", f"\n```text\n{' '.join(words)} {usage}\n```\n"]
    parts += [f"\n{escape(one)}\n" for one in paragraphs]
    parts.append("\n" + write_table(("option", "meaning"), rows))
    examples = [line for line in (command.epilog or "").splitlines() if line.startswith("$ ")]
    if examples:
        parts.append("\n```console\n" + "\n".join(examples) + "\n```\n")
    return "".join(parts)


def _list_options(command: click.Command, context: click.Context) -> list[tuple[str, str]]:
    records = (one.get_help_record(context) for one in command.get_params(context) if isinstance(one, click.Option))
    return [record for record in records if record]


def read_collection(repo: Path) -> dict[str, dict[str, Any]]:
    """Return what ``ansible-doc`` reads from the collection's roles and plugins, by kind and name."""
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-doc"), "--metadata-dump", "flambe.cluster"],
        cwd=repo, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found: dict[str, dict[str, Any]] = json.loads(done.stdout)["all"]
    return {kind: {name.rpartition(".")[2]: one for name, one in found[kind].items()} for kind in found}


def add_variables(text: str, role: dict[str, Any]) -> str:
    """Return a role's README with the complete table of its variables, from its spec, in place of the short one."""
    options = role["entry_points"]["main"]["options"]
    rows = [_write_option(name, one) for name, one in options.items()]
    table = write_table(("variable", "type", "default", "meaning"), rows)
    replaced, count = _TABLE.subn(lambda _: table, text)
    if count != 1:
        raise ValueError("the README of a role has one table that starts with `| variable | default |`")
    return replaced


def _write_option(name: str, option: dict[str, Any]) -> tuple[str, str, str, str]:
    kind = option.get("type", "str")
    if "elements" in option:
        kind += f" of {option['elements']}"
    default = "*required*" if option.get("required") else f"`{_write_value(option.get('default'))}`"
    choices = ", ".join(f"`{_write_value(one)}`" for one in option.get("choices") or ())
    meaning = _describe(option["description"]) + (f" One of {choices}." if choices else "")
    return f"`{name}`", kind, default, meaning


def _write_value(value: object) -> str:
    if isinstance(value, str) and value and not value[0].isdigit():
        return value
    return "none" if value is None else json.dumps(value)


def _describe(text: str | list[str]) -> str:
    """Return a description of Ansible as Markdown."""
    joined = text if isinstance(text, str) else " ".join(text)
    return escape(_MARKUP.sub(lambda one: f"`{one[2]}`", joined))


def write_plugins(collection: dict[str, dict[str, Any]]) -> str:
    """Return the page of the modules, filters and inventory plugins, from their documentation."""
    parts = [
        "# Modules and plugins\n",
        "\nWhat `ansible-doc` prints about the collection `flambe.cluster`. The [roles](roles.md) use them; the names "
        "in playbooks start with `flambe.cluster.`.\n",
    ]
    for kind, title in (("module", "Modules"), ("inventory", "Inventory plugins"), ("filter", "Filters")):
        parts.append(f"\n## {title}\n")
        parts += [_write_plugin(name, one, kind) for name, one in sorted(collection[kind].items())]
    return "".join(parts)


def _write_plugin(name: str, plugin: dict[str, Any], kind: str) -> str:
    doc = plugin["doc"]
    description = doc["description"]
    paragraphs = [description] if isinstance(description, str) else description
    parts = [f"\n### {name}\n", f"\n{_describe(doc['short_description'])}.\n"]
    parts += [f"\n{_describe(one)}\n" for one in paragraphs]
    options = [_write_option(option, one) for option, one in doc.get("options", {}).items()]
    if options:
        first = "option" if kind != "filter" else "argument"
        parts.append("\n" + write_table((first, "type", "default", "meaning"), options))
    if plugin.get("examples"):
        parts.append(f"\n```yaml\n{plugin['examples'].strip()}\n```\n")
    values = [
        (f"`{key}`", one.get("type", ""), _describe(one.get("description", "")))
        for key, one in (plugin.get("return") or {}).items()
    ]
    if values:
        parts.append("\nReturns:\n\n" + write_table(("value", "type", "meaning"), values))
    return "".join(parts)


def write_python() -> str:
    """Return the page of the Python classes and functions; autodoc fills it from their docstrings."""
    package = importlib.import_module("flambe_ansible")
    names = [name for name in package.__all__ if not name.startswith("_")]
    classes = [name for name in names if inspect.isclass(getattr(package, name))]
    parts = ["# Python classes and functions\n", "\n[Python API](api.md) compares them with flambé's.\n"]
    parts += [_autodoc("function", f"flambe_ansible.{name}") for name in names if name not in classes]
    parts += [f"\n## {name}\n" + _autodoc("class", f"flambe_ansible.{name}") for name in classes]
    for module in API:
        title = module.removeprefix("flambe_ansible.")
        parts.append(f"\n## {title}\n" + _autodoc("module", module))
    return "".join(parts)


def _autodoc(kind: str, name: str) -> str:
    members = "" if kind == "function" else "   :members:\n"
    return f"\n```{{eval-rst}}\n.. auto{kind}:: {name}\n{members}```\n"
