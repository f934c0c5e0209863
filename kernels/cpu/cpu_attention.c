/*
 * cpu op: attention.
 *
 * A unit is one key/value head and up to TILE_QUERIES of the queries that use it and see the same
 * keys: (token, query head) pairs of consecutive tokens. Keys come in blocks of KEY_BLOCK from
 * the first on; a running softmax (Milakov and Gimelshein, arXiv:1805.02867) rescales what was
 * summed before. So a query's sums depend on its keys alone, and working space does not grow
 * with the length of the cache.
 */
#include <math.h>
#include <string.h>

#include "kernels/cpu/cpu.h"

enum { TILE_QUERIES = 32, KEY_BLOCK = 64 };

/* Queries first .. first + n - 1 of a run of tokens, counted over (token, head of the group). */
struct query_tile {
    const struct attn_segment *seg;
    int row; /* first token of the run */
    int first, n;
    int n_keys;
};

struct attention_job {
    const struct cpu *cpu;
    const float *q;
    float *y;
    int n_head, n_kv_head, group;
    size_t d_head, d_padded;
    const struct query_tile *tiles;
    float *work; /* (n_threads, work_size) */
    size_t work_size;
};

/* Offset of query i of a tile in q and y. */
static size_t query_at(const struct attention_job *j, const struct query_tile *tile, int kv_head,
                       int i)
{
    size_t token = (size_t)(tile->row + (tile->first + i) / j->group);
    size_t head = (size_t)(kv_head * j->group + (tile->first + i) % j->group);

    return (token * (size_t)j->n_head + head) * j->d_head;
}

static void attention_unit(void *arg, int unit, int thread)
{
    const struct attention_job *j = arg;
    const struct inner *in = j->cpu->inner;
    const struct query_tile *tile = &j->tiles[unit / j->n_kv_head];
    const int kv_head = unit % j->n_kv_head;
    const size_t d = j->d_head, stride = (size_t)j->n_kv_head * d;
    const float *keys = tile->seg->keys + (size_t)kv_head * d;
    const float *values = tile->seg->values + (size_t)kv_head * d;
    const float scale = (float)(1 / sqrt((double)d));
    float *packed = j->work + (size_t)thread * j->work_size; /* (TILE_QUERIES, d_padded) */
    float *scores = packed + TILE_QUERIES * j->d_padded;     /* (TILE_QUERIES, KEY_BLOCK) */
    float *out = scores + TILE_QUERIES * KEY_BLOCK;          /* (TILE_QUERIES, d) */
    float max[TILE_QUERIES], sum[TILE_QUERIES];
    const float *rows[TILE_QUERIES];

    for (int i = 0; i < tile->n; i++) {
        float *row = packed + (size_t)i * j->d_padded;

        in->pack(j->q + query_at(j, tile, kv_head, i), d, row);
        rows[i] = row;
        max[i] = -INFINITY;
        sum[i] = 0;
    }
    memset(out, 0, (size_t)tile->n * d * sizeof(*out));
    for (int key = 0; key < tile->n_keys; key += KEY_BLOCK) {
        int n = tile->n_keys - key < KEY_BLOCK ? tile->n_keys - key : KEY_BLOCK;

        in->panel(keys + (size_t)key * stride, DT_F32, stride * sizeof(float), d, n, rows, tile->n,
                  scores, KEY_BLOCK);
        for (int i = 0; i < tile->n; i++) {
            float *s = scores + i * KEY_BLOCK, factor;

            for (int m = n; m < KEY_BLOCK; m++)
                s[m] = -INFINITY;
            factor = in->soft_step(s, KEY_BLOCK, scale, &max[i], &sum[i]);
            if (key)
                in->scale(out + (size_t)i * d, d, factor);
        }
        in->mix(scores, KEY_BLOCK, tile->n, values + (size_t)key * stride, stride, n, out, d);
    }
    for (int i = 0; i < tile->n; i++) {
        float *o = out + (size_t)i * d;

        if (tile->n_keys)
            in->scale(o, d, 1 / sum[i]);
        memcpy(j->y + query_at(j, tile, kv_head, i), o, d * sizeof(*o));
    }
}

/* Keys that the query at a position sees. */
static int count_keys(const struct attn_segment *s, int32_t position)
{
    int64_t end;

    if (!s->mask_block)
        return s->n_kv;
    end = ((int64_t)position / s->mask_block + 1) * s->mask_block;
    return end < s->n_kv ? (int)end : s->n_kv;
}

/* Cut a segment into runs of tokens that see the same keys, and these into tiles. Returns the
 * number of tiles. */
static int cut_segment(const struct attn_segment *s, const int32_t *positions, int group,
                       struct query_tile *ret)
{
    int n_tiles = 0;

    for (int t = s->row, end; t < s->row + s->n_tok; t = end) {
        int n_keys = count_keys(s, positions[t]), n_queries;

        for (end = t + 1; end < s->row + s->n_tok; end++)
            if (count_keys(s, positions[end]) != n_keys)
                break;
        n_queries = (end - t) * group;
        for (int first = 0; first < n_queries; first += TILE_QUERIES) {
            int left = n_queries - first;

            ret[n_tiles++] = (struct query_tile){
                s, t, first, left < TILE_QUERIES ? left : TILE_QUERIES, n_keys,
            };
        }
    }
    return n_tiles;
}

enum status cpu_attention(struct kernels *k, const float *q, const int32_t *positions,
                          const struct attn_segment *segs, int n_segs, int n_head, int n_kv_head,
                          int d_head, float *ret_y, struct error *err)
{
    struct cpu *c = (struct cpu *)k;
    struct attention_job j = {
        .cpu = c,
        .q = q,
        .y = ret_y,
        .n_head = n_head,
        .n_kv_head = n_kv_head,
        .group = n_head / n_kv_head,
        .d_head = (size_t)d_head,
        .d_padded = cpu_padded(c, (size_t)d_head),
    };
    size_t n_threads = (size_t)pool_n_threads(c->pool), max_tiles = 0;
    struct layout l = { 0 };
    struct query_tile *tiles;
    int n_tiles = 0;
    enum status st;

    for (int i = 0; i < n_segs; i++) /* at most: every token its own run */
        max_tiles += (size_t)segs[i].n_tok * (size_t)(j.group / TILE_QUERIES + 1);
    j.work_size = TILE_QUERIES * (2 * j.d_padded + KEY_BLOCK);
    layout_take(&l, max_tiles, sizeof(*tiles));
    layout_take(&l, n_threads * j.work_size, sizeof(float));
    st = scratch_reserve(&c->scratch, l.used, err);
    if (st)
        return st;
    l = (struct layout){ c->scratch.data, 0 };
    tiles = layout_take(&l, max_tiles, sizeof(*tiles));
    j.work = layout_take(&l, n_threads * j.work_size, sizeof(float));
    for (int i = 0; i < n_segs; i++)
        n_tiles += cut_segment(&segs[i], positions, j.group, tiles + n_tiles);
    j.tiles = tiles;
    pool_run(c->pool, attention_unit, &j, n_tiles * n_kv_head);
    return ST_OK;
}
