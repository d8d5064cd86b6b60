/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "tests/tools/treecmp.h"

static const char usage[] =
	"usage: treecmp [OPTION]... A B\n"
	"Compares two trees; prints each difference as PATH: WHAT: A | B.\n"
	"  --no-xattr PREFIX   leave out xattrs whose name starts so (may be repeated)\n"
	"  --ignore WORD       mtime, dir-mtime, mode, owner, nlink, links, xattr, content, root\n"
	"  --ignore-root       the same as --ignore root\n"
	"  --limit N           print at most N differences (50)\n"
	"  --quiet             print no summary\n"
	"Exit: 0 equal, 1 different, 2 trouble.\n";

enum { OPT_NO_XATTR = 1, OPT_IGNORE, OPT_IGNORE_ROOT, OPT_LIMIT, OPT_QUIET, OPT_HELP };

static const struct option options[] = {
	{"no-xattr", required_argument, NULL, OPT_NO_XATTR},
	{"ignore", required_argument, NULL, OPT_IGNORE},
	{"ignore-root", no_argument, NULL, OPT_IGNORE_ROOT},
	{"limit", required_argument, NULL, OPT_LIMIT},
	{"quiet", no_argument, NULL, OPT_QUIET},
	{"help", no_argument, NULL, OPT_HELP},
	{0},
};

static bool parse(int argc, char **argv, struct treecmp_options *opt, bool *ret_quiet)
{
	int o;

	/* NOLINTNEXTLINE(concurrency-mt-unsafe): one thread */
	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		unsigned int bit;
		char *end;

		switch (o) {
		case OPT_NO_XATTR:
			opt->no_xattr[opt->n_no_xattr++] = optarg;
			break;
		case OPT_IGNORE:
			bit = treecmp_ignore_parse(optarg);
			if (!bit) {
				(void)fprintf(stderr, "treecmp: --ignore %s: unknown\n", optarg);
				return false;
			}
			opt->ignore |= bit;
			break;
		case OPT_IGNORE_ROOT:
			opt->ignore |= TREECMP_ROOT;
			break;
		case OPT_LIMIT:
			opt->limit = strtoul(optarg, &end, 10);
			if (*end)
				return false;
			break;
		case OPT_QUIET:
			*ret_quiet = true;
			break;
		default:
			return false;
		}
	}
	return optind + 2 == argc;
}

int main(int argc, char **argv)
{
	cleanup_free const char **no_xattr = calloc((size_t)argc + 1, sizeof(*no_xattr));
	struct treecmp_options opt = {.no_xattr = no_xattr, .limit = 50, .out = stdout};
	cleanup_close int a = -EBADF;
	cleanup_close int b = -EBADF;
	struct treecmp_result res;
	struct rlimit lim;
	bool quiet = false;

	if (!no_xattr)
		return 2;
	if (!parse(argc, argv, &opt, &quiet)) {
		(void)fputs(usage, stderr);
		return 2;
	}
	/* two fds a level: as deep as the hard limit lets us */
	if (getrlimit(RLIMIT_NOFILE, &lim) == 0) {
		lim.rlim_cur = lim.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &lim);
	}
	a = open(argv[optind], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (a < 0) {
		perror(argv[optind]);
		return 2;
	}
	b = open(argv[optind + 1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (b < 0) {
		perror(argv[optind + 1]);
		return 2;
	}
	if (treecmp_run(a, b, &opt, &res) < 0)
		return 2;
	if (!quiet || res.differences)
		(void)printf("treecmp: %lu entries, %llu bytes of content: %lu differences\n",
			     res.entries, res.bytes, res.differences);
	return res.differences ? 1 : 0;
}
