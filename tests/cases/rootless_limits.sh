# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# images
# As root, to take from an ordinary user what he may lack: ranges of ids, /dev/fuse, namespaces.

as_user() { setpriv --reuid="$SNAP_TEST_USER" --regid="$SNAP_TEST_USER" --init-groups "$@"; }
user_store() {
	export SNAP_TEST_USER=${SNAP_TEST_USER:-snaptest} HOME=$PWD/home SNAP_ROOT=$PWD/home/store
	mkdir home && chown "$SNAP_TEST_USER:" home && chmod 755 .. . home && mount --make-rprivate /
	as_user snap --quiet pull "oci:$IMAGES/DEBIAN:latest" --name d:1
}

test_single_id() {
	user_store
	mount --bind /dev/null /etc/subuid && mount --bind /dev/null /etc/subgid
	cd home
	is "$(as_user snap unshare cat /proc/self/uid_map | awk '{print $1, $3}')" '0 1'
	is "$(as_user snap run --rm d:1 sh -c 'echo $(id -u) $(stat -c %u:%g /etc/shadow /etc/passwd)')" '0 0:65534 0:0'
	as_user snap run --name k d:1 sh -c 'echo x >/srv/f; rm /etc/motd; mkdir /srv/d; mv /etc/skel /srv/s'
	as_user snap --quiet commit --image k:1 k
	is "$(as_user snap run --rm k:1 sh -c 'cat /srv/f; ls -d /srv/d /srv/s; ls /etc/motd 2>/dev/null' | paste -sd' ')" 'x /srv/d /srv/s'
	refused 125 'user 1 is not in this user namespace, which has 1 ids .*add-subuids' as_user snap run --rm --user daemon d:1 true
	as_user snap doctor >out || fail 'doctor'
	grep -q '^missing  subordinate ids .*usermod' out || fail "$(cat out)"
	as_user snap rm k
}
test_no_fuse() {
	user_store
	mount -t tmpfs none /dev # nothing in it
	mknod -m 666 /dev/null c 1 3 && mknod -m 666 /dev/urandom c 1 9
	cd home
	as_user snap doctor >out || fail 'doctor'
	grep -q '^missing  /dev/fuse .*modprobe fuse' out || fail "$(cat out)"
	refused 125 '/dev/fuse' as_user snap run --rm d:1 true
	mknod -m 600 /dev/fuse c 10 229
	as_user snap doctor >out || fail 'doctor'
	grep -q '^missing  /dev/fuse .*chmod 0666' out || fail "$(cat out)"
	is "$(as_user snap --json images | jq -r '.[0].ref')" d:1 'what needs no mount works'
}
test_no_user_namespaces() {
	user_store
	cd home
	# a process in a chroot may make no user namespace (user_namespaces(7), EPERM)
	mkdir ../jail && mount --rbind / ../jail
	local jail=(chroot --userspec="$SNAP_TEST_USER:$SNAP_TEST_USER" ../jail env "HOME=$HOME" "SNAP_ROOT=$SNAP_ROOT")
	"${jail[@]}" snap doctor >out || fail 'doctor'
	grep -q '^missing  user namespaces' out || fail "$(cat out)"
	refused 125 'user namespace.*snap doctor' "${jail[@]}" snap run --rm d:1 true
	refused 125 'user namespace.*snap doctor' "${jail[@]}" snap unshare true
}
test_newuidmap_fails() {
	user_store
	cd home
	printf '#!/bin/sh\necho "newuidmap: not today" >&2\nexit 1\n' >../newuidmap && chmod 755 ../newuidmap
	PATH=$PWD/..:$PATH as_user snap run --rm d:1 id -u >out 2>err
	is "$(cat out)" 0 'a single id is left'
	grep -q 'not today' err || fail "$(cat err)"
}
# What an ordinary user made, with owners of its own, is an image like others to podman.
test_podman_runs_what_a_user_made() {
	user_store
	cd home
	as_user snap run --name k d:1 sh -c 'echo "said by $(id -un)" >/srv/said && chown games:users /srv/said && chmod 640 /srv/said'
	as_user snap --quiet commit --image k:1 k --change 'CMD ["cat", "/srv/said"]' --change 'USER games'
	as_user snap push k:1 oci:out:1 >/dev/null
	containers_conf
	mount -t tmpfs tmpfs /mnt # podman wants a short path for what it runs
	skopeo copy -q oci:out:1 "containers-storage:[overlay@$PWD/storage+/mnt/run]localhost/k:1"
	is "$(podman --root "$PWD/storage" --runroot /mnt/run --storage-driver overlay --runtime runc run --rm --cgroups=enabled localhost/k:1 2>podman.err || cat podman.err)" 'said by root'
}
