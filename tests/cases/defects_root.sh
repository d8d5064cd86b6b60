# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Permissions are the kernel's to check, also for other users that root lets in.
test_6_a_private_file_stays_private() {
	mkdir lower upper work mnt && echo secret >lower/secret && chmod 600 lower/secret && echo open >lower/open
	chmod 755 . lower
	snapfs -o "lowerdir=$PWD/lower,upperdir=$PWD/upper,workdir=$PWD/work" "$PWD/mnt"
	for round in first second; do
		is "$(setpriv --reuid=12345 --regid=12345 --clear-groups cat mnt/open)" open "$round: others are let in"
		! setpriv --reuid=12345 --regid=12345 --clear-groups cat mnt/secret 2>/dev/null || fail "$round: anyone reads a 0600 file"
		! setpriv --reuid=12345 --regid=12345 --clear-groups touch mnt/new 2>/dev/null || fail "$round: anyone writes into a 0755 directory"
		fusermount3 -u "$PWD/mnt"
		snapfs -o "lowerdir=$PWD/lower,upperdir=$PWD/upper,workdir=$PWD/work" "$PWD/mnt"
	done
	fusermount3 -u "$PWD/mnt"
}
