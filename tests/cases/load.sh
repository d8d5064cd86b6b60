# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# as: root user
# Several processes and threads at once, each with a model of its tree, through remounts: loadop --help.
# SNAP_LOAD_SECONDS=600 is the long run; SNAP_TEST_SEED repeats one.
seconds=${SNAP_LOAD_SECONDS:-5}
load() { # OPTIONS-OF-SNAPFS LOADOP-ARGUMENT...
	local options=lowerdir=%l,upperdir=%u,workdir=%w,redirect_dir=on$1
	shift
	loadop --mount "snapfs -o $options %m" --dir . --seed "${SNAP_TEST_SEED:-1}" --seconds "$seconds" \
		--rounds $((2 + seconds / 60)) "$@"
}

test_directory_lower() {
	load ''
}
test_index_lower() {
	load '' --lower "$TESTS/lib/index_of_lowers '%l'" --processes 1 --threads 4
}
test_with_handles() {
	load ,noopen=0,passthrough=0 --processes 4 --threads 1
}
test_passthrough() {
	load ,passthrough=1
}
test_writeback() {
	load ,writeback=1
}
# the driver itself: that it sees what a mount does wrong
test_driver_as_root() {
	local got=0
	loadop --mount 'mount -t overlay overlay -o lowerdir=%l,upperdir=%u,workdir=%w,index=off,redirect_dir=off %m' \
		--dir . --seed 1 --seconds 2 >driver.out || got=$?
	is $got 1 'the status for hard links and renames that do not work'
	grep -qE 'links, must be|EXDEV' driver.out || fail "loadop did not say what differs: $(cat driver.out)"
}
