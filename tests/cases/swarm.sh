# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# images
# Many at once: pulls of the same and of different images, and fifty mounts; and nothing is left of them.

layouts() { # eight small images: image k has k layers that others have, too
	local k
	for k in 1 2 3 4 5 6 7 8; do
		python3 "$LIB/mklayer.py" "lay$k" '[D("./"), D("a")] + many(50, lambda k: F("a/f%d" % k, hashlib.sha512(b"%d" % k).digest() * 200))' \
			"[D('own'), F('own/name', 'image $k')] + many(50, lambda k: F('own/f%d' % k, hashlib.sha512(b'$k %d' % k).digest() * 200))" \
			"[W('a/f$k')]"
	done
}
sound() { # WHEN
	snap fsck >fsck.out 2>&1 || fail "$1: fsck: $(cat fsck.out)"
	is "$(ls -A "$SNAP_ROOT/tmp")" '' "$1: tmp/"
}
all_end() { # PID...: each with success
	local pid bad=0
	for pid in "$@"; do
		wait "$pid" || bad=$((bad + 1))
	done
	[ $bad = 0 ] || fail "$bad of $# failed: $(cat ./*.err)"
}
nothing_left() {
	snap --quiet gc
	is "$(pgrep -c -x snapfs || :)" 0 'snapfs processes'
	! grep -q "snapfs\|$SNAP_ROOT\| - erofs " /proc/self/mountinfo || fail "mounts left: $(cat /proc/self/mountinfo)"
	is "$(ls -A "$SNAP_ROOT/tmp")" '' tmp/
	is "$(ls -A "$SNAP_ROOT/snapshots")" '' snapshots/
	is "$(snap --json ls | jq -c .)" '[]' 'snapshots'
}

test_sixteen_pulls() {
	local k pids=() big
	layouts
	# eight different ones, four times the same, three names for one, and a large one
	for k in 1 2 3 4 5 6 7 8; do
		snap pull "oci:lay$k:latest" --name "i:$k" >"p$k.out" 2>"p$k.err" &
		pids+=($!)
	done
	for k in 9 10 11 12; do
		snap pull oci:lay3:latest --name i:3 >"p$k.out" 2>"p$k.err" &
		pids+=($!)
	done
	for k in 13 14 15; do
		snap pull oci:lay5:latest --name "i:5-$k" >"p$k.out" 2>"p$k.err" &
		pids+=($!)
	done
	snap pull "oci:$IMAGES/DEBIAN:latest" --name big:1 >p16.out 2>p16.err &
	big=$!
	all_end "${pids[@]}" $big
	is "${#pids[@]}" 15 pulls
	is "$(snap --json images | jq length)" 12 images
	for k in 1 2 3 4 5 6 7 8; do
		is "$(snap --json images | jq -r ".[] | select(.ref == \"i:$k\").digest")" "$(jq -r '.manifests[0].digest' "lay$k/index.json")" "digest of image $k"
	done
	# one layer that all have, one and one whiteout of each; the seven of DEBIAN
	is "$(ls "$SNAP_ROOT/layers/sha256" | wc -l)" $((1 + 8 + 8 + $(snap --json inspect big:1 | jq '.layers | length'))) layers
	sound 'after the pulls'
	enter k i:5-14 m
	is "$(cat m/own/name)" 'image 5' content
	[ ! -e m/a/f5 ] || fail 'what the image deletes is there'
	is "$(ls m/a | wc -l)" 49 files
	snap umount m
	snap rm k
	# and all of it away again, at once, while another comes
	snap --json images | jq -r '.[].ref' >refs
	pids=()
	while read -r k; do
		snap rmi "$k" >/dev/null 2>"rmi-${k//[^a-z0-9]/_}.err" &
		pids+=($!)
	done <refs
	snap --quiet gc 2>gc.err &
	pids+=($!)
	snap pull oci:lay1:latest --name late:1 >late.out 2>late.err &
	pids+=($!)
	all_end "${pids[@]}"
	is "$(snap --json images | jq -r 'map(.ref) | join(" ")')" late:1 images
	sound 'after the removal'
	enter k late:1 m
	is "$(cat m/own/name)" 'image 1' 'the late one'
	snap umount m
	snap rm k
	snap rmi late:1 2>/dev/null
	nothing_left
	is "$(find "$SNAP_ROOT"/{blobs,layers,chains} -type f | wc -l)" 0 'files in the store'
}

one_of_fifty() { # NUMBER: in a process of its own
	local k=$1 image=$(($1 % 8 + 1)) dir=mnt/$1
	snap --quiet prepare "key $k" "i:$image"
	snap --quiet mount "key $k" "$dir" --engine fuse
	[ "$(cat "$dir/own/name")" = "image $image" ] || fail "mount $k: it is '$(cat "$dir/own/name")'"
	echo "written by $k" >"$dir/own/name"
	cp "$dir/a/f20" "$dir/a/new"
	rm "$dir/a/f21"
	mv "$dir/own" "$dir/moved"
	mkdir "$dir/own"
}

test_fifty_mounts() {
	local k pids=() image
	layouts
	for k in 1 2 3 4 5 6 7 8; do
		snap --quiet pull "oci:lay$k:latest" --name "i:$k" >/dev/null
	done
	mkdir mnt
	for k in {1..50}; do
		mkdir "mnt/$k"
		one_of_fifty "$k" >"one$k.out" 2>"one$k.err" &
		pids+=($!)
		[ $((k % 10)) != 0 ] || { all_end "${pids[@]}" && pids=(); } # ten at a time come, all stay
	done
	is "$(grep -c ' - fuse.snapfs ' /proc/self/mountinfo)" 50 'mounts at once'
	is "$(pgrep -c -x snapfs)" 50 'snapfs processes'
	is "$(stat -c %d mnt/* | sort -u | wc -l)" 50 'devices'
	is "$(for k in {1..50}; do stat -c %i "mnt/$k/moved/name" "mnt/$k/a/f30"; done | sort -u | wc -l)" 100 'inode numbers, never shared'
	for k in {1..50}; do
		image=$((k % 8 + 1))
		is "$(cat "mnt/$k/moved/name")" "written by $k" "mount $k"
		cmp "mnt/$k/a/new" "mnt/$k/a/f20"
		[ ! -e "mnt/$k/a/f21" ] && [ ! -e "mnt/$k/a/f$image" ] || fail "mount $k: what was deleted is there"
		is "$(ls -A "mnt/$k/own")" '' "mount $k: the directory made anew"
	done
	refused 1 'mnt' snap rm 'key 7' # mounted
	pids=()
	for k in {1..50}; do
		if [ $((k % 2)) = 0 ]; then snap umount "mnt/$k"; else snap umount "key $k"; fi >/dev/null 2>"umount$k.err" &
		pids+=($!)
	done
	all_end "${pids[@]}"
	is "$(grep -c ' - fuse.snapfs ' /proc/self/mountinfo || :)" 0 'mounts after umount'
	within 10 eval '! pgrep -x snapfs >/dev/null'
	sound 'after fifty mounts'
	pids=()
	for k in {1..50}; do
		snap rm "key $k" >/dev/null 2>"rm$k.err" &
		pids+=($!)
	done
	all_end "${pids[@]}"
	nothing_left
}
