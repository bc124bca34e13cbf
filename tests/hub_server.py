"""A stand-in for huggingface.co: the few routes that a data set's repository takes, from files of a folder."""

import functools
import hashlib
import http.server
import json
import threading
from contextlib import contextmanager
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(http.server.BaseHTTPRequestHandler):
    """Serves the repository `pets/photos` from `folder`."""

    def __init__(self, *args, folder: Path, asked: list[str]):
        self.folder, self.asked = folder, asked
        super().__init__(*args)

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answer(body=True)

    def answer(self, body):
        path = self.path.partition("?")[0]
        self.asked.append(f"{self.command} {self.path}")
        parts = path.strip("/").split("/")
        if parts[:4] == ["datasets", "pets", "photos", "resolve"]:
            self.file(self.folder / "/".join(parts[5:]), body)
        elif parts[:5] == ["api", "datasets", "pets", "photos", "tree"]:
            self.json(self.tree("/".join(parts[6:])))
        elif parts[:5] == ["api", "datasets", "pets", "photos", "paths-info"]:
            self.json([])
        elif parts[:4] == ["api", "datasets", "pets", "photos"]:
            siblings = [{"rfilename": name} for name in self.names()]
            self.json(
                {"id": "pets/photos", "sha": COMMIT, "private": False, "tags": [], "downloads": 0, "siblings": siblings}
            )
        else:
            self.missing("RepoNotFound")

    def names(self):
        return sorted(path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file())

    def tree(self, below):
        found = []
        for path in sorted(self.folder.rglob("*")):
            name = path.relative_to(self.folder).as_posix()
            if below and not name.startswith(f"{below}/"):
                continue
            if path.is_dir():
                found.append({"type": "directory", "path": name, "oid": "0" * 40, "size": 0})
            else:
                found.append({"type": "file", "path": name, "size": path.stat().st_size, "oid": self.digest(path)})
        return found

    def digest(self, path):
        return hashlib.sha1(path.read_bytes()).hexdigest()

    def file(self, path, body):
        if not path.is_file():
            self.missing("EntryNotFound")
            return
        content = path.read_bytes()
        headers = {"ETag": f'"{self.digest(path)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        self.send(200, content if body else b"", {**headers, "Content-Length": str(len(content))})

    def json(self, value):
        content = json.dumps(value).encode()
        self.send(200, content, {"Content-Type": "application/json", "Content-Length": str(len(content))})

    def missing(self, code):
        self.send(404, b"", {"X-Error-Code": code, "Content-Length": "0"})

    def send(self, status, content, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def serving(folder: Path):
    """The address of a hub that holds `pets/photos`, and what it was asked."""
    asked: list[str] = []
    handler = functools.partial(Hub, folder=folder, asked=asked)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()
