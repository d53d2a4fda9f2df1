"""A small Hugging Face hub on loopback: serves the model folders it is given, in the hub's own protocol."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0" * 39 + "1"


@contextmanager
def serve(models: dict[str, Path]) -> Iterator[str]:
    """Yields the address for HF_ENDPOINT. `gated/model` asks for terms; every other id is unknown."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self):
            self.respond(with_body=False)

        def do_GET(self):
            self.respond(with_body=True)

        def respond(self, with_body):
            status, headers, body = answer(self.path.partition("?")[0].strip("/").split("/"))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def log_message(self, *_):
            pass

    def answer(parts):
        if parts[:2] == ["api", "models"]:
            name, revision = "/".join(parts[2:4]), parts[5] if parts[4:5] == ["revision"] else "main"
        else:
            name, revision = "/".join(parts[:2]), parts[3]
        if name == "gated/model":
            return 403, {"X-Error-Code": "GatedRepo"}, b""
        if name not in models:
            return 404, {"X-Error-Code": "RepoNotFound"}, b""
        if revision not in ("main", COMMIT):
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        files = {p.relative_to(models[name]).as_posix(): p for p in models[name].rglob("*") if p.is_file()}
        if parts[0] == "api":
            siblings = [{"rfilename": file} for file in files]
            body = json.dumps(
                {"id": name, "sha": COMMIT, "siblings": siblings, "private": False, "tags": [], "downloads": 0}
            )
            return 200, {"Content-Type": "application/json"}, body.encode()
        file = files.get("/".join(parts[4:]))
        if file is None:
            return 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}, b""
        content = file.read_bytes()
        return 200, {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT}, content

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
