"""The pages that are generated: commands from their parsers, roles and modules from their specs, classes by autodoc."""

from __future__ import annotations

import importlib
import inspect
import json
import pydoc
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import rich_click as click
from pages import PageError

from flambe_ansible.config.kinds import SCHEMAS
from flambe_ansible.validation.reference import as_text

_MARKUP = re.compile(r"\b([A-Z])\(([^()]+)\)")  # Ansible's: C(code), O(option), I(italics), ...
_TABLE = re.compile(r"^\| variable \| default \|.*\n(?:\|.*\n)+", re.MULTILINE)
_SPECIAL = re.compile(r"(`[^`]*`)|([\\*_<>\[\]])")

# What the Python API has beside the package's own names, below `flambe_ansible`.
API = {
    "What methods return": (
        "launch.launch.Submission", "launch.launch.LaunchResult", "launch.launch.FailedHost", "launch.plan.Plan",
        "launch.plan.HostPlan", "launch.plan.PlannedHost", "launch.plan.Action", "launch.plan.Change",
        "launch.plan.Effect", "launch.costs.Costs", "launch.costs.HostPrice", "launch.costs.BudgetState",
        "launch.status.ClusterStatus", "launch.status.ClusterState", "launch.status.Health", "jobs.state.JobState",
        "jobs.state.LostHost", "jobs.command_state.CommandJob", "jobs.command_state.CommandJobs",
        "jobs.command_state.StoppedJob", "fleet.idle.IdleState", "fleet.reservation.Holder", "findings.Finding",
        "findings.Level", "playbook_events.HostResult", "runnable.document.RunnableFile",
        "runtimes.base.RuntimeVersion", "ssh.completed.Completed",
    ),
    "Commands as jobs": ("jobs.commands.ClusterJobs", "jobs.submission.make_runnable"),
    "Hosts": (
        "hosts.Host", "hosts.Role", "hosts.HostState", "hosts.Location", "gpus.HostGpus", "gpus.Gpu", "gpus.GpuState",
    ),
    "Inventory": ("inventory.as_json", "inventory.as_yaml"),
    "Events": ("events.StepEvent", "events.Status", "events.Activity", "events.Notice"),
    "Errors": ("errors",),
}  # fmt: skip


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
    root = click.Context(app, info_name="flambe-ans", **app.context_settings)
    return "".join([*parts, *map(_write_command, _walk(root))])


def _walk(context: click.Context) -> Iterator[click.Context]:
    if isinstance(context.command, click.Group):
        for name in context.command.list_commands(context):
            command = context.command.get_command(context, name)
            yield from _walk(click.Context(command, parent=context, info_name=name))
    else:
        yield context


def _write_command(context: click.Context) -> str:
    command, name = context.command, context.command_path
    usage = " ".join(command.collect_usage_pieces(context))
    paragraphs = inspect.cleandoc(command.help or "").replace("\b", "").split("\n\n")
    rows = [(f"`{names}`", escape(text)) for names, text in _list_options(command, context)]
    parts = [f"\n## {name}\n", f"\n```text\n{name} {usage}\n```\n"]
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


def add_variables(text: str, *, role: str, spec: dict[str, Any]) -> str:
    """Return a role's README with its variables from its spec, in place of the short table.

    Raises:
        PageError: The README does not have exactly one such table.
    """
    entries = _write_entries(spec["entry_points"]["main"]["options"])
    replaced, count = _TABLE.subn(lambda _: f"## Variables\n\n{entries}", text)
    if count != 1:
        raise PageError(f"roles/{role}/README.md has {count} tables that start with `| variable | default |`, not one")
    return replaced


def expand_fields(text: str) -> str:
    """Return the page of the cluster's file with its tables of fields as lists, which a narrow window shows whole."""
    for schema in SCHEMAS.values():
        table = as_text(schema)
        header, _, *rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("|")]
        entries = "".join(_write_field(dict(zip(header, row, strict=True))) for row in rows)
        text = re.sub(_find_marks(table), lambda _, found=entries: found, text, flags=re.DOTALL)
    return text


def _find_marks(table: str) -> str:
    first, *_, last = table.splitlines()
    return f"{re.escape(first)}.*?{re.escape(last)}"


def _write_field(cells: dict[str, str]) -> str:
    name, meaning = cells.pop("Field"), cells.pop("Meaning")
    facts = "".join(f"  - {title}: {value}\n" for title, value in cells.items())
    return f"{name}\n: {meaning}\n\n{facts}\n"


def _write_entries(options: dict[str, Any]) -> str:
    """Return the options of a role or a module as a list of names with their types, defaults and meanings."""
    return "".join(_write_option(name, one) for name, one in options.items())


def _write_option(name: str, option: dict[str, Any]) -> str:
    kind = option.get("type", "str")
    if "elements" in option:
        kind += f" of {option['elements']}"
    default = "required" if option.get("required") else f"default `{_write_value(option.get('default'))}`"
    choices = ", ".join(f"`{_write_value(one)}`" for one in option.get("choices") or ())
    meaning = _describe(option["description"]) + (f" One of {choices}." if choices else "")
    return f"`{name}` ({kind}, {default})\n: {meaning}\n\n"


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
        parts += [_write_plugin(name, one) for name, one in sorted(collection[kind].items())]
    return "".join(parts)


def _write_plugin(name: str, plugin: dict[str, Any]) -> str:
    doc = plugin["doc"]
    description = doc["description"]
    paragraphs = [description] if isinstance(description, str) else description
    parts = [f"\n### {name}\n", f"\n{_describe(doc['short_description'])}.\n"]
    parts += [f"\n{_describe(one)}\n" for one in paragraphs]
    parts.append("\n" + _write_entries(doc.get("options", {})))
    if plugin.get("examples"):
        parts.append(f"\n```yaml\n{plugin['examples'].strip()}\n```\n")
    values = [
        f"`{key}` ({one.get('type', 'any')})\n: {_describe(one.get('description', ''))}\n\n"
        for key, one in (plugin.get("return") or {}).items()
    ]
    if values:
        parts.append("\nReturns:\n\n" + "".join(values))
    return "".join(parts)


def write_python() -> str:
    """Return the page of the Python classes and functions; autodoc fills it from their docstrings."""
    package = importlib.import_module("flambe_ansible")
    names = [name for name in package.__all__ if not name.startswith("_")]
    classes = [name for name in names if inspect.isclass(getattr(package, name))]
    parts = ["# Python classes and functions\n", "\n[Python API](api.md) compares them with flambé's.\n"]
    parts += [_autodoc(f"flambe_ansible.{name}") for name in names if name not in classes]
    parts += [f"\n## {name}\n" + _autodoc(f"flambe_ansible.{name}") for name in classes]
    for title, further in API.items():
        parts.append(f"\n## {title}\n")
        parts += [_autodoc(f"flambe_ansible.{name}") for name in further]
    return "".join(parts)


def _autodoc(name: str) -> str:
    made = pydoc.locate(name)
    kind = "class" if inspect.isclass(made) else "module" if inspect.ismodule(made) else "function"
    members = "" if kind == "function" else "   :members:\n"
    return f"\n```{{eval-rst}}\n.. auto{kind}:: {name}\n{members}```\n"
