"""Copies from the orchestrator to the factories, as a tree: a factory that has its copy serves others."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Sequence
from pathlib import Path

from flambe_ansible.errors import RemoteCommandError
from flambe_ansible.hosts import Host
from flambe_ansible.ssh import Completed
from flambe_ansible.ssh.files import explain

KEY_FILE = "ray_bootstrap_key.pem"  # in the home folder, flambé's own name
# Copies that run at the same time. Each round of copies multiplies the hosts that have one by about 3: with equal hosts
# a tree of 64 factories is 3 or 4 levels deep, and about a fifth of the copies leave the orchestrator.
_FROM_ORCHESTRATOR = 4
_FROM_FACTORY = 2
_SERVING = 30  # factories that serve others, so that the orchestrator has at most 64 processes of ssh
_FAILED = "flambe-copy-failed"

_SEND, _START = (Path(__file__).with_name(f"copy_{name}.sh") for name in ("send", "start"))
# What both programs use.
_SETTINGS = f"key_file={KEY_FILE}\nssh_options='-o BatchMode=yes -o IdentitiesOnly=yes'\nmark={_FAILED}"


def write_script(
    username: str, hosts: Sequence[Host], paths: Sequence[str], *, mirror: bool = False, checksum: bool = False
) -> str:
    """Write the script for the orchestrator; ``checksum`` compares content, not sizes and times.

    Without ``mirror`` a factory sends only the files that the orchestrator has, not others in its own folder.
    """
    options = [*(["--delete"] if mirror else []), *(["--checksum"] if checksum else [])]
    copies = [_write_copy(path, index, options, mirror=mirror) for index, path in enumerate(paths)]
    send = "\n".join([_SETTINGS, _SEND.read_text(), *copies, "exit $failed"])
    lines = [_SETTINGS, _START.read_text(), f"offer - {_FROM_ORCHESTRATOR}", f"send={shlex.quote(send)}"]
    if not mirror:
        lines += [_write_list(path, index) for index, path in enumerate(paths)]
    for index, host in enumerate(hosts):
        target = f"{username}@{host.private_ip}"
        words = shlex.join([target, host.name])
        lines.append(f"start {shlex.join([host.name, target, words])} {_FROM_FACTORY if index < _SERVING else 0}")
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


def _write_list(path: str, index: int) -> str:
    """Write the command that puts the names of all files in a folder of the orchestrator at the start of ``send``.

    rsync would send the content of a folder that is listed as ".": so the names are those in the folder above it,
    except for a link to a folder.
    """
    source, above, name = (shlex.quote(f"./{one}") for one in (path, posixpath.dirname(path), posixpath.basename(path)))
    inside = f"cd {source} && find . -mindepth 1 -print0"
    find = f"(if [ -L {source} ]; then {inside}; else cd {above} && find {name} -print0; fi)"
    add = f"""send=$(printf "list_%s='%s'\\n%s" {index} "$( {find} | base64)" "$send")"""
    return f"if [ -d {source} ]; then {find} >/dev/null || exit 1; {add}; fi"  # a pipe hides that find failed


def _write_copy(path: str, index: int, options: Sequence[str], *, mirror: bool) -> str:
    """Write the copy of one path; a folder's content goes into the folder of the same name."""
    path = f"./{path}"  # rsync takes a colon for a host and a dash for an option
    source, content, folder = (shlex.quote(one) for one in (path, f"{path}/", f"{posixpath.dirname(path)}/"))
    one = f"copy {shlex.quote(' '.join(options))} {source} {folder} ''"
    if mirror:
        return f"if [ -d {source} ]; then copy {shlex.quote(' '.join(options))} {content} {content} ''; else {one}; fi"
    listed = f"copy {shlex.quote(' '.join([*options, '--files-from=-', '--from0', '--no-implied-dirs']))}"
    inside = f"if [ -L {source} ]; then {listed} {content} {content}"
    # rsync would replace a file by the folder.
    refusal = f"if [ -e {source} ] && [ ! -d {source} ]; then echo {source} is not a folder >&2; exit 1; fi; "
    above = f'else {listed} {folder} {folder} "$list_{index}" {shlex.quote(refusal)}'
    return f'if [ -d {source} ]; then {inside} "$list_{index}"; {above}; fi; else {one}; fi'
