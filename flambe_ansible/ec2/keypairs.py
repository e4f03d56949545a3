"""The key pair of a cluster whose configuration has none.

The private key is made on this machine and stays here; AWS receives the public key. The name of the key pair is unique
in its region and follows from the cluster's name and creator, so that a second request for it is refused.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from flambe_ansible.ec2 import api
from flambe_ansible.ec2.tags import ClusterTags
from flambe_ansible.errors import AWSError, ClusterError
from flambe_ansible.validation.keyfile import read_public_key

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client
    from mypy_boto3_ec2.type_defs import KeyPairInfoTypeDef

KEY_FILE = "id_ed25519"  # in the cluster's state folder


def find(ec2: EC2Client, cluster: ClusterTags) -> KeyPairInfoTypeDef | None:
    """Find the cluster's own key pair."""
    for pair in api.describe_key_pairs(ec2):
        tags = {tag["Key"]: tag["Value"] for tag in pair.get("Tags", [])}
        if pair.get("KeyName") == cluster.resource_name and cluster.owns(tags):
            return pair
    return None


def create(ec2: EC2Client, cluster: ClusterTags, key: Path) -> str:
    """Create the key pair of a private key, which is made if it does not exist.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ImportKeyPair.html

    Returns:
        The id of the key pair, or "" if the region has one of this name.
    """
    if not key.exists():
        make_private_key(key, comment=cluster.resource_name)
    request = {
        "KeyName": cluster.resource_name,
        "PublicKeyMaterial": f"{read_public_key(key)} {cluster.resource_name}".encode(),
        "TagSpecifications": cluster.specify("key-pair"),
    }
    try:
        return api.import_key_pair(ec2, request)
    except AWSError as error:
        if error.code != "InvalidKeyPair.Duplicate":
            raise
        return ""


def make_private_key(path: Path, *, comment: str) -> None:
    """Make an ed25519 key without a passphrase that only its owner can read (mode 0600)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".key-") as folder:
        made = Path(folder) / path.name
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(made)]
        try:
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        except OSError as error:
            raise ClusterError(f"cannot make a key: ssh-keygen: {error.strerror}", hint="install OpenSSH") from error
        if done.returncode:
            raise ClusterError(f"cannot make the key {path}: {done.stderr.strip() or done.stdout.strip()}")
        made.rename(path)
