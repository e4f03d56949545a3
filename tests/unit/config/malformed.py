"""A table of malformed configurations: the text, the position of its problem, and two parts of the message."""

from __future__ import annotations

# Line 1 is the tag; the lines of a row begin at line 12.
AWS = """!AWSCluster
name: seq2seq
factories_num: 2
factories_type: g3.4xlarge
orchestrator_type: t3.large
key_name: aws-key
security_group: sg-0987654321
subnet_id: subnet-abcdef
creator: user@company
key: id

"""
LAB = "!LabCluster\nname: a\n"  # the lines of a row begin at line 3
# The lines of a row begin at line 9.
SSH = """!SSHCluster
name: rack
orchestrator_ip: 10.0.0.5
factories_ips:
  - 10.0.0.6
  - [gpu.example.org, 10.0.0.7]
key: id
username: me
"""
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsxo1X4yYHCHZTrWWD5VdHEOzn8+tVAaHmU6J3A1q9F"


def aws(line: str, instead: str) -> str:
    """Return an AWSCluster in which the line with this beginning is replaced."""
    old = next(one for one in AWS.splitlines() if one.startswith(line))
    return AWS.replace(old, instead)


def ssh(old: str, instead: str) -> str:
    """Return an SSHCluster in which some text is replaced."""
    assert old in SSH
    return SSH.replace(old, instead)


MALFORMED = {
    # The file as a whole.
    "empty": ("", "1:1", "the file is empty", "!AWSCluster, !SSHCluster or !LabCluster"),
    "comments only": ("# nothing\n\n", "1:1", "the file is empty", ""),
    "NUL": ("!LabCluster\nname: a\0b\n", "2:8", "a NUL character", ""),
    "control character": ("!LabCluster\nname: a\x07\n", "2:8", "the control character U+0007", ""),
    "latin-1": (b"!LabCluster\nname: caf\xe9\n", "2:10", "the byte 0xe9 is not valid UTF-8", "UTF-8"),
    "cut in a character": (b"!LabCluster\nname: caf\xc3", "2:10", "the byte 0xc3 is not valid UTF-8", "UTF-8"),
    "UTF-16": ("!LabCluster\nname: a\n".encode("utf-16"), "1:1", "UTF-16", "UTF-8"),
    "more than 1 MiB": ("# " + "x" * 1024 * 1024, "", "larger than 1 MiB", ""),
    "too many values": (LAB + "setup_cmds: [" + "x, " * 40_000 + "]\n", "3:29999", "more than 10000 values", ""),
    "too deep": ("!LabCluster\nname: " + "[" * 100_000, "2:26", "more than 20 nested levels", ""),
    "alias bomb": (
        "!LabCluster\nname: &a [x, x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcd", "bcde", strict=True)),
        "5:4",
        "with aliases expanded, this value has more than 10000 values",
        "",
    ),
    "endless alias": (LAB + "tags: &t\n  again: *t\n", "3:7", "an alias refers to a value that contains the alias", ""),
    # Syntax.
    "tab": (LAB + "tags:\n\ta: b\n", "4:1", "a tab used for indentation", "spaces"),
    "colon in a value": (LAB + "creator: a: b\n", "3:11", "a second ': ' in one value", "quotes"),
    "line without a colon": (LAB + "volume_size 100\n", "4:1", "a key without ': '", "key: value"),
    "open quote": (LAB + 'creator: "me\n', "3:10", "a quote that is not closed", "the closing quote"),
    "open list": (LAB + "setup_cmds: [ls\n", "3:13", "a list in [ ] that is not closed", "]"),
    "list cut off": (LAB + "setup_cmds: [ls,\n", "4:1", "a value is missing", "the closing bracket"),
    "open mapping": (LAB + "tags: {a: b\n", "3:7", "a mapping in { } that is not closed", "}"),
    "at sign": (LAB + "creator: @me\n", "3:10", "a value must not start with @", "quotes"),
    "percent sign": (LAB + "creator: %me\n", "3:10", "a value must not start with %", "quotes"),
    "unknown alias": (LAB + "creator: *me\n", "3:10", "an alias (*) without a matching anchor", ""),
    "bad escape": (LAB + 'creator: "C:\\q"\n', "3:13", "an unknown escape", "single quotes"),
    "other indentation": (LAB + " creator: me\n", "3:9", "a second ': ' in one value", ""),
    "dash among keys": (LAB + "- ls\n", "3:1", "this line does not fit the structure of the file", "key: value"),
    "colon alone": (LAB + ": b\n", "3:1", "this line does not fit the structure of the file", "key: value"),
    # Documents and tags.
    "no tag": ("name: a\n", "1:1", "the cluster's tag is missing", "!AWSCluster, !SSHCluster or !LabCluster"),
    "misspelt tag": ("!AWSClster\nname: a\n", "1:1", "unknown cluster tag !AWSClster", "did you mean !AWSCluster?"),
    "tag in another case": (
        "!labcluster\nname: a\n",
        "1:1",
        "unknown cluster tag !labcluster",
        "did you mean !LabCluster?",
    ),
    "another runnable": ("!Experiment\nname: a\n", "1:1", "!Experiment is an experiment, not a cluster", "!AWSCluster"),
    "Python object": (
        "!!python/object/apply:os.system [ls]\n",
        "1:1",
        "unknown cluster tag !!python/object/apply:os.system",
        "",
    ),
    "an extension's": (
        "!my.Cluster\nname: a\n",
        "1:1",
        "!my.Cluster belongs to the extension my, which the file does not declare",
        "`my: PATH`",
    ),
    "an experiment": (
        "my: nowhere\n---\n!my.Experiment\nname: a\npipeline: {}\n",
        "3:1",
        "!my.Experiment is an experiment, not a cluster",
        "!AWSCluster, !SSHCluster or !LabCluster",
    ),
    "a list": ("- name: a\n", "1:1", "the cluster's tag is missing", ""),
    "tag on a list": ("!LabCluster\n- name: a\n", "1:1", "!LabCluster is followed by a list", "name: value"),
    "tag alone": ("!LabCluster\n", "1:1", "!LabCluster is followed by nothing", "name: value"),
    "no space": ("!LabCluster\nname:a\n", "1:1", 'followed by the text "name:a"', "a space after the colon: name: a"),
    "two clusters": (LAB + "---\n" + LAB, "4:1", "another document starts here", "one cluster per file"),
    "three documents": ("a: b\n---\n" + LAB + "---\n" + LAB, "6:1", "another document starts here", ""),
    "extension is a number": (
        "ext: 1\n---\n" + LAB,
        "1:6",
        "ext is not the location of an extension",
        "a folder, a git URL",
    ),
    # Keys.
    "unknown key": (AWS + "factory_num: 1\n", "12:1", 'unknown field "factory_num" in', "factories_num is already set"),
    "nearly a key": (AWS + "factory_amis: 1\n", "12:1", 'unknown field "factory_amis" in', "did you mean factory_ami?"),
    "key with a dash": (
        AWS + "volume-size: 8\n",
        "12:1",
        'unknown field "volume-size" in',
        "did you mean volume_size?",
    ),
    "key in another case": (AWS + "Tags: {}\n", "12:1", 'unknown field "Tags" in', "did you mean tags?"),
    "key unlike any field": (
        LAB + "xyzzy: 1\n",
        "3:1",
        'unknown field "xyzzy" in !LabCluster',
        "one of factories_num, lab",
    ),
    "key twice": (LAB + "name: b\n", "3:1", "name is set twice, first on line 2", "each key once"),
    "key is a list": (LAB + "? [a]\n: b\n", "3:3", "has a list as a key", "text"),
    "key is empty": (LAB + "?\n: b\n", "3:2", "has an empty key", "key: value"),
    "key of AWS in the lab": (
        LAB + "subnet_id: subnet-abcdef\n",
        "3:1",
        "subnet_id cannot be set in !LabCluster",
        "by the lab",
    ),
    "missing": (aws("name", ""), "1:1", "name is missing", "name: 1 to 64 letters"),
    "missing because misspelt": (
        aws("creator", "craetor: me"),
        "9:1",
        'unknown field "craetor" in',
        "did you mean creator?",
    ),
    # Text.
    "no value": (aws("name", "name:"), "2:6", "name has no value", "1 to 64 letters"),
    "null": (aws("name", "name: ~"), "2:7", "name has no value", ""),
    "Norway": (aws("name", "name: no"), "2:7", "name is no, which YAML reads as false", 'in quotes: "no"'),
    "boolean": (aws("name", "name: true"), "2:7", "name is the boolean true", 'in quotes: "true"'),
    "number as a name": (aws("name", "name: 12"), "2:7", "name is the number 12", 'in quotes: "12"'),
    "clock as a name": (aws("name", "name: 1:30"), "2:7", "name is the number 1:30", 'in quotes: "1:30"'),
    "list as text": (
        aws("creator", "creator: [email\xa0protected]"),
        "9:10",
        "creator is a list",
        "starts with a bracket",
    ),
    "template": (aws("name", "name: {{ name }}"), "2:7", "name is a mapping", "starts with a bracket"),
    "tagged text": (
        aws("name", "name: !!python/name:os.system x"),
        "2:7",
        "the YAML tag !!python/name:os.system",
        "not allowed",
    ),
    "unknown tag on a value": (
        aws("name", "name: !env NAME"),
        "2:7",
        "name has the YAML tag !env, which is not allowed",
        "",
    ),
    "name with a space": (aws("name", "name: my cluster"), "2:7", 'name is "my cluster"', "letters, digits, - and _"),
    "name with a dash first": (aws("name", "name: -a"), "2:7", 'name is "-a"', "starting with a letter or a digit"),
    "name with a slash": (aws("name", "name: a/b"), "2:7", 'name is "a/b"', ""),
    "name with an accent": (aws("name", "name: café"), "2:7", 'name is "café"', ""),
    "name too long": (aws("name", "name: " + "a" * 65), "2:7", "name is ", "1 to 64 letters"),
    "name with a line break": (aws("name", 'name: "a\\n"'), "2:7", 'name is "a\\n"', ""),
    "empty creator": (aws("creator", 'creator: ""'), "9:10", "creator is empty", "such as your email address"),
    "creator too long": (aws("creator", "creator: " + "a" * 257), "9:10", "creator has 257 characters", "1 to 256"),
    "user name": (AWS + "username: -oProxyCommand=x\n", "12:11", 'username is "-oProxyCommand=x"', "Linux user name"),
    # Formats of AWS.
    "subnet without prefix": (
        aws("subnet", "subnet_id: abcdef01"),
        "8:12",
        'subnet_id is "abcdef01"',
        "mean subnet-abcdef01?",
    ),
    "subnet is a network": (
        aws("subnet", "subnet_id: vpc-abcdef01"),
        "8:12",
        'subnet_id is "vpc-abcdef01"',
        "a subnet id",
    ),
    "group by name": (
        aws("security", "security_group: default"),
        "7:17",
        'security_group is "default"',
        "id such as sg-",
    ),
    "key pair without its key": (aws("key: ", ""), "6:11", "key_name is set, and key is not", "both, or no key_name"),
    "key without its key pair": (aws("key_name", ""), "10:6", "key is set, and key_name is not", "both, or no key"),
    "sources for a group of the user": (
        AWS + "ssh_sources: [192.0.2.0/24]\n",
        "12:14",
        "ssh_sources is set, and the rules of security_group are not changed",
        "only one of ssh_sources and security_group",
    ),
    "no sources": (aws("security", "ssh_sources: []"), "7:14", "ssh_sources is empty", "at least one network"),
    "source is a name": (
        aws("security", "ssh_sources: [192.0.2.1, office]"),
        "7:26",
        'ssh_sources[1] is "office"',
        "a network such as 203.0.113.0/24",
    ),
    "source with host bits": (
        aws("security", "ssh_sources: [192.0.2.1/24]"),
        "7:15",
        'ssh_sources[0] is "192.0.2.1/24"',
        "did you mean 192.0.2.0/24?",
    ),
    "image": (AWS + "factory_ami: ubuntu\n", "12:14", 'factory_ami is "ubuntu"', "an image id such as ami-"),
    "instance type": (
        aws("factories_type", "factories_type: large"),
        "4:17",
        'factories_type is "large"',
        "such as t3.large",
    ),
    "instance type's case": (
        aws("factories_type", "factories_type: P3.2xlarge"),
        "4:17",
        '"P3.2xlarge"',
        "mean p3.2xlarge?",
    ),
    "zone": (AWS + "region_name: us-east-1a\n", "12:14", "the availability zone", "did you mean us-east-1?"),
    "region": (AWS + "region_name: Virginia\n", "12:14", 'region_name is "Virginia"', "such as us-east-1"),
    "volume type": (AWS + "volume_type: gp4\n", "12:14", 'volume_type is "gp4"', "gp2, io1 or gp3; did you mean gp"),
    "volume type's case": (AWS + "volume_type: IO1\n", "12:14", 'volume_type is "IO1"', "did you mean io1?"),
    # Numbers.
    "no factories": (aws("factories_num", "factories_num: 0"), "3:16", "factories_num is 0", "from 1 to 1000"),
    "negative": (aws("factories_num", "factories_num: -1"), "3:16", "factories_num is -1", "from 1 to 1000"),
    "fractional number": (aws("factories_num", "factories_num: 1.5"), "3:16", "factories_num is 1.5", "a whole number"),
    "text": (aws("factories_num", "factories_num: two"), "3:16", 'factories_num is the text "two"', "a whole number"),
    "quoted number": (aws("factories_num", 'factories_num: "2"'), "3:16", 'is the text "2"', "did you mean 2?"),
    "boolean number": (aws("factories_num", "factories_num: yes"), "3:16", "is yes, which YAML reads as true", ""),
    "base 60": (aws("factories_num", "factories_num: 1:30"), "3:16", "factories_num is 1:30", "base 60"),
    "octal": (aws("factories_num", "factories_num: 010"), "3:16", "reads as an octal number", "did you mean 10?"),
    "a thousandth": (aws("factories_num", "factories_num: 1e-3"), "3:16", "factories_num is 0.001", ""),
    "infinite": (AWS + "volume_size: .inf\n", "12:14", "volume_size is inf", "a whole number of GB"),
    "not a number": (AWS + "volume_size: .nan\n", "12:14", "volume_size is nan", ""),
    "endless digits": (AWS + f"volume_size: {'9' * 5000}\n", "12:14", "volume_size is ", "a whole number of GB"),
    "unit": (AWS + "volume_size: 100GB\n", "12:14", 'volume_size is the text "100GB"', "did you mean 100?"),
    "disk too small": (AWS + "volume_size: 4\n", "12:14", "volume_size is 4", "from 8 to 16384"),
    "disk too large for gp2": (
        AWS + "volume_size: 20000\n",
        "12:14",
        "volume_size is 20000",
        "1 to 16384 GB for volume_type gp2",
    ),
    "io1 too small": (AWS + "volume_type: io1\nvolume_size: 50\n", "13:14", "volume_size is 50", "5000 IOPS"),
    "timeout below": (AWS + "factories_timeout: -2\n", "12:20", "factories_timeout is -2", "-1 (never)"),
    "timeout above": (
        AWS + "orchestrator_timeout: 169\n",
        "12:23",
        "orchestrator_timeout is 169",
        "whole hours from 1 to 168",
    ),
    "half an hour": (AWS + "factories_timeout: 0.5\n", "12:20", "factories_timeout is 0.5", "whole hours"),
    "setup time": (AWS + "setup_timeout: 0\n", "12:16", "setup_timeout is 0", "1 to 86400 seconds"),
    "factories outlive": (
        AWS + "orchestrator_timeout: 5\nfactories_timeout: 6\n",
        "12:23",
        "factories_timeout is 6",
        "the orchestrator would be terminated first",
    ),
    "factories live on": (
        AWS + "orchestrator_timeout: 5\nfactories_timeout: -1\n",
        "12:23",
        "factories_timeout is -1 (never)",
        "the orchestrator would be terminated first",
    ),
    "by default": (
        AWS + "orchestrator_timeout: 0\n",
        "12:23",
        "orchestrator_timeout is 0, but factories_timeout is 1",
        "",
    ),
    # Booleans.
    "misspelt boolean": (AWS + "dedicated: ture\n", "12:12", 'dedicated is the text "ture"', "did you mean true?"),
    "quoted boolean": (AWS + 'use_public: "no"\n', "12:13", 'use_public is the text "no"', "did you mean false?"),
    "number as boolean": (AWS + "use_public: 1\n", "12:13", "use_public is the number 1", "did you mean true?"),
    "boolean without value": (AWS + "use_public:\n", "12:12", "use_public has no value", "true or false"),
    # Commands.
    "one command": (LAB + "setup_cmds: ls\n", "3:13", "setup_cmds is text, not a list", "after a dash"),
    "mapping of commands": (LAB + "setup_cmds:\n  a: ls\n", "4:3", "setup_cmds is a mapping", "a list of commands"),
    "colon in a command": (
        LAB + "setup_cmds:\n- echo a: b\n",
        "4:3",
        "setup_cmds[0] contains ': '",
        "quotes around the whole",
    ),
    "empty command": (LAB + "setup_cmds:\n- ls\n-\n", "5:2", "setup_cmds[1] is empty", "a command"),
    "blank command": (LAB + "setup_cmds:\n- '  '\n", "4:3", "setup_cmds[0] is empty", ""),
    "command is true": (LAB + "setup_cmds:\n- true\n", "4:3", "setup_cmds[0] is the boolean true", 'in quotes: "true"'),
    "command is a list": (LAB + "setup_cmds:\n- - ls\n", "4:3", "setup_cmds[0] is a list", "a command"),
    "command runs Python": (
        LAB + "setup_cmds:\n- !!python/object:os.x {}\n",
        "4:3",
        "!!python/object:os.x, which is not allowed",
        "",
    ),
    # Tags.
    "tags is a list": (LAB + "tags: [a]\n", "3:7", "tags is a list", "a mapping of text to text"),
    "creator tag": (
        LAB + "tags:\n  Creator: me\n",
        "4:3",
        "tags.Creator is a tag that the cluster sets itself",
        "another key",
    ),
    "name tag": (LAB + "tags:\n  NAME: me\n", "4:3", "tags.NAME is a tag that the cluster sets itself", ""),
    "purpose tag": (LAB + "tags:\n  Purpose: me\n", "4:3", "tags.Purpose is a tag that the cluster sets itself", ""),
    "cluster tag": (
        LAB + "tags:\n  Cluster-Name: me\n",
        "4:3",
        "tags.Cluster-Name is a tag that the cluster sets itself",
        "",
    ),
    "role tag": (LAB + "tags: {Role: me}\n", "3:8", "tags.Role is a tag that the cluster sets itself", ""),
    "AWS's tag": (LAB + "tags:\n  AWS:x: me\n", "4:3", "tags.AWS:x is reserved by AWS", ""),
    "AWS's value": (LAB + "tags:\n  a: aws:b\n", "4:6", 'tags.a is "aws:b", which is reserved by AWS', ""),
    "tag without value": (LAB + "tags:\n  a:\n", "4:5", "tags.a has no value", '"" for an empty value'),
    "boolean tag": (LAB + "tags:\n  a: no\n", "4:6", "tags.a is no, which YAML reads as false", 'in quotes: "no"'),
    "boolean key": (
        LAB + "tags:\n  on: a\n",
        "4:3",
        "tags has the key on, which YAML reads as true",
        'in quotes: "on"',
    ),
    "tag is a list": (LAB + "tags:\n  a: [b]\n", "4:6", "tags.a is a list", ""),
    "tag twice": (LAB + "tags:\n  a: b\n  a: c\n", "5:3", "tags.a is set twice, first on line 4", ""),
    "tag key too long": (LAB + f"tags:\n  {'k' * 129}: b\n", "4:3", "has a key of 129 characters", "1 to 128"),
    "tag value too long": (LAB + f"tags:\n  a: {'v' * 257}\n", "4:6", "tags.a has 257 characters", "at most 256"),
    "too many tags": (
        LAB + "tags:\n" + "".join(f"  k{n}: v\n" for n in range(46)),
        "4:3",
        "tags has 46 tags",
        "at most 45",
    ),
    "no room for the tag of the budget": (
        LAB + "budget: 5\ntags:\n" + "".join(f"  k{n}: v\n" for n in range(45)),
        "5:3",
        "tags has 45 tags, and the cluster sets one more for its budget",
        "at most 44 with a budget",
    ),
    "the tag of the budget": (LAB + "tags:\n  Flambe-Budget: a\n", "4:3", "is a tag that the cluster sets itself", ""),
    "no budget": (LAB + "budget: 0\n", "3:9", "budget is 0", "an amount in US dollars, above 0"),
    "a budget with its currency": (LAB + "budget: 5 USD\n", "3:9", 'budget is the text "5 USD"', "in US dollars"),
    "an endless price": (
        LAB + "max_price_per_hour: .inf\n",
        "3:21",
        "max_price_per_hour is inf",
        "a price in US dollars",
    ),
    "merged text": (LAB + "tags:\n  <<: a\n", "4:7", "merges something that is not a mapping", ""),
    # flambe's version.
    "version as a number": (
        LAB + "flambe_version: 0.4\n",
        "3:17",
        "flambe_version is the number 0.4",
        'in quotes: "0.4"',
    ),
    "version in words": (
        LAB + "flambe_version: latest\n",
        "3:17",
        'flambe_version is "latest"',
        "a release of flambe",
    ),
    "version as a range": (LAB + "flambe_version: '>=0.4.18'\n", "3:17", 'is ">=0.4.18"', "did you mean 0.4.18?"),
    "version too old": (LAB + "flambe_version: 0.3.1\n", "3:17", "older than flambe's first release", "0.4.0 or later"),
    # flambe's checkout.
    "no checkout": (LAB + "flambe_source: flambe\n", "3:16", "but this folder does not exist", "a checkout of flambe"),
    "misspelt checkout": (LAB + "flambe_source: chekout\n", "3:16", "but this folder does not exist", "/checkout?"),
    "checkout of an unknown user": (
        LAB + "flambe_source: ~no-such-user/x\n",
        "3:16",
        "but this user does not exist",
        "",
    ),
    "checkout is a file": (
        LAB + "flambe_source: id\n",
        "3:16",
        "/id, which is not a folder",
        "with pyproject.toml or setup",
    ),
    "checkout without a project": (LAB + "flambe_source: keys\n", "3:16", "neither pyproject.toml nor setup.py", ""),
    "checkout of another": (
        LAB + "flambe_source: other_checkout\n",
        "3:16",
        "does not contain the package flambe",
        "a checkout",
    ),
    "empty checkout": (LAB + "flambe_source: ''\n", "3:16", "flambe_source is empty", ""),
    "checkout as a list": (LAB + "flambe_source: [a]\n", "3:16", "flambe_source is a list", ""),
    "misspelt field": (LAB + "flambe_sources: checkout\n", "3:1", "unknown field", "did you mean flambe_source?"),
    "release and checkout": (
        LAB + "flambe_source: checkout\nflambe_version: 0.4.18\n",
        "3:16",
        "flambe_source and flambe_version are both set",
        "only one",
    ),
    # The key's file.
    "no key file": (aws("key: ", "key: nothing-like-it"), "10:6", "but this file does not exist", "private SSH key"),
    "misspelt key file": (aws("key: ", "key: pme"), "10:6", "but this file does not exist", "/pem?"),
    "no key folder": (aws("key: ", "key: no/id"), "10:6", "but this file does not exist", ""),
    "file as folder": (aws("key: ", "key: id/id"), "10:6", "but this file does not exist", ""),
    "variable": (aws("key: ", "key: $HOME/id"), "10:6", "but this file does not exist", "without variables"),
    "unknown user": (aws("key: ", "key: ~no-such-user/id"), "10:6", "but this user does not exist", ""),
    "key folder": (aws("key: ", "key: keys"), "10:6", "/keys, which is a folder", "the path of a private SSH key"),
    "public key": (aws("key: ", "key: id.pub"), "10:6", "/id.pub, which is a public key", "/id?"),
    "world-readable": (
        aws("key: ", "key: open"),
        "10:6",
        "which other users can access (mode 0644)",
        "chmod 600",
    ),
    "group-readable": (
        aws("key: ", "key: group"),
        "10:6",
        "which other users can access (mode 0640)",
        "chmod 600",
    ),
    "empty key": (aws("key: ", "key: empty"), "10:6", "/empty, which is empty", ""),
    "PuTTY's key": (aws("key: ", "key: putty.ppk"), "10:6", "a key in PuTTY's format", "puttygen"),
    "no key in it": (aws("key: ", "key: notes"), "10:6", "/notes, which is not a private key", ""),
    "empty path": (aws("key: ", "key: ''"), "10:6", "key is empty", ""),
    "key is a device": (aws("key: ", "key: /dev/null"), "10:6", "/dev/null, which is not a regular file", ""),
    "the key itself": (
        aws("key: ", "key: |\n  -----BEGIN RSA PRIVATE KEY-----\n  MIIE\n"),
        "10:6",
        "key contains the key itself",
        "the path of the key file",
    ),
    # Existing hosts.
    "no addresses": (
        ssh("  - 10.0.0.6\n  - [gpu.example.org, 10.0.0.7]", "  []"),
        "5:3",
        "factories_ips is empty",
        "one",
    ),
    "factories missing": (
        "\n".join(line for line in SSH.splitlines() if "-" not in line and "fact" not in line),
        "1:1",
        "factories_ips is missing",
        "a list of addresses",
    ),
    "a budget without prices": (SSH + "budget: 5\n", "9:1", "budget cannot be set in !SSHCluster", "have none"),
    "factories_num": (SSH + "factories_num: 2\n", "9:1", "factories_num cannot be set in !SSHCluster", "factories_ips"),
    "one factory as text": (
        ssh("\n  - 10.0.0.6\n  - [gpu.example.org, 10.0.0.7]", " 10.0.0.6"),
        "4:16",
        'is "10.0.0.6"',
        "a list of",
    ),
    "factory twice": (
        ssh("[gpu.example.org, 10.0.0.7]", "10.0.0.6"),
        "6:5",
        "[1] is the same host as factories_ips[0]",
        "once",
    ),
    "factory twice, with the port": (
        ssh("[gpu.example.org, 10.0.0.7]", "10.0.0.6:22"),
        "6:5",
        "the same host as factories_ips[0]",
        "each host",
    ),
    "private address twice": (
        ssh("10.0.0.7", "10.0.0.6"),
        "6:5",
        "has the same private address as factories_ips[0]",
        "different",
    ),
    "orchestrator as factory": (
        ssh("10.0.0.6", "10.0.0.5"),
        "5:5",
        "the address of the orchestrator",
        "a separate host",
    ),
    "address out of range": (ssh("10.0.0.6", "10.0.0.300"), "5:5", "which is not a valid IP address", "an address or"),
    "half an address": (
        ssh("10.0.0.5", '"10.0.0"'),
        "3:18",
        'orchestrator_ip is "10.0.0", which is not a valid IP',
        "",
    ),
    "address as a number": (ssh("10.0.0.5", "10.5"), "3:18", "orchestrator_ip is the number 10.5", "in quotes"),
    "address with a user": (ssh("10.0.0.5", "me@10.0.0.5"), "3:18", 'is "me@10.0.0.5"', "(set `username` instead)"),
    "address as a URL": (ssh("10.0.0.5", "ssh://10.0.0.5"), "3:18", 'is "ssh://10.0.0.5"', "did you mean 10.0.0.5?"),
    "address of a network": (ssh("10.0.0.5", "10.0.0.0/24"), "3:18", 'is "10.0.0.0/24"', "not a network"),
    # The runtime.
    "unknown runtime": (LAB + "runtime: rey\n", "3:10", 'runtime is "rey"', "did you mean ray?"),
    "misspelt option of Ray": (
        LAB + "runtime:\n  pyhton: '3.12'\n",
        "4:3",
        "runtime.pyhton is unknown",
        "did you mean python?",
    ),
    "unknown option of Ray": (LAB + "runtime: {xyz: 1}\n", "3:11", "runtime.xyz is unknown", "one of ray, python"),
    "version of Ray as a number": (
        LAB + "runtime: {ray: 2.60}\n",
        "3:16",
        "runtime.ray is the number 2.60",
        'in quotes: "2.60"',
    ),
    "half a version of Ray": (LAB + "runtime: {ray: '2.60'}\n", "3:16", "is 2.60, which is not complete", "2.60.0"),
    "two versions of Ray": (LAB + "runtime: {ray: 2.60.0.x}\n", "3:16", 'is "2.60.0.x"', "did you mean 2.60.0?"),
    "version of Python": (LAB + "runtime: {python: 3.12x}\n", "3:19", 'runtime.python is "3.12x"', "3.12.4"),
    "missing requirements": (
        LAB + "runtime: {requirements: nope.txt}\n",
        "3:25",
        "but this file does not exist",
        "requirements.txt",
    ),
    "not a requirement": (LAB + "runtime: {packages: [six, torch=1]}\n", "3:27", 'packages[1] is "torch=1"', ""),
    "missing wheel": (
        LAB + "runtime: {packages: [./x-1-py3-none-any.whl]}\n",
        "3:22",
        "but this wheel or folder does not exist",
        "",
    ),
    "small object store": (LAB + "runtime: {object_store_memory: 1000}\n", "3:32", "is 1000", "at least 78643200"),
    "relative venv": (LAB + "runtime: {venv: env}\n", "3:17", 'runtime.venv is "env"', "the absolute path"),
    "packages in a prepared environment": (
        LAB + "runtime: {venv: /opt/env, packages: [six]}\n",
        "3:37",
        "runtime.packages is set together with venv",
        "one of the two",
    ),
    "resource without a number": (
        LAB + "runtime: ray\nfactories_resources: {gpu: one}\n",
        "4:28",
        'factories_resources.gpu is the text "one"',
        "a mapping of names to numbers",
    ),
    "label with a space": (
        LAB + "runtime: ray\nfactories_labels: {zone: a b}\n",
        "4:26",
        'factories_labels.zone is "a b"',
        "letters, digits",
    ),
    "resources for flambe": (
        LAB + "factories_resources: {a: 1}\n",
        "3:22",
        "factories_resources is set, and runtime flambe does not use it",
        "runtime: ray, or no factories_resources",
    ),
    "host with a space": (ssh("10.0.0.5", "my host"), "3:18", 'is "my host"', "a host name"),
    "no address at all": (ssh("10.0.0.5", "0.0.0.0"), "3:18", "which cannot be the address of a host", ""),
    "empty address": (ssh("10.0.0.5", '""'), "3:18", "orchestrator_ip is empty", "an IP address"),
    "port out of range": (ssh("10.0.0.6", "10.0.0.6:70000"), "5:5", 'is "10.0.0.6:70000"', "a port from 1 to 65535"),
    "port as a name": (ssh("10.0.0.6", "10.0.0.6:ssh"), "5:5", 'is "10.0.0.6:ssh"', "a port from 1 to 65535"),
    "brackets around IPv4": (ssh("10.0.0.6", '"[10.0.0.6]:22"'), "5:5", "[10.0.0.6]", "only around IPv6 addresses"),
    "IPv6 for Ray": (
        ssh("10.0.0.6", "fd00::6"),
        "5:5",
        "fd00::6, but Ray on the hosts only supports IPv4",
        "[public, private]",
    ),
    "loopback for Ray": (ssh("10.0.0.6", "127.0.0.1:2222"), "5:5", "a loopback address", "[public"),
    "triple": (ssh("10.0.0.7]", "10.0.0.7, 10.0.0.8]"), "6:5", "factories_ips[1] has 3 addresses", "[public, private]"),
    "bad half of a pair": (ssh("10.0.0.7", "10.0.0.999"), "6:23", "factories_ips[1][1] is", "an address or"),
    "mapping as address": (ssh("10.0.0.6", "{ip: 10.0.0.6}"), "5:5", "factories_ips[0] is", "an address or"),
    "port field": (SSH + "port: 0\n", "9:7", "port is 0", "a port from 1 to 65535"),
    "bastion": (SSH + "proxy_jump: 'a b'\n", "9:13", 'proxy_jump is "a b"', "[user@]host[:port]"),
    "second bastion": (SSH + "proxy_jump: a,-oProxyCommand=x\n", "9:13", "proxy_jump is", "[user@]host[:port]"),
    "key of an unknown host": (
        SSH + f"host_keys:\n  10.0.0.9: {KEY}\n",
        "10:3",
        "host_keys.10.0.0.9 is not a host",
        "10.0.0.",
    ),
    "invalid key": (SSH + "host_keys:\n  10.0.0.6: ssh-ed25519 AAAA\n", "10:13", "not a public key", "/etc/ssh"),
    "private key": (SSH + "host_keys:\n  10.0.0.6: '-----BEGIN'\n", "10:13", "not a public key", "a public key such"),
    "no key": (SSH + "host_keys:\n  10.0.0.6: []\n", "10:13", "host_keys.10.0.0.6 is empty", "a public key such"),
    "key of no address": (SSH + f"host_keys:\n  a b: {KEY}\n", "10:3", 'has the key "a b", which is not a', ""),
}
