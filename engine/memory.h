/*
 * Memory: how much this process may still take.
 */
#ifndef ENGINE_MEMORY_H
#define ENGINE_MEMORY_H

#include <stddef.h>

/*
 * Bytes: MemAvailable of Linux, or less where a memory cgroup of the process, or one around it,
 * sets a limit (version 2 memory.max, version 1 memory.limit_in_bytes): what its limit leaves over
 * its usage, file cache that the kernel would drop first not counted as used. SIZE_MAX where
 * nothing can be read. root stands before /proc and /sys; "" for this system.
 */
size_t memory_available(const char *root);

#endif
