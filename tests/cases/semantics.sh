# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# as: root user
# Traps of union file systems, over directories and over an index of the same tree, each way files are opened.
lowers() { # KIND: what lowerdir= is; an index is made once
	[ "$1" = index ] || { echo "$PWD/lower" && return; }
	[ -e index.lower ] || "$TESTS/lib/index_of_lowers" "$PWD/lower" >index.lower
	cat index.lower
}
up() { # LOWERDIR [OPTIONS]
	mkdir -p upper work mnt
	snapfs -o "lowerdir=$1,upperdir=$PWD/upper,workdir=$PWD/work,redirect_dir=on${2:+,$2}" "$PWD/mnt"
}
down() { fusermount3 -u "$PWD/mnt"; }
each() { # COMMAND...: for every kind of lower and of opening, in a new upper
	local kind o
	for kind in dir index; do
		for o in ${openings:-noopen=0,passthrough=0,metacopy=on metacopy=on}; do
			rm -rf upper work
			up "$(lowers $kind)" $o
			kind=$kind "$@" || fail "$* over $kind, with $o"
			down
			is "$(ls -A work/work)" '' 'the work directory'
		done
	done
}

names() {
	python3 - <<'PY'
import errno, os
n, long = b"n" * 255, b"n" * 256
def got(call, *a):
    try: call(*a); return 0
    except OSError as e: return e.errno
os.chdir("mnt")
assert os.statvfs(".").f_namemax == 255
open(n, "w").write("x")
assert open(n).read() == "x" and n in os.listdir(b".")
for call, a in ((os.stat, (long,)), (os.mkdir, (long,)), (os.symlink, (b"t", long)), (os.mkfifo, (long,)),
                (os.link, (n, long)), (os.rename, (n, long)), (os.rename, (long, b"x")), (os.unlink, (long,)),
                (os.open, (long, os.O_CREAT | os.O_WRONLY)), (os.rmdir, (long,)), (os.setxattr, (long, "user.x", b"y"))):
    assert got(call, *a) == errno.ENAMETOOLONG, (call, got(call, *a))
for call, a in ((os.mkdir, (b"d" * 255,)), (os.symlink, (b"t", b"s" * 255)), (os.mkfifo, (b"f" * 255,)),
                (os.link, (n, b"l" * 255)), (os.rename, (n, b"m" * 255))):
    assert got(call, *a) == 0, call
assert got(os.rename, b"low" + b"w" * 252, b"z" * 255) == 0    # of the lower layer
assert open(b"z" * 255).read() == "low\n"
os.unlink(b"z" * 255)
assert got(os.symlink, b"t" * 4095, b"target") == 0 and os.readlink(b"target") == b"t" * 4095
PY
}
test_names_as_long_as_they_may_be() {
	mkdir lower && echo low >"lower/low$(printf 'w%.0s' $(seq 252))"
	each names
}

deep() { # below lower/deep/..., 8 KiB long, and beside it
	python3 - <<'PY'
import os
os.chdir("mnt")
part, top = "p" * 200, os.open(".", os.O_RDONLY)
def walk(first, make):
    os.fchdir(top)
    for p in [first] + [part] * 41:
        if make and not os.path.exists(p): os.mkdir(p)
        os.chdir(p)
walk("deep", False)
assert open("bottom").read() == "low\n", "the lower layer's"
open("bottom", "a").write("more\n")
open("new", "w").write("new\n")
os.rename("new", "new2"); os.symlink("new2", "link"); os.link("new2", "link2"); os.mkdir("dir")
assert sorted(os.listdir(".")) == ["bottom", "dir", "link", "link2", "new2"] and open("link").read() == "new\n"
os.unlink("link2"); os.setxattr("new2", "user.x", b"y"); os.chmod("bottom", 0o600); os.truncate("bottom", 4)
assert open("bottom").read() == "low\n" and os.stat("bottom").st_mode & 0o777 == 0o600
walk("born", True)
open("x", "w").write("x")
os.rename("x", "y")
os.fchdir(top)
os.rename("deep", "moved")           # with all that is in it
walk("moved", False)
assert open("bottom").read() == "low\n" and open("new2").read() == "new\n"
PY
}
test_paths_longer_than_any() {
	python3 - <<'PY'
import os
os.mkdir("lower"); os.chdir("lower")
for p in ["deep"] + ["p" * 200] * 41:
    os.mkdir(p); os.chdir(p)
open("bottom", "w").write("low\n")
PY
	local o
	for o in noopen=0,passthrough=0,metacopy=on metacopy=on; do
		up "$PWD/lower" $o
		deep || fail "with $o"
		down
		up "$PWD/lower" $o
		is "$(find mnt/moved mnt/born -type f -printf '%f\n' | sort | paste -sd' ')" 'bottom new2 y' 'after a remount'
		down
		rm -rf upper work
	done
}

listing() {
	python3 - <<'PY'
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
libc.opendir.restype = libc.readdir.restype = ctypes.c_void_p
libc.telldir.restype = ctypes.c_long
for f in (libc.readdir, libc.telldir, libc.rewinddir, libc.closedir): f.argtypes = [ctypes.c_void_p]
libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]
def name(e): return ctypes.string_at(e + 19)
for i in range(300):
    open("mnt/d/new%d" % i, "w").close()
want = {b".", b".."} | {os.fsencode(n) for n in os.listdir("mnt/d")}
assert len(want) == 802, len(want)
d = libc.opendir(b"mnt/d")
seen, at = [], []
while True:
    pos = libc.telldir(d)
    e = libc.readdir(d)
    if not e: break
    seen.append(name(e)); at.append(pos)
assert len(seen) == len(set(seen)) and set(seen) == want
for i in list(range(0, len(seen), 37)) + [len(seen) - 1]:   # back to where each was
    libc.seekdir(d, at[i])
    assert name(libc.readdir(d)) == seen[i], i
# what stays is listed once, whatever goes and comes meanwhile
libc.rewinddir(d)
got, gone = [], set()
while True:
    e = libc.readdir(d)
    if not e: break
    n = name(e)
    got.append(n)
    if n not in (b".", b".."):
        other = seen[hash(n) % len(seen)]
        if other not in (b".", b"..") and other not in gone and len(got) % 3 == 0:
            os.unlink(b"mnt/d/" + other); gone.add(other)
        if len(got) % 50 == 0: open(b"mnt/d/late%d" % len(got), "w").close()
assert len(got) == len(set(got)), "one name twice"
missing = want - set(got) - gone
assert not missing, missing
libc.closedir(d)
assert {os.fsencode(n) for n in os.listdir("mnt/d")} >= want - gone - {b".", b".."}
for e in os.scandir("mnt/d"):
    assert e.inode() == os.stat(e.path).st_ino, e.path
PY
}
test_listings_while_things_change() {
	mkdir -p lower/d && (cd lower/d && seq -f 'low%g' 1 500 | xargs touch)
	each listing
}

types() { # everything for everything, below, above, and one of each
	python3 - <<'PY'
import ctypes, errno, itertools, os, stat
libc = ctypes.CDLL(None, use_errno=True)
def rename(a, b, flags):
    return 0 if libc.renameat2(-100, os.fsencode(a), -100, os.fsencode(b), flags) == 0 else ctypes.get_errno()
NOREPLACE, EXCHANGE = 1, 2
os.chdir("mnt")
def make(kind, path):
    if kind == "file": open(path, "w").write(path)
    elif kind == "link": os.symlink(path, path)
    elif kind == "dir": os.mkdir(path)
    else: os.mkdir(path); open(path + "/in", "w").write(path)
def look(path):
    st = os.lstat(path)
    t = stat.S_IFMT(st.st_mode)
    what = os.readlink(path) if t == stat.S_IFLNK else open(path).read() if t == stat.S_IFREG \
        else [(n, open(path + "/" + n).read()) for n in sorted(os.listdir(path))] if t == stat.S_IFDIR else None
    return t, st.st_ino, what
kinds = ["file", "link", "dir", "full"]
for i, (a, b) in enumerate(itertools.product(kinds, kinds)):
    for places in ("ll", "lu", "ul", "uu"):
        x, y = (f"{p}{n}{i}-{places}" for p, n in zip(places, "xy"))
        if places[0] == "l": x = f"low/{a}/{i}x{places}"
        else: make(a, x)
        if places[1] == "l": y = f"low/{b}/{i}y{places}"
        else: make(b, y)
        was = look(x), look(y)
        assert rename(x, y, NOREPLACE) == errno.EEXIST, (x, y)
        assert rename(x, y, EXCHANGE) == 0, (x, y, a, b)
        assert (look(y), look(x)) == was, (x, y, a, b)
        assert rename(x, "none", EXCHANGE) == errno.ENOENT
        assert rename(x, y, EXCHANGE) == 0 and (look(x), look(y)) == was, (x, y)
        assert rename(x, "free", NOREPLACE) == 0 and look("free") == was[0] and not os.path.lexists(x)
        assert rename("free", y, EXCHANGE) == 0 and look("free") == was[1]
        assert rename("free", x, NOREPLACE) == 0
assert rename("low", "else", 4) == errno.EINVAL, "whiteouts are ours to make"
try: os.mknod("null", 0o020666, 0); raise SystemExit("a whiteout is made")
except PermissionError: pass
PY
}
test_everything_changes_places_with_everything() {
	mkdir -p lower/low/{file,link,dir,full}
	python3 - <<'PY'
import itertools, os
os.chdir("lower/low")
kinds = ["file", "link", "dir", "full"]
def make(kind, path):
    if kind == "file": open(path, "w").write(path)
    elif kind == "link": os.symlink(path, path)
    else:
        os.mkdir(path)
        if kind == "full": open(path + "/in", "w").write(path)
for i, (a, b) in enumerate(itertools.product(kinds, kinds)):
    for places in ("ll", "lu", "ul"):
        if places[0] == "l": make(a, f"{a}/{i}x{places}")
        if places[1] == "l": make(b, f"{b}/{i}y{places}")
PY
	openings=metacopy=on each types
}

contents() {
	python3 - <<'PY'
import ctypes, errno, mmap, os, stat, subprocess, sys
os.chdir("mnt")
root = os.getuid() == 0
def mode(p): return oct(stat.S_IMODE(os.stat(p).st_mode))
# holes, of a lower file and of its copy
def holes(fd):
    return os.lseek(fd, 0, os.SEEK_HOLE), os.lseek(fd, 1 << 20, os.SEEK_DATA) // 4096
if os.environ["kind"] == "dir":
    fd = os.open("sparse", os.O_RDONLY)
    assert holes(fd) == (4096, 1024), holes(fd)
os.close(os.open("sparse", os.O_WRONLY | os.O_APPEND))
with open("sparse", "r+b") as f: f.seek(5); f.write(b"x")
fd = os.open("sparse", os.O_RDONLY)
if os.environ["kind"] == "dir": # the tar of the other has none
    assert holes(fd) == (4096, 1024) and os.fstat(fd).st_blocks < 100, (holes(fd), os.fstat(fd).st_blocks)
try: os.lseek(fd, 1 << 30, os.SEEK_DATA); raise SystemExit("data behind the end")
except OSError as e: assert e.errno == errno.ENXIO
# copies of ranges: from what can only be read, between layers, within one file
os.chmod("ro", 0o400)
src = os.open("ro", os.O_RDONLY)
dst = os.open("copied", os.O_CREAT | os.O_RDWR, 0o600)
assert os.copy_file_range(src, dst, 100) == 5 and os.pread(dst, 9, 0) == b"only\n"
low = os.open("plain", os.O_RDWR)
assert os.copy_file_range(src, low, 4, 0, 2) == 4 and os.pread(low, 99, 0) == b"plonlyy\n"
assert os.copy_file_range(dst, dst, 2, 0, 10) == 2 and os.pread(dst, 20, 0) == b"only\n\0\0\0\0\0on"
# what was mapped and opened before the copy-up is fresh
fd = os.open("mapped", os.O_RDONLY)
m = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
assert m[:3] == b"old"
with open("mapped", "r+b") as f: f.write(b"NEW"); f.flush(); os.fsync(f.fileno())
assert m[:3] == b"NEW" and os.pread(fd, 3, 0) == b"NEW"
# a file that runs is not written to, wherever it is
for path in ("prog", "copy-of-prog"):
    if path != "prog":
        subprocess.check_call(["cp", "prog", path])
    p = subprocess.Popen(["./" + path, "60"])
    while os.readlink(f"/proc/{p.pid}/exe").rsplit("/", 1)[-1] != path: pass
    try: os.open(path, os.O_WRONLY); raise SystemExit(path + ": written to while it runs")
    except OSError as e: assert e.errno == errno.ETXTBSY, (path, e)
    p.kill(); p.wait()
    os.close(os.open(path, os.O_WRONLY))
# open files and directories that have lost their names
fd = os.open("gone", os.O_RDWR)
os.unlink("gone")
assert os.fstat(fd).st_nlink == 0
os.fchmod(fd, 0o640); os.pwrite(fd, b"still", 0); os.ftruncate(fd, 4); os.fsync(fd)
assert os.pread(fd, 9, 0) == b"stil" and mode(fd) == "0o640" and not os.path.exists("gone")
d = os.open("dir", os.O_RDONLY)
os.unlink("dir/x"); os.rmdir("dir")
assert os.fstat(d).st_nlink == 0 and os.listdir(d) == []
try: os.open("y", os.O_CREAT | os.O_WRONLY, dir_fd=d); raise SystemExit("a file in a removed directory")
except FileNotFoundError: pass
# reading changes nothing
open("plain2").read(); os.listdir("d2")
assert not os.path.lexists("../upper/plain2") and not os.path.lexists("../upper/d2")
# set-id bits, by each way data change, when another writes; by chown
if root:
    os.chmod(".", 0o777)
    ways = {
        "write": "os.pwrite(fd, b'x', 0)", "append": "os.write(fd, b'x')", "truncate": "os.ftruncate(fd, 1)",
        "fallocate": "os.posix_fallocate(fd, 0, 9000)",
        "copy": "os.copy_file_range(os.open('ro2', os.O_RDONLY), fd, 3)", "cut": "os.truncate(path, 2)",
    }
    for low in (False, True):
        for way, code in ways.items():
            path = ("suid-" if low else "new-") + way
            if not low: open(path, "w").write("data")
            os.chmod(path, 0o6777)
            subprocess.check_call(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-c",
                f"import os; path={path!r}; fd=os.open(path, os.O_RDWR | {'os.O_APPEND' if way == 'append' else 0}); {code}"])
            assert mode(path) == "0o777", (path, mode(path))
            os.chmod(path, 0o6777); os.chown(path, 5, 6)
            assert mode(path) == "0o777", (path, mode(path))
    # directories hand their group down, and the bit to directories
    os.mkdir("sg"); os.chown("sg", 0, 77); os.chmod("sg", 0o2777)
    os.mkdir("sg/sub"); open("sg/f", "w").close(); os.mkfifo("sg/p")
    assert all(os.stat("sg/" + n).st_gid == 77 for n in ("sub", "f", "p")) and mode("sg/sub") == "0o2755"
    # who is not of the group loses the bit
    open("sg/own", "w").close(); os.chown("sg/own", 65534, 77)
    subprocess.check_call(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "chmod", "2755", "sg/own"])
    assert mode("sg/own") == "0o755", mode("sg/own")
# umask where there is no default ACL, and only there
os.umask(0o027)
os.mkfifo("p1", 0o666); open("f1", "w").close(); os.mkdir("d1")
assert (mode("p1"), mode("f1"), mode("d1")) == ("0o640", "0o640", "0o750")
subprocess.check_call(["setfacl", "-d", "-m", "u::rwx,g::rx,o::r,u:1:rw,m::rwx", "d1"])
os.mkfifo("d1/p", 0o666); open("d1/f", "w").close(); os.mkdir("d1/d")
assert (mode("d1/p"), mode("d1/f"), mode("d1/d")) == ("0o664", "0o664", "0o774"), (mode("d1/p"), mode("d1/f"), mode("d1/d"))
assert b"default:user:1:rw-" in subprocess.check_output(["getfacl", "-cpn", "d1/d"])
PY
}
test_contents_and_modes() {
	mkdir -p lower/dir lower/d2
	cd lower
	head -c 4096 /dev/urandom >sparse && truncate -s 4M sparse && head -c 4096 /dev/urandom >>sparse
	echo only >ro && echo only >ro2 && echo plainly >plain && echo 2 >plain2 && echo 'old content' >mapped && echo gone >gone && echo x >dir/x && echo y >d2/y
	cp /bin/sleep prog
	local w
	for w in write append truncate fallocate copy cut; do echo data >suid-$w; done
	chmod 644 ./*o* suid-* 2>/dev/null || :
	chmod 755 prog dir
	cd ..
	each contents
}

# what was removed while open stays so, whatever is then done with it (overlayfs brings the FIFO's name back)
removed_while_open() {
	python3 - <<'PY'
import os
os.chdir("mnt")
for name, over in (("fifo", None), ("fifo2", "dir/new"), ("file", None), ("file2", "dir/new2")):
    fd = os.open(name, os.O_RDWR | os.O_NONBLOCK | (os.O_TRUNC if over else 0))
    if over:
        os.rename(over, name)
    else:
        os.unlink(name)
    os.fchmod(fd, 0o604)
    os.utime(fd, (1, 2))
    assert os.fstat(fd).st_mode & 0o777 == 0o604 and os.fstat(fd).st_mtime == 2
    assert (name in os.listdir(".")) == (over is not None), (name, os.listdir("."))
    if over:
        assert os.stat(name).st_mode & 0o777 == 0o644 and open(name).read() == "new\n"
    os.close(fd)
assert sorted(os.listdir(".")) == ["dir", "fifo2", "file2"] and os.listdir("dir") == []
PY
	down
	up "$(lowers "$kind")"
	is "$(ls mnt | paste -sd' ')" 'dir fifo2 file2' 'after a remount'
}
test_what_was_removed_while_open_stays_removed() {
	mkdir -p lower/dir && mkfifo lower/fifo lower/fifo2 && echo old >lower/file && echo old >lower/file2
	echo new >lower/dir/new && echo new >lower/dir/new2 && chmod 644 lower/dir/new*
	each removed_while_open
}

# what moved in one mount has children that move in the next, over the first one's upper
test_moves_in_several_layers() {
	mkdir -p lower/dir/pop lower/empty lower/x/pop
	echo a >lower/dir/a && echo b >lower/dir/pop/b && echo hidden >lower/x/pop/hidden
	local kind base
	for kind in dir index; do
		base=$(lowers $kind)
		rm -rf upper work one two three
		up "$base"
		mv mnt/dir mnt/empty/dir
		rm -r mnt/x && mkdir mnt/x
		down && mv upper one && rm -rf work
		up "$PWD/one:$base"
		mv mnt/empty/dir/pop mnt/empty/pop
		mkdir mnt/x/pop && echo c >mnt/x/pop/c
		down && mv upper two && rm -rf work
		up "$PWD/two:$PWD/one:$base"
		is "$(cd mnt && find . | LC_ALL=C sort | paste -sd' ')" \
			'. ./empty ./empty/dir ./empty/dir/a ./empty/pop ./empty/pop/b ./x ./x/pop ./x/pop/c'
		mv mnt/empty/dir mnt/again && mv mnt/empty/pop mnt/again/pop2 && mv mnt/x/pop mnt/y
		down && mv upper three && rm -rf work
		up "$PWD/three:$PWD/two:$PWD/one:$base"
		is "$(cd mnt && find . | LC_ALL=C sort | paste -sd' ')" \
			'. ./again ./again/a ./again/pop2 ./again/pop2/b ./empty ./x ./y ./y/c'
		is "$(cat mnt/again/pop2/b mnt/y/c | paste -sd' ')" 'b c'
		down
	done
}

# all layers are held open before mounting, so the mount point may cover any of them
test_a_mount_point_above_its_layers() {
	mkdir -p top/lower top/upper top/work && echo low >top/lower/a
	snapfs -o "lowerdir=$PWD/top/lower,upperdir=$PWD/top/upper,workdir=$PWD/top/work" "$PWD/top"
	echo more >>top/a && mkdir top/d && mv top/a top/d/b
	is "$(cat top/d/b)" $'low\nmore'
	fusermount3 -u "$PWD/top"
	is "$(cat top/upper/d/b)" $'low\nmore'
	snapfs -o "lowerdir=$PWD/top/lower,upperdir=$PWD/top/upper,workdir=$PWD/top/work" "$PWD/top/lower"
	is "$(ls top/lower) $(cat top/lower/d/b | paste -sd' ')" 'd low more'
	fusermount3 -u "$PWD/top/lower"
	is "$(cat top/lower/a)" low
}

# As the kernel's: whatever changes a file, by whoever, takes its capabilities; what does not change it leaves them.
capabilities() {
	python3 - <<'PY'
import mmap, mmap, os
CAP, value = "security.capability", bytes.fromhex("0100000200200000000000000000000000000000")
def fd(path, flags, call):
    at = os.open(path, flags)
    try: call(at)
    finally: os.close(at)
def through_mapping(f):
    with mmap.mmap(f, 0) as m:
        m[0:1] = b"z"
        m.flush()
ends = {
    "write": lambda p: fd(p, os.O_WRONLY, lambda f: os.write(f, b"x")),
    "append": lambda p: fd(p, os.O_WRONLY | os.O_APPEND, lambda f: os.write(f, b"x")),
    "pwrite": lambda p: fd(p, os.O_RDWR, lambda f: os.pwrite(f, b"y", 2)),
    "O_TRUNC": lambda p: fd(p, os.O_WRONLY | os.O_TRUNC, lambda f: None),
    "truncate": lambda p: os.truncate(p, 1),
    "ftruncate": lambda p: fd(p, os.O_RDWR, lambda f: os.ftruncate(f, 9)),
    "fallocate": lambda p: fd(p, os.O_RDWR, lambda f: os.posix_fallocate(f, 0, 9000)),
    "copy_file_range": lambda p: fd("other", os.O_RDONLY, lambda o: fd(p, os.O_WRONLY, lambda f: os.copy_file_range(o, f, 3))),
    "chown": lambda p: os.chown(p, 1, 1),
    "chown to whom it has": lambda p: os.chown(p, 0, 0),
}
stays = {
    "chmod": lambda p: os.chmod(p, 0o711),
    "utime": lambda p: os.utime(p, (1, 1)),
    "rename": lambda p: (os.rename(p, "r"), os.rename("r", p)),
    "link": lambda p: (os.link(p, "l"), os.unlink("l")),
    "setxattr": lambda p: os.setxattr(p, "user.a", b"b"),
    "read": lambda p: fd(p, os.O_RDONLY, lambda f: os.read(f, 9)),
    "mapping": lambda p: fd(p, os.O_RDWR, through_mapping),
}
os.chdir("mnt")
open("other", "w").write("data")
for acts, left in ((ends, False), (stays, True)):
    for i, (name, act) in enumerate(acts.items(), 10 if left else 0):
        path = f"cap{i}"
        for kind in ("lower", "new"):
            if kind == "new":
                os.unlink(path)
                open(path, "w").write("new file")
                os.setxattr(path, CAP, value)
            assert os.getxattr(path, CAP) == value, path
            act(path)
            assert (CAP in os.listxattr(path)) == left, (name, kind, os.listxattr(path))
PY
}
test_capabilities_end_with_a_change_as_root() {
	local i openings='noopen=0,passthrough=0 passthrough=1 writeback=1 metacopy=on'
	mkdir lower
	for i in $(seq 0 16); do
		echo "lower $i" >"lower/cap$i"
		setcap cap_net_raw+ep "lower/cap$i"
	done
	each capabilities
	mkdir -p upper.k work.k mnt
	mount -t overlay overlay -o "lowerdir=$PWD/lower,upperdir=$PWD/upper.k,workdir=$PWD/work.k" mnt
	capabilities || fail 'the kernel does otherwise'
	umount mnt
}

# A new object has its maker's group also where the upper's file system would give it its directory's.
test_group_of_the_maker_as_root() {
	local f
	mkdir fs && truncate -s 16M img && mkfs.ext4 -q img && mount -o loop,bsdgroups img fs
	mkdir -p fs/upper fs/work lower/d && echo old >lower/d/gone && chgrp -R 1234 lower && chmod 755 lower/d
	: >fs/probe && chgrp 1234 fs/upper && : >fs/upper/probe && is "$(stat -c %g fs/upper/probe)" 1234 'a group of its own'
	rm fs/upper/probe && ln -s fs/upper upper && ln -s fs/work work
	up "$PWD/lower"
	rm mnt/d/gone # and one where a whiteout is
	# the first of a directory is made in work/work, until it is known to have no ACL
	for f in file1 file2 gone; do echo "$f" >"mnt/d/$f"; done
	mkdir mnt/d/dir && mkfifo mnt/d/fifo && ln -s to mnt/d/link
	chmod g+s mnt/d && mkdir mnt/d/dir2 && echo inherits >mnt/d/file3
	is "$(cd mnt/d && stat -c '%n %g %A' dir dir2 fifo file1 file2 file3 gone link)" "$(printf '%s\n' 'dir 0 drwxr-xr-x' \
		'dir2 1234 drwxr-sr-x' 'fifo 0 prw-r--r--' 'file1 0 -rw-r--r--' 'file2 0 -rw-r--r--' 'file3 1234 -rw-r--r--' 'gone 0 -rw-r--r--' 'link 0 lrwxrwxrwx')"
	is "$(cat mnt/d/file1 mnt/d/file2 mnt/d/file3 mnt/d/gone)" $'file1\nfile2\ninherits\ngone'
	is "$(ls -A work/work)" '' 'the work directory'
	down
	umount fs
}
