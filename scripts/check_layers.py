#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The include rule (docs/ARCHITECTURE.md): fails when a file includes a header its folder may not
include, or when a library has more than the one user it is meant to have."""
import pathlib
import re
import sys

MAY = {
    "base": set(),
    "erofs": {"base"},
    "overlay": {"base", "erofs"},
    "oci": {"base", "erofs", "overlay/whiteout.h"},
    "snapshotter": {"base", "erofs", "overlay", "oci"},
}
# library header -> the only files that may include it
ONLY = {
    r"yajl/": {"base/json.c"},
    r"openssl/": {"base/digest.c"},
    r"sqlite3\.h": {"snapshotter/db.c"},
    r"nghttp2/": {"snapshotter/containerd/http2.c"},
    r"pcre2": {"snapshotter/filter_regex.c"},
    r"fuse": {"overlay/session.c", "overlay/session_io.c", "overlay/session_ops.c",
              "snapshotter/als_session.c"},
    r"curl/": {"oci/curl.h"},
    r"archive": {"oci/tar_in.c"},
}
# header of our own, or generated -> the same
OURS = {
    "oci/curl.h": {"oci/curl.c", "oci/http.c"},
    "wire.pb-c.h": {"snapshotter/containerd/wire_util.h"},
    "snapshotter/containerd/wire_util.h": {
        "snapshotter/containerd/" + f for f in ("wire_util.c", "service_snapshots.c", "service_health.c")},
}
root = pathlib.Path(sys.argv[1])
bad = 0


def complain(f, n, what, why):
    global bad
    bad = 1
    print(f"{f}:{n}: {what}: {why}")


for folder, allowed in MAY.items():
    for f in sorted((root / folder).rglob("*.[ch]")):
        name = str(f.relative_to(root))
        for n, line in enumerate(f.read_text().splitlines(), 1):
            m = re.match(r'\s*#\s*include\s+(["<])([^">]+)[">]', line)
            if not m:
                continue
            if m[1] == "<":
                for lib, users in ONLY.items():
                    if re.match(lib, m[2]) and name not in users:
                        complain(name, n, m[2], f"only {', '.join(sorted(users))} may include it")
                continue
            if m[2] in OURS and name not in OURS[m[2]]:
                complain(name, n, m[2], f"only {', '.join(sorted(OURS[m[2]]))} may include it")
            if m[2] == "wire.pb-c.h":
                continue
            where, _, rest = m[2].partition("/")
            if not rest or where == "..":
                complain(name, n, m[2], 'spell it "folder/file.h"')
            elif where != folder and where not in allowed and m[2] not in allowed:
                complain(name, n, m[2], f"{folder}/ may not include it")
sys.exit(bad)
