# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# as: root user
# images
# The additional layer store: podman uses what snap pulled, and copies nothing.

begin() {
	run=$(mktemp -d /mnt/p.XXXXXX)
	trap 'end' EXIT
	containers_conf
	export XDG_RUNTIME_DIR=$run TMPDIR=$PWD
	mkdir als
}
end() {
	local status=$? d
	for d in g n f; do
		[ ! -d $d ] || podman_in "$d" rm -afq -t 0 >/dev/null 2>&1 || :
	done
	fusermount3 -qu als 2>/dev/null || umount als 2>/dev/null || :
	return $status
}
# podman with a store of its own: g through snapfs, n through the kernel, f through fuse-overlayfs
podman_in() { # STORE ARGUMENT...
	local store=$1 program=()
	shift
	[ "$store" != g ] || program=(--storage-opt "overlay.mount_program=$(command -v snapfs)")
	[ "$store" != f ] || program=(--storage-opt overlay.mount_program=/usr/bin/fuse-overlayfs)
	podman --root "$PWD/$store" --runroot "$run/$store" --storage-driver overlay "${program[@]}" \
		--storage-opt "overlay.additionallayerstore=$PWD/als:ref" --runtime runc "$@"
}
start_registry() { # port in $reg
	reg=$((12000 + RANDOM % 20000))
	mkdir registry
	printf 'version: 0.1\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: "127.0.0.1:%s"}\n' "$PWD/registry" "$reg" >registry.yml
	docker-registry serve registry.yml >registry.log 2>&1 &
	within 20 curl -sf "http://127.0.0.1:$reg/v2/" -o curl.out
}
fetched_layers() { grep -cE 'http.request.method=GET .*/blobs/.*http.response.written=[0-9]{5,}' registry.log || :; }
layers_of() { snap --json inspect "$1" | jq -re '.layers[].digest'; }

test_debian_without_a_copy() {
	begin
	start_registry
	local ref=127.0.0.1:$reg/debian:1 d store before
	SNAP_ROOT=$PWD/from snap --quiet pull "oci:$IMAGES/DEBIAN:latest" --name d:1
	SNAP_ROOT=$PWD/from snap --quiet push d:1 "docker://$ref" --tls-verify=false
	snap --quiet pull "docker://$ref" --tls-verify=false
	# what is seen without podman, whose namespaces would keep the mount
	enter look "$ref" look
	(cat look/etc/debian_version && stat -c %u:%g:%a look/etc/shadow look/tmp | paste -sd' ') >look.some
	[ "$(id -u)" != 0 ] || (cd look && find . ! -type d -printf '%p %y %m %U:%G %s %l\n' | sort) >look.all
	snap umount look && snap rm look
	snap als als
	for store in n g f; do
		before=$(fetched_layers)
		podman_in $store pull -q --tls-verify=false "$ref" >/dev/null
		is "$(fetched_layers)" "$before" 'layers that podman fetched'
		is "$(podman_in $store run --rm --net=none "$ref" sh -c 'cat /etc/debian_version; stat -c %u:%g:%a /etc/shadow /tmp | paste -sd" "')" \
			"$(cat look.some)" "what runs in podman ($store)"
		podman_in $store run --rm --net=none "$ref" sh -c 'rm -rf /usr/share/doc && mkdir /usr/share/doc && echo new >/etc/new && mv /etc/apt /etc/moved && ls /etc/moved' >/dev/null
		d=$(du -sk $store | cut -f1)
		[ "$d" -lt 3000 ] || fail "podman's store has $d KiB"
		# the whole of it, in podman's namespace, where owners are the image's
		cat >compare.sh <<'S'
set -e
p() { podman --root "$PWD/$1" --runroot "$run/$1" --storage-driver overlay ${2:+--storage-opt overlay.mount_program=$2} \
	--storage-opt "overlay.additionallayerstore=$PWD/als:ref" "${@:3}"; }
m=$(p "$1" "$2" image mount "$3")
(cd "$m" && find . -printf '%p %y %m %U:%G %s %l\n' | sort) >"seen.$1"
(cd "$m" && find . -xdev -type f -size -200k -print0 | sort -z | xargs -0 sha256sum) >"sums.$1"
getcap -r "$m" 2>/dev/null | sed "s|$m||" | sort >"caps.$1"
p "$1" "$2" image umount "$3" >/dev/null
S
		case $store in n) d='' ;; g) d=$(command -v snapfs) ;; f) d=/usr/bin/fuse-overlayfs ;; esac
		export run
		if [ "$(id -u)" = 0 ]; then bash compare.sh $store "$d" "$ref"; else podman_in $store unshare bash compare.sh $store "$d" "$ref"; fi
	done
	# three programs over the same layers see the same; and what snapfs shows of the chain itself
	cmp seen.n seen.g && cmp sums.n sums.g && cmp caps.n caps.g
	cmp sums.n sums.f
	[ "$(id -u)" != 0 ] || awk '$2 != "d"' seen.n | cmp - look.all # others may not look everywhere
	# what is in use stays
	snap rmi "$ref"
	snap --quiet gc
	is "$(podman_in n run --rm --net=none "$ref" cat /etc/debian_version)" "$(head -n 1 look.some)" 'after rmi and gc'
	for store in n g f; do podman_in $store rmi -f "$ref" >/dev/null; done
	is "$(python3 -c 'import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute("SELECT count(*) FROM layer_uses").fetchone()[0])' "$SNAP_ROOT/meta.db")" 0 'uses left'
	snap --quiet gc
	is "$(find "$SNAP_ROOT/layers/sha256" -mindepth 1 -maxdepth 1 | wc -l)" 0 'layers left'
}
# Only what is read comes, by the same way.
test_lazy_layers() {
	begin
	start_registry
	local ref=127.0.0.1:$reg/debian:1 store before
	export SNAP_FILL_TIMEOUT=20
	SNAP_ROOT=$PWD/from snap --quiet pull "oci:$IMAGES/DEBIAN:latest" --name d:1
	SNAP_ROOT=$PWD/from snap --quiet push d:1 "docker://$ref" --tls-verify=false
	SNAP_ROOT=$PWD/from snap --quiet index push d:1 "docker://$ref" --tls-verify=false
	snap --quiet pull --lazy metadata "docker://$ref" --tls-verify=false
	before=$(fetched_layers)
	snap als als
	podman_in g pull -q --tls-verify=false "$ref" >/dev/null
	is "$(fetched_layers)" "$before" 'layers that came for podman pull'
	is "$(podman_in g run --rm --net=none "$ref" python3 -c 'print(6 * 7)')" 42 'in podman'
	snap --json images | jq -e '.[0] | .state == "lazy" and .fetched > 0 and .fetched < .needed * 0.4' >/dev/null ||
		fail "$(snap --json images)"
	snap --quiet fill "$ref"
	is "$(podman_in g run --rm --net=none "$ref" python3 -c 'print(6 * 7)')" 42 'when it is complete'
	snap --quiet fsck
}
test_answers() {
	begin
	local d ref
	mkdir -p one/sub two/sub
	echo one >one/sub/file && echo hidden >one/gone && mkdir one/opq && echo x >one/opq/x && chmod 0750 one/sub
	image_of localhost/one:1 one
	enter k localhost/one:1 m
	rm m/gone && rm -rf m/opq && mkdir m/opq && echo y >m/opq/y
	snap umount m
	snap --quiet commit --image localhost/two:1 k --timestamp 1700000000 && snap rm k
	snap als als
	refused 1 'mount' snap als /nowhere
	refused 2 MOUNTPOINT snap als
	refused 1 'no layer of' snap als --release localhost/two:1
	ref=$(printf localhost/two:1 | base64 -w0)
	d=$(layers_of localhost/two:1 | tail -n 1)
	is "$(ls "als/$ref/$d" | paste -sd' ')" 'blob diff info'
	is "$(jq -r '."compressed-diff-digest"' "als/$ref/$d/info")" "$d" info
	is "sha256:$(sha256sum <"als/$ref/$d/blob" | cut -d' ' -f1)" "$d" blob
	is "$(stat -c '%F %t:%T' "als/$ref/$d/diff/gone")" 'character special file 0:0' 'a whiteout'
	is "$(ls "als/$d/diff/opq")" y 'without a name in front'
	if [ "$(id -u)" = 0 ]; then d=$(getfattr --absolute-names --only-values -n trusted.overlay.opaque "als/$ref/$d/diff/opq")
	else d=$(getfattr --absolute-names --only-values -n user.overlay.opaque "als/$ref/$d/diff/opq"); fi
	is "$d" y 'the mark of an opaque directory'
	d=$(layers_of localhost/two:1 | tail -n 1)
	[ ! -e "als/$ref/sha256:$(printf x | sha256sum | cut -d' ' -f1)" ] || fail 'a digest that no layer has'
	[ ! -e als/no.base64 ] || fail 'a name that is none'
	! touch "als/$ref/$d/other" 2>/dev/null || fail 'it can be written'
	! rm -f "als/$ref/$d/info" 2>/dev/null || fail 'info can be removed'
	# counted, and let go by name
	! touch "als/$ref/$d/use" 2>touch.err || fail "'use' can be made"
	grep -q 'No such file' touch.err || fail "'use': $(cat touch.err)"
	snap rmi localhost/two:1 localhost/one:1
	snap --quiet gc
	is "$(cat "als/$ref/$d/diff/opq/y")" y 'in use after gc'
	! rmdir "als/$ref/$d" 2>/dev/null || fail 'a folder was removed'
	! touch "als/$ref/$d/use" 2>/dev/null || fail "'use' can be made"
	snap als --release localhost/two:1
	snap --quiet gc
	fusermount3 -u als
	is "$(find "$SNAP_ROOT/layers/sha256" -mindepth 1 -maxdepth 1 | wc -l)" 0 'layers left'
	# in the foreground, ended by a signal
	snap als -f als &
	local pid=$!
	within 10 mountpoint -q als
	kill -TERM $pid
	wait $pid
	! mountpoint -q als || fail 'the mount is left'
}
