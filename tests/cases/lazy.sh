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
