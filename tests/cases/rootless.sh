# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# as: user
# images
# The whole way as an ordinary user, with nothing but fusermount3 set-user-id root.

not_root() { # that the test is what it says
	[ "$(id -u)" != 0 ] || fail "runs as root"
	! grep -q 'CapEff:.*[1-9a-f]' /proc/self/status || fail "has capabilities: $(grep Cap /proc/self/status)"
}

test_life_of_a_snapshot() {
	not_root
	local list
	snap pull "oci:$IMAGES/DEBIAN:latest" --name d:1 >/dev/null
	is "$(snap --json images | jq -r '.[0].ref')" d:1 images
	is "$(stat -c %a "$SNAP_ROOT")" 700 'mode of the store'
	enter k d:1 m
	# who owns what is the image's, whoever looks
	is "$(stat -c '%u:%g %a' m/etc/passwd)" '0:0 644' 'owner of /etc/passwd'
	is "$(stat -c '%g %a' m/etc/shadow)" '42 640' 'owner of /etc/shadow'
	grep -q '^root:' m/etc/passwd
	# what others may not do stays forbidden
	! cat m/etc/shadow 2>/dev/null || fail "/etc/shadow can be read"
	! echo x 2>/dev/null >>m/etc/passwd || fail "/etc/passwd can be written"
	! touch m/etc/new 2>/dev/null || fail "/etc can be written"
	! rm -f m/etc/passwd 2>/dev/null || fail "/etc/passwd can be deleted"
	# /tmp is everybody's
	is "$(stat -c %a m/tmp)" 1777 'mode of /tmp'
	mkdir m/tmp/d m/tmp/gone
	echo one >m/tmp/d/file
	ln m/tmp/d/file m/tmp/d/second
	ln -s d/file m/tmp/link
	echo two >>m/tmp/d/second
	cp m/bin/ls m/tmp/ls
	cmp m/bin/ls m/tmp/ls
	mv m/tmp/d m/tmp/moved
	rmdir m/tmp/gone
	mkfifo m/tmp/fifo
	chmod 750 m/tmp/moved
	setfattr -n user.note -v hello m/tmp/moved/file
	! chown 0:0 m/tmp/moved/file 2>/dev/null || fail "chown to root works"
	! mknod m/tmp/null c 1 3 2>/dev/null || fail "mknod works"
	is "$(stat -c %u m/tmp/moved/file)" "$(id -u)" 'owner of a new file'
	m/tmp/ls m/tmp >/dev/null
	remount k m
	is "$(cat m/tmp/moved/file)" $'one\ntwo' 'after a remount: content'
	is "$(stat -c '%h %a' m/tmp/moved/second)" '2 644' 'after a remount: links'
	is "$(stat -c %i m/tmp/moved/file)" "$(stat -c %i m/tmp/moved/second)" 'after a remount: inode number'
	is "$(readlink m/tmp/link) $(stat -c '%a %F' m/tmp/moved m/tmp/fifo | paste -sd' ')" 'd/file 750 directory 644 fifo' 'after a remount'
	is "$(getfattr --only-values -n user.note m/tmp/moved/file)" hello 'after a remount: xattr'
	[ ! -e m/tmp/d ] && [ ! -e m/tmp/gone ] || fail "what was deleted is there"
	list=$(snap diff --list k)
	grep -qx 'A /tmp/moved/file' <<<"$list" || grep -qx 'A tmp/moved/file' <<<"$list" || fail "diff --list: $list"
	! grep -qE '^[ACD] /?(tmp/(d|gone)|etc)' <<<"$list" || fail "diff --list: $list"
	snap --quiet commit --image me:1 k --timestamp 1700000000
	snap umount m
	snap push me:1 oci:out:1 >/dev/null
	export SNAP_ROOT=$HOME/second
	snap --quiet pull oci:out:1 --name me:1
	enter k me:1 m
	is "$(cat m/tmp/moved/second)" $'one\ntwo' 'in a second store: content'
	is "$(stat -c '%u %h' m/tmp/moved/file)" "$(id -u) 2" 'in a second store: owner and links'
	is "$(stat -c '%u:%g %a' m/etc/shadow m/tmp | paste -sd' ')" '0:42 640 0:0 1777' 'in a second store: what the image had'
	snap umount m
	snap fsck >fsck.out || fail "fsck: $(cat fsck.out)"
	snap rm k
	snap rmi me:1
	snap --quiet gc
	is "$(find "$SNAP_ROOT"/{blobs,layers,chains,tmp,snapshots} -type f | wc -l)" 0 'files after rm, rmi and gc'
	is "$(ps -u "$(id -un)" -o comm= | grep -c snapfs || :)" 0 'snapfs processes'
}

# What is deleted and made again below what the user owns in the image
test_own_files_of_an_image() {
	not_root
	local id
	id=$(id -u)
	python3 "$LIB/mklayer.py" lay "[D('home', uid=$id, gid=$id), D('home/d', uid=$id, gid=$id), F('home/d/a', 'a', uid=$id, gid=$id), L('home/b', 'home/d/a', uid=$id, gid=$id), \
		F('home/secret', 's', mode=0o600), F('home/suid', 's', mode=0o4755, uid=$id, gid=$id), C('home/null', 1, 3, mode=0o666), \
		F('home/cap', 'c', uid=$id, gid=$id, pax={'SCHILY.xattr.user.k': 'v', 'SCHILY.xattr.trusted.t': 'v'})]"
	snap --quiet pull oci:lay:latest --name i:1
	enter k i:1 m
	is "$(stat -c '%F %t:%T' m/home/null)" 'character special file 1:3' 'a device'
	! : 2>/dev/null >m/home/null || fail "a device of a rootless mount can be opened"
	! cat m/home/secret 2>/dev/null || fail "root's secret can be read"
	is "$(getfattr --only-values -n user.k m/home/cap)" v 'user xattr'
	! getfattr -n trusted.t m/home/cap 2>/dev/null || fail "an ordinary user sees trusted.*"
	echo more >>m/home/d/a # copy-up of a hard-linked file
	is "$(cat m/home/b)" 'amore' 'the other name'
	mv m/home/d m/home/e   # a directory of the lower layer
	mkdir m/home/d         # opaque
	rm m/home/cap m/home/secret
	remount k m
	is "$(ls m/home)" $'b\nd\ne\nnull\nsuid' names
	is "$(ls -A m/home/d)" '' 'the directory made anew'
	is "$(cat m/home/e/a) $(cat m/home/b) $(stat -c %h m/home/b)" 'amore amore 2' 'the linked file'
	! setfattr -n user.overlay.opaque -v y m/home/e 2>/dev/null || is "$(ls m/home/e)" a 'after a forged mark'
	# what a user cannot read cannot be copied up either, and says so
	! chmod 644 m/home/suid 2>/dev/null || is "$(stat -c %a m/home/suid)" 644 'mode'
	snap --quiet commit --image i:2 k --timestamp 1700000000
	snap umount m
	snap --quiet prepare second i:2
	snap --quiet mount second m --engine fuse
	is "$(ls m/home)" $'b\nd\ne\nnull\nsuid' 'names in the new image'
	is "$(cat m/home/e/a) $(cat m/home/b) $(stat -c %h m/home/b)" 'amore amore 2' 'the linked file in the new image'
	is "$(stat -c '%F %t:%T %u' m/home/null)" 'character special file 1:3 0' 'the device in the new image'
	snap umount second
	snap fsck >fsck.out || fail "fsck: $(cat fsck.out)"
}

# Owners, devices and modes that an ordinary user could make nowhere are in the index, and so in the mount.
test_what_a_user_cannot_make_is_kept() {
	not_root
	python3 "$LIB/mklayer.py" lay '[F("a", pax={"uid": "4294967294", "gid": "65536"}), F("suid", "#!/bin/sh\n", mode=0o4755, uid=70000),
		C("c", 1, 3, mode=0o666, gid=5), B("b", 7, 200, uid=1), P("p", mode=0o622), D("d", mode=0o3777, uid=12, gid=4000000000),
		F("t", pax={"mtime": "1700000000.123456789"}), F("cap", pax={"SCHILY.xattr.security.capability": b"\1\0\0\2\0\4\0\0" + bytes(12)})]'
	snap --quiet pull oci:lay:latest --name i:1
	cat >wanted <<-'END'
		a= 4294967294:65536
		b[7:200] 1:0
		c(1:3) 0666 0:5
		cap= {security.capability=\001\000\000\002\000\004\000\000\000\000\000\000\000\000\000\000\000\000\000\000}
		d/ 3777 12:4000000000
		p| 0622
		suid=#!/bin/sh\012 4755 70000:0
		t= @1700000000.123456789
	END
	enter k i:1 m
	python3 "$LIB/mklayer.py" --list m | grep -v '^/ ' >seen # the root is the user's, who is the container's root
	diff -u wanted seen
	grep ' - fuse[.]' /proc/self/mountinfo >mi
	grep -q 'nosuid,nodev' mi || fail "$(cat mi)"
	# and it goes on as it is
	snap push i:1 oci:pushed:1 >/dev/null
	is "$(jq -r '.manifests[0].digest' pushed/index.json)" "$(jq -r '.manifests[0].digest' lay/index.json)" 'the digest pushed'
}

# CVE-2018-10906: nothing a user says reaches mount(2) as an option of its own
test_options_are_not_injected() {
	not_root
	python3 "$LIB/mklayer.py" lay '[F("suid", "#!/bin/sh\nid -u\n", mode=0o4755)]'
	snap --quiet pull oci:lay:latest --name i:1
	snap --quiet prepare 'k,suid,dev' i:1
	mkdir m 'm,suid,dev'
	snap --quiet mount 'k,suid,dev' 'm,suid,dev' --engine fuse
	grep ' - fuse[.]' /proc/self/mountinfo >mi
	grep -q 'nosuid,nodev' mi || fail "$(cat mi)"
	snap umount 'k,suid,dev'
	! grep -q ' - fuse[.]' /proc/self/mountinfo || fail "still mounted"
	if snap --quiet mount 'k,suid,dev' m --engine fuse -o suid,dev 2>mount.err; then
		grep ' - fuse[.]' /proc/self/mountinfo >mi
		grep -q 'nosuid,nodev' mi || fail "an ordinary user got suid or dev: $(cat mi)"
		snap umount m
	fi
	refused 1 'kernel' snap mount 'k,suid,dev' m --engine kernel
}
