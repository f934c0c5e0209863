/* Reference ops of the dense part of a layer: embedding, norm, projection, RoPE, attention. */
#include <math.h>
#include <string.h>

#include "kernels/dtype.h"
#include "kernels/ref/ref.h"

enum status ref_embed(struct kernels *k, const struct weight *table, const int32_t *ids, int n_tok,
                      float *ret_x, struct error *err)
{
    size_t d = (size_t)table->m.cols;

    (void)k;
    (void)err;
    for (int t = 0; t < n_tok; t++)
        dtype_to_f32(host_row(&table->m, ids[t]), table->m.dtype, d, ret_x + (size_t)t * d);
    return ST_OK;
}

enum status ref_rms_norm(struct kernels *k, const float *x, const struct weight *w, float eps,
                         int n_rows, float *ret_y, struct error *err)
{
    size_t d = (size_t)w->m.cols;

    (void)k;
    (void)err;
    for (int r = 0; r < n_rows; r++, x += d, ret_y += d) {
        double sum = 0, norm;

        for (size_t i = 0; i < d; i++)
            sum += (double)x[i] * x[i];
        norm = sqrt(sum / (double)d + eps);
        for (size_t i = 0; i < d; i++)
            ret_y[i] = (float)(x[i] / norm * w->vec[i]);
    }
    return ST_OK;
}

enum status ref_matmul(struct kernels *k, const float *x, const struct weight *w, int n_tok,
                       float *ret_y, struct error *err)
{
    struct ref *r = (struct ref *)k;
    size_t rows = (size_t)w->m.rows, cols = (size_t)w->m.cols;
    float *row;
    enum status st = scratch_reserve(&r->scratch, cols * sizeof(*row), err);

    if (st)
        return st;
    row = r->scratch.data;
    for (size_t o = 0; o < rows; o++) {
        dtype_to_f32(host_row(&w->m, (int64_t)o), w->m.dtype, cols, row);
        for (size_t t = 0; t < (size_t)n_tok; t++) {
            double sum = 0;

            for (size_t i = 0; i < cols; i++)
                sum += (double)x[t * cols + i] * row[i];
            ret_y[t * rows + o] = (float)sum;
        }
    }
    return ST_OK;
}

enum status ref_rope(struct kernels *k, float *x, const int32_t *positions, int n_tok, int n_head,
                     int d_head, int d_rot, double theta, struct error *err)
{
    int half = d_rot / 2;

    (void)k;
    (void)err;
    for (int t = 0; t < n_tok; t++) {
        for (int j = 0; j < half; j++) {
            double angle = positions[t] * pow(theta, -2.0 * j / d_rot);
            float c = (float)cos(angle), s = (float)sin(angle);

            for (int h = 0; h < n_head; h++) {
                float *v = x + ((size_t)t * (size_t)n_head + (size_t)h) * (size_t)d_head + j;
                double a = v[0], b = v[half];

                v[0] = (float)(a * c - b * s);
                v[half] = (float)(b * c + a * s);
            }
        }
    }
    return ST_OK;
}

enum status ref_kv_store(struct kernels *k, const float *rows, const int32_t *slots, int n_tok,
                         int width, float *cache, struct error *err)
{
    size_t n = (size_t)width;

    (void)k;
    (void)err;
    for (int t = 0; t < n_tok; t++)
        memcpy(cache + (size_t)slots[t] * n, rows + (size_t)t * n, n * sizeof(*rows));
    return ST_OK;
}

/* Attention of one query head over n_keys keys that lie stride floats apart. p has room for
 * n_keys probabilities. */
static void attend(const float *q, const float *keys, const float *values, size_t n_keys,
                   size_t stride, size_t d_head, double *p, float *ret_y)
{
    double max = -INFINITY, sum = 0;

    for (size_t j = 0; j < n_keys; j++) {
        double dot = 0;

        for (size_t i = 0; i < d_head; i++)
            dot += (double)q[i] * keys[j * stride + i];
        p[j] = dot / sqrt((double)d_head);
        if (p[j] > max)
            max = p[j];
    }
    for (size_t j = 0; j < n_keys; j++) {
        p[j] = exp(p[j] - max);
        sum += p[j];
    }
    for (size_t i = 0; i < d_head; i++) {
        double y = 0;

        for (size_t j = 0; j < n_keys; j++)
            y += p[j] * values[j * stride + i];
        ret_y[i] = n_keys ? (float)(y / sum) : 0;
    }
}

enum status ref_attention(struct kernels *k, const float *q, const int32_t *positions,
                          const struct attn_segment *segs, int n_segs, int n_head, int n_kv_head,
                          int d_head, float *ret_y, struct error *err)
{
    struct ref *r = (struct ref *)k;
    size_t stride = (size_t)n_kv_head * (size_t)d_head;
    int group = n_head / n_kv_head;

    for (const struct attn_segment *s = segs; s < segs + n_segs; s++) {
        enum status st = scratch_reserve(&r->scratch, (size_t)s->n_kv * sizeof(double), err);

        if (st)
            return st;
        for (int t = s->row; t < s->row + s->n_tok; t++) {
            int64_t n_keys = s->n_kv;

            if (s->mask_block) { /* keys of this block and the ones before it */
                int64_t end = ((int64_t)positions[t] / s->mask_block + 1) * s->mask_block;

                if (end < n_keys)
                    n_keys = end;
            }
            for (int h = 0; h < n_head; h++) {
                size_t at = ((size_t)t * (size_t)n_head + (size_t)h) * (size_t)d_head;
                size_t head = (size_t)(h / group) * (size_t)d_head;

                attend(q + at, s->keys + head, s->values + head, (size_t)n_keys, stride,
                       (size_t)d_head, r->scratch.data, ret_y + at);
            }
        }
    }
    return ST_OK;
}

enum status ref_add(struct kernels *k, float *x, const float *y, size_t n, struct error *err)
{
    (void)k;
    (void)err;
    for (size_t i = 0; i < n; i++)
        x[i] += y[i];
    return ST_OK;
}
