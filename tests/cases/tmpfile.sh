# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# as: root user
# Files without a name (O_TMPFILE), and names given to them: with handles, without, and by passthrough.
up() { # OPTION
	mkdir -p lower/d upper work mnt
	snapfs -o "lowerdir=$PWD/lower,upperdir=$PWD/upper,workdir=$PWD/work,redirect_dir=on,$1" "$PWD/mnt"
}
down() { fusermount3 -u "$PWD/mnt"; }
play() {
	python3 - <<'PY'
import errno, mmap, os, sys
try:
    fd = os.open("mnt/d", os.O_TMPFILE | os.O_RDWR, 0o640)
except OSError as e:
    if e.errno != errno.EOPNOTSUPP: raise
    sys.exit(77)
def link(fd, to):
    os.link(f"/proc/self/fd/{fd}", to, src_dir_fd=fd, follow_symlinks=True) # else it is link(2)
st = os.fstat(fd)
assert st.st_nlink == 0 and st.st_mode == 0o100640 and st.st_uid == os.getuid(), st
os.write(fd, b"hello, there")
os.pwrite(fd, b"J", 0)
assert os.pread(fd, 99, 0) == b"Jello, there"
m = mmap.mmap(fd, 12)
m[7:12] = b"world"
m.flush()
os.fchmod(fd, 0o600)
assert os.listdir("mnt/d") == []
link(fd, "mnt/d/named")
st = os.stat("mnt/d/named")
assert st.st_nlink == 1 and st.st_ino == os.fstat(fd).st_ino and st.st_mode == 0o100600, st
assert open("mnt/d/named", "rb").read() == b"Jello, world"
link(fd, "mnt/second")
os.write(fd, b"!")          # behind what the first write wrote
assert os.stat("mnt/second").st_size == 13 and os.fstat(fd).st_nlink == 2
os.rename("mnt/second", "mnt/third")
os.close(fd)
assert open("mnt/third", "rb").read() == b"Jello, world!"
# over a whiteout, and over what is there
open("mnt/low", "a").close()
os.unlink("mnt/low")
fd = os.open("mnt", os.O_TMPFILE | os.O_WRONLY, 0o644)
os.write(fd, b"again")
try: link(fd, "mnt/third"); raise SystemExit("a name was taken over")
except FileExistsError: pass
link(fd, "mnt/low")
assert open("mnt/low", "rb").read() == b"again"
os.unlink("mnt/low")
assert os.fstat(fd).st_nlink == 0
try: link(fd, "mnt/low"); raise SystemExit("a removed file has a name again")
except FileNotFoundError: pass
os.close(fd)
# never to have one
fd = os.open("mnt/d", os.O_TMPFILE | os.O_RDWR | os.O_EXCL, 0o600)
try: link(fd, "mnt/never"); raise SystemExit("O_EXCL")
except FileNotFoundError: pass
# what a directory gives to new files
os.mkdir("mnt/sgid")
if os.getuid() == 0: os.chown("mnt/sgid", 0, 7)
os.chmod("mnt/sgid", 0o2777)
os.umask(0o027)
fd = os.open("mnt/sgid", os.O_TMPFILE | os.O_RDWR, 0o666)
assert os.fstat(fd).st_mode == 0o100640 and os.fstat(fd).st_gid == os.stat("mnt/sgid").st_gid
import subprocess
if subprocess.call(["setfacl", "-d", "-m", "u:1:rw", "mnt/sgid"]) == 0:
    fd = os.open("mnt/sgid", os.O_TMPFILE | os.O_RDWR, 0o666)
    assert os.fstat(fd).st_mode & 0o777 == 0o666, oct(os.fstat(fd).st_mode)
    link(fd, "mnt/sgid/acl")
    assert b"user:1:rw-" in subprocess.check_output(["getfacl", "-cpn", "mnt/sgid/acl"])
# many, that nobody names
fds = [os.open("mnt/d", os.O_TMPFILE | os.O_RDWR, 0o600) for i in range(100)]
for i, f in enumerate(fds): os.write(f, b"%d" % i)
for i, f in enumerate(fds): assert os.pread(f, 9, 0) == b"%d" % i
assert len({os.fstat(f).st_ino for f in fds}) == 100
PY
}
test_tmpfile() {
	local o got
	mkdir lower && echo low >lower/low
	for o in noopen=1 noopen=0,passthrough=0 passthrough=1 writeback=1 timeout=0 quota_inodes=300; do
		up $o
		got=0 && play || got=$?
		down
		[ $got != 77 ] || skip "the kernel does not send FUSE_TMPFILE, or the upper has none"
		[ $got = 0 ] || fail "with $o"
		is "$(find upper -type f | sort | paste -sd' ')" 'upper/d/named upper/sgid/acl upper/third'
		is "$(ls -A work/work)" '' 'the work directory'
		up $o
		is "$(cat mnt/third mnt/d/named)" 'Jello, world!Jello, world!' 'after a remount'
		down
		rm -rf upper work
	done
}
test_a_killed_mount_leaves_nothing() {
	mkdir -p lower/d upper work mnt
	snapfs -f -o "lowerdir=$PWD/lower,upperdir=$PWD/upper,workdir=$PWD/work" "$PWD/mnt" 2>log &
	local pid=$!
	within 10 mountpoint -q mnt
	python3 - $pid <<'PY'
import errno, os, signal, sys
try:
    fd = os.open("mnt/d", os.O_TMPFILE | os.O_RDWR, 0o600)
except OSError as e:
    if e.errno != errno.EOPNOTSUPP: raise
    sys.exit(0)
os.write(fd, b"x" * 100000)
os.kill(int(sys.argv[1]), signal.SIGKILL)
PY
	wait $pid 2>/dev/null || :
	fusermount3 -uz mnt
	is "$(find upper work -type f)" ''
}
test_a_full_quota() {
	mkdir -p lower upper work mnt
	snapfs -o "lowerdir=$PWD/lower,upperdir=$PWD/upper,workdir=$PWD/work,quota_inodes=3" "$PWD/mnt"
	python3 - <<'PY'
import errno, os
def tmp(): return os.open("mnt", os.O_TMPFILE | os.O_RDWR, 0o600)
def full():
    try: os.close(tmp()); return False
    except OSError as e:
        if e.errno == errno.EOPNOTSUPP: raise SystemExit(0)
        assert e.errno == errno.ENOSPC; return True
fds = []
try:
    while len(fds) < 4: fds.append(tmp())
except OSError as e:
    if e.errno == errno.EOPNOTSUPP: raise SystemExit(0)
    assert e.errno == errno.ENOSPC
assert full() and 0 < len(fds) < 4
os.link(f"/proc/self/fd/{fds[0]}", "mnt/one", src_dir_fd=fds[0], follow_symlinks=True)
for f in fds: os.close(f)
n = 0
while full():               # what is let go of is given back, when the kernel says so
    n += 1
    assert n < 1000
PY
	fusermount3 -u mnt
}
