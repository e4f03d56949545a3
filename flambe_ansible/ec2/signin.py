"""The credentials of a session: where they come from, and when they expire."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from flambe_ansible.ec2.errors import LOGIN_HINT, aws_call
from flambe_ansible.ec2.session import AnySession

NONE = "no AWS credentials are configured; !AWSCluster needs them"
REMEDY = LOGIN_HINT

# botocore's names of its sources of credentials, in words.
SOURCES = {
    "env": "environment variables",
    "explicit": "the lab's access key",
    "shared-credentials-file": "~/.aws/credentials",
    "config-file": "~/.aws/config",
    "custom-process": "credential_process in ~/.aws/config",
    "sso": "IAM Identity Center (aws sso login)",
    "login": "aws login",
    "assume-role": "an assumed role",
    "assume-role-with-web-identity": "a role assumed with a web identity",
    "iam-role": "the role of this EC2 instance",
    "container-role": "the role of this container",
}
# Sources whose credentials are renewed without the user.
RENEWED = frozenset({"iam-role", "container-role", "assume-role-with-web-identity", "custom-process"})


@dataclass(frozen=True, kw_only=True)
class SignIn:
    """The credentials in use.

    Attributes:
        method: botocore's name of their source.
        profile: The configured profile, or "".
        expires: When they expire; None if they do not, or it is unknown.
    """

    method: str
    profile: str
    expires: datetime | None

    @property
    def renewed(self) -> bool:
        """Whether new credentials follow without the user."""
        return self.method in RENEWED

    def __str__(self) -> str:
        source = SOURCES.get(self.method, self.method)
        profile = f" (profile {self.profile})" if self.profile and self.method not in ("env", "explicit") else ""
        if not self.expires:
            return f"from {source}{profile}"
        return f"from {source}{profile}, until {self.expires.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


@aws_call("read the credentials")
def read(session: AnySession) -> SignIn | None:
    """Read the credentials of a session; None if it has none. Temporary ones are fetched.

    Raises:
        AWSError: They have expired, or cannot be fetched.
    """
    credentials = session.get_credentials()
    if credentials is None:
        return None
    credentials.get_frozen_credentials()
    expires = getattr(credentials, "_expiry_time", None)  # botocore has no public name for it
    profile = session.profile_name if session.profile_name in session.available_profiles else ""
    return SignIn(
        method=credentials.method, profile=profile, expires=expires if isinstance(expires, datetime) else None
    )
