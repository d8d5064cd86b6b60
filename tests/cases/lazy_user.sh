# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# as: user
# images
# Lazy images of an ordinary user.

test_containers() {
	cp -r "$IMAGES/DEBIAN" lay
	SNAP_ROOT=$PWD/maker snap --quiet pull oci:lay --name d:1
	SNAP_ROOT=$PWD/maker snap --quiet index export d:1 oci:lay
	rm -rf maker
	snap --quiet pull --lazy metadata oci:lay --name d:1
	is "$(snap run --rm d:1 python3 -c 'print(6 * 7)')" 42 'the first container'
	is "$(snap run --rm d:1 python3 -c 'print(6 * 7)')" 42 'the second container'
	snap prepare k d:1 >/dev/null
	snap stat k --json | jq -e '.fetched > 0 and .fetched < .needed * 0.4 and .lazy_layers > 0' >/dev/null || fail "$(snap stat k --json)"
	snap stat k | grep -q '^fetched .* lazy layers$' || fail "$(snap stat k)"
	snap rm k
	snap --quiet fsck
	snap --quiet fill d:1
	is "$(snap --json images | jq -r '.[0].state')" complete state
	snap --quiet fsck
	is "$(snap run --rm d:1 sh -c 'cat /usr/lib/python3*/*.py | wc -c')" "$(snap run --rm d:1 sh -c 'cat /usr/lib/python3*/*.py | wc -c')" bytes
}
