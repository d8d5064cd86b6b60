# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# as: user
# images
# What an ordinary user does with images, from end to end: pull, run, change, commit, push to a registry; and
# another tool takes it from there and runs it.

start_registry() { # its address in $reg
	reg=127.0.0.1:$((12000 + RANDOM % 20000))
	printf 'version: 0.1\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: "%s"}\n' "$PWD/registry" "$reg" >registry.yml
	docker-registry serve registry.yml >registry.log 2>&1 &
	within 20 curl -sf "http://$reg/v2/" -o curl.out
}
# podman through the kernel's overlayfs, so that nothing of ours has a part in it
podman_() {
	podman --root "$PWD/podman" --runroot /mnt/run --storage-driver overlay --runtime runc "$@"
}
podman_runs() { podman_ run --rm --cgroups=enabled --net=none "$@"; }

test_pull_change_push_and_podman() {
	[ "$(id -u)" != 0 ] || fail 'runs as root'
	containers_conf
	mkdir -m 700 /mnt/x && export XDG_RUNTIME_DIR=/mnt/x
	start_registry
	local image
	# the images come from a registry, and go there
	for image in DEBIAN NODE; do
		SNAP_ROOT=$PWD/first snap --quiet pull "oci:$IMAGES/$image:latest" --name x:1
		SNAP_ROOT=$PWD/first snap --quiet push x:1 "docker://$reg/${image,,}:1" --tls-verify=false
		snap --quiet pull "docker://$reg/${image,,}:1" --tls-verify=false
	done
	is "$(snap --json images | jq -r '.[].ref' | sort | paste -sd' ')" "$reg/debian:1 $reg/node:1"
	# apt-get install as the container's root, from the mirror that the machine reaches
	snap run --name deb -e DEBIAN_FRONTEND=noninteractive "$reg/debian:1" sh -euc '
		apt-get update -q
		apt-get install -qy --no-install-recommends git openssh-client
		apt-get clean && rm -rf /var/lib/apt/lists/*' >apt.out 2>&1 || { tail -n 20 apt.out >&2 && fail 'apt-get install'; }
	snap run --workdir /srv deb sh -euc 'git init -q r && cd r && git config user.email a@b && git config user.name n &&
		seq 2000 >f && git add f && git commit -qm one && git mv f g && git commit -qm two && chown -R games: /srv/r'
	snap --quiet commit --image "$reg/debian:2" deb --change 'CMD ["git", "-C", "/srv/r", "log", "--format=%s"]' --change 'USER games'
	snap run --name js "$reg/node:1" sh -euc 'mkdir /srv/app && echo "console.log(6 * 7, process.getuid())" >/srv/app/main.js && chown -R daemon: /srv/app'
	snap --quiet commit --image "$reg/node:2" js --change 'ENTRYPOINT ["node", "/srv/app/main.js"]' --change 'USER daemon'
	snap rm deb js
	is "$(snap run --rm "$reg/debian:2" | paste -sd' ') $(snap run --rm "$reg/node:2")" 'two one 42 1' 'here'
	for image in debian node; do
		snap --quiet push "$reg/$image:2" "docker://$reg/$image:2" --tls-verify=false
		podman_ pull -q --tls-verify=false "$reg/$image:2" >/dev/null
	done
	is "$(podman_runs "$reg/debian:2" | paste -sd' ') $(podman_runs "$reg/node:2")" 'two one 42 1' 'in podman'
	is "$(podman_runs "$reg/debian:2" stat -c '%U:%G:%a' /usr/bin/ssh-agent /srv/r/g | paste -sd' ')" 'root:_ssh:2755 games:games:644' 'owners in podman'
	snap fsck >fsck.out || fail "$(cat fsck.out)"
}
