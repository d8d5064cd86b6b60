/* SPDX-License-Identifier: Apache-2.0 */
#include <err.h>
#include <libsnapshotter.h>
#include <stdio.h>
#include <stdlib.h>

/*
 * An image of a layout with one file more, by libsnapshotter:
 *	cc build-image.c $(pkg-config --cflags --libs libsnapshotter) -o build-image
 *	build-image STORE oci:DIR:TAG MOUNTPOINT
 */
static int print(void *ctx, const char *key, const char *kind, const char *parent)
{
	(void)ctx;
	(void)printf("%s %s on %s\n", kind, key, parent ? parent : "nothing");
	return 0;
}

static void check(struct snapshotter *s, int r)
{
	const char *hint = snapshotter_hint(s);

	if (r < 0)
		errx(EXIT_FAILURE, "%s%s%s", snapshotter_error(s), hint[0] ? "; " : "", hint);
}

int main(int argc, char **argv)
{
	static const char *const changes[] = {"CMD [\"cat\", \"/tmp/hello\"]", "ENV MADE_BY=C",
					      NULL};
	struct snapshotter_commit_options commit = {.size = sizeof(commit),
						    .message = "says hello",
						    .changes = changes,
						    .has_timestamp = 1,
						    .timestamp = 1700000000};
	struct snapshotter *s = snapshotter_new();
	char path[4096], *ref = NULL, *digest = NULL;
	uint64_t bytes = 0, inodes = 0;
	FILE *f;

	if (argc != 4)
		errx(2, "usage: build-image STORE oci:DIR:TAG MOUNTPOINT");
	check(s, snapshotter_open(s, argv[1]));
	check(s, snapshotter_pull(s, argv[2], "base:1", &ref));
	check(s, snapshotter_prepare(s, "work", ref));
	check(s, snapshotter_mount(s, "work", argv[3], NULL));
	(void)snprintf(path, sizeof(path), "%s/tmp/hello", argv[3]);
	f = fopen(path, "w");
	if (!f || fputs("hello\n", f) < 0 || fclose(f) != 0)
		err(EXIT_FAILURE, "%s", path);
	check(s, snapshotter_unmount(s, "work"));
	check(s, snapshotter_usage(s, "work", &bytes, &inodes));
	check(s, snapshotter_commit_image(s, "hello:1", "work", &commit, &digest));
	check(s, snapshotter_each(s, print, NULL));
	(void)printf("%s %s: %llu inodes\n", ref, digest, (unsigned long long)inodes);
	check(s, snapshotter_remove(s, "work"));
	free(ref);
	free(digest);
	snapshotter_free(s);
	return EXIT_SUCCESS;
}
