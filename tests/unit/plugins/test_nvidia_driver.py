"""NVIDIA's driver: its check, its installation, and persistence mode, with programs in place of the host's."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils import nvidia_driver, nvidia_smi
from ansible_collections.flambe.cluster.plugins.module_utils.nvidia_driver import Driver, DriverError

from tests.nvidia_smi import IDLE, LISTED, write_eight, write_script

UBUNTU = 'ID=ubuntu\nID_LIKE=debian\nPRETTY_NAME="Ubuntu 24.04.1 LTS"\n'
MISMATCH = "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 535.161\n"


class Host:
    """A folder with the programs of a host, which write what they are called with to a log."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.log.touch()
        self.release = folder / "os-release"
        self.release.write_text(UBUNTU)
        (folder / "bin").mkdir()

    def add(self, name: str, text: str) -> None:
        (self.folder / "bin" / name).write_text(text)
        (self.folder / "bin" / name).chmod(0o755)

    def add_smi(self, *args: Any, **options: Any) -> None:
        first = f'echo "nvidia-smi $*" >> {self.log}\n{options.pop("first", "")}'
        mode = str(self.folder / "mode")
        self.add("nvidia-smi", write_script(*args, mode=mode, first=first, **options))

    def add_apt(self, *, output: str = "", code: int = 0) -> None:
        """Add an apt-get that installs nvidia-smi, if it succeeds, and a modprobe."""
        smi = write_script(mode=str(self.folder / "mode"))
        (self.folder / "smi").write_text(smi)
        install = f"install -m 755 {self.folder}/smi {self.folder}/bin/nvidia-smi"
        (self.folder / "answer").write_text(output)
        result = f"cat {self.folder}/answer; exit {code}" if code else install
        self.add("apt-get", f'#!/bin/sh\necho "apt-get $*" >> {self.log}\ncase $* in *install*) {result};; esac\n')
        self.add("modprobe", f'#!/bin/sh\necho "modprobe $*" >> {self.log}\n')

    def make(self, *, dry: bool = False, **params: Any) -> Driver:
        return Driver({"driver": "require", "packages": [], "persistence": True, "timeout": 60, **params}, dry)

    @property
    def calls(self) -> list[str]:
        return self.log.read_text().splitlines()


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host(tmp_path)
    path = f"{tmp_path}/bin:/usr/bin:/bin"
    monkeypatch.setenv("PATH", path)
    monkeypatch.setattr(accounts, "SYSTEM_PATH", path)
    monkeypatch.setattr(nvidia_smi, "PATH", "")
    monkeypatch.setattr(nvidia_smi, "count_cards", lambda: 1)
    monkeypatch.setattr(nvidia_smi, "ENVIRONMENT", str(tmp_path / "environment"))
    monkeypatch.setattr(nvidia_smi, "DEV", str(tmp_path))
    monkeypatch.setattr(nvidia_driver, "OS_RELEASE", str(made.release))
    monkeypatch.setattr(accounts, "find", lambda _name: accounts.pwd.getpwnam(getpass.getuser()))
    return made


def test_a_host_without_gpus_is_unchanged(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvidia_smi, "count_cards", lambda: 0)
    host.add_apt()
    driver = host.make(driver="install")
    assert (driver.converge()["state"], driver.actions, host.calls) == ("none", [], [])


def test_persistence_mode_is_turned_on_once(host: Host) -> None:
    host.add_smi(write_eight())
    dry = host.make(dry=True)
    dry.converge()
    assert dry.actions == ["turn persistence mode on"]
    assert "nvidia-smi -pm 1" not in host.calls
    first, second = host.make(), host.make()
    assert len(first.converge()["gpus"]) == 8
    second.converge()
    assert (first.actions, second.actions, host.calls.count("nvidia-smi -pm 1")) == (dry.actions, [], 1)


def test_persistence_mode_may_stay_off(host: Host) -> None:
    host.add_smi()
    driver = host.make(persistence=False)
    driver.converge()
    assert driver.actions == []


def test_a_gpu_without_persistence_mode_is_a_warning(host: Host) -> None:
    host.add_smi(first='case "$*" in "-pm 1") echo "Unable to set persistence mode: Not Supported"; exit 3;; esac')
    driver = host.make()
    driver.converge()
    assert driver.actions == []
    assert driver.warnings == ["persistence mode could not be turned on: Unable to set persistence mode: Not Supported"]


@pytest.mark.parametrize(
    ("output", "code", "message"),
    [
        (MISMATCH, 18, "the loaded module of NVIDIA's driver has version 535.154.05, its libraries have version"
         " 535.161: reboot the host"),
        ("No devices were found\n", 6,
         "nvidia-smi: No devices were found; read `dmesg | grep -i nvrm` on the host, and reboot it"),
        (IDLE.replace("143771", "ERR!"), 0,
         "nvidia-smi: GPU 0: ERR!; read `dmesg | grep -i nvrm` on the host, and reboot it"),
        ("couldn't communicate with the NVIDIA driver", 9, "NVIDIA's driver is installed, and it is not loaded; set"
         " cluster_gpu_driver (nvidia_driver in a cluster.yaml) to install, or to ignore"),
    ],
)  # fmt: skip
def test_gpus_that_cannot_be_used_fail_in_one_line(
    host: Host, monkeypatch: pytest.MonkeyPatch, output: str, code: int, message: str
) -> None:
    monkeypatch.setattr(nvidia_smi, "read_module_version", lambda: "535.154.05")
    host.add_smi(output, listed=LISTED, code=code)
    for dry in (True, False):
        with pytest.raises(DriverError) as caught:
            host.make(dry=dry).converge()
        assert str(caught.value) == message


def test_a_host_without_a_driver_fails_or_gets_it(host: Host) -> None:
    host.add_apt()
    with pytest.raises(DriverError, match="1 NVIDIA GPU, and no driver is installed; set cluster_gpu_driver"):
        host.make().converge()
    kernel = nvidia_driver.platform.release()
    packages = f"linux-headers-{kernel} nvidia-headless-580-server nvidia-utils-580-server"
    dry = host.make(dry=True, driver="install")
    assert dry.converge()["state"] == "no_driver"
    assert (dry.actions, host.calls) == ([f"install {packages}"], [])
    driver = host.make(driver="install")
    assert driver.converge()["state"] == "ok"
    assert driver.actions == [f"install {packages}", "turn persistence mode on"]
    assert host.calls == [
        "apt-get -q update", f"apt-get -q install -y --no-install-recommends {packages}", "modprobe nvidia",
    ]  # fmt: skip
    again = host.make(driver="install")
    again.converge()
    assert again.actions == []


@pytest.mark.parametrize(
    ("release", "given", "packages"),
    [
        ("ID=debian\n", [], ["nvidia-kernel-dkms", "nvidia-smi", "libcuda1"]),
        ("ID=pop\nID_LIKE='ubuntu debian'\n", [], ["nvidia-headless-580-server", "nvidia-utils-580-server"]),
        ("ID=fedora\n", ["akmod-nvidia"], ["akmod-nvidia"]),
    ],
)
def test_the_packages_of_the_distribution(host: Host, release: str, given: list[str], packages: list[str]) -> None:
    host.release.write_text(release)
    driver = host.make(dry=True, driver="install", packages=given)
    driver.converge()
    [action] = driver.actions
    assert action.endswith(" ".join(packages))


def test_an_unknown_distribution(host: Host) -> None:
    host.release.write_text('ID=fedora\nPRETTY_NAME="Fedora 40"\n')
    with pytest.raises(DriverError, match="no packages are known for Fedora 40: set cluster_gpu_packages"):
        host.make(driver="install").converge()


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("E: Unable to locate package nvidia-smi\nE: Unable to locate package libcuda1", "no nvidia-smi, libcuda1:"),
        ("E: Package 'nvidia-kernel-dkms' has no installation candidate", "no nvidia-kernel-dkms: enable restricted"),
        (
            "Reading...\nE: You do not have enough free space in /var/cache/apt",
            "installed: You do not have enough free",
        ),
    ],
)
def test_a_failed_installation_has_its_reason(host: Host, output: str, words: str) -> None:
    host.add_apt(output=output, code=100)
    with pytest.raises(DriverError) as caught:
        host.make(driver="install").converge()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_driver_that_does_not_work_after_its_installation(host: Host) -> None:
    host.add_apt()
    (host.folder / "smi").write_text('#!/bin/sh\necho "couldn\'t communicate with the NVIDIA driver"; exit 9\n')
    with pytest.raises(DriverError, match=r"was installed, and does not work: .* not loaded; reboot the host"):
        host.make(driver="install").converge()
