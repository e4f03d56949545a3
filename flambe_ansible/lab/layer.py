"""Settings that hosts take from this machine: certificates, proxies, package sources, pip's configuration.

They are a layer over the base image. ``lab up`` rebuilds it, unless the lab has hosts or images of hosts.
"""

from __future__ import annotations

import configparser
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from flambe_ansible.lab import python37, sources
from flambe_ansible.lab.image import USER_ID, write_file
from flambe_ansible.lab.python37 import Python37
from flambe_ansible.lab.system import Person

CACHE = "/var/cache/flambe-lab"
CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"

_CONTROL_GROUPS_UNIT = "lab-control-groups.service"  # no unit flambe-*: bake removes those from the image
# systemd-nspawn mounts the old hierarchies read-only. They are those of the host alone, in a namespace of its own; an
# engine in the host needs groups for its containers.
_CONTROL_GROUPS = """\
[Unit]
Description=Make the control groups of this host writable for containers
ConditionPathIsMountPoint=/sys/fs/cgroup/memory
DefaultDependencies=no
Before=sysinit.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'for group in /sys/fs/cgroup/*/; do mount -o remount,bind,rw "$group"; done'
"""

# OpenSSH 9.0 to 9.8 prefer sntrup761x25519-sha512: a tenth of a second of processor time on each side of a connection,
# and in a lab both sides are this machine.
_SSHD = "KexAlgorithms curve25519-sha256,curve25519-sha256@libssh.org\n"

_CERTIFICATES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy")
_INDEX_KEYS = ("index-url", "extra-index-url", "find-links", "trusted-host", "timeout", "default-timeout")


def build(folder: Path, *, person: Person, python: Python37 | None) -> None:
    """Build the layer, replacing an existing one. pip's configuration is the person's, root's and the machine's."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.parent.chmod(0o700)
    draft = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(draft, ignore_errors=True)
    (draft / "etc").mkdir(parents=True)
    _write_environment(draft)
    for name in ("etc/ssl/certs", "usr/local/share/ca-certificates"):  # the authorities that this machine trusts
        if Path("/", name).is_dir():
            shutil.copytree(Path("/", name), draft / name, symlinks=True, ignore=shutil.ignore_patterns("java"))
    _write_apt(draft)
    _write_indexes(draft, pip_settings(pip_files(person), os.environ))
    _write_unit(draft, _CONTROL_GROUPS_UNIT, _CONTROL_GROUPS)
    write_file(draft / "etc/ssh/sshd_config.d/50-flambe-lab.conf", _SSHD)
    if python is not None:
        _write_python37(draft, python)
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)


def pip_files(person: Person) -> list[Path]:
    """List pip's configuration files, in increasing priority: the machine's, root's, the user's."""
    homes = dict.fromkeys((Path("/root"), person.home))
    own = [home / name for home in homes for name in (".pip/pip.conf", ".config/pip/pip.conf")]
    return [Path("/etc/pip.conf"), *own, Path(os.environ.get("PIP_CONFIG_FILE") or os.devnull)]


def pip_settings(files: list[Path], environ: Mapping[str, str]) -> dict[str, str]:
    """Read pip's indexes from the environment and files in increasing priority, except those on this machine."""
    found: dict[str, str] = {}
    for path in files:
        parser = configparser.RawConfigParser()
        try:
            parser.read(path)
        except configparser.Error:
            continue
        for section in ("global", "install"):
            if parser.has_section(section):
                found |= {key: value for key, value in parser.items(section) if key in _INDEX_KEYS}
    for key in _INDEX_KEYS:
        if value := environ.get("PIP_" + key.upper().replace("-", "_")):
            found[key] = value
    if "default-timeout" in found:
        found["timeout"] = found.pop("default-timeout")
    return {key: text for key, value in found.items() if (text := _reachable(key, value))}


def _reachable(key: str, value: str) -> str:
    """Remove this machine's folders and loopback addresses from a setting's URLs."""
    if key not in {"index-url", "extra-index-url", "find-links"}:
        return value.strip()
    urls = [word for word in value.split() if re.match(r"https?://", word)]
    return "\n".join(word for word in urls if not _is_loopback(urlsplit(word).hostname or ""))


def _is_loopback(name: str) -> bool:
    return name in {"localhost", "::1"} or name.startswith("127.")


def uv_toml(settings: Mapping[str, str]) -> str:
    """Return uv's configuration, with the same indexes as pip's."""
    lines = [f'cache-dir = "{CACHE}/uv"', 'link-mode = "copy"']
    if index := settings.get("index-url"):
        lines.append(f"index-url = {_quoted(index)}")
    lists = {"extra-index-url": "extra-index-url", "find-links": "find-links", "trusted-host": "allow-insecure-host"}
    for key, name in lists.items():
        words = settings.get(key, "").split()
        lines += [f"{name} = [{', '.join(map(_quoted, words))}]"] if words else []
    return "\n".join(lines) + "\n"


def pip_conf(settings: Mapping[str, str]) -> str:
    """Return pip's configuration for the hosts."""
    lines = ["[global]", f"cache-dir = {CACHE}/pip", f"cert = {CA_BUNDLE}", "disable-pip-version-check = true"]
    lines += [f"{key} = " + "\n    ".join(value.split()) for key, value in settings.items()]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """Return a TOML string."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _write_indexes(draft: Path, settings: Mapping[str, str]) -> None:
    """Write pip's and uv's configuration, readable for root and the login user only: URLs may contain passwords."""
    for name, text in (("etc/pip.conf", pip_conf(settings)), ("etc/uv/uv.toml", uv_toml(settings))):
        write_file(draft / name, text, mode=0o600)
        os.chown(draft / name, USER_ID, USER_ID)
    # Root has a separate cache, because the user could not replace root's files.
    own = uv_toml(settings).replace(f"{CACHE}/uv", f"{CACHE}/uv-root")
    write_file(draft / "root/.config/uv/uv.toml", own, mode=0o600)
    (draft / "root").chmod(0o700)


def environment_lines(environ: Mapping[str, str]) -> list[str]:
    """Return the lines of /etc/environment: the machine's proxies, and the path of the certificates."""
    lines = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"]
    lines += [f"{name}={CA_BUNDLE}" for name in _CERTIFICATES]
    for name in _PROXIES:
        for spelling in (name, name.upper()):
            value = environ.get(spelling)
            if value and "\n" not in value and not _is_loopback(urlsplit(value).hostname or ""):
                lines.append(f"{spelling}={value}")
    return lines


def _write_environment(draft: Path) -> None:
    """Write the environment of logins on a host."""
    write_file(draft / "etc/environment", "\n".join(environment_lines(os.environ)) + "\n")
    write_file(draft / "etc/default/locale", "LANG=C.UTF-8\n")
    kept = " ".join([*_CERTIFICATES, *_PROXIES, *(name.upper() for name in _PROXIES)])
    write_file(draft / "etc/sudoers.d/91-flambe-lab", f'Defaults env_keep += "{kept}"\n', mode=0o440)


def _write_unit(draft: Path, name: str, text: str) -> None:
    """Write a unit that starts early at every boot of a host."""
    write_file(draft / "etc/systemd/system" / name, text)
    link = draft / "etc/systemd/system/sysinit.target.wants" / name
    link.parent.mkdir(parents=True)
    link.symlink_to(f"../{name}")


def _write_python37(draft: Path, python: Python37) -> None:
    """Put ``python3.7`` on the hosts' PATH, and its library into a folder that the loader searches."""
    # A script, so that venvs refer to the real folder.
    command = f'#!/bin/sh\nexec {python37.HOME}/bin/python3.7 "$@"\n'
    write_file(draft / "usr/local/bin/python3.7", command, mode=0o755)
    if python.own_library:
        link = draft / "usr/lib/x86_64-linux-gnu" / Path(python.own_library).name
        link.parent.mkdir(parents=True)
        link.symlink_to(python.own_library)


def _write_apt(draft: Path) -> None:
    """Write apt's configuration: the distribution's sources, their keyrings, and proxies."""
    found = sources.machine_sources(sources.this_release())
    write_file(draft / "etc/apt/sources.list", "".join(f"{source}\n" for source in found))
    for key in {Path(value) for source in found for option, value in source.options if option == "signed-by"}:
        if key.is_file():
            target = draft / str(key).lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(key, target)
    for path in [Path("/etc/apt/auth.conf"), *Path("/etc/apt/auth.conf.d").glob("*.conf")]:
        if path.is_file():
            write_file(draft / str(path).lstrip("/"), path.read_text(), mode=0o600)
    lines = ['Acquire::Languages "none";']
    for scheme in ("http", "https"):
        value = os.environ.get(f"{scheme}_proxy") or os.environ.get(f"{scheme.upper()}_PROXY")
        if value and not _is_loopback(urlsplit(value).hostname or ""):
            lines.append(f'Acquire::{scheme}::Proxy "{value}";')
    write_file(draft / "etc/apt/apt.conf.d/90flambe-lab", "\n".join(lines) + "\n")
