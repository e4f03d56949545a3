"""Clusters of extensions: import, checks of arguments, and problems with their positions."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flambe_ansible.cluster.loading import load_cluster
from flambe_ansible.errors import ClusterConfigurationError

from .conftest import PRIVATE

ROOT = Path(__file__).parents[3]
MODULE = """
from pathlib import Path
from flambe_ansible import Cluster
from flambe_ansible.errors import ClusterConfigurationError, Problem

class MyCluster(Cluster):
    def __init__(self, hosts: list[str], rack: str = "a", shelf: int | None = None, notes: Path = Path("."), **kwargs):
        if rack == "broken":
            raise RuntimeError("no such rack")
        self.hosts_, self.rack, self.shelf, self.notes = hosts, rack, shelf, notes
        super().__init__(factories_num=len(hosts) - 1, **kwargs)

    def load_all_instances(self):
        self.orchestrator = self.get_orchestrator(self.hosts_[0])
        for ip in self.hosts_[1:]:
            self.factories.append(self.get_factory(ip))

    def parse(self):
        if self.rack == "burnt":
            raise ClusterConfigurationError.of(
                [Problem(file="", line=0, column=0, message="rack is burnt", field="rack")]
            )

class Fixed(Cluster):
    def __init__(self, name: str, key: str):
        super().__init__(name, 1, key, "me")

    def load_all_instances(self):
        pass

class Inherited(Cluster):
    def load_all_instances(self):
        pass

class Unfinished(Cluster):
    pass

class NoCluster:
    pass
"""
CLUSTER = "ext: .\n---\n!ext.MyCluster\nname: mine\nhosts: [10.0.0.1, 10.0.0.2]\nkey: id\nusername: me\n"


@pytest.fixture(autouse=True)
def _forget_modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("ext", "inventory_file"):
            del sys.modules[name]


@pytest.fixture
def extension(folder: Path) -> Path:
    (folder / "ext.py").write_text(MODULE)
    return folder


def test_a_cluster_of_an_extension(extension: Path, write: Callable[[str], Path]) -> None:
    cluster = load_cluster(write(CLUSTER + "shelf: 3\nnotes: notes\n"))
    assert type(cluster).__name__ == "MyCluster"
    assert (cluster.name, cluster.factories_num, cluster.username) == ("mine", 1, "me")
    assert vars(cluster)["shelf"] == 3
    assert vars(cluster)["notes"] == str(extension / "notes")
    cluster.load_all_instances()
    assert [(host.name, host.address) for host in cluster.hosts] == [
        ("mine_orchestrator", "10.0.0.1"),
        ("mine_factory_0", "10.0.0.2"),
    ]


@pytest.mark.parametrize("layout", ["ext/__init__.py", "src/ext/__init__.py"])
@pytest.mark.parametrize("inside", [False, True])
def test_layouts_of_a_package(folder: Path, write: Callable[[str], Path], layout: str, inside: bool) -> None:
    path = folder / "project" / layout
    path.parent.mkdir(parents=True)
    path.write_text(MODULE)
    place = path.parent.relative_to(folder) if inside else Path("project")
    assert load_cluster(write(CLUSTER.replace("ext: .", f"ext: {place}"))).name == "mine"


def test_an_installed_module(extension: Path, write: Callable[[str], Path]) -> None:
    sys.path.insert(0, str(extension))
    assert load_cluster(write(CLUSTER.replace("ext: .", "ext: my-ext>=1"))).name == "mine"


def test_a_class_with_inherited_arguments(extension: Path, write: Callable[[str], Path]) -> None:
    cluster = load_cluster(
        write("ext: .\n---\n!ext.Inherited\nname: a\nfactories_num: 2\nkey: id\nusername: me\nproxy_jump: b\n")
    )
    assert (cluster.factories_num, cluster.proxy_jump) == (2, "b")


WRONG = {
    "no such argument": ("shlf: 1\n", "8:1", 'unknown field "shlf" in !ext.MyCluster', "did you mean shelf?"),
    "of another type": ("shelf: high\n", "8:8", 'shelf is the text "high"', "a whole number"),
    "text as a number": ("rack: 12\n", "8:7", "rack is the number 12", 'in quotes: "12"'),
    "a base's field": ("setup_timeout: 0\n", "8:16", "setup_timeout is 0", "1 to 86400 seconds"),
    "constructor fails": ("rack: broken\n", "3:1", "MyCluster raised RuntimeError: no such rack (", "ext.py:9)"),
    "parse refuses": ("rack: burnt\n", "8:7", "rack is burnt", ""),
    "twice": ("hosts: !x [a]\n", "8:1", "hosts is set twice", "each key once"),
}


@pytest.mark.parametrize(("more", "place", "message", "rest"), WRONG.values(), ids=WRONG)
def test_wrong_arguments(
    extension: Path, write: Callable[[str], Path], more: str, place: str, message: str, rest: str
) -> None:
    path = write(CLUSTER + more)
    problem = refuse(path)
    assert problem.startswith(f"{path}:{place}: ")
    assert message in problem
    assert rest in problem


FILES = {
    "missing argument": ("ext: .\n---\n!ext.MyCluster\nname: a\nkey: id\nusername: me\n", "3:1", "hosts is missing"),
    "missing argument of the base": ("ext: .\n---\n!ext.MyCluster\nhosts: [a]\nkey: id\n", "3:1", "raised TypeError"),
    "argument without a parameter": (
        "ext: .\n---\n!ext.Fixed\nname: a\nkey: id\nusername: me\n",
        "6:1",
        'unknown field "username" in !ext.Fixed',
    ),
    "misspelt class": ("ext: .\n---\n!ext.MyClustr\nname: a\n", "3:1", "did you mean !ext.MyCluster?"),
    "no cluster": ("ext: .\n---\n!ext.NoCluster\nname: a\n", "3:1", "expected a subclass of flambe_ansible.Cluster"),
    "unfinished": ("ext: .\n---\n!ext.Unfinished\nname: a\n", "3:1", "does not implement load_all_instances"),
    "misspelt extension": ("extt: .\n---\n!ext.MyCluster\nname: a\n", "3:1", "did you mean !extt.MyCluster?"),
    "no such folder": ("ext: ./nothing\n---\n!ext.MyCluster\nname: a\n", "1:6", "nothing does not exist"),
    "folder without the module": (
        "ext: keys\n---\n!ext.MyCluster\nname: a\n",
        "1:6",
        "keys contains no module ext; expected a",
    ),
    "not installed": ("zzz: zzz==1\n---\n!zzz.MyCluster\nname: a\n", "1:6", "-m pip install zzz==1"),
    "a password": ("zzz: git+https://me:hunter2@x.example/a\n---\n!zzz.A\nname: a\n", "1:6", "pip install"),
    "no such submodule": ("ext: .\n---\n!ext.sub.MyCluster\nname: a\n", "3:1", "ext.sub cannot be imported"),
}


@pytest.mark.parametrize(("text", "place", "message"), FILES.values(), ids=FILES)
def test_wrong_files(extension: Path, write: Callable[[str], Path], text: str, place: str, message: str) -> None:
    path = write(text)
    problem = refuse(path)
    assert problem.startswith(f"{path}:{place}: ")
    assert message in problem
    assert "hunter2" not in problem


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import a_module_that_does_not_exist", "No module named 'a_module_that_does_not_exist'"),
        ("def f(:", "SyntaxError"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_a_broken_extension(folder: Path, write: Callable[[str], Path], code: str, message: str) -> None:
    (folder / "ext.py").write_text(code + "\n")
    path = write(CLUSTER)
    problem = refuse(path)
    assert problem.startswith(f"{path}:1:6: ")
    assert message in problem


def test_two_modules_with_the_same_name(extension: Path, write: Callable[[str], Path]) -> None:
    load_cluster(write(CLUSTER))
    (extension / "other").mkdir()
    (extension / "other" / "ext.py").write_text(MODULE)
    assert "another module ext is already imported, from" in refuse(write(CLUSTER.replace("ext: .", "ext: other")))


def test_the_example_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = tmp_path / "key"
    key.write_text(PRIVATE)
    key.chmod(0o600)
    example = ROOT / "examples" / "provider"
    text = (example / "cluster.yaml").read_text().replace("~/.ssh/id_ed25519", str(key))
    text = text.replace("inventory_file: .", f"inventory_file: {example}").replace(
        "hosts.txt", str(example / "hosts.txt")
    )
    (tmp_path / "cluster.yaml").write_text(text)
    cluster = load_cluster(tmp_path / "cluster.yaml")
    assert cluster.factories_num == 2
    cluster.load_all_instances()
    assert [host.private_ip for host in cluster.hosts] == ["10.0.0.10", "10.0.0.11", "10.0.0.12"]
    (tmp_path / "cluster.yaml").write_text(text.replace(str(example / "hosts.txt"), "nothing.txt"))
    assert "cluster.yaml:16:13: hosts_file is" in refuse(tmp_path / "cluster.yaml")


def refuse(path: Path) -> str:
    with pytest.raises(ClusterConfigurationError) as caught:
        load_cluster(path)
    assert len(caught.value.problems) == 1, str(caught.value)
    assert caught.value.exit_code == 3
    return str(caught.value.problems[0])
