"""Copies from the orchestrator to the factories, as a tree: a factory that has its copy serves others."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Sequence

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

_SSH = "-o BatchMode=yes -o IdentitiesOnly=yes"
# POSIX sh, run on the host that has the paths; its arguments are the target and its name. For each failure it prints:
# marker, name, exit code, first line of the output. ssh reads addresses, host keys and time-outs from the block that
# the launch wrote to ~/.ssh/config; in a large cluster the block reads those of other factories from the orchestrator.
_SEND = f"""
cd || exit 1
key="$HOME/{KEY_FILE}"
target=$1; name=$2; failed=0
copy() {{
  options=$1; source=$2; folder=$3; list=$4; check=${{5:-}}
  output=$(printf %s "$list" | base64 -d | rsync $options $FLAMBE_HERE --rsync-path "${{check}}rsync" \\
    --archive --no-owner --no-group --partial --protect-args --mkpath \\
    --rsh "ssh -i '$key' {_SSH}" -- "$source" "$target:$folder" 2>&1)
  code=$?
  [ "$code" = 0 ] && return
  failed=1
  printf '%s\\t%s\\t%s\\t%s\\n' {_FAILED} "$name" "$code" "$(printf %s "$output" | head -n 1)"
}}
"""
# Run on the orchestrator, where files may vanish after they were listed. A line in the pipe is a copy that may start
# now: the host that sends it, "-" for this one. A copy that fails between factories is repeated from here; if this one
# succeeds, the fault was the sender's, which loses a line, and the target does not serve others.
_START = f"""
cd || exit 1
key="$HOME/{KEY_FILE}"
if [ ! -r "$key" ]; then echo "$key is missing" >&2; exit 1; fi
pipe=$(mktemp -d) && mkfifo "$pipe/slots" && exec 9<>"$pipe/slots" && rm -r "$pipe" || exit 1
offer() {{ for _ in $(seq "$2"); do printf '%s\\n' "$1"; done >&9; }}
script() {{ printf 'set -- %s\\n%s\\n' "$words" "$send"; }}
from_here() {{
  output=$(script | FLAMBE_HERE=--ignore-missing-args sh -s) && return
  code=$?
  printf '%s\\n' "${{output:-$(printf '%s\\t%s\\t%s\\t%s' {_FAILED} "$name" "$code" 'the copy was ended')}}"
  return 1
}}
start() {{
  name=$1; target=$2; words=$3; serves=$4
  read -r source <&9
  (
    if [ "$source" = - ]; then
      from_here || serves=0
    elif ! script | ssh -i "$key" {_SSH} "$source" "exec sh -s" >/dev/null 2>&1; then
      serves=0
      from_here && source=
    fi
    offer "$target" "$serves"
    [ -z "$source" ] || offer "$source" 1
  ) &
}}
"""


def write_script(
    username: str, hosts: Sequence[Host], paths: Sequence[str], *, mirror: bool = False, checksum: bool = False
) -> str:
    """Write the script for the orchestrator; ``checksum`` compares content, not sizes and times.

    Without ``mirror`` a factory sends only the files that the orchestrator has, not others in its own folder.
    """
    options = [*(["--delete"] if mirror else []), *(["--checksum"] if checksum else [])]
    send = [_SEND, *(_write_copy(path, index, options, mirror=mirror) for index, path in enumerate(paths))]
    lines = [_START, f"offer - {_FROM_ORCHESTRATOR}", f"send={shlex.quote(chr(10).join([*send, 'exit $failed']))}"]
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
