"""The report site's pages load files only from their own host."""

from __future__ import annotations

import importlib.util
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import flask
import pytest
import yaml

from flambe_ansible.paths import collection

ROLE = collection() / "roles/report_site"
PAGE = """<head>
<link rel="stylesheet" href="https://stackpath.bootstrapcdn.com/bootstrap/4.1.3/css/bootstrap.min.css" integrity="x">
<link href="https://gitcdn.github.io/bootstrap-toggle/2.2.2/css/bootstrap-toggle.min.css" rel="stylesheet">
<link href="https://cdnjs.cloudflare.com/ajax/libs/vis/4.21.0/vis-network.min.css" rel="stylesheet" type="text/css" />
</head><script
  src="https://code.jquery.com/jquery-3.4.1.min.js"
  crossorigin="anonymous"></script>
<script type="text/javascript" src="https://cdnjs.cloudflare.com/ajax/libs/vis/4.21.0/vis.js"></script>
<script src="https://cdn.jsdelivr.net/gh/google/code-prettify@master/loader/run_prettify.js"></script>
<script type="text/javascript" src="/static/main.js"></script><script>update();</script><a href="https://example.org/about">about</a>
</html>
"""


def load() -> Any:
    spec = importlib.util.spec_from_file_location("report_site", ROLE / "files/report_site.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def extracted() -> set[str]:
    """List the files that the role extracts."""
    wheels = yaml.safe_load((ROLE / "defaults/main.yml").read_text())["report_site_assets"]
    return {name for wheel in wheels for name in wheel["files"].values()}


@pytest.fixture
def app(tmp_path: Path) -> flask.Flask:
    made = flask.Flask("site")
    made.add_url_rule("/", "index", lambda: PAGE)
    made.add_url_rule("/state", "state", lambda: flask.jsonify(PAGE))
    load().serve_assets(made, str(tmp_path))
    return made


def test_pages_load_from_their_own_host(app: flask.Flask, tmp_path: Path) -> None:
    for name in extracted():
        (tmp_path / name).write_text(name)
    client = app.test_client()
    page = client.get("/").text
    loaded = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert loaded == [
        "assets/bootstrap.min.css", "assets/vis-network.css", "assets/jquery.min.js", "assets/vis-network.min.js",
        "/static/main.js", "https://example.org/about",
    ]  # fmt: skip
    assert all(client.get(one).text == one.removeprefix("assets/") for one in loaded if one.startswith("assets/"))
    assert client.get("/state").json == PAGE


def test_pages_are_unchanged_if_a_file_is_missing(app: flask.Flask, tmp_path: Path) -> None:
    for name in sorted(extracted())[1:]:
        (tmp_path / name).write_text(name)
    assert app.test_client().get("/").text == PAGE


def test_no_file_outside_of_the_folder(app: flask.Flask, tmp_path: Path) -> None:
    (tmp_path.parent / "secret").write_text("secret")
    assert app.test_client().get("/assets/..%2Fsecret").status_code == 404


def test_pages_are_corrected(app: flask.Flask) -> None:
    load().correct_pages(app, str(ROLE / "files"))
    client = app.test_client()
    page = client.get("/").text
    style, script = ((ROLE / f"files/report_site.{kind}").read_text() for kind in ("css", "js"))
    assert page.count(f"<style>\n{style}</style>\n</head>") == 1
    assert f'/main.js"></script><script>\n{script}</script><script>update();</script>' in page
    assert client.get("/state").json == PAGE
    assert client.get("/favicon.ico").headers["Location"].endswith("/static/ASAPP_Flambe_Logo_RGB_FullColor.svg")


@pytest.mark.parametrize(
    ("finished", "shown", "over"),
    [
        (True, "LoadState=loaded ActiveState=active", True),
        (False, "LoadState=loaded ActiveState=active", False),
        (False, "LoadState=loaded ActiveState=activating", False),
        (False, "LoadState=loaded ActiveState=deactivating", True),  # Ray restarts after the experiment
        (False, "LoadState=loaded ActiveState=inactive", True),
        (False, "LoadState=loaded ActiveState=deactivating Job=7", True),
        (False, "LoadState=loaded ActiveState=failed Job=", True),
        (False, "LoadState=loaded ActiveState=failed Job=7", False),  # it is about to start
        (False, "LoadState=not-found ActiveState=inactive", False),
        (False, "", False),
    ],
)
def test_an_experiment_is_over_if_it_finished_or_its_unit_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished: bool, shown: str, over: bool
) -> None:
    systemctl = tmp_path / "systemctl"
    arguments = "show --property=LoadState,ActiveState,Job -- my.service"
    systemctl.write_text(f'#!/bin/sh\n[ "$*" = "{arguments}" ] && echo {shown}\n')
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    app = flask.Flask("site")
    app.add_url_rule("/state", "state", lambda: flask.jsonify(json.dumps({"name": "mine", "finished": finished})))
    load().add_end(app, "my.service")
    expected = {"name": "mine", "finished": finished, "over": over}
    assert json.loads(app.test_client().get("/state").get_json()) == expected


def test_without_systemd_an_experiment_is_not_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not load().has_ended("my.service")


class TensorBoard(BaseHTTPRequestHandler):
    """Returns the requested path; a page with a font below /page."""

    def do_GET(self) -> None:
        page = self.path == "/page"
        body = "url(/font-roboto/a.woff2) é" if page else f"{self.path} {self.headers['Accept']}"
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8" if page else "text/plain")
        self.send_header("Content-Length", str(len(body.encode())))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        return


def test_requests_below_the_prefix_reach_tensorboard(app: flask.Flask) -> None:
    server = HTTPServer(("127.0.0.1", 0), TensorBoard)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    made = load().WithTensorBoard(app.wsgi_app, server.server_port)
    app.wsgi_app = made  # type: ignore[method-assign]
    client = app.test_client()
    answer = client.get("/tensorboard/data/a%20b?tag=x%2Fy&run=1", headers={"Accept": "text/x"})
    assert (answer.status_code, answer.text) == (200, "/data/a%20b?tag=x%2Fy&run=1 text/x")
    assert "Connection" not in answer.headers
    answer = client.get("/tensorboard/page")
    assert (answer.text, answer.headers["Content-Length"]) == ("url(font-roboto/a.woff2) é", "27")
    assert client.get("/tensorboard?a=1").headers["Location"] == "tensorboard/?a=1"
    assert client.get("/").text == PAGE
    server.shutdown()
    server.server_close()
    answer = client.get("/tensorboard/")
    assert (answer.status_code, answer.text[:27]) == (502, "TensorBoard does not answer")
