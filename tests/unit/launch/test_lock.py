"""One launch of a cluster at a time."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from flambe_ansible import files
from flambe_ansible.errors import ClusterError
from flambe_ansible.launch import lock


def test_a_second_holder_is_refused_with_the_name_of_the_first(tmp_path: Path) -> None:
    with lock.hold(tmp_path):
        assert lock.is_held(tmp_path)
        with pytest.raises(ClusterError, match=str(os.getpid())), lock.hold(tmp_path):
            pass
        assert lock.is_held(tmp_path)
    assert not lock.is_held(tmp_path)


def test_the_lock_ends_with_its_process(tmp_path: Path) -> None:
    code = "import os,sys;from pathlib import Path;from flambe_ansible.launch import lock\n"
    code += f"with lock.hold(Path({str(tmp_path)!r})): os._exit(9)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert not lock.is_held(tmp_path)


def test_a_question_neither_changes_the_answer_of_another_nor_refuses_a_launch(tmp_path: Path) -> None:
    asking = threading.Event()

    def ask() -> None:
        with files.lock(tmp_path / lock.LOCK_FILE, shared=True):  # as ``is_held``, but for longer
            asking.set()
            time.sleep(0.2)

    thread = threading.Thread(target=ask)
    thread.start()
    assert asking.wait(10)
    assert not lock.is_held(tmp_path)
    with lock.hold(tmp_path):
        thread.join()
        assert lock.is_held(tmp_path)
