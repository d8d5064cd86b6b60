# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# as: root
# What the engine takes of a machine: fds and memory, however much is known, open or listed. SNAP_LIMITS=full: a
# directory of 1,000,000 entries, 10,000,000 look-ups.
is_empty() { [ -z "$(ls -A "$1")" ]; }
full() { [ "${SNAP_LIMITS:-}" = full ]; }
start() { # LOWERDIR OPTIONS: in the foreground, so that limits are its own; the log in log
	mkdir -p up wk m
	prlimit --nofile=1024:1024 snapfs -f -o "lowerdir=$1,upperdir=$PWD/up,workdir=$PWD/wk$2" "$PWD/m" 2>log &
	engine=$!
	within 10 mountpoint -q m
}
stop() {
	umount m
	wait "$engine" || fail "the engine: $(cat log)"
	! [ -s log ] || fail "the engine says: $(cat log)"
}
fds() { find "/proc/$engine/fd" -mindepth 1 -maxdepth 1 -printf . | wc -c; }
status_kib() { awk -v k="$1:" '$1 == k {print $2}' "/proc/$engine/status"; } # VmRSS, VmHWM

# Processes that each open $3 files of up/ N times 100, remove them if $2 says so, and use them.
holders() { # PROCESSES KEEP|REMOVE FILES-EACH: run while the engine is looked at
	python3 - "$@" <<'PY'
import os, sys
count, remove, each = int(sys.argv[1]), sys.argv[2] == "REMOVE", int(sys.argv[3])
children = []
for c in range(count):
	ready, go, pid = os.pipe(), os.pipe(), 0
	pid = os.fork()
	if pid == 0:
		os.close(go[1])
		os.mkdir(f"m/p{c}")
		fds = []
		for i in range(each):
			path = f"m/p{c}/f{i}"
			# a third is new, a third is copied up, a third is only read
			if i % 3 == 0:
				fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o640)
			else:
				path = f"m/d{i % 200}/c{(c if remove else 4) * 700 + i}" if i % 3 == 1 else f"m/d{i % 200}/f{i // 200}"
				fd = os.open(path, os.O_RDWR if i % 3 == 1 else os.O_RDONLY)
			if i % 3 < 2:
				os.pwrite(fd, b"%d" % i, 0)
			if remove and i % 3 < 2:
				os.unlink(path)
			fds.append(fd)
		dirs = []
		for i in range(40 if remove else 0):
			os.mkdir(f"m/p{c}/d{i}", 0o751)
			dirs.append(os.open(f"m/p{c}/d{i}", os.O_RDONLY | os.O_DIRECTORY))
			os.rmdir(f"m/p{c}/d{i}")
		os.write(ready[1], b"x")
		os.read(go[0], 1)
		for i, fd in enumerate(fds):
			st = os.fstat(fd)
			if i % 3 < 2:
				assert os.pread(fd, 9, 0)[: len(b"%d" % i)] == b"%d" % i, "contents"
				assert st.st_nlink == (0 if remove else 1), st
				os.pwrite(fd, b"again", 0)
				os.ftruncate(fd, 4)
				os.fchmod(fd, 0o600)
				st = os.fstat(fd)
				assert (os.pread(fd, 9, 0), st.st_size, st.st_mode) == (b"agai", 4, 0o100600), st
			else:
				assert os.pread(fd, 9, 0) == b"lower", "a lower file"
		for fd in dirs:
			st = os.fstat(fd)
			assert (st.st_nlink, st.st_mode) == (0, 0o40751) and os.listdir(fd) == [], st
			os.fchmod(fd, 0o700)
			assert os.fstat(fd).st_mode == 0o40700
		os._exit(0)
	os.close(ready[1])
	os.close(go[0])
	children.append((pid, ready[0], go[1]))
for pid, ready, go in children:
	assert os.read(ready, 1) == b"x", "a process failed"
open("held", "w").close()
sys.stdin = None
while not os.path.exists("go"):
	os.sched_yield()
for pid, ready, go in children:
	os.write(go, b"x")
bad = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid, _, _ in children]
sys.exit(any(bad))
PY
}
hold() { # PROCESSES KEEP|REMOVE FILES-EACH MOST: while they hold them, the engine has at most MOST fds
	local pid most
	rm -f held go
	holders "$1" "$2" "$3" 2>holders.err &
	pid=$!
	until [ -e held ]; do
		kill -0 "$pid" 2>/dev/null || fail "$*: $(cat holders.err)"
		read -r -t 0.05 <> <(:) || :
	done
	most=$(fds)
	touch go
	wait "$pid" || fail "$*: $(cat holders.err)"
	[ "$most" -le "$4" ] || fail "$*: $most fds"
	echo "$*: $most fds"
}

# With 1024 fds, none more to be had: 20,000 files known, thousands open and removed.
test_fds() {
	python3 - <<'PY'
import os
for d in range(200):
	os.makedirs(f"low/d{d}")
	for f in range(86):
		open(f"low/d{d}/f{f}", "w").write("lower")
for i in range(3500):
	open(f"low/d{i % 700 % 200}/c{i}", "w").write("lower")
PY
	local o
	for o in '' ,noopen=0,passthrough=0 ,passthrough=1; do
		rm -rf up wk
		start "$PWD/low" "$o"
		is "$(find m -type f -printf '%s\n' | wc -l)" 20700 'files known'
		[ "$(fds)" -le 200 ] || fail "with$o: $(fds) fds for 20,000 known files"
		case $o in
		*passthrough=0) hold 1 REMOVE 500 900 && rm -rf m/p0 && hold 1 KEEP 500 900 ;; # each open has one, or two
		*passthrough=1) hold 4 REMOVE 300 800 && rm -rf m/p? && hold 1 KEEP 600 600 ;; # each of a lower directory's has one
		*) hold 4 REMOVE 700 450 && rm -rf m/p? && hold 1 KEEP 600 450 ;;
		esac
		within 20 is_empty wk/work
		stop
	done
}

# Names of a tree m/big of N files; how it is listed, and from where it goes on.
list_all() { # ENTRIES MISSING: of m/big, where the second is not seen and "new" is
	python3 - "$@" <<'PY'
import ctypes, os, struct, sys
count, missing = int(sys.argv[1]), sys.argv[2]
want = {f"name{i:07}" for i in range(count)}
if missing != "-":
	want = want - {missing} | {"new"}
libc = ctypes.CDLL(None, use_errno=True)
buf = ctypes.create_string_buffer(32768)
def entries(fd):
	while (n := libc.syscall(217, fd, buf, len(buf))) > 0:
		at, data = 0, buf.raw
		while at < n:
			ino, off, length, kind = struct.unpack_from("<QqHB", data, at)
			yield data[at + 19 : at + length].split(b"\0", 1)[0].decode(), off, ino
			at += length
	assert n == 0, os.strerror(ctypes.get_errno())
fd = os.open("m/big", os.O_RDONLY | os.O_DIRECTORY)
names, offs = [], []
seen = set()
for name, off, ino in entries(fd):
	if name not in (".", ".."):
		assert name not in seen, "twice: " + name
		seen.add(name)
	names.append(name)
	offs.append(off)
assert seen == want, (len(seen), len(want), list(seen ^ want)[:5])
# seekdir(telldir()) and rewinddir
for i in (0, 1, 2, len(names) // 3, len(names) // 2, len(names) - 2):
	os.lseek(fd, offs[i], os.SEEK_SET)
	name, off, _ = next(entries(fd))
	assert (name, off) == (names[i + 1], offs[i + 1]) or missing != "-" and i < len(names) - 1, (i, name)
	assert name in want | {".", ".."}
os.lseek(fd, 0, os.SEEK_SET)
assert sum(1 for _ in entries(fd)) == len(names)
PY
}
big_lower() { # ENTRIES: low/big
	rm -rf low layer0.tar layout store
	python3 - "$1" <<'PY'
import os, sys
os.makedirs("low/big")
d = os.open("low/big", os.O_RDONLY)
for i in range(int(sys.argv[1])):
	os.mknod(f"name{i:07}", 0o100644, dir_fd=d)
PY
}
# Memory for each known inode beyond names, which are 12 bytes in 24 here.
check_memory() { # ENTRIES BASE-KIB WHAT
	local grown=$(($(status_kib VmRSS) - $2)) peak=$(($(status_kib VmHWM) - $2))
	echo "$3: $1 entries, $((grown * 1024 / $1)) bytes each, $((peak * 1024 / $1)) at most"
	[ $((grown * 1024 / $1)) -le 324 ] || fail "$3: $((grown * 1024 / $1)) bytes for each known inode"
	[ $((peak * 1024 / $1)) -le 500 ] || fail "$3: $((peak * 1024 / $1)) bytes for each entry at the peak"
}
test_directory_and_inodes() {
	local n=40000 base
	full && n=1000000
	big_lower "$n"
	"$TESTS/lib/index_of_lowers" "$PWD/low" >index.lower
	start "$(cat index.lower)" ''
	base=$(status_kib VmRSS)
	list_all "$n" -
	check_memory "$n" "$base" index
	stop
}
test_lookups() { # of what is there, and of what is not, in an index, a directory and the upper
	local n=50000 before after kind
	full && n=10000000
	big_lower 1000
	"$TESTS/lib/index_of_lowers" "$PWD/low" >index.lower
	for kind in index directory; do
		rm -rf up wk
		start "$([ $kind = index ] && cat index.lower || echo "$PWD/low")" ,timeout=0
		for i in 1 2 3 4 5 6 7 8 9; do echo x >"m/big/name000000$i"; done
		for count in $((n / 10)) "$n"; do
			python3 - "$count" <<'PY'
import os, sys
names = [f"name{i:07}" for i in range(0, 1100, 11)]
names += [f"name{i:07}" for i in range(10)]
d = os.open("m/big", os.O_RDONLY)
for i in range(int(sys.argv[1]) // len(names)):
	for name in names:
		os.access(name, os.F_OK, dir_fd=d)
PY
			before=${after:-} after=$(status_kib VmRSS)
		done
		echo "$kind: $before KiB after $((n / 10)) look-ups, $after KiB after $n more"
		[ "$after" -le $((before + 1024)) ] || fail "$kind: $before KiB after $((n / 10)) look-ups, $after KiB after $n more"
		after=
		stop
	done
}

traced() { [ "$(awk '$1 == "TracerPid:" {print $2}' "/proc/$engine/status")" != 0 ]; }

# A read of more than a page or two is spliced: it needs no memory of ours, made and given back for each answer.
test_contents_are_spliced() {
	mkdir lo
	head -c 4M /dev/urandom >lo/big
	start "$PWD/lo" ""
	strace -f -q -o calls -e trace=splice,mmap,munmap -p "$engine" &
	local tracer=$!
	within 10 traced
	cmp lo/big m/big
	kill "$tracer"
	wait "$tracer" || :
	stop
	[ "$(grep -c 'splice(' calls)" -ge 32 ] || fail "not spliced: $(head calls)"
	[ "$(grep -c 'mmap(' calls)" -lt 32 ] || fail "memory is made for each answer: $(grep -m 5 'mmap(' calls)"
}
