/* A file in memory, for readers that take a path. */
#ifndef TESTS_FUZZ_MEMFILE_H
#define TESTS_FUZZ_MEMFILE_H

#include <stddef.h>

/* The path of a file that holds data; it is the same file each time, and holds the last data. */
const char *memfile(const void *data, size_t len);

#endif
