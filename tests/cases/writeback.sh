# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# as: root user
# writeback=1: what is written stays in the kernel until a file is closed or synced.
wb_mount() { told_mount "writeback=1$1"; } # ,OPTION...

test_kept_until_it_is_closed() {
	local o
	mkdir low && head -c 300000 /dev/urandom >low/big
	for o in '' ,noopen=0,passthrough=0; do
		wb_mount "$o"
		python3 - <<'PY' || fail "with $o"
import mmap, os, random
seed = int(os.environ.get("SNAP_TEST_SEED") or 1)
print("seed", seed)
random.seed(seed)
big = bytearray(open("low/big", "rb").read())
# parts of pages, by one who may not read, in a file that was below
w, r = os.open("m/big", os.O_WRONLY), os.open("m/big", os.O_RDONLY)
for i in range(500):
    at = random.randrange(len(big) - 10)
    os.pwrite(w, b"%010d" % i, at)
    big[at:at + 10] = b"%010d" % i
    assert os.pread(r, 10, at) == b"%010d" % i
a = os.open("m/big", os.O_WRONLY | os.O_APPEND)
os.write(a, b"end"); big += b"end"
assert os.fstat(r).st_size == len(big) and os.stat("m/big").st_size == len(big)
# nobody but the kernel has it yet: no file is known to have a hole where data are kept
n = os.open("m/new", os.O_CREAT | os.O_RDWR, 0o600)
os.pwrite(n, b"kept", 70000)
assert os.lseek(n, 0, os.SEEK_DATA) <= 70000 and os.lseek(n, 70000, os.SEEK_HOLE) == 70004
assert os.path.getsize("up/new") == 0, "it was written at once"
os.fsync(n)
assert open("up/new", "rb").read()[70000:] == b"kept"
os.pwrite(n, b"gone", 0); os.close(n)
assert open("up/new", "rb").read(4) == b"gone", "closed, and not written"
t = os.stat("m/new")
assert (t.st_mtime_ns, t.st_size) == (os.stat("up/new").st_mtime_ns, 70004)
m = mmap.mmap(os.open("m/big", os.O_RDWR), 0); m[5:9] = b"mapd"; big[5:9] = b"mapd"
copy = os.open("m/copy", os.O_CREAT | os.O_RDWR, 0o600)
done = 0
while done < len(big):
    done += os.copy_file_range(r, copy, len(big) - done, done, done)
os.unlink("m/new")
for f in (w, a, copy): os.close(f)
assert open("m/copy", "rb").read() == big and open("m/big", "rb").read() == big
open("big", "wb").write(big)
PY
		told_umount
		grep -q 'no writeback' log && fail "$(cat log)"
		cmp up/big big && cmp up/copy big || fail "the upper, with $o"
		rm -rf up wk
	done
}
# Where it would be wrong it is not had, and the log says why.
test_refused() {
	local o
	mkdir low
	for o in passthrough=1:'passed through' passthrough=0,timeout=1:'others may change' quota_bytes=1M:'a quota refuses'; do
		case $o in passthrough=1*) may_pass || continue ;; esac
		wb_mount ",${o%%:*}"
		told_umount
		grep -q "no writeback: .*${o#*:}" log || fail "$o: $(cat log)"
	done
	snapfs -o "lowerdir=$PWD/low,writeback=0" "$PWD/m"
	told_umount
}

# What does not fit is said when it is synced or closed, and what did fit stays.
test_disk_full_as_root() {
	mkdir low small && mount -t tmpfs -o size=2m tmpfs small && mkdir small/up small/wk && ln -s small/up up && ln -s small/wk wk
	wb_mount ''
	echo first >m/first
	is "$({ dd if=/dev/zero of=m/big bs=64k count=60 conv=fsync; } 2>&1 | grep -c 'No space left')" 1 'a sync of what does not fit'
	is "$({ cp /bin/bash m/big2 && cat /bin/bash >m/big3; } 2>&1 | grep -c 'No space left')" 1 'a close'
	rm -f m/big*
	echo fits >m/second
	is "$(cat m/first m/second)" $'first\nfits'
	told_umount
	is "$(cat up/first up/second)" $'first\nfits'
	umount small
}

# chattr's i and a are about writes that nobody is asked about: set before, they hold all the same.
test_protected_files_as_root() {
	local o
	mkdir low && echo a >low/a && echo log >low/log && echo below >low/below
	chattr +A low/a 2>/dev/null || skip 'no flags on this file system'
	for o in '' ,noopen=0,passthrough=0; do
		mkdir -p up wk m
		snapfs -o "lowerdir=$PWD/low,upperdir=$PWD/up,workdir=$PWD/wk" "$PWD/m"
		chattr +i m/a && chattr +a m/log
		told_umount
		wb_mount "$o"
		is "$(lsattr -d m/a m/log | cut -d' ' -f1 | tr -d -- -eA | paste -sd' ')" 'i a'
		! dd if=/dev/zero of=m/a bs=10 count=1 status=none 2>err || fail "a write to an immutable file, with $o"
		echo more >>m/log || fail 'what is appended only'
		touch m/log
		! chattr +i m/below 2>err || fail 'set'
		grep -q 'not supported' err || fail "$(cat err)"
		[ ! -e up/below ] || fail 'what was refused has copied the file up'
		chattr -a m/log && rm m/log
		told_umount
		snapfs -o "lowerdir=$PWD/low,upperdir=$PWD/up,workdir=$PWD/wk" "$PWD/m"
		is "$(cat m/a)" a 'the immutable file'
		chattr -i m/a
		told_umount
		rm -rf up wk
	done
}
