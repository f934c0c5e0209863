/*
 * What a forward gets of the host and owes to it, without the copy engines: kernels at either end
 * of it read and write pinned memory. A copy engine waits for the kernels and they for it, by
 * signals that take longer than the few KB do; and a host that waits for the stream learns late
 * that it is done.
 */
#ifndef KERNELS_CUDA_MAILBOX_H
#define KERNELS_CUDA_MAILBOX_H

#include <cuda_runtime_api.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes are rounded up to 16, and places aligned to that. */
enum { MAILBOX_ALIGN = 16 };

/*
 * Copy from pinned memory to the device. Not an early start: all before is complete. Kernels behind
 * it may read what came before they wait (grid_wait(), sm90.cuh).
 */
cudaError_t mailbox_fetch(const void *host, void *dev, size_t bytes, cudaStream_t stream);

/* Bytes to pinned memory, and then, for the host to see, *number to *host_done. */
struct mailbox_delivery {
    const void *dev;
    void *host;
    size_t bytes;
    const uint32_t *number; /* of the call; on the device */
    uint32_t *host_done;    /* pinned */
    uint32_t *n_blocks;     /* a counter on the device, 0 between calls */
};

cudaError_t mailbox_deliver(const struct mailbox_delivery *d, cudaStream_t stream);

/*
 * A proposal that tells by itself that it is there: id, probability (its bits) and is_mask_best in
 * the lower halves of words whose upper halves are the number of the call. A word is written at
 * once. The host clears them before the call.
 */
enum { MAILBOX_PICK_WORDS = 3 };
struct mailbox_pick {
    uint64_t words[MAILBOX_PICK_WORDS];
};

#ifdef __cplusplus
}
#endif
#endif
