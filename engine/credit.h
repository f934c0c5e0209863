/*
 * Credit: what the decoder `credit` remembers of a block. A position gives credit to the token that
 * it proposes, forward after forward; old credit fades; logits are raised by it, so a token that
 * keeps being proposed is committed earlier. Few tokens ever are, so a position has a short list.
 *
 * Source: dInfer (arXiv:2510.08666), credit decoder: C = decay C; C[argmax] += p^boost, p of the
 * model's own softmax; logits + alpha ln(1 + C), all f32.
 * Settled here: the token that gets credit is the one that is proposed, which is never the mask.
 */
#ifndef ENGINE_CREDIT_H
#define ENGINE_CREDIT_H

#include <stdbool.h>

#include "base/arena.h"
#include "engine/decoder.h"

struct credit_entry {
    int32_t id;
    float value;
};

struct credit {
    int n_rows;
    int *n;                       /* (n_rows) entries of each */
    struct credit_entry *entries; /* (n_rows, n_rows): a forward adds one, and commits one row */
};

/* Without credit; false: out of memory. */
bool credit_init(struct credit *c, struct arena *a, int n_rows);
void credit_clear(struct credit *c);
void credit_copy(struct credit *to, const struct credit *from);

/* What becomes of `now` with the proposals of one more forward; ret has its size. */
void credit_next(const struct credit *now, const struct decode_rule *rule, const struct pick *picks,
                 const bool *is_masked, struct credit *ret);

/* What to add to logits of masked rows, row `first` being the first there is; returns how many of
 * ret (n_rows times n_rows) that are. */
int credit_biases(const struct credit *c, const struct decode_rule *rule, const bool *is_masked,
                  int first, struct logit_bias *ret);

#endif
