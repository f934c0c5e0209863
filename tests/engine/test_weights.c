/* Weights: the list of a configuration, dummy values, matching a checkpoint. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/rng.h"
#include "engine/safetensors.h"
#include "engine/weights.h"
#include "kernels/dtype.h"
#include "temp_dir.h"

static void path_of(char *ret, size_t size, const char *root, const char *below)
{
    const char *base = getenv(root);

    cr_assert(base, "%s is not set", root);
    cr_assert_lt(snprintf(ret, size, "%s/%s", base, below), (int)size);
}

static void read_config(const char *root, const char *below, struct model_config *ret)
{
    struct error err = { 0 };
    char path[512];

    path_of(path, sizeof(path), root, below);
    cr_assert_eq(config_read(path, NULL, 0, ret, &err), ST_OK, "%s", err.text);
}

static int64_t params_of_shape(const char *below)
{
    struct tensor_spec *specs = NULL;
    struct model_config c;
    struct error err;
    int64_t sum;
    size_t n = 0;

    read_config("DESBENCH_SOURCE", below, &c);
    cr_assert_eq(tensor_list_new(&c, &specs, &n, &err), ST_OK);
    sum = tensor_list_params(specs, n);
    free(specs);
    return sum;
}

/* Published: 14 713 761 792 bytes of bf16; the others by the tables of their tensors. */
Test(weights, parameters_add_up_to_the_published_numbers)
{
    cr_assert_eq(params_of_shape("models/shapes/llada-moe-7b-a1b"), 7356880896);
    cr_assert_eq(params_of_shape("models/shapes/llada2.0-mini"), 16255643392);
    cr_assert_eq(params_of_shape("models/shapes/llada2.0-flash"), 102889705216);
    cr_assert_eq(params_of_shape("models/shapes/llada2.1-mini"), 16255643392);
    cr_assert_eq(params_of_shape("models/shapes/llada2.1-flash"), 102889705216);
}

Test(weights, names_of_a_list_are_all_different)
{
    static const char *const shapes[] = { "models/shapes/tiny-llada-moe",
                                          "models/shapes/tiny-llada2" };

    for (int k = 0; k < 2; k++) {
        struct tensor_spec *specs = NULL;
        struct model_config c;
        struct error err;
        size_t n = 0;

        read_config("DESBENCH_SOURCE", shapes[k], &c);
        cr_assert_eq(tensor_list_new(&c, &specs, &n, &err), ST_OK);
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < i; j++)
                cr_assert_str_neq(specs[i].name, specs[j].name);
        free(specs);
    }
}

/* The checkpoints were written by tools/make_*_vectors.py from the rule in weights.h. */
static void check_dummy(const char *checkpoint)
{
    struct weights *made = NULL, *read = NULL;
    struct model_config c;
    struct error err = { 0 };
    char path[512];

    read_config("DESBENCH_TESTS", checkpoint, &c);
    path_of(path, sizeof(path), "DESBENCH_TESTS", checkpoint);
    cr_assert_eq(weights_open(path, &c, &read, &err), ST_OK, "%s", err.text);
    cr_assert_eq(weights_open_dummy(&c, 1, &made, &err), ST_OK, "%s", err.text);
    weights_fill(made, 0, weights_count(made), 2, NULL);
    cr_assert_eq(weights_count(made), weights_count(read));
    cr_assert_eq(weights_n_params(made), weights_n_params(read));
    for (size_t i = 0; i < weights_count(made); i++) {
        const struct host_matrix *a = weights_at(made, i), *b = weights_at(read, i);
        bool is_bias = weights_spec(made, i)->role == TENSOR_ROUTER_BIAS;

        cr_assert_eq(a->dtype, DT_BF16);
        cr_assert_eq(b->dtype, is_bias ? DT_F32 : DT_BF16);
        for (size_t k = 0; k < (size_t)(a->rows * a->cols); k++)
            cr_assert_eq(dtype_get(a->data, a->dtype, k), dtype_get(b->data, b->dtype, k), "%s %zu",
                         weights_spec(made, i)->name, k);
    }
    weights_close(made);
    weights_close(read);
}

Test(weights, dummy_values_have_the_bits_that_python_makes)
{
    check_dummy("vectors/model/tiny-bf16");
    check_dummy("vectors/model/llada2/usual-bf16");
}

/* More elements than one chunk, so that threads share tensors. */
Test(weights, dummy_values_do_not_depend_on_the_number_of_threads)
{
    static const char *const overrides[] = { "vocab_size=40000", "hidden_size=128" };
    struct weights *w[2] = { NULL, NULL };
    struct model_config c;
    struct error err = { 0 };
    char path[512];

    path_of(path, sizeof(path), "DESBENCH_TESTS", "vectors/model/tiny-bf16");
    cr_assert_eq(config_read(path, overrides, 2, &c, &err), ST_OK, "%s", err.text);
    for (int k = 0; k < 2; k++) {
        cr_assert_eq(weights_open_dummy(&c, 7, &w[k], &err), ST_OK);
        weights_fill(w[k], 0, weights_count(w[k]), k ? 5 : 1, NULL);
    }
    for (size_t i = 0; i < weights_count(w[0]); i++) {
        const struct host_matrix *a = weights_at(w[0], i), *b = weights_at(w[1], i);

        cr_assert_eq(memcmp(a->data, b->data, (size_t)(a->rows * a->cols) * 2), 0, "%s",
                     weights_spec(w[0], i)->name);
    }
    weights_close(w[0]);
    weights_close(w[1]);
}

Test(weights, dropped_tensors_are_gone_and_their_neighbours_are_not)
{
    struct weights *w[2] = { NULL, NULL };
    struct model_config c;
    struct error err = { 0 };
    char path[512];
    size_t n, gone = 1; /* the experts of a layer: more than a page */

    read_config("DESBENCH_TESTS", "vectors/model/tiny-bf16", &c);
    for (int k = 0; k < 2; k++) {
        cr_assert_eq(weights_open_dummy(&c, 7, &w[k], &err), ST_OK);
        weights_fill(w[k], 0, weights_count(w[k]), 1, NULL);
    }
    while (weights_spec(w[0], gone)->role != TENSOR_GATE)
        gone++;
    n = 3 * (size_t)c.n_exp;
    weights_drop(w[0], gone, n);
    for (size_t i = 0; i < weights_count(w[0]); i++) {
        const struct host_matrix *a = weights_at(w[0], i), *b = weights_at(w[1], i);
        bool is_same = memcmp(a->data, b->data, (size_t)(a->rows * a->cols) * 2) == 0;

        if (i < gone || i >= gone + n)
            cr_assert(is_same, "%s", weights_spec(w[0], i)->name);
        else if (i > gone + n / 3 && i < gone + n / 2) /* far from the ends, which may stay */
            cr_assert(!is_same, "%s", weights_spec(w[0], i)->name);
    }
    weights_fill(w[0], gone, n, 1, NULL); /* the same values again */
    cr_assert_eq(memcmp(weights_at(w[0], gone)->data, weights_at(w[1], gone)->data, 4096), 0);
    weights_close(w[0]);
    weights_close(w[1]);

    path_of(path, sizeof(path), "DESBENCH_TESTS", "vectors/model/tiny-bf16");
    for (int k = 0; k < 2; k++)
        cr_assert_eq(weights_open(path, &c, &w[k], &err), ST_OK, "%s", err.text);
    weights_drop(w[0], 0, weights_count(w[0])); /* of a file they come back */
    cr_assert_eq(memcmp(weights_at(w[0], gone)->data, weights_at(w[1], gone)->data, 4096), 0);
    weights_close(w[0]);
    weights_close(w[1]);
}

static void moments(const struct tensor_spec *spec, uint64_t seed, double *ret_mean, double *ret_sd,
                    double *ret_max)
{
    size_t n = (size_t)(spec->rows * spec->cols);
    uint16_t *v = calloc(n, sizeof(*v));
    double sum = 0, sum2 = 0;

    cr_assert(v);
    dummy_fill(spec, seed, 0, n, v);
    *ret_max = 0;
    for (size_t i = 0; i < n; i++) {
        double x = (double)bf16_to_f32(v[i]);

        sum += x;
        sum2 += x * x;
        *ret_max = fmax(*ret_max, fabs(x));
    }
    *ret_mean = sum / (double)n;
    *ret_sd = sqrt(sum2 / (double)n - *ret_mean * *ret_mean);
    free(v);
}

Test(weights, dummy_matrices_have_variance_one_over_columns)
{
    struct tensor_spec m = { "m", TENSOR_Q, .gain = 1, .n_dims = 2, .rows = 500, .cols = 400 };
    struct tensor_spec r = { "r", TENSOR_ROUTER, .gain = 4, .n_dims = 2, .rows = 500, .cols = 400 };
    struct tensor_spec v = { "v", TENSOR_NORM_IN, .n_dims = 1, .rows = 1, .cols = 200000 };
    struct tensor_spec b = { "b", TENSOR_ROUTER_BIAS, .n_dims = 1, .rows = 1, .cols = 200000 };
    double mean, sd, max;

    moments(&m, 3, &mean, &sd, &max); /* 200 000 draws: the mean is good to 0.05 / 447 */
    cr_assert_lt(fabs(mean), 5e-4, "%g", mean);
    cr_assert_lt(fabs(sd / 0.05 - 1), 0.01, "%g", sd);
    cr_assert_lt(max, 3.47 * 0.05 * 1.01, "%g", max);
    cr_assert_gt(max, 3 * 0.05, "%g", max);
    moments(&r, 3, &mean, &sd, &max);
    cr_assert_lt(fabs(sd / 0.2 - 1), 0.01, "%g", sd);
    moments(&v, 3, &mean, &sd, &max);
    cr_assert_lt(fabs(mean - 1), 5e-3, "%g", mean);
    cr_assert_lt(fabs(sd / sqrt(1.0 / 12) - 1), 0.01, "%g", sd);
    cr_assert_leq(max, 1.5);
    moments(&b, 3, &mean, &sd, &max);
    cr_assert_lt(fabs(mean), 2e-3, "%g", mean);
    cr_assert_lt(fabs(sd / (0.4 / sqrt(12)) - 1), 0.01, "%g", sd);
    cr_assert_leq(max, 0.201); /* rounded to bf16 */
}

Test(weights, dummy_tensors_differ_by_name_and_seed)
{
    struct tensor_spec a = { "a", TENSOR_Q, .gain = 1, .n_dims = 2, .rows = 8, .cols = 8 }, b = a;
    uint16_t x[64], y[64], z[64];

    b.name[0] = 'b';
    dummy_fill(&a, 1, 0, 64, x);
    dummy_fill(&b, 1, 0, 64, y);
    dummy_fill(&a, 2, 0, 64, z);
    cr_assert_neq(memcmp(x, y, sizeof(x)), 0);
    cr_assert_neq(memcmp(x, z, sizeof(x)), 0);
    dummy_fill(&a, 1, 13, 51, y); /* any part alone is the same */
    cr_assert_eq(memcmp(x + 13, y, 51 * sizeof(*x)), 0);
}

Test(weights, hash_of_dummy_weights_is_of_shape_and_seed)
{
    static const char *const more_experts[] = { "num_experts=16" };
    struct model_config c[3];
    uint64_t seeds[3] = { 1, 2, 1 };
    char sum[3][65], again[65], path[512];
    struct error err;

    path_of(path, sizeof(path), "DESBENCH_TESTS", "vectors/model/tiny-bf16");
    for (int k = 0; k < 3; k++) {
        struct weights *w = NULL;

        cr_assert_eq(config_read(path, more_experts, k == 2, &c[k], &err), ST_OK);
        cr_assert_eq(weights_open_dummy(&c[k], seeds[k], &w, &err), ST_OK);
        cr_assert_eq(weights_sha256(w, NULL, sum[k], &err), ST_OK);
        cr_assert_eq(weights_sha256(w, NULL, again, &err), ST_OK);
        cr_assert_str_eq(sum[k], again);
        weights_close(w);
    }
    cr_assert_str_neq(sum[0], sum[1]);
    cr_assert_str_neq(sum[0], sum[2]);
}

/* ---- a checkpoint that is not quite the model ------------------------------------------- */

enum change { DROP, RENAME, ADD, TRANSPOSE, FLATTEN };

/* Write the tiny f32 checkpoint with tensor `name` changed. */
static void write_changed(const struct temp_dir *dir, const char *name, enum change change)
{
    struct safetensors *s = NULL;
    struct buf header = { 0 }, data = { 0 }, all = { 0 };
    struct error err = { 0 };
    char path[512];
    uint64_t n;

    path_of(path, sizeof(path), "DESBENCH_TESTS", "vectors/model/tiny-f32");
    cr_assert_eq(safetensors_open_dir(path, &s, &err), ST_OK, "%s", err.text);
    buf_putc(&header, '{');
    for (size_t i = 0; i < safetensors_count(s); i++) {
        const struct tensor *t = safetensors_at(s, i);
        bool is_it = strcmp(t->name, name) == 0;
        long long rows = t->shape[0], cols = t->n_dims == 2 ? t->shape[1] : 0;

        if (is_it && change == DROP)
            continue;
        for (int k = 0; k <= (is_it && change == ADD); k++) {
            buf_printf(&header,
                       "%s\"%s%s\":{\"dtype\":\"F32\",\"shape\":", header.len > 1 ? "," : "",
                       t->name, k || (is_it && change == RENAME) ? "2" : "");
            if (is_it && change == TRANSPOSE)
                buf_printf(&header, "[%lld,%lld]", cols, rows);
            else if (t->n_dims == 1 || (is_it && change == FLATTEN))
                buf_printf(&header, "[%zu]", t->bytes / 4);
            else
                buf_printf(&header, "[%lld,%lld]", rows, cols);
            buf_printf(&header, ",\"data_offsets\":[%zu,%zu]}", data.len, data.len + t->bytes);
            buf_append(&data, t->data, t->bytes);
        }
    }
    buf_putc(&header, '}');
    n = header.len;
    buf_append(&all, &n, 8);
    buf_append(&all, header.data, header.len);
    buf_append(&all, data.data, data.len);
    cr_assert(buf_ok(&all) && buf_ok(&header) && buf_ok(&data));
    temp_dir_write(dir, "model.safetensors", all.data, all.len);
    buf_release(&header);
    buf_release(&data);
    buf_release(&all);
    safetensors_close(s);
}

Test(weights, tensors_that_are_missing_left_over_or_of_another_shape_are_named)
{
    static const struct {
        const char *name;
        enum change change;
        const char *says;
    } cases[] = {
        { "lm_head.weight", DROP, "'lm_head.weight' is missing" },
        { "model.layers.1.mlp.experts.7.down_proj.weight", RENAME,
          "'model.layers.1.mlp.experts.7.down_proj.weight' is missing" },
        { "model.layers.0.mlp.gate.weight", ADD,
          "'model.layers.0.mlp.gate.weight2' is not part of the model" },
        { "lm_head.weight", TRANSPOSE, "has shape (64, 288), config.json needs (288, 64)" },
        { "lm_head.weight", FLATTEN, "has shape (18432), config.json needs (288, 64)" },
        { "model.norm.weight", DROP, "'model.norm.weight' is missing" },
    };
    struct model_config c;
    struct temp_dir dir;

    read_config("DESBENCH_TESTS", "vectors/model/tiny-f32", &c);
    temp_dir_init(&dir);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct weights *w = NULL;
        struct error err = { 0 };

        write_changed(&dir, cases[i].name, cases[i].change);
        cr_expect_eq(weights_open(dir.path, &c, &w, &err), ST_INVALID, "%s", cases[i].name);
        cr_expect(strstr(err.text, cases[i].says), "%s", err.text);
        cr_expect_null(w);
    }
    temp_dir_release(&dir);
}

Test(weights, a_config_of_another_size_does_not_match)
{
    struct weights *w = NULL;
    struct model_config c;
    struct error err = { 0 };
    char path[512];

    read_config("DESBENCH_TESTS", "vectors/model/tiny-f32", &c);
    path_of(path, sizeof(path), "DESBENCH_TESTS", "vectors/model/tiny-f32");
    c.n_exp = 4; /* then experts 4 to 7 are left over */
    cr_assert_eq(weights_open(path, &c, &w, &err), ST_INVALID);
    cr_assert(strstr(err.text, "mlp.gate.weight") && strstr(err.text, "(8, 64)"), "%s", err.text);
}
