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
	is "$(as_user snap run --rm d:1 sh -c 'echo $(id -u) $(stat -c %u:%g /etc/shadow /etc/passwd)')" '0 0:0 0:0' 'all is seen as its own'
	as_user snap run --name k d:1 sh -c 'echo x >/srv/f; rm /etc/motd; mkdir /srv/d; mv /etc/skel /srv/s' 2>err
	grep -q "no subordinate ids: the container has one id, root; 'snap doctor'" err && is "$(wc -l <err)" 1 "$(cat err)"
	# what belongs to others in the image can be used, and stays theirs in the new layer
	as_user snap --quiet run k sh -ec 'echo "x:*:1:0:99999:7:::" >>/etc/shadow; chmod 600 /etc/gshadow; touch /var/cache/apt/archives/partial/x'
	is "$(as_user snap diff k | tar -tv --numeric-owner -f - | awk '/shadow$|partial\/$|partial.x/ {print $1, $2}' | sort | paste -sd' ')" \
		'-rw------- 0/42 -rw-r----- 0/42 -rw-r--r-- 0/0 drwx------ 42/0' 'owners in the layer'
	# apt's own user cannot be used, files cannot be given to others: the rest can be done
	! as_user snap --quiet run k chown games /srv/f 2>err || fail 'there are more ids than one'
	as_user snap --quiet run -e DEBIAN_FRONTEND=noninteractive k sh -euc '
		apt-get -o APT::Sandbox::User=root update -q
		apt-get -o APT::Sandbox::User=root install -qy --no-install-recommends git bc
		apt-get clean && rm -rf /var/lib/apt/lists/*' >apt.out 2>&1 || { tail -n 20 apt.out >&2 && fail 'apt-get install'; }
	as_user snap --quiet run --workdir /srv k sh -euc 'git init -q r && cd r && git config user.email a@b && git config user.name n && seq 99 >f && git add f && git commit -qm one'
	as_user snap --quiet commit --image k:1 k
	# to a registry, and as root's container in podman
	reg=127.0.0.1:$((12000 + RANDOM % 20000))
	printf 'version: 0.1\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: "%s"}\n' "$PWD/registry" "$reg" >registry.yml
	docker-registry serve registry.yml >registry.log 2>&1 &
	within 20 curl -sf "http://$reg/v2/" -o curl.out
	as_user snap --quiet push k:1 "docker://$reg/k:1" --tls-verify=false
	containers_conf
	local p=(podman --root "$PWD/podman" --runroot /mnt/run --storage-driver overlay --runtime runc)
	"${p[@]}" pull -q --tls-verify=false "$reg/k:1" >/dev/null
	is "$("${p[@]}" run --rm --cgroups=enabled --net=none "$reg/k:1" sh -c 'echo 6*7 | bc; git -C /srv/r log --format=%s; stat -c %u:%g /srv/f /etc/shadow' | paste -sd' ')" \
		'42 one 0:0 0:42' 'in podman'
	is "$(as_user snap run --rm k:1 sh -c 'cat /srv/f; ls -d /srv/d /srv/s; ls /etc/motd 2>/dev/null; tail -n 1 /etc/shadow' | paste -sd' ')" 'x /srv/d /srv/s x:*:1:0:99999:7:::'
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
	refused 125 '/dev/fuse' as_user snap run --rm d:1 true
	rm /dev/fuse && mknod /dev/fuse c 10 229 && chmod 444 /dev/fuse # it must be open for writing too
	as_user snap doctor >out || fail 'doctor'
	grep -q '^missing  /dev/fuse .*chmod 0666' out || fail "$(cat out)"
	# another file of that name can be opened
	for other in 'touch /dev/fuse' 'mknod /dev/fuse c 1 3' 'mknod /dev/fuse c 1 5' 'mkfifo /dev/fuse'; do
		rm -f /dev/fuse && $other && chmod 666 /dev/fuse
		timeout 20 setpriv --reuid="$SNAP_TEST_USER" --regid="$SNAP_TEST_USER" --init-groups snap doctor >out || fail "doctor: $other"
		grep -q '^missing  /dev/fuse .*another file.*mknod -m 0666 /dev/fuse c 10 229' out || fail "$other: $(cat out)"
	done
	# what doctor says that works
	grep -q 'pull, inspect, unpack, commit, push, fsck and all that needs no mount works' out || fail "$(cat out)"
	as_user snap --quiet pull "oci:$IMAGES/DEBIAN:latest" --name d:2 >/dev/null
	is "$(as_user snap --json inspect d:2 | jq -r .ref)" d:2 inspect
	as_user snap --quiet prepare k d:2
	as_user snap --quiet commit --image k:1 k --change 'CMD ["true"]'
	as_user snap --quiet push k:1 oci:layout:1 >/dev/null
	as_user snap --quiet unpack k:1 tree
	[ -f tree/etc/passwd ] || fail 'unpack'
	as_user snap fsck >out || fail "$(cat out)"
	# and with the device all is well
	rm /dev/fuse && mknod /dev/fuse c 10 229 && chmod 666 /dev/fuse
	as_user snap doctor >out || fail 'doctor'
	grep -q '^ok  */dev/fuse .*reading and writing' out || fail "$(cat out)"
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
	# what doctor says that works
	grep -q "'snap mount' works by fusermount3" out || fail "$(cat out)"
	"${jail[@]}" sh -euc "cd $HOME; mkdir m; snap --quiet prepare k d:1; snap --quiet mount k m; ls m/etc/passwd; echo x >m/tmp/f
		snap umount m; snap --quiet commit --image k:1 k; snap fsck >/dev/null" >out 2>&1 || fail "$(cat out)"
	is "$("${jail[@]}" snap diff --list k | grep '^A')" 'A tmp/f'
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
	skopeo copy -q oci:out:1 "containers-storage:[overlay@$PWD/storage+/mnt/run]localhost/k:1"
	is "$(podman --root "$PWD/storage" --runroot /mnt/run --storage-driver overlay --runtime runc run --rm --cgroups=enabled localhost/k:1 2>podman.err || cat podman.err)" 'said by root'
}
