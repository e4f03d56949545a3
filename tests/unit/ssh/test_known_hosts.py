"""The cluster's known_hosts contains exactly the given keys."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from flambe_ansible.ssh import known_hosts


def make_key(folder: Path, kind: str = "ed25519") -> str:
    path = folder / f"key-{len(list(folder.iterdir()))}"
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "root@host", "-f", str(path)], check=True)
    return path.with_suffix(".pub").read_text().strip()


def test_replace_keeps_the_keys_of_other_hosts(tmp_path: Path) -> None:
    file = tmp_path / "state" / "known_hosts"
    keys = tmp_path / "keys"
    keys.mkdir()
    old, new, ecdsa = make_key(keys), make_key(keys), make_key(keys, "ecdsa")
    known_hosts.replace(file, "i-1", [old])
    known_hosts.replace(file, "i-2", [old])
    known_hosts.replace(file, "i-1", [new, new, ecdsa])
    bare = {key: " ".join(key.split()[:2]) for key in (old, new, ecdsa)}
    assert known_hosts.keys_of(file, "i-1") == [bare[new], bare[ecdsa]]
    assert known_hosts.keys_of(file, "i-2") == [bare[old]]
    assert known_hosts.keys_of(file, "i") == []
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert "root@host" not in file.read_text()


def test_marking_a_key_as_pinned_keeps_revoked_keys_and_those_of_other_hosts(tmp_path: Path) -> None:
    file, keys = tmp_path / "known_hosts", tmp_path / "keys"
    keys.mkdir()
    one, two = (" ".join(make_key(keys).split()[:2]) for _ in range(2))
    file.write_text(f"i-1 {one}\n@revoked i-1 {two}\ni-2 {two}\n")
    known_hosts.mark_pinned(file, "i-1")
    assert (known_hosts.is_pinned(file, "i-1"), known_hosts.is_pinned(file, "i-2")) == (True, False)
    assert known_hosts.keys_of(file, "i-1") == [one]
    assert f"@revoked i-1 {two}\ni-2 {two}\n" in file.read_text()


def test_fingerprint_is_the_same_as_that_of_ssh_keygen(tmp_path: Path) -> None:
    key = make_key(tmp_path)
    output = subprocess.run(["ssh-keygen", "-lf", "-"], input=key, capture_output=True, text=True, check=True).stdout
    assert output.split()[1] == known_hosts.fingerprint(key)
    assert known_hosts.describe(key) == f"{output.split()[1]} (ED25519)"


@pytest.mark.parametrize(
    "line",
    [
        "",
        "ssh-ed25519",
        "ssh-ed25519 nonsense",
        "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIFwFKZWCLqC8VfIpqvCY+0FALaz0YKMhkw1i6hvgRnKk",
        "@cert-authority ssh-ed25519 AAAA",
        "256 SHA256:abc root@host (ED25519)",
    ],
)
def test_invalid_keys_are_refused(tmp_path: Path, line: str) -> None:
    file = tmp_path / "known_hosts"
    with pytest.raises(ValueError, match="not a public key"):
        known_hosts.replace(file, "i-1", [line])
    assert not file.exists()


@pytest.mark.parametrize(("port", "name"), [(22, "host.example"), (2222, "[host.example]:2222")])
def test_look_up_finds_hashed_names(tmp_path: Path, port: int, name: str) -> None:
    (tmp_path / "keys").mkdir()
    key = make_key(tmp_path / "keys")
    file = tmp_path / "known_hosts"
    file.write_text(f"{name} {key}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(file)], check=True, capture_output=True)
    assert name not in file.read_text()
    assert known_hosts.look_up(file, "host.example", port=port) == [" ".join(key.split()[:2])]
    assert known_hosts.look_up(file, "other.example", port=port) == []


def test_look_up_marks_revoked_keys(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    key, authority = (" ".join(make_key(tmp_path / "keys").split()[:2]) for _ in range(2))
    file = tmp_path / "known_hosts"
    file.write_text(f"@revoked *.example {key}\nhost.example {key}\n@cert-authority *.example {authority}\n")
    assert known_hosts.look_up(file, "host.example") == [key, f"@revoked {key}"]
    assert known_hosts.look_up(file, "other.example") == [f"@revoked {key}"]
    assert known_hosts.look_up(file, "example.org") == []


def test_revoked_keys_are_kept_apart(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    file = tmp_path / "known_hosts"
    bad, good, other = (" ".join(make_key(tmp_path / "keys").split()[:2]) for _ in range(3))
    known_hosts.replace(file, "i-1", [good, f"@revoked {bad} comment"])
    assert file.read_text() == f"@revoked i-1 {bad}\ni-1 {good}\n"
    assert known_hosts.keys_of(file, "i-1") == [good]
    assert known_hosts.keys_of(file, "@revoked") == []
    known_hosts.replace(file, "i-1", [f"@revoked {bad}"])  # the key accepted before is kept
    assert file.read_text() == f"@revoked i-1 {bad}\ni-1 {good}\n"
    known_hosts.replace(file, "i-1", [f"@revoked {good}"])
    assert file.read_text() == f"@revoked i-1 {good}\n"
    known_hosts.replace(file, "i-1", [other])
    assert file.read_text() == f"i-1 {other}\n"


def test_look_up_finds_what_ssh_keygen_finds(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    key = " ".join(make_key(tmp_path / "keys").split()[:2])
    hashed = tmp_path / "hashed"
    hashed.write_text(f"secret.example {key}\n[secret.example]:2222 {key}\n10.0.0.9 {key}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(hashed)], check=True, capture_output=True)
    file = tmp_path / "known_hosts"
    file.write_text(
        f"# {key}\n\n  indented.example {key}\nOne.Example,10.0.0.1 {key} a comment\n*.lab,!bad.lab {key}\n"
        f"10.0.1.? {key}\n[10.0.0.2]:2222 {key}\n[*.rack]:2222 {key}\nshort\n@revoked *.gone,x {key}\n"
        f"@cert-authority * {key}\n|1|broken|hash {key}\n{hashed.read_text()}"
    )
    names = ["indented.example", "one.example", "ONE.example", "10.0.0.1", "a.lab", "bad.lab", "lab", "10.0.1.7", "x"]
    names += ["10.0.1.77", "10.0.0.2", "a.rack", "b.gone", "secret.example", "10.0.0.9", "unknown", "short", "#"]
    for name in names:
        for port in (22, 2222):
            shown = name if port == 22 else f"[{name}]:{port}"
            argv = ["ssh-keygen", "-F", shown, "-f", str(file)]
            lines = subprocess.run(argv, capture_output=True, text=True, check=False).stdout.splitlines()
            expected = [line for line in lines if not line.startswith(("#", "@cert-authority"))]
            found = known_hosts.look_up(file, name, port=port)
            assert [one.startswith("@") for one in found] == [one.startswith("@") for one in expected], shown


def test_the_file_is_read_again_only_if_it_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "keys").mkdir()
    file, key = tmp_path / "known_hosts", " ".join(make_key(tmp_path / "keys").split()[:2])
    known_hosts.replace_each(file, {f"i-{index}": [key] for index in range(100)})
    reads = []
    read = known_hosts._lines
    monkeypatch.setattr(known_hosts, "_lines", lambda path: reads.append(path) or read(path))
    assert all(known_hosts.keys_of(file, f"i-{index}") == [key] for index in range(100))
    assert len(reads) == 1
    with file.open("a") as appended:  # as ssh does
        appended.write(f"i-new {key}\n")
    assert known_hosts.keys_of(file, "i-new") == [key]
    file.unlink()
    assert known_hosts.keys_of(file, "i-new") == []
