/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Every getter on every value; what they say of a value must agree. */
static void see(const struct json *v, unsigned int depth)
{
	const bool object = json_type(v) == JSON_OBJECT;
	int64_t n;

	if (depth > JSON_DEPTH_MAX || json_at(v, json_len(v)) || json_key_at(v, json_len(v)))
		abort();
	if (json_string(v) && (json_type(v) != JSON_STRING || !json_is_text(json_string(v))))
		abort();
	if (json_int(v, &n) == 0 && json_type(v) != JSON_NUMBER)
		abort();
	if (json_type(v) != JSON_BOOL && (!json_bool(v, true) || json_bool(v, false)))
		abort();
	for (size_t i = 0; i < json_len(v); i++) {
		const char *key = json_key_at(v, i);

		if ((key != NULL) != object || (key && json_get(v, key) != json_at(v, i)))
			abort();
		see(json_at(v, i), depth + 1);
	}
}

static int write_all(const struct json *v, unsigned int flags, struct strbuf *out)
{
	struct json_writer *w = json_writer_new(flags);

	if (!w)
		abort();
	json_w_value(w, v);
	return json_writer_finish(w, out);
}

/* What was read and written reads again, and is then written the same, with and without spaces. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct strbuf one = STRBUF_INIT, two = STRBUF_INIT, pretty = STRBUF_INIT;
	struct json *doc = NULL, *again = NULL;
	struct err err = ERR_INIT;

	if (json_parse(data, size, &doc, &err) < 0) {
		if (err.code >= 0 || !err.msg[0] || doc)
			abort();
		return 0;
	}
	see(doc, 0);
	if (write_all(doc, 0, &one) < 0 || write_all(doc, JSON_PRETTY, &pretty) < 0 ||
	    json_parse(pretty.s, pretty.len, &again, &err) < 0 || write_all(again, 0, &two) < 0 ||
	    one.len != two.len || memcmp(one.s, two.s, one.len) != 0)
		abort();
	json_free(doc);
	json_free(again);
	strbuf_release(&one);
	strbuf_release(&two);
	strbuf_release(&pretty);
	return 0;
}
