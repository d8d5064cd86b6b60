/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "tests/lib/mount_command.h"
#include "tests/load/load.h"
#include "tests/tools/treecmp.h"

enum {
	MAX_PROCESSES = 16,
	MAX_THREADS = 16,
	MAX_REGIONS = MAX_PROCESSES * MAX_THREADS,
	FILL_OPS = 600,
	STUCK_SECONDS = 120,
	OPS_BETWEEN_COMPARES = 400,
	PUSHES = 2, /* in a round */
};

static const char usage[] =
	"usage: loadop [OPTION]... --mount COMMAND\n"
	"Processes and threads load one mount, each in a tree of its own of which it knows all, "
	"and\n"
	"together in a shared one. Between rounds it is mounted anew and compared.\n"
	"  --mount COMMAND   mounts the engine: %l lowerdir, %u upper, %w work, %m target\n"
	"  --push COMMAND    twice in a round: puts a new upper on top of the mount: %u upper, %w "
	"work,\n"
	"                    %m target, %l the work directory that it has\n"
	"  --lower COMMAND   prints the lowerdir, made of the directory %l\n"
	"  --dir DIR         scratch space (/tmp)\n"
	"  --processes N (2)  --threads N (2)  --seconds N (10)  --rounds N (2)  --seed S\n"
	"  --ops N           so many operations of each in a round, whatever the time\n"
	"Exit: 0 nothing wrong, 1 something is, 2 trouble, 3 stuck.\n";

/* Shared by all processes. */
struct board {
	_Atomic bool failed;
	_Atomic unsigned long ops;
	char regions[300], shared[300]; /* directories, of the round; shared: "" for none */
	time_t end;
	unsigned long max_ops;
	unsigned long seq[MAX_REGIONS][LOAD_LOGS];
};

struct driver {
	const char *mount, *lower, *dir, *push;
	unsigned int processes, threads, seconds, rounds;
	unsigned long ops;
	uint64_t seed;
	struct board *board;
	pid_t pid[MAX_PROCESSES];
	int command[MAX_PROCESSES], answer[MAX_PROCESSES];
	char scratch[120];
	char lowers[4096], first_lower[200], pristine[200], upper[200], work[200], mnt[200];
	unsigned int pushed;
};

enum job_kind { JOB_FILL = 'f', JOB_RUN = 'r', JOB_COMPARE = 'c', JOB_END = 'q' };

struct worker {
	struct region region;
	struct board *board;
	enum job_kind job;
};

static void work(struct worker *w, int shared)
{
	struct region *r = &w->region;
	unsigned long first = r->ops, max = w->job == JOB_FILL ? FILL_OPS : w->board->max_ops;

	while (!r->failed && !w->board->failed && (!max || r->ops - first < max)) {
		if (!max && r->ops % 16 == 0 && time(NULL) >= w->board->end)
			break;
		region_step(r);
		if (shared >= 0 && r->ops % 5 == 0)
			shared_step(r, shared);
		if (r->ops % OPS_BETWEEN_COMPARES == 0)
			region_compare(r);
	}
	w->board->ops += r->ops - first;
	memcpy(w->board->seq[r->id], r->seq, sizeof(r->seq));
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	cleanup_close int shared = -EBADF;
	char path[400];
	int root;

	(void)snprintf(path, sizeof(path), "%s/r%u", w->board->regions, w->region.id);
	if (w->job == JOB_FILL && mkdir(path, 0755) < 0)
		perror(path);
	root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (w->job == JOB_RUN)
		shared = open(w->board->shared, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root < 0 || (w->job == JOB_RUN && shared < 0)) {
		region_fail(&w->region, "open %s or %s: %s", path, w->board->shared,
			    strerror(errno));
	} else {
		region_enter(&w->region, root);
		if (w->job != JOB_COMPARE)
			work(w, shared);
		region_compare(&w->region);
		region_leave(&w->region);
	}
	if (w->region.failed)
		w->board->failed = true;
	return NULL;
}

/* A process: does what it is told, by all its threads, and answers with a byte each time. */
static int process_main(struct driver *d, unsigned int number, int command, int answer)
{
	static struct worker workers[MAX_THREADS];
	pthread_t thread[MAX_THREADS];
	char job;

	for (unsigned int i = 0; i < d->threads; i++) {
		workers[i].board = d->board;
		if (region_init(&workers[i].region, number * d->threads + i, d->seed) < 0)
			return 2;
	}
	while (read(command, &job, 1) == 1 && job != JOB_END) {
		for (unsigned int i = 0; i < d->threads; i++) {
			workers[i].job = (enum job_kind)job;
			if (pthread_create(&thread[i], NULL, worker_main, &workers[i]) != 0)
				return 2;
		}
		for (unsigned int i = 0; i < d->threads; i++)
			(void)pthread_join(thread[i], NULL);
		if (write(answer, &job, 1) != 1)
			return 2;
	}
	for (unsigned int i = 0; i < d->threads; i++)
		region_release(&workers[i].region);
	return 0;
}

static int processes_start(struct driver *d)
{
	for (unsigned int i = 0; i < d->processes; i++) {
		int to[2], from[2];

		if (pipe2(to, O_CLOEXEC) < 0 || pipe2(from, O_CLOEXEC) < 0)
			return -1;
		d->pid[i] = fork();
		if (d->pid[i] < 0)
			return -1;
		if (d->pid[i] == 0) {
			for (unsigned int j = 0; j < i; j++)
				(void)close(d->command[j]);
			(void)close(to[1]);
			exit(process_main(d, i, to[0], from[1]));
		}
		(void)close(to[0]);
		(void)close(from[1]);
		d->command[i] = to[1];
		d->answer[i] = from[0];
	}
	return 0;
}

static void processes_kill(struct driver *d)
{
	for (unsigned int i = 0; i < d->processes; i++)
		if (d->pid[i] > 0)
			(void)kill(d->pid[i], SIGKILL);
}

static int make(const char *dir)
{
	return mkdir(dir, 0755) < 0 ? 2 : 0;
}

/* What everybody works on gets a new upper; a copy of the old one is kept. */
static int push(struct driver *d)
{
	char frozen[200], work[200], rest[4096], copy[500];
	struct mount_paths paths = {
		.lowers = work, .upper = d->upper, .work = d->work, .mnt = d->mnt};

	(void)snprintf(frozen, sizeof(frozen), "%s", d->upper);
	(void)snprintf(work, sizeof(work), "%s", d->work);
	(void)snprintf(rest, sizeof(rest), "%s", d->lowers);
	d->pushed++;
	(void)snprintf(d->upper, sizeof(d->upper), "%s/upper%u", d->scratch, d->pushed);
	(void)snprintf(d->work, sizeof(d->work), "%s/work%u", d->scratch, d->pushed);
	if (make(d->upper) || make(d->work) || mount_command_run(d->push, &paths) != 0 ||
	    strlen(frozen) + strlen(rest) + 2 > sizeof(d->lowers)) {
		(void)printf("loadop: no new upper\n");
		return 2;
	}
	(void)snprintf(d->lowers, sizeof(d->lowers), "%s:", frozen);
	strcat(d->lowers, rest);
	(void)snprintf(copy, sizeof(copy), "cp -a '%s' '%s/pristine%u'", frozen, d->scratch,
		       d->pushed - 1);
	return shell_run(copy) != 0 ? 2 : 0;
}

/* While everybody works, for so many seconds. */
static int pushes(struct driver *d, unsigned int seconds)
{
	int r = 0;

	for (unsigned int i = 0; i < PUSHES && d->push && r == 0; i++) {
		(void)usleep(seconds * 1000000 / (PUSHES + 1));
		r = push(d);
	}
	return r;
}

/* All processes do @job: 0, 1 when something was wrong, 3 when one does not come back. */
static int everybody(struct driver *d, enum job_kind job, unsigned int seconds)
{
	char byte = (char)job;

	d->board->end = time(NULL) + seconds;
	for (unsigned int i = 0; i < d->processes; i++)
		if (write(d->command[i], &byte, 1) != 1)
			return 2;
	if (job == JOB_RUN && pushes(d, seconds) != 0)
		return 2;
	for (unsigned int i = 0; i < d->processes; i++) {
		struct pollfd p = {.fd = d->answer[i], .events = POLLIN};
		long left = (long)(d->board->end - time(NULL)) + STUCK_SECONDS;

		if (poll(&p, 1, (int)(left > 1 ? left : 1) * 1000) != 1) {
			(void)printf("loadop: process %u is stuck\n", i);
			processes_kill(d);
			return 3;
		}
		if (read(d->answer[i], &byte, 1) != 1) {
			(void)printf("loadop: process %u has died\n", i);
			return 1;
		}
	}
	return d->board->failed ? 1 : 0;
}

static bool shared_is_right(struct driver *d, const char *when)
{
	cleanup_close int fd = open(d->board->shared, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool ok = fd >= 0 && shared_check(fd, d->processes * d->threads, d->board->seq);

	if (!ok)
		(void)printf("loadop: the shared directory is wrong %s\n", when);
	return ok;
}

static int do_mount(struct driver *d)
{
	struct mount_paths paths = {
		.lowers = d->lowers, .upper = d->upper, .work = d->work, .mnt = d->mnt};

	return mount_command_run(d->mount, &paths) == 0 ? 0 : 2;
}

static int round_do(struct driver *d, unsigned int number)
{
	int r;

	(void)printf("loadop: round %u\n", number + 1);
	r = everybody(d, JOB_RUN, d->seconds / d->rounds);
	if (r == 0 && !shared_is_right(d, "at the end of a round"))
		r = 1;
	if (r == 3)
		return r;
	if (mount_end(d->mnt) < 0 || do_mount(d) != 0)
		return 2;
	if (r == 0)
		r = everybody(d, JOB_COMPARE, 0);
	if (r == 0 && !shared_is_right(d, "after a remount"))
		r = 1;
	return r;
}

/* The lower layer: made by the same operations, on a plain directory. */
static int lower_make(struct driver *d)
{
	char command[500], path[300];
	cleanup_close int fd = -EBADF;
	int r;

	(void)snprintf(d->board->regions, sizeof(d->board->regions), "%s", d->first_lower);
	(void)snprintf(path, sizeof(path), "%s/shared", d->first_lower);
	if (mkdir(path, 0755) < 0)
		return 2;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || shared_make(fd) < 0)
		return 2;
	r = everybody(d, JOB_FILL, STUCK_SECONDS);
	if (r)
		return r;
	(void)snprintf(command, sizeof(command), "cp -a '%s' '%s'", d->first_lower, d->pristine);
	if (shell_run(command) != 0)
		return 2;
	(void)snprintf(d->lowers, sizeof(d->lowers), "%s", d->first_lower);
	if (d->lower) {
		struct mount_paths paths = {.lowers = d->first_lower};

		if (mount_command_line(d->lower, &paths, d->lowers, sizeof(d->lowers)) < 0)
			return 2;
	}
	(void)snprintf(d->board->regions, sizeof(d->board->regions), "%s", d->mnt);
	(void)snprintf(d->board->shared, sizeof(d->board->shared), "%s/shared", d->mnt);
	return 0;
}

static int layer_check(const char *before, const char *layer)
{
	struct treecmp_options opt = {.limit = 10, .out = stdout};
	cleanup_close int a = open(before, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_close int b = open(layer, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct treecmp_result res;

	if (a < 0 || b < 0 || treecmp_run(a, b, &opt, &res) < 0)
		return 2;
	if (res.differences)
		(void)printf("loadop: the layer %s has changed\n", layer);
	return res.differences ? 1 : 0;
}

static int layers_check(struct driver *d)
{
	int r = layer_check(d->pristine, d->first_lower);

	for (unsigned int i = 0; i < d->pushed && r == 0; i++) {
		char before[200], layer[200];

		(void)snprintf(before, sizeof(before), "%s/pristine%u", d->scratch, i);
		(void)snprintf(layer, sizeof(layer), "%s/upper%.0u", d->scratch, i);
		r = layer_check(before, layer);
	}
	return r;
}

static int run(struct driver *d)
{
	int r;

	if (processes_start(d) < 0)
		return 2;
	r = lower_make(d);
	if (r == 0)
		r = do_mount(d);
	if (r == 0) {
		r = everybody(d, JOB_COMPARE, 0);
		d->board->max_ops = d->ops;
		d->board->ops = 0;
		for (unsigned int i = 0; i < d->rounds && r == 0; i++)
			r = round_do(d, i);
		if (r != 3 && mount_end(d->mnt) < 0)
			r = 2;
		if (r == 0)
			r = layers_check(d);
	}
	for (unsigned int i = 0; i < d->processes; i++)
		(void)close(d->command[i]);
	for (unsigned int i = 0; i < d->processes; i++)
		(void)waitpid(d->pid[i], NULL, 0);
	return r;
}

static int prepare(struct driver *d)
{
	struct {
		char *path;
		const char *name;
	} dirs[] = {
		{d->first_lower, "lower"}, {d->upper, "upper"}, {d->work, "work"}, {d->mnt, "mnt"}};

	(void)snprintf(d->scratch, sizeof(d->scratch), "%s/loadop-XXXXXX", d->dir);
	if (!mkdtemp(d->scratch) || chmod(d->scratch, 0755) < 0) {
		perror(d->scratch);
		return -1;
	}
	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
		(void)snprintf(dirs[i].path, sizeof(d->mnt), "%s/%s", d->scratch, dirs[i].name);
		if (mkdir(dirs[i].path, 0755) < 0)
			return -1;
	}
	(void)snprintf(d->pristine, sizeof(d->pristine), "%s/pristine", d->scratch);
	/* whatever happens, no mount outlives us */
	if (geteuid() == 0 &&
	    (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)) {
		perror("own mount namespace");
		return -1;
	}
	d->board = mmap(NULL, sizeof(*d->board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			-1, 0);
	return d->board == MAP_FAILED ? -1 : 0;
}

static const struct option options[] = {
	{"mount", required_argument, NULL, 'm'},
	{"lower", required_argument, NULL, 'l'},
	{"push", required_argument, NULL, 'P'},
	{"dir", required_argument, NULL, 'd'},
	{"processes", required_argument, NULL, 'p'},
	{"threads", required_argument, NULL, 't'},
	{"seconds", required_argument, NULL, 's'},
	{"rounds", required_argument, NULL, 'r'},
	{"seed", required_argument, NULL, 'S'},
	{"ops", required_argument, NULL, 'o'},
	{"help", no_argument, NULL, 'h'},
	{0},
};

static bool parse(int argc, char **argv, struct driver *d)
{
	int o;

	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (o) {
		case 'm':
			d->mount = optarg;
			break;
		case 'l':
			d->lower = optarg;
			break;
		case 'P':
			d->push = optarg;
			break;
		case 'd':
			d->dir = optarg;
			break;
		case 'p':
			d->processes = (unsigned int)strtoul(optarg, NULL, 10);
			break;
		case 't':
			d->threads = (unsigned int)strtoul(optarg, NULL, 10);
			break;
		case 's':
			d->seconds = (unsigned int)strtoul(optarg, NULL, 10);
			break;
		case 'r':
			d->rounds = (unsigned int)strtoul(optarg, NULL, 10);
			break;
		case 'S':
			d->seed = strtoull(optarg, NULL, 10);
			break;
		case 'o':
			d->ops = strtoul(optarg, NULL, 10);
			break;
		default:
			return false;
		}
	}
	return optind == argc && d->mount && d->processes && d->processes <= MAX_PROCESSES &&
	       d->threads && d->threads <= MAX_THREADS && d->rounds;
}

int main(int argc, char **argv)
{
	static struct driver d = {
		.dir = "/tmp", .processes = 2, .threads = 2, .seconds = 10, .rounds = 2};
	int r;

	d.seed = (uint64_t)time(NULL);
	if (!parse(argc, argv, &d)) {
		(void)fputs(usage, stderr);
		return 2;
	}
	(void)umask(0);
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	if (prepare(&d) < 0)
		return 2;
	(void)printf("loadop: seed %llu, %u processes of %u threads, %u rounds of %u s, %s\n",
		     (unsigned long long)d.seed, d.processes, d.threads, d.rounds,
		     d.seconds / d.rounds, d.mount);
	r = run(&d);
	(void)printf("loadop: %s, %lu operations (again: --seed %llu)\n",
		     r ? "FAILED" : "nothing wrong", d.board->ops, (unsigned long long)d.seed);
	if (r != 3 && io_remove_tree(AT_FDCWD, d.scratch) < 0)
		return 2;
	return r;
}
