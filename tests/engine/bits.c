/* Comparing floats in backend memory: bits.h. */
#include "bits.h"

#include <string.h>

#ifdef HAVE_CUDA
#include "bits_cuda.h"
#endif

/* ... of a backend whose memory is the host's. */
static size_t host_take(float *got, const float *want, size_t n)
{
    size_t at = 0;

    while (at < n && memcmp(&got[at], &want[at], sizeof(*got)) == 0 && got[at] == got[at])
        at++;
    memset(got, 0xff, n * sizeof(*got));
    return at;
}

enum status bits_copy(struct kernels *k, float *to, const float *from, size_t n, struct error *err)
{
    enum status st = k->ops->sync(k, err);

    if (st)
        return st;
#ifdef HAVE_CUDA
    if (k->ops->memory) {
        const char *what = bits_cuda_copy(to, from, n);

        return what ? error_set(err, ST_DEVICE, "cannot copy %zu floats: %s", n, what) : ST_OK;
    }
#endif
    memcpy(to, from, n * sizeof(*to));
    return ST_OK;
}

enum status bits_take(struct kernels *k, float *got, const float *want, size_t n, size_t *ret_at,
                      struct error *err)
{
    enum status st = k->ops->sync(k, err);

    if (st)
        return st;
#ifdef HAVE_CUDA
    if (k->ops->memory) {
        const char *what = bits_cuda_take(got, want, n, ret_at);

        return what ? error_set(err, ST_DEVICE, "cannot compare %zu floats: %s", n, what) : ST_OK;
    }
#endif
    *ret_at = host_take(got, want, n);
    return ST_OK;
}
