/*
 * Inside of a mapped checkpoint, shared by safetensors.c (folders, look-ups), safetensors_file.c
 * (one file) and safetensors_hash.c.
 */
#ifndef ENGINE_SAFETENSORS_IMPL_H
#define ENGINE_SAFETENSORS_IMPL_H

#include <sys/stat.h>

#include "engine/safetensors.h"

struct shard {
    char *path;
    const unsigned char *map; /* whole file */
    struct stat sb;           /* at open */
};

struct safetensors {
    struct shard *shards; /* in order of file name */
    size_t n_shards;
    struct tensor *tensors; /* in order of name, once all shards are read */
    size_t n;
    size_t bytes;
};

/* Map s->shards[i_shard], whose path is set, and append its tensors. What was done before a
 * failure is left for safetensors_close(). */
MUST_CHECK enum status shard_open(struct safetensors *s, size_t i_shard, struct error *err);

#endif
