/*
 * Telemetry of a sample as one blob: per forward pass and layer, how many experts ran and how
 * many tokens each got. Tens of thousands of small numbers a sample, so they are packed: the
 * expert loads, nine tenths of the raw size, take about 6 bits for each expert that ran and
 * nothing for those that did not.
 *
 * Format, version 3. Fixed-width numbers are little-endian; `v` is a LEB128 varint: 7 bits a
 * byte, lowest first, the top bit says that more follow, in the fewest bytes that hold it.
 *
 *    0  2  "DT"
 *    2  1  version, 3
 *    3  1  zero
 *    4  4  length of the body, the bytes from 12 to the end
 *    8  4  CRC-32 (polynomial 0x04c11db7 reflected, as in zlib) of the body
 *   12     body
 *          v       n_forwards, v n_layer, v n_exp, v n_positions
 *          v       unit: greatest common divisor of all expert_bytes; 1 if all are 0
 *          v       has_output_error
 *          n_forwards times
 *            v     block, v step, v n_tok, v n_masked_before
 *            v     2 * n_committed + is_cache_refresh, v n_edited
 *            v     wall_ns
 *          n_forwards * n_layer times
 *            v     n_unique, v n_rerouted, v n_lost_top1, v n_natural, v n_core
 *            v     bits of kept_mass (f32) XOR those of the layer before it (of the first: 1.0)
 *            v     expert_bytes / unit
 *            v     with has_output_error: bits of output_error (f32) XOR those of the layer before
 *                  it (of the first: 1.0)
 *          n_positions times
 *            v     commit_step + 1
 *          expert loads: one string of bits, first bit in bit 0 of its byte; `g` is an Elias
 *          gamma code of a number x >= 1: as many zero bits as x has bits after its highest,
 *          then the bits of x, highest first
 *          n_forwards * n_layer times
 *            g     1 + number of experts with tokens
 *            for each of these, by ascending id
 *              g   its id less the id before it (of the first: -1)
 *              g   its tokens
 *          zero bits to the end of the byte
 *
 * Limits, both ways: n_exp <= 65535 and n_forwards * n_layer * n_exp <= 2^28.
 */
#include <assert.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>

#include "base/size.h"
#include "results/results.h"

enum { VERSION = 3, HEAD_BYTES = 12, MAX_EXP = 65535, MAX_LOADS = 1 << 28 };

/* CRC-32, four bits a step: 16 table entries are enough for some 60 KB a sample. */
static uint32_t crc32_of(const unsigned char *p, size_t len)
{
    static const uint32_t table[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
        0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
        0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };
    uint32_t c = 0xffffffff;

    for (size_t i = 0; i < len; i++) {
        c ^= p[i];
        c = c >> 4 ^ table[c & 15];
        c = c >> 4 ^ table[c & 15];
    }
    return ~c;
}

static void put_u32(char *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (char)(unsigned char)(v >> (8 * i));
}

static uint32_t get_u32(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint32_t float_bits(float f)
{
    uint32_t u;

    memcpy(&u, &f, sizeof(u));
    return u;
}

/* n_forwards * n_layer and that times n_exp; false beyond the limits. */
static bool count_rows(int64_t n_forwards, int64_t n_layer, int64_t n_exp, size_t *ret_rows,
                       size_t *ret_loads)
{
    return n_forwards >= 0 && n_layer >= 0 && n_exp >= 0 && n_exp <= MAX_EXP &&
           size_mul((size_t)n_forwards, (size_t)n_layer, ret_rows) &&
           size_mul(*ret_rows, (size_t)n_exp, ret_loads) && *ret_loads <= MAX_LOADS;
}

/* ---- encoding --------------------------------------------------------------------------- */

static void put_varint(struct buf *b, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        buf_putc(b, (char)(unsigned char)(v | 0x80));
    buf_putc(b, (char)(unsigned char)v);
}

struct bit_writer {
    struct buf *out;
    uint64_t bits; /* the lowest n wait to be written */
    int n;
};

/* The low n <= 32 bits of v, lowest first. */
static void put_bits(struct bit_writer *w, uint64_t v, int n)
{
    w->bits |= v << w->n;
    for (w->n += n; w->n >= 8; w->n -= 8) {
        buf_putc(w->out, (char)(unsigned char)w->bits);
        w->bits >>= 8;
    }
}

static void put_gamma(struct bit_writer *w, uint32_t x)
{
    int top = 31 - __builtin_clz(x); /* x >= 1 */

    put_bits(w, 0, top);
    for (int i = top; i >= 0; i--)
        put_bits(w, x >> i & 1, 1);
}

static void put_loads(struct buf *b, const uint16_t *loads, size_t n_rows, int32_t n_exp)
{
    struct bit_writer w = { .out = b };

    for (size_t r = 0; r < n_rows; r++, loads += n_exp) {
        uint32_t n = 0;
        int32_t last = -1;

        for (int32_t e = 0; e < n_exp; e++)
            n += loads[e] != 0;
        put_gamma(&w, n + 1);
        for (int32_t e = 0; e < n_exp; e++) {
            if (!loads[e])
                continue;
            put_gamma(&w, (uint32_t)(e - last));
            put_gamma(&w, loads[e]);
            last = e;
        }
    }
    if (w.n)
        put_bits(&w, 0, 8 - w.n);
}

static int64_t gcd(int64_t a, int64_t b)
{
    while (b) {
        int64_t t = a % b;
        a = b;
        b = t;
    }
    return a;
}

/* Is every number in the range that the format holds? */
static enum status check(const struct telemetry *t, size_t n_rows, struct error *err)
{
    for (int32_t i = 0; i < t->n_forwards; i++) {
        const struct telemetry_forward *f = &t->forwards[i];

        if (f->block < 0 || f->step < 0 || f->n_tok < 0 || f->n_masked_before < 0 ||
            f->n_committed < 0 || f->n_edited < 0 || f->wall_ns < 0)
            return error_set(err, ST_INVALID, "telemetry: negative number in forward %d", i);
    }
    for (size_t i = 0; i < n_rows; i++) {
        const struct telemetry_layer *l = &t->layers[i];

        if (l->n_unique < 0 || l->n_rerouted < 0 || l->n_lost_top1 < 0 || l->n_natural < 0 ||
            l->n_core < 0 || l->expert_bytes < 0)
            return error_set(err, ST_INVALID, "telemetry: negative number in forward %zu layer %zu",
                             i / (size_t)t->n_layer, i % (size_t)t->n_layer);
    }
    for (int32_t i = 0; i < t->n_positions; i++)
        if (t->commit_step[i] < -1 || t->commit_step[i] >= t->n_forwards)
            return error_set(err, ST_INVALID,
                             "telemetry: position %d committed by forward %d of %d", i,
                             t->commit_step[i], t->n_forwards);
    return ST_OK;
}

enum status telemetry_encode(const struct telemetry *t, struct buf *ret, struct error *err)
{
    size_t n_rows, n_loads;
    uint32_t mass = float_bits(1.0f), error = mass;
    int64_t unit = 0;
    enum status st;

    buf_clear(ret);
    if (t->n_positions < 0 || !count_rows(t->n_forwards, t->n_layer, t->n_exp, &n_rows, &n_loads))
        return error_set(err, ST_INVALID,
                         "telemetry: %d forwards, %d layers, %d experts, %d positions is too large",
                         t->n_forwards, t->n_layer, t->n_exp, t->n_positions);
    assert(t->forwards || !t->n_forwards);
    assert(t->layers || !n_rows);
    assert(t->tokens_per_expert || !n_loads);
    assert(t->commit_step || !t->n_positions);
    st = check(t, n_rows, err);
    if (st)
        return st;

    buf_append(ret, (char[HEAD_BYTES]){ 'D', 'T', VERSION }, HEAD_BYTES);
    put_varint(ret, (uint64_t)t->n_forwards);
    put_varint(ret, (uint64_t)t->n_layer);
    put_varint(ret, (uint64_t)t->n_exp);
    put_varint(ret, (uint64_t)t->n_positions);
    for (size_t i = 0; i < n_rows; i++)
        unit = gcd(unit, t->layers[i].expert_bytes);
    if (!unit)
        unit = 1;
    put_varint(ret, (uint64_t)unit);
    put_varint(ret, t->has_output_error);
    for (int32_t i = 0; i < t->n_forwards; i++) {
        const struct telemetry_forward *f = &t->forwards[i];

        put_varint(ret, (uint64_t)f->block);
        put_varint(ret, (uint64_t)f->step);
        put_varint(ret, (uint64_t)f->n_tok);
        put_varint(ret, (uint64_t)f->n_masked_before);
        put_varint(ret, (uint64_t)f->n_committed << 1 | f->is_cache_refresh);
        put_varint(ret, (uint64_t)f->n_edited);
        put_varint(ret, (uint64_t)f->wall_ns);
    }
    for (size_t i = 0; i < n_rows; i++) {
        const struct telemetry_layer *l = &t->layers[i];
        uint32_t bits = float_bits(l->kept_mass);

        put_varint(ret, (uint64_t)l->n_unique);
        put_varint(ret, (uint64_t)l->n_rerouted);
        put_varint(ret, (uint64_t)l->n_lost_top1);
        put_varint(ret, (uint64_t)l->n_natural);
        put_varint(ret, (uint64_t)l->n_core);
        put_varint(ret, bits ^ mass);
        mass = bits;
        put_varint(ret, (uint64_t)(l->expert_bytes / unit));
        if (t->has_output_error) {
            put_varint(ret, float_bits(l->output_error) ^ error);
            error = float_bits(l->output_error);
        }
    }
    for (int32_t i = 0; i < t->n_positions; i++)
        put_varint(ret, (uint64_t)((int64_t)t->commit_step[i] + 1));
    put_loads(ret, t->tokens_per_expert, n_rows, t->n_exp);
    if (!buf_ok(ret))
        return error_set(err, ST_NOMEM, "out of memory packing telemetry");
    if (ret->len - HEAD_BYTES > UINT32_MAX)
        return error_set(err, ST_INVALID, "telemetry: %zu bytes are too many", ret->len);
    put_u32(ret->data + 4, (uint32_t)(ret->len - HEAD_BYTES));
    put_u32(ret->data + 8,
            crc32_of((unsigned char *)ret->data + HEAD_BYTES, ret->len - HEAD_BYTES));
    return ST_OK;
}

/* ---- decoding --------------------------------------------------------------------------- */

struct reader {
    const unsigned char *p, *end;
    bool is_bad; /* ran over the end, or a number out of its range; then all reads give 0 */
    int bit;     /* next bit of *p, for bits only */
};

static uint64_t get_varint(struct reader *r, uint64_t max)
{
    uint64_t v = 0;

    for (int shift = 0; !r->is_bad; shift += 7) {
        unsigned char c;

        if (r->p == r->end || shift > 63)
            break;
        c = *r->p++;
        if (shift == 63 && c > 1)
            break;
        v |= (uint64_t)(c & 0x7f) << shift;
        if (c & 0x80)
            continue;
        if (v > max || (!c && shift))
            break;
        return v;
    }
    r->is_bad = true;
    return 0;
}

static int32_t get_i32(struct reader *r)
{
    return (int32_t)get_varint(r, INT32_MAX);
}

static unsigned get_bit(struct reader *r)
{
    unsigned bit;

    if (r->p == r->end) {
        r->is_bad = true;
        return 0;
    }
    bit = *r->p >> r->bit & 1u;
    if (++r->bit == 8) {
        r->bit = 0;
        r->p++;
    }
    return bit;
}

/* 1 .. max, or 0 when the reader is bad. */
static uint32_t get_gamma(struct reader *r, uint32_t max)
{
    uint64_t x = 1;
    int top = 0;

    while (!r->is_bad && !get_bit(r))
        top++;
    if (top > 31)
        r->is_bad = true;
    for (; top > 0 && !r->is_bad; top--)
        x = x << 1 | get_bit(r);
    if (x > max)
        r->is_bad = true;
    return r->is_bad ? 0 : (uint32_t)x;
}

static void get_loads(struct reader *r, uint16_t *ret, size_t n_rows, int32_t n_exp)
{
    for (size_t i = 0; i < n_rows && !r->is_bad; i++, ret += n_exp) {
        uint32_t n = get_gamma(r, (uint32_t)n_exp + 1);
        int32_t e = -1;

        for (; n > 1; n--) {
            /* at most n_exp - 1 - e, so that e stays below n_exp; 0 left: any code is bad */
            e += (int32_t)get_gamma(r, (uint32_t)(n_exp - 1 - e));
            if (r->is_bad)
                return;
            ret[e] = (uint16_t)get_gamma(r, UINT16_MAX);
        }
    }
    while (!r->is_bad && r->bit)
        if (get_bit(r))
            r->is_bad = true;
}

enum status telemetry_decode(const void *blob, size_t len, struct arena *arena,
                             struct telemetry *ret, struct error *err)
{
    const unsigned char *p = blob;
    struct reader r;
    struct telemetry t = { 0 };
    struct telemetry_forward *forwards;
    struct telemetry_layer *layers;
    int32_t *commit_step;
    uint16_t *loads;
    size_t n_rows, n_loads, left;
    uint32_t mass = float_bits(1.0f), error = mass;
    uint64_t unit;

    if (len < HEAD_BYTES || p[0] != 'D' || p[1] != 'T' || p[3])
        return error_set(err, ST_INVALID, "telemetry: not a telemetry blob");
    if (p[2] != VERSION)
        return error_set(err, ST_INVALID, "telemetry: version %d is not known, only %d is", p[2],
                         VERSION);
    if (get_u32(p + 4) != len - HEAD_BYTES)
        return error_set(err, ST_INVALID, "telemetry: body of %zu bytes, %lu are announced",
                         len - HEAD_BYTES, (unsigned long)get_u32(p + 4));
    if (get_u32(p + 8) != crc32_of(p + HEAD_BYTES, len - HEAD_BYTES))
        return error_set(err, ST_INVALID, "telemetry: check sum does not match");

    /* From here on only a blob made wrong on purpose fails. What is allocated stays in
     * proportion to what was sent (6 bytes a forward, 7 a layer, 1 a position), loads aside. */
    r = (struct reader){ .p = p + HEAD_BYTES, .end = p + len };
    t.n_forwards = get_i32(&r);
    t.n_layer = get_i32(&r);
    t.n_exp = get_i32(&r);
    t.n_positions = get_i32(&r);
    unit = get_varint(&r, INT64_MAX);
    t.has_output_error = get_varint(&r, 1);
    left = (size_t)(r.end - r.p);
    if (r.is_bad || !unit || !count_rows(t.n_forwards, t.n_layer, t.n_exp, &n_rows, &n_loads) ||
        (size_t)t.n_forwards > left / 7 || n_rows > left / 7 || (size_t)t.n_positions > left)
        return error_set(err, ST_INVALID, "telemetry: sizes are out of range");
    forwards = arena_array(arena, (size_t)t.n_forwards, sizeof(*forwards));
    layers = arena_array(arena, n_rows, sizeof(*layers));
    commit_step = arena_array(arena, (size_t)t.n_positions, sizeof(*commit_step));
    loads = arena_array(arena, n_loads, sizeof(*loads));
    if (!forwards || !layers || !commit_step || !loads)
        return error_set(err, ST_NOMEM, "out of memory for telemetry of %zu expert loads", n_loads);

    for (int32_t i = 0; i < t.n_forwards; i++) {
        struct telemetry_forward *f = &forwards[i];
        uint64_t v;

        f->block = get_i32(&r);
        f->step = get_i32(&r);
        f->n_tok = get_i32(&r);
        f->n_masked_before = get_i32(&r);
        v = get_varint(&r, (uint64_t)INT32_MAX << 1 | 1);
        f->n_committed = (int32_t)(v >> 1);
        f->is_cache_refresh = v & 1;
        f->n_edited = get_i32(&r);
        f->wall_ns = (int64_t)get_varint(&r, INT64_MAX);
    }
    for (size_t i = 0; i < n_rows; i++) {
        struct telemetry_layer *l = &layers[i];

        l->n_unique = get_i32(&r);
        l->n_rerouted = get_i32(&r);
        l->n_lost_top1 = get_i32(&r);
        l->n_natural = get_i32(&r);
        l->n_core = get_i32(&r);
        mass ^= (uint32_t)get_varint(&r, UINT32_MAX);
        memcpy(&l->kept_mass, &mass, sizeof(mass));
        l->expert_bytes = (int64_t)(get_varint(&r, INT64_MAX / unit) * unit);
        l->output_error = 0;
        if (t.has_output_error) {
            error ^= (uint32_t)get_varint(&r, UINT32_MAX);
            memcpy(&l->output_error, &error, sizeof(error));
        }
    }
    for (int32_t i = 0; i < t.n_positions; i++)
        commit_step[i] = (int32_t)get_varint(&r, (uint64_t)t.n_forwards) - 1;
    get_loads(&r, loads, n_rows, t.n_exp);
    if (r.is_bad || r.p != r.end)
        return error_set(err, ST_INVALID, "telemetry: contents are out of range");
    t.forwards = forwards;
    t.layers = layers;
    t.commit_step = commit_step;
    t.tokens_per_expert = loads;
    *ret = t;
    return ST_OK;
}
