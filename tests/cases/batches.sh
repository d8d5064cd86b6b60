# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# as: root user
# Inode numbers come in batches of 2^32, and no two mounts have one in common: whatever they share below,
# after writing, and after a remount.

# Every number that DIR shows, by readdir and by stat, is of the batches FIRST to LAST.
batches_are() { # DIR FIRST LAST
	find "$1" -printf '%i\n' >numbers && find "$1" -mindepth 1 -exec stat -c %i {} + >>numbers
	python3 - "$@" >>numbers <<-'PY'
		import os, sys
		for d, _, _ in os.walk(sys.argv[1]):
		    for e in os.scandir(d):
		        print(e.inode())
	PY
	[ "$(wc -l <numbers)" -gt 20 ] || fail "$1: nothing was listed"
	awk -v first="$2" -v last="$3" '{ b = int($1 / 4294967296); if (b < first || b > last) { print; bad = 1 } } END { exit bad }' \
		numbers >beyond || fail "$1: not of the batches $2 to $3: $(head -n 3 beyond | paste -sd' ')"
}
# No number that one of the DIRs shows is another one's.
nothing_shared() { # DIR...
	local d
	for d; do
		find "$d" -printf '%i\n' | sort -u
	done | sort | uniq -d >shared
	is "$(head -n 3 shared | paste -sd' ')" '' "numbers in two of $*"
}
tree() { # DIR
	mkdir -p "$1/d/e"
	local i
	for i in $(seq 10); do echo "$i" >"$1/f$i"; done
	ln "$1/f1" "$1/d/hard"
	ln -s f2 "$1/d/e/link"
}
changes() { # DIR
	echo more >>"$1/f1"
	rm "$1/f2"
	mv "$1/d" "$1/moved"
	mkdir "$1/d" "$1/new"
	echo new >"$1/new/file"
	mv "$1/f3" "$1/new/f3"
}

# Neighbours: the batches of the one begin where those of the other end. The lower's own numbers do not
# fit 32 bits, so that those of its files are given out as they are seen.
test_two_snapfs_of_one_lower() {
	mkdir lower far one two u1 u2 w1 w2
	tree lower
	snapfs -o "lowerdir=$PWD/lower,ino_batch=3" "$PWD/far"
	batches_are far 3 6
	local round
	for round in fresh changed; do
		snapfs -o "lowerdir=$PWD/far:$PWD/lower,upperdir=$PWD/u1,workdir=$PWD/w1,redirect_dir=on,ino_batch=10" "$PWD/one"
		snapfs -o "lowerdir=$PWD/far:$PWD/lower,upperdir=$PWD/u2,workdir=$PWD/w2,redirect_dir=on,ino_batch=15" "$PWD/two"
		[ "$round" = changed ] || { changes one && changes two; }
		batches_are one 10 14
		batches_are two 15 19
		nothing_shared one two far
		is "$(stat -c %i one/f1)" "$(stat -c %i one/moved/hard)" "names of one file, $round"
		fusermount3 -u one
		fusermount3 -u two
	done
	within 10 fusermount3 -qu far # when the other servers have ended
}

test_mounts_of_one_store() {
	mkdir tree
	tree tree
	image_of base:1 tree
	enter first base:1 one
	enter second base:1 two
	changes one
	changes two
	nothing_shared one two
	# a layer of both is the snapshot that one of them became
	snap umount one
	snap commit committed first >/dev/null
	enter third committed one
	enter fourth committed three
	echo more >>three/new/file
	nothing_shared one two three
	snap view seen committed >/dev/null
	mkdir four
	snap --quiet mount seen four --engine fuse
	nothing_shared one two three four
	remount second two
	remount third one
	remount fourth three
	nothing_shared one two three four
	is "$(paste -sd, three/new/file)" 'new,more'
	local d
	for d in one two three four; do snap umount $d; done
}
