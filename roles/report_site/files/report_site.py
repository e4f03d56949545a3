"""Start flambe's report site, with TensorBoard at the same address below /tensorboard.

    report_site.py TENSORBOARD_PORT ASSETS JOB_UNIT STATE_FILE [options of flambe's site]

The site's links to TensorBoard are relative, so that they work through a tunnel, on any port and under any name.
If the folder ASSETS holds the files that the pages load from the web, they are served from there, so that a browser
needs no other host. The style sheet and the script next to this file correct flambe's pages. JOB_UNIT is the systemd
unit of the experiment. Runs on flambe's runtime.
"""

import contextlib
import http.client
import json
import logging
import os
import re
import runpy
import subprocess
import sys
from urllib.parse import quote

PREFIX = "/tensorboard"
_SITE = "flambe.runner.report_site_run"
# The request headers that TensorBoard uses, and those of one connection, which are not forwarded.
_REQUEST_HEADERS = {"HTTP_ACCEPT": "Accept", "HTTP_ACCEPT_ENCODING": "Accept-Encoding", "CONTENT_TYPE": "Content-Type"}
_HOP_HEADERS = {"connection", "keep-alive", "proxy-authenticate", "te", "trailers", "transfer-encoding", "upgrade"}
_CHUNK = 65536
_ASSETS = "assets"
_ICON = "ASAPP_Flambe_Logo_RGB_FullColor.svg"  # among flambe's static files
# The last part of an address on the web -> the local file; "" removes the element.
_REPLACED = {
    "bootstrap.min.css": "bootstrap.min.css",
    "bootstrap.min.js": "bootstrap.min.js",
    "jquery-3.3.1.slim.min.js": "jquery.min.js",
    "jquery-3.4.1.min.js": "jquery.min.js",
    "popper.min.js": "popper.min.js",
    "vis-network.min.css": "vis-network.css",
    "vis.js": "vis-network.min.js",
    "bootstrap-toggle.min.css": "",
    "bootstrap-toggle.min.js": "",
    "run_prettify.js": "",  # syntax highlighting of the configuration
}
_SITE_SCRIPT = re.compile(r"""<script\b[^>]*/main\.js"[^>]*></script>""")
_FROM_THE_WEB = re.compile(
    r"""<(?P<tag>script|link)\b[^>]*?\b(?:src|href)="https?://[^"]*/(?P<name>[^"/]+)"[^>]*>(?:\s*</script>)?"""
)


class WithTensorBoard:
    """Forward requests below the prefix to TensorBoard on this host, and all others to the site (WSGI)."""

    def __init__(self, site, port):
        self.site = site
        self.port = port

    def __call__(self, environ, start_response):
        """Answer one request."""
        path, query = environ.get("PATH_INFO", ""), environ.get("QUERY_STRING", "")
        query = "?" + query if query else ""
        if path == PREFIX:
            start_response("302 Found", [("Location", f"{PREFIX[1:]}/{query}")])
            return [b""]
        if not path.startswith(PREFIX + "/"):
            return self.site(environ, start_response)
        try:
            path = quote(path[len(PREFIX) :].encode("latin-1"), safe="/:@!$&'()*+,;=~")
            return self.forward(environ, start_response, path + query)
        except (OSError, http.client.HTTPException) as error:
            start_response("502 Bad Gateway", [("Content-Type", "text/plain; charset=utf-8")])
            return [f"TensorBoard does not answer: {error}\n".encode()]

    def forward(self, environ, start_response, url):
        """Forward one request."""
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(length) if length else None
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        sent = {name: environ[key] for key, name in _REQUEST_HEADERS.items() if environ.get(key)}
        connection.request(environ["REQUEST_METHOD"], url, body, sent)
        answer = connection.getresponse()
        headers = {name: value for name, value in answer.getheaders() if name.lower() not in _HOP_HEADERS}
        body = read_body(connection, answer)
        if headers.get("Content-Type", "").startswith("text/html"):
            # The page loads its fonts from the root of the site.
            body = [b"".join(body).replace(b"url(/", b"url(")]
            headers["Content-Length"] = str(len(body[0]))
        start_response(f"{answer.status} {answer.reason}", list(headers.items()))
        return body


def read_body(connection, answer):
    """Yield a response in chunks."""
    with contextlib.closing(connection):
        yield from iter(lambda: answer.read(_CHUNK), b"")


def localize(page):
    """Rewrite a page to load the known files from this host; other addresses are unchanged."""

    def replace(match):
        name = _REPLACED.get(match.group("name"))
        if not name:
            return match.group() if name is None else ""
        if match.group("tag") == "link":
            return f'<link rel="stylesheet" href="{_ASSETS}/{name}">'
        return f'<script src="{_ASSETS}/{name}"></script>'

    return _FROM_THE_WEB.sub(replace, page)


def serve_assets(app, folder):
    """Make a Flask application's pages load their files from a folder, if it holds all of them."""
    from flask import send_from_directory

    names = {name for name in _REPLACED.values() if name}

    @app.route(f"/{_ASSETS}/<name>")
    def asset(name):
        return send_from_directory(folder, name)

    @app.after_request
    def localize_page(response):
        whole = all(os.path.isfile(os.path.join(folder, name)) for name in names)
        if whole and response.mimetype == "text/html" and not response.is_streamed:
            response.set_data(localize(response.get_data(as_text=True)))
        return response


def correct_pages(app, folder):
    """Add the style sheet and the script in a folder to the pages of a Flask application, and give it an icon."""
    from flask import redirect, url_for

    with open(os.path.join(folder, "report_site.css"), encoding="utf-8") as file:
        style = f"<style>\n{file.read()}</style>\n</head>"
    with open(os.path.join(folder, "report_site.js"), encoding="utf-8") as file:
        script = f"<script>\n{file.read()}</script>"

    @app.route("/favicon.ico")
    def icon():
        return redirect(url_for("static", filename=_ICON))

    @app.after_request
    def add_corrections(response):
        if response.mimetype == "text/html" and not response.is_streamed:
            page = response.get_data(as_text=True)
            # Directly after flambé's script: the next one of the page requests the state of the experiment.
            page = _SITE_SCRIPT.sub(lambda match: match.group() + script, page, 1)
            response.set_data(page.replace("</head>", style, 1))
        return response


def add_end(app, unit):
    """Add ``over`` to the state of the experiment: whether it ended, in whatever way."""
    from flask import jsonify

    show_state = app.view_functions["state"]

    def state():
        document = json.loads(show_state().get_json())  # JSON in a JSON string
        document["over"] = document["finished"] or has_ended(unit)
        return jsonify(json.dumps(document))

    app.view_functions["state"] = state


def has_ended(unit):
    """Return whether systemd has loaded a unit, and it neither runs nor is about to be started."""
    argv = ["systemctl", "show", "--property=LoadState,ActiveState,Job", "--", unit]
    try:
        shown = subprocess.check_output(argv, stderr=subprocess.DEVNULL, timeout=10).decode().split()
    except (OSError, subprocess.SubprocessError):
        return False
    active = {"ActiveState=active", "ActiveState=activating"} & set(shown)
    has_job = any(one.startswith("Job=") and one not in ("Job=", "Job=0") for one in shown)
    starts = has_job and "ActiveState=deactivating" not in shown
    return "LoadState=loaded" in shown and not active and not starts


def main():
    """Add TensorBoard and the local files to the site, then run flambe's entry point."""
    from flambe.experiment.webapp.app import app

    port, assets, job, *options = sys.argv[1:]
    serve_assets(app, assets)
    correct_pages(app, os.path.dirname(os.path.abspath(__file__)))
    add_end(app, job)
    app.wsgi_app = WithTensorBoard(app.wsgi_app, int(port))
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # no line per request
    sys.argv = [_SITE, *options, "--tensorboard_url", PREFIX[1:]]
    runpy.run_module(_SITE, run_name="__main__")


if __name__ == "__main__":
    main()
