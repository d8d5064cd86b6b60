/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * log - lines for whoever runs the program, on standard error.
 *
 * A library function logs what nobody is told otherwise (a fallback and its
 * reason, a skipped item); a failure goes into struct err instead. Any thread.
 */
enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* The default is LOG_WARN. */
void log_set_level(enum log_level level);
/* "error", "warn", "info" or "debug"; -EINVAL for anything else. */
int log_level_parse(const char *text, enum log_level *ret_level)
	__attribute__((warn_unused_result));
/* From here on lines go to @fd (borrowed) instead of standard error. */
void log_set_fd(int fd);
/* The name in front of every line: borrowed, for the life of the process. */
void log_set_name(const char *name);
void log_write(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_write(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_DEBUG, __VA_ARGS__)
