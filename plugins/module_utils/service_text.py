"""The text of a systemd unit that runs one command as a user: pure functions."""

from __future__ import annotations

import re

from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def unit_text(name, spec, user, home, depends):
    """Write a unit file for the module ``name``; raises ValueError for a control character.

    Args:
        spec: ``description``, ``command``, ``start_pre``, ``stop_post``, ``environment``, ``directory`` (by default
            ``home``), ``type``, ``options``, ``enabled``; all but the first two are optional. ``start_pre`` and
            ``stop_post`` are one command or a list of commands.
        depends: name -> value; a changed value changes the unit, so that the service is restarted.
    """
    environment = spec.get("environment") or {}
    unset = [one for one in accounts.FOREIGN_PYTHON if one not in environment]
    lines = [
        f"# Written by {name}; edits are lost.",
        *("# {}: {}".format(*item) for item in sorted(depends.items()) if item[1]),
        "[Unit]",
        "Description={}".format(plain(spec["description"])),
        "Wants=network-online.target",
        "After=network-online.target",
        "",
        "[Service]",
        "Type={}".format(spec.get("type") or "exec"),
        f"User={user}",
        "WorkingDirectory={}".format(plain(spec.get("directory") or home)),
        *(environment_line(*item) for item in sorted(environment.items())),
        "EnvironmentFile=-/etc/environment",  # proxies and certificates, like in a login
    ]
    if unset:
        lines.append("UnsetEnvironment={}".format(" ".join(unset)))
    commands = (("ExecStartPre", "start_pre"), ("ExecStart", "command"), ("ExecStopPost", "stop_post"))
    lines += [f"{key}={command_line(words)}" for key, name in commands for words in _list_commands(spec.get(name))]
    lines += ["{}={}".format(key, plain(str(value))) for key, value in sorted((spec.get("options") or {}).items())]
    if spec.get("enabled", True):
        lines += ["", "[Install]", "WantedBy=multi-user.target"]
    return "\n".join(lines) + "\n"


def _list_commands(value):
    """Return a list of commands, each a list of words."""
    return [value] if value and isinstance(value[0], str) else list(value or [])


def command_line(words):
    """Write a command so that systemd passes each word unchanged."""
    escaped = [plain(word).replace("$", "$$") for word in words]
    return " ".join(word if re.match(r"[A-Za-z0-9_@%+=:,./$-]+\Z", word) else quote(word) for word in escaped)


def environment_line(name, value):
    """Write one variable; a dollar sign has no meaning in Environment=."""
    return "Environment=" + quote(plain(f"{name}={value}"))


def plain(text):
    """Escape systemd's specifiers; raises ValueError for a character that would end the line or be lost."""
    if _CONTROL.search(text):
        raise ValueError(f"{text!r} contains a control character, which a unit file cannot hold")
    return text.replace("%", "%%")


def quote(text):
    """Quote a text for systemd."""
    return '"{}"'.format(text.replace("\\", "\\\\").replace('"', '\\"'))
