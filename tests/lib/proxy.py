#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A bad line to a registry: HTTP in front of 127.0.0.1:PORT on a free port, which it prints, then one line a request,
   "PATH STATUS RANGE BYTES".   proxy.py PORT CONTROL
   CONTROL is a file of JSON that is read for every request: rate (bytes a second, of all together), latency (seconds before an answer),
   drop (share of answers that end half way), corrupt (share of ranges with one wrong bit), down (connections
   are closed at once). A seed makes the random choices the same in each run."""
import http.client
import http.server
import json
import random
import sys
import threading
import time

upstream, control = int(sys.argv[1]), sys.argv[2]
lock, rng = threading.Lock(), random.Random(7)


def chance(share):
    with lock:
        return rng.random() < share


free = [0.0]  # when the line is


def pace(n, rate):
    with lock:
        free[0] = max(free[0], time.monotonic()) + n / rate
        wait = free[0] - time.monotonic()
    time.sleep(max(0, wait))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        with open(control, encoding="utf-8") as f:
            how = json.load(f)
        if how.get("down"):
            self.close_connection = True
            return
        time.sleep(how.get("latency", 0))
        c = http.client.HTTPConnection("127.0.0.1", upstream)
        c.putrequest(self.command, self.path, skip_accept_encoding=True)
        for k, v in self.headers.items():  # some come several times
            if k.lower() != "host":
                c.putheader(k, v)
        c.endheaders()
        r = c.getresponse()
        body = r.read()
        self.send_response(r.status)
        for k, v in r.getheaders():
            if k.lower() not in ("connection", "transfer-encoding"):
                self.send_header(k, v)
        self.end_headers()
        is_blob = "/blobs/" in self.path and r.status in (200, 206)
        if r.status == 206 and body and chance(how.get("corrupt", 0)):
            at = rng.randrange(len(body))
            body = body[:at] + bytes([body[at] ^ 1 << rng.randrange(8)]) + body[at + 1:]
        if is_blob and chance(how.get("drop", 0)):
            body = body[:len(body) // 2]
            self.close_connection = True
        sent, rate = 0, how.get("rate", 0)
        try:
            while sent < len(body):
                piece = body[sent:sent + 65536]
                self.wfile.write(piece)
                sent += len(piece)
                if rate:
                    pace(len(piece), rate)
        except OSError:
            self.close_connection = True
        with lock:
            print(self.path, r.status, self.headers.get("Range", "-"), sent, flush=True)

    do_HEAD = do_GET


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
print(server.server_port, flush=True)
server.serve_forever()
