/*
 * Text tables for a terminal: columns as wide as their widest cell, numbers to the right.
 */
#ifndef HARNESS_TABLE_H
#define HARNESS_TABLE_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/buf.h"

enum { TABLE_MAX_COLS = 32 };

struct table {
    struct arena arena;
    const char **cells; /* (n_rows + 1, n_cols), heading first */
    int n_cols, n_rows, cap_rows;
    unsigned right; /* bit c: column c is aligned to the right */
    bool is_failed; /* out of memory: table_put() then prints nothing more */
};

/* Headings: n_cols words separated by '|'; one that begins with '>' is right-aligned. A zeroed
 * struct is released by table_release(). */
void table_init(struct table *t, const char *headings);
void table_release(struct table *t);

/* Start a row; then one table_cell() a column, in order; cells beyond the last column are dropped.
 * Control characters and bytes that are not UTF-8 become '?': cells may hold outside text. */
void table_row(struct table *t);
void table_cell(struct table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Append the table as text. False if memory ran out on the way. */
bool table_put(const struct table *t, struct buf *ret);

/* The same as a table of Markdown (GitHub's). */
bool table_put_markdown(const struct table *t, struct buf *ret);

#endif
