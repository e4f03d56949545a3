"""The machine's package sources, from which the base image is built and its hosts install packages."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from flambe_ansible.errors import LabError

SUPPORTED = {"debian": 12, "ubuntu": 22}


@dataclass(frozen=True)
class Release:
    """The distribution of this machine and of the lab's hosts."""

    distribution: str
    version: str
    codename: str


@dataclass(frozen=True)
class Source:
    """One ``deb`` line of apt."""

    uri: str
    suite: str
    components: tuple[str, ...]
    options: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        options = " ".join(f"{key}={value}" for key, value in self.options)
        return " ".join(("deb", *([f"[{options}]"] if options else []), self.uri, self.suite, *self.components))


def read_release(text: str) -> Release:
    """Read os-release; LabError if the lab does not run on this distribution."""
    pairs = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    value = {key: word.strip().strip('"') for key, word in pairs.items()}
    release = Release(value.get("ID", ""), value.get("VERSION_ID", ""), value.get("VERSION_CODENAME", ""))
    oldest = SUPPORTED.get(release.distribution)
    number = release.version.split(".")[0]
    if oldest is None or not release.codename or not number.isdigit() or int(number) < oldest:
        name = value.get("PRETTY_NAME", "this machine")
        raise LabError(f"the lab runs on Debian 12 or newer and Ubuntu 22.04 or newer, not on {name}")
    return release


def this_release() -> Release:
    """Read the release of this machine."""
    return read_release(Path("/etc/os-release").read_text())


def machine_sources(release: Release, etc: Path = Path("/etc/apt")) -> list[Source]:
    """List the machine's sources of its release, without those of other vendors."""
    readers = {".list": read_list, ".sources": read_deb822}
    files = [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]
    texts = [(readers[path.suffix], path.read_text()) for path in files if path.is_file() and path.suffix in readers]
    suites = {release.codename + pocket for pocket in ("", "-updates", "-security", "-backports")}
    found = [source for read, text in texts for source in read(text)]
    wanted = [source for source in found if source.suite in suites and "main" in source.components]
    if not any(source.suite == release.codename for source in wanted):
        raise LabError(f"/etc/apt names no package source of {release.distribution} {release.codename}")
    return wanted


def main_source(sources: Iterable[Source], release: Release) -> Source:
    """Return the source of the release's main component."""
    return next(s for s in sources if s.suite == release.codename and "main" in s.components)


def read_list(text: str) -> list[Source]:
    """Read apt's one-line format."""
    found = []
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)(?P<rest>[^#]*)", line)
        if match:
            pairs = (word.split("=", 1) for word in (match["options"] or "").split() if "=" in word)
            options = tuple((key, value) for key, value in pairs)
            found.append(Source(match["uri"], match["suite"], tuple(match["rest"].split()), options))
    return found


def read_deb822(text: str) -> list[Source]:
    """Read apt's paragraph format."""
    found = []
    for paragraph in re.split(r"\n\s*\n", text):
        lines = "\n".join(line for line in paragraph.splitlines() if not line.startswith("#"))
        pairs = re.findall(r"^([\w-]+):[ \t]*(.*(?:\n[ \t]+.*)*)", lines, re.MULTILINE)
        fields = {key.lower(): value.split() for key, value in pairs}
        if "deb" not in fields.get("types", []) or fields.get("enabled") == ["no"]:
            continue
        signed = fields.get("signed-by", [])
        options = (("signed-by", signed[0]),) if len(signed) == 1 and signed[0].startswith("/") else ()
        components = tuple(fields.get("components", ()))
        found += [Source(uri, suite, components, options) for uri in fields["uris"] for suite in fields["suites"]]
    return found
