# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# images
# Images from and to archives and registries: the same layers and digests whatever way they come, and what
# others write and read.

chains() { # REF: the layers' chain ids
	snap --json inspect "$1" | jq -rec '[.layers[].chain_id]'
}
two_layers() { # makes d:1, small
	mkdir one two && head -c 300000 /dev/urandom >one/data && ln -s data one/link && echo two >two/file
	image_of base:1 one
	snap prepare two base:1 >/dev/null
	mkdir two.mnt
	snap --quiet mount two two.mnt --engine fuse
	cp -a two/. two.mnt/
	snap umount two.mnt
	snap --quiet commit --image d:1 two --timestamp 1700000000
	snap rm two
	snap rmi base:1
}
digest_of() { snap --json inspect "$1" | jq -re .digest; }

test_archives() {
	local want d
	snap --quiet pull "oci:$IMAGES/DEBIAN:latest" --name d:1
	want=$(chains d:1)
	d=$(digest_of d:1)
	# ours: read by us, skopeo and podman
	snap push d:1 oci-archive:ours.tar:v1 >push.out
	is "$(cat push.out)" "$d" 'the digest pushed'
	is "$(skopeo inspect oci-archive:ours.tar:v1 | jq -r .Digest)" "$d" 'what skopeo sees'
	skopeo copy -q oci-archive:ours.tar:v1 dir:copied # verifies every blob
	snap push d:1 oci-archive:again.tar:v1 >/dev/null
	cmp ours.tar again.tar
	is "$(SNAP_ROOT=$PWD/b snap pull oci-archive:ours.tar --json | jq -r .digest)" "$d" 'pulled from our archive'
	# skopeo's: oci-archive, and docker-archive with the same contents
	skopeo copy -q "oci:$IMAGES/DEBIAN:latest" oci-archive:theirs.tar:x
	SNAP_ROOT=$PWD/c snap --quiet pull oci-archive:theirs.tar:x --name d:1
	is "$(SNAP_ROOT=$PWD/c digest_of d:1)" "$d" 'pulled from skopeo'
	skopeo copy -q "oci:$IMAGES/DEBIAN:latest" docker-archive:docker.tar:docker.io/library/debian:12
	SNAP_ROOT=$PWD/e snap pull docker-archive:docker.tar >pull.out 2>/dev/null
	is "$(cat pull.out)" docker.io/library/debian:12 'the name'
	is "$(SNAP_ROOT=$PWD/e chains docker.io/library/debian:12)" "$want" 'chain ids of docker-archive'
	SNAP_ROOT=$PWD/e snap --quiet fsck
	# what was made of it is an image like any other
	SNAP_ROOT=$PWD/e snap push docker.io/library/debian:12 oci:made:1 >/dev/null
	skopeo copy -q oci:made:1 dir:made.copy
	refused 1 'no image is tagged' env SNAP_ROOT="$PWD/e" snap pull docker-archive:docker.tar:nix
	refused 1 'no image with tag' snap pull oci-archive:theirs.tar:nix
}
test_podman_save() {
	local run p
	run=$(mktemp -d /tmp/snap-pr.XXXXXX) # podman takes no longer name
	# shellcheck disable=SC2064 # now
	trap "rm -rf '$run'" EXIT
	p=(podman --root "$PWD/pr" --runroot "$run" --storage-driver vfs)
	two_layers
	snap push d:1 oci-archive:in.tar:v1 >/dev/null
	"${p[@]}" load -q -i in.tar >load.out || fail "podman load: $(cat load.out)"
	"${p[@]}" tag "$("${p[@]}" images -q)" localhost/deb:1
	"${p[@]}" save -q -o docker.tar localhost/deb:1
	"${p[@]}" save -q --format oci-archive -o oci.tar localhost/deb:1
	snap --quiet pull docker-archive:docker.tar --name docker:1
	snap --quiet pull docker-archive:docker.tar:localhost/deb:1 --name docker:2
	snap --quiet pull oci-archive:oci.tar --name oci:1
	is "$(chains docker:1)" "$(chains d:1)" 'chain ids of podman save'
	is "$(chains oci:1)" "$(chains d:1)" 'chain ids of podman save --format oci-archive'
	is "$(snap --json images | jq 'length')" 4 images
	"${p[@]}" rmi -af >/dev/null
}
test_hostile_archives() {
	local n
	mkdir small && head -c 300000 /dev/urandom >small/data
	image_of small:1 small
	snap push small:1 oci-archive:good.tar:x >/dev/null
	rm -rf "$SNAP_ROOT"
	n=$(stat -c %s good.tar)
	head -c $((n / 2)) good.tar >cut.tar
	refused 1 'cut short' snap pull oci-archive:cut.tar
	gzip -1c good.tar >good.tar.gz
	refused 1 'compressed' snap pull oci-archive:good.tar.gz
	mkdir -p x/blobs && ln -s /etc/passwd x/blobs/sha256 && tar -cf links.tar -C x .
	refused 1 'leads out' snap pull oci-archive:links.tar
	(cd x && : >oci-layout) && tar -cf twice.tar -C x oci-layout oci-layout --hard-dereference
	tar -rf twice.tar -C x oci-layout
	refused 1 'two members' snap pull oci-archive:twice.tar
	refused 1 'no regular file' snap pull oci-archive:/dev/null
	refused 1 'no docker archive' snap pull docker-archive:good.tar
	refused 1 'No such file' snap pull docker-archive:nix.tar
	python3 - <<'PY'
import tarfile
src = tarfile.open("good.tar")
out = tarfile.open("wrong.tar", "w")
biggest = max((m for m in src if m.isfile()), key=lambda m: m.size)
for m in src:
    f = src.extractfile(m) if m.isfile() else None
    if m.name == biggest.name:
        import io
        data = bytearray(f.read())
        data[len(data) // 2] ^= 1
        f = io.BytesIO(data)
    out.addfile(m, f)
out.close()
PY
	refused 1 'digest does not match' snap pull oci-archive:wrong.tar
	is "$(snap --json images | jq -c .)" '[]' images
	is "$(find "$SNAP_ROOT"/{blobs,layers,chains,tmp} -type f | wc -l)" 0 'files of refused images'
}
