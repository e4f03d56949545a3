"""flambé on this machine: the variables of the roles, and the arguments of flambé."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from unittest.mock import create_autospec

import pytest

from flambe_ansible import paths
from flambe_ansible.errors import PlaybookError, RunError, TaskFailure
from flambe_ansible.events import Event, Notice
from flambe_ansible.runnable import RunnableFile, read
from flambe_ansible.runtimes import RuntimeVersion, local_flambe

TEXT = """\
!Experiment
name: mine
resources:
  data: data.txt  # beside this file
pipeline:
  one: !Trainer {data: !@ data}
"""


@pytest.fixture
def file(tmp_path: Path) -> RunnableFile:
    (tmp_path / "data.txt").touch()
    (tmp_path / "mine.yaml").write_text(TEXT)
    return read(tmp_path / "mine.yaml")


def test_the_roles_create_the_runtime_below_the_state_folder(
    file: RunnableFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    play = create_autospec(local_flambe.run_playbook)
    monkeypatch.setattr(local_flambe, "run_playbook", play)
    received: list[Event] = []
    root = paths.state_root() / "runtime"
    assert local_flambe.prepare(file, observer=received.append) == root / "venv/bin/python"
    everything = play.call_args.kwargs["inventory"]["all"]
    variables = everything["vars"]
    assert (variables["flambe_root"], variables["cluster_extensions_packages"]) == (str(root), {})
    assert everything["hosts"]["localhost"]["ansible_become"] is False
    assert (paths.collection() / "playbooks" / play.call_args.args[0]).is_file()
    assert isinstance(received[0], Notice)
    assert "takes some minutes" in received[0].message


def test_the_wheel_of_an_editable_install_is_used(
    file: RunnableFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play = create_autospec(local_flambe.run_playbook)
    monkeypatch.setattr(local_flambe, "run_playbook", play)
    found = RuntimeVersion(version="0.4.18", origin="", source=tmp_path)
    monkeypatch.setattr(local_flambe.flambe_version, "resolve", lambda: found)
    monkeypatch.setattr(
        local_flambe.flambe_version,
        "build",
        lambda found, **_: replace(found, version="1+content.1a", wheel=Path("/c/f.whl")),
    )
    local_flambe.prepare(file)
    variables = play.call_args.kwargs["inventory"]["all"]["vars"]
    assert (variables["flambe_version"], variables["flambe_wheel_src"]) == ("1+content.1a", "/c/f.whl")


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("python", "flambé needs Python 3.7; this machine has none"),
        ("packages", r"^local.yml failed$"),
    ],
)
def test_a_missing_python_is_reported_in_one_line(
    file: RunnableFile, monkeypatch: pytest.MonkeyPatch, step: str, message: str
) -> None:
    failure = TaskFailure(host="localhost", role="flambe", task="Install the runtime", message="failed", step=step)

    error = PlaybookError("local.yml failed", failures=[failure])
    monkeypatch.setattr(local_flambe, "run_playbook", create_autospec(local_flambe.run_playbook, side_effect=error))
    with pytest.raises(PlaybookError, match=message):
        local_flambe.prepare(file)


def test_flambe_receives_the_file_with_absolute_paths(file: RunnableFile, tmp_path: Path) -> None:
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(
        f"#!{sys.executable}\nimport json, os, sys\n"
        f"text = open(sys.argv[5]).read()\n"
        f"json.dump([sys.argv[1:], text, os.environ['PATH']], open({str(tmp_path / 'seen')!r}, 'w'))\nsys.exit(7)\n"
    )
    python.chmod(0o755)
    with pytest.raises(RunError, match="mine: flambé ended with exit code 7"):
        local_flambe.run(python, file, secrets_file=tmp_path / "s.ini", force=True)
    words, text, path = json.loads((tmp_path / "seen").read_text())
    assert words[:4] == ["-W", "ignore", "-m", "flambe.runner.run"]
    assert words[5:] == ["--secrets", str(tmp_path / "s.ini"), "--force"]
    assert text == TEXT.replace("data: data.txt", f"data: {tmp_path / 'data.txt'}")
    assert path.startswith(f"{python.parent}:")
    assert not Path(words[4]).exists()
