# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# as: user
# An ordinary user has no overlayfs to compare with: the same operations on a plain directory.
test_plain() {
	diffop --plain --ours 'snapfs -o lowerdir=%l,upperdir=%u,workdir=%w,redirect_dir=on %m' --dir . \
		--seed "${SNAP_TEST_SEED:-1}" --sequences 50 --ops 200
}
