# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Random operations on the kernel's overlayfs and on ours end in equal answers and equal trees, before and
# after a remount; the upper of ours is read by the kernel's overlayfs. SNAP_TEST_SEED repeats a run.
seed=${SNAP_TEST_SEED:-1}
engine='snapfs -o lowerdir=%l,upperdir=%u,workdir=%w,redirect_dir=on %m'

# The driver itself is to be trusted: no difference between two mounts by the kernel, and a mount that
# cannot do something is found out.
test_driver() {
	diffop --ours kernel --dir . --seed "$seed" --sequences 20
	refused_by_driver 'mount -t overlay overlay -o lowerdir=%l,upperdir=%u,workdir=%w,index=off,redirect_dir=off %m'
}
refused_by_driver() {
	local got=0
	diffop --ours "$1" --dir . --seed 1 --sequences 20 --no-minimise >driver.out 2>&1 || got=$?
	is "$got" 1 "the driver's status for an engine that differs"
	grep -q 'differ' driver.out || fail "the driver did not say what differs"
}

test_directory_lowers() {
	diffop --ours "$engine" --dir . --seed "$seed" --sequences 200 --ops 200
}
# other starting points, fewer and longer
test_long_sequences() {
	diffop --ours "$engine" --dir . --seed $((seed + 100000)) --sequences 10 --ops 1500
}
# the lower is a chain index of the store, made of the same directories as layers
test_index_lowers() {
	diffop --ours "$engine" --lower "$TESTS/lib/index_of_lowers '%l'" --dir . --seed $((seed + 200000)) \
		--sequences 40 --ops 200
}
# with a message for every open and close; and where the kernel must ask again each time
test_with_handles() {
	diffop --ours "${engine/redirect_dir=on/redirect_dir=on,noopen=0,passthrough=0}" --dir . --seed $((seed + 300000)) --sequences 30
}
# with files that the kernel reads and writes itself
test_passthrough() {
	diffop --ours "${engine/redirect_dir=on/redirect_dir=on,passthrough=1}" --dir . --seed $((seed + 300000)) --sequences 26
}
# with what is written kept by the kernel, and sizes and times with it
test_writeback() {
	diffop --ours "${engine/redirect_dir=on/redirect_dir=on,writeback=1}" --kept-times --dir . --seed $((seed + 310000)) --sequences 15
	diffop --ours "${engine/redirect_dir=on/redirect_dir=on,writeback=1,noopen=0,passthrough=0}" --kept-times --dir . --seed $((seed + 320000)) --sequences 15
}
test_without_caching() {
	diffop --ours "${engine/redirect_dir=on/redirect_dir=on,timeout=0}" --dir . --seed $((seed + 400000)) --sequences 30
}
# several at once, each in its own directory of the same mounts
test_two_processes() {
	diffop --ours "$engine" --dir . --seed $((seed + 500000)) --sequences 12 --processes 2
}
test_four_processes() {
	diffop --ours "$engine" --dir . --seed $((seed + 510000)) --sequences 6 --processes 4
}
# stored owners are shown as others: by us, and by the kernel on idmapped mounts of the same layers
test_mapped_owners() {
	local map=0:0:1:1000:2000:100
	diffop --ours "${engine/redirect_dir=on/redirect_dir=on,uidmapping=$map,gidmapping=$map}" --mapped --dir . \
		--seed $((seed + 600000)) --sequences 30
}
# the upper, and every second lower, on another file system. It goes with this test's mount namespace.
on_file_system() { # NAME
	mkdir -p other
	if [ "$1" = tmpfs ]; then
		mount -t tmpfs tmpfs other
	else
		truncate -s 512M image
		"mkfs.$1" -q image >mkfs.out 2>&1 || fail "mkfs.$1: $(cat mkfs.out)"
		mount -o loop image other
	fi
	diffop --ours "$engine" --dir . --upper other --seed $((seed + 700000)) --sequences 10
	umount other
}
test_upper_on_ext4() { on_file_system ext4; }
test_upper_on_xfs() { on_file_system xfs; }
test_upper_on_btrfs() { on_file_system btrfs; }
test_upper_on_tmpfs() { on_file_system tmpfs; }
# an upper that becomes a lower of the next mount, with all its marks
test_rotated_uppers() {
	diffop --ours "$engine" --rotate --dir . --seed $((seed + 950000)) --sequences 40
}
# files without their data in the upper
test_metacopy() {
	diffop --ours "${engine/redirect_dir=on/redirect_dir=on,metacopy=on}" --dir . --seed $((seed + 800000)) --sequences 30
	diffop --ours "${engine/redirect_dir=on/redirect_dir=on,metacopy=on}" --lower "$TESTS/lib/index_of_lowers '%l'" --dir . \
		--seed $((seed + 900000)) --sequences 20
}
