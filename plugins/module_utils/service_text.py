"""The text of a systemd unit that runs one command as a user: pure functions."""

from __future__ import annotations

import re

from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def unit_text(name, spec, user, home, depends):
    """Write a unit file.

    Args:
        name: The module that writes it, for the first line.
        spec: ``description``, ``command``, ``start_pre``, ``stop_post``, ``environment``, ``directory``, ``type``,
            ``options``, ``enabled``; all but the first two are optional.
        user: The user who runs the command.
        home: The user's home, the default working directory.
        depends: name -> value; a changed value changes the unit, so that the service is restarted.

    Raises:
        ValueError: A value contains a control character.
    """
    environment = spec.get("environment") or {}
    unset = [one for one in accounts.FOREIGN_PYTHON if one not in environment]
    lines = [f"# Written by {name}; edits are lost."]
    lines += ["# {}: {}".format(*item) for item in sorted(depends.items()) if item[1]]
    lines += [
        "[Unit]",
        "Description={}".format(plain(spec["description"])),
        "Wants=network-online.target",
        "After=network-online.target",
        "",
        "[Service]",
        "Type={}".format(spec.get("type") or "exec"),
        f"User={user}",
        "WorkingDirectory={}".format(plain(spec.get("directory") or home)),
    ]
    lines += [environment_line(*item) for item in sorted(environment.items())]
    # Proxies and certificates, like in a login.
    lines.append("EnvironmentFile=-/etc/environment")
    if unset:
        lines.append("UnsetEnvironment={}".format(" ".join(unset)))
    for key, words in (
        ("ExecStartPre", spec.get("start_pre")),
        ("ExecStart", spec["command"]),
        ("ExecStopPost", spec.get("stop_post")),
    ):
        if words:
            lines.append(f"{key}={command_line(words)}")
    lines += ["{}={}".format(key, plain(str(value))) for key, value in sorted((spec.get("options") or {}).items())]
    if spec.get("enabled", True):
        lines += ["", "[Install]", "WantedBy=multi-user.target"]
    return "\n".join(lines) + "\n"


def command_line(words):
    """Write a command so that systemd passes each word unchanged."""
    for word in words:
        refuse_control(word)
    return " ".join(quote(word) for word in words)


def environment_line(name, value):
    """Write one variable; a dollar sign has no meaning in Environment=."""
    refuse_control(value)
    text = escape(f"{name}={value}").replace("\\", "\\\\").replace('"', '\\"')
    return f'Environment="{text}"'


def plain(text):
    """Write a value that is not a command line."""
    refuse_control(text)
    return escape(text)


def refuse_control(text):
    """Raise ValueError for a character that would end the line or be lost."""
    if _CONTROL.search(text):
        raise ValueError(f"{text!r} contains a control character, which a unit file cannot hold")


def escape(word):
    """Escape systemd's specifiers."""
    return word.replace("%", "%%")


def quote(word):
    """Quote a word of a command line for systemd."""
    word = escape(word).replace("$", "$$")
    if re.match(r"[A-Za-z0-9_@%+=:,./$-]+\Z", word):
        return word
    return '"{}"'.format(word.replace("\\", "\\\\").replace('"', '\\"'))
