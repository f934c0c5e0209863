/*
 * Ranges on the time line of a profiler, by NVIDIA's NVTX (Nsight Systems shows them): phases,
 * blocks, steps, layers. Without a tool that listens a range is one call through a pointer; without
 * NVTX's headers at build time it is nothing.
 */
#ifndef BASE_TRACE_H
#define BASE_TRACE_H

#include <stdint.h>

/* Begin a range inside the one under way; number: which block, step, layer. name: static text. */
void trace_push(const char *name, int64_t number);
/* End it. */
void trace_pop(void);

#endif
