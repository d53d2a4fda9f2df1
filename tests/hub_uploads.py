"""A hub on loopback that takes uploads too, in the hub's own protocol, and gives back what it took."""

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
LARGE = (".safetensors", ".onnx", ".npz")  # stored apart from the rest, as .gitattributes of the hub says


@dataclass
class UploadHub(Hub):
    """A hub with one user, whose tokens are WRITER and READER.

    Attributes:
        folder: where commits are kept.
        private: by repository that was made.
        objects: large files by SHA-256.
        commits: how many there were.
    """

    folder: Path = Path()
    private: dict[str, bool] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    commits: int = 0

    def respond(self, command, path, query, headers, body) -> Answer:
        if command == "PUT":  # a signed address: whoever has it may write there
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
        asked = re.fullmatch(
            r"/(api/models/)?(?P<name>[^/]+/[^/]+?)(\.git/info/lfs/objects)?/(?P<what>\w+)(/main)?", path
        )
        handlers = {"preupload": self._preuploaded, "batch": self._batch, "commit": self._committed}
        if asked is None or asked["name"] not in self.private:
            return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"
        return handlers[asked["what"]](asked["name"], body)

    def _created(self, asked) -> Answer:
        name = f"{asked['organization']}/{asked['name']}"
        there = name in self.private
        if not there:
            self.private[name] = asked["visibility"] == "private"
            self.models[name] = {COMMIT: self.folder / COMMIT}
            (self.folder / COMMIT).mkdir(exist_ok=True)
            self.main[name] = COMMIT
        status, headers, body = _json({"url": f"{self.address}/{name}"})
        return (409 if there else status), headers, body

    def _validated(self, asked) -> Answer:
        head = re.match(r"---\n(.*?)\n---\n", asked["content"], re.DOTALL)
        good = head is not None and "library_name" in yaml.safe_load(head[1])
        if good:
            return _json({"errors": [], "warnings": []})
        return 400, {}, json.dumps({"errors": [{"message": "no library_name"}], "warnings": []}).encode()

    def _files(self, name) -> dict[str, Path]:
        folder = self.models[name][self.main[name]]
        return {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}

    def _preuploaded(self, name, body) -> Answer:
        there = self._files(name)
        answers = []
        for file in json.loads(body)["files"]:
            path, large = file["path"], file["path"].endswith(LARGE)
            content = there[path].read_bytes() if path in there else None
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
        for wanted in json.loads(body)["objects"]:
            upload = {"actions": {"upload": {"href": f"{self.address}/lfs/{wanted['oid']}", "header": {}}}}
            objects.append({**wanted, **({} if wanted["oid"] in self.objects else upload)})
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
