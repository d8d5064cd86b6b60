# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# images
# Images that are used before their contents are here: from a layout, from a registry behind a bad line; what readers
# see is right or an error, whatever comes over the line, and what is said to be here is here.

# shellcheck source=tests/lib/lazy.sh
. "$LIB/lazy.sh"

test_layout() {
	local all
	cp -r "$IMAGES/DEBIAN" lay
	snap --quiet pull oci:lay:latest --name d:1
	snap index ls d:1 --json | jq -e 'all(.state == "missing")' >/dev/null
	snap index export d:1 oci:lay >/dev/null
	snap index ls d:1 --json | jq -e 'all(.state == "ready")' >/dev/null
	# at most 3 % of the layers' tars
	snap index export d:1 oci:lay --json >export.json
	snap index ls d:1 --json | jq -e --slurpfile e export.json '$e[0].size <= ([.[].tar_size] | add) * 0.03' >/dev/null
	skopeo inspect oci:lay:latest >/dev/null # still a layout for others
	other --quiet pull --lazy metadata oci:lay:latest --name d:1
	is "$(state)" lazy state
	is "$(fetched)" 0 'bytes before the first read'
	other prepare k d:1 >/dev/null
	mkdir m whole
	other mount k m >mount.out 2>&1
	grep -q 'the kernel cannot wait' mount.out || fail "engine: $(cat mount.out)"
	is "$(chroot m python3 -c 'print("out")')" out python3
	all=$(other --json images | jq -re '.[0].needed')
	[ "$(fetched)" -lt $((all * 40 / 100)) ] || fail "$(fetched) of $all bytes for the first output"
	other --quiet fsck
	# writable all along; what is copied up is fetched before
	echo changed >>m/etc/debian_version
	snap prepare k d:1 >/dev/null
	snap --quiet mount k whole --engine fuse
	cat whole/etc/debian_version <(echo changed) | cmp - m/etc/debian_version
	cp -p whole/etc/debian_version m/etc/debian_version
	treecmp whole m
	other --quiet fill d:1
	is "$(state)" complete state
	other --quiet fsck
	is "$(find other/layers -name present -o -name blob -o -name source | wc -l)" 0 'files of lazy layers'
	# an image like any other now
	other push d:1 oci:out:1 >/dev/null
	is "$(jq -r '.manifests[0].digest' out/index.json)" "$(other --json inspect d:1 | jq -r .digest)" 'digest pushed'
	treecmp whole m
	other umount k
	snap umount k
}
test_registry() {
	local all
	published
	# without an index: whole, and told so
	SNAP_ROOT=$PWD/third snap pull --lazy metadata --tls-verify=false "docker://127.0.0.1:$reg/t/m@$(snap --json inspect m:2 | jq -r .digest)" --name x:1 2>third.err
	grep -q 'fetched whole' third.err && fail "the index was not found: $(cat third.err)"
	snap --quiet push m:1 "docker://127.0.0.1:$reg/t/m:1" --tls-verify=false
	SNAP_ROOT=$PWD/third snap pull --lazy metadata --tls-verify=false "docker://127.0.0.1:$reg/t/m:1" --name y:1 2>third.err
	grep -q 'all layers are fetched whole' third.err || fail "why whole: $(cat third.err)"
	line '{"latency": 0.02, "drop": 0.3}'
	lazily metadata
	is "$(blob_bytes)" 0 'bytes of layers at the pull'
	cmp m/f3 content/f3
	all=$(other --json images | jq -re '.[0].needed')
	[ "$(fetched)" -lt $((all / 4)) ] || fail "$(fetched) of $all bytes for one file"
	# many readers at once: each span comes once
	find m -type f -print0 | xargs -0 -P 8 -n 3 cat >/dev/null
	same
	[ "$(blob_bytes)" -le $((all * 2)) ] || fail "$(blob_bytes) bytes for $all, with 30 % of the answers cut"
	line '{}'
	other --quiet fill m:2
	is "$(state)" complete state
	same
	other --quiet fsck
	other umount k
}
test_background() {
	published
	lazily background
	within 30 is_complete
	same
	other --quiet fsck
	other umount k
	# new mounts take the fastest engine again
	other mount k m >mount.out 2>&1
	same
	other umount k
}
# The image goes while its rest is being fetched, and comes again: the filler lets go of it, and serves the new one.
test_removed_meanwhile() {
	published
	line '{"rate": 500000}'
	lazily background
	cmp m/f3 content/f3
	other umount k
	other rm k
	other --quiet rmi m:2
	other --quiet gc >/dev/null
	is "$(find other/layers other/blobs -type f | wc -l)" 0 'files behind gc'
	line '{}'
	lazily metadata
	same
	other --quiet fsck
	other umount k
}
test_wrong_bytes() {
	published
	line '{"corrupt": 0.25}'
	export SNAP_FILL_TIMEOUT=20
	lazily metadata
	find m -type f -print0 | xargs -0 -P 4 -n 3 cat >/dev/null
	same
	grep -qE 'layer [0-9a-f]{64}, span [0-9]+, from .docker://.*(not right|bad)' other/run/fill.log || fail "log: $(cat other/run/fill.log)"
	other --quiet fsck
	line '{"corrupt": 1}'
	other umount k
	rm -rf other
	lazily metadata
	cat m/f3 >/dev/null 2>read.err && fail 'wrong bytes were read'
	grep -q 'Input/output error' read.err || fail "$(cat read.err)"
	line '{}'
	cmp m/f3 content/f3
	other --quiet fsck
	other umount k
}
test_registry_gone() {
	published
	export SNAP_FILL_TIMEOUT=2
	lazily metadata
	cmp m/f3 content/f3
	line '{"down": true}'
	cmp m/f3 content/f3 # is here
	SECONDS=0
	cat m/f15 >/dev/null 2>read.err && fail 'a file that cannot be had was read'
	grep -q 'Input/output error' read.err || fail "$(cat read.err)"
	[ $SECONDS -lt 30 ] || fail "an error after $SECONDS s"
	echo new >m/new # writable all along
	line '{}'
	cmp m/f15 content/f15
	other --quiet fsck
	other umount k
}
# Its owner changes the password while a container runs: what is here keeps working, what is not comes when the file has the new one.
test_credentials_expire() {
	password first
	start_registry "auth: {htpasswd: {realm: r, path: $PWD/htpasswd}}"
	start_line
	medium
	credentials first
	spec=docker://127.0.0.1:$port/t/m:2
	snap --quiet push m:2 "docker://127.0.0.1:$reg/t/m:2" --tls-verify=false --authfile auth.json
	snap index push m:2 "docker://127.0.0.1:$reg/t/m:2" --tls-verify=false --authfile auth.json >pushed
	export SNAP_FILL_TIMEOUT=2
	other --quiet pull --lazy metadata --tls-verify=false --authfile auth.json --name m:2 "$spec"
	other prepare k m:2 >/dev/null
	mkdir m
	other --quiet mount k m
	cmp m/f3 content/f3
	password second
	SECONDS=0
	cat m/f15 >/dev/null 2>read.err && fail 'a file was fetched with a password that is none any more'
	grep -q 'Input/output error' read.err || fail "$(cat read.err)"
	[ $SECONDS -lt 30 ] || fail "an error after $SECONDS s"
	grep -q 401 other/run/fill.log || fail "the log does not say why: $(cat other/run/fill.log)"
	cmp m/f3 content/f3 # is here
	credentials second
	cmp m/f15 content/f15
	finish
	other umount k
}
# Plain gzip that nobody has made an index of: the pass that makes it reads the blobs once, and then all is here.
test_first_pull() {
	local all
	start_registry
	medium
	start_line
	spec=docker://127.0.0.1:$port/t/m:2
	snap --quiet push m:2 "docker://127.0.0.1:$reg/t/m:2" --tls-verify=false
	: >line.log
	other pull --lazy metadata --tls-verify=false --name m:2 "$spec" 2>pull.err
	grep -q 'fetched whole' pull.err || fail "told: $(cat pull.err)"
	is "$(state)" complete state
	all=$(other --json images | jq -re '.[0].size')
	# (the manifest counts as well)
	[ $(($(all_blob_bytes) - all)) -lt 5000 ] || fail "$(all_blob_bytes) bytes over the line for an image of $all"
	[ $((all - $(all_blob_bytes))) -lt 5000 ] || fail "$(all_blob_bytes) bytes over the line for an image of $all"
	other prepare k m:2 >/dev/null
	mkdir m
	other --quiet mount k m
	same
	other umount k
	# the index is there now: others need not read it whole
	other --quiet index push m:2 "docker://127.0.0.1:$reg/t/m:2" --tls-verify=false
	rm -rf other
	lazily metadata
	[ "$(fetched)" = 0 ] || fail "$(fetched) bytes before the first read"
	finish
	other umount k
}
test_filler_killed() {
	local n pid killed=0
	published
	line '{"rate": 1000000}'
	lazily background
	for n in 9 5 35 25 2 18; do
		cmp "m/f$n" "content/f$n"
		pid=$(filler_pid) || continue
		kill -9 "$pid"
		killed=$((killed + 1))
		other --quiet fsck
	done
	[ $killed -ge 2 ] || fail "only $killed fillers were killed"
	line '{}'
	same
	other --quiet fill m:2
	is "$(state)" complete state
	other --quiet fsck
	other umount k
}
test_whole_after_lazy() {
	published
	lazily metadata
	cmp m/f3 content/f3
	# the same image, pulled whole, while the mount of the lazy one lives
	other --quiet pull --tls-verify=false --name m:2 "$spec"
	is "$(state)" complete state
	line '{"down": true}'
	same
	other --quiet fsck
	other umount k
}
# Layers that bring their own table of contents: no index, no conversion, one code path.
tables() { # KIND: layout lay of the folder content
	mkdir -p content/d/e
	python3 - <<-'PY'
		import os, random
		r = random.Random(5)
		for n in range(30):
		    with open(f"content/f{n}", "wb") as f:
		        f.write(r.randbytes(r.randrange(1, 150000)) + b"words again " * 2000)
		open("content/d/empty", "w").close()
		os.symlink("../f1", "content/d/s")
	PY
	read -r blob start <<<"$(python3 "$LIB/mktoc.py" "$1" content lay 100000 "${2:-}")"
}
flip() { # FILE OFFSET
	python3 -c 'import sys; f = open(sys.argv[1], "r+b"); f.seek(int(sys.argv[2])); b = f.read(1); f.seek(-1, 1); f.write(bytes([b[0] ^ 4]))' "$1" "$2"
}
same_but_table() { diff -r content m -x stargz.index.json; }
by_table() { # KIND
	local all before
	tables "$1"
	other pull --lazy metadata oci:lay:1 --name t:1 2>pull.err >/dev/null
	grep -q whole pull.err && fail "whole: $(cat pull.err)"
	is "$(state)" lazy state
	all=$(other --json images | jq -re '.[0].needed')
	[ "$(fetched)" -lt $((all / 50)) ] || fail "$(fetched) of $all bytes at the pull"
	other prepare k t:1 >/dev/null
	mkdir m
	other --quiet mount k m --engine fuse
	cmp m/f7 content/f7
	[ "$(fetched)" -lt $((all / 2)) ] || fail "$(fetched) of $all bytes for one file"
	same_but_table
	before=$(ls -iR m | sort)
	other --quiet fsck
	other --quiet fill t:1
	is "$(state)" complete state
	other gc >/dev/null # when something else was at work just then
	is "$(find other/layers -name present -o -name blob -o -name source | wc -l)" 0 'files of lazy layers'
	same_but_table # by those who had it mounted
	other --quiet fsck
	other umount k
	other --quiet mount k m --engine fuse
	same_but_table
	is "$(ls -iR m | sort)" "$before" 'inode numbers before and after'
	# what an eager pull makes of the same image
	snap --quiet pull oci:lay:1 --name t:1
	snap prepare k t:1 >/dev/null
	mkdir whole
	snap --quiet mount k whole --engine fuse
	treecmp whole m
	snap umount k
	other umount k
	other push t:1 oci:out:1 >/dev/null
	is "$(jq -r '.manifests[0].digest' out/index.json)" "$(jq -r '.manifests[0].digest' lay/index.json)" 'digest pushed'
}
test_estargz() { by_table estargz; }
test_zstd_chunked() { by_table chunked; }
# A bit wrong in the table or its footer: the layer is not lazy by it, and is refused as a whole. In a content: an error for it.
wrong_tables() { # KIND
	local file size
	export SNAP_FILL_TIMEOUT=2
	tables "$1"
	file=lay/blobs/sha256/$blob
	size=$(stat -c %s "$file")
	cp "$file" good
	for at in $((start + 20)) $((start + 200)) $((size - 30)); do
		[ "$1 $at" = "chunked $((size - 30))" ] && continue # nobody reads that footer
		cp good "$file"
		flip "$file" "$at"
		other --quiet pull --lazy metadata oci:lay:1 --name t:1 2>pull.err && fail "byte $at: $(cat pull.err)"
		grep -q 'digest does not match' pull.err || fail "byte $at: $(cat pull.err)"
		is "$(find other/layers other/blobs -type f | wc -l)" 0 "files behind byte $at"
	done
	cp good "$file"
	other --quiet pull --lazy metadata oci:lay:1 --name t:1
	other prepare k t:1 >/dev/null
	mkdir m
	other --quiet mount k m
	for at in 1000 $((start / 3)) $((start / 2)); do flip "$file" "$at"; done
	for f in content/f*; do
		cat "m/${f##*/}" >got 2>read.err || { grep -q 'Input/output error' read.err || fail "$(cat read.err)"; continue; }
		cmp got "$f"
	done
	other --quiet fill t:1 2>fill.err && fail 'a layer with wrong bytes is complete'
	cp good "$file"
	other --quiet fill t:1
	diff -r content m -x stargz.index.json
	other --quiet fsck
	other umount k
}
test_estargz_wrong() { wrong_tables estargz; }
test_zstd_chunked_wrong() { wrong_tables chunked; }
# A table with the right digest that says something else than the tar. What it says of contents is held against their
# digests at every read; what it says of all else, when all is here: then nothing of it is read any more.
lying_table() { # KIND LIE
	rm -rf content lay
	tables "$1" "$2"
	other --quiet pull --lazy metadata oci:lay:1 --name t:1
	is "$(state)" lazy "$1 $2: state"
	other --quiet fill t:1 2>fill.err && fail "$1 $2: complete"
	grep -q "$3" fill.err || fail "$1 $2: $(cat fill.err)"
	other prepare k t:1 >/dev/null
	mkdir -p m
	other --quiet mount k m --engine fuse
	for f in content/f?; do
		[ ! -e "m/${f##*/}" ] || ! cat "m/${f##*/}" >got 2>read.err || cmp -s got "$f" || fail "$1 $2: $f is wrong"
	done
	[ ! -e escape ] && [ ! -e ../escape ] || fail "$1 $2: outside"
	other umount k
	other rm k
	other rmi t:1
	other --quiet gc
	is "$(find other/layers other/blobs -type f | wc -l)" 0 "$1 $2: files"
}
test_lying_table() {
	local kind lie
	export SNAP_FILL_TIMEOUT=1
	for kind in estargz chunked; do
		for lie in mode content missing dotdot; do lying_table $kind $lie 'not what its lazy index says'; done
		lying_table $kind digest 'digest does not match'
	done
}
# A table that breaks a rule is told, and the layer comes whole: the image is what its tar says.
test_hostile_table() {
	local kind lie why
	for kind in estargz chunked; do
		while read -r lie why; do
			rm -rf content lay
			tables $kind "$lie"
			other pull --lazy metadata oci:lay:1 --name t:1 2>pull.err >/dev/null || fail "$kind $lie: $(cat pull.err)"
			grep -q "fetched whole: .*$why" pull.err || fail "$kind $lie: $(cat pull.err)"
			is "$(state)" complete "$kind $lie: state"
			other prepare k t:1 >/dev/null
			mkdir -p m
			other --quiet mount k m --engine fuse
			same_but_table
			other umount k
			other rm k
			other rmi t:1
			other --quiet gc
		done <<-'END'
			order order of the blob
			overlap one behind the other
			outside outside
			links link
			twice twice
			deep too deep
			wide too many values
			annotation digest does not match
		END
		# a budget is no reason to fetch more
		rm -rf content lay
		tables $kind
		other --quiet pull --lazy metadata --limit entries=10 oci:lay:1 --name t:1 2>pull.err && fail 'within 10 entries'
		grep -q "the budget 'entries' of 10 is used up" pull.err || fail "$(cat pull.err)"
		is "$(find other/layers other/blobs -type f | wc -l)" 0 "$kind: files"
	done
}
# Pulled whole while it is lazy by its table, and while it is mounted.
test_table_whole_after_lazy() {
	local kind
	for kind in estargz chunked; do
		rm -rf content lay
		tables $kind
		other --quiet pull --lazy metadata oci:lay:1 --name t:1
		other prepare k t:1 >/dev/null
		mkdir -p m
		other --quiet mount k m --engine fuse
		cmp m/f3 content/f3
		other --quiet pull oci:lay:1 --name t:1
		is "$(state)" complete "$kind: state"
		rm -r lay
		same_but_table
		other --quiet fsck
		other umount k
		other --quiet gc
		is "$(find other/layers -name present | wc -l)" 0 "$kind: lazy layers"
		other --quiet mount k m --engine fuse
		same_but_table
		other umount k
		other rm k
		other rmi t:1
		other --quiet gc
	done
}
# Why an image that was to be lazy came whole is told, and can be asked for later.
is_told() { # REGEX LAYERS
	grep -qE "fetched whole: $1" pull.err || fail "told: $(cat pull.err)"
	other --json images | jq -re '.[0].whole' | grep -qE "$1" || fail "images: $(other --json images)"
	is "$(other --json images | jq -r '.[0] | .state + " " + (.whole_layers | tostring)')" "complete $2" images
	other --json inspect t:1 | jq -re '.layers[-1].whole' | grep -qE "$1" || fail "inspect: $(other --json inspect t:1)"
	other prepare k t:1 >/dev/null
	other stat k | grep -qE "^whole +$2 layers: .*$1" || fail "stat: $(other stat k)"
	other --json stat k | jq -re '.whole' | grep -qE "$1" || fail "stat: $(other --json stat k)"
	other rm k
	other rmi t:1
	other --quiet gc
}
test_whole_is_told() {
	mkdir content
	# one zstd frame, longer than what anybody may have to wait for
	dd if=/dev/zero of=content/zeros bs=1M count=70 status=none
	image_of s:1 content
	snap --quiet push s:1 oci:plain:1
	skopeo --insecure-policy copy -q --dest-compress-format zstd oci:plain:1 oci:z:1
	other --quiet pull --lazy metadata oci:z:1 --name t:1 2>pull.err
	is "$(cat pull.err)" '' 'with --quiet'
	other rmi t:1
	other --quiet gc
	other pull --lazy metadata oci:z:1 --name t:1 2>pull.err
	grep -q '^all layers are fetched whole' pull.err || fail "$(cat pull.err)"
	is_told 'no lazy index|has no tag' 1
	snap --quiet pull oci:z:1 --name z:1
	refused 1 'no layer of it can be lazy: 70 MiB of it can only be had in one piece' snap index export z:1 oci:z
	# not asked for: not told
	other --quiet pull oci:z:1 --name t:1
	is "$(other --json images | jq -r '.[0].whole')" null 'an ordinary pull'
}
# As Debian's skopeo writes it.
test_zstd_chunked_skopeo() {
	mkdir content
	python3 -c 'import random; r = random.Random(2); [open(f"content/f{n}", "wb").write(r.randbytes(1 + 9000 * n)) for n in range(20)]'
	image_of s:1 content
	snap --quiet push s:1 oci:plain:1
	skopeo --insecure-policy copy -q --dest-compress-format zstd:chunked oci:plain:1 oci:lay:1
	jq -e '.layers[0].annotations | keys[] | select(endswith("zstd-chunked.manifest-position"))' \
		"lay/blobs/sha256/$(jq -r '.manifests[0].digest[7:]' lay/index.json)" >/dev/null || skip 'skopeo has no zstd:chunked'
	other --quiet pull --lazy metadata oci:lay:1 --name t:1
	is "$(state)" lazy state
	other prepare k t:1 >/dev/null
	mkdir m
	other --quiet mount k m
	diff -r content m
	other --quiet fill t:1
	is "$(state)" complete state
	diff -r content m
	other --quiet fsck
	other umount k
}
test_damage() {
	local layer
	published
	lazily metadata
	cat m/f0 >/dev/null
	other umount k
	# what is here and was changed on the disk is found, and fetched again
	for layer in other/layers/sha256/*; do
		printf 'xxxx' | dd of="$layer/data" bs=1 seek=700 conv=notrunc status=none
	done
	refused_fsck=0
	other fsck >fsck.out || refused_fsck=$?
	is "$refused_fsck" 1 'status of fsck'
	grep -q 'spans that are here' fsck.out || fail "fsck: $(cat fsck.out)"
	other fsck --repair >fsck.out || :
	other --quiet fsck
	other --quiet mount k m
	same
	other umount k
	# gc takes a lazy image away like any other
	other rm k
	other rmi m:2
	other --quiet gc >/dev/null
	is "$(find other/layers other/blobs -type f | wc -l)" 0 'files behind gc'
}
# Who may write to the registry, but did not make the image, publishes an index with another mode in it.
test_lying_index() {
	medium
	snap --quiet push m:2 oci:lay:2
	snap --quiet index export m:2 oci:lay
	python3 - <<-'PY'
		import hashlib, json, pathlib, re, struct, subprocess
		lay = pathlib.Path("lay")
		def read(d): return (lay / "blobs" / d["digest"].replace(":", "/")).read_bytes()
		def write(d, data):
		    d["digest"], d["size"] = "sha256:" + hashlib.sha256(data).hexdigest(), len(data)
		    (lay / "blobs" / d["digest"].replace(":", "/")).write_bytes(data)
		top = json.loads((lay / "index.json").read_text())
		tag = next(e for e in top["manifests"] if e["annotations"]["org.opencontainers.image.ref.name"].startswith("sha256-"))
		index = json.loads(read(tag))
		manifest = json.loads(read(index["manifests"][0]))
		layer = manifest["layers"][0]
		data = read(layer)
		raw, n, spans = struct.unpack_from("<QQQ", data, 16)
		image = bytearray(subprocess.run(["zstd", "-dc"], input=data[40:40 + n], capture_output=True, check=True).stdout)
		at = next(m.start() for m in re.finditer(rb"\xa4\x81", image) if m.start() % 32 == 4)
		image[at:at + 2] = b"\xed\x89"
		packed = subprocess.run(["zstd", "-c"], input=bytes(image), capture_output=True, check=True).stdout
		write(layer, data[:16] + struct.pack("<QQQ", raw, len(packed), spans) + packed + data[40 + n:])
		write(index["manifests"][0], json.dumps(manifest).encode())
		write(tag, json.dumps(index).encode())
		(lay / "index.json").write_text(json.dumps(top))
	PY
	spec=oci:lay:2
	lazily metadata
	is "$(find m -perm 4755 | wc -l)" 1 'the lie, as long as nothing can be said against it'
	refused 1 'not what its lazy index says' other fill m:2
	cat m/f9 >/dev/null 2>read.err && fail 'a layer that lied was read'
	refused_fsck=0
	other fsck >fsck.out || refused_fsck=$?
	is "$refused_fsck" 1 'status of fsck'
	grep -q 'not what its lazy index said' fsck.out || fail "fsck: $(cat fsck.out)"
	other umount k
	other rm k
	other --quiet rmi m:2
	other --quiet gc >/dev/null
	other --quiet pull --name m:2 "$spec"
	other prepare k m:2 >/dev/null
	other --quiet mount k m
	same
	is "$(find m -perm 4755 | wc -l)" 0 'files with a mode of their own'
	other umount k
}
test_usage() {
	refused 2 "'index' has" snap index frobnicate m:2
	refused 2 'metadata, prefetch or background' snap pull --lazy sometimes oci:lay
	refused 1 'no image' snap index ls nix:1
	refused 1 'no image' snap fill nix:1
	refused 2 'which image' snap fill
	refused 2 'no REF' snap fill --serve nix:1
	refused 2 'for --serve' snap fill --background nix:1
}
