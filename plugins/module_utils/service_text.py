"""The text of a systemd unit that runs one command as a user: pure functions."""

from __future__ import annotations

import re

from ansible_collections.flambe.cluster.plugins.module_utils import ray_unit

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def unit_text(name, spec, user, home, depends):
    """Write a unit.

    Args:
        name: Who writes it, for the first line.
        spec: ``description``, ``command``, ``stop_post``, ``environment``, ``directory``, ``type``, ``options``,
            ``enabled``.
        user: Who runs it.
        home: Their home, the folder it runs in where none is given.
        depends: What makes it restart when it changes: name -> value.

    Raises:
        ValueError: A value has a character that no unit can hold.
    """
    lines = [f"# Written by {name}; edits are lost."]
    lines += ["# {}: {}".format(*item) for item in sorted(depends.items()) if item[1]]
    lines += [
        "[Unit]",
        "Description={}".format(plain(spec["description"])),
        "Wants=network-online.target",
        "After=network-online.target",
        "",
        "[Service]",
        "Type={}".format(spec["type"]),
        f"User={user}",
        "WorkingDirectory={}".format(plain(spec["directory"] or home)),
    ]
    lines += [environment_line(*item) for item in sorted(spec["environment"].items())]
    # Proxies and certificates, as a login has them.
    lines.append("EnvironmentFile=-/etc/environment")
    lines.append("ExecStart={}".format(command_line(spec["command"])))
    if spec["stop_post"]:
        lines.append("ExecStopPost={}".format(command_line(spec["stop_post"])))
    lines += ["{}={}".format(key, plain(str(value))) for key, value in sorted(spec["options"].items())]
    if spec["enabled"]:
        lines += ["", "[Install]", "WantedBy=multi-user.target"]
    return "\n".join(lines) + "\n"


def command_line(words):
    """Write a command so that systemd passes on each word as it is."""
    for word in words:
        refuse_control(word)
    return " ".join(ray_unit.quote(word) for word in words)


def environment_line(name, value):
    """Write one variable; a dollar sign has no meaning there."""
    refuse_control(value)
    text = ray_unit.escape(f"{name}={value}").replace("\\", "\\\\").replace('"', '\\"')
    return f'Environment="{text}"'


def plain(text):
    """Write a value that is no command line."""
    refuse_control(text)
    return ray_unit.escape(text)


def refuse_control(text):
    """Refuse a character that would end the line or be lost."""
    if _CONTROL.search(text):
        raise ValueError(f"{text!r} has a control character, which no unit can hold")
