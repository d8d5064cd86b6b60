# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What the store promises over mounts: names, links, live and dead mounts, the end of servers.

# One file, three names in the lower, written through one: all show it, also once the snapshot is a parent.
test_committed_snapshot_keeps_hard_links() {
	mkdir -p base/d/e && echo old >base/h1 && ln base/h1 base/h2 && ln base/h1 base/d/e/h3
	chmod 2750 base/d/e && touch -d 2020-01-01 base/d/e base/d
	image_of localhost/base:1 base
	enter c localhost/base:1 mnt
	echo NEW >mnt/h2
	snap umount mnt
	snap commit committed c
	enter after committed mnt
	for f in h1 h2 d/e/h3; do
		is "$(cat "mnt/$f")" NEW "$f"
		is "$(stat -c %h "mnt/$f")" 3 "links of $f"
	done
	is "$(stat -c '%a %Y' mnt/d/e)" "2750 $(date -d 2020-01-01 +%s)" 'the folder of a name'
	is "$(snap diff --list after)" ''
}
test_one_live_mount_of_a_snapshot() {
	mkdir base mnt other && echo x >base/x && image_of localhost/base:1 base
	enter c localhost/base:1 mnt
	refused 1 "mounted at .*/mnt" snap mount c other
	refused 1 "mounted at .*/mnt" snap rm c
	is "$(ls other)" ''
	snap umount c
	refused 1 'not mounted' snap umount c
	snap rm c
}
test_umount_refuses_what_is_not_ours_and_what_is_busy() {
	mkdir base && echo x >base/x && image_of localhost/base:1 base
	enter c localhost/base:1 mnt
	refused 1 'no snapshot' snap umount /proc
	refused 1 'neither a snapshot' snap umount base
	(cd mnt && SNAP_ROOT=$SNAP_ROOT refused_in_mount)
	snap umount mnt
	is "$(grep -c snapfs /proc/self/mountinfo)" 0 'mounts left'
}
refused_in_mount() {
	! snap umount c 2>/dev/null || fail 'a busy mount was taken away'
}
test_umount_waits_for_the_server() {
	local source p
	mkdir base && echo x >base/x && image_of localhost/base:1 base
	enter c localhost/base:1 mnt
	source=$(findmnt -no SOURCE mnt)
	servers "$source" | grep -q . || fail 'no process serves the mount'
	snap umount mnt
	is "$(servers "$source")" '' 'servers left'
}
servers() { # SOURCE: processes with exactly this argument
	for p in /proc/[0-9]*; do
		if tr '\0' '\n' <"$p/cmdline" 2>/dev/null | grep -qxF -- "$1"; then echo "${p##*/}"; fi
	done
	return 0
}
test_dead_mount_is_replaced() {
	local pid
	mkdir base && echo x >base/x && image_of localhost/base:1 base
	enter c localhost/base:1 mnt
	echo kept >mnt/kept
	pid=$(servers "$(findmnt -no SOURCE mnt)")
	kill -KILL "$pid"
	snap --quiet mount c mnt --engine fuse
	is "$(cat mnt/kept)" kept
	snap umount mnt
	is "$(grep -c snapfs /proc/self/mountinfo)" 0 'mounts left'
}
test_commit_sees_what_a_live_mount_holds_back() {
	mkdir base && echo x >base/x && image_of localhost/base:1 base
	enter c localhost/base:1 mnt
	head -c 30000000 /dev/urandom >mnt/big
	is "$(snap diff c | tar -xOf - big | sha256sum)" "$(sha256sum <mnt/big)" 'the layer'
	snap --quiet commit --image localhost/new:1 c --timestamp 1700000000 --check
	snap umount mnt
	enter d localhost/new:1 mnt
	is "$(stat -c %s mnt/big)" 30000000
}
test_df_accounts_for_every_byte() {
	small_store
	is "$(snap df --json | jq -c '[.parts[].what]')" '["blobs","layers","chains","snapshots","tmp","rest"]' 'the parts'
	is "$(snap df --json | jq '.size')" "$(($(du -sxB1 "$SNAP_ROOT" | cut -f1)))" 'the sum, as du has it'
	is "$(snap df --json | jq '[.parts[].size] | add')" "$(snap df --json | jq .size)" 'the parts together'
	is "$(snap df --json | jq -c '[.parts[:4][].count]')" '[3,1,1,1]' 'how many'
	snap --quiet mount k m --engine fuse
	head -c 1000000 /dev/zero >m/big
	sync -f m
	is "$(snap df --json | jq '.size')" "$(($(du -sxB1 "$SNAP_ROOT" | cut -f1)))" 'the sum while it is written to'
	[ "$(snap df --json | jq '.parts[] | select(.what == "snapshots").size')" -ge 1000000 ] || fail 'the snapshot did not grow'
	snap df | grep -q '^total ' || fail 'no total'
	refused 2 'df' snap df x
}
small_store() { # one image of one layer, one snapshot k of it
	mkdir -p base m && head -c 5000 /dev/urandom >base/f
	image_of small:1 base
	snap prepare k small:1 >/dev/null
}
# What fsck finds, what --repair makes anew, and that it says so only once
fsck_finds() { # WHAT-IS-BROKEN REPAIRED|BROKEN KIND
	local state
	! snap --json fsck >broken.json || fail "$1: fsck finds nothing"
	is "$(jq -r '.findings[] | select(.state == "broken").kind' broken.json | sort -u | paste -sd' ')" "$3" "$1: kinds"
	snap --json fsck --repair >repaired.json && state=repaired || state=broken
	is "$state" "$2" "$1: after --repair: $(jq -c .findings repaired.json)"
	[ "$2" = broken ] || snap fsck >again.out 2>&1 || fail "$1: still broken: $(cat again.out)"
}
test_fsck_repairs_what_can_be_made_anew() {
	local layer chain blob id
	small_store
	snap view v small:1 >/dev/null
	snap fsck >fsck.out 2>&1 || fail "broken from the start: $(cat fsck.out)"
	layer=$(echo "$SNAP_ROOT"/layers/sha256/*) chain=$(echo "$SNAP_ROOT"/chains/sha256/*)
	printf 'X' | dd of="$layer/index" bs=1 seek=1100 conv=notrunc status=none
	fsck_finds 'a byte of a layer index' repaired 'chain layer'
	rm "$layer/index"
	fsck_finds 'no layer index' repaired 'chain layer'
	printf 'X' | dd of="$layer/data" bs=1 seek=700 conv=notrunc status=none
	fsck_finds 'a byte of a tar' repaired layer
	truncate -s 512 "$layer/data"
	fsck_finds 'a short tar' repaired layer
	rm -r "$layer"
	fsck_finds 'no layer' repaired 'chain layer'
	truncate -s 4096 "$chain/index"
	fsck_finds 'a short chain' repaired chain
	rm -r "$chain"
	fsck_finds 'no chain' repaired chain
	id=$(find "$SNAP_ROOT/snapshots" -mindepth 2 -maxdepth 2 -name work)
	rmdir "$id"/* 2>/dev/null || :
	rm -r "$id"
	fsck_finds 'no work directory' repaired snapshot
	snap --quiet mount k m --engine fuse
	is "$(stat -c %s m/f)" 5000 'the file, after all that'
	snap umount m
	blob=$(snap --json inspect small:1 | jq -r '.layers[0].digest')
	printf 'X' | dd of="$SNAP_ROOT/blobs/${blob/://}" bs=1 seek=100 conv=notrunc status=none
	fsck_finds 'a byte of a blob' broken blob
	[ ! -e "$SNAP_ROOT/blobs/${blob/://}" ] || fail 'the damaged blob stays'
	is "$(find "$SNAP_ROOT/tmp" -mindepth 1 | wc -l)" 0 'left in tmp'
}
test_fsck_tells_of_rows_without_content() {
	local upper
	small_store
	upper=$(find "$SNAP_ROOT/snapshots" -mindepth 2 -maxdepth 2 -name upper)
	mv "$upper" aside
	fsck_finds 'no upper' broken snapshot
	jq -r '.findings[].what' repaired.json | grep -q 'lost' || fail 'it does not say what is lost'
	mv aside "$upper"
	snap fsck >fsck.out 2>&1 || fail "with it again: $(cat fsck.out)"
	mkdir "$SNAP_ROOT/snapshots/4711"
	snap --json fsck >left.json || fail 'a leftover is no damage'
	is "$(jq -r '.findings[] | "\(.state) \(.name)"' left.json)" 'leftover 4711' 'a folder without a row'
	snap --quiet gc
	is "$(snap --json fsck | jq -c '[.broken, .leftover]')" '[0,0]' 'after gc'
}

# Everything under what it stands on, in the order of the keys, however deep
test_tree() {
	is "$(snap tree)" '' 'an empty store'
	is "$(snap --json tree | jq -c .)" '[]'
	python3 "$LIB/mklayer.py" lay '[D("d"), F("d/a", "one")]'
	snap --quiet pull oci:lay:latest --name i:1
	{ snap prepare a i:1 && snap prepare b i:1 && snap commit c b && snap prepare d c && snap view e c && snap prepare z; } >/dev/null
	is "$(snap tree | sed 's/, [0-9.]* [KMi]*B$//')" 'i:1  image
├── a  active
└── c  committed
    ├── d  active
    └── e  view
z  active'
	head -c 100000 /dev/zero >"$SNAP_ROOT/snapshots/1/upper/f"
	snap tree | grep -q 'a  active, 1[0-9]*\.[0-9] KiB' || fail "$(snap tree)"
	is "$(snap --json tree | jq -r '.[] | "\(.depth) \(.key) \(.kind) \(.parent)"' | paste -sd,)" \
		'0 i:1 image null,1 a active i:1,1 c committed i:1,2 d active c,2 e view c,0 z active null'
	local i
	snap commit c0 z
	for i in $(seq 1 40); do snap prepare k "c$((i - 1))" >/dev/null && snap commit "c$i" k; done
	is "$(snap --json tree | jq 'map(.depth) | max')" 40 'a chain'
	refused 2 tree snap tree x
}
