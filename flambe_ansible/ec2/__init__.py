"""EC2, CloudWatch and S3 through boto3; the only package that imports boto3.

``api`` has one function per API call; the functions of ``tags`` are pure; the other modules combine them.
"""

from __future__ import annotations

from pathlib import Path

POLICY = Path(__file__).with_name("aws-policy.json")  # the IAM policy that is sufficient for this package
