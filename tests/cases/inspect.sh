# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What the layers of an image do to each other: snap inspect --layers, snap tree --layers.

effects() { # REF: adds,changes,hides,bytes,wasted of each layer
	snap --json inspect --layers "$1" | jq -r '.layers[] | [.adds, .changes, .hides, .bytes, .wasted] | join(",")' | paste -sd' '
}
made() { # LAYER...: the image i:1
	rm -rf lay
	python3 "$LIB/mklayer.py" lay "$@"
	snap --quiet pull oci:lay:latest --name i:1
}

test_layers() {
	made '[D("d"), F("d/a", "x" * 1000), F("d/b", "y" * 50), L("d/c", "d/b"), S("s", "d"), D("e"), F("e/f", "z" * 7)]'
	is "$(effects i:1)" '7,0,0,1057,0' 'one layer'
	made '[D("d"), F("d/a", "x" * 1000), F("d/b", "y" * 50), L("d/c", "d/b")]' '[W("d/b")]'
	is "$(effects i:1)" '4,0,0,1050,0 0,0,1,0,0' 'one name of two went: the file is seen'
	made '[D("d"), F("d/a", "x" * 1000), F("d/b", "y" * 50), L("d/c", "d/b")]' '[W("d/b")]' '[W("d/c"), F("d/n", "1")]'
	is "$(effects i:1)" '4,0,0,1050,0 0,0,1,0,0 1,0,1,1,50' 'the other went, too'
	made '[D("d"), D("d/e"), F("d/e/a", "x" * 1000), F("f", "1")]' '[W("d")]'
	is "$(effects i:1)" '4,0,0,1001,0 0,0,3,0,1000' 'a directory with all in it'
	made '[D("d"), F("d/a", "x" * 1000), F("d/b", "1")]' '[D("d"), O("d"), F("d/b", "22")]'
	is "$(effects i:1)" '3,0,0,1001,0 0,1,1,2,1001' 'an opaque directory'
	made '[D("d"), F("d/a", "x" * 1000)]' '[F("d", "22")]' '[D("d"), F("d/a", "3"), F("d/b", "4")]'
	is "$(effects i:1)" '2,0,0,1000,0 0,1,1,2,1000 2,1,0,2,2' 'a directory, a file, a directory'
	made '[F("a", "x" * 1000), F("b", "y", uid=1)]' '[F("a", "x" * 1000), F("b", "y", uid=2)]'
	is "$(effects i:1)" '2,0,0,1001,0 0,2,0,1001,1001' 'the same again, another owner'
	made '[F("a", "x" * 1000)]' '[L("b", "a")]' '[W("a")]'
	is "$(effects i:1)" '1,0,0,1000,0 1,0,0,0,0 0,0,1,0,0' 'a link to a file below'
	made '[D("d", mode=0o700)]' '[D("d", mtime=5)]' '[D("d", mtime=6)]' '[D("d", mtime=6, pax={"SCHILY.xattr.user.x": "1"})]'
	is "$(effects i:1)" '1,0,0,0,0 0,1,0,0,0 0,0,0,0,0 0,1,0,0,0' 'of a directory: mode, owner, xattrs'
	made '[F("a", "x" * 1000)]' '[W("a")]' '[F("a", "x" * 1000)]'
	is "$(effects i:1)" '1,0,0,1000,0 0,0,1,0,1000 1,0,0,0,0' 'the same layer twice, stored once: seen again'
}

test_random_layers() {
	local seed=${SNAP_TEST_SEED:-$RANDOM} n
	local -a lines
	echo "seed $seed"
	for n in $(seq "$seed" $((seed + 19))); do
		python3 "$LIB/effects.py" "$n" >model
		mapfile -t lines <model
		unset 'lines[-1]'
		rm -rf lay
		python3 "$LIB/mklayer.py" lay "${lines[@]}"
		snap --quiet pull oci:lay:latest --name i:1
		snap --json inspect --layers i:1 | jq -c '.layers | map({adds, changes, hides, bytes, wasted})' >is
		is "$(jq -cS . is)" "$(tail -n 1 model | jq -cS .)" "seed $n: $(cat model)"
	done
}

test_people() {
	made --config 'c["history"] = [{"created": "2026-01-02T03:04:05Z", "created_by": "ADD all"}, {"created_by": "ENV A=\x1b[1m", "empty_layer": True}, {"created": "2026-01-02T03:04:06Z", "created_by": "RUN rm a", "comment": "it went"}]' \
		'[F("a", "x" * 100000), F("b", "1")]' '[W("a")]'
	snap inspect --layers i:1 >out
	is "$(tail -n 1 out)" 'of 97.7 KiB in files 97.7 KiB are wasted' 'the sum'
	is "$(sed -n 's/^sha256:[0-9a-f]\{12\}  *[0-9.]* [KM]*i*B  *//p' out | tr -s ' ')" '2 0 0 97.7 KiB 0 B ADD all
0 0 1 0 B 97.7 KiB RUN rm a' 'a line for each'
	snap inspect i:1 >out
	is "$(grep ^history out)" 'history   2026-01-02T03:04:05  ADD all
history                        ENV A=\033[1m  (no layer)
history   2026-01-02T03:04:06  RUN rm a  # it went' 'the history'
	is "$(snap --json inspect i:1 | jq -c '[.layers[] | .created_by, .adds]')" '["ADD all",null,"RUN rm a",null]' 'without --layers'
	{ snap prepare k i:1 && snap commit c k && snap prepare e c; } >/dev/null
	echo 1 >"$SNAP_ROOT/snapshots/2/upper/new"
	echo 1 >"$SNAP_ROOT/snapshots/2/upper/b"
	snap tree --layers >out
	is "$(sed 's/sha256:[0-9a-f]*/D/' out)" 'i:1  image
│ layer D  97.7 KiB, +2 ~0 -0, wasted 0 B
│ layer D  0 B, +0 ~0 -1, wasted 97.7 KiB
└── c  committed, 4.0 KiB, +0 ~0 -0
    └── e  active, 12.0 KiB, +1 ~2 -0' 'the tree'
	is "$(snap --json tree --layers | jq -c 'map([.key, .adds, .changes, .hides, (.layers // [] | map(.wasted))])')" \
		'[["i:1",null,null,null,[0,100000]],["c",0,0,0,[]],["e",1,2,0,[]]]' 'the tree for programs'
	made # an image without layers
	is "$(snap --json inspect --layers i:1 | jq -c .layers)" '[]'
	refused 1 'nix' snap inspect --layers nix:1
	refused 2 wrong snap inspect --wrong i:1
}
