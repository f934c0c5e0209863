/*
 * A profile: how long the parts of one forward take, layer by layer.
 *
 * Whoever runs a forward notes a mark after each part of it: the engine between a backend's ops, a
 * backend between the kernels of its own pass. A mark is a moment on the time line on which the
 * backend works: the clock's where ops have finished when they return, an event among the kernels
 * of a GPU (the optional ops `mark` and `read_marks`). A part has the time from the mark before it.
 *
 * The parts are the same however a backend cuts its work, so that their times can be compared:
 *
 *   embed      rows of the embedding                          no layer
 *   norm       norm before attention, and what goes into x before it
 *   qkv        products that give queries, keys, values
 *   heads      norms of heads, RoPE, caches
 *   attention  of every head
 *   o          its projection, added to x
 *   route      norm, router, votes, coreset, choice, and the list of who goes where
 *   moe        experts, added to x; of a dense layer its only one
 *   head       last norm, and logits or proposals             no layer
 */
#ifndef KERNELS_PROFILE_H
#define KERNELS_PROFILE_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct kernels;

enum profile_part {
    PROFILE_EMBED,
    PROFILE_NORM,
    PROFILE_QKV,
    PROFILE_HEADS,
    PROFILE_ATTENTION,
    PROFILE_O,
    PROFILE_ROUTE,
    PROFILE_MOE,
    PROFILE_HEAD,
    PROFILE_PARTS
};

const char *profile_part_name(enum profile_part part); /* "qkv", ... */

struct profile;

/* For forwards of n_layer layers on an open backend. *ret is freed by profile_free(), before the
 * backend is closed. ST_NOMEM. */
MUST_CHECK enum status profile_new(struct kernels *k, int n_layer, struct profile **ret,
                                   struct error *err);
void profile_free(struct profile *p); /* accepts NULL */

/* A forward begins: the first mark. Marks of one before are forgotten. */
MUST_CHECK enum status profile_begin(struct profile *p, struct error *err);

/* All that was enqueued since the mark before is `part` of a layer; -1: of none. p NULL: nobody
 * looks, nothing is done. */
MUST_CHECK enum status profile_mark(struct profile *p, enum profile_part part, int layer,
                                    struct error *err);

/* The forward is done, and the backend has been waited for: work its times out. */
MUST_CHECK enum status profile_end(struct profile *p, struct error *err);

/* Nanoseconds of a part in a layer (-1: of none), after profile_end(); -1: it had no mark. */
int64_t profile_ns(const struct profile *p, enum profile_part part, int layer);

#endif
