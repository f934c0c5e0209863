/*
 * Listings: rows of named columns, printed as a table for a terminal, as a Markdown table, as an
 * array of JSON objects or as CSV, whichever --format asks for.
 *
 *   listing_start -> (listing_row, one cell a column in order) ... -> listing_end
 *
 * Tables hold numbers as people read them, JSON and CSV hold them in full. Running out of memory
 * shows at the end.
 */
#ifndef HARNESS_LISTING_H
#define HARNESS_LISTING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"
#include "harness/options.h"
#include "harness/table.h"

enum print_form { PRINT_TEXT, PRINT_JSON, PRINT_MARKDOWN, PRINT_CSV };

/* What --format or --json asks for. */
enum print_form print_form_of(const struct options *c);

struct listing {
    const char *columns; /* as given */
    enum print_form form;
    struct table table;
    struct buf json, csv, csv_head, note;
    size_t n_rows, column;
};

/*
 * Columns: "a|>b|key=what a table calls it|-c": one that begins with '>' holds numbers, one with
 * '-' (then '>') is in JSON and CSV alone. There a column goes by its key, or by its one name. The
 * string must outlive the listing.
 */
void listing_start(struct listing *l, const struct options *c, const char *columns);
void listing_row(struct listing *l);

/* The next column of the row; NULL is absent: empty in tables and CSV, null in JSON. In a column of
 * numbers, the text is one. */
void listing_cell(struct listing *l, const char *text);
void listing_number(struct listing *l, int64_t v);

/* With so many decimals in a table; NaN is absent, "-" there. */
void listing_real(struct listing *l, double v, int decimals);

/* One column "low-high" in tables; in JSON and CSV two, whose keys are the column's and "_low" or
 * "_high". NaN is absent. */
void listing_interval(struct listing *l, double low, double high, int decimals);

/* A text under the table, for people only. */
void listing_note(struct listing *l, const char *text);

/* Print unless st says that making it failed; releases. Returns st, or what printing came to. */
MUST_CHECK enum status listing_end(struct listing *l, enum status st, struct error *err);

#endif
