"""The builds of PyTorch for each kind of host, resolved by the real uv; PyTorch's own indexes are on loopback.

uv has the addresses of these indexes built in, so it reaches them through a proxy with a certificate of this test.
"""

from __future__ import annotations

import datetime
import io
import os
import pwd
import ssl
import sys
import threading
import venv as builtin_venv
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.flambe.cluster.plugins.module_utils import locks, runtime, venv
from ansible_collections.flambe.cluster.plugins.module_utils import uv as uvs
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from flambe_ansible.pythons import find_uv

TORCH, INDEX = "download.pytorch.org", "index.test"
CPU, CUDA, ARM = "x86_64-cpu", "x86_64-cuda-580.159.04", "aarch64-cpu"
PYTHON = "{}.{}".format(*sys.version_info[:2])
TAG = "cp{0}{1}-cp{0}{1}-manylinux_2_28".format(*sys.version_info[:2])
# What the indexes have, by path; as the real ones, those of PyTorch have local versions.
BUILDS = {
    (TORCH, "/whl/cpu/torch/"): [f"torch-2.13.0+cpu-{TAG}_{{}}.whl"],
    (TORCH, "/whl/cu128/torch/"): [f"torch-2.13.0+cu128-{TAG}_x86_64.whl"],
    (TORCH, "/whl/cu130/torch/"): [f"torch-2.13.0+cu130-{TAG}_x86_64.whl"],
    (INDEX, "/simple/torch/"): [f"torch-2.{minor}.0-{TAG}_{{}}.whl" for minor in (13, 14)],
    (INDEX, "/simple/six/"): ["six-1.17.0-py3-none-any.whl"],
}
METADATA = "Metadata-Version: 2.1\nName: {}\nVersion: {}\n"


class Handler(BaseHTTPRequestHandler):
    """A proxy that answers all requests itself."""

    protocol_version = "HTTP/1.1"
    host = ""

    def do_CONNECT(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.host = self.path.partition(":")[0]
        context: ssl.SSLContext = self.server.context  # type: ignore[attr-defined]
        self.connection = context.wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb")
        self.close_connection = False
        while not self.close_connection:
            self.handle_one_request()
            self.wfile.flush()

    def do_GET(self) -> None:
        self.server.asked.append((self.host, self.path))  # type: ignore[attr-defined]
        name = self.path.rpartition("/")[2]
        if name.endswith(".metadata"):
            self.answer(200, METADATA.format(*read_name(name)).encode(), "text/plain")
        elif name.endswith(".whl"):
            self.answer(200, build_wheel(name), "application/octet-stream")
        elif files := BUILDS.get((self.host, self.path)):
            wheels = [one.format(machine) for one in files for machine in ("x86_64", "aarch64")]
            links = [f'<a href="{one.replace("+", "%2B")}" data-core-metadata="true">{one}</a>' for one in wheels]
            page = "<!DOCTYPE html><html><body>" + "\n".join(links) + "</body></html>"
            self.answer(200, page.encode(), "text/html")
        else:
            self.answer(404, b"", "text/plain")

    def answer(self, code: int, content: bytes, kind: str) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_arguments: Any) -> None:
        """Print nothing."""


def read_name(file: str) -> list[str]:
    """Return the name and the version in the name of a file."""
    return file.replace("%2B", "+").split("-")[:2]


def build_wheel(file: str) -> bytes:
    """Build a wheel without modules."""
    name, version = read_name(file)
    info, content = f"{name}-{version}.dist-info", io.BytesIO()
    tag = file.removesuffix(".whl").split("-", 2)[2]
    with zipfile.ZipFile(content, "w") as wheel:
        wheel.writestr(f"{info}/METADATA", METADATA.format(name, version))
        wheel.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
        wheel.writestr(f"{info}/RECORD", f"{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return content.getvalue()


def write_certificates(folder: Path) -> tuple[Path, Path]:
    """Write a certificate for the indexes with its key, and the authority that signed it; return both files."""
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    authority, own = (sign(name, key, keys[0]) for name, key in zip(("authority", "indexes"), keys, strict=True))
    pem = serialization.Encoding.PEM
    files = folder / "authority.pem", folder / "indexes.pem"
    files[0].write_bytes(authority.public_bytes(pem))
    private = keys[1].private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    files[1].write_bytes(own.public_bytes(pem) + private)
    return files


def sign(common: str, key: ec.EllipticCurvePrivateKey, authority: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """Sign a certificate with the key of the authority, whose own certificate has no names of hosts."""
    name, issuer = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, one)]) for one in (common, "authority"))
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder(issuer, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=key is authority, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(TORCH), x509.DNSName(INDEX)]), critical=False)
        .sign(authority, hashes.SHA256())
    )


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Any]:
    made: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.authority, own = write_certificates(tmp_path)
    made.context.load_cert_chain(own)
    made.asked = []
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def uv(server: Any, tmp_path: Path) -> Any:
    """Return the real uv, for a user whose home, and with it uv's cache, is a folder of this test."""
    own = pwd.getpwuid(os.getuid())
    home = tmp_path / "home"
    (tmp_path / "tmp").mkdir()
    home.mkdir()
    account = pwd.struct_passwd((own.pw_name, "x", own.pw_uid, own.pw_gid, "", str(home), "/bin/sh"))
    options = {
        "proxy": f"http://127.0.0.1:{server.server_port}",
        "cert": str(server.authority),
        "index-url": f"https://{INDEX}/simple",
    }
    assert find_uv()
    return uvs.Uv(find_uv(), account, options, {"root": str(tmp_path), "timeout": 60, "timeout_setting": "timeout"})


def resolve(uv: Any, root: Path, *kinds: str, wanted: str = "auto", line: str = "torch") -> dict[str, list[str]]:
    params = {
        "root": str(root),
        "requirements": [line, "six"],
        "constraints": [],
        "python_version": PYTHON,
        "torch_backend": wanted,
        "kinds": list(kinds),
    }
    lock = locks.Lock(params)
    lock.resolve(uv)
    return dict(lock.found)


def test_each_kind_of_host_gets_its_build_of_the_same_release(uv: Any, tmp_path: Path, server: Any) -> None:
    found = resolve(uv, tmp_path, CPU, CUDA, ARM)
    assert found[CPU] == ["six==1.17.0", "torch==2.13.0+cpu"]
    assert found[ARM] == ["six==1.17.0", "torch==2.13.0+cpu"]
    assert found[CUDA] == ["six==1.17.0", "torch==2.13.0+cu130"]  # the newest CUDA of this driver
    assert (INDEX, "/simple/torch/") not in server.asked


def test_an_older_driver_gets_an_older_cuda(uv: Any, tmp_path: Path) -> None:
    assert resolve(uv, tmp_path, "x86_64-cuda-570.86.10")["x86_64-cuda-570.86.10"][1] == "torch==2.13.0+cu128"


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [("cpu", "torch==2.13.0+cpu"), ("cu128", "torch==2.13.0+cu128"), ("none", "torch==2.14.0")],
)
def test_the_build_can_be_set_for_all_hosts(uv: Any, tmp_path: Path, wanted: str, expected: str) -> None:
    found = resolve(uv, tmp_path, CPU, CUDA, wanted=wanted)
    assert {kind: lines[1] for kind, lines in found.items()} == {CPU: expected, CUDA: expected}


def test_a_host_with_a_driver_installs_the_cuda_build(uv: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """uv need not find the driver itself: this machine has none."""
    requirements = resolve(uv, tmp_path, CUDA)[CUDA]
    params = {"root": str(tmp_path), "python_version": PYTHON, "requirements": requirements, "constraints": []}
    made = runtime.Runtime({**params, "exact": True, "torch_backend": "auto"}, uv.account)
    builtin_venv.create(made.venv, symlinks=True)
    monkeypatch.setattr(locks, "host_kind", lambda: CUDA)
    made.install_packages(uv)
    assert {name: version for name, (version, _) in venv.installed(made.venv).items()} == {
        "six": "1.17.0",
        "torch": "2.13.0+cu130",
    }
