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
