# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# as: root user
# A bound on what the upper holds: what fits is written, what does not is ENOSPC, and the sum stays right
quota_mount() { snapfs -o "lowerdir=$PWD/l,upperdir=$PWD/u,workdir=$PWD/w,redirect_dir=on,$1" "$PWD/m"; }
free_kib() { df --output=avail -k m | tail -n 1 | tr -d ' '; }
# what df says is used, and what is there
same_usage() {
	sync -f m
	local said there
	said=$(python3 -c 'import os; s = os.statvfs("m"); print((s.f_blocks - s.f_bfree) * s.f_frsize, s.f_files - s.f_ffree)')
	there=$(python3 - <<-'PY'
		import os, stat
		seen, size, objects = set(), 0, 0
		for d, dirs, files in os.walk("u"):
		    for n in dirs + files:
		        st = os.lstat(os.path.join(d, n))
		        if stat.S_ISCHR(st.st_mode) and st.st_rdev == 0 or st.st_ino in seen:
		            continue
		        seen.add(st.st_ino)
		        objects += 1
		        size += st.st_blocks * 512 if stat.S_ISREG(st.st_mode) else 0
		print(size, objects)
	PY
	)
	is "$said" "$there" "$1"
}
test_quota() {
	mkdir -p l/dir u w m
	head -c 300000 /dev/urandom >l/big
	echo small >l/dir/small
	truncate -s 1G l/sparse
	quota_mount quota_bytes=1M,quota_inodes=20
	is "$(df --output=size -k m | tail -n 1 | tr -d ' ') $(df --output=itotal m | tail -n 1 | tr -d ' ')" '1024 20' 'what statfs shows'
	! dd if=/dev/zero of=m/a bs=64k count=40 2>dd.err || fail "2.5 MiB fit into 1 MiB"
	grep -q 'No space left' dd.err || fail "$(cat dd.err)"
	is "$(stat -c %s m/a)" 1048576 'all that fits is written'
	is "$(free_kib)" 0 'what is free'
	dd if=/dev/urandom of=m/a bs=64k count=16 conv=notrunc 2>dd.err || fail "what is there cannot be overwritten"
	! echo x 2>/dev/null >>m/big || fail "a copy-up beyond the bound"
	is "$(stat -c %s m/big)" 300000 'the file that was not copied'
	[ ! -e u/big ] || fail "a part of a copy is left"
	rm m/dir/small # a whiteout needs no room
	same_usage 'when it is full'
	exec 7<>m/a
	rm m/a
	is "$(free_kib)" 0 'while the unlinked file is open'
	exec 7>&-
	within 5 test "$(free_kib)" -gt 1000
	echo x >>m/big
	same_usage 'after a copy-up'
	echo y >>m/sparse # a gigabyte of holes
	! fallocate -l 2M m/f 2>/dev/null || fail "a preallocation beyond the bound"
	fallocate -l 512K m/f
	same_usage 'after fallocate'
	dd if=/dev/zero of=m/f bs=64k count=8 conv=notrunc 2>dd.err || fail "what was allocated is not there"
	fallocate -p -l 256K m/f
	truncate -s 1000 m/f
	same_usage 'after a hole and a truncation'
	ln m/f m/g && mv m/f m/h && echo z >m/i && mv m/i m/h && cp --sparse=never m/big m/copy && rm m/g
	same_usage 'after links and renames'
	! (for i in $(seq 30); do mkdir "m/d$i" || exit 1; done) 2>/dev/null || fail "more objects than 20"
	rmdir m/d*
	same_usage 'after directories'
	fusermount3 -u m
	quota_mount quota_bytes=1M,quota_inodes=20
	same_usage 'after a remount'
	# many at once: never more than the bound, and nothing lost of the count
	python3 - <<-'PY'
		import os, random
		seed = int.from_bytes(os.urandom(4), "little")
		print("seed", seed)
		def work(k):
		    rnd = random.Random(seed + k)
		    for i in range(400):
		        p = f"m/{rnd.choice('pqrs')}{rnd.randrange(3)}"
		        try:
		            x = rnd.randrange(6)
		            if x == 0: os.unlink(p)
		            elif x == 1: os.truncate(p, rnd.randrange(200000))
		            elif x == 2: os.rename(p, f"m/{rnd.choice('pqrs')}{rnd.randrange(3)}")
		            else:
		                fd = os.open(p, os.O_RDWR | os.O_CREAT, 0o644)
		                try: os.pwrite(fd, bytes(rnd.randrange(1, 100000)), rnd.randrange(200000))
		                finally: os.close(fd)
		        except OSError as e:
		            if e.errno not in (2, 28): raise
		pids = []
		for k in range(4):
		    pid = os.fork()
		    if pid == 0:
		        try: work(k); os._exit(0)
		        except BaseException as e: print(e); os._exit(1)
		    pids.append(pid)
		for pid in pids:
		    assert os.waitpid(pid, 0)[1] == 0
	PY
	[ "$(du -ck --apparent-size u | tail -n 1 | cut -f 1)" -gt 0 ] || fail "nothing was written"
	within 5 settled
	same_usage 'after four at once'
	fusermount3 -u m
	local o
	for o in quota_bytes=0 quota_bytes=1X quota_inodes=-1 quota_bytes= quota_bytes=9999999999T; do
		! quota_mount "$o" 2>err || fail "$o"
		grep -q "quota_" err || fail "$o: $(cat err)"
	done
}
settled() { (same_usage x) >/dev/null 2>&1; }
