# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# The engine built with sanitizers (scripts/test builds them beside the release), doing real work mounted.
built() { # NAME: sets $engine to a snapfs of that build, whose findings go to ./findings.*
	local snapfs=$TOOLS/../../$1/overlay/snapfs
	[ -x "$snapfs" ] || skip "no $snapfs: run by scripts/test"
	export ASAN_OPTIONS=log_path=$PWD/findings:detect_leaks=1 UBSAN_OPTIONS=log_path=$PWD/findings:print_stacktrace=1
	export TSAN_OPTIONS=log_path=$PWD/findings:second_deadlock_stack=1${suppressions:-}
	engine=$snapfs
}
no_findings() {
	local f
	within 20 no_daemon # reports are written at the end
	for f in findings.*; do
		[ ! -e "$f" ] || { head -n 60 "$f" >&2 && fail "a sanitizer has something to say"; }
	done
}
no_daemon() {
	local p
	for p in /proc/[0-9]*/comm; do
		if [ "$(cat "$p" 2>/dev/null)" = snapfs ] && ! grep -q '^State:.Z' "${p%comm}status" 2>/dev/null; then return 1; fi
	done
}

test_asan_random_operations() {
	built asan
	local status=0
	diffop --ours "$engine -o lowerdir=%l,upperdir=%u,workdir=%w,redirect_dir=on %m" --dir . --seed 7000 --sequences 25 || status=$?
	no_findings
	is $status 0 'random operations'
}
# many at once: the same names, copy-ups, renames, listings
busy() { # NUMBER
	local i
	set +e # names vanish below each other: wanted
	for i in $(seq 1 15); do
		echo "$1" >>"mnt/low/shared$((i % 5))"
		cp -a mnt/low "mnt/copy$1"
		find mnt >/dev/null
		mv "mnt/copy$1" "mnt/moved$1"
		rm -rf "mnt/moved$1"
		ln -f "mnt/low/shared$((i % 5))" "mnt/link$1"
		rm -f "mnt/low/gone$i"
		ls -lR mnt/low >/dev/null
	done 2>/dev/null
}
test_tsan_many_at_once() {
	built tsan
	mkdir -p lower/low/sub upper work mnt
	local i
	for i in $(seq 1 30); do echo "$i" >"lower/low/gone$i" && echo "$i" >"lower/low/sub/f$i"; done
	for i in 0 1 2 3 4; do echo low >"lower/low/shared$i"; done
	"$engine" -o "lowerdir=$PWD/lower,upperdir=$PWD/upper,workdir=$PWD/work,redirect_dir=on" "$PWD/mnt"
	for i in 1 2 3 4 5 6; do busy "$i" & done
	wait
	is "$(grep -c . mnt/low/shared0)" $((1 + 6 * 3)) 'lines of a file that many append to'
	is "$(cat lower/low/shared0)" low 'the lower'
	umount mnt
	no_findings
}
# load with a model, through remounts; SNAP_LOAD_SECONDS=600 is the long run
load() { # BUILD [,OPTION...]
	built "$1"
	local status=0 seconds=${SNAP_LOAD_SECONDS:-5}
	loadop --mount "$engine -o lowerdir=%l,upperdir=%u,workdir=%w,redirect_dir=on${2:-} %m" --dir . --seed "${SNAP_TEST_SEED:-1}" \
		--seconds "$seconds" --rounds $((1 + seconds / 60)) || status=$?
	no_findings
	is $status 0 'load'
}
test_asan_load() { load asan; }
test_tsan_load() { load tsan; }
# every open and close is a message, and has memory of its own; overlay/file.c says why one order cannot be seen
test_tsan_load_handles() {
	echo 'race:close_answered' >tsan.quiet
	suppressions=:suppressions=$PWD/tsan.quiet load tsan ,noopen=0,passthrough=0
}
