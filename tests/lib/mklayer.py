#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Image layouts made byte by byte, and a terse listing of a tree, for tests/cases/.

mklayer.py OUT [--config CODE] [--manifest CODE] [--index CODE] [--files CODE] LAYER...
    Makes the layout OUT with one image, tag latest. LAYER is an expression over the functions below:
    a list of members is a gzip layer of a tar with its two end blocks; blob(...) says it all.
    CODE is executed over `c`, `m`, `i` (the document, a dict; made bytes, it is written as it is; what
    follows refers to it by its true digest) and `files` (path -> bytes, ('link', target), ('fifo',),
    ('dir',), or None: not written), with `layers` (the blobs), `digest(bytes)` and `desc(bytes, type)`.
mklayer.py --list DIR [SECOND]
    Lists DIR; SECOND must give the same. One line a name: NAME/ NAME=CONTENT NAME->TARGET NAME| NAME(MAJOR:MINOR) NAME[MAJOR:MINOR], then what
    is not usual: a mode other than 0755/0644, an owner other than 0:0, @MTIME other than 1000,
    {XATTR=VALUE}, ==NAME for a further name of a file; links=N when names are missing or too many.
"""
import gzip
import hashlib
import json
import os
import stat
import struct
import sys
import zlib

BLOCK = 512
GZIP = 'application/vnd.oci.image.layer.v1.tar+gzip'
ZSTD = 'application/vnd.oci.image.layer.v1.tar+zstd'
PLAIN = 'application/vnd.oci.image.layer.v1.tar'
DOCKER_GZIP = 'application/vnd.docker.image.rootfs.diff.tar.gzip'
MANIFEST = 'application/vnd.oci.image.manifest.v1+json'
INDEX = 'application/vnd.oci.image.index.v1+json'
CONFIG = 'application/vnd.oci.image.config.v1+json'
END = bytes(2 * BLOCK)


def b(text):
    return text if isinstance(text, bytes) else text.encode('utf-8', 'surrogateescape')


def pad(data):
    return data + bytes(-len(data) % BLOCK)


def octal(n, width):
    return (b'%0*o' % (width - 1, n) + b'\0')[-width:]


def b256(n, width=8):
    """A number as GNU tar writes those that do not fit."""
    return n.to_bytes(width, 'big', signed=True) if n < 0 else b'\x80' + n.to_bytes(width - 1, 'big')


def num(n, width):
    """Bytes as they are; a number in octal where it fits."""
    if isinstance(n, bytes):
        return n.ljust(width, b'\0')
    return octal(n, width) if 0 <= n < 8 ** (width - 1) else b256(n, width)


def pax_record(key, value):
    body = b' ' + b(key) + b'=' + b(value) + b'\n'
    n = len(body)
    while len(str(n)) + len(body) != n:
        n = len(str(n)) + len(body)
    return b'%d' % n + body


def header(name, kind, size, link=b'', mode=0o644, uid=0, gid=0, mtime=1000, dev=(0, 0),
           magic=b'ustar\x0000', prefix=b'', raw=(), badsum=False):
    """One header block; raw: (offset, bytes) put over it before the checksum."""
    h = bytearray(b(name)[:100].ljust(100, b'\0'))
    h += num(mode, 8) + num(uid, 8) + num(gid, 8) + num(size, 12) + num(mtime, 12) + b' ' * 8
    h += b(kind) + b(link)[:100].ljust(100, b'\0') + magic + bytes(64)
    h += num(dev[0], 8) + num(dev[1], 8) + b(prefix)[:155].ljust(155, b'\0')
    h = h.ljust(BLOCK, b'\0')
    for at, data in raw:
        h[at:at + len(data)] = data
    h[148:156] = octal(sum(h) + (1 if badsum else 0), 7) + b' '
    return bytes(h)


def member(name, kind, data=b'', link='', pax=None, size=None, **kw):
    """A member with its PAX header, made where pax= or a long name asks for one."""
    data = b(data)
    records = dict(pax or {})
    if len(b(name)) > 100:
        records.setdefault('path', b(name))
    if len(b(link)) > 100:
        records.setdefault('linkpath', b(link))
    out = X(records) if records else b''
    return out + header(name, kind, len(data) if size is None else size, link, **kw) + pad(data)


def X(records, kind='x'):
    data = records if isinstance(records, bytes) else b''.join(pax_record(k, v) for k, v in records.items())
    return header('pax', kind, len(data)) + pad(data)


def G(records):
    return X(records, 'g')


def GNU(kind, text):
    """A GNU long name (L) or long link (K)."""
    data = b(text) + b'\0'
    return header('././@LongLink', kind, len(data), magic=b'ustar  \0') + pad(data)


def F(name, data='', **kw):
    return member(name, kw.pop('kind', '0'), data, **kw)


def D(name, **kw):
    kw.setdefault('mode', 0o755)
    return member(name if b(name).endswith(b'/') or kw.pop('bare', 0) else b(name) + b'/', '5', **kw)


def S(name, target, **kw):
    return member(name, '2', link=target, mode=0o777, **kw)


def L(name, target, **kw):
    return member(name, '1', link=target, **kw)


def C(name, major, minor, **kw):
    return member(name, '3', dev=(major, minor), **kw)


def B(name, major, minor, **kw):
    return member(name, '4', dev=(major, minor), **kw)


def P(name, **kw):
    return member(name, '6', **kw)


def W(path, **kw):
    """A whiteout of path."""
    folder, _, name = path.rpartition('/')
    return F((folder + '/' if folder else '') + '.wh.' + name, **kw)


def O(folder='', **kw):
    """An opaque mark in a folder."""
    return F((folder + '/' if folder else '') + '.wh..wh..opq', **kw)


def sparse_old(name, size, segments, data, more=None, **kw):
    """GNU's old form: up to 4 segments in the header, 21 in the block behind it."""
    raw = b''.join(octal(o, 12) + octal(n, 12) for o, n in segments)
    raw = [(386, raw), (482, b'\1' if more is not None else b'\0'), (483, octal(size, 12))]
    ext = b''
    if more is not None:
        ext = b''.join(octal(o, 12) + octal(n, 12) for o, n in more).ljust(BLOCK, b'\0')
    return header(name, 'S', len(data), magic=b'ustar  \0', raw=raw, **kw) + ext + pad(b(data))


def sparse_pax(version, name, size, segments, data, **kw):
    """GNU's PAX forms 0.0, 0.1 and 1.0."""
    flat = [n for s in segments for n in s]
    if version == '1.0':
        table = pad(b''.join(b'%d\n' % n for n in [len(segments)] + flat))
        return member('GNUSparseFile.0/x', '0', table + b(data), pax={
            'GNU.sparse.major': '1', 'GNU.sparse.minor': '0', 'GNU.sparse.name': name,
            'GNU.sparse.realsize': str(size)}, **kw)
    if version == '0.1':
        return member('GNUSparseFile.0/x', '0', data, pax={
            'GNU.sparse.size': str(size), 'GNU.sparse.numblocks': str(len(segments)),
            'GNU.sparse.map': ','.join(map(str, flat)), 'GNU.sparse.name': name}, **kw)
    records = pax_record('GNU.sparse.size', str(size)) + pax_record('GNU.sparse.numblocks', str(len(segments)))
    for offset, length in segments:
        records += pax_record('GNU.sparse.offset', str(offset)) + pax_record('GNU.sparse.numbytes', str(length))
    return X(records) + header(name, '0', len(data), **kw) + pad(b(data))


def tar(members, end=END):
    return b''.join(members) + end


def gz(data, level=6):
    return gzip.compress(data, level, mtime=0)


def gz_header(flags=0, extra=b''):
    return b'\x1f\x8b\x08' + bytes([flags]) + bytes(5) + b'\xff' + extra


def gz_with(data, flags, extra=b''):
    body = zlib.compressobj(6, zlib.DEFLATED, -15)
    return gz_header(flags, extra) + body.compress(data) + body.flush() + \
        struct.pack('<II', zlib.crc32(data), len(data) & 0xffffffff)


def zst(data, window=17):
    """A zstd frame of stored blocks with a window of 2^window bytes."""
    out, pieces = b'\x28\xb5\x2f\xfd\x00' + bytes([(window - 10) << 3]), range(0, max(len(data), 1), 65536)
    for at in pieces:
        piece = data[at:at + 65536]
        out += struct.pack('<I', len(piece) << 3 | (at == pieces[-1]))[:3] + piece
    return out


def zst_run(count, window=27):
    """A frame of count * 128 KiB zeros, in four bytes each."""
    block = struct.pack('<I', (131072 << 3) | 2)[:3] + b'\0'
    last = struct.pack('<I', (131072 << 3) | 3)[:3] + b'\0'
    return b'\x28\xb5\x2f\xfd\x00' + bytes([(window - 10) << 3]) + block * (count - 1) + last


def skippable(data=b'skip'):
    return struct.pack('<II', 0x184D2A50, len(data)) + data


def many(n, make):
    return [make(k) for k in range(n)]


def digest(data, algorithm='sha256'):
    return algorithm + ':' + hashlib.new(algorithm, data).hexdigest()


def desc(data, media, algorithm='sha256', **more):
    return dict({'mediaType': media, 'digest': digest(data, algorithm), 'size': len(data)}, **more)


class Blob:
    """A layer: its tar's bytes (for the diff id), the blob's bytes, its media type."""

    def __init__(self, tar_bytes, data=None, media=GZIP, algorithm='sha256', diff_id=None):
        self.tar, self.media, self.algorithm = tar_bytes, media, algorithm
        self.data = gz(tar_bytes) if data is None else data
        self.diff_id = diff_id or digest(tar_bytes, algorithm)


blob = Blob


def document(code, name, value, scope):
    space = dict(scope, **{name: value})
    if code:
        exec(code, globals(), space)
    value = space[name]
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def put(folder, path, what):
    path = os.path.join(folder, path)
    if what is None:
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if isinstance(what, tuple):
        {'link': os.symlink, 'fifo': lambda _, at: os.mkfifo(at), 'dir': lambda _, at: os.mkdir(at)}[what[0]](what[-1], path)
    else:
        with open(path, 'wb') as f:
            f.write(what)


def blob_path(d):
    return 'blobs/' + d.replace(':', '/', 1)


def make_layout(folder, codes, layers):
    layers = [x if isinstance(x, Blob) else Blob(x if isinstance(x, bytes) else tar(x)) for x in layers]
    scope = {'layers': layers}
    config = document(codes.get('config'), 'c', {
        'architecture': 'amd64', 'os': 'linux', 'created': '2024-01-02T03:04:05Z', 'config': {'Cmd': ['/bin/sh']},
        'rootfs': {'type': 'layers', 'diff_ids': [x.diff_id for x in layers]}}, scope)
    manifest = document(codes.get('manifest'), 'm', {
        'schemaVersion': 2, 'mediaType': MANIFEST, 'config': desc(config, CONFIG),
        'layers': [desc(x.data, x.media, x.algorithm) for x in layers]}, dict(scope, config=config))
    entry = desc(manifest, MANIFEST, annotations={'org.opencontainers.image.ref.name': 'latest'})
    extra = {}
    index = document(codes.get('index'), 'i', {'schemaVersion': 2, 'manifests': [entry]},
                     dict(scope, config=config, manifest=manifest, entry=entry, files=extra))
    files = {'oci-layout': b'{"imageLayoutVersion": "1.0.0"}', 'index.json': index,
             blob_path(digest(config)): config, blob_path(digest(manifest)): manifest}
    for x in layers:
        files[blob_path(digest(x.data, x.algorithm))] = x.data
    files.update(extra)
    if codes.get('files'):
        space = dict(scope, config=config, manifest=manifest, files=files)
        space['at'] = [blob_path(digest(x.data, x.algorithm)) for x in layers]
        exec(codes['files'], globals(), space)
    for path, what in files.items():
        put(folder, path, what)


def escaped(name):
    return ''.join(chr(c) if 0x20 < c < 0x7f and c != 0x5c else '\\%03o' % c for c in os.fsencode(name))


def shown(path, st):
    if stat.S_ISREG(st.st_mode):
        if st.st_size > 64:
            whole = hashlib.sha256()
            with open(path, 'rb') as f:
                while True:
                    piece = f.read(1 << 20)
                    if not piece:
                        break
                    whole.update(piece)
            return '=#%d:%s' % (st.st_size, whole.hexdigest()[:8])
        with open(path, 'rb') as f:
            return '=' + escaped(f.read(st.st_size + 1))
    if stat.S_ISDIR(st.st_mode):
        return '/'
    if stat.S_ISLNK(st.st_mode):
        return '->' + escaped(os.readlink(path))
    if stat.S_ISFIFO(st.st_mode):
        return '|'
    pair = (os.major(st.st_rdev), os.minor(st.st_rdev))
    return ('(%d:%d)' if stat.S_ISCHR(st.st_mode) else '[%d:%d]') % pair


def describe(path, name, st, usual_mtime):
    out = escaped(name) + shown(path, st)
    usual = 0o755 if stat.S_ISDIR(st.st_mode) else 0o644
    if not stat.S_ISLNK(st.st_mode) and stat.S_IMODE(st.st_mode) != usual:
        out += ' %04o' % stat.S_IMODE(st.st_mode)
    if (st.st_uid, st.st_gid) != (0, 0):
        out += ' %d:%d' % (st.st_uid, st.st_gid)
    if st.st_mtime_ns != usual_mtime:
        seconds, ns = divmod(st.st_mtime_ns, 10 ** 9)
        out += ' @%d' % seconds + ('.%09d' % ns if ns else '')
    for x in sorted(os.listxattr(path, follow_symlinks=False)):
        value = os.getxattr(path, x, follow_symlinks=False)
        out += ' {%s=%s}' % (x, escaped(value) if len(value) <= 64 else '#%d' % len(value))
    return out


def list_tree(top):
    root = describe(top, b'', os.lstat(top), 0)
    lines = [] if root == '/' else [root]
    links, counts = {}, {}

    def walk(prefix):  # relative: paths may be longer than a system call takes
        for name in sorted(os.listdir(b'.')):
            full, st = prefix + name, os.lstat(name)
            line = describe(name, full, st, 1000 * 10 ** 9)
            if not stat.S_ISDIR(st.st_mode):
                if st.st_ino in links:
                    line += ' ==' + escaped(links[st.st_ino])
                links.setdefault(st.st_ino, full)
                counts.setdefault(st.st_ino, [full, st.st_nlink, 0])[2] += 1
            lines.append(line)
            if stat.S_ISDIR(st.st_mode):
                os.chdir(name)
                walk(full + b'/')
                os.chdir('..')

    back = os.getcwd()
    os.chdir(top)
    walk(b'')
    os.chdir(back)
    for full, told, seen in counts.values():
        if told != seen:
            lines.append('%s: links=%d, %d names' % (escaped(full), told, seen))
    return sorted(lines)


def main(argv):
    if argv[0:1] == ['--list'] and len(argv) == 2:
        print('\n'.join(list_tree(argv[1])))
        return 0
    if len(argv) == 3 and argv[0] == '--list':
        first, second = list_tree(argv[1]), list_tree(argv[2])
        print('\n'.join(first))
        for line in sorted(set(first) ^ set(second)):
            print('only in %s: %s' % (argv[1 if line in first else 2], line), file=sys.stderr)
        return 0 if first == second else 1
    if not argv or argv[0].startswith('-'):
        sys.exit(__doc__)
    folder, codes, layers, at = argv[0], {}, [], 1
    while at < len(argv):
        if argv[at] in ('--config', '--manifest', '--index', '--files'):
            codes[argv[at][2:]] = argv[at + 1]
            at += 2
        else:
            layers.append(eval(argv[at], globals()))
            at += 1
    make_layout(folder, codes, layers)
    return 0


if __name__ == '__main__':
    sys.setrecursionlimit(10000)
    sys.exit(main(sys.argv[1:]))
