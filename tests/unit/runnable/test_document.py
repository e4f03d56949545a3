"""Runnable files: their content, and the problems and warnings of wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from flambe_ansible.errors import ClusterConfigurationError
from flambe_ansible.runnable.document import from_text, read

GOOD = "!Experiment\nname: x\npipeline:\n  a: !A\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data.tsv").write_text("text\n")
    (tmp_path / "ext").mkdir()
    (tmp_path / "ext" / "pyproject.toml").touch()
    (tmp_path / "empty").mkdir()
    return tmp_path


def test_the_content_of_a_file(folder: Path) -> None:
    text = """\
ext: ext
other.part: numpy>=1.16
web: https://user:token@github.com/u/r/tree/main/sub
---
!Experiment
name: my-exp_1
resources:
  here: data.tsv
  there: !cluster /mnt/data
  web: https://host/x.tsv
resume: b
reduce: {a: 1}
pipeline:
  a: !ext.A {p: !@ here, q: !torch.Adam {}}
  b: !B.from_a
    l: !g [!@ there, "!@ no link"]
    own: !@ b[l].x
  c: !other.C {b: !call b.f}
"""
    path = folder / "x.yaml"
    path.write_text(text)
    file = read(path)
    assert (file.tag, file.name, file.is_experiment) == ("!Experiment", "my-exp_1", True)
    assert file.stages == ("a", "b", "c")
    assert (file.resume, file.reuse) == (("a", "b"), True)
    assert [one.name for one in file.extensions] == ["ext", "other.part", "web"]
    assert [(one.name, one.value, one.cluster) for one in file.resources] == [
        ("here", "data.tsv", False),
        ("there", "/mnt/data", True),
        ("web", "https://host/x.tsv", False),
    ]
    assert (file.resources[0].location.line, file.resources[0].location.column) == (8, 9)
    assert file.warnings == ()
    assert "token" not in repr(file)


@pytest.mark.parametrize(
    ("resume", "stages", "reuse"),
    [
        ("true", (), True),
        ("false", (), False),
        ("null", (), False),
        ("", (), False),
        ("a", ("a",), True),
        ("b", ("a", "b"), True),
        ("[b]", ("b",), True),
        ("[]", (), False),
    ],
)
def test_resume(resume: str, stages: tuple[str, ...], reuse: bool, folder: Path) -> None:
    file = from_text(f"!Experiment\nname: x\nresume: {resume}\npipeline: {{a: !A , b: !B }}\n", folder / "x.yaml")
    assert (file.resume, file.reuse) == (stages, reuse)


def test_an_extensions_runnable(folder: Path) -> None:
    file = from_text("ext: ext\n---\n!ext.Mine\nresources: 5\nname: with space\n", folder / "x.yaml")
    assert (file.tag, file.is_experiment, file.name) == ("!ext.Mine", False, "")
    subclass = from_text("ext: ext\n---\n!ext.Exp\nname: x\nmore: 1\npipeline:\n  a: !A\n", folder / "x.yaml")
    assert (subclass.is_experiment, subclass.name, subclass.stages) == (True, "x", ("a",))


# A file, the line and column of its problem, and a part of the message.
PROBLEMS = {
    "empty": ("", 1, 1, "empty"),
    "only comments": ("# nothing\n", 1, 1, "empty"),
    "no YAML": ("!Experiment\nname: [x\n", 2, 7, "not closed"),
    "a tab": ("!Experiment\nname:\tx\n", 2, 6, "tab"),
    "an alias to nothing": ("!Experiment\nname: *x\n", 2, 7, "unknown anchor &x"),
    "too deep": ("!Experiment\nname: " + "[" * 200 + "]" * 200, 2, 106, "deeper than 100"),
    "three documents": ("a: numpy\n---\n!Experiment\n---\nx\n", 5, 1, "third document"),
    "no tag": ("name: x\n", 1, 1, "no tag"),
    "not flambé's Experiment": ("!Trainer\nname: x\n", 1, 1, "the only ClusterRunnable of flambé is Experiment"),
    "a slip": ("!Experment\nname: x\n", 1, 1, "did you mean !Experiment"),
    "a cluster": ("!AWSCluster\nname: x\n", 1, 1, "--cluster"),
    "no such extension": ("ext: ext\n---\n!exd.R\n", 3, 1, "did you mean ext"),
    "no extensions document": ("!ext.R\na: 1\n", 1, 1, "ext: path, git URL or requirement"),
    "no name": ("!Experiment\npipeline:\n  a: !A\n", 1, 1, "no name"),
    "an empty experiment": ("!Experiment\n", 1, 1, "not a mapping"),
    "a slash": ("!Experiment\nname: a/b\npipeline:\n  a: !A\n", 2, 7, "cannot be used for folders"),
    "a space": ("!Experiment\nname: a b\npipeline:\n  a: !A\n", 2, 7, "cannot be used for folders"),
    "a leading dash": ("!Experiment\nname: -a\npipeline:\n  a: !A\n", 2, 7, "cannot be used for folders"),
    "dots": ("!Experiment\nname: ..\npipeline:\n  a: !A\n", 2, 7, "cannot be used for folders"),
    "shell": ("!Experiment\nname: $(id)\npipeline:\n  a: !A\n", 2, 7, "cannot be used for folders"),
    "a newline": ("!Experiment\nname: |\n  a\npipeline:\n  a: !A\n", 2, 7, "cannot be used for folders"),
    "an umlaut": ("!Experiment\nname: ü\npipeline:\n  a: !A\n", 2, 7, "cannot be used for folders"),
    "a long name": (f"!Experiment\nname: {'a' * 129}\npipeline:\n  a: !A\n", 2, 7, "129 characters"),
    "a number as name": ("!Experiment\nname: 5\npipeline:\n  a: !A\n", 2, 7, "name is an integer"),
    "a date as name": ("!Experiment\nname: 2020-01-01\npipeline:\n  a: !A\n", 2, 7, "name is a date"),
    "null as name": ("!Experiment\nname:\npipeline:\n  a: !A\n", 2, 6, "name is empty"),
    "no pipeline": ("!Experiment\nname: x\n", 1, 1, "no pipeline"),
    "an empty pipeline": ("!Experiment\nname: x\npipeline: {}\n", 3, 11, "pipeline is a mapping"),
    "a list as pipeline": ("!Experiment\nname: x\npipeline: [a]\n", 3, 11, "pipeline is a list"),
    "a stage without a class": ("!Experiment\nname: x\npipeline:\n  a: {b: 1}\n", 4, 6, 'stage "a" has no class'),
    "a stage with a slash": ("!Experiment\nname: x\npipeline:\n  a/b: !A\n", 4, 3, "not a valid stage name"),
    "a field with a slip": (GOOD + "resource: {}\n", 5, 1, "did you mean resources"),
    "a field twice": (GOOD + "name: y\n", 5, 1, "set twice, first on line 2"),
    "a nested key twice": (GOOD.replace("!A", "!A {k: 1, k: 2}"), 4, 16, "set twice"),
    "a list as resources": (GOOD + "resources: [a]\n", 5, 12, "resources is a list"),
    "an alias as resources": (GOOD.replace("!A", "!A {k: &r {}}") + "resources: *r\n", 5, 12, "an alias"),
    "a number as resource": (GOOD + "resources: {r: 5}\n", 5, 16, "the resource r is an integer"),
    "a tagged resource": (GOOD + "resources: {r: !g [a]}\n", 5, 16, "the resource r is a !g"),
    "a cluster list": (GOOD + "resources: {r: !cluster [a]}\n", 5, 16, "the resource r is a !cluster"),
    "an empty resource": (GOOD + "resources:\n  r:\n", 6, 5, "the resource r is empty"),
    "a resource's name": (GOOD + "resources: {a.b: data.tsv}\n", 5, 13, "not a valid resource name"),
    "a resource that is not there": (GOOD + "resources:\n  r: nothing.tsv\n", 6, 6, "nothing.tsv: no such file"),
    "a resource's scheme": (GOOD + "resources:\n  r: ftp://h/x\n", 6, 6, "cannot fetch ftp://"),
    "a URL without a host": (GOOD + "resources:\n  r: https:///x\n", 6, 6, "no host"),
    "a merge key": (GOOD + "resources: {<<: {r: data.tsv}}\n", 5, 13, "merge key"),
    "resume: no such stage": (GOOD + "resume: b\n", 5, 9, 'unknown stage "b"'),
    "resume: a list": (GOOD + "resume: [a, c]\n", 5, 13, 'unknown stage "c"'),
    "resume: a number": (GOOD + "resume: 5\n", 5, 9, "resume is an integer"),
    "resume: a mapping": (GOOD + "resume: {a: 1}\n", 5, 9, "resume is a mapping"),
    "reduce: no such stage": (GOOD + "reduce: {b: 1}\n", 5, 10, 'reduce: unknown stage "b"'),
    "reduce: a number": (GOOD + "reduce: 3\n", 5, 9, "reduce is an integer; expected a mapping, with stages"),
    "reduce: a word": (GOOD + "reduce: {a: x}\n", 5, 13, 'reduce: "a" is "x"; expected a whole number of variants'),
    "reduce: none": (GOOD + "reduce: {a: 0}\n", 5, 13, 'reduce: "a" is "0"; expected a whole number of variants'),
    "reduce: a list": (GOOD + "reduce: {a: [1]}\n", 5, 13, 'reduce: "a" is a list; expected a whole number'),
    "search: a word": (GOOD + "search: a\n", 5, 9, "search is text; expected a mapping, with stages as its keys"),
    "schedulers: a list": (GOOD + "schedulers: [a]\n", 5, 13, "schedulers is a list; expected a mapping"),
    "a link to nothing": (GOOD.replace("!A", "!A {k: !@ date}"), 4, 13, 'a link to "date"'),
    "a link to a later stage": (GOOD.replace("!A", "!A {k: !@ b.c}\n  b: !B"), 4, 13, 'a link to "b"'),
    "a link in a search": (GOOD.replace("!A", "!A {k: !g [!@ date]}"), 4, 17, 'a link to "date"'),
    "a stage named like a resource": (
        GOOD + "resources:\n  b: data.tsv\n  a: data.tsv\n",
        4,
        3,
        'the stage "a" has the name of the resource at ',
    ),
    "a tag's module": (GOOD.replace("!A", "!my_ext.A"), 4, 6, "unknown extension my_ext"),
    "extensions: a list": ("- ext\n---\n" + GOOD, 1, 1, "must declare the extensions"),
    "extensions: nothing": ("---\n---\n" + GOOD, 2, 1, "must declare the extensions"),
    "extensions: no module": ("my-ext: ext\n---\n" + GOOD, 1, 1, "is not a module name"),
    "extensions: a number": ("ext: 5\n---\n" + GOOD, 1, 6, "the extension ext is an integer"),
    "extensions: empty": ("ext:\n---\n" + GOOD, 1, 5, "the extension ext is empty"),
    "extensions: not there": ("ext: ./nothing\n---\n" + GOOD, 1, 6, "no such file or folder"),
    "extensions: not installable": ("ext: empty\n---\n" + GOOD, 1, 6, "cannot be installed"),
    "extensions: a file": ("ext: data.tsv\n---\n" + GOOD, 1, 6, "cannot be installed"),
    "extensions: nonsense": ("ext: what is this\n---\n" + GOOD, 1, 6, "not a path, URL or requirement"),
    "extensions: a scheme": ("ext: s3://b/ext\n---\n" + GOOD, 1, 6, "not the URL of a git repository"),
}


@pytest.mark.parametrize("case", PROBLEMS)
def test_problems_have_positions(case: str, folder: Path) -> None:
    text, line, column, message = PROBLEMS[case]
    with pytest.raises(ClusterConfigurationError) as caught:
        from_text(text, folder / "x.yaml")
    first = caught.value.problems[0]
    assert message in str(first)
    assert (first.line, first.column) == (line, column)
    assert len(caught.value.problems) == 1


def test_all_problems_are_reported_in_their_order(folder: Path) -> None:
    text = "ext: ./no\n---\n!Experiment\nresume: z\nname: a b\nresources: {r: no.tsv}\npipeline: {a: !A {l: !@ q}}\n"
    with pytest.raises(ClusterConfigurationError) as caught:
        from_text(text, folder / "x.yaml")
    assert [one.line for one in caught.value.problems] == [1, 4, 5, 6, 7]


def test_a_namespace_that_an_extension_may_register_is_a_warning(folder: Path) -> None:
    file = from_text("ext: ext\n---\n" + GOOD.replace("!A", "!exd.A"), folder / "x.yaml")
    assert [str(one) for one in file.warnings] == [
        f"{folder / 'x.yaml'}:6:6: !exd.A: unknown extension exd; expected one of torch, ray, ext; did you mean ext?"
    ]


def test_a_stage_and_a_resource_with_the_same_name_are_both_located(folder: Path) -> None:
    with pytest.raises(ClusterConfigurationError) as caught:
        from_text(GOOD + "resources:\n  a: data.tsv\n", folder / "x.yaml")
    path = folder / "x.yaml"
    assert str(caught.value) == (
        f'{path}:4:3: the stage "a" has the name of the resource at {path}:6:3; expected different names'
    )


@pytest.mark.parametrize("value", ["{0}/data.tsv", "!g [1, '{0}/data.tsv']", "{{deep: [{{x: {0}}}]}}"])
def test_a_local_path_in_the_pipeline_is_a_warning(folder: Path, value: str) -> None:
    file = from_text(GOOD.replace("!A", "!A\n    p: " + value.format(folder)), folder / "x.yaml")
    (warning,) = file.warnings
    assert f"{folder}" in warning.message
    assert "exists on this machine, but on a cluster only files in resources: are sent to the hosts" in warning.message
    assert (warning.line, warning.column > 4) == (5, True)


@pytest.mark.parametrize(
    "value",
    [
        "/no/such/path",
        "/dev/null",
        "/",
        "//",
        "!@ here",
        "data.tsv",
        "5",
        "/" + "x" * 5000,
        '"/a\\0b"',
        "~",
        "/proc/self",
    ],
)
def test_other_values_are_not_local_paths(folder: Path, value: str) -> None:
    text = GOOD.replace("!A", "!A\n    p: " + value) + f"resources:\n  here: {folder}/data.tsv\n"
    assert from_text(text, folder / "x.yaml").warnings == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), (b"\xff\xfea", "UTF-16"), (b"a: \xff", "UTF-8"), (b"a" * 1024 * 1025, "1 MiB")],
)
def test_files_that_cannot_be_read(content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ClusterConfigurationError, match=message):
        read(path)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ClusterConfigurationError, match="this is a folder"):
        read(tmp_path)


def test_secrets_of_urls_are_not_repeated(folder: Path) -> None:
    text = "ext: git+ftp://me:hunter2@host/r\n---\n" + GOOD + "resources:\n  r: ftp://me:hunter2@host/x\n"
    with pytest.raises(ClusterConfigurationError) as caught:
        from_text(text, folder / "x.yaml")
    assert "hunter2" not in str(caught.value)
    assert len(caught.value.problems) == 2
