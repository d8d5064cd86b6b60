# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# The blobs of a store: how they come to be there, and what is done without them.

stored() { # REF: the file of its first layer's blob
	local d
	d=$(snap --json inspect "$1" | jq -re '.layers[0].digest')
	echo "$SNAP_ROOT/blobs/${d/://}"
}
layout_blob() { # LAYOUT: the file of the first layer's blob
	local m
	m=$(jq -re '.manifests[0].digest' "$1/index.json")
	echo "$1/blobs/$(jq -re '.layers[0].digest' "$1/blobs/${m/://}" | tr : /)"
}
layout() { # DIR: of one layer of a MiB that does not compress
	python3 "$LIB/mklayer.py" "$1" '[D("d"), F("d/big", __import__("random").Random(7).randbytes(1 << 20))]'
}
file_system() { # TYPE OPTIONS...: at fs, with the store on it
	local type=$1
	shift
	truncate -s 512M image
	"mkfs.$type" -q "$@" image
	mkdir fs
	mount -o loop image fs
	export SNAP_ROOT=$PWD/fs/store
}
shares_blocks() { # FILE
	sync "$1"
	filefrag -v "$1" | grep -q shared
}
# The blob is a clone: the store's own file over the same blocks, and verified all the same
clones() { # TYPE OPTIONS...
	local blob
	file_system "$@"
	layout fs/lay
	blob=$(layout_blob fs/lay)
	sync "$blob"
	! shares_blocks "$blob" || fail 'the blocks are shared from the start'
	snap --quiet pull oci:fs/lay:latest --name i:1
	shares_blocks "$(stored i:1)" || fail "copied: $(filefrag -v "$(stored i:1)")"
	is "$(stat -c '%h %a' "$(stored i:1)")" '1 600' 'links and mode of the blob'
	printf 'X' | dd of="$blob" bs=1 seek=5000 conv=notrunc status=none
	snap fsck >fsck.out 2>&1 || fail "the store saw a write to the layout: $(cat fsck.out)"
	snap rmi i:1 && snap --quiet gc
	refused 1 'digest does not match' snap pull oci:fs/lay:latest --name i:1
	is "$(find "$SNAP_ROOT"/{blobs,layers,tmp} -type f | wc -l)" 0 'files of what was refused'
	umount fs
}
test_clones_on_xfs_as_root() { clones xfs -m reflink=1; }
test_clones_on_btrfs_as_root() { clones btrfs; }

# A second name is given only to what nobody may change
links_when() { # YES|NO WHAT: of lay's blob; each time in a new store
	local blob root=$SNAP_ROOT
	blob=$(layout_blob lay)
	export SNAP_ROOT=$PWD/store-${2// /-}
	snap --quiet pull oci:lay:latest --name i:1
	if [ "$(stat -c %i "$blob")" = "$(stat -c %i "$(stored i:1)")" ]; then is yes "$1" "$2"; else is no "$1" "$2"; fi
	snap fsck >fsck.out 2>&1 || fail "$2: $(cat fsck.out)"
	snap rmi i:1 && snap --quiet gc
	[ -s "$blob" ] || fail "$2: the layout has lost its blob"
	export SNAP_ROOT=$root
}
plain_ext4() { # where nothing can be cloned, so that a link is what is left
	file_system ext4
	cd fs
	layout lay
}
test_links_what_nobody_may_change_as_root() {
	local blob
	plain_ext4
	blob=$(layout_blob lay)
	links_when no 'writable by its owner'
	chmod 464 "$blob" && links_when no 'writable by its group'
	chmod 446 "$blob" && links_when no 'writable by others'
	chmod 444 "$blob"
	links_when yes 'read only'
	exec 9<>/dev/null
	chmod 644 "$blob" && exec 9>>"$blob" && chmod 444 "$blob"
	links_when no 'open for writing'
	exec 9>&-
	setfacl -m u:1000:rw "$blob" && links_when no 'writable by an ACL'
	setfacl -b "$blob" && chmod 444 "$blob"
	links_when yes 'read only again'
	chown 1000 "$blob" && links_when no "somebody else's"
	chown 0 "$blob"
	mkdir elsewhere && mount -t tmpfs tmpfs elsewhere
	SNAP_ROOT=$PWD/elsewhere/store snap --quiet pull oci:lay:latest --name i:1
	SNAP_ROOT=$PWD/elsewhere/store snap fsck >fsck.out 2>&1 || fail "on another file system: $(cat fsck.out)"
	umount elsewhere
	chmod 644 "$blob" && printf 'X' | dd of="$blob" bs=1 seek=5000 conv=notrunc status=none && chmod 444 "$blob"
	refused 1 'digest does not match' snap pull oci:lay:latest --name i:1
	is "$(find "$SNAP_ROOT"/{blobs,layers,tmp} -type f | wc -l)" 0 'files of what was refused'
	cd ..
	umount fs
}
# The same for who has a store of his own
test_links_in_an_ordinary_users_store_as_root() {
	local user=${SNAP_TEST_USER:-snaptest}
	plain_ext4
	chmod 755 . && mkdir home && chown "$user" home
	chmod 444 "$(layout_blob lay)"
	setpriv --reuid="$user" --regid="$user" --clear-groups snap --quiet --root home/store pull oci:lay:latest --name i:1
	is "$(stat -c %h "$(layout_blob lay)")" 1 "root's blob got another name"
	chown -R "$user" lay
	setpriv --reuid="$user" --regid="$user" --clear-groups snap --quiet --root home/store2 pull oci:lay:latest --name i:1
	is "$(stat -c %h "$(layout_blob lay)")" 2 'names of his own'
	cd ..
	umount fs
}

# Without blobs
files() { # FOLDER...: of the store
	(cd "$SNAP_ROOT" && find "$@" -type f | wc -l)
}
# Python's gzip, which no other compresses like: it cannot be made again
foreign() {
	python3 "$LIB/mklayer.py" lay '[D("d"), F("d/a", "one" * 5000)]' '[F("d/b", "two" * 5000)]'
	snap --quiet pull oci:lay:latest --name i:1 --no-blobs
	is "$(files blobs)" 2 'manifest and config'
}
test_pull_without_blobs() {
	foreign
	snap fsck >fsck.out 2>&1 || fail "fsck: $(cat fsck.out)"
	is "$(snap --json fsck | jq -c '[.broken, .findings]')" '[0,[]]' fsck
	is "$(snap --json inspect i:1 | jq -c '[.layers[].blob_kept, .state]')" '[false,false,"complete"]' inspect
	is "$(snap inspect i:1 | grep -c 'complete, its blob is not kept$')" 2 'inspect for people'
	snap --quiet gc
	enter k i:1 mnt
	is "$(cat mnt/d/a mnt/d/b | wc -c)" 30000 contents
	snap umount mnt
	snap unpack i:1 plain && is "$(cat plain/d/a | wc -c)" 15000 unpacked
	snap --json pull oci:lay:latest --name i:1 --no-blobs >again.json
	is "$(jq .new_layers again.json)" 0 'pulled again'
	# the tar is all there is of the layer: what is wrong with it cannot be made anew
	printf X | dd of="$(find "$SNAP_ROOT/layers" -name data | head -n 1)" bs=1 seek=700 conv=notrunc status=none
	! snap --json fsck >broken.json || fail 'fsck finds nothing'
	is "$(jq -r '[.findings[].kind] | unique | join(" ")' broken.json)" layer 'what is broken'
	refused 1 'not what its name says' snap push i:1 oci:out:t --recompress
	! snap --json fsck --repair >repaired.json || fail 'repaired from what?'
	snap --json pull oci:lay:latest --name i:1 --no-blobs >again.json
	is "$(jq .new_layers again.json)" 1 'the layer that was dropped, pulled again'
	snap fsck >fsck.out 2>&1 || fail "fsck: $(cat fsck.out)"
	refused 2 'lazy layer comes as parts' snap pull oci:lay:latest --name i:1 --no-blobs --lazy metadata
}
# Blobs that cannot be made again: refused; with --recompress another manifest of the same layers
test_push_without_blobs() {
	local was
	foreign
	was=$(snap --json inspect i:1 | jq -r .digest)
	refused 1 'sha256:[0-9a-f]{64} is not kept, and its tar compressed again is another one' snap push i:1 oci:out:t
	grep -q 'without --no-blobs.*--recompress' refused.err || fail "no hint: $(cat refused.err)"
	[ ! -e out/index.json ] || is "$(jq -c .manifests out/index.json)" '[]' 'refused, and pushed'
	snap push i:1 oci:out:t --recompress >push.out 2>push.err
	is "$(cat push.out)" "$(jq -r '.manifests[0].digest' out/index.json)" 'the digest that is told'
	[ "$(cat push.out)" != "$was" ] || fail 'the manifest is the same'
	is "$(cat push.err)" "2 layers have other digests: the image there is not $was" 'what is told of it'
	snap --json push i:1 oci:out:u --recompress >push.json
	is "$(jq -c .recompressed push.json)" 2 'in JSON'
	(cd out/blobs/sha256 && sha256sum -- * | awk '$1 != $2 {exit 1}') || fail 'a blob is not what its name says'
	skopeo inspect oci:out:t >skopeo.json && skopeo copy -q oci:out:t dir:copied
	SNAP_ROOT=$PWD/second snap --quiet pull oci:out:t --name i:1
	is "$(SNAP_ROOT=$PWD/second snap --json inspect i:1 | jq -c '[.layers[].diff_id, .config]')" \
		"$(snap --json inspect i:1 | jq -c '[.layers[].diff_id, .config]')" 'the layers, and the config'
	# what the other side has is not made again, and not sent
	snap --quiet push i:1 oci:lay:again
	is "$(jq -r '[.manifests[].digest] | unique | length' lay/index.json)" 1 'the manifest there'
	# and when the blobs are here again, all is as it was
	snap --json pull oci:lay:latest --name i:1 >again.json
	is "$(jq .new_layers again.json)" 2 'with blobs'
	is "$(files blobs)" 4 'blobs'
	snap --quiet push i:1 oci:out3:t --recompress
	is "$(jq -r '.manifests[0].digest' out3/index.json)" "$was" 'pushed as it came'
}
# Compressed again by one processor or by all of them, a layer of many blocks is the same blob.
test_recompressed_by_any_number_of_threads() {
	[ "$(nproc)" -ge 2 ] || skip 'one processor'
	local cpu
	python3 "$LIB/mklayer.py" lay '[F("f%d" % k, hashlib.shake_256(b"%d" % k).digest(700000) + b"x" * 700000) for k in range(16)]'
	snap --quiet pull oci:lay:latest --name i:1 --no-blobs
	cpu=$(taskset -cp $$ | sed 's/.*: //; s/[,-].*//')
	taskset -c "$cpu" snap push i:1 oci:one:t --recompress >one.out 2>/dev/null
	snap push i:1 oci:all:t --recompress >all.out 2>/dev/null
	[[ $(cat one.out) == sha256:* ]] || fail "no digest: $(cat one.out)"
	is "$(cat all.out)" "$(cat one.out)" 'the digest pushed'
	diff -r one/blobs all/blobs
}
# What is not compressed needs no blob; what was compressed here is made again to the byte
test_blobs_made_again() {
	local how level was
	mkdir -p base && head -c 300000 /dev/zero >base/f && cp "$BASH" base/g
	image_of base:1 base
	for how in none gzip zstd 'gzip 9' 'zstd 19'; do
		read -r how level <<<"$how"
		enter "k$how$level" base:1 mnt
		cp "$LIB/mklayer.py" "mnt/$how$level" && snap umount mnt
		snap --quiet commit --image "i:$how$level" "k$how$level" --compression "$how" ${level:+--level $level} --no-blobs --timestamp 1700000000
		is "$(snap --json inspect "i:$how$level" | jq -c '[.layers[].blob_kept]')" '[true,false]' "$how $level"
		was=$(snap --json inspect "i:$how$level" | jq -r .digest)
		snap --quiet push "i:$how$level" "oci:out:$how$level"
		is "$(jq -r '.manifests[-1].digest' out/index.json)" "$was" "pushed, $how $level"
	done
	is "$(files blobs)" 13 'the layer of the first, six manifests, six configs'
	is "$(files tmp)" 0 'left in tmp'
	(cd out/blobs/sha256 && sha256sum -- * | awk '$1 != $2 {exit 1}') || fail 'a blob is not what its name says'
	refused 2 'for --image only' snap commit n knone --no-blobs
	snap fsck >fsck.out 2>&1 || fail "fsck: $(cat fsck.out)"
}
# What stands on such an image, or shares its layers
test_on_an_image_without_blobs() {
	foreign
	enter k i:1 mnt
	echo three >mnt/d/c && snap umount mnt
	snap --quiet commit --image i:2 k --timestamp 1700000000
	is "$(snap --json inspect i:2 | jq -c '[.layers[].blob_kept]')" '[false,false,true]' 'the new image'
	refused 1 'is not kept' snap push i:2 oci:out:t
	snap --quiet push i:2 oci:out:t --recompress 2>/dev/null
	SNAP_ROOT=$PWD/second snap --quiet pull oci:out:t --name i:2
	is "$(SNAP_ROOT=$PWD/second snap --json inspect i:2 | jq -c .config.rootfs)" "$(snap --json inspect i:2 | jq -c .config.rootfs)" 'its layers'
	refused 1 'is not kept' snap index push i:1 oci:lay:latest
	snap --json index ls i:1 >ls.json || fail "index ls: $(cat ls.json)"
	# a lazy pull takes what is here, and a plain one what it asked for
	snap --json pull oci:lay:latest --name i:3 --lazy metadata >lazy.json 2>/dev/null
	is "$(jq -c '[.new_layers, .lazy_layers]' lazy.json)" '[0,0]' 'a lazy pull'
	snap rmi i:2 i:3 && snap rm k && snap --quiet gc
	snap --json pull oci:lay:latest --name i:1 >again.json
	is "$(jq .new_layers again.json)" 2 'a plain one'
	snap --quiet index push i:1 oci:lay:latest 2>/dev/null
	snap fsck >fsck.out 2>&1 || fail "fsck: $(cat fsck.out)"
}
# Layers that are lazy already become whole by a pull without blobs
test_lazy_layers_without_blobs() {
	python3 "$LIB/mklayer.py" lay '[D("d"), F("d/a", "one" * 500000)]'
	snap --quiet pull oci:lay:latest --name i:1
	snap --quiet index push i:1 oci:lay:latest 2>/dev/null
	export SNAP_ROOT=$PWD/second
	snap --json pull oci:lay:latest --name i:1 --lazy metadata >lazy.json
	is "$(jq .lazy_layers lazy.json)" 1 'lazy'
	enter k i:1 mnt
	snap --quiet pull oci:lay:latest --name i:1 --no-blobs
	is "$(snap --json inspect i:1 | jq -c '[.state, .layers[].state]')" '["complete","complete"]' 'state'
	is "$(wc -c <mnt/d/a)" 1500000 'what is mounted'
	snap umount mnt
	snap fsck >fsck.out 2>&1 || fail "fsck: $(cat fsck.out)"
	snap --quiet push i:1 oci:out:t
}

# What a pull needs beyond what it keeps: nothing, but for tars that are here already
test_peak_disk_is_told() {
	local all one
	python3 "$LIB/mklayer.py" lay '[D("d"), F("d/a", "one" * 500000)]' '[F("d/b", "two" * 250000)]'
	snap --json pull oci:lay:latest --name i:1 >first.json
	is "$(jq .temporary first.json)" 0 'a first pull'
	is "$(snap --json df | jq -c '[.pull_temporary, .left_out.count]')" '[0,0]' df
	snap df >df.out && grep -qx 'a pull needed at most 0 B beyond what it kept' df.out || fail "$(cat df.out)"
	! grep -q 'not kept' df.out || fail "$(cat df.out)"
	# the same tars in other blobs
	SNAP_ROOT=$PWD/second snap --quiet pull oci:lay:latest --name i:1 --no-blobs
	is "$(SNAP_ROOT=$PWD/second snap --json df | jq -c '[.pull_temporary, .left_out.count]')" '[0,2]' 'df without blobs'
	SNAP_ROOT=$PWD/second snap df >df.out && grep -q '^2 blobs of .* are not kept, their layers are$' df.out || fail "$(cat df.out)"
	SNAP_ROOT=$PWD/second snap --quiet push i:1 oci:other:t --recompress
	all=$(du -cB1 "$SNAP_ROOT"/layers/sha256/*/* | tail -n 1 | cut -f1)
	one=$(du -cB1 "$(find "$SNAP_ROOT/layers" -name data -size +1000k)" | tail -n 1 | cut -f1)
	cp -r "$SNAP_ROOT" third
	snap --json pull oci:other:t --name i:2 --jobs 2 >again.json
	is "$(jq .temporary again.json)" "$all" 'both layers at once'
	is "$(snap --json df | jq .pull_temporary)" "$all" 'df tells of it'
	SNAP_ROOT=$PWD/third snap --quiet pull oci:other:t --name i:2 --jobs 1
	is "$(SNAP_ROOT=$PWD/third snap --json df | jq ".pull_temporary >= $one and .pull_temporary < $all")" true 'one after the other'
	snap --quiet pull oci:lay:latest --name i:3
	is "$(snap --json df | jq .pull_temporary)" "$all" 'the most stays'
	is "$(files tmp)" 0 'left in tmp'
}
