"""Check the requirements of every host with one command."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from flambe_ansible import gpus
from flambe_ansible.errors import UnsupportedHostError
from flambe_ansible.gpus import HostGpus

MACHINES = ("x86_64",)  # uname -m
MINIMUM_PYTHON = (3, 8)  # the script compares it too
MINIMUM_RELEASES = {"debian": (12,), "ubuntu": (22, 4)}
CLOUD_INIT_SECONDS = 600

# Prints name=value lines. POSIX sh; reads no input and changes nothing. The Python is the first one that is new enough.
# The GPUs are listed while the other facts are collected: nvidia-smi may take seconds, or not answer. Hosts without a
# trace of NVIDIA (0x10de) start no Python for that.
_SCRIPT = r"""
export LC_ALL=C PATH="$PATH:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
report() { printf 'probe:%s=%s\n' "$1" "$2"; }
if command -v cloud-init >/dev/null 2>&1; then
  timeout @CLOUD_INIT_SECONDS@ cloud-init status --wait >/dev/null 2>&1 </dev/null
  report cloud_init "$?"
fi
for python in /usr/bin/python3 python3 python3.14 python3.13 python3.12 python3.11 python3.10 python3.9 python3.8; do
  path=$(command -v "$python" 2>/dev/null) || continue
  version=$("$path" -I -S -c "import sys; print('%d.%d.%d' % sys.version_info[:3])" 2>/dev/null </dev/null) || continue
  report python "$version $path"
  case $version in 3.[89].*|3.[1-9][0-9]*) usable=$path; break ;; esac
done
may_have_gpus() {
  (PATH="$PATH:@SEARCH_PATH@"; command -v nvidia-smi >/dev/null 2>&1) ||
  ls /dev/nvidia[0-9]* >/dev/null 2>&1 || grep -qsi 0x10de /sys/bus/pci/devices/*/vendor
}
list_gpus() {
if [ -z "$usable" ]; then return; fi
if ! may_have_gpus; then echo '@NO_GPUS@'; return; fi
"$usable" -I -S - 2>/dev/null <<'@MARK@'
@GPUS@
@MARK@
}
run_program() {
:
@PROGRAM@
}
list_gpus | {
report machine "$(uname -m)"
report uid "$(id -u)"
if [ "$(id -u)" = 0 ] || reason=$(sudo -n true 2>&1 </dev/null); then report sudo yes; fi
report sudo_error "$(printf '%s\n' "$reason" | tail -n 1)"
if command -v rsync >/dev/null 2>&1; then report rsync yes; fi
(. /etc/os-release 2>/dev/null
report os "$ID"; report os_version "$VERSION_ID"; report os_name "$PRETTY_NAME")
report home "$HOME"
addresses=$(hostname -I 2>/dev/null || ip -o -4 addr show scope global | awk '{sub("/.*", "", $4); print $4}')
report addresses "$(echo $addresses)"
report cpus "$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)"
report memory "$(awk '/^MemTotal:/ {print $2}' /proc/meminfo 2>/dev/null)"
output=$(@RUN@)
report gpus "$(cat)"
report end yes
if [ -n "$output" ]; then printf '%s\n' "$output"; fi
}
exit 0
""".replace("@CLOUD_INIT_SECONDS@", str(CLOUD_INIT_SECONDS))
_PROGRAM = """\
if [ -n "$usable" ]; then sudo -n "$usable" -I -S - <<'@MARK@'
@TEXT@
@MARK@
fi
"""
_MARK = "flambe-program-end"
_END = "probe:end=yes\n"
_ANSWER = "\nprobe:answer\n"
# The command runs at the same time as the program; a pipe keeps its output.
_BOTH = "{ %s; } 2>/dev/null </dev/null | { run_program; printf '\\nprobe:answer\\n'; cat; }"


@dataclass(frozen=True, kw_only=True)
class Probe:
    """The facts of a host."""

    python: str = ""  # the path of a Python that Ansible can use, preferably the system's
    python_version: str = ""
    machine: str = ""  # uname -m
    sudo: bool = False  # the user can become root without a password
    sudo_error: str = ""  # the last line of sudo's message if it failed
    rsync: bool = False
    os: str = ""  # ID of os-release, such as debian
    os_version: str = ""  # VERSION_ID, such as 12
    os_name: str = ""  # PRETTY_NAME
    home: str = ""  # the user's home folder
    addresses: tuple[str, ...] = ()  # its addresses, without loopback
    cpus: int = 0  # usable ones
    memory: int = 0  # RAM in KiB
    gpus: HostGpus = field(default_factory=HostGpus)  # NVIDIA's
    cloud_init: str = ""  # done, degraded (recoverable errors), error, unfinished; "" without cloud-init


def write_script(program: str = "", command: str = "") -> str:
    """Return the script; it ends with a program for the host's Python, which runs as root, and a shell command."""
    script = _SCRIPT.replace("@PROGRAM@", _PROGRAM if program else "").replace("@MARK@", _MARK)
    script = script.replace("@RUN@", _BOTH % command if command else "run_program")
    script = script.replace("@SEARCH_PATH@", gpus.read_search_path()).replace("@NO_GPUS@", gpus.NO_GPUS)
    return script.replace("@GPUS@", gpus.read_program()).replace("@TEXT@", program)


def read_program_output(output: str) -> str:
    """Return what the program printed."""
    return output.partition(_END)[2].partition(_ANSWER)[0]


def read_answer(output: str) -> str:
    """Return what the command printed."""
    return output.partition(_END)[2].partition(_ANSWER)[2]


def parse(output: str) -> Probe:
    """Parse the script's output; other lines, such as those of a login script, are ignored."""
    pairs = [line.removeprefix("probe:").partition("=") for line in output.splitlines() if line.startswith("probe:")]
    values = {name: value.strip() for name, _, value in pairs if name != "python"}
    pythons = [value.split(" ", 1) for name, _, value in pairs if name == "python"]
    usable = [(version, path) for version, path in pythons if _numbers(version) >= MINIMUM_PYTHON]
    version, path = usable[0] if usable else ("", "")
    return Probe(
        python=path,
        python_version=version,
        machine=values.get("machine", ""),
        sudo=values.get("sudo") == "yes",
        sudo_error=values.get("sudo_error", ""),
        rsync=values.get("rsync") == "yes",
        os=values.get("os", ""),
        os_version=values.get("os_version", ""),
        os_name=values.get("os_name", ""),
        home=values.get("home", ""),
        addresses=tuple(values.get("addresses", "").split()),
        cpus=_number(values.get("cpus")),
        memory=_number(values.get("memory")),
        gpus=gpus.parse(values.get("gpus", "")),
        cloud_init=_CLOUD_INIT.get(values["cloud_init"], "error") if "cloud_init" in values else "",
    )


def require(host: str, probe: Probe, machines: Sequence[str] = MACHINES) -> None:
    """Raise ``UnsupportedHostError`` with all requirements that are not met, and the commands to fix them."""
    unsupported = _list_unsupported(probe, machines)
    if unsupported:
        raise UnsupportedHostError(f"{host}: {'; '.join(unsupported)}", host=host)
    packages = [name for name, there in (("python3", probe.python), ("rsync", probe.rsync)) if not there]
    missing = [{"python3": "no Python 3.8 or newer"}.get(package, f"no {package}") for package in packages]
    needs_terminal = not probe.sudo and "tty" in probe.sudo_error
    if needs_terminal:
        missing.append(f"sudo requires a terminal ({probe.sudo_error})")
    elif not probe.sudo:
        missing.append("no sudo without a password" + (f" ({probe.sudo_error})" if probe.sudo_error else ""))
    if not missing:
        return
    remedies = []
    if packages:
        remedies.append(f"apt-get update && apt-get install -y {' '.join(packages)}")
    if needs_terminal:
        remedies.append("echo 'Defaults:USER !requiretty' > /etc/sudoers.d/91-flambe (USER: the login user)")
    elif not probe.sudo:
        remedies.append("echo 'USER ALL=(ALL) NOPASSWD:ALL' > /etc/sudoers.d/90-flambe (USER: the login user)")
    raise UnsupportedHostError(f"{host}: {', '.join(missing)}; run there as root: {'; '.join(remedies)}", host=host)


_CLOUD_INIT = {"0": "done", "1": "error", "2": "degraded", "124": "unfinished"}


def _list_unsupported(probe: Probe, machines: Sequence[str]) -> list[str]:
    """List the problems that no command on the host can fix."""
    found = []
    if probe.machine not in machines:
        found.append(f"its processor is {probe.machine or 'unknown'}; {' or '.join(machines)} is required")
    minimum = MINIMUM_RELEASES.get(probe.os)
    name = probe.os_name or "an unknown system"
    # Debian testing and unstable have no version; they are newer than all releases.
    if minimum is None or (probe.os_version and _numbers(probe.os_version) < minimum):
        found.append(f"it runs {name}; supported are Debian 12 or newer and Ubuntu 22.04 or newer")
    return found


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _number(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0
