/*
 * Marks of a profile (kernels/profile.h): events among the kernels of the stream.
 *
 * In a graph that is being recorded a mark becomes a node of it, and so a moment of its replay. A
 * kernel behind a mark starts when the one before it has ended: what early starts save is not in
 * the times of its parts.
 */
#include <stdlib.h>

#include "base/size.h"
#include "kernels/cuda/cuda.h"

static enum status grow(struct cuda *c, int n, struct error *err)
{
    struct cuda_marks *m = &c->marks;
    int max = m->max ? m->max : 64;
    cudaEvent_t *events = NULL;
    size_t bytes;

    while (max < n)
        max *= 2;
    if (max > m->max) {
        if (size_mul((size_t)max, sizeof(*events), &bytes))
            events = realloc(m->events, bytes);
        if (!events)
            return error_set(err, ST_NOMEM, "out of memory for %d marks", max);
        m->events = events;
        m->max = max;
    }
    for (; m->n < n; m->n++)
        CUDA_TRY(c, cudaEventCreate(&m->events[m->n]), err);
    return ST_OK;
}

enum status cuda_mark(struct kernels *k, int i, struct error *err)
{
    struct cuda *c = (struct cuda *)k;
    enum cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
    enum status st = grow(c, i + 1, err);

    if (st)
        return st;
    CUDA_TRY(c, cudaStreamIsCapturing(c->stream, &capture), err);
    CUDA_TRY(c,
             cudaEventRecordWithFlags(c->marks.events[i], c->stream,
                                      capture == cudaStreamCaptureStatusActive
                                          ? cudaEventRecordExternal
                                          : cudaEventRecordDefault),
             err);
    return ST_OK;
}

enum status cuda_read_marks(struct kernels *k, int n, int64_t *ret_ns, struct error *err)
{
    struct cuda *c = (struct cuda *)k;

    for (int i = 0; i < n; i++) {
        float ms = 0;

        CUDA_TRY(c, cudaEventElapsedTime(&ms, c->marks.events[i], c->marks.events[i + 1]), err);
        ret_ns[i] = (int64_t)((double)ms * 1e6);
    }
    return ST_OK;
}

void cuda_marks_free(struct cuda_marks *m)
{
    while (m->n)
        (void)cudaEventDestroy(m->events[--m->n]);
    free(m->events);
}
