/* Proposing tokens, greedy and sampled, against the decimal arithmetic of
 * tools/make_pick_vectors.py: every backend, and every instruction set of cpu. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "kernels/kernels.h"

enum { MAX_ROWS = 16 };

static double number(const json_t *c, const char *key)
{
    cr_assert(json_is_number(json_object_get(c, key)), "%s", key);
    return json_number_value(json_object_get(c, key));
}

/* Row r of a case: a hash of its seed, the row and the token, within -scale .. scale; with
 * n_levels, of so many values. */
static void fill_row(const json_t *c, int r, int n_vocab, float *ret)
{
    uint64_t state = (uint64_t)number(c, "logits_seed") ^ (uint64_t)r, at = splitmix64(&state);
    uint64_t n_levels = (uint64_t)json_integer_value(json_object_get(c, "n_levels"));

    for (int v = 0; v < n_vocab; v++) {
        uint64_t x = at ^ (uint64_t)v, bits = splitmix64(&x) >> 40;

        if (n_levels)
            bits = bits * n_levels >> 24 << 20;
        ret[v] = (float)(((double)bits / (1 << 23) - 1) * number(c, "scale"));
    }
}

static void check_case(const struct kernel_ops *ops, struct kernels *k, const json_t *c, size_t i)
{
    const json_t *positions = json_object_get(c, "positions"), *want = json_object_get(c, "picks");
    int n_vocab = (int)number(c, "n_vocab"), n_rows = (int)json_array_size(positions);
    size_t width = (size_t)n_vocab, n = (size_t)n_rows * width;
    int32_t at[MAX_ROWS] = { 0 };
    struct pick got[MAX_ROWS], alone;
    struct pick_params p = {
        .mask_id = (int32_t)number(c, "mask_id"),
        .banned_id = (int32_t)number(c, "banned_id"),
        .temperature = number(c, "temperature"),
        .seed = (uint64_t)json_integer_value(json_object_get(c, "seed")),
        .draw = (uint64_t)number(c, "draw"),
        .positions = at,
        .is_filtered = json_object_get(c, "top_p") != NULL,
        .top_k = (int)json_integer_value(json_object_get(c, "top_k")),
        .top_p = json_number_value(json_object_get(c, "top_p")),
    };
    float *host = malloc(n * sizeof(*host));
    void *logits = NULL;

    cr_assert(host && n_rows <= MAX_ROWS && json_array_size(want) == (size_t)n_rows);
    for (int r = 0; r < n_rows; r++) {
        at[r] = (int32_t)json_integer_value(json_array_get(positions, (size_t)r));
        fill_row(c, r, n_vocab, host + (size_t)r * width);
    }
    cr_assert_eq(ops->alloc(k, n * sizeof(*host), &logits, NULL), ST_OK);
    cr_assert_eq(ops->upload(k, logits, host, n * sizeof(*host), NULL), ST_OK);
    cr_assert_eq(ops->pick(k, logits, n_rows, n_vocab, &p, got, NULL), ST_OK);
    for (int r = 0; r < n_rows; r++) {
        const json_t *w = json_array_get(want, (size_t)r);
        double prob = strtod(json_string_value(json_array_get(w, 1)), NULL);

        cr_assert_eq(got[r].id, json_integer_value(json_array_get(w, 0)), "%s: case %zu row %d: %d",
                     ops->describe(k), i, r, got[r].id);
        cr_assert_float_eq(got[r].prob, prob, 5e-7 * prob, "%s: case %zu row %d: %.9g",
                           ops->describe(k), i, r, (double)got[r].prob);
        cr_assert_eq(got[r].is_mask_best, json_is_true(json_array_get(w, 2)));
        p.positions = at + r;
        cr_assert_eq(
            ops->pick(k, (float *)logits + (size_t)r * width, 1, n_vocab, &p, &alone, NULL), ST_OK);
        cr_assert(alone.id == got[r].id && memcmp(&alone.prob, &got[r].prob, sizeof(float)) == 0,
                  "%s: case %zu row %d alone", ops->describe(k), i, r);
        p.positions = at;
    }
    ops->free(k, logits);
    free(host);
}

/* Of tokens that weigh 0 .. 10 the best six, and of these 10, 9, 8, 7 and 6: before the last there
 * are 34 of 45, before 5 there would be 40. 8 is the mask, so that 32 of 40 are drawn. */
static void check_shares(const struct kernel_ops *ops, struct kernels *k)
{
    enum { N_VOCAB = 11, N_ROWS = 500, N_DRAWS = 40, N = N_ROWS * N_DRAWS };
    static const int left[] = { 10, 9, 7, 6 };
    static float host[N_ROWS * N_VOCAB];
    static int32_t positions[N_ROWS];
    static struct pick got[N_ROWS];
    struct pick_params p = { .mask_id = 8,
                             .banned_id = -1,
                             .temperature = 0.5,
                             .seed = 2026,
                             .positions = positions,
                             .is_filtered = true,
                             .top_k = 6,
                             .top_p = 0.8 };
    int counts[N_VOCAB] = { 0 };
    double chi = 0;
    void *logits = NULL;

    for (int i = 0; i < N_ROWS * N_VOCAB; i++)
        host[i] = i % N_VOCAB ? 0.5f * logf((float)(i % N_VOCAB)) : -INFINITY;
    for (int r = 0; r < N_ROWS; r++)
        positions[r] = r;
    cr_assert_eq(ops->alloc(k, sizeof(host), &logits, NULL), ST_OK);
    cr_assert_eq(ops->upload(k, logits, host, sizeof(host), NULL), ST_OK);
    for (p.draw = 0; p.draw < N_DRAWS; p.draw++) {
        cr_assert_eq(ops->pick(k, logits, N_ROWS, N_VOCAB, &p, got, NULL), ST_OK);
        for (int r = 0; r < N_ROWS; r++) {
            cr_assert_float_eq(got[r].prob, got[r].id / 40.0, 1e-6);
            counts[got[r].id]++;
        }
    }
    for (int i = 0; i < 4; i++) {
        double want = N * left[i] / 32.0, off = counts[left[i]] - want;

        chi += off * off / want;
        counts[left[i]] = 0;
    }
    for (int v = 0; v < N_VOCAB; v++)
        cr_assert_eq(counts[v], 0, "token %d is drawn", v);
    /* 3 degrees of freedom: above 16.3 in one of 1000 seeds, below 0.02 likewise */
    cr_assert(chi > 0.02 && chi < 16.3, "%s: %g", ops->describe(k), chi);
    ops->free(k, logits);
}

static void check_all(const struct kernel_ops *ops, const char *isa)
{
    const struct kernel_params params = { .n_threads = 2, .isa = isa };
    struct kernels *k = NULL;
    struct error err = { 0 };
    enum status st = ops->open(&params, &k, &err);
    char path[4200];
    json_t *all, *c;
    size_t i;

    if (st == ST_UNSUPPORTED || st == ST_NOT_FOUND || (!st && !ops->pick)) {
        cr_log_info("skipped: %s", err.text);
        ops->close(k);
        return;
    }
    cr_assert_eq(st, ST_OK, "%s", err.text);
    cr_assert_not_null(getenv("DESBENCH_TESTS"), "DESBENCH_TESTS is not set");
    snprintf(path, sizeof(path), "%s/vectors/pick.json", getenv("DESBENCH_TESTS"));
    all = json_load_file(path, 0, NULL);
    cr_assert_geq(json_array_size(all), 24, "%s", path);
    json_array_foreach(all, i, c) check_case(ops, k, c, i);
    check_shares(ops, k);
    json_decref(all);
    ops->close(k);
}

Test(pick, is_what_decimal_arithmetic_says_and_draws_in_proportion)
{
    static const char *const isas[] = { "generic", "avx2", "avx512", "avx512bf16", "amx" };

    for (const struct kernel_ops *const *b = kernel_backends; *b; b++)
        if (strcmp((*b)->name, "cpu") != 0)
            check_all(*b, NULL);
    for (size_t i = 0; i < sizeof(isas) / sizeof(isas[0]); i++)
        check_all(kernel_backend_find("cpu"), isas[i]);
}
