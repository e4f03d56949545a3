"""Rewriting changes only the given values."""

from __future__ import annotations

from pathlib import Path

import pytest

from flambe_ansible.errors import ClusterConfigurationError
from flambe_ansible.runnable import RemoteEnvironment, edit, tree
from flambe_ansible.runnable.document import from_text
from flambe_ansible.runnable.edit import Tagged, write

ENV = RemoteEnvironment(
    key="/home/u/key.pem",
    orchestrator_ip="10.0.0.1",
    factories_ips=["10.0.0.2"],
    user="u",
    local_user="me",
)
ENV_TEXT = (
    '!RemoteEnvironment {key: /home/u/key.pem, orchestrator_ip: "10.0.0.1", factories_ips: ["10.0.0.2"], user: u, '
    "local_user: me, public_orchestrator_ip: null, public_factories_ips: null}"
)

# The original text and the rewritten text. E stands for the environment; the path of resource r is set to /r.
CASES = {
    "plain": (
        "!Experiment\nname: x\nresources:\n  r: data.tsv\npipeline:\n  a: !A {}\n",
        "!Experiment\nenv: E\nsave_path: /s\nname: x\nresources:\n  r: /r\npipeline:\n  a: !A {}\n",
    ),
    "no trailing newline": (
        "!Experiment\nname: x\npipeline:\n  a: !A\nresources:\n  r: data.tsv",
        "!Experiment\nenv: E\nsave_path: /s\nname: x\npipeline:\n  a: !A\nresources:\n  r: /r",
    ),
    "comments between": (
        "# head\n!Experiment  # an experiment\n\n# the name\nname: x  # x\n# before\npipeline: # stages\n\n  # one\n"
        "  a: !A  # a\n    k: !@ r  # link\nresources:  # files\n  # data\n  r: data.tsv  # here\n\n# end\n",
        "# head\n!Experiment  # an experiment\nenv: E\nsave_path: /s\n\n# the name\nname: x  # x\n# before\n"
        "pipeline: # stages\n\n  # one\n  a: !A  # a\n    k: !@ r  # link\nresources:  # files\n  # data\n"
        "  r: /r  # here\n\n# end\n",
    ),
    "crlf": (
        "!Experiment\r\nname: x\r\nresources:\r\n  r: data.tsv\r\npipeline:\r\n  a: !A {}\r\n",
        "!Experiment\r\nenv: E\r\nsave_path: /s\r\nname: x\r\nresources:\r\n  r: /r\r\npipeline:\r\n  a: !A {}\r\n",
    ),
    "flow": (
        "!Experiment {name: x, resources: {r: data.tsv}, pipeline: {a: !A {k: !g [1, 2], l: !@ r}}}\n",
        "!Experiment {env: E, save_path: /s, name: x, resources: {r: /r}, pipeline: {a: !A {k: !g [1, 2], l: !@ r}}}\n",
    ),
    "json": (
        '!Experiment {"name":"x","resources":{"r":"data.tsv"},"save_path":"y","pipeline":{"a":!A {}}}',
        '!Experiment {env: E, "name":"x","resources":{"r": /r},"save_path": /s,"pipeline":{"a":!A {}}}',
    ),
    "markers": (
        "%YAML 1.2\n---\n!Experiment\nname: x\nresources:\n  r: data.tsv\npipeline:\n  a: !A\n...\n",
        "%YAML 1.2\n---\n!Experiment\nenv: E\nsave_path: /s\nname: x\nresources:\n  r: /r\npipeline:\n  a: !A\n...\n",
    ),
    "tag on the marker's line": (
        "--- !Experiment\nname: x\nresources: {r: data.tsv}\npipeline:\n  a: !A\n",
        "--- !Experiment\nenv: E\nsave_path: /s\nname: x\nresources: {r: /r}\npipeline:\n  a: !A\n",
    ),
    "indented": (
        "!Experiment\n   name: x\n   resources:\n       r: data.tsv\n   pipeline:\n    a: !A\n",
        "!Experiment\n   env: E\n   save_path: /s\n   name: x\n   resources:\n       r: /r\n   pipeline:\n    a: !A\n",
    ),
    "env and save_path are there": (
        "!Experiment\nname: x\nenv: !RemoteEnvironment\n  key: old  # old\n  user: old\n# after\n"
        "save_path: here # kept\nresources:\n  r: data.tsv\npipeline:\n  a: !A\n",
        "!Experiment\nname: x\nenv: E\n# after\nsave_path: /s # kept\nresources:\n  r: /r\npipeline:\n  a: !A\n",
    ),
    "empty values": (
        "!Experiment\nname: x\nenv:\nsave_path: # to come\nresources:\n  r: data.tsv\npipeline:\n  a: !A\n",
        "!Experiment\nname: x\nenv: E\nsave_path: /s # to come\nresources:\n  r: /r\npipeline:\n  a: !A\n",
    ),
    "block scalar and quotes": (
        "!Experiment\nname: 'x'\nresources:\n  r: >-\n    data.tsv\n\npipeline:\n  a: !A\n    text: |+\n      two\n\n\n"
        'save_path: "a\\tb"\n',
        "!Experiment\nenv: E\nname: 'x'\nresources:\n  r: /r\n\npipeline:\n  a: !A\n    text: |+\n      two\n\n\n"
        "save_path: /s\n",
    ),
    "value on the next line": (
        "!Experiment\nname: x\nresources:\n  r:\n    # where it is\n    data.tsv\npipeline:\n  a: !A\n",
        "!Experiment\nenv: E\nsave_path: /s\nname: x\nresources:\n  r:\n    # where it is\n    /r\n"
        "pipeline:\n  a: !A\n",
    ),
    "unicode": (
        "# größe: 日本 😀\n!Experiment\nname: x\nresources:\n  r: data.tsv\npipeline:\n  é: !A {t: '😀 ü'}\n",
        "# größe: 日本 😀\n!Experiment\nenv: E\nsave_path: /s\nname: x\nresources:\n  r: /r\n"
        "pipeline:\n  é: !A {t: '😀 ü'}\n",
    ),
    "anchors": (
        "!Experiment\nname: &n x\nresources:\n  r: &d data.tsv\npipeline:\n  a: &a !A {p: *d, n: *n}\n  b: *a\n",
        "!Experiment\nenv: E\nsave_path: /s\nname: &n x\nresources:\n  r: &d /r\n"
        "pipeline:\n  a: &a !A {p: *d, n: *n}\n  b: *a\n",
    ),
    "an alias as a resource": (
        "!Experiment\nname: x\ndevices: {cpu: &d data.tsv}\nresources:\n  r: *d\npipeline:\n  a: !A\n",
        "!Experiment\nenv: E\nsave_path: /s\nname: x\ndevices: {cpu: &d data.tsv}\nresources:\n  r: /r\n"
        "pipeline:\n  a: !A\n",
    ),
    "cluster resources lose their tag": (
        "!Experiment\nname: x\nresources:\n  r: data.tsv\n  c: !cluster /mnt/big # there\n"
        "  d: !cluster '/mnt/my data'\n  e: !cluster\n    /mnt/e\npipeline:\n  a: !A {p: !@ c}\n",
        "!Experiment\nenv: E\nsave_path: /s\nname: x\nresources:\n  r: /r\n  c: /mnt/big # there\n"
        '  d: "/mnt/my data"\n  e: /mnt/e\npipeline:\n  a: !A {p: !@ c}\n',
    ),
    "an explicit key": (
        "!Experiment\nname: x\n? resources\n: r: data.tsv\n? pipeline\n:\n  a: !A\n",
        "!Experiment\nenv: E\nsave_path: /s\nname: x\n? resources\n: r: /r\n? pipeline\n:\n  a: !A\n",
    ),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data.tsv").write_text("text\n")
    return tmp_path


@pytest.mark.parametrize("case", CASES)
def test_rewrite_changes_nothing_else(case: str, folder: Path) -> None:
    before, after = CASES[case]
    file = from_text(before, folder / "x.yaml")
    found = file.rewrite(resources={"r": "/r"}, attributes={"env": ENV, "save_path": "/s"})
    assert found == after.replace("env: E", f"env: {ENV_TEXT}")


def test_rewrite_extensions(folder: Path) -> None:
    (folder / "ext").mkdir()
    (folder / "ext" / "setup.py").touch()
    text = "# mine\next: ./ext  # local\nother: 'numpy>=1.16' # pypi\n---\n!ext.Runnable\na: 1 # one\n"
    file = from_text(text, folder / "x.yaml")
    assert file.rewrite(extensions={"ext": "/home/u/extensions/ext__ext"}) == text.replace(
        "./ext", "/home/u/extensions/ext__ext"
    )
    assert file.rewrite() == text
    with pytest.raises(KeyError):
        file.rewrite(extensions={"unknown": "/x"})
    with pytest.raises(KeyError):
        file.rewrite(resources={"unknown": "/x"})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("ext: numpy\n---\n!ext.R\n", 'ext: numpy\n---\n!ext.R {a: 1, b: [x, "y z"]}\n'),
        ("ext: numpy\n---\n!ext.R {}\n", 'ext: numpy\n---\n!ext.R {a: 1, b: [x, "y z"]}\n'),
        (
            "ext: numpy\n---\n!ext.R\nb:\n- 1\n- 2 # two\nc: 3\n",
            'ext: numpy\n---\n!ext.R\na: 1\nb: [x, "y z"]\n # two\nc: 3\n',
        ),
        ("ext: numpy\n---\n!ext.R\nb:\n  - 1\n  - 2\na: 5", 'ext: numpy\n---\n!ext.R\nb:\n  [x, "y z"]\na: 1'),
    ],
)
def test_rewrite_attributes_of_other_runnables(before: str, after: str, folder: Path) -> None:
    assert from_text(before, folder / "x.yaml").rewrite(attributes={"a": 1, "b": ["x", "y z"]}) == after


def test_text_that_cannot_be_rewritten_is_refused(folder: Path) -> None:
    file = from_text("!Experiment\n? name\n: x\n? pipeline\n: {a: !A }\n", folder / "x.yaml")
    with pytest.raises(ClusterConfigurationError, match=r"x\.yaml:2:3: cannot add a key here"):
        file.rewrite(attributes={"env": ENV})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (3, "3"),
        (0.5, "0.5"),
        (float("inf"), ".inf"),
        ("plain/path.txt", "plain/path.txt"),
        ("no", '"no"'),
        ("", '""'),
        ("1.5", '"1.5"'),
        ("a: b # c", '"a: b # c"'),
        ("tab\tnew\nline", '"tab\\tnew\\nline"'),
        ("😀\u2028\x85", '"\\U0001F600\\L\\N"'),
        (Path("/a/b"), "/a/b"),
        ({"a": [1, "x y"], "b c": {}}, '{a: [1, "x y"], "b c": {}}'),
        (Tagged("!T", {"a": 1}), "!T {a: 1}"),
    ],
)
def test_write(value: object, text: str) -> None:
    assert write(value) == text


def test_write_refuses_objects() -> None:
    with pytest.raises(TypeError, match="cannot be written as YAML: object"):
        write([object()])


@pytest.mark.parametrize("case", CASES)
def test_marks_cover_exactly_the_scalar(case: str) -> None:
    """Parsing the text between the marks of a scalar returns the same scalar."""
    text = CASES[case][0]
    scalars = [
        node
        for root in tree.parse(text)
        for node in root.walk()
        if node.kind is tree.Kind.SCALAR and node.end > node.start and "\n" not in text[node.start : node.end]
    ]
    assert scalars
    for node in scalars:
        assert tree.parse(text[node.start : node.end])[0].value == node.value
    assert edit.apply(text, []) == text
