/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/cmd/progress.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "snapshotter/cmd/cmd.h"

/* ECMA-48: up n lines; erase from here to the end of the screen, of the line */
#define UP     "\033[%uA"
#define BELOW  "\033[J"
#define BEHIND "\033[K"

static void erase_locked(struct cmd_progress *p)
{
	if (p->lines)
		(void)fprintf(stderr, "\r" UP BELOW, p->lines);
	p->lines = 0;
}

/* A line that wraps would be two to go up. */
static void put_line_locked(struct cmd_progress *p, const char *line, unsigned int columns)
{
	(void)fprintf(stderr, "%.*s" BEHIND "\n", (int)columns - 1, line);
	p->lines++;
}

static const char *layer_line(const struct snap_pull_layer *l, char *buf, size_t size)
{
	char done[24], all[24], rate[24];

	cmd_format_size(l->done, done);
	cmd_format_size(l->size, all);
	cmd_format_size(l->seconds > 0 ? (uint64_t)((double)l->done / l->seconds) : 0, rate);
	if (l->done < l->size)
		(void)snprintf(buf, size, "%.12s  %s of %s, %s/s", digest_hex(l->blob), done, all,
			       rate);
	else /* the tar is behind the blob, and all is to be on disk */
		(void)snprintf(buf, size, "%.12s  %s, finishing", digest_hex(l->blob), all);
	return buf;
}

static void draw_locked(struct cmd_progress *p, const struct snap_pull_layer *layers, size_t n,
			const char *sum)
{
	struct winsize w = {.ws_row = 0};
	unsigned int rows, columns;
	char line[160];

	(void)ioctl(STDERR_FILENO, TIOCGWINSZ, &w);
	rows = w.ws_row > 2 ? w.ws_row : 24;
	columns = w.ws_col > 20 ? w.ws_col : 80;
	erase_locked(p);
	for (size_t i = 0; i < n && p->lines + 2 < rows; i++)
		if (layers[i].state == SNAP_PULL_COMING)
			put_line_locked(p, layer_line(&layers[i], line, sizeof(line)), columns);
	put_line_locked(p, sum, columns);
}

void cmd_progress_show(void *ctx, const struct snap_pull_layer *layers, size_t n)
{
	struct cmd_progress *p = ctx;
	uint64_t done = 0, size = 0;
	size_t layers_done = 0;
	char a[24], b[24], sum[128];

	for (size_t i = 0; i < n; i++) {
		layers_done += layers[i].state == SNAP_PULL_DONE;
		done += layers[i].done;
		size += layers[i].size;
	}
	cmd_format_size(done, a);
	cmd_format_size(size, b);
	(void)snprintf(sum, sizeof(sum), "%zu of %zu layers, %s of %s", layers_done, n, a, b);
	(void)pthread_mutex_lock(&p->lock);
	if (isatty(STDERR_FILENO) == 1)
		draw_locked(p, layers, n, sum);
	else
		(void)fprintf(stderr, "%s\n", sum);
	(void)fflush(stderr);
	(void)pthread_mutex_unlock(&p->lock);
}

void cmd_progress_pause(struct cmd_progress *p)
{
	(void)pthread_mutex_lock(&p->lock);
	erase_locked(p);
}

void cmd_progress_resume(struct cmd_progress *p)
{
	(void)fflush(stderr);
	(void)pthread_mutex_unlock(&p->lock);
}
