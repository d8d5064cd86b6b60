/* SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Its parse_command() is all of snapfs that comes before the mount. */
int snapfs_main(int argc, char **argv);
#define main snapfs_main
#include "overlay/snapfs.c"
#undef main

#define ARGS_MAX 16

static char scratch[] = "/tmp/fuzz-snapfs-XXXXXX";

static void clean(void)
{
	if (chdir("/") == 0)
		(void)!io_remove_tree(AT_FDCWD, scratch);
}

/* What paths in the inputs may lead to: relative to the current directory. */
static void make_scratch(void)
{
	static const char *const dirs[] = {"l",	  "u",	  "w",	  "m",	 "a:b",
					   "a,b", "a\\b", "u/in", "\xff"};

	if (!mkdtemp(scratch) || chdir(scratch) < 0)
		abort();
	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++)
		if (mkdir(dirs[i], 0755) < 0)
			abort();
	if (symlink("l", "link") < 0 || symlink("loop", "loop") < 0 || atexit(clean) != 0)
		abort();
}

static void check_path(const char *path)
{
	struct stat st;

	if (path[0] != '/' || lstat(path, &st) < 0 || S_ISLNK(st.st_mode))
		abort();
}

/* What is seen as an id is kept as one that is seen as that. */
static void check_map(const struct ovl_idmap *m)
{
	for (size_t i = 0; i < m->n; i++) {
		const struct ovl_id_range *r = &m->ranges[i];
		uint32_t last = r->shown + (r->count - 1), stored;

		if (r->count == 0 || last < r->shown || r->stored + (r->count - 1) < r->stored)
			abort();
		if (ovl_idmap_store(m, last, &stored) < 0 || stored != r->stored + (r->count - 1))
			abort();
		if (ovl_idmap_show(m, stored) != (m->squash ? m->squash_to : last))
			abort();
	}
}

/* What snapfs would mount. */
static void check_command(const struct command *cmd)
{
	const struct ovl_config *c = &cmd->config;

	check_path(cmd->mountpoint);
	if ((c->n_lowers == 0 && !c->upper) || !c->upper != !c->work ||
	    (!c->upper && !c->read_only))
		abort();
	for (size_t i = 0; i < c->n_lowers; i++)
		check_path(c->lowers[i]);
	if (c->upper) {
		check_path(c->upper);
		check_path(c->work);
	}
	if (c->record) {
		check_path(c->record);
		(void)unlink(c->record);
	}
	if ((c->metacopy && !c->redirect_dir) || (c->nofollow && c->redirect_dir))
		abort();
	check_map(&c->uids);
	check_map(&c->gids);
}

/*
 * The arguments of the mount program, each up to a NUL: options, source and mount point come from
 * containers' configurations. Whatever they are, there is something to mount, a usage message, or
 * one error that says what is wrong.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct command cmd = {.config = OVL_CONFIG_INIT};
	struct err err = ERR_INIT;
	char *text, *argv[ARGS_MAX + 2] = {(char[]){"snapfs"}};
	int argc = 1, status;

	/* record= makes its file: here, nowhere else. */
	if (memmem(data, size, "record", 6) && memchr(data, '/', size))
		return 0;
	if (scratch[sizeof(scratch) - 2] == 'X')
		make_scratch();
	text = malloc(size + 1);
	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	for (char *p = text; p < text + size && argc <= ARGS_MAX; p += strlen(p) + 1)
		argv[argc++] = p;
	optind = 0;
	opterr = 0;
	log_set_level(LOG_ERROR);
	status = parse_command(&cmd, argc, argv, &err);
	if (status < 0)
		check_command(&cmd);
	else if (status == EXIT_FAILURE && (err.code >= 0 || !err.msg[0]))
		abort();
	else if (status == EXIT_SUCCESS && err.code != 0)
		abort();
	ovl_config_release(&cmd.config);
	free(cmd.mountpoint);
	free(text);
	return 0;
}
