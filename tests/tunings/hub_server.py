"""A hub on this machine: what huggingface_hub's client asks over HTTP, answered from a folder."""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import yaml

COMMIT = "1" * 40


def etag(data):
    """A file's name by what is in it."""
    return hashlib.sha1(data).hexdigest()


class Hub(BaseHTTPRequestHandler):
    """Repositories are folders OWNER/NAME/REVISION below `root`; anything else is not found."""

    root: Path
    token: str
    asked: list[str]

    def log_message(self, *words):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.asked.append(f"POST {self.path}")
        if self.headers.get("authorization") != f"Bearer {self.token}":
            return self.answer(401, {"error": "Invalid username or password."})
        if self.path == "/api/repos/create":
            told = json.loads(body)
            name = f"{told.get('organization') or 'me'}/{told['name']}"
            (self.root / name).mkdir(parents=True, exist_ok=True)
            private = told.get("visibility") == "private" or told.get("private") is True
            (self.root / name / "private").write_text(str(private))
            return self.answer(200, {"url": f"http://{self.headers['host']}/{name}", "id": name})
        if self.path == "/api/validate-yaml":  # the head of a card
            head = yaml.safe_load(json.loads(body)["content"].split("---")[1])
            good = isinstance(head, dict) and "library_name" in head
            return self.answer(200, {"errors": [] if good else [{"message": "no head"}],
                                     "warnings": []})  # fmt: skip
        if found := re.fullmatch(r"/api/models/(.+?)/preupload/(.+)", self.path):
            files = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                     for f in json.loads(body)["files"]]  # fmt: skip
            return self.answer(200, {"files": files})
        if found := re.fullmatch(r"/api/models/(.+?)/commit/([^?]+)(?:\?.*)?", self.path):
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    place = self.root / found[1] / unquote(found[2]) / line["value"]["path"]
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.write_bytes(base64.b64decode(line["value"]["content"]))
            url = f"http://{self.headers['host']}/{found[1]}/commit/{COMMIT}"
            return self.answer(200, {"success": True, "commitOid": COMMIT, "commitUrl": url})
        return self.answer(404, {"error": f"POST {self.path}"})

    def do_GET(self):
        self.asked.append(f"{self.command} {self.path}")
        if found := re.fullmatch(r"/api/models/(.+?)/revision/([^?]+)(?:\?.*)?", self.path):
            folder = self.root / found[1] / unquote(found[2])
            if not folder.is_dir():
                return self.answer(404, {"error": "Revision Not Found"})
            (self.root / found[1] / COMMIT).unlink(missing_ok=True)
            (self.root / found[1] / COMMIT).symlink_to(folder, target_is_directory=True)
            names = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
            return self.answer(
                200,
                {"id": found[1], "sha": COMMIT, "siblings": [{"rfilename": n} for n in names]},
            )
        if found := re.fullmatch(r"/api/models/(.+?)/tree/([^?]+)(?:\?.*)?", self.path):
            folder = self.root / found[1] / unquote(found[2])
            files = [p for p in folder.rglob("*") if p.is_file()]
            told = [
                {
                    "type": "file",
                    "path": file.relative_to(folder).as_posix(),
                    "size": file.stat().st_size,
                    "oid": etag(file.read_bytes()),
                }
                for file in files
            ]
            return self.answer(200, told)
        if found := re.fullmatch(r"/(.+?/.+?)/resolve/([^/]+)/(.+)", self.path):
            file = self.root / found[1] / unquote(found[2]) / unquote(found[3])
            if file.is_file():
                data = file.read_bytes()
                return self.answer(200, data, ETag=f'"{etag(data)}"')
        return self.answer(404, {"error": f"GET {self.path}"})

    do_HEAD = do_GET

    def answer(self, status, told, **headers):
        data = told if isinstance(told, bytes) else json.dumps(told).encode()
        self.send_response(status)
        for name, value in {**headers, "X-Repo-Commit": COMMIT}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


@contextmanager
def serving(root, token):
    """The hub's address, what it was asked, while it runs."""
    kind = type("Hub", (Hub,), {"root": Path(root), "token": token, "asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", kind.asked
        finally:
            server.shutdown()
