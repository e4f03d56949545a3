"""The kind of failure is read from ssh's log."""

from __future__ import annotations

import pytest

from flambe_ansible.ssh.masters import Failure, diagnose

SEEN = "debug1: Server host key: ssh-ed25519 SHA256:abcdef\n"
HOST_CHANGED = f"""OpenSSH_9.2p1 Debian-2, OpenSSL 3.0.19
debug1: Connecting to 10.0.0.1 [10.0.0.1] port 22.
{SEEN}@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
Host key for i-1 has changed and you have requested strict checking.
Host key verification failed.
"""


@pytest.mark.parametrize(
    ("log", "printed", "timed_out", "failure", "message"),
    [
        (HOST_CHANGED, "", False, Failure.HOST_KEY, "verification failed"),
        (
            f"{SEEN}No ED25519 host key is known for i-1 and you have requested strict checking.\n"
            "Host key verification failed.\n",
            "",
            False,
            Failure.HOST_KEY,
            "verification failed",
        ),
        (
            "Host key verification failed.\nConnection closed by UNKNOWN port 65535\n",
            "",
            False,
            Failure.BASTION_KEY,
            "the bastion's host key is not in your known_hosts",
        ),
        (
            "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\nHost key verification failed.\n",
            "",
            False,
            Failure.BASTION_KEY,
            "the bastion's host key differs from the one in your known_hosts",
        ),
        (
            "@       WARNING: REVOKED HOST KEY DETECTED!               @\nHost key verification failed.\n",
            "",
            False,
            Failure.BASTION_KEY,
            "the bastion's host key is revoked in your known_hosts",
        ),
        (
            f"{SEEN}@       WARNING: REVOKED HOST KEY DETECTED!               @\nHost key verification failed.\n",
            "",
            False,
            Failure.REVOKED_KEY,
            "verification failed",
        ),
        (
            f"{SEEN}debug1: Next authentication method: publickey\nubuntu@10.0.0.1: Permission denied (publickey).\n",
            "",
            False,
            Failure.DENIED,
            "Permission denied",
        ),
        ("Received disconnect: Too many authentication failures\n", "", False, Failure.DENIED, "Too many"),
        (
            '@   WARNING: UNPROTECTED PRIVATE KEY FILE!  @\nLoad key "/k": bad permissions\n'
            "u@h: Permission denied (publickey).\n",
            "",
            False,
            Failure.LOCAL,
            "UNPROTECTED",
        ),
        ('Load key "/k": invalid format\nu@h: Permission denied (publickey).\n', "", False, Failure.LOCAL, "invalid"),
        ("command-line line 0: invalid quotes\n", "", False, Failure.LOCAL, "invalid quotes"),
        (
            "ssh: connect to host 10.0.0.1 port 22: Connection refused\n",
            "",
            False,
            Failure.UNREACHABLE,
            "Connection refused",
        ),
        ("debug1: kex\nConnection reset by 10.0.0.1 port 22\n", "", False, Failure.UNREACHABLE, "reset"),
        (SEEN, 'Please login as the user "ubuntu"', False, Failure.UNREACHABLE, 'as the user "ubuntu"'),
        ("", "", True, Failure.UNREACHABLE, "no login in time"),
        ("", "", False, Failure.UNREACHABLE, "closed"),
    ],
)
def test_diagnose(log: str, printed: str, timed_out: bool, failure: Failure, message: str) -> None:
    got = diagnose(log, printed, timed_out=timed_out)
    assert got.failure is failure
    assert message in got.message
    assert "debug1" not in got.message


def test_the_key_that_was_offered() -> None:
    assert diagnose(HOST_CHANGED).seen == "ssh-ed25519 SHA256:abcdef"


def test_the_end_of_our_own_ssh_is_not_a_reason() -> None:
    assert diagnose("debug1: connecting\nKilled by signal 15.\n", timed_out=True).message == "no login in time"
