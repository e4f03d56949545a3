"""The process that listens on a TCP port of this host, read from /proc."""

from __future__ import annotations

import contextlib
import glob
import os
import pwd
import re

from ansible_collections.flambe.cluster.plugins.module_utils import files

_LISTEN = "0A"  # the state in /proc/net/tcp


def find_foreign(port, unit, proc="/proc"):
    """Describe the process outside of a unit that listens on a TCP port, and how to stop it; "" if there is none.

    Only root sees the processes of all users.
    """
    for inode, uid in listening(port, proc):
        pid, user = find_owner(inode, proc), user_name(uid)
        if not pid:
            return f"port {port} is in use by a process of user {user}: stop it"
        cgroup = files.read(os.path.join(proc, pid, "cgroup")) or ""
        if f"/{unit}" in cgroup:
            continue
        words = (files.read(os.path.join(proc, pid, "cmdline")) or "").replace("\0", " ").strip()
        service = re.search(r"/system\.slice/([^/\n]+\.service)", cgroup)
        remedy = f"sudo systemctl stop {service.group(1)}" if service else f"sudo kill {pid}"
        return f"port {port} is in use by process {pid} ({words[:80] or '?'}, user {user}): stop it ({remedy})"
    return ""


def listening(port, proc):
    """List (inode, uid) of the sockets that listen on a port."""
    found = []
    for table in ("tcp", "tcp6"):
        for line in (files.read(os.path.join(proc, "net", table)) or "").splitlines()[1:]:
            fields = line.split()
            if len(fields) > 9 and fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                found.append((fields[9], int(fields[7])))
    return found


def find_owner(inode, proc):
    """Return the id of a process that holds a socket, as text; "" if no process is visible."""
    for path in glob.glob(os.path.join(glob.escape(proc), "[0-9]*/fd/*")):
        with contextlib.suppress(OSError):
            if os.readlink(path) == f"socket:[{inode}]":
                return path.split("/")[-3]
    return ""


def user_name(uid):
    """Return the name of a user id, or the id."""
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return str(uid)
