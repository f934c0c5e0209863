/*
 * What writer and reader of trace files share: tags, offsets of the header, little-endian numbers.
 * The format is described in docs/traces.md.
 */
#ifndef HARNESS_TRACE_BYTES_H
#define HARNESS_TRACE_BYTES_H

#include <stdint.h>
#include <string.h>

enum { TRACE_VERSION = 1, TRACE_HEADER_BYTES = 64, TRACE_HASH_DIGITS = 64 };
#define TRACE_MAGIC "DESTRACE"

/* Header fields, from its first byte. */
enum {
    TRACE_AT_VERSION = 8,
    TRACE_AT_FLAGS = 12,
    TRACE_AT_N_LAYER = 16,
    TRACE_AT_N_EXP = 20,
    TRACE_AT_TOP_K = 24,
    TRACE_AT_N_GROUP = 28,
    TRACE_AT_TOPK_GROUP = 32,
    TRACE_AT_N_TOP = 36,
    TRACE_AT_SCALE = 40,
    TRACE_AT_MASK_ID = 44,
    TRACE_AT_TEXT_BYTES = 48,
    TRACE_AT_ZERO = 52,
};

enum {
    TRACE_IS_SIGMOID = 1 << 0,
    TRACE_IS_RENORMED = 1 << 1,
    TRACE_HAS_BIAS = 1 << 2,
    TRACE_HAS_IMPORTANCE = 1 << 3,
    TRACE_HAS_EXECUTED = 1 << 4,
    TRACE_ALL_FLAGS = (1 << 5) - 1,
};

/* Records: the tag, then this many bytes of fixed fields. */
#define TRACE_TAG_SEQUENCE 0x20514553U /* "SEQ " */
#define TRACE_TAG_FORWARD 0x20445746U  /* "FWD " */
#define TRACE_TAG_END 0x20444e45U      /* "END " */
enum {
    TRACE_SEQUENCE_BYTES = 24, /* u64 seed, u32 n_prompt, n_gen, block_length, item_len */
    TRACE_FORWARD_BYTES = 16,  /* u32 block, step, flags, n_tok */
    TRACE_END_BYTES = 4 + 8 + TRACE_HASH_DIGITS, /* all of the record: tag, u64 n_forwards, hash */
    TRACE_FORWARD_IS_REFRESH = 1,
    TRACE_FORWARD_IS_MERGED = 2,
    TRACE_FORWARD_ALL_FLAGS = 3,
};

static inline void trace_store32(unsigned char *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (unsigned char)(v >> (8 * i));
}

static inline void trace_store64(unsigned char *p, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        p[i] = (unsigned char)(v >> (8 * i));
}

static inline uint32_t trace_load32(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t trace_load64(const unsigned char *p)
{
    return trace_load32(p) | (uint64_t)trace_load32(p + 4) << 32;
}

static inline uint32_t trace_bits_of(float f)
{
    uint32_t u;

    memcpy(&u, &f, sizeof(u));
    return u;
}

static inline float trace_float_of(uint32_t u)
{
    float f;

    memcpy(&f, &u, sizeof(f));
    return f;
}

#endif
