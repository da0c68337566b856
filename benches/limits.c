/* What SQLite's C interface does on this machine: the limit that prices and ledgers are held against.
 *
 * limits FILE opens (and makes) the database FILE and answers each line on standard input with one number, nanoseconds
 * unless said otherwise:
 *   insert FIRST    100,000 ticks of 1,000 assets, clustered by asset, prepared, in one transaction
 *   history FIRST   as many of one asset
 *   one COUNT       COUNT transactions of one tick each
 *   scan ROWS       reads so many rows of two columns of that asset
 *   fold            reads all of them and keeps the last price of each minute
 *   ledger FILE     reads every column of every transaction in a database of the service
 *   sync COUNT      writes 4 KiB to a file and flushes it, COUNT times
 *   size            bytes of the database
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "sqlite3.h"

static sqlite3 *db;
static sqlite3_stmt *insert;
static char *path;
static const int64_t BEGIN = 1700000000000000;

static int64_t now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (int64_t)at.tv_sec * 1000000000 + at.tv_nsec;
}

static void check(int code, sqlite3 *on) {
    if (code != SQLITE_OK && code != SQLITE_DONE && code != SQLITE_ROW) {
        fprintf(stderr, "limits: %s\n", sqlite3_errmsg(on));
        exit(1);
    }
}

static void run(const char *sql) {
    check(sqlite3_exec(db, sql, NULL, NULL, NULL), db);
}

static void add(int64_t asset, int64_t ts, int64_t price) {
    sqlite3_bind_int64(insert, 1, asset);
    sqlite3_bind_int64(insert, 2, ts);
    sqlite3_bind_int64(insert, 3, 1);
    sqlite3_bind_int64(insert, 4, price);
    check(sqlite3_step(insert), db);
    check(sqlite3_reset(insert), db);
}

static int64_t inserted(int64_t first, int one_asset) {
    int64_t began = now();
    run("BEGIN IMMEDIATE");
    for (int64_t n = 0; n < 100000; n++) {
        int64_t price = 4000000 + n * n % 977;
        if (one_asset) add(-1, BEGIN + (first + n) * 1000000, price);
        else add(n / 100, BEGIN + (first + n % 100) * 1000000, price);
    }
    run("COMMIT");
    return now() - began;
}

static int64_t one_by_one(int64_t count) {
    static int64_t next = 0;
    int64_t began = now();
    for (int64_t n = 0; n < count; n++) {
        run("BEGIN IMMEDIATE");
        add(-2, BEGIN + next++ * 1000000, n);
        run("COMMIT");
    }
    return now() - began;
}

static int64_t scanned(int64_t rows) {
    sqlite3_stmt *read;
    int64_t began = now(), seen = 0, sum = 0;
    check(sqlite3_prepare_v2(db, "SELECT ts, price FROM ticks WHERE asset = -1 ORDER BY ts LIMIT ?", -1, &read, NULL), db);
    sqlite3_bind_int64(read, 1, rows);
    while (sqlite3_step(read) == SQLITE_ROW) {
        sum += sqlite3_column_int64(read, 0) ^ sqlite3_column_int64(read, 1);
        seen++;
    }
    sqlite3_finalize(read);
    int64_t took = now() - began;
    if (seen != rows) { fprintf(stderr, "limits: %lld rows (%lld)\n", (long long)seen, (long long)sum); exit(1); }
    return took;
}

static int64_t folded(void) {
    sqlite3_stmt *read;
    int64_t began = now(), minute = -1, minutes = 0, last = 0, sum = 0;
    check(sqlite3_prepare_v2(db, "SELECT ts, price FROM ticks WHERE asset = -1 ORDER BY ts", -1, &read, NULL), db);
    while (sqlite3_step(read) == SQLITE_ROW) {
        int64_t of = sqlite3_column_int64(read, 0) / 60000000;
        if (of != minute) { minute = of; minutes++; sum += last; }
        last = sqlite3_column_int64(read, 1);
    }
    sqlite3_finalize(read);
    int64_t took = now() - began;
    if (minutes == 0 && sum == 0) { fprintf(stderr, "limits: nothing to fold\n"); exit(1); }
    return took;
}

static int64_t ledger(const char *file) {
    sqlite3 *other;
    sqlite3_stmt *read;
    check(sqlite3_open_v2(file, &other, SQLITE_OPEN_READONLY, NULL), other);
    check(sqlite3_exec(other, "PRAGMA cache_size = -65536; SELECT COUNT(*) FROM transactions", NULL, NULL, NULL), other);
    int64_t began = now();
    volatile int64_t sum = 0;
    check(sqlite3_prepare_v2(other, "SELECT * FROM transactions ORDER BY portfolio_id, executed_at, seq", -1, &read, NULL), other);
    int columns = sqlite3_column_count(read);
    while (sqlite3_step(read) == SQLITE_ROW) {
        for (int c = 0; c < columns; c++) {
            if (sqlite3_column_type(read, c) == SQLITE_INTEGER) sum += sqlite3_column_int64(read, c);
            else if (sqlite3_column_blob(read, c)) sum += sqlite3_column_bytes(read, c);
        }
    }
    sqlite3_finalize(read);
    int64_t took = now() - began;
    sqlite3_close(other);
    return took;
}

static int64_t flushed(int64_t count) {
    static char block[4096];
    char *file = malloc(strlen(path) + 8);
    sprintf(file, "%s.sync", path);
    int at = open(file, O_RDWR | O_CREAT, 0600);
    int64_t began = now();
    for (int64_t n = 0; n < count; n++) {
        block[0] = (char)n;
        if (pwrite(at, block, sizeof block, (n % 1024) * sizeof block) < 0 || fdatasync(at) != 0) exit(1);
    }
    int64_t took = now() - began;
    close(at);
    free(file);
    return took;
}

static int64_t size(void) {
    sqlite3_stmt *pages;
    run("PRAGMA wal_checkpoint(TRUNCATE)");
    check(sqlite3_prepare_v2(db, "PRAGMA page_count", -1, &pages, NULL), db);
    check(sqlite3_step(pages), db);
    int64_t bytes = sqlite3_column_int64(pages, 0) * 8192;
    sqlite3_finalize(pages);
    return bytes;
}

int main(int count, char **words) {
    char line[4096], word[32], rest[4000];
    if (count != 2) { fprintf(stderr, "limits FILE\n"); return 2; }
    path = words[1];
    check(sqlite3_open(path, &db), db);
    run("PRAGMA page_size = 8192");
    run("PRAGMA journal_mode = WAL");
    run("PRAGMA synchronous = FULL");
    run("PRAGMA wal_autocheckpoint = 8192");
    run("PRAGMA cache_size = -65536");
    run("CREATE TABLE ticks (asset INTEGER, ts INTEGER, source INTEGER, price INTEGER, "
        "PRIMARY KEY (asset, ts, source)) WITHOUT ROWID");
    check(sqlite3_prepare_v3(db, "INSERT INTO ticks VALUES (?, ?, ?, ?)", -1, SQLITE_PREPARE_PERSISTENT, &insert, NULL), db);
    while (fgets(line, sizeof line, stdin)) {
        rest[0] = 0;
        if (sscanf(line, "%31s %3999[^\n]", word, rest) < 1) continue;
        int64_t number = atoll(rest), answer;
        if (!strcmp(word, "insert")) answer = inserted(number, 0);
        else if (!strcmp(word, "history")) answer = inserted(number, 1);
        else if (!strcmp(word, "one")) answer = one_by_one(number);
        else if (!strcmp(word, "scan")) answer = scanned(number);
        else if (!strcmp(word, "fold")) answer = folded();
        else if (!strcmp(word, "ledger")) answer = ledger(rest);
        else if (!strcmp(word, "sync")) answer = flushed(number);
        else if (!strcmp(word, "size")) answer = size();
        else return 2;
        printf("%lld\n", (long long)answer);
        fflush(stdout);
    }
    return 0;
}
