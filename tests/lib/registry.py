#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A registry that misbehaves: serves the OCI layout DIR (its first image, as t/x:1) on a free port of 127.0.0.1 and
   prints "PORT", then one line a request.   registry.py DIR MODE [OTHER-PORT]
   Modes: plain; break (every download ends after a part); norange (so, and Range is ignored); otherrange (a wrong
   part is sent); dead (it always ends before the first byte); busy (429 and 503 first); short, long (Content-Length
   lies); wrong (other bytes); manifest (another manifest than asked for); redirect (blobs are at OTHER-PORT, to which
   no credentials may come); loop; file (redirect to file:); token (wants a bearer token for u:p); basic (wants u:p);
   endless (a manifest without end); stall (the second layer stops half way, for good)."""
import base64
import http.server
import json
import pathlib
import sys
import threading

root, mode = pathlib.Path(sys.argv[1]), sys.argv[2]
other = sys.argv[3] if len(sys.argv) > 3 else None
index = json.loads((root / "index.json").read_text())
first = index["manifests"][0]
seen, lock = {}, threading.Lock()


def blob(digest):
    return (root / "blobs" / digest.replace(":", "/")).read_bytes()


def is_layer(digest):
    return any(l["digest"] == digest for l in json.loads(blob(first["digest"]))["layers"])


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, status, body=b"", length=None, **headers):
        self.send_response(status)
        for k, v in headers.items():
            self.send_header(k.replace("_", "-"), v)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:
            pass
        if length is not None and length != len(body):
            self.close_connection = True

    def do_GET(self):
        path = self.path.split("?")[0]
        auth = self.headers.get("Authorization")
        with lock:
            n = seen[path] = seen.get(path, 0) + 1
            print(path, self.headers.get("Range", "-"), "auth" if auth else "-", flush=True)
        me = f"http://127.0.0.1:{self.server.server_port}"
        basic = "Basic " + base64.b64encode(b"u:p").decode()
        if path == "/token":
            if auth != basic:
                return self.answer(401)
            return self.answer(200, json.dumps({"token": "sesame"}).encode())
        if mode == "token" and auth != "Bearer sesame":
            return self.answer(401, WWW_Authenticate=f'Bearer realm="{me}/token",service="s",scope="repository:t/x:pull"')
        if mode == "basic" and auth != basic:
            return self.answer(401, WWW_Authenticate='Basic realm="x"')
        if mode == "busy" and n <= 2:
            return self.answer(429 if n == 1 else 503, Retry_After="0")
        kind, _, name = path.rpartition("/")
        if kind.endswith("/manifests"):
            return self.manifest(name)
        if not kind.endswith("/blobs"):
            return self.answer(404)
        if mode == "redirect":
            return self.answer(307, Location=f"http://127.0.0.1:{other}{path}")
        if mode == "loop":
            return self.answer(307, Location=path + "?again")
        if mode == "file":
            return self.answer(307, Location="file:///etc/passwd")
        return self.blob(name, n)

    def manifest(self, name):
        if name not in ("1", first["digest"]):
            return self.answer(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}')
        body = blob(first["digest"])
        if mode == "endless":
            body = b" " * (9 << 20)
        if mode == "manifest":
            body += b"\n"
        self.answer(200, body, Content_Type=first["mediaType"])

    def blob(self, name, n):
        try:
            body = blob(name)
        except OSError:
            return self.answer(404)
        if not is_layer(name):
            return self.answer(200, body)
        start = 0
        asked = self.headers.get("Range")
        if asked and mode != "norange":
            start = int(asked.split("=")[1].split("-")[0])
        if mode == "otherrange" and asked:
            start -= 1
        status, headers = 200, {}
        if asked and mode != "norange":
            status, headers = 206, {"Content_Range": f"bytes {start}-{len(body) - 1}/{len(body)}"}
        rest = body[start:]
        if mode == "stall" and name == json.loads(blob(first["digest"]))["layers"][1]["digest"]:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            return threading.Event().wait()
        if mode == "dead":
            return self.answer(status, b"", len(rest), **headers)
        if mode in ("break", "norange", "otherrange") and (n < 4 or mode == "otherrange"):
            return self.answer(status, rest[: max(1, len(body) * n // 4 - start)], len(rest), **headers)
        if mode == "short":
            return self.answer(status, rest[:-1], **headers)
        if mode == "long":
            return self.answer(status, rest + b"more", **headers)
        if mode == "wrong":
            return self.answer(status, bytes([rest[0] ^ 1]) + rest[1:], **headers)
        self.answer(status, rest, **headers)


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
