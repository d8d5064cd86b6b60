#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An OCI layout whose one layer has a table of contents of its own, byte by byte.
   mktoc.py estargz|chunked FOLDER LAYOUT [CHUNK [LIE]]
   CHUNK: bytes of a chunk. LIE: what is wrong with the table, whose own digest is right but for "annotation".
   Prints the blob's hex digest and where the table starts in it."""
import base64
import datetime
import gzip
import hashlib
import io
import json
import os
import struct
import subprocess
import sys
import tarfile

kind, folder, layout = sys.argv[1:4]
chunk = int(sys.argv[4]) if len(sys.argv) > 4 else 100000
lie = sys.argv[5] if len(sys.argv) > 5 else ""


def sha(b):
    return "sha256:" + hashlib.sha256(b).hexdigest()


def pack(b):
    if kind == "estargz":
        return gzip.compress(b, 6, mtime=0)
    return subprocess.run(["zstd", "-q", "-3", "-c"], input=b, stdout=subprocess.PIPE, check=True).stdout


blob, tar, pending, entries = bytearray(), bytearray(), bytearray(), []


def flush():  # a member or frame ends here
    global pending
    if pending:
        blob.extend(pack(bytes(pending)))
        pending = bytearray()


def put(b):
    tar.extend(b)
    pending.extend(b)


def time(t):
    return datetime.datetime.fromtimestamp(t, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def add(name, path):
    t = tarfile.TarFile(fileobj=io.BytesIO(), mode="w", format=tarfile.PAX_FORMAT).gettarinfo(path, name)
    t.mtime = int(t.mtime)
    e = {"name": name + ("/" if t.isdir() else ""), "mode": t.mode, "uid": t.uid, "gid": t.gid, "modtime": time(t.mtime)}
    for x in os.listxattr(path, follow_symlinks=False):
        if x.startswith("user."):
            v = os.getxattr(path, x, follow_symlinks=False)
            t.pax_headers["SCHILY.xattr." + x] = v.decode()
            e.setdefault("xattrs", {})[x] = base64.b64encode(v).decode()
    put(t.tobuf(tarfile.PAX_FORMAT))
    if not t.isreg():
        e["type"] = {tarfile.DIRTYPE: "dir", tarfile.SYMTYPE: "symlink", tarfile.FIFOTYPE: "fifo", tarfile.CHRTYPE: "char"}[t.type]
        if t.issym():
            e["linkName"] = t.linkname
        entries.append(e)
        return
    with open(path, "rb") as f:
        data = f.read()
    e.update(type="reg", size=len(data))
    if data:
        e["digest"] = sha(data)
    pieces = [data[i:i + chunk] for i in range(0, len(data), chunk)]
    for i, p in enumerate(pieces):
        flush()
        if i:
            e = {"name": name, "type": "chunk"}
        e["offset"] = len(blob)
        if len(pieces) > 1:
            e.update(chunkDigest=sha(p), chunkOffset=i * chunk)
            if kind == "chunked" or i + 1 < len(pieces):
                e["chunkSize"] = len(p)
        put(p)
        entries.append(e)
    if not data:
        entries.append(e)
    elif kind == "chunked":
        flush()
    put(bytes(-len(data) % 512))


for at, dirs, files in os.walk(folder):
    dirs.sort()
    rel = os.path.relpath(at, folder)
    for n in sorted(files + dirs):
        add(os.path.normpath(os.path.join(rel, n)), os.path.join(at, n))
    # one level at a time is what a tar has
regs = [e for e in entries if e["type"] == "reg" and e.get("size")]
# two files one behind the other, each of one chunk
pairs = [(a, b) for a, b in zip(entries, entries[1:]) if a in regs and b in regs and "chunkDigest" not in a | b]
if lie == "mode":
    regs[0]["mode"] ^= 0o111
elif lie == "content":  # one file's content under another's name
    a, b = pairs[0]
    a.update(size=b["size"], digest=b["digest"], offset=b["offset"])
    entries.remove(b)
elif lie == "digest":  # of a chunk
    pairs[0][0]["digest"] = sha(b"something else")
elif lie == "missing":  # a file that the tar has
    entries.remove(pairs[0][1])
elif lie == "order":
    a, b = regs[:2]
    a["offset"], b["offset"] = b["offset"], a["offset"]
elif lie == "overlap":
    e = next(e for e in entries if e["type"] == "chunk")
    e["chunkOffset"] -= 1
elif lie == "outside":
    regs[-1]["offset"] = 2**40
elif lie == "dotdot":
    pairs[0][0]["name"] = "../../escape"
elif lie == "links":  # in a ring, the last one to itself
    ring = [{"name": f"l{n}", "type": "hardlink", "linkName": f"l{(n + 1) % 3}"} for n in range(3)]
    entries += ring + [{"name": "self", "type": "hardlink", "linkName": "self"}]
table = json.dumps({"version": 1, "entries": entries}, indent="\t")
if lie == "twice":
    table = table[:-1] + ', "version": 1}'
elif lie == "deep":
    table = '{"version": 1, "entries": ' + 100000 * "["
elif lie == "wide":
    table = '{"version": 1, "x": [' + 1000000 * "1," + '1], "entries": []}'
table = table.encode()
if kind == "estargz":
    flush()
    start = len(blob)
    t = tarfile.TarInfo("stargz.index.json")
    t.size = len(table)
    t.mode = 0
    put(t.tobuf(tarfile.USTAR_FORMAT) + table + bytes(-len(table) % 512) + bytes(1024))
    flush()
    blob.extend(b"\x1f\x8b\x08\x04" + bytes(5) + b"\xff" + struct.pack("<H", 26) + b"SG" + struct.pack("<H", 22) +
                b"%016xSTARGZ" % start + b"\x01\x00\x00\xff\xff" + bytes(8))
    notes, media = {"containerd.io/snapshot/stargz/toc.digest": sha(table)}, "gzip"
else:
    put(bytes(1024))
    flush()
    packed = pack(table)
    skip = struct.pack("<II", 0x184D2A50, len(packed))
    start = len(blob) + len(skip)
    blob.extend(skip + packed)
    notes = {"io.github.containers.zstd-chunked.manifest-checksum": sha(packed),
             "io.github.containers.zstd-chunked.manifest-position": f"{start}:{len(packed)}:{len(table)}:1"}
    footer = struct.pack("<QQQQQ", start, len(packed), len(table), 1, 0x6078514C6E455247)
    blob.extend(struct.pack("<II", 0x184D2A50, len(footer)) + footer)
    media = "zstd"
if lie == "annotation":
    for n in notes:
        notes[n] = sha(b"something else") if notes[n].startswith("sha256:") else notes[n]


def store(b):
    d = sha(b)
    os.makedirs(f"{layout}/blobs/sha256", exist_ok=True)
    with open(f"{layout}/blobs/sha256/{d[7:]}", "wb") as f:
        f.write(b)
    return {"digest": d, "size": len(b)}


config = store(json.dumps({"architecture": "amd64", "os": "linux", "config": {},
                           "rootfs": {"type": "layers", "diff_ids": [sha(bytes(tar))]}}).encode())
layer = store(bytes(blob))
manifest = store(json.dumps({
    "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
    "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **config},
    "layers": [{"mediaType": f"application/vnd.oci.image.layer.v1.tar+{media}", **layer, "annotations": notes}]}).encode())
with open(f"{layout}/index.json", "w", encoding="utf-8") as f:
    json.dump({"schemaVersion": 2, "manifests": [{"mediaType": "application/vnd.oci.image.manifest.v1+json", **manifest,
               "annotations": {"org.opencontainers.image.ref.name": "1"}}]}, f)
with open(f"{layout}/oci-layout", "w", encoding="utf-8") as f:
    f.write('{"imageLayoutVersion": "1.0.0"}')
print(layer["digest"][7:], start)
