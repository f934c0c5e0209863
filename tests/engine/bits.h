/*
 * Floats in backend memory, compared where they lie: a forward's logits can be 160 MB, which take
 * longer to download than to compute.
 */
#ifndef TESTS_ENGINE_BITS_H
#define TESTS_ENGINE_BITS_H

#include <stddef.h>

#include "kernels/kernels.h"

/* n floats, once everything enqueued before has been done. */
MUST_CHECK enum status bits_copy(struct kernels *k, float *to, const float *from, size_t n,
                                 struct error *err);

/*
 * *ret_at: the first of n floats of `got` that is NaN or has not the bits of `want`; n: none.
 * `got` is all NaN afterwards, so that nobody can take it for a result again.
 */
MUST_CHECK enum status bits_take(struct kernels *k, float *got, const float *want, size_t n,
                                 size_t *ret_at, struct error *err);

#endif
