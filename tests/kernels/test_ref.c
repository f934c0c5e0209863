/*
 * The reference backend against values worked out by hand: it is the definition, so nothing
 * else checks it.
 */
#include <criterion/criterion.h>
#include <math.h>

#include "kernels/gumbel.h"
#include "kernels/kernels.h"

static struct kernels *k;
static const struct kernel_ops *ops;

static void setup(void)
{
    const struct kernel_params params = { 0 };

    ops = kernel_backend_find("ref");
    cr_assert_not_null(ops);
    cr_assert_eq(ops->open(&params, &k, NULL), ST_OK);
}

static void teardown(void)
{
    ops->close(k);
}

TestSuite(ref, .init = setup, .fini = teardown);

static struct weight *load(const void *data, enum dtype t, int64_t rows, int64_t cols)
{
    struct host_matrix m = { data, t, rows, cols };
    struct weight *w = NULL;

    cr_assert_eq(ops->weight_load(k, &m, &w, NULL), ST_OK);
    return w;
}

#define assert_floats(got, ...)                                                                    \
    do {                                                                                           \
        const double want_[] = { __VA_ARGS__ };                                                    \
        for (size_t i_ = 0; i_ < sizeof(want_) / sizeof(want_[0]); i_++)                           \
            cr_assert_float_eq((got)[i_], want_[i_], 1e-6, "[%zu] is %.9g, not %.9g", i_,          \
                               (double)(got)[i_], want_[i_]);                                      \
    } while (0)

#define assert_ints(got, ...)                                                                      \
    do {                                                                                           \
        const int want_[] = { __VA_ARGS__ };                                                       \
        for (size_t i_ = 0; i_ < sizeof(want_) / sizeof(want_[0]); i_++)                           \
            cr_assert_eq((got)[i_], want_[i_], "[%zu] is %d, not %d", i_, (int)(got)[i_],          \
                         want_[i_]);                                                               \
    } while (0)

Test(ref, backend_memory_is_zeroed_and_aligned)
{
    void *p = NULL;

    for (size_t size = 0; size < 200; size += 33) {
        cr_assert_eq(ops->alloc(k, size, &p, NULL), ST_OK);
        cr_assert_eq((uintptr_t)p % 64, 0);
        for (size_t i = 0; i < size; i++)
            cr_assert_eq(((char *)p)[i], 0);
        ops->free(k, p);
    }
    ops->free(k, NULL);
    ops->close(NULL);
}

Test(ref, memory_that_cannot_be_had_is_reported)
{
    struct error err = { 0 };
    void *p = NULL;

    cr_assert_eq(ops->alloc(k, SIZE_MAX, &p, &err), ST_NOMEM);
    cr_assert_eq(err.status, ST_NOMEM);
    cr_assert_null(p);
}

Test(ref, embed_copies_rows_of_the_table)
{
    const float table[] = { 1, 2, 3, 4, 5, 6 };
    float x[4];

    ops->embed(k, load(table, DT_F32, 3, 2), (const int32_t[]){ 2, 0 }, 2, x, NULL);
    assert_floats(x, 5, 6, 1, 2);
}

Test(ref, rms_norm_divides_by_the_root_of_the_mean_square_plus_eps)
{
    float x[] = { 3, 4, 0, 0 }, y[4];
    const float w[] = { 2, 0.5f };
    struct weight *weight = load(w, DT_F32, 1, 2);

    ops->rms_norm(k, x, weight, 0.5f, 2, y, NULL); /* mean square 12.5 */
    assert_floats(y, 3 / sqrt(13) * 2, 4 / sqrt(13) * 0.5, 0, 0);
    ops->rms_norm(k, x, weight, 12.5f, 1, x, NULL); /* in place */
    assert_floats(x, 1.2, 0.4);
}

Test(ref, matmul_multiplies_by_the_transposed_weight_of_any_type)
{
    const float x[] = { 1, 2, 3, -1, 0, 1 };
    const float w32[] = { 1, 0, 2, -1, 0.5f, 4 };
    const uint16_t bf16[] = { 0x3f80, 0, 0x4000, 0xbf80, 0x3f00, 0x4080 };
    const uint16_t f16[] = { 0x3c00, 0, 0x4000, 0xbc00, 0x3800, 0x4400 };
    const void *data[] = { [DT_F32] = w32, [DT_BF16] = bf16, [DT_F16] = f16 };

    for (enum dtype t = DT_F32; t <= DT_F16; t++) {
        float y[4];

        ops->matmul(k, x, load(data[t], t, 2, 3), 2, y, NULL);
        assert_floats(y, 7, 12, 1, 5);
    }
}

Test(ref, matmul_sums_in_double)
{
    const float x[] = { 1e8f, 1, -1e8f }, w[] = { 1, 1, 1 };
    float y[1];

    ops->matmul(k, x, load(w, DT_F32, 1, 3), 1, y, NULL);
    cr_assert_eq(y[0], 1);
}

Test(ref, rope_rotates_pairs_half_the_span_apart)
{
    float x[] = { 1, 0, 0, 1, 1, 0, 0, 1 };

    /* theta 4 over 4 dims: frequencies 1 and 1/2 */
    ops->rope(k, x, (const int32_t[]){ 1, 0 }, 2, 1, 4, 4, 4, NULL);
    assert_floats(x, 0.5403023059, -0.4794255386, 0.8414709848, 0.8775825619, 1, 0, 0, 1);
}

Test(ref, rope_passes_dims_beyond_the_rotated_ones_in_every_head)
{
    float x[] = { 1, 0, 7, 8, 0, 1, 9, 10 };

    ops->rope(k, x, (const int32_t[]){ 2 }, 1, 2, 4, 2, 10000, NULL);
    assert_floats(x, -0.4161468365, 0.9092974268, 7, 8, -0.9092974268, -0.4161468365, 9, 10);
}

Test(ref, kv_store_writes_rows_to_their_slots_only)
{
    const float rows[] = { 1, 2, 3, 4 };
    float cache[] = { -1, -1, -1, -1, -1, -1 };

    ops->kv_store(k, rows, (const int32_t[]){ 2, 0 }, 2, 2, cache, NULL);
    assert_floats(cache, 3, 4, -1, -1, 1, 2);
}

/* Keys 0, ln 2, ln 3 give weights 1 : 2 : 3. */
static const float ln_keys[] = { 0, 0.69314718056f, 1.09861228867f };
static const float ln_values[] = { 3, 6, 12 };

Test(ref, attention_sees_every_key_without_a_mask)
{
    const float q[] = { 1, 0 };
    struct attn_segment seg = { 0, 2, ln_keys, ln_values, 3, 0 };
    float y[2];

    ops->attention(k, q, (const int32_t[]){ 0, 1 }, &seg, 1, 1, 1, 1, y, NULL);
    assert_floats(y, 8.5, 7); /* (3 + 12 + 36) / 6; a zero query weighs all alike */
}

Test(ref, attention_masks_later_blocks)
{
    const float q[] = { 1, 1, 1 };
    struct attn_segment seg = { 0, 3, ln_keys, ln_values, 3, 2 };
    float y[3];

    ops->attention(k, q, (const int32_t[]){ 0, 1, 2 }, &seg, 1, 1, 1, 1, y, NULL);
    assert_floats(y, 5, 5, 8.5); /* positions 0 and 1 see keys 0 and 1: (3 + 12) / 3 */
}

Test(ref, attention_scales_by_the_root_of_d_head_and_groups_query_heads)
{
    const float q[] = { 2, 0, 0, 0, 0, 0, 0, 2, 0, 2, 0, 0, 0, 0, 2, 0 }; /* 4 heads of 4 */
    const float keys[16] = { [8] = 0.69314718056f, [15] = 0.69314718056f, [13] = 1.09861228867f };
    float values[16] = { 0 }, y[16];
    struct attn_segment seg = { 0, 1, keys, values, 2, 0 };

    values[0] = 3, values[8] = 6;  /* kv head 0: keys (0, ln 2 e0) */
    values[4] = 1, values[12] = 5; /* kv head 1: keys (0, ln 3 e1 + ln 2 e3) */
    ops->attention(k, q, (const int32_t[]){ 0 }, &seg, 1, 4, 2, 4, y, NULL);
    cr_assert_float_eq(y[0], 5, 1e-6);   /* score 2 ln 2 / 2: weights 1 : 2 */
    cr_assert_float_eq(y[4], 4.5, 1e-6); /* zero score: the mean */
    cr_assert_float_eq(y[8], 4, 1e-6);   /* 1 : 3 of 1 and 5 */
    cr_assert_float_eq(y[12], 3, 1e-6);
}

Test(ref, attention_keeps_the_segments_of_a_ragged_batch_apart)
{
    const float q[] = { 1, 1, 1 }, other[] = { 42 };
    struct attn_segment segs[] = { { 1, 2, ln_keys, ln_values, 2, 0 },
                                   { 0, 1, ln_keys, other, 1, 0 } };
    float y[3];

    ops->attention(k, q, (const int32_t[]){ 0, 0, 1 }, segs, 2, 1, 1, 1, y, NULL);
    assert_floats(y, 42, 5, 5);
}

Test(ref, router_scores_are_softmax_or_sigmoid)
{
    const float x[] = { 1 }, w[] = { 0, 0.69314718056f, 1.09861228867f };
    struct weight *weight = load(w, DT_F32, 3, 1);
    float s[3], z[3];

    ops->router(k, x, weight, 1, ROUTER_SOFTMAX, s, NULL, NULL);
    assert_floats(s, 1 / 6.0, 2 / 6.0, 3 / 6.0);
    ops->router(k, x, weight, 1, ROUTER_SIGMOID, s, z, NULL);
    assert_floats(s, 1 / 2.0, 2 / 3.0, 3 / 4.0);
    assert_floats(z, 0, log(2), log(3));
}

/* The op with one segment after the other; stats and counts lie beside them. */
static void route(const float *s, const struct route_params *p, const struct segment *segs,
                  int n_segs, int32_t *ids, float *w, struct route_stats *stats, int32_t *counts)
{
    struct route_segment all[4];

    for (int i = 0; i < n_segs; i++)
        all[i] = (struct route_segment){ .row = segs[i].row,
                                         .n_tok = segs[i].n_tok,
                                         .stats = &stats[i],
                                         .tokens_per_expert = counts + i * p->n_exp };
    cr_assert_eq(ops->route(k, p, &(struct route_input){ .scores = s }, all, n_segs,
                            &(struct route_output){ ids, w, p->top_k }, NULL),
                 ST_OK);
}

Test(ref, route_breaks_ties_to_the_lower_id_and_counts)
{
    const float s[] = {
        0.25f, 0.5f,  0.5f, 0.125f, /* 1 and 2 */
        0.5f,  0.25f, 0,    0.25f,  /* 0, then 1 before 3 */
    };
    struct route_params p = { .n_exp = 4, .top_k = 2, .top_k_base = 2, .scale = 1 };
    struct segment seg = { 0, 2 };
    struct route_stats stats;
    int32_t ids[4], counts[4];
    float w[4];

    route(s, &p, &seg, 1, ids, w, &stats, counts);
    assert_ints(ids, 1, 2, 0, 1);
    assert_floats(w, 0.5, 0.5, 0.5, 0.25);
    assert_ints(counts, 1, 2, 1, 0);
    cr_assert_eq(stats.n_unique, 3);
    cr_assert_eq(stats.n_rerouted, 0);
    cr_assert_eq(stats.n_lost_top1, 0);
    cr_assert_float_eq(stats.kept_mass, 1, 1e-12);
}

Test(ref, route_counts_against_the_natural_top_k)
{
    const float s[] = { 0.1f, 0.2f, 0.3f, 0.4f };
    struct route_params p = { .n_exp = 4, .top_k = 1, .top_k_base = 2, .scale = 1 };
    struct segment seg = { 0, 1 };
    struct route_stats stats;
    int32_t ids[3], counts[4];
    float w[3];

    route(s, &p, &seg, 1, ids, w, &stats, counts);
    assert_ints(ids, 3);
    cr_assert_eq(stats.n_rerouted, 0);
    cr_assert_float_eq(stats.kept_mass, 0.4 / 0.7, 1e-6);
    p.top_k = 3;
    p.top_k_base = 1;
    route(s, &p, &seg, 1, ids, w, &stats, counts);
    assert_ints(ids, 1, 2, 3);
    cr_assert_eq(stats.n_rerouted, 2);
    cr_assert_eq(stats.n_lost_top1, 0);
    cr_assert_float_eq(stats.kept_mass, 0.9 / 0.4, 1e-6);
}

Test(ref, route_renormalises_and_scales)
{
    const float s[] = { 0.25f, 0.75f, 0.125f };
    struct route_params p = {
        .n_exp = 3, .top_k = 2, .top_k_base = 2, .renorm = true, .scale = 2.5f
    };
    struct segment seg = { 0, 1 };
    struct route_stats stats;
    int32_t ids[2], counts[3];
    float w[2];

    route(s, &p, &seg, 1, ids, w, &stats, counts);
    assert_floats(w, 0.625, 1.875);
}

Test(ref, route_keeps_statistics_a_segment)
{
    const float s[] = { 3, 2, 1, 1, 2, 3, 3, 2, 1 };
    struct route_params p = { .n_exp = 3, .top_k = 1, .top_k_base = 1, .scale = 1 };
    struct segment segs[] = { { 0, 2 }, { 2, 1 } };
    struct route_stats stats[2];
    int32_t ids[3], counts[6];
    float w[3];

    route(s, &p, segs, 2, ids, w, stats, counts);
    assert_ints(ids, 0, 2, 0);
    assert_ints(counts, 1, 0, 1, 1, 0, 0);
    cr_assert_eq(stats[0].n_unique, 2);
    cr_assert_eq(stats[1].n_unique, 1);
}

Test(ref, route_never_chooses_nan_or_minus_infinity)
{
    const float s[] = { NAN, 0.25f, -INFINITY, 0.5f, NAN, NAN, NAN, NAN };
    struct route_params p = { .n_exp = 4, .top_k = 3, .top_k_base = 3, .scale = 1 };
    struct segment seg = { 0, 2 };
    struct route_stats stats;
    int32_t ids[6], counts[4];
    float w[6];

    route(s, &p, &seg, 1, ids, w, &stats, counts);
    assert_ints(ids, 1, 3, -1, -1, -1, -1);
    assert_floats(w, 0.25, 0.5, 0, 0, 0, 0);
    cr_assert_eq(stats.n_unique, 2);
    cr_assert_eq(stats.n_lost_top1, 1); /* the token that got no expert at all */
}

Test(ref, moe_weighs_swiglu_experts_and_skips_empty_slots)
{
    const float gate[] = { 1, 0 }, up[] = { 0, 1 }, down[] = { 1, 2 }, gate1[] = { 0, 0 };
    const struct host_matrix gates[] = { { gate, DT_F32, 1, 2 }, { gate1, DT_F32, 1, 2 } };
    const struct host_matrix ups[] = { { up, DT_F32, 1, 2 }, { up, DT_F32, 1, 2 } };
    const struct host_matrix downs[] = { { down, DT_F32, 2, 1 }, { down, DT_F32, 2, 1 } };
    const float x[] = { 1, 3, -1, 2 }, w[] = { 0.5f, 8, 0.5f, 2 };
    const int32_t ids[] = { 0, -1, 1, 0 };
    struct experts *e = NULL;
    float y[4];

    cr_assert_eq(ops->experts_load(k, 2, 0, gates, ups, downs, &e, NULL), ST_OK);
    ops->moe(k, x, e, ids, w, 2, 2, y, NULL);
    /* silu(1) * 3 = 2.1931757359; silu(-1) * 2 = -0.5378828427, expert 1 gives 0 */
    assert_floats(y, 1.0965878679, 2.1931757359, -1.0757656854, -2.1515313708);
}

static struct pick pick_one(const float *logits, int n, struct pick_params p)
{
    int32_t position = 0;
    struct pick r = { 0 };

    p.positions = &position;
    cr_assert_eq(ops->pick(k, logits, 1, n, &p, &r, NULL), ST_OK);
    return r;
}

static const float ln_logits[] = { 0, 0.69314718056f, 1.09861228867f, 1.38629436112f }; /* 1..4 */

Test(ref, pick_takes_the_largest_logit_and_its_softmax)
{
    struct pick r = pick_one(ln_logits, 4, (struct pick_params){ .mask_id = 0, .banned_id = -1 });

    cr_assert_eq(r.id, 3);
    cr_assert_float_eq(r.prob, 0.4, 1e-7);
    cr_assert(!r.is_mask_best);
}

Test(ref, pick_never_takes_mask_or_ban_but_they_keep_their_share)
{
    struct pick r = pick_one(ln_logits, 4, (struct pick_params){ .mask_id = 3, .banned_id = -1 });

    cr_assert_eq(r.id, 2);
    cr_assert_float_eq(r.prob, 0.3, 1e-7);
    cr_assert(r.is_mask_best);
    r = pick_one(ln_logits, 4, (struct pick_params){ .mask_id = 3, .banned_id = 2 });
    cr_assert_eq(r.id, 1);
    cr_assert_float_eq(r.prob, 0.2, 1e-7);
    r = pick_one(ln_logits, 4, (struct pick_params){ .mask_id = 2, .banned_id = 3 });
    cr_assert_eq(r.id, 1);
    cr_assert(!r.is_mask_best); /* the banned token is better */
}

Test(ref, pick_breaks_ties_to_the_lower_id)
{
    const float l[] = { 1, 2, 2, 2 };
    struct pick r = pick_one(l, 4, (struct pick_params){ .mask_id = 1, .banned_id = -1 });

    cr_assert_eq(r.id, 2);
    cr_assert(r.is_mask_best); /* first among equals */
    r = pick_one(l, 4, (struct pick_params){ .mask_id = 3, .banned_id = -1 });
    cr_assert_eq(r.id, 1);
    cr_assert(!r.is_mask_best);
}

Test(ref, pick_survives_nan_and_infinities)
{
    const float nan[] = { NAN, NAN, NAN }, some[] = { 0, NAN, 0 }, low[] = { 0, -INFINITY, NAN };
    const float high[] = { 5, INFINITY, INFINITY };
    struct pick_params p = { .mask_id = 0, .banned_id = -1 };
    struct pick r;

    for (p.temperature = 0; p.temperature < 2; p.temperature++) {
        r = pick_one(nan, 3, p);
        cr_assert(r.id == 1 && r.prob == 0 && !r.is_mask_best);
        r = pick_one(some, 3, p);
        cr_assert(r.id == 2 && r.prob == 0.5f && r.is_mask_best);
        r = pick_one(low, 3, p);
        cr_assert(r.id == 1 && r.prob == 0 && r.is_mask_best);
        r = pick_one(high, 3, p);
        cr_assert(r.id == 1 && r.prob == 0.5f && !r.is_mask_best);
    }
}

Test(ref, pick_with_temperature_draws_from_the_softmax)
{
    const int n = 20000;
    int counts[4] = { 0 };

    for (int i = 0; i < n; i++) {
        struct pick r = pick_one(
            ln_logits, 4,
            (struct pick_params){
                .mask_id = 0, .banned_id = -1, .temperature = 1, .seed = 7, .draw = (uint64_t)i });

        cr_assert_float_eq(r.prob, (r.id + 1) / 10.0, 1e-7, "confidence is free of noise");
        counts[r.id]++;
    }
    cr_assert_eq(counts[0], 0);
    for (int i = 1; i < 4; i++) { /* shares 2 : 3 : 4 of 9, within 5 standard deviations */
        double share = (i + 1) / 9.0, sd = sqrt(share * (1 - share) / n);

        cr_assert_float_eq((double)counts[i] / n, share, 5 * sd);
    }
}

Test(ref, pick_noise_depends_on_seed_draw_and_position_but_not_on_the_batch)
{
    enum { N = 64 };
    float l[8 * N] = { 0 };
    int32_t positions[8] = { 5, 6, 7, 8, 9, 10, 11, 12 }, alone = 8;
    struct pick_params p = { .mask_id = 0,
                             .banned_id = -1,
                             .temperature = 1,
                             .seed = 3,
                             .draw = 4,
                             .positions = positions };
    struct pick all[8], one, again[8];
    int n_same = 0;

    ops->pick(k, l, 8, N, &p, all, NULL);
    p.positions = &alone;
    ops->pick(k, l, 1, N, &p, &one, NULL);
    cr_assert_eq(one.id, all[3].id);
    p.positions = positions;
    p.draw = 5;
    ops->pick(k, l, 8, N, &p, again, NULL);
    for (int i = 0; i < 8; i++)
        n_same += again[i].id == all[i].id;
    cr_assert_lt(n_same, 4);
    p.draw = 4;
    p.seed = 4;
    ops->pick(k, l, 8, N, &p, again, NULL);
    n_same = 0;
    for (int i = 0; i < 8; i++)
        n_same += again[i].id == all[i].id;
    cr_assert_lt(n_same, 4);
}

Test(ref, noise_is_the_published_splitmix64_stream)
{
    cr_assert_eq(gumbel_bits(0, 0), 0xe220a8397b1dcdafu >> 12);
    cr_assert_eq(gumbel_bits(0, 1), 0x6e789e6aa1b965f4u >> 12);
    cr_assert(isfinite(gumbel_noise(0)) && isfinite(gumbel_noise((1ull << 52) - 1)));
    cr_assert_float_eq(gumbel_noise(1ull << 51), -log(log(2)), 1e-12);
}
