/*
 * The ops `forward_new` and `forward` of the cuda backend: kernels/forward.h, and what they keep.
 */
#ifndef KERNELS_CUDA_FORWARD_H
#define KERNELS_CUDA_FORWARD_H

#include "kernels/forward.h"

enum status cuda_forward_new(struct kernels *k, const struct forward_model *m, struct forward **ret,
                             struct error *err);
enum status cuda_forward(struct kernels *k, struct forward *f, const struct forward_call *call,
                         struct error *err);

/* All of a backend's; accepts NULL. */
void cuda_forwards_free(struct forward *list);

#endif
