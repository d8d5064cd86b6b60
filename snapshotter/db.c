/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/db.h"

#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"

#define BUSY_TIMEOUT_MS	  30000
#define OPEN_TRIES	  300 /* of 100 ms at most: as long as the busy timeout */
#define STATEMENTS_CACHED 48

struct db_rows {
	struct db *db;
	sqlite3_stmt *stmt;
	const char *sql;
	bool cached, busy;
};

struct db {
	sqlite3 *h;
	struct db_rows cache[STATEMENTS_CACHED];
	bool in_transaction;
};

static int code_of(int rc)
{
	switch (rc & 0xff) {
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EAGAIN;
	case SQLITE_CONSTRAINT:
		return -EEXIST;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return -EUCLEAN;
	case SQLITE_READONLY:
	case SQLITE_CANTOPEN:
	case SQLITE_PERM:
	case SQLITE_AUTH:
		return -EACCES;
	case SQLITE_NOMEM:
		return -ENOMEM;
	default:
		return -EIO;
	}
}

static int fail(struct db *db, int rc, const char *what, struct err *err)
{
	int code = code_of(rc);

	if (code == -EAGAIN) {
		(void)err_msg(err, code,
			      "the store is in use: another process kept it for %d seconds",
			      BUSY_TIMEOUT_MS / 1000);
		return code;
	}
	(void)err_msg(err, code, "store database: %s: %s", what,
		      db && db->h ? sqlite3_errmsg(db->h) : sqlite3_errstr(rc));
	if (code == -EUCLEAN)
		err_hint(err, "run 'snap fsck'; contents are safe and can be pulled again");
	return code;
}

/* Setting WAL mode and recovery after a crash answer BUSY without asking the busy handler. */
static int exec_patiently(struct db *db, const char *sql, struct err *err)
{
	const struct timespec pause = {.tv_nsec = 100000000};
	int rc = SQLITE_BUSY;

	for (int i = 0; i < OPEN_TRIES && rc == SQLITE_BUSY; i++) {
		if (i > 0)
			(void)nanosleep(&pause, NULL);
		rc = sqlite3_exec(db->h, sql, NULL, NULL, NULL) & 0xff;
	}
	return rc == SQLITE_OK ? 0 : fail(db, rc, "open", err);
}

int db_open(const char *path, struct db **ret, struct err *err)
{
	struct db *db = calloc(1, sizeof(*db));
	int rc, r;

	if (!db)
		return err_set(err, -ENOMEM, "store database");
	rc = sqlite3_open_v2(path, &db->h,
			     SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOFOLLOW |
				     SQLITE_OPEN_NOMUTEX,
			     NULL);
	if (rc != SQLITE_OK) {
		r = fail(db, rc, path, err);
		goto bad;
	}
	(void)sqlite3_busy_timeout(db->h, BUSY_TIMEOUT_MS);
	/* the log stays behind for the next command: emptying it at each exit costs three syncs */
	(void)sqlite3_db_config(db->h, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	(void)sqlite3_db_config(db->h, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	r = exec_patiently(db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;", err);
	if (r == 0)
		r = exec_patiently(db, "PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF;",
				   err);
	if (r < 0)
		goto bad;
	*ret = db;
	return 0;
bad:
	db_close(db);
	return r;
}

void db_close(struct db *db)
{
	if (!db)
		return;
	db_rollback(db);
	for (size_t i = 0; i < STATEMENTS_CACHED; i++)
		(void)sqlite3_finalize(db->cache[i].stmt);
	(void)sqlite3_close(db->h);
	free(db);
}

struct db_value db_int(int64_t v)
{
	return (struct db_value){.type = DB_T_INT, .i = v};
}

struct db_value db_text(const char *s)
{
	return (struct db_value){
		.type = s ? DB_T_TEXT : DB_T_NULL, .p = s, .len = s ? strlen(s) : 0};
}

struct db_value db_blob(const void *p, size_t len)
{
	return (struct db_value){.type = p ? DB_T_BLOB : DB_T_NULL, .p = p, .len = len};
}

/* A statement of the cache that nobody is walking, or one of its own. */
static int get_statement(struct db *db, const char *sql, struct db_rows **ret, struct err *err)
{
	struct db_rows *free_slot = NULL;
	int rc;

	for (size_t i = 0; i < STATEMENTS_CACHED; i++) {
		struct db_rows *c = &db->cache[i];

		if (!c->stmt && !free_slot)
			free_slot = c;
		if (c->stmt && !c->busy && (c->sql == sql || strcmp(c->sql, sql) == 0)) {
			c->busy = true;
			*ret = c;
			return 0;
		}
	}
	if (!free_slot) {
		free_slot = calloc(1, sizeof(*free_slot));
		if (!free_slot)
			return err_set(err, -ENOMEM, "store database");
	} else {
		free_slot->cached = true;
	}
	rc = sqlite3_prepare_v2(db->h, sql, -1, &free_slot->stmt, NULL);
	if (rc != SQLITE_OK) {
		if (!free_slot->cached)
			free(free_slot);
		return fail(db, rc, sql, err);
	}
	free_slot->db = db;
	free_slot->sql = sql;
	free_slot->busy = true;
	*ret = free_slot;
	return 0;
}

static int bind(struct db_rows *rows, const struct db_value *args, size_t n)
{
	int rc = SQLITE_OK;

	for (size_t i = 0; i < n && rc == SQLITE_OK; i++) {
		int pos = (int)i + 1;

		switch (args[i].type) {
		case DB_T_NULL:
			rc = sqlite3_bind_null(rows->stmt, pos);
			break;
		case DB_T_INT:
			rc = sqlite3_bind_int64(rows->stmt, pos, args[i].i);
			break;
		case DB_T_TEXT:
			rc = sqlite3_bind_text64(rows->stmt, pos, args[i].p, args[i].len,
						 SQLITE_TRANSIENT, SQLITE_UTF8);
			break;
		case DB_T_BLOB:
			rc = sqlite3_bind_blob64(rows->stmt, pos, args[i].p, args[i].len,
						 SQLITE_TRANSIENT);
			break;
		}
	}
	return rc;
}

int db_query(struct db *db, const char *sql, const struct db_value *args, size_t n,
	     struct db_rows **ret, struct err *err)
{
	struct db_rows *rows = NULL;
	int r = get_statement(db, sql, &rows, err), rc;

	if (r < 0)
		return r;
	rc = bind(rows, args, n);
	if (rc != SQLITE_OK) {
		r = fail(db, rc, sql, err);
		db_rows_end(rows);
		return r;
	}
	*ret = rows;
	return 0;
}

int db_next(struct db_rows *rows, struct err *err)
{
	int rc = sqlite3_step(rows->stmt);

	if (rc == SQLITE_ROW)
		return 1;
	return rc == SQLITE_DONE ? 0 : fail(rows->db, rc, rows->sql, err);
}

void db_rows_end(struct db_rows *rows)
{
	if (!rows)
		return;
	if (!rows->cached) {
		(void)sqlite3_finalize(rows->stmt);
		free(rows);
		return;
	}
	(void)sqlite3_reset(rows->stmt);
	(void)sqlite3_clear_bindings(rows->stmt);
	rows->busy = false;
}

int db_run(struct db *db, const char *sql, const struct db_value *args, size_t n, struct err *err)
{
	struct db_rows *rows cleanup_db_rows = NULL;
	int r = db_query(db, sql, args, n, &rows, err);

	while (r >= 0) {
		r = db_next(rows, err);
		if (r == 0)
			return 0;
	}
	return r;
}

int db_run_count(struct db *db, const char *sql, const struct db_value *args, size_t n,
		 int64_t *ret_changed, struct err *err)
{
	int r = db_run(db, sql, args, n, err);

	if (r == 0)
		*ret_changed = sqlite3_changes(db->h);
	return r;
}

int64_t db_last_id(struct db *db)
{
	return sqlite3_last_insert_rowid(db->h);
}

int64_t db_col_int(struct db_rows *rows, int col)
{
	return sqlite3_column_int64(rows->stmt, col);
}

const char *db_col_text(struct db_rows *rows, int col)
{
	return (const char *)sqlite3_column_text(rows->stmt, col);
}

bool db_col_null(struct db_rows *rows, int col)
{
	return sqlite3_column_type(rows->stmt, col) == SQLITE_NULL;
}

char *db_col_dup(struct db_rows *rows, int col)
{
	const void *p = sqlite3_column_blob(rows->stmt, col);
	size_t len = (size_t)sqlite3_column_bytes(rows->stmt, col);
	char *s = malloc(len + 1);

	if (!s)
		return NULL;
	if (len > 0)
		memcpy(s, p, len);
	s[len] = '\0';
	return s;
}

/*
 * Threads of one process that write at once would wait for each other by SQLite's polling, up to a
 * tenth of a second a turn: they queue here instead. Held for a transaction by the thread that has
 * it.
 */
static pthread_mutex_t writers = PTHREAD_MUTEX_INITIALIZER;

static void end_transaction(struct db *db)
{
	if (!db->in_transaction)
		return;
	db->in_transaction = false;
	(void)pthread_mutex_unlock(&writers);
}

int db_begin(struct db *db, struct err *err)
{
	int r;

	(void)pthread_mutex_lock(&writers);
	db->in_transaction = true;
	r = db_run(db, "BEGIN IMMEDIATE", DB_NONE, err);
	if (r < 0)
		end_transaction(db);
	return r;
}

int db_commit(struct db *db, struct err *err)
{
	int r = db_run(db, "COMMIT", DB_NONE, err);

	if (r < 0)
		db_rollback(db);
	end_transaction(db);
	return r;
}

void db_rollback(struct db *db)
{
	if (!db->in_transaction)
		return;
	if (db->h && !sqlite3_get_autocommit(db->h))
		(void)sqlite3_exec(db->h, "ROLLBACK", NULL, NULL, NULL);
	end_transaction(db);
}

int db_check(struct db *db, struct err *err)
{
	static const char *const checks[] = {"PRAGMA integrity_check(1)",
					     "PRAGMA foreign_key_check"};

	for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
		struct db_rows *rows cleanup_db_rows = NULL;
		int r = db_query(db, checks[i], DB_NONE, &rows, err);

		while (r >= 0 && (r = db_next(rows, err)) > 0) {
			const char *text = db_col_text(rows, 0);

			if (i == 0 && text && strcmp(text, "ok") == 0)
				continue;
			return err_msg(err, -EUCLEAN, "%s: %s",
				       i == 0 ? "database"
					      : "database: dangling reference in table",
				       text ? text : "unknown");
		}
		if (r < 0)
			return r;
	}
	return 0;
}
