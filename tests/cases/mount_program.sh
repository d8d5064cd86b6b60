# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# as: root
# snapfs as the mount program that podman and others start: their options, with what they mean.
up() { # OPTIONS
	mkdir -p upper work mnt
	snapfs -o "lowerdir=$PWD/lower,upperdir=$PWD/upper,workdir=$PWD/work,$1" "$PWD/mnt"
}
down() { fusermount3 -u "$PWD/mnt"; }
own() { stat -c %u:%g "$@" | paste -sd' '; }

test_owners_are_mapped_in_all_layers() {
	mkdir lower && echo a >lower/a && echo b >lower/b && echo far >lower/far
	chown 0:0 lower lower/a && chown 7:8 lower/b && chown 70000:70000 lower/far
	setfacl -m u:9:r lower/b
	up ',volatile,uidmapping=:0:100000:5000,gidmapping=:0:200000:5000'
	is "$(own mnt mnt/a mnt/b mnt/far)" '100000:200000 100000:200000 100007:200008 65534:65534'
	getfacl -cn mnt/b 2>/dev/null | grep -qx 'user:100009:r--' || fail "$(getfacl -cn mnt/b)"
	# what is written is stored under the layers' numbers, copied up or new
	echo more >>mnt/b && chown 100004:200005 mnt/a && chmod 777 mnt
	setpriv --reuid=100003 --regid=200003 --clear-groups touch mnt/new
	setfacl -m u:100011:r mnt/new
	is "$(own upper/a upper/b upper/new)" '4:5 7:8 3:3'
	getfacl -cn upper/new 2>/dev/null | grep -qx 'user:11:r--' || fail "$(getfacl -cn upper/new)"
	is "$(own mnt/a mnt/b mnt/new)" '100004:200005 100007:200008 100003:200003'
	# who has no number here
	! chown 1 mnt/a 2>/dev/null || fail 'an owner outside the mapping'
	! setpriv --reuid=1 --regid=1 --clear-groups touch mnt/no 2>/dev/null || fail 'a file of nobody'
	down
	up 'uidmapping=:0:100000:5000,gidmapping=:0:200000:5000'
	is "$(own mnt/a mnt/b mnt/new)" '100004:200005 100007:200008 100003:200003' 'after a remount'
	down
}
test_owners_the_kernel_maps_are_left_alone() { # podman --uidmap: idmapped lowers, and the option
	mkdir -p lower low && echo a >low/a && chown 0:0 low low/a
	unshare -U sleep 60 &
	local pid=$!
	apart() { [ "$(readlink /proc/$$/ns/user)" != "$(readlink /proc/$pid/ns/user)" ]; }
	within 5 apart
	echo '0 100000 5000' >/proc/$pid/uid_map && echo '0 100000 5000' >/proc/$pid/gid_map
	python3 - "$PWD/low" "$PWD/lower" "/proc/$pid/ns/user" <<-'PY' || { kill $pid; skip 'no mapped mounts here'; }
		import ctypes, os, struct, sys
		libc = ctypes.CDLL(None, use_errno=True)
		tree = libc.syscall(428, -100, sys.argv[1].encode(), 1)  # open_tree, CLONE
		attr = struct.pack("QQQQ", 0x100000, 0, 0, os.open(sys.argv[3], os.O_RDONLY))
		if tree < 0 or libc.syscall(442, tree, b"", 0x1000, attr, len(attr)): sys.exit(1)
		sys.exit(1 if libc.syscall(429, tree, b"", -100, sys.argv[2].encode(), 4) else 0)
	PY
	kill $pid
	up 'uidmapping=:0:100000:5000,gidmapping=:0:100000:5000'
	is "$(own mnt/a)" 100000:100000
	setpriv --reuid=100000 --regid=100000 --clear-groups sh -c 'echo more >>mnt/a'
	is "$(own mnt/a upper/a)" '100000:100000 100000:100000'
	down
}
test_squashed_owners() {
	mkdir lower && echo a >lower/a && chown 5:6 lower/a
	up squash_to_root
	is "$(own mnt/a)" 0:0
	down
	up squash_to_root,squash_to_uid=9
	is "$(own mnt/a)" 9:0
	echo more >>mnt/a
	is "$(own mnt/a upper/a)" '9:0 5:6'
	down
}
test_noacl_noxattrs_static_nlink() {
	mkdir -p lower/d/sub && echo a >lower/a && setfacl -m u:9:r lower/a && setfattr -n user.x -v y lower/a
	up noacl,static_nlink
	is "$(getfattr --only-values -n user.x mnt/a)" y
	! getfattr -n system.posix_acl_access mnt/a 2>/dev/null || fail 'an ACL is seen'
	! setfacl -m u:10:r mnt/a 2>/dev/null || fail 'an ACL can be set'
	mkdir -p mnt/new/one mnt/new/two
	is "$(stat -c %h mnt/d mnt/new | paste -sd' ')" '1 1'
	echo more >>mnt/a
	down
	getfacl -cn upper/a 2>/dev/null | grep -qx 'user:9:r--' || fail 'copy-up lost the ACL'
	up noxattrs
	! getfattr -n user.x mnt/a 2>/dev/null || fail 'an xattr is seen'
	is "$(getfattr -d -m - mnt/a 2>/dev/null)" ''
	! setfattr -n user.y -v z mnt/a 2>/dev/null || fail 'an xattr can be set'
	is "$(cat mnt/a)" $'a\nmore'
	down
}
test_stacks_as_podman_makes_them() {
	local list='' i
	mkdir -p l upper work mnt
	for i in $(seq 500); do
		mkdir -p "$i/diff" && echo "$i" >"$i/diff/f$i" && echo "$i" >"$i/diff/all"
		ln -s "../$i/diff" "l/$i" && list+=:l/$i
	done
	# relative to the caller's folder, by symlinks, with a name that needs escapes
	mkdir 'odd:n,ame' && echo odd >'odd:n,ame/odd'
	snapfs -o "lowerdir=${list#:}:odd\\:n\\,ame,upperdir=upper,workdir=work,,volatile" mnt
	is "$(cat mnt/all mnt/f500 mnt/odd | paste -sd' ')" '1 500 odd'
	is "$(find mnt -name 'f*' | wc -l)" 500
	echo x >mnt/all
	down
	# the same upper at once again; no upper; one lower
	snapfs -o "lowerdir=l/1,upperdir=upper,workdir=work," mnt
	is "$(cat mnt/all)" x
	down
	snapfs -o lowerdir=l/2 mnt
	is "$(cat mnt/all)" 2
	! touch mnt/no 2>/dev/null || fail 'a mount without an upper is written to'
	down
}
test_owners_in_an_xattr() { # podman with force_mask; a file system that keeps no owners
	local n x
	for n in 1 2; do
		[ $n = 1 ] && x=security.fuseoverlayfs.override_stat || x=user.containers.override_stat
		rm -rf lower upper work && mkdir lower && echo a >lower/a && chown 7:8 lower/a && echo b >lower/b
		up xattr_permissions=$n
		echo more >>mnt/a && chown 5:60 mnt/b && chmod 4750 mnt/b && install -d -o 9 -g 9 -m 2700 mnt/d
		setpriv --reuid=9 --regid=9 --clear-groups sh -c 'echo >mnt/d/f; chmod 0 mnt/d/f; mkfifo mnt/d/p; ln -s x mnt/d/l'
		is "$(stat -c '%u:%g %a' mnt/a mnt/b mnt/d mnt/d/f mnt/d/p mnt/d/l | paste -sd,)" '7:8 644,5:60 4750,9:9 2700,9:9 0,9:9 644,9:9 777'
		is "$(stat -c '%u:%g %a' upper/a upper/b upper/d upper/d/f | paste -sd,)" '0:0 644,0:0 750,0:0 700,0:0 600'
		is "$(getfattr --only-values -n $x upper/d/f)" 9:9:00
		! getfattr -n $x mnt/d/f 2>/dev/null || fail 'the mark is seen'
		! setfattr -n $x -v 0:0:0777 mnt/d/f 2>/dev/null || fail 'the mark can be set'
		down
		up xattr_permissions=$n
		is "$(stat -c '%u:%g %a' mnt/a mnt/b mnt/d mnt/d/f | paste -sd,)" '7:8 644,5:60 4750,9:9 2700,9:9 0' 'after a remount'
		down
		# as a lower layer
		mkdir -p u2 w2
		snapfs -o "lowerdir=upper:lower,upperdir=u2,workdir=w2" mnt
		is "$(stat -c '%u:%g %a' mnt/a mnt/b mnt/d mnt/d/f | paste -sd,)" '7:8 644,5:60 4750,9:9 2700,9:9 0' 'as a lower layer'
		echo >>mnt/b
		is "$(stat -c '%u:%g %a' u2/b)" '5:60 4750' 'copied up from there'
		down
		rm -rf u2 w2
	done
}
test_the_volatile_mark() { # the kernel's, and it refuses what the kernel does
	local marks=work/work
	marks+=/incompat
	mkdir lower && echo a >lower/a
	up volatile
	echo b >mnt/b
	[ -d $marks/volatile ] || fail 'no mark'
	down
	# the machine has not gone down since; then podman takes the mark away
	up volatile && down
	unmark() { rm -rf "$PWD/$marks"/*; }
	unmark && up '' && is "$(cat mnt/b)" b && down
	mkdir -p $marks/volatile
	refused 1 'volatile when the machine went down' snapfs -o "lowerdir=lower,upperdir=upper,workdir=work" mnt
	unmark && mkdir -p $marks/other
	refused 1 'features unknown' snapfs -o "lowerdir=lower,upperdir=upper,workdir=work" mnt
	unmark && up volatile
	echo 12345678-1234-1234-1234-123456789abc >"$marks/volatile/boot_id"
	down
	refused 1 'volatile when the machine went down' snapfs -o "lowerdir=lower,upperdir=upper,workdir=work,volatile" mnt
}
test_a_deletion_that_is_not_lost() { # fuse-overlayfs 1.10 shows it again in this order
	mkdir -p lower/n/opq && echo old >lower/n/opq/old
	up ''
	rm -rf mnt/n/opq && mkdir mnt/n/opq && echo y >mnt/n/opq/y
	down
	up ''
	python3 -c 'import os
os.listdir("mnt/n"); os.listdir("mnt/n/opq")
try:
    os.lstat("mnt/n/opq/old"); raise SystemExit("the deleted file is there")
except FileNotFoundError: pass'
	down
}

# Lower inodes beyond 32 bits have numbers that are given out: after a remount no other file has one
# that was written down, and names of one file still are that.
test_numbers_given_out() {
	mkdir lower big upper work mnt
	local i ino
	for i in $(seq 40); do echo "file $i" >"lower/f$i"; done
	mkdir lower/d && echo in >lower/d/x
	echo hard >lower/h1 && ln lower/h1 lower/h2 && ln lower/h1 lower/d/h3
	snapfs -o "lowerdir=$PWD/lower,ino_batch=7" "$PWD/big"
	[ "$(stat -c %i big/f1)" -gt 4294967296 ] || fail 'these fit'
	snapfs -o "lowerdir=$PWD/big,upperdir=$PWD/upper,workdir=$PWD/work,redirect_dir=on" "$PWD/mnt"
	echo more >>mnt/f3
	echo more >>mnt/h1
	mv mnt/d mnt/e
	ino=$(stat -c %i mnt/f3 mnt/h1 mnt/e)
	down
	for i in 1 2; do
		snapfs -o "lowerdir=$PWD/big,upperdir=$PWD/upper,workdir=$PWD/work,redirect_dir=on" "$PWD/mnt"
		[ $i = 2 ] || stat -c %i mnt/f* >/dev/null # the others come first
		is "$(stat -c %i mnt/f3 mnt/h1 mnt/e)" "$ino" 'numbers of what was copied up'
		is "$(cat mnt/f3 mnt/f7 mnt/h1 mnt/h2 mnt/e/h3 | paste -sd,)" 'file 3,more,file 7,hard,more,hard,more,hard,more'
		is "$(stat -c %i mnt/h1 mnt/h2 mnt/e/h3 | sort -u | wc -l) $(stat -c %h mnt/h2)" '1 3' 'names of one file'
		is "$(find mnt -type f -printf '%i\n' | sort -u | wc -l)" 42 'different files'
		echo again >>mnt/f$((i + 10))
		down
	done
	within 10 fusermount3 -qu big # when the other server has ended
	is "$(cat work/numbers | wc -c)" 20
	echo nonsense >work/numbers
	! snapfs -o "lowerdir=$PWD/lower,upperdir=$PWD/upper,workdir=$PWD/work" "$PWD/mnt" 2>err || fail 'a damaged file is taken'
	grep -q 'work/numbers' err || fail "$(cat err)"
}

# An upper that another mount writes to: a second writer is refused, a reader sees it as it is
test_upper_in_use() {
	mkdir lower second && echo low >lower/a && echo gone >lower/b
	up redirect_dir=on
	echo new >mnt/a && rm mnt/b && mkdir mnt/d
	! snapfs -o "lowerdir=$PWD/lower,upperdir=$PWD/upper,workdir=$PWD/work" "$PWD/second" 2>err || fail 'two writers'
	grep -q 'in use by another mount' err || fail "$(cat err)"
	snapfs -o "lowerdir=$PWD/lower,upperdir=$PWD/upper,workdir=$PWD/work,ro" "$PWD/second"
	is "$(cat second/a; ls second)" $'new\na\nd' 'what the reader sees'
	! touch second/x 2>/dev/null || fail 'the reader writes'
	echo newer >mnt/a
	within 5 grep -q newer second/a
	fusermount3 -u "$PWD/second"
	echo still >mnt/c
	down
	is "$(cat upper/c)" still 'the writer goes on'
}
