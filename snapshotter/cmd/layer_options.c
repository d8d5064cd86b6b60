/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/cmd/layer_options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

bool cmd_has_layer_options(const struct cmd_layer_options *o)
{
	return o->compression || o->timestamp || o->level;
}

static int parse_compression(const char *text, enum oci_compression *ret)
{
	if (!text || strcmp(text, "gzip") == 0)
		*ret = OCI_GZIP;
	else if (strcmp(text, "zstd") == 0)
		*ret = OCI_ZSTD;
	else if (strcmp(text, "none") == 0)
		*ret = OCI_PLAIN;
	else
		return -EINVAL;
	return 0;
}

/* "2024-05-01T12:00:00[.5]Z", or with an offset of "+02:00". */
static int parse_rfc3339(const char *text, int64_t *ret)
{
	struct tm tm = {.tm_year = 0};
	const char *p = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
	int sign, hours, minutes, len = 0;

	if (!p)
		return -EINVAL;
	if (*p == '.') {
		size_t digits = strspn(p + 1, "0123456789");

		if (digits == 0)
			return -EINVAL;
		p += 1 + digits;
	}
	*ret = (int64_t)timegm(&tm);
	if ((*p == 'Z' || *p == 'z') && p[1] == '\0')
		return 0;
	if ((*p != '+' && *p != '-') || strspn(p + 1, "0123456789") != 2 ||
	    sscanf(p + 1, "%2d:%2d%n", &hours, &minutes, &len) != 2 || len != 5 || p[6] != '\0' ||
	    hours > 23 || minutes > 59)
		return -EINVAL;
	sign = *p == '+' ? 1 : -1;
	*ret -= sign * (hours * 3600 + minutes * 60);
	return 0;
}

static int parse_time(const char *text, int64_t *ret)
{
	char *end;
	long long v;

	errno = 0;
	v = strtoll(text, &end, 10);
	if (end != text && *end == '\0' && errno == 0 &&
	    strspn(text, "-0123456789") == strlen(text)) {
		*ret = v;
		return 0;
	}
	return parse_rfc3339(text, ret);
}

int cmd_layer_options(const struct cmd_layer_options *o, struct snap_layer_options *ret,
		      struct err *err)
{
	const char *env = getenv("SOURCE_DATE_EPOCH");
	const char *time = o->timestamp ? o->timestamp : env && env[0] ? env : NULL;

	if (parse_compression(o->compression, &ret->compression) < 0)
		return cmd_usage_error(err, "'%s' is no compression: gzip, zstd or none",
				       o->compression);
	if (o->level > 22)
		return cmd_usage_error(err, "a level of %u does not exist", o->level);
	ret->level = (int)o->level;
	ret->has_timestamp = time != NULL;
	if (time && parse_time(time, &ret->timestamp) < 0)
		return cmd_usage_error(err, "%s '%s' is no time: seconds since 1970 or RFC 3339",
				       o->timestamp ? "--timestamp" : "SOURCE_DATE_EPOCH", time);
	return 0;
}
