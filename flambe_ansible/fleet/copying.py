"""Copies from the orchestrator to the factories: one script on the orchestrator runs an rsync for each."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Sequence

from flambe_ansible.errors import RemoteCommandError
from flambe_ansible.hosts import Host
from flambe_ansible.ssh import Completed
from flambe_ansible.ssh.files import explain

KEY_FILE = "ray_bootstrap_key.pem"  # in the home folder, flambé's own name
_AT_ONCE = 8  # copies that run at the same time
_FAILED = "flambe-copy-failed"

# POSIX sh. For each failure it prints: marker, host, exit code, first line of the output. ssh reads addresses and
# time-outs from the block that the launch wrote to ~/.ssh/config.
_HEAD = f"""
cd || exit 1
key="$HOME/{KEY_FILE}"
if [ ! -r "$key" ]; then echo "$key is missing" >&2; exit 1; fi
# A pipe with one line for each copy that may start now.
folder=$(mktemp -d) && mkfifo "$folder/slots" && exec 9<>"$folder/slots" && rm -r "$folder" || exit 1
copy() {{
  name=$1; target=$2; options=$3; source=$4; folder=$5
  output=$(rsync --archive --no-owner --no-group --partial --protect-args --mkpath $options \\
    --rsh "ssh -i '$key' -o BatchMode=yes -o IdentitiesOnly=yes" -- "$source" "$target:$folder" </dev/null 2>&1)
  code=$?
  [ "$code" = 0 ] || printf '%s\\t%s\\t%s\\t%s\\n' {_FAILED} "$name" "$code" "$(printf %s "$output" | head -n 1)"
}}
"""


def write_script(
    username: str, hosts: Sequence[Host], paths: Sequence[str], *, mirror: bool = False, checksum: bool = False
) -> str:
    """Write the script for the orchestrator; ``checksum`` compares content, not sizes and times."""
    options = " ".join([*(["--delete"] if mirror else []), *(["--checksum"] if checksum else [])])
    lines = [_HEAD, *["echo >&9"] * _AT_ONCE]
    for host in hosts:
        copies = "; ".join(_write_copy(username, host, path, options=options) for path in paths)
        lines.append(f"read -r _ <&9; ( {copies}; echo >&9 ) &")
    return "\n".join([*lines, "wait", "exit 0", ""])


def check(orchestrator: Host, answer: Completed, *, command: str) -> None:
    """Raise an error if a factory did not get its copy."""
    if answer.returncode != 0:
        reason = answer.stderr.strip().rpartition("\n")[2]
        raise RemoteCommandError(
            f"{orchestrator.name}: nothing was copied to the factories: {reason}",
            host=orchestrator.name,
            command=command,
            returncode=answer.returncode,
            output=answer.stderr,
            hint="flambe-ans launch CLUSTER repairs the cluster's key",
        )
    failures = [line.split("\t", 3) for line in answer.stdout.splitlines() if line.startswith(f"{_FAILED}\t")]
    if not failures:
        return
    messages = dict.fromkeys(
        f"{name}: no copy from the orchestrator: {explain(reason)}" for _, name, _, reason in failures
    )
    _, host, code, _ = failures[0]
    raise RemoteCommandError(
        "\n".join(messages), host=host, command=command, returncode=int(code), output="\n".join(messages)
    )


def _write_copy(username: str, host: Host, path: str, *, options: str) -> str:
    """Write the copy of one path; a folder's content goes into the folder of the same name."""
    target = f"{username}@{host.private_ip}"
    words = shlex.join([host.name, target, options])
    path = f"./{path}"  # rsync takes a colon for a host and a dash for an option
    source, folder = shlex.quote(path), shlex.quote(f"{posixpath.dirname(path)}/")
    inside = f"copy {words} {shlex.quote(f'{path}/')} {shlex.quote(f'{path}/')}"
    return f"if [ -d {source} ]; then {inside}; else copy {words} {source} {folder}; fi"
