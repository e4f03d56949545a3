"""Builds of Python that the real uv installs, from a mirror on loopback that /etc/environment names."""

from __future__ import annotations

import functools
import os
import pwd
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils import interpreters, runtime

from flambe_ansible.pythons import find_uv
from tests.python_builds import VERSION, write_build

MINOR = VERSION.rpartition(".")[0]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_arguments: Any) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the URL of a list of builds."""
    folder = tmp_path_factory.mktemp("mirror")
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    write_build(folder, url)
    yield f"{url}/downloads.json"
    server.shutdown()
    server.server_close()


@pytest.fixture
def installer(tmp_path: Path, mirror: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    own = pwd.getpwuid(os.getuid())
    account = pwd.struct_passwd((own.pw_name, "x", own.pw_uid, own.pw_gid, "", str(tmp_path / "home"), "/bin/sh"))
    (tmp_path / "home").mkdir()
    monkeypatch.setattr(accounts, "read_environment", lambda _path: {"UV_PYTHON_DOWNLOADS_JSON_URL": mirror})
    params = {"root": str(tmp_path / "root"), "index_url": "", "uv": find_uv(), "uv_version": "", "uv_sha256": ""}
    params.update({"timeout": 120, "timeout_setting": "timeout"})
    return runtime.Installer(params, account)


def test_a_build_is_installed_and_found_again(installer: Any) -> None:
    assert installer.find_managed(MINOR) is None
    installer.make_folders()
    found = installer.install_managed(installer.prepare_uv(), MINOR)
    assert found.version == VERSION
    assert Path(found.prefix).is_relative_to(Path(installer.root, "python"))
    assert found.prefix != sys.base_prefix
    assert installer.find_managed(VERSION) == found
    # A module that needs a shared library of the host, and one of the build's own.
    assert interpreters.probe(installer.account, found.path, ["ssl", "json"]).missing == []


def test_a_version_that_the_mirror_lacks(installer: Any) -> None:
    installer.make_folders()
    with pytest.raises(accounts.CommandError) as caught:
        installer.install_managed(installer.prepare_uv(), f"{MINOR}.99")
    assert "No download found" in caught.value.output
