"""Start flambe's report site with TensorBoard behind the same address, below /tensorboard.

    report_site.py TENSORBOARD_PORT STATE_FILE [options of flambe's site]

The site's links to TensorBoard are relative, so that they work through any tunnel, on any port and under any name.
Runs in flambe's runtime.
"""

import http.client
import logging
import runpy
import sys
from urllib.parse import quote

PREFIX = "/tensorboard"
_SITE = "flambe.runner.report_site_run"
# Those that concern one connection alone.
_HOP_HEADERS = {"connection", "keep-alive", "proxy-authenticate", "te", "trailers", "transfer-encoding", "upgrade"}
_CHUNK = 65536


class WithTensorBoard:
    """Passes what is below the prefix on to TensorBoard on this host, the rest to the site.

    Args:
        site: The site's WSGI application.
        port: Where TensorBoard listens.
    """

    def __init__(self, site, port):
        self.site = site
        self.port = port

    def __call__(self, environ, start_response):
        """Answer one request."""
        path = environ.get("PATH_INFO", "")
        if path == PREFIX:
            query = environ.get("QUERY_STRING", "")
            start_response("302 Found", [("Location", PREFIX[1:] + "/" + ("?" + query if query else ""))])
            return [b""]
        if not path.startswith(PREFIX + "/"):
            return self.site(environ, start_response)
        try:
            return self.ask(environ, start_response, path[len(PREFIX) :])
        except (OSError, http.client.HTTPException) as error:
            start_response("502 Bad Gateway", [("Content-Type", "text/plain; charset=utf-8")])
            return [f"TensorBoard does not answer: {error}\n".encode()]

    def ask(self, environ, start_response, path):
        """Pass one request on."""
        query = environ.get("QUERY_STRING", "")
        url = quote(path.encode("latin-1"), safe="/:@!$&'()*+,;=~") + ("?" + query if query else "")
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(length) if length else None
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(environ["REQUEST_METHOD"], url, body, read_headers(environ))
        answer = connection.getresponse()
        headers = [item for item in answer.getheaders() if item[0].lower() not in _HOP_HEADERS]
        start_response(f"{answer.status} {answer.reason}", headers)
        return read_body(connection, answer)


def read_headers(environ):
    """Read a request's headers that mean something to TensorBoard."""
    names = {"HTTP_ACCEPT": "Accept", "HTTP_ACCEPT_ENCODING": "Accept-Encoding", "CONTENT_TYPE": "Content-Type"}
    return {name: environ[key] for key, name in names.items() if environ.get(key)}


def read_body(connection, answer):
    """Hand an answer on in pieces."""
    try:
        while True:
            chunk = answer.read(_CHUNK)
            if not chunk:
                return
            yield chunk
    finally:
        connection.close()


def main():
    """Put TensorBoard behind the site, then run flambe's own starter."""
    from flambe.experiment.webapp.app import app

    port, *options = sys.argv[1:]
    app.wsgi_app = WithTensorBoard(app.wsgi_app, int(port))
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # not a line for each request
    sys.argv = [_SITE, *options, "--tensorboard_url", PREFIX[1:]]
    runpy.run_module(_SITE, run_name="__main__")


if __name__ == "__main__":
    main()
