"""Only the proxy is read from the user's SSH configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from flambe_ansible.errors import HostConnectionError
from flambe_ansible.ssh import processes, routes

JUMP = "ssh -o BatchMode=yes -o ForwardAgent=no -o ConnectTimeout=10"


@pytest.mark.parametrize(
    ("settings", "command"),
    [
        ("user ubuntu\nhostname h\n", None),
        ("proxycommand none\nproxyjump none\n", None),
        ("proxycommand nc -X 5 %h %p\n", "nc -X 5 %h %p"),
        ("proxyjump bastion\n", f"{JUMP} -W '[%h]:%p' -- bastion"),
        ("proxyjump me@bastion:2222\n", f"{JUMP} -l me -p 2222 -W '[%h]:%p' -- bastion"),
        ("proxyjump one,me@two\n", f"{JUMP} -J one -l me -W '[%h]:%p' -- two"),
        ("proxyjump [fd00::1]:22\n", f"{JUMP} -p 22 -W '[%h]:%p' -- fd00::1"),
    ],
)
def test_parse_proxy(settings: str, command: str | None) -> None:
    assert routes.parse_proxy(settings) == command


def test_a_bastion_of_the_cluster_gets_its_key_and_known_hosts() -> None:
    command = routes.jump_command("b", key=Path("/k/50% id"), known_hosts=Path("/state/known_hosts"))
    assert command == (
        f"{JUMP} -o 'UserKnownHostsFile=/state/known_hosts ~/.ssh/known_hosts ~/.ssh/known_hosts2'"
        " -o StrictHostKeyChecking=yes -i '/k/50%%%% id' -W '[%h]:%p' -- b"
    )


@pytest.mark.parametrize("jump", ["", "-oProxyCommand=x", "a:b:c", "user@", "h:22x"])
def test_invalid_jumps_are_refused(jump: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        routes.jump_command(jump)


def test_shell_characters_are_quoted() -> None:
    assert "'$(touch x)'" in routes.jump_command("$(touch x)@bastion")


def test_a_missing_or_hanging_ssh_is_a_typed_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostConnectionError, match="ssh is not installed"):
        routes.find_proxy("10.0.0.5", port=22, username="me")
    (tmp_path / "ssh").write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setattr(processes, "TOOL_TIMEOUT", 0.5)
    with pytest.raises(HostConnectionError, match=r"10\.0\.0\.5: ssh -G took longer than 0\.5 s") as caught:
        routes.find_proxy("10.0.0.5", port=22, username="me")
    assert "Match exec" in (caught.value.hint or "")
