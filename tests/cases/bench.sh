# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# The benchmarks run, and say what they are to say: with tiny sizes, whose times mean nothing.

engine_rows() { # FILE: rows of each of two tables, every engine with a time
	local row
	for row in 'find' 'du' 'lstat of all names' 'missing names' 'grep -r' 'tar' 'read, in sequence' 'read, 4 KiB at random' 'git status'; do
		for when in cold warm; do
			grep -qE "^  $row, $when +[0-9.]+ +[0-9.]+ +[0-9.]+k .* +[0-9.]+k +[0-9.]+f " "$1" || fail "no row '$row, $when': $(cat "$1")"
		done
	done
	for row in 'write, in sequence' 'write, 4 KiB at random' 'create [0-9]+' 'unlink [0-9]+' 'untar' 'rm -rf of what is new' 'rm -rf of a lower tree' \
		'[0-9]+ renames, new directories' 'copy-up, [0-9]+ times 1 KiB' 'copy-up, 500 MiB' 'chown -R' 'make -j2'; do
		grep -qE "^  $row +[0-9.]+ +[0-9.]+ +[0-9.]+k .* +[0-9.]+k +[0-9.]+f " "$1" || fail "no row '$row': $(cat "$1")"
	done
	# fuse-overlayfs refuses these
	grep -qE '^  [0-9]+ renames, lower directories +[0-9.]+ +- +-k .* +[0-9.]+ +[0-9.]+k' "$1" || fail "lower renames: $(cat "$1")"
	grep -qE '^  geometric mean +[0-9.]+k +[0-9.]+k +[0-9.]+f +[0-9.]+k +[0-9.]+f +[0-9.]+k +[0-9.]+f' "$1" || fail "no mean: $(cat "$1")"
	is "$(grep -c '^  memory of .*: [0-9.]* MiB at the end, [0-9.]* MiB at most' "$1")" 5 'lines about memory'
}

test_engine() {
	local bin
	bin=$(dirname "$(command -v snapfs)")
	"$TESTS/../scripts/bench" engine --bin "$bin" --scale 0.002 --runs 1 --modes root --chart chart.svg --on . none >out 2>err ||
		fail "bench engine: $(cat out err)"
	engine_rows out
	python3 -c 'import sys, xml.dom.minidom as m; d = m.parse("chart.svg"); sys.exit(len(d.getElementsByTagName("title")) < 60)' ||
		fail 'the chart lacks bars'
	is "$(find . -maxdepth 1 -name 'snap-bench-*')" '' 'folders that stay'
	# nothing stays when it fails, or is killed in the middle
	! "$TESTS/../scripts/bench" engine --bin /nowhere --scale 0.002 --on . none >out 2>err || fail 'runs without snap'
	grep -q 'bench: setup: .*nowhere/snap' err || fail "$(cat err)"
	is "$(find . -maxdepth 1 -name 'snap-bench-*')$(grep -c snap-bench /proc/self/mountinfo)" 0 'what stays of a failure'
	refused 1 "no mode 'user'" "$TESTS/../scripts/bench" engine --modes user none
	refused 1 "no engine 'x'" "$TESTS/../scripts/bench" engine --engines x none
	refused 1 'no row matches nothing' "$TESTS/../scripts/bench" engine --rows nothing --scale 0.002 --on . none
}
test_engine_rootless() {
	id "${SNAP_TEST_USER:-snaptest}" >/dev/null || skip 'no ordinary user'
	chmod 755 .
	"$TESTS/../scripts/bench" engine --bin "$(dirname "$(command -v snapfs)")" --scale 0.002 --runs 1 --modes rootless --engines kernel,fuse-overlayfs,index \
		--rows 'find*,create*,copy-up*' --on . none >out 2>err || fail "bench engine: $(cat out err)"
	grep -qE '^  copy-up, [0-9]+ times 1 KiB +[0-9.]+ +[0-9.]+ +[0-9.]+k +.*[0-9.]+k +[0-9.]+f' out || fail "$(cat out)"
	grep -q '^rootless: ' out || fail "$(cat out)"
}
test_pull() {
	mkdir images
	python3 "$LIB/mklayer.py" images/TINY '[D("d"), F("d/f", "x" * 100000)]'
	local row short # podman takes no long names
	short=$(mktemp -d /var/tmp/b.XXXXXX)
	# shellcheck disable=SC2064 # now
	trap "rm -rf '$short'" EXIT
	TMPDIR=$short "$TESTS/../scripts/bench" pull --images images --runs 1 TINY >out 2>err || fail "bench pull: $(cat out err)"
	for row in 'snap pull' 'umoci raw unpack' 'skopeo to containers-storage' 'podman load' 'ctr images import' 'tar xzf, layer by layer' 'limit: igzip -dc >/dev/null'; do
		grep -qE "^  $row +[0-9.]+ +[0-9.]+ +[0-9.]+ +[0-9.]+ +[0-9.]+$" out || fail "no row '$row': $(cat out)"
	done
	grep -qE '^  [0-9.]+x of the limit .* as fast as umoci' out || fail "$(cat out)"
	grep -qE '^  a second image .* for the first$' out || fail "$(cat out)"
	is "$(ls "$short")$(grep -c snap-bench /proc/self/mountinfo)" 0 'what stays'
}
test_builders_says_what_it_cannot_do() {
	refused 1 "no part 'x': one of build, steps, commit, start" "$TESTS/../scripts/bench" builders x
	refused 1 "no tool 'x': one of podman, buildah" "$TESTS/../scripts/bench" builders --tools x build
	refused 1 'no layout /nowhere/DEBIAN' "$TESTS/../scripts/bench" builders --images /nowhere steps
	"$TESTS/../scripts/bench" builders --help >out && grep -q 'PART is one or more of' out || fail "$(cat out)"
	is "$(find . -maxdepth 1 -name 'snap-bench-*')" '' 'folders that stay'
}
test_commit() {
	local tool
	python3 "$LIB/mklayer.py" small '[D("./"), D("a")] + many(60, lambda k: F("a/f%d" % k, hashlib.sha512(b"%d" % k).digest() * 30))'
	"$TESTS/../scripts/bench" commit --bin "$(dirname "$(command -v snapfs)")" --images . --files 50 --runs 1 small >out 2>err || fail "bench commit: $(cat out err)"
	grep -q '^50 changed files (0\.1 MB) in a container of small; medians of 1' out || fail "$(cat out)"
	for tool in 'snap commit --image' 'tar c [|] pigz' 'umoci repack' 'buildah commit, fuse-overlayfs' 'buildah commit, overlayfs'; do
		grep -qE "^  $tool +[0-9.]+ +[0-9.]+ +[0-9.]+ +[0-9.]+ +([0-9.]+|-)$" out || fail "no row '$tool': $(cat out)"
	done
	is "$(grep -c '^  snap takes [0-9.]* times what ' out)" 4 'ratios'
	is "$(find . -maxdepth 1 -name 'snap-bench-*')$(grep -c snap-bench /proc/self/mountinfo)" 0 'what stays'
	refused 1 'only 60 files' "$TESTS/../scripts/bench" commit --images . --files 61 small
	refused 1 'no layout' "$TESTS/../scripts/bench" commit --images . none
}
