# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# as: root user
# Files that are copied up without their data, as the kernel's overlayfs has it with metacopy=on.
options=redirect_dir=on,metacopy=on
up() { # [OPTION...]
	mkdir -p upper work mnt
	snapfs -o "lowerdir=$PWD/lower,upperdir=$PWD/upper,workdir=$PWD/work,$options${1:+,$1}" "$PWD/mnt"
}
down() { fusermount3 -u "$PWD/mnt"; }
root() { [ "$(id -u)" = 0 ]; }
ns=user && ! root || ns=trusted
mark() { # NAME FILE
	getfattr --absolute-names --only-values -n "$ns.overlay.$1" "$2" 2>/dev/null
}
# without data in the upper
bare() { getfattr --absolute-names -n "$ns.overlay.metacopy" "$1" >/dev/null 2>&1; }
by_kernel() { # COMMAND...: with the kernel's overlayfs of the same layers at mnt
	root || return 0
	mount -t overlay overlay -o "lowerdir=$PWD/lower,upperdir=$PWD/upper,workdir=$PWD/work,$options,index=off,xino=off" "$PWD/mnt"
	"$@"
	umount mnt
}
data() { # a lower layer with some
	mkdir -p lower/d/sub
	head -c 300000 /dev/urandom >lower/f && cp lower/f orig
	echo g >lower/g && echo in >lower/d/in && echo deep >lower/d/sub/deep && : >lower/empty
	truncate -s 4M lower/sparse && printf end >>lower/sparse && cp --sparse=always lower/sparse sparse.orig
	touch -d '2001-02-03 04:05:06.123456789' lower/f lower/g lower/sparse
	setfattr -n user.kept -v yes lower/f
}

test_only_metadata_is_copied() {
	data
	up
	local before
	before=$(stat -c '%i %b %s %.Y' mnt/f)
	chmod 600 mnt/f && touch -ha mnt/g && setfattr -n user.x -v 1 mnt/sparse && chmod 600 mnt/empty
	is "$(stat -c '%i %b %s %.Y' mnt/f)" "$before" 'what the file was'
	bare upper/f && bare upper/g && bare upper/sparse || fail 'data were copied'
	! bare upper/empty || fail 'an empty file has no data anywhere'
	is "$(stat -c %s upper/f)" 300000 && [ "$(stat -c %b upper/f)" -lt 20 ] || fail "in the upper: $(stat upper/f)"
	cmp mnt/f orig && is "$(cat mnt/g)" g && cmp mnt/sparse sparse.orig
	is "$(getfattr --only-values -n user.kept mnt/f)" yes
	is "$(getfattr -d -m - mnt/f | grep -c overlay || :)" 0 'marks that are seen'
	down
	kernel_sees() { cmp mnt/f orig && cmp mnt/sparse sparse.orig && is "$(stat -c %a mnt/f)" 600 && is "$(cat mnt/g)" g; }
	by_kernel kernel_sees
	up
	is "$(stat -c '%i %b %s %.Y' mnt/f)" "$before" 'after a remount'
	cmp mnt/f orig
	# a reader that was there before; then the first write brings the data
	exec 3<mnt/f 4<mnt/g
	printf x | dd of=mnt/f bs=1 seek=5 conv=notrunc status=none
	printf x | dd of=orig bs=1 seek=5 conv=notrunc status=none
	echo more >>mnt/g
	! bare upper/f || fail 'the mark stays'
	cmp mnt/f orig && cmp upper/f orig && cmp - orig <&3
	is "$(cat <&4)" $'g\nmore'
	is "$(stat -c '%a %i' mnt/f)" "600 ${before%% *}"
	is "$(getfattr --only-values -n user.kept mnt/f)" yes
	printf x | dd of=mnt/sparse bs=1 seek=1000 conv=notrunc status=none
	[ "$(stat -c %b upper/sparse)" -lt 1000 ] || fail 'holes are filled'
	exec 3<&- 4<&-
	down
	is "$(ls -A work/work)" '' 'the work directory'
}
test_truncation_copies_no_data() {
	mkdir lower && head -c 20M /dev/urandom >lower/a && cp lower/a lower/b && cp lower/a lower/c && cp lower/a lower/d
	up
	chmod 600 mnt/a mnt/b mnt/c mnt/d
	: >mnt/a
	truncate -s 0 mnt/b
	truncate -s 1000 mnt/c
	truncate -s 20M mnt/d
	is "$(stat -c %s mnt/a mnt/b mnt/c mnt/d | paste -sd' ')" '0 0 1000 20971520'
	is "$(stat -c %b upper/a upper/b | paste -sd' ')" '0 0'
	[ "$(stat -c %b upper/c)" -lt 100 ] || fail 'more is copied than stays'
	cmp -n 1000 mnt/c lower/c && cmp mnt/d lower/d
	down
	up
	is "$(stat -c %s mnt/a mnt/b mnt/c | paste -sd' ')" '0 0 1000'
	cmp -n 1000 mnt/c lower/c
	down
}
test_files_that_move() {
	data
	up
	mv mnt/f mnt/d/moved && mv mnt/g mnt/h && mv mnt/d mnt/e
	bare upper/e/moved && bare upper/h || fail 'data were copied'
	is "$(mark redirect upper/e/moved) $(mark redirect upper/h)" '/f /g'
	cmp mnt/e/moved orig && is "$(cat mnt/h mnt/e/in)" $'g\nin'
	chmod 600 mnt/e/sub/deep && mv mnt/e/sub/deep mnt/deep
	is "$(mark redirect upper/deep) $(cat mnt/deep)" '/d/sub/deep deep' 'the name below, of a directory that was moved'
	echo new >mnt/f # what is there now is another file
	down
	kernel_sees() { cmp mnt/e/moved orig && is "$(cat mnt/h mnt/deep mnt/f)" $'g\ndeep\nnew'; }
	by_kernel kernel_sees
	up
	cmp mnt/e/moved orig && is "$(cat mnt/h mnt/deep mnt/f)" $'g\ndeep\nnew'
	mv mnt/h mnt/g && mv mnt/e/moved mnt/again
	is "$(cat mnt/g)" g && cmp mnt/again orig
	# no way to say where it came from: it takes its data with it
	local long
	long=$(printf 'x%.0s' $(seq 200))
	down
	mkdir -p "lower/$long/$long" && echo far >"lower/$long/$long/file"
	up
	chmod 600 "mnt/$long/$long/file" && mv "mnt/$long/$long/file" mnt/far
	! bare upper/far || fail 'data that cannot be found again'
	is "$(cat mnt/far)" far
	down
	up && is "$(cat mnt/far)" far && down
}
test_hard_links() {
	data && echo one >lower/h1 && ln lower/h1 lower/h2
	up
	chmod 600 mnt/h1
	is "$(cat mnt/h1 mnt/h2)" $'one\none'
	is "$(stat -c '%a %h' mnt/h2)" '600 2'
	chmod 640 mnt/f && ln mnt/f mnt/d/f2 # a second name of one without data
	cmp mnt/d/f2 orig
	echo two >>mnt/h2
	is "$(cat mnt/h1)" $'one\ntwo'
	down
	up
	is "$(cat mnt/h1)" $'one\ntwo' && cmp mnt/d/f2 orig
	is "$(stat -c '%h %i' mnt/f)" "$(stat -c '%h %i' mnt/d/f2)"
	down
	kernel_sees() { is "$(cat mnt/h1 mnt/h2)" $'one\ntwo\none\ntwo' && cmp mnt/d/f2 orig; }
	by_kernel kernel_sees
}
# What the kernel has written: also links to a file without data, which it makes
test_the_kernels_uppers_as_root() {
	data
	mkdir upper work mnt
	kernel_writes() {
		chmod 600 mnt/f && chown 5:6 mnt/g && mv mnt/g mnt/d/moved && mv mnt/d mnt/e && ln mnt/f mnt/f2
		touch -hd '2002-02-02' mnt/f # without opening it
	}
	by_kernel kernel_writes
	bare upper/f && bare upper/f2 && bare upper/e/moved || skip 'the kernel copies data here'
	up
	cmp mnt/f orig && cmp mnt/f2 orig && is "$(cat mnt/e/moved mnt/e/in)" $'g\nin'
	is "$(stat -c '%u:%g' mnt/e/moved) $(stat -c '%a %h' mnt/f2)" '5:6 600 2'
	is "$(stat -c %b mnt/f)" "$(stat -c %b lower/f)" 'blocks'
	: 3<>mnt/f # opened for writing only
	is "$(stat -c %Y mnt/f2)" "$(date -d 2002-02-02 +%s)" 'the time of one that was opened'
	printf x | dd of=mnt/f2 bs=1 seek=299999 conv=notrunc status=none
	printf x | dd of=orig bs=1 seek=299999 conv=notrunc status=none
	! bare upper/f || fail 'the mark stays'
	cmp mnt/f orig && cmp mnt/f2 orig && cmp upper/f2 orig
	echo more >>mnt/e/moved
	down
	kernel_sees() { cmp mnt/f2 orig && is "$(cat mnt/e/moved)" $'g\nmore'; }
	by_kernel kernel_sees
	# cut off where it is
	rm -rf upper work && mkdir upper work
	by_kernel kernel_writes
	up
	truncate -s 100 mnt/f2
	is "$(stat -c %s mnt/f)" 100 && cmp -n 100 mnt/f lower/f
	down
	by_kernel cmp -n 100 mnt/f lower/f
}
test_as_a_lower_layer() {
	data
	up
	chmod 600 mnt/f && mv mnt/g mnt/h && chmod 600 mnt/d/in
	down
	mkdir u2 w2
	mv upper top
	for i in 1 2; do # one above a layer without data, then once more
		snapfs -o "lowerdir=$PWD/top:$PWD/lower,upperdir=$PWD/u2,workdir=$PWD/w2,$options" "$PWD/mnt"
		cmp mnt/f orig && is "$(cat mnt/h mnt/d/in)" $'g\nin'
		is "$(stat -c '%a %b' mnt/f)" "$([ $i = 1 ] && echo 600 || echo 640) $(stat -c %b lower/f)"
		[ $i = 2 ] || chmod 640 mnt/f
		[ $i = 2 ] || bare u2/f || fail 'data were copied'
		[ $i = 1 ] || { echo more >>mnt/f && echo more >>mnt/h; }
		down
	done
	(cat orig && echo more) | cmp - u2/f
	is "$(cat u2/h)" $'g\nmore'
}
test_unlinked_and_orphans() {
	data
	up
	python3 - <<'PY'
import os
orig = open("orig", "rb").read()
# unlinked, then without data, then with them
fd = os.open("mnt/f", os.O_RDWR)
os.unlink("mnt/f")
os.fchmod(fd, 0o600)
assert os.fstat(fd).st_mode & 0o777 == 0o600 and os.fstat(fd).st_nlink == 0
assert os.pread(fd, 1 << 20, 0) == orig
os.pwrite(fd, b"X", 7)
assert os.pread(fd, 1 << 20, 0) == orig[:7] + b"X" + orig[8:]
assert os.fstat(fd).st_mode & 0o777 == 0o600
# without data, then unlinked
fd = os.open("mnt/g", os.O_RDWR)
os.fchmod(fd, 0o600)
os.unlink("mnt/g")
assert os.pread(fd, 9, 0) == b"g\n"
os.pwrite(fd, b"more", 2)
assert os.pread(fd, 9, 0) == b"g\nmore" and os.fstat(fd).st_nlink == 0
os.fsync(fd)
# synced without data
fd = os.open("mnt/d/in", os.O_RDONLY)
os.fchmod(fd, 0o640)
os.fsync(fd)
assert os.pread(fd, 9, 0) == b"in\n"
PY
	down
	is "$(find upper -type f | sort | paste -sd' ')" upper/d/in
}
test_capabilities_stay_as_root() {
	data && cp lower/g lower/cap && setcap cap_net_raw+ep lower/cap
	up
	chmod 755 mnt/cap && chmod 755 mnt/g && setcap cap_net_raw+ep mnt/g
	is "$(getcap mnt/cap mnt/g | wc -l)" 2
	: 3<>mnt/cap 3<>mnt/g
	is "$(getcap mnt/cap mnt/g | wc -l)" 2 'after they were opened for writing'
	is "$(cat mnt/cap mnt/g)" $'g\ng'
	echo more >>mnt/cap
	is "$(getcap mnt/cap mnt/g | wc -l)" 1 'a write takes them away'
	down
}
test_chown_of_a_tree_as_root() {
	mkdir -p lower/{a,b,c}
	local i
	for i in a b c; do head -c 3000000 /dev/zero | tr '\0' x >lower/$i/big; done
	up
	chown -R 7:8 mnt
	is "$(find mnt ! -uid 7 -o ! -gid 8)" ''
	[ "$(du -s --block-size=1k upper | cut -f1)" -lt 200 ] || fail "data were copied: $(du -s upper)"
	find mnt -type f -exec cmp {} lower/a/big \;
	down
	up quota_bytes=4M # what is below takes nothing, until it is written to
	echo x >>mnt/a/big
	! echo x 2>/dev/null >>mnt/b/big || fail 'more than the quota'
	cmp mnt/b/big lower/b/big
	down
}
test_what_is_not_followed() {
	data && mkdir -p lower/secret && chmod 700 lower/secret && echo hidden >lower/secret/x
	up
	chmod 600 mnt/f && mv mnt/d mnt/e
	down
	options=redirect_dir=nofollow
	up
	! cat mnt/f 2>err || fail 'data are looked for below'
	! ls mnt/e 2>>err || fail 'a redirect is followed'
	is "$(grep -c 'Operation not permitted' err) $(cat mnt/g)" '2 g'
	down
	refused 1 'metacopy=on needs redirect_dir=on' snapfs -o "lowerdir=lower,redirect_dir=off,metacopy=on" mnt
	refused 1 'metacopy=on needs redirect_dir=on' snapfs -o "lowerdir=lower,metacopy=on,redirect_dir=nofollow" mnt
	options=redirect_dir=off # is written no more, and read
	up
	cmp mnt/f orig && is "$(ls mnt/e)" $'in\nsub'
	down
	# without the data: an error, no file of zeros
	rm lower/f
	up
	! cat mnt/f 2>err || fail 'data that are nowhere'
	grep -q 'Input/output error' err
	down
	# a layer of somebody else leads root nowhere by marks that anyone can set
	mkdir evil && truncate -s 7 evil/y && setfattr -n user.overlay.metacopy evil/y
	setfattr -n user.overlay.redirect -v /secret/x evil/y
	mkdir evil/z && setfattr -n user.overlay.redirect -v /secret evil/z
	snapfs -o "lowerdir=$PWD/evil:$PWD/lower" mnt
	if root; then
		is "$(tr '\0' 0 <mnt/y)$(ls mnt/z)" 0000000
	else # in whose mounts these are the only ones
		is "$(cat mnt/y)$(ls mnt/z)" hiddenx
	fi
	down
}
test_snap_writes_it() {
	mkdir files && head -c 500000 /dev/urandom >files/big && cp files/big orig
	image_of i:1 files
	enter k i:1 m
	chmod 600 m/big && mv m/big m/b2
	[ "$(find "$SNAP_ROOT" -path '*/upper/b2' -printf %b)" -lt 20 ] || fail 'data were copied'
	cmp m/b2 orig
	remount k m
	cmp m/b2 orig
	snap diff k >diff.out && grep -q b2 diff.out
	snap --quiet commit --image i:2 k --timestamp 1700000000
	snap umount m
	if root; then # the same upper by the kernel
		snap --quiet mount k m --engine kernel
		cmp m/b2 orig && echo more >>m/b2 && chmod 640 m/b2
		snap umount m
		snap --quiet mount k m --engine fuse
		is "$(tail -c 5 m/b2) $(stat -c %a m/b2)" 'more 640'
		snap umount m
	fi
	snap prepare k2 i:2 >/dev/null
	snap --quiet mount k2 m --engine fuse
	cmp m/b2 orig && is "$(stat -c %a m/b2) $(ls m)" '600 b2'
	snap umount m
}
