# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# as: root user
# chattr(1) and lsattr(1): flags of files and directories, those of lower layers too.
up() { # [OPTIONS]
	mkdir -p upper work mnt
	snapfs -o "lowerdir=$PWD/lower,upperdir=$PWD/upper,workdir=$PWD/work,redirect_dir=on${1:+,$1}" "$PWD/mnt"
}
down() { fusermount3 -u "$PWD/mnt"; }
root() { [ "$(id -u)" = 0 ]; }
flags() { lsattr -d "$1" 2>/dev/null | cut -d' ' -f1 | tr -d -- -e; }
denied() { # COMMAND...
	! "$@" 2>err || fail "not refused: $*"
	grep -q 'Operation not permitted' err || fail "$*: $(cat err)"
}

test_flags_of_the_upper() {
	mkdir -p lower/d && echo a >lower/a
	chattr +A lower/a 2>/dev/null || skip 'no flags on this file system'
	chattr -A lower/a
	up
	lsattr -d mnt/a mnt/d mnt >/dev/null || fail 'lsattr'
	is "$(flags mnt/a)" ''
	chattr +A mnt/a && chattr +dA mnt/d
	is "$(flags mnt/a) $(flags upper/a) $(flags lower/a)" 'A A '
	echo new >mnt/new && chattr +d mnt/new
	is "$(flags mnt/new)" d
	is "$(cat mnt/a)" a
	ln -s a mnt/l
	! lsattr -d mnt/l >/dev/null 2>&1 || fail 'flags of a symlink'
	down
	up
	is "$(flags mnt/a) $(flags mnt/new)" 'A d' 'after a remount'
	chattr -A mnt/a && is "$(flags mnt/a)$(flags upper/a)" ''
	# who owns it may, who does not may not
	if root; then
		echo x >mnt/other && chmod 666 mnt/other
		! setpriv --reuid=65534 --regid=65534 --clear-groups chattr +A mnt/other 2>/dev/null || fail "another's file"
	fi
	down
}
test_immutable_and_append_only_as_root() {
	mkdir -p lower/d lower/e && for i in a b c d/in e/in; do echo $i >lower/$i; done
	local o
	for o in noopen=1 noopen=0,passthrough=0 passthrough=1 metacopy=on; do
		up $o
		chattr +i mnt/a
		is "$(flags mnt/a) $(flags upper/a)" 'i ' 'the mark, not the inode'
		denied bash -c 'echo x >>mnt/a'
		denied bash -c ': >mnt/a'
		denied chmod 600 mnt/a
		denied chown 5 mnt/a
		denied touch mnt/a
		denied rm -f mnt/a
		denied mv -f mnt/a mnt/z
		denied mv -f mnt/b mnt/a
		denied ln mnt/a mnt/z
		denied setfattr -n user.x -v y mnt/a
		denied setfacl -m u:5:r mnt/a
		denied truncate -s 0 mnt/a
		denied fallocate -l 4k mnt/a
		chattr +a mnt/b
		echo more >>mnt/b || fail 'what is appended only'
		is "$(cat mnt/b)" $'b\nmore'
		denied dd if=/dev/zero of=mnt/b bs=1 count=1 conv=notrunc status=none
		denied truncate -s 0 mnt/b
		denied rm -f mnt/b
		denied chmod 600 mnt/b
		touch mnt/b || fail 'times of what is appended only'
		chattr +i mnt/d && chattr +a mnt/e
		denied touch mnt/d/new
		denied mkdir mnt/d/new
		denied ln -s x mnt/d/new
		denied mv mnt/c mnt/d/c
		denied rm -f mnt/d/in
		denied rmdir mnt/d
		echo new >mnt/e/new || fail 'a name more in a directory that is appended to'
		denied rm -f mnt/e/in
		denied mv mnt/e/new mnt/
		echo in >>mnt/d/in || fail 'a file in a directory is no name of it'
		down
		# so is the kernel's overlayfs by the same mark
		mount -t overlay overlay -o "lowerdir=$PWD/lower,upperdir=$PWD/upper,workdir=$PWD/work,redirect_dir=on,metacopy=on" mnt
		is "$(flags mnt/a) $(flags mnt/b) $(flags mnt/d)" 'i a i' "by the kernel, with $o"
		denied rm -f mnt/a
		chattr -i mnt/d && chattr +i mnt/d/in
		umount mnt
		up $o
		is "$(flags mnt/a) $(flags mnt/b) $(flags mnt/d) $(flags mnt/d/in)" 'i a  i' 'after a remount'
		denied rm -f mnt/d/in
		chattr -i mnt/a mnt/d/in && chattr -a mnt/b mnt/e
		rm mnt/a mnt/b mnt/d/in && rm -r mnt/e && chmod 700 mnt/d
		down
		is "$(ls -A work/work)" '' 'the work directory'
		rm -rf upper work # nothing in it is immutable
	done
}
test_protected_in_a_lower_layer_as_root() {
	mkdir -p lower/d && echo a >lower/a && echo log >lower/log && echo in >lower/d/in
	# a file system of the test's own: what is left behind could not be removed
	mkdir fs && truncate -s 16M img && mkfs.ext4 -q img && mount -o loop img fs
	cp -a lower fs/ && mkdir fs/upper fs/work && rm -rf lower && ln -s fs/lower lower && ln -s fs/upper upper && ln -s fs/work work
	chattr +i lower/a && chattr +a lower/log && chattr +a lower/d
	up
	is "$(flags mnt/a) $(flags mnt/log)" 'i a'
	denied bash -c 'echo x >>mnt/a'
	denied chmod 600 mnt/a
	denied rm -f mnt/a
	denied mv mnt/a mnt/b
	denied rm -f mnt/d/in
	echo more >>mnt/log && echo new >mnt/d/new
	denied rm -f mnt/log
	denied rm -f mnt/d/new
	chattr -i mnt/a && echo changed >mnt/a
	down
	up
	is "$(flags mnt/a) $(flags mnt/log) $(flags mnt/d) $(cat mnt/a)" ' a a changed'
	down
	umount fs
}
