"""The user-data script of new hosts: a guard that ends a host if no launch configures it.

The role ``idle_shutdown`` replaces the guard. Until then, a host powers itself off after some time without an SSH
connection, so that a launch that is killed leaves no host running, and at the end of the cluster's budget.
"""

from __future__ import annotations

UNIT = "flambe-launch-guard"
ROLE_TIMER = "flambe-idle-shutdown.timer"
SECONDS = 3600
INTERVAL = 300
# Titles of sshd's processes after the login; before it they have brackets, and anyone can cause them.
_PATTERN = "^sshd(-session)?: [^][]+$"
_SCRIPT = """#!/bin/sh
# Power this host off{reasons}, until a launch has configured it.
mkdir -p /usr/local/sbin
cat >/usr/local/sbin/{unit} <<'END'
#!/bin/sh
mark=/run/{unit}
if systemctl -q is-enabled {role}; then exec systemctl -q disable --now {unit}.timer; fi
{checks}END
chmod 755 /usr/local/sbin/{unit}
cat >/etc/systemd/system/{unit}.service <<'END'
[Unit]
Description=Power this host off if no launch configures it
[Service]
Type=oneshot
ExecStart=/usr/local/sbin/{unit}
END
cat >/etc/systemd/system/{unit}.timer <<'END'
[Unit]
Description=Power this host off if no launch configures it
[Timer]
OnBootSec={interval}
OnUnitActiveSec={interval}
AccuracySec=1
[Install]
WantedBy=timers.target
END
systemctl daemon-reload
systemctl enable --now {unit}.timer
"""


_IDLE_CHECK = """processes=$(ps -eo args=) || exit 1
if [ ! -e $mark ] || printf '%s\\n' "$processes" | grep -Eq '{pattern}'; then
    touch $mark
elif [ $(($(date +%s) - $(stat -c %Y $mark))) -ge {seconds} ]; then
    systemctl poweroff
fi
"""
_END_CHECK = """if [ $(date +%s) -ge {ends_at} ]; then exec systemctl poweroff; fi
"""


def write_user_data(*, seconds: int = SECONDS, interval: int = INTERVAL, ends_at: float = 0.0) -> str:
    """Write the script.

    Args:
        seconds: Power the host off after so many seconds without a connection; 0 for never.
        interval: Seconds between two checks.
        ends_at: Power the host off at this time, in seconds since the epoch; 0 for never.
    """
    end = _END_CHECK.format(ends_at=int(ends_at)) if ends_at else ""
    idle = _IDLE_CHECK.format(pattern=_PATTERN, seconds=seconds) if seconds else ""
    reasons = (" at the end of the budget" if end else "") + (" and" if end and idle else "")
    reasons += f" after {seconds} s without an SSH connection" if idle else ""
    return _SCRIPT.format(unit=UNIT, role=ROLE_TIMER, reasons=reasons, checks=end + idle, interval=interval)
