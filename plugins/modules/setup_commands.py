#!/usr/bin/python
# Copyright: the flambe-ansible contributors. MIT license.
"""Run a list of commands once, and again after a change or a reboot."""

from __future__ import annotations

DOCUMENTATION = r"""
module: setup_commands
short_description: Run a list of bash commands once, and again after a change or a reboot
description:
  - Runs the commands in order as O(user), each in a login shell without stdin.
  - Each command runs under C(bash -eo pipefail), so that it fails at the first line or pipeline that fails.
  - All commands run if they have not completed on this host, if the list changed, after a reboot, and with O(rerun).
  - A command that uses apt or dpkg waits up to 10 minutes for their locks. It is repeated in that time if it fails
    because another process holds one.
  - A command ends with the session that runs the module. A later run waits until it has ended, and runs all commands.
  - It is an error if the login shell ends before it runs the command, because a profile calls C(exec) or C(exit).
options:
  commands:
    description: The commands, in order.
    type: list
    elements: str
    required: true
  timeout:
    description: Time limit of each command in seconds; its process group is killed afterwards.
    type: float
    default: 3600
  timeout_setting:
    description: The name of the variable that sets O(timeout), for messages.
    type: str
    default: timeout
  rerun:
    description: Run them even if they have completed.
    type: bool
    default: false
  state_file:
    description:
      - The file that records the completed commands, absolute or relative to the user's home.
      - Each list needs its own file. It is a warning if the commands of a file change to an earlier list.
    type: str
    default: ~/.local/state/flambe/setup_cmds.json
author: [The flambe-ansible contributors (@flambe-ansible)]
extends_documentation_fragment: [flambe.cluster.common]
"""

EXAMPLES = r"""
- name: Mount the data
  flambe.cluster.setup_commands:
    commands:
      - sudo mkdir -p /data
      - sudo mount /dev/xvdf /data
"""

RETURN = r"""
reason:
  description: Why they ran, such as C(first run on this host); empty if they did not.
  type: str
  returned: always
command:
  description: The command that failed.
  type: str
  returned: failure
rc:
  description: Its exit code; absent after a time-out, or if the command did not run.
  type: int
  returned: failure
output:
  description: The end of its output.
  type: str
  returned: failure
"""

import contextlib
import glob
import json
import os
import re
import tempfile
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils import (
    apt_lock,
    files,
    host_lock,
    pip_config,
    progress,
    session,
)

BOOT_ID = "/proc/sys/kernel/random/boot_id"
_LOGIN_PROFILES = (".bash_profile", ".bash_login", ".profile")  # bash reads the first that exists
_ENDS_SHELL = re.compile(r"(?:^|[;&|({]|\b(?:then|else|do)\b)\s*(?:exec\s+[^\s<>0-9]|exit\b)")
_RETRY_SECONDS = 3
_EARLIER = 20  # earlier lists that are remembered


class ProfileError(Exception):
    """The login shell ended before it ran the command."""


def decide(commands, state, boot_id, rerun):
    """Return why the commands have to run; empty if they do not."""
    if not commands:
        return ""
    if not state:
        return "first run on this host"
    if state.get("commands") != files.digest(commands):
        return "the commands changed"
    if state.get("boot_id") != boot_id:
        return "the host was rebooted"
    return "requested" if rerun else ""


def main():
    module = AnsibleModule(
        argument_spec={
            "commands": {"type": "list", "elements": "str", "required": True},
            "user": {"type": "str", "default": ""},
            "timeout": {"type": "float", "default": 3600},
            "timeout_setting": {"type": "str", "default": "timeout"},
            "rerun": {"type": "bool", "default": False},
            "state_file": {"type": "str", "default": "~/.local/state/flambe/setup_cmds.json"},
        },
        supports_check_mode=True,
    )
    commands = module.params["commands"]
    module.no_log_values.update(pip_config.passwords_in(commands))
    account = accounts.of_module(module)
    path = os.path.join(account.pw_dir, re.sub("^~/", "", module.params["state_file"]))
    boot_id = (files.read(BOOT_ID) or "").strip()
    with accounts.acting_as(account):
        state = files.read_json(path)
    reason = decide(commands, state, boot_id, module.params["rerun"])
    if files.digest(commands) in state.get("earlier", []):
        module.warn(f"other commands ran since these, according to {path}: lists that take turns need a file each")
    if not reason:
        module.exit_json(changed=False, reason="", msg="nothing to run")
    done = f"{accounts.count(len(commands), 'setup command')} ({reason})"
    if module.check_mode:
        module.exit_json(changed=True, reason=reason, msg="would run " + done)
    with contextlib.ExitStack() as stack:
        with accounts.acting_as(account):
            make_folder(module, os.path.dirname(path))
            wait_for_lock(module, stack, f"{path}.lock")
        for number, command in enumerate(commands, 1):
            run_one(module, account, command, f"{number} of {len(commands)}")
    with accounts.acting_as(account):
        # Only a digest is kept: the commands may contain secrets.
        document = {"commands": files.digest(commands), "boot_id": boot_id, "earlier": list_earlier(commands, state)}
        files.write(path, json.dumps(document) + "\n", 0o600)
    module.exit_json(changed=True, reason=reason, msg="ran " + done)


def list_earlier(commands, state):
    """List the digests of other lists that the file recorded, the newest last."""
    known = dict.fromkeys([*state.get("earlier", []), state.get("commands", "")])
    return [one for one in known if one not in ("", files.digest(commands))][-_EARLIER:]


def make_folder(module, path):
    """Create the folder of the file that records the commands."""
    try:
        files.ensure_folder(path, 0o700)
    except OSError as error:
        module.fail_json(msg=f"{path} cannot be created: {error.strerror}", command="", output="")


def wait_for_lock(module, stack, path):
    """Wait until the setup commands of an earlier module have ended."""
    try:
        stack.enter_context(host_lock.hold(path, "run of setup commands"))
    except host_lock.LockedError as error:
        module.fail_json(msg=str(error))


def run_one(module, account, command, place):
    """Run one command; fail the module with the command and its output if it fails."""
    try:
        code, output = run_command(account, command, module.params["timeout"], module.params["timeout_setting"], place)
    except (accounts.CommandTimeoutError, ProfileError) as error:
        module.fail_json(msg=str(error), command=command, output=accounts.tail(getattr(error, "output", "")))
    except OSError as error:
        module.fail_json(msg=f"setup command {place} cannot be run: {error}", command=command, output="")
    if code:
        output = accounts.tail(output)
        module.fail_json(
            msg=f"setup command {place} failed with exit code {code}: {command}" + (f"\n{output}" if output else ""),
            command=command,
            rc=code,
            output=output,
        )


def run_command(account, command, timeout, setting, place, lock_seconds=apt_lock.WAIT_SECONDS):
    """Run one command, and repeat it for ``lock_seconds`` while another process holds a lock of apt.

    ``setting`` (the variable that sets the time limit of an attempt) and ``place`` (``1 of 2``) are for messages.
    Returns (exit code, output); raises CommandTimeoutError or ProfileError.
    """
    deadline = time.monotonic() + lock_seconds
    while True:
        if apt_lock.uses_apt(command) and apt_lock.holder():
            progress.report(f"command {place}: waiting until another process releases the locks of apt")
            apt_lock.wait(deadline)
        code, output = run_in_login_shell(account, command, timeout, setting, place)
        if not code or not apt_lock.is_refused(output) or time.monotonic() > deadline:
            return code, output
        session.check()
        time.sleep(_RETRY_SECONDS)


def run_in_login_shell(account, command, timeout, setting, place):
    """Run one command once, under ``bash -eo pipefail`` after the login profile; see ``run_command``."""
    progress.report(f"command {place}")

    def show(lines):
        printed = [line for line in lines if line.strip()]
        if printed:  # the text of a command is not shown: it may contain secrets
            progress.report(f"command {place}: {printed[-1]}")

    with tempfile.TemporaryFile() as mark:
        # Neither the profile nor .bash_logout must run under -e, so the options are set in a subshell. The mark
        # proves that the profile has ended.
        descriptor = mark.fileno()
        script = f'printf . >&{descriptor}; exec {descriptor}>&-; (set -eo pipefail; eval "$1")'
        code, output = accounts.run(
            account,
            ["/bin/bash", "-lc", script, "bash", command],
            timeout=timeout,
            env=accounts.login_environment(account),
            shown=f"setup command {place} ({accounts.shorten([command])})",
            setting=setting,
            pass_fds=[descriptor],
            on_lines=show,
        )
        if os.fstat(descriptor).st_size:
            return code, output
    raise ProfileError(
        f"setup command {place} did not run: the login shell of {account.pw_name} ended in its profile"
        f" ({find_profile(account)}); limit exec and exit there to interactive shells: [[ $- == *i* ]] && exec ..."
    )


def find_profile(account):
    """Return the profile that most likely ends the login shell, with the line if it is found."""
    home = [os.path.join(account.pw_dir, name) for name in _LOGIN_PROFILES]
    with accounts.acting_as(account):
        login = [path for path in home if os.path.isfile(path)][:1]
        others = [os.path.join(account.pw_dir, name) for name in (".bashrc", ".profile")]
        for path in [*login, *others, "/etc/profile", *sorted(glob.glob("/etc/profile.d/*.sh"))]:
            for number, line in enumerate((files.read(path) or "").splitlines(), 1):
                if _ENDS_SHELL.search(line):
                    return f"{path}, line {number}: {line.strip()}"
    return "".join(login) or "/etc/profile"


if __name__ == "__main__":
    main()
