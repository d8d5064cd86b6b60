# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# A committed image is what the container saw, for every tool that reads images.

# The parent: everything that the changes below need.
parent() {
	mkdir -p base/{etc,keep,opq/sub,gone/deep,moved/sub,type1,bin}
	echo conf >base/etc/conf && echo same >base/etc/same && echo mode >base/etc/mode && echo own >base/etc/own
	echo 1 >base/keep/a && ln base/keep/a base/keep/b && echo x >base/opq/old && echo y >base/opq/sub/y
	echo z >base/gone/deep/z && echo m >base/moved/m && echo n >base/moved/sub/n
	echo t >base/type1/t && echo t >base/type2 && ln -s etc base/type3 && head -c 200000 /dev/urandom >base/big
	echo attr >base/etc/attr && setfattr -n user.was -v here base/etc/attr
	cp /bin/true base/bin/prog
	touch "base/gone-$(printf 'n%.0s' {1..250})"
	touch -d '2003-04-05 06:07:08.5' base/etc/* base/keep/*
	image_of localhost/base:1 base
}
# All kinds of changes, in the mount at $1.
change() {
	echo new >"$1/added" && mkdir -p "$1/new/dir" && echo n >"$1/new/dir/n" && mkfifo "$1/new/fifo"
	echo more >>"$1/etc/conf"
	rm -r "$1/gone" "$1"/gone-n* && rm "$1/keep/b" && ln "$1/keep/a" "$1/keep/c"
	rm -r "$1/opq" && mkdir "$1/opq" && echo fresh >"$1/opq/fresh"
	mv "$1/moved" "$1/renamed" && echo in >"$1/renamed/in"
	rm -r "$1/type1" && echo file >"$1/type1"
	rm "$1/type2" && mkdir "$1/type2" && echo f >"$1/type2/f"
	rm "$1/type3" && mkdir "$1/type3"
	chmod 4755 "$1/etc/mode" && chown 12:34 "$1/etc/own"
	setfattr -n user.was -v changed "$1/etc/attr" && setfattr -n user.new -v 1 "$1/etc/attr"
	echo linked >"$1/l1" && ln "$1/l1" "$1/new/l2" && ln -s ../l1 "$1/new/soft"
	truncate -s 8M "$1/sparse" && printf end | dd of="$1/sparse" bs=1 seek=5000000 conv=notrunc status=none
	mknod "$1/dev" c 1 7
	echo x >"$1/$(printf 'odd\xff\nname')"
	touch "$1/short-lived" && rm "$1/short-lived"
	mkdir -p "$1/opq/tmp" && rmdir "$1/opq/tmp"
	touch -d '2010-11-12 13:14:15.987654321' "$1/added"
}
committed() { # the parent, changed, as localhost/new:1 and as the layout ./out; mounted at ./mnt
	parent
	enter c localhost/base:1 mnt
	change mnt
	snap --quiet commit --image localhost/new:1 c --message 'a test' --author me --change 'CMD ["/bin/prog"]' --change 'ENV A=b'
	snap push localhost/new:1 oci:out:1 >/dev/null
}
layer_names() { # of the last layer of the layout, in the tar's order
	local digest
	digest=$(skopeo inspect --raw oci:out:1 | jq -r '.layers[-1].digest | sub("sha256:"; "")')
	tar -tzf "out/blobs/sha256/$digest"
}

test_unpacked_equals_what_the_container_saw() {
	committed
	umoci raw unpack --image out:1 unpacked >/dev/null
	treecmp mnt unpacked
	snap prepare d localhost/new:1 >/dev/null
	mkdir again
	snap --quiet mount d again --engine fuse
	treecmp --ignore dir-mtime mnt again
	remount c mnt
	treecmp mnt unpacked
	snap umount mnt
	snap umount again
}
test_skopeo_and_umoci_read_it() {
	committed
	skopeo inspect oci:out:1 >/dev/null
	is "$(skopeo inspect --config oci:out:1 | jq -c '[.config.Cmd, .author, [.history[-3:][] | [.created_by, .comment, .empty_layer]], (.rootfs.diff_ids | length)]')" \
		'[["/bin/prog"],"me",[["snap commit","a test",null],["/bin/sh -c #(nop) CMD [\"/bin/prog\"]",null,true],["/bin/sh -c #(nop) ENV A=b",null,true]],2]' 'the configuration'
	skopeo copy -q oci:out:1 oci:copy:1
	umoci stat --image out:1 >/dev/null
	umoci raw unpack --image copy:1 unpacked >/dev/null
	[ -f unpacked/added ] || fail 'the copy lacks a file'
	snap umount mnt
}
test_podman_runs_it() {
	command -v podman >/dev/null || fail 'no podman: scripts/setup'
	[ -f "$IMAGES/DEBIAN/index.json" ] || fail "no DEBIAN in $IMAGES"
	snap --quiet pull "oci:$IMAGES/DEBIAN:latest" --name localhost/debian:1 >/dev/null
	enter c localhost/debian:1 mnt
	printf '#!/bin/sh\ncat /srv/said; [ ! -e /etc/debian_version ]\n' >mnt/srv/say && chmod 755 mnt/srv/say
	echo 'hello from a commit' >mnt/srv/said && rm mnt/etc/debian_version
	snap --quiet commit --image localhost/said:1 c --change 'CMD ["/srv/say"]'
	snap umount mnt
	snap push localhost/said:1 oci:out:1 >/dev/null
	containers_conf
	local p=(podman --root "$PWD/storage" --runroot /mnt/run --storage-driver overlay)
	skopeo copy -q oci:out:1 "containers-storage:[overlay@$PWD/storage+/mnt/run]localhost/said:1"
	is "$("${p[@]}" --runtime runc run --rm --cgroups=enabled localhost/said:1 2>podman.err || cat podman.err)" 'hello from a commit'
}
test_twice_the_same() {
	parent
	enter c localhost/base:1 mnt
	change mnt
	local one two three
	snap --quiet commit --image localhost/new:1 c --timestamp 1700000000
	read -r -t 1.1 <> <(:) || : # another second: no clock may get in
	snap --quiet commit --image localhost/new:2 c --timestamp 1700000000
	SOURCE_DATE_EPOCH=1700000000 snap --quiet commit --image localhost/new:3 c
	one=$(snap --json inspect localhost/new:1 | jq -r .digest)
	two=$(snap --json inspect localhost/new:2 | jq -r .digest)
	three=$(snap --json inspect localhost/new:3 | jq -r .digest)
	[ -n "$one" ] && [ "$one" != null ] || fail 'no digest in inspect --json'
	is "$two" "$one" 'the second commit'
	is "$three" "$one" 'with SOURCE_DATE_EPOCH'
	snap --quiet commit --image localhost/new:4 c --timestamp 1700000000 --check
	snap umount mnt
}
test_any_number_of_threads() { # as many as there are processors to run on; blocks enough for each of them
	[ "$(nproc)" -ge 2 ] || skip "one processor"
	parent
	enter c localhost/base:1 mnt
	seq 3000000 >mnt/many && head -c 5000000 /dev/urandom >mnt/random
	change mnt
	snap umount mnt
	local kind one all cpu
	cpu=$(taskset -cp $$ | sed 's/.*: //; s/[,-].*//')
	for kind in gzip zstd; do
		taskset -c "$cpu" snap --quiet commit --image localhost/new:one c --timestamp 1700000000 --compression $kind
		snap --quiet commit --image localhost/new:all c --timestamp 1700000000 --compression $kind --check
		one=$(snap --json inspect localhost/new:one | jq -r .digest)
		all=$(snap --json inspect localhost/new:all | jq -r .digest)
		[[ $one == sha256:* ]] || fail "no digest: $one"
		is "$all" "$one" "$kind"
	done
}
# How often a commit of one changed file asks the kernel about files, for an image of $1 files.
calls_of_commit() {
	mkdir "few$1" && (cd "few$1" && mkdir -p d/{1..20} && for i in {1..20}; do (cd "d/$i" && seq -f f%.0f "$(($1 / 20))" | xargs touch); done)
	image_of "localhost/of:$1" "few$1"
	enter "c$1" "localhost/of:$1" "mnt$1" >/dev/null
	echo changed >"mnt$1/d/1/f1"
	snap umount "mnt$1"
	strace -f -q -o "calls$1" -e trace=%file,%desc snap --quiet commit --image "localhost/one-of:$1" "c$1" --timestamp 1700000000
	snap push "localhost/one-of:$1" "oci:out$1:1" >/dev/null
	is "$(tar -tzf "out$1/blobs/sha256/$(skopeo inspect --raw "oci:out$1:1" | jq -r '.layers[-1].digest | sub("sha256:"; "")')" | grep -vc '/$')" 1 'files in the layer'
}
test_the_image_is_not_walked() {
	calls_of_commit 40
	calls_of_commit 8000
	local few many
	few=$(grep -c '(' calls40) many=$(grep -c '(' calls8000)
	[ "$few" -ge 20 ] || fail "strace saw nothing: $few calls"
	# 200 times the files: a handful more to read a longer table is no walk
	[ "$many" -le $((few + 100)) ] || fail "the calls grow with the image: $few, $many; $(sed 's/^[0-9]* *//; s/(.*//' calls8000 | sort | uniq -c | sort -rn | head -n 8)"
}
test_no_needless_whiteouts() {
	parent
	enter c localhost/base:1 mnt
	echo 1 >mnt/only-upper && rm mnt/only-upper
	mkdir mnt/d && echo 1 >mnt/d/x && rm -r mnt/d
	rm mnt/etc/conf && echo again >mnt/etc/conf # deleted and made again
	rm -r mnt/opq && mkdir mnt/opq && echo 1 >mnt/opq/y && rm mnt/opq/y
	snap umount mnt
	snap --quiet commit --image localhost/new:1 c
	snap push localhost/new:1 oci:out:1 >/dev/null
	layer_names >names
	is "$(grep -c '\.wh\.' names)" 1 "whiteouts among: $(tr '\n' ' ' <names)"
	grep -q '^opq/.wh..wh..opq$' names || fail "no opaque mark: $(cat names)"
	! grep -q 'only-upper\|^d/' names || fail 'traces of what is gone'
}
test_diff_lists_the_changes() {
	parent
	enter c localhost/base:1 mnt
	echo 1 >mnt/added && echo 2 >>mnt/etc/conf && rm -r mnt/gone
	snap diff --list c >list
	grep -qx 'A /\?added' list && grep -qx 'C /\?etc/conf' list && grep -qx 'D /\?gone' list || fail "$(cat list)"
	! grep -q 'gone/' list || fail "children of what is deleted: $(cat list)"
	snap diff c --compression none -o layer.tar
	tar -tf layer.tar >names && grep -qx '.wh.gone' names || fail "$(cat names)"
	snap umount mnt
}
test_commit_as_a_snapshot() {
	parent
	enter c localhost/base:1 mnt
	change mnt
	cp -a mnt saw
	snap umount mnt
	snap commit finished c
	enter d finished mnt2
	treecmp --ignore dir-mtime saw mnt2
	snap umount mnt2
}
# XFS shows an ACL a second time, under a name of its own: no part of what a container wrote.
test_acls_on_xfs() {
	truncate -s 512M image
	mkfs.xfs -q image
	mkdir fs
	mount -o loop image fs
	export SNAP_ROOT=$PWD/fs/store
	parent
	enter c localhost/base:1 mnt
	setfacl -m u:1000:r mnt/etc/conf
	is "$(getfattr --absolute-names -d -m - mnt/etc/conf | grep -c SGI_ACL || :)" 0 'names of XFS in the mount'
	! setfattr -n trusted.SGI_ACL_FILE -v x mnt/etc/conf 2>/dev/null || fail 'an ACL was set past the mapping of owners'
	snap diff c --compression none -o layer.tar
	snap umount mnt
	is "$(grep -ac SGI_ACL layer.tar || :)" 0 'names of XFS in the layer'
	grep -aq 'SCHILY.*acl' layer.tar || fail 'the layer has no ACL'
	umount fs
}
