"""Names and host keys of the other hosts of a large cluster: a host reads them from one host when it needs them."""

from __future__ import annotations

import contextlib
import os
import shlex

from ansible_collections.flambe.cluster.plugins.module_utils import cluster_ssh

SCRIPT = "flambe_peers.sh"  # in ~/.ssh
CACHE = ("flambe_peers.known_hosts", "flambe_peers.config")  # what the script writes there
MINUTES = 10  # that the cache is used
CONNECT_SECONDS = 5

# ssh runs it before it connects to a host that is not in its configuration. It always succeeds.
_SCRIPT = """\
# Reads the names and host keys of the cluster's hosts from @SOURCE@, at most every @MINUTES@ minutes.
cd "$(dirname "$0")" || exit 0
[ -z "$(find @CONFIG@ -mmin -@MINUTES@ 2>/dev/null)" ] || exit 0
umask 077
ssh @OPTIONS@ -i ../@KEY@ -- @ADDRESS@ \\
  "sed -n '/^@BEGIN@/,/^@END@/p' .ssh/known_hosts .ssh/config" </dev/null >flambe_peers.$$ 2>/dev/null &&
awk -v keys=@KEYS@.$$ -v config=@CONFIG@.$$ '
  { print > (ended ? config : keys) }
  /^@END@/ { ended = 1 }
  /^  User / { print "  UserKnownHostsFile ~/.ssh/known_hosts ~/.ssh/@KEYS@" > config }' flambe_peers.$$ &&
mv -f @KEYS@.$$ @KEYS@ && mv -f @CONFIG@.$$ @CONFIG@
rm -f flambe_peers.$$ @KEYS@.$$ @CONFIG@.$$
exit 0
"""


def write_script(source, known, user):
    """Write the script that reads from the host ``source``; "" if its address is unknown.

    ``known`` are the lines of ``cluster_ssh.known_lines``.
    """
    names = next((line.split()[0] for line in known if line.split()[-1:] == [source]), "")
    if not names:
        return ""
    pairs = [cluster_ssh.split_port(name) for name in names.split(",")]
    address = cluster_ssh.find_target(source, [name for name, _key in pairs]) or pairs[0][0]
    options = {
        "BatchMode": "yes",
        "IdentitiesOnly": "yes",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": "known_hosts",
        "ConnectTimeout": CONNECT_SECONDS,
    }
    words = ["-F", "none", "-l", user, "-p", str(pairs[0][1])]
    words += [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    values = {
        "SOURCE": source,
        "MINUTES": MINUTES,
        "OPTIONS": " ".join(map(shlex.quote, words)),
        "KEY": cluster_ssh.PRIVATE_KEY,
        "ADDRESS": shlex.quote(address),
        "KEYS": CACHE[0],
        "CONFIG": CACHE[1],
        "BEGIN": f"# {cluster_ssh.BLOCK}: begin",
        "END": f"# {cluster_ssh.BLOCK}: end",
    }
    text = _SCRIPT
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    return text


def config_lines(config):
    """Add the script to the ssh_config lines of a host; other hosts than those in them are read by it."""
    *lines, last = config
    names = next(line for line in reversed(lines) if line.startswith("Host ")).split()[1:]
    return [
        *lines,
        'Match !originalhost {} exec "sh ~/.ssh/{}"'.format(",".join(names), SCRIPT),
        f"  Include ~/.ssh/{CACHE[1]}",
        last,
    ]


def forget(folder, script=False):
    """Remove what the script wrote, and the script itself if it is not needed."""
    for name in [*CACHE, *([SCRIPT] if script else [])]:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(folder, name))
