/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "overlay/changes_private.h"
#include "overlay/mark.h"

/* Deeper than any path that a layer can hold. */
#define DEPTH_MAX 2100

static int compare_numbers(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

int ovl_links_read(struct ovl_links *l, int links_fd)
{
	DIR *d cleanup_closedir = NULL;
	int fd = ovl_sys_open(links_fd, ".", O_RDONLY | O_DIRECTORY, 0);
	struct dirent *de;
	uint64_t *more;

	if (fd < 0)
		return fd;
	d = fdopendir(fd);
	if (!d) {
		int r = -errno;

		(void)close(fd);
		return r;
	}
	for (;;) {
		errno = 0;
		de = readdir(d);
		if (!de)
			break;
		if (de->d_name[0] < '0' || de->d_name[0] > '9')
			continue;
		more = reallocarray(l->numbers, l->n_numbers + 1, sizeof(*more));
		if (!more)
			return -ENOMEM;
		l->numbers = more;
		if (ovl_mark_number(de->d_name, strlen(de->d_name), &more[l->n_numbers]) == 0)
			l->n_numbers++;
	}
	if (errno)
		return -errno;
	if (l->n_numbers > 1)
		qsort(l->numbers, l->n_numbers, sizeof(*l->numbers), compare_numbers);
	return 0;
}

bool ovl_links_has(const struct ovl_links *l, uint64_t number)
{
	return l->n_numbers > 0 &&
	       bsearch(&number, l->numbers, l->n_numbers, sizeof(*l->numbers), compare_numbers);
}

static int add_link(struct ovl_links *l, const char *path, uint64_t number)
{
	struct ovl_link *v = reallocarray(l->v, l->n + 1, sizeof(*v));

	if (!v)
		return -ENOMEM;
	l->v = v;
	v[l->n] = (struct ovl_link){.path = strdup(path), .number = number};
	if (!v[l->n].path)
		return -ENOMEM;
	l->n++;
	return 0;
}

static int scan(struct ovl_links *l, const struct ovl_stack *s, const struct ovl_dirset *dir,
		struct strbuf *path, unsigned int depth)
{
	struct ovl_names names cleanup_names = {.n = 0};
	size_t at = path->len;
	int r = depth > DEPTH_MAX ? -ELOOP : ovl_stack_names(dir, &names);

	if (r)
		return r;
	ovl_names_sort(&names);
	for (size_t i = 0; i < names.n && !r; i++) {
		const struct ovl_name *n = &names.v[i];
		struct ovl_below b cleanup_below = OVL_BELOW_INIT;

		if (n->whiteout)
			continue;
		strbuf_truncate(path, at);
		r = strbuf_addf(path, "%s%s", at ? "/" : "", n->name);
		if (!r && (n->type == DT_DIR || n->type == DT_UNKNOWN))
			r = ovl_stack_lookup(s, dir->objs, dir->n, n->name, NULL, OVL_WANT_ANY, &b);
		if (!r && ovl_below_is_dir(&b))
			r = scan(l, s, &b.set, path, depth + 1);
		else if (!r && ovl_links_has(l, ovl_lower_number(n->batch, n->ino)))
			r = add_link(l, path->s, ovl_lower_number(n->batch, n->ino));
	}
	strbuf_truncate(path, at);
	return r;
}

static int compare_links(const void *a, const void *b)
{
	const struct ovl_link *x = a, *y = b;

	return strcmp(x->path, y->path);
}

int ovl_links_scan(struct ovl_links *l, const struct ovl_stack *s)
{
	struct ovl_dirset root cleanup_dirset = {NULL, 0};
	struct strbuf path CLEANUP(strbuf_release) = STRBUF_INIT;
	int r;

	if (l->n_numbers == 0)
		return 0;
	r = ovl_stack_root(s, &root);
	if (!r)
		r = scan(l, s, &root, &path, 0);
	if (!r && l->n > 1)
		qsort(l->v, l->n, sizeof(*l->v), compare_links);
	return r;
}

size_t ovl_links_from(const struct ovl_links *l, const char *path)
{
	size_t low = 0, high = l->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (strcmp(l->v[mid].path, path) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

void ovl_links_release(struct ovl_links *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->v[i].path);
	free(l->v);
	free(l->numbers);
	*l = (struct ovl_links){.n = 0};
}
