"""``Cluster.execute`` with files, objects and a ClusterRunnable written for flambé; no host is contacted."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest
import yaml

import flambe_ansible
from flambe_ansible import AWSCluster, Cluster, ClusterRunnable, RemoteEnvironment, Runnable
from flambe_ansible.cluster.loading import load_cluster
from flambe_ansible.errors import ClusterBusyError, ClusterConfigurationError, ExistingResultsError, RunError
from flambe_ansible.fleet.player import Player
from flambe_ansible.jobs.state import JobState
from flambe_ansible.runnable import load
from flambe_ansible.runnable.importing import import_sources
from flambe_ansible.ssh import Completed, Patience
from tests import flambe_style
from tests.unit.cli.made_up import HOSTS
from tests.unit.fleets import HOME
from tests.unit.jobs.test_submission import Submitting

NODES = '{"nodes": [{"address": "10.0.0.11", "alive": true}, {"address": "10.0.0.12", "alive": true}]}'
ENV = RemoteEnvironment("/k", "10.0.0.10", ["10.0.0.11"], "ml", "me")


@pytest.fixture
def style(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Write the runnable in flambé's style, importable."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield flambe_style.write(tmp_path)
    sys.modules.pop("flambe_style", None)


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Any:
    played = create_autospec(Player.play, return_value={})
    monkeypatch.setattr(Player, "play", lambda self, *args, **kwargs: played(self, *args, **kwargs))
    return played


def make(job: JobState | None = None, *, results: str = "") -> Submitting:
    cluster = Submitting(job=job, results=results)
    cluster.hosts = list(HOSTS)
    cluster._found.answer = Patience(seconds=5)
    given = cluster._found.run.side_effect

    def run(host: Any, command: str, **options: Any) -> Completed:
        answers = {"cat numbers.txt": "3\n", "ray-nodes": NODES}
        output = next((text for word, text in answers.items() if word in command), "")
        answer: Completed = given(host, command, **options)
        return Completed(returncode=0, stdout=output or answer.stdout, stderr="")

    cluster._found.run.side_effect = run
    return cluster


def started(cluster: Submitting) -> list[Any]:
    """Return the documents of the file that was started."""
    [(_, text, _)] = [entry for entry in cluster.log if entry[0] == "start"]
    return list(yaml.load_all(text, Loader=Loader))


class Loader(yaml.SafeLoader):
    """Reads tagged mappings as pairs of tag and mapping."""


Loader.add_multi_constructor("!", lambda loader, tag, node: (tag, loader.construct_mapping(node, deep=True)))


def test_a_runnable_in_the_style_of_flambe_with_other_imports(style: Path, play: Any) -> None:
    cluster = make()
    state = cluster.execute(flambe_ansible.read(style), {}, "", False)
    assert (state.state, state.name) == ("running", "flambe_style.Count")
    extensions, (tag, values) = started(cluster)
    assert extensions == {"flambe_style": f"{HOME}/extensions/flambe_style__flambe_style"}
    environment = values.pop("env")
    assert (tag, values) == (
        "flambe_style.Count",
        {"name": "sum", "data": f"{HOME}/sum/numbers.txt", "workers": ["10.0.0.11", "10.0.0.12"]},
    )
    assert environment[1]["factories_ips"] == ["10.0.0.11", "10.0.0.12"]
    sent = [entry[1:] for entry in cluster.log if entry[0] == "send"]
    assert sent[-1] == (f"{style.parent}/numbers/", f"{HOME}/sum")
    cluster.service.show_results.assert_called_once_with("sum/output__sum", expose=False, port=49556)
    cluster.service.install_runnable.assert_called_once_with(extensions)
    assert [call.kwargs["tags"] for call in play.call_args_list] == [("flambe",)] * 3 + [["report_site"]]


def test_an_object_after_its_setup_is_started_as_in_flambe(style: Path) -> None:
    file = flambe_ansible.read(style)
    import_sources(file)
    runnable, cluster = load(style), make()
    assert isinstance(runnable, ClusterRunnable)
    runnable.set_serializable_attr("env", ENV)
    cluster.execute(runnable, {"flambe_style": "/there"}, "/home/ml/secrets.ini", True)
    assert cluster.log[-2][0] == "stop"
    assert cluster.log[-1][2] == "/home/ml/secrets.ini"
    extensions, (_, values) = started(cluster)
    assert (extensions, values["env"][1]["orchestrator_ip"]) == ({"flambe_style": "/there"}, "10.0.0.10")
    [options] = [call.args[0].options for call in cluster.service.start.call_args_list]
    assert options == ("--force",)


class Here(ClusterRunnable):
    """A runnable of a module that no extension has."""

    def setup(self, cluster: Any, extensions: dict[str, str], force: bool, **kwargs: Any) -> None:
        raise LookupError("no data")

    def run(self, **kwargs: Any) -> None: ...


def test_an_object_that_the_orchestrator_cannot_import_is_refused() -> None:
    cluster = make()
    with pytest.raises(ClusterConfigurationError, match=r"tests\.Here: its module tests is not one of the extensions"):
        cluster.execute(Here(), {}, "", False)
    assert cluster.log == []


def test_setup_is_called_for_an_object_without_environment() -> None:
    cluster = make()
    with pytest.raises(RunError, match=r"!tests\.Here\.setup raised LookupError: no data"):
        cluster.execute(Here(), {"tests": "/there"}, "", False)
    assert not [entry for entry in cluster.log if entry[0] == "start"]


def write_experiment(folder: Path) -> Path:
    path = folder / "experiment.yaml"
    path.write_text("!Experiment\nname: topics\npipeline:\n  train: !Trainer {}\n")
    return path


def test_the_file_of_an_experiment_is_prepared_and_started(tmp_path: Path) -> None:
    cluster = make()
    cluster.execute(flambe_ansible.read(write_experiment(tmp_path)), {}, "", False)
    assert [entry[0] for entry in cluster.log] == ["prepare", "clean", "refresh_ray", "start"]
    [(_, values)] = started(cluster)
    assert (values["save_path"], values["env"][1]["user"]) == (f"{HOME}/topics", "ml")


@pytest.mark.parametrize(
    ("make_it", "error"),
    [
        (lambda: make(JobState(state="running", active=True, name="other")), ClusterBusyError),
        (lambda: make(results="trial_1\n"), ExistingResultsError),
    ],
)
def test_a_file_replaces_nothing_without_force(
    tmp_path: Path, make_it: Callable[[], Submitting], error: type[Exception]
) -> None:
    file, cluster = flambe_ansible.read(write_experiment(tmp_path)), make_it()
    with pytest.raises(error):
        cluster.execute(file, {}, "", False)
    assert cluster.log == []
    cluster.execute(file, {}, "", True)
    assert cluster.log[-1][0] == "start"


def test_a_cluster_is_not_run_from_the_file_of_a_runnable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    (tmp_path / "my_provider").mkdir()
    (tmp_path / "my_provider/pyproject.toml").touch()
    code = "from flambe_ansible import Cluster\nclass Mine(Cluster):\n    def load_all_instances(self): ...\n"
    (tmp_path / "my_provider/__init__.py").write_text(code)
    path = tmp_path / "mine.yaml"
    path.write_text("my_provider: my_provider\n---\n!my_provider.Mine\nname: a\n")
    with pytest.raises(ClusterConfigurationError, match=r"!my_provider\.Mine is a cluster, not a runnable"):
        load(path)


def test_a_cluster_is_a_runnable_with_a_file(tmp_path: Path) -> None:
    assert issubclass(Cluster, Runnable)
    cluster = AWSCluster("a", 2, factories_type="g4dn.xlarge", orchestrator_type="t3.large", creator="me")
    assert isinstance(cluster, Runnable)
    assert cluster.config.sections() == []
    path = tmp_path / "cluster.yaml"
    path.write_text(cluster.to_yaml())
    again = load_cluster(path)
    assert (type(again), again.name, again.factories_num) == (AWSCluster, "a", 2)
