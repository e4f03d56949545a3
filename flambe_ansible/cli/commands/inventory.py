"""``flambe-ans inventory``: the cluster as an Ansible inventory."""

from __future__ import annotations

import rich_click as click

from flambe_ansible.cli import options
from flambe_ansible.cli.output import Output


@options.command(
    "flambe-ans inventory cluster.yaml",
    "flambe-ans inventory cluster.yaml --format yaml > hosts.yml",
    "ansible-playbook -i hosts.yml playbooks/site.yml",
)
@options.cluster_argument
@click.option(
    "--format",
    "style",
    type=click.Choice(["json", "yaml"]),
    default="json",
    show_default=True,
    help="Output format; Ansible reads both.",
)
@click.pass_obj
def inventory(output: Output, file: str, style: str) -> None:
    """Print the Ansible inventory of a running cluster."""
    with options.open_cluster(output, file) as cluster:
        found = cluster.inventory()
    from flambe_ansible.inventory import as_json, as_yaml

    click.echo(as_json(found) if style == "json" else as_yaml(found), nl=False)
