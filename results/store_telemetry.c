/*
 * Telemetry blobs as tables, for SQL: table-valued functions that unpack the blob they are given.
 *
 *   telemetry_forward(blob)         a row for each forward pass
 *   telemetry_layer(blob)           a row for each layer of each; bitmap: expert e executed is
 *                                   bit e % 8 of byte e / 8
 *   telemetry_expert(blob)          a row for each expert that got tokens
 *   telemetry_position(blob, ids)   a row for each generated position; ids: sample.tokens
 *
 * NULL gives no rows, a damaged blob fails the query. Each is an SQLite virtual table without
 * storage whose arguments are hidden columns (https://www.sqlite.org/vtab.html, 2.1.2).
 */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "results/store_db.h"

enum kind { FORWARD, LAYER, EXPERT, POSITION, N_KINDS };

static const struct {
    const char *name, *declaration;
    int n_columns; /* the visible ones, before the arguments */
} kinds[N_KINDS] = {
    [FORWARD] = { "telemetry_forward",
                  "CREATE TABLE x (forward INTEGER, block INTEGER, step INTEGER, n_tok INTEGER,"
                  " n_masked_before INTEGER, n_committed INTEGER, is_cache_refresh INTEGER,"
                  " wall_ns INTEGER, n_edited INTEGER, telemetry BLOB HIDDEN)",
                  9 },
    [LAYER] = { "telemetry_layer",
                "CREATE TABLE x (forward INTEGER, block INTEGER, step INTEGER, layer INTEGER,"
                " n_tok INTEGER, n_unique INTEGER, n_rerouted INTEGER, n_lost_top1 INTEGER,"
                " kept_mass REAL, expert_bytes INTEGER, bitmap BLOB, n_natural INTEGER,"
                " n_core INTEGER, output_error REAL, telemetry BLOB HIDDEN)",
                14 },
    [EXPERT] = { "telemetry_expert",
                 "CREATE TABLE x (forward INTEGER, layer INTEGER, expert INTEGER, n_tok INTEGER,"
                 " telemetry BLOB HIDDEN)",
                 4 },
    [POSITION] = { "telemetry_position",
                   "CREATE TABLE x (position INTEGER, forward INTEGER, token INTEGER,"
                   " telemetry BLOB HIDDEN, tokens BLOB HIDDEN)",
                   3 },
};

struct table {
    sqlite3_vtab base;
    enum kind kind;
};

struct cursor {
    sqlite3_vtab_cursor base;
    struct arena arena;
    struct telemetry t;
    const unsigned char *tokens; /* in arena */
    size_t n_tokens;
    int64_t row, n_rows; /* EXPERT: row counts loads, zero ones included and skipped */
};

static int vtab_connect(sqlite3 *db, void *aux, int argc, const char *const *argv,
                        sqlite3_vtab **ret, char **ret_error)
{
    struct table *t;
    int rc;

    (void)argc, (void)argv, (void)ret_error;
    t = sqlite3_malloc64(sizeof(*t));
    if (!t)
        return SQLITE_NOMEM;
    memset(t, 0, sizeof(*t));
    t->kind = *(const enum kind *)aux;
    rc = sqlite3_declare_vtab(db, kinds[t->kind].declaration);
    if (rc == SQLITE_OK)
        rc = sqlite3_vtab_config(db, SQLITE_VTAB_INNOCUOUS);
    if (rc != SQLITE_OK) {
        sqlite3_free(t);
        return rc;
    }
    *ret = &t->base;
    return SQLITE_OK;
}

static int vtab_disconnect(sqlite3_vtab *base)
{
    sqlite3_free(base);
    return SQLITE_OK;
}

/* A plan must give the arguments: argument 1 always, 2 if it is there (idxNum counts them). */
static int vtab_best_index(sqlite3_vtab *base, sqlite3_index_info *info)
{
    int n_columns = kinds[((struct table *)base)->kind].n_columns;
    int at[2] = { -1, -1 };

    for (int i = 0; i < info->nConstraint; i++) {
        int arg = info->aConstraint[i].iColumn - n_columns;

        if (arg < 0 || info->aConstraint[i].op != SQLITE_INDEX_CONSTRAINT_EQ)
            continue;
        if (!info->aConstraint[i].usable)
            return SQLITE_CONSTRAINT;
        at[arg] = i;
    }
    if (at[0] < 0) {
        base->zErrMsg = sqlite3_mprintf("%s() needs a blob of telemetry",
                                        kinds[((struct table *)base)->kind].name);
        return SQLITE_ERROR;
    }
    for (int arg = 0; arg < 2 && at[arg] >= 0; arg++) {
        info->aConstraintUsage[at[arg]].argvIndex = arg + 1;
        info->aConstraintUsage[at[arg]].omit = 1;
        info->idxNum = arg + 1;
    }
    info->estimatedCost = 1000;
    info->estimatedRows = 1000;
    return SQLITE_OK;
}

static int vtab_open(sqlite3_vtab *base, sqlite3_vtab_cursor **ret)
{
    struct cursor *c = sqlite3_malloc64(sizeof(*c));

    (void)base;
    if (!c)
        return SQLITE_NOMEM;
    memset(c, 0, sizeof(*c));
    *ret = &c->base;
    return SQLITE_OK;
}

static int vtab_close(sqlite3_vtab_cursor *base)
{
    arena_release(&((struct cursor *)base)->arena);
    sqlite3_free(base);
    return SQLITE_OK;
}

static enum kind kind_of(const struct cursor *c)
{
    return ((const struct table *)c->base.pVtab)->kind;
}

static void skip_idle_experts(struct cursor *c)
{
    while (c->row < c->n_rows && !c->t.tokens_per_expert[c->row])
        c->row++;
}

static int vtab_filter(sqlite3_vtab_cursor *base, int n_args, const char *unused, int argc,
                       sqlite3_value **argv)
{
    struct cursor *c = (struct cursor *)base;
    struct error err;
    size_t len;
    enum status st;

    (void)n_args, (void)unused;
    arena_clear(&c->arena);
    c->t = (struct telemetry){ 0 };
    c->tokens = NULL;
    c->row = c->n_rows = 0;
    c->n_tokens = 0;
    if (sqlite3_value_type(argv[0]) == SQLITE_NULL)
        return SQLITE_OK;
    len = (size_t)sqlite3_value_bytes(argv[0]);
    st = telemetry_decode(sqlite3_value_blob(argv[0]), len, &c->arena, &c->t, &err);
    if (st) {
        base->pVtab->zErrMsg = sqlite3_mprintf("%s", err.text);
        return st == ST_NOMEM ? SQLITE_NOMEM : SQLITE_ERROR;
    }
    if (argc > 1) {
        len = (size_t)sqlite3_value_bytes(argv[1]);
        c->tokens = (unsigned char *)arena_strdup(&c->arena, sqlite3_value_blob(argv[1]), len);
        if (!c->tokens)
            return SQLITE_NOMEM;
        c->n_tokens = len / 4;
    }
    switch (kind_of(c)) {
    case FORWARD: c->n_rows = c->t.n_forwards; break;
    case LAYER: c->n_rows = (int64_t)c->t.n_forwards * c->t.n_layer; break;
    case EXPERT: c->n_rows = (int64_t)c->t.n_forwards * c->t.n_layer * c->t.n_exp; break;
    case POSITION: c->n_rows = c->t.n_positions; break;
    case N_KINDS: break;
    }
    if (kind_of(c) == EXPERT)
        skip_idle_experts(c);
    return SQLITE_OK;
}

static int vtab_next(sqlite3_vtab_cursor *base)
{
    struct cursor *c = (struct cursor *)base;

    c->row++;
    if (kind_of(c) == EXPERT)
        skip_idle_experts(c);
    return SQLITE_OK;
}

static int vtab_eof(sqlite3_vtab_cursor *base)
{
    const struct cursor *c = (struct cursor *)base;

    return c->row >= c->n_rows;
}

static int vtab_rowid(sqlite3_vtab_cursor *base, sqlite3_int64 *ret)
{
    *ret = ((struct cursor *)base)->row;
    return SQLITE_OK;
}

static void result_bitmap(sqlite3_context *ctx, const uint16_t *loads, int32_t n_exp)
{
    size_t n = ((size_t)n_exp + 7) / 8;
    unsigned char *p = sqlite3_malloc64(n ? n : 1);

    if (!p) {
        sqlite3_result_error_nomem(ctx);
        return;
    }
    memset(p, 0, n);
    for (int32_t e = 0; e < n_exp; e++)
        if (loads[e])
            p[e / 8] = (unsigned char)(p[e / 8] | 1u << e % 8);
    sqlite3_result_blob64(ctx, p, n, sqlite3_free);
}

static void forward_column(const struct telemetry *t, int64_t row, int column, sqlite3_context *ctx)
{
    const struct telemetry_forward *f = &t->forwards[row];

    switch (column) {
    case 0: sqlite3_result_int64(ctx, row); break;
    case 1: sqlite3_result_int(ctx, f->block); break;
    case 2: sqlite3_result_int(ctx, f->step); break;
    case 3: sqlite3_result_int(ctx, f->n_tok); break;
    case 4: sqlite3_result_int(ctx, f->n_masked_before); break;
    case 5: sqlite3_result_int(ctx, f->n_committed); break;
    case 6: sqlite3_result_int(ctx, f->is_cache_refresh); break;
    case 7: sqlite3_result_int64(ctx, f->wall_ns); break;
    case 8: sqlite3_result_int(ctx, f->n_edited); break;
    default: break; /* an argument: NULL */
    }
}

static void layer_column(const struct telemetry *t, int64_t row, int column, sqlite3_context *ctx)
{
    const struct telemetry_layer *l = &t->layers[row];
    const struct telemetry_forward *f = &t->forwards[row / t->n_layer];

    switch (column) {
    case 0: sqlite3_result_int64(ctx, row / t->n_layer); break;
    case 1: sqlite3_result_int(ctx, f->block); break;
    case 2: sqlite3_result_int(ctx, f->step); break;
    case 3: sqlite3_result_int64(ctx, row % t->n_layer); break;
    case 4: sqlite3_result_int(ctx, f->n_tok); break;
    case 5: sqlite3_result_int(ctx, l->n_unique); break;
    case 6: sqlite3_result_int(ctx, l->n_rerouted); break;
    case 7: sqlite3_result_int(ctx, l->n_lost_top1); break;
    case 8: sqlite3_result_double(ctx, (double)l->kept_mass); break;
    case 9: sqlite3_result_int64(ctx, l->expert_bytes); break;
    case 10: result_bitmap(ctx, t->tokens_per_expert + row * t->n_exp, t->n_exp); break;
    case 11: sqlite3_result_int(ctx, l->n_natural); break;
    case 12: sqlite3_result_int(ctx, l->n_core); break;
    case 13:
        if (t->has_output_error)
            sqlite3_result_double(ctx, (double)l->output_error);
        break;
    default: break;
    }
}

static void expert_column(const struct telemetry *t, int64_t row, int column, sqlite3_context *ctx)
{
    switch (column) {
    case 0: sqlite3_result_int64(ctx, row / t->n_exp / t->n_layer); break;
    case 1: sqlite3_result_int64(ctx, row / t->n_exp % t->n_layer); break;
    case 2: sqlite3_result_int64(ctx, row % t->n_exp); break;
    case 3: sqlite3_result_int(ctx, t->tokens_per_expert[row]); break;
    default: break;
    }
}

static void position_column(const struct cursor *c, int column, sqlite3_context *ctx)
{
    const unsigned char *p = c->tokens;

    switch (column) {
    case 0: sqlite3_result_int64(ctx, c->row); break;
    case 1:
        if (c->t.commit_step[c->row] >= 0)
            sqlite3_result_int(ctx, c->t.commit_step[c->row]);
        break;
    case 2:
        if ((size_t)c->row < c->n_tokens) {
            p += c->row * 4;
            sqlite3_result_int(ctx, (int32_t)((uint32_t)p[0] | (uint32_t)p[1] << 8 |
                                              (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24));
        }
        break;
    default: break;
    }
}

static int vtab_column(sqlite3_vtab_cursor *base, sqlite3_context *ctx, int column)
{
    const struct cursor *c = (struct cursor *)base;

    switch (kind_of(c)) {
    case FORWARD: forward_column(&c->t, c->row, column, ctx); break;
    case LAYER: layer_column(&c->t, c->row, column, ctx); break;
    case EXPERT: expert_column(&c->t, c->row, column, ctx); break;
    case POSITION: position_column(c, column, ctx); break;
    case N_KINDS: break;
    }
    return SQLITE_OK;
}

static const sqlite3_module module = {
    .iVersion = 0,
    .xConnect = vtab_connect, /* no xCreate: the table is there without CREATE VIRTUAL TABLE */
    .xBestIndex = vtab_best_index,
    .xDisconnect = vtab_disconnect,
    .xOpen = vtab_open,
    .xClose = vtab_close,
    .xFilter = vtab_filter,
    .xNext = vtab_next,
    .xEof = vtab_eof,
    .xColumn = vtab_column,
    .xRowid = vtab_rowid,
};

int store_register_telemetry(sqlite3 *db)
{
    static const enum kind ids[N_KINDS] = { FORWARD, LAYER, EXPERT, POSITION };
    int rc = SQLITE_OK;

    for (int i = 0; i < N_KINDS && rc == SQLITE_OK; i++)
        rc = sqlite3_create_module(db, kinds[i].name, &module, (void *)(uintptr_t)&ids[i]);
    return rc;
}
