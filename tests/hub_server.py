"""Small Hugging Face hub on loopback, which serves folders by the protocol of the hub, with configurable faults."""

import hashlib
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

import pandas as pd

COMMIT = "0" * 39 + "1"
OTHER_COMMIT = "0" * 39 + "2"
PATHS = (  # see https://huggingface.co/docs/hub/api
    r"/api/(?P<kind>models|datasets)/(?P<name>[^/]+/[^/]+)(/revision/(?P<revision>[^/]+))?",
    r"/api/(?P<kind>models|datasets)/(?P<name>[^/]+/[^/]+)/(?P<listing>tree|paths-info)/(?P<revision>[^/]+)(/(?P<path>.*))?",
    r"/((?P<kind>datasets)/)?(?P<name>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)",
)

Answer = tuple[int, dict[str, str], bytes]  # status, headers and body


@dataclass
class Hub:
    """Content and faults of the server, and a count of its requests.

    Attributes:
        models, datasets: folders, keyed by id, or by commit for an id that has several. `gated/model` requires accepted terms.
        main: the commit of the branch main of a repository, keyed by id.
        faults: faults of the next requests, in order, keyed by a part of their path. A number is a status; "slow" answers
            after `delay` seconds, and "cut" truncates the body at half its length.
        delay: of a slow answer, in seconds.
        requests: number of requests per path, whatever the answer.
        address: URL of the server while it runs.
    """

    models: dict[str, Path | dict[str, Path]] = field(default_factory=dict)
    datasets: dict[str, Path | dict[str, Path]] = field(default_factory=dict)
    main: dict[str, str] = field(default_factory=dict)
    faults: dict[str, list[int | str]] = field(default_factory=dict)
    delay: float = 0.5
    requests: Counter = field(default_factory=Counter)
    address: str = ""

    def fault(self, path: str) -> int | str | None:
        """Return the fault of a request and remove it from the list, or None."""
        for part, waiting in self.faults.items():
            if part in path and waiting:
                return waiting.pop(0)
        return None

    def respond(self, command: str, path: str, query: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Return status, headers and body for any request. This hub accepts no uploads, so a POST is a query too."""
        return self.answer(path, query, body)

    def answer(self, path: str, query: str, body: bytes) -> Answer:
        """Return status, headers and body for a query."""
        match = next((match for match in (re.fullmatch(pattern, path) for pattern in PATHS) if match), None)
        if match is None:
            return 404, {}, b""
        parts = match.groupdict()
        name, commit = parts["name"], parts["revision"] or "main"
        if name == "gated/model":
            return 403, {"X-Error-Code": "GatedRepo"}, b""
        repositories = self.datasets if parts["kind"] == "datasets" else self.models
        if name not in repositories:
            return 404, {"X-Error-Code": "RepoNotFound"}, b""
        commits = repositories[name] if isinstance(repositories[name], dict) else {COMMIT: repositories[name]}
        commit = self.main.get(name, COMMIT) if commit == "main" else commit
        if commit not in commits:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        folder = commits[commit]
        files = {p.relative_to(folder).as_posix(): p for p in sorted(folder.rglob("*")) if p.is_file()}
        if parts.get("file"):
            return self._file(files.get(parts["file"]), commit)
        if parts.get("listing") == "paths-info":
            wanted = parse_qs(body.decode())["paths"]
            return _json([_entry(name, files[name]) for name in wanted if name in files])
        if parts.get("listing"):
            return _json(_tree(files, parts["path"], parse_qs(query).get("recursive", ["false"])[0].lower() == "true"))
        about = {"id": name, "sha": commit, "siblings": [{"rfilename": file} for file in files]}
        return _json({**about, "private": False, "tags": [], "downloads": 0})

    def _file(self, path: Path | None, commit: str) -> Answer:
        if path is None:
            return 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit}, b""
        content = path.read_bytes()
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        return 200, {"ETag": etag, "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}, content


def _tree(files: dict[str, Path], folder: str | None, recursive: bool) -> list[dict[str, object]]:
    """Return the entries below a folder: all files and folders, or only those directly in it."""
    prefix = f"{folder}/" if folder else ""
    below = {name: path for name, path in files.items() if name.startswith(prefix)}
    folders = {
        parent.as_posix() for name in below for parent in PurePosixPath(name).parents if parent.as_posix() != "."
    }
    listed = [{"type": "directory", "path": name, "size": 0, "oid": "0" * 40} for name in sorted(folders)]
    listed += [_entry(name, path) for name, path in below.items()]
    return [
        entry
        for entry in listed
        if (rest := entry["path"].removeprefix(prefix))
        and entry["path"].startswith(prefix)
        and (recursive or "/" not in rest)
    ]


def _entry(name: str, path: Path) -> dict[str, object]:
    content = path.read_bytes()
    return {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}


def _json(value: object) -> Answer:
    return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """Serve a hub during the context; its `address` is the value for HF_ENDPOINT."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self):
            self.respond()

        def do_GET(self):
            self.respond()

        def do_POST(self):
            self.respond(self.rfile.read(int(self.headers.get("Content-Length", 0))))

        do_PUT = do_POST

        def respond(self, sent=b""):
            address = urlsplit(self.path)
            path = unquote(address.path)
            hub.requests[path] += 1
            fault = hub.fault(path)
            if fault == "slow":
                time.sleep(hub.delay)
            status, headers, body = (
                (fault, {}, b"")
                if isinstance(fault, int)
                else hub.respond(self.command, path, address.query, self.headers, sent)
            )
            if status == 429:
                headers = {"Retry-After": "1"}
            byte_range = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            if status == 200 and byte_range:
                first = int(byte_range[1])
                headers = {**headers, "Content-Range": f"bytes {first}-{len(body) - 1}/{len(body)}"}
                status, body = 206, body[first:]
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body[: len(body) // 2] if fault == "cut" else body)
                self.close_connection = self.close_connection or fault == "cut"

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


CARD = """---
configs:
{}---
"""


def card(**configs):
    """Return the README of a data set, whose header lists the files of each configuration and split."""
    entries = [
        f"- config_name: {name}\n  data_files:\n  - split: {split}\n    path: {path}\n"
        for name, (split, path) in configs.items()
    ]
    return CARD.format("".join(entries))


def nano(folder, documents):
    """Write a data set in the layout of NanoBEIR: corpus, queries and qrels as configurations, in Parquet; return the folder."""
    tables = {
        "corpus": pd.DataFrame([{"_id": f"d{i}", "text": text} for i, text in enumerate(documents)]),
        "queries": pd.DataFrame([{"_id": f"q{i}", "text": f"where is {text}"} for i, text in enumerate(documents[:3])]),
        "qrels": pd.DataFrame([{"query-id": f"q{i}", "corpus-id": f"d{i}"} for i in range(3)]),
    }
    for name, table in tables.items():
        (folder / name).mkdir(parents=True)
        table.to_parquet(folder / name / "train-00000-of-00001.parquet", index=False)
    (folder / "README.md").write_text(card(**{name: ("train", f"{name}/train-*") for name in tables}))
    return folder
