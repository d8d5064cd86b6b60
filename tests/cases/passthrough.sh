# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# as: root user
# FUSE passthrough: files of the upper that the kernel reads and writes itself.

pass_mount() { told_mount "passthrough=1$1"; } # ,OPTION...

test_reads_and_writes() {
	mkdir low
	head -c 300000 /dev/urandom >low/big
	echo lower >low/f
	echo second >low/g
	ln low/g low/h
	pass_mount ''
	# made here: written, read, mapped, cut, extended
	cp low/big m/new
	cmp low/big m/new
	python3 - m/new <<'PY'
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
m = mmap.mmap(fd, 300000)
m[100:105] = b"mmap!"
assert os.pread(fd, 5, 100) == b"mmap!", "a read does not see what was mapped"
os.pwrite(fd, b"write", 200)
assert m[200:205] == b"write", "a map does not see what was written"
second = os.open(sys.argv[1], os.O_RDONLY)
assert os.pread(second, 5, 100) == b"mmap!"
os.close(fd)
assert os.pread(second, 5, 200) == b"write"
m.flush()
del m
os.truncate(sys.argv[1], 150)
assert os.fstat(second).st_size == 150 and os.pread(second, 500, 100)[:5] == b"mmap!"
os.posix_fallocate(os.open(sys.argv[1], os.O_WRONLY), 0, 4096)
assert os.stat(sys.argv[1]).st_size == 4096
a = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)
os.write(a, b"end")
os.fsync(a)
assert os.stat(sys.argv[1]).st_size == 4099 and os.pread(second, 9, 4096) == b"end"
os.unlink(sys.argv[1])
os.write(a, b"gone")
assert os.pread(second, 9, 4096) == b"endgone"
PY
	# a reader that came before the copy-up sees what is written, as do those after it
	python3 - m/f m/g m/h <<'PY'
import mmap, os, sys
for path, other in ((sys.argv[1], sys.argv[1]), (sys.argv[2], sys.argv[3])):
	old = os.open(path, os.O_RDONLY)
	mapped = mmap.mmap(old, 0, prot=mmap.PROT_READ)
	assert mapped[:1] in b"ls"
	w = os.open(other, os.O_RDWR)
	os.pwrite(w, b"NEW", 0)
	for fd in (old, w, os.open(path, os.O_RDONLY), os.open(other, os.O_RDWR)):
		assert os.pread(fd, 3, 0) == b"NEW", path
	assert mapped[:3] == b"NEW", "map of " + path
	ino = os.stat(path).st_ino
	assert ino == os.fstat(old).st_ino == os.fstat(w).st_ino
PY
	# all are closed: now the copies are passed, and nothing old is shown afterwards
	for i in 1 2 3; do
		echo "again $i" >m/f
		is "$(cat m/f)" "again $i"
		is "$(cat m/h)" "$(cat m/g)"
	done
	chmod 4755 m/f
	if [ "$(id -u)" = 0 ]; then
		chmod 4777 m/f && chmod 777 m
		setpriv --reuid=65534 --regid=65534 --clear-groups bash -c 'echo x >>m/f'
		is "$(stat -c %a m/f)" 777 'set-user-id after a write by another'
	fi
	told_umount
	is "$(tail -n 1 up/f)" "$([ "$(id -u)" = 0 ] && echo x || echo 'again 3')" 'in the upper'
	if may_pass; then
		grep -q 'files of the upper directory are passed through' log || fail "not granted: $(cat log)"
	else
		grep -qE 'no passthrough: (the kernel grants it to root|this kernel does not)' log || fail "the log says nothing: $(cat log)"
	fi
	! grep -qE 'cannot be given back' log || fail "$(cat log)"
}
test_four_at_once() { # one opens, another closes: never a wrong kind of open
	mkdir low
	for i in 1 2 3 4 5 6 7 8; do echo 0 >low/$i; done
	pass_mount ''
	local i pids=()
	for i in 1 2 3 4; do
		python3 - "$i" <<'PY' &
import os, random, sys
r = random.Random(int(sys.argv[1]))
for i in range(3000):
	fd = os.open("m/%d" % r.randint(1, 8), r.choice((os.O_RDONLY, os.O_RDWR)))
	if r.random() < 0.3:
		keep = os.dup(fd)
	os.read(fd, 10)
	os.close(fd)
PY
		pids+=($!)
	done
	for i in "${pids[@]}"; do wait "$i" || fail 'an open or read failed'; done
	umount m 2>/dev/null || fusermount3 -u m
}
test_not_granted() {
	[ "$(id -u)" = 0 ] || return 0
	mkdir low && echo x >low/f
	pass_mount ',quota_bytes=1000000'
	echo y >>m/f
	is "$(cat m/f)" $'x\ny'
	told_umount
	grep -q 'no passthrough: the quota has to see' log || fail "$(cat log)"
	# an upper that stands on another file system itself
	mkdir l2 u2 w2 over
	mount -t overlay overlay -o "lowerdir=$PWD/l2,upperdir=$PWD/u2,workdir=$PWD/w2" over
	mkdir over/up over/wk
	SNAP_LOG=info snapfs -f -o "lowerdir=$PWD/low,upperdir=$PWD/over/up,workdir=$PWD/over/wk,passthrough=1" "$PWD/m" 2>log &
	within 10 mountpoint -q m
	echo z >>m/f
	is "$(cat m/f)" $'x\nz'
	told_umount
	grep -qE 'no passthrough: (the upper directory is on a file system|this kernel)' log || fail "$(cat log)"
	umount over
}
