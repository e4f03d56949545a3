"""``flambe-ans completion``: completion of commands, files and hosts in a shell."""

from __future__ import annotations

import rich_click as click
from click.shell_completion import get_completion_class

from flambe_ansible.cli import options

SHELLS = ("bash", "zsh", "fish")
PROGRAM = "flambe-ans"


@options.command(
    "echo 'eval \"$(flambe-ans completion bash)\"' >> ~/.bashrc",
    "echo 'eval \"$(flambe-ans completion zsh)\"' >> ~/.zshrc",
    "flambe-ans completion fish > ~/.config/fish/completions/flambe-ans.fish",
)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that completes commands, options, files of clusters and hosts in a shell.

    Evaluate it in the start-up file of the shell; in zsh after `compinit`.
    """
    made = get_completion_class(shell)
    assert made is not None  # noqa: S101 - click has all three
    variable = f"_{PROGRAM.replace('-', '_').upper()}_COMPLETE"
    click.echo(made(ctx.find_root().command, {}, PROGRAM, variable).source())
