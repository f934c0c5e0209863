/*
 * Decoders: which proposals of one forward pass are committed.
 *
 * A decoder sees one block through its proposals (kernels pick) and says which masked positions
 * take theirs now. It is a pure function: no model, no clock, no state beyond its arguments, so
 * it is tested on recorded proposals. Adding one is adding a row to the table in decoder.c.
 */
#ifndef ENGINE_DECODER_H
#define ENGINE_DECODER_H

#include <stdbool.h>

#include "engine/engine.h"
#include "kernels/kernels.h"

/* A block with at least one masked position, as a forward pass left it. */
struct decode_block {
    const struct pick *picks; /* (n) proposals; read only where masked, prob within [0, 1] */
    const bool *is_masked;    /* (n) */
    int n;                    /* positions of the block */
    int n_masked_start;       /* masked positions when the block was entered */
    int step;                 /* forwards of this block before this one */
    int n_steps;              /* scheduled forwards of a block (decoders with has_steps) */
    float threshold;          /* decoders with has_threshold */
};

struct decoder {
    const struct engine_choice *about;
    bool has_steps, has_threshold; /* options it reads */
    /* Set ret_commit (n) and return how many are set: at least one, all of them masked. */
    int (*commit)(const struct decode_block *b, bool *ret_commit);
};

/* By name, or NULL. */
const struct decoder *decoder_find(const char *name);

#endif
