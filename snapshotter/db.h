/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * db - the store's tables. The only user of SQLite: statements are cached,
 * values are passed by type, a failure names what was asked for.
 *
 *	r = db_begin(db, err);
 *	r = db_run(db, "UPDATE t SET a = ? WHERE b = ?", DB_ARGS(db_int(1), db_text("x")), err);
 *	r = db_query(db, "SELECT a FROM t", DB_NONE, &rows, err);
 *	while ((r = db_next(rows, err)) > 0)
 *		use(db_col_int(rows, 0));
 *	db_rows_end(rows);
 *	r = db_commit(db, err);                      db_rollback(db) otherwise
 *
 * SQL texts are string literals. One thread at a time; any number of processes.
 * A committed transaction is on disk (WAL, synchronous=FULL). Errors: -EAGAIN (another process
 * held the store for longer than the timeout), -EEXIST (a constraint), -ENOSPC, -EUCLEAN (the file
 * is damaged or no database), -EACCES, -EIO, -ENOMEM.
 */
struct db;
struct db_rows;

int db_open(const char *path, struct db **ret, struct err *err) __attribute__((warn_unused_result));
void db_close(struct db *db); /* NULL is fine; rolls back what was not committed */

/* Write transactions: from db_begin() on no other process writes. Not nested. */
int db_begin(struct db *db, struct err *err) __attribute__((warn_unused_result));
int db_commit(struct db *db, struct err *err) __attribute__((warn_unused_result));
void db_rollback(struct db *db); /* fine without a transaction */

enum db_type { DB_T_NULL, DB_T_INT, DB_T_TEXT, DB_T_BLOB };
struct db_value { /* borrows what it points at until the statement has run */
	enum db_type type;
	int64_t i;
	const void *p;
	size_t len;
};
struct db_value db_int(int64_t v);
struct db_value db_text(const char *s); /* NULL for NULL */
struct db_value db_blob(const void *p, size_t len);

#define DB_NONE NULL, 0
#define DB_ARGS(...)                                                                               \
	(const struct db_value[]){__VA_ARGS__},                                                    \
		sizeof((const struct db_value[]){__VA_ARGS__}) / sizeof(struct db_value)

/* Statements without rows. @ret_changed of db_run_count: rows it changed. */
int db_run(struct db *db, const char *sql, const struct db_value *args, size_t n, struct err *err)
	__attribute__((warn_unused_result));
int db_run_count(struct db *db, const char *sql, const struct db_value *args, size_t n,
		 int64_t *ret_changed, struct err *err) __attribute__((warn_unused_result));
int64_t db_last_id(struct db *db);

int db_query(struct db *db, const char *sql, const struct db_value *args, size_t n,
	     struct db_rows **ret, struct err *err) __attribute__((warn_unused_result));
/* 1: a row is there; 0: no more. */
int db_next(struct db_rows *rows, struct err *err) __attribute__((warn_unused_result));
void db_rows_end(struct db_rows *rows); /* NULL is fine */
static inline void db_rows_endp(struct db_rows **rows)
{
	db_rows_end(*rows);
}
#define cleanup_db_rows __attribute__((cleanup(db_rows_endp)))

/* Columns of the current row, from 0; borrowed until the next db_next(). */
int64_t db_col_int(struct db_rows *rows, int col);
const char *db_col_text(struct db_rows *rows,
			int col); /* NULL for NULL; blobs too, NUL behind them */
bool db_col_null(struct db_rows *rows, int col);
/* A blob as a NUL-terminated string, to be freed; NULL when out of memory. */
char *db_col_dup(struct db_rows *rows, int col);

/* SQLite's own check of the file. 0 when it holds, -EUCLEAN with the first finding. */
int db_check(struct db *db, struct err *err) __attribute__((warn_unused_result));
