# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# images
# Real images: what a mount shows is what umoci unpacks, the kernel's view is the same, and every command
# says of an image what CLI.md promises.

all_of() { # JQ-CONDITION FILE: true of the document, and there is one
	jq -es "length == 1 and (.[0] | $1)" "$2" >/dev/null || fail "not so: $1: $(head -c 600 "$2")"
}
# The tree by three ways, with no option of treecmp: the root directory counts, too (the images' layers have an
# entry for it; where none has, umoci leaves it as mkdir made it and we say 0755, root, mtime 0).
same_tree() { # IMAGE ENTRIES-AT-LEAST
	local layout=$IMAGES/$1 index
	[ -f "$layout/index.json" ] || fail "no image in $layout"
	snap pull "oci:$layout:latest" --name "$1:1" >first.out
	mkdir fuse kernel
	enter k "$1:1" fuse
	umoci raw unpack --image "$layout:latest" plain >umoci.out 2>&1 & # takes longest
	index=$(chain_index "$1:1")
	erofs-mount "$index" kernel
	treecmp kernel fuse >kernel.diff || fail "the kernel's view differs: $(cat kernel.diff)"
	entries "$2" <kernel.diff
	umount kernel
	wait $! || fail "umoci: $(tail -n 3 umoci.out)"
	treecmp plain fuse >umoci.diff || fail "the mount is not what umoci unpacks: $(cat umoci.diff)"
	entries "$2" <umoci.diff
	snap umount fuse
	! grep -q ' - fuse.snapfs \| - erofs ' /proc/self/mountinfo || fail "mounts left: $(cat /proc/self/mountinfo)"
}
entries() { # AT-LEAST: that the comparison saw a whole image
	local n
	n=$(sed -n 's/^treecmp: \([0-9]*\) entries.*/\1/p')
	[ "${n:-0}" -ge "$1" ] || fail "only '$n' entries were compared"
}
chain_index() { # REF
	local id
	id=$(snap --json inspect "$1" | jq -re '.layers[-1].chain_id')
	id=${id#sha256:}
	[ -f "$SNAP_ROOT/chains/sha256/$id/index" ] || fail "no index of chain $id"
	echo "$SNAP_ROOT/chains/sha256/$id/index"
}

test_debian_tree() { same_tree DEBIAN 11000; }
test_node_tree() { same_tree NODE 70000; }

test_kernel_engine() {
	snap --quiet pull "oci:$IMAGES/DEBIAN:latest" --name d:1
	mkdir fuse kernel
	enter a d:1 fuse
	snap --quiet prepare b d:1
	snap mount b kernel --engine kernel >engine.out
	grep -q '^engine kernel' engine.out || fail "$(cat engine.out)"
	[ "$(stat -f -c %T kernel)" = overlayfs ] || fail "not the kernel's: $(stat -f kernel)"
	treecmp kernel/etc fuse/etc >tree.diff || fail "$(cat tree.diff)"
	entries 500 <tree.diff
	echo hello >kernel/etc/new
	rm kernel/etc/passwd
	snap umount kernel
	snap mount b kernel --engine fuse >engine.out
	grep -q '^engine fuse' engine.out || fail "$(cat engine.out)"
	is "$(cat kernel/etc/new)" hello 'what the kernel wrote, seen by FUSE'
	[ ! -e kernel/etc/passwd ] || fail "what the kernel deleted is there"
	snap umount kernel
	snap umount fuse
}

# Twice is once: the same answer, nothing written
test_pull_twice() {
	local before
	snap pull "oci:$IMAGES/DEBIAN:latest" --name d:1 --json >one.json
	before=$(cd "$SNAP_ROOT" && find blobs layers chains -printf '%p %i %s %T@\n' | sort)
	[ "$(wc -l <<<"$before")" -gt 20 ] || fail "nothing in the store: $before"
	snap pull "oci:$IMAGES/DEBIAN:latest" --name d:1 --json >two.json
	is "$(cd "$SNAP_ROOT" && find blobs layers chains -printf '%p %i %s %T@\n' | sort)" "$before" 'the store'
	is "$(jq -c '[.ref, .digest, .layers]' two.json)" "$(jq -c '[.ref, .digest, .layers]' one.json)" answer
	all_of '.new_layers == 0' two.json
	all_of '.new_layers == .layers and .layers >= 3' one.json
	is "$(snap --json images | jq length)" 1 images
}

test_words() {
	local d
	d=$(jq -r '.manifests[0].digest' "$IMAGES/DEBIAN/index.json")
	snap pull "oci:$IMAGES/DEBIAN:latest" >pull.out
	grep -q 'localhost/debian:latest' pull.out || fail "the name is not told: $(cat pull.out)"
	snap --json images >images.json
	all_of 'length == 1 and (.[0] | .ref == "localhost/debian:latest" and .digest == "'"$d"'" and .layers >= 3 and .size > 1000000
		and .state == "complete" and (.created | type == "string") and (.media_type | test("manifest")))' images.json
	snap --json inspect localhost/debian:latest >inspect.json
	all_of '.digest == "'"$d"'" and (.manifest.layers | length) == (.layers | length) and .config.os == "linux"' inspect.json
	all_of '.layers | all(.digest, .diff_id | test("^sha256:[0-9a-f]{64}$"))' inspect.json
	all_of '.layers | all((.chain_id | length) >= 64 and .size > 0 and .entries > 0 and .state == "complete")' inspect.json
	is "$(jq -c '[.layers[].diff_id]' inspect.json)" "$(jq -c .config.rootfs.diff_ids inspect.json)" 'diff ids'
	snap --json prepare 'a key' localhost/debian:latest --label a=b --label 'c=d=e' >prepare.json
	snap --json mounts 'a key' >mounts.json
	cmp prepare.json mounts.json
	all_of 'length == 1 and (.[0] | (.type | length > 0) and has("source") and (.options | length > 0 and all(type == "string")))' mounts.json
	snap --json ls >ls.json
	all_of 'length == 1 and (.[0] | .key == "a key" and .kind == "active" and .parent == "localhost/debian:latest"
		and .labels == {"a": "b", "c": "d=e"} and (.created, .updated | test("^20[0-9][0-9]-")))' ls.json
	snap --json stat 'a key' >stat.json
	is "$(jq -c 'del(.needed, .fetched, .lazy_layers, .whole_layers, .whole)' stat.json)" "$(jq -c '.[0]' ls.json)" 'stat and ls'
	all_of '.lazy_layers == 0 and .whole_layers == 0 and .whole == null' stat.json
	snap --json usage 'a key' >usage.json
	all_of '(.size | type == "number") and (.inodes | type == "number")' usage.json
	all_of '.size < 100000' usage.json
	mkdir m
	snap --json mount 'a key' m --engine fuse >mount.json
	all_of '.engine == "fuse" and (.reason | length > 0)' mount.json
	head -c 1000000 /dev/zero >m/big
	snap --json usage 'a key' >usage.json
	all_of '.size >= 1000000 and .inodes >= 1' usage.json
	refused 1 'm' snap mount 'a key' elsewhere --engine fuse
	snap umount 'a key'
	snap rm 'a key'
	is "$(snap --json ls | jq -c .)" '[]' 'snapshots after rm'
	refused 1 'a key' snap stat 'a key'
	refused 1 'nix' snap inspect nix:1
	snap --json fsck >fsck.json || fail "fsck: $(cat fsck.json)"
	jq -e . fsck.json >/dev/null || fail "fsck --json: $(cat fsck.json)"
	snap rmi localhost/debian:latest
	snap --quiet gc
	is "$(find "$SNAP_ROOT"/{blobs,layers,chains,tmp,snapshots} -type f | wc -l)" 0 'files after rmi and gc'
}

test_push() {
	local d
	d=$(jq -r '.manifests[0].digest' "$IMAGES/DEBIAN/index.json")
	snap --quiet pull "oci:$IMAGES/DEBIAN:latest" --name d:1
	snap push d:1 oci:out:tag >/dev/null
	is "$(jq -r '.manifests[0].digest' out/index.json)" "$d" 'the digest pushed'
	skopeo inspect oci:out:tag >skopeo.json
	is "$(jq -r .Digest skopeo.json)" "$d" 'the digest that skopeo sees'
	is "$(umoci ls --layout out)" tag 'the tags that umoci sees'
	skopeo copy -q oci:out:tag dir:copied # reads and verifies every blob
	(cd out/blobs/sha256 && sha256sum -- * | awk '$1 != $2 {exit 1}') || fail "a blob is not what its name says"
	SNAP_ROOT=$PWD/second snap pull oci:out:tag --name d:1 --json >again.json
	is "$(jq -r .digest again.json)" "$d" 'the digest pulled again'
}
