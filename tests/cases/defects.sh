# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# as: root user
# The known defects of the union file system that this project learned from, each with a remount.
# Its engine is called by hand, over plain directories, so that nothing else can be at fault.
up() {
	mkdir -p upper work mnt
	snapfs -o "lowerdir=$PWD/lower,upperdir=$PWD/upper,workdir=$PWD/work,redirect_dir=on" "$PWD/mnt"
}
down() { fusermount3 -u "$PWD/mnt"; }
again() {
	down
	up
}
absent() { [ ! -e "$1" ] && [ ! -L "$1" ] || fail "$1 is there"; }

test_1_deleted_copy_stays_deleted() {
	mkdir lower && echo a >lower/a && echo b >lower/b && echo c >lower/c
	up
	echo more >>mnt/a && rm mnt/a
	echo more >>mnt/b && mv mnt/b mnt/b2
	again
	absent mnt/a
	absent mnt/b
	is "$(cat mnt/b2)" $'b\nmore'
	is "$(ls mnt)" $'b2\nc'
	down
}
test_2_recreated_directory_is_opaque() {
	mkdir -p lower/d/sub && echo old >lower/d/old && echo x >lower/d/sub/x
	up
	rm -rf mnt/d && mkdir mnt/d && echo new >mnt/d/new
	again
	is "$(ls mnt/d)" new
	absent mnt/d/old
	absent mnt/d/sub
	down
}
test_3_renamed_directory_keeps_its_children() {
	mkdir -p lower/d/sub/deep && echo 1 >lower/d/one && echo 2 >lower/d/sub/deep/two
	up
	mv mnt/d mnt/x
	again
	absent mnt/d
	is "$(cat mnt/x/one mnt/x/sub/deep/two)" $'1\n2'
	mv mnt/x/sub mnt/sub2 && mkdir mnt/d
	again
	is "$(cat mnt/sub2/deep/two)" 2
	is "$(ls mnt/x)" one
	is "$(ls mnt/d)" ''
	down
}
errno_of() { python3 -c 'import errno, os, sys
try:
    os.rename(sys.argv[1], sys.argv[2]); print("ok")
except OSError as e: print(errno.errorcode[e.errno])' "$1" "$2"; }
test_4_types_that_replace_each_other() {
	mkdir -p lower/b lower/a lower/d lower/e lower/full && echo x >lower/b/x && echo y >lower/a/y && echo f >lower/f && echo z >lower/full/z
	up
	rm -rf mnt/b && mv mnt/a mnt/b
	is "$(errno_of mnt/f mnt/d)" EISDIR 'file over directory'
	is "$(errno_of mnt/d mnt/f)" ENOTDIR 'directory over file'
	is "$(errno_of mnt/d mnt/full)" ENOTEMPTY 'directory over a full one'
	is "$(errno_of mnt/d mnt/e)" ok 'directory over an empty one'
	again
	is "$(ls mnt/b)" y
	absent mnt/a
	absent mnt/d
	is "$(ls mnt)" $'b\ne\nf\nfull'
	down
}
test_5_copy_up_keeps_everything() {
	mkdir lower && printf 'data' >lower/f && chmod 640 lower/f && mkfifo lower/fifo && ln -s nowhere lower/link
	setfattr -n user.kept -v yes lower/f
	setfacl -m u:1:r lower/f
	truncate -s 4M lower/sparse && printf end >>lower/sparse
	touch -d '2001-02-03 04:05:06.123456789' lower/f lower/fifo lower/sparse
	touch -h -d '2001-02-03 04:05:06.123456789' lower/link
	cp -a lower kept
	[ "$(id -u)" != 0 ] || { mknod lower/dev c 1 3; cp -a lower/dev kept/; }
	up
	ln mnt/f mnt/f2
	chmod 600 mnt/fifo && chmod 644 mnt/fifo && chmod 600 mnt/fifo && chmod "$(stat -c %a kept/fifo)" mnt/fifo
	mv mnt/link mnt/l && mv mnt/l mnt/link
	printf x | dd of=mnt/sparse bs=1 seek=1000 conv=notrunc status=none
	[ "$(id -u)" != 0 ] || { chown 5 mnt/dev && chown 0 mnt/dev; }
	again
	is "$(getfattr --only-values -n user.kept mnt/f)" yes
	is "$(stat -c '%a %h %.Y' mnt/f)" "$(stat -c %a kept/f) 2 $(stat -c %.Y kept/f)"
	is "$(getfacl -cp mnt/f2)" "$(getfacl -cp kept/f)" ACL
	is "$(stat -c '%F %.Y' mnt/fifo)" "$(stat -c '%F %.Y' kept/fifo)" fifo
	is "$(stat -c '%F %.Y' mnt/link) $(readlink mnt/link)" "$(stat -c '%F %.Y' kept/link) nowhere" symlink
	[ "$(id -u)" != 0 ] || is "$(stat -c '%F %t:%T' mnt/dev)" 'character special file 1:3' device
	[ "$(stat -c %b upper/sparse)" -lt 1000 ] || fail "a sparse file was copied up with $(stat -c %b upper/sparse) blocks"
	down
}
test_5_truncation_copies_no_data() {
	mkdir lower && head -c 20M /dev/urandom >lower/big && cp lower/big lower/big2
	up
	: >mnt/big
	truncate -s 0 mnt/big2
	is "$(stat -c %s mnt/big mnt/big2)" $'0\n0'
	again
	is "$(stat -c %s mnt/big mnt/big2)" $'0\n0'
	is "$(stat -c %b upper/big upper/big2)" $'0\n0' 'blocks in the upper'
	down
}
test_7_names_of_any_bytes_and_long_listings() {
	mkdir -p lower/many upper/many
	local odd=$'\xff\xfe \n\x01'
	echo 1 >"lower/$odd"
	(cd lower/many && seq -f 'lower-%05g' 1 3000 | xargs touch)
	(cd upper/many && seq -f 'upper-%05g' 1 3000 | xargs touch)
	up
	is "$(cat "mnt/$odd")" 1
	mv "mnt/$odd" "mnt/x$odd"
	is "$(find mnt/many -mindepth 1 | wc -l)" 6000
	is "$(find mnt/many -mindepth 1 | sort -u | wc -l)" 6000
	again
	is "$(cat "mnt/x$odd")" 1
	is "$(find mnt/many -type f | wc -l)" 6000
	rm mnt/many/lower-000* mnt/many/upper-000*
	again
	is "$(find mnt/many -type f | wc -l)" $((6000 - 198))
	down
}
test_7_rename_flags() {
	mkdir -p lower/dir && echo a >lower/a && echo b >lower/b && echo in >lower/dir/in
	up
	python3 - <<'PY'
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
def rename(a, b, flags):
    r = libc.renameat2(-100, a, -100, b, flags)
    return 0 if r == 0 else ctypes.get_errno()
NOREPLACE, EXCHANGE, WHITEOUT = 1, 2, 4
assert rename(b"mnt/a", b"mnt/b", NOREPLACE) == errno.EEXIST
assert rename(b"mnt/a", b"mnt/new", NOREPLACE) == 0
assert rename(b"mnt/b", b"mnt/dir", EXCHANGE) == 0
assert rename(b"mnt/b", b"mnt/nothing", EXCHANGE) == errno.ENOENT
assert rename(b"mnt/new", b"mnt/other", WHITEOUT) == errno.EINVAL
PY
	again
	is "$(cat mnt/new mnt/dir mnt/b/in)" $'a\nb\nin'
	is "$(ls mnt)" $'b\ndir\nnew'
	down
}
test_8_a_blocking_lock_does_not_freeze_the_mount() {
	mkdir lower && echo 1 >lower/l
	up
	python3 - <<'PY'
import fcntl, os, subprocess, sys, time
child = ("import fcntl,sys; f=open('mnt/l','r+'); print('ready',flush=True);"
         "fcntl.%s; print('got',flush=True)")
for call in ("lockf(f, fcntl.LOCK_EX)", "flock(f, fcntl.LOCK_EX)"):
    f = open("mnt/l", "r+")
    (fcntl.lockf if "lockf" in call else fcntl.flock)(f, fcntl.LOCK_EX)
    p = subprocess.Popen([sys.executable, "-c", child % call], stdout=subprocess.PIPE, text=True)
    assert p.stdout.readline() == "ready\n"
    end = time.monotonic() + 10
    for i in range(100):                      # the mount answers others while the child waits
        with open(f"mnt/file{i}", "w") as g:
            g.write("x")
        os.rename(f"mnt/file{i}", f"mnt/other{i}")
        os.unlink(f"mnt/other{i}")
    assert time.monotonic() < end
    assert p.poll() is None
    f.close()
    assert p.stdout.readline() == "got\n"
    assert p.wait(10) == 0
PY
	down
}
test_9_private_marks_cannot_be_seen_or_forged() {
	mkdir -p lower/d && echo x >lower/d/x && echo f >lower/f
	up
	rm -rf mnt/d && mkdir mnt/d && chmod 600 mnt/f
	local ns=user
	[ "$(id -u)" != 0 ] || ns=trusted
	is "$(getfattr -d -m - --absolute-names mnt/d mnt/f mnt | grep -cE '(trusted|user)\.overlay' || :)" 0 'private xattrs listed'
	mkdir mnt/forged && echo low >mnt/forged/f && mkdir -p mnt/e
	setfattr -n $ns.overlay.opaque -v y mnt/e 2>/dev/null || :
	setfattr -n $ns.overlay.redirect -v /d mnt/e 2>/dev/null || :
	again
	is "$(ls mnt/d)" ''
	is "$(ls mnt/e)" '' 'a forged redirect'
	is "$(cat mnt/f)" f
	down
}
test_9_hard_links_survive_copy_up() {
	mkdir lower && echo har >lower/h1 && ln lower/h1 lower/h2 && ln lower/h1 lower/h3
	up
	is "$(stat -c %h mnt/h2)" 3
	echo NEW >mnt/h1
	is "$(cat mnt/h2)" NEW
	again
	is "$(cat mnt/h1 mnt/h2 mnt/h3)" $'NEW\nNEW\nNEW'
	is "$(stat -c %i mnt/h1)" "$(stat -c %i mnt/h3)"
	is "$(stat -c %h mnt/h1)" 3
	rm mnt/h1
	again
	is "$(stat -c %h mnt/h2)" 2
	echo MORE >>mnt/h3
	is "$(cat mnt/h2)" $'NEW\nMORE'
	is "$(cat lower/h1)" har
	down
}
test_9_work_is_used_and_left_clean() {
	mkdir lower && head -c 3M /dev/urandom >lower/f
	up
	echo x >>mnt/f
	again
	is "$(find work -type f ! -path '*/links/*' ! -path '*/index/*' | wc -l)" 0 'files left in the work directory'
	is "$(tail -c 2 mnt/f)" x
	down
}
test_programs_run_from_lower_and_upper() {
	mkdir lower && cp /bin/true lower/low
	up
	cp /bin/true mnt/up && cp mnt/low mnt/low2
	mnt/up && mnt/low && mnt/low2
	again
	mnt/up && mnt/low && mnt/low2
	chmod 700 mnt/low && mnt/low
	down
}

# a directory that came to be in an opaque one by a rename, and then moved again a layer above
test_moved_through_an_opaque_directory() {
	local ns=trusted
	[ "$(id -u)" = 0 ] || ns=user
	mkdir -p low/old/d mid/o/d upper/x work mnt
	echo in >low/old/d/f
	setfattr -n $ns.overlay.opaque -v y mid/o
	setfattr -n $ns.overlay.redirect -v /old/d mid/o/d
	setfattr -n $ns.overlay.redirect -v /o/d upper/x
	setfattr -n $ns.overlay.impure -v y upper
	snapfs -o "lowerdir=$PWD/mid:$PWD/low,upperdir=$PWD/upper,workdir=$PWD/work,redirect_dir=on" "$PWD/mnt"
	is "$(cat mnt/x/f)" in 'what is below the opaque directory'
	down
}
