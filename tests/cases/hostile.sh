# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2016 # rows are Python, not shell
# Odd and hostile layouts and layers, one fault each, made byte by byte by tests/lib/mklayer.py.
# A row that is refused: exit 1, one line that names the thing, the same as one JSON object, and a store with
# nothing in it. A row that is taken: the tree it gives, seen through FUSE and by the kernel.

rows=0 bad=0 row='' pull=()
wrong() { # the row named $row failed
	echo "FAIL row '$row': $*" >&2
	bad=$((bad + 1))
}
finish() { # HOW MANY ROWS there must have been
	[ "$rows" = "$1" ] || fail "$rows rows ran, not $1"
	[ "$bad" = 0 ] || fail "$bad of $rows rows"
}
make() { rm -rf lay && python3 "$LIB/mklayer.py" lay "$@" 2>make.err || fail "row '$row' cannot be made: $(tail -n 3 make.err)"; }
leftovers() { # what a refused image has left behind
	local images
	images=$(snap images --json | jq -c .) || echo "snap images fails"
	[ "$images" = '[]' ] || echo "images: $(jq -c 'map(.ref)' <<<"$images")"
	(cd "$SNAP_ROOT" && find blobs layers chains snapshots tmp -mindepth 1 ! -path '*/sha256' ! -path '*/sha512')
}
refuse_pull() { # REGEX SOURCE
	local regex=$1 got=0 left
	timeout 120 snap pull "${pull[@]}" "$2" >pull.out 2>pull.err || got=$?
	[ "$got" = 1 ] || wrong "exit status $got: $(head -c 300 pull.err)"
	[ "$(wc -l <pull.err)" = 1 ] || wrong "not one line on stderr: $(head -c 500 pull.err)"
	grep -aqE -- "$regex" pull.err || wrong "'$(head -c 500 pull.err)' does not match '$regex'"
	left=$(leftovers)
	if [ -n "$left" ]; then
		wrong "left in the store: $(head -n 5 <<<"$left")"
		rm -rf "$SNAP_ROOT"
	fi
	[ -z "${once:-}" ] || return 0
	got=0
	timeout 120 snap --json pull "${pull[@]}" "$2" >pull.out 2>pull.err || got=$?
	[ "$got" = 1 ] || wrong "with --json: exit status $got"
	jq -es 'length == 1 and (.[0] | (.error | test("^E[A-Z0-9]+$")) and (.what | length > 0) and has("where") and has("hint"))' \
		pull.err >/dev/null || wrong "with --json: $(head -c 500 pull.err)"
}
refuse() { # NAME REGEX MKLAYER-ARGUMENT...
	row=$1 rows=$((rows + 1))
	local regex=$2
	shift 2
	make "$@"
	refuse_pull "$regex" oci:lay:latest
}
accept() { # NAME MKLAYER-ARGUMENT... -- LINE...   ("#N": N lines, whatever they are)
	row=$1 rows=$((rows + 1))
	local args=() views=(fuse)
	shift
	while [ "$1" != -- ]; do
		args+=("$1")
		shift
	done
	shift
	make "${args[@]}"
	mkdir -p fuse kernel
	if ! snap --quiet pull "${pull[@]}" oci:lay:latest --name row:1 >/dev/null 2>pull.err; then
		wrong "refused: $(cat pull.err)"
		return 0
	fi
	if ! { snap --quiet prepare k row:1 && snap --quiet mount k fuse --engine fuse; } >/dev/null 2>mount.err; then
		wrong "cannot be mounted: $(cat mount.err)"
		return 0
	fi
	if compgen -G "$SNAP_ROOT/chains/sha256/*" >/dev/null; then # none for an image without layers
		erofs-mount "$SNAP_ROOT"/chains/sha256/*/index kernel 2>mount.err || wrong "the kernel does not mount it: $(cat mount.err)"
		views=(fuse kernel)
	fi
	python3 "$LIB/mklayer.py" --list "${views[@]}" >got 2>list.err || wrong "FUSE and the kernel differ: $(head -n 5 list.err)"
	printf '%s\n' "$@" | LC_ALL=C sort >wanted
	if [[ ${1:-} = '#'* ]]; then
		[ "$(wc -l <got)" = "${1#?}" ] || wrong "$(wc -l <got) names, not ${1#?}"
	else
		LC_ALL=C sort got | diff -u --label wanted --label seen wanted - >tree.diff || wrong "$(cat tree.diff)"
	fi
	! mountpoint -q kernel || umount kernel
	snap umount fuse
	rm -rf "$SNAP_ROOT"
}
kernel_view() { # DIR: the one image of the store, mounted by the kernel's EROFS
	mkdir -p "$1"
	erofs-mount "$SNAP_ROOT"/chains/sha256/*/index "$1"
}
two='[D("d", mode=0o711, uid=5, gid=6), F("d/old", "o"), F("f", "1")]' # the lower layer of many rows
one='[F("a", "x")]'

test_documents() {
	refuse 'wrong digest' 'digest does not match' \
		--manifest 'm["layers"][0]["digest"] = digest(b"no")' --files 'files[blob_path(digest(b"no"))] = layers[0].data' "$one"
	refuse 'wrong digest of the config' 'digest does not match' \
		--files 'files[blob_path(digest(config))] = config.replace(b"amd64", b"arm64")' "$one"
	refuse 'wrong digest of the manifest' 'digest does not match' \
		--files 'files[blob_path(digest(manifest))] = manifest.replace(b"2,", b"3,")' "$one"
	refuse 'wrong size' 'size' --manifest 'm["layers"][0]["size"] += 1' "$one"
	refuse 'wrong size of the manifest' 'size' --index 'i["manifests"][0]["size"] -= 1' "$one"
	refuse 'negative size' 'size' --manifest 'm["layers"][0]["size"] = -1' "$one"
	refuse 'size beyond 64 bits' 'size' --manifest 'm["layers"][0]["size"] = 1 << 65' "$one"
	refuse 'size in quotes' 'size' --manifest 'm["layers"][0]["size"] = "12"' "$one"
	refuse 'wrong diff id' 'diff id' --config 'c["rootfs"]["diff_ids"][0] = digest(b"no")' "$one"
	refuse 'wrong diff id of the second layer' 'layer sha256:.*diff id does not match' --config 'c["rootfs"]["diff_ids"][1] = digest(b"no")' "$one" "$two"
	refuse 'more diff ids than layers' 'diff ids' --config 'c["rootfs"]["diff_ids"].append(digest(b"no"))' "$one"
	refuse 'truncated blob' 'sha256:[0-9a-f]{64}.*size' --files 'files[at[0]] = layers[0].data[:-20]' "$one"
	refuse 'missing layer' 'blob sha256:[0-9a-f]{64} is missing' --files 'files[at[0]] = None' "$one"
	refuse 'missing config' 'blob sha256:[0-9a-f]{64} is missing' --files 'files[blob_path(digest(config))] = None' "$one"
	refuse 'missing manifest' 'blob sha256:[0-9a-f]{64} is missing' --files 'files[blob_path(digest(manifest))] = None' "$one"
	refuse 'missing index' 'index.json' --files 'files["index.json"] = None' "$one"
	refuse 'garbage for an index' 'index' --index 'i = b"{garbage"' "$one"
	refuse 'garbage for a manifest' 'manifest' --manifest 'm = b"\0\1\2"' "$one"
	refuse 'garbage for a config' 'config' --config 'c = b"[1, 2"' "$one"
	refuse 'an empty index' 'index' --index 'i = b""' "$one"
	refuse 'no image in the index' 'no image' --index 'i["manifests"] = []' "$one"
	refuse '.. in a layer digest' 'is not a digest' --manifest 'm["layers"][0]["digest"] = "sha256:../../../../../../etc/passwd"' "$one"
	refuse '.. in a config digest' 'is not a digest' --manifest 'm["config"]["digest"] = "sha256:../../index.json"' "$one"
	refuse '.. in a manifest digest' 'is not a digest' --index 'i["manifests"][0]["digest"] = "sha256:../../index.json"' "$one"
	refuse '.. in a diff id' 'is not a digest' --config 'c["rootfs"]["diff_ids"][0] = "sha256:../x"' "$one"
	refuse 'a digest in capitals' 'is not a digest' --manifest 'm["layers"][0]["digest"] = "sha256:" + "A" * 64' "$one"
	refuse 'an unknown algorithm' "unknown digest algorithm.*md5" --manifest 'm["layers"][0]["digest"] = "md5:" + "0" * 32' "$one"
	refuse 'an algorithm with a path' 'digest' --manifest 'm["layers"][0]["digest"] = "../x:" + "0" * 64' "$one"
	refuse 'duplicate keys' 'schemaVersion|twice|duplicate' --manifest 'm = json.dumps(m).replace("{", "{\"schemaVersion\": 2, ", 1).encode()' "$one"
	refuse 'layers and manifests' "'manifests' as well as 'layers'" --manifest 'm["manifests"] = []' "$one"
	refuse 'manifests and layers' "'layers' as well as 'manifests'" --index 'i["layers"] = []' "$one"
	refuse 'something after the document' 'manifest' --manifest 'm = json.dumps(m).encode() + b"{}"' "$one"
	refuse 'a manifest of 9 MiB' '8388608' --manifest 'm = json.dumps(m).encode() + b" " * (9 << 20)' "$one"
	refuse 'an index of 9 MiB' '8388608' --index 'i = json.dumps(i).encode() + b" " * (9 << 20)' "$one"
	refuse 'JSON nested 100,000 deep' 'deep|nest' --manifest 'm = b"[" * 100000' "$one"
	local nest='e = dict(entry)
for k in range(%d):
	d = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [e]}).encode()
	files[blob_path(digest(d))] = d
	e = desc(d, INDEX)
i["manifests"] = [dict(e, annotations=entry["annotations"])]'
	refuse 'indexes nested 5 deep' 'nested more than' --index "${nest/\%d/5}" "$one"
	accept 'indexes nested 4 deep' --index "${nest/\%d/4}" "$one" -- 'a=x'
	refuse 'two images of one name' 'more than one' \
		--index 'd = manifest + b" "; files[blob_path(digest(d))] = d; i["manifests"].append(desc(d, MANIFEST, annotations=entry["annotations"]))' "$one"
	accept 'one image twice under its name' --index 'i["manifests"].append(entry)' "$one" -- 'a=x'
	refuse 'an unknown layout version' 'version' --files 'files["oci-layout"] = b"{\"imageLayoutVersion\": \"2.0.0\"}"' "$one"
	refuse 'no layout marker' 'oci-layout' --files 'files["oci-layout"] = None' "$one"
	refuse 'a blob that is a symlink' 'symlink' --files 'files["x"] = layers[0].data; files[at[0]] = ("link", "../../x")' "$one"
	refuse 'a manifest that is a symlink' 'symlink' --files 'files["x"] = manifest; files[blob_path(digest(manifest))] = ("link", "../../x")' "$one"
	refuse 'a blob that is a fifo' 'not a regular file' --files 'files[at[0]] = ("fifo",)' "$one"
	refuse 'a blob that is a folder' 'not a regular file' --files 'files[at[0]] = ("dir",)' "$one"
	refuse '4,097 layers' '4096' --config 'c["rootfs"]["diff_ids"] *= 4097' --manifest 'm["layers"] *= 4097' "$one"
	refuse 'no layer media type' 'media type' --manifest 'm["layers"][0]["mediaType"] = "text/plain"' "$one"
	refuse 'no config media type' 'media type' --manifest 'm["config"]["mediaType"] = "application/vnd.oci.empty.v1+json"' "$one"
	refuse 'no manifest media type' 'media type|no image' --index 'i["manifests"][0]["mediaType"] = "text/plain"' "$one"
	refuse 'a manifest that says it is another kind' 'manifest' --manifest 'm["mediaType"] = INDEX' "$one"
	refuse 'schema version 1' 'schemaVersion' --manifest 'm["schemaVersion"] = 1' "$one"
	refuse 'a foreign layer that is not there' 'not distributed' --files 'files[at[0]] = None' \
		'Blob(tar([F("a")]), media="application/vnd.oci.image.layer.nondistributable.v1.tar+gzip")'
	refuse 'another platform' 'platform' --config 'c["os"] = "plan9"' "$one"
	row='unknown tag' rows=$((rows + 1))
	make "$one"
	refuse_pull "no image with tag 'nix'.*latest" oci:lay:nix
	row='no such layout' rows=$((rows + 1))
	refuse_pull 'no-such' oci:no-such:latest
	row='a layout that is a file' rows=$((rows + 1))
	echo >a-file
	refuse_pull 'a-file' oci:a-file:latest
	accept 'docker media types' --manifest 'm["mediaType"] = "application/vnd.docker.distribution.manifest.v2+json"; m["config"]["mediaType"] = "application/vnd.docker.container.image.v1+json"' \
		--index 'i["manifests"][0]["mediaType"] = "application/vnd.docker.distribution.manifest.v2+json"' \
		'Blob(tar([F("a", "x")]), media=DOCKER_GZIP)' -- 'a=x'
	accept 'an image without layers' -- '#1'
	finish 58
}

test_streams() {
	local t='tar([F("a", "x")])'
	accept 'gzip of several members' "Blob($t, gz(${t}[:700]) + gz(${t}[700:]))" -- 'a=x'
	accept 'gzip with zero padding' "Blob($t, gz($t) + bytes(1000))" -- 'a=x'
	accept 'gzip with all its fields' "Blob($t, gz_with($t, 0x1c, b'\x04\x00abcdname\0comment\0'))" -- 'a=x'
	refuse 'gzip and something behind it' 'gzip' "Blob($t, gz($t) + b'garbage')"
	refuse 'gzip with padding between members' 'gzip' "Blob($t, gz(${t}[:700]) + bytes(8) + gz(${t}[700:]))"
	refuse 'gzip with reserved flags' 'gzip.*reserved' "Blob($t, gz_with($t, 0x20))"
	refuse 'gzip truncated' 'gzip.*truncated' "Blob($t, gz($t)[:-20])"
	refuse 'gzip without its length' 'gzip.*truncated' "Blob($t, gz($t)[:-4])"
	refuse 'gzip with a bad checksum' 'gzip.*checksum' "Blob($t, gz($t)[:-8] + b'\0\0\0\0' + gz($t)[-4:])"
	refuse 'gzip with a bad length' 'gzip' "Blob($t, gz($t)[:-4] + b'\1\1\1\1')"
	accept 'zstd' "Blob($t, zst($t), ZSTD)" -- 'a=x'
	accept 'zstd of several frames' "Blob($t, zst(${t}[:700]) + zst(${t}[700:]), ZSTD)" -- 'a=x'
	accept 'zstd with skippable frames' "Blob($t, skippable() + skippable(b'') + zst($t) + skippable(), ZSTD)" -- 'a=x'
	accept 'zstd with a window of 128 MiB' "Blob($t, zst($t, 27), ZSTD)" -- 'a=x'
	refuse 'zstd with a window of 256 MiB' 'zstd' "Blob($t, zst($t, 28), ZSTD)"
	refuse 'zstd and something behind it' 'zstd' "Blob($t, zst($t) + b'garbage', ZSTD)"
	refuse 'zstd and zeros behind it' 'zstd' "Blob($t, zst($t) + bytes(64), ZSTD)"
	refuse 'zstd truncated' 'zstd.*truncated' "Blob($t, zst($t)[:-20], ZSTD)"
	accept 'plain' "Blob($t, $t, PLAIN)" -- 'a=x'
	accept 'plain, 0 bytes' 'Blob(b"", b"", PLAIN)' --
	accept 'gzip of 0 bytes' 'Blob(b"", gz(b""))' --
	accept 'a tar of nothing' '[]' --
	accept 'an empty layer between two' "$one" '[]' '[F("b")]' -- 'a=x' 'b='
	refuse 'zstd where gzip is said' 'gzip' "Blob($t, zst($t))"
	refuse 'zstd where docker says gzip' 'gzip' "Blob($t, zst($t), DOCKER_GZIP)"
	refuse 'gzip where zstd is said' 'zstd' "Blob($t, gz($t), ZSTD)"
	refuse 'a plain tar where gzip is said' 'gzip' "Blob($t, $t)"
	refuse 'gzip where a plain tar is said' 'tar' "Blob($t, gz($t), PLAIN)"
	accept 'sha512 digests' "Blob($t, algorithm='sha512')" -- 'a=x'
	accept 'no end blocks' 'tar([F("a", "x")], b"")' -- 'a=x'
	accept 'one end block' 'tar([F("a", "x")], bytes(512))' -- 'a=x'
	accept 'what follows the end is not parsed' 'tar([F("a", "x")]) + b"garbage"' -- 'a=x'
	refuse 'a zero block and an entry behind it' 'zero block' '[F("a"), bytes(512), F("b")]'
	refuse 'truncated data' "entry .*a.*truncated" 'tar([F("a", "x" * 2000)], b"")[:1024]'
	refuse 'truncated header' 'truncated' 'tar([F("a", "x")], b"")[:-700]'
	refuse 'bad header checksum' 'checksum' '[F("a"), F("b", badsum=True)]'
	finish 36
}

test_whiteouts() {
	local rest=('d/ 0711 5:6' 'd/old=o' 'f=1')
	accept 'a whiteout, then the name' "$two" '[W("f"), F("f", "2")]' -- "${rest[@]:0:2}" 'f=2'
	accept 'the name, then its whiteout' "$two" '[F("f", "2"), W("f")]' -- "${rest[@]:0:2}" 'f=2'
	accept 'a directory whited out and made again' "$two" '[W("d"), D("d"), F("d/n", "n")]' -- 'd/' 'd/n=n' 'f=1'
	accept 'a directory made and then whited out' "$two" '[D("d"), F("d/n", "n"), W("d")]' -- 'd/' 'd/n=n' 'f=1'
	accept 'a directory whited out, made again by a child' "$two" '[W("d"), F("d/n", "n")]' -- 'd/ @0' 'd/n=n' 'f=1'
	accept 'the same, the child first' "$two" '[F("d/n", "n"), W("d")]' -- 'd/ @0' 'd/n=n' 'f=1'
	accept 'a plain whiteout' "$two" '[W("f"), W("d")]' --
	accept 'opaque before' "$two" '[O("d"), F("d/n", "n")]' -- 'd/ 0711 5:6' 'd/n=n' 'f=1'
	accept 'opaque after' "$two" '[F("d/n", "n"), O("d")]' -- 'd/ 0711 5:6' 'd/n=n' 'f=1'
	accept 'opaque with an entry for its directory' "$two" '[O("d"), D("d", mode=0o700)]' -- 'd/ 0700' 'f=1'
	accept 'opaque alone' "$two" '[O("d")]' -- 'd/ 0711 5:6' 'f=1'
	accept 'opaque at the root' "$two" '[O(), F("g", "g")]' -- 'g=g'
	accept 'opaque nested' '[D("a"), D("a/b"), F("a/b/c"), F("a/x")]' '[O("a/b"), F("a/b/d"), O("a/b")]' -- 'a/' 'a/b/' 'a/b/d=' 'a/x='
	accept 'opaque in what exists nowhere' "$two" '[O("no/such")]' -- "${rest[@]}"
	accept 'a whiteout of something absent' "$two" '[W("no/such/x"), W("nix"), W("d/nix")]' -- "${rest[@]}"
	accept 'only whiteouts' '[W("x"), W("y/z")]' --
	accept 'AUFS bookkeeping' "$two" '[F(".wh..wh.plnk"), D(".wh..wh.aufs"), F(".wh..wh.orph/x"), D(".wh..wh.plnk")]' -- "${rest[@]}"
	refuse 'a whiteout of nothing' "entry .*\.wh\..*names nothing" '[F(".wh.")]'
	refuse 'a whiteout of .' 'entry .*names nothing' '[F("d/.wh..")]'
	refuse 'a whiteout of ..' 'entry .*names nothing' '[F(".wh...")]'
	accept 'a whiteout that is a directory' "$two" '[D(".wh.f")]' -- "${rest[@]:0:2}"
	accept 'a whiteout with data' "$two" '[F(".wh.f", "data" * 300), F("n")]' -- "${rest[@]:0:2}" 'n='
	accept 'a whiteout of a name of 255 bytes' '[F("n" * 255), F("a")]' '[W("n" * 255)]' -- 'a='
	refuse 'a whiteout of a name of 256 bytes' '255' '[W("n" * 256)]'
	accept 'a whiteout that is a symlink' "$two" '[S(".wh.f", "x")]' -- "${rest[@]:0:2}"
	accept 'a whiteout that is a hard link to nothing' "$two" '[L(".wh.f", "nix")]' -- "${rest[@]:0:2}"
	accept 'a char device 0:0' "$two" '[C("f", 0, 0)]' -- "${rest[@]:0:2}"
	accept 'a char device 0:0 for a directory' "$two" '[C("d", 0, 0)]' -- 'f=1'
	refuse 'an entry below a whiteout' 'entry .*below a whiteout' "$two" '[F(".wh.d/x")]'
	accept 'deleted, and made again two layers on' "$two" '[W("d")]' '[F("d/n", "n")]' -- 'd/ @0' 'd/n=n' 'f=1'
	accept 'a file in place of a directory' "$two" '[F("d", "now a file")]' -- 'd=now\040a\040file' 'f=1'
	accept 'a directory in place of a file' "$two" '[D("f"), F("f/x")]' -- "${rest[@]:0:2}" 'f/' 'f/x='
	accept 'a symlink in place of a directory' "$two" '[S("d", "f")]' -- 'd->f' 'f=1'
	accept 'a directory in place of a symlink' '[D("t"), S("l", "t")]' '[D("l"), F("l/x")]' -- 't/' 'l/' 'l/x='
	accept 'a directory over a directory: both' "$two" '[D("d", mode=0o700), F("d/n")]' -- 'd/ 0700' 'd/n=' 'd/old=o' 'f=1'
	accept 'xattrs of a directory entry replace those below' '[D("d", pax={"SCHILY.xattr.user.a": "1"})]' \
		'[D("d", pax={"SCHILY.xattr.user.b": "2"})]' -- 'd/ {user.b=2}'
	finish 36
}

test_paths() {
	local long
	long=$(printf 'n%.0s' {1..255})
	accept '.. and absolute names stay inside' '[F("../../e", "e"), F("/abs", "a"), D("a"), F("a/../b", "b"), F("a//c", "c"), F("./d", "d"), F("/../f", "f")]' \
		-- 'a/' 'a/c=c' 'abs=a' 'b=b' 'd=d' 'e=e' 'f=f'
	accept "the root's metadata" '[D("./", mode=0o700, uid=3, gid=4), F("a")]' -- '/ 0700 3:4 @1000' 'a='
	accept "the root's metadata by .." '[D("..", mode=0o700)]' -- '/ 0700 @1000'
	refuse 'the root as a file' 'root can only be a directory' '[F(".")]'
	refuse 'the root as a symlink' 'root can only be a directory' '[S("/", "x")]'
	refuse 'an empty name' 'empty name' '[F("")]'
	refuse 'a NUL in a name' 'NUL|PAX|path' '[F("a", pax={"path": b"a\0b"})]'
	refuse 'a name of 256 bytes' '255' '[F("n" * 256)]'
	accept 'a name of 255 bytes' '[F("n" * 255)]' -- "$long="
	refuse 'a path of 4,096 bytes' '4095' '[F("/".join(["n" * 255] * 16) + "/")]'
	accept 'a path of 4,095 bytes' '[F("/".join(["n" * 255] * 16))]' -- '#16'
	accept 'names are bytes' '[F(b"\xff\n\t\x01"), F("\u00e9"), F("a b"), F("-rf")]' -- '\377\012\011\001=' '\303\251=' 'a\040b=' '-rf='
	accept 'the same path twice' '[F("a", "1"), F("a", "2"), D("d"), F("d/x", "x"), D("d", mode=0o700)]' -- 'a=2' 'd/ 0700' 'd/x=x'
	accept 'a directory, then a file of its name' '[D("d"), F("d/x"), F("d", "f")]' -- 'd=f'
	accept 'a file, then a directory of its name' '[F("d", "f"), D("d"), F("d/x")]' -- 'd/' 'd/x='
	accept 'parents without an entry' '[F("x/y/z", "z")]' -- 'x/ @0' 'x/y/ @0' 'x/y/z=z'
	accept 'parents that a lower layer has' "$two" '[F("d/n", "n")]' -- 'd/ 0711 5:6' 'd/n=n' 'd/old=o' 'f=1'
	accept 'parents that come later' '[F("x/y", "y"), D("x", mode=0o700)]' -- 'x/ 0700' 'x/y=y'
	accept 'through a symlink of the layer' '[D("t"), S("l", "t"), F("l/x", "x")]' -- 'l->t' 't/' 't/x=x'
	accept 'through an absolute symlink' '[D("t"), S("l", "/t"), F("l/x", "x")]' -- 'l->/t' 't/' 't/x=x'
	accept 'through a symlink that leads out' '[D("t"), S("l", "../../../t"), F("l/x", "x")]' -- 'l->../../../t' 't/' 't/x=x'
	accept 'through a symlink to the root' '[S("l", "/"), F("l/etc/passwd", "x")]' -- 'l->/' 'etc/ @0' 'etc/passwd=x'
	accept 'through a symlink to nothing' '[S("l", "nowhere"), F("l/x", "x")]' -- 'l->nowhere' 'nowhere/ @0' 'nowhere/x=x'
	accept 'through a symlink of a lower layer' '[D("t", mode=0o711), S("l", "t")]' '[F("l/x", "x")]' -- 'l->t' 't/ 0711' 't/x=x'
	accept 'through two symlinks of a lower layer' '[D("t"), D("t/u"), S("l", "t"), S("t/m", "/l/u")]' '[F("l/m/x", "x")]' \
		-- 'l->t' 't/' 't/m->/l/u' 't/u/' 't/u/x=x'
	accept 'a whiteout through a symlink of a lower layer' '[D("t"), F("t/x"), S("l", "t")]' '[W("l/x")]' -- 'l->t' 't/'
	refuse 'a symlink loop' 'entry .*loop' '[S("l", "l"), F("l/x")]'
	refuse 'a symlink loop of a lower layer' 'loop|circle' '[S("l", "m"), S("m", "l")]' '[F("l/x")]'
	refuse 'a parent that is a file' 'entry .*no directory' '[F("f"), F("f/x")]'
	refuse 'a parent that is a file of a lower layer' 'director' '[F("f")]' '[F("f/x")]'
	refuse 'a parent that is a fifo' 'entry .*no directory' '[P("f"), F("f/x")]'
	accept 'd/../x by its words' '[D("a"), D("a/b"), S("d", "a/b"), F("d/../x", "x")]' -- 'a/' 'a/b/' 'd->a/b' 'x=x'
	accept 'a file with a trailing slash is a directory' '[F("q/", mode=0o755)]' -- 'q/'
	refuse 'an empty symlink' 'empty symlink' '[S("s", "")]'
	accept 'a long symlink' '[S("s", "t" * 4095)]' -- "s->$(printf 't%.0s' {1..4095})"
	refuse 'a symlink too long' 'too long' '[S("s", "t" * 4096)]'
	finish 36
}

test_links() {
	accept 'to a file of a lower layer' "$two" '[L("g", "f")]' -- 'd/ 0711 5:6' 'd/old=o' 'f=1' 'g=1 ==f'
	accept 'to a file two layers down' '[F("f", "1")]' '[F("x")]' '[L("g", "f"), L("h", "g")]' -- 'f=1' 'g=1 ==f' 'h=1 ==f' 'x='
	accept 'a chain of them' '[F("a", "1"), L("b", "a"), L("c", "b"), D("d"), L("d/e", "/c")]' -- 'a=1' 'b=1 ==a' 'c=1 ==a' 'd/' 'd/e=1 ==a'
	accept 'a target with .. stays inside' '[F("a", "1"), L("b", "../../a"), L("c", "./a")]' -- 'a=1' 'b=1 ==a' 'c=1 ==a'
	accept "a link's metadata is the inode's" '[F("a", "1"), L("b", "a", mode=0o600, uid=7)]' -- 'a=1 0600 7:0' 'b=1 0600 7:0 ==a'
	accept 'to a symlink' '[S("s", "t"), L("h", "s")]' -- 'h->t' 's->t ==h'
	accept 'to a fifo and a device' '[P("p"), L("q", "p"), C("c", 1, 3), L("e", "c")]' -- 'p|' 'q| ==p' 'c(1:3)' 'e(1:3) ==c'
	accept 'to what is replaced later' '[F("a", "1"), L("b", "a"), F("a", "2")]' -- 'a=2' 'b=1'
	accept 'through a symlink' '[D("d"), F("d/f", "1"), S("l", "d"), L("h", "l/f")]' -- 'd/' 'd/f=1' 'h=1 ==d/f' 'l->d'
	accept 'through a symlink of a lower layer' '[D("d"), F("d/f", "1"), S("l", "d")]' '[L("h", "l/f")]' -- 'd/' 'd/f=1' 'h=1 ==d/f' 'l->d'
	accept 'one name of a lower set whited out' '[F("a", "1"), L("b", "a")]' '[W("a")]' -- 'b=1'
	refuse 'forward' 'entry .*hard link|hard link to .*a' '[L("b", "a"), F("a")]'
	refuse 'to a directory' 'hard link to the directory' '[D("d"), L("h", "d")]'
	refuse 'to a directory of a lower layer' 'hard link|directory' '[D("d")]' '[L("h", "d")]'
	refuse 'to the root' 'hard link to the directory' '[L("h", "/")]'
	refuse 'to itself' 'hard link to itself' '[L("h", "h")]'
	refuse 'to itself, which a lower layer has' 'hard link to itself' '[F("h")]' '[L("h", "./h")]'
	refuse 'to nothing' 'hard link' '[L("h", "nix")]'
	refuse 'outside' 'hard link' '[L("h", "../../../../etc/passwd")]'
	refuse 'with data' 'hard link with data' '[F("a"), L("h", "a", data="x")]'
	refuse 'to what the layer whites out before' 'hard link' "$two" '[W("f"), L("g", "f")]'
	refuse 'to what the layer whites out after' 'hard link' "$two" '[L("g", "f"), W("f")]'
	refuse 'to what the layer hides' 'hard link' "$two" '[L("g", "d/old"), O("d")]'
	refuse 'to what the layer whites out with its directory' 'hard link' "$two" '[L("g", "d/old"), W("d")]'
	finish 24
}

test_numbers() {
	accept 'ids up to 2^32-2' '[F("a", pax={"uid": "4294967294", "gid": "65536"}), F("b", uid=4294967294, gid=2097152)]' \
		-- 'a= 4294967294:65536' 'b= 4294967294:2097152'
	refuse 'uid 2^32-1' 'uid is out of range' '[F("a", pax={"uid": "4294967295"})]'
	refuse 'uid 2^32+5' 'uid is out of range' '[F("a", pax={"uid": "4294967301"})]'
	refuse 'uid 2^32+5 in base 256' 'uid is out of range' '[F("a", uid=4294967301)]'
	refuse 'a negative uid' 'uid is out of range' '[F("a", pax={"uid": "-1"})]'
	refuse 'a negative gid in base 256' 'gid is out of range' '[F("a", gid=-2)]'
	refuse 'a gid beyond 64 bits' 'gid' '[F("a", pax={"gid": "18446744073709551617"})]'
	refuse 'a uid that is no number' 'uid' '[F("a", pax={"uid": "root"})]'
	refuse 'a mode that is no number' 'mode is no number' '[F("a", mode=b"rwxr-x")]'
	accept 'nanoseconds' '[F("a", pax={"mtime": "1.5"}), F("b", pax={"mtime": "1700000000.123456789"})]' \
		-- 'a= @1.500000000' 'b= @1700000000.123456789'
	accept 'before 1970' '[F("a", pax={"mtime": "-1.25"}), F("b", mtime=-86400)]' -- 'a= @-2.750000000' 'b= @-86400'
	accept 'far in the future' '[F("a", pax={"mtime": "253402300800"}), F("b", mtime=99999999999)]' -- 'a= @253402300800' 'b= @99999999999'
	refuse 'a time beyond 64 bits' 'mtime' '[F("a", pax={"mtime": "9223372036854775808"})]'
	refuse 'a time beyond 64 bits in base 256' 'mtime' '[F("a", mtime=1 << 70)]'
	accept 'permissions' '[F("a", mode=0o4755), D("d", mode=0o1777), F("b", mode=0o102755), F("c", mode=0)]' -- 'a= 4755' 'b= 2755' 'c= 0000' 'd/ 1777'
	accept 'devices and a fifo' '[C("c", 1, 3), B("b", 7, 200), C("e", 4095, 1048575), P("p", mode=0o600), C("z", 0, 1)]' \
		-- 'b[7:200]' 'c(1:3)' 'e(4095:1048575)' 'p| 0600' 'z(0:1)'
	refuse 'a major beyond 12 bits' 'device number' '[C("c", 4096, 0)]'
	refuse 'a minor beyond 20 bits' 'device number' '[B("c", 1, 1048576)]'
	refuse 'a negative size' 'size is out of range' '[F("a", size=-1)]'
	refuse 'a size that is no number' 'size is no number' '[F("a", size=b"12x")]'
	refuse 'a symlink with data' 'data' '[S("s", "t", data="x")]'
	refuse 'a fifo with data' 'data' '[P("p", data="x")]'
	refuse 'a directory in disguise with data' 'data' '[F("d/", "x")]'
	refuse 'an unknown type' 'unknown type' '[F("a", kind="Z")]'
	refuse 'a volume label' 'unknown type' '[F("a", kind="V")]'
	accept 'types that are regular files' '[F("a", "7", kind="7"), F("b", "0", kind="\0")]' -- 'a=7' 'b=0'
	accept 'an old header without magic' '[F("a", "x", magic=bytes(8))]' -- 'a=x'
	finish 27
}

test_headers() {
	local deep='"/".join(["deep"] * 60)' v call
	accept 'a prefix' '[F("b", "x", prefix="a")]' -- 'a/ @0' 'a/b=x'
	accept 'a long path and a long target' "[F($deep, 'x'), S('s', $deep)]" -- '#61'
	accept 'GNU long names' '[GNU("L", "l" * 200), F("l" * 100, "x"), GNU("K", "k" * 150), S("s", "k" * 100)]' \
		-- "$(printf 'l%.0s' {1..200})=x" "s->$(printf 'k%.0s' {1..150})"
	accept 'a global header' '[G({"mtime": "77", "uid": "5"}), F("a"), F("b", pax={"uid": "6"}), S("s", "t")]' \
		-- 'a= 5:0 @77' 'b= 6:0 @77' 's->t 5:0 @77'
	accept 'global headers add up' '[G({"uid": "5"}), F("a"), G({"gid": "6"}), F("b")]' -- 'a= 5:0' 'b= 5:6'
	accept 'an empty value deletes' '[G({"uid": "5"}), F("a", uid=9, pax={"uid": ""})]' -- 'a= 9:0'
	accept 'an unknown keyword' '[F("a", pax={"VENDOR.x": "y", "comment": "hi", "atime": "1", "uname": "root"})]' -- 'a='
	refuse 'a global size' 'global header gives the size' '[G({"size": "5"}), F("a")]'
	refuse 'two PAX headers for one entry' "two 'x' headers" '[X({"uid": "1"}), X({"gid": "1"}), F("a")]'
	refuse 'two long names for one entry' "two 'L' headers" '[GNU("L", "a"), GNU("L", "b"), F("c")]'
	refuse 'two long targets for one entry' "two 'K' headers" '[GNU("K", "a"), GNU("K", "b"), S("c", "d")]'
	refuse 'contradicting names' 'different names' '[GNU("L", "a"), X({"path": "b"}), F("c")]'
	refuse 'contradicting targets' 'different link targets' '[GNU("K", "a"), X({"linkpath": "b"}), S("c", "d")]'
	refuse 'a dangling PAX header' 'header without an entry' '[F("a"), X({"uid": "1"})]'
	refuse 'a dangling long name' 'header without an entry' '[GNU("L", "a")]'
	refuse 'a dangling PAX header without end blocks' 'header without an entry' 'tar([X({"uid": "1"})], b"")'
	refuse 'a global header in between' 'global header between' '[X({"uid": "1"}), G({"gid": "1"}), F("a")]'
	refuse 'a record with a wrong length' 'PAX|record' '[X(b"99 uid=1\n"), F("a")]'
	refuse 'a record without a newline' 'PAX|record' '[X(b"8 uid=12"), F("a")]'
	refuse 'a record without =' 'PAX|record' '[X(b"9 uid 12\n"), F("a")]'
	refuse 'a record without a length' 'PAX|record' '[X(b"uid=1\n"), F("a")]'
	refuse 'a record of length 0' 'PAX|record' '[X(b"0 uid=1\n"), F("a")]'
	refuse 'a record without a key' 'PAX|record' '[X(b"5 =1\n"), F("a")]'
	refuse 'an empty header' 'empty' '[X(b""), F("a")]'
	refuse 'a truncated header' 'truncated' 'X({"comment": "c" * 2000})[:1024]'
	local hole='\000\000\000\000\000\000\000\000'
	accept 'GNU sparse, old' "[sparse_old('s', 20, [(8, 4)], 'DATA'), F('n', 'n')]" -- "s=${hole}DATA$hole" 'n=n'
	accept 'GNU sparse, old, continued' "[sparse_old('s', 20, [(0, 1), (2, 1), (4, 1), (6, 1)], 'abcdef', [(8, 1), (19, 1)]), F('n', 'n')]" \
		-- 's=a\000b\000c\000d\000e\000\000\000\000\000\000\000\000\000\000f' 'n=n'
	for v in 0.0 0.1 1.0; do
		accept "GNU sparse $v" "[sparse_pax('$v', 's', 20, [(8, 4)], 'DATA'), F('n', 'n')]" -- "s=${hole}DATA$hole" 'n=n'
	done
	accept 'a sparse file of holes' "[sparse_old('s', 20, [(20, 0)], ''), F('n', 'n')]" -- "s=$hole$hole\\000\\000\\000\\000" 'n=n'
	for v in old 0.0 0.1 1.0; do
		call="sparse_pax('$v', "
		[ $v != old ] || call='sparse_old('
		refuse "sparse $v: overlap" 'sparse map' "[$call's', 20, [(8, 4), (10, 4)], 'DATADATA')]"
		refuse "sparse $v: backwards" 'sparse map' "[$call's', 20, [(12, 4), (0, 4)], 'DATADATA')]"
		refuse "sparse $v: beyond the size" 'sparse map' "[$call's', 20, [(18, 4)], 'DATA')]"
		refuse "sparse $v: more data than the map has" 'sparse map' "[$call's', 20, [(8, 2)], 'DATA')]"
		refuse "sparse $v: less data than the map has" 'sparse map' "[$call's', 20, [(8, 6)], 'DATA')]"
	done
	finish 51
}

# a sparse file keeps its holes, in the store and in the mount
test_holes() {
	local m
	row=holes
	make "[sparse_pax('1.0', 's', 1 << 30, [((1 << 30) - 4096, 4096)], 'x' * 4096)]"
	snap --quiet pull oci:lay:latest --name i:1
	[ "$(du -sk "$SNAP_ROOT" | cut -f1)" -lt 4096 ] || fail "the store holds $(du -sk "$SNAP_ROOT")"
	enter k i:1 m
	kernel_view kernel
	for m in m kernel; do
		is "$(stat -c %s $m/s)" $((1 << 30)) "$m: size"
		is "$(tail -c 4097 $m/s | head -c 3 | od -An -tx1 | tr -d ' ')" 007878 "$m: the border of the hole"
	done
	cmp m/s kernel/s
}

test_xattrs() {
	local m
	accept 'kept' '[F("a", pax={"SCHILY.xattr.user.x": "1", "SCHILY.xattr.trusted.y": b"\0\xff", "SCHILY.xattr.security.capability": b"\1\0\0\2\0\4\0\0" + bytes(12)}), D("d", pax={"SCHILY.xattr.user.d": "dir"})]' \
		-- 'a= {security.capability=\001\000\000\002\000\004\000\000\000\000\000\000\000\000\000\000\000\000\000\000} {trusted.y=\000\377} {user.x=1}' 'd/ {user.d=dir}'
	accept 'as libarchive writes them' '[F("a", pax={"LIBARCHIVE.xattr.user.a%3Db": "dmFsdWU"})]' -- 'a= {user.a=b=value}'
	accept 'an empty value deletes' '[G({"SCHILY.xattr.user.x": "1"}), F("a"), F("b", pax={"SCHILY.xattr.user.x": ""})]' -- 'a= {user.x=1}' 'b='
	accept "SELinux labels are the host's" '[F("a", pax={"SCHILY.xattr.security.selinux": "x"})]' -- 'a='
	accept 'marks of unions' '[D("d"), F("d/x")]' \
		'[D("d", pax={"SCHILY.xattr.trusted.overlay.opaque": "y", "SCHILY.xattr.user.overlay.opaque": "y", "SCHILY.xattr.user.fuseoverlayfs.opaque": "y", "SCHILY.xattr.trusted.overlay.redirect": "/etc"}), F("a", pax={"SCHILY.xattr.user.containers.override_stat": "1:1:0777", "SCHILY.xattr.trusted.snap.link": "d"})]' \
		-- 'a=' 'd/' 'd/x='
	accept 'name spaces that the kernel has not' '[F("a", pax={"SCHILY.xattr.com.apple.x": "1", "SCHILY.xattr.system.nix": "1"})]' -- 'a='
	accept 'user.* where it cannot be' '[S("s", "t", pax={"SCHILY.xattr.user.x": "1"}), P("p", pax={"SCHILY.xattr.user.x": "1"}), C("c", 1, 3, pax={"SCHILY.xattr.trusted.x": "1"})]' \
		-- 'c(1:3) {trusted.x=1}' 'p|' 's->t'
	refuse 'a value of 65,537 bytes' 'xattr' '[F("a", pax={"SCHILY.xattr.user.x": "v" * 65537})]'
	refuse 'a name of 256 bytes' 'xattr' '[F("a", pax={"SCHILY.xattr.user." + "x" * 251: "v"})]'
	refuse 'an ACL that is none' 'ACL' '[F("a", pax={"SCHILY.xattr.system.posix_acl_access": "xyz"})]'
	refuse 'an ACL text that is none' 'ACL' '[F("a", pax={"SCHILY.acl.access": "user::rwx,nonsense"})]'
	row='a dropped one is told' rows=$((rows + 1))
	make '[D("d", pax={"SCHILY.xattr.trusted.overlay.opaque": "y"})]'
	rm -rf "$SNAP_ROOT"
	snap pull oci:lay:latest >/dev/null 2>pull.err || wrong "$(cat pull.err)"
	grep -q 'trusted.overlay.opaque.*dropped' pull.err || wrong "no warning: $(cat pull.err)"
	row='ACL text' rows=$((rows + 1))
	make '[F("a", mode=0o640, pax={"SCHILY.acl.access": "user::rw-,user:1001:r--:1001,group::r--,mask::r--,other::---"}), D("d", pax={"SCHILY.acl.default": "user::rwx,group::r-x,other::---"})]'
	rm -rf "$SNAP_ROOT"
	snap --quiet pull oci:lay:latest --name i:1
	enter k i:1 m
	kernel_view kernel
	for m in m kernel; do
		getfacl -cpnE $m/a >got.acl
		grep -qx 'user:1001:r--' got.acl || wrong "$m: $(cat got.acl)"
		getfacl -cpnE $m/d >got.acl
		grep -qx 'default:group::r-x' got.acl || wrong "$m: $(cat got.acl)"
	done
	finish 13
}

# Budgets: stopped by default, the error names the budget and its flag, and the flag works.
test_budgets() {
	local f3='[F("a", "x" * 5000), F("b"), F("d/e/f/g")]' name
	for name in bytes=4096 entries=2 depth=3 meta-bytes=2; do
		pull=(--limit "$name")
		refuse "--limit $name" "budget '${name%=*}' of ${name#*=}.*--limit ${name%=*}=" "$f3"
	done
	pull=(--limit header-bytes=500)
	refuse 'header-bytes' "budget 'header-bytes'.*--limit header-bytes=" '[F("a", pax={"comment": "c" * 600})]'
	pull=(--limit xattr-bytes=100)
	refuse 'xattr-bytes' "budget 'xattr-bytes'.*--limit xattr-bytes=" '[F("a", pax={"SCHILY.xattr.user.x": "c" * 600})]'
	pull=()
	refuse 'a PAX header of 300 MB' "budget 'header-bytes'.*--limit" 'Blob(header("pax", "x", 300 << 20))'
	refuse 'a path 10,000 deep' "4095|budget 'depth'" '[F("d/" * 10000 + "f")]'
	refuse 'a path 2,500 deep by a symlink' "budget 'depth'.*--limit" '[D("d/" * 2000), S("l", "d/" * 2000), F("l/" + "e/" * 500 + "f")]'
	pull=(--limit entries=3)
	accept 'a budget that is kept' '[F("a"), F("b"), F("c")]' -- 'a=' 'b=' 'c='
	refuse 'a PAX header of 600 KB' "budget 'header-bytes' of 524288.*--limit" '[F("a", pax={"comment": "c" * 600000})]'
	pull=(--limit header-bytes=1M)
	accept 'a budget that is raised' '[F("a", pax={"comment": "c" * 1000000})]' -- 'a='
	pull=()
	once=1 # these take seconds
	refuse '2,000,001 entries' "budget 'entries' of 2000000.*--limit" \
		'Blob(b"", gz(tar(many(10000, lambda k: F("f%d" % k)), b"")) * 201, diff_id=digest(b"no"))'
	refuse 'gzip 1000 times' "budget 'ratio' of 200.*--limit" 'Blob(b"", gz(bytes(16 << 20), 9) * 70, diff_id=digest(b"no"))'
	refuse 'zstd 30000 times with a large window' "budget 'ratio' of 200.*--limit" \
		'Blob(b"", zst_run(9000), ZSTD, diff_id=digest(b"no"))'
	unset once
	finish 15
	refused 2 'nonsense' snap pull --limit nonsense=1 oci:lay:latest
}

# CVE-2021-41103, CVE-2024-25621: whatever the umask, nobody else gets into the store
test_store_is_private() {
	local folder
	umask 0
	python3 "$LIB/mklayer.py" lay '[F("suid", mode=0o4755), D("t", mode=0o1777)]'
	snap --quiet pull oci:lay:latest --name i:1
	enter k i:1 m
	echo x >m/t/new
	is "$(stat -c %a m/suid)" 4755 'mode of the setuid file'
	snap umount m
	is "$(stat -c %a "$SNAP_ROOT")" 700 'mode of the store'
	for folder in blobs layers chains tmp snapshots; do
		is "$(stat -c %a "$SNAP_ROOT/$folder")" 700 "mode of $folder"
	done
	is "$(find "$SNAP_ROOT" -perm -4000 | wc -l)" 0 'setuid files in the store'
}

# What CVEs were about in others, beyond the rows above
test_mount_holds_nothing_of_its_starter() { # CVE-2024-21626
	echo secret >secret
	python3 "$LIB/mklayer.py" lay "$one"
	snap --quiet pull oci:lay:latest --name i:1
	snap --quiet prepare k i:1
	mkdir m
	snap --quiet mount k m --engine fuse 9<secret 8<. >stdout 2>stderr
	local pid
	pid=$(pgrep -x snapfs)
	[ "$(wc -w <<<"$pid")" = 1 ] || fail "snapfs: $pid"
	readlink "/proc/$pid"/fd/* >fds
	grep -q fuse fds || fail "not the server's fds: $(cat fds)"
	! grep -E 'secret|/t$|stdout|stderr|meta.db' fds || fail "the server holds them"
	is "$(readlink "/proc/$pid/cwd")" / 'working directory'
}
test_suid_does_not_survive_a_write() { # CVE-2023-0386, and what a mount allows
	python3 "$LIB/mklayer.py" lay '[F("suid", "x", mode=0o4777), F("sgid", "x", mode=0o2777), F("null", "x", mode=0o666), C("dev", 1, 3, mode=0o666)]'
	snap --quiet pull oci:lay:latest --name i:1
	enter k i:1 m
	grep ' - fuse[.]' /proc/self/mountinfo >mi
	grep -q 'nosuid,nodev' mi || fail "a mount is not nosuid,nodev by default: $(cat mi)"
	! : 2>/dev/null >m/dev || fail "a device can be opened"
	is "$(stat -c %a m/suid m/sgid | paste -sd' ')" '4777 2777' 'modes before'
	setpriv --reuid=12345 --regid=12345 --clear-groups sh -c 'echo more >>m/suid && echo more >>m/sgid' || fail "others cannot write"
	is "$(stat -c '%a %u' m/suid m/sgid | paste -sd' ')" '777 0 777 0' 'modes after a write by another'
	snap umount m
	snap --quiet mount k m --engine fuse -o suid,dev
	is "$(stat -c %a m/suid m/sgid | paste -sd' ')" '777 777' 'modes after a remount'
	: >m/dev || fail "with -o dev a device cannot be opened"
}
test_a_view_cannot_be_written() {
	python3 "$LIB/mklayer.py" lay "$two"
	snap --quiet pull oci:lay:latest --name i:1
	snap --quiet view v i:1
	mkdir m
	local engine
	for engine in fuse kernel; do
		snap --quiet mount v m --engine $engine
		is "$(cat m/d/old)" o content
		! LC_ALL=C sh -c 'echo x >m/f' 2>err || fail "$engine: a view was written"
		grep -q 'Read-only file system' err || fail "$engine: $(cat err)"
		! rm -f m/f 2>err || fail "$engine: a view was changed"
		snap umount m
	done
	refused 1 'v' snap commit c v
}
test_platforms() {
	python3 "$LIB/mklayer.py" lay --index 'c2 = config.replace(b"amd64", b"arm64"); m2 = manifest.replace(digest(config).encode(), digest(c2).encode())
files[blob_path(digest(c2))] = c2; files[blob_path(digest(m2))] = m2
d = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
	desc(m2, MANIFEST, platform={"os": "linux", "architecture": "arm64", "variant": "v8"}),
	desc(manifest, MANIFEST, platform={"os": "linux", "architecture": "amd64"}),
	desc(manifest + b" ", MANIFEST, platform={"os": "unknown", "architecture": "unknown"})]}).encode()
files[blob_path(digest(d))] = d
i["manifests"] = [desc(d, INDEX, annotations=entry["annotations"])]' "$one"
	local want
	for want in linux/amd64:amd64 linux/arm64:arm64 linux/arm64/v8:arm64; do
		snap --quiet pull oci:lay:latest --name "p:${want#*:}" --platform "${want%:*}"
		is "$(snap --json inspect "p:${want#*:}" | jq -r .config.architecture)" "${want#*:}" "--platform ${want%:*}"
	done
	refused 1 'no image for platform linux/s390x.*linux/arm64' snap pull oci:lay:latest --platform linux/s390x
	is "$(snap --json images | jq length)" 2 images
}
# A store that was damaged: one changed byte anywhere is seen by fsck, which names the file; and no damage makes
# a mount do anything but fail or answer.
test_damaged_store() {
	local files=() file at size
	python3 "$LIB/mklayer.py" lay "$two" '[F("n", "new" * 500), sparse_old("s", 4096, [(0, 512)], "x" * 512)]'
	snap --quiet pull oci:lay:latest --name i:1
	mkdir m
	snap fsck >fsck.out || fail "fsck: $(cat fsck.out)"
	mapfile -t files < <(cd "$SNAP_ROOT" && find blobs layers chains -type f -size +0 | sort)
	[ "${#files[@]}" -ge 10 ] || fail "files: ${files[*]}"
	RANDOM=${DAMAGE_SEED:=$RANDOM}
	echo "DAMAGE_SEED=$DAMAGE_SEED"
	for file in "${files[@]}"; do
		row=$file
		cp -p "$SNAP_ROOT/$file" saved
		size=$(stat -c %s saved)
		for _ in 1 2 3; do
			at=$((RANDOM * 32768 + RANDOM))
			at=$((at % size))
			python3 -c 'import sys
f = open(sys.argv[1], "r+b"); f.seek(int(sys.argv[2])); c = f.read(1)[0]; f.seek(-1, 1); f.write(bytes([c ^ int(sys.argv[3])]))' \
				"$SNAP_ROOT/$file" $at $((1 << RANDOM % 8))
			! timeout 60 snap fsck >fsck.out 2>&1 || wrong "fsck does not see byte $at"
			grep -q "$(basename "$(dirname "$file")")\|$(basename "$file")" fsck.out || wrong "fsck does not name it: $(cat fsck.out)"
			snap --quiet prepare k i:1 >/dev/null 2>&1 || :
			if timeout 20 snap --quiet mount k m --engine fuse >mount.out 2>&1; then
				timeout 20 tar cf - m >/dev/null 2>tar.err || :
				pgrep -x snapfs >/dev/null || wrong "byte $at: the server is gone"
				snap umount m || wrong "byte $at: no umount"
			fi
			snap rm k 2>/dev/null || :
			cp -p saved "$SNAP_ROOT/$file"
		done
	done
	snap fsck >fsck.out || fail "fsck after the damage was undone: $(cat fsck.out)"
	[ $bad = 0 ] || fail "$bad of $((3 * ${#files[@]}))"
}
