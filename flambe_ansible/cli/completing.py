"""What the shell completes: files of clusters, and hosts; nothing is sent over the network."""

from __future__ import annotations

from pathlib import Path

import rich_click as click
from click.shell_completion import BashComplete, CompletionItem, ZshComplete, add_completion_class

YAML = (".yaml", ".yml")
_PLAIN = "elif [[ $type == 'plain' ]]; then"  # in click's script for bash
_PATH = "elif [[ $type == 'path' ]]; then\n            compopt -o filenames\n            COMPREPLY+=($value)"


@add_completion_class
class QuotingBashComplete(BashComplete):
    """click's completion for bash, with the names of files quoted by bash as its own ones are."""

    source_template = BashComplete.source_template.replace(_PLAIN, f"{_PATH}\n        {_PLAIN}")

    def format_completion(self, item: CompletionItem) -> str:
        """Return a line for the script."""
        return f"path,{item.value}" if item.path else super().format_completion(item)


@add_completion_class
class ExpandingZshComplete(ZshComplete):
    """click's completion for zsh, without ``~`` in the names of files: zsh would quote it."""

    def format_completion(self, item: CompletionItem) -> str:
        """Return the lines for the script."""
        if item.path and item.value.startswith("~"):
            item = CompletionItem(str(Path(item.value).expanduser()))
        return super().format_completion(item)


def complete_yaml(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the path of a YAML file; without a match, the shell completes folders."""
    folder, slash, start = incomplete.rpartition("/")
    try:
        paths = sorted(Path(folder + slash or ".").expanduser().iterdir())
    except (OSError, RuntimeError):
        paths = []
    names = [path.name for path in paths if path.suffix in YAML and path.name.startswith(start)]
    items = [CompletionItem(f"{folder}{slash}{name}", path=True) for name in names]
    return items or [CompletionItem(incomplete, type="dir")]


def complete_host(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Complete ``orchestrator``, ``factory``, and the number of a factory in the cluster's file."""
    return _complete_words(ctx, parameter, incomplete, first=("orchestrator", "factory"))


def complete_factory(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Complete ``factory`` and its number."""
    return _complete_words(ctx, parameter, incomplete, first=("factory",))


def _complete_words(
    ctx: click.Context, parameter: click.Parameter, incomplete: str, *, first: tuple[str, ...]
) -> list[str]:
    words = [str(word) for word in ctx.params.get(str(parameter.name)) or ()]
    found = first if not words else ()
    if words == ["factory"]:
        found = tuple(str(number) for number in range(_count_factories(str(ctx.params.get("file")))))
    return [word for word in found if word.startswith(incomplete)]


def _count_factories(file: str) -> int:
    """Return the number of factories in a cluster's file; 1 if it cannot be read."""
    from flambe_ansible.config.load import count_factories
    from flambe_ansible.errors import FlambeAnsibleError

    try:
        return count_factories(Path(file).expanduser())
    except FlambeAnsibleError:
        return 1
