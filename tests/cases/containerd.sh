# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# images
# containerd itself with 'snap serve' as its snapshotter: what it does, and what outlives what.

# A small image with busybox in two layers, for 'ctr images import'.
make_image() { # NAME
	python3 - "$1" "$(command -v busybox)" <<'PY'
import hashlib, io, json, sys, tarfile
name, busybox = sys.argv[1:]
blobs = {}
def blob(data):
    digest = hashlib.sha256(data).hexdigest()
    blobs[digest] = data
    return {"digest": "sha256:" + digest, "size": len(data)}
def layer(*members):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, kind, data in members:
            i = tarfile.TarInfo(path)
            i.type, i.mode, i.mtime = kind, 0o755, 1000
            if kind == tarfile.SYMTYPE:
                i.linkname = data
                tar.addfile(i)
            elif kind == tarfile.DIRTYPE:
                tar.addfile(i)
            else:
                i.size = len(data)
                tar.addfile(i, io.BytesIO(data))
    return out.getvalue()
D, F, S = tarfile.DIRTYPE, tarfile.REGTYPE, tarfile.SYMTYPE
one = layer(("bin", D, None), ("bin/busybox", F, open(busybox, "rb").read()),
            *((f"bin/{n}", S, "busybox") for n in ("sh", "cat", "ls", "sleep", "mv", "rm", "mkdir", "stat")),
            ("dir", D, None), ("dir/a", F, b"lower\n"), ("dir/gone", F, b"x"), ("proc", D, None), ("tmp", D, None),
            ("old", D, None), ("old/f", F, b"old\n"))
two = layer(("dir/.wh.gone", F, b""), ("dir/b", F, b"upper\n"), ("old", D, None), ("old/.wh..wh..opq", F, b""), ("old/g", F, b"new\n"))
layers = [blob(d) | {"mediaType": "application/vnd.oci.image.layer.v1.tar"} for d in (one, two)]
config = blob(json.dumps({"architecture": "amd64", "os": "linux", "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/sh"]},
    "rootfs": {"type": "layers", "diff_ids": [l["digest"] for l in layers]}}).encode()) | {"mediaType": "application/vnd.oci.image.config.v1+json"}
mt = "application/vnd.oci.image.manifest.v1+json"
manifest = blob(json.dumps({"schemaVersion": 2, "mediaType": mt, "config": config, "layers": layers}).encode()) | {"mediaType": mt,
    "platform": {"architecture": "amd64", "os": "linux"}, "annotations": {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": "latest"}}
files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": json.dumps({"schemaVersion": 2, "manifests": [manifest]}).encode()}
files.update({"blobs/sha256/" + d: data for d, data in blobs.items()})
with tarfile.open("image.tar", "w") as tar:
    for path, data in files.items():
        i = tarfile.TarInfo(path)
        i.size = len(data)
        tar.addfile(i, io.BytesIO(data))
PY
}

serve() { # ENGINE OPTION...
	snap serve --address "$PWD/snap.sock" --engine "$@" 2>>serve.log &
	server=$!
	within 10 test -S snap.sock
}

start_containerd() {
	cat >config.toml <<-CONFIG
		version = 2
		root = "$PWD/root"
		state = "$PWD/state"
		disabled_plugins = ["io.containerd.grpc.v1.cri"]
		[grpc]
		  address = "$PWD/containerd.sock"
		[ttrpc]
		  address = "$PWD/ttrpc.sock"
		[plugins."io.containerd.internal.v1.opt"]
		  path = "$PWD/opt"
		[proxy_plugins.snap]
		  type = "snapshot"
		  address = "$PWD/snap.sock"
	CONFIG
	containerd -c config.toml >>containerd.log 2>&1 &
	daemon=$!
	export CONTAINERD_ADDRESS=$PWD/containerd.sock
	within 20 answers
}
knows() { snapshots info "$1" >/dev/null 2>&1; }
answers() { ctr version >/dev/null 2>&1; }
snapshots() { ctr snapshots --snapshotter snap "$@"; }
work() {
	command -v containerd >/dev/null || skip "no containerd"
	command -v busybox >/dev/null || skip "no busybox"
	tag=-$$-${PWD//[^A-Za-z0-9]/} # the cgroups are the machine's: names of our own
	tag=${tag: -12}
	# shims and runc have their state here, wherever containerd's own is
	mkdir -p /run/containerd
	mount -t tmpfs none /run/containerd
	make_image docker.io/local/bb:1
}
run() { # ID COMMAND...: in a container with the test's image
	local id=$1$tag
	shift
	ctr run --rm --snapshotter snap docker.io/local/bb:1 "$id" "$@" 2>&1
}
start() { # ID: one that stays
	ctr run -d --snapshotter snap docker.io/local/bb:1 "$1$tag" /bin/sleep 1000
	within 10 is_running "$1"
}
is_running() { [ "$(ctr tasks ls | awk -v id="$1$tag" '$1 == id {print $3}')" = RUNNING ]; }
is_stopped() { [ "$(ctr tasks ls | awk -v id="$1$tag" '$1 == id {print $3}')" = STOPPED ]; }
inside() { # ID COMMAND...
	local id=$1$tag
	shift
	ctr tasks exec --exec-id "e$RANDOM" "$id" "$@"
}
finish() {
	kill "$daemon" && wait "$daemon" || :
	kill "$server" && wait "$server" || fail "the server's status is $?: $(tail -n 5 serve.log)"
	[ ! -e snap.sock ] || fail "the socket stays"
}

life() { # ENGINE OPTION...
	work
	serve "$@"
	start_containerd
	ctr images import --snapshotter snap image.tar >/dev/null
	is "$(snap --json ls kind==committed | jq length)" 2 'committed snapshots'
	is "$(run c1 /bin/sh -c 'cat /dir/a /dir/b; ls /dir /old')" $'lower\nupper\n/dir:\na\nb\n\n/old:\ng' 'in the container'
	start c2
	inside c2 /bin/sh -c 'echo mine >/dir/a; rm /dir/b; mv /old /renamed; mkdir /old; echo 1 >/old/new'
	is "$(inside c2 /bin/sh -c 'cat /dir/a; ls /old /renamed')" $'mine\n/old:\nnew\n\n/renamed:\ng' 'what was written'
	is "$(snapshots usage "c2$tag" | awk 'NR == 2 {print $1}')" "c2$tag" usage
	# a kill of the server: the container does not notice, the next one goes on
	kill -9 "$server"
	wait "$server" || :
	is "$(inside c2 /bin/cat /dir/a)" mine 'while there is no server'
	serve "$@"
	is "$(inside c2 /bin/cat /dir/a /renamed/g)" $'mine\nnew' 'with the next server'
	within 5 knows "c2$tag"
	is "$(run c3 /bin/cat /dir/b)" upper 'a new container after it'
	# containerd killed and restarted
	kill -9 "$daemon"
	wait "$daemon" || :
	start_containerd
	within 10 is_running c2
	is "$(inside c2 /bin/cat /dir/a)" mine 'with the next containerd'
	# what it wrote as a layer, and as a parent
	snapshots diff "c2$tag" >layer.tar
	tar tf layer.tar | sed 's,^/,,; s,/$,,' | sort >names
	for n in dir/a dir/.wh.b renamed/g; do
		grep -qx "$n" names || fail "the layer has no $n: $(cat names)"
	done
	ctr tasks kill -s KILL "c2$tag"
	within 10 is_stopped c2
	ctr tasks rm "c2$tag" >/dev/null
	snapshots commit mine "c2$tag"
	snapshots prepare second mine >/dev/null
	mkdir m
	snapshots mounts "$PWD/m" second >mount.sh
	# as mount(8) has it, which hands no PATH on
	sed -i "s|-t fuse3\.snapfs|-t fuse.$(command -v snapfs)|" mount.sh
	sh mount.sh
	is "$(cat m/dir/a m/renamed/g m/old/new)" $'mine\nnew\n1' 'on the committed one'
	[ ! -e m/dir/b ] || fail "what was deleted is there"
	umount m
	refused_ctr 'cannot remove snapshot with child' snapshots rm mine
	snapshots rm second
	snapshots rm mine
	refused_ctr "not found\|does not exist" snapshots info none
	ctr containers rm "c2$tag"
	ctr images rm docker.io/local/bb:1 >/dev/null
	ctr content prune references >/dev/null 2>&1 || :
	within 20 nothing_left
	snap fsck >fsck.out || fail "fsck: $(cat fsck.out)"
	is "$(grep -c " $SNAP_ROOT/" /proc/self/mountinfo || :)" 0 'mounts in the store'
	within 5 no_servers
	finish
}
refused_ctr() { # TEXT COMMAND...
	local text=$1
	shift
	! "$@" >out 2>&1 || fail "$* works"
	grep -q "$text" out || fail "$*: $(cat out)"
}
no_active() { [ "$(snap --json ls kind==active | jq length)" = 0 ]; }
nothing_left() { [ "$(snap --json ls | jq length)" = 0 ]; }
no_servers() { ! pgrep -x snapfs >/dev/null; } # in the test's own pid namespace

test_life_kernel() { life kernel; }
test_life_fuse() { life fuse; }
test_life_fuse_helper() {
	life fuse --fuse-helper
	serve fuse --fuse-helper
	is "$(serve-call snap.sock Prepare 2=z | cut -d ' ' -f 1)" bind 'nothing below: a directory'
	serve-call snap.sock Commit 2=zz 3=z >/dev/null
	is "$(serve-call snap.sock Prepare 2=y 3=zz | cut -d ' ' -f 1)" fuse3.snapfs 'a layer below'
	kill "$server" && wait "$server"
}

# A second server, a foreign file, another user
test_socket() {
	snap serve --address s 2>log &
	local first=$! status=0
	within 10 test -S s
	is "$(stat -c %a s)" 600 mode
	refused 1 'another server answers' snap serve --address s
	! setpriv --reuid=65534 --regid=65534 --clear-groups python3 -c 'import socket; socket.socket(socket.AF_UNIX).connect("s")' 2>/dev/null ||
		fail "another user can connect"
	kill -HUP "$first"
	kill -9 "$first"
	wait "$first" || status=$?
	is "$status" 137 'how it ended'
	[ -S s ] || fail "no socket is left"
	snap serve --address "unix://$PWD/s" 2>log &
	first=$!
	within 10 reachable s
	kill "$first"
	wait "$first" || fail "status $? after SIGTERM"
	[ ! -e s ] || fail "the socket stays"
	echo precious >s
	refused 1 'no socket' snap serve --address s
	is "$(cat s)" precious 'a file at the address'
	refused 2 'address' snap serve
	refused 1 'too long' snap serve --address "$(printf 'x%.0s' {1..120})"
}
reachable() { python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])' "$1" 2>/dev/null; }

# The service manager is told when it serves, and when it goes
test_service_manager_is_told() {
	cat >manager.py <<-'PY'
		import os, signal, socket, subprocess, sys
		s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
		s.bind("notify")
		s.settimeout(20)
		p = subprocess.Popen(["snap", "serve", "--address", "snap.sock"], env=dict(os.environ, NOTIFY_SOCKET=os.path.abspath("notify")))
		first = s.recv(100)
		socket.socket(socket.AF_UNIX).connect("snap.sock")  # before it said so, nobody could
		p.send_signal(signal.SIGTERM)
		print(first, s.recv(100), p.wait(20))
	PY
	is "$(python3 manager.py 2>log)" "b'READY=1' b'STOPPING=1' 0" 'told'
	NOTIFY_SOCKET=/nowhere/none snap serve --address s2 2>log &
	server=$!
	within 10 test -S s2
	kill "$server" && wait "$server" || fail "status $? without the manager"
	grep -q 'service manager' log || fail "nobody is told that nobody is told: $(cat log)"
}

# Real images, as containerd unpacks them, eight containers at once
test_real_images() {
	local image pids=() i
	work
	serve auto
	start_containerd
	for image in DEBIAN NODE; do
		tar -C "$IMAGES/$image" -cf "$image.tar" .
		ctr images import --snapshotter snap --index-name "local/$image:1" "$image.tar" >/dev/null
	done
	names=$(ctr images ls -q)
	debian=$(grep -m 1 DEBIAN <<<"$names") node=$(grep -m 1 NODE <<<"$names")
	is "$(ctr run --rm --snapshotter snap "$debian" "d$tag" /bin/sh -c '. /etc/os-release; echo $ID; stat -c "%a %U:%G" /etc/shadow /tmp /usr/bin/passwd')" \
		$'debian\n640 root:shadow\n1777 root:root\n4755 root:root' 'debian'
	for i in 1 2 3 4 5 6 7 8; do
		# the image has no PATH of its own: the shell has one
		ctr run --rm --snapshotter snap "$node" "n$i$tag" /bin/sh -c "echo $i >/tmp/x; exec node -e 'console.log(6 * 7 + require(\"fs\").readFileSync(\"/tmp/x\", \"utf8\").trim())'" >"out.$i" 2>&1 &
		pids+=($!)
	done
	for i in 1 2 3 4 5 6 7 8; do
		wait "${pids[i - 1]}" || fail "container $i: $(cat "out.$i")"
		is "$(cat "out.$i")" "42$i" "container $i"
	done
	within 20 no_active # containerd removes them when it collects
	snap fsck >fsck.out || fail "fsck: $(cat fsck.out)"
	finish
}

# Sixty-four clients for SNAP_LOAD_SECONDS, and the server killed again and again: what was acknowledged is there, nothing else is
test_kills_under_load() {
	serve auto
	serve-load "$PWD/snap.sock" 64 $((${SNAP_LOAD_SECONDS:-6} * 1000)) >journal 2>load.err &
	local load=$! kills=0 first
	while kill -0 "$load" 2>/dev/null; do
		read -r -t "0.$((RANDOM % 6 + 2))" <> <(:) || :
		kill -9 "$server" && wait "$server" || :
		kills=$((kills + 1))
		serve auto
	done
	within 10 reachable snap.sock
	wait "$load" || fail "serve-load: $(cat load.err)"
	[ "$kills" -ge 5 ] || fail "only $kills kills"
	snap --json ls | jq -r '.[].key' | sort >there
	sed -n 's/^have //p' journal | sort >have
	sed 's/^[a-z]* //' journal | sort >may
	first=$(comm -23 have there | head -n 3)
	[ -z "$first" ] || fail "acknowledged, and not there: $first"
	first=$(comm -13 may there | head -n 3)
	[ -z "$first" ] || fail "there, and nobody asked for it: $first"
	[ "$(wc -l <have)" -ge 50 ] || fail "nothing was done: $(cat load.err)"
	kill "$server" && wait "$server" || fail "the server's status is $?"
	snap fsck >fsck.out || fail "fsck: $(cat fsck.out)"
	is "$(find "$SNAP_ROOT/tmp" -mindepth 1 | wc -l)" 0 'left in tmp'
}

# The same without kills: memory is flat, whatever was asked before
rss() { awk '/^VmRSS/ {print $2}' "/proc/$server/status"; }
test_memory_is_flat() {
	local first last
	serve auto
	serve-load "$PWD/snap.sock" 64 $((${SNAP_LOAD_SECONDS:-6} * 500)) >journal 2>load.err || fail "serve-load: $(cat load.err)"
	sed -n 's/^have //p' journal | while read -r key; do echo "$key"; done >keys
	xargs -a keys snap rm
	first=$(rss)
	serve-load "$PWD/snap.sock" 64 $((${SNAP_LOAD_SECONDS:-6} * 1000)) >journal 2>load.err || fail "serve-load: $(cat load.err)"
	last=$(rss)
	echo "resident: $first KiB, then $last KiB"
	[ "$last" -lt $((first + 6144)) ] || fail "it grows: $first KiB, then $last KiB"
	kill "$server" && wait "$server" || fail "the server's status is $?"
	snap fsck >fsck.out || fail "fsck: $(cat fsck.out)"
}

# A chain of 128 parents, and SNAP_LOAD_SNAPSHOTS of them in a list
test_long_chain_and_many_snapshots() {
	local i parent='' m n=${SNAP_LOAD_SNAPSHOTS:-1000}
	serve auto
	for ((i = 0; i < 128; i++)); do
		call Prepare "2=k$i" ${parent:+"3=$parent"} >/dev/null
		echo "$i" >"$SNAP_ROOT/snapshots/$((i + 1))/upper/f$i"
		parent=c$i
		call Commit "2=$parent" "3=k$i" >/dev/null
	done
	m=$(call Prepare 2=top "3=$parent")
	mount_as_told "$m" m
	is "$(ls m | wc -l) $(cat m/f0 m/f127 | paste -sd' ')" '128 0 127' 'over 128 parents'
	refused 1 'status 9: .*remove.*child' call Remove 2=c64
	umount m
	call Remove 2=top >/dev/null
	serve-load "$PWD/snap.sock" 64 "$((n * 10))" "$n" >journal 2>load.err || fail "serve-load: $(cat load.err)"
	kill -9 "$server" && wait "$server" || :
	serve auto
	within 10 reachable snap.sock
	snap --json ls | jq -r '.[].key' | sort >there
	{ sed -n 's/^have //p' journal && seq -f 'c%g' 0 127; } | sort >have
	is "$(comm -3 have there | head -n 1; tail -n 5 serve.log)" '' 'what is there, and what was acknowledged'
	for ((i = 127; i >= 0; i--)); do call Remove "2=c$i" >/dev/null; done
	kill "$server" && wait "$server" || fail "the server's status is $?"
	snap fsck >fsck.out || fail "fsck: $(cat fsck.out)"
}

# What the conformance suite of containerd 1.7 does, and 1.6 skips: a lower directory is renamed
rename_lower() { # ENGINE
	local parent='' n
	serve "$1"
	for n in 1 2 3; do
		mount_as_told "$(call Prepare "2=k$n" ${parent:+"3=$parent"})" "m$n"
		case $n in
		1)
			mkdir m1/dir1 m1/somefiles
			chown 1:2 m1/dir1
			chmod 700 m1/dir1
			echo 'was here first!' >m1/somefiles/f1
			echo nothing >m1/somefiles/f2
			;;
		2)
			mv m2/somefiles m2/notsomefiles
			mkdir m2/somefiles
			echo 'new 1' >m2/somefiles/f1
			;;
		3)
			is "$(cat m3/somefiles/f1 m3/notsomefiles/f1 m3/notsomefiles/f2)" $'new 1\nwas here first!\nnothing' 'over the renamed one'
			[ ! -e m3/somefiles/f2 ] || fail 'the old name shows what was below it'
			mv m3/dir1 m3/notsomefiles/dir2
			is "$(stat -c '%a %u:%g' m3/notsomefiles/dir2)" '700 1:2' 'renamed into a renamed one'
			;;
		esac
		umount "m$n"
		call Commit "2=c$n" "3=k$n" >/dev/null
		parent=c$n
	done
	mount_as_told "$(call View 2=v 3=c3)" v
	is "$(find v/* | sort | paste -sd' ')" 'v/notsomefiles v/notsomefiles/dir2 v/notsomefiles/f1 v/notsomefiles/f2 v/somefiles v/somefiles/f1' 'all of it'
	umount v
	for n in v c3 c2 c1; do call Remove "2=$n" >/dev/null; done
	kill "$server" && wait "$server" || fail "status $?"
}
test_rename_kernel() { rename_lower kernel; }
test_rename_fuse() { rename_lower fuse; }

# Layers unpacked side by side, each prepared on nothing, and put together when they are committed (containerd's "rebase")
upper_of() { sed -n 's/.*[ ,]upperdir=\([^ ,]*\).*/\1/p'; }
rebase() { # ENGINE
	serve "$1"
	local one two
	one=$(serve-call snap.sock Prepare 2='default/1/extract-1 a' | upper_of)
	two=$(serve-call snap.sock Prepare 2='default/2/extract-2 b' | upper_of)
	mkdir "$one/dir" "$one/opq"
	echo a >"$one/dir/a" && echo gone >"$one/dir/gone" && echo old >"$one/opq/old"
	mknod "$one/never" c 0 0 # a whiteout in the lowest layer hides nothing, and is not to be seen
	mkdir "$two/dir" "$two/opq"
	echo b >"$two/dir/b" && mknod "$two/dir/gone" c 0 0 && setfattr -n trusted.overlay.opaque -v y "$two/opq"
	refused 1 'neither a committed snapshot nor an image' serve-call snap.sock Commit 2=two 3='default/2/extract-2 b' 5=one
	serve-call snap.sock Commit 2=one 3='default/1/extract-1 a' >/dev/null
	serve-call snap.sock Commit 2=two 3='default/2/extract-2 b' 5=one >/dev/null
	is "$(snap --json ls name==two | jq -r '.[].parent')" one 'its parent'
	serve-call snap.sock Prepare 2=c 3=two >/dev/null
	refused 1 'on another parent' serve-call snap.sock Commit 2=x 3=c 5=one
	refused 1 'not committed' serve-call snap.sock Commit 2=x 3=c 5=c
	local key
	for key in one two; do
		serve-call snap.sock View 2="v$key" 3=$key >mounts
		read -r type source options <mounts
		mkdir "m$key"
		mount -t "$type" -o "$options" "$source" "m$key"
	done
	is "$(cd mone && find . | sort)" $'.\n./dir\n./dir/a\n./dir/gone\n./opq\n./opq/old' 'the first layer'
	is "$(cd mtwo && find . | sort)" $'.\n./dir\n./dir/a\n./dir/b\n./opq' 'both layers'
	umount mone mtwo
	serve-call snap.sock Commit 2=three 3=c 5=two >/dev/null # the one it has
	# the same through the command
	snap prepare alone
	snap prepare other
	snap commit --parent three four alone
	is "$(snap --json ls name==four | jq -r '.[].parent')" three 'by the command'
	refused 2 '--parent is for snapshots' snap commit --image x --parent three other
	kill "$server" && wait "$server"
	snap fsck >fsck.out || fail "fsck: $(cat fsck.out)"
}
test_rebase_kernel() { rebase kernel; }
test_rebase_fuse() { rebase fuse; }

# Owners by labels: what is stored are the container's, what the host sees its own
test_remapped_owners() {
	work
	serve auto
	start_containerd
	ctr images import --snapshotter snap image.tar >/dev/null
	ctr run -d --snapshotter snap --uidmap 0:100000:65536 --gidmap 0:200000:65536 --remap-labels \
		docker.io/local/bb:1 "c1$tag" /bin/sleep 1000
	within 10 is_running c1
	is "$(inside c1 /bin/sh -c 'echo x >/new; cat /proc/self/uid_map | tr -s " "; stat -c "%u:%g" /new /dir/a')" \
		$' 0 100000 65536\n0:0\n0:0' 'in the container'
	local at
	at=$(echo "$SNAP_ROOT"/run/s*)
	is "$(stat -c '%u:%g' "$at/new" "$at/dir/a")" $'100000:200000\n100000:200000' 'on the host'
	is "$(stat -c '%u:%g' "$SNAP_ROOT/snapshots/${at##*/s}/upper/new")" 0:0 'as it is stored'
	ctr tasks kill -s KILL "c1$tag"
	within 10 is_stopped c1
	ctr tasks rm "c1$tag" >/dev/null
	ctr containers rm "c1$tag"
	finish
}
test_size_of_a_container() {
	serve auto
	snap prepare --label containerd.io/snapshot/max-size=1048576 a
	snap prepare --label containerd.io/snapshot/max-size=lots b
	mkdir m
	snap mount a m
	! dd if=/dev/zero of=m/f bs=1M count=2 2>/dev/null || fail "more than it may be"
	is "$(stat -c %s m/f)" 1048576 'what fits'
	snap umount a
	snap mount b m # a size that is none limits nothing
	dd if=/dev/zero of=m/f bs=1M count=2 2>/dev/null || fail "limited"
	snap umount b
	is "$(serve-call snap.sock Mounts 2=a | cut -d ' ' -f 2)" "$SNAP_ROOT/run/s1" 'a mount that snapfs holds'
	is "$(df --output=size -k "$SNAP_ROOT/run/s1" | tail -n 1 | tr -d ' ')" 1024 'its size'
	serve-call snap.sock Remove 2=a >/dev/null
	kill "$server" && wait "$server"
}
test_labels_that_are_no_mapping() {
	serve auto
	refused 1 'is no mapping' snap prepare --label containerd.io/snapshot/uidmapping=0:1 a
	is "$(snap --json ls | jq length)" 0 'what a refused prepare leaves'
	snap prepare --label containerd.io/snapshot/uidmapping=0:100000:65536 b
	mkdir m
	refused 1 'kernel engine does neither' snap mount --engine kernel b m
	kill "$server" && wait "$server"
}

# What 'serve' will do, and why, before it does it
test_doctor_explains() {
	snap --json doctor >doctor.json
	is "$(jq -r '[.checks[].check] | contains(["store", "kernel", "overlayfs", "passthrough", "/dev/fuse", "fusermount3", "snapfs", "EROFS from files", "serve", "registries", "runtime", "engine"])' doctor.json)" \
		true "what is looked at: $(jq -c '[.checks[].check]' doctor.json)"
	is "$(jq -r '.checks[] | select(.check == "serve") | .detail' doctor.json | cut -d : -f 1)" 'containers by the kernel'
	# who may not mount is told that, and gets the other engine (no /dev/fuse: tests/cases/rootless_limits.sh)
	setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin snap --json doctor >doctor.json || :
	is "$(jq -r '.checks[] | select(.check == "serve") | .detail' doctor.json | cut -c 1-18)" 'containers by FUSE' 'without a privilege'
}

# Mounts and folders that a killed server leaves are named by gc, and go
test_gc_takes_what_a_kill_left() {
	python3 "$LIB/mklayer.py" lay '[D("d"), F("d/a", "one")]'
	snap --quiet pull oci:lay:latest --name i:1
	serve kernel
	call Prepare 2=a 3=i:1 >/dev/null
	is "$(in_store)" 1 'mounts'
	is "$(snap --json gc --dry-run | jq -c .)" '[]' 'nothing is left yet'
	kill -9 "$server" && wait "$server" || :
	snap rm a
	mkdir -p "$SNAP_ROOT/snapshots/4711/upper" "$SNAP_ROOT/blobs/sha256" "$SNAP_ROOT/run/s99"
	mkdir "$SNAP_ROOT/tmp/1-2-3" && echo half >"$SNAP_ROOT/tmp/1-2-3/data"
	echo lost >"$SNAP_ROOT/blobs/sha256/$(printf '0%.0s' {1..64})"
	is "$(snap --json gc --dry-run | jq -r '.[] | "\(.kind) \(.name | .[:1]) \(.why != "")"' | sort | paste -sd,)" \
		'blob s true,mount c true,mount s true,snapshot 4 true,tmp 1 true' 'what gc names'
	is "$(in_store) $(cat "$SNAP_ROOT/tmp/1-2-3/data")" '1 half' 'after a dry run'
	snap --quiet gc
	is "$(in_store) $(ls -A "$SNAP_ROOT/run" "$SNAP_ROOT/snapshots" "$SNAP_ROOT/tmp" | grep -vc '^/\|^$')" '0 0' 'after gc'
	is "$(snap --json gc --dry-run | jq -c .)" '[]' 'nothing is left'
	snap fsck >fsck.out || fail "fsck: $(cat fsck.out)"
}

# Images of 'snap pull' below containerd's snapshots: what is told, what is mounted once, and when it goes
call() { serve-call "$PWD/snap.sock" "$@"; }
mount_as_told() { # "TYPE SOURCE OPTIONS" DIR
	local type source options
	read -r type source options <<<"$1"
	mkdir -p "$2"
	if [ "$type" = bind ]; then
		mount --rbind "$source" "$2"
		case ,$options, in *,ro,*) mount -o remount,bind,ro "$2" ;; esac
	else
		# with short names of the lowers, as containerd has it: mount(2) takes a page of options
		(at=$(realpath "$2") && cd "$SNAP_ROOT/snapshots" && mount -t "$type" "$source" "$at" -o "${options//"$SNAP_ROOT/snapshots/"/}")
	fi
}
in_store() { awk -v p="$SNAP_ROOT/run/" 'index($5, p) == 1' /proc/self/mountinfo | wc -l; }

nothing_in_store() { [ "$(find "$SNAP_ROOT"/{layers,chains,tmp,snapshots,run} -mindepth 2 | wc -l)" = 0 ]; }

chains() { # ENGINE
	local a b
	python3 "$LIB/mklayer.py" lay '[D("d", mode=0o700, uid=5, gid=6), F("d/a", "one"), F("d/b", "two")]' '[F("d/.wh.b"), F("d/c", "three", mode=0o4755)]'
	snap --quiet pull oci:lay:latest --name i:1
	serve "$1"
	a=$(call Prepare 2=a 3=i:1)
	b=$(call Prepare 2=b 3=i:1)
	is "$(call Mounts 2=a)" "$a" 'mounts, asked again'
	if [ "$1" = kernel ]; then
		is "${a%% *} $(in_store)" 'overlay 1' 'type and mounts in the store'
	else
		is "${a%% *} $(in_store)" 'bind 2' 'type and mounts in the store'
	fi
	mount_as_told "$a" ma
	mount_as_told "$b" mb
	is "$(ls ma/d) $(cat ma/d/a ma/d/c) $(stat -c '%a %u:%g' ma/d) $(stat -c %a mb/d/c)" $'a\nc onethree 700 5:6 4755' 'what is seen'
	echo mine >ma/d/a
	mv ma/d ma/e
	is "$(cat mb/d/a)" one 'the other one'
	kill -9 "$server" && wait "$server" || :
	echo more >>ma/e/a
	serve "$1"
	within 10 reachable snap.sock
	is "$(call Mounts 2=a)" "$a" 'mounts, told by the next server'
	call Commit 2=ca 3=a >/dev/null # while it is mounted
	umount ma
	# a directory and an image below one snapshot, and a view of both
	mount_as_told "$(call View 2=v 3=ca)" mv
	is "$(cat mv/e/a; ls mv)" $'mine\nmore\ne' 'the committed one'
	! touch mv/x 2>/dev/null || fail "a view can be written"
	umount mv
	mount_as_told "$(call View 2=w 3=i:1)" mw
	is "$(cat mw/d/a)" one 'a view of the image'
	! touch mw/x 2>/dev/null || fail "a view of an image can be written"
	umount mw
	refused 1 'status 9: .*remove.*child' call Remove 2=ca
	for a in v w ca; do call Remove "2=$a" >/dev/null; done
	is "$(cat mb/d/a)" one 'after the others went'
	umount mb
	is "$(in_store)" 1 'mounts for the last one'
	call Remove 2=b >/dev/null
	is "$(in_store)" 0 'mounts when all are gone'
	within 5 no_servers
	is "$(call Cleanup)" 5 'an empty answer'
	snap rmi i:1
	snap --quiet gc
	within 5 nothing_in_store
	kill "$server" && wait "$server" || fail "status $?"
}
test_chains_kernel() { chains kernel; }
test_chains_fuse() { chains fuse; }

# More layers than a page of options has room for
test_many_layers() {
	local i parent='' m
	serve kernel
	for ((i = 0; i < 450; i++)); do
		m=$(call Prepare "2=k$i" ${parent:+"3=$parent"})
		echo "$i" >"$SNAP_ROOT/snapshots/$((i + 1))/upper/f$i"
		parent=c$i
		call Commit "2=$parent" "3=k$i" >/dev/null
	done
	m=$(call Prepare 2=top "3=$parent")
	is "${m%% *}" bind 'type'
	mount_as_told "$m" m
	is "$(ls m | wc -l) $(cat m/f0 m/f449 | paste -sd' ')" '450 0 449' 'what is seen'
	umount m
	call Remove 2=top >/dev/null
	is "$(in_store)" 0 'mounts'
	kill "$server" && wait "$server" || fail "status $?"
}

# Layers that the store has already: containerd is told that they exist, and unpacks nothing
remote() { # ENGINE
	local chain parent='' key n=0
	python3 "$LIB/mklayer.py" lay '[D("d", mode=0o700, uid=5), F("d/a", "one"), F("d/b", "two")]' '[F("d/.wh.b"), F("d/c", "three")]' '[D("d", mode=0o711, uid=5), F("e", "four")]'
	snap --quiet pull oci:lay:latest --name i:1
	snap --json inspect i:1 | jq -r '.layers[].diff_id' | python3 -c '
import hashlib, sys
chain = ""
for d in sys.stdin.read().split():
    chain = "sha256:" + hashlib.sha256(f"{chain} {d}".encode()).hexdigest() if chain else d
    print(chain)' >chains
	is "$(wc -l <chains)" 3 'layers'
	serve "$1"
	: >keys
	while read -r chain; do
		label=$'4=\x0a\x1acontainerd.io/snapshot.ref\x12\x47'$chain
		# twice: of two namespaces, say
		refused 1 'status 6: target snapshot' call Prepare "2=default/1/extract-$n $chain" ${parent:+"3=$parent"} "$label"
		refused 1 'status 6: target snapshot' call Prepare "2=other/1/extract-$n $chain" ${parent:+"3=$parent"} "$label"
		key=$(snap --json ls "kind==committed,labels.\"containerd.io/snapshot.ref\"==$chain,parent==\"$parent\"" | jq -r '.[].key')
		is "$(wc -l <<<"$key") ${key##* }" "1 $chain" 'the snapshot that containerd finds'
		parent=$key
		echo "$key" >>keys
		n=$((n + 1))
	done <chains
	mount_as_told "$(call Prepare 2=top "3=$parent")" top
	is "$(find top/* | sort | paste -sd' ') $(cat top/d/c top/e) $(stat -c %a top/d)" 'top/d top/d/a top/d/c top/e threefour 711' 'over all of them'
	echo new >top/d/new
	mount_as_told "$(call View 2=first "3=$(head -n 1 keys)")" first
	is "$(find first/* | sort | paste -sd' ') $(stat -c %a first/d)" 'first/d first/d/a first/d/b 700' 'over the first of them'
	# containerd unpacks one more on top of what it was spared
	upper=$(call Prepare '2=default/2/extract-1 x' "3=$parent" | sed -n 's/.*upperdir=\([^,]*\).*/\1/p')
	if [ -n "$upper" ]; then
		echo five >"$upper/f"
		call Commit 2=unpacked '3=default/2/extract-1 x' >/dev/null
		mount_as_told "$(call View 2=v 3=unpacked)" v
		is "$(cat v/f v/e)" $'five\nfour' 'with one more'
		umount v
		call Remove 2=v >/dev/null
		call Remove 2=unpacked >/dev/null
	else
		call Remove '2=default/2/extract-1 x' >/dev/null
	fi
	# one that the store has not
	label=$'4=\x0a\x1acontainerd.io/snapshot.ref\x12\x47'sha256:$(printf '0%.0s' {1..64})
	call Prepare 2=none "3=$parent" "$label" >/dev/null
	call Remove 2=none >/dev/null
	snap rmi i:1
	snap --quiet gc
	is "$(cat top/e)" four 'without the name of the image'
	snap fsck >fsck.out || fail "fsck: $(cat fsck.out)"
	umount top first
	for key in top first "$(sed -n 3p keys)" "$(sed -n 2p keys)" "$(sed -n 1p keys)"; do
		call Remove "2=$key" >/dev/null
	done
	is "$(in_store)" 0 'mounts'
	snap --quiet gc
	within 5 nothing_in_store
	kill "$server" && wait "$server" || fail "status $?"
}
test_remote_kernel() { remote kernel; }
test_remote_fuse() { remote fuse; }

# The same by a client and a registry: no layer is downloaded
remote_pull() { # OPTION...: of serve; none: the image is pulled before
	command -v ctr-remote >/dev/null || skip "no ctr-remote (package stargz-snapshotter)"
	command -v docker-registry >/dev/null || skip "no docker-registry"
	local port=$((20000 + RANDOM % 10000)) ref
	ref=127.0.0.1:$port/bb:1
	work
	cat >registry.yml <<-CONFIG
		version: 0.1
		storage: {filesystem: {rootdirectory: $PWD/registry}}
		http: {addr: "127.0.0.1:$port"}
	CONFIG
	docker-registry serve registry.yml >>registry.log 2>&1 & # appends: the log is emptied below
	local registry=$!
	mkdir layout && tar -C layout -xf image.tar
	pushed() { skopeo copy -q --dest-tls-verify=false oci:layout:latest "docker://$ref" 2>skopeo.err; }
	within 20 pushed
	skopeo copy -q --src-tls-verify=false "docker://$ref" oci:pulled:1
	[ $# -gt 0 ] || snap --quiet pull oci:pulled:1 --name bb:1
	if [ "${2:-}" = metadata ]; then
		SNAP_ROOT=$PWD/maker snap --quiet pull --tls-verify=false "docker://$ref"
		SNAP_ROOT=$PWD/maker snap --quiet index push "$ref" --tls-verify=false
	fi
	serve auto "$@"
	start_containerd
	: >registry.log
	ctr-remote images rpull --plain-http --snapshotter snap "$ref" >rpull.out 2>&1 || fail "rpull: $(cat rpull.out)"
	python3 - pulled <<'PY' >layers
import json, pathlib, sys
d = pathlib.Path(sys.argv[1])
read = lambda digest: json.loads((d / "blobs/sha256" / digest[7:]).read_text())
m = read(json.loads((d / "index.json").read_text())["manifests"][0]["digest"])
print("\n".join(l["digest"] for l in m["layers"]))
PY
	grep -q 'GET /v2/bb/' registry.log || fail "the registry was not asked: $(cat rpull.out)"
	# by containerd, that is: it names itself
	! grep -F -f layers registry.log | grep -v 'agent=.\?snap\|"snap/' | grep -q '"GET\|method=GET' || fail "a layer was downloaded: $(grep -F -f layers registry.log | head -n 1; tail -n 5 serve.log)"
	[ $# = 0 ] || is "$(snap --json images | jq -r '.[].ref')" "$ref" 'what was pulled'
	if [ "${2:-}" = metadata ]; then # by nobody
		! grep -F -f layers registry.log | grep -q 'method=GET .*status=20' || fail 'a layer came before it was read'
		is "$(snap --json images | jq -r '.[0].state, .[0].fetched' | paste -sd' ')" 'lazy 0' 'state after rpull'
	fi
	is "$(ctr run --rm --snapshotter snap "$ref" "r$tag" /bin/cat /dir/b)" upper 'in the container'
	[ "${2:-}" != metadata ] || grep -F -f layers registry.log | grep -q 'agent=.\?snap' || fail 'nothing was fetched for the container'
	kill "$registry" && wait "$registry" || :
	if [ $# -gt 0 ]; then
		# an image that cannot be had is containerd's own to bring
		ctr images import --snapshotter snap image.tar >/dev/null
		is "$(run c9 /bin/cat /dir/b)" upper 'unpacked by containerd'
	fi
	finish
}
test_remote_pull() { remote_pull; }
test_remote_pull_by_the_daemon() { remote_pull --pull whole --tls-verify=false; }
# What another snapshotter had unpacked is whole in containerd's content store: it is taken from there
label() { printf '4=\\x0a\\x%02x%s\\x12\\x%02x%s' ${#1} "$1" ${#2} "$2"; }
test_remote_content_store() {
	work
	serve auto --pull whole --content "$PWD/root/io.containerd.content.v1.content"
	start_containerd
	ctr images import --no-unpack image.tar >/dev/null
	local digest diff ref=127.0.0.1:9/local/bb:1
	digest=$(ctr images ls | awk '/bb:1/ {print $3}')
	diff=$(tar -xOf image.tar "blobs/sha256/$(tar -xOf image.tar index.json | jq -r '.manifests[0].digest' | cut -d : -f 2)" | jq -r '.layers[0].digest')
	refused 1 'status 6: .*target snapshot' serve-call snap.sock Prepare 2='default/1/extract-1 x' \
		"$(printf '%b' "$(label containerd.io/snapshot.ref "$diff")")" \
		"$(printf '%b' "$(label containerd.io/snapshot/cri.image-ref "$ref")")" \
		"$(printf '%b' "$(label containerd.io/snapshot/cri.manifest-digest "$digest")")"
	is "$(snap --json images | jq -r '.[] | .ref + " " + .digest')" "$ref $digest" 'what was taken'
	# one that is nowhere: a snapshot to unpack into, as if nobody had said anything
	serve-call snap.sock Prepare 2='default/2/extract-2 y' "$(printf '%b' "$(label containerd.io/snapshot.ref "sha256:$(printf '1%.0s' {1..64})")")" \
		"$(printf '%b' "$(label containerd.io/snapshot/cri.image-ref "127.0.0.1:9/none:1")")" \
		"$(printf '%b' "$(label containerd.io/snapshot/cri.manifest-digest "sha256:$(printf '2%.0s' {1..64})")")" >mounts
	is "$(cut -d ' ' -f 1 mounts)" overlay 'where containerd unpacks it'
	finish
}
test_remote_pull_in_the_background() { remote_pull --pull background --tls-verify=false; }
test_remote_pull_lazily() { remote_pull --pull metadata --tls-verify=false; }
