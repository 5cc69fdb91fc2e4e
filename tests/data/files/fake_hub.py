"""Server with the hub's interface for one dataset repository, which notes what is asked of it.

Run: python fake_hub.py FOLDER REPOSITORY LOG, which prints its address.
"""

import hashlib
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def serve(folder: Path, repo: str, log: Path) -> None:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self):
            self.answer(body=False)

        def do_GET(self):
            self.answer()

        def do_POST(self):
            length = int(self.headers.get("Content-Length", 0))
            given = json.loads(self.rfile.read(length) or b"{}")
            found = [entry(folder, path) for path in given.get("paths", [])]
            self.send(json.dumps([each for each in found if each]).encode())

        def answer(self, *, body=True):
            path = unquote(urlsplit(self.path).path)
            names = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
            api = f"/api/datasets/{repo}"
            if path.startswith(f"{api}/tree/"):
                below = path.removeprefix(f"{api}/tree/{COMMIT}").removeprefix(f"{api}/tree/main").strip("/")
                children = {name for name in names if name.startswith(below)}
                parents = {str(parent) for name in children for parent in Path(name).parents} - {".", below}
                recursive = "recursive=true" in urlsplit(self.path).query.lower()
                listed = [entry(folder, name) for name in sorted(children | parents)]
                depth = len(Path(below).parts) + 1
                self.send(
                    json.dumps(
                        [each for each in listed if recursive or len(Path(each["path"]).parts) == depth]
                    ).encode()
                )
            elif path == api or path.startswith(f"{api}/revision/"):
                siblings = [{"rfilename": name} for name in names]
                self.send(json.dumps({"id": repo, "sha": COMMIT, "siblings": siblings, "tags": []}).encode())
            elif path.startswith(f"/datasets/{repo}/resolve/"):
                name = path.split("/resolve/", 1)[1].split("/", 1)[1]
                if name not in names:
                    self.send(b"", status=404)
                    return
                with log.open("a") as file:
                    file.write(f"{self.command} {name}\n")
                self.send((folder / name).read_bytes(), body=body, etag=True)
            else:
                self.send(b"", status=404)

        def send(self, content, *, status=200, body=True, etag=False):
            first, last = 0, len(content) - 1
            if content and (asked := self.headers.get("Range")) and status == 200:
                start, _, end = asked.removeprefix("bytes=").partition("-")
                first, last = int(start), min(last, int(end or last))
                status = 206
            part = content[first : last + 1]
            self.send_response(status)
            if status == 206:
                self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
            if etag:
                self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
                self.send_header("X-Repo-Commit", COMMIT)
            if status == 404:
                self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(part)))
            self.end_headers()
            if body and self.command != "HEAD":
                self.wfile.write(part)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


def entry(folder: Path, name: str):
    file = folder / name
    if file.is_dir():
        return {"type": "directory", "path": name, "oid": "0" * 40, "size": 0}
    if not file.is_file():
        return None
    return {
        "type": "file", "path": name, "size": file.stat().st_size, "oid": hashlib.sha1(file.read_bytes()).hexdigest(),
    }  # fmt: skip


if __name__ == "__main__":
    serve(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
