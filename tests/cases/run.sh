# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# as: root user
# images
# Containers: what runs in them, as whom, with what, and what is left.

debian() { snap --quiet pull "oci:$IMAGES/DEBIAN:latest" --name d:1 >/dev/null; }
status_of() { # COMMAND...: prints its exit status, keeps its streams in out and err
	local got=0
	"$@" >out 2>err </dev/null || got=$?
	echo "$got"
}
nothing_left() { # of containers: mounts, processes, folders
	! grep -q ' snap:\|snapfs' /proc/self/mountinfo || fail "mounted: $(cat /proc/self/mountinfo)"
	is "$(ls "$SNAP_ROOT/tmp")" '' 'tmp/'
	within 10 no_servers
}
no_servers() { ! ps -eo args= | grep -v grep | grep -q 'snapfs\|[r]unc .*run'; }
owner_in_layer() { # KEY PATH: owner and group as the layer has them
	snap diff "$1" | tar -tv --numeric-owner -f - | awk -v p="$2" '$NF == p {print $2}'
}

test_command_and_what_is_left() {
	debian
	is "$(snap run --rm d:1 python3 -c 'print(6 * 7)')" 42
	is "$(echo through | snap run --rm d:1 cat)" through 'standard input'
	is "$(snap run --rm d:1 id -u)" 0 'user'
	is "$(snap run --rm d:1 sh -c 'echo $PATH; cat /proc/self/comm; hostname' | paste -sd' ')" \
		"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin cat $(uname -n)"
	is "$(snap --json ls | jq length)" 0 'snapshots after --rm'
	snap run --name kept d:1 sh -c 'echo hello >/srv/f && chown 5:6 /srv/f && mkdir -m 700 /srv/d && chown 7:8 /srv/d && touch /srv/d/x'
	is "$(snap run kept cat /srv/f)" hello 'the same snapshot again'
	is "$(snap run kept stat -c '%u:%g %a' /srv/f /srv/d | paste -sd' ')" '5:6 644 7:8 700' owners
	is "$(owner_in_layer kept srv/f) $(owner_in_layer kept srv/d/)" '5/6 7/8' 'owners in the layer'
	snap diff --list kept >list
	is "$(grep -c . list) $(grep -c ' /\?srv' list)" '4 4' "changes: $(cat list)"
	snap --quiet commit --image kept:1 kept --change 'CMD ["cat", "/srv/f"]'
	is "$(snap run --rm kept:1)" hello 'the image of it'
	snap rm kept
	nothing_left
}
test_exit_status() {
	debian
	is "$(status_of snap run --rm d:1 sh -c 'exit 7')" 7
	is "$(status_of snap run --rm d:1 no-such-command)" 127
	grep -q 'no-such-command' err && is "$(wc -l <err)" 1 "lines: $(cat err)"
	is "$(status_of snap run --rm d:1 /etc/passwd)" 126
	is "$(status_of snap run --rm d:1 /etc)" 126
	is "$(status_of snap run --rm --workdir relative d:1 true)" 125
	is "$(status_of snap run --rm --volume /nowhere:/x d:1 true)" 125
	is "$(status_of snap run --rm --volume /etc:x d:1 true)" 125
	is "$(status_of snap run --rm --user nobody-of-that-name d:1 true)" 125
	is "$(status_of env PATH="$(dirname "$(command -v snap)")" "$(command -v snap)" run --rm d:1 true)" 125 'no runtime'
	grep -q 'neither runc nor crun' err || fail "$(cat err)"
	is "$(status_of snap run --rm no-such-image true)" 125
	is "$(status_of timeout 60 python3 -c 'import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execvp("snap", sys.argv[1:])' \
		snap run --rm d:1 sh -c 'exit 7')" 7 'started by one that ignores its children'
	is "$(status_of snap run --rm d:1 echo $'\xff')" 125
	is "$(snap run --rm d:1 echo $'caf\u00e9 \n "\\')" $'caf\u00e9 \n "\\' 'an argument'
	is "$(status_of snap run --runtime other d:1 true)" 2
	is "$(status_of snap run)" 2
	is "$(snap --json ls | jq length)" 0 'snapshots of what did not start'
	nothing_left
}
test_signals_are_passed_on() {
	debian
	local pid status=0
	mkdir shared && chmod 777 shared
	# shellcheck disable=SC2016 # expanded in the container
	snap run --rm --volume "$PWD/shared:/shared" d:1 sh -c \
		'trap "echo got >/shared/got; exit 9" TERM; touch /shared/ready; while :; do sleep 0.1; done' &
	pid=$!
	within 30 test -e shared/ready
	kill -TERM $pid
	wait $pid || status=$?
	is "$status $(cat shared/got)" '9 got'
	is "$(snap --json ls | jq length)" 0 'snapshots'
	nothing_left
}
test_killed_snap_takes_its_container_along() {
	debian
	local pid
	mkdir shared && chmod 777 shared
	snap run --name k --volume "$PWD/shared:/shared" d:1 sh -c \
		'trap "exit 9" TERM; touch /shared/ready; while :; do sleep 0.1; done' 2>/dev/null &
	pid=$!
	within 30 test -e shared/ready
	kill -KILL $pid
	wait $pid || :
	nothing_runs() { ! ps -eo args= | grep -q '[t]ouch /shared/ready' && no_servers; }
	within 30 nothing_runs
	is "$(snap run k echo again)" again 'afterwards'
	snap rm k
	nothing_left
}
# Wherever it stands: no container, mount or process stays, and the snapshot can be used or was never made.
test_killed_at_any_time() {
	debian
	local k pid
	for ((k = 0; k < 8; k++)); do
		snap run --name "k$k" d:1 sleep 1000 2>/dev/null &
		pid=$!
		read -r -t "0.0$((k + 1))$((RANDOM % 10))" <> <(:) || :
		[ "$k" -lt 6 ] || within 20 runs "sleep 1000" # and once it runs
		kill -KILL $pid 2>/dev/null || :
		wait $pid 2>/dev/null || :
		within 20 not_runs "sleep 1000"
		within 20 no_servers
		if [ "$(snap --json ls | jq length)" = 1 ]; then
			is "$(snap run "k$k" echo again)" again "kill $k"
			snap rm "k$k"
		fi
		is "$(snap --json ls | jq length)" 0 "snapshots after kill $k"
	done
	snap fsck >fsck.out || fail "$(cat fsck.out)"
	nothing_left
}
runs() { ps -eo args= | grep -v 'snap\|runc' | grep -q "^$1"; }
not_runs() { ! runs "$1" && ! ps -eo args= | grep -q '^[r]unc init'; }
test_environment_directory_and_user() {
	debian
	# shellcheck disable=SC2016 # expanded in the container
	is "$(OWN=mine snap run --rm --env A=1 -e OWN -e 'B=x y' -e NOT_THERE d:1 sh -c 'echo "$A|$OWN|$B|${NOT_THERE-unset}|$HOME|$container"')" \
		'1|mine|x y|unset|/root|oci'
	is "$(snap run --rm --workdir /usr/share d:1 pwd)" /usr/share
	is "$(snap run --rm --workdir /not/there/yet d:1 pwd)" /not/there/yet
	is "$(snap run --rm --user daemon d:1 sh -c 'echo $(id -u) $(id -g) $HOME')" '1 1 /usr/sbin'
	is "$(snap run --rm --user 1234 d:1 sh -c 'echo $(id -u):$(id -g):$(id -G)')" 1234:0:0
	is "$(snap run --rm --user 1234:games d:1 id -g)" 60
	is "$(snap run --rm --user 33:7 d:1 sh -c 'echo $(id -un) $(id -gn) $(id -G)')" 'www-data lp 7'
	is "$(snap run --rm --user nobody d:1 grep CapEff /proc/self/status | tr -d '\t')" CapEff:0000000000000000
	is "$(snap run --rm d:1 grep CapEff /proc/self/status | tr -d '\t')" CapEff:00000000a80425fb
	snap --quiet prepare k d:1
	snap --quiet commit --image e:1 k --change 'ENTRYPOINT ["echo", "entry"]' --change 'CMD ["cmd"]' --change 'ENV X=image' \
		--change 'WORKDIR /usr/lib' --change 'USER games:60' --change 'LABEL who=me' --change 'STOPSIGNAL SIGQUIT'
	is "$(snap run --rm e:1)" 'entry cmd' 'entrypoint and cmd'
	is "$(snap run --rm e:1 other --rm -x)" 'entry other --rm -x' 'entrypoint and a command'
	snap --quiet commit --image e:2 k --change 'ENTRYPOINT ["sh", "-c", "echo $X $PWD $(id -u)", "sh"]' --change 'ENV X=image' \
		--change 'WORKDIR /usr/lib' --change 'USER games:60'
	is "$(snap run --rm e:2)" 'image /usr/lib 5' "the image's own"
	is "$(snap run --rm -e X=mine --workdir / --user 0 e:2)" 'mine / 0' 'the options win'
	# groups that the image's /etc/group gives to the user
	snap --quiet run k sh -c 'echo "extra:x:4321:games,daemon" >>/etc/group'
	is "$(snap run --user games k id -G)" '60 4321' groups
	is "$(snap run --user games:60 k id -G)" '60' 'a group was named'
	snap rm k
}
test_volumes() {
	debian
	mkdir host && echo one >host/f && chmod 755 host
	is "$(snap run --rm --volume "$PWD/host:/mnt/deep/v" d:1 sh -c 'cat /mnt/deep/v/f; echo two >/mnt/deep/v/g; echo x >/mnt/y')" one
	is "$(cat host/g)" two
	is "$(status_of snap run --rm --volume "$PWD/host:/v:ro" d:1 sh -c 'echo x >/v/h')" 2
	[ ! -e host/h ] || fail 'written to a read-only volume'
	is "$(snap run --rm -v host/f:/etc/motd:ro d:1 cat /etc/motd)" one 'a file, by a relative name'
	snap run --name k -v "$PWD/host:/made/for/it" d:1 true
	is "$(snap diff --list k | grep -v '^C')" '' 'mount points that were made'
	snap --quiet commit --image v:1 k --change 'VOLUME /srv/data /etc/skel'
	snap rm k
	snap run --name k v:1 sh -c 'echo kept >/srv/data/f; chown 3:4 /srv/data/f; ls -A /etc/skel | head -n 1'  >out
	is "$(cat out)" .bash_logout "the image's files in the volume"
	is "$(snap run k sh -c 'cat /srv/data/f; stat -c %u:%g /srv/data/f' | paste -sd' ')" 'kept 3:4' 'the volume the next time'
	is "$(snap diff --list k | grep -v '^C')" '' 'a volume is no part of the layer'
	snap fsck >fsck.out || fail "$(cat fsck.out)"
	snap --quiet gc
	is "$(snap run k cat /srv/data/f)" kept 'after gc'
	snap rm k
	is "$(ls "$SNAP_ROOT/snapshots")" '' 'volumes go with their snapshot'
	nothing_left
}
test_busy_and_commit_while_it_runs() {
	debian
	local pid
	mkdir shared m && chmod 777 shared
	snap run --name k --volume "$PWD/shared:/shared" d:1 sh -c \
		'echo in the page cache >/srv/f; mkfifo /shared/go; touch /shared/ready; read -r x </shared/go' &
	pid=$!
	within 30 test -e shared/ready
	is "$(status_of snap run k true)" 125
	grep -q 'a container runs in it' err || fail "$(cat err)"
	is "$(status_of snap mount k m)" 1
	is "$(status_of snap rm k)" 1
	snap --quiet commit --image running:1 k
	grep -q 'A /\?srv/f' <(snap diff --list k) || fail 'diff while it runs'
	echo >shared/go
	wait $pid
	is "$(snap run --rm running:1 cat /srv/f)" 'in the page cache'
	snap rm k
	nothing_left
}
test_hostile_passwd() {
	debian
	local what
	snap prepare k d:1 >/dev/null
	for what in 'mkfifo /etc/passwd' 'ln -s /dev/zero /etc/passwd' 'ln -s /nowhere /etc/passwd' 'truncate -s 1T /etc/passwd' \
		'mkdir /etc/passwd' 'ln -s /etc/passwd /etc/passwd' 'mkfifo /etc/group'; do
		snap prepare "$what" d:1 >/dev/null
		snap run "$what" sh -c "rm -f /etc/passwd; echo 'root:x:0:0::/root:' >/etc/passwd; rm -f ${what##* }; $what"
		is "$(status_of timeout 20 snap run --user daemon "$what" true)" 125 "$what"
		is "$(wc -l <err)" 1 "$what: $(cat err)"
		grep -q '/etc/\(passwd\|group\)' err || fail "$what: $(cat err)"
		is "$(status_of timeout 20 snap run "$what" true)" 125 "$what, as root"
	done
	# links lead nowhere but into the image
	snap run k sh -c "mv /etc/passwd /srv/p; ln -s ../../../../../srv/p /etc/passwd; echo 'me:x:77:88::/srv:' >>/srv/p"
	is "$(snap run --user me k sh -c 'echo $(id -u) $(id -g) $HOME')" '77 88 /srv' 'a link inside'
	snap run k sh -c 'rm /etc/passwd; exec 2>/dev/null; head -c 300000 /dev/zero | tr "\0" x >/etc/passwd; echo >>/etc/passwd; echo "me:x:99:99::/:" >>/etc/passwd'
	is "$(status_of snap run --user me k true)" 125 'a line without end'
	nothing_left
}
test_bundle() {
	debian
	cat >script <<-'SCRIPT'
		set -e
		snap prepare b d:1 >/dev/null
		snap --quiet bundle --env A=b --user daemon b bundle sh -c 'echo $A $(id -u) >&3; exit 3'
		[ -f bundle/config.json ] && [ -e bundle/rootfs/etc/passwd ]
		jq '.process.args = ["sh", "-c", "echo $A $(id -u); exit 3"]' bundle/config.json >c && mv c bundle/config.json
		status=0
		runc --root "$PWD/state" run --bundle bundle test-$$ || status=$?
		echo "status $status"
		! snap bundle b bundle 2>err || exit 1
		snap umount bundle/rootfs
		snap rm b
	SCRIPT
	is "$(snap unshare bash ./script | paste -sd' ')" 'b 1 status 3'
	grep -q 'is a bundle already' err || fail "$(cat err)"
	if [ "$(id -u)" != 0 ]; then
		snap prepare c d:1 >/dev/null
		refused 1 'snap unshare' snap bundle c other
	fi
}
test_unshare() {
	is "$(snap unshare id -u)" 0
	is "$(snap unshare sh -c 'mkdir -p x; mount -t tmpfs none x && stat -f -c %T x')" tmpfs
	! grep -q " $PWD/x " /proc/self/mountinfo || fail 'a mount got out'
	is "$(status_of snap unshare no-such-command)" 127
	is "$(status_of snap unshare /etc/passwd)" 126
	is "$(status_of snap unshare sh -c 'exit 3')" 3
	is "$(snap unshare snap --json ls)" "$(snap --json ls)" 'the same store'
	is "$(snap unshare sh -c 'snap unshare id -u')" 0 'nested'
	if [ "$(id -u)" != 0 ]; then
		snap unshare awk '{n += $3} END {exit n < 65536}' /proc/self/uid_map || fail "$(snap unshare cat /proc/self/uid_map)"
		is "$(HOME=$PWD SNAP_ROOT='' snap unshare sh -c 'snap ls >/dev/null; ls -d .local/share/snap')" .local/share/snap 'the default store'
	fi
}
test_a_mount_that_is_left_goes_with_the_namespace() {
	debian
	snap prepare k d:1 >/dev/null
	mkdir m
	snap unshare sh -c 'snap --quiet mount k m --engine fuse && test -e m/etc/passwd'
	within 20 no_servers
	is "$(snap run k echo again)" again
	snap rm k
	nothing_left
}
test_owners_of_the_namespace_stay_there() {
	[ "$(id -u)" != 0 ] || return 0 # root has one name space of owners
	debian
	mkdir m
	snap run --name k d:1 sh -c 'echo x >/srv/f; chown 5:5 /srv/f; mkdir -m 700 /srv/d; touch /srv/d/y; chown -R 6:6 /srv/d'
	refused 1 'snap unshare' snap mount k m
	snap commit base k
	snap prepare child base >/dev/null
	refused 1 'snap unshare' snap mount child m
	is "$(snap run child stat -c %u /srv/f /srv/d/y | paste -sd' ')" '5 6'
	is "$(snap unshare sh -c 'snap --quiet mount child m && stat -c %u m/srv/d/y; snap umount child')" 6
	is "$(snap --json usage child | jq '.inodes > 0')" true
	snap rm child
	snap rm base
	is "$(ls "$SNAP_ROOT/snapshots")" '' 'snapshots'
	snap --quiet gc
}
test_package_is_installed() {
	debian
	snap run --name k d:1 sh -ec '
		mkdir -p /tmp/p/DEBIAN /tmp/p/opt/test && echo content >/tmp/p/opt/test/f && chown 13:14 /tmp/p/opt/test/f && chmod 4755 /tmp/p/opt/test/f
		printf "Package: own\nVersion: 1\nArchitecture: all\nMaintainer: me <me@example.org>\nDescription: test\n" >/tmp/p/DEBIAN/control
		printf "#!/bin/sh\nset -e\nadduser --system --group --home /var/own own >/dev/null 2>&1 || useradd -r own\nchown own: /opt/test\n" >/tmp/p/DEBIAN/postinst
		chmod 755 /tmp/p/DEBIAN/postinst
		dpkg-deb --build /tmp/p /tmp/own.deb >/dev/null && dpkg -i /tmp/own.deb >/dev/null 2>/tmp/log || { cat /tmp/log; exit 1; }
		rm -r /tmp/p /tmp/own.deb'
	is "$(snap run k sh -c 'dpkg -s own | grep ^Status; stat -c "%U %u:%g %a" /opt/test/f; stat -c %U /opt/test' | paste -sd' ')" \
		'Status: install ok installed proxy 13:14 4755 own'
	snap --quiet commit --image p:1 k
	snap push p:1 oci:out:1 >/dev/null
	SNAP_ROOT=$PWD/second snap --quiet pull oci:out:1 --name p:1
	is "$(SNAP_ROOT=$PWD/second snap run --rm p:1 sh -c 'stat -c "%U %a" /opt/test /opt/test/f' | paste -sd' ')" 'own 755 proxy 4755'
}
test_apt_git_and_node() {
	debian
	snap --quiet pull "oci:$IMAGES/NODE:latest" --name node:1 >/dev/null
	is "$(snap run --rm node:1 node -e 'console.log(process.version.length > 3, require("os").userInfo().uid, process.cwd())')" "true 0 $(snap run --rm node:1 pwd)"
	snap run --name k -e DEBIAN_FRONTEND=noninteractive d:1 sh -euc '
		apt-get update -q
		apt-get install -qy --no-install-recommends git openssh-client
		apt-get clean && rm -rf /var/lib/apt/lists/*' >apt.out 2>&1 || { tail -n 20 apt.out >&2 && fail 'apt-get install'; }
	is "$(snap run k stat -c %U:%G:%a /usr/bin/ssh-agent)" root:_ssh:2755 'what apt-get installed'
	# a slim image leaves documentation out
	is "$(snap run k sh -c 'dpkg --verify git openssh-client | grep -v "/usr/share/\(doc\|locale\|man\|lintian\)" || :')" '' 'dpkg --verify'
	snap run --workdir /srv k sh -euc 'git init -q r && cd r && git config user.email a@b && git config user.name n &&
		seq 2000 >f && git add f && git commit -qm one && git mv f g && git commit -qm two && git clone -q . ../copy && git -C ../copy fsck --strict >/dev/null'
	is "$(snap run k git -C /srv/copy log --format=%s | paste -sd' ')" 'two one' git
	snap --quiet commit --image k:1 k
	is "$(snap run --rm k:1 sh -c 'stat -c %G:%a /usr/bin/ssh-agent; git -C /srv/copy status --short')" _ssh:2755 'in the image of it'
	snap fsck >fsck.out || fail "$(cat fsck.out)"
}
test_setuid_program_gives_its_owner() {
	debian
	snap run --name k d:1 sh -c 'cp /usr/bin/id /usr/local/bin/suid && chmod 4755 /usr/local/bin/suid && cp /usr/bin/id /usr/local/bin/games && chown games /usr/local/bin/games && chmod u+s /usr/local/bin/games'
	is "$(snap run --user nobody k suid -u)" 0
	is "$(snap run --user nobody k games -u)" 5
}
test_mounted_snapshot_is_used_where_it_is() {
	debian
	mkdir m
	if [ "$(id -u)" = 0 ]; then
		enter k d:1 m
		echo there >m/srv/f
		is "$(snap run k sh -c 'cat /srv/f; echo back >/srv/g')" there
		is "$(cat m/srv/g)" back
		snap umount m
	else
		enter k d:1 m
		is "$(status_of snap run k true)" 125
		grep -q 'mounted at .* outside of the user namespace' err || fail "$(cat err)"
		snap umount m
		is "$(snap unshare sh -c 'snap --quiet mount k m; echo there >m/srv/f; snap run k cat /srv/f; snap umount m')" there
	fi
}
test_what_a_container_may_do() {
	debian
	is "$(snap run --rm d:1 sh -c 'head -c 1 /proc/kcore 2>/dev/null | wc -c')" 0 'masked'
	is "$(status_of snap run --rm d:1 sh -c 'echo 1 >/proc/sys/kernel/printk')" 2 'read-only /proc/sys'
	is "$(status_of snap run --rm d:1 mount -t tmpfs none /mnt)" 32
	is "$(snap run --rm d:1 awk '/^Seccomp:|^NoNewPrivs:/ {print $2}' /proc/self/status | paste -sd' ')" '0 2' 'seccomp is on'
	[ "$(snap run --rm d:1 sh -c 'ls -d /proc/[0-9]*' | wc -l)" -le 3 ] || fail 'processes of others are seen'
	is "$(snap run --rm d:1 sh -c 'ls /proc/self/fd | wc -l')" 4 'open files'
	is "$(snap run --rm --user nobody d:1 cat /etc/shadow 2>/dev/null | wc -l)" 0 "root's files"
	is "$(snap run --rm --user nobody d:1 sh -c 'mount | grep -c " / .*nosuid"')" 0 'setuid programs work'
	snap view v d:1 >/dev/null
	is "$(status_of snap run v touch /x)" 1 'a view is read-only'
	is "$(snap run v cat /etc/hostname)" "$(cat /etc/hostname)"
	! grep -q snap <(snap run --rm d:1 cat /proc/1/environ) || fail 'our environment is in the container'
}
test_seccomp_is_podmans() {
	local profile=/usr/share/containers/seccomp.json
	[ -f $profile ] || skip 'no profile of podman'
	debian
	snap prepare b d:1 >/dev/null
	snap unshare sh -c 'snap --quiet bundle b bundle && snap umount b'
	jq -r '["CAP_AUDIT_WRITE", "CAP_SYS_CHROOT", "CAP_CHOWN", "CAP_MKNOD"] as $caps | [.syscalls[] |
		select((.includes.caps // []) - $caps == []) | select([(.excludes.caps // [])[] | select(. as $c | $caps | index($c))] == []) |
		select(.includes.arches == null or (.includes.arches | index("amd64"))) | select((.args // []) == [] and .action == "SCMP_ACT_ALLOW") | .names[]] | unique[]' \
		$profile >podman
	jq -r '[.linux.seccomp.syscalls[] | select(.action == "SCMP_ACT_ALLOW" and (.args // []) == []) | .names[]] | unique[]' bundle/config.json >ours
	[ "$(wc -l <ours)" -gt 300 ] || fail "few calls: $(wc -l <ours)"
	diff podman ours || fail 'what is allowed differs'
}
test_crun() {
	command -v crun >/dev/null || fail 'no crun: scripts/setup'
	[ "$(id -u)" = 0 ] || return 0
	# it takes cgroup v1 or v2, but not both
	umount /sys/fs/cgroup/unified 2>/dev/null || :
	debian
	is "$(snap run --rm --runtime crun --user daemon -e A=b d:1 sh -c 'echo $A $(id -u)')" 'b 1'
	is "$(status_of snap run --rm --runtime crun d:1 no-such-command)" 127
	is "$(wc -l <err)" 1 "$(cat err)"
	is "$(status_of snap run --rm --runtime crun d:1 sh -c 'exit 5')" 5
	nothing_left
}
test_terminal() {
	debian
	script -qec "snap run --rm d:1 sh -c 'test -t 0 && test -t 1 && tty && echo \$TERM'" /dev/null </dev/null | tr -d '\r' >out
	grep -q /dev/pts/0 out && grep -qx xterm out || fail "$(cat out)"
}
