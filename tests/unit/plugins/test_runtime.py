"""Runtimes that have to be repaired, and commands of uv that take too long."""

from __future__ import annotations

import contextlib
import errno
import getpass
import json
import pwd
import shutil
import sys
import venv as builtin_venv
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils import interpreters, runtime
from ansible_collections.flambe.cluster.plugins.module_utils import uv as uvs

ACCOUNT = pwd.getpwnam(getpass.getuser())
VERSION = "{}.{}.{}".format(*sys.version_info[:3])


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return path


def make(tmp_path: Path, **changes: Any) -> Any:
    params = {
        "root": str(tmp_path),
        "python_version": VERSION,
        "python": "",
        "exact": False,
        "resolved": True,
        "torch_backend": "none",
        "requirements": [],
        "constraints": [],
        "imports": ["flambe"],
        "links": [],
        "links_dir": str(tmp_path),
        "replace_links": False,
        "timeout": 60,
        "timeout_setting": "flambe_timeout",
        **changes,
    }
    return runtime.Runtime(params, ACCOUNT)


def test_changed_versions_are_described(tmp_path: Path) -> None:
    for name in ("flambe-0.4.18", "ray-0.7.6"):
        (tmp_path / f"venv/lib/python3.7/site-packages/{name}.dist-info").mkdir(parents=True)
    made = make(tmp_path, requirements=["flambe==0.4.17", "ray==0.7.6", "psutil"])
    made.inspect()
    assert made.describe_change() == "flambe changes from 0.4.18 to 0.4.17"
    same = make(tmp_path, requirements=["flambe==0.4.18"])
    same.inspect()
    assert same.describe_change() == "install"


def test_changed_releases_are_described_before_the_packages_are_resolved(tmp_path: Path, installed: Path) -> None:
    for name in ("ray-2.59.0", "six-1.17.0"):
        (site_packages(tmp_path) / f"{name}.dist-info").mkdir()
    made = make(tmp_path, exact=True, resolved=False, requirements=["ray[default]==2.60.0", "iniconfig"], imports=[])
    made.inspect()
    assert made.todo[0] == "change to the packages that will be resolved"
    assert made.describe_change() == "ray changes from 2.59.0 to 2.60.0"


def test_an_interrupted_environment_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "venv/lib").mkdir(parents=True)
    (tmp_path / "tmp/uv-left").mkdir(parents=True)
    (tmp_path / "tmp/uv-left/uv.toml").touch()
    called: list[tuple[Any, ...]] = []

    class Uv:
        workplace = staticmethod(lambda: contextlib.nullcontext(str(tmp_path)))

        @staticmethod
        def run(*argv: str, cwd: str) -> None:
            called.append((*argv, *(list((tmp_path / name).iterdir()) for name in ("venv", "tmp"))))
            raise accounts.CommandError("uv venv failed", "uv venv", "")

    made = make(tmp_path)
    monkeypatch.setattr(made.installer, "prepare_uv", Uv)
    made.inspect()
    with pytest.raises(accounts.CommandError):
        made.converge()
    [call] = called
    assert (call[0], call[-3], call[-2:]) == ("venv", str(tmp_path / "venv"), ([], []))


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A complete runtime on this Python, with the module flambe; returns its interpreter."""
    builtin_venv.create(tmp_path / "venv", symlinks=True)
    package = site_packages(tmp_path) / "flambe"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('slow')")  # is found, not imported
    mark(tmp_path)
    return tmp_path / "venv/bin/python"


def site_packages(tmp_path: Path) -> Path:
    return tmp_path / "venv/lib/python{}.{}/site-packages".format(*sys.version_info)


def mark(tmp_path: Path, **changes: Any) -> None:
    marker = {"inputs": make(tmp_path).digest, "user": ACCOUNT.pw_name, **changes}
    (tmp_path / "venv/flambe-runtime.json").write_text(json.dumps(marker))


def inspect(tmp_path: Path, **changes: Any) -> tuple[list[str], bool]:
    """Return what has to be done, and whether the environment is created again."""
    made = make(tmp_path, **changes)
    made.inspect()
    return made.todo, made.fresh


def test_a_python_that_does_not_start_is_replaced(tmp_path: Path, installed: Path) -> None:
    assert inspect(tmp_path) == ([], False)
    installed.unlink()
    again = "install again: its Python does not start: "
    missing = "error while loading shared libraries: libpython3.7m.so.1.0: cannot open shared object file"
    script(installed, f"echo one; echo '{missing}' >&2; exit 127\n")
    assert inspect(tmp_path) == ([again + missing], True)
    script(installed, "exit 3\n")
    assert inspect(tmp_path) == ([f"{again}exit code 3"], True)
    installed.write_text("")
    assert inspect(tmp_path) == ([f"{again}{installed}: Exec format error"], True)
    installed.unlink()
    installed.symlink_to(tmp_path / "moved/python3.7")
    assert inspect(tmp_path) == ([f"{again}{tmp_path}/moved/python3.7: No such file or directory"], True)


def test_an_environment_that_its_python_ignores_is_replaced(tmp_path: Path, installed: Path) -> None:
    (tmp_path / "venv/pyvenv.cfg").unlink()
    expected = "install again: its Python ignores it, because pyvenv.cfg is missing or damaged"
    assert inspect(tmp_path) == ([expected], True)


def test_a_python_of_another_version_is_replaced(tmp_path: Path, installed: Path) -> None:
    mark(tmp_path, inputs=make(tmp_path, python_version="3.7").digest)
    assert inspect(tmp_path, python_version="3.7") == ([f"install with Python 3.7 instead of {VERSION}"], True)


def test_an_environment_of_another_user_is_replaced(tmp_path: Path, installed: Path) -> None:
    mark(tmp_path, user="ml")
    assert inspect(tmp_path) == ([f"install again: it belongs to ml instead of {ACCOUNT.pw_name}"], True)


@pytest.mark.parametrize("code", [0, errno.EXDEV, errno.EACCES])
def test_an_environment_is_discarded_also_from_a_lower_layer_of_an_overlay(
    tmp_path: Path, installed: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    (tmp_path / "tmp").mkdir()
    removed: list[bool] = []
    remove = shutil.rmtree

    def refuse(source: str, target: str) -> None:
        raise OSError(code, "rename")

    def watch(path: str, **options: Any) -> None:
        removed.append((tmp_path / "venv/flambe-runtime.json").exists())
        remove(path, **options)

    if code:
        monkeypatch.setattr(runtime.os, "rename", refuse)
    monkeypatch.setattr(runtime.shutil, "rmtree", watch)
    made = make(tmp_path)
    with pytest.raises(OSError, match="rename") if code == errno.EACCES else contextlib.nullcontext():
        made.discard_venv()
    assert (tmp_path / "venv").exists() is (code == errno.EACCES)
    assert removed == ([] if code == errno.EACCES else [False])  # no marker when the removal begins


def test_missing_packages_are_repaired(tmp_path: Path, installed: Path) -> None:
    mark(tmp_path, distributions=["flambe", "torch"])
    assert inspect(tmp_path) == (["repair flambe, torch"], False)


def test_the_user_can_replace_packages_that_root_has_installed(
    tmp_path: Path, installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def fail(*_arguments: object) -> None:
        done.append("packages")
        raise accounts.CommandError("uv failed", "uv", "")

    made = make(tmp_path)
    monkeypatch.setattr(runtime.files, "give_back_folders", lambda path, _uid, _gid: done.append(path))
    monkeypatch.setattr(made.installer, "prepare_uv", lambda: None)
    monkeypatch.setattr(made, "install_packages", fail)
    made.inspect()
    with pytest.raises(accounts.CommandError):
        made.install()
    assert done == [str(tmp_path / "venv"), "packages"]


def test_a_module_that_only_its_package_provides_is_found(tmp_path: Path, installed: Path) -> None:
    (site_packages(tmp_path) / "flambe/__init__.py").write_text("import sys; sys.modules['flambe.lazy'] = sys")
    assert inspect(tmp_path, imports=["flambe.lazy"]) == ([], False)


def test_modules_that_are_not_found_are_repaired(tmp_path: Path, installed: Path) -> None:
    imports = ["flambe", "os.path", "ray", "ray.tune", "json.tool", "xml.dom.none"]
    made = make(tmp_path, requirements=["flambe[all]<1", "psutil"], imports=imports)
    mark(tmp_path, inputs=made.digest)
    made.inspect()
    assert (made.todo, made.fresh) == (["repair: its Python does not find ray, ray.tune, xml.dom.none"], False)
    assert made.reinstall == ["flambe", "psutil"]


def test_a_python_that_times_out_is_not_replaced(
    tmp_path: Path, installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interpreters, "_PROBE_SECONDS", 0.3)
    installed.unlink()
    script(installed, "exec sleep 60\n")
    with pytest.raises(accounts.CommandTimeoutError, match=r"still running after 0\.3 s"):
        inspect(tmp_path)
    assert interpreters.find(ACCOUNT, "no-such-version", str(tmp_path)) is None


def test_the_environment_is_not_based_on_itself(
    tmp_path: Path, installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = "{}.{}".format(*sys.version_info)
    monkeypatch.setattr(accounts, "which", lambda account, command: f"{installed}{wanted[1:]}")
    build = tmp_path / f"python/cpython-{VERSION}/bin/python{wanted}"
    script(build, f'exec {sys.executable} "$@"\n')
    found = interpreters.candidates(ACCOUNT, wanted, str(tmp_path))
    assert found[-1] == str(build)
    assert [path for path in found if path.startswith(str(installed.parent))] == []


def test_imports_that_take_too_long(tmp_path: Path, installed: Path) -> None:
    installed.unlink()
    script(installed, "echo loading; exec sleep 60\n")
    with pytest.raises(accounts.CommandTimeoutError) as caught:
        make(tmp_path, timeout=0.3).verify()
    expected = "import flambe: still running after 0.3 s; last output: loading; raise flambe_timeout to allow more"
    assert str(caught.value) == expected


def test_imports_that_fail(tmp_path: Path, installed: Path) -> None:
    installed.unlink()
    script(installed, "echo 'ImportError: no torch'; exit 1\n")
    with pytest.raises(accounts.CommandError, match=r"^import flambe failed with exit code 1$") as caught:
        make(tmp_path).verify()
    assert caught.value.output == "ImportError: no torch"


def make_uv(tmp_path: Path, text: str, timeout: float = 60) -> Any:
    (tmp_path / "tmp").mkdir()
    params = {"root": str(tmp_path), "timeout": timeout, "timeout_setting": "flambe_timeout"}
    return uvs.Uv(str(script(tmp_path / "uv", text)), ACCOUNT, {}, params)


def test_a_command_of_uv_that_takes_too_long(tmp_path: Path) -> None:
    uv = make_uv(tmp_path, "echo Resolving; echo torch; exec sleep 60\n", timeout=0.3)
    with uv.workplace() as folder, pytest.raises(accounts.CommandTimeoutError) as caught:
        uv.run("pip", "install", "-r", "x", cwd=folder)
    expected = "uv pip install: still running after 0.3 s; last output: torch; raise flambe_timeout to allow more"
    assert (str(caught.value), caught.value.output) == (expected, "Resolving\ntorch")


@pytest.mark.parametrize(("reason", "calls"), [("Because there is no version of six==2", 2), ("no space left", 1)])
def test_a_version_that_is_newer_than_the_cached_index_is_asked_for_again(
    tmp_path: Path, reason: str, calls: int
) -> None:
    log = tmp_path / "calls"
    uv = make_uv(tmp_path, f'echo "$*" >> {log}; case $* in *--refresh*) exit 0;; esac; echo {reason}; exit 1\n')
    with contextlib.nullcontext() if calls == 2 else pytest.raises(accounts.CommandError):
        uv.sync("python", ["six==2"], [])
    with contextlib.nullcontext() if calls == 2 else pytest.raises(accounts.CommandError):
        uv.add("python", "/overlay", ["six==2"], [])
    assert ["--refresh" in line for line in log.read_text().splitlines()] == [False, True][:calls] * 2


def test_a_command_of_uv_that_fails(tmp_path: Path) -> None:
    uv = make_uv(tmp_path, "echo no torch; exit 2\n")
    with uv.workplace() as folder, pytest.raises(accounts.CommandError) as caught:
        uv.run("python", "install", cwd=folder)
    assert (str(caught.value), caught.value.output) == ("uv python install failed with exit code 2", "no torch")


@pytest.mark.parametrize("begin", ["error:", "  ×"])  # noqa: RUF001 - as uv prints it
def test_a_failed_build_is_named_before_its_long_log(tmp_path: Path, begin: str) -> None:
    lines = ["Resolved 2 packages", f"{begin} Failed to build `old==1.0`", *(f"frame {number}" for number in range(40))]
    uv = make_uv(tmp_path, "cat <<'END'\n" + "".join(f"{line}\n" for line in lines) + "END\nexit 1\n")
    with uv.workplace() as folder, pytest.raises(accounts.CommandError) as caught:
        uv.run("pip", "sync", cwd=folder)
    assert str(caught.value) == "uv pip sync failed with exit code 1: Failed to build `old==1.0`"
    assert caught.value.output.splitlines()[-1] == "frame 39"


def test_requirements_are_installed_in_one_resolution(tmp_path: Path) -> None:
    uv = make_uv(tmp_path, f'echo "$@" > {tmp_path}/seen; cat requirements.txt constraints.txt >> {tmp_path}/seen\n')
    uv.install("/py", ["a==1", "b"], ["c<2"], ["a"])
    assert (tmp_path / "seen").read_text() == (
        "pip install --python /py -r requirements.txt -c constraints.txt --reinstall-package=a\na==1\nb\nc<2\n"
    )


def test_uv_does_not_inherit_another_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "read_environment", lambda path: {"PYTHONPATH": "/opt/x", "PYTHONHOME": "/opt"})
    uv = make_uv(tmp_path, 'echo "[$PYTHONPATH$PYTHONHOME]"\n')
    with uv.workplace() as folder:
        assert uv.run("version", cwd=folder) == "[]\n"


def converge(tmp_path: Path, **changes: Any) -> list[str]:
    """Converge without an installation; return what was done."""
    made = make(tmp_path, **changes)
    made.inspect()
    assert not made.installs
    done = list(made.todo)
    made.converge()
    made.inspect()
    assert made.todo == []
    return done


def test_the_environment_that_was_linked_first_keeps_the_link(tmp_path: Path) -> None:
    """As two environments with the same command on one host, in any order and any number of times."""
    shared = tmp_path / "bin"
    shared.mkdir()
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        builtin_venv.create(folder / "venv", symlinks=True)
        (site_packages(folder) / "flambe").mkdir()
        (site_packages(folder) / "flambe/__init__.py").touch()
        script(folder / "venv/bin/ray", "exit\n")
        mark(folder)
    link, wanted = shared / "ray", {"links": ["ray", "no-such-command"], "links_dir": str(shared)}
    a, b = tmp_path / "a", tmp_path / "b"
    assert converge(a, **wanted) == [f"link {link}"]
    assert converge(b, **wanted) == converge(a, **wanted) == []
    assert make(b, **wanted).kept_links() == {str(link): str(a / "venv/bin/ray")}
    assert converge(b, **wanted, replace_links=True) == [f"link {link}"]
    assert converge(a, **wanted) == []
    # The first that no longer has the command loses the link.
    (b / "venv/bin/ray").unlink()
    assert converge(a, **wanted) == [f"link {link}"]
    (a / "venv/bin/ray").unlink()
    assert converge(b, **wanted) == []
    assert converge(a, **wanted) == [f"remove {link}, which leads nowhere"]
    assert list(shared.iterdir()) == []
