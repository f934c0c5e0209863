/*
 * The inner loops themselves, over vf = VL floats (inner_vec.h) and the including file's
 *
 *   v_fma(a, b, c)                a * b + c, fused where the machine can
 *   v_sum(a)                      sum of the lanes, in a fixed order
 *   v_max(a)                      largest lane of a vector without NaN
 *   v_any(mask)                   whether a bit is set
 *   v_store_sums4(ret, a..d)      four sums at once, in the order of v_sum
 *   v_load_f16(p)                 VL f16 values, widened
 *   TILE_TOKENS                   tokens of a register tile
 *
 * Dot products. A tile is TILE_ROWS rows of the weight by up to TILE_TOKENS tokens; each pair
 * has one vector of partial sums in a register. Lanes run along the columns, two vectors a
 * step, and are added up at the end. So a pair sees the same additions in the same order in
 * a tile of any size: that is what makes results independent of the batch.
 */
enum { TILE_ROWS = 4, STEP = 2 * VL };

_Static_assert(STEP <= (int)INNER_MAX_PAD, "callers pad by this");

#include "kernels/cpu/inner_gemm.h"

#ifndef GEMM
#define GEMM in_gemm
#define GEMM_PREPARE in_prepare
#define GEMM_STEP_BYTES (PACK_COLS * sizeof(float))
#endif

TARGET static void in_pack(const float *x, size_t n, float *ret)
{
    memcpy(ret, x, n * sizeof(*x));
    memset(ret + n, 0, ((n + STEP - 1) / STEP * STEP - n) * sizeof(*x));
}

/* One half (0 or 1) of the STEP weights at w. */
INLINE vf widen(const char *w, enum dtype t, int half)
{
    return t == DT_F32 ? v_load((const float *)w + half * VL)
                       : v_load_f16((const uint16_t *)w + half * VL);
}

/* One step: STEP columns from w and from column c of the tokens on. A half at a time, so that
 * no more than TILE_ROWS weight vectors are in registers beside the sums. */
INLINE void tile_step(const char *w, size_t row_bytes, enum dtype t, int rows, int tokens,
                      const float *const *x, size_t c, vf acc[TILE_ROWS][TILE_TOKENS])
{
    UNROLL
    for (int half = 0; half < 2; half++) {
        vf wr[TILE_ROWS];

        UNROLL
        for (int r = 0; r < rows; r++)
            wr[r] = widen(w + (size_t)r * row_bytes, t, half);
        UNROLL
        for (int j = 0; j < tokens; j++) {
            vf v = v_load(x[j] + c + half * VL);

            UNROLL
            for (int r = 0; r < rows; r++)
                acc[r][j] = v_fma(wr[r], v, acc[r][j]);
        }
    }
}

/* rows (1 or TILE_ROWS) by tokens dot products. next: TILE_ROWS rows to fetch into the cache
 * meanwhile, or NULL. */
INLINE void tile(const char *w, size_t row_bytes, enum dtype t, size_t cols, int rows, int tokens,
                 const float *const *x, float *ret, size_t ret_stride, const char *next)
{
    const size_t step_bytes = STEP * (t == DT_F32 ? 4 : 2);
    const size_t whole = cols / STEP * STEP;
    vf acc[TILE_ROWS][TILE_TOKENS];
    const float *xj[TILE_TOKENS];

    UNROLL
    for (int j = 0; j < tokens; j++) {
        xj[j] = x[j];
        UNROLL
        for (int r = 0; r < rows; r++)
            acc[r][j] = (vf){ 0 };
    }
    for (size_t c = 0; c < whole; c += STEP) {
        if (next) {
            UNROLL
            for (int r = 0; r < rows; r++)
                for (size_t b = 0; b < step_bytes; b += 64)
                    __builtin_prefetch(next + (size_t)r * row_bytes + b);
            next += step_bytes;
        }
        tile_step(w, row_bytes, t, rows, tokens, xj, c, acc);
        w += step_bytes;
    }
    if (whole < cols) { /* the last columns, from a copy filled up with zeros */
        char rest[TILE_ROWS][STEP * 4] = { 0 };

        for (int r = 0; r < rows; r++)
            memcpy(rest[r], w + (size_t)r * row_bytes, (cols - whole) * (t == DT_F32 ? 4 : 2));
        tile_step(rest[0], sizeof(rest[0]), t, rows, tokens, xj, whole, acc);
    }
    UNROLL
    for (int j = 0; j < tokens; j++) {
        float *y = ret + (size_t)j * ret_stride;

        if (rows == TILE_ROWS)
            v_store_sums4(y, acc[0][j], acc[1][j], acc[2][j], acc[3][j]);
        else
            *y = v_sum(acc[0][j]);
    }
}

/* The tile for a number of tokens known only now. */
INLINE void tile_n(const char *w, size_t row_bytes, enum dtype t, size_t cols, int rows, int tokens,
                   const float *const *x, float *ret, size_t ret_stride, const char *next)
{
    switch (tokens) {
    case 1: tile(w, row_bytes, t, cols, rows, 1, x, ret, ret_stride, next); break;
    case 2: tile(w, row_bytes, t, cols, rows, 2, x, ret, ret_stride, next); break;
    case 3: tile(w, row_bytes, t, cols, rows, 3, x, ret, ret_stride, next); break;
#if TILE_TOKENS > 3
    case 4: tile(w, row_bytes, t, cols, rows, 4, x, ret, ret_stride, next); break;
    case 5: tile(w, row_bytes, t, cols, rows, 5, x, ret, ret_stride, next); break;
    case 6: tile(w, row_bytes, t, cols, rows, 6, x, ret, ret_stride, next); break;
#endif
    default: break;
    }
}

/* Tiles of nearly equal size; the rows stay in the first-level cache from one to the next, and
 * the last one fetches the rows that come after. */
INLINE void panel_rows(const char *w, size_t row_bytes, enum dtype t, size_t cols, int rows,
                       const float *const *x, int n_tok, float *ret, size_t ret_stride,
                       const char *next)
{
    int n_tiles = (n_tok + TILE_TOKENS - 1) / TILE_TOKENS;

    for (int i = 0, j = 0; i < n_tiles; i++) {
        int tokens = (n_tok - j) / (n_tiles - i);

        tile_n(w, row_bytes, t, cols, rows, tokens, x + j, ret + (size_t)j * ret_stride, ret_stride,
               i == n_tiles - 1 ? next : NULL);
        j += tokens;
    }
}

INLINE void panel_of(const char *w, size_t row_bytes, enum dtype t, size_t cols, int n_rows,
                     const float *const *x, int n_tok, float *ret, size_t ret_stride)
{
    int r = 0;

    for (; r + TILE_ROWS <= n_rows; r += TILE_ROWS, w += TILE_ROWS * row_bytes)
        panel_rows(w, row_bytes, t, cols, TILE_ROWS, x, n_tok, ret + r, ret_stride,
                   r + 2 * TILE_ROWS <= n_rows ? w + TILE_ROWS * row_bytes : NULL);
    for (; r < n_rows; r++, w += row_bytes)
        panel_rows(w, row_bytes, t, cols, 1, x, n_tok, ret + r, ret_stride, NULL);
}

TARGET static void in_panel(const void *w, enum dtype t, size_t row_bytes, size_t cols, int n_rows,
                            const float *const *x, int n_tok, float *ret, size_t ret_stride)
{
    if (t == DT_F32)
        panel_of(w, row_bytes, DT_F32, cols, n_rows, x, n_tok, ret, ret_stride);
    else
        panel_of(w, row_bytes, DT_F16, cols, n_rows, x, n_tok, ret, ret_stride);
}

/* n_q queries (at most TILE_TOKENS) by vecs vectors of the output, all keys. */
INLINE void mix_tile(const float *p, size_t p_stride, int n_q, const float *v, size_t v_stride,
                     int n_keys, float *o, size_t d, int vecs)
{
    vf acc[TILE_TOKENS][4];

    UNROLL
    for (int q = 0; q < n_q; q++)
        UNROLL
    for (int i = 0; i < vecs; i++)
        acc[q][i] = v_load(o + (size_t)q * d + (size_t)i * VL);
    for (int j = 0; j < n_keys; j++, v += v_stride) {
        vf pj[TILE_TOKENS];

        UNROLL
        for (int q = 0; q < n_q; q++)
            pj[q] = v_set(p[(size_t)q * p_stride + (size_t)j]);
        UNROLL
        for (int i = 0; i < vecs; i++) {
            vf vi_ = v_load(v + (size_t)i * VL);

            UNROLL
            for (int q = 0; q < n_q; q++)
                acc[q][i] = v_fma(pj[q], vi_, acc[q][i]);
        }
    }
    UNROLL
    for (int q = 0; q < n_q; q++)
        UNROLL
    for (int i = 0; i < vecs; i++)
        v_store(o + (size_t)q * d + (size_t)i * VL, acc[q][i]);
}

INLINE void mix_of(const float *p, size_t p_stride, int n_q, const float *v, size_t v_stride,
                   int n_keys, float *o, size_t d)
{
    size_t i = 0;

    for (; i + 4 * VL <= d; i += 4 * VL)
        mix_tile(p, p_stride, n_q, v + i, v_stride, n_keys, o + i, d, 4);
    for (; i + VL <= d; i += VL)
        mix_tile(p, p_stride, n_q, v + i, v_stride, n_keys, o + i, d, 1);
    for (int q = 0; i < d && q < n_q; q++) { /* no full vector left: heads of test models */
        vf acc = v_load_n(o + (size_t)q * d + i, d - i, 0);

        for (int j = 0; j < n_keys; j++)
            acc = v_fma(v_set(p[(size_t)q * p_stride + (size_t)j]),
                        v_load_n(v + (size_t)j * v_stride + i, d - i, 0), acc);
        v_store_n(o + (size_t)q * d + i, acc, d - i);
    }
}

TARGET static void in_mix(const float *p, size_t p_stride, int n_q, const float *v, size_t v_stride,
                          int n_keys, float *o, size_t d)
{
    for (; n_q >= TILE_TOKENS; n_q -= TILE_TOKENS) {
        mix_of(p, p_stride, TILE_TOKENS, v, v_stride, n_keys, o, d);
        p += TILE_TOKENS * p_stride;
        o += TILE_TOKENS * d;
    }
    switch (n_q) {
    case 1: mix_of(p, p_stride, 1, v, v_stride, n_keys, o, d); break;
    case 2: mix_of(p, p_stride, 2, v, v_stride, n_keys, o, d); break;
#if TILE_TOKENS > 3
    case 3: mix_of(p, p_stride, 3, v, v_stride, n_keys, o, d); break;
    case 4: mix_of(p, p_stride, 4, v, v_stride, n_keys, o, d); break;
    case 5: mix_of(p, p_stride, 5, v, v_stride, n_keys, o, d); break;
#endif
    default: break;
    }
}

/*
 * exp to about one unit in the last place: exp(x) = 2^n exp(r), |r| <= ln 2 / 2, exp(r) by the
 * polynomial of Cephes' expf. Below -87.33 it gives 0 (no subnormals), above 88.37 infinity.
 */
INLINE vf v_exp(vf x)
{
    const float low = -87.33f, high = 88.37f, round = 0x1.8p23f; /* adding it rounds to integer */
    vf in = v_select(x > low, v_select(x < high, x, v_set(high)), v_set(low)); /* NaN: low */
    vf n = v_fma(in, v_set(0x1.715476p0f), v_set(round)) - round;
    vf r = v_fma(n, v_set(0x1.bd0106p-13f), v_fma(n, v_set(-0x1.63p-1f), in)); /* n ln 2, twofold */
    vf p = v_set(1.9875691500e-4f);

    p = v_fma(p, r, v_set(1.3981999507e-3f));
    p = v_fma(p, r, v_set(8.3334519073e-3f));
    p = v_fma(p, r, v_set(4.1665795894e-2f));
    p = v_fma(p, r, v_set(1.6666665459e-1f));
    p = v_fma(p, r, v_set(5.0000001201e-1f));
    p = v_fma(p, r * r, r) + 1;
    p *= (vf)((__builtin_convertvector(n, vi) + 127) << 23);
    p = v_select(x < low, (vf){ 0 }, v_select(x > high, v_set(INFINITY), p));
    return v_select(x == x, p, x);
}

/* Largest of n values, NaN aside; -inf if there is none. */
INLINE float max_of(const float *x, size_t n)
{
    vf m0 = v_set(-INFINITY), m1 = m0;
    size_t i = 0;

    for (; i + STEP <= n; i += STEP) {
        vf a = v_load(x + i), b = v_load(x + i + VL);

        m0 = v_select(a > m0, a, m0);
        m1 = v_select(b > m1, b, m1);
    }
    for (; i < n; i += VL) {
        vf a = v_load_n(x + i, n - i, -INFINITY);

        m0 = v_select(a > m0, a, m0);
    }
    return v_max(v_select(m1 > m0, m1, m0));
}

TARGET static float in_soft_step(float *s, size_t n, float scale, float *max, float *sum)
{
    float old = *max, new = max_of(s, n) * scale, shift, factor;
    vf acc = { 0 };

    new = new > old ? new : old;
    shift = new > -INFINITY ? new : 0; /* -inf - -inf would be NaN; this way p is 0 */
    for (size_t i = 0; i < n; i += VL) {
        vf p = v_exp(v_load(s + i) * scale - shift);

        acc += p;
        v_store(s + i, p);
    }
    factor = old > -INFINITY ? v_exp(v_set(old - shift))[0] : 0;
    *max = new;
    *sum = *sum * factor + v_sum(acc);
    return factor;
}

TARGET static void in_scale(float *x, size_t n, float a)
{
    for (size_t i = 0; i < n; i += VL)
        v_store_n(x + i, v_load_n(x + i, n - i, 0) * a, n - i);
}

TARGET static void in_axpy(float *y, float a, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i += VL)
        v_store_n(y + i, v_fma(v_set(a), v_load_n(x + i, n - i, 0), v_load_n(y + i, n - i, 0)),
                  n - i);
}

TARGET static void in_add(float *x, const float *y, size_t n)
{
    for (size_t i = 0; i < n; i += VL)
        v_store_n(x + i, v_load_n(x + i, n - i, 0) + v_load_n(y + i, n - i, 0), n - i);
}

INLINE vf v_sigmoid(vf x)
{
    return 1 / (1 + v_exp(-x));
}

TARGET static void in_silu_mul(float *g, const float *u, size_t n)
{
    for (size_t i = 0; i < n; i += VL) {
        vf x = v_load_n(g + i, n - i, 0);

        v_store_n(g + i, x / (1 + v_exp(-x)) * v_load_n(u + i, n - i, 0), n - i);
    }
}

/* The squares are summed in f64: they need twice the exponent range of f32. */
TARGET static void in_rms_norm(const float *x, const float *w, size_t d, float eps, float *ret)
{
    vd low = { 0 }, high = { 0 }, a, b;
    float inv;

    for (size_t i = 0; i < d; i += VL) {
        v_to_f64(v_load_n(x + i, d - i, 0), &a, &b);
        low += a * a;
        high += b * b;
    }
    inv = (float)(1 / sqrt(v_sum_f64(low, high) / (double)d + eps));
    for (size_t i = 0; i < d; i += VL)
        v_store_n(ret + i, v_load_n(x + i, d - i, 0) * inv * v_load_n(w + i, d - i, 0), d - i);
}

TARGET static void in_rotate(float *x, const float *c, const float *s, size_t half)
{
    for (size_t i = 0; i < half; i += VL) {
        vf a = v_load_n(x + i, half - i, 0), b = v_load_n(x + half + i, half - i, 0);
        vf vc = v_load_n(c + i, half - i, 0), vs = v_load_n(s + i, half - i, 0);

        v_store_n(x + i, a * vc - b * vs, half - i);
        v_store_n(x + half + i, b * vc + a * vs, half - i);
    }
}

TARGET static void in_softmax(float *z, size_t n)
{
    float max = max_of(z, n);
    vd low = { 0 }, high = { 0 }, a, b;

    for (size_t i = 0; i < n; i += VL) {
        vf p = v_exp(v_load_n(z + i, n - i, -INFINITY) - max);

        v_to_f64(p, &a, &b);
        low += a;
        high += b;
        v_store_n(z + i, p, n - i);
    }
    in_scale(z, n, (float)(1 / v_sum_f64(low, high)));
}

TARGET static void in_sigmoid(float *z, size_t n)
{
    for (size_t i = 0; i < n; i += VL)
        v_store_n(z + i, v_sigmoid(v_load_n(z + i, n - i, 0)), n - i);
}

/* First element of x equal to value, n if there is none. */
INLINE size_t find(const float *x, size_t n, float value)
{
    size_t i = 0;

    while (i < n && !(x[i] == value))
        i++;
    return i;
}

TARGET static ptrdiff_t in_argmax(const float *x, size_t n)
{
    const size_t block = 512; /* small beside a vocabulary: only one block is searched */
    float max = -INFINITY;
    size_t at = 0, i;

    for (i = 0; i < n; i += block) {
        float m = max_of(x + i, n - i < block ? n - i : block);

        if (m > max) {
            max = m;
            at = i;
        }
    }
    i = at + find(x + at, n - at, max);
    return i < n ? (ptrdiff_t)i : -1; /* nothing but NaN */
}

TARGET static double in_sum_exp(const float *x, size_t n, float max)
{
    vd low = { 0 }, high = { 0 }, a, b;

    for (size_t i = 0; i < n; i += VL) {
        vf v = v_load_n(x + i, n - i, NAN);
        vf p = v_select(v == max, v_set(1), v_exp(v - max)); /* inf - inf is not 0 */

        v_to_f64(v_select(v == v, p, (vf){ 0 }), &a, &b);
        low += a;
        high += b;
    }
    return v_sum_f64(low, high);
}

/* temperature * the most that the noise of VL / 2 tokens can be (cpu_pick.c). bits: gumbel_bits();
 * 2^52 - bits is exact in f64, and its logarithm's integer part is its exponent. */
INLINE vd noise_bound(vw bits, double temperature)
{
    const uint64_t two_52 = UINT64_C(0x4330000000000000); /* as f64; + k is 2^52 + k, k <= 2^52 */
    vd rest = (vd)((UINT64_C(1) << 52) - bits + two_52) - 0x1p52;
    vd exponent = (vd)(((vw)rest >> 52) + two_52) - (0x1p52 + 1023);

    return ((53 - exponent) * 0x1.62e42fefa39efp-1 + 1e-9) * temperature;
}

/* gumbel_bits() of the tokens whose numbers times the stream's step, and the row's key, are in s.
 */
INLINE vw gumbel_bits_of(vw s)
{
    s += UINT64_C(0x9e3779b97f4a7c15);
    s = (s ^ s >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    s = (s ^ s >> 27) * UINT64_C(0x94d049bb133111eb);
    return (s ^ s >> 31) >> 12;
}

TARGET static size_t in_next_draw(const float *l, size_t first, size_t n, uint64_t key,
                                  double temperature, double best)
{
    const uint64_t golden = UINT64_C(0x9e3779b97f4a7c15);
    vw s[2];

    for (size_t i = 0; i < VL; i++)
        s[i / (VL / 2)][i % (VL / 2)] = key + (first + i) * golden;
    for (size_t i = first; i < n; i += VL) {
        vd x[2];
        vw hits[2];

        v_to_f64(v_load_n(l + i, n - i, NAN), &x[0], &x[1]);
        UNROLL
        for (int h = 0; h < 2; h++) {
            hits[h] = (vw)(x[h] + noise_bound(gumbel_bits_of(s[h]), temperature) >= best);
            s[h] += VL * golden;
        }
        if (v_any(hits[0] | hits[1]))
            for (size_t j = 0; j < VL; j++)
                if (hits[j / (VL / 2)][j % (VL / 2)])
                    return i + j;
    }
    return n;
}

const struct inner INNER_TABLE = {
    .name = INNER_NAME,
    .lanes = VL,
    .gemm = { GEMM_STEP_BYTES, GEMM_PREPARE, GEMM },
    .gemm_f32 = { PACK_COLS * sizeof(float), in_prepare, in_gemm },
    .pack = in_pack,
    .panel = in_panel,
    .mix = in_mix,
    .soft_step = in_soft_step,
    .scale = in_scale,
    .axpy = in_axpy,
    .add = in_add,
    .silu_mul = in_silu_mul,
    .rms_norm = in_rms_norm,
    .rotate = in_rotate,
    .softmax = in_softmax,
    .sigmoid = in_sigmoid,
    .argmax = in_argmax,
    .sum_exp = in_sum_exp,
    .next_draw = in_next_draw,
};
