"""Hub on loopback that accepts uploads by the protocol of the Hugging Face hub, and serves the uploaded files."""

import base64
import hashlib
import json
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from hub_server import COMMIT, Answer, Hub, _json

WRITER, READER = "hf_may_write", "hf_may_read"
LARGE = (".safetensors", ".onnx", ".npz")  # stored separately, as in .gitattributes of the hub


@dataclass
class UploadHub(Hub):
    """Hub with one user, whose tokens are WRITER and READER.

    Attributes:
        folder: with one subfolder per commit.
        private: whether a repository that was created is private, keyed by name.
        objects: large files, keyed by SHA-256.
        commits: number of commits.
    """

    folder: Path = Path()
    private: dict[str, bool] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    commits: int = 0

    def respond(self, command, path, query, headers, body) -> Answer:
        if command == "PUT":  # a signed address, which needs no token
            return self._stored(path.removeprefix("/lfs/"), body)
        token = headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in (WRITER, READER):
            return 401, {"X-Error-Message": "Invalid credentials in Authorization header"}, b"{}"
        if command != "POST" or "/paths-info/" in path:
            return self.answer(path, query, body)
        if path == "/api/validate-yaml":
            return self._validated(json.loads(body))
        if token == READER:
            return 403, {"X-Error-Message": "You don't have the rights to create a model under this namespace"}, b"{}"
        if path == "/api/repos/create":
            return self._created(json.loads(body))
        request = re.fullmatch(
            r"/(api/models/)?(?P<name>[^/]+/[^/]+?)(\.git/info/lfs/objects)?/(?P<action>\w+)(/main)?", path
        )
        handlers = {"preupload": self._preuploaded, "batch": self._batch, "commit": self._committed}
        if request is None or request["name"] not in self.private:
            return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"
        return handlers[request["action"]](request["name"], body)

    def _created(self, request) -> Answer:
        name = f"{request['organization']}/{request['name']}"
        exists = name in self.private
        if not exists:
            self.private[name] = request["visibility"] == "private"
            self.models[name] = {COMMIT: self.folder / COMMIT}
            (self.folder / COMMIT).mkdir(exist_ok=True)
            self.main[name] = COMMIT
        status, headers, body = _json({"url": f"{self.address}/{name}"})
        return (409 if exists else status), headers, body

    def _validated(self, request) -> Answer:
        head = re.match(r"---\n(.*?)\n---\n", request["content"], re.DOTALL)
        good = head is not None and "library_name" in yaml.safe_load(head[1])
        if good:
            return _json({"errors": [], "warnings": []})
        return 400, {}, json.dumps({"errors": [{"message": "no library_name"}], "warnings": []}).encode()

    def _files(self, name) -> dict[str, Path]:
        folder = self.models[name][self.main[name]]
        return {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}

    def _preuploaded(self, name, body) -> Answer:
        files = self._files(name)
        answers = []
        for file in json.loads(body)["files"]:
            path, large = file["path"], file["path"].endswith(LARGE)
            content = files[path].read_bytes() if path in files else None
            answers.append(
                {
                    "path": path,
                    "uploadMode": "lfs" if large else "regular",
                    "shouldIgnore": False,
                    "oid": None if content is None else _sha256(content) if large else _git_sha(content),
                }
            )
        return _json({"files": answers})

    def _batch(self, name, body) -> Answer:
        objects = []
        for entry in json.loads(body)["objects"]:
            upload = {"actions": {"upload": {"href": f"{self.address}/lfs/{entry['oid']}", "header": {}}}}
            objects.append({**entry, **({} if entry["oid"] in self.objects else upload)})
        return _json({"transfer": "basic", "objects": objects})

    def _stored(self, oid, body) -> Answer:
        if _sha256(body) != oid:
            return 400, {}, b""
        self.objects[oid] = body
        return 200, {}, b""

    def _committed(self, name, body) -> Answer:
        self.commits += 1
        commit = f"{self.commits + 100:040x}"
        folder = self.folder / commit
        shutil.copytree(self.models[name][self.main[name]], folder)
        for line in body.splitlines():
            entry = json.loads(line)
            if entry["key"] == "header":
                continue
            value = entry["value"]
            large = entry["key"] == "lfsFile"
            content = self.objects[value["oid"]] if large else base64.b64decode(value["content"])
            (folder / value["path"]).parent.mkdir(parents=True, exist_ok=True)
            (folder / value["path"]).write_bytes(content)
        self.models[name][commit] = folder
        self.main[name] = commit
        return _json({"commitUrl": f"{self.address}/{name}/commit/{commit}", "commitOid": commit})


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _git_sha(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
