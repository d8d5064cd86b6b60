#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# treecmp sees every kind of difference, and none where there is none. Needs no root;
# what only root can make (owners, devices) is tried when we are root.
set -eu
cmp=$(realpath "$1")
t=$(mktemp -d)
trap 'rm -rf "$t"' EXIT
cd "$t"
mkdir a
printf 'hello' >a/file
truncate -s 1M a/sparse
printf 'x' | dd of=a/sparse bs=1 seek=700000 conv=notrunc status=none
mkdir -p a/dir/sub
ln -s target a/symlink
ln a/file a/dir/hard
mkfifo a/fifo
printf 'n' >"a/$(printf 'odd\xff\nname')"
setfattr -n user.one -v 1 a/file
[ "$(id -u)" != 0 ] || { mknod a/dev c 1 3; setfattr -h -n trusted.t -v 1 a/symlink; }
deep() { # DIR WORD: a path longer than PATH_MAX, which cp could not copy
	mkdir -p "$1/deep"
	(cd "$1/deep" && for _ in $(seq 1 40); do n=$(printf '%0200d' 1); mkdir "$n"; cd "$n"; done; printf '%s' "$2" >end)
}
n=0
fresh() { rm -rf b; cp -a a b; }
expect() { # STATUS PATTERN WHAT [OPTION]...
	local want=$1 pattern=$2 what=$3 got=0
	shift 3
	"$cmp" "$@" a b >out 2>&1 || got=$?
	if [ "$got" != "$want" ] || ! grep -qE "$pattern" out; then
		echo "FAILED: $what: status $got, wanted $want and /$pattern/:"
		cut -c-300 out
		exit 1
	fi
	n=$((n + 1))
}
fresh; expect 0 ': 0 differences' 'equal trees'
fresh; printf 'hellO' >b/file; touch -r a/file b/file; expect 1 '^dir/hard: content: o \| O' 'one byte'
expect 0 '0 diff' 'content ignored' --ignore content
fresh; printf 'y' | dd of=b/sparse bs=1 seek=700001 conv=notrunc status=none; touch -r a/sparse b/sparse; expect 1 'sparse: content' 'far byte'
fresh; printf 'hello!' >b/file; touch -r a/file b/file; expect 1 'size: 5 \| 6' 'size'
fresh; chmod 600 b/fifo; expect 1 '^fifo: mode: 0644 \| 0600' 'mode'
fresh; chmod u+s b/file; expect 1 'mode: 0644 \| 4644' 'setuid'
fresh; touch -d '2001-01-01 00:00:00.000000001' a/fifo b/fifo; expect 0 '0 diff' 'old times'
touch -d '2001-01-01 00:00:00.000000002' b/fifo; expect 1 '^fifo: mtime: 978.*000000001 \| 978.*000000002' 'a nanosecond'
expect 0 '0 diff' 'mtime ignored' --ignore mtime
fresh; touch -d '2001-01-01' b/dir; expect 1 '^dir: mtime' 'directory mtime'
expect 0 '0 diff' 'directory mtime ignored' --ignore dir-mtime
fresh; touch -h -d '2001-01-01' b/symlink; expect 1 '^symlink: mtime' 'symlink mtime'
fresh; rm b/symlink; ln -s targeu b/symlink; touch -h -r a/symlink b/symlink; touch -r a b; expect 1 '^symlink: target: target \| targeu' 'target'
fresh; rm b/fifo; touch -r a b; expect 1 '^fifo: only in: A' 'missing'
fresh; touch b/new; touch -r a b; expect 1 '^new: only in: B' 'extra'
fresh; rm b/fifo; mkdir b/fifo; touch -r a b; expect 1 '^fifo: type: fifo \| directory' 'type'
fresh; rm b/dir/hard; cp -p --preserve=xattr a/file b/dir/hard; touch -r a/dir b/dir; expect 1 'links: 2 \| 1' 'link count'
expect 1 '^file: hard link of: dir/hard \| file' 'link set' --ignore nlink
expect 0 '0 diff' 'links ignored' --ignore nlink --ignore links
fresh; printf 1 >a/x; printf 1 >b/x; ln a/x a/y; ln b/file b/z; rm -f a/z; cp -p a/x a/z; cp -p b/x b/y; expect 1 '^y: hard link of: x \| y' 'other sets' --ignore mtime
rm a/x a/y a/z; touch -r b/fifo a
fresh; setfattr -n user.one -v 2 b/file; expect 1 'xattr user.one: 1 \| 2' 'xattr value'
fresh; setfattr -n user.two -v 2 b/dir; expect 1 '^dir: xattr: none \| user.two' 'xattr extra'
expect 0 '0 diff' 'xattr prefix' --no-xattr user.t
expect 1 '^dir: xattr' 'xattr other prefix' --no-xattr user.x
fresh; setfattr -x user.one b/file; expect 1 'xattr: user.one \| none' 'xattr missing'
fresh; deep b 2; deep a 1; expect 1 'end: content: 1 \| 2' 'beyond PATH_MAX' --ignore mtime; rm -r a/deep
fresh; chmod 700 b; expect 1 '^\.: mode' 'root'
expect 0 '0 diff' 'root ignored' --ignore-root
if [ "$(id -u)" = 0 ]; then
	fresh; chown 5 b/fifo; expect 1 '^fifo: uid: 0 \| 5' 'uid'
	fresh; chown -h :6 b/symlink; expect 1 '^symlink: gid: 0 \| 6' 'gid'
	fresh; rm b/dev; mknod b/dev c 1 5; touch -r a/dev b/dev; touch -r a b; expect 1 '^dev: device: 1:3 \| 1:5' 'device'
	fresh; setfattr -h -n trusted.t -v 2 b/symlink; expect 1 '^symlink: xattr trusted.t' 'xattr of a symlink'
fi
expect 2 'unknown' 'bad word' --ignore nonsense
rm -rf b; expect 2 'No such' 'no tree'
echo "treecmp: $n checks passed"
