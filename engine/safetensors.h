/*
 * Checkpoints in the safetensors format, memory-mapped read-only.
 *
 * A file is a little-endian u64 N, N bytes of JSON, then raw row-major little-endian data:
 *
 *   { "__metadata__": {string: string}, NAME: {"dtype": "BF16", "shape": [..],
 *                                              "data_offsets": [begin, end]}, .. }
 *
 * with offsets counted from the end of the JSON. All of it is checked before anything is used:
 * N within the file and 100 MB, JSON without duplicate names, known dtype, product of shape times
 * size equal to end - begin without overflow, data without gap or overlap up to the end of the
 * file. A sharded checkpoint adds model.safetensors.index.json, whose weight_map must name
 * exactly the tensors of its shards.
 *
 * A file that shrinks after open takes its pages away: reading them raises SIGBUS. Sizes are
 * checked at open, and once more by safetensors_check_files(); what happens to the file between
 * that and a read cannot be guarded against with a mapping. Checkpoints are to be replaced by
 * rename, not written in place.
 *
 * Source: the format as huggingface/safetensors documents it in its README.
 */
#ifndef ENGINE_SAFETENSORS_H
#define ENGINE_SAFETENSORS_H

#include <signal.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "kernels/kernels.h"

enum { SAFETENSORS_MAX_DIMS = 8 };

struct safetensors;

struct tensor {
    const char *name; /* UTF-8, no NUL */
    enum dtype dtype;
    int n_dims; /* 0 .. SAFETENSORS_MAX_DIMS */
    int64_t shape[SAFETENSORS_MAX_DIMS];
    size_t bytes;
    const void *data; /* aligned to the element; valid until close */
    void *copy;       /* data, where alignment needed a copy; else NULL */
    size_t i_shard;
};

/* Open DIR/model.safetensors or, where there is none, the shards of
 * DIR/model.safetensors.index.json. ST_NOT_FOUND if neither is there or a shard is missing;
 * ST_UNSUPPORTED: a dtype other than F32, BF16 and F16; ST_INVALID: a broken rule, named. */
MUST_CHECK enum status safetensors_open_dir(const char *dir, struct safetensors **ret,
                                            struct error *err);

/* Open one file. */
MUST_CHECK enum status safetensors_open_file(const char *path, struct safetensors **ret,
                                             struct error *err);

void safetensors_close(struct safetensors *s); /* accepts NULL */

size_t safetensors_count(const struct safetensors *s);

/* The i-th tensor, in order of name (bytes compared), or by name: NULL where there is none. */
const struct tensor *safetensors_at(const struct safetensors *s, size_t i);
const struct tensor *safetensors_find(const struct safetensors *s, const char *name);

/* Sum of the bytes of all tensors. */
size_t safetensors_bytes(const struct safetensors *s);

/* Shards in order of file name, and the path of a tensor's, for messages. */
size_t safetensors_n_shards(const struct safetensors *s);
const char *safetensors_shard_path(const struct safetensors *s, size_t i_shard);

/* ST_IO, naming the file, if a shard on disk is no longer as long as what was mapped. */
MUST_CHECK enum status safetensors_check_files(const struct safetensors *s, struct error *err);

/*
 * SHA-256 of the shards' bytes one after the other in order of name: what
 * `cat model*.safetensors | sha256sum` prints. As that takes a while for a large checkpoint,
 * the sum (of 32 MiB and more) is kept in $XDG_CACHE_HOME/desbench, else ~/.cache/desbench, under
 * path, device, inode, size, mtime and ctime of every shard; a cache that cannot be used costs
 * only time. ST_INTERRUPTED once *n_stops (may be NULL) is above 0.
 */
MUST_CHECK enum status safetensors_sha256(const struct safetensors *s,
                                          const volatile sig_atomic_t *n_stops, char ret[65],
                                          struct error *err);

#endif
