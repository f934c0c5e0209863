/* bits.h on a GPU. They return NULL, or what CUDA said. */
#ifndef TESTS_ENGINE_BITS_CUDA_H
#define TESTS_ENGINE_BITS_CUDA_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

const char *bits_cuda_copy(float *to, const float *from, size_t n);
const char *bits_cuda_take(float *got, const float *want, size_t n, size_t *ret_at);

#ifdef __cplusplus
}
#endif

#endif
